"""The memory of graphs: ops find their tensors, and parts of concatenations are not copied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from shadow_arena import KINDS, check_arena
from test_graph_engine import Drawn, compiled, graphs, poisoned

import nnfast
from nnfast import _engine, layers
from nnfast._plan import tensors
from nnfast._plan.aliasing import Aliases
from nnfast._plan.graph import Graph
from nnfast._plan.plan import Plan, compile_graph
from nnfast._plan.storage import Storage, share_memory
from nnfast._plan.symbolic import KerasTensor

Tensors = list[KerasTensor]


def plan_of(inputs: Tensors, outputs: Tensors) -> Plan:
    """Return a checked plan."""
    graph = Graph(inputs, outputs).flat
    plan = compile_graph(graph)
    check_arena(graph, plan)
    return plan


def kinds(ops: Any) -> Counter[str]:
    return Counter(KINDS[op["kind"]] for op in ops)


def copies(plan: Plan) -> tuple[int, int]:
    """Return the number of copies in training and in inference."""
    return tuple(kinds(t.ops)["copy_blocks"] for t in (plan.training, plan.inference))  # type: ignore[return-value]


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_each_op_finds_what_it_reads(drawn: Drawn) -> None:
    graph = drawn.graph.flat
    check_arena(graph, compile_graph(graph))


# ---- concatenations ------------------------------------------------------------------------------


def dense(units: int, x: KerasTensor, activation: str = "relu") -> KerasTensor:
    y: KerasTensor = layers.Dense(units, activation=activation)(x)
    return y


def wide_and_deep(x: KerasTensor) -> KerasTensor:
    return layers.concatenate([dense(32, dense(48, x)), x])


def two_towers(x: KerasTensor) -> KerasTensor:
    towers = [dense(32, dense(16, x)), dense(48, x, "gelu"), dense(10, x, "softmax")]
    return layers.concatenate(towers)


def nested(x: KerasTensor) -> KerasTensor:
    """Return the last of three layers that see all earlier ones."""
    y = dense(64, x)
    for _ in range(3):
        y = layers.concatenate([y, dense(16, y)])
    return y


def images(x: KerasTensor) -> KerasTensor:
    x = layers.Reshape((3, 4, 2))(x)
    convolved = layers.Conv2D(8, (2, 3), padding="same", activation="relu")(x)
    pooled = layers.MaxPooling2D((1, 2))(convolved)
    normed = layers.LayerNormalization()(layers.DepthwiseConv2D((1, 1), depth_multiplier=2)(x))
    grown = layers.UpSampling2D((2, 2))(x)
    transposed = layers.Conv2DTranspose(8, 3, 2, "same", activation="relu")(convolved)
    images = (convolved, pooled, normed, grown, transposed)
    parts = [layers.Flatten()(part) for part in images]
    return layers.concatenate(parts)


def merged(x: KerasTensor) -> KerasTensor:
    """Return a concatenation of sums and products, of which sums and products are made."""
    a, b = dense(32, x), dense(32, x, "tanh")
    y = layers.concatenate([layers.add([a, b]), layers.multiply([a, b]), layers.subtract([a, b])])
    return layers.add([layers.Dropout(0.25)(y), dense(96, y)])


def large(x: KerasTensor) -> KerasTensor:
    """Return the output of layers that are computed by split-K."""
    y = dense(256, x)
    y = layers.concatenate([dense(256, y), dense(256, y, "tanh")])
    return dense(64, y)


def normalized(x: KerasTensor) -> KerasTensor:
    a, b = dense(32, x, "linear"), dense(48, x, "linear")
    parts = [layers.BatchNormalization()(a), layers.LayerNormalization()(b)]
    return layers.BatchNormalization()(layers.concatenate(parts))


def shifted(x: KerasTensor) -> KerasTensor:
    """Return a concatenation that contains a sum of another one, at a different column."""
    first = layers.concatenate([dense(32, x, "linear"), dense(32, x, "linear")])
    total = layers.add([first, dense(64, x, "linear")])
    return layers.concatenate([dense(16, x), total])


CASES: dict[str, tuple[Callable[[KerasTensor], KerasTensor], int]] = {
    "wide and deep": (wide_and_deep, 0),
    "two towers": (two_towers, 0),
    "nested": (nested, 0),
    "images": (images, 1),  # of a part that is also pooled
    "merged": (merged, 0),
    "large": (large, 0),
    "normalized": (normalized, 0),
    "shifted": (shifted, 0),
}


def attending(x: KerasTensor) -> KerasTensor:
    """Return an attention whose keys and values are written side by side, and one with copies."""
    x = layers.Reshape((6, 4))(x)
    v = layers.Masking()(x)
    wide = layers.MultiHeadAttention(2, 8, 16)(x, v)
    y, p = layers.MultiHeadAttention(2, 3)(wide, v, return_attention_scores=True)
    z = layers.Attention(use_scale=True)([y, v, layers.AdditiveAttention()([x, v])])
    return layers.concatenate([layers.Flatten()(part) for part in (y, p, z)])


def both_ways(x: KerasTensor) -> KerasTensor:
    x = layers.Reshape((6, 4))(x)
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    return layers.Flatten()(layers.Bidirectional(layers.GRU(5, return_sequences=True))(x))


def with_other_readers(x: KerasTensor) -> KerasTensor:
    """Return sequences beside each other, one of which has another reader."""
    x = layers.Reshape((6, 4))(x)
    first, second, third = (gru(units, x) for units in (4, 3, 17))
    whole = layers.concatenate([first, layers.concatenate([second, third]), x])
    return layers.concatenate([layers.Flatten()(whole), layers.Flatten()(second)])


def padded_steps(x: KerasTensor) -> KerasTensor:
    """Return the outputs of a layer for which the steps are padded to whole vectors."""
    return layers.Flatten()(layers.Dense(3)(gru(5, layers.Reshape((6, 4))(x))))


def gru(units: int, x: KerasTensor) -> KerasTensor:
    y: KerasTensor = layers.GRU(units, return_sequences=True)(x)
    return y


# Sequences whose steps are written to columns of a whole: a function, and the remaining copies.
SEQUENCES: dict[str, tuple[Callable[[KerasTensor], KerasTensor], int]] = {
    "both ways": (both_ways, 0),
    "with other readers": (with_other_readers, 5),
    "padded steps": (padded_steps, 1),
    "attention": (attending, 31),
}


def trained_weights(graph: Graph, threads: int, rows: int) -> list[NDArray[Any]]:
    """Return weights after some steps, predictions and the gradient of the inputs."""
    plan, engine, _ = compiled(Drawn(graph, [], []), "float32")
    np.asarray(engine.weights)[...] *= 0.1
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, plan.n_in), np.float32)
    data = _engine.Data(x, rng.standard_normal((rows, plan.n_out), np.float32))
    out, dx = np.empty((rows, plan.n_out), np.float32), np.empty_like(x)
    with poisoned(threads):
        engine.run(data, rows, True, np.full(5, 0.01), np.zeros(5))
        engine.forward(_engine.Data(x), out)
        engine.input_gradient(data, dx)
    return [np.array(engine.weights), out, dx]


@pytest.mark.parametrize("rows", [5, 64])
@pytest.mark.parametrize("case", CASES)
def test_parts_of_concatenations_are_written_in_place(
    case: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are those of a plan with copies."""
    build, n_copies = CASES[case]
    x = nnfast.Input((24,))
    y = dense(2, build(x), "linear")
    plan = plan_of([x], [y])
    assert copies(plan) == (n_copies, n_copies)
    results = [trained_weights(Graph([x], [y]), threads, rows) for threads in (1, 2, 3)]
    monkeypatch.setattr(tensors, "find_aliases", lambda *_: Aliases({}, frozenset()))
    copying = compile_graph(Graph([x], [y]).flat)
    assert copies(copying)[0] > 0
    results.append(trained_weights(Graph([x], [y]), 1, rows))
    for result in results:
        assert np.isfinite(result[0]).all()
        assert all(np.array_equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("rows", [5, 64])
@pytest.mark.parametrize("case", SEQUENCES)
def test_layers_write_to_columns_of_every_step(
    case: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are those of a plan with copies."""
    build, n_copies = SEQUENCES[case]
    x = nnfast.Input((24,))
    y = dense(2, build(x), "linear")
    assert copies(plan_of([x], [y])) == (n_copies, n_copies)
    results = [trained_weights(Graph([x], [y]), threads, rows) for threads in (1, 2, 3)]
    monkeypatch.setattr(tensors, "find_aliases", lambda *_: Aliases({}, frozenset()))
    assert copies(compile_graph(Graph([x], [y]).flat))[0] > n_copies
    results.append(trained_weights(Graph([x], [y]), 1, rows))
    for result in results:
        assert np.isfinite(result[0]).all()
        assert all(np.array_equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_an_input_is_gathered_into_the_concatenation() -> None:
    deep, wide = nnfast.Input((12,)), nnfast.Input((7,))
    y = layers.concatenate([dense(32, deep), wide])
    plan = plan_of([deep, wide], [dense(3, y)])
    assert kinds(plan.training.ops) == {"dense": 2}
    assert plan.training.input_columns == [0, 32]
    assert plan.training.input_strides == [16, 48]


def test_inputs_alone_are_gathered_anywhere() -> None:
    a, b = nnfast.Input((20,)), nnfast.Input((10,))
    plan = plan_of([a, b], [dense(3, layers.concatenate([a, b]))])
    assert kinds(plan.training.ops) == {"dense": 1}
    assert plan.training.input_columns == [0, 20]


def test_two_inputs_train_as_with_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((50, n), np.float32) for n in (12, 7)]

    def weights() -> list[NDArray[Any]]:
        nnfast.set_seed(0)
        inputs = [nnfast.Input((12,)), nnfast.Input((7,))]
        y = layers.concatenate([dense(32, inputs[0]), inputs[1]])
        model = nnfast.Model(inputs, dense(1, y, "linear"))
        model.compile("adam", "mse")
        model.fit(x, x[0][:, 0], batch_size=16, epochs=2, verbose=0)
        return [*model.get_weights(), model.predict(x, verbose=0)]

    found = weights()
    monkeypatch.setattr(tensors, "find_aliases", lambda *_: Aliases({}, frozenset()))
    assert all(np.array_equal(a, b) for a, b in zip(found, weights(), strict=True))


def test_the_concatenation_may_be_an_output() -> None:
    x = nnfast.Input((12,))
    plan = plan_of([x], [layers.concatenate([dense(32, x), dense(16, x)])])
    assert copies(plan) == (0, 0)


PENALIZED = layers.Concatenate(activity_regularizer="l2")


@pytest.mark.parametrize(
    ("build", "n_copies"),
    [
        (lambda x: layers.concatenate([x, dense(20, x)]), 1),  # a vector would end after the row
        (lambda x: layers.concatenate([x, x, dense(32, x), dense(7, x)]), 1),
        (lambda x: layers.concatenate([dense(32, dense(7, x)), x]), 0),
        (lambda x: layers.concatenate([dense(8, x), dense(16, x)]), 1),  # not whole cache lines
        (lambda x: layers.concatenate([x, dense(30, x)]), 0),
        (lambda x: PENALIZED([dense(16, x), dense(16, x)]), 2),
    ],
)
def test_other_parts_are_copied(build: Callable[[KerasTensor], KerasTensor], n_copies: int) -> None:
    x = nnfast.Input((12,))
    y = build(x)
    assert copies(plan_of([x], [y]))[0] == n_copies
    results = [trained_weights(Graph([x], [y]), threads, 50) for threads in (1, 2, 3)]
    for result in results:
        assert all(np.array_equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_only_the_last_reader_of_a_tensor_contains_it() -> None:
    x = nnfast.Input((12,))
    a, b, c = dense(32, x), dense(16, x), dense(16, x)
    # `a` is an output, `b` is in two concatenations, and a product reads `c` later.
    y = layers.concatenate([a, b, c])
    z = layers.concatenate([layers.multiply([c, dense(16, y)]), b])
    assert copies(plan_of([x], [a, y, z])) == (3, 3)
    # A small part with another reader would make that reader's gradient as wide as the whole.
    y = layers.concatenate([c, dense(64, dense(8, c))])
    assert copies(plan_of([x], [y])) == (1, 1)


# ---- sums ----------------------------------------------------------------------------------------


def residual(depth: int) -> tuple[KerasTensor, KerasTensor]:
    x = nnfast.Input((64,))
    y = dense(128, x)
    for _ in range(depth):
        y = layers.add([y, dense(128, dense(128, y), "linear")])
    return x, dense(10, y)


def test_a_residual_connection_needs_no_memory() -> None:
    """The sum overwrites its second operand, and its gradient is that of both operands."""
    x, y = residual(4)
    plan = plan_of([x], [y])
    sums = [op for op in plan.training.ops if KINDS[op["kind"]] == "sum"]
    assert [op["y"] == op["x2"] for op in sums] == [True] * 4
    assert [(op["dx"], op["dx2"]) for op in sums] == [(-1, -1)] * 4
    wide = 144
    # Values: the first layer's, and two for each block. Gradients: the same, and the last layer's.
    assert plan.training.width == 80 + 9 * wide + 9 * wide + 2 * 16
    assert plan.inference.width == 3 * wide


# ---- lifetimes -----------------------------------------------------------------------------------


def test_gradients_share_memory_if_no_parameters_need_them() -> None:
    def width(*stack: layers.Layer) -> int:
        x = nnfast.Input((32,))
        y = x
        for layer in stack:
            y = layer(y)
        plan = plan_of([x], [y])
        assert plan.training.n_values >= plan.training.width
        return plan.training.width

    block = [layers.Dense(32, "relu"), layers.Dropout(0.5)]
    more = [layers.Dense(32, "relu"), layers.Dropout(0.5)]
    # A block adds two values and the gradient of the dense layer, but no gradient of the dropout.
    assert width(*block, *more, layers.Dense(32)) - width(*block, layers.Dense(32)) == 3 * 32


def test_memory_is_shared_only_by_tensors_with_the_same_stride() -> None:
    small, large, other = Storage(16, 0), Storage(32, 0), Storage(16, 2)
    assert share_memory([small, large, other]) == 48
    assert (small.offset, large.offset, other.offset) == (0, 16, 0)

"""Plans of random chains: slots do not overlap while they are alive, and stay inside."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnfast import _engine, layers
from nnfast._plan import ALIAS, LINE, Plan, compile_plan, stride

KINDS = {number: name for name, number in _engine.OPS.items()}


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[layers.Layer], tuple[int, ...]]:
    """Draw layers that fit one another, and the shape of a sample."""
    shape: tuple[int, ...] = (draw(st.sampled_from([0, 1, 3, 15, 16, 17, 512, 520])),)
    if draw(st.booleans()):
        shape = (shape[0], draw(st.integers(1, 3)))
    first, chain = shape, []
    for kind in draw(st.lists(st.sampled_from("daaroesf"), max_size=8)):
        layer = _layer(draw, kind, shape)
        shape = layer.infer_shape(shape)
        chain.append(layer)
    return chain, first


def _layer(draw: st.DrawFn, kind: str, shape: tuple[int, ...]) -> layers.Layer:
    if kind == "f" or (kind in "de" and len(shape) != 1):
        return layers.Flatten()
    if kind in "de":
        units = draw(st.sampled_from([1, 2, 15, 16, 17, 64, 511, 512]))
        activation = draw(st.sampled_from(["linear", "relu", "tanh", "softmax"]))
        return layers.Dense(units, activation=activation, use_bias=draw(st.booleans()))
    if kind == "a":
        return layers.Activation(draw(st.sampled_from(["linear", "relu", "sigmoid"])))
    if kind == "r":
        return layers.Rescaling(draw(st.sampled_from([0.5, 2.0])), offset=draw(st.just(-1.0)))
    if kind == "o":
        return layers.Dropout(draw(st.sampled_from([0.0, 0.5])))
    return layers.Reshape((math.prod(shape),))


class Slot(NamedTuple):
    """A range of the arena, and the first and last moment at which its content matters."""

    what: str
    place: int
    size: int
    born: int
    dies: int


def training_slots(plan: Plan) -> list[Slot]:
    """Return the slots of a step: op i runs forward at i, the loss at n, backward at 2n − i."""
    n = len(plan.ops)
    # dW of every op is computed when the whole backward pass is over, from x and dy.
    end = 2 * n + 1
    slots = [Slot("input", plan.ops[0]["x"], plan.ops[0]["ld_x"], -1, end)]
    for i, op in enumerate(plan.ops):
        slots.append(Slot(f"y of {i}", op["y"], op["ld_y"], i, end))
        if op["dy"] >= 0:
            slots.append(Slot(f"dy of {i}", op["dy"], op["ld_y"], 2 * n - i - 1, end))
    return slots


def inference_slots(plan: Plan) -> list[Slot]:
    ops = plan.infer_ops
    slots = [Slot("input", ops[0]["x"], ops[0]["ld_x"], -1, 0)]
    for i, op in enumerate(ops):
        slots.append(Slot(f"y of {i}", op["y"], op["ld_y"], i, i + 1))
    return slots


def assert_apart(slots: list[Slot], width: int) -> None:
    for slot in slots:
        assert slot.place >= 0, slot
        assert slot.place + slot.size <= width, (slot, width)
        assert slot.place % LINE == slot.size % LINE == 0, slot
    for i, a in enumerate(slots):
        for b in slots[:i]:
            together = a.born <= b.dies and b.born <= a.dies
            overlap = a.place < b.place + b.size and b.place < a.place + a.size
            assert not (together and overlap), (a, b)


def assert_connected(ops: list[dict[str, Any]], out: int, n_in: int, n_out: int) -> None:
    """Every op reads what the one before wrote, with rows long enough for it."""
    assert ops[0]["n_in"] == n_in
    assert ops[-1]["n_out"] == n_out
    assert ops[-1]["y"] == out
    for op in ops:
        assert op["x"] != op["y"]
        assert op["ld_x"] >= op["n_in"]
        assert op["ld_y"] >= op["n_out"]
    for op, after in pairwise(ops):
        assert (after["x"], after["ld_x"], after["n_in"]) == (op["y"], op["ld_y"], op["n_out"])


@settings(max_examples=200, deadline=None)
@given(chains())
def test_slots(chain: tuple[list[layers.Layer], tuple[int, ...]]) -> None:
    plan = compile_plan(*chain)
    assert plan.n_in == math.prod(chain[1])
    assert plan.n_out == math.prod(plan.output_shape)
    assert_connected(plan.ops, plan.out, plan.n_in, plan.n_out)
    assert_connected(plan.infer_ops, plan.infer_out, plan.n_in, plan.n_out)
    assert_apart(training_slots(plan), plan.width)
    assert_apart(inference_slots(plan), plan.infer_width)
    assert all(KINDS[op["kind"]] != "dropout" for op in plan.infer_ops)


@settings(max_examples=200, deadline=None)
@given(chains())
def test_gradients_flow_to_every_parameter_and_no_further(
    chain: tuple[list[layers.Layer], tuple[int, ...]],
) -> None:
    plan = compile_plan(*chain)
    trained = False
    for i, op in enumerate(plan.ops):
        assert (op["dx"] >= 0) == trained, "dx is there if and only if somebody before learns"
        if i > 0:
            assert op["dx"] == plan.ops[i - 1]["dy"]
        trained = trained or op["w"] >= 0
        if op["w"] >= 0:
            assert op["dy"] >= 0
    assert plan.ops[-1]["dy"] >= 0, "the loss writes its gradient there"


@settings(max_examples=200, deadline=None)
@given(chains())
def test_parameters_tile_the_flat_range(
    chain: tuple[list[layers.Layer], tuple[int, ...]],
) -> None:
    plan = compile_plan(*chain)
    end = 0
    for parameter in sorted(plan.parameters, key=lambda p: (p.offset, p.size)):
        assert parameter.offset == end
        end += parameter.size
    assert end == plan.n_params
    kernels = [p.offset for p in plan.parameters if p.name == "kernel" and p.size]
    biases = [p.offset for p in plan.parameters if p.name == "bias"]
    assert not kernels or not biases or max(kernels) < min(biases), "weights first"
    used = {p.offset for p in plan.parameters}
    for op in [*plan.ops, *plan.infer_ops]:
        assert {op["w"], op["b"]} <= used | {-1}
        assert op["w"] + op["n_in"] * op["n_out"] <= plan.n_params or op["w"] < 0
        assert op["b"] + op["n_out"] <= plan.n_params or op["b"] < 0


@settings(max_examples=40, deadline=None)
@given(chains(), st.integers(1, 20), st.sampled_from(["float32", "float64"]))
def test_engine_computes_what_the_layers_say(
    chain: tuple[list[layers.Layer], tuple[int, ...]], rows: int, dtype: str
) -> None:
    """The chain computed layer by layer in NumPy: folding and fusing change nothing."""
    from reference import activate

    stack, shape = chain
    plan = compile_plan(stack, shape)
    engine = _engine.Engine(plan, dtype)
    rng = np.random.default_rng(0)
    engine.params[:] = rng.normal(size=plan.n_params) * 0.1
    x = rng.normal(size=(rows, plan.n_in))
    out = np.empty((rows, plan.n_out), dtype)
    engine.forward(_engine.Data(x), out)

    values = {(p.layer, p.name): p for p in plan.parameters}
    a = x
    for i, layer in enumerate(stack):
        if isinstance(layer, layers.Dense):
            kernel = values[i, "kernel"]
            w = engine.params[kernel.offset : kernel.offset + kernel.size].reshape(kernel.shape)
            a = a @ w.astype(np.float64)
            if layer.use_bias:
                bias = values[i, "bias"]
                a = a + engine.params[bias.offset : bias.offset + bias.size]
        elif isinstance(layer, layers.Rescaling):
            a = layer.scale * a + layer.offset
        if isinstance(layer, layers.Dense | layers.Activation) and a.size:
            a = activate(a, layer.activation.name)
    tolerance = 1e-11 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(out, a, rtol=tolerance, atol=tolerance)


@given(st.integers(0, 10_000))
def test_stride(n: int) -> None:
    ld = stride(n)
    assert n <= ld < n + 2 * LINE + (n == 0)
    assert ld % LINE == 0
    assert ld % ALIAS != 0


def test_activation_is_folded_only_into_a_linear_dense() -> None:
    def kinds(*stack: layers.Layer) -> list[str]:
        return [KINDS[op["kind"]] for op in compile_plan(stack, (4,)).ops]

    assert kinds(layers.Dense(2), layers.Activation("relu")) == ["dense"]
    assert kinds(layers.Dense(2, "tanh"), layers.Activation("relu")) == ["dense", "activation"]
    assert kinds(layers.Rescaling(2.0), layers.Dense(2)) == ["dense"]
    assert kinds(layers.Dense(2), layers.Rescaling(2.0)) == ["dense", "affine"]


def test_rescalings_before_any_op_are_one() -> None:
    plan = compile_plan([layers.Rescaling(2.0, 1.0), layers.Rescaling(3.0, -4.0)], (2,))
    assert (plan.in_scale, plan.in_offset) == (6.0, -1.0)


@pytest.mark.parametrize("shape", [(2, 3), (4, 4, 1)])
def test_dense_refuses_other_than_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Flatten"):
        compile_plan([layers.Dense(2)], shape)

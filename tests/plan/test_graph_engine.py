"""Random graphs: the engine agrees with NumPy, central differences and itself on other threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import layer_outputs, normal_draws
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, initializers, layers, losses, optimizers, regularizers
from nnfast._engine import core
from nnfast._plan.graph import Graph
from nnfast._plan.plan import Plan, compile_graph
from nnfast._plan.symbolic import KerasTensor

Array = NDArray[Any]
THREADS = (1, 2, 3, 4, 7)


class Step(NamedTuple):
    """How NumPy computes a tensor: a function of its inputs, or layers with weights."""

    inputs: tuple[int, ...]
    function: Callable[..., Array] | None
    layers: list[layers.Layer]


class Drawn(NamedTuple):
    """A random graph, and the same as a list of steps, which make the tensors after the inputs."""

    graph: Graph
    steps: list[Step]
    outputs: list[int]


class Builder:
    """Adds random layers to a graph."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        shapes = [(1,), (3,), (8,), (17,), (5, 3), (2, 16), (40, 2), (2, 3, 4)]
        drawn = draw(st.lists(st.sampled_from(shapes), min_size=1, max_size=3))
        self.tensors = [nnfast.Input(shape) for shape in drawn]
        self.inputs = self.tensors[:]
        self.steps: list[Step] = []
        self.dense: list[layers.Dense] = []
        self.models: list[nnfast.Sequential] = []
        self.used: set[int] = set()

    def add(self, y: KerasTensor, inputs: tuple[int, ...], how: Any) -> None:
        function = None if isinstance(how, list) else how
        self.steps.append(Step(inputs, function, [] if function else how))
        self.tensors.append(y)
        self.used.update(inputs)

    def pick(self, rank: int | None = None) -> int | None:
        found = [i for i, t in enumerate(self.tensors) if rank is None or t.ndim == rank]
        return self.draw(st.sampled_from(found)) if found else None

    def choose(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    # ---- one layer of each kind ------------------------------------------------------------------

    def layer(self, made: layers.Layer, i: int) -> None:
        self.add(made(self.tensors[i]), (i,), [made])

    def add_dense(self) -> None:
        i = self.pick(self.choose(2, 3, None)) or 0
        penalty = self.choose(None, None, regularizers.L2(0.05))
        activation = self.choose("linear", "relu", "tanh", "softplus", "gelu", "softmax")
        units = self.choose(1, 3, 8, 17, 32, 256) if self.tensors[i].ndim == 2 else 16
        units = self.choose(1, 3, units)
        made = layers.Dense(units, activation=activation, activity_regularizer=penalty)
        self.dense.append(made)
        self.layer(made, i)

    def add_shared(self) -> None:
        if self.dense:
            made = self.draw(st.sampled_from(self.dense))
            size = made.input_shape[-1]
            inputs = [i for i, t in enumerate(self.tensors) if t.shape[-1] == size]
            self.layer(made, self.draw(st.sampled_from(inputs)))

    def add_model(self) -> None:
        """Call a model, which other models or calls may share."""
        i = self.pick() or 0
        if not self.models or self.choose(0, 1):
            first, last = layers.Dense(self.choose(3, 16), "relu"), layers.Dense(8)
            shape = self.tensors[i].shape[1:]
            self.models.append(nnfast.Sequential([nnfast.Input(shape), first, last]))
        model = self.draw(st.sampled_from(self.models))
        inputs = [k for k, t in enumerate(self.tensors) if t.shape == model.input_shape]
        i = self.draw(st.sampled_from(inputs))
        self.add(model(self.tensors[i]), (i,), model.layers)

    def add_activation(self) -> None:
        made = self.choose(
            *map(layers.Activation, ("relu", "tanh", "softplus", "softmax")),
            layers.ReLU(1.0, 0.25, 0.125),
            layers.PReLU(initializers.RandomUniform(0.1, 0.9, seed=1)),
            layers.PReLU(initializers.Constant(0.25), shared_axes=[1]),
            layers.Softmax(axis=1),
        )
        self.layer(made, self.pick() or 0)

    def add_normalization(self) -> None:
        i = self.pick() or 0
        kind = self.choose(layers.LayerNormalization, layers.BatchNormalization, layers.Dropout)
        made = kind(0.0) if kind is layers.Dropout else kind()
        if kind is layers.BatchNormalization:
            made.trainable = False
        if self.choose(0, 1):
            groups = 2 if self.tensors[i].shape[-1] % 2 == 0 else 1  # type: ignore[operator]
            made = self.choose(layers.GroupNormalization(groups), layers.UnitNormalization())
        self.layer(made, i)

    def add_reshape(self) -> None:
        i = self.pick() or 0
        n = math.prod(self.tensors[i].shape[1:])  # type: ignore[arg-type]
        shape = self.choose((n,), (n // 2, 2), (n // 16, 16), (1, n))
        if math.prod(shape) == n:
            self.layer(layers.Reshape(shape), i)

    def add_merge(self) -> None:
        first = self.pick() or 0
        matches = [i for i in range(len(self.tensors)) if self._broadcasts(first, i)]
        count = self.draw(st.integers(1, 3))
        inputs = (first, *(self.draw(st.sampled_from(matches)) for _ in range(count)))
        kind = self.choose("add", "average", "multiply", "maximum", "minimum", "subtract")
        inputs = inputs[:2] if kind == "subtract" else inputs
        try:
            y = getattr(layers, kind)([self.tensors[i] for i in inputs])
        except ValueError:  # the others do not broadcast with each other
            return
        self.add(y, inputs, MERGES[kind])

    def _broadcasts(self, a: int, b: int) -> bool:
        try:
            np.broadcast_shapes(self.tensors[a].shape[1:], self.tensors[b].shape[1:])  # type: ignore[arg-type]
        except ValueError:
            return False
        return True

    def add_concatenate(self) -> None:
        first = self.pick() or 0
        axis = self.draw(st.integers(1, self.tensors[first].ndim - 1))

        def rest(i: int) -> tuple[Any, ...]:
            shape = self.tensors[i].shape
            return (len(shape), *shape[:axis], *shape[axis + 1 :])

        matches = [i for i in range(len(self.tensors)) if rest(i) == rest(first)]
        inputs = (first, *(self.draw(st.sampled_from(matches)) for _ in range(self.choose(1, 2))))
        penalty = self.choose(None, regularizers.L2(0.05))
        merged = layers.Concatenate(axis=axis, activity_regularizer=penalty)
        self.add(
            merged([self.tensors[i] for i in inputs]), inputs, lambda *a: np.concatenate(a, axis)
        )

    def add_slice(self) -> None:
        i = self.pick() or 0
        size = self.tensors[i].shape[1]
        begin = self.draw(st.integers(0, size - 1))  # type: ignore[operator]
        part = (
            slice(begin, None, self.choose(1, 2)) if self.choose(0, 1) else slice(begin, None, -1)
        )
        self.add(self.tensors[i][:, part], (i,), lambda x: x[:, part])

    def add_column(self) -> None:
        if (i := self.pick(3)) is not None:
            self.add(self.tensors[i][:, :, -1], (i,), lambda x: x[:, :, -1])

    def add_dot(self) -> None:
        i = self.pick() or 0
        a = self.draw(st.integers(1, self.tensors[i].ndim - 1))
        matches = [
            (j, b)
            for j, t in enumerate(self.tensors)
            for b in range(1, t.ndim)
            if t.shape[b] == self.tensors[i].shape[a]
        ]
        j, b = self.draw(st.sampled_from(matches))
        normalize = self.choose(False, True)
        y = layers.dot([self.tensors[i], self.tensors[j]], axes=(a, b), normalize=normalize)
        self.add(y, (i, j), lambda x, z: dot(x, z, a, b, normalize))

    def add_sampling(self) -> None:
        i = self.pick() or 0
        matches = [j for j, t in enumerate(self.tensors) if t.shape == self.tensors[i].shape]
        inputs = (i, self.draw(st.sampled_from(matches)))
        y = layers.Sampling(seed=5)([self.tensors[k] for k in inputs])
        self.add(y, inputs, lambda m, v: m + np.exp(v / 2) * normal_draws(5, m.shape))

    def add_loss(self) -> None:
        inputs = (self.pick() or 0, self.pick() or 0)
        y = layers.AddLoss(self.choose(0.1, -0.02))([self.tensors[k] for k in inputs])
        self.add(y, inputs, lambda x, penalty: x)

    def add_constant(self) -> None:
        i = self.pick() or 0
        shape = self.tensors[i].shape[self.choose(1, -1) :]
        constant = np.random.default_rng(len(self.tensors)).uniform(0.5, 2, shape)  # type: ignore[arg-type]
        how = CONSTANTS[self.choose(*CONSTANTS)]
        self.add(how(self.tensors[i], constant), (i,), lambda x: how(x, constant))

    def add_operator(self) -> None:
        i = self.pick() or 0
        name = self.choose(*OPERATORS)
        self.add(OPERATORS[name](self.tensors[i]), (i,), OPERATORS[name])

    def finish(self) -> Drawn:
        """Join all tensors that no layer reads, and compute an output from them.

        Up to two other tensors are outputs, too. Layers may read them, and they may be inputs.
        """
        ends = [i for i in range(len(self.tensors)) if i not in self.used]
        for k, i in enumerate(ends):
            if self.tensors[i].ndim > 2:
                self.layer(layers.Flatten(), i)
                ends[k] = len(self.tensors) - 1
        if len(ends) > 1:
            y = layers.concatenate([self.tensors[i] for i in ends])
            self.add(y, tuple(ends), lambda *a: np.concatenate(a, 1))
            ends = [len(self.tensors) - 1]
        others = self.draw(st.lists(st.integers(0, len(self.tensors) - 1), max_size=2, unique=True))
        n = self.tensors[ends[0]].shape[1] or 1
        steps = self.choose(*(k for k in (1, 1, 2, 33) if n % k == 0))
        if steps > 1:
            self.layer(layers.Reshape((steps, n // steps)), ends[0])
            ends = [len(self.tensors) - 1]
        self.layer(layers.Dense(2), ends[0])
        outputs = [len(self.tensors) - 1, *others]
        graph = Graph(self.inputs, [self.tensors[i] for i in outputs])
        return Drawn(graph, self.steps, outputs)


def padded(arrays: tuple[Array, ...]) -> list[Array]:
    """Give samples the same number of axes, by axes of size 1 after the batch."""
    rank = max(a.ndim for a in arrays)
    return [a.reshape(len(a), *[1] * (rank - a.ndim), *a.shape[1:]) for a in arrays]


MERGES: dict[str, Callable[..., Array]] = {
    "add": lambda *a: sum(padded(a)),  # type: ignore[dict-item, return-value]
    "average": lambda *a: sum(padded(a)) / len(a),  # type: ignore[dict-item, return-value]
    "multiply": lambda *a: math.prod(padded(a)),  # type: ignore[arg-type, return-value]
    "maximum": lambda *a: np.max(np.broadcast_arrays(*padded(a)), axis=0),
    "minimum": lambda *a: np.min(np.broadcast_arrays(*padded(a)), axis=0),
    "subtract": lambda a, b: np.subtract(*padded((a, b))),
}
OPERATORS: dict[str, Callable[[Any], Any]] = {
    "plus": lambda x: x + 0.5,
    "minus": lambda x: 1 - x,
    "times": lambda x: -2 * x,
    "square": lambda x: x**2,
    "exponential": lambda x: 0.5**x,
    "divided": lambda x: x / (x * x + 1.0),
    "inverse": lambda x: 1 / (x * x + 1.0),
}


CONSTANTS: dict[str, Callable[[Any, Array], Any]] = {
    "plus": lambda x, c: c + x,
    "from": lambda x, c: c - x,
    "minus": lambda x, c: x - c,
    "times": lambda x, c: x * c,
    "divided": lambda x, c: x / c,
    "inverse": lambda x, c: c / (x * x + 1.0),
    "power": lambda x, c: (x * x + 0.1) ** c,
    "exponential": lambda x, c: c**x,
}


def dot(x: Array, z: Array, a: int, b: int, normalize: bool) -> Array:
    if normalize:
        x = x / np.sqrt(np.maximum((x * x).sum(a, keepdims=True), 1e-12))
        z = z / np.sqrt(np.maximum((z * z).sum(b, keepdims=True), 1e-12))
    rows = [np.tensordot(p, q, (a - 1, b - 1)) for p, q in zip(x, z, strict=True)]
    return np.stack(rows).reshape(len(x), *(rows[0].shape or (1,)))


KINDS = sorted(name for name in vars(Builder) if name.startswith("add_"))


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    """Draw a graph of up to 12 layers in depth, in which each tensor has a reader."""
    builder = Builder(draw)
    for kind in draw(st.lists(st.sampled_from(["add_dense", "add_shared", *KINDS]), max_size=9)):
        if max(t.ndim for t in builder.tensors) <= 3:
            getattr(builder, kind)()
        else:  # NumPy's reference of a dot product knows two axes
            break
    return builder.finish()


class Compiled(NamedTuple):
    plan: Plan
    engine: _engine.Engine
    weights: dict[layers.Layer, dict[str, Array]]


def compiled(drawn: Drawn, dtype: str = "float64") -> Compiled:
    """Return an engine for a graph, with random weights."""
    flat = drawn.graph.flat
    plan = compile_graph(flat)
    engine = _engine.Engine(plan, dtype)
    engine.set_seed(3)
    for k, activation in enumerate(plan.final_activations):
        loss = losses.resolve("mse").engine_loss(activation)
        engine.set_loss(*loss, head=k, loss_weight=1 - 0.25 * k)
    sgd = optimizers.SGD()
    engine.set_optimizer(_engine.OPTIMIZERS[sgd.kind], sgd.n_slots, tuple(sgd.hyper))
    rng = np.random.default_rng(0)
    weights: dict[Any, dict[str, Array]] = {layer: {} for layer in flat.layers}
    for p, view in zip(plan.parameters, plan.views(engine.weights), strict=True):
        low = 0.5 if "variance" in p.name else -0.5
        view[...] = rng.uniform(low, low + 1, p.shape)
        weights[flat.layers[p.layer]][p.name] = view
    return Compiled(plan, engine, weights)


def reference(
    drawn: Drawn, weights: dict[layers.Layer, dict[str, Array]], x: list[Array]
) -> list[Array]:
    shapes = [tensor.shape[1:] for tensor in drawn.graph.inputs]
    values = [a.reshape(len(a), *shape) for a, shape in zip(x, shapes, strict=True)]  # type: ignore[arg-type]
    for step in drawn.steps:
        inputs = [values[i] for i in step.inputs]
        value = inputs[0] if step.function is None else step.function(*inputs)
        for layer in step.layers:
            value = layer_outputs(layer, value, weights.get(layer, {}))
        values.append(value)
    return [values[i].reshape(len(x[0]), -1) for i in drawn.outputs]


def random_rows(shapes: list[Any], rows: int, dtype: str = "float64") -> list[Array]:
    """Return random rows of all inputs or outputs."""
    rng = np.random.default_rng(len(shapes) + math.prod(shapes[0]))
    return [rng.standard_normal((rows, math.prod(shape))).astype(dtype) for shape in shapes]


def empty_rows(shapes: list[Any], rows: int, dtype: str = "float64") -> list[Array]:
    return [np.empty((rows, math.prod(shape)), dtype) for shape in shapes]


@contextmanager
def poisoned(threads: int = 0) -> Iterator[None]:
    """Fill new working memory with NaN, and use exactly so many threads; 0: as many as pay."""
    core.poison(True)
    core.force_threads(threads)
    try:
        yield
    finally:
        core.poison(False)
        core.force_threads(0)


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(1, 13))
def test_the_engine_agrees_with_numpy(drawn: Drawn, rows: int) -> None:
    plan, engine, weights = compiled(drawn)
    x, out = random_rows(plan.input_shapes, rows), empty_rows(plan.output_shapes, rows)
    with poisoned():
        engine.forward(_engine.Data(x), out)
    for own, expected in zip(out, reference(drawn, weights, x), strict=True):
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(own / scale, expected / scale, atol=1e-8)


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(1, 9))
def test_gradients_agree_with_central_differences(drawn: Drawn, rows: int) -> None:
    plan, engine, _ = compiled(drawn)
    x, y = random_rows(plan.input_shapes, rows), random_rows(plan.output_shapes, rows)
    data, dx = _engine.Data(x, y), empty_rows(plan.input_shapes, rows)
    with poisoned():
        loss = engine.loss_and_grad(data)
        engine.input_gradient(data, dx)
    if not abs(loss) < 1e4:
        return  # differences of large numbers are inexact
    gradient = np.array(engine.grads)[: plan.n_params]
    arrays = [np.asarray(engine.weights)[: plan.n_params], *x]
    rng = np.random.default_rng(0)
    for target, exact in zip(arrays, [gradient, *dx], strict=True):
        factor = 1 if exact is gradient else rows
        start, direction = target.copy(), rng.normal(size=target.shape)

        def along(t: float, of: tuple[Array, ...] = (target, start, direction)) -> float:
            of[0][...] = of[1] + t * of[2]
            value = engine.evaluate(_engine.Data(x, y))
            of[0][...] = of[1]
            return value

        near, far = (factor * (along(h) - along(-h)) / (2 * h) for h in (1e-6, 2e-6))
        scale = max(1.0, abs(near), rows * abs(loss))
        if abs(near - far) < 1e-5 * scale:  # otherwise, a kink is between the points
            assert (direction * exact).sum() == pytest.approx(near, abs=5e-5 * scale)


@settings(max_examples=40, deadline=None)
@given(graphs(), st.sampled_from([5, 64, 400]))
def test_the_number_of_threads_changes_no_bit(drawn: Drawn, rows: int) -> None:
    results = set()
    for threads in THREADS:
        plan, engine, _ = compiled(drawn, "float32")
        x = random_rows(plan.input_shapes, rows, "float32")
        y = random_rows(plan.output_shapes, rows, "float32")
        n_losses = 1 + len(y) if len(y) > 1 else 1
        step_losses, out = np.zeros(3 * n_losses), empty_rows(plan.output_shapes, rows, "float32")
        with poisoned(threads):
            engine.run(_engine.Data(x, y), min(rows, 150), True, np.full(3, 0.01), step_losses)
            engine.forward(_engine.Data(x), out)
        arrays = step_losses, np.asarray(engine.weights), *out
        results.add(tuple(array.tobytes() for array in arrays))
    assert len(results) == 1

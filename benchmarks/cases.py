"""The cases of the comparison, with their goals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from networks import (
    AUTOENCODER,
    DISCRIMINATOR,
    GENERATOR,
    KERAS_MNIST,
    LENET_5,
    AnyRecurrent,
    Attention,
    AveragePool,
    Bidirectional,
    Convolution,
    Dense,
    Embedding,
    Layer,
    Merging,
    Network,
    Product,
    Shape,
    Weighted,
    chain,
    residual_cnn,
    residual_mlp,
    stacked,
    text_transformer,
    transformer,
    two_inputs,
    wide_and_deep,
)
from numpy.typing import NDArray

CHECKED_STEPS = 5  # training steps whose losses must agree


@dataclass(frozen=True)
class Goal:
    """The time ratios that nnfast must reach in a case.

    Parameters
    ----------
    best : float or None
        Required ratio of the best peer's time to nnfast's. None if only `against` counts.
    stretch : float, optional
        A more ambitious value for `best`.
    share : float, optional
        Required ratio of the limit's time to nnfast's.
    limit : {"roofline", "FMA peak", "convolutions", "one read", "np.add", "20-64-1"}
        The time that limits nnfast: the roofline, the time of all multiply-adds, the time of the
        convolutions' multiply-adds, reading the weights once, `np.add` on the same row, or nnfast's
        own prediction of one row with a small chain.
    against : mapping
        Required ratios of the times of particular peers to nnfast's, by the peer's name.
    stretch_share : float, optional
        A more ambitious value for `share`.
    either : bool, default False
        Whether it is enough to reach one of `best` and `share`.
    """

    best: float | None
    stretch: float | None = None
    share: float | None = None
    limit: str = "roofline"
    against: Mapping[str, float] = field(default_factory=dict)
    stretch_share: float | None = None
    either: bool = False


@dataclass(frozen=True)
class Case:
    """A network, a batch size, and whether it trains or predicts.

    Contenders train for epochs of `steps` batches, or predict `rows` rows per call. If `stateful`,
    a call is a step that continues the sequence of the one before.
    """

    network: Network
    rows: int
    goal: Goal
    title: str = ""
    training: bool = True
    losses: tuple[str, ...] = ("crossentropy",)
    dtype: str = "float32"
    steps: int = 50
    shuffle: bool = True
    stateful: bool = False

    @property
    def name(self) -> str:
        words = [] if self.training else ["step"] if self.stateful else ["predict"]
        words += [self.title or "-".join(map(str, self.sizes)), f"@{self.rows}"]
        activations = {node.activation or "relu" for node in self.network.nodes}
        words += [word for word in (*activations, self.dtype) if word not in ("relu", "float32")]
        return " ".join(words)

    @property
    def dense(self) -> bool:
        """Whether all layers with weights are dense."""
        return all(isinstance(node.layer, Dense | Merging) for node in self.network.nodes)

    @property
    def convolutional(self) -> bool:
        return any(isinstance(layer, Convolution) for layer, _ in self.weighted)

    @property
    def has_sequences(self) -> bool:
        """Whether the inputs are sequences."""
        kinds = AnyRecurrent | Embedding | Attention
        return any(isinstance(layer, kinds) for layer, _ in self.weighted)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of elements in each tensor of one sample."""
        return tuple(map(math.prod, self.network.shapes))

    @property
    def weighted(self) -> list[tuple[Weighted, Shape]]:
        """The layers with weights, and the shapes of their inputs."""
        shapes = self.network.shapes
        return [(layer, shapes[node.inputs[0]]) for _, node, layer in self.network.weighted]

    @property
    def products(self) -> list[tuple[Weighted, Product, bool]]:
        """The matrix products with their layers, and whether each needs the gradient dX."""
        trained = self.network.trained
        return [
            (layer, product, trained[node.inputs[0]] or product.internal)
            for (_, node, layer), (_, shape) in zip(
                self.network.weighted, self.weighted, strict=True
            )
            for product in layer.products(shape)
        ]

    @property
    def params(self) -> int:
        arrays = (array for layer, shape in self.weighted for array in layer.arrays(shape))
        return sum(math.prod(array.shape) for array in arrays)

    @property
    def flops(self) -> int:
        """The FLOPs of all matrix products; the first layers need no dX."""
        return self._flops(Weighted)

    @property
    def convolution_flops(self) -> int:
        """The FLOPs of the convolutions."""
        return self._flops(Convolution)

    def _flops(self, kinds: Any) -> int:
        return sum(
            2 * self.rows * p.m * p.k * p.n * (2 + dx if self.training else 1)
            for layer, p, dx in self.products
            if isinstance(layer, kinds)
        )


def dense(
    sizes: tuple[int, ...], rows: int, goal: Goal, hidden: str = "relu", **options: Any
) -> Case:
    """Return a case with dense layers; `sizes` lists the widths from the input to the output."""
    return Case(chain(sizes[:1], [*map(Dense, sizes[1:])], hidden), rows, goal, **options)


def predict(sizes: tuple[int, ...], rows: int, goal: Goal) -> Case:
    loss = "mse" if sizes[-1] == 1 else "crossentropy"
    return dense(sizes, rows, goal, training=False, losses=(loss,), steps=1)


def images(title: str, layers: tuple[Layer, ...], rows: int) -> Case:
    goal = Goal(2.0, limit="convolutions")
    return Case(chain((28, 28, 1), layers), rows, goal, title, steps=8)


def sequences(
    title: str, shape: Shape, layers: Sequence[Layer], rows: int, goal: Goal, **options: Any
) -> Case:
    """Return a case that predicts one number from sequences; one of its goals is enough."""
    title = f"{title}, {shape[0]}×{shape[1]}"
    network, goal = chain(shape, [*layers, Dense(1)]), replace(goal, either=True)
    return Case(network, rows, goal, title, losses=("mse",), **options)


def text(
    title: str, steps: int, table: tuple[int, int], layers: Sequence[Layer], goal: Goal
) -> Case:
    """Return a case that assigns texts of `steps` tokens to two classes."""
    network = chain((steps,), [Embedding(*table), *layers, Dense(2)])
    return Case(network, 32, replace(goal, either=True), f"{title}, {steps}", steps=8)


CLASSIC = [
    dense((20, 64, 64, 10), 32, Goal(2.4, 3.0, 0.60, against={"torch": 25.0})),
    dense((20, 64, 64, 10), 256, Goal(2.0, 2.2, 0.80)),
    dense((64, 100, 10), 200, Goal(1.9, 2.1, 0.80)),
    dense((784, 128, 10), 32, Goal(2.0, 2.3, 0.80)),
    dense((784, 512, 512, 10), 128, Goal(1.2, 1.35, 0.85)),
]
TABULAR = dense((8, 128, 128, 128, 64, 1), 256, Goal(1.4, 1.5, 0.82), losses=("mse",))
LARGE = dense(
    (1024, 2048, 2048, 1000),
    256,
    Goal(None, 1.15, 0.85, against={"torch-compile": 1.05, "torch": 1.15, "jax": 1.15}),
    steps=8,
)
SIMPLE_CHAINS = dense(  # the task of SimpleChains.jl: every step uses all data
    (4, 32, 16, 4),
    10_000,
    Goal(3.0, 4.0, 0.40, "FMA peak", stretch_share=0.50),
    hidden="tanh",
    losses=("mse",),
    steps=1,
    shuffle=False,
)
DOUBLE = dense((64, 100, 10), 200, Goal(1.5, 2.0, 0.75, against={"sklearn": 5.0}), dtype="float64")
PREDICTIONS = [
    predict((20, 64, 64, 1), 1, Goal(6.0, 10.0, 1 / 4, "np.add")),
    predict((784, 128, 10), 1, Goal(1.8, 2.5, 1 / 1.5, "one read")),
    predict((20, 64, 64, 1), 10_000, Goal(1.3, 1.8, 0.80)),
    predict((784, 128, 10), 10_000, Goal(1.3, 1.8, 0.80)),
]
CONVOLUTIONAL = [
    images(title, layers, rows)
    for title, layers in (("Keras MNIST", KERAS_MNIST), ("LeNet-5", LENET_5))
    for rows in (32, 128)
]
TRANSPOSED = [
    Case(
        chain(shape, layers),
        rows,
        Goal(2.0, None, 0.70, "FMA peak", either=True),
        title,
        losses=("mse",),
        steps=8,
    )
    for title, shape, layers in (
        ("DCGAN generator", (100,), GENERATOR),
        ("DCGAN discriminator", (28, 28, 1), DISCRIMINATOR),
        ("denoising autoencoder", (28, 28, 1), AUTOENCODER),
    )
    for rows in (32, 128)
]
SMALL = Goal(2.5, 3.5, against={"torch": 5.0})
GRAPHS = [
    Case(residual_mlp(), 128, Goal(1.4, 1.7, 0.88, either=True), "residual MLP"),
    Case(wide_and_deep(), 32, SMALL, "wide & deep", losses=("mse",)),
    Case(two_inputs(1, 5), 64, SMALL, "20+10-64-1+5", losses=("mse", "crossentropy")),
    Case(
        residual_cnn(), 32, Goal(1.8, None, 0.75, "FMA peak", either=True), "residual CNN", steps=8
    ),
]
GRAPH_PREDICTIONS = [
    Case(network, 1, Goal(None, None, 1 / 3, "20-64-1"), title, False, losses, steps=1)
    for network, title, losses in (
        (two_inputs(1), "20+10-64-1", ("mse",)),
        (two_inputs(1, 5), "20+10-64-1+5", ("mse", "crossentropy")),
    )
]
RECURRENT = [
    sequences(title, shape, stacked(kind, *units), rows, goal, steps=steps)
    for title, shape, kind, units, rows, steps, goal in (
        ("LSTM 32", (30, 1), "LSTM", (32,), 32, 50, Goal(2.0, 2.2, 0.72)),
        ("LSTM 32", (120, 7), "LSTM", (32,), 256, 8, Goal(2.5, 2.85, 0.68)),
        ("LSTM 64", (50, 16), "LSTM", (64,), 64, 16, Goal(1.6, 1.8, 0.76)),
        ("SimpleRNN 16", (20, 1), "SimpleRNN", (16,), 16, 50, Goal(8.0, 10.0, 0.65)),
        ("2 LSTM 128", (50, 16), "LSTM", (128, 128), 32, 8, Goal(1.1, 1.25, 0.72)),
        ("4 LSTM 50", (60, 1), "LSTM", (50, 50, 50, 50), 32, 16, Goal(1.4, 1.7, 0.55)),
    )
]
TEXT = [
    text("embedded GRU 128", 100, (10_000, 64), stacked("GRU", 128), Goal(1.25, 1.4, 0.69)),
    text("embedded LSTM 128", 100, (10_000, 64), stacked("LSTM", 128), Goal(1.15, 1.27, 0.70)),
    text(
        "embedded bidirectional LSTM 64-64",
        200,
        (20_000, 128),
        [*map(Bidirectional, stacked("LSTM", 64, 64))],
        Goal(1.6, 1.8, 0.65),
    ),
    text("embedded mean-16", 256, (10_000, 16), [AveragePool(), Dense(16)], Goal(3.2, 4.0, 0.43)),
]
TRANSFORMERS = [
    *(
        Case(text_transformer(steps), 32, goal, f"text transformer, {steps}", steps=8)
        for steps, goal in (
            (64, Goal(1.75, 2.0, 0.61, either=True)),
            (200, Goal(1.5, 1.7, 0.65, either=True)),
        )
    ),
    Case(
        transformer((64, 128), 1, Attention(4, 32), 512),
        16,
        Goal(1.25, 1.5, 0.75, either=True),
        "transformer 128-512, 64×128",
        losses=("mse",),
        steps=8,
    ),
    Case(
        transformer((10, 64), 2, Attention(4, 16), 128),
        64,
        Goal(1.4, 1.65, 0.64, either=True),
        "2 transformers 64-128, 10×64",
        losses=("mse",),
        steps=16,
    ),
]
RECURRENT_PREDICTIONS = [
    sequences("LSTM 64", (50, 16), stacked("LSTM", 64), rows, goal, training=False, steps=1)
    for rows, goal in (
        (1, Goal(1.35, 1.5)),
        (64, Goal(1.15, 1.25, 0.77)),
        (1024, Goal(1.1, 1.18, 0.80)),
    )
]
POLICY = sequences(
    "LSTM 64",
    (1, 16),
    stacked("LSTM", 64),
    1,
    Goal(None, against={"onnxruntime": 5.0}),
    training=False,
    steps=1,
    stateful=True,
)
CASES = [
    *(*CLASSIC, TABULAR, LARGE, SIMPLE_CHAINS, DOUBLE, *PREDICTIONS, *CONVOLUTIONAL, *TRANSPOSED),
    *(*GRAPHS, *GRAPH_PREDICTIONS, *RECURRENT, *TEXT, *TRANSFORMERS),
    *(*RECURRENT_PREDICTIONS, POLICY),
]


class Problem:
    """The data and initial weights of a case, which are the same for every contender.

    There is one array of x for each input, and one of y for each output.
    """

    def __init__(self, case: Case, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n, real = case.rows * case.steps, np.dtype(case.dtype).type
        self.case = case
        self.n = n
        self.x: list[NDArray[Any]] = [
            rng.standard_normal((n, *shape), real)
            if (tokens := case.network.vocabulary(i)) is None
            else rng.integers(0, tokens, (n, *shape), np.int32)
            for i, shape in enumerate(case.network.inputs)
        ]
        self.y: list[NDArray[Any]] = [
            rng.standard_normal((n, case.sizes[output]), real)
            if loss == "mse"
            else rng.integers(0, case.sizes[output], n)
            for output, loss in zip(case.network.outputs, case.losses, strict=True)
        ]
        self.weights: list[NDArray[Any]] = [
            rng.standard_normal(array.shape, real) * real(array.scale) + real(array.mean)
            for layer, shape in case.weighted
            for array in layer.arrays(shape)
        ]

    def first_batches(
        self, inputs: list[NDArray[Any]] | None = None
    ) -> Iterator[tuple[list[NDArray[Any]], list[NDArray[Any]]]]:
        """Yield the first `CHECKED_STEPS` batches in order, starting again after the last one.

        inputs: arrays with the same rows in place of `x`.
        """
        for i in range(CHECKED_STEPS):
            start = i % self.case.steps * self.case.rows
            rows = slice(start, start + self.case.rows)
            yield [x[rows] for x in inputs or self.x], [y[rows] for y in self.y]

"""The cases of the comparison, with their goals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from networks import KERAS_MNIST, LENET_5, Conv, Dense, Layer, MaxPool, Product, Shape
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
    limit : {"roofline", "FMA peak", "convolutions", "np.add", "one read"}
        The time that limits nnfast: the roofline, the time of all multiply-adds, the time of the
        convolutions' multiply-adds, `np.add` on the same row, or reading the weights once.
    against : mapping
        Required ratios of the times of particular peers to nnfast's, by the peer's name.
    stretch_share : float, optional
        A more ambitious value for `share`.
    """

    best: float | None
    stretch: float | None = None
    share: float | None = None
    limit: str = "roofline"
    against: Mapping[str, float] = field(default_factory=dict)
    stretch_share: float | None = None


@dataclass(frozen=True)
class Case:
    """A network, a batch size, and whether it trains or predicts.

    Contenders train for epochs of `steps` batches, or predict `rows` rows per call.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]
    rows: int
    goal: Goal
    title: str = ""
    training: bool = True
    hidden: str = "relu"
    loss: str = "crossentropy"
    dtype: str = "float32"
    steps: int = 50
    shuffle: bool = True

    @property
    def name(self) -> str:
        words = [] if self.training else ["predict"]
        words += [self.title or "-".join(map(str, self.sizes)), f"@{self.rows}"]
        words += [word for word in (self.hidden, self.dtype) if word not in ("relu", "float32")]
        return " ".join(words)

    @property
    def dense(self) -> bool:
        """Whether all layers are dense."""
        return all(isinstance(layer, Dense) for layer in self.layers)

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of one sample: the input shape, then the output shape of each layer."""
        return list(
            accumulate(self.layers, lambda s, layer: layer.shape(s), initial=self.input_shape)
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of elements in each of the `shapes`."""
        return tuple(map(math.prod, self.shapes))

    @property
    def weighted(self) -> list[tuple[Dense | Conv, Shape]]:
        """The layers with weights, and the shapes of their inputs."""
        pairs = zip(self.layers, self.shapes, strict=False)
        return [(layer, shape) for layer, shape in pairs if not isinstance(layer, MaxPool)]

    @property
    def products(self) -> list[Product]:
        return [layer.product(shape) for layer, shape in self.weighted]

    @property
    def params(self) -> int:
        return sum((product.k + 1) * product.n for product in self.products)

    @property
    def flops(self) -> int:
        """The FLOPs of all matrix products; the first layer needs no dX."""
        return self._flops([True] * len(self.products))

    @property
    def convolution_flops(self) -> int:
        """The FLOPs of the convolutions."""
        return self._flops([isinstance(layer, Conv) for layer, _ in self.weighted])

    def _flops(self, counted: list[bool]) -> int:
        products = [
            2 * self.rows * p.m * p.k * p.n * counts
            for p, counts in zip(self.products, counted, strict=True)
        ]
        return 3 * sum(products) - products[0] if self.training else sum(products)


def dense(sizes: tuple[int, ...], rows: int, goal: Goal, **options: Any) -> Case:
    """Return a case with dense layers; `sizes` lists the widths from the input to the output."""
    return Case(sizes[:1], tuple(map(Dense, sizes[1:])), rows, goal, **options)


def predict(sizes: tuple[int, ...], rows: int, goal: Goal) -> Case:
    loss = "mse" if sizes[-1] == 1 else "crossentropy"
    return dense(sizes, rows, goal, training=False, loss=loss, steps=1)


def images(title: str, layers: tuple[Layer, ...], rows: int) -> Case:
    goal = Goal(2.0, limit="convolutions")
    return Case((28, 28, 1), layers, rows, goal, title, steps=8)


CLASSIC = [
    dense((20, 64, 64, 10), 32, Goal(2.4, 3.0, 0.60, against={"torch": 25.0})),
    dense((20, 64, 64, 10), 256, Goal(2.0, 2.2, 0.80)),
    dense((64, 100, 10), 200, Goal(1.9, 2.1, 0.80)),
    dense((784, 128, 10), 32, Goal(2.0, 2.3, 0.80)),
    dense((784, 512, 512, 10), 128, Goal(1.2, 1.35, 0.85)),
]
TABULAR = dense((8, 128, 128, 128, 64, 1), 256, Goal(1.4, 1.5, 0.82), loss="mse")
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
    loss="mse",
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
CASES = [*CLASSIC, TABULAR, LARGE, SIMPLE_CHAINS, DOUBLE, *PREDICTIONS, *CONVOLUTIONAL]


class Problem:
    """The data and initial weights of a case, which are the same for every contender."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n, real = case.rows * case.steps, np.dtype(case.dtype).type
        self.case = case
        self.x: NDArray[Any] = rng.standard_normal((n, *case.input_shape), real)
        self.y: NDArray[Any]
        if case.loss == "mse":
            self.y = rng.standard_normal((n, case.sizes[-1]), real)
        else:
            self.y = rng.integers(0, case.sizes[-1], n)
        self.weights: list[NDArray[Any]] = []
        for layer, shape in case.weighted:
            product = layer.product(shape)
            w = rng.standard_normal(layer.kernel(shape), real)
            b = rng.standard_normal(product.n, real)
            self.weights += [w * real(product.k**-0.5), b * real(0.1)]

    def first_batches(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield the first `CHECKED_STEPS` batches in order, starting again after the last one."""
        for i in range(CHECKED_STEPS):
            start = i % self.case.steps * self.case.rows
            rows = slice(start, start + self.case.rows)
            yield self.x[rows], self.y[rows]

"""The layers that networks of the comparison are made of: shapes and operations, no library's code.

Samples are channels last. Hidden layers with weights have the case's activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """What a row of the batch costs forward: m·k by k·n, for dW and dX as many."""

    m: int
    k: int
    n: int


@dataclass(frozen=True)
class Dense:
    """All inputs to all of `units` outputs; images are rows of their pixels to it."""

    units: int

    def shape(self, before: Shape) -> Shape:
        return (self.units,)

    def kernel(self, before: Shape) -> Shape:
        return (math.prod(before), self.units)

    def product(self, before: Shape) -> Product:
        return Product(1, math.prod(before), self.units)


@dataclass(frozen=True)
class Conv:
    """`filters` windows of size × size, stride 1; "same" puts zeros around the image."""

    filters: int
    size: int
    padding: str = "valid"

    def shape(self, before: Shape) -> Shape:
        less = 0 if self.padding == "same" else self.size - 1
        return (before[0] - less, before[1] - less, self.filters)

    def kernel(self, before: Shape) -> Shape:
        return (self.size, self.size, before[2], self.filters)

    def product(self, before: Shape) -> Product:
        height, width, _ = self.shape(before)
        return Product(height * width, self.size * self.size * before[2], self.filters)


@dataclass(frozen=True)
class MaxPool:
    """The largest of size × size, side by side."""

    size: int = 2

    def shape(self, before: Shape) -> Shape:
        return (before[0] // self.size, before[1] // self.size, before[2])


Layer = Dense | Conv | MaxPool

# The image classifier of Keras' introductions.
KERAS_MNIST: tuple[Layer, ...] = (
    *(Conv(32, 3), MaxPool(), Conv(64, 3), MaxPool(), Conv(64, 3)),
    *(Dense(64), Dense(10)),
)
LENET_5: tuple[Layer, ...] = (
    *(Conv(6, 5, "same"), MaxPool(), Conv(16, 5), MaxPool()),
    *(Dense(120), Dense(84), Dense(10)),
)

"""The layers of the compared networks: their shapes and operations, independent of any library.

Images are channels last. Hidden layers with weights use the case's activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """The product (m, k) · (k, n) in the forward pass for one sample; dW and dX cost the same."""

    m: int
    k: int
    n: int


@dataclass(frozen=True)
class Dense:
    """A dense layer with `units` outputs; it flattens images."""

    units: int

    def shape(self, input_shape: Shape) -> Shape:
        return (self.units,)

    def kernel(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape), self.units)

    def product(self, input_shape: Shape) -> Product:
        return Product(1, math.prod(input_shape), self.units)


@dataclass(frozen=True)
class Conv:
    """A convolution with `filters` windows of size × size and stride 1."""

    filters: int
    size: int
    padding: str = "valid"

    def shape(self, input_shape: Shape) -> Shape:
        reduction = 0 if self.padding == "same" else self.size - 1
        return (input_shape[0] - reduction, input_shape[1] - reduction, self.filters)

    def kernel(self, input_shape: Shape) -> Shape:
        return (self.size, self.size, input_shape[2], self.filters)

    def product(self, input_shape: Shape) -> Product:
        height, width, _ = self.shape(input_shape)
        return Product(height * width, self.size * self.size * input_shape[2], self.filters)


@dataclass(frozen=True)
class MaxPool:
    """A max pooling layer with adjacent windows of size × size."""

    size: int = 2

    def shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0] // self.size, input_shape[1] // self.size, input_shape[2])


Layer = Dense | Conv | MaxPool

# The image classifier of Keras' introductory examples.
KERAS_MNIST: tuple[Layer, ...] = (
    *(Conv(32, 3), MaxPool(), Conv(64, 3), MaxPool(), Conv(64, 3)),
    *(Dense(64), Dense(10)),
)
LENET_5: tuple[Layer, ...] = (
    *(Conv(6, 5, "same"), MaxPool(), Conv(16, 5), MaxPool()),
    *(Dense(120), Dense(84), Dense(10)),
)

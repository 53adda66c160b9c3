"""Layers that change the shape of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape, entries, shape
from nnfast._utils.registry import choose
from nnfast.layers.layer import Layer, LayerOptions
from nnfast.layers.resampling import INTERPOLATIONS, Resampled, pair
from nnfast.layers.window import channels_last

__all__ = [
    "Flatten",
    "Reshape",
    "UpSampling2D",
    "ZeroPadding2D",
]


class Flatten(Layer):
    """Flatten each sample into one axis: (n, a, b, …) → (n, a·b·…), in C order.

    Examples
    --------
    >>> Flatten().infer_shape((28, 28))
    (784,)
    """

    def infer_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)


class Reshape(Layer):
    """Reshape each sample, in C order.

    Parameters
    ----------
    target_shape : tuple of int
        Shape of one sample, without the batch axis. One entry may be -1; its size is inferred.
    **options
        See `Layer`.

    Examples
    --------
    >>> Reshape((-1, 28)).infer_shape((784,))
    (28, 28)
    """

    _fields = ("target_shape",)

    def __init__(self, target_shape: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        sizes = entries("target_shape", target_shape)
        shape("target_shape", [1 if size == -1 else size for size in sizes])
        if sizes.count(-1) > 1:
            raise ValueError(f"target_shape can have only one -1; received {tuple(target_shape)}")
        self.target_shape = tuple(int(size) for size in sizes)

    def infer_shape(self, input_shape: Shape) -> Shape:
        size = math.prod(input_shape)
        known = math.prod(entry for entry in self.target_shape if entry != -1)
        inferred = size // known if known else 0
        out = tuple(inferred if entry == -1 else entry for entry in self.target_shape)
        if math.prod(out) != size:
            raise ValueError(
                f"Reshape layer {self.name!r} cannot reshape samples of shape {input_shape} "
                f"({size} elements) to {self.target_shape}"
            )
        return out


class ZeroPadding2D(Resampled):
    """Pad each image with rows and columns of zeros.

    Parameters
    ----------
    padding : int, pair of int or pair of pairs, default (1, 1)
        Number of rows and columns of zeros: an integer for all four sides,
        (rows above and below, columns left and right), or ((above, below), (left, right)).
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> ZeroPadding2D(((1, 0), (2, 3))).infer_shape((4, 4, 1))
    (5, 9, 1)
    """

    _fields = ("padding", "data_format")

    def __init__(
        self,
        padding: int | Sequence[int | Sequence[int]] = (1, 1),
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        sides: list[Any] = [padding, padding]
        if isinstance(padding, Sequence) and not isinstance(padding, (str, bytes)):
            sides = entries("padding", padding)
        if len(sides) != 2:
            raise ValueError(
                "padding must be an integer, a pair of integers or a pair of pairs, ((above, "
                f"below), (left, right)); received {padding!r}"
            )
        rows, columns = (pair(f"padding[{i}]", side, minimum=0) for i, side in enumerate(sides))
        self.padding = (rows, columns)
        self.data_format = channels_last(data_format)

    def infer_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self._image(input_shape)
        rows, columns = self.padding
        return (height + sum(rows), width + sum(columns), channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        (above, _), (left, _) = self.padding
        return self._resample("pad", input_shape, low=(above, left))


class UpSampling2D(Resampled):
    """Enlarge each image by integer factors.

    Parameters
    ----------
    size : int or pair of int, default (2, 2)
        Factors for the height and the width.
    data_format : "channels_last", optional
        Only this layout is supported.
    interpolation : {"nearest", "bilinear"}, default "nearest"
        "nearest" repeats every pixel; "bilinear" interpolates linearly between pixel centres.
    **options
        See `Layer`.

    Examples
    --------
    >>> UpSampling2D((2, 3)).infer_shape((4, 4, 8))
    (8, 12, 8)
    """

    _fields = ("size", "data_format", "interpolation")

    def __init__(
        self,
        size: int | Sequence[int] = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.size = pair("size", size, minimum=1)
        self.data_format = channels_last(data_format)
        choose("interpolation", interpolation, INTERPOLATIONS)
        self.interpolation = interpolation

    def infer_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self._image(input_shape)
        return (height * self.size[0], width * self.size[1], channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        if self.size == (1, 1):
            return []
        kind = "stretch" if self.interpolation == "bilinear" else "repeat"
        return self._resample(kind, input_shape)

"""Layers that change the shape of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

from nnfast._plan.open_shapes import is_open
from nnfast._plan.spec import Op, OpenShape
from nnfast._utils.checks import Shape, entries, integer, shape
from nnfast._utils.registry import choose
from nnfast.layers.layer import Layer, LayerOptions
from nnfast.layers.merged_ops import broadcast_op, permutation_ops
from nnfast.layers.resampling import INTERPOLATIONS, Resampled, pair, sides, whole
from nnfast.layers.window import channels_last

__all__ = [
    "Cropping1D",
    "Cropping2D",
    "Flatten",
    "Permute",
    "RepeatVector",
    "Reshape",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
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

    def infer_open_shapes(self, *shapes: OpenShape) -> list[OpenShape]:
        if not is_open(shapes):
            return super().infer_open_shapes(*shapes)
        return [tuple(None if entry == -1 else entry for entry in self.target_shape)]


class Permute(Layer):
    """Permute the axes of each sample: axis i of the output is axis dims[i] of the input.

    Parameters
    ----------
    dims : tuple of int
        The numbers of the input's axes, counted from 1, in the order of the output. The batch axis
        is not part of them.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If `dims` does not have each number from 1 to its length once.

    Examples
    --------
    >>> Permute((2, 1)).infer_shape((10, 64))
    (64, 10)
    """

    _fields = ("dims",)

    def __init__(self, dims: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.dims = tuple(integer("each entry of dims", axis, 1) for axis in entries("dims", dims))
        if sorted(self.dims) != [*range(1, len(self.dims) + 1)]:
            raise ValueError(
                f"dims must have each of the numbers 1, 2, … once, one per axis; received {dims!r}"
            )

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != len(self.dims):
            raise ValueError(
                f"Permute layer {self.name!r} expects samples with {len(self.dims)} axes; "
                f"received shape {input_shape}"
            )
        return tuple(input_shape[axis - 1] for axis in self.dims)

    def ops(self, input_shape: Shape) -> list[Op]:
        return permutation_ops(input_shape, [axis - 1 for axis in self.dims])


class RepeatVector(Layer):
    """Repeat each sample n times: (features,) → (n, features).

    Parameters
    ----------
    n : int
        Number of repetitions, at least 1.
    **options
        See `Layer`.

    Examples
    --------
    >>> RepeatVector(3).infer_shape((32,))
    (3, 32)
    """

    _fields = ("n",)

    def __init__(self, n: int, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.n = integer("n", n, minimum=1)

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(
                f"RepeatVector layer {self.name!r} expects samples of shape (features,); received "
                f"shape {input_shape}"
            )
        return (self.n, *input_shape)

    def ops(self, input_shape: Shape) -> list[Op]:
        return [broadcast_op(input_shape, self.infer_shape(input_shape))]


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
        self.padding = sides("padding", padding)
        self.data_format = channels_last(data_format)

    def infer_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self._image(input_shape)
        rows, columns = self.padding
        return (height + sum(rows), width + sum(columns), channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        (above, below), (left, right) = self.padding
        height, width, _ = input_shape
        return self._stretch(input_shape, ((-above, -left), (height + below, width + right)))


class ZeroPadding1D(Resampled):
    """Pad each sequence (steps, channels) with steps of zeros.

    Parameters
    ----------
    padding : int or pair of int, default 1
        Number of steps before and after the sequence.
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> ZeroPadding1D((2, 3)).infer_shape((4, 8))
    (9, 8)
    """

    rank = 1
    _fields = ("padding", "data_format")

    def __init__(
        self,
        padding: int | Sequence[int] = 1,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.padding = pair("padding", padding, minimum=0)
        self.data_format = channels_last(data_format)

    def infer_shape(self, input_shape: Shape) -> Shape:
        _, steps, channels = self._image(input_shape)
        return (steps + sum(self.padding), channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        before, after = self.padding
        return self._stretch(input_shape, ((0, -before), (1, input_shape[0] + after)))


class Cropping2D(Resampled):
    """Remove rows and columns at the edges of each image.

    Parameters
    ----------
    cropping : int, pair of int or pair of pairs, default ((0, 0), (0, 0))
        Number of rows and columns: an integer for all four sides, (rows above and below, columns
        left and right), or ((above, below), (left, right)). Something has to remain.
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> Cropping2D(((1, 0), (2, 3))).infer_shape((8, 8, 1))
    (7, 3, 1)
    """

    _fields = ("cropping", "data_format")

    def __init__(
        self,
        cropping: int | Sequence[int | Sequence[int]] = ((0, 0), (0, 0)),
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.cropping = sides("cropping", cropping)
        self.data_format = channels_last(data_format)

    def infer_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self._image(input_shape)
        rows, columns = self.cropping
        height, width = height - sum(rows), width - sum(columns)
        _check_cropped(self, self.cropping, input_shape, (height, width))
        return (height, width, channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        (above, below), (left, right) = self.cropping
        height, width, _ = input_shape
        return self._stretch(input_shape, ((above, left), (height - below, width - right)))


class Cropping1D(Resampled):
    """Remove steps at both ends of each sequence (steps, channels).

    Parameters
    ----------
    cropping : int or pair of int, default (1, 1)
        Number of steps at the beginning and at the end. Something has to remain.
    **options
        See `Layer`.

    Examples
    --------
    >>> Cropping1D((1, 2)).infer_shape((10, 4))
    (7, 4)
    """

    rank = 1
    _fields = ("cropping",)

    def __init__(
        self, cropping: int | Sequence[int] = (1, 1), **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.cropping = pair("cropping", cropping, minimum=0)

    def infer_shape(self, input_shape: Shape) -> Shape:
        _, steps, channels = self._image(input_shape)
        _check_cropped(self, self.cropping, input_shape, (steps - sum(self.cropping),))
        return (steps - sum(self.cropping), channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        before, after = self.cropping
        return self._stretch(input_shape, ((0, before), (1, input_shape[0] - after)))


def _check_cropped(layer: Layer, cropping: object, shape: Shape, left: Shape) -> None:
    """Raise a ValueError if nothing is left of a sample of this shape."""
    if min(left) < 1:
        raise ValueError(
            f"{type(layer).__name__} layer {layer.name!r} removes {cropping}, which leaves nothing "
            f"of samples of shape {shape}"
        )


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
        smooth = INTERPOLATIONS[self.interpolation]
        return self._stretch(input_shape, whole(input_shape), smooth=smooth)


class UpSampling1D(Resampled):
    """Repeat each step of the sequences (steps, channels).

    Parameters
    ----------
    size : int, default 2
        How often each step is repeated.
    **options
        See `Layer`.

    Examples
    --------
    >>> UpSampling1D(3).infer_shape((4, 8))
    (12, 8)
    """

    rank = 1
    _fields = ("size",)

    def __init__(self, size: int = 2, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.size = integer("size", size, minimum=1)

    def infer_shape(self, input_shape: Shape) -> Shape:
        _, steps, channels = self._image(input_shape)
        return (steps * self.size, channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        return self._stretch(input_shape, whole(self._image(input_shape)))

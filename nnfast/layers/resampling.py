"""The base classes of the layers that change images, and checks of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nnfast._engine import BORDERS, RESAMPLINGS
from nnfast._plan.spec import Op, Resampling
from nnfast._utils.checks import Shape, entries, integer, real
from nnfast.layers.layer import Layer
from nnfast.layers.window import AXES

# For each interpolation mode, whether it interpolates between pixels.
INTERPOLATIONS = {"nearest": False, "bilinear": True}

# The first row and column of a part of an image, and those after its last; they may be outside.
Region = tuple[tuple[int, int], tuple[int, int]]

# For each flip mode, whether it may reverse the order of an image's rows and of its columns.
MODES = {
    "horizontal": (0.0, 1.0),
    "vertical": (1.0, 0.0),
    "horizontal_and_vertical": (1.0, 1.0),
}


class ImageLayer(Layer):
    """Base class of the layers that compute each output image from one input image.

    A sequence (steps, channels) is treated as an image of one row.
    """

    rank: ClassVar[int] = 2
    data_format: str

    def _image(self, shape: Shape) -> tuple[int, int, int]:
        """Return (height, width, channels); raise ValueError if `shape` has other axes."""
        if len(shape) != self.rank + 1:
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} expects samples of shape "
                f"({', '.join(AXES[self.rank])}); received shape {shape}"
            )
        return shape[-3] if self.rank > 1 else 1, shape[-2], shape[-1]

    def infer_shape(self, input_shape: Shape) -> Shape:
        return self._image(input_shape)


class Resampled(ImageLayer):
    """Base class of the layers whose output pixels are interpolated between input pixels."""

    def _resample(
        self,
        kind: str,
        shape: Shape,
        *,
        seed: int | None = None,
        border: str = "constant",
        training_only: bool = False,
        **settings: Any,
    ) -> list[Op]:
        """Return the resampling op for inputs of `shape`; see `Resampling` for its settings."""
        height, width, channels = self._image(shape)
        after = self._image(self.infer_shape(shape))
        sizes = (height, width), after[:2], channels
        settings |= {"border": BORDERS[border], "seeded": seed is not None, "seed": seed or 0}
        resampling = Resampling(RESAMPLINGS[kind], *sizes, **settings)
        return [Op("resample", settings=resampling, training_only=training_only)]

    def _stretch(self, shape: Shape, region: Region, **settings: Any) -> list[Op]:
        """Return the op that stretches a region over the output, or none if it is the identity."""
        if region == whole(self._image(shape)) and shape == self.infer_shape(shape):
            return []
        return self._resample("stretch", shape, low=region[0], high=region[1], **settings)


def whole(shape: Shape) -> Region:
    """Return the region that is the whole image."""
    return (0, 0), (shape[0], shape[1])


class Resized(Resampled):
    """Base class of the layers whose output images have the size that the user chooses."""

    height: int
    width: int

    def infer_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self._image(input_shape)
        if height == 0 or width == 0:
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} expects images of at least one pixel; "
                f"received shape {input_shape}"
            )
        return (self.height, self.width, channels)

    def _central(self, shape: Shape) -> Region:
        """Return the largest central region of an image with the output's aspect ratio."""
        sizes = [max(1, min(n, size)) for n, size in zip(shape, self._fitting(shape), strict=False)]
        top, left = ((n - size) // 2 for n, size in zip(shape, sizes, strict=False))
        return (top, left), (top + sizes[0], left + sizes[1])

    def _fitting(self, shape: Shape) -> tuple[int, int]:
        """Return the height that fits the image's width, and the width that fits its height."""
        return shape[1] * self.height // self.width, shape[0] * self.width // self.height


def sides(name: str, value: object) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the numbers ((above, below), (left, right)) from an integer, a pair or two pairs."""
    each: list[Any] = [value, value]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        each = entries(name, value)
    if len(each) != 2:
        raise ValueError(
            f"{name} must be an integer, a pair of integers or a pair of pairs, ((above, below), "
            f"(left, right)); received {value!r}"
        )
    rows, columns = (pair(f"{name}[{i}]", side, minimum=0) for i, side in enumerate(each))
    return rows, columns


def pair(name: str, value: object, minimum: int) -> tuple[int, int]:
    """Return two integers from one integer or from a pair of integers."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 2:
            raise ValueError(f"{name} must be an integer or a pair of integers; received {value!r}")
        return (
            integer(f"{name}[0]", value[0], minimum=minimum),
            integer(f"{name}[1]", value[1], minimum=minimum),
        )
    size = integer(name, value, minimum=minimum)
    return size, size


def check_seed(seed: int | None) -> int | None:
    """Return the checked seed of a layer, which must fit in 64 bits or be None."""
    return None if seed is None else integer("seed", seed, minimum=0, maximum=2**64 - 1)


def limits(name: str, factor: object, **bounds: float) -> tuple[float, float]:
    """Return the limits of random numbers, from a pair or from a number f, which means (-f, f).

    `bounds` are those of `real`.
    """
    if isinstance(factor, Sequence) and not isinstance(factor, (str, bytes)):
        ends = [real(f"each entry of {name}", end, **bounds) for end in factor]
        if len(ends) != 2:
            raise ValueError(f"{name} must be a number or a pair of numbers; received {factor!r}")
        return min(ends), max(ends)
    limit = abs(real(name, factor, **bounds))
    return 0.0 - limit, limit  # not -0.0


def factor_limits(factor: object, low: float) -> tuple[float, float]:
    """Return the limits of random numbers, from a pair or from a number f between `low` and 1.

    A number f means (-f, f), or (0, f) if `low` is 0. As in Keras, a pair may reach beyond `low`
    and 1, but not lie outside.
    """
    if not isinstance(factor, Sequence) or isinstance(factor, (str, bytes)):
        limit = abs(real("factor", factor, low=low, high=1.0))
        return max(0.0 - limit, low), limit
    smallest, largest = limits("factor", factor)
    if smallest > 1.0 or largest < low:
        raise ValueError(f"factor must have numbers from {low} to 1; received {factor!r}")
    return smallest, largest

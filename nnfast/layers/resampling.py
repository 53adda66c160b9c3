"""The base class of the layers that resample images, and checks of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nnfast._engine import BORDERS, RESAMPLINGS
from nnfast._plan.spec import Op, Resampling
from nnfast._utils.checks import Shape, entries, integer
from nnfast.layers.layer import Layer
from nnfast.layers.window import AXES

# For each interpolation mode, whether it interpolates between pixels.
INTERPOLATIONS = {"nearest": False, "bilinear": True}

# For each flip mode, whether it may reverse the order of an image's rows and of its columns.
MODES = {
    "horizontal": (0.0, 1.0),
    "vertical": (1.0, 0.0),
    "horizontal_and_vertical": (1.0, 1.0),
}


class Resampled(Layer):
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

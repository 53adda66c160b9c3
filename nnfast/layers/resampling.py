"""The base class of the layers that resample images, and checks of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnfast._engine import BORDERS, RESAMPLINGS
from nnfast._plan.spec import Op, Resampling
from nnfast._utils.checks import Shape, integer
from nnfast.layers.layer import Layer

# For each interpolation mode, whether it interpolates between pixels.
INTERPOLATIONS = {"nearest": False, "bilinear": True}

# For each flip mode, whether it may reverse the order of an image's rows and of its columns.
MODES = {
    "horizontal": (0.0, 1.0),
    "vertical": (1.0, 0.0),
    "horizontal_and_vertical": (1.0, 1.0),
}


class Resampled(Layer):
    """Base class of the layers that compute each output image from one input image."""

    data_format: str

    def _image(self, shape: Shape) -> tuple[int, int, int]:
        """Return (height, width, channels); raise ValueError unless `shape` has three axes."""
        if len(shape) != 3:
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} expects samples of shape (height, "
                f"width, channels); received shape {shape}"
            )
        return shape[0], shape[1], shape[2]

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
        after = self.infer_shape(shape)
        sizes = (height, width), (after[0], after[1]), channels
        settings |= {"border": BORDERS[border], "seeded": seed is not None, "seed": seed or 0}
        resampling = Resampling(RESAMPLINGS[kind], *sizes, **settings)
        return [Op("resample", settings=resampling, training_only=training_only)]


def pair(name: str, value: object, minimum: int) -> tuple[int, int]:
    """Return the values for height and width from one integer or from a pair of integers."""
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

"""Images scaled, and changed at random in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from nnfast._engine import BORDERS
from nnfast._plan.spec import AffineSettings, Op
from nnfast._utils.checks import Shape, integer, real
from nnfast._utils.registry import choose
from nnfast.layers.layer import Layer, LayerOptions
from nnfast.layers.resampling import INTERPOLATIONS, MODES, Resampled, check_seed
from nnfast.layers.window import channels_last


class Rescaling(Layer):
    """y = scale·x + offset. As a model's first layer it is part of reading the input.

    Parameters
    ----------
    scale : float
    offset : float, default 0.0
    **options
        See `Layer`.

    Examples
    --------
    >>> Rescaling(1 / 255, name="to_unit").offset
    0.0
    """

    _fields = ("scale", "offset")

    def __init__(self, scale: float, offset: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.scale = real("scale", scale)
        self.offset = real("offset", offset)

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("affine", settings=AffineSettings(self.scale, self.offset))]


class RandomFlip(Resampled):
    """In training, reverse each image's rows, columns or both with probability ½; else nothing.

    What is drawn depends on the model's seed, or `seed`, the epoch, the layer (unless it has a
    seed of its own) and the row alone. In both directions the two are drawn apart.

    Parameters
    ----------
    mode : {"horizontal_and_vertical", "horizontal", "vertical"}
        "horizontal" exchanges left and right, "vertical" top and bottom.
    seed : int, optional
        Makes the draws independent of the model's seed.
    data_format : "channels_last", optional
    **options
        See `Layer`.

    Examples
    --------
    >>> RandomFlip("horizontal").infer_shape((28, 28, 1))
    (28, 28, 1)
    """

    _fields = ("mode", "seed", "data_format")
    training_differs = True

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        choose("mode", mode, MODES)
        self.mode = mode
        self.seed = check_seed(seed)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        return self._resample(
            "flip", input_shape, high=MODES[self.mode], seed=self.seed, training_only=True
        )


class RandomTranslation(Resampled):
    """In training, shift each image by a random part of its height and width; else nothing.

    What is drawn depends on the model's seed, or `seed`, the epoch, the layer (unless it has a
    seed of its own) and the row alone.

    Parameters
    ----------
    height_factor, width_factor : float or pair of float
        Limits of the shift, down and to the right where positive, as parts of the image, from -1
        to 1; a single number is both limits, negative and positive.
    fill_mode : {"reflect", "constant", "nearest", "wrap"}, default "reflect"
        What is outside: ``d c b a | a b c d | d c b a``, `fill_value`, the last pixel, or
        ``a b c d | a b c d | a b c d``.
    interpolation : {"bilinear", "nearest"}, default "bilinear"
        How a shift by a part of a pixel is done.
    seed : int, optional
        Makes the draws independent of the model's seed.
    fill_value : float, default 0.0
        Of "constant".
    data_format : "channels_last", optional
    **options
        See `Layer`.

    Examples
    --------
    >>> RandomTranslation(0.1, (-0.2, 0.3)).width_factor
    (-0.2, 0.3)
    """

    _fields = (
        *("height_factor", "width_factor", "fill_mode", "interpolation", "seed", "fill_value"),
        "data_format",
    )
    training_differs = True

    def __init__(
        self,
        height_factor: float | Sequence[float],
        width_factor: float | Sequence[float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.height_factor = _limits("height_factor", height_factor)
        self.width_factor = _limits("width_factor", width_factor)
        choose("fill_mode", fill_mode, BORDERS)
        choose("interpolation", interpolation, INTERPOLATIONS)
        self.fill_mode = fill_mode
        self.interpolation = interpolation
        self.seed = check_seed(seed)
        self.fill_value = real("fill_value", fill_value)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        (up, down), (left, right) = self.height_factor, self.width_factor
        return self._resample(
            "shift",
            input_shape,
            low=(up, left),
            high=(down, right),
            border=self.fill_mode,
            smooth=INTERPOLATIONS[self.interpolation],
            fill=self.fill_value if self.fill_mode == "constant" else 0.0,
            seed=self.seed,
            training_only=True,
        )


def _limits(name: str, factor: float | Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper limit of a shift."""
    if isinstance(factor, Sequence) and not isinstance(factor, (str, bytes)):
        limits = [real(f"each entry of {name}", limit, low=-1.0, high=1.0) for limit in factor]
        if len(limits) != 2:
            raise ValueError(f"{name} must be a number or a pair of them; received {factor!r}")
        return min(limits), max(limits)
    limit = abs(real(name, factor, low=-1.0, high=1.0))
    return -limit, limit


class RandomCrop(Resampled):
    """In training, cut a window from a random place of each image.

    Each row has a window of its own, which depends on the model's seed, or `seed`, the epoch, the
    layer (unless it has a seed of its own) and the row alone. In inference, and where an image is
    smaller than the window, the largest part in its middle that has the window's proportions is
    resized to it, bilinearly.

    Parameters
    ----------
    height, width : int
        Of the window.
    seed : int, optional
        Makes the draws independent of the model's seed.
    data_format : "channels_last", optional
    **options
        See `Layer`.

    Examples
    --------
    >>> RandomCrop(24, 24).infer_shape((28, 28, 1))
    (24, 24, 1)
    """

    _fields = ("height", "width", "seed", "data_format")
    training_differs = True

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.height = integer("height", height, minimum=1)
        self.width = integer("width", width, minimum=1)
        self.seed = check_seed(seed)
        self.data_format = channels_last(data_format)

    def infer_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self._image(input_shape)
        if height == 0 or width == 0:
            raise ValueError(
                f"RandomCrop layer {self.name!r} expects images with at least one pixel; received "
                f"shape {input_shape}"
            )
        return (self.height, self.width, channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        return self._resample("crop", input_shape, seed=self.seed)

"""Layers for rescaling, and for random augmentation of images during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from nnfast._engine import BORDERS
from nnfast._plan.spec import AffineSettings, Op
from nnfast._utils.checks import Shape, integer, real
from nnfast._utils.registry import choose
from nnfast.layers.layer import Layer, LayerOptions
from nnfast.layers.resampling import (
    INTERPOLATIONS,
    MODES,
    Resampled,
    Resized,
    check_seed,
    factor_limits,
    limits,
)
from nnfast.layers.window import channels_last

__all__ = [
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "Rescaling",
]

Limits = tuple[float, float]


class Rescaling(Layer):
    """Compute y = scale·x + offset; in a model's first layer, this is fused with reading the input.

    Parameters
    ----------
    scale : float
        Factor.
    offset : float, default 0.0
        Value added after the multiplication.
    **options
        See `Layer`.

    Examples
    --------
    >>> Rescaling(1 / 255, name="to_unit").offset
    0.0
    """

    passes_mask = True
    _fields = ("scale", "offset")

    def __init__(self, scale: float, offset: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.scale = real("scale", scale)
        self.offset = real("offset", offset)

    def ops(self, input_shape: Shape) -> list[Op]:
        return [Op("affine", settings=AffineSettings(self.scale, self.offset))]


class RandomFlip(Resampled):
    """Flip each image at random in training; do nothing in inference.

    Each flip that `mode` allows is applied with probability ½, independently of the other. The
    random draws depend only on the model's seed, the epoch, the layer and the sample's position in
    the epoch. With `seed`, they depend on `seed` instead of the model's seed and the layer.

    Parameters
    ----------
    mode : {"horizontal_and_vertical", "horizontal", "vertical"}
        "horizontal" swaps left and right, "vertical" top and bottom.
    seed : int, optional
        Makes the draws independent of the model's seed.
    data_format : "channels_last", optional
        Only this layout is supported.
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


class Moved(Resampled):
    """Base class of the layers that move each image at random and fill what becomes empty."""

    fill_mode: str
    interpolation: str
    fill_value: float
    seed: int | None

    def _set_filling(self, fill_mode: str, interpolation: str, fill_value: float) -> None:
        """Check and keep the arguments that these layers have in common."""
        choose("fill_mode", fill_mode, BORDERS)
        choose("interpolation", interpolation, INTERPOLATIONS)
        self.fill_mode = fill_mode
        self.interpolation = interpolation
        self.fill_value = real("fill_value", fill_value)

    def _moved(
        self, kind: str, shape: Shape, low: Limits, high: Limits, **settings: Any
    ) -> list[Op]:
        """Return the resampling op whose random numbers have these limits for rows and columns."""
        return self._resample(
            kind,
            shape,
            low=low,
            high=high,
            border=self.fill_mode,
            smooth=INTERPOLATIONS[self.interpolation],
            fill=self.fill_value if self.fill_mode == "constant" else 0.0,
            seed=self.seed,
            training_only=True,
            **settings,
        )


class RandomTranslation(Moved):
    """Shift each image by a random distance in training; do nothing in inference.

    The draws depend only on the model's seed, the epoch, the layer and the sample's position in
    the epoch. With `seed`, they depend on `seed` instead of the model's seed and the layer.

    Parameters
    ----------
    height_factor, width_factor : float or pair of float
        Lower and upper limit of the shift as fractions of the image's size, from -1 to 1. Positive
        shifts go down and to the right. A single number f means (-f, f).
    fill_mode : {"reflect", "constant", "nearest", "wrap"}, default "reflect"
        How pixels outside the image are filled: "reflect" as ``d c b a | a b c d | d c b a``,
        "constant" with `fill_value`, "nearest" with the pixel at the edge, and "wrap" as
        ``a b c d | a b c d | a b c d``.
    interpolation : {"bilinear", "nearest"}, default "bilinear"
        How pixels are interpolated when the shift is not a whole number of pixels.
    seed : int, optional
        Makes the draws independent of the model's seed.
    fill_value : float, default 0.0
        Value for `fill_mode` "constant".
    data_format : "channels_last", optional
        Only this layout is supported.
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
        self.height_factor = limits("height_factor", height_factor, low=-1.0, high=1.0)
        self.width_factor = limits("width_factor", width_factor, low=-1.0, high=1.0)
        self._set_filling(fill_mode, interpolation, fill_value)
        self.seed = check_seed(seed)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        (up, down), (left, right) = self.height_factor, self.width_factor
        return self._moved("shift", input_shape, (up, left), (down, right))


class RandomZoom(Moved):
    """Make each image smaller or larger by a random factor in training; do nothing in inference.

    The height becomes 1 / (1 + h) times and the width 1 / (1 + w) times as large, about the centre
    of the image, whose size stays the same. h and w are uniformly distributed.

    The draws depend only on the model's seed, the epoch, the layer and the sample's position in
    the epoch. With `seed`, they depend on `seed` instead of the model's seed and the layer.

    Parameters
    ----------
    height_factor : float or pair of float
        Lower and upper limit of h, from -1 to 1. Positive numbers make the image smaller.
        A single number f means (-f, f).
    width_factor : float or pair of float, optional
        Lower and upper limit of w. By default, w equals h, which keeps the aspect ratio.
    fill_mode : {"reflect", "constant", "nearest", "wrap"}, default "reflect"
        How pixels outside the image are filled; see `RandomTranslation`.
    interpolation : {"bilinear", "nearest"}, default "bilinear"
        How pixels are interpolated when a position is not a whole number of pixels.
    seed : int, optional
        Makes the draws independent of the model's seed.
    fill_value : float, default 0.0
        Value for `fill_mode` "constant".
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> RandomZoom((-0.3, -0.1), 0.2).width_factor
    (-0.2, 0.2)
    """

    _fields = (
        *("height_factor", "width_factor", "fill_mode", "interpolation", "seed", "fill_value"),
        "data_format",
    )
    training_differs = True

    def __init__(
        self,
        height_factor: float | Sequence[float],
        width_factor: float | Sequence[float] | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.height_factor = limits("height_factor", height_factor, low=-1.0, high=1.0)
        self.width_factor = (
            None
            if width_factor is None
            else limits("width_factor", width_factor, low=-1.0, high=1.0)
        )
        self._set_filling(fill_mode, interpolation, fill_value)
        self.seed = check_seed(seed)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        low, high = self.height_factor
        left, right = self.width_factor or self.height_factor
        joint = self.width_factor is None
        return self._moved("zoom", input_shape, (low, left), (high, right), joint=joint)


class RandomRotation(Moved):
    """Turn each image about its centre by a random angle in training; do nothing in inference.

    The angle is 2π times a uniformly distributed number.

    The draws depend only on the model's seed, the epoch, the layer and the sample's position in
    the epoch. With `seed`, they depend on `seed` instead of the model's seed and the layer.

    Parameters
    ----------
    factor : float or pair of float
        Lower and upper limit of the angle as fractions of a full turn, from -1 to 1. Positive
        angles turn counterclockwise. A single number f means (-f, f).
    fill_mode : {"reflect", "constant", "nearest", "wrap"}, default "reflect"
        How pixels outside the image are filled; see `RandomTranslation`.
    interpolation : {"bilinear", "nearest"}, default "bilinear"
        How pixels are interpolated when a position is not a whole number of pixels.
    seed : int, optional
        Makes the draws independent of the model's seed.
    fill_value : float, default 0.0
        Value for `fill_mode` "constant".
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> RandomRotation((-0.1, 0.2), fill_mode="constant").factor
    (-0.1, 0.2)
    """

    _fields = ("factor", "fill_mode", "interpolation", "seed", "fill_value", "data_format")
    training_differs = True

    def __init__(
        self,
        factor: float | Sequence[float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.factor = factor_limits(factor, -1.0)
        self._set_filling(fill_mode, interpolation, fill_value)
        self.seed = check_seed(seed)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        low, high = self.factor
        return self._moved("rotate", input_shape, (low, 0.0), (high, 0.0))


class RandomCrop(Resized):
    """Crop each image at a random position in training, and at the centre in inference.

    The position is drawn separately for each sample. The draws depend only on the model's seed, the
    epoch, the layer and the sample's position in the epoch. With `seed`, they depend on `seed`
    instead of the model's seed and the layer.

    In inference, and if the images are smaller than the crop, the largest centred region with the
    crop's aspect ratio is resized bilinearly to the size of the crop.

    Parameters
    ----------
    height, width : int
        Size of the crop, in pixels.
    seed : int, optional
        Makes the draws independent of the model's seed.
    data_format : "channels_last", optional
        Only this layout is supported.
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

    def ops(self, input_shape: Shape) -> list[Op]:
        low, high = self._central(input_shape)
        return self._resample("crop", input_shape, low=low, high=high, smooth=True, seed=self.seed)

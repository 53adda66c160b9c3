"""Layers that change the contrast or the brightness of images at random during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Unpack

from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape, real
from nnfast.layers.layer import LayerOptions
from nnfast.layers.resampling import ImageLayer, check_seed, factor_limits
from nnfast.layers.window import channels_last

__all__ = ["RandomBrightness", "RandomContrast"]


class IntensitySettings(NamedTuple):
    """The settings of a random change of contrast or brightness.

    The engine draws a number between `low` and `high` for each image. With `contrast`, this is the
    factor of the distances from the channel's mean; otherwise, it is added to all pixels. If not
    `seeded`, the model's seed is the key of the random stream.
    """

    contrast: bool
    width: int
    channels: int
    low: float
    high: float
    minimum: float
    maximum: float
    seeded: bool = False
    seed: int = 0


class RandomContrast(ImageLayer):
    """Change the contrast of each image at random in training; do nothing in inference.

    A pixel x becomes (x - mean)·f + mean with the mean of its channel in this image and a random
    factor f, and is clipped to `value_range`. f is uniformly distributed between 1 - lower and
    1 + upper. Clipped pixels have no gradient.

    The draws depend only on the model's seed, the epoch, the layer and the sample's position in
    the epoch. With `seed`, they depend on `seed` instead of the model's seed and the layer.

    Parameters
    ----------
    factor : float or pair of float
        (lower, upper), from 0 to 1. A single number f means (0, f), as in Keras 3.15: contrast
        then only increases.
    value_range : pair of float, default (0, 255)
        The smallest and the largest value of pixels.
    seed : int, optional
        Makes the draws independent of the model's seed.
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> RandomContrast((0.5, 0.2), value_range=(0, 1)).factor
    (0.2, 0.5)
    """

    _fields = ("factor", "value_range", "seed", "data_format")
    training_differs = True

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.factor = factor_limits(factor, 0.0)
        self.value_range = _value_range(value_range)
        self.seed = check_seed(seed)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        lower, upper = self.factor
        return _intensity(self, input_shape, True, (1.0 - lower, 1.0 + upper))


class RandomBrightness(ImageLayer):
    """Change the brightness of each image at random in training; do nothing in inference.

    A random number times the length of `value_range` is added to all pixels of an image, and the
    pixels are clipped to `value_range`. Clipped pixels have no gradient.

    The draws depend only on the model's seed, the epoch, the layer and the sample's position in
    the epoch. With `seed`, they depend on `seed` instead of the model's seed and the layer.

    Parameters
    ----------
    factor : float or pair of float
        Lower and upper limit of the random number, from -1 (black) to 1 (white). A single number f
        means (-f, f).
    value_range : pair of float, default (0, 255)
        The smallest and the largest value of pixels.
    seed : int, optional
        Makes the draws independent of the model's seed.
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> RandomBrightness(0.2, value_range=(0, 1)).factor
    (-0.2, 0.2)
    """

    _fields = ("factor", "value_range", "seed", "data_format")
    training_differs = True

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.factor = factor_limits(factor, -1.0)
        self.value_range = _value_range(value_range)
        self.seed = check_seed(seed)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        length = self.value_range[1] - self.value_range[0]
        lower, upper = self.factor
        return _intensity(self, input_shape, False, (lower * length, upper * length))


def _value_range(value_range: Sequence[float]) -> tuple[float, float]:
    """Return the smaller and the larger end of a range of pixels."""
    if not isinstance(value_range, Sequence) or isinstance(value_range, (str, bytes)):
        raise TypeError(f"value_range must be a pair of numbers; received {value_range!r}")
    if len(value_range) != 2:
        raise ValueError(f"value_range must be a pair of numbers; received {value_range!r}")
    low, high = sorted(real("each entry of value_range", end) for end in value_range)
    real("the length of value_range", high - low)
    return low, high


def _intensity(
    layer: RandomContrast | RandomBrightness,
    shape: Shape,
    contrast: bool,
    limits: tuple[float, float],
) -> list[Op]:
    """Return the op that changes contrast or brightness by a number between the limits."""
    _, width, channels = shape
    seed = layer.seed is not None, layer.seed or 0
    settings = IntensitySettings(contrast, width, channels, *limits, *layer.value_range, *seed)
    return [Op("intensity", settings=settings)]

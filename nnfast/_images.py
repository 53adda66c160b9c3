"""The layers that make an image of another: padding, up-sampling, and augmentation in training.

Samples are height × width × channels ("channels last").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from nnfast._engine import BORDERS
from nnfast._layer import Layer, LayerOptions
from nnfast._plan import Op, Resampling
from nnfast._resolve import choose
from nnfast._validation import Shape, entries, integer, real
from nnfast._windows import channels_last

_INTERPOLATIONS = {"nearest": False, "bilinear": True}
_MODES = {
    "horizontal": (0.0, 1.0),
    "vertical": (1.0, 0.0),
    "horizontal_and_vertical": (1.0, 1.0),
}


class _Resampled(Layer):
    """Base of the layers that make an image of another."""

    data_format: str

    def _image(self, shape: Shape) -> tuple[int, int, int]:
        """Return height, width and channels of the input."""
        if len(shape) != 3:
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} expects samples of shape (height, "
                f"width, channels); received shape {shape}"
            )
        return shape[0], shape[1], shape[2]

    def infer_shape(self, input_shape: Shape) -> Shape:
        return self._image(input_shape)

    def _resample(self, kind: str, shape: Shape, **numbers: Any) -> list[Op]:
        """Return the op of inputs of a shape."""
        height, width, channels = self._image(shape)
        after = self.infer_shape(shape)
        sizes = (height, width), (after[0], after[1]), channels
        return [Op("resample", resampling=Resampling(kind, *sizes, **numbers))]


def pair(name: str, value: object, minimum: int) -> tuple[int, int]:
    """Return an integer for height and width, or one each."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 2:
            raise ValueError(f"{name} must be an integer or a pair of them; received {value!r}")
        return (
            integer(f"{name}[0]", value[0], minimum=minimum),
            integer(f"{name}[1]", value[1], minimum=minimum),
        )
    size = integer(name, value, minimum=minimum)
    return size, size


def _check_seed(seed: int | None) -> int | None:
    return None if seed is None else integer("seed", seed, minimum=0, maximum=2**64 - 1)


class ZeroPadding2D(_Resampled):
    """Put rows and columns of zeros around each image.

    Parameters
    ----------
    padding : int, pair of int or pair of pairs, default (1, 1)
        On every side; above and below, left and right; ((above, below), (left, right)).
    data_format : "channels_last", optional
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
                "padding must be an integer, a pair of them or a pair of pairs, ((above, below), "
                f"(left, right)); received {padding!r}"
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


class UpSampling2D(_Resampled):
    """Make each image a whole number of times as high and wide.

    Parameters
    ----------
    size : int or pair of int, default (2, 2)
        The factors of height and width.
    data_format : "channels_last", optional
    interpolation : {"nearest", "bilinear"}, default "nearest"
        Repeat every pixel, or draw straight lines between their centres.
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
        choose("interpolation", interpolation, _INTERPOLATIONS)
        self.interpolation = interpolation

    def infer_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self._image(input_shape)
        return (height * self.size[0], width * self.size[1], channels)

    def ops(self, input_shape: Shape) -> list[Op]:
        if self.size == (1, 1):
            return []
        kind = "stretch" if self.interpolation == "bilinear" else "repeat"
        return self._resample(kind, input_shape)


class RandomFlip(_Resampled):
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
        choose("mode", mode, _MODES)
        self.mode = mode
        self.seed = _check_seed(seed)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        return self._resample("flip", input_shape, high=_MODES[self.mode], seed=self.seed)


class RandomTranslation(_Resampled):
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
        choose("interpolation", interpolation, _INTERPOLATIONS)
        self.fill_mode = fill_mode
        self.interpolation = interpolation
        self.seed = _check_seed(seed)
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
            smooth=_INTERPOLATIONS[self.interpolation],
            fill=self.fill_value if self.fill_mode == "constant" else 0.0,
            seed=self.seed,
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


class RandomCrop(_Resampled):
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
        self.seed = _check_seed(seed)
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

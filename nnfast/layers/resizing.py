"""Layers that resize and crop images, in training and in inference alike."""

from __future__ import annotations

from typing import Unpack

from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape, flag, integer, real
from nnfast._utils.registry import choose
from nnfast.layers.layer import LayerOptions
from nnfast.layers.resampling import INTERPOLATIONS, Region, Resized, whole
from nnfast.layers.window import channels_last

__all__ = ["CenterCrop", "Resizing"]


class Resizing(Resized):
    """Resize each image.

    Output pixel i of m is interpolated at position (i + ½)·n/m - ½ of the n input pixels, so that
    the borders of both images coincide. Positions outside the image are moved to its border.

    Parameters
    ----------
    height, width : int
        Size of the output images, in pixels.
    interpolation : {"bilinear", "nearest"}, default "bilinear"
        "bilinear" interpolates linearly between pixel centres; "nearest" takes the pixel that
        contains the position.
    crop_to_aspect_ratio : bool, default False
        Resize only the largest central part that has the output's aspect ratio.
    pad_to_aspect_ratio : bool, default False
        First pad the image evenly on two opposite sides, so that it has the output's aspect ratio.
    fill_mode : "constant", optional
        Only this mode is supported: padding has the value `fill_value`.
    fill_value : float, default 0.0
        Value of the padding.
    antialias : bool, default False
        Only False is supported: an output pixel depends on at most four input pixels.
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> Resizing(32, 24).infer_shape((28, 28, 1))
    (32, 24, 1)
    """

    _fields = (
        *("height", "width", "interpolation", "crop_to_aspect_ratio", "pad_to_aspect_ratio"),
        *("fill_mode", "fill_value", "antialias", "data_format"),
    )

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.height = integer("height", height, minimum=1)
        self.width = integer("width", width, minimum=1)
        choose("interpolation", interpolation, INTERPOLATIONS)
        self.interpolation = interpolation
        self.crop_to_aspect_ratio = flag("crop_to_aspect_ratio", crop_to_aspect_ratio)
        self.pad_to_aspect_ratio = flag("pad_to_aspect_ratio", pad_to_aspect_ratio)
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise ValueError("crop_to_aspect_ratio and pad_to_aspect_ratio must not both be True")
        choose("fill_mode", fill_mode, {"constant": None})
        self.fill_mode = fill_mode
        self.fill_value = real("fill_value", fill_value)
        self.antialias = flag("antialias", antialias)
        if self.antialias:
            raise ValueError("antialias must be False; nnfast does not support antialiasing")
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        region = whole(input_shape)
        if self.crop_to_aspect_ratio:
            region = self._central(input_shape)
        elif self.pad_to_aspect_ratio:
            region = self._padded(input_shape)
        return self._stretch(
            input_shape,
            region,
            smooth=INTERPOLATIONS[self.interpolation],
            fill=self.fill_value if self.pad_to_aspect_ratio else 0.0,
        )

    def _padded(self, shape: Shape) -> Region:
        """Return the region around an image that has, up to rounding, the output's aspect ratio."""
        height, width, _ = shape
        fitting = self._fitting(shape)
        rows, columns = max(0, fitting[0] - height) // 2, max(0, fitting[1] - width) // 2
        return (-rows, -columns), (height + rows, width + columns)


class CenterCrop(Resized):
    """Return the central part of each image.

    If an image is smaller than the crop in one direction or both, the largest central part with
    the crop's aspect ratio is resized bilinearly.

    Parameters
    ----------
    height, width : int
        Size of the crop, in pixels.
    data_format : "channels_last", optional
        Only this layout is supported.
    **options
        See `Layer`.

    Examples
    --------
    >>> CenterCrop(24, 20).infer_shape((28, 28, 1))
    (24, 20, 1)
    """

    _fields = ("height", "width", "data_format")

    def __init__(
        self,
        height: int,
        width: int,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.height = integer("height", height, minimum=1)
        self.width = integer("width", width, minimum=1)
        self.data_format = channels_last(data_format)

    def ops(self, input_shape: Shape) -> list[Op]:
        down, right = input_shape[0] - self.height, input_shape[1] - self.width
        if down < 0 or right < 0:
            return self._stretch(input_shape, self._central(input_shape), smooth=True)
        top, left = down // 2, right // 2
        return self._stretch(input_shape, ((top, left), (top + self.height, left + self.width)))

"""Resizing of images in arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nnfast._utils.checks import Array, real_array
from nnfast._utils.registry import choose
from nnfast.keras.utils.images import central_box, check_data_format, check_size
from nnfast.keras.utils.interpolation import resized

__all__ = ["smart_resize"]

_FILTERS = dict.fromkeys(("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"))


def smart_resize(
    x: ArrayLike,
    size: tuple[int, int],
    interpolation: str = "bilinear",
    data_format: str = "channels_last",
) -> Array:
    """Resize the largest central part of images that has the aspect ratio of `size`.

    Parameters
    ----------
    x : array_like (height, width, channels) or (n, height, width, channels)
        For channels first, the channels are before the height.
    size : (int, int)
        Height and width of the result.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"}
    data_format : {"channels_last", "channels_first"}, default "channels_last"

    Returns
    -------
    ndarray
        Of the dtype of `x` if that is a floating-point type or `interpolation` is ``"nearest"``;
        otherwise float32.

    Examples
    --------
    >>> image = np.arange(8.0).reshape(2, 4, 1)
    >>> smart_resize(image, (1, 1))
    array([[[3.5]]])
    """
    choose("interpolation", interpolation, _FILTERS)
    height, width = check_size("size", size)
    array, channels_first = _images(x, data_format)
    rows, columns = array.shape[-3:-1]
    top, left, bottom, right = central_box(rows, columns, (height, width))
    part = array[..., top:bottom, left:right, :]
    if interpolation == "nearest" and array.dtype.kind != "f":  # float64 has all int32 values
        images = resized(part.astype(np.float64), (height, width), "nearest").astype(array.dtype)
    else:
        images = resized(part, (height, width), interpolation)
    return np.moveaxis(images, -1, -3) if channels_first else images


def _images(x: ArrayLike, data_format: str) -> tuple[Array, bool]:
    """Return images with the channels last, and whether they were first."""
    channels_first = check_data_format(data_format) == "channels_first"
    array = real_array("x", x)
    if array.ndim not in (3, 4):
        raise ValueError(
            "x must be an image (height, width, channels) or a batch of images; received shape "
            f"{array.shape}"
        )
    return (np.moveaxis(array, -3, -1) if channels_first else array), channels_first

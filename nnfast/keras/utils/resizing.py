"""Resizing of images in arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import Array, real_array
from nnfast._utils.registry import choose
from nnfast.keras.utils.images import check_data_format, check_size

__all__ = ["resize", "smart_resize"]

# The distance from its center at which each filter becomes 0.
_SUPPORTS = {"nearest": 0, "bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}


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
    height, width = check_size("size", size)
    array, channels_first = _images(x, data_format)
    rows, columns = array.shape[-3:-1]
    crop_rows = max(1, min(rows, int(columns * height / width)))
    crop_columns = max(1, min(columns, int(rows * width / height)))
    top, left = (rows - crop_rows) // 2, (columns - crop_columns) // 2
    part = array[..., top : top + crop_rows, left : left + crop_columns, :]
    resized = resize(part, (height, width), interpolation)
    return np.moveaxis(resized, -1, -3) if channels_first else resized


def resize(x: Array, size: tuple[int, int], interpolation: str = "bilinear") -> Array:
    """Return images (..., height, width, channels) with another height and width.

    Pixel i of n has its center at (i + 1/2) / n. Each new pixel is a mean of pixels close to it,
    weighted by the filter, however many pixels one new pixel covers (no antialiasing).

    Examples
    --------
    >>> resize(np.array([[[0.0], [4.0]]]), (1, 4))[0, :, 0]
    array([0., 1., 3., 4.])
    >>> resize(np.array([[[0.0], [4.0]]]), (1, 4), "nearest")[0, :, 0]
    array([0., 0., 4., 4.])
    """
    support = choose("interpolation", interpolation, _SUPPORTS)
    if interpolation == "nearest":
        rows, columns = (
            (2 * np.arange(new) + 1) * old // (2 * new)
            for new, old in zip(size, x.shape[-3:-1], strict=True)
        )
        return x[..., rows[:, None], columns, :]
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    by_row, by_column = (
        _weights(old, new, support).astype(dtype)
        for new, old in zip(size, x.shape[-3:-1], strict=True)
    )
    columns_last = np.moveaxis(x.astype(dtype), -1, -3)
    return np.moveaxis(by_row @ columns_last @ by_column.T, -3, -1)


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


def _weights(old: int, new: int, support: int) -> NDArray[np.float64]:
    """Return the weight of each old pixel in each new one, (new, old); rows have the sum 1."""
    centers = (np.arange(new) + 0.5) * old / new - 0.5
    distance = np.abs(centers[:, None] - np.arange(old))
    weights = np.where(distance < support, _filter(distance, support), 0.0)
    normalized: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def _filter(t: NDArray[np.float64], support: int) -> NDArray[Any]:
    """Return the filter's value at distance t: a triangle, Keys' cubic or Lanczos' windowed sinc.

    Keys' cubic has the slope −1/2 at t = 1.
    """
    if support == 1:
        return 1 - t
    if support == 2:
        near = 1.5 * t**3 - 2.5 * t**2 + 1
        return np.where(t < 1, near, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)
    return np.sinc(t) * np.sinc(t / support)

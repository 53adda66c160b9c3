"""Resizing of images by interpolation, with the values of ``tf.image.resize``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.registry import choose

__all__ = ["INTERPOLATIONS", "resized"]

Array = NDArray[Any]
Kernel = Callable[[Array], Array]


def _cubic(b: float, c: float) -> Kernel:
    """Return the cubic kernel of Mitchell and Netravali with the parameters B and C."""

    def kernel(x: Array) -> Array:
        near = (12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + (6 - 2 * b)
        far = -(b + 6 * c) * x**3 + (6 * b + 30 * c) * x**2 - (12 * b + 48 * c) * x + 8 * b + 24 * c
        return np.where(x < 1, near, far) / 6

    return kernel


def _lanczos(radius: int) -> Kernel:
    return lambda x: np.sinc(x) * np.sinc(x / radius)


# The radius of each kernel, and its value at a distance from 0 to the radius.
_KERNELS: dict[str, tuple[float, Kernel]] = {
    "bilinear": (1.0, lambda x: 1 - x),
    "bicubic": (2.0, _cubic(0.0, 0.5)),
    "lanczos3": (3.0, _lanczos(3)),
    "lanczos5": (5.0, _lanczos(5)),
    "gaussian": (1.5, lambda x: np.exp(-2 * x**2)),
    "mitchellcubic": (2.0, _cubic(1 / 3, 1 / 3)),
}

INTERPOLATIONS = dict.fromkeys(["nearest", "area", *_KERNELS])


def resized(images: Array, size: tuple[int, int], interpolation: str = "bilinear") -> Array:
    """Return images (..., height, width, channels) with another height and width.

    Pixel i of n covers the interval from i / n to (i + 1) / n. A new pixel is a weighted mean of
    the old pixels around its center, however many of them it covers: there is no antialiasing.
    Only ``"area"`` takes all of them into account.

    Parameters
    ----------
    images : ndarray (..., height, width, channels)
    size : tuple of int
        The new height and width.
    interpolation : str
        A key of `INTERPOLATIONS`.

    Returns
    -------
    ndarray
        Of the dtype of `images` if that is a floating-point type, otherwise float32.

    Examples
    --------
    >>> resized(np.array([[[0], [4]]]), (1, 4))[0, :, 0]
    array([0., 1., 3., 4.], dtype=float32)
    >>> resized(np.array([[[0], [4]]]), (1, 1), "area")[0, :, 0]
    array([2.], dtype=float32)
    """
    choose("interpolation", interpolation, INTERPOLATIONS)
    dtype = images.dtype if images.dtype.kind == "f" else np.dtype(np.float32)
    channels = images.shape[-1]
    for axis, n in zip((-3, -2), size, strict=True):
        places, weights = _taps(images.shape[axis], n, interpolation)
        weights = weights.astype(dtype)
        if axis == -3:
            factors = weights[..., None, None]
        else:  # one weight per channel, which makes NumPy's innermost loop long
            factors = weights[..., None].repeat(channels, axis=-1)
        taps = (
            np.multiply(images.take(place, axis), factor, dtype=dtype)
            for place, factor in zip(places, factors, strict=True)
        )
        images = reduce(operator.iadd, taps)
    return images


@lru_cache(maxsize=256)
def _taps(old: int, new: int, interpolation: str) -> tuple[Array, Array]:
    """Return which old pixels have weight in each new one, and the weights, as (taps, new)."""
    scale = old / new
    if interpolation == "nearest":
        places = (2 * np.arange(new) + 1) * old // (2 * new)
        return places[None], np.ones((1, new))
    if interpolation == "area":
        low = np.arange(new) * scale
        places = np.floor(low).astype(int) + np.arange(int(np.ceil(scale)) + 1)[:, None]
        weights = np.maximum(np.minimum(places + 1, low + scale) - np.maximum(places, low), 0)
    else:
        radius, kernel = _KERNELS[interpolation]
        center = (np.arange(new) + 0.5) * scale - 0.5
        places = np.ceil(center - radius).astype(int) + np.arange(int(2 * radius))[:, None]
        weights = kernel(np.minimum(np.abs(places - center), radius))
    weights = np.where((places >= 0) & (places < old), weights, 0)
    used = np.abs(weights).max(axis=1) > 0
    weights = weights[used] / weights.sum(axis=0)
    return places[used].clip(0, old - 1), weights

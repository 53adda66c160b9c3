"""Readable convolutions and pooling in NumPy. Images are (n, h, w, c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = Sequence[int]


def padding_of(size: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Return the padding before and after one axis, following Keras."""
    extent = (kernel - 1) * dilation + 1
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return extent - 1, 0
    out = -(-size // stride)
    missing = max(0, (out - 1) * stride + extent - size)
    return missing // 2, missing - missing // 2


def pad(x: Array, kernel: Pair, strides: Pair, dilation: Pair, padding: str, value: float) -> Array:
    """Return the images padded with `value`."""
    rows, columns = (
        padding_of(*axis, padding)
        for axis in zip(x.shape[1:3], kernel, strides, dilation, strict=True)
    )
    return np.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=value)


def windows(
    x: Array, kernel: Pair, strides: Pair, dilation: Pair
) -> Iterator[tuple[int, int, Array]]:
    """Yield each output pixel's row, column and input window (n, kernel_h, kernel_w, c)."""
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    for row, top in enumerate(range(0, x.shape[1] - extent[0] + 1, strides[0])):
        for column, left in enumerate(range(0, x.shape[2] - extent[1] + 1, strides[1])):
            window = x[
                :, top : top + extent[0] : dilation[0], left : left + extent[1] : dilation[1]
            ]
            yield row, column, window


def _image(pixels: dict[tuple[int, int], Array]) -> Array:
    """Assemble images from pixels (n, c), keyed by (row, column)."""
    height, width = (1 + max(position[axis] for position in pixels) for axis in (0, 1))
    rows = [np.stack([pixels[r, c] for c in range(width)], axis=1) for r in range(height)]
    return np.stack(rows, axis=1)


def convolve(
    x: Array,
    kernel: Array,
    strides: Pair = (1, 1),
    padding: str = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Return the convolution of x with a kernel (kernel_h, kernel_w, c / groups, filters)."""
    c, filters = kernel.shape[2], kernel.shape[3] // groups
    x = pad(x, kernel.shape[:2], strides, dilation, padding, 0.0)
    pixels = {}
    for row, column, window in windows(x, kernel.shape[:2], strides, dilation):
        pixels[row, column] = np.concatenate(
            [
                np.einsum(
                    "nijc,ijcf->nf",
                    window[..., g * c : (g + 1) * c],
                    kernel[..., g * filters : (g + 1) * filters],
                )
                for g in range(groups)
            ],
            axis=1,
        )
    return _image(pixels)


def depthwise(
    x: Array, kernel: Array, strides: Pair = (1, 1), padding: str = "valid", dilation: Pair = (1, 1)
) -> Array:
    """Return the depthwise convolution of x; the kernel is (kernel_h, kernel_w, c, filters)."""
    x = pad(x, kernel.shape[:2], strides, dilation, padding, 0.0)
    pixels = {
        (row, column): np.einsum("nijc,ijcf->ncf", window, kernel).reshape(len(x), -1)
        for row, column, window in windows(x, kernel.shape[:2], strides, dilation)
    }
    return _image(pixels)


def transposed(
    x: Array, kernel: Array, strides: Pair, padding: str, dilation: Pair, extra: Pair | None
) -> Array:
    """Return the transposed convolution of x; the kernel is (kernel_h, kernel_w, filters, c).

    `extra` is the output padding.
    """
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilation, strict=False)]
    full = [(n - 1) * s + r for n, s, r in zip(x.shape[1:], strides, reach, strict=False)]
    # Large enough for every output that is kept.
    y = np.zeros((len(x), *(n + s for n, s in zip(full, strides, strict=True)), kernel.shape[2]))
    for row, column in np.ndindex(*x.shape[1:3]):
        for i, j in np.ndindex(*kernel.shape[:2]):
            at = row * strides[0] + i * dilation[0], column * strides[1] + j * dilation[1]
            y[:, *at] += x[:, row, column] @ kernel[i, j].T
    kept = []
    for axis in (0, 1):
        size, stride, extent = x.shape[1 + axis], strides[axis], reach[axis]
        if padding == "valid":
            more = max(stride - extent, 0) if extra is None else extra[axis]
            kept.append(slice(0, full[axis] + more))
        else:
            wide = stride if extra is None else extent % 2 + extra[axis]
            out = (size - 1) * stride + wide
            # The removed outputs are divided evenly, except that none is added before the first.
            before = max(0, (extent - wide) // 2)
            kept.append(slice(before, before + out))
    return y[:, *kept]


def pool(x: Array, size: Pair, strides: Pair, padding: str, largest: bool) -> Array:
    """Return the maximum or the mean of each window; padding is ignored."""
    x = pad(x, size, strides, (1, 1), padding, np.nan)
    take = np.nanmax if largest else np.nanmean
    pixels = {
        (row, column): take(window, axis=(1, 2))
        for row, column, window in windows(x, size, strides, (1, 1))
    }
    return _image(pixels)

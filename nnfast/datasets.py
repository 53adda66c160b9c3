"""Data sets for examples and demonstrations: IDX files and scikit-learn's digits."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_digits", "load_idx"]

_GZIP_MAGIC = b"\x1f\x8b"

# The third byte of an IDX file names its type; numbers are big-endian.
_IDX_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an array from an IDX file, the format of MNIST.

    Parameters
    ----------
    path : path-like
        The file, plain or compressed by gzip (recognised by its content).

    Returns
    -------
    ndarray
        The array in native byte order, C-contiguous and writable.

    Raises
    ------
    ValueError
        If the file is not a complete IDX file or holds more than its header says.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(_GZIP_MAGIC):
        import gzip  # not above: `import nnfast.keras` loads this module
        import zlib

        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip data: {error}") from error

    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"{path}: expected an IDX file (two zero bytes first), got {data[:4]!r}")
    dtype, rank = _IDX_TYPES.get(data[2]), data[3]
    if dtype is None:
        expected = ", ".join(f"0x{code:02X}" for code in _IDX_TYPES)
        raise ValueError(f"{path}: expected an IDX type of {expected}, got 0x{data[2]:02X}")
    header = 4 + 4 * rank
    if rank == 0 or len(data) < header:
        raise ValueError(
            f"{path}: expected an IDX header of at least one dimension, "
            f"got {rank} dimensions in {len(data)} bytes"
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", rank, 4))
    size = header + math.prod(shape) * dtype.itemsize
    if len(data) != size:
        raise ValueError(f"{path}: expected {size} bytes for shape {shape}, got {len(data)}")
    values = np.frombuffer(data, dtype, offset=header).reshape(shape)
    native: NDArray[Any] = values.astype(dtype.newbyteorder("="))
    return native


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scikit-learn's 8×8 handwritten digits.

    Returns
    -------
    x : ndarray of shape (1797, 64)
        Pixels in 0..1.
    y : ndarray of shape (1797,)
        The digit, 0 to 9.

    Raises
    ------
    ImportError
        If scikit-learn, which ships the data, is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            'load_digits needs scikit-learn: pip install "nnfast[sklearn]"'
        ) from error
    x, y = datasets.load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int64)

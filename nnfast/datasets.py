"""Data sets for examples and demonstrations: IDX files and scikit-learn's digits."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gzip import GzipFile

__all__ = ["load_digits", "load_idx"]

_GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 2**20  # bytes per read
_MAX_AXES = 32  # maximum number of dimensions in NumPy 1

# Maps the third byte of an IDX file to the type of its elements, which are big-endian.
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

    A corrupt header cannot make the function allocate more memory than the file has data. A
    compressed file is decompressed only up to the size that the IDX header declares.

    Parameters
    ----------
    path : str or path-like
        The file, plain or compressed with gzip (recognised by its content).

    Returns
    -------
    ndarray
        The array in native byte order, C-contiguous and writable.

    Raises
    ------
    ValueError
        If the file is not a complete IDX file or contains more data than its header declares.
    """
    with open(path, "rb") as file:
        if not file.peek(2).startswith(_GZIP_MAGIC):
            return _read_idx(path, file)
        import gzip  # imported here to keep `import nnfast.keras`, which loads this module, fast
        import zlib

        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read_idx(path, unpacked)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip data: {error}") from error


def _read_idx(path: str | os.PathLike[str], file: BinaryIO | GzipFile) -> NDArray[Any]:
    """Return the array, after checking the header and that nothing follows the data."""
    magic = _read(file, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(
            f"{path}: expected an IDX file (two zero bytes first), got {bytes(magic)!r}"
        )
    dtype, rank = _IDX_TYPES.get(magic[2]), magic[3]
    if dtype is None:
        expected = ", ".join(f"0x{code:02X}" for code in _IDX_TYPES)
        raise ValueError(f"{path}: expected an IDX type of {expected}, got 0x{magic[2]:02X}")
    sizes = _read(file, 4 * rank)
    if not 0 < rank <= _MAX_AXES or len(sizes) < 4 * rank:
        raise ValueError(
            f"{path}: expected an IDX header of 1 to {_MAX_AXES} dimensions, "
            f"got {rank} dimensions in {4 + len(sizes)} bytes"
        )
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    size = math.prod(shape) * dtype.itemsize
    data = _read(file, size)
    if len(data) < size or file.read(1):
        got = f"got {len(data)}" if len(data) < size else "got more"
        raise ValueError(f"{path}: expected {size} bytes of data for shape {shape}, {got}")
    if size == 0:
        return np.zeros(shape, dtype.newbyteorder("="))
    values = np.frombuffer(data, dtype).reshape(shape)
    native: NDArray[Any] = values.astype(dtype.newbyteorder("="), copy=False)
    return native


def _read(file: BinaryIO | GzipFile, size: int) -> bytearray:
    """Return the next `size` bytes, or fewer if the file ends first. They are read in pieces."""
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(size - len(data), _PIECE))
        if not piece:
            break
        data += piece
    return data


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scikit-learn's 8×8 handwritten digits.

    Returns
    -------
    x : ndarray of shape (1797, 64), float32
        Pixels from 0 to 1.
    y : ndarray of shape (1797,), int64
        Digits from 0 to 9.

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

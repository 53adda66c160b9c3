"""Read .npz files from untrusted sources."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nnfast.keras.datasets.pickles import load_pickle
from nnfast.keras.utils.damage import reading

__all__ = ["load_npz"]

_MAX_BYTES = 2**30  # far more than any published data set has; limits what a short file can cost


def load_npz(path: str, *names: str) -> list[NDArray[Any]]:
    """Return arrays from an .npz file.

    Parameters
    ----------
    path : str
    *names : str
        The arrays' names. An array has numbers, or is one-dimensional with a list of integers as
        each of its elements.

    Raises
    ------
    ValueError
        If the file is damaged, lacks an array, or if an array has other elements. The shape is
        compared with the array's size in the file before memory is allocated for it.

    Examples
    --------
    >>> np.savez("a.npz", x=np.arange(3))
    >>> load_npz("a.npz", "x")
    [array([0, 1, 2])]
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        return [_member(archive, f"{name}.npy") for name in names]


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    if name not in archive.namelist():
        raise ValueError(f"it has no member {name}")
    size = archive.getinfo(name).file_size
    if size > _MAX_BYTES:
        raise ValueError(f"expected at most {_MAX_BYTES} bytes in {name}, got {size}")
    data = archive.read(name)  # zipfile stops after `size` bytes, whatever follows
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    # Version 3 differs from version 2 only in the names of fields, which are refused here.
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = header(file)
    if dtype.kind == "O":
        return _lists(name, shape, data[file.tell() :])
    declared = math.prod(shape) * dtype.itemsize
    left = len(data) - file.tell()
    if dtype.kind not in "biuf" or min(shape, default=0) < 0 or declared != left:
        raise ValueError(
            f"{name} declares {dtype} of shape {shape}, {declared} bytes, and has {left}"
        )
    file.seek(0)
    array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


def _lists(name: str, shape: tuple[int, ...], data: bytes) -> NDArray[Any]:
    """Return an array whose elements are lists of integers."""
    array = load_pickle(data)
    if not isinstance(array, np.ndarray) or array.dtype != object or array.shape != shape:
        raise ValueError(f"{name} declares lists of shape {shape}, and has something else")
    lists = array.tolist()
    if array.ndim != 1 or any(type(words) is not list for words in lists):
        raise ValueError(f"{name} has elements that are not lists")
    # A pickle can repeat one long list many times, which would fill the memory when it is copied.
    if sum(map(len, lists)) > len(data):
        raise ValueError(f"{name} has more integers than bytes")
    if any(not set(map(type, words)) <= {int} for words in lists):
        raise ValueError(f"{name} has lists of something else than integers")
    return array

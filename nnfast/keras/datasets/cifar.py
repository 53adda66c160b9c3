"""Reading of CIFAR-10's and CIFAR-100's files of images, pickled by Python 2."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast.keras.datasets.pickles import MAX_BYTES, load_pickle
from nnfast.keras.utils.damage import reading

__all__ = ["load_batch"]


def load_batch(path: str, label_key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images and labels of a file.

    Parameters
    ----------
    path : str
    label_key : str
        The name of the labels in the file.

    Returns
    -------
    x : ndarray of shape (n, 32, 32, 3), uint8
    y : ndarray of shape (n, 1), int64

    Raises
    ------
    ValueError
        If the file has anything else.
    """
    with reading(path):
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            batch = load_pickle(file.read(min(size, MAX_BYTES + 1)))  # refused if it is longer
        if not isinstance(batch, dict):
            raise ValueError(f"expected a dict, got {type(batch).__name__}")
        data, labels = batch.get("data"), batch.get(label_key)
        if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2):
            raise ValueError("expected a matrix of bytes called data")
        return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), _labels(labels, len(data))


def _labels(labels: Any, rows: int) -> NDArray[np.int64]:
    valid = type(labels) is list and set(map(type, labels)) <= {int} and len(labels) == rows
    if not valid or min(labels, default=0) < 0 or max(labels, default=0) > 255:
        raise ValueError(f"expected a list of {rows} labels from 0 to 255")
    return np.array(labels, np.int64).reshape(-1, 1)

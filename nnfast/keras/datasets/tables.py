"""Data sets of rows that are shuffled and divided into training and test data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Split", "check_table", "shuffled", "split_at"]

Array = NDArray[Any]
Split = tuple[tuple[Array, Array], tuple[Array, Array]]


def check_table(path: str, x: Array, y: Array) -> None:
    """Raise an error that names the file if `x` does not have a row for each element of `y`."""
    if not x.ndim or y.ndim != 1 or len(x) != len(y):
        raise ValueError(f"{path} has x of shape {x.shape} and y of shape {y.shape}")


def shuffled(x: Array, y: Array, rng: np.random.RandomState) -> tuple[Array, Array]:
    """Return the rows in the order that Keras gives them."""
    order = np.arange(len(x))
    rng.shuffle(order)
    return x[order], y[order]


def split_at(x: Array, y: Array, first: int) -> Split:
    """Return the `first` rows as training data and the others as test data."""
    return (x[:first].copy(), y[:first].copy()), (x[first:].copy(), y[first:].copy())

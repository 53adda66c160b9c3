"""Data sets of rows that are shuffled and divided into training and test data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Split", "check_split", "check_table", "shuffled", "split"]

Array = NDArray[Any]
Split = tuple[tuple[Array, Array], tuple[Array, Array]]


def check_split(test_split: float) -> None:
    """Raise Keras' error for a fraction that leaves no training data."""
    if not 0 <= test_split < 1:
        raise ValueError(
            "Invalid `test_split` argument: it must be between 0 and 1 (exclusive of 1); "
            f"received {test_split!r}"
        )


def check_table(path: str, x: Array, y: Array) -> None:
    """Raise an error that names the file if `x` does not have a row for each element of `y`."""
    if not x.ndim or y.ndim != 1 or len(x) != len(y):
        raise ValueError(f"{path} has x of shape {x.shape} and y of shape {y.shape}")


def shuffled(x: Array, y: Array, rng: np.random.RandomState) -> tuple[Array, Array]:
    """Return the rows in the order that Keras gives them."""
    order = np.arange(len(x))
    rng.shuffle(order)
    return x[order], y[order]


def split(x: Array, y: Array, test_split: float) -> Split:
    """Return the first rows as training data and the others as test data.

    Examples
    --------
    >>> x = np.arange(5)
    >>> (x_train, _), (x_test, _) = split(x, x, 0.2)
    >>> x_train, x_test
    (array([0, 1, 2, 3]), array([4]))
    """
    first = int(len(x) * (1 - test_split))
    return (x[:first].copy(), y[:first].copy()), (x[first:].copy(), y[first:].copy())

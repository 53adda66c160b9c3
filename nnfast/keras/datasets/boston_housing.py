"""Prices of houses in Boston in the 1970s: 506 rows of 13 columns."""

from __future__ import annotations

import numpy as np

from nnfast._utils.checks import real
from nnfast.keras.datasets.npz import load_npz
from nnfast.keras.datasets.published import fetch
from nnfast.keras.datasets.tables import Split, check_table, shuffled, split_at

__all__ = ["load_data"]


def load_data(
    path: str = "boston_housing.npz", test_split: float = 0.2, seed: int | None = 113
) -> Split:
    """Return the Boston housing data, downloaded if it is not in the cache.

    One column, "B", is a function of the share of Black residents, which makes the data unfit for
    anything but teaching about such problems. `california_housing` is a replacement.

    Parameters
    ----------
    path : str, default "boston_housing.npz"
        The name of the file in ``~/.keras/datasets``; see `nnfast.keras.utils.get_file`.
    test_split : float, default 0.2
        The fraction of test data, 0 <= test_split < 1.
    seed : int or None, default 113
        Determines the order of the rows; None means another order each time.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: ndarray of shape (n, 13), float64. y: ndarray of shape (n,), float64, prices in 1000 $.

    Raises
    ------
    OSError
        If the file cannot be downloaded; the message says where to put it.
    ValueError
        If an argument is not valid or the file is damaged.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data(test_split=0.3)  # doctest: +SKIP
    """
    test_split = real("test_split", test_split, low=0.0, below=1.0)
    rng = np.random.RandomState(seed)
    file = fetch("boston_housing.npz", path)
    x, y = load_npz(file, "x", "y")
    check_table(file, x, y)
    return split_at(*shuffled(x, y, rng), int(len(x) * (1 - test_split)))

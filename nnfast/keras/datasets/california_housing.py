"""Prices of houses in California in 1990: 20,640 rows of 8 columns."""

from __future__ import annotations

import numpy as np

from nnfast._utils.checks import real
from nnfast._utils.registry import choose
from nnfast.keras.datasets.npz import load_npz
from nnfast.keras.datasets.published import fetch
from nnfast.keras.datasets.tables import Split, check_table, shuffled, split_at

__all__ = ["load_data"]


def load_data(
    version: str = "large",
    path: str = "california_housing.npz",
    test_split: float = 0.2,
    seed: int | None = 113,
) -> Split:
    """Return the California housing data, downloaded if it is not in the cache.

    Parameters
    ----------
    version : {"large", "small"}, default "large"
        "small" is the first 600 of 20,640 rows.
    path : str, default "california_housing.npz"
        The name of the file in ``~/.keras/datasets``; see `nnfast.keras.utils.get_file`.
    test_split : float, default 0.2
        The fraction of test data, 0 <= test_split < 1.
    seed : int or None, default 113
        Determines the order of the rows; None means another order each time.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: ndarray of shape (n, 8): the median income, the median age of houses, the average numbers
        of rooms and bedrooms, the population, the average occupancy, the latitude and longitude.
        y: ndarray of shape (n,): the median value of houses in $.

    Raises
    ------
    OSError
        If the file cannot be downloaded; the message says where to put it.
    ValueError
        If an argument is not valid or the file is damaged.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data("small")  # doctest: +SKIP
    """
    test_split = real("test_split", test_split, low=0.0, below=1.0)
    rows = choose("version", version, {"large": None, "small": 600})
    rng = np.random.RandomState(seed)
    file = fetch("california_housing.npz", path)
    x, y = load_npz(file, "x", "y")
    check_table(file, x, y)
    x, y = shuffled(x[:rows], y[:rows], rng)
    return split_at(x, y, int(len(x) * (1 - test_split)))

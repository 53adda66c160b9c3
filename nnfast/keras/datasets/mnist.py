"""Handwritten digits: 60,000 training and 10,000 test images."""

from __future__ import annotations

from nnfast.keras.datasets.npz import load_npz
from nnfast.keras.datasets.published import fetch
from nnfast.keras.datasets.tables import Split, check_table

__all__ = ["load_data"]


def load_data(path: str = "mnist.npz") -> Split:
    """Return the MNIST data, downloaded if it is not in the cache.

    Parameters
    ----------
    path : str, default "mnist.npz"
        The name of the file in ``~/.keras/datasets``; see `nnfast.keras.utils.get_file`.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: ndarray of shape (n, 28, 28), uint8, pixels from 0 to 255. y: ndarray of shape (n,),
        uint8, digits from 0 to 9. There are 60,000 training and 10,000 test images.

    Raises
    ------
    OSError
        If the file cannot be downloaded; the message says where to put it.
    ValueError
        If the file is damaged.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
    """
    file = fetch("mnist.npz", path)
    x_train, y_train, x_test, y_test = load_npz(file, "x_train", "y_train", "x_test", "y_test")
    check_table(file, x_train, y_train)
    check_table(file, x_test, y_test)
    return (x_train, y_train), (x_test, y_test)

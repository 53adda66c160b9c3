"""Small color images in 100 categories: 50,000 training and 10,000 test images."""

from __future__ import annotations

import os

from nnfast._utils.registry import choose
from nnfast.keras.datasets.cifar import load_batch
from nnfast.keras.datasets.published import fetch
from nnfast.keras.datasets.tables import Split

__all__ = ["load_data"]


def load_data(label_mode: str = "fine") -> Split:
    """Return the CIFAR-100 data, downloaded if it is not in the cache.

    Parameters
    ----------
    label_mode : {"fine", "coarse"}, default "fine"
        Whether the labels are the 100 categories or the 20 groups of categories.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: ndarray of shape (n, 32, 32, 3), uint8, pixels from 0 to 255. y: ndarray of shape (n, 1),
        int64, labels from 0. There are 50,000 training and 10,000 test images.

    Raises
    ------
    OSError
        If the archive cannot be downloaded; the message says where to put it.
    ValueError
        If `label_mode` is unknown, or if the archive or a file in it is damaged.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data("coarse")  # doctest: +SKIP
    """
    key = choose("label_mode", label_mode, {"fine": "fine_labels", "coarse": "coarse_labels"})
    folder = fetch("cifar-100-python.tar.gz", "cifar-100-python-target", extract=True)
    folder = os.path.join(folder, "cifar-100-python")
    return (
        load_batch(os.path.join(folder, "train"), key),
        load_batch(os.path.join(folder, "test"), key),
    )

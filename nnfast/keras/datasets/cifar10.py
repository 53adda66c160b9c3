"""Small color images in 10 categories: 50,000 training and 10,000 test images."""

from __future__ import annotations

import os

import numpy as np

from nnfast.keras.datasets.cifar import load_batch
from nnfast.keras.datasets.published import fetch
from nnfast.keras.datasets.tables import Split

__all__ = ["load_data"]


def load_data() -> Split:
    """Return the CIFAR-10 data, downloaded if it is not in the cache.

    The labels mean: 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse,
    8 ship, 9 truck.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: ndarray of shape (n, 32, 32, 3), uint8, pixels from 0 to 255. y: ndarray of shape (n, 1),
        uint8, labels from 0 to 9. There are 50,000 training and 10,000 test images.

    Raises
    ------
    OSError
        If the archive cannot be downloaded; the message says where to put it.
    ValueError
        If the archive or a file in it is damaged.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
    """
    folder = fetch("cifar-10-python.tar.gz", "cifar-10-batches-py-target", extract=True)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    *train, (x_test, y_test) = (
        load_batch(os.path.join(folder, "cifar-10-batches-py", name), "labels") for name in names
    )
    x_train = np.concatenate([x for x, _ in train])
    y_train = np.concatenate([y for _, y in train])
    return (x_train, y_train.astype(np.uint8)), (x_test, y_test.astype(np.uint8))

"""Images of clothes in 10 categories: 60,000 training and 10,000 test images."""

from __future__ import annotations

import os

import numpy as np

from nnfast.datasets import load_idx
from nnfast.keras.datasets.published import fetch
from nnfast.keras.datasets.tables import Array, Split

__all__ = ["load_data"]


def load_data() -> Split:
    """Return the Fashion-MNIST data, downloaded if it is not in the cache.

    The labels mean: 0 T-shirt/top, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt,
    7 sneaker, 8 bag, 9 ankle boot.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: ndarray of shape (n, 28, 28), uint8, pixels from 0 to 255. y: ndarray of shape (n,),
        uint8, labels from 0 to 9. There are 60,000 training and 10,000 test images.

    Raises
    ------
    OSError
        If a file cannot be downloaded; the message says where to put it.
    ValueError
        If a file is damaged.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
    """
    return _part("train"), _part("t10k")


def _part(name: str) -> tuple[Array, Array]:
    """Return the images and labels of the training or test data."""
    folder = os.path.join("datasets", "fashion-mnist")
    labels, images = (
        fetch(file, file, cache_subdir=folder)
        for file in (f"{name}-labels-idx1-ubyte.gz", f"{name}-images-idx3-ubyte.gz")
    )
    x, y = load_idx(images), load_idx(labels)
    if x.dtype != np.uint8 or y.dtype != np.uint8 or x.shape != (y.size, 28, 28) or y.ndim != 1:
        raise ValueError(
            f"{images} must have 28 × 28 bytes for each label in {labels}; "
            f"they have {x.dtype} of shape {x.shape} and {y.dtype} of shape {y.shape}"
        )
    return x, y

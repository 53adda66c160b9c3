"""ZCA whitening: images whose pixels are not correlated, but that still look like the originals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import Array

__all__ = ["whitened", "whitening_matrix"]


def whitening_matrix(images: Array, epsilon: float) -> NDArray[Any]:
    """Return W = U diag(√n / (s + ε)) Uᵀ of n images with mean 0.

    U has the left singular vectors, and s the singular values, of the matrix whose columns are the
    images.

    Examples
    --------
    >>> whitening_matrix(np.array([[2.0], [-2.0]]), 0.0)
    array([[0.5]])
    """
    columns = images.reshape(len(images), -1).T
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    matrix: NDArray[Any] = (u * (np.sqrt(len(images)) / (s + epsilon))).dot(u.T)
    return matrix


def whitened(x: Array, matrix: NDArray[Any]) -> Array:
    """Return an image or a batch of images, multiplied by the whitening matrix."""
    rows = x.reshape(-1, math.prod(x.shape[-3:]))
    return np.reshape(rows @ matrix, x.shape)

"""Accuracies: the fraction of correct rows or outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._utils.checks import integer, real
from nnfast.metrics.metric import Array, MeanUp


class Accuracy(MeanUp):
    """Fraction of outputs that equal the target exactly.

    In `compile`, the name ``"accuracy"`` selects a different class: see `resolve`.

    Examples
    --------
    >>> Accuracy()(np.array([[1.0], [2.0]]), np.array([[1.0], [2.5]]))
    0.5
    """

    def rows(self, y: Array, outputs: Array) -> Any:
        return outputs == y


class BinaryAccuracy(MeanUp):
    """Fraction of outputs on the correct side of `threshold`, for targets of 0 or 1.

    Parameters
    ----------
    name : str, optional
    threshold : float, default 0.5

    Examples
    --------
    >>> BinaryAccuracy()(np.array([[1.0], [0.0]]), np.array([[0.7], [0.6]]))
    0.5
    """

    def __init__(self, name: str | None = None, *, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = real("threshold", threshold)

    def rows(self, y: Array, outputs: Array) -> Any:
        return (outputs > self.threshold) == y


class CategoricalAccuracy(MeanUp):
    """Fraction of rows in which the largest output and the largest target have the same index.

    Examples
    --------
    >>> CategoricalAccuracy()(np.eye(2), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    rowwise = True

    def rows(self, y: Array, outputs: Array) -> Any:
        return outputs.argmax(axis=1) == y.argmax(axis=1)


class SparseCategoricalAccuracy(MeanUp):
    """Fraction of rows in which the target class has the largest output.

    Examples
    --------
    >>> SparseCategoricalAccuracy()(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    sparse = True
    rowwise = True

    def rows(self, y: Array, outputs: Array) -> Any:
        return outputs.argmax(axis=1) == y


class SparseTopKCategoricalAccuracy(MeanUp):
    """Fraction of rows in which fewer than `k` outputs exceed the output of the target class.

    Parameters
    ----------
    k : int, default 5
    name : str, optional

    Examples
    --------
    >>> SparseTopKCategoricalAccuracy(k=2)(np.array([1, 2]), np.array([[0.5, 0.4, 0.1]] * 2))
    0.5
    """

    sparse = True
    rowwise = True

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name)
        self.k = integer("k", k, minimum=1)

    def rows(self, y: Array, outputs: Array) -> Any:
        target_output = np.take_along_axis(outputs, y[:, None], axis=1)
        return (outputs > target_output).sum(axis=1) < self.k


class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """Fraction of rows in which fewer than `k` outputs exceed the output of the target class.

    The target class is the index of the target's largest entry.

    Parameters
    ----------
    k : int, default 5
    name : str, optional

    Examples
    --------
    >>> TopKCategoricalAccuracy(k=2)(np.eye(3)[[1, 2]], np.array([[0.5, 0.4, 0.1]] * 2))
    0.5
    """

    sparse = False

    def rows(self, y: Array, outputs: Array) -> Any:
        return super().rows(y.argmax(axis=1), outputs)

"""Accuracies: the fraction of correct rows or outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._utils.checks import flag, integer, real
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
    name, dtype
        As in `Metric`.
    threshold : float, default 0.5

    Examples
    --------
    >>> BinaryAccuracy()(np.array([[1.0], [0.0]]), np.array([[0.7], [0.6]]))
    0.5
    """

    def __init__(
        self, name: str | None = None, dtype: str | None = None, threshold: float = 0.5
    ) -> None:
        super().__init__(name, dtype)
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


class TopK(MeanUp):
    """Base class of the top-k accuracies."""

    rowwise = True

    def __init__(self, k: int = 5, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(name, dtype)
        self.k = integer("k", k, minimum=1)


class SparseTopKCategoricalAccuracy(TopK):
    """Fraction of rows in which fewer than `k` outputs exceed the output of the target class.

    Parameters
    ----------
    k : int, default 5
    name, dtype
        As in `Metric`.
    from_sorted_ids : bool, default False
        Whether `outputs` are class indices, the likeliest first. A row then counts if its target is
        among the first `k` of them.

    Examples
    --------
    >>> SparseTopKCategoricalAccuracy(k=2)(np.array([1, 2]), np.array([[0.5, 0.4, 0.1]] * 2))
    0.5
    """

    sparse = True

    def __init__(
        self,
        k: int = 5,
        name: str | None = None,
        dtype: str | None = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(k, name, dtype)
        self.from_sorted_ids = flag("from_sorted_ids", from_sorted_ids)

    def rows(self, y: Array, outputs: Array) -> Any:
        if self.from_sorted_ids:
            return (outputs[:, : self.k] == y[:, None]).any(axis=1)
        return in_top_k(y, outputs, self.k)


class TopKCategoricalAccuracy(TopK):
    """Fraction of rows in which fewer than `k` outputs exceed the output of the target class.

    The target class is the index of the target's largest entry.

    Parameters
    ----------
    k : int, default 5
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> TopKCategoricalAccuracy(k=2)(np.eye(3)[[1, 2]], np.array([[0.5, 0.4, 0.1]] * 2))
    0.5
    """

    def rows(self, y: Array, outputs: Array) -> Any:
        return in_top_k(y.argmax(axis=1), outputs, self.k)


def in_top_k(classes: Array, outputs: Array, k: int) -> Any:
    """Return for each row whether fewer than `k` outputs exceed the output of its class.

    Examples
    --------
    >>> in_top_k(np.array([1, 2]), np.array([[0.5, 0.4, 0.1]] * 2), 2)
    array([ True, False])
    """
    wrong = (classes < 0) | (classes >= outputs.shape[-1])
    if wrong.any():
        raise ValueError(
            f"y_true must hold class indices from 0 to {outputs.shape[-1] - 1}; received "
            f"{classes[wrong][0]}"
        )
    target_output = np.take_along_axis(outputs, classes[..., None], axis=-1)
    return (outputs > target_output).sum(axis=-1) < k

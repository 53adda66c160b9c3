"""Accuracies as functions: which samples or outputs are right, as 0 and 1, computed with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nnfast._utils.checks import integer, real, real_array
from nnfast._utils.config import default_dtype
from nnfast._utils.eager import operand, result, same_rank
from nnfast.metrics.accuracy import in_top_k

__all__ = [
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def binary_accuracy(y_true: ArrayLike, y_pred: ArrayLike, threshold: float = 0.5) -> Any:
    """Return which outputs are on the correct side of `threshold`, in the shape of the outputs.

    Examples
    --------
    >>> binary_accuracy([[1], [0]], [[0.7], [0.6]])
    Tensor([[1.],
           [0.]], dtype=float32)
    """
    limit = real("threshold", threshold)
    targets, outputs = same_rank(real_array("y_true", y_true), operand("y_pred", y_pred))
    return _hits((outputs > limit) == targets)


def categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return for which rows the largest output and the largest target have the same index.

    Examples
    --------
    >>> categorical_accuracy([[1, 0], [0, 1]], [[0.9, 0.1], [0.8, 0.2]])
    Tensor([1., 0.], dtype=float32)
    """
    targets, outputs = operand("y_true", y_true), operand("y_pred", y_pred)
    return _hits(targets.argmax(axis=-1) == outputs.argmax(axis=-1))


def sparse_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return for which rows the target class has the largest output.

    Examples
    --------
    >>> sparse_categorical_accuracy([0, 1], [[0.9, 0.1], [0.8, 0.2]])
    Tensor([1., 0.], dtype=float32)
    """
    classes, outputs = _classes(y_true, y_pred)
    return _hits(outputs.argmax(axis=-1) == classes)


def top_k_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike, k: int = 5) -> Any:
    """Return for which rows fewer than `k` outputs exceed that of the largest target.

    Examples
    --------
    >>> top_k_categorical_accuracy([[0, 1, 0], [0, 0, 1]], [[0.5, 0.4, 0.1]] * 2, k=2)
    Tensor([1., 0.], dtype=float32)
    """
    classes = operand("y_true", y_true).argmax(axis=-1)
    return _hits(in_top_k(classes, operand("y_pred", y_pred), integer("k", k, minimum=1)))


def sparse_top_k_categorical_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, k: int = 5, from_sorted_ids: bool = False
) -> Any:
    """Return for which rows fewer than `k` outputs exceed that of the target class.

    With `from_sorted_ids`, y_pred holds class indices, the likeliest first.

    Examples
    --------
    >>> sparse_top_k_categorical_accuracy([1, 2], [[0.5, 0.4, 0.1]] * 2, k=2)
    Tensor([1., 0.], dtype=float32)
    """
    (classes, outputs), k = _classes(y_true, y_pred), integer("k", k, minimum=1)
    if from_sorted_ids:
        right = (outputs[..., :k] == classes[..., None]).any(axis=-1)
    else:
        right = in_top_k(classes.astype(np.intp), outputs, k)
    return _hits(right.reshape(np.shape(y_true)))


def _classes(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Any, Any]:
    """Return class indices, without a last axis of length 1, and outputs."""
    classes, outputs = real_array("y_true", y_true), operand("y_pred", y_pred)
    if classes.ndim == outputs.ndim and classes.shape[-1:] == (1,):
        classes = classes[..., 0]
    if classes.shape != outputs.shape[:-1]:
        raise ValueError(
            f"y_true must hold one class index per row of y_pred, {outputs.shape[:-1]}; received "
            f"shape {np.shape(y_true)}"
        )
    return classes, outputs


def _hits(right: Any) -> Any:
    return result(np.asarray(right, default_dtype()))

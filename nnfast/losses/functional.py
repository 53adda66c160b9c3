"""The losses as functions: the loss of each sample, computed with NumPy.

``y_true`` and ``y_pred`` are arrays or nested lists of the same shape, and the last axis holds the
outputs of one sample; the result has the shape of the other axes. It has the dtype of ``y_pred`` if
that is an array of float32 or float64, and the default dtype otherwise. Keras' epsilon ε is 1e-7.
In `compile`, each of these functions stands for the loss with the same formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import converted, integer, real, real_array
from nnfast._utils.eager import EPSILON, operand, result, same_rank

__all__ = [
    "KLD",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "hinge",
    "huber",
    "kl_divergence",
    "kld",
    "kullback_leibler_divergence",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]

Array = NDArray[Any]


def _pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """Return targets and outputs in the dtype of the outputs, with equally many axes."""
    outputs = operand("y_pred", y_pred)
    targets, outputs = same_rank(operand("y_true", y_true, outputs.dtype.name), outputs)
    if not outputs.ndim or targets.ndim != outputs.ndim:
        raise ValueError(
            "y_true and y_pred must have the same shape, with at least one axis; received "
            f"{np.shape(y_true)} and {np.shape(y_pred)}"
        )
    try:
        np.broadcast_shapes(targets.shape, outputs.shape)
    except ValueError:
        raise ValueError(
            "y_true and y_pred must have the same shape; received "
            f"{np.shape(y_true)} and {np.shape(y_pred)}"
        ) from None
    return targets, outputs


def _equal_pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """Return targets and outputs of the same shape, without broadcasting."""
    targets, outputs = _pair(y_true, y_pred)
    if targets.shape != outputs.shape:
        raise ValueError(
            "y_true and y_pred must have the same shape; received "
            f"{np.shape(y_true)} and {np.shape(y_pred)}: for class indices use "
            "sparse_categorical_crossentropy"
        )
    return targets, outputs


def check_axis(axis: object, ndim: int | None = None) -> None:
    """Raise an error unless `axis` is the last axis.

    Examples
    --------
    >>> check_axis(-1)
    >>> check_axis(0)
    Traceback (most recent call last):
        ...
    ValueError: axis must be -1: the outputs of a sample are on the last axis; received 0
    """
    if integer("axis", axis, minimum=-64) not in (-1, None if ndim is None else ndim - 1):
        raise ValueError(
            f"axis must be -1: the outputs of a sample are on the last axis; received {axis}"
        )


def _mean(values: Array) -> Any:
    return result(np.asarray(values.mean(axis=-1)))


def _sum(values: Array) -> Any:
    return result(np.asarray(values.sum(axis=-1)))


def _signed(targets: Array) -> Array:
    """Return targets that are all 0 or 1 as −1 and 1, and other targets unchanged."""
    return 2 * targets - 1 if ((targets == 0) | (targets == 1)).all() else targets


def _clipped(probabilities: Array) -> Array:
    clipped: Array = np.clip(probabilities, EPSILON, 1.0 - EPSILON, dtype=probabilities.dtype)
    return clipped


def _smoothed(targets: Array, smoothing: object, classes: int) -> Array:
    s = real("label_smoothing", smoothing, low=0.0, high=1.0)
    return targets * (1.0 - s) + s / classes if s else targets


def _probabilities(outputs: Array, from_logits: bool) -> Array:
    """Return softmax(outputs), or outputs divided by their sum."""
    if from_logits:
        outputs = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return np.asarray(outputs / outputs.sum(axis=-1, keepdims=True))


def _log_probabilities(outputs: Array, from_logits: bool) -> Array:
    if from_logits:
        z = outputs - outputs.max(axis=-1, keepdims=True)
        return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))
    return np.log(_clipped(_probabilities(outputs, False)))


def _binary_crossentropy(targets: Array, outputs: Array) -> Array:
    p = _clipped(outputs)
    return -(targets * np.log(p) + (1.0 - targets) * np.log(1.0 - p))


def _sigmoid(z: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(z.dtype.type(0), -z)))


# ---- regression ----------------------------------------------------------------------------------


def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return the mean of (ŷ − y)² over the last axis.

    Examples
    --------
    >>> mean_squared_error([[0.0, 2.0]], [[1.0, 4.0]])
    Tensor([2.5], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    return _mean(np.square(outputs - targets))


def mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return the mean of |ŷ − y| over the last axis.

    Examples
    --------
    >>> mean_absolute_error([[0.0, 2.0]], [[1.0, 4.0]])
    Tensor([1.5], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    return _mean(np.abs(outputs - targets))


def mean_absolute_percentage_error(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return 100 times the mean of |ŷ − y| / max(|y|, ε) over the last axis.

    Examples
    --------
    >>> mean_absolute_percentage_error([[1.0, 2.0]], [[1.5, 2.0]])
    Tensor([25.], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    size = np.maximum(np.abs(targets), targets.dtype.type(EPSILON))
    return _mean(np.abs(outputs - targets) / size * 100)


def mean_squared_logarithmic_error(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return the mean of (log(max(ŷ, ε) + 1) − log(max(y, ε) + 1))² over the last axis.

    Examples
    --------
    >>> mean_squared_logarithmic_error([[0.0]], [[0.0]])
    Tensor([0.], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    first, second = (np.log(np.maximum(v, v.dtype.type(EPSILON)) + 1) for v in (outputs, targets))
    return _mean(np.square(first - second))


def huber(y_true: ArrayLike, y_pred: ArrayLike, delta: float = 1.0) -> Any:
    """Return the mean over the last axis of d²/2 if |d| ≤ δ, else δ·|d| − δ²/2, with d = ŷ − y.

    Examples
    --------
    >>> huber([[0.0, 0.0]], [[1.0, 3.0]])
    Tensor([1.5], dtype=float32)
    """
    delta = real("delta", delta, above=0.0)
    targets, outputs = _pair(y_true, y_pred)
    d = np.abs(outputs - targets)
    return _mean(np.where(d <= delta, np.square(d) / 2, delta * d - delta * delta / 2))


def log_cosh(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return the mean of log cosh(ŷ − y) over the last axis.

    Examples
    --------
    >>> log_cosh([[0.0]], [[0.0]])
    Tensor([0.], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    d = np.abs(outputs - targets)
    return _mean(d + (np.log1p(np.exp(-2 * d)) - d.dtype.type(np.log(2.0))))


def quantile(y_true: ArrayLike, y_pred: ArrayLike, level: float | Sequence[float] = 0.5) -> Any:
    """Return the mean of max(q·e, (q − 1)·e) over the last axis, with e = y − ŷ and levels q."""
    targets, outputs = _pair(y_true, y_pred)
    e, q = targets - outputs, np.asarray(level, outputs.dtype)
    return _mean(np.maximum(q * e, (q - 1) * e))


def cosine_similarity(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> Any:
    """Return −Σ y·ŷ / (|y|·|ŷ|) over the last axis; norms below ε count as ε.

    Examples
    --------
    >>> cosine_similarity([[0.0, 2.0]], [[0.0, 1.0]])
    Tensor([-1.], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    check_axis(axis, outputs.ndim)
    units = (
        v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), v.dtype.type(EPSILON))
        for v in (targets, outputs)
    )
    return _sum(-np.multiply(*units))


# ---- classification with margins -----------------------------------------------------------------


def hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return the mean of max(1 − y·ŷ, 0) over the last axis; targets 0 and 1 become −1 and 1.

    Examples
    --------
    >>> hinge([[0.0, 1.0]], [[0.5, 0.5]])
    Tensor([1.], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    return _mean(np.maximum(1 - _signed(targets) * outputs, 0))


def squared_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return the mean of max(1 − y·ŷ, 0)² over the last axis; targets 0 and 1 become −1 and 1.

    Examples
    --------
    >>> squared_hinge([[0.0, 1.0]], [[0.5, 0.5]])
    Tensor([1.25], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    return _mean(np.square(np.maximum(1 - _signed(targets) * outputs, 0)))


def categorical_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return max(max (1 − y)·ŷ − Σ y·ŷ + 1, 0) over the last axis.

    Examples
    --------
    >>> categorical_hinge([[0.0, 1.0]], [[0.5, 0.25]])
    Tensor([1.25], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    others = ((1 - targets) * outputs).max(axis=-1)
    return result(np.asarray(np.maximum(others - (targets * outputs).sum(axis=-1) + 1, 0)))


# ---- probabilities -------------------------------------------------------------------------------


def poisson(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return the mean of ŷ − y·log(ŷ + ε) over the last axis.

    Examples
    --------
    >>> poisson([[0.0]], [[2.0]])
    Tensor([2.], dtype=float32)
    """
    targets, outputs = _pair(y_true, y_pred)
    return _mean(outputs - targets * np.log(outputs + outputs.dtype.type(EPSILON)))


def kl_divergence(y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    """Return Σ y·log(y / ŷ) over the last axis, with y and ŷ clipped to [ε, 1].

    Examples
    --------
    >>> kl_divergence([[0.5, 0.5]], [[0.5, 0.5]])
    Tensor([0.], dtype=float32)
    """
    targets, outputs = (np.clip(v, EPSILON, 1.0, dtype=v.dtype) for v in _pair(y_true, y_pred))
    return _sum(targets * np.log(targets / outputs))


def binary_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Return −(y·log p + (1 − y)·log(1 − p)), averaged over the last axis.

    See `BinaryCrossentropy` for the arguments.

    Examples
    --------
    >>> binary_crossentropy([[1.0]], [[0.5]])
    Tensor([0.6931472], dtype=float32)
    """
    targets, outputs = _equal_pair(y_true, y_pred)
    check_axis(axis, outputs.ndim)
    targets = _smoothed(targets, label_smoothing, 2)
    if from_logits:
        tail = np.log1p(np.exp(-np.abs(outputs)))
        return _mean(np.maximum(outputs, 0) - outputs * targets + tail)
    return _mean(_binary_crossentropy(targets, outputs))


def binary_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Return (1 − p_t)^γ times the binary cross-entropy, averaged over the last axis.

    See `BinaryFocalCrossentropy` for p_t and the arguments.

    Examples
    --------
    >>> binary_focal_crossentropy([[1.0]], [[0.5]])
    Tensor([0.1732868], dtype=float32)
    """
    targets, outputs = _equal_pair(y_true, y_pred)
    check_axis(axis, outputs.ndim)
    targets = _smoothed(targets, label_smoothing, 2)
    p = _sigmoid(outputs) if from_logits else outputs
    miss = targets * (1 - p) + (1 - targets) * p
    values = miss**gamma * _binary_crossentropy(targets, p)
    if apply_class_balancing:
        values = (targets * alpha + (1 - targets) * (1 - alpha)) * values
    return _mean(values)


def categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Return −Σ y·log p over the last axis. See `CategoricalCrossentropy` for the arguments.

    Examples
    --------
    >>> categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    Tensor([0.6931472], dtype=float32)
    """
    targets, outputs = _equal_pair(y_true, y_pred)
    check_axis(axis, outputs.ndim)
    targets = _smoothed(targets, label_smoothing, targets.shape[-1])
    return _sum(-(targets * _log_probabilities(outputs, from_logits)))


def categorical_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Return −Σ α·(1 − p)^γ·y·log p over the last axis.

    See `CategoricalFocalCrossentropy` for the arguments.

    Examples
    --------
    >>> categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]], alpha=1.0)
    Tensor([0.1732868], dtype=float32)
    """
    targets, outputs = _equal_pair(y_true, y_pred)
    check_axis(axis, outputs.ndim)
    targets = _smoothed(targets, label_smoothing, targets.shape[-1])
    p = _clipped(_probabilities(outputs, from_logits))
    factors = np.asarray(alpha, p.dtype) * (1 - p) ** gamma
    return _sum(-(factors * targets * np.log(p)))


def sparse_categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Any:
    """Return −log p of the true class, for class indices; 0 where the class is `ignore_class`.

    Parameters
    ----------
    y_true : array_like of int, (...) or (..., 1)
    y_pred : array_like, (..., classes)
    from_logits : bool, default False
        As in `SparseCategoricalCrossentropy`.
    ignore_class : int, optional
    axis : int, default -1
        The axis of the classes; it must be the last one.

    Raises
    ------
    ValueError
        If a class index is outside 0 … classes − 1, or the shapes do not fit.

    Examples
    --------
    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]])
    Tensor([0.6931472], dtype=float32)
    """
    outputs = operand("y_pred", y_pred)
    check_axis(axis, outputs.ndim)
    classes = real_array("y_true", y_true)
    if classes.ndim == outputs.ndim and classes.ndim and classes.shape[-1] == 1:
        classes = classes[..., 0]
    if classes.shape != outputs.shape[:-1]:
        raise ValueError(
            f"y_true must hold one class index per row of y_pred, {outputs.shape[:-1]}; received "
            f"shape {np.shape(y_true)}"
        )
    kept = np.full(classes.shape, True) if ignore_class is None else classes != ignore_class
    indices = np.where(kept, classes, 0)
    wrong = ~((indices >= 0) & (indices < outputs.shape[-1]))
    if wrong.any():
        raise ValueError(
            f"y_true must hold class indices from 0 to {outputs.shape[-1] - 1}; received "
            f"{indices[wrong][0]}"
        )
    indices = converted(indices, np.dtype(np.intp))[..., None]
    log_p = np.take_along_axis(_log_probabilities(outputs, from_logits), indices, axis=-1)[..., 0]
    return result(np.asarray(np.where(kept, -log_p, log_p.dtype.type(0))))


# Aliases, as in Keras.
mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kullback_leibler_divergence = kl_divergence
logcosh = log_cosh

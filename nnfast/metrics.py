"""Metrics, computed by NumPy from targets and outputs.

Every metric is a function of totals of rows, sums for the most part, and those of batches are put
together (`merge`), so its value over many batches is that of all their rows at once, and equals
Keras' running value. Sample weights enter those of ``weighted_metrics=`` only, as in Keras.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnfast import _resolve
from nnfast._counts import AUC, Precision, Recall
from nnfast._metric import (
    EPSILON,
    Array,
    Floats,
    FunctionMetric,
    MeanDown,
    MeanUp,
    Metric,
    quiet,
    ratio,
)
from nnfast._validation import Shape, flag, integer, real
from nnfast.losses import Loss

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
]

# What `compile` takes for one metric.
Identifier = str | Metric | type[Metric] | Callable[[Any, Any], Any] | Mapping[str, Any]


class Accuracy(MeanUp):
    """Share of outputs that equal the target exactly.

    The name ``"accuracy"`` is not this: see `resolve`.

    Examples
    --------
    >>> Accuracy()(np.array([[1.0], [2.0]]), np.array([[1.0], [2.5]]))
    0.5
    """

    def rows(self, y: Array, outputs: Array) -> Any:
        return outputs == y


class BinaryAccuracy(MeanUp):
    """Share of outputs on the right side of `threshold`, targets being 0 or 1.

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
    """Share of rows whose largest output is where the target's largest entry is.

    Examples
    --------
    >>> CategoricalAccuracy()(np.eye(2), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    rowwise = True

    def rows(self, y: Array, outputs: Array) -> Any:
        return outputs.argmax(axis=1) == y.argmax(axis=1)


class SparseCategoricalAccuracy(MeanUp):
    """Share of rows whose largest output is at the target's class index.

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
    """Share of rows with fewer than `k` outputs above that at the target's class index.

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
        own = np.take_along_axis(outputs, y[:, None], axis=1)
        return (outputs > own).sum(axis=1) < self.k


class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """Share of rows with fewer than `k` outputs above that at the target's largest entry.

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


class MeanSquaredError(MeanDown):
    """Mean of (ŷ − y)².

    Examples
    --------
    >>> MeanSquaredError()(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    2.0
    """

    def rows(self, y: Array, outputs: Array) -> Any:
        return np.square(outputs - y)


class RootMeanSquaredError(MeanSquaredError):
    """Square root of the mean of (ŷ − y)² over all rows.

    Examples
    --------
    >>> RootMeanSquaredError()(np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]]))
    2.0
    """

    def value(self, totals: Floats) -> float:
        return math.sqrt(super().value(totals))


class MeanAbsoluteError(MeanDown):
    """Mean of abs(ŷ − y).

    Examples
    --------
    >>> MeanAbsoluteError()(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    1.0
    """

    def rows(self, y: Array, outputs: Array) -> Any:
        return np.abs(outputs - y)


class R2Score(Metric):
    """R² = 1 − Σ(ŷ − y)² / Σ(y − ȳ)², of each output, then averaged.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average"}
        How the outputs are averaged.
    num_regressors : int, default 0
        p of the adjusted 1 − (1 − R²)·(n − 1)/(n − p − 1), n the number of targets; 0: not
        adjusted.
    name : str, optional

    Examples
    --------
    >>> R2Score()(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [4.0]]))
    0.5
    """

    direction = "up"

    def __init__(
        self,
        class_aggregation: str = "uniform_average",
        num_regressors: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        kinds = dict.fromkeys(("uniform_average", "variance_weighted_average"), class_aggregation)
        self.class_aggregation = _resolve.choose("class_aggregation", class_aggregation, kinds)
        self.num_regressors = integer("num_regressors", num_regressors, 0, maximum=2**53)

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        """Return for each output Σw, an origin, ȳ − origin, Σw·(y − ȳ)², Σw·(ŷ − y)², n.

        The first target is subtracted from all of them: the squares of numbers far from zero
        would cancel.
        """
        targets = y.astype(np.float64)
        w = np.ones(len(y)) if weight is None else weight
        origin = targets[0] if len(y) else np.zeros(y.shape[1])
        with quiet():
            shifted = targets - origin
            mean = ratio(w @ shifted, w.sum())
            spread = w @ np.square(shifted - mean)
            residual = w @ np.square(outputs - targets)
        count = np.full_like(residual, y.size)
        return np.stack([np.full_like(residual, w.sum()), origin, mean, spread, residual, count])

    def merge(self, totals: Floats, others: Floats) -> Floats:
        """Return the totals of both (Chan, Golub and LeVeque, 1979)."""
        origin, further = totals[1], others[2] + (others[1] - totals[1]) - totals[2]
        both = totals + others
        share = ratio(others[0], both[0])
        both[1], both[2] = origin, totals[2] + share * further
        both[3] += totals[0] * share * np.square(further)
        return both

    def value(self, totals: Floats) -> float:
        _, _, _, total, residual, count = totals
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            scores = 1.0 - residual / total
            scores[np.isinf(scores)] = 0.0
            if self.class_aggregation == "uniform_average":
                score = scores.mean()
            else:
                score = (total * scores).sum() / total.sum()
        n, p = count[0], self.num_regressors
        if 0 < p < n - 1:
            score = 1.0 - (1.0 - score) * (n - 1.0) / (n - p - 1.0)
        return float(score)


class BinaryCrossentropy(MeanDown):
    """Mean of −y·log p − (1 − y)·log(1 − p).

    Parameters
    ----------
    name : str, optional
    from_logits : bool, default False
        The outputs are logits z, and p = 1 / (1 + e⁻ᶻ); else probabilities, clipped to
        [1e-7, 1 − 1e-7].
    label_smoothing : float, default 0.0
        s in [0, 1]: y becomes y·(1 − s) + s/2.

    Examples
    --------
    >>> round(BinaryCrossentropy()(np.array([[1.0]]), np.array([[0.5]])), 4)
    0.6931
    """

    def __init__(
        self, name: str | None = None, *, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(name)
        self.from_logits = flag("from_logits", from_logits)
        self.label_smoothing = real("label_smoothing", label_smoothing, low=0.0, high=1.0)

    def rows(self, y: Array, outputs: Array) -> Any:
        s = self.label_smoothing
        y = y * (1.0 - s) + 0.5 * s if s else y
        if self.from_logits:
            # log(1 + eᶻ) − y·z
            return np.logaddexp(0.0, outputs) - y * outputs
        p = np.clip(outputs, EPSILON, 1.0 - EPSILON)
        return -(y * np.log(p) + (1.0 - y) * np.log(1.0 - p))


class CategoricalCrossentropy(BinaryCrossentropy):
    """Mean over rows of −Σₖ yₖ·log pₖ.

    Parameters
    ----------
    name : str, optional
    from_logits : bool, default False
        The outputs are logits z, and p = softmax(z); else probabilities, divided by their sum
        and clipped to [1e-7, 1 − 1e-7].
    label_smoothing : float, default 0.0
        s in [0, 1]: y becomes y·(1 − s) + s/classes.

    Examples
    --------
    >>> round(CategoricalCrossentropy()(np.eye(2), np.array([[0.5, 0.5], [0.5, 0.5]])), 4)
    0.6931
    """

    rowwise = True

    def rows(self, y: Array, outputs: Array) -> Any:
        s = self.label_smoothing
        y = y * (1.0 - s) + s / y.shape[1] if s else y
        return -(y * _log_probabilities(outputs, self.from_logits)).sum(axis=1)


class SparseCategoricalCrossentropy(MeanDown):
    """Mean over rows of −log p of the true class.

    Parameters
    ----------
    name : str, optional
    from_logits : bool, default False
        As in `CategoricalCrossentropy`.

    Examples
    --------
    >>> round(SparseCategoricalCrossentropy()(np.array([0]), np.array([[0.5, 0.5]])), 4)
    0.6931
    """

    sparse = True
    rowwise = True

    def __init__(self, name: str | None = None, *, from_logits: bool = False) -> None:
        super().__init__(name)
        self.from_logits = flag("from_logits", from_logits)

    def rows(self, y: Array, outputs: Array) -> Any:
        log_p = _log_probabilities(outputs, self.from_logits)
        return -np.take_along_axis(log_p, y[:, None], axis=1)[:, 0]


TABLE: dict[str, type[Metric]] = {
    # "accuracy" and "acc" depend on the targets and the output's shape: see `resolve`.
    "accuracy": Accuracy,
    "acc": Accuracy,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "precision": Precision,
    "recall": Recall,
    "auc": AUC,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "rmse": RootMeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "r2_score": R2Score,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}
_resolve.name_constructors(TABLE.values())

# These classes do not modify their arguments; a user-defined class may.
BUILT_IN = frozenset({*TABLE.values(), FunctionMetric})


def deserialize(identifier: object) -> Metric:
    """Return the metric that `identifier` stands for.

    Parameters
    ----------
    identifier : str, Metric, subclass of Metric, callable or dict
        A callable is called as ``f(y_true, y_pred)``; a dict is what `serialize` gave.
        ``"accuracy"`` is `Accuracy` here: which other one it means depends on model and loss.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is none of these.

    Examples
    --------
    >>> deserialize("mae")
    MeanAbsoluteError(name=None)
    """
    if callable(identifier) and not isinstance(identifier, (Metric, type)):
        return FunctionMetric(identifier)
    return _resolve.resolve("metric", identifier, Metric, TABLE)


def get(identifier: object) -> Metric | None:
    """Return what `deserialize` returns, and None for None.

    Examples
    --------
    >>> get("mae"), get(None)
    (MeanAbsoluteError(name=None), None)
    """
    return None if identifier is None else deserialize(identifier)


# Keras' name.
serialize = _resolve.describe


def check_names(metrics: object, argument: str = "metrics") -> list[str | Metric]:
    """Check `compile`'s argument as far as it goes without knowing the model's output."""
    if metrics is None:
        return []
    if not isinstance(metrics, (list, tuple)):
        raise TypeError(f'{argument} must be a list, such as ["accuracy"]; received {metrics!r}')
    found = [deserialize(entry) for entry in metrics]
    return [e if isinstance(e, str) else metric for e, metric in zip(metrics, found, strict=True)]


def describe_all(entries: Sequence[str | Metric]) -> list[Any]:
    """Return JSON descriptions, without functions of the caller's, which cannot be written."""
    own = [name_of(entry) for entry in entries if isinstance(entry, FunctionMetric)]
    if own:
        warnings.warn(
            f"Metrics {own} are functions and are not saved: compile the loaded model with them",
            UserWarning,
            stacklevel=3,
        )
    return [
        entry if isinstance(entry, str) else _resolve.describe(entry)
        for entry in entries
        if not isinstance(entry, FunctionMetric)
    ]


def name_of(entry: str | Metric) -> str:
    """Return a metric's key in History: the name as passed, or its own, or its class's."""
    if isinstance(entry, str):
        return entry
    return entry.name or _resolve.snake_case(type(entry).__name__)


def resolve(entry: str | Metric, loss: Loss, output_shape: Shape) -> Metric:
    """Return the metric that `entry` means for a loss and the shape of one sample's output.

    "accuracy" and "acc" are sparse categorical accuracy where the targets are class indices, else
    binary accuracy for one output, else categorical accuracy: Keras' rule.

    Raises
    ------
    ValueError
        If the name is unknown, or the metric does not fit the targets or the output.

    Examples
    --------
    >>> from nnfast import losses
    >>> resolve("accuracy", losses.resolve("mse"), (1,))
    BinaryAccuracy(name=None, threshold=0.5)
    """
    metric: Metric
    if isinstance(entry, str) and entry.lower() in ("accuracy", "acc"):
        if loss.sparse:
            metric = SparseCategoricalAccuracy()
        else:
            metric = BinaryAccuracy() if output_shape[-1] == 1 else CategoricalAccuracy()
    else:
        metric = deserialize(entry)
    if not loss.is_function and metric.sparse not in (None, loss.sparse):
        expected = "class indices" if metric.sparse else "one target per output"
        raise ValueError(
            f"Metric {name_of(entry)!r} needs {expected}, and the targets of "
            f"{type(loss).__name__} are {'class indices' if loss.sparse else 'one per output'}"
        )
    if metric.rowwise and len(output_shape) != 1:
        raise ValueError(
            f"Metric {name_of(entry)!r} needs outputs of shape (n, classes); the model gives "
            f"samples of shape {output_shape}"
        )
    return metric


def resolve_all(
    entries: Sequence[str | Metric],
    weighted: Sequence[str | Metric],
    loss: Loss,
    output_shape: Shape,
) -> tuple[dict[str, Metric], frozenset[str]]:
    """Return each metric under its key in History, and which of the keys are weighted.

    A key that is taken gets a number; a weighted one is called ``weighted_…`` before: Keras'
    rule.

    Examples
    --------
    >>> from nnfast import losses
    >>> metrics, _ = resolve_all(["mse", "mse"], ["mse"], losses.resolve("mse"), (1,))
    >>> list(metrics)
    ['mse', 'mse_1', 'weighted_mse']
    """
    metrics: dict[str, Metric] = {}
    weighted_keys = set()
    for entry in entries:
        metrics[_free(name_of(entry), metrics)] = resolve(entry, loss, output_shape)
    for entry in weighted:
        name = name_of(entry)
        key = _free(f"weighted_{name}" if name in metrics else name, metrics)
        metrics[key] = resolve(entry, loss, output_shape)
        weighted_keys.add(key)
    return metrics, frozenset(weighted_keys)


def _free(name: str, taken: dict[str, Metric]) -> str:
    number = 0
    key = name
    while key in taken:
        number += 1
        key = f"{name}_{number}"
    return key


def _log_probabilities(outputs: Array, from_logits: bool) -> Any:
    if from_logits:
        z = outputs - outputs.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    p = outputs / outputs.sum(axis=1, keepdims=True)
    return np.log(np.clip(p, EPSILON, 1.0 - EPSILON))

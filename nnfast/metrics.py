"""Metrics, computed by NumPy from the targets and the outputs of a whole epoch.

Every metric is a mean over samples, so this equals Keras' running value at the epoch's end.
Sample weights enter the `weighted_metrics=` alone, as in Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnfast import _resolve
from nnfast._validation import Shape, real
from nnfast.losses import Loss

Array = NDArray[Any]


@dataclass(frozen=True)
class Metric(_resolve.Configured):
    """Base of the metrics.

    Attributes
    ----------
    sparse : bool
        True if the targets must be class indices.
    rowwise : bool
        True if one row of outputs is one distribution.
    """

    sparse: ClassVar[bool] = False
    rowwise: ClassVar[bool] = False

    def __call__(self, y: Array, outputs: Array, sample_weight: Array | None = None) -> float:
        """Return the metric of targets `y` and predictions `outputs`, weighted row by row."""
        raise NotImplementedError


@dataclass(frozen=True)
class BinaryAccuracy(Metric):
    """Share of outputs on the right side of `threshold`, targets being 0 or 1.

    Parameters
    ----------
    threshold : float, default 0.5

    Examples
    --------
    >>> BinaryAccuracy()(np.array([[1.0], [0.0]]), np.array([[0.7], [0.6]]))
    0.5
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        real("threshold", self.threshold)

    def __call__(self, y: Array, outputs: Array, sample_weight: Array | None = None) -> float:
        return _mean((outputs > self.threshold) == y, sample_weight)


class CategoricalAccuracy(Metric):
    """Share of rows whose largest output is where the target's largest entry is.

    Examples
    --------
    >>> CategoricalAccuracy()(np.eye(2), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    rowwise = True

    def __call__(self, y: Array, outputs: Array, sample_weight: Array | None = None) -> float:
        return _mean(outputs.argmax(axis=1) == y.argmax(axis=1), sample_weight)


class SparseCategoricalAccuracy(Metric):
    """Share of rows whose largest output is at the target's class index.

    Examples
    --------
    >>> SparseCategoricalAccuracy()(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    sparse = True
    rowwise = True

    def __call__(self, y: Array, outputs: Array, sample_weight: Array | None = None) -> float:
        return _mean(outputs.argmax(axis=1) == y, sample_weight)


class MeanSquaredError(Metric):
    """Mean of (ŷ − y)².

    Examples
    --------
    >>> MeanSquaredError()(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    2.0
    """

    def __call__(self, y: Array, outputs: Array, sample_weight: Array | None = None) -> float:
        return _mean(np.square(outputs - y), sample_weight)


class MeanAbsoluteError(Metric):
    """Mean of abs(ŷ − y).

    Examples
    --------
    >>> MeanAbsoluteError()(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    1.0
    """

    def __call__(self, y: Array, outputs: Array, sample_weight: Array | None = None) -> float:
        return _mean(np.abs(outputs - y), sample_weight)


TABLE: dict[str, type[Metric]] = {
    # "accuracy" and "acc" depend on the targets and the output's shape: see `resolve`.
    "accuracy": Metric,
    "acc": Metric,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
}


def check_names(metrics: object) -> list[str | Metric]:
    """Check `compile`'s argument as far as it goes without knowing the model's output."""
    if metrics is None:
        return []
    if not isinstance(metrics, (list, tuple)):
        raise TypeError(f'metrics must be a list, such as ["accuracy"]; received {metrics!r}')
    return [
        entry
        if isinstance(entry, str) and _resolve.choose("metric", entry.lower(), TABLE)
        else _resolve.resolve("metric", entry, Metric, TABLE)
        for entry in metrics
    ]


def name_of(entry: str | Metric) -> str:
    """Return a metric's key in History: the name as passed, or the class in snake case."""
    return entry if isinstance(entry, str) else _resolve.snake_case(type(entry).__name__)


def resolve(entry: str | Metric, loss: Loss, output_shape: Shape) -> Metric:
    """Return the metric that `entry` means for a loss and the shape of one sample's output.

    "accuracy" and "acc" are binary accuracy for one output, else sparse categorical accuracy
    where the targets are class indices, else categorical accuracy: Keras' rule.

    Raises
    ------
    ValueError
        If the name is unknown, or the metric does not fit the targets or the output.

    Examples
    --------
    >>> from nnfast import losses
    >>> resolve("accuracy", losses.resolve("mse"), (1,))
    BinaryAccuracy(threshold=0.5)
    """
    metric: Metric
    if isinstance(entry, str) and entry.lower() in ("accuracy", "acc"):
        if output_shape[-1] == 1:
            metric = BinaryAccuracy()
        else:
            metric = SparseCategoricalAccuracy() if loss.sparse else CategoricalAccuracy()
    else:
        metric = _resolve.resolve("metric", entry, Metric, TABLE)
    if metric.sparse != loss.sparse:
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
    entries: Sequence[str | Metric], loss: Loss, output_shape: Shape
) -> dict[str, Metric]:
    """Return each metric under its key in History."""
    return {name_of(entry): resolve(entry, loss, output_shape) for entry in entries}


def get(identifier: object) -> Metric:
    """Return the metric that `identifier` (a name, a class, an object, a description) stands for.

    Raises
    ------
    ValueError
        If the name is unknown, or "accuracy", which means nothing without a model and a loss.
    TypeError
        If `identifier` is none of these.

    Examples
    --------
    >>> get("mae")
    MeanAbsoluteError()
    """
    table = {name: cls for name, cls in TABLE.items() if cls is not Metric}
    return _resolve.resolve("metric", identifier, Metric, table)


# Keras' names.
deserialize = get
serialize = _resolve.describe


def _mean(values: Array, weight: Array | None) -> float:
    """Return Σ wᵢ·vᵢ / Σ wᵢ, vᵢ the mean of row i; 0 where no row has a weight, as in Keras."""
    if weight is None:
        return float(values.mean(dtype=np.float64))
    rows = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
    total = weight.sum()
    return float(weight @ rows / total) if total else 0.0

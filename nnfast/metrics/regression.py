"""Regression metrics: mean errors and R²."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnfast._utils import registry
from nnfast._utils.checks import integer
from nnfast.losses import functional
from nnfast.metrics.metric import (
    Array,
    Floats,
    FormulaMean,
    MeanDown,
    Metric,
    RowMean,
    quiet,
    ratio,
)


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


class MeanAbsolutePercentageError(FormulaMean):
    """Mean of 100·abs(ŷ − y) / max(abs(y), 1e-7).

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> MeanAbsolutePercentageError()([[1.0], [2.0]], [[1.0], [4.0]])
    50.0
    """

    formula = staticmethod(functional.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(FormulaMean):
    """Mean of (log(ŷ + 1) − log(y + 1))², where values below 1e-7 count as 1e-7.

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> round(MeanSquaredLogarithmicError()([[0.0]], [[1.0]]), 4)
    0.4805
    """

    formula = staticmethod(functional.mean_squared_logarithmic_error)


class LogCoshError(FormulaMean):
    """Mean of log cosh(ŷ − y).

    Parameters
    ----------
    name, dtype
        As in `Metric`; the default name is "logcosh".

    Examples
    --------
    >>> LogCoshError()([[0.0]], [[0.0]])
    0.0
    """

    default_name = "logcosh"
    formula = staticmethod(functional.log_cosh)


class CosineSimilarity(RowMean):
    """Mean over rows of the cosine similarity Σ y·ŷ / (abs(y)·abs(ŷ)), the negative of the loss.

    Parameters
    ----------
    name, dtype
        As in `Metric`.
    axis : int, default -1
        The axis of the vectors; it must be the last one.

    Examples
    --------
    >>> CosineSimilarity()([[0.0, 2.0]], [[0.0, 1.0]])
    1.0
    """

    rowwise = True
    direction = "up"

    def __init__(self, name: str | None = None, dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(name, dtype)
        functional.check_axis(axis)
        self.axis = -1

    def rows(self, y: Array, outputs: Array) -> Any:
        with quiet():
            return -functional.cosine_similarity(y, outputs)


class R2Score(Metric):
    """R² = 1 − Σ(ŷ − y)² / Σ(y − ȳ)², computed for each output and averaged.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average"}, optional
        How the values of the outputs are averaged; "uniform_average" by default. None returns one
        value per output.
    num_regressors : int, default 0
        The number p in the adjusted R², 1 − (1 − R²)·(n − 1)/(n − p − 1), where n is the number
        of targets; 0 means no adjustment.
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> R2Score()(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [4.0]]))
    0.5
    """

    direction = "up"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self.class_aggregation = class_aggregation
        if class_aggregation is not None:
            kinds = dict.fromkeys(("uniform_average", "variance_weighted_average"))
            registry.choose("class_aggregation", class_aggregation, kinds)
        self.num_regressors = integer("num_regressors", num_regressors, 0, maximum=2**53)

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        """Return, for each output, Σw, the origin, ȳ − origin, Σw·(y − ȳ)², Σw·(ŷ − y)² and n.

        The origin is the first target. It is subtracted from all targets to avoid cancellation
        between large squares.
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
        """Return the merged totals of two sets of rows (Chan, Golub and LeVeque, 1979)."""
        origin, mean_difference = totals[1], others[2] + (others[1] - totals[1]) - totals[2]
        merged = totals + others
        fraction = ratio(others[0], merged[0])
        merged[1], merged[2] = origin, totals[2] + fraction * mean_difference
        merged[3] += totals[0] * fraction * np.square(mean_difference)
        return merged

    def value(self, totals: Floats) -> float | Floats:
        _, _, _, total, residual, count = totals
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            scores = 1.0 - residual / total
            scores[np.isinf(scores)] = 0.0
            if self.class_aggregation == "uniform_average":
                scores = scores.mean()
            elif self.class_aggregation is not None:
                scores = (total * scores).sum() / total.sum()
        n, p = count[0], self.num_regressors
        if 0 < p < n - 1:
            scores = 1.0 - (1.0 - scores) * (n - 1.0) / (n - p - 1.0)
        return scores if self.class_aggregation is None else float(scores)

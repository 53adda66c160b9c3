"""Metrics from counts of true and false positives and negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nnfast._utils.checks import entries, integer, optional_integer, real
from nnfast.metrics.metric import Array, Floats, Metric, ratio


class Counts(Metric):
    """Base class of the metrics whose totals are TP, FP, FN and TN for each threshold."""

    thresholds: float | tuple[float, ...] | None = None
    top_k: int | None = None
    class_id: int | None = None

    def _take_thresholds(self, thresholds: Any) -> None:
        """Check and store the argument `thresholds`: None, a number or several numbers."""
        if thresholds is None:
            self.thresholds = None
        elif isinstance(thresholds, (list, tuple)) or np.shape(thresholds):
            several = entries("thresholds", thresholds)
            if not several:
                raise ValueError(f"thresholds must have at least one entry; received {thresholds}")
            self.thresholds = tuple(
                real("each of thresholds", t, low=0.0, high=1.0) for t in several
            )
        else:
            self.thresholds = real("thresholds", thresholds, low=0.0, high=1.0)

    def _take_class(self, class_id: object) -> None:
        self.class_id = None if class_id is None else integer("class_id", class_id, minimum=0)
        self.rowwise = self.class_id is not None

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        true = y != 0
        if self.top_k is not None:
            largest = np.argsort(-outputs, axis=1, kind="stable")[:, : self.top_k]
            in_top_k = np.zeros(outputs.shape, bool)
            np.put_along_axis(in_top_k, largest, True, axis=1)
            outputs = np.where(in_top_k, outputs, -math.inf)
        if self.class_id is not None:
            if self.class_id >= y.shape[1]:
                raise ValueError(
                    f"class_id must be below the number of outputs, {y.shape[1]}; "
                    f"received {self.class_id}"
                )
            column = slice(self.class_id, self.class_id + 1)
            outputs, true = outputs[:, column], true[:, column]
        w = np.ones(len(y)) if weight is None else weight
        counts = []
        for threshold in self.all_thresholds:
            positive = outputs > threshold
            cells = true & positive, ~true & positive, true & ~positive, ~true & ~positive
            counts.append([(w @ cell).sum() for cell in cells])
        return np.transpose(counts)

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        """The thresholds as a tuple, including the default."""
        if self.thresholds is None:
            return (0.5 if self.top_k is None else -math.inf,)
        return self.thresholds if isinstance(self.thresholds, tuple) else (self.thresholds,)

    def by_threshold(self, values: Floats) -> float | Floats:
        """Return a number for one threshold, an array for several."""
        return float(values[0]) if len(values) == 1 else values

    def result(self) -> Any:
        if self._sums is None:
            self._sums = np.zeros((4, len(self.all_thresholds)))
        return super().result()


class OneCount(Counts):
    """Base class of the metrics that are one of the counts."""

    row: ClassVar[int]

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self._take_thresholds(thresholds)

    def value(self, totals: Floats) -> float | Floats:
        return self.by_threshold(totals[self.row])


class TruePositives(OneCount):
    """Number of positive predictions with a positive target, or the sum of their weights.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        In [0, 1]; an output above the threshold is a positive prediction. With several
        thresholds, the metric is an array.
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> TruePositives()([0, 1, 1], [0.9, 0.8, 0.2])
    1.0
    """

    row = 0
    direction = "up"


class FalsePositives(OneCount):
    """Number of positive predictions with a negative target, or the sum of their weights.

    Parameters
    ----------
    thresholds, name, dtype
        As in `TruePositives`.

    Examples
    --------
    >>> FalsePositives()([0, 1, 1], [0.9, 0.8, 0.2])
    1.0
    """

    row = 1
    direction = "down"


class FalseNegatives(OneCount):
    """Number of negative predictions with a positive target, or the sum of their weights.

    Parameters
    ----------
    thresholds, name, dtype
        As in `TruePositives`.

    Examples
    --------
    >>> FalseNegatives()([0, 1, 1], [0.9, 0.8, 0.2])
    1.0
    """

    row = 2
    direction = "down"


class TrueNegatives(OneCount):
    """Number of negative predictions with a negative target, or the sum of their weights.

    Parameters
    ----------
    thresholds, name, dtype
        As in `TruePositives`.

    Examples
    --------
    >>> TrueNegatives()([0, 1, 1], [0.9, 0.8, 0.2])
    0.0
    """

    row = 3
    direction = "up"


class Rate(Counts):
    """Base class of precision and recall."""

    direction = "up"

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self._take_thresholds(thresholds)
        self._take_class(class_id)
        self.top_k = optional_integer("top_k", top_k)
        self.rowwise = self.rowwise or self.top_k is not None


class Precision(Rate):
    """Precision: TP / (TP + FP), or 0 without positive predictions.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        In [0, 1]; an output above the threshold is a positive prediction. With `top_k`, there is
        no threshold by default. With several thresholds, the metric is an array, in History too.
    top_k : int, optional
        Only the `top_k` largest outputs of a row can be positive predictions.
    class_id : int, optional
        Use only the output with this index.
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> Precision()(np.array([[1.0], [0.0], [1.0]]), np.array([[0.9], [0.8], [0.2]]))
    0.5
    >>> Precision([0.5, 0.85])(np.array([[1.0], [0.0], [1.0]]), np.array([[0.9], [0.8], [0.2]]))
    Tensor([0.5, 1. ])
    """

    def value(self, totals: Floats) -> float | Floats:
        return self.by_threshold(ratio(totals[0], totals[0] + totals[1]))


class Recall(Rate):
    """Recall: TP / (TP + FN), or 0 without positive targets.

    Parameters
    ----------
    thresholds, top_k, class_id, name, dtype
        As in `Precision`.

    Examples
    --------
    >>> Recall()(np.array([[1.0], [0.0], [1.0]]), np.array([[0.9], [0.8], [0.2]]))
    0.5
    """

    def value(self, totals: Floats) -> float | Floats:
        return self.by_threshold(ratio(totals[0], totals[0] + totals[2]))

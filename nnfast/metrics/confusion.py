"""Metrics from counts of true and false positives: precision, recall, areas under curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnfast._utils import registry
from nnfast._utils.checks import entries, flag, integer, real
from nnfast.metrics.metric import EPSILON, Array, Floats, Metric, quiet, ratio


class _Counts(Metric):
    """What precision and recall have in common: totals are TP, FP, FN, of each threshold."""

    direction = "up"

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.thresholds: float | tuple[float, ...] | None
        if thresholds is None:
            self.thresholds = None
        elif isinstance(thresholds, (list, tuple)) or np.shape(thresholds):
            given = entries("thresholds", thresholds)
            if not given:
                raise ValueError(f"thresholds must have at least one entry; received {thresholds}")
            self.thresholds = tuple(real("each of thresholds", t, low=0.0, high=1.0) for t in given)
        else:
            self.thresholds = real("thresholds", thresholds, low=0.0, high=1.0)
        self.top_k = None if top_k is None else integer("top_k", top_k, minimum=1)
        self.class_id = None if class_id is None else integer("class_id", class_id, minimum=0)

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        true = y != 0
        if self.top_k is not None:
            largest = np.argsort(-outputs, axis=1, kind="stable")[:, : self.top_k]
            among = np.zeros(outputs.shape, bool)
            np.put_along_axis(among, largest, True, axis=1)
            outputs = np.where(among, outputs, -math.inf)
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
        for threshold in self._levels:
            positive = outputs > threshold
            cells = true & positive, ~true & positive, true & ~positive
            counts.append([(w @ cell).sum() for cell in cells])
        return np.transpose(counts)

    @property
    def _levels(self) -> tuple[float, ...]:
        """The thresholds, all of them."""
        if self.thresholds is None:
            return (0.5 if self.top_k is None else -math.inf,)
        return self.thresholds if isinstance(self.thresholds, tuple) else (self.thresholds,)

    def _rate(self, hits: Floats, others: Floats) -> float | Floats:
        """Return hits / (hits + others), a number where there is one threshold."""
        rates = ratio(hits, hits + others)
        return float(rates[0]) if len(rates) == 1 else rates

    def result(self) -> float | Floats:
        if self._sums is None:
            return self.value(np.zeros((3, len(self._levels))))
        return super().result()


class Precision(_Counts):
    """TP / (TP + FP); 0 where nothing is predicted.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        In [0, 1]; an output above it is a prediction. With `top_k` there is none by default. The
        metric of several thresholds is an array with a value for each, in History, too.
    top_k : int, optional
        Only a row's `top_k` largest outputs can be predictions.
    class_id : int, optional
        Look at this output alone.
    name : str, optional

    Examples
    --------
    >>> Precision()(np.array([[1.0], [0.0], [1.0]]), np.array([[0.9], [0.8], [0.2]]))
    0.5
    >>> Precision([0.5, 0.85])(np.array([[1.0], [0.0], [1.0]]), np.array([[0.9], [0.8], [0.2]]))
    array([0.5, 1. ])
    """

    def value(self, totals: Floats) -> float | Floats:
        return self._rate(totals[0], totals[1])


class Recall(_Counts):
    """TP / (TP + FN); 0 where there is nothing to find.

    Parameters
    ----------
    thresholds, top_k, class_id, name
        As in `Precision`.

    Examples
    --------
    >>> Recall()(np.array([[1.0], [0.0], [1.0]]), np.array([[0.9], [0.8], [0.2]]))
    0.5
    """

    def value(self, totals: Floats) -> float | Floats:
        return self._rate(totals[0], totals[2])


class AUC(Metric):
    """Area under a curve, from counts at thresholds, as in Keras.

    Parameters
    ----------
    num_thresholds : int, default 200
        Evenly from just below 0 to just above 1.
    curve : {"ROC", "PR"}, default "ROC"
        True over false positive rate, or precision over recall.
    summation_method : {"interpolation", "minoring", "majoring"}, default "interpolation"
        Height between two thresholds: the mean (for PR: precision as the counts run in between,
        Davis and Goadrich, 2006), the lower or the higher.
    name : str, optional
    thresholds : sequence of float, optional
        In [0, 1], instead of `num_thresholds`; the two ends are added.
    multi_label : bool, default False
        The mean of each output's own area; else all outputs count as one.
    from_logits : bool, default False
        The outputs are logits.

    Examples
    --------
    >>> y, p = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[0.1], [0.6], [0.5], [0.9]])
    >>> round(AUC()(y, p), 6), round(AUC(curve="PR")(y, p), 6)
    (0.75, 0.797267)
    """

    direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name)
        self.num_thresholds = integer("num_thresholds", num_thresholds, 2, maximum=10**6)
        self.curve = registry.choose("curve", str(curve).upper(), {"ROC": "ROC", "PR": "PR"})
        methods = {kind: kind for kind in ("interpolation", "minoring", "majoring")}
        self.summation_method = registry.choose(
            "summation_method", str(summation_method).lower(), methods
        )
        self.thresholds = (
            None
            if thresholds is None
            else tuple(
                sorted(
                    real("each of thresholds", t, low=0.0, high=1.0)
                    for t in entries("thresholds", thresholds)
                )
            )
        )
        self.multi_label = flag("multi_label", multi_label)
        self.from_logits = flag("from_logits", from_logits)

    def _buckets(self, p: Array) -> tuple[NDArray[np.intp], int]:
        """Return how many thresholds each of `p` exceeds, and how many there are."""
        p = np.where(np.isnan(p), p.dtype.type(0), p)  # no prediction: as low as there is
        if self.thresholds is not None:
            ends = [-EPSILON, *self.thresholds, 1.0 + EPSILON]
            return np.searchsorted(np.array(ends, p.dtype), p), len(ends)
        last = self.num_thresholds - 1
        # Every p is above the first threshold, which lies below 0, and none above the last.
        above = np.maximum(np.ceil(np.clip(p, 0.0, 1.0) * p.dtype.type(last)), 1)
        return above.astype(np.intp), self.num_thresholds

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        """Return weights of (negatives, positives) by thresholds exceeded and by label."""
        p = outputs if outputs.dtype.kind == "f" else outputs.astype(np.float64)
        if self.from_logits:
            with quiet():
                p = np.exp(-np.logaddexp(0.0, -p))
        bucket, n = self._buckets(p)
        w = np.ones(y.shape) if weight is None else np.broadcast_to(weight[:, None], y.shape)
        labels = y.shape[1] if self.multi_label else 1
        label = np.broadcast_to(np.arange(y.shape[1]) % labels, y.shape)
        cell = ((y != 0) * (n + 1) + bucket) * labels + label
        counts = np.bincount(cell.ravel(), w.ravel(), minlength=2 * (n + 1) * labels)
        return counts.astype(np.float64).reshape(2, n + 1, labels)

    def value(self, totals: Floats) -> float:
        # Threshold j is exceeded by what exceeds more than j of them.
        fp, tp = (counts[::-1].cumsum(axis=0)[::-1][1:] for counts in totals)
        negatives, positives = totals.sum(axis=1)
        if self.curve == "ROC":
            area = self._area(ratio(fp, negatives), ratio(tp, positives))
        elif self.summation_method == "interpolation":
            area = _interpolated_pr(tp, tp + fp, positives)
        else:
            area = self._area(ratio(tp, positives), ratio(tp, tp + fp))
        return float(area.mean())

    def _area(self, x: Floats, y: Floats) -> Floats:
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2.0
        else:
            pick = np.minimum if self.summation_method == "minoring" else np.maximum
            heights = pick(y[:-1], y[1:])
        area: Floats = ((x[:-1] - x[1:]) * heights).sum(axis=0)
        return area


def _interpolated_pr(tp: Floats, predicted: Floats, positives: Floats) -> Floats:
    """Return ∫ precision d(recall), TP linear in the number of predictions in between."""
    d_tp, d_predicted = tp[:-1] - tp[1:], predicted[:-1] - predicted[1:]
    slope = ratio(d_tp, d_predicted)
    intercept = tp[1:] - slope * predicted[1:]
    both = (predicted[:-1] > 0.0) & (predicted[1:] > 0.0)
    growth = np.divide(predicted[:-1], predicted[1:], out=np.ones_like(slope), where=both)
    area: Floats = ratio(slope * (d_tp + intercept * np.log(growth)), positives).sum(axis=0)
    return area

"""Metrics from counts of true and false positives: precision, recall and AUC."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnfast._utils import registry
from nnfast._utils.checks import entries, flag, integer, real
from nnfast.metrics.metric import EPSILON, Array, Floats, Metric, quiet, ratio


class _Counts(Metric):
    """Base class of precision and recall, whose totals are TP, FP and FN for each threshold."""

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
            several = entries("thresholds", thresholds)
            if not several:
                raise ValueError(f"thresholds must have at least one entry; received {thresholds}")
            self.thresholds = tuple(
                real("each of thresholds", t, low=0.0, high=1.0) for t in several
            )
        else:
            self.thresholds = real("thresholds", thresholds, low=0.0, high=1.0)
        self.top_k = None if top_k is None else integer("top_k", top_k, minimum=1)
        self.class_id = None if class_id is None else integer("class_id", class_id, minimum=0)

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
        for threshold in self._all_thresholds:
            positive = outputs > threshold
            cells = true & positive, ~true & positive, true & ~positive
            counts.append([(w @ cell).sum() for cell in cells])
        return np.transpose(counts)

    @property
    def _all_thresholds(self) -> tuple[float, ...]:
        """The thresholds as a tuple, including the default."""
        if self.thresholds is None:
            return (0.5 if self.top_k is None else -math.inf,)
        return self.thresholds if isinstance(self.thresholds, tuple) else (self.thresholds,)

    def _rate(self, hits: Floats, others: Floats) -> float | Floats:
        """Return hits / (hits + others): a number for one threshold, an array for several."""
        rates = ratio(hits, hits + others)
        return float(rates[0]) if len(rates) == 1 else rates

    def result(self) -> float | Floats:
        if self._sums is None:
            return self.value(np.zeros((3, len(self._all_thresholds))))
        return super().result()


class Precision(_Counts):
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
    """Recall: TP / (TP + FN), or 0 without positive targets.

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
    """Approximate area under the ROC or precision-recall curve, computed as in Keras.

    Parameters
    ----------
    num_thresholds : int, default 200
        Number of evenly spaced thresholds from just below 0 to just above 1.
    curve : {"ROC", "PR"}, default "ROC"
        "ROC" is the true positive rate against the false positive rate; "PR" is precision against
        recall.
    summation_method : {"interpolation", "minoring", "majoring"}, default "interpolation"
        Height of the curve between two thresholds: the mean, the minimum or the maximum of the
        two values. For PR, "interpolation" interpolates the counts (Davis and Goadrich, 2006).
    name : str, optional
    thresholds : sequence of float, optional
        Thresholds in [0, 1], used instead of `num_thresholds`; one below 0 and one above 1 are
        added.
    multi_label : bool, default False
        Average the areas under one curve per output, instead of pooling all outputs into one curve.
    from_logits : bool, default False
        Whether the outputs are logits.

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
        """Return the number of thresholds that each p exceeds, and the number of all thresholds."""
        p = np.where(np.isnan(p), p.dtype.type(0), p)  # NaN counts as the lowest prediction
        if self.thresholds is not None:
            ends = [-EPSILON, *self.thresholds, 1.0 + EPSILON]
            return np.searchsorted(np.array(ends, p.dtype), p), len(ends)
        last = self.num_thresholds - 1
        # Every p exceeds the first threshold, which is below 0, and none exceeds the last.
        above = np.maximum(np.ceil(np.clip(p, 0.0, 1.0) * p.dtype.type(last)), 1)
        return above.astype(np.intp), self.num_thresholds

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        """Return the sums of the weights of negatives and of positives.

        The axes are (negative or positive, number of thresholds exceeded, label).
        """
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
        # Thresholds ascend: an output exceeds threshold j (from 0) if it exceeds more than j.
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
    """Return ∫ precision d(recall), with TP interpolated linearly in `predicted`."""
    d_tp, d_predicted = tp[:-1] - tp[1:], predicted[:-1] - predicted[1:]
    slope = ratio(d_tp, d_predicted)
    intercept = tp[1:] - slope * predicted[1:]
    both = (predicted[:-1] > 0.0) & (predicted[1:] > 0.0)
    growth = np.divide(predicted[:-1], predicted[1:], out=np.ones_like(slope), where=both)
    area: Floats = ratio(slope * (d_tp + intercept * np.log(growth)), positives).sum(axis=0)
    return area

"""The area under a ROC or precision-recall curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnfast._utils import registry
from nnfast._utils.checks import entries, flag, integer, optional_integer, real
from nnfast.metrics.metric import EPSILON, Array, Floats, Metric, quiet, ratio


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
    name, dtype
        As in `Metric`.
    thresholds : sequence of float, optional
        Thresholds in [0, 1], used instead of `num_thresholds`; one below 0 and one above 1 are
        added.
    multi_label : bool, default False
        Average the areas under one curve per output, instead of pooling all outputs into one curve.
    num_labels : int, optional
        The number of outputs, to be checked; only with `multi_label`.
    label_weights : sequence of float, optional
        Weights of the outputs, in the average over curves or in the pooled curve.
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
        dtype: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name, dtype)
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
        self.num_labels = optional_integer("num_labels", num_labels)
        if self.num_labels is not None and not self.multi_label:
            raise ValueError(f"num_labels needs multi_label=True; received {num_labels}")
        self.label_weights = (
            None
            if label_weights is None
            else tuple(
                real("each of label_weights", w, low=0.0)
                for w in entries("label_weights", label_weights)
            )
        )
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
        self._check_labels(y.shape[1])
        p = outputs if outputs.dtype.kind == "f" else outputs.astype(np.float64)
        if self.from_logits:
            with quiet():
                p = np.exp(-np.logaddexp(0.0, -p))
        bucket, n = self._buckets(p)
        w = np.ones(y.shape) if weight is None else np.broadcast_to(weight[:, None], y.shape)
        if self.label_weights is not None and not self.multi_label:
            w = w * np.asarray(self.label_weights)
        labels = y.shape[1] if self.multi_label else 1
        label = np.broadcast_to(np.arange(y.shape[1]) % labels, y.shape)
        cell = ((y != 0) * (n + 1) + bucket) * labels + label
        counts = np.bincount(cell.ravel(), w.ravel(), minlength=2 * (n + 1) * labels)
        return counts.astype(np.float64).reshape(2, n + 1, labels)

    def _check_labels(self, n_out: int) -> None:
        """Raise a ValueError if the arguments name another number of outputs."""
        for name, value in (("num_labels", self.num_labels), ("label_weights", self.label_weights)):
            given = len(value) if isinstance(value, tuple) else value
            if given not in (None, n_out):
                raise ValueError(
                    f"{name} of AUC is for {given} outputs; y_pred has {n_out} per sample"
                )

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
        if self.multi_label and self.label_weights is not None:
            weights = np.asarray(self.label_weights)
            return float(ratio((area * weights).sum(), weights.sum()))
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

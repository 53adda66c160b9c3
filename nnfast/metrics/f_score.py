"""F-scores, the weighted harmonic means of precision and recall."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nnfast._utils.checks import real
from nnfast._utils.registry import choose
from nnfast.metrics.metric import EPSILON, Array, Floats, Metric, quiet


class FBetaScore(Metric):
    """F-score (1 + β²)·P·R / (β²·P + R), with the precision P and the recall R of each class.

    As in Keras, 1e-7 is added to each denominator.

    Parameters
    ----------
    average : {"micro", "macro", "weighted"}, optional
        "micro" counts over all classes together, "macro" averages the classes' scores, and
        "weighted" weights them by the number of positive targets. None returns one score per
        class.
    beta : float, default 1.0
        The weight β > 0 of recall.
    threshold : float, optional
        In (0, 1]; an output above it is a positive prediction. By default the largest output of a
        row is.
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> y, p = [[1, 0], [0, 1], [0, 1]], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    >>> FBetaScore(beta=2.0)(y, p).round(4)
    array([0.8333, 0.5556])
    """

    rowwise = True
    direction = "up"
    default_name: ClassVar[str | None] = "fbeta_score"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        kinds = dict.fromkeys(("micro", "macro", "weighted"))
        self.average = average
        if average is not None:
            choose("average", average, kinds)
        self.beta = real("beta", beta, above=0.0)
        self.threshold = (
            None if threshold is None else real("threshold", threshold, above=0.0, high=1.0)
        )

    def _table(self, values: Array) -> Array:
        if values.ndim == 1:
            raise ValueError(
                f"{type(self).__name__} needs arrays of shape (n, classes); received {values.shape}"
            )
        return super()._table(values)

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        """Return TP, FP and FN of each class."""
        if self.threshold is None:
            largest = outputs >= outputs.max(axis=1, keepdims=True)
            predicted = largest & (np.abs(outputs) > 1e-9)
        else:
            predicted = outputs > self.threshold
        p, t = predicted.astype(np.float64), y.astype(np.float64)
        w = np.ones(len(y)) if weight is None else weight
        with quiet():
            return np.stack([w @ (p * t), w @ (p * (1.0 - t)), w @ ((1.0 - p) * t)])

    def value(self, totals: Floats) -> float | Floats:
        with quiet():
            return self._score(totals)

    def _score(self, totals: Floats) -> float | Floats:
        if self.average == "micro":
            totals = totals.sum(axis=1, keepdims=True)
        hits, wrong, missed = totals
        precision, recall = hits / (hits + wrong + EPSILON), hits / (hits + missed + EPSILON)
        square = self.beta * self.beta
        scores: Floats = (
            (1.0 + square) * precision * recall / (square * precision + recall + EPSILON)
        )
        if self.average is None:
            return scores
        if self.average == "weighted":
            positives = hits + missed
            return float((scores * positives).sum() / (positives.sum() + EPSILON))
        return float(scores.mean())


class F1Score(FBetaScore):
    """F₁-score 2·P·R / (P + R), with the precision P and the recall R of each class.

    Parameters
    ----------
    average, threshold, name, dtype
        As in `FBetaScore`.

    Examples
    --------
    >>> y, p = [[1, 0], [0, 1], [0, 1]], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    >>> round(F1Score("macro")(y, p), 4)
    0.6667
    """

    default_name = None

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

"""The best value of one rate among the thresholds at which another rate is high enough."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nnfast._utils.checks import integer, real
from nnfast.metrics.confusion import Counts
from nnfast.metrics.metric import Floats, ratio

# Rows of the totals: the numerator of a rate, and the other part of its denominator.
_SENSITIVITY, _SPECIFICITY, _PRECISION = (0, 2), (3, 1), (0, 1)


class Tradeoff(Counts):
    """Base class: the largest `best` rate among thresholds at which `least` is large enough."""

    direction = "up"
    least: ClassVar[tuple[int, int]]
    best: ClassVar[tuple[int, int]]

    minimum: float

    def _take(self, argument: str, minimum: object, thresholds: object, class_id: object) -> None:
        """Check and store the arguments; `argument` is the name of the minimum."""
        self.minimum = real(argument, minimum, low=0.0, high=1.0)
        setattr(self, argument, self.minimum)
        self.num_thresholds = integer("num_thresholds", thresholds, 1, maximum=10**5)
        self._take_class(class_id)

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        if self.num_thresholds == 1:
            return (0.5,)
        return tuple(np.linspace(0.0, 1.0, self.num_thresholds).tolist())

    def value(self, totals: Floats) -> float:
        least, best = (
            ratio(totals[hits], totals[hits] + totals[others])
            for hits, others in (self.least, self.best)
        )
        return float(best[least >= self.minimum].max(initial=0.0))


class SensitivityAtSpecificity(Tradeoff):
    """The largest sensitivity TP / (TP + FN) with a specificity TN / (TN + FP) of at least a value.

    Parameters
    ----------
    specificity : float
        The smallest specificity allowed, from 0 to 1.
    num_thresholds : int, default 200
        Number of evenly spaced thresholds from 0 to 1.
    class_id : int, optional
        Use only the output with this index.
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> SensitivityAtSpecificity(0.5)([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9])
    1.0
    """

    least, best = _SPECIFICITY, _SENSITIVITY
    specificity: float

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self._take("specificity", specificity, num_thresholds, class_id)


class SpecificityAtSensitivity(Tradeoff):
    """The largest specificity TN / (TN + FP) with a sensitivity TP / (TP + FN) of at least a value.

    Parameters
    ----------
    sensitivity : float
        The smallest sensitivity allowed, from 0 to 1.
    num_thresholds, class_id, name, dtype
        As in `SensitivityAtSpecificity`.

    Examples
    --------
    >>> SpecificityAtSensitivity(0.5)([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9])
    1.0
    """

    least, best = _SENSITIVITY, _SPECIFICITY
    sensitivity: float

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self._take("sensitivity", sensitivity, num_thresholds, class_id)


class PrecisionAtRecall(Tradeoff):
    """The largest precision TP / (TP + FP) with a recall TP / (TP + FN) of at least a value.

    Parameters
    ----------
    recall : float
        The smallest recall allowed, from 0 to 1.
    num_thresholds, class_id, name, dtype
        As in `SensitivityAtSpecificity`.

    Examples
    --------
    >>> PrecisionAtRecall(0.5)([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9])
    1.0
    """

    least, best = _SENSITIVITY, _PRECISION
    recall: float

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self._take("recall", recall, num_thresholds, class_id)


class RecallAtPrecision(Tradeoff):
    """The largest recall TP / (TP + FN) with a precision TP / (TP + FP) of at least a value.

    Parameters
    ----------
    precision : float
        The smallest precision allowed, from 0 to 1.
    num_thresholds, class_id, name, dtype
        As in `SensitivityAtSpecificity`.

    Examples
    --------
    >>> RecallAtPrecision(0.6)([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9])
    1.0
    """

    least, best = _PRECISION, _SENSITIVITY
    precision: float

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, dtype)
        self._take("precision", precision, num_thresholds, class_id)

"""Running sums and means of values, and of functions of targets and outputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nnfast._utils.eager import operand, same_rank
from nnfast.metrics.metric import Floats, FunctionMetric, Metric


class Aggregate(Metric):
    """Base class of the metrics of values instead of targets and outputs."""

    def update_state(  # type: ignore[override]
        self, values: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add values with their weights.

        Parameters
        ----------
        values : array_like
        sample_weight : array_like, optional
            One weight per value, or one per entry of the first axes of `values`.
        """
        v, w = operand("values", values, "float64"), np.ones(())
        if sample_weight is not None:
            v, w = same_rank(v, operand("sample_weight", sample_weight, "float64"))
            v = self._over(v, range(w.ndim, v.ndim))
            w = np.broadcast_to(w, v.shape) if w.ndim <= v.ndim else w
            v = v * w
            w = self._over(w, range(1, w.ndim))
        v = self._over(v, range(1, v.ndim))
        count = w.sum() if sample_weight is not None else v.size
        self._add(np.array([v.sum(), count]))

    def _over(self, values: Floats, axes: range) -> Floats:
        """Return the values reduced over some axes."""
        raise NotImplementedError


class Mean(Aggregate):
    """Mean of the values given to `update_state`, weighted by `sample_weight`.

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> mean = Mean()
    >>> mean.update_state([1.0, 3.0])
    >>> mean(8.0)
    4.0
    """

    def _over(self, values: Floats, axes: range) -> Floats:
        return np.asarray(values.mean(axis=tuple(axes)))


class Sum(Aggregate):
    """Sum of the values given to `update_state`, times `sample_weight`.

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> Sum()([1.0, 3.0], sample_weight=[1.0, 0.5])
    2.5
    """

    def _over(self, values: Floats, axes: range) -> Floats:
        return np.asarray(values.sum(axis=tuple(axes)))

    def value(self, totals: Floats) -> float:
        return float(totals[0])


class MeanMetricWrapper(FunctionMetric):
    """The mean over rows of a function of targets and outputs, with fixed keyword arguments.

    Parameters
    ----------
    fn : callable
        Called as ``fn(y_true, y_pred, **options)``. See `FunctionMetric`.
    name, dtype
        As in `Metric`; by default the name of the function.
    **options
        Keyword arguments of `fn`.

    Examples
    --------
    >>> from nnfast.losses import huber
    >>> MeanMetricWrapper(huber, delta=0.5)([[1.0]], [[1.5]])
    0.125
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        dtype: str | None = None,
        **options: Any,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"fn must be callable; received {fn!r}")
        own = getattr(fn, "__name__", type(fn).__name__)
        super().__init__(partial(fn, **options), own if name is None else name, dtype)
        self.fn, self.options = fn, options

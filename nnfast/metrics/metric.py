"""What a metric is: totals of rows, such as sums, and a value made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._data.arrays import sample_weights
from nnfast._utils import registry
from nnfast._utils.checks import optional_text

Array = NDArray[Any]
Floats = NDArray[np.float64]

# Keras' epsilon: probabilities are clipped to [EPSILON, 1 − EPSILON].
EPSILON = 1e-7


class Metric(registry.Configured):
    """Base of the metrics.

    A subclass says what it sums over rows (`totals`), what it makes of the sums (`value`), and, if
    its totals are not merely added, how those of two sets of rows are put together (`merge`).

    Parameters
    ----------
    name : str, optional
        Key in History; the class in snake case by default.

    Attributes
    ----------
    sparse : bool or None
        True if the targets must be class indices, None if they may.
    rowwise : bool
        True if one row of outputs is one distribution.
    direction : {"up", "down", None}
        Whether more is better; None if that is not known.

    Examples
    --------
    Over batches, as in Keras:

    >>> from nnfast.metrics import MeanAbsoluteError
    >>> metric = MeanAbsoluteError()
    >>> metric.update_state([1.0, 2.0], [1.0, 4.0])
    >>> metric.update_state([5.0], [1.0])
    >>> metric.result()
    2.0
    """

    sparse: ClassVar[bool | None] = False
    rowwise: ClassVar[bool] = False
    direction: ClassVar[str | None] = None

    _sums: Floats | None = None

    def __init__(self, name: str | None = None) -> None:
        self.name = optional_text("name", name)

    def fitted(self, y: Array, n_out: int) -> Array:
        """Return targets for a user-defined loss, of any shape, as `totals` takes them.

        Raises
        ------
        ValueError
            If they are of another shape than the metric needs.
        """
        width = math.prod(y.shape[1:])
        if width != (1 if self.sparse else n_out):
            needed = "class indices, (n,) or (n, 1)" if self.sparse else f"{n_out} targets a row"
            hint = "" if self.sparse or width != 1 else "; for class indices there are sparse ones"
            raise ValueError(
                f"Metric {registry.snake_case(type(self).__name__)!r} needs {needed}; received y "
                f"of shape {y.shape}{hint}"
            )
        return y.reshape(len(y)).astype(np.int64) if self.sparse else y.reshape(len(y), width)

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        """Return sums over rows that `value` needs.

        Parameters
        ----------
        y : ndarray (n, n_out), or (n,) class indices
        outputs : ndarray (n, n_out)
        weight : ndarray (n,) or None
        """
        raise NotImplementedError

    def merge(self, totals: Floats, others: Floats) -> Floats:
        """Return the totals of some rows and of others, from those of each."""
        return totals + others

    def value(self, totals: Floats) -> float | Floats:
        """Return the metric from the sums: a number, or an array of them."""
        raise NotImplementedError

    def __call__(self, y: Array, outputs: Array, weight: Floats | None = None) -> float | Floats:
        """Return the metric of targets `y` and predictions `outputs`, row by row."""
        return self.value(self.totals(y, outputs, weight))

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add the rows of one batch to what `result` is of."""
        outputs = np.asarray(y_pred)
        outputs = outputs.reshape(len(outputs), -1)
        y = np.asarray(y_true)
        y = y.reshape(len(y), -1)
        if self.sparse or (self.sparse is None and y.shape != outputs.shape):
            y = y.reshape(len(y)).astype(np.int64)
        elif y.shape != outputs.shape:
            raise ValueError(
                "y_true and y_pred must have the same shape; received "
                f"{np.shape(y_true)} and {np.shape(y_pred)}"
            )
        sums = self.totals(y, outputs, sample_weights("sample_weight", sample_weight, len(y)))
        with quiet():
            self._sums = sums if self._sums is None else self.merge(self._sums, sums)

    def result(self) -> float | Floats:
        """Return the metric of all rows since the last `reset_state`; 0 if there are none."""
        return 0.0 if self._sums is None else self.value(self._sums)

    def reset_state(self) -> None:
        """Forget all rows."""
        self._sums = None


class Mean(Metric):
    """A mean over rows: totals are Σ w·v and Σ w."""

    def rows(self, y: Array, outputs: Array) -> Any:
        """Return v of each row, or of each output of each row."""
        raise NotImplementedError

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        values = self.rows(y, outputs)
        if weight is None:
            # NumPy's mean, without the time that it takes to find out what kind of mean.
            total = float(np.add.reduce(values, axis=None, dtype=np.float64))
            return np.array([total / (values.size or 1) * len(values), len(values)])
        if values.ndim > 1:
            values = values.mean(axis=1, dtype=np.float64)
        return np.array([weight @ values, weight.sum()])

    def value(self, totals: Floats) -> float:
        return float(ratio(totals[0], totals[1]))


class MeanUp(Mean):
    """A mean of which more is better."""

    direction = "up"


class MeanDown(Mean):
    """A mean of which less is better: errors, which may be infinite."""

    direction = "down"

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        with quiet():
            return super().totals(y, outputs, weight)


class FunctionMetric(Metric):
    """A user-defined function as a metric.

    Parameters
    ----------
    function : callable
        ``function(y_true, y_pred)`` of all rows of an epoch, y_true (n, n_out) or (n,) class
        indices, or what a user-defined loss is given, y_pred (n, n_out); returns a number, or
        one for each row, to be averaged. It is called for each batch, and the results are
        averaged, where batches are all there is: in `update_state`, in the logs of batches, and
        on generators and their kin.
    name : str, optional
        That of the function by default.

    Examples
    --------
    >>> def largest_error(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> FunctionMetric(largest_error)(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    2.0
    """

    sparse = None

    def __init__(self, function: Callable[[Array, Array], Any], name: str | None = None) -> None:
        own = getattr(function, "__name__", type(function).__name__)
        super().__init__(own if name is None else name)
        self.function = function

    def fitted(self, y: Array, n_out: int) -> Array:
        return y

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        # Copies: it may work in place, and others read the same rows.
        values = np.asarray(self.function(y.copy(), outputs.copy()))
        if values.dtype.kind not in "fiub" or (values.ndim and len(values) != len(y)):
            raise TypeError(
                f"Metric {self.name!r} must return a number, or one for each row; received "
                f"{values.dtype} of shape {values.shape}"
            )
        w = np.ones(len(y)) if weight is None else weight
        if values.ndim:
            values = values.reshape(len(y), -1).mean(axis=1, dtype=np.float64)
        return np.array([(w * values).sum(), w.sum()])

    def value(self, totals: Floats) -> float:
        return float(ratio(totals[0], totals[1]))


def quiet() -> np.errstate:
    """Let numbers become infinite or NaN without a warning, as the metric of such outputs is."""
    return np.errstate(over="ignore", invalid="ignore")


def ratio(a: Any, b: Any) -> Floats:
    """Return a / b, 0 where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    quotient: Floats = np.divide(a, b, out=np.zeros(a.shape), where=b != 0.0)
    return quotient

"""The base classes of metrics, which compute a value from totals over rows, such as sums."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._data.arrays import sample_weights
from nnfast._utils import registry
from nnfast._utils.checks import Shape, optional_text, real_array
from nnfast._utils.config import check_dtype
from nnfast._utils.eager import EPSILON as EPSILON, result, same_rank

Array = NDArray[Any]
Floats = NDArray[np.float64]


class Metric(registry.Configured):
    """Base class of metrics.

    A subclass defines the totals over rows (`totals`) and how the metric is computed from them
    (`value`). If the totals of two sets of rows cannot simply be added, it also defines `merge`.
    A subclass may instead override `update_state`, `result` and `reset_state`, as in Keras: it is
    then updated with all rows of an epoch at once, and for streams with each batch, whose results
    are averaged.

    Parameters
    ----------
    name : str, optional
        Key in History; by default the class name in snake case.
    dtype : {"float32", "float64"}, optional
        Results are rounded to this dtype; by default they are not rounded.

    Attributes
    ----------
    sparse : bool or None
        True if the targets must be class indices; None if class indices are also allowed.
    rowwise : bool
        True if the outputs of a row belong together, such as the probabilities of classes.
    direction : {"up", "down", None}
        Whether higher ("up") or lower ("down") values are better; None if unknown.

    Examples
    --------
    Accumulate the metric over batches, as in Keras:

    >>> from nnfast.metrics import MeanAbsoluteError
    >>> metric = MeanAbsoluteError()
    >>> metric.update_state([1.0, 2.0], [1.0, 4.0])
    >>> metric([5.0], [1.0])  # `update_state`, then `result`
    2.0
    """

    # Name of the metric, if it is not the class name in snake case.
    default_name: ClassVar[str | None] = None

    sparse: ClassVar[bool | None] = False
    rowwise: bool = False
    direction: str | None = None

    _sums: Floats | None = None

    def __init__(self, name: str | None = None, dtype: str | None = None) -> None:
        own = self.default_name or registry.snake_case(type(self).__name__)
        self.name = optional_text("name", name) or own
        self.dtype = None if dtype is None else check_dtype(dtype)

    def __repr__(self) -> str:
        own = self.default_name or registry.snake_case(type(self).__name__)
        defaults = {"name": own, "dtype": None}
        names = inspect.signature(type(self)).parameters
        arguments = {name: getattr(self, name) for name in names if hasattr(self, name)}
        shown = (f"{k}={v!r}" for k, v in arguments.items() if v != defaults.get(k, v is None))
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def stateful(self) -> bool:
        """Whether a subclass has its own `update_state` instead of `totals`."""
        return type(self).update_state is not Metric.update_state

    def fitted(self, y: Array, n_out: int) -> Array:
        """Return the targets of a user-defined loss, converted to the shape that `totals` needs.

        Parameters
        ----------
        y : ndarray (n, ...)
        n_out : int
            The number of outputs per sample.

        Raises
        ------
        ValueError
            If the targets do not fit the metric.
        """
        if self.stateful:
            return y
        width = math.prod(y.shape[1:])
        if width != (1 if self.sparse else n_out):
            needed = "class indices, (n,) or (n, 1)" if self.sparse else f"{n_out} targets per row"
            hint = "" if self.sparse or width != 1 else "; for class indices use a sparse metric"
            raise ValueError(
                f"Metric {registry.snake_case(type(self).__name__)!r} needs {needed}; received y "
                f"of shape {y.shape}{hint}"
            )
        return y.reshape(len(y)).astype(np.int64) if self.sparse else y.reshape(len(y), width)

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        """Return the totals over rows from which `value` computes the metric.

        Parameters
        ----------
        y : ndarray (n, n_out), or (n,) class indices
        outputs : ndarray (n, n_out)
        weight : ndarray (n,) float64, or None
        """
        if not self.stateful:
            raise NotImplementedError(f"{type(self).__name__} must define totals or update_state")
        self.reset_state()
        if weight is None:
            self.update_state(y, outputs)
        else:
            self.update_state(y, outputs, sample_weight=weight)
        rows = len(outputs) if weight is None else weight.sum()
        return np.array([float(self.result()) * rows, rows])

    def merge(self, totals: Floats, others: Floats) -> Floats:
        """Return the totals of two sets of rows combined, from the totals of each set."""
        return totals + others

    def value(self, totals: Floats) -> float | Floats:
        """Return the metric, a number or an array, computed from the totals."""
        return float(ratio(totals[0], totals[1]))

    def compute(self, y: Array, outputs: Array, weight: Floats | None = None) -> float | Floats:
        """Return the metric for targets `y` and the corresponding predictions `outputs`.

        Unlike a call of the metric, this does not change its state.
        """
        return self.value(self.totals(y, outputs, weight))

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Add a batch with `update_state`, and return `result`, as in Keras."""
        self.update_state(*args, **options)
        return self.result()

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add a batch to the rows over which `result` computes the metric.

        Parameters
        ----------
        y_true : array_like
            Targets in the shape of `y_pred`, or one class index per row of outputs.
        y_pred : array_like
            The last axis holds the outputs of a row. Metrics for which the outputs of a row do not
            belong together accept (n,) as n rows.
        sample_weight : array_like, optional
            Weights of the samples (n,), or of the rows of outputs.

        Raises
        ------
        TypeError, ValueError
            If the arrays are not numeric, or their shapes do not match.
        """
        given = np.atleast_1d(real_array("y_pred", y_pred))
        y, outputs = self._tables(np.atleast_1d(real_array("y_true", y_true)), given)
        self._add(self.totals(y, outputs, _row_weights(sample_weight, given.shape, len(outputs))))

    def _tables(self, y: Array, outputs: Array) -> tuple[Array, Array]:
        """Return targets and outputs in the shapes that `totals` needs."""
        table = self._table(outputs)
        if y.size == len(table) if self.sparse else self._table(y).shape == table.shape:
            return y.reshape(-1).astype(np.int64) if self.sparse else self._table(y), table
        needed = "one class index per row of y_pred" if self.sparse else "the shape of y_pred"
        raise ValueError(
            f"y_true must have {needed}; received y_true of shape {y.shape} and y_pred of shape "
            f"{outputs.shape}"
        )

    def _table(self, values: Array) -> Array:
        """Return an array with the shape (rows, outputs)."""
        if values.ndim == 1:
            return values[None] if self.rowwise else values[:, None]
        return values.reshape(math.prod(values.shape[:-1]), values.shape[-1])

    def _add(self, totals: Floats) -> None:
        with quiet():
            self._sums = totals if self._sums is None else self.merge(self._sums, totals)

    def result(self) -> Any:
        """Return the metric over all rows since the last `reset_state`, or 0 if there are none."""
        value: Any = 0.0 if self._sums is None else self.value(self._sums)
        return result(value if self.dtype is None else np.asarray(value, self.dtype))

    def reset_state(self) -> None:
        """Discard all rows."""
        self._sums = None


def _row_weights(weight: Any, shape: Shape, rows: int) -> Floats | None:
    """Return one weight per row, from weights of samples or rows; `shape` is that of y_pred."""
    if weight is None:
        return None
    weight = real_array("sample_weight", weight)
    samples = shape[0] if len(shape) > 1 else rows
    if weight.ndim > 1 and weight.shape == shape[:-1]:
        weight, samples = weight.reshape(-1), rows
    checked: Any = sample_weights("sample_weight", weight, samples)
    return np.repeat(checked, rows // max(1, samples))


class RowMean(Metric):
    """The mean over rows of a value v, with sample weights w. Its totals are Σ w·v and Σ w."""

    def rows(self, y: Array, outputs: Array) -> Any:
        """Return the values v: one per row, (n,), or one per output, (n, n_out)."""
        raise NotImplementedError

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        values = self.rows(y, outputs)
        if weight is None:
            # Equivalent to values.mean(), but without the overhead of its Python code.
            total = float(np.add.reduce(values, axis=None, dtype=np.float64))
            return np.array([total / (values.size or 1) * len(values), len(values)])
        if values.ndim > 1:
            values = values.mean(axis=1, dtype=np.float64)
        return np.array([weight @ values, weight.sum()])


class MeanUp(RowMean):
    """A mean for which higher values are better."""

    direction = "up"


class MeanDown(RowMean):
    """A mean for which lower values are better, such as an error. It may be infinite."""

    direction = "down"

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        with quiet():
            return super().totals(y, outputs, weight)


class FormulaMean(MeanDown):
    """The mean over rows of a loss."""

    # The loss as a function of targets and outputs.
    formula: ClassVar[Callable[..., Any]]

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of `formula`."""
        return {}

    def rows(self, y: Array, outputs: Array) -> Any:
        with np.errstate(divide="ignore"):
            return type(self).formula(y, outputs, **self.options)


class FunctionMetric(Metric):
    """A user-defined function as a metric.

    Parameters
    ----------
    function : callable
        Called as ``function(y_true, y_pred)`` with all rows of an epoch. y_pred has shape
        (n, n_out). y_true has the same shape, or holds class indices (n,), or is what a
        user-defined loss receives. The function returns one number, or one number per row; these
        are averaged. In `update_state`, in batch logs and for streams of batches, the function is
        called for each batch, and the results are averaged. `update_state` keeps further axes.
    name : str, optional
        Key in History; by default the name of the function.

    Examples
    --------
    >>> def largest_error(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> FunctionMetric(largest_error)([[1.0], [2.0]], [[1.0], [4.0]])
    2.0
    """

    sparse = None

    def __init__(
        self,
        function: Callable[[Array, Array], Any],
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        own = getattr(function, "__name__", type(function).__name__)
        super().__init__(own if name is None else name, dtype)
        self.function = function

    def fitted(self, y: Array, n_out: int) -> Array:
        return y

    def _tables(self, y: Array, outputs: Array) -> tuple[Array, Array]:
        y, outputs = same_rank(y, outputs[:, None] if outputs.ndim == 1 else outputs)
        classes = y.ndim == outputs.ndim and y.shape[-1] == 1 < outputs.shape[-1]
        return y[..., 0] if classes else y, outputs

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        # The function gets copies, because it may modify its arguments in place.
        values = np.asarray(self.function(y.copy(), outputs.copy()))
        if values.dtype.kind not in "fiub" or (values.ndim and len(values) != len(y)):
            raise TypeError(
                f"Metric {self.name!r} must return a number, or one number per row; received "
                f"{values.dtype} of shape {values.shape}"
            )
        w = np.ones(len(y)) if weight is None else weight
        if values.ndim:
            values = values.reshape(len(y), -1).mean(axis=1, dtype=np.float64)
        return np.array([(w * values).sum(), w.sum()])


def quiet() -> np.errstate:
    """Return a context without NumPy's warnings: overflow and NaN are visible in the metric."""
    return np.errstate(over="ignore", invalid="ignore")


def ratio(a: Any, b: Any) -> Floats:
    """Return a / b, and 0 where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    quotient: Floats = np.divide(a, b, out=np.zeros(a.shape), where=b != 0.0)
    return quotient

"""Losses for numbers as targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._utils.checks import entries, real
from nnfast.losses import functional
from nnfast.losses.functional import check_axis
from nnfast.losses.loss import Loss

__all__ = [
    "CosineSimilarity",
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Quantile",
]


class PlainLoss(Loss):
    """Base class of the losses without arguments of their own."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class MeanSquaredError(PlainLoss):
    """Mean squared error: l = mean over the outputs of (ŷ − y)².

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> float(MeanSquaredError()([[0.0, 1.0]], [[1.0, 3.0]]))
    2.5
    """

    kind = "mean_squared_error"
    aliases = ("mse",)
    formula = staticmethod(functional.mean_squared_error)


class MeanAbsoluteError(PlainLoss):
    """Mean absolute error: l = mean over the outputs of |ŷ − y|; the derivative at ŷ = y is 0.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> MeanAbsoluteError()
    MeanAbsoluteError()
    """

    kind = "mean_absolute_error"
    aliases = ("mae",)
    formula = staticmethod(functional.mean_absolute_error)


class MeanAbsolutePercentageError(PlainLoss):
    """Mean absolute percentage error: l = 100·mean over the outputs of |ŷ − y| / max(|y|, 1e-7).

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> float(MeanAbsolutePercentageError()([[2.0]], [[3.0]]))
    50.0
    """

    kind = "mean_absolute_percentage_error"
    aliases = ("mape",)
    formula = staticmethod(functional.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(PlainLoss):
    """Mean squared logarithmic error: l = mean of (log(ŷ + 1) − log(y + 1))², for y ≥ 0.

    Outputs ŷ below 1e-7 count as 1e-7.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> round(float(MeanSquaredLogarithmicError()([[0.0]], [[1.0]])), 4)
    0.4805
    """

    kind = "mean_squared_logarithmic_error"
    aliases = ("msle",)
    formula = staticmethod(functional.mean_squared_logarithmic_error)
    target_range = (0.0, math.inf)
    target_advice = "negative targets count as 0; for such targets use mean_squared_error or huber"


class Huber(Loss):
    """Huber loss: the mean over the outputs of d²/2 if |d| ≤ δ, else of δ·|d| − δ²/2.

    Here d = ŷ − y (Huber, 1964).

    Parameters
    ----------
    delta : float, default 1.0
        The absolute error δ > 0 at which the loss changes from quadratic to linear.
    reduction, name, dtype
        As in `Loss`.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a positive number.

    Examples
    --------
    >>> Huber(delta=2.0)
    Huber(delta=2.0)
    """

    kind = "huber"
    default_name = "huber_loss"
    formula = staticmethod(functional.huber)
    delta: float

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self._keep(delta=real("delta", delta, above=0.0))

    @property
    def options(self) -> dict[str, Any]:
        return {"delta": self.delta}

    @property
    def parameters(self) -> tuple[tuple[float, ...], ...]:
        return ((self.delta,),)


class LogCosh(PlainLoss):
    """Log-cosh loss: l = mean over the outputs of log cosh d, with d = ŷ − y.

    It is close to d²/2 for small d and to |d| − log 2 for large d.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> LogCosh()
    LogCosh()
    """

    kind = "log_cosh"
    aliases = ("logcosh",)
    formula = staticmethod(functional.log_cosh)


class Quantile(Loss):
    """Quantile or pinball loss: l = mean over the outputs of max(q·e, (q − 1)·e), with e = y − ŷ.

    It trains ŷ to be the q-quantile of y given x (Koenker and Bassett, 1978).

    Parameters
    ----------
    level : float or sequence of float, default 0.5
        The quantile q, strictly between 0 and 1. With a sequence, the model has one output per
        level, and y has one column.
    reduction, name, dtype
        As in `Loss`.

    Raises
    ------
    TypeError, ValueError
        If a level is not a number between 0 and 1.

    Examples
    --------
    >>> Quantile((0.1, 0.5, 0.9)).levels
    (0.1, 0.5, 0.9)
    """

    kind = "quantile"
    formula = staticmethod(functional.quantile)
    level: float | tuple[float, ...]

    def __init__(
        self,
        level: float | Sequence[float] = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        many = isinstance(level, (Sequence, np.ndarray))
        given = entries("level", level) if many else [level]
        if not given:
            raise ValueError(
                f"level must be a number or a non-empty sequence of numbers; received {given!r}"
            )
        levels = tuple(real("level", each, above=0.0, below=1.0) for each in given)
        self._keep(level=levels if many else levels[0])

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles as a tuple."""
        return self.level if isinstance(self.level, tuple) else (self.level,)

    @property
    def options(self) -> dict[str, Any]:
        return {"level": self.level}

    @property
    def parameters(self) -> tuple[tuple[float, ...], ...]:
        return (self.levels,)

    @property
    def copies(self) -> int:
        return len(self.levels)


class CosineSimilarity(Loss):
    """Negative cosine similarity: l = −Σ y·ŷ / (|y|·|ŷ|), from −1 (same direction) to 1.

    Norms below 1e-7 count as 1e-7.

    Parameters
    ----------
    axis : int, default -1
        The axis of the vectors; it must be the last one.
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> float(CosineSimilarity()([[0.0, 2.0]], [[0.0, 1.0]]))
    -1.0
    """

    kind = "cosine_similarity"
    rowwise = True
    formula = staticmethod(functional.cosine_similarity)
    axis: int

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        check_axis(axis)
        self._keep(axis=-1)

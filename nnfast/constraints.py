"""Constraints on the weights, which the engine applies after each step.

A norm constraint rescales weights with norm n to the norm (1 − rate)·n + rate·clip(n, low, high).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._engine import AXES, CONSTRAINTS
from nnfast._utils import registry
from nnfast._utils.checks import Shape, integer, real
from nnfast._utils.eager import EPSILON, operand, result

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

Axis = int | Sequence[int]
Array = NDArray[Any]


class Constraint(registry.Configured):
    """Base class of the constraints. Attributes are read-only: models are compiled from them.

    Attributes
    ----------
    kind : {"non_neg", "norm"}
        The engine's name for the constraint.
    low, high : float
        Allowed range of a norm.
    rate : float
        Fraction of the correction that is applied per step, from 0 to 1.
    """

    kind: ClassVar[str] = ""
    low: float = 0.0
    high: float = 0.0
    rate: float = 1.0

    def __setattr__(self, name: str, value: object) -> None:
        if name in vars(self):
            raise AttributeError(
                f"{name} of {self!r} cannot be changed, because models are compiled from it: make "
                f"a new {type(self).__name__} for a new layer"
            )
        super().__setattr__(name, value)

    def __call__(self, w: ArrayLike) -> Any:
        """Return weights that satisfy the constraint, as a new array.

        Examples
        --------
        >>> NonNeg()([-1.0, 2.0])
        Tensor([0., 2.], dtype=float32)
        """
        array = operand("w", w)
        return result(np.asarray(self._applied(array), array.dtype))

    def _applied(self, w: Array) -> Any:
        return np.maximum(w, 0)

    def over(self, shape: Shape) -> tuple[str, int, int]:
        """Return (axis, matrices, rows), which describe how the norms of an array are computed.

        An array of the given shape is viewed as a stack of `matrices` matrices with `rows` rows
        each. One norm is computed per column or per row of each matrix (axis "columns" or "rows"),
        or a single norm over all elements (axis "all").
        """
        return "all", 1, shape[0]

    def entry(self, shape: Shape) -> dict[str, float]:
        """Return the engine's description of the constraint for an array of `shape`."""
        axis, outer, rows = self.over(shape)
        return {
            "constraint": CONSTRAINTS[self.kind],
            "axis": AXES[axis],
            "low": self.low,
            "high": self.high,
            "rate": self.rate,
            "outer": outer,
            "rows": rows,
        }


class NonNeg(Constraint):
    """Set negative weights to 0.

    Examples
    --------
    >>> NonNeg()
    NonNeg()
    """

    kind = "non_neg"


class _Norm(Constraint):
    """Base class of the norm constraints.

    Parameters
    ----------
    axis : int or sequence of int
        Axes of the array over which each norm is computed.
    """

    kind = "norm"

    def __init__(self, axis: Axis = 0) -> None:
        if isinstance(axis, Sequence):  # JSON turns tuples into lists
            self.axis: int | tuple[int, ...] = tuple(
                integer("axis", entry, minimum=-64) for entry in axis
            )
        else:
            self.axis = integer("axis", axis, minimum=-64)

    def _applied(self, w: Array) -> Any:
        norm = np.sqrt(np.square(w).sum(axis=self.axis, keepdims=True))
        wanted = (1.0 - self.rate) * norm + self.rate * np.clip(norm, self.low, self.high)
        return w * (wanted / (EPSILON + norm))

    def over(self, shape: Shape) -> tuple[str, int, int]:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        along = sorted({axis % len(shape) for axis in axes if -len(shape) <= axis < len(shape)})
        if len(along) < len(set(axes)) or not axes or along != list(range(along[0], along[-1] + 1)):
            raise ValueError(
                f"{self!r} does not fit an array of shape {shape}: axis must be an axis of the "
                "array or several contiguous axes"
            )
        before, inside = math.prod(shape[: along[0]]), [shape[axis] for axis in along]
        if len(along) == len(shape):
            return "all", 1, shape[0]
        if along[-1] == len(shape) - 1:
            return "rows", 1, before
        return "columns", before, math.prod(inside)


class MaxNorm(_Norm):
    """Limit every norm to `max_value` (Srivastava et al., 2014).

    Parameters
    ----------
    max_value : float, default 2
        Must be at least 0.
    axis : int or sequence of int, default 0
        Contiguous axes of the array over which each norm is computed. In a Dense kernel
        (n_in, units), axis 0 gives one norm for the incoming weights of each unit. In the kernel
        of a 2-D convolution, (0, 1, 2) gives one norm for each filter.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> MaxNorm(3.0)
    MaxNorm(max_value=3.0, axis=0)
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        super().__init__(axis)
        self.max_value = self.high = real("max_value", max_value, low=0.0)


class UnitNorm(_Norm):
    """Rescale every norm to 1.

    Parameters
    ----------
    axis : int or sequence of int, default 0
        As in `MaxNorm`.

    Examples
    --------
    >>> UnitNorm()
    UnitNorm(axis=0)
    """

    low = high = 1.0


class MinMaxNorm(_Norm):
    """Move every norm into the interval [min_value, max_value].

    Parameters
    ----------
    min_value, max_value : float, default 0.0 and 1.0
        0 ≤ min_value ≤ max_value.
    rate : float, default 1.0
        Fraction of the correction that is applied per step, from 0 to 1.
    axis : int or sequence of int, default 0
        As in `MaxNorm`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> MinMaxNorm(0.5, 2.0)
    MinMaxNorm(min_value=0.5, max_value=2.0, rate=1.0, axis=0)
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0
    ) -> None:
        super().__init__(axis)
        self.min_value = self.low = real("min_value", min_value, low=0.0)
        self.max_value = self.high = real("max_value", max_value, low=self.low)
        self.rate = real("rate", rate, low=0.0, high=1.0)


TABLE: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
    "min_max_norm": MinMaxNorm,
}
registry.name_constructors(TABLE.values())


def resolve(identifier: object) -> Constraint | None:
    """Return the constraint for `identifier`: a name, a class, a constraint or a config dict.

    None, which means no constraint, is returned unchanged.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` has the wrong type.

    Examples
    --------
    >>> resolve("max_norm")
    MaxNorm(max_value=2.0, axis=0)
    """
    if identifier is None:
        return None
    return registry.resolve("constraint", identifier, Constraint, TABLE)


# Aliases, as in Keras.
get = deserialize = resolve
serialize = registry.describe
max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

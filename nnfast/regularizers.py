"""Regularizers: penalties on weights or outputs, which the engine adds to the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nnfast._utils import registry
from nnfast._utils.checks import real
from nnfast._utils.eager import operand, result

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "serialize",
]


@dataclass(frozen=True)
class L1L2(registry.Configured):
    """The penalty l1·Σ|w| + l2·Σw², as in Keras.

    Parameters
    ----------
    l1, l2 : float, default 0.0
        Factors of the penalty, at least 0.

    Raises
    ------
    TypeError, ValueError
        If a factor is not a number or is negative.

    Examples
    --------
    >>> L1L2(l1=0.01).penalty
    (0.01, 0.0)
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        self._keep(l1=real("l1", self.l1, low=0.0), l2=real("l2", self.l2, low=0.0))

    def __call__(self, x: ArrayLike) -> Any:
        """Return the penalty on an array.

        Examples
        --------
        >>> float(L1L2(l1=0.5, l2=1.0)([1.0, -2.0]))
        6.5
        """
        array = operand("x", x)
        value = self.l1 * np.abs(array).sum() + self.l2 * np.square(array).sum()
        return result(np.asarray(value, array.dtype))

    @property
    def penalty(self) -> tuple[float, float]:
        """The two factors, (l1, l2)."""
        return self.l1, self.l2


@dataclass(frozen=True)
class L1(L1L2):
    """The penalty l1·Σ|w|.

    Parameters
    ----------
    l1 : float, default 0.01
        Factor of the penalty, at least 0.

    Examples
    --------
    >>> L1().penalty
    (0.01, 0.0)
    """

    l1: float = 0.01


@dataclass(frozen=True)
class L2(L1L2):
    """The penalty l2·Σw².

    Parameters
    ----------
    l2 : float, default 0.01
        Factor of the penalty, at least 0.

    Examples
    --------
    >>> L2(0.1).penalty
    (0.0, 0.1)
    """

    def __init__(self, l2: float = 0.01, l1: float = 0.0) -> None:
        self._keep(l1=l1, l2=l2)
        self.__post_init__()


TABLE: dict[str, type[L1L2]] = {"l1": L1, "l2": L2, "l1_l2": L1L2}
registry.name_constructors(TABLE.values())


def resolve(identifier: object) -> L1L2 | None:
    """Return the regularizer for `identifier`: a name, a class, a regularizer or a config dict.

    None, which means no regularizer, is returned unchanged.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` has the wrong type.

    Examples
    --------
    >>> resolve("l2")
    L2(l1=0.0, l2=0.01)
    """
    if identifier is None:
        return None
    return registry.resolve("regularizer", identifier, L1L2, TABLE)


# Aliases, as in Keras.
get = deserialize = resolve
serialize = registry.describe
l1, l2, l1_l2 = L1, L2, L1L2

"""Optimizers: hyper-parameters only. The steps are the engine's, the state is the model's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnfast import _resolve, schedules
from nnfast._engine import OPTIMIZERS
from nnfast._validation import real

# So that `from nnfast.optimizers.schedules import …` finds the module that is there already.
for _parent in ("nnfast", "nnfast.keras"):
    sys.modules[f"{_parent}.optimizers.schedules"] = schedules
del _parent


@dataclass
class Optimizer(_resolve.Configured):
    """Base of the optimizers.

    `learning_rate` is a number or a schedule (of `nnfast.schedules`). It may be set at any
    time, between two epochs too; the other hyper-parameters are read by `Sequential.compile`.

    Attributes
    ----------
    kind : str
        The engine's name of the optimizer.
    n_slots : int
        Numbers of state kept for each parameter.
    hyper : tuple of float
        Hyper-parameters in the engine's order.
    """

    learning_rate: float | schedules.LearningRateSchedule
    kind: ClassVar[str]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "learning_rate":
            scheduled = isinstance(value, (schedules.LearningRateSchedule, Mapping))
            value = schedules.resolve(value) if scheduled else real(name, value, low=0.0)
        super().__setattr__(name, value)

    def rates(self, first: int, count: int) -> NDArray[np.float64]:
        """Return the learning rates of `count` steps from step `first` on.

        Examples
        --------
        >>> SGD(schedules.ExponentialDecay(0.1, 1, 0.5)).rates(1, 2)
        array([0.05 , 0.025])
        """
        if isinstance(self.learning_rate, schedules.LearningRateSchedule):
            return self.learning_rate.over(first, count)
        return np.full(count, self.learning_rate)

    @property
    def id(self) -> int:
        """The engine's number of this optimizer."""
        return OPTIMIZERS[self.kind]

    @property
    def n_slots(self) -> int:
        raise NotImplementedError

    @property
    def hyper(self) -> tuple[float, ...]:
        raise NotImplementedError


@dataclass
class SGD(Optimizer):
    """Gradient descent, with momentum where asked for.

    As in Keras: without momentum w ← w − η·g; with it v ← μ·v − η·g, and w ← w + v, or
    w ← w + μ·v − η·g where `nesterov`.

    Parameters
    ----------
    learning_rate : float or schedule, default 0.01
        η, ≥ 0.
    momentum : float, default 0.0
        μ, from 0 to 1.
    nesterov : bool, default False

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is not a number or out of range.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    kind = "sgd"

    def __post_init__(self) -> None:
        self.momentum = real("momentum", self.momentum, low=0.0, high=1.0)
        self.nesterov = bool(self.nesterov)

    @property
    def n_slots(self) -> int:
        return 1 if self.momentum else 0

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.momentum, float(self.nesterov))


@dataclass
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), in Keras' form.

    m ← m + (1 − β₁)(g − m), v ← v + (1 − β₂)(g² − v),
    w ← w − η·√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε).

    Parameters
    ----------
    learning_rate : float or schedule, default 0.001
        η, ≥ 0.
    beta_1, beta_2 : float, default 0.9 and 0.999
        In [0, 1).
    epsilon : float, default 1e-7
        > 0; added to √v, not to √v̂ ("epsilon hat" of the paper).

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is not a number or out of range.

    Examples
    --------
    >>> Adam()
    Adam(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-07)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    kind = "adam"

    def __post_init__(self) -> None:
        self.beta_1 = real("beta_1", self.beta_1, low=0.0, below=1.0)
        self.beta_2 = real("beta_2", self.beta_2, low=0.0, below=1.0)
        self.epsilon = real("epsilon", self.epsilon, above=0.0)

    @property
    def n_slots(self) -> int:
        return 2

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.beta_1, self.beta_2, self.epsilon)


TABLE: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}


def resolve(identifier: object) -> Optimizer:
    """Return the optimizer that `identifier` (a name, a class or an object) stands for.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is neither a name nor an optimizer.

    Examples
    --------
    >>> resolve("adam").learning_rate
    0.001
    """
    return _resolve.resolve("optimizer", identifier, Optimizer, TABLE)


# Keras' names.
get = deserialize = resolve
serialize = _resolve.describe

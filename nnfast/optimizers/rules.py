"""The optimizers' update rules and hyperparameters. The engine computes the steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from nnfast._utils import registry
from nnfast.optimizers import schedules
from nnfast.optimizers.optimizer import Optimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "RMSprop",
    "deserialize",
    "get",
    "serialize",
]


@dataclass(repr=False, eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum.

    Without momentum: w ← w − η·g. With momentum, as in Keras: v ← μ·v − η·g, then w ← w + v, or
    w ← w + μ·v − η·g with Nesterov momentum.

    Parameters
    ----------
    learning_rate : float or schedule, default 0.01
        The learning rate η ≥ 0.
    momentum : float, default 0.0
        Momentum μ, from 0 to 1.
    nesterov : bool, default False
        Whether to use Nesterov momentum.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is not a number or is out of range.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    kind = "sgd"

    @property
    def rule_slots(self) -> int:
        return 1 if self.momentum else 0

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.momentum, float(self.nesterov))


@dataclass(repr=False, eq=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), as in Keras.

    m ← m + (1 − β₁)(g − m), v ← v + (1 − β₂)(g² − v),
    w ← w − η·√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε), with t = 1 in the first step.

    Parameters
    ----------
    learning_rate : float or schedule, default 0.001
        The learning rate η ≥ 0.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Decay rates β₁ and β₂, in [0, 1).
    epsilon : float, default 1e-7
        Constant ε > 0 for numerical stability. It is added to √v, not to √v̂; the paper calls it
        "epsilon hat".
    amsgrad : bool, default False
        Whether the update uses the largest v so far instead of v (Reddi, Kale and Kumar, 2018).
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is not a number or is out of range.

    Examples
    --------
    >>> Adam()
    Adam(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-07, amsgrad=False)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    kind = "adam"

    @property
    def rule_slots(self) -> int:
        return 3 if self.amsgrad else 2

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.beta_1, self.beta_2, self.epsilon, float(self.amsgrad))


@dataclass(repr=False, eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, amsgrad
        As in `Adam`.
    weight_decay : float, default 0.004
        As in `Optimizer`.
    **options
        See `Optimizer`.

    Examples
    --------
    >>> AdamW().weight_decay
    0.004
    """

    weight_decay: float | None = field(default=0.004, kw_only=True)


@dataclass(repr=False, eq=False)
class Nadam(Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016), as in Keras.

    m and v are updated as in Adam. With uₜ = β₁(1 − 0.5·0.96ᵗ) and Πₜ = u₁·u₂·…·uₜ:
    m̂ = uₜ₊₁·m/(1 − Πₜ₊₁) + (1 − uₜ)·g/(1 − Πₜ), v̂ = v/(1 − β₂ᵗ),
    w ← w − η·m̂/(√v̂ + ε).

    Parameters
    ----------
    learning_rate : float or schedule, default 0.001
        The learning rate η ≥ 0.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Decay rates β₁ and β₂, in [0, 1).
    epsilon : float, default 1e-7
        Constant ε > 0 for numerical stability.
    **options
        See `Optimizer`.

    Examples
    --------
    >>> Nadam(0.01)
    Nadam(learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-07)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    kind = "nadam"

    @property
    def rule_slots(self) -> int:
        return 2

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.beta_1, self.beta_2, self.epsilon)


@dataclass(repr=False, eq=False)
class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012), as in Keras.

    v ← ρ·v + (1 − ρ)·g², d = η·g/√(v + ε), then w ← w − d. With momentum: b ← μ·b + d, then
    w ← w − b. The centred variant uses v − ḡ² instead of v in d, with ḡ ← ρ·ḡ + (1 − ρ)·g.

    Parameters
    ----------
    learning_rate : float or schedule, default 0.001
        The learning rate η ≥ 0.
    rho : float, default 0.9
        Decay rate ρ, in [0, 1).
    momentum : float, default 0.0
        Momentum μ, from 0 to 1.
    epsilon : float, default 1e-7
        Constant ε > 0 for numerical stability.
    centered : bool, default False
        Whether to divide by an estimate of the gradient's variance instead of its second moment.
    **options
        See `Optimizer`.

    Examples
    --------
    >>> RMSprop(momentum=0.9).n_slots
    3
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False
    kind = "rmsprop"

    @property
    def rule_slots(self) -> int:
        return 3 if self.momentum or self.centered else 1

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.rho, self.momentum, self.epsilon, float(self.centered))


@dataclass(repr=False, eq=False)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011): v ← v + g², w ← w − η·g/√(v + ε).

    Parameters
    ----------
    learning_rate : float or schedule, default 0.001
        The learning rate η ≥ 0.
    initial_accumulator_value : float, default 0.1
        Initial value of v, at least 0.
    epsilon : float, default 1e-7
        Constant ε > 0 for numerical stability.
    **options
        See `Optimizer`.

    Examples
    --------
    >>> Adagrad(0.1)
    Adagrad(learning_rate=0.1, initial_accumulator_value=0.1, epsilon=1e-07)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7
    kind = "adagrad"
    initial = ("initial_accumulator_value",)

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.epsilon,)

    def start(self, slots: NDArray[Any]) -> None:
        slots[0] = self.initial_accumulator_value


@dataclass(repr=False, eq=False)
class Lion(Optimizer):
    """Lion (Chen et al., 2023): w ← w − η·sign(β₁·m + (1 − β₁)·g), m ← β₂·m + (1 − β₂)·g.

    Parameters
    ----------
    learning_rate : float or schedule, default 0.001
        The learning rate η ≥ 0.
    beta_1, beta_2 : float, default 0.9 and 0.99
        Decay rates β₁ and β₂, in [0, 1).
    **options
        See `Optimizer`.

    Examples
    --------
    >>> Lion(1e-4)
    Lion(learning_rate=0.0001, beta_1=0.9, beta_2=0.99)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.99
    kind = "lion"

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.beta_1, self.beta_2)


@dataclass(repr=False, eq=False)
class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012), as in Keras.

    v ← ρ·v + (1 − ρ)·g², d = g·√(u + ε)/√(v + ε), u ← ρ·u + (1 − ρ)·d², then w ← w − η·d.

    Parameters
    ----------
    learning_rate : float or schedule, default 0.001
        The learning rate η ≥ 0; it is 1 in the paper.
    rho : float, default 0.95
        Decay rate ρ, in [0, 1).
    epsilon : float, default 1e-7
        Constant ε > 0 for numerical stability.
    **options
        See `Optimizer`.

    Examples
    --------
    >>> Adadelta(1.0)
    Adadelta(learning_rate=1.0, rho=0.95, epsilon=1e-07)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    rho: float = 0.95
    epsilon: float = 1e-7
    kind = "adadelta"

    @property
    def rule_slots(self) -> int:
        return 2

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.rho, self.epsilon)


@dataclass(repr=False, eq=False)
class Adamax(Optimizer):
    """Adamax, Adam with the maximum norm (Kingma and Ba, 2015), as in Keras.

    m ← m + (1 − β₁)(g − m), u ← max(β₂·u, |g|), w ← w − η/(1 − β₁ᵗ) · m / (u + ε), with t = 1 in
    the first step.

    Parameters
    ----------
    learning_rate : float or schedule, default 0.001
        The learning rate η ≥ 0.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Decay rates β₁ and β₂, in [0, 1).
    epsilon : float, default 1e-7
        Constant ε > 0 for numerical stability.
    **options
        See `Optimizer`.

    Examples
    --------
    >>> Adamax(0.01)
    Adamax(learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-07)
    """

    learning_rate: float | schedules.LearningRateSchedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    kind = "adamax"

    @property
    def rule_slots(self) -> int:
        return 2

    @property
    def hyper(self) -> tuple[float, ...]:
        return (self.beta_1, self.beta_2, self.epsilon)


TABLE: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "lion": Lion,
    "adadelta": Adadelta,
    "adamax": Adamax,
}
registry.name_constructors(TABLE.values())


def resolve(identifier: object) -> Optimizer:
    """Return the optimizer for `identifier`: a name, a class, an optimizer or a config dict.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` has the wrong type.

    Examples
    --------
    >>> resolve("adam").learning_rate
    0.001
    """
    return registry.resolve("optimizer", identifier, Optimizer, TABLE)


def get(identifier: object) -> Optimizer | None:
    """Return ``resolve(identifier)``, or None for None.

    Examples
    --------
    >>> get("sgd") == resolve("sgd"), get(None)
    (True, None)
    """
    return None if identifier is None else resolve(identifier)


# Aliases, as in Keras.
deserialize = resolve
serialize = registry.describe

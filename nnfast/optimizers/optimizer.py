"""The base class of the optimizers, with their common options."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnfast._engine import OPTIMIZERS, Engine
from nnfast._utils import registry
from nnfast._utils.checks import flag, integer, optional_text, real
from nnfast._utils.removed import missing_attribute
from nnfast._utils.tensor import Scalar, Tensor
from nnfast.optimizers import schedules

# Allowed ranges of the hyperparameters.
_RANGES = {
    "beta_1": {"low": 0.0, "below": 1.0},
    "beta_2": {"low": 0.0, "below": 1.0},
    "rho": {"low": 0.0, "below": 1.0},
    "momentum": {"low": 0.0, "high": 1.0},
    "epsilon": {"above": 0.0},
    "initial_accumulator_value": {"low": 0.0},
    "weight_decay": {"low": 0.0},
    "clipnorm": {"above": 0.0},
    "clipvalue": {"above": 0.0},
    "global_clipnorm": {"above": 0.0},
    "ema_momentum": {"above": 0.0, "below": 1.0},
}


# Arguments of Keras that must be None, and why.
_UNSUPPORTED = {
    "loss_scale_factor": "float32 and float64 gradients need no scaling",
    "gradient_accumulation_steps": "use a larger batch_size, which has the same effect",
}

# An attribute of older versions of Keras, and today's.
_REMOVED = {"lr": "learning_rate"}


def _checked(hyperparameter: Field[Any], value: Any) -> Any:
    """Return the checked value of a hyperparameter, as a Python number or a schedule."""
    name = hyperparameter.name
    if name in _UNSUPPORTED and value is not None:
        raise ValueError(f"{name} must be None: {_UNSUPPORTED[name]}; received {value!r}")
    if name == "name":
        return optional_text(name, value)
    if name == "learning_rate":
        scheduled = isinstance(value, (schedules.LearningRateSchedule, Mapping))
        return schedules.resolve(value) if scheduled else real(name, value, low=0.0)
    if isinstance(hyperparameter.default, bool):
        return flag(name, value)
    if hyperparameter.kw_only and value is None:
        return None
    if name == "ema_overwrite_frequency":
        return integer(name, value, minimum=1)
    return real(name, value, **_RANGES[name])


class LearningRate(Scalar):
    """The learning rate of an optimizer, with the method `assign` of Keras' variables."""

    optimizer: Optimizer

    @classmethod
    def of(cls, optimizer: Optimizer, value: float) -> LearningRate:
        rate = cls(value)
        rate.optimizer = optimizer
        return rate

    def assign(self, value: float) -> LearningRate:
        """Set the learning rate of the optimizer, and return it."""
        self.optimizer.learning_rate = value
        rate: Any = self.optimizer.learning_rate
        return rate  # type: ignore[no-any-return]

    def __reduce__(self) -> Any:
        return float, (float(self),)  # a copy belongs to no optimizer


@dataclass(repr=False, eq=False)
class Optimizer(registry.Configured):
    """Base class of the optimizers, with the options that all of them share.

    Hyperparameters may be set at any time, even between two epochs, and take effect at the next
    step. Hyperparameters that determine the optimizer's state, for example `use_ema`, cannot
    change once the optimizer is in use.

    Parameters
    ----------
    learning_rate : float or schedule
        The learning rate η ≥ 0, or a schedule from `nnfast.schedules`.
    weight_decay : float, optional
        The weight decay λ ≥ 0. Before each step, every parameter w becomes w − η·λ·w.
    clipvalue : float, optional
        Every element of the gradient is clipped to [−clipvalue, clipvalue].
    clipnorm : float, optional
        The gradient of each weight array is scaled so that its norm is at most clipnorm.
    global_clipnorm : float, optional
        All gradients are scaled by one factor, so that their joint norm is at most global_clipnorm.
    use_ema : bool, default False
        Keep a moving average a ← μ·a + (1 − μ)·w of the parameters (a = w after the first step).
        The average replaces the parameters at the end of `fit`.
    ema_momentum : float, default 0.99
        Momentum μ of the moving average, between 0 and 1.
    ema_overwrite_frequency : int, optional
        If given, the average also replaces the parameters every ema_overwrite_frequency steps.
    loss_scale_factor, gradient_accumulation_steps : None
        Arguments of Keras without a counterpart; only None is accepted.
    name : str, optional
        Stored but not used; by default the class name in snake case.

    Attributes
    ----------
    kind : str
        The engine's name for the optimizer.
    iterations : Tensor
        The number of steps that the model has taken with this optimizer, an integer.
    n_slots : int
        Number of state values per parameter, including the moving average.
    hyper : tuple of float
        Hyperparameters in the engine's order.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is not a number or is out of range, or two ways of clipping are given.
    AttributeError
        When setting a hyperparameter that cannot change while the optimizer is in use.
    """

    learning_rate: float | schedules.LearningRateSchedule
    weight_decay: float | None = field(default=None, kw_only=True)
    clipnorm: float | None = field(default=None, kw_only=True)
    clipvalue: float | None = field(default=None, kw_only=True)
    global_clipnorm: float | None = field(default=None, kw_only=True)
    use_ema: bool = field(default=False, kw_only=True)
    ema_momentum: float = field(default=0.99, kw_only=True)
    ema_overwrite_frequency: int | None = field(default=None, kw_only=True)
    loss_scale_factor: float | None = field(default=None, kw_only=True)
    gradient_accumulation_steps: int | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    kind: ClassVar[str]

    # Hyperparameters that only matter before the first step.
    initial: ClassVar[tuple[str, ...]] = ()

    # The number of times a hyperparameter other than the learning rate has been set. An engine
    # whose copy has an older version receives the hyperparameters again.
    version: ClassVar[int] = 0

    # The last engine that this optimizer was configured for; it holds the slots.
    engine: ClassVar[weakref.ref[Engine] | None] = None

    def __post_init__(self) -> None:
        self._check_clipping()

    def _check_clipping(self) -> None:
        clips = ("clipnorm", "clipvalue", "global_clipnorm")
        given = [name for name in clips if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                "Give only one way of clipping, that is one of clipnorm, clipvalue and "
                f"global_clipnorm; received {' and '.join(given)}"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        hyperparameter = self.__dataclass_fields__.get(name)
        if hyperparameter is None:
            if name in _REMOVED:  # setting it would change nothing
                missing_attribute(self, name, _REMOVED)
            super().__setattr__(name, value)
            return
        value = _checked(hyperparameter, value)
        if name == "learning_rate" and isinstance(value, float):
            value = LearningRate.of(self, value)
        if name == "name":
            value = value or registry.snake_case(type(self).__name__)
        if name not in vars(self) or name == "learning_rate":
            super().__setattr__(name, value)
            return
        before, n_slots = getattr(self, name), self.n_slots
        super().__setattr__(name, value)
        try:
            self._check_clipping()
            if self.engine is not None and (self.n_slots != n_slots or name in self.initial):
                raise AttributeError(
                    f"{name} of {type(self).__name__} cannot change from {before} to {value} while "
                    "the optimizer is in use, because its state depends on it: compile with a new "
                    "optimizer"
                )
        except BaseException:
            super().__setattr__(name, before)
            raise
        vars(self)["version"] = self.version + 1

    if not TYPE_CHECKING:  # a type checker would take any attribute to exist

        def __getattr__(self, name: str) -> Any:
            return missing_attribute(self, name, _REMOVED)

    def __repr__(self) -> str:
        usual = {"name": registry.snake_case(type(self).__name__)}
        shown = [
            f
            for f in fields(self)
            if not f.kw_only or getattr(self, f.name) != usual.get(f.name, f.default)
        ]
        arguments = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in shown)
        return f"{type(self).__name__}({arguments})"

    def rates(self, first: int, count: int) -> NDArray[np.float64]:
        """Return the learning rates of `count` steps, beginning with step `first`.

        Examples
        --------
        >>> from nnfast.optimizers import SGD
        >>> SGD(schedules.ExponentialDecay(0.1, 1, 0.5)).rates(1, 2)
        array([0.05 , 0.025])
        """
        if isinstance(self.learning_rate, schedules.LearningRateSchedule):
            return self.learning_rate.over(first, count)
        return np.full(count, self.learning_rate)

    def configure(self, engine: Engine) -> None:
        """Configure `engine` to use this optimizer, with the optimizer's state reset."""
        self._send_to(engine, keep_state=False)
        self.start(engine.slots)
        vars(self)["engine"] = weakref.ref(engine)

    @property
    def iterations(self) -> Tensor:
        engine = None if self.engine is None else self.engine()
        return np.array(0 if engine is None else engine.iterations).view(Tensor)

    def __getstate__(self) -> dict[str, Any]:
        # A copy is not in use.
        return {name: value for name, value in vars(self).items() if name != "engine"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.learning_rate = self.learning_rate

    def next_rates(self, engine: Engine, count: int) -> NDArray[np.float64]:
        """Return the learning rates of the next `count` steps of `engine`.

        If other hyperparameters have changed since the last call, first send all of them to the
        engine.
        """
        if engine.optimizer_version != self.version:
            self._send_to(engine, keep_state=True)
        return self.rates(engine.iterations, count)

    def _send_to(self, engine: Engine, keep_state: bool) -> None:
        engine.set_optimizer(
            self.id, self.n_slots, self.hyper, **self.options, keep_state=keep_state
        )
        engine.optimizer_version = self.version

    @property
    def id(self) -> int:
        """The engine's ID for this optimizer."""
        return OPTIMIZERS[self.kind]

    @property
    def n_slots(self) -> int:
        return self.rule_slots + self.use_ema

    @property
    def rule_slots(self) -> int:
        """Number of state values per parameter, without the moving average."""
        return 1

    @property
    def hyper(self) -> tuple[float, ...]:
        raise NotImplementedError

    @property
    def options(self) -> dict[str, float]:
        """The keyword arguments of `Engine.set_optimizer`: weight decay, clipping and averaging."""
        return {
            "weight_decay": self.weight_decay or 0.0,
            "clip_value": self.clipvalue or 0.0,
            "clip_norm": self.clipnorm or 0.0,
            "global_norm": self.global_clipnorm or 0.0,
            "ema_momentum": self.ema_momentum if self.use_ema else 0.0,
            "ema_period": (self.ema_overwrite_frequency or 0) if self.use_ema else 0,
        }

    def start(self, slots: NDArray[Any]) -> None:
        """Overwrite the zeros in new slots, if the optimizer needs other initial values."""

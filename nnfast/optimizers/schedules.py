"""Learning-rate schedules: the learning rate as a function of the optimizer's steps.

The module is available as `nnfast.schedules` and, as in Keras, as `nnfast.optimizers.schedules`.
A schedule is called with a step number, counted from 0, or with an array of step numbers. It keeps
no state, so a saved and loaded model continues with the right learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils import registry
from nnfast._utils.checks import entries, flag, optional_text, real

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]

Floats = NDArray[np.float64]


class LearningRateSchedule(registry.Configured):
    """Base class of the schedules.

    A subclass defines ``__call__(step)`` and stores its constructor's arguments as attributes of
    the same names.

    Attributes
    ----------
    vectorized : bool
        Whether ``__call__`` accepts an array of steps. If False, the default, it is called
        separately for each step.

    Examples
    --------
    >>> class Halving(LearningRateSchedule):
    ...     def __init__(self, every):
    ...         self.every = every
    ...     def __call__(self, step):
    ...         return 0.5 ** (step // self.every)
    >>> Halving(2).over(0, 5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    vectorized: ClassVar[bool] = False

    def __call__(self, step: Any) -> Any:
        """Return the learning rate for `step`."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(self, step)")

    def over(self, first: int, count: int) -> Floats:
        """Return the learning rates of `count` steps, beginning with step `first`.

        Raises
        ------
        ValueError
            If a learning rate is negative or not finite.
        """
        if self.vectorized:
            rates = self(np.arange(first, first + count))
        else:
            rates = [float(self(step)) for step in range(first, first + count)]
        out = np.array(rates, np.float64).reshape(count)
        wrong = ~(np.isfinite(out) & (out >= 0.0))
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"A learning rate must be finite and >= 0; {self!r} returned {out[at]} at step "
                f"{first + at}"
            )
        return out


class _Vectorized(LearningRateSchedule):
    """Base class of the schedules below; their method `_at` accepts an array of steps."""

    vectorized = True

    def __call__(self, step: ArrayLike) -> Any:
        """Return the learning rate for each step: a float, or an array if `step` is an array."""
        # Always use an array, because NumPy rounds powers of scalars differently.
        rates = self._at(np.atleast_1d(np.asarray(step, np.float64)))
        return rates if np.ndim(step) else float(rates[0])

    def _at(self, t: Floats) -> Floats:
        raise NotImplementedError


class _Decay(_Vectorized):
    """Base class of the schedules with a decay rate."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = real("decay_steps", decay_steps, above=0.0)
        self.decay_rate = real("decay_rate", decay_rate, low=0.0)
        self.staircase = flag("staircase", staircase)
        self.name = optional_text("name", name)

    def _periods(self, t: Floats) -> Floats:
        p = t / self.decay_steps
        return np.floor(p) if self.staircase else p


class ExponentialDecay(_Decay):
    """Exponential decay: η = η₀·rᵖ with p = step / decay_steps.

    Parameters
    ----------
    initial_learning_rate : float
        Initial learning rate η₀ ≥ 0.
    decay_steps : float
        Number of steps over which η is multiplied by r; must be > 0.
    decay_rate : float
        Decay rate r ≥ 0.
    staircase : bool, default False
        Round p down, so that η is constant for `decay_steps` steps at a time.
    name : str, optional
        Stored but not used.

    Examples
    --------
    >>> ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)([0, 10, 20])
    array([0.1  , 0.05 , 0.025])
    """

    def _at(self, t: Floats) -> Floats:
        return self.initial_learning_rate * np.power(self.decay_rate, self._periods(t))


class InverseTimeDecay(_Decay):
    """Inverse-time decay: η = η₀ / (1 + r·p) with p = step / decay_steps.

    Parameters
    ----------
    initial_learning_rate, decay_steps, decay_rate, staircase, name
        As in `ExponentialDecay`.

    Examples
    --------
    >>> InverseTimeDecay(0.1, decay_steps=1, decay_rate=1.0)([0, 1, 3])
    array([0.1  , 0.05 , 0.025])
    """

    def _at(self, t: Floats) -> Floats:
        return self.initial_learning_rate / (1.0 + self.decay_rate * self._periods(t))


class PolynomialDecay(_Vectorized):
    """Polynomial decay: η = (η₀ − η₁)·(1 − p)ᵏ + η₁ with p = min(step / decay_steps, 1).

    Parameters
    ----------
    initial_learning_rate : float
        Initial learning rate η₀ ≥ 0.
    decay_steps : float
        Number of steps until η₁ is reached; must be > 0.
    end_learning_rate : float, default 0.0001
        Final learning rate η₁ ≥ 0.
    power : float, default 1.0
        The exponent k.
    cycle : bool, default False
        Whether to continue after `decay_steps` steps with `decay_steps` replaced by its smallest
        multiple that is at least the current step.
    name : str, optional
        Stored but not used.

    Examples
    --------
    >>> PolynomialDecay(0.5, decay_steps=4, end_learning_rate=0.1)([0, 1, 4, 9])
    array([0.5, 0.4, 0.1, 0.1])
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = real("decay_steps", decay_steps, above=0.0)
        self.end_learning_rate = _rate("end_learning_rate", end_learning_rate)
        self.power = real("power", power)
        self.cycle = flag("cycle", cycle)
        self.name = optional_text("name", name)

    def _at(self, t: Floats) -> Floats:
        if self.cycle:
            p = t / (self.decay_steps * np.maximum(1.0, np.ceil(t / self.decay_steps)))
        else:
            p = np.minimum(t / self.decay_steps, 1.0)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * (1.0 - p) ** self.power + self.end_learning_rate


class CosineDecay(_Vectorized):
    """Cosine decay from η₀ to α·η₀, optionally after a linear warm-up.

    η = η₀·((1 − α)·(1 + cos πp)/2 + α) with p = min(step / decay_steps, 1) (Loshchilov and Hutter,
    2017). With a warm-up, η first increases linearly from η₀ to `warmup_target` over
    `warmup_steps` steps. The cosine decay then starts from `warmup_target` instead of η₀.

    Parameters
    ----------
    initial_learning_rate : float
        Initial learning rate η₀ ≥ 0.
    decay_steps : float
        Number of steps of the cosine decay, not counting the warm-up; must be > 0.
    alpha : float, default 0.0
        Fraction α of the initial learning rate that remains at the end, in [0, 1].
    name : str, optional
        Stored but not used.
    warmup_target : float, optional
        Learning rate at the end of the warm-up, at least 0. None means no warm-up.
    warmup_steps : float, default 0
        Number of warm-up steps, at least 0.

    Examples
    --------
    >>> CosineDecay(0.0, decay_steps=2, warmup_target=1.0, warmup_steps=2)([0, 1, 2, 3, 4, 9])
    array([0. , 0.5, 1. , 0.5, 0. , 0. ])
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str | None = None,
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = real("decay_steps", decay_steps, above=0.0)
        self.alpha = real("alpha", alpha, low=0.0, high=1.0)
        self.name = optional_text("name", name)
        self.warmup_target = (
            None if warmup_target is None else _rate("warmup_target", warmup_target)
        )
        self.warmup_steps = real("warmup_steps", warmup_steps, low=0.0)

    def _at(self, t: Floats) -> Floats:
        if self.warmup_target is None:
            return self.initial_learning_rate * self._cosine(t)
        start, top = self.initial_learning_rate, self.warmup_target
        rising = start + (top - start) * t / max(self.warmup_steps, 1e-300)
        falling = top * self._cosine(np.maximum(t - self.warmup_steps, 0.0))
        return np.where(t < self.warmup_steps, rising, falling)

    def _cosine(self, t: Floats) -> Floats:
        p = np.minimum(t / self.decay_steps, 1.0)
        return (1.0 - self.alpha) * _half_cosine(p) + self.alpha


class CosineDecayRestarts(_Vectorized):
    """Cosine decay with warm restarts.

    η = η₀·((1 − α)·m_mulⁱ·(1 + cos πp)/2 + α) in cycle i = 0, 1, …, which has
    first_decay_steps·t_mulⁱ steps; p is the fraction of the cycle that is complete (Loshchilov and
    Hutter, 2017).

    Parameters
    ----------
    initial_learning_rate : float
        Initial learning rate η₀ ≥ 0.
    first_decay_steps : float
        Number of steps in the first cycle; must be > 0.
    t_mul : float, default 2.0
        Factor by which each cycle is longer than the one before, at least 1.
    m_mul : float, default 1.0
        Factor by which the initial learning rate is multiplied after each cycle, at least 0.
    alpha : float, default 0.0
        Fraction α of the initial learning rate that remains at the end, in [0, 1].
    name : str, optional
        Stored but not used.

    Examples
    --------
    >>> CosineDecayRestarts(1.0, first_decay_steps=2, m_mul=0.5)([0, 1, 2, 4, 6])
    array([1.  , 0.5 , 0.5 , 0.25, 0.25])
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.first_decay_steps = real("first_decay_steps", first_decay_steps, above=0.0)
        self.t_mul = real("t_mul", t_mul, low=1.0)
        self.m_mul = real("m_mul", m_mul, low=0.0)
        self.alpha = real("alpha", alpha, low=0.0, high=1.0)
        self.name = optional_text("name", name)

    def _at(self, t: Floats) -> Floats:
        p = t / self.first_decay_steps
        if self.t_mul == 1.0:
            i = np.floor(p)
            p = p - i
        else:
            # Cycle i starts at p = (t_mulⁱ − 1)/(t_mul − 1). Without the 1e-9, rounding could
            # assign the first step of a cycle to the cycle before it.
            i = np.floor(np.log1p(p * (self.t_mul - 1.0)) / math.log(self.t_mul) + 1e-9)
            length = self.t_mul**i
            p = (p - (length - 1.0) / (self.t_mul - 1.0)) / length
        top = self.m_mul**i
        return self.initial_learning_rate * (
            (1.0 - self.alpha) * top * _half_cosine(p) + self.alpha
        )


class PiecewiseConstantDecay(_Vectorized):
    """Piecewise constant learning rate: η = values[i] for boundaries[i − 1] < step ≤ boundaries[i].

    Parameters
    ----------
    boundaries : sequence of number
        Steps in ascending order.
    values : sequence of float
        Learning rates; there must be one more than there are boundaries.
    name : str, optional
        Stored but not used.

    Examples
    --------
    >>> PiecewiseConstantDecay([2, 4], [0.3, 0.2, 0.1])(range(6))
    array([0.3, 0.3, 0.3, 0.2, 0.2, 0.1])
    """

    def __init__(
        self, boundaries: Sequence[float], values: Sequence[float], name: str | None = None
    ) -> None:
        steps, rates = entries("boundaries", boundaries), entries("values", values)
        self.boundaries = tuple(real("each of boundaries", step) for step in steps)
        self.values = tuple(_rate("each of values", rate) for rate in rates)
        self.name = optional_text("name", name)
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                "values must have one more entry than boundaries; received "
                f"{len(self.values)} values and {len(self.boundaries)} boundaries"
            )
        if list(self.boundaries) != sorted(self.boundaries):
            raise ValueError(
                f"boundaries must be in ascending order; received {list(self.boundaries)}"
            )

    def _at(self, t: Floats) -> Floats:
        return np.asarray(self.values)[np.searchsorted(self.boundaries, t)]


class OneCycle(_Vectorized):
    """One cycle: an increase to `max_learning_rate`, then a decrease to nearly 0.

    The learning rate increases from η/div_factor to η during the first ``warmup·total_steps``
    steps. It then decreases to η/(div_factor·final_div_factor) and stays there. Smith and Topin
    (2018) proposed this schedule. It corresponds to PyTorch's ``OneCycleLR``; Keras has no
    equivalent.

    Parameters
    ----------
    max_learning_rate : float
        Maximum learning rate η ≥ 0.
    total_steps : int
        Total number of training steps, that is, epochs · batches per epoch; must be > 1.
    warmup : float, default 0.3
        Fraction of the steps during which the learning rate increases, in (0, 1).
    div_factor : float, default 25.0
        η divided by the initial learning rate; must be > 0.
    final_div_factor : float, default 10000.0
        Initial learning rate divided by the final learning rate; must be > 0.
    shape : {"cosine", "linear"}, default "cosine"
        Shape of both the increase and the decrease.
    name : str, optional
        Stored but not used.

    Examples
    --------
    >>> OneCycle(1.0, total_steps=11, warmup=6 / 11, div_factor=2, shape="linear")([0, 5, 10])
    array([5.e-01, 1.e+00, 5.e-05])
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        warmup: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        shape: str = "cosine",
        name: str | None = None,
    ) -> None:
        self.max_learning_rate = _rate("max_learning_rate", max_learning_rate)
        self.total_steps = real("total_steps", total_steps, above=1.0)
        self.warmup = real("warmup", warmup, above=0.0, below=1.0)
        self.div_factor = real("div_factor", div_factor, above=0.0)
        self.final_div_factor = real("final_div_factor", final_div_factor, above=0.0)
        self.shape = registry.choose("shape", shape, {"cosine": "cosine", "linear": "linear"})
        self.name = optional_text("name", name)

    def _at(self, t: Floats) -> Floats:
        first = self.max_learning_rate / self.div_factor
        top, last = self.max_learning_rate, first / self.final_div_factor
        peak, end = self.warmup * self.total_steps - 1.0, self.total_steps - 1.0
        rising = self._between(first, top, t / peak if peak > 0.0 else np.ones_like(t))
        falling = self._between(top, last, (t - peak) / (end - peak))
        return np.where(t <= peak, rising, falling)

    def _between(self, start: float, stop: float, p: Floats) -> Floats:
        p = np.clip(p, 0.0, 1.0)
        left = _half_cosine(p) if self.shape == "cosine" else 1.0 - p
        return stop + (start - stop) * left


TABLE: dict[str, type[LearningRateSchedule]] = {
    registry.snake_case(cls.__name__): cls
    for cls in (
        ExponentialDecay,
        InverseTimeDecay,
        PolynomialDecay,
        CosineDecay,
        CosineDecayRestarts,
        PiecewiseConstantDecay,
        OneCycle,
    )
}
registry.name_constructors(TABLE.values())


def resolve(identifier: object) -> LearningRateSchedule:
    """Return the schedule for `identifier`: a schedule or a config dict.

    Raises
    ------
    ValueError
        If the class is unknown.
    TypeError
        If `identifier` is neither a schedule nor a config dict.

    Examples
    --------
    >>> description = {"class_name": "PiecewiseConstantDecay",
    ...                "config": {"boundaries": [10], "values": [0.1, 0.01]}}
    >>> resolve(description)(11)
    0.01
    """
    return registry.resolve("schedule", identifier, LearningRateSchedule, TABLE)


# Aliases, as in Keras.
deserialize = resolve
serialize = registry.describe


def _rate(name: str, value: object) -> float:
    return real(name, value, low=0.0)


def _half_cosine(p: Floats) -> Floats:
    """Return (1 + cos πp) / 2, which falls from 1 at p = 0 to 0 at p = 1."""
    return 0.5 * (1.0 + np.cos(math.pi * p))

"""Callbacks that change the learning rate between epochs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from nnfast._utils.checks import count, real, warn
from nnfast.callbacks.callback import Callback, Logs
from nnfast.callbacks.monitor import Monitor
from nnfast.optimizers.schedules import LearningRateSchedule


class ReduceLROnPlateau(Monitor):
    """Reduce the learning rate when the monitored quantity has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The key in the logs.
    factor : float, default 0.1
        Factor by which the learning rate is multiplied, in [0, 1).
    patience : int or whole float, default 10
        Number of epochs without improvement after which the learning rate is reduced.
    verbose : int, default 0
        Any value but 0 prints the new learning rate.
    mode : {"auto", "min", "max"}, default "auto"
        Whether lower or higher values are better; "auto" uses the direction of the metric.
    min_delta : float, default 1e-4
        A change counts as an improvement only if it is greater than this.
    cooldown : int or whole float, default 0
        Number of epochs after a reduction that do not count for `patience`. Keras documents this,
        but its code counts the last of these epochs.
    min_lr : float, default 0.0
        Lower bound of the learning rate.
    epsilon : float, optional
        Older name of `min_delta`; gives a DeprecationWarning.

    Raises
    ------
    TypeError
        At the start of training, if the optimizer has a learning rate schedule.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile(nnfast.optimizers.SGD(1e-9), "mse")
    >>> reduce = ReduceLROnPlateau("loss", factor=0.5, patience=2)
    >>> model.fit([[1.0]], [1.0], epochs=5, verbose=0, callbacks=reduce).history["learning_rate"]
    [1e-09, 1e-09, 1e-09, 5e-10, 5e-10]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: float = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: float = 0,
        min_lr: float = 0.0,
        *,
        epsilon: float | None = None,
    ) -> None:
        if epsilon is not None:
            warn("epsilon is an older name of min_delta: use min_delta", DeprecationWarning)
            min_delta = epsilon
        super().__init__(monitor, mode, min_delta, None)
        self.factor = real("factor", factor, low=0.0, below=1.0)
        self.patience = count("patience", patience)
        self.verbose = verbose
        self.cooldown = count("cooldown", cooldown)
        self.min_lr = real("min_lr", min_lr, low=0.0)
        self.wait = 0
        self.cooldown_counter: float = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin()
        _fixed_rate(self)
        self.best = None
        self.wait = self.cooldown_counter = 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = rate = _fixed_rate(self)
        value = self._value(logs)
        if value is None:
            return
        cooling = self.cooldown_counter > 0
        if cooling:
            self.cooldown_counter -= 1
        if self._improves(value, self.best):
            self.best = value
            self.wait = 0
        elif not cooling:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                _set_rate(self, max(rate * self.factor, self.min_lr), epoch)
                self.cooldown_counter = self.cooldown
                self.wait = 0


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch.

    For a learning rate that changes with each step, pass a schedule from
    `nnfast.optimizers.schedules` to the optimizer instead.

    Parameters
    ----------
    schedule : callable
        Called as ``schedule(epoch, learning_rate)`` or ``schedule(epoch)``, with epochs counted
        from 0; returns the learning rate.
    verbose : int, default 0
        Any value but 0 prints the learning rate.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile(nnfast.optimizers.SGD(0.5), "mse")
    >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2)
    >>> model.fit([[1.0]], [1.0], epochs=3, verbose=0, callbacks=halve).history["learning_rate"]
    [0.25, 0.125, 0.0625]
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule must be callable; received {schedule!r}")
        self.schedule = schedule
        self.verbose = verbose
        try:
            inspect.signature(schedule).bind(0, 0.1)
            self._takes_rate = True
        except TypeError:
            self._takes_rate = False
        except ValueError:  # a built-in function without a signature
            self._takes_rate = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = _fixed_rate(self)
        value = self.schedule(epoch, rate) if self._takes_rate else self.schedule(epoch)
        _set_rate(self, real("the learning rate of schedule", value, low=0.0), epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = _fixed_rate(self)


def _fixed_rate(callback: Callback) -> float:
    """Return the optimizer's learning rate; raise a TypeError if it is a schedule."""
    rate = callback.model.optimizer.learning_rate
    if isinstance(rate, LearningRateSchedule):
        raise TypeError(
            f"{type(callback).__name__} cannot set the learning rate of an optimizer that has a "
            f"schedule, {rate!r}: use a number as the learning rate"
        )
    return float(rate)


def _set_rate(callback: Any, rate: float, epoch: int) -> None:
    callback.model.optimizer.learning_rate = rate
    if callback.verbose:
        print(f"Epoch {epoch + 1}: {type(callback).__name__} sets the learning rate to {rate}")

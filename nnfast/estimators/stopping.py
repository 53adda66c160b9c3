"""The training loop of the stochastic solvers: learning rates, stopping rules and records.

The engine runs one epoch per call. This module applies scikit-learn's rules after each epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from nnfast._data.samples import Samples
from nnfast._engine import Data
from nnfast._runtime.steps import Steps
from nnfast._utils.checks import warn
from nnfast.callbacks.callback import Logs
from nnfast.callbacks.callback_list import CallbackList
from nnfast.callbacks.checkpoint import ModelCheckpoint
from nnfast.callbacks.protocol import WatchedModel
from nnfast.estimators.architecture import Perceptron
from nnfast.optimizers.optimizer import Optimizer

Array = NDArray[Any]

SMALLEST_RATE = 1e-6  # the policy "adaptive" reduces only learning rates above this


class LearningRate:
    """An optimizer's learning rate under scikit-learn's policies.

    Parameters
    ----------
    optimizer : Optimizer
    policy : {"constant", "invscaling", "adaptive"}
    power_t : float

    Examples
    --------
    >>> from nnfast.optimizers import SGD
    >>> rate = LearningRate(SGD(0.1), "invscaling", 0.5)
    >>> rate.epoch_ends(99)
    >>> rate.learning_rate
    0.01
    """

    def __init__(self, optimizer: Optimizer, policy: str = "constant", power_t: float = 0.5):
        self.optimizer = optimizer
        self.policy = policy
        self.power_t = power_t
        self.first = optimizer.learning_rate

    @property
    def learning_rate(self) -> Any:
        """The current learning rate, or the optimizer's schedule."""
        return self.optimizer.learning_rate

    def epoch_ends(self, samples: int) -> None:
        """Update the learning rate after an epoch, given the number of samples seen so far."""
        if self.policy == "invscaling" and isinstance(self.first, float):  # no schedule
            self.optimizer.learning_rate = self.first / (samples + 1) ** self.power_t

    def stalls(self, reason: str, verbose: int) -> bool:
        """Return whether training stops, given that the loss or score no longer improves.

        The policy "adaptive" reduces the learning rate instead, until the rate is too small.
        """
        rate = self.optimizer.learning_rate
        if self.policy == "adaptive" and isinstance(rate, float) and rate > SMALLEST_RATE:
            self.optimizer.learning_rate = rate / 5
            if verbose:
                print(f"{reason} Setting learning rate to {rate / 5:f}")
            return False
        if verbose:
            small = " Learning rate too small." if self.policy == "adaptive" else ""
            print(f"{reason}{small} Stopping.")
        return True


@dataclass(slots=True)
class Settings:
    """The training parameters, which do not change during training.

    Attributes
    ----------
    batch_size : int or "auto"
    max_iter : int
        The maximum number of epochs.
    shuffle : bool
    tol, n_iter_no_change : float
        Training stops after `n_iter_no_change` epochs without an improvement of more than `tol`.
    early_stopping : bool
        Whether the validation score, instead of the loss, has to improve.
    verbose : int
    single_epoch : bool
        Whether to train for one epoch only, as in `partial_fit`.
    """

    batch_size: int | str
    max_iter: int
    shuffle: bool
    tol: float
    n_iter_no_change: float
    early_stopping: bool
    verbose: int
    single_epoch: bool


class Record(Protocol):
    """The record of training: attributes of the estimator, with scikit-learn's names.

    They are updated after every epoch, so that callbacks can read them and Ctrl-C keeps them.
    """

    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    validation_scores_: Any
    best_loss_: Any
    best_validation_score_: Any
    _no_improvement_count: int
    _best_weights: Array | None


def begin_record(record: Record, network: Perceptron, early_stopping: bool) -> None:
    """Reset the record of the best epoch.

    With early stopping, the current weights become the best weights.
    """
    record._no_improvement_count = 0
    record._best_weights = network.engine.weights.copy() if early_stopping else None
    record.validation_scores_ = [] if early_stopping else None
    record.best_validation_score_ = -np.inf if early_stopping else None
    record.best_loss_ = None if early_stopping else np.inf


@dataclass(slots=True)
class Validation:
    """The validation data.

    Attributes
    ----------
    rows : Samples
    data : Data
        The engine's view of the rows. It is created before training, to check sparse indices early.
    score : callable
        Called as ``score(network, rows)``; returns the score that early stopping monitors.
    user_supplied : bool
        Whether the user passed the rows to `fit`. If so, their loss is recorded as well.
    """

    rows: Samples
    data: Data
    score: Callable[[Perceptron, Samples], float]
    user_supplied: bool


class TrainedModel(WatchedModel, Protocol):
    """The model that callbacks see, with the network that is being trained."""

    network: Perceptron

    def check_saving(self) -> None:
        """Raise the error that `save` would raise, if any."""


class Training:
    """One call of `fit` or `partial_fit` with a stochastic solver.

    Parameters
    ----------
    model : TrainedModel
    steps : Steps
    rate : LearningRate
    train : Samples
    validation : Validation or None
    settings : Settings
    record : Record
    callbacks : CallbackList
    """

    def __init__(
        self,
        model: TrainedModel,
        steps: Steps,
        rate: LearningRate,
        train: Samples,
        validation: Validation | None,
        settings: Settings,
        record: Record,
        callbacks: CallbackList,
    ) -> None:
        self.model = model
        self.network = model.network
        self.steps = steps
        self.rate = rate
        self.n_rows = len(train)
        self.data = train.data()
        self.validation = validation
        self.settings = settings
        self.record = record
        self.callbacks = callbacks
        self.batch_size = _batch_size(settings.batch_size, len(train))
        n_steps = -(-len(train) // self.batch_size)
        # For each batch, its fraction of all rows.
        self.fractions = np.full(n_steps, self.batch_size / len(train))
        self.fractions[-1] = 1 - (n_steps - 1) * self.batch_size / len(train)
        self.losses = np.empty(n_steps)
        self.logs: Logs = {}

    def run(self) -> None:
        """Train until a stopping rule, `max_iter` or Ctrl-C ends training."""
        network, record, settings = self.network, self.record, self.settings
        record.n_iter_ = 0
        self._attach()
        self.callbacks.call("on_train_begin")
        try:
            while record.n_iter_ < settings.max_iter and not self._epoch():
                pass
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
        finally:
            network.network.next_epoch()
        if settings.early_stopping:
            network.engine.weights[:] = record._best_weights
        else:
            network.network.finish()
        self.callbacks.call("on_train_end", logs=self.logs)

    def _attach(self) -> None:
        """Attach the callbacks. If one of them saves the model, check that it can be saved."""
        params = {
            "verbose": int(self.settings.verbose),
            "epochs": 1 if self.settings.single_epoch else self.settings.max_iter,
            "steps": len(self.losses),
        }
        if any(isinstance(callback, ModelCheckpoint) for callback in self.callbacks.callbacks):
            self.model.check_saving()
        self.callbacks.attach(self.model, params)
        self.callbacks.history.set_model(self.model)
        self.callbacks.history.set_params(params)

    def _epoch(self) -> bool:
        """Train for one epoch; return whether it was the last."""
        record, settings, epoch = self.record, self.settings, self.record.n_iter_
        self.callbacks.call("on_epoch_begin", epoch)
        done = self.steps.take(self.data, self.batch_size, settings.shuffle, self.losses)
        bad = None if self.steps.finite else done - 1
        record.n_iter_ += 1
        record.t_ += self.n_rows
        record.loss_ = float(self.losses @ self.fractions) if bad is None else np.nan
        record.loss_curve_.append(record.loss_)
        if settings.verbose:
            print(f"Iteration {record.n_iter_}, loss = {record.loss_:.8f}")
        if bad is not None:
            self._diverge(bad)
            return True
        self.logs = {"loss": record.loss_, **self._validate()}
        self._count_improvements()
        # Called before the callbacks, so that they save the state in which the next epoch begins.
        stalled = self._stalls()
        self.callbacks.call("on_epoch_end", epoch, logs=self.logs)
        self.callbacks.history.on_epoch_end(epoch, self.logs)
        if stalled or settings.single_epoch or self.model.stop_training:
            return True
        if record.n_iter_ == settings.max_iter:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({settings.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        return False

    def _diverge(self, batch: int) -> None:
        """End training at a batch whose loss is not finite."""
        self.logs = {}
        if self.validation is not None and self.validation.user_supplied:
            self.record.validation_loss_curve_.append(np.nan)
        if self.settings.early_stopping:
            self.record.validation_scores_.append(np.nan)
        self.callbacks.call("on_divergence", batch, logs={"loss": float(self.losses[batch])})
        self.network.engine.weights[:] = np.nan
        if not self.model.stop_training:
            warn(
                f"Training stopped in iteration {self.record.n_iter_}: the loss is not finite. "
                "Scale the data, or lower learning_rate_init",
                ConvergenceWarning,
            )

    def _validate(self) -> Logs:
        """Return the loss and score on the validation data as logs, and record them."""
        record, validation = self.record, self.validation
        if validation is None:
            return {}
        logs: Logs = {}
        self.callbacks.call("on_test_begin")
        if validation.user_supplied:
            logs["loss"] = self.network.engine.evaluate(validation.data) - self._penalty(validation)
            record.validation_loss_curve_.append(logs["loss"])
        if self.settings.early_stopping:
            logs["score"] = validation.score(self.network, validation.rows)
            record.validation_scores_.append(logs["score"])
            if self.settings.verbose:
                print(f"Validation score: {logs['score']:f}")
        self.callbacks.call("on_test_end", logs=logs)
        return {f"val_{name}": value for name, value in logs.items()}

    def _penalty(self, validation: Validation) -> float:
        """Return the regularization term that the engine's validation loss contains."""
        squares = self.network.sum_of_squares()
        return 0.5 * self.network.architecture.alpha * squares / (validation.rows.total_weight or 1)

    def _count_improvements(self) -> None:
        """Update the count of epochs without an improvement of the score or the loss."""
        record, tol = self.record, self.settings.tol
        if self.settings.early_stopping:
            score = record.validation_scores_[-1]
            # Written with `not`, so that NaN does not count as an improvement.
            stalled = not score >= record.best_validation_score_ + tol
            if score > record.best_validation_score_:
                record.best_validation_score_ = score
                record._best_weights = self.network.engine.weights.copy()
        else:
            stalled = record.loss_ > record.best_loss_ - tol
            record.best_loss_ = min(record.best_loss_, record.loss_)
        record._no_improvement_count = record._no_improvement_count + 1 if stalled else 0

    def _stalls(self) -> bool:
        """Return whether training ends because the loss or score no longer improves."""
        record, settings = self.record, self.settings
        self.rate.epoch_ends(record.t_)
        if record._no_improvement_count <= settings.n_iter_no_change:
            return False
        what = "Validation score" if settings.early_stopping else "Training loss"
        reason = (
            f"{what} did not improve more than tol={settings.tol:f} for "
            f"{settings.n_iter_no_change} consecutive epochs."
        )
        if self.rate.stalls(reason, settings.verbose):
            return True
        record._no_improvement_count = 0
        return False


def _batch_size(batch_size: Any, rows: int) -> int:
    if isinstance(batch_size, str):  # "auto"
        return min(200, rows)
    if batch_size > rows:
        warn(f"batch_size={batch_size} is larger than the {rows} samples: it is clipped")
    return min(int(batch_size), rows)

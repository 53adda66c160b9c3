"""Epochs of the stochastic solvers: learning rates, stopping rules, what is recorded.

The engine runs an epoch at a time; what scikit-learn decides after each is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from nnfast._utils.assign import assign
from nnfast._utils.checks import warn
from nnfast.callbacks.callback import Logs
from nnfast.callbacks.callback_list import CallbackList
from nnfast.callbacks.checkpoint import ModelCheckpoint
from nnfast.estimators.architecture import Network
from nnfast.estimators.rows import Rows
from nnfast.optimizers.optimizer import Optimizer

if TYPE_CHECKING:
    from nnfast.estimators.base import BaseMLP

SMALLEST_RATE = 1e-6  # at which "adaptive" stops


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
        """The present rate, or the optimizer's schedule."""
        return self.optimizer.learning_rate

    def epoch_ends(self, samples: int) -> None:
        """Note that so many samples have been seen since the first epoch."""
        if self.policy == "invscaling" and isinstance(self.first, float):  # no schedule
            self.optimizer.learning_rate = self.first / (samples + 1) ** self.power_t

    def stalls(self, reason: str, verbose: int) -> bool:
        """Return whether training stops, because nothing improves any more."""
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


class Watched:
    """What callbacks know as their model.

    Attributes
    ----------
    estimator : MLPClassifier or MLPRegressor
    optimizer : Optimizer
    stop_training : bool
    """

    def __init__(self, estimator: BaseMLP, network: Network) -> None:
        self.estimator = estimator
        self.network = network
        self.stop_training = self.stop_evaluating = self.stop_predicting = False

    @property
    def optimizer(self) -> Optimizer | None:
        return self.network.optimizer

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of all weights, layer by layer."""
        return [view.copy() for view in self.network.weights]

    def set_weights(self, weights: list[NDArray[Any]]) -> None:
        """Set what `get_weights` gave."""
        assign("the estimator", self.network.weights, weights)

    def save(self, path: str) -> None:
        """Save the estimator, without its callbacks."""
        self.estimator._write(path, include_optimizer=True)

    def save_weights(self, path: str) -> None:
        """Save the estimator for predictions, without the optimizer's state."""
        self.estimator._write(path, include_optimizer=False)

    def check_saving(self) -> None:
        """Raise what `save` would."""
        from nnfast.estimators.files import contents

        contents(self.estimator, include_optimizer=True)

    def metric_direction(self, key: str) -> str | None:
        return {"loss": "down", "score": "up"}.get(key)


class Training:
    """One `fit` or `partial_fit` with a stochastic solver.

    Parameters
    ----------
    estimator : BaseMLP
    network : Network
    train : Rows
    validation : Rows or None
        Scored after each epoch if the estimator stops early.
    given : bool
        Whether `validation` is the caller's: then its loss is recorded, too.
    incremental : bool
        One epoch of `partial_fit`.
    callbacks : CallbackList
    """

    def __init__(
        self,
        estimator: BaseMLP,
        network: Network,
        train: Rows,
        validation: Rows | None,
        given: bool,
        incremental: bool,
        callbacks: CallbackList,
    ) -> None:
        self.estimator = estimator
        self.network = network
        self.train = train
        self.validation = validation
        self.given = given
        self.incremental = incremental
        self.early = bool(estimator.early_stopping)
        self.batch_size = _batch_size(estimator.batch_size, len(train))
        steps = -(-len(train) // self.batch_size)
        self.shares = np.full(steps, self.batch_size / len(train))
        self.shares[-1] = 1 - (steps - 1) * self.batch_size / len(train)
        self.losses = np.empty(steps)
        self.callbacks = callbacks
        self.watched = Watched(estimator, network)
        self.logs: Logs = {}

    def run(self) -> None:
        """Train until a stopping rule, max_iter or Ctrl-C."""
        estimator, network = self.estimator, self.network
        estimator.n_iter_ = 0
        params = {
            "verbose": int(estimator.verbose),
            "epochs": 1 if self.incremental else estimator.max_iter,
            "steps": len(self.losses),
        }
        if any(isinstance(callback, ModelCheckpoint) for callback in self.callbacks.callbacks):
            self.watched.check_saving()
        model: Any = self.watched
        self.callbacks.attach(model, params)
        self.callbacks.history.set_model(model)
        self.callbacks.history.set_params(params)
        self.callbacks.call("on_train_begin")
        try:
            while estimator.n_iter_ < estimator.max_iter and not self._epoch():
                pass
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
        finally:
            network.next_epoch()
        if self.early:
            network.engine.weights[:] = estimator._best_weights
        else:
            network.finish()
        self.callbacks.call("on_train_end", logs=self.logs)

    def _epoch(self) -> bool:
        """Train one epoch; return whether it was the last."""
        estimator, epoch = self.estimator, self.estimator.n_iter_
        self.callbacks.call("on_epoch_begin", epoch)
        rates = estimator._optimizer.optimizer.next_rates(self.network.engine, len(self.losses))
        bad = self.train.epoch(self.network, self.batch_size, estimator.shuffle, rates, self.losses)
        estimator.n_iter_ += 1
        estimator.t_ += len(self.train)
        estimator.loss_ = float(self.losses @ self.shares) if bad is None else np.nan
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if bad is not None:
            self._diverge(bad)
            return True
        self.logs = {"loss": estimator.loss_, **self._validate()}
        self._count_improvements()
        # Before the callbacks: what they save is what the next epoch begins with.
        stalled = self._stalls()
        self.callbacks.call("on_epoch_end", epoch, logs=self.logs)
        self.callbacks.history.on_epoch_end(epoch, self.logs)
        if stalled or self.incremental or self.watched.stop_training:
            return True
        if estimator.n_iter_ == estimator.max_iter:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        return False

    def _diverge(self, batch: int) -> None:
        """End training at a batch whose loss is not finite."""
        estimator, self.logs = self.estimator, {}
        if self.given:
            estimator.validation_loss_curve_.append(np.nan)
        if self.early:
            estimator.validation_scores_.append(np.nan)
        self.callbacks.call("on_divergence", batch, logs={"loss": float(self.losses[batch])})
        self.network.engine.weights[:] = np.nan
        if not self.watched.stop_training:
            warn(
                f"Training stopped in iteration {estimator.n_iter_}: the loss is not finite. Scale "
                "the data, or lower learning_rate_init",
                ConvergenceWarning,
            )

    def _validate(self) -> Logs:
        """Score and measure the rows set aside; return what callbacks are told."""
        estimator, rows = self.estimator, self.validation
        if rows is None:
            return {}
        logs: Logs = {}
        self.callbacks.call("on_test_begin")
        if self.given:
            logs["loss"] = rows.loss(self.network.engine) - self._penalty(rows)
            estimator.validation_loss_curve_.append(logs["loss"])
        if self.early:
            logs["score"] = estimator._score_rows(self.network, rows)
            estimator.validation_scores_.append(logs["score"])
            if estimator.verbose:
                print(f"Validation score: {logs['score']:f}")
        self.callbacks.call("on_test_end", logs=logs)
        return {f"val_{name}": value for name, value in logs.items()}

    def _penalty(self, rows: Rows) -> float:
        squares = self.network.sum_of_squares()
        return 0.5 * self.network.architecture.alpha * squares / (rows.denominator or 1)

    def _count_improvements(self) -> None:
        """Count the epochs without improvement, of the score or else of the loss."""
        estimator = self.estimator
        if self.early:
            score = estimator.validation_scores_[-1]
            # NaN is no improvement.
            stalled = not score >= estimator.best_validation_score_ + estimator.tol
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                estimator._best_weights = self.network.engine.weights.copy()
        else:
            stalled = estimator.loss_ > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if stalled else 0

    def _stalls(self) -> bool:
        """Return whether training ends after an epoch, because nothing improves any more."""
        estimator = self.estimator
        estimator._optimizer.epoch_ends(estimator.t_)
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if self.early else "Training loss"
        reason = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs."
        )
        if estimator._optimizer.stalls(reason, estimator.verbose):
            return True
        estimator._no_improvement_count = 0
        return False


def _batch_size(given: Any, rows: int) -> int:
    if isinstance(given, str):  # "auto"
        return min(200, rows)
    if given > rows:
        warn(f"batch_size={given} is larger than the {rows} samples: it is clipped")
    return min(int(given), rows)

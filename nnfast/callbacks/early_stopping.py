"""The callback that ends training when a metric stops improving."""

from __future__ import annotations

from typing import Any

from nnfast._utils.checks import count, flag, real
from nnfast.callbacks.callback import Logs
from nnfast.callbacks.monitor import Monitor


class EarlyStopping(Monitor):
    """Stop training when the monitored quantity has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The key in the logs.
    min_delta : float, default 0
        A change counts as an improvement only if it is greater than this.
    patience : int or whole float, default 0
        Number of epochs without improvement after which training stops. Training never stops
        after the first epoch. With infinity, it never stops early.
    verbose : int, default 0
        Any value but 0 prints a message when training stops.
    mode : {"auto", "min", "max"}, default "auto"
        Whether lower or higher values are better; "auto" uses the direction of the metric.
    baseline : float, optional
        Values that are not better than this do not count as improvements for `patience`. If no
        epoch is better than the baseline, training stops after `patience` epochs. Keras documents
        this, but its code continues as long as each epoch is better than all previous epochs.
    restore_best_weights : bool, default False
        At the end of training, restore the weights of the best epoch, even if that epoch is not
        better than `baseline`.
    start_from_epoch : int or whole float, default 0
        Epochs before this one, counted from 0, are ignored.

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch, stopped_epoch : int
        The epoch with the best value, and the epoch after which training stopped, both counted
        from 0.
    wait : int
        Number of epochs since the last improvement.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile(nnfast.optimizers.SGD(0.0), "mse")
    >>> stop = EarlyStopping("loss", patience=3)
    >>> len(model.fit([[1.0]], [1.0], epochs=99, verbose=0, callbacks=stop).epoch)
    4
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: float = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: float = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, None)
        self.patience = count("patience", patience)
        self.verbose = verbose
        self.baseline = None if baseline is None else real("baseline", baseline)
        self.restore_best_weights = flag("restore_best_weights", restore_best_weights)
        self.start_from_epoch = count("start_from_epoch", start_from_epoch)
        self._reset()

    def _reset(self) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = None
        self.best_weights: list[Any] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin()
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self._value(logs or {})
        if value is None or epoch < self.start_from_epoch:
            return
        better = self._improves(value, self.best)
        if self.restore_best_weights and (better or self.best_weights is None):
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        if better:
            self.best = value
            self.best_epoch = epoch
        if better and (self.baseline is None or self._improves(value, self.baseline)):
            self.wait = 0
            return
        self.wait += 1
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of the best epoch: {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)

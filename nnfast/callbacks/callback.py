"""The base class of callbacks."""

from __future__ import annotations

from typing import Any

from nnfast.callbacks.protocol import WatchedModel

# Values are numbers, or arrays for metrics with several values and for predicted outputs.
Logs = dict[str, Any]


class Callback:
    """Base class of callbacks; subclasses override the methods that they need.

    A callback that overrides a batch method makes training, evaluation or prediction run one batch
    at a time; other callbacks cost nothing per batch. Setting ``self.model.stop_training = True``
    ends training after the current batch or epoch. ``stop_evaluating`` and ``stop_predicting`` end
    an evaluation or a prediction after the current batch.

    Attributes
    ----------
    model : Sequential, or the adapter of an estimator
        Pickles and copies of the callback do not contain it.
    params : dict
        ``verbose``, ``epochs`` and ``steps`` (batches per epoch, None if unknown). In `fit` also
        ``initial_epoch``, which `on_train_begin` may set to continue earlier training.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> class Report(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, sorted(logs))
    >>> model = nnfast.Sequential([nnfast.Input((1,)), nnfast.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> _ = model.fit(np.ones((4, 1)), np.ones(4), verbose=0, callbacks=[Report()])
    0 ['loss']
    """

    model: Any
    params: dict[str, Any]

    def set_model(self, model: WatchedModel) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "model"}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called after the last epoch, with its logs."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before each epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after each epoch and its validation, with ``loss``, metrics and ``val_…``."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch; calls `on_batch_begin`."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch with the epoch's ``loss`` and metrics so far."""
        self.on_batch_end(batch, logs=logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Older name for `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Older name for `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before each validation or `evaluate`."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after each validation or `evaluate`, with its ``loss`` and metrics."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch of a validation or of `evaluate`."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each of these batches, with the ``loss`` and metrics so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before the first batch of `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after the last batch of `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch of `predict`, with its ``outputs``."""

    def on_divergence(self, batch: int, logs: Logs | None = None) -> None:
        """Called when training diverges, with the ``loss`` of that batch. Keras has no such method.

        Training always ends at that batch, without `on_epoch_end`. A RuntimeWarning follows unless
        a callback sets ``self.model.stop_training``.
        """

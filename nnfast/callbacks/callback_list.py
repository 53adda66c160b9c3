"""The callbacks of one call of `fit`, `evaluate` or `predict`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nnfast.callbacks.callback import Callback, Logs
from nnfast.callbacks.history import History
from nnfast.callbacks.protocol import WatchedModel

_BATCH_METHODS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_TEST_BATCH_METHODS = ("on_test_batch_begin", "on_test_batch_end")
_PREDICT_BATCH_METHODS = ("on_predict_batch_begin", "on_predict_batch_end")
_EPOCH_METHODS = ("on_epoch_begin", "on_epoch_end", "on_test_begin", "on_test_end")


class CallbackList:
    """The callbacks of one call of `fit`, `evaluate` or `predict`, and the events that they handle.

    Attributes
    ----------
    history : History
        The History from the user's list, or a new one. `fit` adds the epochs to it.
    per_batch, per_epoch : bool
        Whether any callback overrides a batch method or an epoch method of training.
    per_test_batch, per_predict_batch : bool
        Whether any callback overrides a batch method of evaluation or of prediction.
    """

    def __init__(self, callbacks: Callback | Iterable[Callback] | None) -> None:
        if callbacks is None:
            callbacks = ()
        try:
            self.callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        except TypeError:
            raise TypeError(
                "callbacks must be a list of nnfast.callbacks.Callback objects; "
                f"received {callbacks!r}"
            ) from None
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    "callbacks must be a list of nnfast.callbacks.Callback objects; "
                    f"received {callback!r}"
                )
        own = [callback for callback in self.callbacks if type(callback) is History]
        self.history = own[0] if own else History()
        self.callbacks = [callback for callback in self.callbacks if callback is not self.history]
        self.per_batch = self._overrides(_BATCH_METHODS)
        self.per_epoch = self._overrides(_EPOCH_METHODS)
        self.per_test_batch = self._overrides(_TEST_BATCH_METHODS)
        self.per_predict_batch = self._overrides(_PREDICT_BATCH_METHODS)

    def _overrides(self, methods: Iterable[str]) -> bool:
        return any(
            getattr(getattr(callback, method), "__func__", None) is not getattr(Callback, method)
            for callback in self.callbacks
            for method in methods
        )

    def call(self, method: str, *args: Any, logs: Logs | None = None) -> None:
        """Call one method of each callback, in order.

        Arguments are positional, because overriding methods may name them differently. Without
        logs, callbacks receive an empty dict, as in Keras.
        """
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            getattr(callback, method)(*args, logs)

    def attach(self, model: WatchedModel, params: dict[str, Any]) -> None:
        """Set the model and the parameters of every callback."""
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)

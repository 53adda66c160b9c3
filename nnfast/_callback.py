"""What a callback is, the history, and the callbacks of one `fit`, `evaluate` or `predict`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnfast.models import Sequential

# Numbers, or arrays: of a metric that has several values, and the outputs of a prediction.
Logs = dict[str, Any]


class Callback:
    """Base of the callbacks: override what is needed.

    A callback that overrides a batch-level method of training, testing or prediction makes that
    run one batch at a time, with Python in between; the others cost nothing per batch. Setting
    ``self.model.stop_training = True`` ends training after the present batch or epoch;
    ``stop_evaluating`` and ``stop_predicting`` end the present evaluation or prediction after the
    present batch.

    Attributes
    ----------
    model : Sequential
        Left out of pickles and copies.
    params : dict
        ``verbose``, ``epochs`` and ``steps`` (batches per epoch, None if that is not known).

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

    model: Sequential
    params: dict[str, Any]

    def set_model(self, model: Sequential) -> None:
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
        """Older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before each validation, and by `evaluate`."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after each validation, and by `evaluate`, with its ``loss`` and metrics."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch of a validation or an `evaluate`."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch of these, with the ``loss`` and metrics of the batches so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before the first batch of a `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after the last batch of a `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch of a `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch of a `predict`, with its ``outputs``."""

    def on_divergence(self, batch: int, logs: Logs | None = None) -> None:
        """Called where the loss stops being finite, with that ``loss``; not in Keras.

        Training ends there in any case, without `on_epoch_end`, and with a RuntimeWarning unless
        a callback sets ``self.model.stop_training``.
        """


class History(Callback):
    """What `fit` returns: the logs of every epoch.

    Attributes
    ----------
    epoch : list of int
    history : dict of str to list of float
        ``loss``, each metric under its name as passed, and ``val_…`` of each with validation. A
        metric of several values gives an array in the place of each number.
    epochs : dict of str to list of int
        For each key of `history` the epochs (counted from 0) that its values are of: not every
        epoch has a validation. Not in Keras.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = [[1.0], [2.0]], [1.0, 2.0]
    >>> history = model.fit(x, y, epochs=4, validation_split=0.5, validation_freq=2, verbose=0)
    >>> history.epochs
    {'loss': [0, 1, 2, 3], 'val_loss': [1, 3]}
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}
        # For each key the places in `epoch` of its values: a second fit may count from 0 again.
        self._places: dict[str, list[int]] = {}

    @property
    def epochs(self) -> dict[str, list[int]]:
        return {key: [self.epoch[at] for at in self._places_of(key)] for key in self.history}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self._places.setdefault(name, []).append(len(self.epoch))
        self.epoch.append(epoch)

    def add_losses(self, first: int, losses: Sequence[float]) -> None:
        """Take epochs first, first + 1, … of which nothing but the loss is known."""
        place = len(self.epoch)
        self.epoch.extend(range(first, first + len(losses)))
        self.history.setdefault("loss", []).extend(losses)
        self._places.setdefault("loss", []).extend(range(place, place + len(losses)))

    def _places_of(self, key: str) -> Sequence[int]:
        """Return where in `epoch` a key's values are: the last places, if others put them there."""
        count = len(self.history[key])
        places = self._places.get(key, ())
        end = len(self.epoch)
        return places if len(places) == count else range(max(0, end - count), end)

    def plot(self, keys: Sequence[str] | None = None, axes: Any = None) -> Any:
        """Draw learning curves with matplotlib: see `nnfast.plotting.learning_curves`."""
        from nnfast import plotting

        return plotting.learning_curves(self, keys, axes)

    def _repr_html_(self) -> str:
        """Return a table of the first and the last epochs, for notebooks."""
        import html

        from nnfast._progress import numbers

        columns = [
            dict(zip(self._places_of(key), values, strict=False))
            for key, values in self.history.items()
        ]
        head = "".join(f"<th>{html.escape(str(name))}</th>" for name in ("epoch", *self.history))
        places: list[int | None] = [*range(len(self.epoch))]
        if len(places) > 2 * _SHOWN:
            places[_SHOWN:-_SHOWN] = [None]
        body = ""
        for place in places:
            if place is None:
                body += f'<tr><td colspan="{len(columns) + 1}">…</td></tr>'
                continue
            values = [numbers(c[place], ".4g") if place in c else "" for c in columns]
            cells = (str(self.epoch[place] + 1), *map(html.escape, values))
            body += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


# Epochs at either end of a history's table.
_SHOWN = 5


_BATCH_METHODS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_TEST_BATCH_METHODS = ("on_test_batch_begin", "on_test_batch_end")
_PREDICT_BATCH_METHODS = ("on_predict_batch_begin", "on_predict_batch_end")
_EPOCH_METHODS = ("on_epoch_begin", "on_epoch_end", "on_test_begin", "on_test_end")


class CallbackList:
    """The callbacks of one `fit`, `evaluate` or `predict`, and what they need to be called for.

    Attributes
    ----------
    history : History
        That of the user's list, or a new one; the trainer fills it.
    per_batch, per_epoch, per_test_batch, per_predict_batch : bool
        Whether any of them overrides such a method: of the batches and epochs of training, of the
        batches of tests and predictions.
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
        """Call one method of each callback, in order; by position, whatever its names.

        Where there are no logs they get an empty dict, as from Keras.
        """
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            getattr(callback, method)(*args, logs)

    def attach(self, model: Sequential, params: dict[str, Any]) -> None:
        """Tell every callback its model and the parameters of what is run."""
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)

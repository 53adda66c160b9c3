"""Callbacks of training, testing and prediction, called as Keras calls them.

Callbacks of epochs cost nothing per batch; one that overrides a method of batches makes
training, or testing, or prediction run one batch at a time.
"""

from __future__ import annotations

import inspect
import os
import re
import string
import warnings
from collections.abc import Callable, Iterator
from numbers import Real
from typing import IO, Any

import numpy as np

from nnfast._callback import Callback, CallbackList, History, Logs
from nnfast._validation import file_name, flag, integer, real
from nnfast.schedules import LearningRateSchedule

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]


class _Monitor(Callback):
    """What callbacks that watch one entry of the logs have in common.

    Parameters
    ----------
    monitor : str
        ``"val_loss"``, a metric's key in History, …
    mode : {"auto", "min", "max"}
        Whether less or more is better; "auto" asks the metric.
    min_delta : float
        What counts as no improvement.
    best : float or None
        To be improved on; None: anything but NaN is better.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float, best: float | None) -> None:
        if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
            raise ValueError(f'mode must be "auto", "min" or "max"; received {mode!r}')
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(real("min_delta", min_delta))
        self.best = best

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._less()

    def _less(self) -> bool:
        """Return whether less is better."""
        if self.mode != "auto":
            return self.mode == "min"
        direction = self.model._direction(self.monitor.removeprefix("val_"))
        if direction is None:
            raise ValueError(
                f"{type(self).__name__} does not know whether less or more of {self.monitor!r} is "
                'better: pass mode="min" or mode="max"'
            )
        return direction == "down"

    def _improves(self, value: float, reference: float | None) -> bool:
        """Return whether `value` is better; NaN never is, and any number is better than NaN."""
        if np.isnan(value):
            return False
        if reference is None or np.isnan(reference):
            return True
        if self._less():
            return value + self.min_delta < reference
        return value - self.min_delta > reference

    def _value(self, logs: Logs) -> float | None:
        """Return what is monitored, a number; warn if it is not there."""
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__} monitors {self.monitor!r}, which is not available; there "
                f"are: {', '.join(map(str, logs))}",
                UserWarning,
                stacklevel=2,
            )
            return None
        array = np.asarray(value)
        if array.ndim or array.dtype.kind not in "fiub":
            came = f"{len(array)}: {value}" if array.ndim else repr(value)
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, which must be one number; it is "
                f"{came}"
            )
        number: float = array.item()
        return number


class EarlyStopping(_Monitor):
    """Stop training when what is monitored has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
    min_delta : float, default 0
        Only a change of more than this is an improvement.
    patience : int, default 0
        Epochs without improvement after which training stops; never after the first epoch.
    verbose : int, default 0
        Anything but 0 prints when it stops.
    mode : {"auto", "min", "max"}, default "auto"
    baseline : float, optional
        Only what is also better than this counts as an improvement for `patience`: if no epoch
        is, training runs for `patience` epochs. So Keras documents it; its code goes on for as
        long as each epoch is better than the ones before.
    restore_best_weights : bool, default False
        At the end of training, set the weights to those of the best epoch, whether or not it is
        better than `baseline`.
    start_from_epoch : int, default 0
        Epochs before it are not looked at.

    Attributes
    ----------
    best : float or None
    best_epoch, stopped_epoch, wait : int

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
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, None)
        self.patience = integer("patience", patience, minimum=0)
        self.verbose = verbose
        self.baseline = None if baseline is None else real("baseline", baseline)
        self.restore_best_weights = flag("restore_best_weights", restore_best_weights)
        self.start_from_epoch = integer("start_from_epoch", start_from_epoch, minimum=0)
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


class ModelCheckpoint(_Monitor):
    """Save the model after every epoch, or every few batches.

    Training that was ended, even by force, goes on from the last file as if nothing had happened:
    load it, and call `fit` with the number in its name as `initial_epoch`. A file from the middle
    of an epoch goes on with the next one.

    Parameters
    ----------
    filepath : str or path-like
        May name the epoch (from 1), the batch (from 1, with a number for `save_freq`) and the
        logs, as in ``"model-{epoch:02d}-{val_loss:.2f}.safetensors"``. Folders are made.
    monitor : str, default "val_loss"
        Only looked at with `save_best_only`.
    verbose : int, default 0
        Anything but 0 prints what is saved.
    save_best_only : bool, default False
        Save where what is monitored has improved, and nowhere else.
    save_weights_only : bool, default False
        With `Sequential.save_weights` instead of `Sequential.save`.
    mode : {"auto", "min", "max"}, default "auto"
    save_freq : "epoch" or int, default "epoch"
        A number of batches makes training run one step at a time.
    initial_value_threshold : float, optional
        What the first to be saved must be better than, with `save_best_only`.

    Examples
    --------
    >>> import os, tempfile, nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("sgd", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save = ModelCheckpoint(folder + "/m{epoch}.safetensors")
    ...     _ = model.fit([[1.0]], [1.0], epochs=2, verbose=0, callbacks=save)
    ...     sorted(os.listdir(folder))
    ['m1.safetensors', 'm2.safetensors']
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        threshold: object = initial_value_threshold
        if not (threshold is None or isinstance(threshold, Real)):
            raise TypeError(f"initial_value_threshold must be a number; received {threshold!r}")
        super().__init__(monitor, mode, 0.0, initial_value_threshold)
        self.filepath = file_name("filepath", filepath)
        self.verbose = verbose
        self.save_best_only = flag("save_best_only", save_best_only)
        self.save_weights_only = flag("save_weights_only", save_weights_only)
        self.save_freq = save_freq
        self._epoch = 0
        self._batches = 0
        if not (isinstance(save_freq, str) and save_freq == "epoch"):
            self.save_freq = integer("save_freq", save_freq, minimum=1)
            # On the object alone: overridden in the class it would cost every training its batches.
            self.on_train_batch_end = self._on_batch  # type: ignore[method-assign]
        self._check_names()

    def _check_names(self) -> None:
        """Refuse a `filepath` that could not be filled in whatever is measured."""
        known: dict[str, int | float] = {"epoch": 1, "loss": 0.5, "val_loss": 0.5}
        if self.save_freq != "epoch":
            known["batch"] = 1
        try:
            for name, field in _fields(self.filepath):
                if name in known:
                    field.format(**known)
                elif name == "batch" or not name or name.isdigit():
                    raise ValueError(f"{field} names nothing that there is")
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            names = ", ".join(f"{{{name}}}" for name in known if name not in ("loss", "val_loss"))
            raise ValueError(
                f"filepath cannot be filled in: {error}. It may name {names} and what is logged, "
                f"such as {{loss:.2f}}; received {self.filepath!r}"
            ) from None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.save_best_only:
            super().on_train_begin()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(self._path(logs or {}, epoch=epoch + 1), logs or {})

    def _on_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches == self.save_freq:
            self._batches = 0
            path = self._path(logs or {}, epoch=self._epoch + 1, batch=batch + 1)
            self._save(path, logs or {})

    def _path(self, logs: Logs, **numbers: int) -> str:
        names = logs | numbers
        try:
            return self.filepath.format(**names)
        except KeyError as error:
            raise KeyError(
                f"filepath {self.filepath!r} names {error}, and there are: {', '.join(names)}"
            ) from None
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            values = ", ".join(f"{name}={value!r}" for name, value in names.items())
            raise ValueError(
                f"filepath {self.filepath!r} cannot be filled in: {error}; there are: {values}"
            ) from None

    def _save(self, path: str, logs: Logs) -> None:
        if self.save_best_only and not self._is_best(logs):
            return
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: saving to {path}")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)

    def _is_best(self, logs: Logs) -> bool:
        value = self._value(logs)
        if value is None:
            return True
        better = self._improves(value, self.best)
        if self.verbose:
            change = f"from {self.best} to {value}" if better else f"from {self.best}"
            verb = "improved" if better else "did not improve"
            print(f"Epoch {self._epoch + 1}: {self.monitor} {verb} {change}")
        if better:
            self.best = value
        return better


class ReduceLROnPlateau(_Monitor):
    """Multiply the learning rate by `factor` when what is monitored has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
    factor : float, default 0.1
        Below 1.
    patience : int, default 10
        Epochs without improvement after which the learning rate is reduced.
    verbose : int, default 0
        Anything but 0 prints the new learning rate.
    mode : {"auto", "min", "max"}, default "auto"
    min_delta : float, default 1e-4
        Only a change of more than this is an improvement.
    cooldown : int, default 0
        So many epochs after a reduction do not count for `patience`. So Keras documents it; its
        code counts the last of them.
    min_lr : float, default 0.0
        The learning rate is not reduced below it.

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
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, None)
        self.factor = real("factor", factor, low=0.0, below=1.0)
        self.patience = integer("patience", patience, minimum=0)
        self.verbose = verbose
        self.cooldown = integer("cooldown", cooldown, minimum=0)
        self.min_lr = real("min_lr", min_lr, low=0.0)
        self.wait = self.cooldown_counter = 0

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

    For a learning rate that changes from step to step pass a schedule of `nnfast.schedules` to
    the optimizer instead.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate)`` or ``schedule(epoch)``, epochs from 0.
    verbose : int, default 0
        Anything but 0 prints the learning rate.

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
        except ValueError:  # A builtin without a signature.
            self._takes_rate = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = _fixed_rate(self)
        value = self.schedule(epoch, rate) if self._takes_rate else self.schedule(epoch)
        _set_rate(self, real("the learning rate of schedule", value, low=0.0), epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = _fixed_rate(self)


class CSVLogger(Callback):
    """Write the logs of each epoch to a file, one line each.

    Columns: ``epoch`` and the logs in alphabetical order, then ``val_…`` of each if the first
    epoch has no validation; ``NA`` where there is no value, and ``[a, b, …]`` where there are
    several.

    Parameters
    ----------
    filename : str or path-like
    separator : str, default ","
    append : bool, default False
        Go on after what the file holds, with its columns; else it is overwritten.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile(nnfast.optimizers.SGD(0.0), "mse")
    >>> _ = model.fit([[0.0]], [1.0], verbose=0, callbacks=CSVLogger("log.csv"))
    >>> print(open("log.csv").read())
    epoch,loss,val_loss
    0,1.0,NA
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        self.filename = file_name("filename", filename)
        self.separator = separator
        self.append = flag("append", append)
        self._file: IO[str] | None = None
        self._keys: list[str] = []
        self._header = True

    def on_train_begin(self, logs: Logs | None = None) -> None:
        path = self.filename
        self._close()
        self._header = not (self.append and os.path.isfile(path) and os.path.getsize(path))
        self._keys = [] if self._header else self._columns(path)
        self._file = open(path, "a" if self.append else "w", newline="", encoding="utf-8")  # noqa: SIM115

    def _columns(self, path: str) -> list[str]:
        """Return the columns of a file that is gone on with, [] if it has no header."""
        import csv

        with open(path, newline="", encoding="utf-8") as file:
            head = next(csv.reader(file, delimiter=self.separator), [])
        return head[1:] if head[:1] == ["epoch"] else []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        import csv

        assert self._file is not None
        logs = logs or {}
        writer = csv.writer(self._file, delimiter=self.separator)
        if not self._keys:
            self._keys = sorted(logs)
            if not any(key.startswith("val_") for key in self._keys):
                self._keys += [f"val_{key}" for key in self._keys]
            if self._header:
                writer.writerow(["epoch", *self._keys])
        values: list[Any] = [logs.get(key) for key in self._keys]
        cells = [value.tolist() if hasattr(value, "tolist") else value for value in values]
        writer.writerow([epoch, *("NA" if cell is None else cell for cell in cells)])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_file": None}


class TerminateOnNaN(Callback):
    """Say where the loss stopped being finite.

    Training ends there with or without it; with it, by a printed line or an error instead of a
    warning. It costs nothing per batch.

    Parameters
    ----------
    raise_error : bool, default False
        Raise a RuntimeError.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("sgd", "mse")
    >>> _ = model.fit([[1.0]], [float("nan")], verbose=0, callbacks=TerminateOnNaN())
    Batch 0: Invalid loss, terminating training
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = flag("raise_error", raise_error)

    def on_divergence(self, batch: int, logs: Logs | None = None) -> None:
        self.model.stop_training = True
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: "
                f"{(logs or {}).get('loss')}. Terminating training immediately."
            )
        print(f"Batch {batch}: Invalid loss, terminating training")


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable, optional
        Called with (epoch, logs).
    on_train_begin, on_train_end : callable, optional
        Called with (logs).
    on_train_batch_begin, on_train_batch_end : callable, optional
        Called with (batch, logs); these make training run one step at a time.
    **others : callable
        Any other method of `Callback`.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("sgd", "mse")
    >>> say = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, list(logs)))
    >>> _ = model.fit([[1.0]], [1.0], verbose=0, callbacks=say)
    0 ['loss']
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., object] | None = None,
        on_epoch_end: Callable[..., object] | None = None,
        on_train_begin: Callable[..., object] | None = None,
        on_train_end: Callable[..., object] | None = None,
        on_train_batch_begin: Callable[..., object] | None = None,
        on_train_batch_end: Callable[..., object] | None = None,
        **others: Any,
    ) -> None:
        methods = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **others,
        }
        unknown = [name for name in others if not hasattr(Callback, name)]
        if unknown:
            raise TypeError(f"LambdaCallback knows no {unknown[0]!r}; it is no method of Callback")
        vars(self).update({name: f for name, f in methods.items() if f is not None})


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name in each replacement field of a format string, and the field itself.

    Examples
    --------
    >>> list(_fields("m{epoch:02d}-{auc[0]!s:>{epoch}}"))
    [('epoch', '{epoch:02d}'), ('auc', '{auc[0]!s:>{epoch}}'), ('epoch', '{epoch}')]

    Raises
    ------
    ValueError
        If it is none.
    """
    for _, field, form, conversion in string.Formatter().parse(text):
        if field is not None:
            convert = f"!{conversion}" if conversion else ""
            yield re.split(r"[.[]", field)[0], f"{{{field}{convert}{form and ':' + form}}}"
            yield from _fields(form or "")


def _fixed_rate(callback: Callback) -> float:
    """Return the optimizer's learning rate, if a callback may set it."""
    optimizer = callback.model.optimizer
    assert optimizer is not None
    if isinstance(optimizer.learning_rate, LearningRateSchedule):
        raise TypeError(
            f"{type(callback).__name__} cannot set the learning rate of an optimizer that has a "
            f"schedule, {optimizer.learning_rate!r}: give the optimizer a number"
        )
    return optimizer.learning_rate


def _set_rate(callback: Any, rate: float, epoch: int) -> None:
    callback.model.optimizer.learning_rate = rate
    if callback.verbose:
        print(f"Epoch {epoch + 1}: {type(callback).__name__} sets the learning rate to {rate}")

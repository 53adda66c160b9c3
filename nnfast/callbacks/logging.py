"""Callbacks that write the logs to a file or the terminal, or pass them to functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any

from nnfast._utils.checks import file_name, flag
from nnfast.callbacks.callback import Callback, Logs


class CSVLogger(Callback):
    """Write the logs of each epoch as one line of a CSV file.

    The columns are ``epoch`` and the logs in alphabetical order. If the first epoch has no
    validation, a column ``val_…`` is added for each log. A missing value is written as ``NA``, an
    array as ``[a, b, …]``.

    Parameters
    ----------
    filename : str or path-like
    separator : str, default ","
    append : bool, default False
        Append to an existing file and keep its columns, instead of overwriting it.

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
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator must be one character; received {separator!r}")
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
        """Return the column names of an existing file, or [] if it has no header."""
        import csv

        with open(path, newline="", encoding="utf-8") as file:
            head = next(csv.reader(file, delimiter=self.separator), [])
        return head[1:] if head[:1] == ["epoch"] else []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        import csv

        if self._file is None:
            raise RuntimeError(
                "CSVLogger has no open file: on_train_begin must be called before on_epoch_end"
            )
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


class ProgbarLogger(Callback):
    """Does nothing: `fit` shows its own progress, as `verbose` says, with this callback or without.

    Keras adds this callback to every fit that is not silent, and shows one progress display even if
    the callback is listed.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("sgd", "mse")
    >>> _ = model.fit([[1.0]], [1.0], verbose=0, callbacks=ProgbarLogger())
    """


class TerminateOnNaN(Callback):
    """Print a line or raise an error when the loss becomes NaN or infinite.

    Training ends at that batch even without this callback. The callback only replaces the
    warning, and costs nothing per batch.

    Parameters
    ----------
    raise_error : bool, default False
        Raise a RuntimeError instead of printing a line.

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
    """A callback whose methods are the given functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable, optional
        Called with (epoch, logs).
    on_train_begin, on_train_end : callable, optional
        Called with (logs).
    on_train_batch_begin, on_train_batch_end : callable, optional
        Called with (batch, logs); these make training run one step at a time.
    **others : callable
        Functions for other methods of `Callback`.

    Raises
    ------
    TypeError
        If a name in `others` is not a method of `Callback`.

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
            raise TypeError(f"LambdaCallback got {unknown[0]!r}, which is not a method of Callback")
        vars(self).update({name: f for name, f in methods.items() if f is not None})

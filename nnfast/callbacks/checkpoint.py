"""The callback that saves the model during training."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterator
from numbers import Real

from nnfast._utils.checks import epoch_or_batches, file_name, flag
from nnfast.callbacks.callback import Logs
from nnfast.callbacks.monitor import Monitor


class ModelCheckpoint(Monitor):
    """Save the model after every epoch, or after every `save_freq` batches.

    Training that was interrupted or killed can be resumed from the last file, with the same result
    as without the interruption: load the file, and call `fit` with the epoch number in the file
    name as `initial_epoch`. If the file was saved in the middle of an epoch, training resumes with
    the next epoch.

    Parameters
    ----------
    filepath : str or path-like
        Can contain placeholders for the epoch (from 1), the batch (from 1, if `save_freq` is a
        number) and the logs, as in ``"model-{epoch:02d}-{val_loss:.2f}.safetensors"``. Missing
        folders are created.
    monitor : str, default "val_loss"
        The key in the logs; only used with `save_best_only`.
    verbose : int, default 0
        Any value but 0 prints a message when the model is saved.
    save_best_only : bool, default False
        Save the model only if the monitored quantity has improved.
    save_weights_only : bool, default False
        Use `Sequential.save_weights` instead of `Sequential.save`.
    mode : {"auto", "min", "max"}, default "auto"
        Whether lower or higher values are better; "auto" uses the direction of the metric.
    save_freq : "epoch" or int, default "epoch"
        When to save: after every epoch, or after this number of batches. A number makes training
        run one step at a time.
    initial_value_threshold : float, optional
        With `save_best_only`, the value that the first saved model must improve on.

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
        self.save_freq: str | int = epoch_or_batches("save_freq", save_freq) or "epoch"
        self._epoch = 0
        self._batches = 0
        if self.save_freq != "epoch":
            # Set on the instance, because a method of the class would make training run one step
            # at a time even with save_freq="epoch".
            self.on_train_batch_end = self._on_batch  # type: ignore[method-assign]
        self._check_names()

    def _check_names(self) -> None:
        """Raise ValueError if `filepath` has placeholders that can never be filled in."""
        known: dict[str, int | float] = {"epoch": 1, "loss": 0.5, "val_loss": 0.5}
        if self.save_freq != "epoch":
            known["batch"] = 1
        try:
            for name, field in _fields(self.filepath):
                if name in known:
                    field.format(**known)
                elif name == "batch" or not name or name.isdigit():
                    raise ValueError(f"{field} names nothing that is available")
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            names = ", ".join(f"{{{name}}}" for name in known if name not in ("loss", "val_loss"))
            raise ValueError(
                f"filepath cannot be filled in: {error}. It can name {names} and what is logged, "
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
                f"filepath {self.filepath!r} contains {error}, but there are: {', '.join(names)}"
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


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each replacement field in a format string.

    Examples
    --------
    >>> list(_fields("m{epoch:02d}-{auc[0]!s:>{epoch}}"))
    [('epoch', '{epoch:02d}'), ('auc', '{auc[0]!s:>{epoch}}'), ('epoch', '{epoch}')]

    Raises
    ------
    ValueError
        If `text` is not a valid format string.
    """
    for _, field, form, conversion in string.Formatter().parse(text):
        if field is not None:
            convert = f"!{conversion}" if conversion else ""
            yield re.split(r"[.[]", field)[0], f"{{{field}{convert}{form and ':' + form}}}"
            yield from _fields(form or "")

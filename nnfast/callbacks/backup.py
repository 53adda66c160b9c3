"""The callback that lets interrupted training continue."""

from __future__ import annotations

import contextlib
import os

from nnfast._utils.checks import epoch_or_batches, file_name, flag
from nnfast.callbacks.callback import Callback, Logs
from nnfast.callbacks.protocol import WatchedModel


class BackupAndRestore(Callback):
    """Continue interrupted training with the epoch in which it was interrupted.

    After each epoch the weights, the optimizer's state and the position in the random streams are
    written to one file, which is replaced atomically. If a later `fit` finds this file, it restores
    the state and continues with the next epoch; the results are bit-identical to those of training
    without the interruption. Generators and other callbacks are not restored. With
    ``steps_per_epoch``, the next epoch starts a new pass over the rows.

    Parameters
    ----------
    backup_dir : str or path-like
        A folder that is used for nothing else; it is created if necessary.
    save_freq : "epoch" or int, default "epoch"
        When to save: after every epoch, or after this number of batches. A number makes training
        run one step at a time. The interrupted epoch is then repeated from its beginning, so the
        results differ from those without the interruption.
    double_checkpoint : bool, default False
        Keep the previous file, too, and use it if the last one is damaged.
    delete_checkpoint : bool, default True
        Delete the files when training has finished.

    Raises
    ------
    ValueError
        At the start of training, if the file does not fit the model or is damaged.

    Examples
    --------
    >>> import nnfast
    >>> def train(*callbacks):
    ...     nnfast.set_seed(0)
    ...     model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    ...     model.compile("sgd", "mse")
    ...     callbacks = [BackupAndRestore("backup"), *callbacks]
    ...     return model.fit([[1.0]], [1.0], epochs=5, verbose=0, callbacks=callbacks)
    >>> def interrupt(epoch, logs):
    ...     if epoch == 3:
    ...         raise KeyboardInterrupt
    >>> try:
    ...     _ = train(nnfast.callbacks.LambdaCallback(on_epoch_begin=interrupt))
    ... except KeyboardInterrupt:
    ...     train().epoch
    [3, 4]
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        self.backup_dir = file_name("backup_dir", backup_dir)
        if not self.backup_dir:
            raise ValueError("backup_dir must name a folder; received ''")
        self.save_freq: str | int = epoch_or_batches("save_freq", save_freq) or "epoch"
        self.double_checkpoint = flag("double_checkpoint", double_checkpoint)
        self.delete_checkpoint = flag("delete_checkpoint", delete_checkpoint)
        self._path = os.path.join(self.backup_dir, "latest.safetensors")
        self._previous = self._path + ".bkp"
        self._epoch = 0
        self._batches = 0
        if self.save_freq != "epoch":
            # Set on the instance, because a method of the class would make training run one step
            # at a time even with save_freq="epoch".
            self.on_train_batch_end = self._on_batch  # type: ignore[method-assign]

    def set_model(self, model: WatchedModel) -> None:
        if not hasattr(model, "load_state"):
            raise TypeError("BackupAndRestore restores models, not estimators")
        super().set_model(model)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._batches = 0
        try:
            self.params["initial_epoch"] = self.model.load_state(self._path)
        except (OSError, ValueError) as error:
            if os.path.exists(self._previous):
                self.params["initial_epoch"] = self.model.load_state(self._previous)
            elif not isinstance(error, FileNotFoundError):
                raise
        self._epoch = self.params["initial_epoch"]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch + 1
        if self.save_freq == "epoch":
            self._save()

    def _on_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches == self.save_freq:
            self._batches = 0
            self._save()

    def _save(self) -> None:
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint and os.path.exists(self._path):
            os.replace(self._path, self._previous)
        self.model.save_state(self._path, self._epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if not self.delete_checkpoint:
            return
        for path in (self._path, self._previous):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
        with contextlib.suppress(OSError):  # the folder holds other files, or does not exist
            os.rmdir(self.backup_dir)

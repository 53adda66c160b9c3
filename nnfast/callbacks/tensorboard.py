"""The callback that writes event files for TensorBoard."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import epoch_or_batches, file_name, flag, integer
from nnfast.callbacks.callback import Callback, Logs
from nnfast.callbacks.event_file import EventFile
from nnfast.callbacks.protocol import WatchedModel

# TensorBoard shows this number of images per weight.
_IMAGES = 3
# Seconds between two flushes of an event file during training.
_FLUSH_SECONDS = 1.0


class TensorBoard(Callback):
    """Write losses, metrics, weights and the architecture for TensorBoard.

    The files are in the folders ``train`` and ``validation`` of `log_dir` and have the same tags as
    those of Keras: ``epoch_loss``, ``epoch_learning_rate``, ``batch_loss``,
    ``evaluation_loss_vs_iterations`` and so on. Show them with ``tensorboard --logdir logs``.

    Parameters
    ----------
    log_dir : str or path-like, default "logs"
    histogram_freq : int, default 0
        Write histograms of the weights in every epoch whose number is a multiple of this, counted
        from 0; 0 means never.
    write_graph : bool, default True
        Write the architecture, which TensorBoard shows as a graph.
    write_images : bool, default False
        With the histograms, also write the weights as images. This needs Pillow.
    write_steps_per_second : bool, default False
        Write the number of optimizer steps per second.
    update_freq : "epoch", "batch" or int, default "epoch"
        A number n means that the loss and the metrics are also written after every n-th batch;
        "batch" means 1. Training then runs one batch at a time, which is slower.
    profile_batch : int, default 0
        Must be 0: there is no profiler.
    embeddings_freq : int, default 0
        Must be 0: embeddings are not written.
    embeddings_metadata : dict or str, optional
        Not used, because there are no embeddings.

    Raises
    ------
    ImportError
        At the start of training, if tensorboardX is not installed.

    Examples
    --------
    >>> import os, nnfast
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("sgd", "mse")
    >>> _ = model.fit([[1.0]], [1.0], verbose=0, callbacks=TensorBoard("logs"))
    >>> os.listdir("logs")
    ['train']
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        self.log_dir = file_name("log_dir", log_dir)
        self.histogram_freq = integer("histogram_freq", histogram_freq, minimum=0)
        self.write_graph = flag("write_graph", write_graph)
        self.write_images = flag("write_images", write_images)
        self.write_steps_per_second = flag("write_steps_per_second", write_steps_per_second)
        each = isinstance(update_freq, str) and update_freq == "batch"
        batches = 1 if each else epoch_or_batches("update_freq", update_freq)
        self.update_freq: str | int = batches or "epoch"
        if not isinstance(profile_batch, int) or profile_batch:
            raise ValueError(
                f"profile_batch must be 0, as there is no profiler; received {profile_batch!r}"
            )
        if not isinstance(embeddings_freq, int) or embeddings_freq:
            raise ValueError(
                "embeddings_freq must be 0, as embeddings are not written; received "
                f"{embeddings_freq!r}"
            )
        self.embeddings_freq = 0
        self.embeddings_metadata = embeddings_metadata
        self._files: dict[str, EventFile] = {}
        self._training = False
        self._batches = 0  # number of batches in this fit
        self._batch_began = self._epoch_began = 0.0
        self._steps_before = 0  # the model's optimizer steps when the epoch began
        if batches:
            # Set on the instance, because a method of the class would make training run one step
            # at a time even with update_freq="epoch".
            self.on_train_batch_begin = self._batch_begin  # type: ignore[method-assign]
            self.on_train_batch_end = self._batch_end  # type: ignore[method-assign]

    def set_model(self, model: WatchedModel) -> None:
        super().set_model(model)
        self._close()
        self._training = False
        to_json = getattr(model, "to_json", None)  # estimators do not have it
        if self.write_graph and to_json is not None:
            self._file("train").keras_model(to_json())

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._training = True
        self._batches = 0
        self._file("train")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_began = time.perf_counter()
        self._steps_before = self.model.iterations

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        train["learning_rate"] = self.model.optimizer.rates(self.model.iterations, 1)[0]
        if self.write_steps_per_second:
            steps = self.model.iterations - self._steps_before
            train["steps_per_second"] = steps / (time.perf_counter() - self._epoch_began)
        self._scalars("train", "epoch_{}", train, epoch)
        validation = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
        self._scalars("validation", "epoch_{}", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._log_weights(epoch)
        for file in self._files.values():
            file.flush(_FLUSH_SECONDS)

    def _batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        self._batch_began = time.perf_counter()

    def _batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._batches % int(self.update_freq):
            return
        values = dict(logs or {})
        if self.write_steps_per_second:
            values["steps_per_second"] = 1 / (time.perf_counter() - self._batch_began)
        self._scalars("train", "batch_{}", values, self._batches)

    def on_test_end(self, logs: Logs | None = None) -> None:
        tag = "evaluation_{}_vs_iterations"
        self._scalars("validation", tag, logs or {}, self.model.iterations)
        if not self._training:
            self._close()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._training = False
        self._close()

    def _file(self, folder: str) -> EventFile:
        """Return the event file in "train" or "validation", which is created on first use."""
        if folder not in self._files:
            self._files[folder] = EventFile(os.path.join(self.log_dir, folder))
        return self._files[folder]

    def _scalars(self, folder: str, tag: str, values: Logs, step: int) -> None:
        """Write values by name; ``{}`` in `tag` stands for the name."""
        for name, value in values.items():
            self._file(folder).scalar(tag.format(name), value, step)

    def _log_weights(self, epoch: int) -> None:
        """Write histograms, and images if they are asked for, of all weights."""
        file, model = self._file("train"), self.model
        for layer in getattr(model, "layers", ()):
            for name, weight in layer.named_weights.items():
                tag = f"{model.name}/{layer.name}/{name}"
                file.histogram(f"{tag}/histogram", weight, epoch)
                images = _as_images(weight) if self.write_images else None
                if images is not None:
                    file.images(f"{tag}/image", images[:_IMAGES], epoch)

    def _close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_files": {}}


def _as_images(weight: NDArray[Any]) -> NDArray[Any] | None:
    """Return a weight as images of shape (n, height, width, channels); None if it cannot be one.

    A vector is one column, a matrix is shown with its longer side horizontal, and an array with
    three axes has one image per last index.
    """
    image = np.squeeze(weight)
    if image.ndim <= 1:
        image = image.reshape(1, -1, 1, 1)
    elif image.ndim == 2:
        image = (image.T if image.shape[0] > image.shape[1] else image)[None, :, :, None]
    elif image.ndim == 3:
        image = image.transpose(2, 0, 1)[..., None]
    return image if image.ndim == 4 and image.shape[-1] in (1, 3, 4) else None

"""Policy of training: epochs, chunks, validation, callbacks, History, divergence.

The engine runs steps; this decides how many it is given at a time. A chunk ends at an epoch's
end while anybody looks at epochs (a callback, progress lines, validation, a metric);
otherwise it spans as many epochs as fit. The engine also returns every `CHUNK_SECONDS`, so
that Ctrl-C works. Where a chunk ends never changes a result.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import _engine
from nnfast._data.batches import Prepare, Stream
from nnfast._data.samples import Samples
from nnfast._runtime import progress
from nnfast._runtime.divergence import BEFORE, warn_diverged
from nnfast._runtime.evaluate import Evaluation, Running
from nnfast._runtime.progress import Progress
from nnfast._runtime.trainer import Program, Totals
from nnfast._utils.checks import warn
from nnfast.callbacks.callback import Logs
from nnfast.callbacks.callback_list import CallbackList
from nnfast.callbacks.history import History

CHUNK_SECONDS = 0.05
MAX_CHUNK_STEPS = 1 << 16


@dataclass(frozen=True)
class Options:
    """The checked arguments of `fit` that are not data."""

    epochs: int
    initial_epoch: int
    batch_size: int
    shuffle: bool
    verbose: int
    steps_per_epoch: int | None = None
    validation_freq: int | frozenset[int] = 1

    def validates(self, epoch: int) -> bool:
        """Return whether validation follows this epoch (counted from 0)."""
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq


class Fit:
    """One call of `fit`.

    Parameters
    ----------
    model : Sequential
        Told of by callbacks; its `stop_training` is read.
    program : Program
    train : Samples
    validation : Evaluation or None
    options : Options
    callbacks : CallbackList
    history : History
        Filled as epochs are completed.
    """

    def __init__(
        self,
        model: Any,
        program: Program,
        train: Samples | None,
        validation: Evaluation | None,
        options: Options,
        callbacks: CallbackList,
        history: History,
    ) -> None:
        self.model = model
        self.program = program
        self.engine = program.engine
        self.validation = validation
        self.options = options
        self.callbacks = callbacks
        self.history = history
        self.watched = bool(
            options.verbose
            or validation
            or options.steps_per_epoch
            or program.metrics
            or callbacks.per_epoch
            or callbacks.per_batch
        )
        self.progress = Progress()
        self.diverged_at: tuple[int, int] | None = None
        self.diverged_loss = np.nan
        self.diverged_what = "loss is"
        self.snapshot = _engine.Snapshot(program.engine)
        self._take(train)

    def _take(self, train: Samples | None) -> None:
        """Prepare the data for the engine."""
        assert train is not None
        self.train = train
        self.data = train.data()
        self.rows_of_pass = _rows_per_batch(len(train), self.options.batch_size)
        self.rows = self.rows_of_pass
        self.outputs = self.program.outputs(train)

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, None if that is not known."""
        return self.options.steps_per_epoch or len(self.rows_of_pass)

    @property
    def samples(self) -> int | None:
        """Rows of an epoch, None if that is not known."""
        return int(self.rows_of_pass[: self.steps].sum())

    def run(self) -> History:
        """Train; return the history."""
        options = self.options
        params = {
            "verbose": options.verbose,
            "epochs": options.epochs,
            "steps": self.steps,
        }
        self.callbacks.attach(self.model, params)
        self.history.set_model(self.model)
        self.history.set_params(params)
        self.model.stop_training = False
        self._next_epoch_of_the_streams()
        logs: Logs = {}
        epoch = options.initial_epoch
        self.callbacks.call("on_train_begin")
        extent = progress.Extent(epoch, options.epochs, self.steps, self.samples)
        self.progress = progress.make(options.verbose, extent)
        try:
            while epoch < options.epochs and not self.model.stop_training and self._ready(epoch):
                if self.watched:
                    logs = self._one_epoch(epoch)
                    epoch += 1
                else:
                    epoch += self._many_epochs(epoch, options.epochs - epoch)
                if self.diverged_at is not None:
                    break
        finally:
            self.progress.close()
            self._next_epoch_of_the_streams()
        back = self.diverged_at is not None and self._put_back()
        self.snapshot.release()
        if self.diverged_at is not None:
            epoch, batch = self.diverged_at
            self.callbacks.call("on_divergence", batch, logs={"loss": self.diverged_loss})
        else:
            self.model._claim()
            self.program.finish()
        self.callbacks.call("on_train_end", logs=logs)
        if self.diverged_at is not None and not self.model.stop_training:
            where = f"epoch {epoch + 1}/{options.epochs}, batch {batch + 1}"
            state = f"after step {self.snapshot.iterations}, the last known to be finite"
            warn_diverged(where, state if back else BEFORE, stacklevel=4, what=self.diverged_what)
        return self.history

    def _ready(self, epoch: int) -> bool:
        """Return whether there is data for another epoch.

        With `steps_per_epoch` an epoch goes on where the last one stopped, up to the end of
        the rows; the next one starts a new pass over them.
        """
        steps = self.options.steps_per_epoch
        if steps is not None:
            self.rows = self.rows_of_pass[self.engine.batch :][:steps]
            if len(self.rows) < steps:
                warn(
                    f"x ran out of data: it gave {len(self.rows)} of the {steps} batches of epoch "
                    f"{epoch + 1}"
                )
        return True

    def _next_epoch_of_the_streams(self) -> None:
        """Leave an epoch that was cut short: the next one starts at its first batch."""
        if self.engine.batch:
            self.engine.epoch += 1
            self.engine.batch = 0

    def _check_state(self, epoch: int, steps: int, loss: float) -> None:
        """End training after `epoch` if its last step has left what no later loss may tell.

        Callbacks may keep what they see, and of the last epoch no later one tells.
        """
        always = bool(self.callbacks.per_epoch) or epoch + 1 == self.options.epochs
        if self.diverged_at is None and self.snapshot.doubts(always):
            self.diverged_at, self.diverged_loss = (epoch, steps - 1), loss
            self.diverged_what = "weights or the optimizer's state are"

    def _put_back(self) -> bool:
        """Return to the last state that was finite unless the present one is; say whether."""
        back = self.snapshot.put_back()
        if back and self.snapshot.iterations == 0:
            self.program.optimizer.start(self.engine.slots)
        return back

    def _many_epochs(self, epoch: int, left: int) -> int:
        """Train epochs that nobody watches; return how many."""
        steps = len(self.rows)
        count = min(left, max(1, MAX_CHUNK_STEPS // steps))
        losses = np.empty(count * steps)
        before = self.engine.iterations
        try:
            self._advance(epoch, losses)
        finally:
            # From the engine's own count: an interrupt may have lost the return value of `run`.
            complete = (self.engine.iterations - before) // steps
            if complete:
                self.history.add_losses(epoch, self._means(losses[: complete * steps]))
        self._check_state(epoch + count - 1, steps, float(losses[-1]))
        return count

    def _one_epoch(self, epoch: int) -> Logs:
        """Train an epoch with all that belongs to it; return its logs."""
        started = time.perf_counter()
        self.callbacks.call("on_epoch_begin", epoch)
        before = self.engine.iterations
        logs = self._train_epoch(epoch)
        self._check_state(epoch, self.engine.iterations - before, logs.get("loss", np.nan))
        if self.diverged_at is not None:
            return {}
        if self.validation is not None and self.options.validates(epoch):
            values = self.validation.run()
            logs |= {f"val_{name}": value for name, value in values.items()}
        self.callbacks.call("on_epoch_end", epoch, logs=logs)
        self.history.on_epoch_end(epoch, logs)
        self.progress.epoch_end(epoch, logs, time.perf_counter() - started)
        return logs

    def _train_epoch(self, epoch: int) -> Logs:
        """Train an epoch; return its ``loss`` and metrics."""
        losses = np.empty(len(self.rows))
        looked_at = self.callbacks.per_batch or self.progress.live
        if self.outputs is not None and (looked_at or len(losses) < len(self.rows_of_pass)):
            self.outputs.fill(np.nan)
        if self.callbacks.per_batch:
            done = self._step_by_step(epoch, losses)
        else:
            done = self._advance(epoch, losses)
        return {} if self.diverged_at is not None else self._training_logs(losses[:done])

    def _advance(self, epoch: int, losses: NDArray[np.float64]) -> int:
        """Train ``len(losses)`` steps from the start of `epoch` on; return how many were done."""
        lr = self.program.optimizer.next_rates(self.engine, len(losses))
        done = 0
        while done < len(losses) and self.diverged_at is None:
            done += self._chunk(epoch, done, lr[done:], losses[done:])
            self._show(epoch, losses[:done])
        return done

    def _show(self, epoch: int, losses: NDArray[np.float64]) -> None:
        """Let the progress show an epoch in which ``len(losses)`` steps are done."""
        if self.progress.live and self.diverged_at is None:
            self.progress.update(
                epoch, len(losses), lambda metrics: self._training_logs(losses, metrics)
            )

    def _step_by_step(self, epoch: int, losses: NDArray[np.float64]) -> int:
        """Train one epoch with the callbacks of every batch; return the steps done."""
        running = Running(self.program)
        seen = np.zeros(len(self.train), bool)
        for step, rows in enumerate(self.rows.tolist()):
            self.callbacks.call("on_train_batch_begin", step)
            first = self.engine.batch * self.options.batch_size
            lr = self.program.optimizer.next_rates(self.engine, 1)
            self._chunk(epoch, step, lr, losses[step : step + 1])
            totals = self._totals(slice(first, first + rows), seen)
            running.add(rows, float(losses[step]), totals)
            self.callbacks.call("on_train_batch_end", step, logs=running.logs())
            self._show(epoch, losses[: step + 1])
            if self.model.stop_training or self.diverged_at is not None:
                break
        return step + 1

    def _totals(self, place: slice, seen: NDArray[np.bool_]) -> Iterable[Totals]:
        """Return what the metrics sum over the batch just trained.

        Parameters
        ----------
        place : slice
            Where its rows are if they are not shuffled.
        seen : ndarray of bool
            The rows of the batches before; where they are shuffled, this batch's are added.
        """
        if self.outputs is None or self.diverged_at is not None:
            return ()
        at: Any = place
        if self.options.shuffle:
            at = np.flatnonzero(_met(self.outputs) & ~seen)
            seen[at] = True
        return self.program.totals(self.train.part(at), self.outputs[at])

    def _chunk(
        self, epoch: int, first: int, lr: NDArray[np.float64], losses: NDArray[np.float64]
    ) -> int:
        """Run the engine once; `first` is the number of steps since the start of `epoch`."""
        self.model._claim()
        self.snapshot.take()
        status, done = self.engine.run(
            self.data,
            self.options.batch_size,
            self.options.shuffle,
            lr,
            losses,
            self.outputs,
            CHUNK_SECONDS,
        )
        if status == _engine.NONFINITE:
            epochs, batch = divmod(first + done - 1, len(self.rows))
            self.diverged_at = (epoch + epochs, batch)
            self.diverged_loss = float(losses[done - 1])
        return done

    def _means(self, losses: NDArray[np.float64]) -> list[float]:
        """Return Σ batch loss · (batch rows / rows) of each complete epoch."""
        by_epoch = losses.reshape(-1, len(self.rows))
        means: list[float] = (by_epoch * (self.rows / self.rows.sum())).sum(axis=1).tolist()
        return means

    def _training_logs(self, losses: NDArray[np.float64], metrics: bool = True) -> Logs:
        if len(losses) == len(self.rows):
            logs = {"loss": self._means(losses)[0]}
        else:
            rows = self.rows[: len(losses)]
            logs = {"loss": float((losses * (rows / rows.sum())).sum())}
        if metrics and self.outputs is not None:
            met: Any = slice(None)
            if len(losses) < len(self.rows_of_pass):
                met = np.flatnonzero(_met(self.outputs))
            logs |= self.program.measure(self.train.part(met), self.outputs[met])
        return logs


def _met(outputs: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows the epoch has met: the others still hold the NaN of its start."""
    met: NDArray[np.bool_] = ~np.isnan(outputs[:, 0])
    return met


def _rows_per_batch(rows: int, batch_size: int) -> NDArray[np.int64]:
    steps = -(-rows // batch_size)
    per_batch = np.full(steps, batch_size)
    per_batch[-1] = rows - batch_size * (steps - 1)
    return per_batch


class FitStream(Fit):
    """One call of `fit` on a stream of batches.

    Parameters
    ----------
    stream : Stream
        Its first epoch has begun.
    prepare : callable
        Checks a batch.
    **options
        The other arguments of `Fit`.
    """

    def __init__(self, stream: Stream, prepare: Prepare, **options: Any) -> None:
        self.stream = stream
        self.prepare = prepare
        super().__init__(train=None, **options)
        self.watched = True
        self.largest = 0  # rows of a batch so far: how a short last one is cut into chunks

    def _take(self, train: Samples | None) -> None:
        """There is nothing to prepare before the batches come."""

    @property
    def steps(self) -> int | None:
        return self.stream.length

    @property
    def samples(self) -> int | None:
        return None

    def _ready(self, epoch: int) -> bool:
        if self.stream.begin():
            return True
        self.stream.warn(f"training stops after {epoch} of {self.options.epochs} epochs")
        return False

    def _train_epoch(self, epoch: int) -> Logs:
        running = Running(self.program)
        start = self.engine.epoch
        try:
            for step, item in enumerate(self.stream):
                batch = self.prepare(item, f"batch {step + 1} of epoch {epoch + 1}")
                if self.callbacks.per_batch:
                    self.callbacks.call("on_train_batch_begin", step)
                self._step(epoch, step, batch, running)
                if self.callbacks.per_batch:
                    self.callbacks.call("on_train_batch_end", step, logs=running.logs())
                if self.diverged_at is not None or self.model.stop_training:
                    break
                self.progress.update(epoch, step + 1, running.logs)
        finally:
            self.engine.epoch = start + 1
        return running.logs()

    def _step(self, epoch: int, step: int, batch: Samples, running: Running) -> None:
        """Take one optimizer step; add its loss and metrics to `running`."""
        outputs = self.program.outputs(batch)
        lr, losses = self.program.optimizer.next_rates(self.engine, 1), np.empty(1)
        self.model._claim()
        self.snapshot.take()
        self.largest = max(self.largest, len(batch))
        status, _ = self.engine.run(
            batch.data(), self.largest, False, lr, losses, outputs, first_row=running.rows
        )
        loss = float(losses[0])
        if status == _engine.NONFINITE:
            self.diverged_at, self.diverged_loss = (epoch, step), loss
            outputs = None
        running.add(len(batch), loss, self.program.totals(batch, outputs))

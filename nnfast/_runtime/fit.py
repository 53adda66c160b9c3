"""The loop of `fit`: epochs, validation, callbacks, History, and the handling of divergence.

A run of steps ends with the epoch if something must happen there: a callback, a progress line,
validation or a metric. Otherwise, a run spans several epochs. The length of a run never affects
results. A stream that yields an array's batches in order gives results that are bit-identical to
those of the array.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast._data.batches import Stream
from nnfast._data.samples import Samples
from nnfast._engine import Hold
from nnfast._runtime import progress
from nnfast._runtime.divergence import BEFORE, Divergence, warn_diverged
from nnfast._runtime.evaluate import CheckBatch, EpochTotals, Evaluation, subset
from nnfast._runtime.steps import Steps
from nnfast._runtime.trainer import Floats, Outputs, Totals, Trainer
from nnfast._utils.checks import flag, frequency, integer, optional_integer, verbosity, warn
from nnfast.callbacks import CallbackList, History, Logs
from nnfast.callbacks.protocol import WatchedModel

# Maximum number of steps in a run of several epochs; it bounds the memory for the losses.
MAX_STEPS_PER_RUN = 1 << 16


class Options(NamedTuple):
    """The checked arguments of `fit` that are not data."""

    epochs: int
    initial_epoch: int
    shuffle: bool
    verbose: int
    steps_per_epoch: int | None = None
    validation_freq: int | frozenset[int] = 1

    @classmethod
    def checked(
        cls,
        epochs: object,
        initial_epoch: object,
        shuffle: object,
        verbose: object,
        steps_per_epoch: object,
        validation_freq: object,
    ) -> Options:
        """Return the checked arguments of `fit`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as documented in `fit`.
        """
        return cls(
            epochs=integer("epochs", epochs, minimum=0),
            initial_epoch=integer("initial_epoch", initial_epoch, minimum=0),
            shuffle=flag("shuffle", shuffle),
            verbose=verbosity(verbose),
            steps_per_epoch=optional_integer("steps_per_epoch", steps_per_epoch),
            validation_freq=frequency("validation_freq", validation_freq),
        )

    def validates(self, epoch: int) -> bool:
        """Return whether validation follows this epoch (counted from 0)."""
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq


class FitContext(NamedTuple):
    """Everything that `fit` needs except the training data.

    Attributes
    ----------
    model : WatchedModel
        The model that callbacks see; setting its `stop_training` ends training.
    trainer : Trainer
    options : Options
    callbacks : CallbackList
        Completed epochs are added to its history.
    validation : Evaluation or None
    """

    model: WatchedModel
    trainer: Trainer
    options: Options
    callbacks: CallbackList
    validation: Evaluation | None


class FitLoop(ABC):
    """One call of `fit`, independent of the source of the batches."""

    def __init__(self, context: FitContext) -> None:
        self.model = context.model
        self.trainer = context.trainer
        self.options = context.options
        self.callbacks = context.callbacks
        self.history = context.callbacks.history
        self.validation = context.validation
        self.progress = progress.Progress()
        self.steps = Steps(context.trainer)
        self.divergence: Divergence | None = None

    # ---- the interface to a source of batches ----------------------------------------------------

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int | None:
        """Batches per epoch, None if unknown."""

    @property
    @abstractmethod
    def rows_per_epoch(self) -> int | None:
        """Rows per epoch, None if unknown."""

    @abstractmethod
    def _ready(self, epoch: int) -> bool:
        """Return whether there are batches for another epoch."""

    @abstractmethod
    def _train_epoch(self, epoch: int) -> Logs:
        """Train for one epoch; return its ``loss`` and metrics."""

    def _train_epochs(self, epoch: int) -> tuple[int, Logs]:
        """Train for one or more epochs; return the next epoch and the logs of the last one."""
        return epoch + 1, self._one_epoch(epoch)

    # ---- the loop --------------------------------------------------------------------------------

    def run(self) -> History:
        """Train; return the history."""
        with Hold(self.trainer.engine.changed):
            return self._run()

    def _run(self) -> History:
        epoch = self._begin()
        logs: Logs = {}
        try:
            while self._goes_on(epoch) and self._ready(epoch):
                epoch, logs = self._train_epochs(epoch)
        finally:
            self.progress.close()
            self.trainer.network.next_epoch()
        self._end(logs)
        return self.history

    def _begin(self) -> int:
        """Notify the callbacks and start the progress display; return the first epoch.

        A callback that restores an earlier state sets ``params["initial_epoch"]`` to its epoch.
        """
        options = self.options
        params = {
            "verbose": options.verbose,
            "epochs": options.epochs,
            "steps": self.steps_per_epoch,
            "initial_epoch": options.initial_epoch,
        }
        self.callbacks.attach(self.model, params)
        self.history.set_model(self.model)
        self.history.set_params(params)
        self.model.stop_training = False
        self.trainer.network.next_epoch()
        self.callbacks.call("on_train_begin")
        first = integer("params['initial_epoch']", params["initial_epoch"], minimum=0)
        if options.verbose:
            extent = progress.Extent(
                first, options.epochs, self.steps_per_epoch, self.rows_per_epoch
            )
            self.progress = progress.make(options.verbose, extent)
        return first

    def _goes_on(self, epoch: int) -> bool:
        ended = self.model.stop_training or self.divergence is not None
        return epoch < self.options.epochs and not ended

    def _one_epoch(self, epoch: int) -> Logs:
        """Train for one epoch, with its callbacks and validation; return its logs."""
        started = time.perf_counter()
        self.callbacks.call("on_epoch_begin", epoch)
        before = self.steps.taken
        logs = self._train_epoch(epoch)
        self._check_state(epoch, self.steps.taken - before, logs.get("loss", np.nan))
        if self.divergence is not None:
            return {}
        if self.validation is not None and self.options.validates(epoch):
            values = self.validation.run()
            logs |= {f"val_{name}": value for name, value in values.items()}
        self.callbacks.call("on_epoch_end", epoch, logs=logs)
        self.history.on_epoch_end(epoch, logs)
        self.progress.epoch_end(epoch, logs, time.perf_counter() - started)
        return logs

    def _check_state(self, epoch: int, steps: int, loss: float) -> None:
        """End training after `epoch` if weights or optimizer slots are not finite.

        Usually, the loss of a later step reveals this. The check is forced where that would be too
        late: before a callback that may save the weights, and after the last epoch.
        """
        always = bool(self.callbacks.per_epoch) or epoch + 1 == self.options.epochs
        if self.divergence is None and self.steps.is_suspect(always):
            what = "weights or the optimizer's state are"
            self.divergence = Divergence(epoch, steps - 1, loss, what)

    def _end(self, logs: Logs) -> None:
        """Finish training; if it has diverged, restore the last finite state and warn."""
        divergence = self.divergence
        restored = divergence is not None and self.steps.restore()
        self.steps.release()
        if divergence is not None:
            self.callbacks.call("on_divergence", divergence.batch, logs={"loss": divergence.loss})
        else:
            self.trainer.follow_trainable()
            self.trainer.network.finish()
        self.callbacks.call("on_train_end", logs=logs)
        if divergence is not None and not self.model.stop_training:
            where = (
                f"epoch {divergence.epoch + 1}/{self.options.epochs}, batch {divergence.batch + 1}"
            )
            state = f"after step {self.steps.restored}, the last known to be finite"
            warn_diverged(where, state if restored else BEFORE, divergence.what)


class ArrayFit(FitLoop):
    """A fit on arrays: the engine runs many steps per call.

    With `steps_per_epoch`, an epoch continues where the last one stopped and ends at the last row
    at the latest. The next epoch then starts a new pass over the rows.
    """

    def __init__(self, samples: Samples, batch_size: int, context: FitContext) -> None:
        super().__init__(context)
        self.samples = samples
        self.batch_size = batch_size
        self.data = samples.data()
        self.steps.sizes = samples.sizes
        self.rows_of_pass = _rows_per_batch(len(samples), batch_size)
        self.rows = self.rows_of_pass  # number of rows in each batch of the current epoch
        self.outputs = self.trainer.outputs(samples)
        self.watched = bool(
            self.options.verbose
            or self.validation
            or self.options.steps_per_epoch
            or self.trainer.metrics
            or self.callbacks.per_epoch
            or self.callbacks.per_batch
        )

    @property
    def steps_per_epoch(self) -> int:
        return self.options.steps_per_epoch or len(self.rows_of_pass)

    @property
    def rows_per_epoch(self) -> int:
        return min(len(self.samples), self.steps_per_epoch * self.batch_size)

    def _ready(self, epoch: int) -> bool:
        steps = self.options.steps_per_epoch
        if steps is not None:
            self.rows = self.rows_of_pass[self.steps.engine.batch :][:steps]
            if len(self.rows) < steps:
                warn(
                    f"x ran out of data: it gave {len(self.rows)} of the {steps} batches of epoch "
                    f"{epoch + 1}"
                )
        return True

    def _train_epochs(self, epoch: int) -> tuple[int, Logs]:
        if self.watched:
            return super()._train_epochs(epoch)
        return epoch + self._many_epochs(epoch, self.options.epochs - epoch), {}

    def _many_epochs(self, epoch: int, left: int) -> int:
        """Train for several epochs without callbacks or validation; return their number."""
        steps = len(self.rows)
        count = min(left, max(1, MAX_STEPS_PER_RUN // steps))
        losses = np.empty((count * steps, self.trainer.n_losses))
        before = self.steps.taken
        try:
            self._take_steps(epoch, losses)
        finally:
            # The engine's own count is used, because an interrupt may lose a run's return value.
            complete = (self.steps.taken - before) // steps
            if complete:
                columns = self.trainer.loss_columns
                means = {k: self._means(losses[: complete * steps, c]) for k, c in columns.items()}
                self.history.add_losses(epoch, means)
        self._check_state(epoch + count - 1, steps, float(losses[-1, 0]))
        return count

    def _train_epoch(self, epoch: int) -> Logs:
        losses = np.empty((len(self.rows), self.trainer.n_losses))
        shown = self.callbacks.per_batch or self.progress.live
        if self.outputs is not None and (shown or len(losses) < len(self.rows_of_pass)):
            self.outputs[0].fill(np.nan)
        if self.callbacks.per_batch:
            done = self._step_by_step(epoch, losses)
        else:
            done = self._take_steps(epoch, losses)
        return {} if self.divergence is not None else self._logs(losses[:done])

    def _take_steps(self, epoch: int, losses: Floats) -> int:
        """Take up to ``len(losses)`` steps from the start of `epoch`; return their number."""

        def show(done: int) -> None:
            self._show(epoch, losses[:done])

        shuffle = self.options.shuffle
        done = self.steps.take(self.data, self.batch_size, shuffle, losses, self.outputs, show)
        self._note_divergence(epoch, done, losses)
        return done

    def _step_by_step(self, epoch: int, losses: Floats) -> int:
        """Train for one epoch, calling batch callbacks; return the number of steps taken."""
        totals = EpochTotals(self.trainer)
        seen = np.zeros(len(self.samples), bool)
        step = -1
        for step, rows in enumerate(self.rows.tolist()):
            self.callbacks.call("on_train_batch_begin", step)
            first = self.steps.engine.batch * self.batch_size
            own = losses[step : step + 1]
            self.steps.take(self.data, self.batch_size, self.options.shuffle, own, self.outputs)
            self._note_divergence(epoch, step + 1, losses)
            found = self._totals(slice(first, first + rows), seen)
            totals.add(rows, losses[step].tolist(), found)
            self.callbacks.call("on_train_batch_end", step, logs=totals.logs())
            self._show(epoch, losses[: step + 1])
            if self.model.stop_training or self.divergence is not None:
                break
        return step + 1

    def _note_divergence(self, epoch: int, done: int, losses: Floats) -> None:
        """Record where training diverged, if it did, in the `done` steps since `epoch` began."""
        if not self.steps.finite:
            epochs, batch = divmod(done - 1, len(self.rows))
            self.divergence = Divergence(epoch + epochs, batch, float(losses[done - 1, 0]))

    def _totals(self, batch: slice, seen: NDArray[np.bool_]) -> Iterable[Totals]:
        """Return the totals of the metrics over the batch just trained.

        Parameters
        ----------
        batch : slice
            The rows of the batch, if rows are not shuffled.
        seen : ndarray of bool
            Marks the rows of earlier batches. If rows are shuffled, this batch's rows are added.
        """
        if self.outputs is None or self.divergence is not None:
            return ()
        rows: Any = batch
        if self.options.shuffle:
            rows = np.flatnonzero(_has_output(self.outputs) & ~seen)
            seen[rows] = True
        return self.trainer.totals(self.samples.subset(rows), subset(self.outputs, rows))

    def _show(self, epoch: int, losses: Floats) -> None:
        """Update the progress display after ``len(losses)`` steps of an epoch."""
        if self.progress.live and self.steps.finite:
            self.progress.update(epoch, len(losses), lambda metrics: self._logs(losses, metrics))

    def _means(self, losses: Floats) -> list[float]:
        """Return each complete epoch's mean of one loss, Σ batch loss · (batch rows / rows)."""
        by_epoch = losses.reshape(-1, len(self.rows))
        means: list[float] = (by_epoch * (self.rows / self.rows.sum())).sum(axis=1).tolist()
        return means

    def _logs(self, losses: Floats, metrics: bool = True) -> Logs:
        """Return the losses and metrics of the steps taken in the current epoch."""
        if len(losses) == len(self.rows):
            logs = self.trainer.loss_logs([self._means(column)[0] for column in losses.T])
        else:
            rows = self.rows[: len(losses)]
            shares = rows / rows.sum()
            logs = self.trainer.loss_logs([float((column * shares).sum()) for column in losses.T])
        if metrics and self.outputs is not None:
            done: Any = slice(None)
            if len(losses) < len(self.rows_of_pass):
                done = np.flatnonzero(_has_output(self.outputs))
            logs |= self.trainer.metric_values(
                self.samples.subset(done), subset(self.outputs, done)
            )
        return logs


class StreamFit(FitLoop):
    """A fit on a stream of batches: the engine runs one step per call.

    This class therefore accumulates the loss and metrics of an epoch, and counts its rows to
    determine the position in the random streams.
    """

    def __init__(self, stream: Stream, check: CheckBatch, context: FitContext) -> None:
        super().__init__(context)
        self.stream = stream
        self.check = check
        self.largest = 0  # number of rows in the largest batch so far

    @property
    def steps_per_epoch(self) -> int | None:
        return self.stream.length

    @property
    def rows_per_epoch(self) -> None:
        return None

    def _begin(self) -> int:
        network = self.trainer.network
        before = network.seed, network.engine.epoch
        first = super()._begin()
        if (network.seed, network.engine.epoch) != before:
            self.stream.restart()  # the order of its batches depends on both
        return first

    def _ready(self, epoch: int) -> bool:
        if self.stream.begin():
            return True
        self.stream.warn(f"training stops after {epoch} of {self.options.epochs} epochs")
        return False

    def _train_epoch(self, epoch: int) -> Logs:
        totals = EpochTotals(self.trainer)
        start = self.steps.engine.epoch
        try:
            for step, item in enumerate(self.stream):
                batch = self.check(item, f"batch {step + 1} of epoch {epoch + 1}")
                if self.callbacks.per_batch:
                    self.callbacks.call("on_train_batch_begin", step)
                self._step(epoch, step, batch, totals)
                if self.callbacks.per_batch:
                    self.callbacks.call("on_train_batch_end", step, logs=totals.logs())
                if self.divergence is not None or self.model.stop_training:
                    break
                self.progress.update(epoch, step + 1, totals.logs)
        finally:
            self.steps.engine.epoch = start + 1
        return totals.logs()

    def _step(self, epoch: int, step: int, batch: Samples, totals: EpochTotals) -> None:
        """Take one optimizer step; add its loss and metrics to `totals`."""
        outputs = self.trainer.outputs(batch)
        self.largest = max(self.largest, len(batch))
        losses = self.steps.take_one(batch, self.largest, totals.rows, outputs)
        if not self.steps.finite:
            self.divergence = Divergence(epoch, step, losses[0])
            outputs = None
        totals.add(len(batch), losses, self.trainer.totals(batch, outputs))


def _has_output(outputs: Outputs) -> NDArray[np.bool_]:
    """Return a mask of the rows processed in this epoch; outputs of other rows are still NaN."""
    has_output: NDArray[np.bool_] = ~np.isnan(outputs[0][:, 0])
    return has_output


def _rows_per_batch(rows: int, batch_size: int) -> NDArray[np.int64]:
    steps = -(-rows // batch_size)
    per_batch = np.full(steps, batch_size)
    per_batch[-1] = rows - batch_size * (steps - 1)
    return per_batch

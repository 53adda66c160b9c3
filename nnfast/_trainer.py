"""Policy of training: epochs, chunks, validation, callbacks, History, divergence.

The engine runs steps; this decides how many it is given at a time. A chunk ends at an epoch's
end while anybody looks at epochs (a callback, progress lines, validation, a metric);
otherwise it spans as many epochs as fit. The engine also returns every `CHUNK_SECONDS`, so
that Ctrl-C works. Where a chunk ends never changes a result.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnfast import _engine, _progress
from nnfast._callback import CallbackList, History, Logs
from nnfast._engine import ACTIVATIONS
from nnfast._metric import Metric, quiet
from nnfast._plan import Plan
from nnfast._progress import Progress
from nnfast._validation import Samples, warn
from nnfast.losses import FunctionLoss, Loss
from nnfast.metrics import BUILT_IN, resolve_all
from nnfast.optimizers import Optimizer

if TYPE_CHECKING:
    from nnfast.models import Sequential

CHUNK_SECONDS = 0.05
MAX_CHUNK_STEPS = 1 << 16

# What the weights are after a batch whose loss is not finite.
BEFORE = "before that batch"

# A metric's key in History and its sums over rows.
Totals = tuple[str, NDArray[np.float64]]


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


@dataclass
class Program:
    """What a built and compiled model runs.

    Attributes
    ----------
    plan : Plan
    engine : nnfast._engine.Engine
    optimizer : Optimizer
        Its learning rate is read before every chunk.
    loss : Loss or None
    metrics : dict of str to Metric
        By their keys in History.
    weighted : frozenset of str
        The keys of metrics that sample weights enter.
    dtype : numpy.dtype
    version : int
        Of the engine. Another thread may compile while data are prepared: then it is another.
    """

    plan: Plan
    engine: _engine.Engine
    optimizer: Optimizer
    loss: Loss | None
    metrics: Mapping[str, Metric]
    weighted: frozenset[str]
    dtype: np.dtype[Any]
    version: int

    @classmethod
    def make(
        cls,
        plan: Plan,
        engine: _engine.Engine,
        optimizer: Optimizer,
        loss: Loss | None,
        entries: Sequence[str | Metric],
        weighted_entries: Sequence[str | Metric] = (),
    ) -> Program:
        """Configure the engine, with the optimizer in its initial state.

        Raises
        ------
        ValueError
            If the loss or a metric does not fit the plan's output; the engine is as before.
        MemoryError
            The engine is as before, too.
        """
        known = loss or Loss()
        if known.rowwise and len(plan.output_shape) != 1:
            raise ValueError(
                f"{type(loss).__name__} needs outputs of shape (n, classes); the model gives "
                f"samples of shape {plan.output_shape}"
            )
        metrics, weighted = resolve_all(entries, weighted_entries, known, plan.output_shape)
        if len(known.levels) not in (1, plan.n_out):
            raise ValueError(
                f"{loss!r} has {len(known.levels)} levels, so the model must have as many outputs; "
                f"it has {plan.n_out}"
            )
        _warn_of_one_class(plan, known)
        # What may fail comes first: the loss is set when nothing can go wrong any more.
        function = loss.for_engine(plan.output_shape) if isinstance(loss, FunctionLoss) else None
        levels, smoothing = engine.new_levels(known.levels), known.smoothing(plan.n_out)
        optimizer.configure(engine)
        if loss is not None:
            engine.set_loss(*loss.engine_loss(plan.final_activation), levels, *smoothing, function)
        dtype = engine.params.dtype
        return cls(plan, engine, optimizer, loss, metrics, weighted, dtype, engine.version)

    def finish(self) -> None:
        """End training: a moving average replaces the weights."""
        engine, plan = self.engine, self.plan
        if engine.has_average and engine.iterations:
            averages = plan.trained_views(engine.slots[-1])
            for view, average in zip(plan.trained_views(engine.params), averages, strict=True):
                view[...] = average

    def outputs(self, samples: Samples) -> NDArray[Any] | None:
        """Return a buffer for the predictions of every row, if a metric needs them."""
        if not self.metrics:
            return None
        return np.empty((len(samples), self.plan.n_out), self.dtype)

    def measure(self, samples: Samples, outputs: NDArray[Any] | None) -> Logs:
        """Return every metric."""
        return {name: self.metrics[name].value(t) for name, t in self.totals(samples, outputs)}

    def totals(self, samples: Samples, outputs: NDArray[Any] | None) -> Iterator[Totals]:
        """Yield the key of every metric and its sums over rows."""
        if outputs is not None:
            for name, metric in self.metrics.items():
                weight = samples.weight if name in self.weighted else None
                y = samples.y
                if samples.for_function:
                    y = metric.fitted(y, self.plan.n_out)
                if type(metric) in BUILT_IN:
                    yield name, metric.totals(y, outputs, weight)
                else:  # a user-defined class may modify its arguments in place
                    own = None if weight is None else weight.copy()
                    yield name, metric.totals(y.copy(), outputs.copy(), own)

    def evaluate(self, samples: Samples) -> Logs:
        """Return ``loss`` and every metric on `samples`, in inference mode."""
        outputs = self.outputs(samples)
        return {"loss": self.mean_loss(samples, outputs)} | self.measure(samples, outputs)

    def mean_loss(self, samples: Samples, outputs: NDArray[Any] | None) -> float:
        """Return the loss in inference mode; the predictions go to `outputs`."""
        if isinstance(self.loss, FunctionLoss):
            return self.function_loss(samples, outputs)[0]
        return self.engine.evaluate(samples.data(), outputs, version=self.version)

    def function_loss(
        self, samples: Samples, outputs: NDArray[Any] | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Return a loss that is a function, and its gradient with respect to the outputs, flat.

        The function is given copies, as in training: it may work in place.
        """
        assert isinstance(self.loss, FunctionLoss)
        n = len(samples)
        y_pred = np.empty((n, self.plan.n_out), self.dtype)
        data = samples.data()
        penalties = self.engine.evaluate(data, y_pred, penalties=True, version=self.version)
        if outputs is not None:
            outputs[:] = y_pred
        y_pred = y_pred.reshape(n, *self.plan.output_shape)
        values, gradient = self.loss.rows(samples.y.copy(), y_pred, samples.weight)
        gradient = np.ascontiguousarray(gradient.reshape(n, -1), self.dtype)
        return float(values.mean()) + penalties, gradient


def _warn_of_one_class(plan: Plan, loss: Loss) -> None:
    """Warn of what is the same whatever the weights are: nothing is learned then."""
    if any(op["activation"] == ACTIVATIONS["softmax"] and op["n_out"] == 1 for op in plan.ops):
        warn(
            "softmax over one output is always 1, so nothing before it is learned; did you mean "
            "sigmoid?"
        )
    if loss.rowwise and plan.n_out == 1:
        warn(
            f"{type(loss).__name__} of one output is always 0, so nothing is learned: give the "
            "model an output for each class, or one with sigmoid and binary_crossentropy"
        )


class Running:
    """The loss and the metrics of the batches so far."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.rows = 0
        self.total = 0.0
        self.sums: dict[str, NDArray[np.float64]] = {}

    def add(self, rows: int, loss: float, totals: Iterable[Totals]) -> None:
        """Take a batch: its number of rows, its loss, and what its metrics sum."""
        self.rows += rows
        self.total += loss * rows
        # User-defined metrics run first, outside of `quiet`, so that their warnings are shown.
        found = dict(totals)
        if found and self.sums:
            metrics = self.program.metrics
            with quiet():
                found = {key: metrics[key].merge(self.sums[key], own) for key, own in found.items()}
        self.sums |= found

    def logs(self, metrics: bool = True) -> Logs:
        """Return ``loss``, Σ batch loss · batch rows / rows, and every metric."""
        logs: Logs = {"loss": self.total / self.rows}
        if metrics:
            logs |= {name: self.program.metrics[name].value(t) for name, t in self.sums.items()}
        return logs


class Evaluation:
    """One call of `evaluate`, or the validations of one `fit`.

    Parameters
    ----------
    model : Sequential
        Told of by callbacks; its `stop_evaluating` is read.
    program : Program
    callbacks : CallbackList
    samples : Samples
    batch_size : int
        Rows of the batches that callbacks see; without such callbacks all rows are one batch.
    """

    def __init__(
        self,
        model: Sequential,
        program: Program,
        callbacks: CallbackList,
        samples: Samples | None,
        batch_size: int,
    ) -> None:
        self.model = model
        self.program = program
        self.callbacks = callbacks
        self.samples = samples
        self.batch_size = batch_size

    @property
    def steps(self) -> int | None:
        """Batches, None if that is not known."""
        assert self.samples is not None
        return -(-len(self.samples) // self.batch_size)

    def run(self) -> Logs:
        """Return ``loss`` and every metric, in inference mode."""
        self.model.stop_evaluating = False
        self.callbacks.call("on_test_begin")
        self.model._pull()
        logs = self._measure()
        self.callbacks.call("on_test_end", logs=logs)
        return logs

    def _measure(self) -> Logs:
        assert self.samples is not None
        if not self.callbacks.per_test_batch:
            return self.program.evaluate(self.samples)
        samples, outputs = self.samples, self.program.outputs(self.samples)
        running = self._by_batches(
            (samples.part(place), None if outputs is None else outputs[place])
            for place in samples.places(self.batch_size)
        )
        # Of all rows at once, which for the caller's own functions is not the mean over batches:
        # callbacks that look on do not change what comes out.
        done = slice(running.rows)
        whole = self.program.measure(samples.part(done), None if outputs is None else outputs[done])
        return running.logs(metrics=False) | whole

    def _by_batches(self, batches: Iterable[tuple[Samples, NDArray[Any] | None]]) -> Running:
        """Measure batches, each with the place for its outputs if a metric needs them."""
        running = Running(self.program)
        for step, (batch, outputs) in enumerate(batches):
            if self.callbacks.per_test_batch:
                self.callbacks.call("on_test_batch_begin", step)
            loss = self.program.mean_loss(batch, outputs)
            running.add(len(batch), loss, self.program.totals(batch, outputs))
            if self.callbacks.per_test_batch:
                self.callbacks.call("on_test_batch_end", step, logs=running.logs())
            if self.model.stop_evaluating:
                break
        return running


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
        model: Sequential,
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
        extent = _progress.Extent(epoch, options.epochs, self.steps, self.samples)
        self.progress = _progress.make(options.verbose, extent)
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


def warn_diverged(where: str, state: str, stacklevel: int, what: str = "loss is") -> None:
    """Say where training stopped, why that happens, and what the weights are now."""
    warnings.warn(
        f"Training stopped in {where}: the {what} not finite. Likely causes: a learning rate "
        "that is too large, inputs that are not scaled, NaN or infinite values in x or y, or "
        f"targets outside the loss's domain. The weights and the optimizer are as {state}",
        RuntimeWarning,
        stacklevel=stacklevel,
    )


def _rows_per_batch(rows: int, batch_size: int) -> NDArray[np.int64]:
    steps = -(-rows // batch_size)
    per_batch = np.full(steps, batch_size)
    per_batch[-1] = rows - batch_size * (steps - 1)
    return per_batch

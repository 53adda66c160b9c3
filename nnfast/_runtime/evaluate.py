"""Evaluation of the loss and metrics in inference mode, on arrays and on streams of batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from nnfast._data.batches import Stream
from nnfast._data.samples import Samples
from nnfast._runtime.trainer import Floats, Outputs, Totals, Trainer
from nnfast.callbacks import CallbackList, Logs
from nnfast.callbacks.protocol import WatchedModel
from nnfast.metrics.metric import quiet

# Checks a batch of a stream; the string names it in messages.
CheckBatch = Callable[[object, str], Samples]
# A batch, and buffers for its outputs if a metric needs them.
BatchOutputs = tuple[Samples, Outputs | None]


class EpochTotals:
    """The losses and metrics of the batches of an epoch so far."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.rows = 0
        self.total = [0.0] * trainer.n_losses
        self.sums: dict[str, Floats] = {}

    def add(self, rows: int, losses: Sequence[float], totals: Iterable[Totals]) -> None:
        """Add a batch's number of rows, losses and metric totals."""
        self.rows += rows
        for k, loss in enumerate(losses):
            self.total[k] += loss * rows
        # User-defined metrics run here, outside `quiet`, so that their warnings are shown.
        found = dict(totals)
        if found and self.sums:
            metrics = self.trainer.metrics
            with quiet():
                found = {key: metrics[key].merge(self.sums[key], own) for key, own in found.items()}
        self.sums |= found

    def logs(self, metrics: bool = True) -> Logs:
        """Return the losses, means over rows Σ batch loss · batch rows / rows, and all metrics."""
        logs = self.trainer.loss_logs([total / self.rows for total in self.total])
        if metrics:
            logs |= {name: self.trainer.metrics[name].value(t) for name, t in self.sums.items()}
        return logs


class Evaluation(ABC):
    """One call of `evaluate`, or the validations of one `fit`.

    Parameters
    ----------
    model : WatchedModel
        The model that callbacks see; setting its `stop_evaluating` ends the run.
    trainer : Trainer
    callbacks : CallbackList
    """

    def __init__(self, model: WatchedModel, trainer: Trainer, callbacks: CallbackList) -> None:
        self.model = model
        self.trainer = trainer
        self.callbacks = callbacks

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """The number of batches, None if unknown."""

    def run(self) -> Logs:
        """Return the losses and every metric; call the callbacks."""
        self.model.stop_evaluating = False
        self.callbacks.call("on_test_begin")
        logs = self._evaluate()
        self.callbacks.call("on_test_end", logs=logs)
        return logs

    @abstractmethod
    def _evaluate(self) -> Logs:
        """Return the losses and every metric; call only batch callbacks."""

    def _by_batches(self, batches: Iterable[BatchOutputs]) -> EpochTotals:
        """Return the totals over batches; call batch callbacks."""
        totals = EpochTotals(self.trainer)
        for step, (batch, outputs) in enumerate(batches):
            if self.callbacks.per_test_batch:
                self.callbacks.call("on_test_batch_begin", step)
            losses = self.trainer.mean_losses(batch, outputs, totals.rows)
            totals.add(len(batch), losses, self.trainer.totals(batch, outputs))
            if self.callbacks.per_test_batch:
                self.callbacks.call("on_test_batch_end", step, logs=totals.logs())
            if self.model.stop_evaluating:
                break
        return totals


class ArrayEvaluation(Evaluation):
    """An evaluation on arrays.

    Parameters
    ----------
    samples : Samples
    batch_size : int
        Rows per batch for batch callbacks. Without batch callbacks, all rows form one batch.
    model, trainer, callbacks
        As in `Evaluation`.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        model: WatchedModel,
        trainer: Trainer,
        callbacks: CallbackList,
    ) -> None:
        super().__init__(model, trainer, callbacks)
        self.samples = samples
        self.batch_size = batch_size

    @property
    def steps(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def _evaluate(self) -> Logs:
        samples, trainer = self.samples, self.trainer
        if not (self.callbacks.per_test_batch or trainer.by_batch):
            return trainer.evaluate(samples)
        outputs = trainer.outputs(samples)
        totals = self._by_batches(
            (samples.subset(rows), subset(outputs, rows))
            for rows in samples.batch_slices(self.batch_size)
        )
        # Compute the metrics over all rows at once. A user-defined metric may differ from its mean
        # over batches, and the presence of callbacks must not change the result.
        done = slice(totals.rows)
        metrics = trainer.metric_values(samples.subset(done), subset(outputs, done))
        return totals.logs(metrics=False) | metrics


class StreamEvaluation(Evaluation):
    """An evaluation on a stream of batches.

    Parameters
    ----------
    stream : Stream
        A stream whose first epoch has begun.
    check : callable
    model, trainer, callbacks
        As in `Evaluation`.
    """

    def __init__(
        self,
        stream: Stream,
        check: CheckBatch,
        model: WatchedModel,
        trainer: Trainer,
        callbacks: CallbackList,
    ) -> None:
        super().__init__(model, trainer, callbacks)
        self.stream = stream
        self.check = check

    @property
    def steps(self) -> int | None:
        return self.stream.length

    def _evaluate(self) -> Logs:
        """Return the losses and every metric over the stream's next epoch; {} if it has ended."""
        if not self.stream.begin():
            self.stream.warn("there is nothing left to evaluate")
            return {}
        logs = self._by_batches(self._batches()).logs()
        if self.model.stop_evaluating:
            self.stream.leave()
        return logs

    def _batches(self) -> Iterator[BatchOutputs]:
        for step, item in enumerate(self.stream):
            batch = self.check(item, f"batch {step + 1} of {self.stream.what}")
            yield batch, self.trainer.outputs(batch)


def subset(outputs: Outputs | None, rows: Any) -> Outputs | None:
    """Return some rows of the outputs: views if `rows` is a slice, copies if it is indices."""
    return None if outputs is None else [own[rows] for own in outputs]

"""Losses and metrics, of arrays and of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._data.batches import Prepare, Stream
from nnfast._data.samples import Samples
from nnfast._runtime.trainer import Program, Totals
from nnfast.callbacks.callback import Logs
from nnfast.callbacks.callback_list import CallbackList
from nnfast.metrics.metric import quiet


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
        model: Any,
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


class EvaluationStream(Evaluation):
    """One call of `evaluate`, or the validations of one `fit`, on a stream of batches.

    Parameters
    ----------
    stream : Stream
        Its first epoch has begun.
    prepare : callable
        Checks a batch.
    **options
        The other arguments of `Evaluation`.
    """

    def __init__(self, stream: Stream, prepare: Prepare, **options: Any) -> None:
        self.stream = stream
        self.prepare = prepare
        super().__init__(samples=None, batch_size=0, **options)

    @property
    def steps(self) -> int | None:
        return self.stream.length

    def _measure(self) -> Logs:
        """Return ``loss`` and every metric of the stream's next epoch; {} if it has ended."""
        if not self.stream.begin():
            self.stream.warn("there is nothing left to evaluate")
            return {}
        logs = self._by_batches(self._batches()).logs()
        if self.model.stop_evaluating:
            self.stream.leave()
        return logs

    def _batches(self) -> Iterator[tuple[Samples, Any]]:
        for step, item in enumerate(self.stream):
            batch = self.prepare(item, f"batch {step + 1} of {self.stream.what}")
            yield batch, self.program.outputs(batch)

"""Training and measuring on batches that come one at a time: generators, iterables, datasets.

The engine runs a batch at a time; what makes the batches one epoch (the loss, the metrics, the
callbacks, the place in the random streams) is kept here. Batches in an array's order train bit
for bit like the array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from nnfast import _engine
from nnfast import _validation as check
from nnfast._callback import Logs
from nnfast._trainer import Evaluation, Fit, Running
from nnfast._validation import Samples

# Called with a batch as it came and the words that name it in messages.
Prepare = Callable[[object, str], Samples]
Order = Callable[[int], Iterable[int]]

_END = object()


class Stream:
    """The batches of one fit, evaluate or predict, epoch after epoch.

    With `steps` an iterator goes on in the next epoch where it stopped; at its end, or without
    `steps`, ``iter(source)`` starts anew, which for a generator gives nothing more.

    Parameters
    ----------
    source : generator, iterable or dataset
        The ``on_epoch_begin`` and ``on_epoch_end`` of a dataset are called.
    steps : int, optional
        Batches of an epoch.
    order : callable, optional
        Gives the order in which a dataset's batches are taken from their number.
    what : str
        What `source` is, for messages.
    """

    def __init__(
        self, source: Any, steps: int | None = None, order: Order | None = None, what: str = "x"
    ) -> None:
        self.source = source
        self.steps = steps
        self.order = order
        self.what = what
        self.first: object = _END
        self._dataset = check.is_dataset(source)
        self._iterator: Iterator[object] | None = None
        self._warned = False

    @property
    def length(self) -> int | None:
        """Batches of an epoch, None if that is not known."""
        return self._size() if self.steps is None else self.steps

    def begin(self) -> bool:
        """Begin an epoch, once, by fetching its first batch; return whether there is one."""
        if self.first is _END:
            if self._dataset:
                getattr(self.source, "on_epoch_begin", _nothing)()
            fresh = self._iterator is None
            self.first = self._fetch()
            if self.first is _END and not fresh:
                self.first = self._fetch()
        return self.first is not _END

    def begin_first(self) -> object:
        """Begin the first epoch; return its first batch.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not self.begin():
            raise ValueError(f"{self.what} must give at least one batch; received none")
        return self.first

    def __iter__(self) -> Iterator[object]:
        """Yield the batches of the epoch that `begin` began."""
        batch, self.first, taken = self.first, _END, 0
        while batch is not _END:
            taken += 1
            yield batch
            if taken == self.steps:
                break
            batch = self._fetch()
        if self.steps is not None and taken < self.steps:
            self.warn(f"it gave {taken} of the {self.steps} batches of an epoch")
        if self._dataset:
            getattr(self.source, "on_epoch_end", _nothing)()

    def leave(self) -> None:
        """End an epoch early: without `steps` the next one starts anew."""
        if self.steps is None:
            self._iterator = None

    def warn(self, why: str) -> None:
        """Say that the data ended too early, once."""
        if not self._warned:
            check.warn(f"{self.what} ran out of data: {why}")
        self._warned = True

    def _fetch(self) -> object:
        if self._iterator is None:
            self._iterator = self._indexed() if self._dataset else iter(self.source)
        batch = next(self._iterator, _END)
        if batch is _END:
            self._iterator = None
        return batch

    def _indexed(self) -> Iterator[object]:
        size = self._size()
        if size is None:
            if self.steps is None:
                raise ValueError(f"{self.what} has no end: give the number of steps")
            number = 0
            while True:
                yield self.source[number]
                number += 1
        for number in range(size) if self.order is None else self.order(size):
            yield self.source[int(number)]

    def _size(self) -> int | None:
        if hasattr(self.source, "num_batches"):
            size: int | None = self.source.num_batches
            return size
        return len(self.source) if hasattr(self.source, "__len__") else None


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


def _nothing() -> None:
    """Stand in for a method that a dataset does not have."""

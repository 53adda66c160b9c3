"""Optimizer steps, in engine runs short enough for Ctrl-C to take effect promptly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._data.samples import Samples
from nnfast._engine import NONFINITE, Data, Snapshot
from nnfast._runtime.trainer import Trainer

Floats = NDArray[np.float64]

# Approximate duration of a run; Ctrl-C takes effect between runs.
RUN_SECONDS = 0.05


class Steps:
    """The optimizer steps of one fit, and the last state that is known to be finite.

    Parameters
    ----------
    trainer : Trainer
    restores : bool, default True
        Whether to keep copies of the state for `restore`.

    Attributes
    ----------
    finite : bool
        Whether the loss of every step was finite. A step whose loss is not finite changes nothing.
    restored : int
        The step count of the state that `restore` restored.
    """

    def __init__(self, trainer: Trainer, restores: bool = True) -> None:
        self.trainer = trainer
        self.engine = trainer.network.engine
        self.finite = True
        self.restores = restores
        self._snapshot = Snapshot(self.engine)

    @property
    def taken(self) -> int:
        """The number of optimizer steps since compiling."""
        return self.engine.iterations

    @property
    def restored(self) -> int:
        return self._snapshot.iterations

    def take(
        self,
        data: Data,
        batch_size: int,
        shuffle: bool,
        losses: Floats,
        outputs: NDArray[Any] | None = None,
        after_run: Callable[[int], None] | None = None,
    ) -> int:
        """Take up to ``len(losses)`` steps while losses are finite; return the number taken.

        Parameters
        ----------
        data : Data
        batch_size : int
        shuffle : bool
        losses : ndarray
            Filled with the loss of each step.
        outputs : ndarray, optional
            Filled with the predictions for the rows.
        after_run : callable, optional
            Called after each run with the number of steps taken so far.
        """
        rates = self.trainer.optimizer.next_rates(self.engine, len(losses))
        done = 0
        while done < len(losses) and self.finite:
            self.trainer.follow_trainable()
            if self.restores:
                self._snapshot.take()
            status, steps = self.engine.run(
                data, batch_size, shuffle, rates[done:], losses[done:], outputs, RUN_SECONDS
            )
            self.finite = status != NONFINITE
            done += steps
            if after_run is not None:
                after_run(done)
        return done

    def take_one(
        self, batch: Samples, largest: int, first_row: int, outputs: NDArray[Any] | None
    ) -> float:
        """Take a step on a batch of a stream; return its loss.

        Parameters
        ----------
        batch : Samples
        largest : int
            Number of rows in the largest batch so far. It determines the number of micro-batches.
        first_row : int
            Number of rows in the epoch before this batch: the position in the random streams.
        outputs : ndarray or None
            Filled with the predictions for the rows.
        """
        rates, loss = self.trainer.optimizer.next_rates(self.engine, 1), np.empty(1)
        self.trainer.follow_trainable()
        self._snapshot.take()
        status, _ = self.engine.run(
            batch.data(), largest, False, rates, loss, outputs, first_row=first_row
        )
        self.finite = status != NONFINITE
        return float(loss[0])

    def is_suspect(self, always: bool) -> bool:
        """Return whether weights or slots are not finite.

        Unless `always` is set, most calls skip the check and return False.
        """
        return self._snapshot.is_suspect(always)

    def restore(self) -> bool:
        """Restore the last finite state if the current one is not; return whether that was done."""
        restored = self._snapshot.restore()
        if restored and self._snapshot.iterations == 0:
            self.trainer.optimizer.start(self.engine.slots)
        return restored

    def release(self) -> None:
        """Give the memory of the copy back to the engine, for the next fit."""
        self._snapshot.release()

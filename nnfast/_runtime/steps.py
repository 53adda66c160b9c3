"""Optimizer steps, in engine runs short enough for Ctrl-C to take effect promptly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnfast._data.samples import Samples
from nnfast._engine import NONFINITE, Data, Snapshot
from nnfast._runtime.trainer import Floats, Outputs, Trainer
from nnfast._runtime.variants import Sizes

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
    sizes : tuple of tuple of int, or None
        The sizes of the samples that `take` receives: see `Samples`.
    finite : bool
        Whether the loss of every step was finite. A step whose loss is not finite changes nothing.
    restored : int
        The step count of the state that `restore` restored.
    """

    def __init__(self, trainer: Trainer, restores: bool = True) -> None:
        self.trainer = trainer
        self.engine = trainer.network.engine
        self.sizes: Sizes | None = None
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
        outputs: Outputs | None = None,
        after_run: Callable[[int], None] | None = None,
    ) -> int:
        """Take up to ``len(losses)`` steps while losses are finite; return the number taken.

        Parameters
        ----------
        data : Data
        batch_size : int
        shuffle : bool
        losses : ndarray (steps,) or (steps, n_losses)
            Filled with the losses of each step; see `Trainer.n_losses`.
        outputs : list of ndarray, optional
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
            own = losses[done:].reshape(-1)
            status, steps = self.trainer.network_of(self.sizes).engine.run(
                data, batch_size, shuffle, rates[done:], own, outputs, RUN_SECONDS
            )
            self.finite = status != NONFINITE
            done += steps
            if after_run is not None:
                after_run(done)
        return done

    def take_one(
        self, batch: Samples, largest: int, first_row: int, outputs: Outputs | None
    ) -> list[float]:
        """Take a step on a batch of a stream; return its losses.

        Parameters
        ----------
        batch : Samples
        largest : int
            Number of rows in the largest batch so far. It determines the number of micro-batches.
        first_row : int
            Number of rows in the epoch before this batch: the position in the random streams.
        outputs : list of ndarray or None
            Filled with the predictions for the rows.
        """
        rates = self.trainer.optimizer.next_rates(self.engine, 1)
        losses = np.empty(self.trainer.n_losses)
        self.trainer.follow_trainable()
        self._snapshot.take()
        engine = self.trainer.network_of(batch.sizes).engine
        status, _ = engine.run(
            batch.data(), largest, False, rates, losses, outputs, first_row=first_row
        )
        self.finite = status != NONFINITE
        return losses.tolist()

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

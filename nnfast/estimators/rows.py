"""Rows to train on and to predict, dense or sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import _engine
from nnfast._data.arrays import readable
from nnfast._engine import Engine
from nnfast.estimators.architecture import Network

Array = NDArray[Any]

RUN_SECONDS = 0.05  # after which Python looks whether Ctrl-C was pressed


class Rows:
    """Rows with targets and weights.

    Parameters
    ----------
    x : ndarray or sparse matrix, (n, features)
    y : ndarray
        (n, outputs) of the engine's dtype, or (n,) int32 class indices.
    weight : ndarray of float64 or None
    dtype : numpy.dtype
        The engine's.
    """

    def __init__(
        self, x: Any, y: Array, weight: NDArray[np.float64] | None, dtype: np.dtype[Any]
    ) -> None:
        self.x = readable(x, dtype)
        self.y = y
        self.weight = weight
        self.dtype = dtype
        self.data = _engine.Data(self.x, y, weight)

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def part(self, at: Any) -> Rows:
        """Return some of the rows."""
        weight = None if self.weight is None else self.weight[at]
        return Rows(self.x[at], self.y[at], weight, self.dtype)

    @property
    def denominator(self) -> float:
        """Σ w."""
        return float(len(self)) if self.weight is None else float(self.weight.sum())

    def epoch(
        self,
        network: Network,
        batch_size: int,
        shuffle: bool,
        lr: NDArray[np.float64],
        losses: NDArray[np.float64],
    ) -> int | None:
        """Train one epoch, a step for each of `lr`; return the batch whose loss is not finite."""
        done = 0
        while done < len(lr):
            status, steps = network.engine.run(
                self.data, batch_size, shuffle, lr[done:], losses[done:], None, RUN_SECONDS
            )
            done += steps
            if status == _engine.NONFINITE:
                return done - 1
        return None

    def loss_and_grad(self, engine: Engine) -> tuple[float, NDArray[np.float64]]:
        """Return Σ w·l / Σ w and its gradient."""
        return engine.loss_and_grad(self.data), engine.grads.astype(np.float64)

    def loss(self, engine: Engine) -> float:
        """Return Σ w·l / Σ w, in inference mode."""
        return engine.evaluate(self.data)

    def predict(self, network: Network) -> Array:
        """Return the outputs, (n, outputs)."""
        return predict(network, self.x)


def predict(network: Network, x: Any) -> Array:
    """Return the outputs of rows, (n, outputs)."""
    engine = network.engine
    x = readable(x, network.dtype)
    short = engine.predict(x)  # None of sparse rows, and of many
    if short is not None:
        return short
    out = np.empty((x.shape[0], network.n_out), network.dtype)
    engine.forward(_engine.Data(x), out)
    return out

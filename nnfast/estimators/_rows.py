"""Rows to train on and to predict, dense or sparse.

Dense rows are read by the engine where they are. Sparse ones are written out a few megabytes at a
time, never more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnfast import _engine
from nnfast._engine import Engine
from nnfast.estimators._network import Network

Array = NDArray[Any]

RUN_SECONDS = 0.1  # after which Python looks whether Ctrl-C was pressed
CHUNK_BYTES = 1 << 22  # of sparse rows written out
_READ_IN_PLACE = (np.dtype(np.float32), np.dtype(np.float64))


def readable(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return dense rows as the engine reads them, the same array where it can be.

    Examples
    --------
    >>> x = np.ones((3, 2))
    >>> readable(x, x.dtype) is x, readable(x.T, x.dtype).flags.c_contiguous
    (True, True)
    """
    if x.dtype not in _READ_IN_PLACE:
        x = x.astype(dtype)
    return np.require(x, requirements=("C", "A"))


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
        if sparse.issparse(x) and x.dtype.itemsize * math.prod(x.shape) <= CHUNK_BYTES:
            x = x.toarray()
        self.sparse = sparse.issparse(x)
        self.x: Any = x.tocsr() if self.sparse else readable(x, dtype)
        self.y = y
        self.weight = weight
        self.dtype = dtype
        self.data = None if self.sparse else _engine.Data(self.x, y, weight)

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def part(self, at: Any) -> Rows:
        """Return some of the rows."""
        weight = None if self.weight is None else self.weight[at]
        return Rows(self.x[at], self.y[at], weight, self.dtype)

    def _written_out(self, at: Any) -> Rows:
        """Return some of sparse rows, dense."""
        weight = None if self.weight is None else self.weight[at]
        return Rows(self.x[at].toarray(), self.y[at], weight, self.dtype)

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
    ) -> bool:
        """Train one epoch, a step for each of `lr`; return whether all losses were finite."""
        if self.sparse:
            return self._sparse_epoch(network, batch_size, shuffle, lr, losses)
        assert self.data is not None
        done = 0
        while done < len(lr):
            status, steps = network.engine.run(
                self.data, batch_size, shuffle, lr[done:], losses[done:], None, RUN_SECONDS
            )
            done += steps
            if status == _engine.NONFINITE:
                return False
        return True

    def _chunk_rows(self, multiple: int) -> int:
        row_bytes = max(1, self.x.shape[1]) * self.x.dtype.itemsize
        return max(1, CHUNK_BYTES // int(row_bytes) // multiple) * multiple

    def _sparse_epoch(
        self,
        network: Network,
        batch_size: int,
        shuffle: bool,
        lr: NDArray[np.float64],
        losses: NDArray[np.float64],
    ) -> bool:
        engine, n, step = network.engine, len(self), 0
        order = None
        if shuffle:
            key = np.array([network.seed, engine.epoch], np.uint64)
            order = np.random.Generator(np.random.Philox(key=key)).permutation(n)
        chunk = self._chunk_rows(batch_size)
        for first in range(0, n, chunk):
            at: Any = slice(first, min(first + chunk, n))
            dense = self._written_out(at if order is None else order[at])
            for i in range(0, len(dense), batch_size):
                here = slice(i, i + batch_size)
                weight = None if dense.weight is None else dense.weight[here]
                status, _ = engine.run(
                    _engine.Data(dense.x[here], dense.y[here], weight),
                    batch_size,
                    False,
                    lr[step : step + 1],
                    losses[step : step + 1],
                    None,
                    math.inf,
                    first + i,
                )
                if status == _engine.NONFINITE:
                    return False
                step += 1
        engine.epoch += 1
        return True

    def chunks(self) -> Iterator[Rows]:
        """Yield all rows, dense: the rows themselves, or parts of sparse ones."""
        if not self.sparse:
            yield self
            return
        chunk = self._chunk_rows(1)
        for first in range(0, len(self), chunk):
            yield self._written_out(slice(first, first + chunk))

    def loss_and_grad(self, engine: Engine) -> tuple[float, NDArray[np.float64]]:
        """Return Σ w·l / Σ w and its gradient."""
        loss, gradient = 0.0, np.zeros(engine.grads.size)
        total = self.denominator
        for part in self.chunks():
            share = part.denominator / total if total else 0.0
            assert part.data is not None
            loss += share * engine.loss_and_grad(part.data)
            gradient += share * engine.grads
        return loss, gradient

    def loss(self, engine: Engine) -> float:
        """Return Σ w·l / Σ w, in inference mode."""
        total = self.denominator
        value = 0.0
        for part in self.chunks() if total else ():
            assert part.data is not None
            value += part.denominator / total * engine.evaluate(part.data)
        return value

    def predict(self, network: Network) -> Array:
        """Return the outputs, (n, outputs)."""
        return predict(network, self.x)


def predict(network: Network, x: Any) -> Array:
    """Return the outputs of rows, (n, outputs)."""
    engine = network.engine
    if not sparse.issparse(x):
        x = readable(x, network.dtype)
        short = engine.predict(x)
        if short is not None:
            return short
        out = np.empty((len(x), network.n_out), network.dtype)
        engine.forward(_engine.Data(x), out)
        return out
    x = x.tocsr()
    out = np.empty((x.shape[0], network.n_out), network.dtype)
    chunk = max(1, CHUNK_BYTES // (max(1, x.shape[1]) * x.dtype.itemsize))
    for first in range(0, len(out), chunk):
        rows = readable(x[first : first + chunk].toarray(), network.dtype)
        engine.forward(_engine.Data(rows), out[first : first + chunk])
    return out

"""Streams of batches: generators, iterables and datasets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils import checks
from nnfast._utils.ahead import ahead

# The names of the parts of validation_data in messages.
VALIDATION_NAMES = ("validation_data[0]", "validation_data[1]", "validation_data[2]")

_ARRAY_PROTOCOLS = ("__array__", "__array_interface__", "__dlpack__", "toarray")


def is_stream(x: object) -> bool:
    """Return whether `x` is a source of batches, rather than an array or an unknown object.

    Examples
    --------
    >>> is_stream(iter([])), is_stream([[1.0]]), is_stream(np.ones(3))
    (True, False, False)
    """
    if isinstance(x, (np.ndarray, Sequence, Mapping, memoryview)):
        return False
    if any(hasattr(x, protocol) for protocol in _ARRAY_PROTOCOLS):
        return False
    return hasattr(x, "__iter__") or is_dataset(x)


def is_dataset(x: object) -> bool:
    """Return whether `x` has indexed batches, like ``keras.utils.PyDataset``."""
    counted = hasattr(x, "__len__") or hasattr(x, "num_batches")
    return hasattr(x, "__getitem__") and counted


def batch_parts(batch: object, where: str, targets: bool) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) of a batch from a stream; missing parts are None.

    Parameters
    ----------
    batch : tuple or list of up to three parts, or x alone
    where : str
        The name of the batch in messages.
    targets : bool
        Whether y is required.
    """
    parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
    if not (1 + targets <= len(parts) <= 3):
        expected = "(x, y) or (x, y, sample_weight)" if targets else "x, (x, y) or (x, y, weight)"
        raise ValueError(
            f"{where[0].upper()}{where[1:]} must be {expected}; received {type(batch).__name__}"
            + (f" of length {len(parts)}" if isinstance(batch, (tuple, list)) else "")
        )
    x, y, weight = (*parts, None, None)[:3]
    if targets and getattr(y, "ndim", None) == 0:
        raise ValueError(
            f"{where[0].upper()}{where[1:]} must have one row per sample; received y of a single "
            "sample, without a batch axis: call .batch(n) on a dataset of samples"
        )
    return x, y, weight


def check_alone(name: str, **others: object) -> None:
    """Raise a ValueError if an argument cannot be combined with batches.

    Batches contain their own targets and weights.
    """
    for other, value in others.items():
        if value is not None:
            argument = "validation_split" if other == "split" else other
            raise ValueError(f"{argument} cannot be given if {name} gives batches of (x, y)")


def validation_parts(value: object) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) of `validation_data`."""
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        raise ValueError(
            "validation_data must be a tuple (x, y) or (x, y, sample_weight), or a source of such "
            "batches; received "
            f"{type(value).__name__}"
            + (f" of length {len(value)}" if isinstance(value, (tuple, list)) else "")
        )
    x, y, *weight = value
    return x, y, weight[0] if weight else None


# A function that takes the number of batches in a dataset and returns the order in which they are
# read.
Order = Callable[[int], Iterable[int]]

_END = object()
# The cardinality of a ``tf.data.Dataset`` without end; another negative number is unknown.
_INFINITE = -1


class Stream:
    """The batches of one fit, evaluate or predict, epoch after epoch.

    With `steps`, the next epoch continues where the iterator stopped. When the iterator is
    exhausted, or without `steps`, iteration starts again with ``iter(source)``. A generator cannot
    start again: once exhausted, it has no more batches.

    Parameters
    ----------
    source : generator, iterable or dataset
        If it is a dataset, its methods ``on_epoch_begin`` and ``on_epoch_end`` are called. A thread
        makes as many batches ahead as its attribute ``read_ahead`` says, after the first batch of
        an epoch and never beyond the end of the epoch.
    steps : int, optional
        Batches per epoch; required if `source` is a ``tf.data.Dataset`` without end.
    order : callable, optional
        Takes the number of batches in a dataset and returns the order in which they are read.
    what : str
        The name of `source` in messages.
    """

    def __init__(
        self, source: Any, steps: int | None = None, order: Order | None = None, what: str = "x"
    ) -> None:
        self.source = source
        self.steps = steps
        self.order = order
        self.what = what
        self.first: object = _END
        self._dataset = is_dataset(source)
        # The batches of a pass over `source`, or their numbers if it is a dataset.
        self._iterator: Iterator[Any] | None = None
        self._made: Iterator[object] = iter(())  # the batches of a dataset until the epoch's end
        self._warned = False
        if steps is None and _cardinality(source) == _INFINITE:
            raise ValueError(f"{what} has no end: pass the number of steps")

    @property
    def length(self) -> int | None:
        """The number of batches per epoch, None if unknown."""
        return self._size() if self.steps is None else self.steps

    def begin(self) -> bool:
        """Begin an epoch by fetching its first batch; return whether there is one.

        Further calls before the epoch is iterated do nothing.
        """
        if self.first is _END:
            if self._dataset:
                getattr(self.source, "on_epoch_begin", _nothing)()
            fresh = self._iterator is None
            self.first = self._fetch(1)
            if self.first is _END and not fresh:
                self.first = self._fetch(1)
        return self.first is not _END

    def begin_first(self) -> object:
        """Begin the first epoch; return its first batch.

        Raises
        ------
        ValueError
            If there are no batches.
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
            batch = self._fetch(None if self.steps is None else self.steps - taken)
        if self.steps is not None and taken < self.steps:
            self.warn(f"it gave {taken} of the {self.steps} batches of an epoch")
        if self._dataset:
            getattr(self.source, "on_epoch_end", _nothing)()

    def leave(self) -> None:
        """End an epoch early; without `steps`, the next epoch starts from the beginning."""
        if self.steps is None:
            self._iterator, self._made = None, iter(())

    def restart(self) -> None:
        """Let the first epoch of a dataset begin again, in the order that `order` gives now."""
        if self._dataset:
            self.first, self._iterator, self._made = _END, None, iter(())

    def warn(self, why: str) -> None:
        """Warn that the data ended too early; only the first call warns."""
        if not self._warned:
            checks.warn(f"{self.what} ran out of data: {why}")
        self._warned = True

    def _fetch(self, left: int | None) -> object:
        """Return the next batch, or `_END`; of a dataset, up to `left` batches may be made."""
        if self._iterator is None:
            self._iterator = iter(self._order() if self._dataset else self.source)
        batch = next(self._made if self._dataset else self._iterator, _END)
        if batch is _END and self._dataset:
            self._made = _made(self.source, list(itertools.islice(self._iterator, left)))
            batch = next(self._made, _END)
        if batch is _END:
            self._iterator = None
        return batch

    def _order(self) -> Iterable[int]:
        """Return the numbers of a dataset's batches in the order in which they are read."""
        size = self._size()
        if size is not None:
            return range(size) if self.order is None else self.order(size)
        if self.steps is None:
            raise ValueError(f"{self.what} has no end: pass the number of steps")
        return itertools.count()

    def _size(self) -> int | None:
        if hasattr(self.source, "num_batches"):
            size: int | None = self.source.num_batches
            return size
        cardinality = _cardinality(self.source)
        if cardinality is not None:
            return None if cardinality < 0 else cardinality
        return len(self.source) if hasattr(self.source, "__len__") else None


def shuffled(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the shuffled order of a dataset's n batches; it depends only on n, seed and epoch."""
    # The key bits above the 64-bit seed separate this stream from the engine's and initializers'.
    key: Any = (2 << 64) | seed
    stream = np.random.Philox(key=key, counter=[epoch, 0, 0, 0])
    return np.random.Generator(stream).permutation(n)


def _cardinality(source: object) -> int | None:
    """Return the ``cardinality()`` of a ``tf.data.Dataset``, None for another object."""
    method = getattr(source, "cardinality", None)
    return int(method()) if callable(method) else None


def _made(source: Any, numbers: list[int]) -> Iterator[object]:
    """Return an iterator over the batches of a dataset that have these numbers."""

    def batches() -> Iterator[object]:
        return (source[int(number)] for number in numbers)

    depth = getattr(source, "read_ahead", 0)
    return ahead(batches, depth, complete=True) if depth and len(numbers) > 1 else batches()


def _nothing() -> None:
    """Do nothing; replaces an optional method that a dataset does not define."""

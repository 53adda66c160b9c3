"""Iterators over the items of others: in random order, repeatedly, in lists and windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nnfast.keras.tf.structures import leaves, map_structure, read_only

__all__ = ["cached", "chunks", "repeated", "runs", "shuffled", "unbatched"]

# The number of random positions in a shuffle buffer that are drawn at a time.
_DRAWS = 1024


def shuffled(items: Iterator[Any], capacity: int, rng: np.random.Generator) -> Iterator[Any]:
    """Yield items in random order, drawn from a buffer of up to `capacity` items."""
    buffer = list(itertools.islice(items, capacity))

    def places() -> Iterator[int]:
        while True:
            yield from rng.integers(capacity, size=_DRAWS).tolist()

    for item, place in zip(items, places(), strict=False):
        yield buffer[place]
        buffer[place] = item
    for place in rng.permutation(len(buffer)).tolist():
        yield buffer[place]


def chunks(items: Iterator[Any], size: int, drop: bool) -> Iterator[list[Any]]:
    """Yield lists of `size` items; the last one may be smaller unless `drop`."""
    while chunk := list(itertools.islice(items, size)):
        if len(chunk) < size and drop:
            return
        yield chunk


def runs(items: Iterator[Any], size: int, shift: int, drop: bool) -> Iterator[list[Any]]:
    """Yield lists of `size` successive items, every `shift` items; later ones may be smaller."""
    run = list(itertools.islice(items, size))
    while len(run) == size or (run and not drop):
        yield run
        skipped = max(shift - len(run), 0)
        run = run[shift:]
        following = itertools.islice(items, skipped, skipped + size - len(run))
        run = run + list(following)


def repeated(items: Callable[[], Iterator[Any]], times: int) -> Iterator[Any]:
    """Yield the items of `times` iterations, or without end if `times` is negative."""
    for _ in itertools.count() if times < 0 else range(times):
        empty = True
        for item in items():
            empty = False
            yield item
        if empty:
            return


def cached(items: Callable[[], Iterator[Any]], kept: list[list[Any]]) -> Iterator[Any]:
    """Yield items; the first complete iteration adds the list of them to `kept` for later ones."""
    if kept:
        yield from kept[0]
        return
    found = []
    for item in items():
        found.append(map_structure(read_only, item))
        yield found[-1]
    kept[:] = [found]


def unbatched(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the rows of batches."""
    for batch in batches:
        sizes = {len(array) if array.ndim else None for array in leaves(batch)}
        size = sizes.pop() if len(sizes) == 1 else None
        if size is None:
            raise ValueError("unbatch expects elements whose arrays have one length")
        for i in range(size):
            yield _row(batch, i)


def _row(batch: Any, i: int) -> Any:
    return map_structure(lambda array: array[i, ...], batch)

"""The memory of tensors: strides, lifetimes, and the offsets that follow from them.

Times are integers. Op i of n runs forward at the times 2i and 2i + 1, the losses are computed at
2n, op i runs backward at 2(2n − i) and the time after it, and the gradients of the parameters are
computed at the end. An op reads at the first of its two times if its result may overwrite what it
reads, and writes at the second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from heapq import heappop, heappush

from nnfast._plan.layouts import LINE, Layout

# If a row takes at least ODD_LINES cache lines, its stride is an odd number of lines. With an even
# number, the columns that a register tile reads would map to at most half of the cache's sets.
ODD_LINES = 4


@lru_cache(maxsize=256)  # a plan asks for the same few strides again and again
def stride(n: int) -> int:
    """Return the stride of a tensor's rows, which have n elements each.

    Examples
    --------
    >>> stride(0), stride(10), stride(32), stride(64), stride(512)
    (16, 16, 32, 80, 528)
    """
    lines = max(1, -(-n // LINE))
    return LINE * (lines | 1 if lines >= ODD_LINES else lines)


class Strides:
    """The strides of rows in the arena.

    Parameters
    ----------
    unpadded : frozenset of int
        See `Layouts`.

    Examples
    --------
    >>> strides = Strides(frozenset({640}))
    >>> strides.of(1, 64), strides.of(10, 64), strides.of(1, 640)
    (80, 64, 640)
    """

    def __init__(self, unpadded: frozenset[int]) -> None:
        self._unpadded = unpadded

    def of(self, steps: int, n: int) -> int:
        """Return the stride of rows of n elements; a sample has `steps` of them."""
        if steps > 1:
            return Layout(steps, n).row
        return n if n in self._unpadded else stride(n)


class Storage:
    """The memory of a tensor or a gradient, with `ld` elements per sample.

    It is needed from the time `first` to the time `last`.
    """

    __slots__ = ("first", "last", "ld", "offset")

    def __init__(self, ld: int, first: int) -> None:
        self.ld, self.first, self.last, self.offset = ld, first, first, -1

    def use(self, time: int) -> None:
        """Extend the lifetime to this time."""
        if time < self.first:
            self.first = time
        elif time > self.last:
            self.last = time


def share_memory(storages: Sequence[Storage]) -> int:
    """Give each storage an offset, in elements per row of a batch, and return their total width.

    A storage takes the place of one with the same stride that is not needed any more, of the last
    one of these, which is most likely in cache. Others do not fit: threads that share a batch do
    not wait for each other between ops, so no thread's rows may overlap another's earlier rows.

    Examples
    --------
    >>> first, second, third = Storage(32, 0), Storage(32, 1), Storage(32, 2)
    >>> first.use(1)
    >>> share_memory([first, second, third])
    64
    >>> first.offset, second.offset, third.offset
    (0, 32, 32)
    """
    slots = [0] * len(storages)
    free: dict[int, list[int]] = defaultdict(list)
    busy: list[tuple[int, int, int]] = []
    n_slots = 0
    for k in sorted(range(len(storages)), key=lambda k: storages[k].first):
        storage = storages[k]
        while busy and busy[0][0] < storage.first:
            _, slot, ld = heappop(busy)
            free[ld].append(slot)
        if free[storage.ld]:
            slots[k] = free[storage.ld].pop()
        else:
            slots[k] = n_slots
            n_slots += 1
        heappush(busy, (storage.last, slots[k], storage.ld))
    offsets: dict[int, int] = {}
    width = 0
    for slot, storage in zip(slots, storages, strict=True):
        if slot not in offsets:
            offsets[slot] = width
            width += storage.ld
        storage.offset = offsets[slot]
    return width

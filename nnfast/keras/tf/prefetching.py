"""Iteration in a background thread, ahead of its consumer."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

__all__ = ["prefetched"]

T = TypeVar("T")

_END = object()
# Seconds that Python waits at exit for an item that is being computed.
_EXIT_SECONDS = 1.0


class _Failure(NamedTuple):
    """An exception of the background thread."""

    error: BaseException


def prefetched(items: Callable[[], Iterator[T]], size: int) -> Iterator[T]:
    """Yield the items of ``items()``, up to `size` of which are fetched in advance.

    The thread starts with the first item, and ends with the iteration, also with one that is
    abandoned. An exception in the thread ends the iteration, and is raised to the consumer.
    """
    # Both queues may be used while the garbage collector runs, unlike locks and events.
    free: SimpleQueue[None] = SimpleQueue()
    ready: SimpleQueue[Any] = SimpleQueue()
    stopped: list[bool] = []
    for _ in range(size):
        free.put(None)

    def stop() -> None:
        stopped.append(True)
        free.put(None)

    def stop_at_exit() -> None:
        stop()
        thread.join(_EXIT_SECONDS)

    # A daemon does not keep Python alive if an item never comes.
    thread = threading.Thread(
        target=_fetch, args=(items, free, ready, stopped), name="nnfast-prefetch", daemon=True
    )
    atexit.register(stop_at_exit)
    try:
        thread.start()
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            free.put(None)
            yield item
    finally:
        stop()
        atexit.unregister(stop_at_exit)


def _fetch(
    items: Callable[[], Iterator[Any]],
    free: SimpleQueue[None],
    ready: SimpleQueue[Any],
    stopped: list[bool],
) -> None:
    """Put items into `ready`, one for each entry of `free`, until `stopped` has an entry."""
    try:
        iterator = items()
        while True:
            free.get()
            if stopped:
                return
            item = next(iterator, _END)
            ready.put(item)
            if item is _END:
                return
    except BaseException as error:
        ready.put(_Failure(error))

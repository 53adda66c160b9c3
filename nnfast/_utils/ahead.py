"""Reading ahead: a thread makes the next values while the caller uses the last one."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

__all__ = ["ahead"]

T = TypeVar("T")

_END = object()
# Seconds that Python waits at exit for a value that is being made.
_EXIT_SECONDS = 1.0


class _Failure(NamedTuple):
    """An exception of the thread."""

    error: BaseException


def ahead(values: Callable[[], Iterable[T]], depth: int, complete: bool = False) -> Iterator[T]:
    """Yield the values of ``values()``; a thread makes up to `depth` before they are asked for.

    The values, their order and the exceptions are those of ``values()``, which is called and used
    only in the thread. The thread starts with the first value, and ends with the iteration.

    Parameters
    ----------
    values : callable
    depth : int
        At least 1. While the caller uses value i, the thread makes the values up to i + depth.
    complete : bool, default False
        Whether a caller that stops early waits until these values are made. How many are made then
        does not depend on time. The wait for a value can be interrupted in any case.

    Examples
    --------
    >>> list(ahead(lambda: (n * n for n in range(4)), depth=2))
    [0, 1, 4, 9]
    """
    # Both queues may be used while the garbage collector runs, unlike locks and events.
    free: SimpleQueue[bool] = SimpleQueue()  # an entry per value to make; False is the end
    ready: SimpleQueue[Any] = SimpleQueue()
    stopped: list[bool] = []
    for _ in range(depth):
        free.put(True)

    def stop() -> None:
        stopped.append(True)
        free.put(False)

    def stop_at_exit() -> None:
        stop()
        thread.join(_EXIT_SECONDS)

    # A daemon does not keep Python alive if a value never comes.
    thread = threading.Thread(
        target=_make, args=(values, free, ready, stopped), name="nnfast-ahead", daemon=True
    )
    atexit.register(stop_at_exit)
    try:
        thread.start()
        while (value := ready.get()) is not _END and not isinstance(value, _Failure):
            free.put(True)
            yield value
        thread.join()
        if isinstance(value, _Failure):
            raise value.error
    except GeneratorExit:
        if complete and not stopped and thread is not threading.current_thread():
            free.put(False)
            thread.join()
        raise
    finally:
        stop()
        atexit.unregister(stop_at_exit)


def _make(
    values: Callable[[], Iterable[Any]],
    free: SimpleQueue[bool],
    ready: SimpleQueue[Any],
    stopped: list[bool],
) -> None:
    """Put a value into `ready` for each entry of `free`, until it is False or `stopped` is set."""
    try:
        iterator = iter(values())
        while free.get() and not stopped:
            value = next(iterator, _END)
            ready.put(value)
            if value is _END:
                return
    except BaseException as error:
        ready.put(_Failure(error))

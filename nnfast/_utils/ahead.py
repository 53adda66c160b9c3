"""Reading ahead: a thread makes the next values while the caller uses the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_END = object()


def ahead(values: Iterable[T], depth: int) -> Iterator[T]:
    """Yield `values`; one thread makes up to `depth` of them before they are asked for.

    The values, their order and the exceptions are those of `values`. While the caller uses value
    i, the thread makes the values up to i + depth. When the caller stops early, `ahead` first
    waits for these values, so how many are made does not depend on time. Then the thread ends.

    Parameters
    ----------
    values : iterable
        Used only in the thread.
    depth : int
        At least 1.

    Examples
    --------
    >>> list(ahead((n * n for n in range(4)), depth=2))
    [0, 1, 4, 9]
    """
    # Imported here because `import nnfast` needs no threads.
    from concurrent.futures import ThreadPoolExecutor

    iterator = iter(values)
    with ThreadPoolExecutor(1, thread_name_prefix="nnfast-ahead") as thread:
        pending = deque(thread.submit(next, iterator, _END) for _ in range(depth))
        while True:
            value = pending.popleft().result()
            if value is _END:
                return
            pending.append(thread.submit(next, iterator, _END))
            yield value  # type: ignore[misc]

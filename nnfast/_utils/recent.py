"""A table that keeps what was used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """A table of a limited number of entries, which several threads may use.

    Parameters
    ----------
    most : int
        The maximum number of entries. A further one replaces the entry that was not used for
        longest.

    Examples
    --------
    >>> table = Recent(2)
    >>> table.put("a", 1), table.put("b", 2), table.get("a"), table.put("c", 3)
    (None, None, 1, None)
    >>> table.get("a"), table.get("b"), table.get("c")
    (1, None, 3)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Value | None:
        """Return an entry, None if there is none."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
        return found

    def put(self, key: Hashable, value: Value) -> None:
        """Add or replace an entry."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)

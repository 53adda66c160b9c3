"""The base class of datasets with numbered batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from nnfast._utils.checks import flag, integer

__all__ = ["PyDataset", "Sequence"]


class PyDataset:
    """Base class of datasets with numbered batches, for `fit`, `evaluate` and `predict`.

    A subclass defines ``__getitem__(index)``, which returns one batch: x, (x, y) or (x, y,
    sample_weight). It also defines ``__len__()`` or the property `num_batches`, the number of
    batches.

    Parameters
    ----------
    workers : int, default 1
        With more than one, a thread makes batches ahead, while the model trains. With 0 or 1, each
        batch is made when the model needs it, in the thread that calls `fit`. Whatever the number,
        batches are made one after another in the order in which the model gets them, so results
        are the same.
    use_multiprocessing : bool, default False
        With True, batches are made ahead even by one worker. They are made by a thread, never by
        another process.
    max_queue_size : int, default 10
        The number of batches that are made ahead.

    Examples
    --------
    >>> import numpy as np
    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, index):
    ...         x = np.array([[index], [index + 0.5]])
    ...         return x, x**2
    >>> [x.shape for x, y in Squares()]
    [(2, 1), (2, 1), (2, 1)]
    """

    # Class attributes, because subclasses may not call this constructor.
    workers = 1
    use_multiprocessing = False
    max_queue_size = 10

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ) -> None:
        self.workers = integer("workers", workers, minimum=0)
        self.use_multiprocessing = flag("use_multiprocessing", use_multiprocessing)
        self.max_queue_size = integer("max_queue_size", max_queue_size, minimum=1)

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index)")

    def __iter__(self) -> Iterator[Any]:
        count = self.num_batches
        for index in itertools.count() if count is None else range(count):
            yield self[index]

    @property
    def num_batches(self) -> int | None:
        """The number of batches in an epoch; None if there is no end."""
        length = getattr(self, "__len__", None)
        if length is None:
            raise NotImplementedError(f"{type(self).__name__} must define __len__ or num_batches")
        return int(length())

    @property
    def read_ahead(self) -> int:
        """The number of batches that a thread makes ahead during `fit`; 0 means no thread."""
        in_thread = self.workers > 1 or (self.workers and self.use_multiprocessing)
        return self.max_queue_size if in_thread else 0

    def on_epoch_begin(self) -> None:
        """Called before each epoch of `fit`."""

    def on_epoch_end(self) -> None:
        """Called after each epoch of `fit`, once all its batches are made."""


# The older name.
Sequence = PyDataset

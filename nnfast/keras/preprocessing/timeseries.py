"""Windows of a time series as batches."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from nnfast._utils.checks import Array, flag, integer
from nnfast.keras.preprocessing.random_ranges import random_state
from nnfast.keras.utils.py_dataset import PyDataset

__all__ = ["TimeseriesGenerator"]


class TimeseriesGenerator(PyDataset):
    """Batches of windows of a time series, each with the target that follows it.

    The sample for time t has the steps t − length, …, t − 1 of `data` and the target
    ``targets[t]``.

    Parameters
    ----------
    data : array_like (n, ...)
        One entry per time.
    targets : array_like (n, ...)
    length : int
        The number of times in a window.
    sampling_rate : int, default 1
        A window has every `sampling_rate`-th of its times.
    stride : int, default 1
        The distance in time of successive samples.
    start_index, end_index : int, default 0 and n − 1
        The first and the last time that is used.
    shuffle : bool, default False
        Whether each batch has random times, drawn with replacement from `numpy.random`.
    reverse : bool, default False
        Whether the last time of a window comes first.
    batch_size : int, default 128
    **kwargs
        Passed to `PyDataset`.

    Raises
    ------
    ValueError
        If `data` and `targets` have different lengths, or no window fits.

    Examples
    --------
    >>> batches = TimeseriesGenerator(np.arange(6), np.arange(6), length=2, batch_size=3)
    >>> x, y = batches[0]
    >>> x.tolist(), y.tolist(), len(batches)
    ([[0, 1], [1, 2], [2, 3]], [2, 3, 4], 2)
    """

    def __init__(
        self,
        data: Any,
        targets: Any,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        n = len(data)
        if n != len(targets):
            raise ValueError(
                f"data and targets must have the same length; received {n} and {len(targets)}"
            )
        self.data = data
        self.targets = targets
        self.length = integer("length", length, minimum=1)
        self.sampling_rate = integer("sampling_rate", sampling_rate, minimum=1)
        self.stride = integer("stride", stride, minimum=1)
        # The first time that has a whole window before it.
        self.start_index = integer("start_index", start_index, minimum=0) + self.length
        last = n - 1 if end_index is None else end_index
        self.end_index = integer("end_index", last, minimum=0, maximum=max(n - 1, 0))
        self.shuffle = flag("shuffle", shuffle)
        self.reverse = flag("reverse", reverse)
        self.batch_size = integer("batch_size", batch_size, minimum=1)
        if self.start_index > self.end_index:
            raise ValueError(
                f"start_index + length must be at most end_index, {self.end_index}; received "
                f"{self.start_index}"
            )

    def __len__(self) -> int:
        return -(-(self.end_index + 1 - self.start_index) // (self.batch_size * self.stride))

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        end = self.end_index + 1
        if self.shuffle:
            times = random_state().randint(self.start_index, end, self.batch_size)
        else:
            span = self.batch_size * self.stride
            first = self.start_index + span * index
            times = np.arange(first, min(first + span, end), self.stride)
        windows = (slice(time - self.length, time, self.sampling_rate) for time in times)
        samples = np.array([self.data[window] for window in windows])
        targets = np.array([self.targets[time] for time in times])
        return samples[:, ::-1] if self.reverse else samples, targets

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `data` and `targets` are JSON text."""
        return {
            "data": _json("data", self.data),
            "targets": _json("targets", self.targets),
            "length": self.length,
            "sampling_rate": self.sampling_rate,
            "stride": self.stride,
            "start_index": self.start_index - self.length,
            "end_index": self.end_index,
            "shuffle": self.shuffle,
            "reverse": self.reverse,
            "batch_size": self.batch_size,
        }

    def to_json(self, **kwargs: Any) -> str:
        """Return the class and `get_config` as JSON text.

        Parameters
        ----------
        **kwargs
            Passed to `json.dumps`.
        """
        return json.dumps(
            {"class_name": type(self).__name__, "config": self.get_config()}, **kwargs
        )


def _json(name: str, value: Any) -> str:
    try:
        return json.dumps(value.tolist() if isinstance(value, np.ndarray) else value)
    except TypeError as error:
        raise TypeError(f"{name} cannot be written as JSON: {error}") from None

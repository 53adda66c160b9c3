"""Data sets of windows over a time series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nnfast._utils import config
from nnfast._utils.checks import flag, integer, optional_integer
from nnfast._utils.registry import choose
from nnfast.keras.tf.data import AUTOTUNE, Dataset, from_rows
from nnfast.keras.tf.structures import as_array, read_only

__all__ = ["timeseries_dataset_from_array"]


def timeseries_dataset_from_array(
    data: ArrayLike,
    targets: ArrayLike | None,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "tf",
) -> Dataset:
    """Return a data set of windows over a time series.

    Window i contains the steps a, a + r, a + 2r, …, where a = start_index + i · sequence_stride and
    r = sampling_rate. Windows that would reach beyond `end_index` are left out.

    Parameters
    ----------
    data : array_like (steps, ...)
    targets : array_like (steps, ...) or None
        ``targets[a]`` is the target of the window that starts at step a. None: the elements are
        windows alone.
    sequence_length : int
        The number of steps in a window.
    sequence_stride, sampling_rate : int, default 1
        Less than the number of steps.
    batch_size : int or None, default 128
        None: the elements are single windows.
    shuffle : bool, default False
        Whether to shuffle the windows, and again a buffer of 8 batches in each iteration.
    seed : int, optional
        The seed of the orders.
    start_index, end_index : int, optional
        The first step of `data` to use, and the first one not to use.
    format : {"tf"}

    Returns
    -------
    Dataset
        Of pairs (windows, targets) or of windows alone; windows are (n, sequence_length, ...).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> data = timeseries_dataset_from_array(range(6), [10, 11, 12, 13, 14, 15], 3, 2)
    >>> for windows, targets in data:
    ...     print(windows.tolist(), targets.tolist())
    [[0, 1, 2], [2, 3, 4]] [10, 12]
    """
    series = _series("data", data)
    n = len(series)
    start = 0 if start_index is None else integer("start_index", start_index, 0, n - 1)
    end = n if end_index is None else integer("end_index", end_index, start + 1, n - 1)
    length = integer("sequence_length", sequence_length, 1)
    stride = integer("sequence_stride", sequence_stride, 1, n - 1)
    rate = integer("sampling_rate", sampling_rate, 1, n - 1)
    per_batch = optional_integer("batch_size", batch_size)
    choose("format", format, {"tf": None})
    shuffled = flag("shuffle", shuffle)
    number = config.next_seed() % 2**32 if seed is None else integer("seed", seed, 0, 2**32 - 1)
    steps = end - start - (length - 1) * rate
    values = None if targets is None else _series("targets", targets)
    if values is not None:
        steps = min(steps, len(values))
    starts = start + np.arange(0, max(steps, 0), stride)
    if values is not None and len(starts) and starts[-1] >= len(values):
        raise ValueError(
            f"targets must have an entry for each window, of which the last one starts at step "
            f"{starts[-1]}; received {len(values)} entries"
        )
    if shuffled:
        np.random.RandomState(number).shuffle(starts)
    offsets = np.arange(length) * rate

    def rows(index: Any) -> Any:
        first = starts[index]
        windows = series[first[..., None] + offsets]
        return windows if values is None else (windows, values[first, ...])

    dataset = from_rows(rows, len(starts))
    if shuffled:
        dataset = dataset.shuffle(1024 if per_batch is None else 8 * per_batch, number)
    if per_batch is not None:
        dataset = dataset.batch(per_batch)
    return dataset.prefetch(AUTOTUNE)


def _series(name: str, value: ArrayLike) -> Any:
    array = as_array(list(value) if isinstance(value, range) else value)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{name} must have at least one step; received shape {array.shape}")
    return read_only(array)

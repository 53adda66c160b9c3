"""Division of a data set into two."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._utils import config
from nnfast._utils.checks import flag, integer, real
from nnfast.keras.tf.data import AUTOTUNE, INFINITE_CARDINALITY, Dataset
from nnfast.keras.tf.structures import combine, leaves, map_structure, stack

__all__ = ["split_dataset"]


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Dataset, Dataset]:
    """Divide samples into two data sets: the first ones and the last ones.

    Parameters
    ----------
    dataset : Dataset, ndarray, or list or tuple of ndarray
        All samples are read into memory. Those of a `Dataset` that `batch` returned are divided,
        and both parts have the same batch size. The elements of any other `Dataset` are samples.
    left_size, right_size : int or float, optional
        The number of samples in each data set, or its share of all samples. At least one is
        necessary; the other one defaults to all remaining samples.
    shuffle : bool, default False
        Whether to shuffle the samples first, into the order that Keras has for `seed`.
    seed : int, optional
    preferred_backend : str, optional
        Any name except ``"torch"``; it has no effect.

    Returns
    -------
    tuple of two Dataset

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or one of the data sets would be empty.

    Examples
    --------
    >>> left, right = split_dataset(np.arange(5), left_size=0.6)
    >>> [int(x) for x in left], [int(x) for x in right]
    ([0, 1, 2], [3, 4])
    """
    if preferred_backend == "torch":
        raise ValueError("preferred_backend must not be 'torch': the results are tf.data.Dataset")
    if left_size is None and right_size is None:
        raise ValueError("left_size or right_size must be given; received None for both")
    samples = _samples(dataset)
    n = len(leaves(samples)[0])
    left, right = _sizes(left_size, right_size, n)
    order = list(range(n))
    if flag("shuffle", shuffle):
        number = config.next_seed() if seed is None else integer("seed", seed, 0)
        random.Random(number).shuffle(order)
    parts = [_part(samples, order[:left]), _part(samples, order[n - right :])]
    batch_size = dataset.batch_size if isinstance(dataset, Dataset) else None
    if batch_size is not None:
        parts = [part.batch(batch_size) for part in parts]
    return parts[0].prefetch(AUTOTUNE), parts[1].prefetch(AUTOTUNE)


def _samples(dataset: object) -> Any:
    """Return all samples as a structure of arrays."""
    if isinstance(dataset, np.ndarray):
        arrays: Any = dataset
    elif isinstance(dataset, Dataset):
        if dataset.cardinality() == INFINITE_CARDINALITY:
            raise ValueError("dataset must have an end; received an infinite one")
        found = list(dataset if dataset.batch_size is None else dataset.unbatch())
        arrays = combine(stack, found) if found else ()
    elif isinstance(dataset, (list, tuple)):
        arrays = tuple(dataset)
    else:
        raise TypeError(
            "dataset must be a tf.data.Dataset, an array, or a list or tuple of arrays; received "
            f"{type(dataset).__name__}"
        )
    own = leaves(arrays)
    if not all(isinstance(array, np.ndarray) for array in own):
        raise ValueError("dataset must consist of NumPy arrays")
    lengths = {len(array) if array.ndim else 0 for array in own}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"dataset must have arrays of one length, which is not 0; received {sorted(lengths)}"
        )
    return arrays


def _sizes(left_size: Any, right_size: Any, n: int) -> tuple[int, int]:
    """Return the numbers of samples in both data sets."""
    left = None if left_size is None else _size("left_size", left_size, n)
    right = None if right_size is None else _size("right_size", right_size, n)
    if left is None:
        left = n - (right or 0)
    if right is None:
        right = n - left
    if left + right > n:
        raise ValueError(
            f"left_size and right_size must not exceed the {n} samples together; received "
            f"{left_size!r} and {right_size!r}"
        )
    if not (left and right):
        raise ValueError(
            f"Both data sets must have samples; of {n} samples, left_size={left_size!r} and "
            f"right_size={right_size!r} give {left} and {right}"
        )
    return left, right


def _size(name: str, value: object, n: int) -> int:
    if isinstance(value, (float, np.floating)):
        return round(real(name, value, above=0.0, below=1.0) * n)
    return integer(name, value, 1, n - 1)


def _part(samples: Any, rows: Sequence[int]) -> Dataset:
    """Return the data set of some rows of the samples."""
    index = np.array(rows, np.intp)
    return Dataset.from_tensor_slices(map_structure(lambda array: array[index], samples))

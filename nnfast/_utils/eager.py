"""Arrays in and out of functions that users call directly, such as losses and activations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import converted, real_array
from nnfast._utils.config import default_dtype

Array = NDArray[Any]

# The epsilon of Keras: probabilities are clipped to [EPSILON, 1 − EPSILON].
EPSILON = 1e-7


def operand(name: str, value: ArrayLike, dtype: str | None = None) -> Array:
    """Return `value` as a float array.

    Without `dtype`, arrays of float32 and float64 keep theirs, and other input takes the default.

    Examples
    --------
    >>> operand("x", [1, 2]).dtype.name, operand("x", np.ones(2)).dtype.name
    ('float32', 'float64')
    """
    array = real_array(name, value)
    if dtype is None:
        known = hasattr(value, "dtype") and array.dtype.name in ("float32", "float64")
        dtype = array.dtype.name if known else default_dtype()
    return converted(array, dtype) if array.ndim else array.astype(dtype)


def same_rank(first: Array, second: Array) -> tuple[Array, Array]:
    """Return two arrays with equally many axes, if an axis of length 1 makes the difference.

    A column (n, 1) beside a vector (n,) turns the vector into a column.

    Examples
    --------
    >>> first, second = same_rank(np.ones(3), np.ones((3, 1)))
    >>> first.shape, second.shape
    ((3, 1), (3, 1))
    """
    if first.ndim == second.ndim + 1 and first.shape[-1] == 1:
        return (first, second[:, None]) if second.ndim == 1 else (first[..., 0], second)
    if second.ndim == first.ndim + 1 and second.shape[-1] == 1:
        return (first[:, None], second) if first.ndim == 1 else (first, second[..., 0])
    return first, second


def result(values: Any) -> Any:
    """Return values that a user called for: an array, or a NumPy number for a single one."""
    return values[()] if isinstance(values, np.ndarray) and not values.ndim else values

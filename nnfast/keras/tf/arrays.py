"""TensorFlow's functions of arrays that programs apply to data, computed with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nnfast._utils.checks import integer
from nnfast._utils.tensor import Tensor

bool = np.dtype(np.bool_)  # TensorFlow's name
float32, float64 = np.dtype(np.float32), np.dtype(np.float64)
int32, int64, uint8 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.uint8)
string = np.dtype(np.str_)
newaxis = None

Axis = int | Sequence[int] | None


def _tensor(value: ArrayLike, dtype: DTypeLike | None = None) -> Tensor:
    return np.asarray(value, dtype).view(Tensor)


def convert_to_tensor(value: ArrayLike, dtype: DTypeLike | None = None) -> Tensor:
    """Return a copy. As in TensorFlow, Python's floats are float32, and its integers int32.

    Examples
    --------
    >>> convert_to_tensor([1.0, 2.0]).dtype
    dtype('float32')
    """
    if dtype is None and not hasattr(value, "dtype"):
        kind = np.asarray(value).dtype.kind
        dtype = {"f": np.float32, "i": np.int32}.get(kind)
    return np.array(value, dtype).view(Tensor)


def constant(
    value: ArrayLike, dtype: DTypeLike | None = None, shape: Sequence[int] | None = None
) -> Tensor:
    """Return an array, repeated to `shape` if it is given."""
    array = convert_to_tensor(value, dtype)
    if shape is None:
        return array
    size = int(np.prod(shape))
    return (array.reshape(shape) if array.size == size else np.full(shape, array)).view(Tensor)


def cast(x: ArrayLike, dtype: DTypeLike) -> Tensor:
    """Return `x` with another dtype.

    Examples
    --------
    >>> cast([1, 2], float32) / 255
    Tensor([0.00392157, 0.00784314], dtype=float32)
    """
    return np.asarray(x).astype(dtype).view(Tensor)


def one_hot(indices: ArrayLike, depth: int) -> Tensor:
    """Return one-hot rows (…, depth) as float32; an index out of range gives zeros.

    Examples
    --------
    >>> one_hot([1, 0], 2).numpy()
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    classes = np.arange(integer("depth", depth, minimum=0))
    return _tensor(np.equal(np.asarray(indices)[..., None], classes), np.float32)


def reshape(tensor: ArrayLike, shape: Sequence[int]) -> Tensor:
    """Return the array in another shape."""
    return _tensor(np.asarray(tensor).reshape(shape))


def expand_dims(input: ArrayLike, axis: int) -> Tensor:
    """Return the array with a new axis of size 1."""
    return _tensor(np.expand_dims(input, axis))


def squeeze(input: ArrayLike, axis: Axis = None) -> Tensor:
    """Return the array without axes of size 1."""
    return _tensor(np.squeeze(np.asarray(input), _axes(axis)))


def transpose(a: ArrayLike, perm: Sequence[int] | None = None) -> Tensor:
    """Return the array with its axes in another order."""
    return _tensor(np.transpose(np.asarray(a), perm))


def concat(values: Sequence[ArrayLike], axis: int) -> Tensor:
    """Return the arrays, joined along an axis."""
    return np.concatenate(values, axis).view(Tensor)


def stack(values: Sequence[ArrayLike], axis: int = 0) -> Tensor:
    """Return the arrays, joined along a new axis."""
    return np.stack(values, axis).view(Tensor)


def argmax(input: ArrayLike, axis: int = 0) -> Tensor:
    """Return the index of the largest entry along an axis, by default the first."""
    return _tensor(np.argmax(np.asarray(input), axis))


def reduce_mean(input_tensor: ArrayLike, axis: Axis = None, keepdims: Any = False) -> Tensor:
    """Return the mean over axes, by default over all."""
    return _tensor(np.mean(np.asarray(input_tensor), _axes(axis), keepdims=keepdims))


def reduce_sum(input_tensor: ArrayLike, axis: Axis = None, keepdims: Any = False) -> Tensor:
    """Return the sum over axes, by default over all."""
    return _tensor(np.sum(np.asarray(input_tensor), _axes(axis), keepdims=keepdims))


def reduce_max(input_tensor: ArrayLike, axis: Axis = None, keepdims: Any = False) -> Tensor:
    """Return the largest entry over axes, by default over all."""
    return _tensor(np.max(np.asarray(input_tensor), _axes(axis), keepdims=keepdims))


def _axes(axis: Axis) -> Any:
    return tuple(axis) if isinstance(axis, Sequence) else axis


def square(x: ArrayLike) -> Tensor:
    """Return x²."""
    return _tensor(np.square(np.asarray(x)))


def sqrt(x: ArrayLike) -> Tensor:
    """Return √x."""
    return _tensor(np.sqrt(np.asarray(x)))


def abs(x: ArrayLike) -> Tensor:
    """Return |x|."""
    return _tensor(np.abs(np.asarray(x)))


def zeros(shape: Sequence[int], dtype: DTypeLike = np.float32) -> Tensor:
    """Return zeros."""
    return _tensor(np.zeros(shape, dtype))


def ones(shape: Sequence[int], dtype: DTypeLike = np.float32) -> Tensor:
    """Return ones."""
    return _tensor(np.ones(shape, dtype))


def range(start: float, limit: float | None = None, delta: float = 1) -> Tensor:
    """Return the numbers from `start`, or 0, up to `limit`.

    Examples
    --------
    >>> range(3).numpy()
    array([0, 1, 2], dtype=int32)
    """
    first, last = (0, start) if limit is None else (start, limit)
    return convert_to_tensor(np.arange(first, last, delta).tolist())

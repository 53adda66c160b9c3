"""Nested tuples and dicts of arrays, which are the elements of a `Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import entries

__all__ = [
    "TensorSpec",
    "as_array",
    "combine",
    "conform",
    "filled",
    "leaves",
    "map_structure",
    "padded",
    "read_only",
    "rows_of_arrays",
    "specs",
    "stack",
]

Array = NDArray[Any]
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class TensorSpec:
    """The shape and the dtype of an array, as in ``tf.TensorSpec``.

    Parameters
    ----------
    shape : sequence of (int or None), optional
        None in place of a number allows any size, and None in place of the shape any shape.
    dtype : dtype or str, default "float32"
    name : str, optional
        Has no effect.
    """

    shape: Sequence[int | None] | None = None
    dtype: Any = "float32"
    name: str | None = None


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """Return a structure of the results of `function` for each leaf.

    Tuples, named tuples and dicts are structures; everything else, also a list, is a leaf.

    Examples
    --------
    >>> map_structure(lambda x: 10 * x, (1, {"a": 2}))
    (10, {'a': 20})
    """
    if isinstance(structure, tuple):
        return _rebuilt(structure, [map_structure(function, part) for part in structure])
    if isinstance(structure, Mapping):
        return {key: map_structure(function, part) for key, part in structure.items()}
    return function(structure)


def leaves(structure: Any) -> list[Any]:
    """Return the leaves of a structure in order."""
    found: list[Any] = []
    map_structure(found.append, structure)
    return found


def filled(structure: Any, values: tuple[Any, ...]) -> Any:
    """Return a structure with `values` in place of its leaves."""
    following = iter(values)
    return map_structure(lambda _: next(following), structure)


def combine(function: Callable[[list[Any]], Any], structures: list[Any]) -> Any:
    """Return a structure of the results of `function` for each list of corresponding leaves.

    Raises
    ------
    ValueError
        If the structures differ.

    Examples
    --------
    >>> combine(sum, [(1, {"a": 2}), (3, {"a": 4})])
    (4, {'a': 6})
    """
    first = structures[0]
    if not isinstance(first, (tuple, Mapping)):
        return function(structures)
    keys = range(len(first)) if isinstance(first, tuple) else first.keys()
    for other in structures:
        if type(other) is not type(first) or len(other) != len(first):
            raise ValueError(
                f"All elements must have the same structure; received {_outline(first)} and "
                f"{_outline(other)}"
            )
    parts = {key: combine(function, [other[key] for other in structures]) for key in keys}
    return _rebuilt(first, list(parts.values())) if isinstance(first, tuple) else parts


def _rebuilt(original: tuple[Any, ...], parts: list[Any]) -> Any:
    """Return `parts` as a tuple, or as a named tuple of the type of `original`."""
    return type(original)(*parts) if hasattr(original, "_fields") else tuple(parts)


def _outline(structure: Any) -> str:
    if isinstance(structure, (tuple, Mapping)):
        return f"{type(structure).__name__} of length {len(structure)}"
    return type(structure).__name__


def as_array(value: Any) -> Array:
    """Return `value` as an array; Python's numbers become int32 and float32, as in TensorFlow.

    Integers that do not fit become int64. Arrays keep their dtype.

    Raises
    ------
    TypeError, ValueError
        If `value` is sparse, or its rows have different lengths.

    Examples
    --------
    >>> as_array([1, 2]).dtype, as_array([0.5]).dtype, as_array(np.ones(3)).dtype
    (dtype('int32'), dtype('float32'), dtype('float64'))
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if hasattr(value, "toarray"):
        raise TypeError(f"Expected a dense array; received a sparse {type(value).__name__}")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"Expected an array or lists with rows of one length: {error}") from None
    entry = value
    while isinstance(entry, (list, tuple)) and entry:
        entry = entry[0]
    if isinstance(entry, (int, float)) and not isinstance(entry, np.generic):
        if array.dtype == np.float64:
            with np.errstate(over="ignore"):
                return array.astype(np.float32)
        small = array.dtype == np.int64 and _INT32.min <= array.min() and array.max() <= _INT32.max
        return array.astype(np.int32) if small else array
    return array


def stack(arrays: list[Any]) -> Array | None:
    """Return arrays of one shape as one array with a new first axis; None for Nones.

    Raises
    ------
    TypeError, ValueError
        If they are not arrays, or have different shapes.
    """
    if arrays[0] is None:
        return None
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise TypeError(f"A batch must consist of arrays; received {type(arrays[0]).__name__}")
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        first, second, *_ = sorted(shapes)
        raise ValueError(
            f"Elements of different shapes, {first} and {second}, cannot form a batch; "
            "padded_batch() makes them equal"
        )
    return np.array(arrays)


def padded(elements: list[Any], shapes: Any = None, values: Any = None) -> Any:
    """Return the batch of elements whose arrays are padded at the ends of their axes.

    Parameters
    ----------
    elements : list of structures
    shapes : structure of sequences of (int or None), optional
        The padded shapes. None or -1 means the largest size in the batch.
    values : scalar or structure of scalars, optional
        The values of the padding, by default 0 or empty text.

    Raises
    ------
    ValueError
        If an array has another number of axes than its padded shape, or is larger.

    Examples
    --------
    >>> padded([np.array([1, 2]), np.array([3])])
    array([[1, 2],
           [3, 0]])
    """
    first = elements[0]
    if not isinstance(first, (tuple, Mapping)):
        return _pad_and_stack(elements, shapes, values)
    nested = isinstance(values, (tuple, Mapping))

    def part(key: Any) -> Any:
        return padded(
            [element[key] for element in elements],
            None if shapes is None else shapes[key],
            values[key] if nested else values,
        )

    if isinstance(first, tuple):
        return _rebuilt(first, [part(i) for i in range(len(first))])
    return {key: part(key) for key in first}


def _pad_and_stack(arrays: list[Array], shape: Any, value: Any) -> Array:
    axes = arrays[0].ndim
    wanted = [None] * axes if shape is None else entries("padded_shapes", shape)
    if any(array.ndim != len(wanted) for array in arrays):
        found = sorted({array.shape for array in arrays})
        raise ValueError(f"Expected arrays with {len(wanted)} axes; received shapes {found}")
    largest = [max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True)]
    size = [most if n in (None, -1) else int(n) for n, most in zip(wanted, largest, strict=True)]
    if any(n < most for n, most in zip(size, largest, strict=True)):
        raise ValueError(f"An element of shape {largest} is larger than the padded shape {size}")
    dtype = np.result_type(*arrays)
    batch = np.full((len(arrays), *size), np.zeros((), dtype) if value is None else value, dtype)
    for i, array in enumerate(arrays):
        place: tuple[Any, ...] = (i, *map(slice, array.shape))
        batch[place] = array
    return batch


def conform(spec: Any, value: Any) -> Any:
    """Return a copy of `value` with the structure, dtypes and shapes of `spec`.

    Parameters
    ----------
    spec : TensorSpec, or a tuple, list or dict of them
        Any objects with ``shape`` and ``dtype`` may stand in place of a TensorSpec.
    value : object
        Lists are accepted in place of tuples.

    Raises
    ------
    TypeError, ValueError
        If `value` has another structure or shape, or cannot be converted to the dtype.
    """
    if isinstance(spec, Mapping):
        if not isinstance(value, Mapping) or value.keys() != spec.keys():
            raise TypeError(f"Expected a dict with the keys {list(spec)}; received {value!r:.80}")
        return {key: conform(part, value[key]) for key, part in spec.items()}
    if isinstance(spec, (tuple, list)):
        if not isinstance(value, (tuple, list)) or len(value) != len(spec):
            raise TypeError(f"Expected a tuple of length {len(spec)}; received {value!r:.80}")
        return tuple(conform(part, own) for part, own in zip(spec, value, strict=True))
    array = np.array(value, np.dtype(spec.dtype))
    shape = spec.shape
    if shape is not None:
        shape = tuple(shape)
        alike = len(shape) == array.ndim and all(
            want in (None, size) for want, size in zip(shape, array.shape, strict=True)
        )
        if not alike:
            raise TypeError(f"Expected an array of shape {shape}; received shape {array.shape}")
    return array


def specs(types: Any, shapes: Any) -> Any:
    """Return dtypes and shapes as a structure of TensorSpec."""
    if isinstance(types, Mapping):
        return {k: specs(own, None if shapes is None else shapes[k]) for k, own in types.items()}
    if isinstance(types, (tuple, list)):
        parts = [None] * len(types) if shapes is None else shapes
        return tuple(specs(own, shape) for own, shape in zip(types, parts, strict=True))
    return TensorSpec(shapes, types)


def read_only(value: Any) -> Any:
    """Return a read-only view of an array, and anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    view = value.view()
    view.flags.writeable = False
    return view


def rows_of_arrays(arrays: Any, index: Any) -> Any:
    """Return a row of arrays for an int, and a batch for an array of ints; views if possible."""
    if isinstance(index, int):
        return map_structure(lambda array: array[index, ...], arrays)
    first, last = int(index[0]), int(index[-1])
    if last - first == len(index) - 1 and (np.diff(index) == 1).all():
        index = slice(first, last + 1)
    return map_structure(lambda array: array[index], arrays)

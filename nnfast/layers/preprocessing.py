"""The base class of the layers that Python computes before the engine, and one-hot encodings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._data import batches
from nnfast._plan.symbolic import KerasTensor, TensorSpec, symbolic
from nnfast._utils.checks import Array, Shape, flag, integer, optional_integer, real_array
from nnfast._utils.config import TEXT, default_dtype
from nnfast._utils.registry import choose
from nnfast._utils.tensor import Tensor
from nnfast.layers.layer import Layer

# The index of a token that no encoding contains.
NO_TOKEN = -1


class DataLayer(Layer):
    """Base class of the layers that Python computes before the engine reads the data.

    They can be called with arrays. In a model they come first: each takes an `Input` or the output
    of another such layer. They have no ops.
    """

    before_engine = True

    def values(self, name: str, x: Any) -> Array:
        """Return the argument of a call as an array of text, integers or floats."""
        return real_array(name, x)

    def compute(self, x: Array) -> Array:
        """Return the outputs for an array that `values` returned."""
        raise NotImplementedError

    def __call__(self, x: Any, *, training: bool | None = None) -> Any:
        """Return the outputs for an array, or the symbolic output for a symbolic input.

        Parameters
        ----------
        x : array_like or KerasTensor
        training : bool, optional
            Has no effect.

        Returns
        -------
        ndarray or KerasTensor
        """
        if symbolic(x):
            return super().__call__(x, training=training)
        return self.compute(self.values("x", x)).view(Tensor)

    def _output_specs(self, inputs: Sequence[KerasTensor]) -> list[TensorSpec]:
        (x,) = inputs
        if (x.dtype == TEXT) != (self.input_dtype == TEXT):
            kind = "text" if self.input_dtype == TEXT else "numbers"
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} expects {kind}; received an input of "
                f"dtype {x.dtype!r}: pass dtype='string' to Input for text only"
            )
        return super()._output_specs(inputs)


def whole_numbers(name: str, x: Any) -> NDArray[np.int64]:
    """Return integers, or whole floats, as int64."""
    array = real_array(name, x)
    with np.errstate(invalid="ignore"):
        numbers = array.astype(np.int64)
    if array.dtype.kind not in "bi" and (numbers != array).any():
        wrong = array[numbers != array][0]
        raise ValueError(f"{name} must hold integers that fit in 64 bits; received {wrong}")
    return numbers


def data_batches(data: Any, steps: object) -> Iterator[Any]:
    """Yield the batches of a stream, at most `steps`, without their targets; or an array alone.

    A list is an array, so only a tuple has targets.
    """
    limit = optional_integer("steps", steps)
    if isinstance(data, Mapping):
        raise TypeError(
            "data must be an array or an iterable of batches; received a mapping with the keys "
            f"{list(data)[:10]}: pass one of its values"
        )
    if not batches.is_stream(data):
        if limit is not None:
            raise ValueError(f"steps can be given for batches only; received steps={limit}")
        yield data
        return
    epoch = batches.Stream(data, limit, what="data")
    epoch.begin_first()
    for batch in epoch:
        parts = batch if isinstance(batch, tuple) else (batch,)
        yield batches.batch_parts(parts, "a batch of data", targets=False)[0]


# ---- encodings -----------------------------------------------------------------------------------


def encoded_shape(layer: Layer, input_shape: Shape, mode: str, depth: int) -> Shape:
    """Return the shape of the encoding of a sample; see `encoded`."""
    if mode == "int":
        return input_shape
    if mode == "one_hot":
        one = len(input_shape) > 0 and input_shape[-1] == 1
        return (*(input_shape[:-1] if one else input_shape), depth)
    if len(input_shape) > 1:
        raise ValueError(
            f"{type(layer).__name__} layer {layer.name!r} with output_mode={mode!r} expects "
            f"samples of shape (tokens,); received shape {input_shape}"
        )
    return (depth,)


def encoded(
    indices: NDArray[np.int64], mode: str, depth: int, dtype: str, weights: Array | None = None
) -> Array:
    """Return the encoding of indices; those outside 0 … depth − 1 appear in no encoding.

    Parameters
    ----------
    indices : ndarray (n, ...)
        One axis, or none, is a single sample.
    mode : {"int", "one_hot", "multi_hot", "count"}
        "one_hot" encodes each index, along the last axis if this has size 1 and else along a new
        one. "multi_hot" and "count" encode each row of indices.
    depth : int
        The number of different indices.
    dtype : str
    weights : ndarray, optional
        The number that each index adds to its count.
    """
    if mode == "int":
        return indices.astype(dtype)
    if indices.ndim == 0:
        indices = indices[None]
    if mode == "one_hot":
        if indices.ndim > 1 and indices.shape[-1] == 1:
            indices = indices[..., 0]
        rows = indices.reshape(-1, 1)
    elif indices.ndim > 2:
        raise ValueError(
            f"x must have at most two axes for output_mode={mode!r}; received shape {indices.shape}"
        )
    else:
        rows = np.atleast_2d(indices)
    row, column = np.nonzero((rows >= 0) & (rows < depth))
    each = None if weights is None else weights.reshape(rows.shape)[row, column]
    kind = "count" if mode == "count" else "multi_hot"
    out = counted(row, rows[row, column], (len(rows), depth), kind, dtype, each)
    shape = indices.shape if mode == "one_hot" else indices.shape[:-1]
    return out.reshape(*shape, depth)


def counted(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    shape: tuple[int, int],
    mode: str,
    dtype: str,
    weights: Array | None = None,
) -> Array:
    """Return a matrix with ones at positions ("multi_hot"), or with their numbers ("count").

    Negative columns are left out. Each position adds its weight to the count, by default 1.
    """
    inside = columns >= 0
    if not inside.all():
        rows, columns = rows[inside], columns[inside]
        weights = None if weights is None else weights[inside]
    at = rows * shape[1] + columns
    if mode == "count":
        return np.bincount(at, weights, shape[0] * shape[1]).astype(dtype).reshape(shape)
    out = np.zeros(shape, dtype)
    out.reshape(-1)[at] = 1
    return out


def encoding_mode(value: object, known: Sequence[str]) -> str:
    """Return the checked argument `output_mode`; older names are "binary" and "tf-idf"."""
    older = {"binary": "multi_hot", "tf-idf": "tf_idf"}
    mode: Any = older.get(value, value) if isinstance(value, str) else value
    return choose("output_mode", mode, {name: name for name in known})


def no_sparse(value: object) -> bool:
    """Return the argument `sparse`, which must be False."""
    if flag("sparse", value):
        raise ValueError("sparse must be False, because outputs are dense arrays; received True")
    return False


def float_name(layer: Layer) -> str:
    """Return the floating-point dtype of a layer's outputs for arrays."""
    return layer.dtype or default_dtype()


def number_of_tokens(name: str, value: object) -> int:
    """Return the size of an encoding, at least 1."""
    return integer(name, value, minimum=1, maximum=2**31 - 1)

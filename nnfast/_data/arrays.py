"""Checks of x, y and weights, and their conversion to what the engine reads.

No function changes the user's arrays. Arrays that the engine can read in place are not copied.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._engine import find_wrong_id, in_range
from nnfast._plan.open_shapes import fits
from nnfast._utils.checks import Array, OpenShape, Shape, converted, real_array
from nnfast.losses import TargetSpec

# The dtypes that the engine's gather reads in place.
_IN_PLACE = frozenset(map(np.dtype, "fdBbHhIiLlQq"))
# Maximum number of rows: a shuffled order consists of 32-bit row indices.
MOST_ROWS = 2**31 - 1
# Distance by which targets may lie outside a loss's range, because rounding to float16 can put them
# there.
TARGET_TOLERANCE = 1e-3


def feature_shape(x: Array) -> Shape:
    """Return the shape of one sample of `x`; a 1-D x has one feature per row."""
    if x.ndim == 0:
        raise ValueError(f"x must have one row per sample; received a single number, {x}")
    return x.shape[1:] or (1,)


def features(name: str, x: object, sample_shape: Shape, dtype: np.dtype[Any]) -> Array:
    """Return `x` as (n, n_in), without a copy if the engine can read it in place.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    x : array_like (n, *sample_shape)
        Of any real, integer or boolean dtype. As in Keras, a last axis of size 1 may be missing or
        superfluous, and a list may contain the array alone.
    sample_shape : tuple of int
    dtype : numpy.dtype
        The dtype to which arrays are converted unless they are float32, float64, integers or bool.

    Raises
    ------
    TypeError
        If `x` is not numeric.
    ValueError
        If its shape does not fit.
    """
    if (
        type(x) is np.ndarray
        and x.shape[1:] == sample_shape
        and x.dtype in _IN_PLACE
        and x.flags.carray
    ):
        return x if x.ndim == 2 else x.reshape(len(x), math.prod(sample_shape))
    array = with_last_axis(real_array(name, only_array(x, sample_shape)), sample_shape)
    if array.ndim == 0 or array.shape[1:] != sample_shape:
        hint = "; a single sample needs a batch axis: x[None], or .batch(n) on a dataset of samples"
        raise ValueError(
            f"{name} must have shape {batch_of(sample_shape)}, one row per sample; "
            f"received shape {array.shape}{hint if array.shape == sample_shape else ''}"
        )
    if array.dtype == bool:
        array = array.view(np.uint8)
    # A strided view is copied in its own dtype, so that uint8 stays uint8.
    array = converted(array, array.dtype if array.dtype in _IN_PLACE else dtype)
    return array.reshape(len(array), math.prod(sample_shape))


def check_ids(name: str, rows: Array, sample_shape: Shape, ids: list[tuple[int, int, int]]) -> None:
    """Raise a ValueError if a column of ids holds anything else.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    rows : ndarray (n, n_in)
    sample_shape : tuple of int
    ids : list of tuple of int
        Ranges of columns, and the number of rows of the table that they name: (begin, end, rows).
    """
    at = find_wrong_id(rows, ids)
    if at < 0:
        return
    row, column = divmod(at, rows.shape[1])
    n = next(limit for begin, end, limit in ids if begin <= column < end)
    position = tuple(map(int, np.unravel_index(at, (len(rows), *sample_shape))))
    raise ValueError(
        f"{name} must hold whole numbers from 0 to {n - 1} where it is read by an Embedding, whose "
        f"table has {n} rows; received {rows[row, column]} at position {position}"
    )


def targets(name: str, y: object, rows: int, spec: TargetSpec, dtype: np.dtype[Any] | str) -> Array:
    """Return the targets of `rows` samples in the engine's form.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    y : array_like
        Class indices of shape (n,) or (n, 1), or targets of shape (n, *shape). As in Keras, a last
        axis of size 1 may be missing or superfluous, and a list may contain the array alone.
    rows : int
        The number of samples.
    spec : TargetSpec
        The loss's requirements.
    dtype : numpy.dtype or str
        The model's dtype.

    Returns
    -------
    ndarray
        Class indices as int32 of shape (n,). For a user-defined loss, `y` itself, reshaped from
        (n,) to (n, 1) if the model has one output. Otherwise, an array (n, outputs) of `dtype`.

    Raises
    ------
    TypeError
        If `y` is not numeric.
    ValueError
        If its shape does not fit, a class index is not an integer in range, or a target is outside
        the loss's range by more than `TARGET_TOLERANCE`. NaN is allowed.
    """
    if spec.classes:
        return _class_indices(name, only_array(y, spec.shape[:-1]), rows, spec.shape)
    if spec.free:
        array = real_array(name, only_array(y, spec.shape))
        if array.ndim == 0:
            raise ValueError(f"{name} must have one row per sample; received {array}")
        _check_rows(name, array, rows)
        return array[:, None] if array.ndim == 1 and spec.shape == (1,) else array
    targets = _real_targets(name, y, rows, spec, dtype)
    if spec.copies > 1:  # the loss compares every output with the same target
        return np.repeat(targets, spec.copies, axis=1)
    if spec.range is not None:
        _check_range(name, targets, spec.range, spec)
    if spec.signed and ((targets == 0) | (targets == 1)).all():
        return 2 * targets - 1
    return targets


def only_array(value: object, sample_shape: OpenShape) -> object:
    """Return the array in a list that contains only this one, and anything else unchanged."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        only = value[0]
        if isinstance(only, np.ndarray) and (
            only.ndim > len(sample_shape) or fits((*only.shape[1:], 1), sample_shape)
        ):
            return only
    return value


def with_last_axis(array: Array, sample_shape: OpenShape) -> Array:
    """Return rows with the last axis of size 1 that is missing, or without a superfluous one."""
    if sample_shape[-1:] == (1,) and fits(array.shape[1:], sample_shape[:-1]) and array.ndim:
        return array[..., None]
    if array.ndim > 2 and fits(array.shape[1:], (*sample_shape, 1)):
        return array[..., 0]
    return array


def _check_range(name: str, targets: Array, bounds: tuple[float, float], spec: TargetSpec) -> None:
    low, high = bounds
    if in_range(targets, low - TARGET_TOLERANCE, high + TARGET_TOLERANCE):
        return
    allowed = f"from {low:g} to {high:g}" if high < math.inf else f">= {low:g}"
    raise ValueError(
        f"{name} must hold numbers {allowed} for {spec.loss}; received values from "
        f"{np.nanmin(targets):g} to {np.nanmax(targets):g}: {spec.advice}"
    )


def output_gradient(
    name: str, value: object, rows: int, sample_shape: Shape, dtype: np.dtype[Any] | str
) -> Array:
    """Return the gradient of a loss with respect to the outputs as (rows, outputs)."""
    array = real_array(name, value)
    if array.shape == (rows,) and sample_shape == (1,):
        array = array[:, None]
    if array.shape != (rows, *sample_shape):
        raise ValueError(
            f"{name} must have the shape of the model's output, {(rows, *sample_shape)}; "
            f"received shape {array.shape}"
        )
    return converted(array, dtype).reshape(rows, math.prod(sample_shape))


def _real_targets(
    name: str, y: object, rows: int, spec: TargetSpec, dtype: np.dtype[Any] | str
) -> Array:
    """Return numeric targets as (n, prod(shape)), without a copy if possible."""
    sample_shape = spec.shape
    if (
        type(y) is np.ndarray
        and y.shape == (rows, *sample_shape)
        and y.dtype == dtype
        and y.flags.carray
    ):
        return y if y.ndim == 2 else y.reshape(rows, math.prod(sample_shape))
    array = with_last_axis(real_array(name, only_array(y, sample_shape)), sample_shape)
    if array.ndim == 0 or array.shape[1:] != sample_shape:
        indices = spec.one_hot and array.shape[1:] in ((), (1,))
        hint = "; for class indices use sparse_categorical_crossentropy" if indices else ""
        raise ValueError(
            f"{name} must have shape {batch_of(sample_shape)} to match the model's output; "
            f"received shape {array.shape}{hint}"
        )
    _check_rows(name, array, rows)
    return converted(array, dtype).reshape(rows, math.prod(sample_shape))


def _class_indices(name: str, y: object, rows: int, sample_shape: Shape) -> NDArray[np.int32]:
    """Return class indices as (n, *sample_shape[:-1])."""
    array = real_array(name, y)
    *steps, n_classes = sample_shape
    if array.ndim == 0 or array.shape[1:] not in (tuple(steps), (*steps, 1)):
        hot = array.shape[1:] == sample_shape or (not steps and array.ndim == 2)
        hint = "; for one-hot targets use categorical_crossentropy" if hot else ""
        one = "row of outputs" if steps else "sample"
        shape = batch_of(tuple(steps)) if steps else "(n,)"
        raise ValueError(
            f"{name} must hold one class index per {one}, shape {shape} or "
            f"{batch_of((*steps, 1))}; received shape {array.shape}{hint}"
        )
    _check_rows(name, array, rows)
    array = array.reshape(rows, *steps)
    # Comparisons with NaN are false, so `not (...)` catches NaN, too.
    if array.size and not (array.min() >= 0 and array.max() < n_classes):
        raise ValueError(
            f"{name} must hold class indices from 0 to {n_classes - 1}, because the model has "
            f"{n_classes} outputs; received values from {array.min()} to {array.max()}"
        )
    indices = np.require(array, np.int32, ["C", "A"])
    if array.dtype.kind == "f" and (indices != array).any():
        wrong = array[indices != array][0]
        raise ValueError(f"{name} must hold integers (class indices); received {wrong}")
    return indices


def sample_weights(
    name: str, value: object, rows: int, steps: Shape = ()
) -> NDArray[np.float64] | None:
    """Return weights as float64, checked to be finite and >= 0, or None.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    value : array_like or None
        Weights of samples, (n,) or (n, 1), or of their steps, (n, *steps) or (n, *steps, 1). Axes
        of steps may have size 1, and are then repeated.
    rows : int
        The number of samples.
    steps : tuple of int
        The axes of the steps of one sample.

    Returns
    -------
    ndarray (n,) or (n, prod(steps)), or None
    """
    if value is None:
        return None
    array = real_array(name, value)
    by_step = array.ndim > 1 and array.shape[1:] != (1,)
    own = array[..., 0] if by_step and array.shape[1:] == (*steps, 1) else array
    fits = own.ndim == 1 + len(steps) and all(
        size in (1, n) for size, n in zip(own.shape[1:], steps, strict=True)
    )
    if array.ndim == 0 or (by_step and not (steps and fits)):
        hint = f", or {batch_of(steps)}, one per step" if steps else ""
        raise ValueError(
            f"{name} must have shape (n,), one weight per sample{hint}; received shape "
            f"{array.shape}"
        )
    _check_rows(name, array, rows)
    shape = (rows, math.prod(steps)) if by_step else (rows,)
    full = np.broadcast_to(own, (rows, *steps)) if by_step else array
    weights = np.require(full.reshape(shape), np.float64, ["C", "A"])
    bad = ~(np.isfinite(weights) & (weights >= 0.0))
    if bad.any():
        row = int(bad.reshape(rows, -1).any(axis=1).argmax())
        raise ValueError(f"{name} must be finite and >= 0; received {weights[bad][0]} in row {row}")
    return weights


def check_order(name: str, rows: int) -> None:
    """Raise a ValueError if there are more rows than training can shuffle."""
    if rows > MOST_ROWS:
        raise ValueError(
            f"{name} must have at most {MOST_ROWS} rows for training; received {rows}: train on "
            "parts of it, or on a stream of batches"
        )


def _check_rows(name: str, array: Array, rows: int) -> None:
    if len(array) != rows:
        raise ValueError(f"{name} must have {rows} rows, as x has; received {len(array)}")


def batch_of(sample_shape: OpenShape) -> str:
    """Return the shape of a batch as text: "(n, 28, 28)"."""
    return f"(n, {', '.join(map(str, sample_shape))})"


_READ_IN_PLACE = (np.dtype(np.float32), np.dtype(np.float64))


def readable(x: Any, dtype: np.dtype[Any]) -> Any:
    """Return dense or sparse rows in a form that the engine can read, without a copy if possible.

    Examples
    --------
    >>> from scipy import sparse
    >>> x = np.ones((3, 2))
    >>> readable(x, x.dtype) is x, readable(x.T, x.dtype).flags.c_contiguous
    (True, True)
    >>> readable(sparse.csc_array(x), x.dtype).format
    'csr'
    """
    from scipy import sparse  # imported here, because only estimators need it

    if x.dtype not in _READ_IN_PLACE:
        x = x.astype(dtype)
    if not sparse.issparse(x):
        return np.require(x, requirements=("C", "A"))
    if x.format != "csr":
        x = sparse.csc_array(x)
        x.check_format(full_check=True)  # wrong indices would crash SciPy's conversion
    rows = sparse.csr_array(x)  # does not copy a CSR matrix; the engine checks its indices
    rows.indices, rows.data = (
        np.require(part, requirements=("C", "A")) for part in (rows.indices, rows.data)
    )
    return rows

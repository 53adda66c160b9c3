"""x, y and weights: checked and converted once, to what the engine reads.

Nothing here changes an array of the user's; arrays that the engine reads in place are passed on
without a copy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._engine import in_range
from nnfast._utils.checks import Array, Shape, converted, real_array
from nnfast.losses import TargetSpec

# What the engine's gather reads as it is.
_IN_PLACE = frozenset(map(np.dtype, (np.float32, np.float64, np.uint8)))
# Rows are numbered by 32 bits.
MOST_ROWS = 2**31 - 1
# How far targets may be outside a loss's range: what computing them in float16 rounds by.
TARGET_TOLERANCE = 1e-3


def feature_shape(x: Array) -> Shape:
    """Return the shape of one sample of `x`; a 1-D x has one feature a row."""
    if x.ndim == 0:
        raise ValueError(f"x must have a row for each sample; received a single number, {x}")
    return x.shape[1:] or (1,)


def features(name: str, x: object, one: Shape, dtype: np.dtype[Any]) -> Array:
    """Return `x` as (n, n_in), in place where the engine can read it so.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    x : array_like (n, *one), any real, integer or boolean dtype; (n,) where `one` is (1,)
    one : tuple of int
        Shape of one sample.
    dtype : numpy.dtype
        What anything but float32, float64, uint8 and bool is converted to.

    Raises
    ------
    TypeError
        If `x` is not numeric.
    ValueError
        If its shape does not fit.
    """
    if type(x) is np.ndarray and x.shape[1:] == one and x.dtype in _IN_PLACE and x.flags.carray:
        return x if x.ndim == 2 else x.reshape(len(x), math.prod(one))
    array = real_array(name, x)
    if array.ndim == 1 and one == (1,):
        array = array[:, None]
    if array.ndim == 0 or array.shape[1:] != one:
        hint = f"; for a single sample pass {name}[None]" if array.shape == one else ""
        raise ValueError(
            f"{name} must have shape {_batch_of(one)}, one row per sample; "
            f"received shape {array.shape}{hint}"
        )
    if array.dtype == bool:
        array = array.view(np.uint8)
    # A strided view is copied in its own dtype: bytes stay bytes.
    array = converted(array, array.dtype if array.dtype in _IN_PLACE else dtype)
    return array.reshape(len(array), math.prod(one))


def targets(name: str, y: object, rows: int, spec: TargetSpec, dtype: np.dtype[Any] | str) -> Array:
    """Return the targets of `rows` samples as the engine takes them.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    y : array_like
        Class indices (n,) or (n, 1), or (n, *shape), or (n,) for a target of one number.
    rows : int
    spec : TargetSpec
        Of the loss.
    dtype : numpy.dtype or str
        The model's dtype.

    Returns
    -------
    ndarray
        (n,) int32 class indices; `y` as it is for a user-defined function, but with two axes
        where target and output are one number; else (n, outputs) of `dtype`.

    Raises
    ------
    TypeError
        If `y` is not numeric.
    ValueError
        If its shape does not fit, a class index is not an integer in range, or a number is further
        outside the loss's range than `TARGET_TOLERANCE`. NaN is not.
    """
    if spec.classes:
        return _class_indices(name, y, rows, spec.shape[-1])
    if spec.free:
        array = real_array(name, y)
        if array.ndim == 0:
            raise ValueError(f"{name} must have a row for each sample; received {array}")
        _check_rows(name, array, rows)
        return array[:, None] if array.ndim == 1 and spec.shape == (1,) else array
    targets = _real_targets(name, y, rows, spec, dtype)
    if spec.copies > 1:  # every output is a level of the same target
        return np.repeat(targets, spec.copies, axis=1)
    if spec.range is not None:
        _check_range(name, targets, spec.range, spec)
    if spec.signed and ((targets == 0) | (targets == 1)).all():
        return 2 * targets - 1
    return targets


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
    name: str, value: object, rows: int, one: Shape, dtype: np.dtype[Any] | str
) -> Array:
    """Return the gradient of a loss with respect to the outputs of `rows` samples, flat."""
    array = real_array(name, value)
    if array.shape == (rows,) and one == (1,):
        array = array[:, None]
    if array.shape != (rows, *one):
        raise ValueError(
            f"{name} must have the shape of the model's output, {(rows, *one)}; received shape "
            f"{array.shape}"
        )
    return converted(array, dtype).reshape(rows, math.prod(one))


def _real_targets(
    name: str, y: object, rows: int, spec: TargetSpec, dtype: np.dtype[Any] | str
) -> Array:
    """Return targets that are numbers as (n, prod(shape)), in place where they are so already."""
    one = spec.shape
    if type(y) is np.ndarray and y.shape == (rows, *one) and y.dtype == dtype and y.flags.carray:
        return y if y.ndim == 2 else y.reshape(rows, math.prod(one))
    array = real_array(name, y)
    if array.ndim == 1 and one == (1,):
        array = array[:, None]
    if array.ndim == 0 or array.shape[1:] != one:
        indices = spec.one_hot and array.shape[1:] in ((), (1,))
        hint = "; for class indices use sparse_categorical_crossentropy" if indices else ""
        raise ValueError(
            f"{name} must have shape {_batch_of(one)} to match the model's output; "
            f"received shape {array.shape}{hint}"
        )
    _check_rows(name, array, rows)
    return converted(array, dtype).reshape(rows, math.prod(one))


def _class_indices(name: str, y: object, rows: int, n_classes: int) -> NDArray[np.int32]:
    array = real_array(name, y)
    if array.ndim == 0 or array.shape[1:] not in ((), (1,)):
        hint = "; for one-hot targets use categorical_crossentropy" if array.ndim == 2 else ""
        raise ValueError(
            f"{name} must hold one class index per sample, shape (n,) or (n, 1); "
            f"received shape {array.shape}{hint}"
        )
    _check_rows(name, array, rows)
    array = array.reshape(rows)
    # NaN fails both comparisons, so `not (...)` catches it.
    if rows and not (array.min() >= 0 and array.max() < n_classes):
        raise ValueError(
            f"{name} must hold class indices from 0 to {n_classes - 1}, as the model has "
            f"{n_classes} outputs; received values from {array.min()} to {array.max()}"
        )
    indices = np.require(array, np.int32, ["C", "A"])
    if array.dtype.kind == "f" and (indices != array).any():
        wrong = array[indices != array][0]
        raise ValueError(f"{name} must hold integers (class indices); received {wrong}")
    return indices


def sample_weights(name: str, value: object, rows: int) -> NDArray[np.float64] | None:
    """Return `value`, (n,) or (n, 1), as finite weights >= 0 in float64; None stays None."""
    if value is None:
        return None
    array = real_array(name, value)
    if array.ndim == 0 or array.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"{name} must have shape (n,), one weight per sample; received shape {array.shape}"
        )
    _check_rows(name, array, rows)
    weights = np.require(array.reshape(rows), np.float64, ["C", "A"])
    bad = ~(np.isfinite(weights) & (weights >= 0.0))
    if bad.any():
        raise ValueError(
            f"{name} must be finite and >= 0; received {weights[bad][0]} in row {int(bad.argmax())}"
        )
    return weights


def check_order(name: str, rows: int) -> None:
    """Refuse more rows than training can put into an order."""
    if rows > MOST_ROWS:
        raise ValueError(
            f"{name} must have at most {MOST_ROWS} rows for training; received {rows}: train on "
            "parts of it, or on batches"
        )


def _check_rows(name: str, array: Array, rows: int) -> None:
    if len(array) != rows:
        raise ValueError(f"{name} must have {rows} rows, as x has; received {len(array)}")


def _batch_of(one: Shape) -> str:
    return f"(n, {', '.join(map(str, one))})"


_READ_IN_PLACE = (np.dtype(np.float32), np.dtype(np.float64))


def readable(x: Any, dtype: np.dtype[Any]) -> Any:
    """Return rows as the engine reads them, the same array where it can be.

    Examples
    --------
    >>> from scipy import sparse
    >>> x = np.ones((3, 2))
    >>> readable(x, x.dtype) is x, readable(x.T, x.dtype).flags.c_contiguous
    (True, True)
    >>> readable(sparse.csc_array(x), x.dtype).format
    'csr'
    """
    from scipy import sparse  # which only estimators need

    if x.dtype not in _READ_IN_PLACE:
        x = x.astype(dtype)
    if not sparse.issparse(x):
        return np.require(x, requirements=("C", "A"))
    if x.format != "csr":
        x = sparse.csc_array(x)
        x.check_format(full_check=True)  # SciPy's conversion trusts the indices, and would crash
    rows = sparse.csr_array(x)  # a view where it is one already; the engine looks at its indices
    rows.indices, rows.data = (
        np.require(part, requirements=("C", "A")) for part in (rows.indices, rows.data)
    )
    return rows

"""Checks of arguments, shared by several modules.

Each error message names the argument, what was expected and what was received. No check changes
the user's arrays.
"""

from __future__ import annotations

import math
import numbers
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
# None is an axis whose size may vary.
OpenShape = tuple[int | None, ...]
Array = NDArray[Any]
_REAL = frozenset(map(np.dtype, (np.float32, np.float64)))


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points to the line of the user's code that called nnfast."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package(frame.f_globals) in ("nnfast", "sklearn"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _package(names: Mapping[str, Any]) -> str:
    return (names.get("__package__") or "").partition(".")[0]


def integer(name: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """Return `value` as an int from `minimum` to `maximum`."""
    if type(value) is int and value >= minimum and (maximum is None or value <= maximum):
        return value  # the usual case, for which no message is composed
    expected = f"{name} must be an integer >= {minimum}"
    if maximum is not None:
        expected += f" and <= {maximum}"
    if isinstance(value, np.ndarray) and value.ndim == 0:  # such as the length of a tf.data.Dataset
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{expected}; received {value!r} of type {type(value).__name__}")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"{expected}; received {value!r}")
    return number


def count(name: str, value: object) -> float:
    """Return `value`, an integer, a whole float or infinity that is at least 0.

    Examples
    --------
    >>> count("patience", 10.0), count("patience", math.inf)
    (10, inf)
    """
    if isinstance(value, (float, np.floating)):
        if value == math.inf:
            return math.inf
        if value.is_integer():
            value = int(value)
    return integer(name, value, minimum=0)


def epoch_or_batches(name: str, value: object) -> int | None:
    """Return `value` as a number of batches, or None if it is "epoch"."""
    if isinstance(value, str) and value == "epoch":
        return None
    if isinstance(value, str):
        raise ValueError(f'{name} must be "epoch" or a number of batches; received {value!r}')
    return integer(name, value, minimum=1)


def real(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Return `value` as a finite float with low <= value <= high and above < value < below."""
    if (
        type(value) is float
        and math.isfinite(value)
        and low <= value <= high
        and above < value < below
    ):
        return value  # the usual case, for which no message is composed
    expected = " and ".join(
        [f"{name} must be a finite number"]
        + [f">= {low}"] * (low > -math.inf)
        + [f"> {above}"] * (above > -math.inf)
        + [f"<= {high}"] * (high < math.inf)
        + [f"< {below}"] * (below < math.inf)
    )
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{expected}; received {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an integer with more than 308 digits
        number = math.inf
    if not (math.isfinite(number) and low <= number <= high and above < number < below):
        raise ValueError(f"{expected}; received {value!r}")
    return number


def flag(name: str, value: object) -> bool:
    """Return `value`, which must be a boolean or 0 or 1, as a bool."""
    if isinstance(value, (bool, int, np.bool_, np.integer)) and value in (0, 1):
        return bool(value)
    raise TypeError(f"{name} must be True or False; received {value!r}")


def optional_text(name: str, value: object) -> str | None:
    """Return `value` as text, or None."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be text or None; received {value!r}")
    return None if value is None else str(value)


def file_name(name: str, value: object) -> str:
    """Return `value`, which must be a path, as text."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path; received {value!r}")
    return os.fspath(value)


def new_file(name: str, value: object, overwrite: object) -> str:
    """Return a path as a string; if it exists and `overwrite` is False, raise FileExistsError."""
    path = file_name(name, value)
    if not flag("overwrite", overwrite) and os.path.exists(path):
        raise FileExistsError(f"{name} {path!r} exists: pass overwrite=True to replace it")
    return path


def entries(name: str, value: object) -> list[Any]:
    """Return the entries of a tuple, list or array."""
    if isinstance(value, np.ndarray) and value.ndim:
        return list(value)
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list or a tuple; received {value!r}")
    return list(value)


def open_shape(name: str, value: object) -> OpenShape:
    """Return `value` as the shape of one sample, without the batch axis; a size may be None."""
    if (
        isinstance(value, (str, bytes))
        or not isinstance(value, (Sequence, np.ndarray))
        or (isinstance(value, np.ndarray) and not value.ndim)
    ):
        raise TypeError(
            f"{name} must be a tuple of integers, the shape of one sample without the batch "
            f"axis, such as (784,); received {value!r}"
        )
    if len(value) == 0:
        raise ValueError(f"{name} must have at least one axis, such as (1,); received ()")
    return tuple(
        None if size is None else integer(f"each entry of {name}", size, minimum=0)
        for size in value
    )


def shape(name: str, value: object) -> Shape:
    """Return `value` as the shape of one sample, without the batch axis and without None."""
    found = open_shape(name, value)
    if None in found:
        raise ValueError(
            f"{name} must have a size for every axis but the batch's; received {found}"
        )
    return tuple(size for size in found if size is not None)


def batch_size(value: object, rows: int, steps: int | None = None, name: str = "batch_size") -> int:
    """Return the batch size as an int from 1 to the number of rows.

    None means 32, or the size that divides the rows into `steps` batches.
    """
    if value is not None:
        size = integer(name, value, minimum=1)
    else:
        size = 32 if steps is None else -(-rows // steps)
    return max(1, min(size, rows))


def optional_integer(name: str, value: object) -> int | None:
    """Return `value` as an int that is at least 1, or None."""
    return None if value is None else integer(name, value, minimum=1)


def for_output(name: str, value: Any, output: str | None) -> Any:
    """Return an argument of `compile` that may be a list or a dict with one entry per output.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    value : object
        Unless it is a list or a dict, it is returned unchanged.
    output : str or None
        The name of the model's only output; None if it is not known yet.

    Examples
    --------
    >>> for_output("loss", ["mse"], "head"), for_output("loss", {"head": "mse"}, "head")
    ('mse', 'mse')
    """
    if isinstance(value, Mapping) and not {"class_name", "config"} <= value.keys():
        if len(value) != 1 or (output is not None and output not in value):
            raise ValueError(
                f"{name} must have one entry, for the model's only output"
                f"{'' if output is None else f' {output!r}'}; received {dict(value)!r}"
            )
        return next(iter(value.values()))
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise ValueError(
                f"{name} must have one entry, for the model's only output; received {value!r}"
            )
        return value[0]
    return value


def frequency(name: str, value: object) -> int | frozenset[int]:
    """Return `value`, an interval in epochs or a collection of epochs counted from 1."""
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return frozenset(integer(f"each entry of {name}", entry, minimum=1) for entry in value)
    return integer(name, value, minimum=1)


def verbosity(value: object) -> int:
    """Return `value` as 0, 1 or 2; "auto" means 1."""
    if isinstance(value, str) and value == "auto":
        return 1
    if isinstance(value, (int, np.integer)) and value in (0, 1, 2):
        return int(value)
    raise ValueError(f'verbose must be "auto", 0, 1 or 2; received {value!r}')


def real_array(name: str, value: object) -> Array:
    """Return `value` as an array of real, integer or boolean dtype, without a copy if possible."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub":
        return value
    if value is None:
        raise TypeError(f"{name} is missing: expected an array or nested lists of numbers")
    if hasattr(value, "toarray"):
        raise TypeError(
            f"{name} must be a dense array; received a sparse {type(value).__name__}: "
            f"pass {name}.toarray()"
        )
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: pass {name}.filled(…)")
    try:
        array = np.asarray(_with_dlpack(value))
        if array.dtype == object:
            if any(entry is None or isinstance(entry, (str, bytes)) for entry in array.flat):
                raise TypeError("it holds text or None")
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError, BufferError) as error:
        raise TypeError(
            f"{name} must be an array or nested lists of numbers, all rows alike; received "
            f"{type(value).__name__} that NumPy cannot convert: {error}"
        ) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must have a real, integer or boolean dtype; received {array.dtype}"
        )
    return array


def converted(array: Array, dtype: np.dtype[Any] | str) -> Array:
    """Return `array` as a C-contiguous, aligned array of `dtype`; overflow gives infinity.

    Examples
    --------
    >>> converted(np.array([1.0, 1e39]), "float32")
    array([ 1., inf], dtype=float32)
    """
    if array.dtype == dtype:
        return np.require(array, requirements=["C", "A"])
    with np.errstate(over="ignore"):
        return array.astype(dtype, order="C")


def _with_dlpack(value: object) -> object:
    """Return `value`; if DLPack is the only array protocol it supports, return it as an array."""
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return value


def kernel_array(
    name: str,
    value: object,
    ndim: int | None,
    dtype: np.dtype[Any] | None = None,
    shape: Sequence[int | None] | None = None,
) -> Array:
    """Return `value` as a C-contiguous float32 or float64 array for a kernel.

    Parameters
    ----------
    name : str
    value : array_like
    ndim : int or None
        The number of axes; None allows any number except 0.
    dtype : numpy.dtype, optional
        By default the dtype of `value` if it is float32 or float64, otherwise float32.
    shape : sequence of (int or None), optional
        The expected shape; None allows any size.
    """
    ready = isinstance(value, np.ndarray) and value.dtype in _REAL and value.flags.carray
    array: Array = np.asarray(value) if ready else real_array(name, value)
    if array.ndim != ndim if ndim is not None else array.ndim == 0:
        expected = "at least 1" if ndim is None else ndim
        raise ValueError(f"{name} must have {expected} axes; received shape {array.shape}")
    if shape is not None and any(
        want not in (None, size) for want, size in zip(shape, array.shape, strict=True)
    ):
        want = ", ".join("any" if size is None else str(size) for size in shape)
        comma = "," if len(shape) == 1 else ""
        raise ValueError(f"{name} must have shape ({want}{comma}); received {array.shape}")
    if dtype is None:
        dtype = array.dtype if array.dtype in _REAL else np.dtype(np.float32)
    if ready and array.dtype == dtype:
        return array
    return converted(array, dtype)


def kernel_output(name: str, out: Array | None, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """Return `out` after checking that a kernel can write to it; a new array if it is None."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be an array to write to; received {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype or dtype not in _REAL:
        raise ValueError(
            f"{name} must have shape {shape} and dtype {dtype if dtype in _REAL else 'float'}; "
            f"received shape {out.shape} and dtype {out.dtype}"
        )
    if not out.flags.carray:
        raise ValueError(f"{name} must be C-contiguous, aligned and writable")
    return out


def as_rows(array: Array) -> Array:
    """Return a view of `array` as a matrix, with all axes but the last merged into rows."""
    if array.ndim == 2 and array.size:
        return array
    return array.reshape(-1, array.shape[-1]) if array.size else array.reshape(0, 1)

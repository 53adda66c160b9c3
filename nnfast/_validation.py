"""Every check of what the user passes in, made before any work starts.

Messages say which argument, what was expected and what came. Nothing here changes an array
of the user's; arrays that the engine reads in place are passed on without a copy.
"""

from __future__ import annotations

import math
import numbers
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnfast._engine import Data, in_range

if TYPE_CHECKING:
    from nnfast.losses import Loss

Shape = tuple[int, ...]
Array = NDArray[Any]

# What the engine's gather reads as it is.
_IN_PLACE = frozenset(map(np.dtype, (np.float32, np.float64, np.uint8)))
# Rows are numbered by 32 bits.
MOST_ROWS = 2**31 - 1
_REAL = frozenset(map(np.dtype, (np.float32, np.float64)))
# How far targets may be outside a loss's range: what computing them in float16 rounds by.
TARGET_TOLERANCE = 1e-3
_ARRAY_PROTOCOLS = ("__array__", "__array_interface__", "__dlpack__", "toarray")


@dataclass(frozen=True)
class Samples:
    """Checked rows, in the form that `nnfast._engine.Data` takes.

    Attributes
    ----------
    x : ndarray (n, n_in), float32, float64 or uint8
    y : ndarray (n, n_out) of the model's dtype, or (n,) int32 class indices; any (n, ...) where
        a function of the caller's is the loss
    weight : ndarray (n,) float64, or None
    """

    x: Array
    y: Array
    weight: NDArray[np.float64] | None = None
    for_function: bool = False

    def __len__(self) -> int:
        return len(self.x)

    def data(self) -> Data:
        """Return the engine's view of these rows."""
        if self.for_function:
            return Data(self.x, None, self.weight, self.y)
        return Data(self.x, self.y, self.weight)

    def first_batches(self, name: str, steps: int | None, size: int) -> Samples:
        """Return a view of the rows of the first `steps` batches; all without `steps`."""
        if steps is None:
            return self
        if (steps - 1) * size >= len(self):
            warn(
                f"{name} ran out of data: it has {-(-len(self) // size)} batches of {size} rows, "
                f"{steps} were asked for"
            )
        return self.part(slice(0, steps * size))

    def places(self, size: int) -> Iterator[slice]:
        """Yield where the batches of `size` rows are; the last one may have fewer."""
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    def part(self, rows: Any) -> Samples:
        """Return some rows: a view where `rows` is a slice, a copy where it is indices."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], weight=weight)

    def with_class_weight(self, class_weight: object) -> Samples:
        """Return these samples, each weighted by its class (1 if the class has no weight)."""
        return replace(self, weight=_class_weights(class_weight, self.y))


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, naming the line of the user's own code that called."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package(frame.f_globals) in ("nnfast", "sklearn"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _package(names: Mapping[str, Any]) -> str:
    return (names.get("__package__") or "").partition(".")[0]


def integer(name: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """Return `value` as an int that is at least `minimum`, and at most `maximum`."""
    expected = f"{name} must be an integer >= {minimum}"
    if maximum is not None:
        expected += f" and <= {maximum}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{expected}; received {value!r} of type {type(value).__name__}")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"{expected}; received {value!r}")
    return number


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
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not (math.isfinite(number) and low <= number <= high and above < number < below):
        raise ValueError(f"{expected}; received {value!r}")
    return number


def flag(name: str, value: object) -> bool:
    """Return `value`, which is true or false, or 1 or 0, as a bool."""
    if isinstance(value, (bool, int, np.bool_, np.integer)) and value in (0, 1):
        return bool(value)
    raise TypeError(f"{name} must be True or False; received {value!r}")


def optional_text(name: str, value: object) -> str | None:
    """Return `value` as text, or None."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be text or None; received {value!r}")
    return None if value is None else str(value)


def file_name(name: str, value: object) -> str:
    """Return `value`, a path, as text."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path; received {value!r}")
    return os.fspath(value)


def entries(name: str, value: object) -> list[Any]:
    """Return the entries of a tuple, list or array."""
    if isinstance(value, np.ndarray) and value.ndim:
        return list(value)
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list or a tuple; received {value!r}")
    return list(value)


def shape(name: str, value: object) -> Shape:
    """Return `value` as the shape of one sample, without the batch axis."""
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
    return tuple(integer(f"each entry of {name}", size, minimum=0) for size in value)


def batch_size(value: object, rows: int, steps: int | None = None, name: str = "batch_size") -> int:
    """Return the rows of a batch, at least 1 and never more than there are.

    None is 32, or what makes `steps` batches of all rows.
    """
    if value is not None:
        size = integer(name, value, minimum=1)
    else:
        size = 32 if steps is None else -(-rows // steps)
    return max(1, min(size, rows))


def optional_integer(name: str, value: object) -> int | None:
    """Return `value` as an int that is at least 1, or None."""
    return None if value is None else integer(name, value, minimum=1)


def frequency(name: str, value: object) -> int | frozenset[int]:
    """Return `value`, "every so many epochs" or the epochs themselves, counted from 1."""
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return frozenset(integer(f"each entry of {name}", entry, minimum=1) for entry in value)
    return integer(name, value, minimum=1)


def verbosity(value: object) -> int:
    """Return 0, 1 or 2; "auto" is 1."""
    if isinstance(value, str) and value == "auto":
        return 1
    if isinstance(value, (int, np.integer)) and value in (0, 1, 2):
        return int(value)
    raise ValueError(f'verbose must be "auto", 0, 1 or 2; received {value!r}')


def real_array(name: str, value: object) -> Array:
    """Return `value` as an array of real, integer or boolean dtype, not copied if it is one."""
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
            f"{name} must be of a real, integer or boolean dtype; received {array.dtype}"
        )
    return array


def converted(array: Array, dtype: np.dtype[Any] | str) -> Array:
    """Return `array` as C-contiguous and aligned `dtype`; what is too large for it is infinite.

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
    """Return `value`, or what DLPack gives of it if that is all it offers."""
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return value


def is_stream(x: object) -> bool:
    """Return whether `x` gives batches, rather than being an array or nothing that is known.

    Examples
    --------
    >>> is_stream(iter([])), is_stream([[1.0]]), is_stream(np.ones(3))
    (True, False, False)
    """
    if isinstance(x, (np.ndarray, Sequence, Mapping, memoryview)):
        return False
    if any(hasattr(x, protocol) for protocol in _ARRAY_PROTOCOLS):
        return False
    return hasattr(x, "__iter__") or is_dataset(x)


def is_dataset(x: object) -> bool:
    """Return whether `x` is like ``keras.utils.PyDataset``: batches by their numbers."""
    counted = hasattr(x, "__len__") or hasattr(x, "num_batches")
    return hasattr(x, "__getitem__") and counted


def batch_parts(batch: object, where: str, targets: bool) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) of a batch as a stream gave it.

    Parameters
    ----------
    batch : tuple or list of up to three parts, or x alone
    where : str
        Names the batch in messages.
    targets : bool
        Whether there has to be a y.
    """
    parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
    if not (1 + targets <= len(parts) <= 3):
        expected = "(x, y) or (x, y, sample_weight)" if targets else "x, (x, y) or (x, y, weight)"
        raise ValueError(
            f"{where[0].upper()}{where[1:]} must be {expected}; received {type(batch).__name__}"
            + (f" of length {len(parts)}" if isinstance(batch, (tuple, list)) else "")
        )
    x, y, weight = (*parts, None, None)[:3]
    return x, y, weight


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


def targets(
    name: str, y: object, rows: int, one: Shape, loss: Loss, dtype: np.dtype[Any] | str
) -> Array:
    """Return the targets of `rows` samples as the engine takes them.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    y : array_like
        Class indices (n,) or (n, 1) for a sparse loss; otherwise (n, *one), or (n,) where the
        model has one output.
    rows : int
    one : tuple of int
        Shape of one sample's output.
    loss : Loss
    dtype : numpy.dtype or str
        The model's dtype.

    Returns
    -------
    ndarray
        (n,) int32 for a sparse loss; `y` as it is, but with two axes where it is one number a
        row and so is the output, for a function of the caller's; else (n, prod(one)) of `dtype`.

    Raises
    ------
    TypeError
        If `y` is not numeric.
    ValueError
        If its shape does not fit, a class index is not an integer in range, or a number is further
        outside the loss's range than `TARGET_TOLERANCE`. NaN is not.
    """
    if loss.sparse:
        return _class_indices(name, y, rows, one[-1])
    if loss.is_function:
        array = real_array(name, y)
        if array.ndim == 0:
            raise ValueError(f"{name} must have a row for each sample; received {array}")
        _check_rows(name, array, rows)
        return array[:, None] if array.ndim == 1 and one == (1,) else array
    if len(loss.levels) > 1:  # every output is a level of the same target
        column = _real_targets(name, y, rows, loss, (1,), dtype)
        return np.repeat(column, len(loss.levels), axis=1)
    targets = _real_targets(name, y, rows, loss, one, dtype)
    if loss.target_range is not None:
        _check_range(name, targets, loss)
    if loss.signed and ((targets == 0) | (targets == 1)).all():
        return 2 * targets - 1
    return targets


def _check_range(name: str, targets: Array, loss: Loss) -> None:
    assert loss.target_range is not None
    low, high = loss.target_range
    if in_range(targets, low - TARGET_TOLERANCE, high + TARGET_TOLERANCE):
        return
    bounds = f"from {low:g} to {high:g}" if high < math.inf else f">= {low:g}"
    raise ValueError(
        f"{name} must hold numbers {bounds} for {type(loss).__name__}; received values from "
        f"{np.nanmin(targets):g} to {np.nanmax(targets):g}: {loss.target_advice}"
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
    name: str, y: object, rows: int, loss: Loss, one: Shape, dtype: np.dtype[Any] | str
) -> Array:
    """Return targets that are numbers as (n, prod(one)), in place where they are so already."""
    if type(y) is np.ndarray and y.shape == (rows, *one) and y.dtype == dtype and y.flags.carray:
        return y if y.ndim == 2 else y.reshape(rows, math.prod(one))
    array = real_array(name, y)
    if array.ndim == 1 and one == (1,):
        array = array[:, None]
    if array.ndim == 0 or array.shape[1:] != one:
        indices = loss.rowwise and array.shape[1:] in ((), (1,))
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


def _class_weights(class_weight: object, y: Array) -> NDArray[np.float64]:
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight must be a dict of class index to weight; received {class_weight!r}"
        )
    table = {
        _class_index(key): real(f"class_weight[{key!r}]", weight, low=0.0)
        for key, weight in class_weight.items()
    }
    if y.ndim > 2:
        y = y.reshape(len(y), -1)
    if y.ndim == 1:
        classes = y
    elif y.shape[1] == 1:
        classes = np.round(y[:, 0])
        classes[classes == -1] = 0  # what hinge makes of it
    else:
        classes = y.argmax(axis=1)
    weights = np.ones(len(y))
    for key, weight in table.items():
        weights[classes == key] = weight
    return weights


def _class_index(key: object) -> int:
    """Return a key of `class_weight` as an int: labels may be 1.0 or True, too, as in Keras."""
    whole = isinstance(key, (float, np.floating)) and key.is_integer()
    if whole or isinstance(key, (bool, np.bool_)):
        key = int(key)  # type: ignore[call-overload]
    return integer("each class of class_weight", key, minimum=0)


def check_single_weighting(class_weight: object, sample_weight: object) -> None:
    """Refuse both weights at once, as Keras does."""
    if class_weight is not None and sample_weight is not None:
        raise ValueError("class_weight and sample_weight cannot be given at the same time")


def check_alone(name: str, **others: object) -> None:
    """Refuse arguments that do not go with batches, which bring their own targets and weights."""
    for other, value in others.items():
        if value is not None:
            argument = "validation_split" if other == "split" else other
            raise ValueError(f"{argument} cannot be given if {name} gives batches of (x, y)")


def split(samples: Samples, fraction: object) -> tuple[Samples, Samples]:
    """Return (training, validation) samples: validation is the last `fraction` of the rows."""
    share = real("validation_split", fraction, low=0.0, below=1.0)
    at = math.floor(len(samples) * (1.0 - share))
    if at in (0, len(samples)):
        raise ValueError(
            f"validation_split={fraction} of {len(samples)} rows leaves no rows for "
            f"{'training' if at == 0 else 'validation'}"
        )
    return samples.part(slice(0, at)), samples.part(slice(at, None))


def validation_parts(value: object) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) of `validation_data`."""
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        raise ValueError(
            "validation_data must be a tuple (x, y) or (x, y, sample_weight), or give such "
            "batches; received "
            f"{type(value).__name__}"
            + (f" of length {len(value)}" if isinstance(value, (tuple, list)) else "")
        )
    x, y, *weight = value
    return x, y, weight[0] if weight else None


def kernel_array(
    name: str,
    value: object,
    ndim: int | None,
    dtype: np.dtype[Any] | None = None,
    shape: Sequence[int | None] | None = None,
) -> Array:
    """Return `value` as an argument of a kernel, C-contiguous float32 or float64.

    Parameters
    ----------
    name : str
    value : array_like
    ndim : int or None
        None: at least 1.
    dtype : numpy.dtype, optional
        By default that of `value` if it is float32 or float64, else float32.
    shape : sequence of (int or None), optional
        What is expected; None fits any size.
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
    """Return `out` if a kernel can write to it, a new array if it is None."""
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


def as_rows(array: Array) -> Array:
    """Return a view of `array` as a matrix of its last axis."""
    if array.ndim == 2 and array.size:
        return array
    return array.reshape(-1, array.shape[-1]) if array.size else array.reshape(0, 1)

"""One-hot targets, normalized arrays, and the parts of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import Array, integer, real_array

__all__ = ["normalize", "pack_x_y_sample_weight", "to_categorical", "unpack_x_y_sample_weight"]


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[np.float64]:
    """Return class indices as one-hot rows.

    Parameters
    ----------
    x : array_like of int (...) or (..., 1)
        Class indices from 0 to num_classes − 1. Numbers that are stored as text or as floats are
        converted.
    num_classes : int, optional
        By default, the largest index plus 1.

    Returns
    -------
    ndarray of float64 (..., num_classes)

    Raises
    ------
    TypeError, ValueError
        If `x` has entries that are not integers in this range, or is empty without `num_classes`.

    Examples
    --------
    >>> to_categorical([0, 2, 1])
    array([[1., 0., 0.],
           [0., 0., 1.],
           [0., 1., 0.]])
    """
    given = np.asarray(x)
    # Text, objects and floats, whose fractions are refused below; not complex numbers or dates.
    casting: Any = "unsafe" if given.dtype.kind in "fOSU" else "same_kind"
    try:
        with np.errstate(invalid="ignore"):
            indices = given.astype(np.int64, casting=casting)
    except (TypeError, ValueError, OverflowError) as error:
        raise type(error)(f"x must hold integers (class indices): {error}") from None
    if given.dtype.kind == "f" and (indices != given).any():
        wrong = given[indices != given][0]
        raise ValueError(f"x must hold integers (class indices); received {wrong}")
    if num_classes is not None:
        num_classes = integer("num_classes", num_classes, minimum=1)
    elif indices.size:
        num_classes = int(indices.max()) + 1
    else:
        raise ValueError("x is empty, so num_classes must be given")
    if indices.size and not 0 <= indices.min() <= indices.max() < num_classes:
        raise ValueError(
            f"x must hold class indices from 0 to {num_classes - 1}; received values from "
            f"{indices.min()} to {indices.max()}"
        )
    if indices.ndim > 1 and indices.shape[-1] == 1:
        indices = indices[..., 0]
    one_hot = np.zeros((*indices.shape, num_classes))
    np.put_along_axis(one_hot, indices[..., None], 1.0, axis=-1)
    return one_hot


def normalize(x: ArrayLike, axis: int = -1, order: float = 2) -> Array:
    """Return x / ‖x‖, with the norms along one axis; zero vectors stay zero.

    Parameters
    ----------
    x : array_like
    axis : int, default -1
    order : float, default 2
        The order of the norm, as in `numpy.linalg.norm`.

    Examples
    --------
    >>> normalize([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    array = real_array("x", x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    normalized: Array = array / np.where(norm == 0, 1, norm).astype(norm.dtype)
    return normalized


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Return a batch as `fit` takes it: x alone, (x, y) or (x, y, sample_weight).

    Examples
    --------
    >>> pack_x_y_sample_weight([1.0], [0])
    ([1.0], [0])
    """
    if y is None:
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) of a batch; missing parts are None.

    Raises
    ------
    ValueError
        If `data` is a tuple or list that does not have one, two or three entries.

    Examples
    --------
    >>> unpack_x_y_sample_weight(([1.0], [0]))
    ([1.0], [0], None)
    """
    parts = tuple(data) if isinstance(data, (tuple, list)) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            "data must be x, (x,), (x, y) or (x, y, sample_weight); received "
            f"{type(data).__name__} of length {len(parts)}"
        )
    x, y, weight = (*parts, None, None)[:3]
    return x, y, weight

"""Copying arrays into arrays of the same shapes: either all or none are copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import entries, real_array


def assign(whose: str, views: Sequence[NDArray[Any]], weights: Sequence[ArrayLike]) -> None:
    """Copy `weights` into `views` after checking their number and every shape."""
    weights = entries("weights", weights)
    if len(weights) != len(views):
        raise ValueError(
            f"set_weights of {whose} expects {len(views)} arrays; received {len(weights)}"
        )
    arrays = [real_array(f"weights[{i}]", weight) for i, weight in enumerate(weights)]
    for i, (view, array) in enumerate(zip(views, arrays, strict=True)):
        if array.shape != view.shape:
            raise ValueError(
                f"set_weights of {whose} expects shape {view.shape} for array {i}; "
                f"received {array.shape}"
            )
    for view, array in zip(views, arrays, strict=True):
        view[...] = array


def assign_named(
    what: str, views: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Copy the arrays of a file into the views of the same names.

    Raises
    ------
    ValueError
        If names, dtypes or shapes do not match; then nothing is copied.
    """
    if views.keys() != arrays.keys():
        raise ValueError(f"arrays {sorted(views.keys() ^ arrays.keys())} do not match")
    wrong = [name for name, view in views.items() if arrays[name].dtype != view.dtype]
    if wrong:
        raise ValueError(f"arrays {wrong} are not {views[wrong[0]].dtype.name}")
    assign(what, list(views.values()), [arrays[name] for name in views])

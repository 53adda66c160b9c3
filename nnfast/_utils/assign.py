"""Arrays copied into arrays of the same shapes: all of them, or none."""

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
    what: str, places: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Copy the arrays of a file into the places of their names, in the places' order.

    Raises
    ------
    ValueError
        If names, dtypes or shapes do not match; nothing is set then.
    """
    if places.keys() != arrays.keys():
        raise ValueError(f"arrays {sorted(places.keys() ^ arrays.keys())} do not match")
    wrong = [name for name, place in places.items() if arrays[name].dtype != place.dtype]
    if wrong:
        raise ValueError(f"arrays {wrong} are not {places[wrong[0]].dtype.name}")
    assign(what, list(places.values()), [arrays[name] for name in places])

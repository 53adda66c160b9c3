"""The sizes of open axes, which are those of the arrays that are passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._data.arrays import batch_of, only_array
from nnfast._data.preparation import Part
from nnfast._plan.open_shapes import fits
from nnfast._utils.checks import OpenShape, Shape, real_array


def given_shapes(parts: Sequence[Part], shapes: Sequence[OpenShape]) -> tuple[Shape, ...]:
    """Return the shapes of the samples of all arrays that the engine reads.

    Parameters
    ----------
    parts : sequence of (str, array_like)
        The arrays with their names in messages.
    shapes : sequence of tuple of (int or None)
        What the model requires; None is any size.

    Raises
    ------
    TypeError, ValueError
        If an array has another shape.
    """
    return tuple(
        _sample_shape(label, part, shape)
        for (label, part), shape in zip(parts, shapes, strict=True)
    )


def _sample_shape(name: str, x: Any, expected: OpenShape) -> Shape:
    """Return the shape of a sample; an axis of size 1 may be missing or superfluous at the end."""
    if type(x) is not np.ndarray:
        x = real_array(name, only_array(x, expected))
    shape: Shape = x.shape[1:]
    if x.ndim and fits(shape, expected):
        return shape
    if x.ndim and expected[-1:] == (1,) and fits(shape, expected[:-1]):
        return (*shape, 1)
    if len(shape) > 1 and shape[-1] == 1 and fits(shape[:-1], expected):
        return shape[:-1]
    hint = "; a single sample needs a batch axis: x[None], or .batch(n) on a dataset of samples"
    raise ValueError(
        f"{name} must have shape {batch_of(expected)}, one row per sample, where None is any size; "
        f"received shape {x.shape}{hint if fits(x.shape, expected) else ''}"
    )

"""The sizes of open axes, which are those of the arrays that are passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._data.arrays import batch_of, only_array
from nnfast._data.ends import Ends
from nnfast._plan.open_shapes import fits
from nnfast._utils.checks import OpenShape, Shape, real_array
from nnfast._utils.config import TEXT


def given_shapes(
    inputs: Ends, shapes: Sequence[OpenShape], dtypes: Sequence[str], name: str, x: Any
) -> tuple[Shape, ...]:
    """Return the shapes of the samples of all inputs.

    Parameters
    ----------
    inputs : Ends
    shapes : sequence of tuple of (int or None)
        What the model requires; None is any size.
    dtypes : sequence of str
        The dtypes of the inputs; arrays of text are read as they are.
    name : str
        The argument's name, for messages.
    x : array_like, or a structure of them

    Raises
    ------
    TypeError, ValueError
        If `x` is not a structure of arrays of these shapes.
    """
    parts = inputs.labelled(name, x, True)
    return tuple(
        _sample_shape(label, part, shape, dtype == TEXT)
        for (label, part), shape, dtype in zip(parts, shapes, dtypes, strict=True)
    )


def _sample_shape(name: str, x: Any, expected: OpenShape, text: bool) -> Shape:
    """Return the shape of a sample; an axis of size 1 may be missing or superfluous at the end."""
    if type(x) is not np.ndarray:
        x = only_array(x, expected)
        x = np.asarray(x) if text else real_array(name, x)
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

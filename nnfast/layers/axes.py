"""Axes that a layer works along: checks of their numbers, and ops that move them to the end."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape, entries
from nnfast.layers.layer import Layer
from nnfast.layers.merged_ops import MAX_AXES, strided_op
from nnfast.layers.merging import axis_number, sample_axis

Axis = int | tuple[int, ...]


def axis_or_axes(name: str, value: object) -> Axis:
    """Return an axis, or several different ones, numbered as in Keras; the batch is refused.

    Examples
    --------
    >>> axis_or_axes("axis", -1), axis_or_axes("axis", [1, 2])
    (-1, (1, 2))
    """
    if not isinstance(value, (list, tuple)):
        return axis_number(name, value)
    axes = tuple(axis_number(f"each {name}", entry) for entry in entries(name, value))
    if not axes or len(set(axes)) < len(axes):
        raise ValueError(f"{name} must be an axis or several different axes; received {value!r}")
    return axes


def sample_axes(layer: Layer, axis: Axis, shape: Shape) -> tuple[int, ...]:
    """Return the positions of a layer's axes in the shape of a sample, in increasing order."""
    axes = (axis,) if isinstance(axis, int) else axis
    found = sorted({sample_axis(layer, each, shape) for each in axes})
    if len(found) < len(axes):
        raise ValueError(
            f"{type(layer).__name__} layer {layer.name!r} got the same axis twice: axis={axis} of "
            f"samples of shape {shape}"
        )
    if len(_runs(shape, found)) > MAX_AXES:
        raise ValueError(
            f"{type(layer).__name__} layer {layer.name!r} works along axes with too many others "
            f"between them: axis={axis} of samples of shape {shape}"
        )
    return tuple(found)


def along_last(op: Op, shape: Shape, axes: Sequence[int]) -> list[Op]:
    """Return an op that works on the last axis, so that it works along `axes`.

    Unless that is the last axis, other ops move the axes to the end and back.

    Parameters
    ----------
    op : Op
        Its input has two axes: all others, and those in `axes`, joined to one.
    shape : tuple of int
        The shape of a sample.
    axes : sequence of int
        Positions in `shape`, in increasing order.
    """
    if list(axes) == [len(shape) - 1]:
        return [op]
    runs = _runs(shape, axes)
    sizes = [size for size, _ in runs]
    order = sorted(range(len(runs)), key=lambda i: runs[i][1])  # stable: the others come first
    moved = [sizes[i] for i in order]
    rows = (
        math.prod(size for size, chosen in runs if not chosen),
        math.prod(size for size, chosen in runs if chosen),
    )
    there = strided_op(0, tuple(moved), [math.prod(sizes[i + 1 :]) for i in order])
    strides = [math.prod(moved[order.index(i) + 1 :]) for i in range(len(runs))]
    back = strided_op(0, tuple(sizes), strides)
    return [
        replace(there, shape=rows, weights=()),
        replace(op, shape=rows),
        replace(back, shape=shape, weights=()),
    ]


def _runs(shape: Shape, axes: Collection[int]) -> list[tuple[int, bool]]:
    """Return the sizes of runs of adjacent axes that are all in `axes`, or all not, in order."""
    runs: list[tuple[int, bool]] = []
    for i, size in enumerate(shape):
        if runs and runs[-1][1] == (i in axes):
            runs[-1] = runs[-1][0] * size, i in axes
        else:
            runs.append((size, i in axes))
    return runs

"""The ops of layers that merge tensors or take parts of them; the engine merges two at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from nnfast._plan.spec import (
    BlockSettings,
    Contraction,
    Op,
    StridedSettings,
    SumSettings,
    UnitNormSettings,
)
from nnfast._utils.checks import Shape

MAX_AXES = 4  # of a strided copy


def weighted_sum(first: float, second: float) -> Op:
    """Return the op first·x + second·x2."""
    return Op("sum", settings=SumSettings((float(first), float(second))))


def folded_ops(shapes: Sequence[Shape], out: Shape, binary: Callable[[int], Op]) -> list[Op]:
    """Return the ops that combine inputs from left to right: ((x0 ∘ x1) ∘ x2) ∘ ….

    Parameters
    ----------
    shapes : sequence of tuple of int
        The inputs' shapes, which are broadcast to `out`.
    out : tuple of int
    binary : callable
        ``binary(k)`` returns the op that combines the k-th input with those before it.
    """
    ops: list[Op] = []
    operands = []
    for k, shape in enumerate(shapes):
        operands.append(k)
        if (1,) * (len(out) - len(shape)) + shape != out:
            operands[-1] = len(shapes) + len(ops)
            ops.append(replace(broadcast_op(shape, out), operands=(k,)))
    total = operands[0]
    for k in range(1, len(shapes)):
        ops.append(replace(binary(k), operands=(total, operands[k]), shape=out))
        total = len(shapes) + len(ops) - 1
    return ops


def broadcast_op(shape: Shape, out: Shape) -> Op:
    """Return the op that repeats a sample along its axes of size 1 and along new leading axes."""
    shape = (1,) * (len(out) - len(shape)) + shape
    strides = [0 if a == 1 else math.prod(shape[i + 1 :]) for i, a in enumerate(shape)]
    return strided_op(0, out, strides)


def strided_op(begin: int, out: Shape, strides: Sequence[int]) -> Op:
    """Return the op that copies a strided view.

    Parameters
    ----------
    begin : int
        The first element of the input.
    out : tuple of int
        The shape of the view.
    strides : sequence of int
        The distance in the input, in elements, per step along each axis.
    """
    if len(out) > MAX_AXES:
        raise ValueError(
            f"samples that are broadcast or sliced can have at most {MAX_AXES} axes; received "
            f"shape {out}"
        )
    missing = MAX_AXES - len(out)
    a, b, c, d = (1,) * missing + out
    s, t, u, v = (0,) * missing + tuple(strides)
    return Op("strided", settings=StridedSettings(begin, (a, b, c, d), (s, t, u, v)), shape=out)


def permutation_ops(shape: Shape, order: Sequence[int]) -> list[Op]:
    """Return the ops that permute the axes of a sample: axis i of the result is axis order[i].

    There are none if the elements keep their places. One op suffices unless there are many axes.

    Examples
    --------
    >>> [op.shape for op in permutation_ops((2, 3, 5, 1), (2, 0, 1, 3))]
    [(5, 6)]
    """
    long = [axis for axis, size in enumerate(shape) if size != 1]
    # Axes that remain neighbours are treated as one.
    groups: list[list[int]] = []
    for axis in order:
        if groups and axis in long and long.index(axis) == long.index(groups[-1][-1]) + 1:
            groups[-1].append(axis)
        elif axis in long:
            groups.append([axis])
    merged = sorted(groups)
    sizes = [math.prod(shape[axis] for axis in group) for group in merged]
    order = [merged.index(group) for group in groups]
    if len(sizes) <= MAX_AXES:
        strides = [math.prod(sizes[axis + 1 :]) for axis in order]
        out = tuple(sizes[axis] for axis in order)
        return [strided_op(0, out, strides)] if len(sizes) > 1 else []
    ops = []
    now = list(range(len(sizes)))
    for to, axis in enumerate(order):  # moves one axis after the other to its place
        at = now.index(axis)
        parts = now[:to], now[to:at], [axis], now[at + 1 :]
        counts = tuple(math.prod(sizes[k] for k in part) for part in parts)
        ops += permutation_ops(counts, (0, 2, 1, 3))
        now.insert(to, now.pop(at))
    return ops


def concatenate_ops(shapes: Sequence[Shape], axis: int) -> list[Op]:
    """Return the ops that write samples one after the other along an axis."""
    outer = math.prod(shapes[0][:axis])
    sizes = [math.prod(shape[axis:]) for shape in shapes]
    ops = []
    begin = 0
    for k, size in enumerate(sizes):
        blocks = BlockSettings(outer, size, 0, size, begin, sum(sizes), covers_x=True)
        ops.append(Op("copy_blocks", settings=blocks, operands=(k,), writes_part=k > 0))
        begin += size
    return ops


def dot_ops(shapes: tuple[Shape, Shape], axes: tuple[int, int], normalize: bool) -> list[Op]:
    """Return the ops of the dot products along one axis of each of two samples."""
    ops: list[Op] = []
    operands = [0, 1]
    layouts = []
    for k, (shape, axis) in enumerate(zip(shapes, axes, strict=True)):
        if normalize:
            parts = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
            norm = Op("unit_norm", settings=UnitNormSettings(*parts, min_norm=1e-6))
            ops.append(replace(norm, operands=(operands[k],), shape=shape))
            operands[k] = 1 + len(ops)
        if 0 < axis < len(shape) - 1:
            order = [*range(axis), *range(axis + 1, len(shape)), axis]
            strides = [math.prod(shape[i + 1 :]) for i in order]
            moved = strided_op(0, tuple(shape[i] for i in order), strides)
            ops.append(replace(moved, operands=(operands[k],)))
            operands[k] = 1 + len(ops)
            axis = len(shape) - 1
        depth = shapes[k][axes[k]]
        rest = math.prod(shape) // max(1, depth)
        layouts.append((rest, 1, rest) if axis == 0 and len(shape) > 1 else (rest, depth, 1))
    (rows, a_row, a_depth), (cols, b_col, b_depth) = layouts
    product = Contraction(rows, cols, depth, a_row, a_depth, b_col, b_depth)
    return [*ops, Op("dot", settings=product, operands=(operands[0], operands[1]))]

"""Lowering of layers to an op list, and fusion of ops.

`fuse` takes the layers, the shapes between them, and flags that say which layers are trained. It
returns `Fused`: the ops for training and for inference, and the scale and offset of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from nnfast._engine import OPS
from nnfast._plan.spec import IDENTITY, AffineSettings, LayerSpec, Op, Shape, Window


class SizedOp(NamedTuple):
    """An op, the index of its layer, its flat sizes, and the penalty (l1, l2) on its output."""

    op: Op
    layer: int
    n_in: int
    n_out: int
    channels: int = 0
    activity: tuple[float, float] = (0.0, 0.0)


class Fused(NamedTuple):
    """The ops for training and for inference; each list has at least one op.

    The engine computes x·in_scale + in_offset while it reads the input x.
    """

    training: list[SizedOp]
    inference: list[SizedOp]
    in_scale: float
    in_offset: float


def fuse(layers: Sequence[LayerSpec], shapes: Sequence[Shape], trained: Sequence[bool]) -> Fused:
    """Return the fused ops of a chain of layers.

    A Rescaling layer that precedes all other ops is folded into the step that reads the input. An
    activation is folded into the previous op if that op has no activation yet and can apply one.

    Parameters
    ----------
    layers : sequence of LayerSpec
    shapes : sequence of tuple of int
        The shapes of a sample before each layer and after the last.
    trained : sequence of bool
        Whether each layer is trainable. A batch normalization that is not trainable is frozen.
    """
    ops: list[SizedOp] = []
    scale, offset = 1.0, 0.0
    for index, layer in enumerate(layers):
        for sized in _ops_of(layer, index, shapes[index], shapes[index + 1], trained[index]):
            op, settings = sized.op, sized.op.settings
            if isinstance(settings, AffineSettings) and not ops and not any(sized.activity):
                scale, offset = settings.scale * scale, settings.scale * offset + settings.offset
            elif OPS[op.kind].is_activation and ops and _takes_activation(ops[-1]):
                folded = replace(ops[-1].op, activation=op.activation, alpha=op.alpha)
                ops[-1] = ops[-1]._replace(op=folded, activity=sized.activity)
            else:
                ops.append(sized)
    nothing = [SizedOp(IDENTITY, 0, math.prod(shapes[0]), math.prod(shapes[-1]))]
    inference = [op for op in map(_in_inference, ops) if op is not None]
    return Fused(ops or nothing, inference or nothing, scale, offset)


def final_activation(last: SizedOp) -> str:
    """Return the activation that the loss may be fused with.

    The result is "linear" if the output has a penalty, which needs the activated output.
    """
    return "linear" if any(last.activity) else last.op.activation


def _ops_of(layer: LayerSpec, index: int, shape: Shape, out: Shape, trained: bool) -> list[SizedOp]:
    """Return the ops of one layer; the last one carries the penalty on the layer's output."""
    regularizer = layer.activity_regularizer
    activity = (0.0, 0.0) if regularizer is None else regularizer.penalty
    # Skip a normalization without channels: the engine divides by the number of channels.
    ops = [op for op in layer.ops(shape) if op.axes is None or 0 not in shape]
    if not ops and any(activity):
        ops = [IDENTITY]
    sized = []
    for op in ops:
        channels = 0 if op.axes is None else math.prod(shape[len(shape) - op.axes :])
        op = replace(op, frozen=not trained)
        sized.append(SizedOp(op, index, *_sizes(op, shape, shape), channels))
    if sized:
        n_in, n_out = _sizes(sized[-1].op, shape, out)
        sized[-1] = sized[-1]._replace(n_in=n_in, n_out=n_out, activity=activity)
    return sized


def _sizes(op: Op, shape: Shape, out: Shape) -> tuple[int, int]:
    """Return the flat sizes of an op's input and output, taken from its window if it has one."""
    win = op.settings
    if not isinstance(win, Window):
        return math.prod(shape), math.prod(out)
    return win.h * win.w * win.c, win.out_h * win.out_w * win.out_c


def _takes_activation(sized: SizedOp) -> bool:
    return (
        OPS[sized.op.kind].applies_activation
        and sized.op.activation == "linear"
        and not any(sized.activity)
    )


def _in_inference(sized: SizedOp) -> SizedOp | None:
    """Return the op for inference, or None if it is the identity in inference.

    An identity whose output has a penalty is kept, because it computes the penalty.
    """
    if not (OPS[sized.op.kind].training_only or sized.op.training_only):
        return sized
    return sized._replace(op=IDENTITY) if any(sized.activity) else None

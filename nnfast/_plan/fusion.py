"""From layers to steps: operations that are folded into others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from nnfast._plan.spec import IDENTITY, NO_WINDOW, NORMALIZATIONS, LayerSpec, Op, Shape

# Ops that apply an activation to what they have computed.
WITH_ACTIVATION = frozenset({"dense", "batch_norm", "layer_norm", "convolution", "depthwise"})


class Step(NamedTuple):
    """An op, the index of its layer, its flat sizes, and the penalty on its output."""

    op: Op
    layer: int
    n_in: int
    n_out: int
    channels: int = 0
    activity: tuple[float, float] = (0.0, 0.0)


def in_inference(step: Step) -> Step | None:
    """Return what is left of an op outside of training; a penalty on its output is."""
    if not step.op.training_only:
        return step
    return step._replace(op=IDENTITY) if any(step.activity) else None


def final_activation(last: Step) -> str:
    """Return the activation that a loss may take over: not one whose output has a penalty."""
    return "linear" if any(last.activity) else last.op.activation


def fuse(
    layers: Sequence[LayerSpec], shapes: list[Shape], trained: Sequence[bool]
) -> tuple[list[Step], float, float]:
    """Return the ops of the chain, and the scale and offset folded into the gather.

    trained: whether each layer is trainable; a batch normalization that is not is frozen.

    Folded are a Rescaling before any other op, and an Activation into a linear op before it.
    """
    steps: list[Step] = []
    scale, offset = 1.0, 0.0
    for index, layer in enumerate(layers):
        regularizer = layer.activity_regularizer
        activity = (0.0, 0.0) if regularizer is None else regularizer.penalty
        shape = shapes[index]
        ops = layer.ops(shape)
        for first in ops[:-1]:
            n_in, n_out = _sizes(first, shape, shape)
            steps.append(Step(first, index, n_in, n_out))
        op = ops[-1] if ops else None
        if op is not None and op.kind in NORMALIZATIONS and 0 in shape:
            op = None  # the engine divides by the number of channels
        if op is None:
            if not any(activity):
                continue
            op = IDENTITY
        if op.kind == "batch_norm":
            op = replace(op, frozen=not trained[index])
        if op.kind == "affine" and not steps and not any(activity):
            scale, offset = op.alpha * scale, op.alpha * offset + op.beta
            continue
        last = steps[-1] if steps else None
        if op.kind == "activation" and last is not None and _takes_activation(last):
            folded = replace(last.op, activation=op.activation, alpha=op.alpha)
            steps[-1] = last._replace(op=folded, activity=activity)
            continue
        channels = math.prod(shape[len(shape) - op.axes :]) if op.kind in NORMALIZATIONS else 0
        n_in, n_out = _sizes(op, shape, shapes[index + 1])
        steps.append(Step(op, index, n_in, n_out, channels, activity))
    return steps, scale, offset


def _sizes(op: Op, shape: Shape, out: Shape) -> tuple[int, int]:
    """Return the flat sizes of an op's input and output; a layer of several has other shapes."""
    win = op.window
    if win is NO_WINDOW:
        return math.prod(shape), math.prod(out)
    return win.h * win.w * win.c, win.out_h * win.out_w * win.out_c


def _takes_activation(step: Step) -> bool:
    return (
        step.op.kind in WITH_ACTIVATION
        and step.op.activation == "linear"
        and not any(step.activity)
    )

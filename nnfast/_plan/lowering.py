"""Lowering of a graph of layers to ops over numbered tensors.

`lower` takes a graph and returns `Lowered`: the ops of all layers in order. A tensor keeps its
number from the graph, and tensors within a layer get new numbers. A layer without ops, such as
Flatten, gives its input tensor a second number, which `lower` replaces by the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from nnfast._engine import OPS
from nnfast._plan.graph import Call, FlatGraph
from nnfast._plan.spec import IDENTITY, LayerSpec, Op, Shape, Window


class SizedOp(NamedTuple):
    """An op with its flat sizes.

    Attributes
    ----------
    op : Op
    layer, node : int
        The index of its layer, and that of the call of the layer.
    inputs : tuple of int
        The numbers of its input tensors.
    output : int
        The number of its output tensor.
    n_in, n_out : int
        Elements of one sample's first input and of its output.
    n_in2 : int
        Elements of one sample's second input, 0 if there is none.
    channels : int
        The number of a normalization's channels, 0 for other ops.
    activity : tuple of float
        The penalty (l1, l2) on its output.
    """

    op: Op
    layer: int
    node: int
    inputs: tuple[int, ...]
    output: int
    n_in: int
    n_out: int
    n_in2: int = 0
    channels: int = 0
    activity: tuple[float, float] = (0.0, 0.0)


class Lowered(NamedTuple):
    """The ops of a graph in topological order, its input and output tensors, and the inputs' sizes.

    Every output has a number of its own, which is not that of an input.
    """

    ops: list[SizedOp]
    inputs: tuple[int, ...]
    sizes: tuple[int, ...]
    outputs: tuple[int, ...]


def lower(graph: FlatGraph, trained: Sequence[bool]) -> Lowered:
    """Return the ops that the outputs of a graph need.

    Parameters
    ----------
    graph : FlatGraph
    trained : sequence of bool
        Whether each layer is trained. A batch normalization that is not trained is frozen.
    """
    ops: list[SizedOp] = []
    same: dict[int, int] = {}  # outputs of layers without ops
    end = len(graph.shapes)
    for number, node in graph.needed():
        inputs = tuple(same.get(tensor, tensor) for tensor in node.inputs)
        layer_ops = _ops_of(graph, number, node, inputs, end, trained[node.layer])
        if layer_ops:
            ops += layer_ops
            end += len(layer_ops)
        else:
            same[node.output] = inputs[0]
    outputs: list[int] = []
    for tensor in graph.outputs:
        output = same.get(tensor, tensor)
        if output in graph.inputs or output in outputs:
            n = math.prod(graph.shapes[tensor])
            ops.append(SizedOp(IDENTITY, -1, len(graph.nodes), (output,), end, n, n))
            output, end = end, end + 1
        outputs.append(output)
    sizes = tuple(math.prod(graph.shapes[tensor]) for tensor in graph.inputs)
    return Lowered(ops, graph.inputs, sizes, tuple(outputs))


def _ops_of(
    graph: FlatGraph, number: int, node: Call, inputs: tuple[int, ...], first: int, trained: bool
) -> list[SizedOp]:
    """Return the ops of one call of a layer; the last one carries the penalty on the output.

    Tensors within the layer are numbered from `first`.
    """
    layer = graph.layers[node.layer]
    regularizer = layer.activity_regularizer
    activity = (0.0, 0.0) if regularizer is None else regularizer.penalty
    shapes = [graph.shapes[tensor] for tensor in node.inputs]
    ops = _described_ops(layer, shapes, any(activity), node.inference)
    tensors = list(inputs)
    sized: list[SizedOp] = []
    for i, op in enumerate(ops):
        last = i == len(ops) - 1
        # An op takes the previous one's output, unless it names its operands.
        operands = op.operands or (len(tensors) - 1,)
        shape = shapes[operands[0]]
        # Ops that write parts of one tensor share its number.
        final = last or _rest_writes_parts(ops[i + 1 :])
        output = node.output if final else first + i
        out = graph.shapes[node.output] if final else op.shape or shape
        channels = 0 if op.axes is None else math.prod(shape[len(shape) - op.axes :])
        sized.append(
            SizedOp(
                replace(op, frozen=node.inference or not trained),
                node.layer,
                number,
                tuple(tensors[k] for k in operands),
                output,
                *_sizes(op, shape, out),
                math.prod(shapes[operands[1]]) if len(operands) > 1 else 0,
                channels,
                activity if last else (0.0, 0.0),
            )
        )
        tensors.append(output)
        shapes.append(out)
    return sized


def _described_ops(
    layer: LayerSpec, shapes: Sequence[Shape], penalized: bool, inference: bool
) -> list[Op]:
    """Return a layer's ops; a penalty on the output of a layer without ops needs an identity."""
    # Skip a normalization without channels: the engine divides by the number of channels.
    ops = [op for op in layer.ops(*shapes) if op.axes is None or 0 not in shapes[0]]
    if inference and layer.training_differs:
        if not all(in_training_only(op) or op.kind == "batch_norm" for op in ops):
            raise ValueError(
                f"Layer {layer.name!r} called with training=False is not supported yet"
            )
        ops = [op for op in ops if not in_training_only(op)]
    return [IDENTITY] if not ops and penalized else ops


def in_training_only(op: Op) -> bool:
    """Return whether an op is the identity in inference."""
    return OPS[op.kind].training_only or op.training_only


def _rest_writes_parts(ops: Sequence[Op]) -> bool:
    """Return whether all of these ops, which end a layer, write parts of one tensor."""
    return bool(ops) and all(op.writes_part for op in ops)


def _sizes(op: Op, shape: Shape, out: Shape) -> tuple[int, int]:
    """Return the flat sizes of an op's input and output, taken from its window if it has one."""
    win = op.settings
    if not isinstance(win, Window):
        return math.prod(shape), math.prod(out)
    return win.h * win.w * win.c, win.out_h * win.out_w * win.out_c

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

from nnfast import activations
from nnfast._engine import OPS
from nnfast._plan.graph import Call, FlatGraph
from nnfast._plan.layouts import Layout, Layouts, in_one_row, in_steps
from nnfast._plan.spec import IDENTITY, LayerSpec, Op, Shape


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
        Elements of one row of its first input and of its output.
    n_in2 : int
        Elements of one row of its second input, 0 if there is none.
    channels : int
        The number of a normalization's channels, 0 for other ops.
    activity : tuple of float
        The penalty (l1, l2) on its output.
    steps : int
        The number of rows per sample.
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
    steps: int = 1


class Lowered(NamedTuple):
    """The ops of a graph in topological order, its input and output tensors, and the inputs' sizes.

    The numbers of the inputs and outputs are all different. See `Layouts` for `unpadded`.
    """

    ops: list[SizedOp]
    inputs: tuple[int, ...]
    sizes: tuple[int, ...]
    outputs: tuple[int, ...]
    unpadded: frozenset[int] = frozenset()


def lower(graph: FlatGraph, trained: Sequence[bool]) -> Lowered:
    """Return the ops that the outputs of a graph need.

    Parameters
    ----------
    graph : FlatGraph
    trained : sequence of bool
        Whether each layer is trained. A batch normalization that is not trained is frozen.
    """
    lowering = _Lowering(graph)
    same: dict[int, int] = {}  # outputs of layers without ops
    for number, node in graph.needed():
        inputs = tuple(same.get(tensor, tensor) for tensor in node.inputs)
        if not lowering.add_call(number, node, inputs, trained[node.layer]):
            same[node.output] = inputs[0]
    outputs: list[int] = []
    for tensor in graph.outputs:
        output = same.get(tensor, tensor)
        if output in graph.inputs or output in outputs:
            output = lowering.add_identity(output)
        outputs.append(output)
    sizes = tuple(math.prod(graph.shapes[tensor]) for tensor in graph.inputs)
    unpadded = frozenset(lowering.layouts.unpadded)
    return Lowered(lowering.ops, graph.inputs, sizes, tuple(outputs), unpadded)


class _Lowering:
    """The ops so far, with the layouts of their tensors."""

    def __init__(self, graph: FlatGraph) -> None:
        self.ops: list[SizedOp] = []
        self.layouts = Layouts()
        self._graph = graph
        self._n_tensors = len(graph.shapes)
        for tensor in graph.inputs:
            self.layouts.note(tensor, in_one_row(graph.shapes[tensor]))

    def _new_tensor(self) -> int:
        self._n_tensors += 1
        return self._n_tensors - 1

    def _append(self, op: Op, tensor: int, n_in: int, n_out: int, steps: int = 1) -> int:
        """Append an op that belongs to no layer; return the number of its output."""
        output = self._new_tensor()
        node = len(self._graph.nodes)
        self.ops.append(SizedOp(op, -1, node, (tensor,), output, n_in, n_out, steps=steps))
        return output

    def add_identity(self, tensor: int) -> int:
        layout = self.layouts.of(tensor)
        output = self._append(IDENTITY, tensor, layout.width, layout.width, layout.steps)
        self.layouts.note(output, layout)
        return output

    def add_call(self, number: int, node: Call, inputs: tuple[int, ...], trained: bool) -> bool:
        """Append the ops of one call of a layer, and return whether there are any.

        The last one carries the penalty on the output.
        """
        graph, layer = self._graph, self._graph.layers[node.layer]
        regularizer = layer.activity_regularizer
        activity = (0.0, 0.0) if regularizer is None else regularizer.penalty
        shapes = [graph.shapes[tensor] for tensor in node.inputs]
        ops = _described_ops(layer, shapes, any(activity), node.inference)
        tensors = list(inputs)
        for i, op in enumerate(ops):
            last = i == len(ops) - 1
            # An op takes the previous one's output, unless it names its operands.
            operands = op.operands or (len(tensors) - 1,)
            shape = shapes[operands[0]]
            # Ops that write parts of one tensor share its number.
            final = last or _rest_writes_parts(ops[i + 1 :])
            out = graph.shapes[node.output] if final else op.shape or shape
            parts = [(tensors[k], shapes[k]) for k in operands]
            layouts, written = self._layouts_of(op, parts, out)
            sized = SizedOp(
                replace(op, frozen=node.inference or not trained),
                node.layer,
                number,
                self._read([tensor for tensor, _ in parts], layouts),
                node.output if final else self._new_tensor(),
                layouts[0].width,
                written.width,
                layouts[1].width if len(layouts) > 1 else 0,
                0 if op.axes is None else math.prod(shape[len(shape) - op.axes :]),
                activity if last else (0.0, 0.0),
                written.steps,
            )
            self.ops.append(sized)
            self.layouts.note(sized.output, written)
            tensors.append(sized.output)
            shapes.append(out)
        return bool(ops)

    def _read(self, tensors: Sequence[int], layouts: Sequence[Layout]) -> tuple[int, ...]:
        """Return the numbers of tensors, or of copies of them, that have these layouts."""
        pairs = zip(tensors, layouts, strict=True)
        return tuple(self.layouts.read(*pair, self._append) for pair in pairs)

    def _layouts_of(
        self, op: Op, parts: Sequence[tuple[int, Shape]], out: Shape
    ) -> tuple[list[Layout], Layout]:
        """Return the layouts in which an op reads its inputs and writes its output."""
        traits = OPS[op.kind]
        rows = [in_one_row(shape) for _, shape in parts]
        if traits.last_axis or (traits.is_activation and not _is_elementwise(op)):
            return [in_steps(shape) for _, shape in parts], in_steps(out)
        if traits.elementwise and not op.whole_samples:
            own = [self.layouts.of(tensor) for tensor, _ in parts]
            layout = next((layout for layout in own if layout.steps > 1), rows[0])
            return [layout] * len(parts), layout
        return rows, in_one_row(out)


def _is_elementwise(op: Op) -> bool:
    return activations.resolve(op.activation).elementwise


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

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
from nnfast._plan.spec import (
    IDENTITY,
    BlockSettings,
    LayerSpec,
    Masking,
    MaskSettings,
    Op,
    Shape,
)

# The ops that compute as in inference if their layer is frozen, and those that always do.
_FIT_FOR_INFERENCE = {
    *("batch_norm", "attention"),
    *("copy_blocks", "strided", "step_mask", "minimum"),
}


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

    The numbers of the inputs and outputs are all different. `masks` has the tensor with the mask of
    each output, None if it has no mask. See `Layouts` for `unpadded`.
    """

    ops: list[SizedOp]
    inputs: tuple[int, ...]
    sizes: tuple[int, ...]
    outputs: tuple[int, ...]
    unpadded: frozenset[int] = frozenset()
    masks: tuple[int | None, ...] = ()


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
            same[node.outputs[0]] = inputs[0]
    outputs: list[int] = []
    masks = tuple(lowering.masks.get((tensor, 0)) for tensor in graph.outputs)
    for tensor, mask in zip(graph.outputs, masks, strict=True):
        output, shape = same.get(tensor, tensor), graph.shapes[tensor]
        if mask is not None or lowering.has_other_steps(output, shape):
            output = lowering.written_in_steps(output, shape)
        if output in graph.inputs or output in outputs:
            output = lowering.add_identity(output)
        outputs.append(output)
    sizes = tuple(math.prod(graph.shapes[tensor]) for tensor in graph.inputs)
    unpadded = frozenset(lowering.layouts.unpadded)
    ops = _needed(lowering.ops, {*outputs, *(mask for mask in masks if mask is not None)})
    return Lowered(ops, graph.inputs, sizes, tuple(outputs), unpadded, masks)


def _needed(ops: Sequence[SizedOp], tensors: set[int]) -> list[SizedOp]:
    """Return the ops on which one of these tensors depends; `tensors` gets their inputs, too."""
    needed = []
    for sized in reversed(ops):
        if sized.output in tensors:
            tensors.update(sized.inputs)
            needed.append(sized)
    return needed[::-1]


class _Lowering:
    """The ops so far, with the layouts of their tensors, and the tensors with their masks.

    A mask is that of a tensor as calls with a certain `Call.outer` see it.
    """

    def __init__(self, graph: FlatGraph) -> None:
        self.ops: list[SizedOp] = []
        self.layouts = Layouts()
        self.masks: dict[tuple[int, int], int] = {}
        self._graph = graph
        self._n_tensors = len(graph.shapes)
        for tensor in graph.inputs:
            self.layouts.note(tensor, in_one_row(graph.shapes[tensor]))

    def _new_tensor(self) -> int:
        self._n_tensors += 1
        return self._n_tensors - 1

    def _append(self, op: Op, tensor: int, n_in: int, n_out: int, steps: int = 1) -> int:
        """Append an op that belongs to no layer; return the number of its output."""
        return self._append_to(self._new_tensor(), op, (tensor,), n_in, n_out, steps)

    def _append_to(
        self, output: int, op: Op, inputs: tuple[int, ...], n_in: int, n_out: int, steps: int = 1
    ) -> int:
        n_in2 = n_in if len(inputs) > 1 else 0
        node = len(self._graph.nodes)
        self.ops.append(SizedOp(op, -1, node, inputs, output, n_in, n_out, n_in2, steps=steps))
        return output

    def add_identity(self, tensor: int) -> int:
        layout = self.layouts.of(tensor)
        output = self._append(IDENTITY, tensor, layout.width, layout.width, layout.steps)
        self.layouts.note(output, layout)
        return output

    def has_other_steps(self, tensor: int, shape: Shape) -> bool:
        """Return whether a tensor is written in several steps that are not those of its shape.

        Steps of an output may have weights.
        """
        return len(shape) > 1 and self.layouts.of(tensor).steps not in (1, in_steps(shape).steps)

    def written_in_steps(self, tensor: int, shape: Shape) -> int:
        """Return the number of a tensor, or of a copy, that is written in rows of the last axis."""
        layout = in_steps(shape)
        if self.layouts.of(tensor) == layout:
            return tensor
        read = self.layouts.read(tensor, layout, self._append)
        output = self._append(IDENTITY, read, layout.width, layout.width, layout.steps)
        self.layouts.note(output, layout)
        return output

    def add_call(self, number: int, node: Call, inputs: tuple[int, ...], trained: bool) -> bool:
        """Append the ops of one call of a layer, and return whether there are any.

        The last one carries the penalty on the output.
        """
        graph, layer = self._graph, self._graph.layers[node.layer]
        regularizer = layer.activity_regularizer
        activity = (0.0, 0.0) if regularizer is None else regularizer.penalty
        tensors, shapes, masked = self._operands(node, inputs)
        times = self._times(node)
        ops = _described_ops(layer, shapes, any(activity), node.inference, masked)
        if node.outer and trained:
            _check_distributed(layer.name, ops)
        for i, op in enumerate(ops):
            last = i == len(ops) - 1
            # An op takes the previous one's output, unless it names its operands.
            operands = op.operands or (len(tensors) - 1,)
            shape = shapes[operands[0]]
            final = last or op.output is not None or _rest_writes_parts(ops[i + 1 :])
            output = node.outputs[op.output or 0] if final else self._new_tensor()
            out = graph.shapes[output][node.outer :] if final else op.shape or shape
            if op.writes_part and not final:  # ops that write parts of one tensor share its number
                output = self.ops[-1].output
            parts = [(tensors[k], shapes[k]) for k in operands]
            layouts, written = self._layouts_of(op, parts, out, times)
            sized = SizedOp(
                replace(op, frozen=node.inference or not trained),
                node.layer,
                number,
                self._read([tensor for tensor, _ in parts], layouts),
                output,
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
            if op.makes_mask:
                self.masks[node.outputs[0], node.outer] = sized.output
        self._pass_masks(layer, node, inputs)
        return bool(ops)

    def _operands(self, node: Call, inputs: Sequence[int]) -> tuple[list[int], list[Shape], bool]:
        """Return the tensors that a call's ops may read, their shapes; whether there are masks."""
        tensors, layer = list(inputs), self._graph.layers[node.layer]
        shapes = [self._graph.shapes[tensor][node.outer :] for tensor in node.inputs]
        users = range(layer.n_masks if layer.uses_mask else 0)
        masks = [self.masks.get((node.inputs[k], node.outer)) for k in users]
        masked = any(mask is not None for mask in masks)
        for k, mask in enumerate(masks if masked else ()):
            if mask is None:
                mask = self._all_real(inputs[k], shapes[k], self._times(node))
            tensors.append(mask)
            shapes.append((self.layouts.of(mask).width,))
        return tensors, shapes, masked

    def _times(self, node: Call) -> int:
        """Return how often a call's layer is applied to a sample."""
        return math.prod(self._graph.shapes[node.inputs[0]][: node.outer])

    def _pass_masks(self, layer: LayerSpec, node: Call, inputs: Sequence[int]) -> None:
        """Note the mask of the call's output if it follows from those of its inputs."""
        masks = [self.masks.get((tensor, node.outer)) for tensor in node.inputs]
        found = [mask for mask in masks if mask is not None]
        output = node.outputs[0], node.outer
        if layer.masking is Masking.PASSES and masks[0] is not None:
            self.masks[output] = masks[0]
        elif layer.masking is Masking.GIVEN and masks[-1] is not None:
            self.masks[output] = masks[-1]
        elif layer.masking is Masking.ANY and len(found) == len(masks):
            self.masks[output] = self._either(found)
        elif layer.masking is Masking.JOINED and found:
            self.masks[output] = self._joined(node, inputs, masks)

    def _either(self, masks: Sequence[int]) -> int:
        """Return the mask of the steps that are real in any of these masks."""
        total, *others = dict.fromkeys(masks)
        for mask in others:
            steps, width = layout = self.layouts.of(mask)
            both = (total, mask)
            total = self._append_to(self._new_tensor(), Op("maximum"), both, width, width, steps)
            self.layouts.note(total, layout)
        return total

    def _all_real(self, tensor: int, shape: Shape, times: int) -> int:
        """Return a mask for a tensor that has none: every number differs from NaN."""
        settings = MaskSettings(shape[0], math.prod(shape[1:]), math.nan)
        n_in = math.prod(shape)
        row = self._read([tensor], [Layout(times, n_in)])[0]
        mask = self._append(Op("step_mask", settings=settings), row, n_in, shape[0], times)
        self.layouts.note(mask, Layout(times, shape[0]))
        return mask

    def _joined(self, node: Call, inputs: Sequence[int], masks: Sequence[int | None]) -> int:
        """Return masks one after the other. All steps of tensors without a mask are real."""
        output, times = self._new_tensor(), self._times(node)
        shapes = [self._graph.shapes[tensor][node.outer :] for tensor in node.inputs]
        total = sum(steps for steps, *_ in shapes)
        begin = 0
        for tensor, mask, shape in zip(inputs, masks, shapes, strict=True):
            steps = shape[0]
            if mask is None:
                mask = self._all_real(tensor, shape, times)
            blocks = BlockSettings(1, steps, 0, steps, begin, total, covers_x=True)
            op = Op("copy_blocks", settings=blocks, writes_part=begin > 0)
            self._append_to(output, op, (mask,), steps, total, times)
            begin += steps
        self.layouts.note(output, Layout(times, total))
        return output

    def _read(self, tensors: Sequence[int], layouts: Sequence[Layout]) -> tuple[int, ...]:
        """Return the numbers of tensors, or of copies of them, that have these layouts."""
        pairs = zip(tensors, layouts, strict=True)
        return tuple(self.layouts.read(*pair, self._append) for pair in pairs)

    def _layouts_of(
        self, op: Op, parts: Sequence[tuple[int, Shape]], out: Shape, times: int
    ) -> tuple[list[Layout], Layout]:
        """Return the layouts in which an op reads its inputs and writes its output.

        A sample has `times` entries of these shapes.
        """
        traits = OPS[op.kind]
        rows = [in_one_row(shape, times) for _, shape in parts]
        if op.in_steps or traits.last_axis or (traits.is_activation and not _is_elementwise(op)):
            return [in_steps((times, *shape)) for _, shape in parts], in_steps((times, *out))
        if traits.elementwise and not op.whole_samples:
            own = [self.layouts.of(tensor) for tensor, _ in parts]
            layout = next((layout for layout in own if layout.steps > 1), rows[0])
            return [layout] * len(parts), layout
        return rows, in_one_row(out, times)


def _is_elementwise(op: Op) -> bool:
    return activations.resolve(op.activation).elementwise


def _described_ops(
    layer: LayerSpec, shapes: Sequence[Shape], penalized: bool, inference: bool, masked: bool
) -> list[Op]:
    """Return a layer's ops; a penalty on the output of a layer without ops needs an identity."""
    described = layer.masked_ops(*shapes) if masked else layer.ops(*shapes)
    # Skip a normalization without channels: the engine divides by the number of channels.
    ops = [op for op in described if op.axes is None or 0 not in shapes[0]]
    if inference and layer.training_differs:
        if not all(in_training_only(op) or op.kind in _FIT_FOR_INFERENCE for op in ops):
            raise ValueError(
                f"Layer {layer.name!r} called with training=False is not supported yet"
            )
        ops = [op for op in ops if not in_training_only(op)]
    return [IDENTITY] if not ops and penalized else ops


def _check_distributed(name: str, ops: Sequence[Op]) -> None:
    """Raise a ValueError if a layer that is trained cannot be applied to steps one by one."""
    if any(op.kind == "batch_norm" for op in ops):
        raise ValueError(
            f"Layer {name!r} within TimeDistributed would normalize each step of a batch alone, "
            "which is not supported: freeze it, or apply it to the sequences"
        )


def in_training_only(op: Op) -> bool:
    """Return whether an op is the identity in inference."""
    return OPS[op.kind].training_only or op.training_only


def _rest_writes_parts(ops: Sequence[Op]) -> bool:
    """Return whether all of these ops, which end a layer, write parts of one tensor."""
    return bool(ops) and all(op.writes_part for op in ops)

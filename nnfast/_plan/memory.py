"""The memory plan: offsets of tensors and gradients, and the op tables for the engine.

`make_tables` takes the fused ops and their references to weights. It returns one `OpTable` each for
training, input gradients and inference: ops with the offsets of their tensors, in elements per row
of a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nnfast._engine import ACTIVATIONS, NEEDS_PREACTIVATION, OPS
from nnfast._plan.fusion import Fused, heads_of
from nnfast._plan.gradients import Gradients
from nnfast._plan.layouts import LINE, Layout
from nnfast._plan.lowering import SizedOp
from nnfast._plan.parameters import weight_fields
from nnfast._plan.spec import Resampling, Window

# If a row takes at least ODD_LINES cache lines, its stride is an odd number of lines. With an even
# number, the columns that a register tile reads would map to at most half of the cache's sets.
ODD_LINES = 4

if TYPE_CHECKING:
    from nnfast._engine.core import OpTraits

TRAITS = {traits.kind: traits for traits in OPS.values()}


class OpTable(NamedTuple):
    """The engine's ops for one kind of pass.

    Attributes
    ----------
    ops : list of dict
    width : int
        Elements of the arena per row of a batch.
    inputs, outputs : list of int
        The offsets of the inputs and outputs.
    input_gradients : list of int
        The offset of each input's gradient, -1 if it is not computed.
    output_gradients : list of int
        The offset of the gradient that the loss of each output writes, -1 in inference.
    single_reader : bool
        Whether there is one input, which the first op alone reads.
    shares_parameters : bool
        Whether several ops have the same parameter.
    """

    ops: list[dict[str, Any]]
    width: int
    inputs: list[int]
    outputs: list[int]
    input_gradients: list[int]
    output_gradients: list[int]
    single_reader: bool
    shares_parameters: bool


class OpTables(NamedTuple):
    """The op tables of a plan, and the total size of all normalizations' statistics in elements."""

    training: OpTable
    input_gradient: OpTable
    inference: OpTable
    n_stats: int


def make_tables(
    fused: Fused, references: Mapping[int, Mapping[str, int]], trained: frozenset[int]
) -> OpTables:
    """Return the tables of a graph of ops.

    Parameters
    ----------
    fused : Fused
    references : dict of int to dict of str to int
        Maps a layer's index and a weight's name to the array's number.
    trained : frozenset of int
        The numbers of the arrays that are currently trained.
    """
    statistics, n_stats = statistics_offsets(fused.training)
    strides = Strides(fused.unpadded)

    def describe(ops: Sequence[SizedOp]) -> list[dict[str, Any]]:
        table = []
        for sized in ops:
            fields = weight_fields(sized.op, references.get(sized.layer, {}))
            table.append(describe_op(sized, fields, statistics.get(sized.node), strides))
        return table

    training = fused.training
    return OpTables(
        training=training_table(fused, describe(training), trained, to_input=False),
        input_gradient=training_table(fused, describe(training), trained, to_input=True),
        inference=inference_table(fused, describe(fused.inference)),
        n_stats=n_stats,
    )


def stride(n: int) -> int:
    """Return the stride of a tensor's rows, which have n elements each.

    Examples
    --------
    >>> stride(0), stride(10), stride(32), stride(64), stride(512)
    (16, 16, 32, 80, 528)
    """
    lines = max(1, -(-n // LINE))
    return LINE * (lines | 1 if lines >= ODD_LINES else lines)


class Strides:
    """The strides of rows in the arena.

    Parameters
    ----------
    unpadded : frozenset of int
        See `Layouts`.

    Examples
    --------
    >>> strides = Strides(frozenset({640}))
    >>> strides.of(1, 64), strides.of(10, 64), strides.of(1, 640)
    (80, 64, 640)
    """

    def __init__(self, unpadded: frozenset[int]) -> None:
        self._unpadded = unpadded

    def of(self, steps: int, n: int) -> int:
        """Return the stride of rows of n elements; a sample has `steps` of them."""
        if steps > 1:
            return Layout(steps, n).row
        return n if n in self._unpadded else stride(n)


def statistics_offsets(ops: Sequence[SizedOp]) -> tuple[dict[int, tuple[int, int]], int]:
    """Return {node: (offset, length)} of the normalizations' statistics, and their total size.

    A batch normalization stores the mean, 1/√variance, the variance and the gradients of gamma and
    beta. A normalization with fixed statistics stores the mean, 1/√variance and a shift, repeated
    for every feature of a row.
    """
    offsets, end = {}, 0
    for sized in ops:
        traits = OPS[sized.op.kind]
        if traits.channel_statistics:
            offsets[sized.node] = end, stride(sized.channels)
            end += traits.channel_statistics * stride(sized.channels)
        elif traits.feature_statistics:
            offsets[sized.node] = end, stride(sized.n_in)
            end += traits.feature_statistics * stride(sized.n_in)
    return offsets, end


def describe_op(
    sized: SizedOp,
    weights: Mapping[str, int],
    statistics: tuple[int, int] | None,
    strides: Strides,
) -> dict[str, Any]:
    """Return an op in the engine's form, without the offsets of its tensors.

    Parameters
    ----------
    sized : SizedOp
    weights : dict of str to int
        The fields that refer to the op's weights.
    statistics : tuple of int or None
        Offset and length of a normalization's statistics. None if the op has no statistics, or has
        them for each sample.
    strides : Strides
    """
    op, traits = sized.op, OPS[sized.op.kind]
    groups = sized.n_in // sized.channels if sized.channels else 0
    stats, ld_stats = statistics or (-1, stride(traits.sample_statistics * groups))
    return {
        **dict.fromkeys(("x", "x2", "y", "z"), -1),
        "head": -1,
        **dict.fromkeys(("dx", "dx2", "dx_base", "dx2_base", "dy", "dy_source"), -1),
        **dict.fromkeys(("applies_relu_backward", "relu_backward_done", "adds_parameters"), 0),
        **weights,
        "kind": traits.kind,
        "activation": ACTIVATIONS[op.activation],
        "alpha": op.alpha,
        "steps": sized.steps,
        "n_in": sized.n_in,
        "n_in2": sized.n_in2,
        "n_out": sized.n_out,
        "ld_x": strides.of(sized.steps, sized.n_in),
        "ld_x2": strides.of(sized.steps, sized.n_in2),
        "ld_y": strides.of(sized.steps, sized.n_out),
        "node": sized.node,
        "frozen": op.frozen,
        "y_l1": sized.activity[0],
        "y_l2": sized.activity[1],
        "channels": sized.channels,
        "stats": stats,
        "ld_stats": ld_stats,
        "constant": op.constant,
        "settings": op.settings,
    }


def training_table(
    fused: Fused, ops: list[dict[str, Any]], trained: frozenset[int], *, to_input: bool
) -> OpTable:
    """Return the table for training, with a separate offset for every output and every gradient.

    Parameters
    ----------
    fused : Fused
    ops : list of dict
        The ops for training in the engine's form, to which this function adds the offsets.
    trained : frozenset of int
    to_input : bool
        Whether the gradients of the inputs are needed, too.
    """
    sized = fused.training
    offsets, end = _place_tensors(fused, ops)
    _set_heads(ops, heads_of(sized, fused.training_outputs))
    readers = Counter(tensor for op in sized for tensor in op.inputs)
    readers.update(fused.training_outputs)
    _fuse_relu_backward(sized, ops, readers)
    _note_shared_parameters(ops, trained)
    gradients = Gradients(fused.inputs, fused.training_outputs, sized, ops, trained, to_input)
    end = gradients.place(end)
    return OpTable(
        ops,
        end,
        [offsets[tensor] for tensor in fused.inputs],
        [offsets[tensor] for tensor in fused.training_outputs],
        gradients.of_inputs,
        gradients.of_outputs,
        _has_single_reader(fused.inputs, sized),
        shares_parameters=any(op["adds_parameters"] for op in ops),
    )


def _set_heads(ops: Sequence[dict[str, Any]], heads: Sequence[int]) -> None:
    for op, head in zip(ops, heads, strict=True):
        op["head"] = head


def _has_single_reader(inputs: tuple[int, ...], sized: Sequence[SizedOp]) -> bool:
    """Return whether there is one input, which one op alone reads."""
    return len(inputs) == 1 and sum(op.inputs.count(inputs[0]) for op in sized) == 1


def _place_tensors(fused: Fused, ops: Sequence[dict[str, Any]]) -> tuple[dict[int, int], int]:
    """Set the offsets of the ops' tensors; return those of all tensors, and their total size."""
    needs_preactivation = {ACTIVATIONS[name] for name in NEEDS_PREACTIVATION}
    offsets: dict[int, int] = {}
    end = 0
    strides = Strides(fused.unpadded)
    for tensor, n in zip(fused.inputs, fused.input_sizes, strict=True):
        offsets[tensor], end = end, end + strides.of(1, n)
    for numbers, op in zip(fused.training, ops, strict=True):
        traits = _traits(op)
        _set_inputs(op, [offsets[tensor] for tensor in numbers.inputs])
        if numbers.output not in offsets:
            offsets[numbers.output], end = end, end + op["steps"] * op["ld_y"]
        op["y"] = offsets[numbers.output]
        op["z"] = op["x"] if traits.is_activation else op["y"]
        if not traits.is_activation and op["activation"] in needs_preactivation:
            op["z"], end = end, end + op["steps"] * op["ld_y"]
        if traits.sample_statistics:
            op["stats"], end = end, end + op["ld_stats"]
    return offsets, end


def _set_inputs(op: dict[str, Any], offsets: Sequence[int]) -> None:
    op["x"], op["x2"] = offsets[0], offsets[1] if len(offsets) > 1 else -1


def _fuse_relu_backward(
    sized: Sequence[SizedOp], ops: Sequence[dict[str, Any]], readers: Counter[int]
) -> None:
    """Let an op that alone reads the output of a ReLU multiply its dX by the ReLU's derivative."""
    producer = {numbers.output: op for numbers, op in zip(sized, ops, strict=True)}
    for numbers, op in zip(sized, ops, strict=True):
        before = producer.get(numbers.inputs[0])
        if before is None or readers[numbers.inputs[0]] > 1:
            continue
        penalty = before["y_l1"] or before["y_l2"]
        if _traits(op).fuses_relu_backward and before["w"] >= 0 and not penalty:
            op["applies_relu_backward"] = int(before["activation"] == ACTIVATIONS["relu"])
            before["relu_backward_done"] = op["applies_relu_backward"]


def _note_shared_parameters(ops: Sequence[dict[str, Any]], trained: frozenset[int]) -> None:
    """Mark the ops whose gradients are added to those of an earlier op with the same parameters."""
    seen: set[int] = set()
    for op in ops:
        numbers = trained.intersection((op["w"], op["b"]))
        op["adds_parameters"] = int(bool(numbers & seen))
        seen |= numbers


def inference_table(fused: Fused, ops: list[dict[str, Any]]) -> OpTable:
    """Return the table for inference, in which tensors use equally wide slots in turn.

    A tensor takes the first slot that is free, and frees it after its last reader. A chain
    therefore alternates between two slots.
    """
    sized = fused.inference
    _set_heads(ops, heads_of(sized, fused.inference_outputs))
    widest = max(op["steps"] * ld for op in ops for ld in (op["ld_x"], op["ld_y"]))
    last_reader = {tensor: i for i, op in enumerate(sized) for tensor in op.inputs}
    last_reader.update(dict.fromkeys(fused.inference_outputs, len(sized)))
    slots = {tensor: k for k, tensor in enumerate(fused.inputs)}
    offsets = {tensor: widest * slot for tensor, slot in slots.items()}
    n_slots = 1 + len(slots)
    for i, (numbers, op) in enumerate(zip(sized, ops, strict=True)):
        _set_inputs(op, [widest * slots[tensor] for tensor in numbers.inputs])
        if numbers.output not in slots:
            slots[numbers.output] = min(set(range(len(slots) + 1)) - set(slots.values()))
            n_slots = max(n_slots, slots[numbers.output] + 1)
        op["y"] = offsets[numbers.output] = widest * slots[numbers.output]
        op["z"] = op["x"] if _traits(op).is_activation else op["y"]
        for tensor in set(numbers.inputs):
            if last_reader[tensor] == i:
                del slots[tensor]
    return OpTable(
        ops,
        n_slots * widest,
        [offsets[tensor] for tensor in fused.inputs],
        [offsets[tensor] for tensor in fused.inference_outputs],
        [-1] * len(fused.inputs),
        [-1] * len(fused.inference_outputs),
        _has_single_reader(fused.inputs, sized),
        shares_parameters=False,
    )


def _traits(op: Mapping[str, Any]) -> OpTraits:
    """Return the traits of an op in the engine's form."""
    return TRAITS[op["kind"]]


def values_kept(sized: SizedOp) -> int:
    """Return the size of the largest array that an op keeps for one sample.

    That array is the input, the output, a padded image, or the taps of a resampling.
    """
    traits, settings = OPS[sized.op.kind], sized.op.settings
    numbers = sized.steps * max(sized.n_in, sized.n_out)
    if isinstance(settings, Resampling):
        numbers = max(numbers, traits.numbers_per_line * sum(settings.n_out))
    elif isinstance(settings, Window) and traits.copies_images:
        win = settings
        rows = (win.out_h - 1) * win.stride_h + (win.kernel_h - 1) * win.dilation_h + 1
        cols = (win.out_w - 1) * win.stride_w + (win.kernel_w - 1) * win.dilation_w + 1
        channels = win.out_c if traits.repeats_channels else win.c
        bordered = max(rows, win.top + win.h) * max(cols, win.left + win.w) * channels
        numbers = max(numbers, bordered)
    return numbers

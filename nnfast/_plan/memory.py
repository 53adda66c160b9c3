"""The memory plan: offsets of tensors and gradients, and the op tables for the engine.

`make_tables` takes the fused ops and their references to weights. It returns one `OpTable` each for
training, input gradients and inference: ops with the offsets of their tensors, in elements per row
of a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nnfast._engine import ACTIVATIONS, CELLS, OPS
from nnfast._plan.fusion import Fused, heads_of
from nnfast._plan.gradients import Gradients
from nnfast._plan.layouts import LINE
from nnfast._plan.lowering import SizedOp
from nnfast._plan.parameters import weight_fields
from nnfast._plan.spec import AttentionSettings, Recurrence, Resampling, Window
from nnfast._plan.storage import Strides, share_memory, stride
from nnfast._plan.tensors import Tensors, traits_of

OFFSETS = ("x", "x2", "y", "z", "dx", "dx2", "dx_base", "dx2_base", "dy", "dy_source")
FLAGS = ("applies_relu_backward", "relu_backward_done", "adds_parameters", "early")
COLUMNS = ("x_column", "x2_column", "y_column")
# The fields of an op that are set later, if at all.
UNSET = dict.fromkeys((*OFFSETS, "head"), -1) | dict.fromkeys((*FLAGS, *COLUMNS), 0)


class OpTable(NamedTuple):
    """The engine's ops for one kind of pass.

    Attributes
    ----------
    ops : list of dict
    width : int
        Elements of the arena per row of a batch.
    n_values : int
        Elements of all tensors and gradients per row of a batch, also of those that share memory;
        in inference, `width`. How a batch is split depends on this number.
    inputs, outputs : list of int
        The offsets of the inputs and outputs.
    input_strides, input_columns : list of int
        The stride of each input, and its first column if it lies in a concatenation.
    input_gradients : list of int
        The offset of each input's gradient, -1 if it is not computed.
    output_gradients : list of int
        The offset of the gradient that the loss of each output writes, -1 in inference.
    masks, mask_strides : list of int
        The offset of each output's mask, -1 if it has none, and the stride of its rows.
    single_reader : bool
        Whether there is one input, which the first op alone reads.
    shares_parameters : bool
        Whether several ops have the same parameter.
    """

    ops: list[dict[str, Any]]
    width: int
    n_values: int
    inputs: list[int]
    input_strides: list[int]
    input_columns: list[int]
    outputs: list[int]
    input_gradients: list[int]
    output_gradients: list[int]
    masks: list[int]
    mask_strides: list[int]
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

    training = describe(fused.training)
    copies = [dict(op) for op in training]
    return OpTables(
        training=training_table(fused, training, trained, to_input=False),
        input_gradient=training_table(fused, copies, trained, to_input=True),
        inference=inference_table(fused, describe(fused.inference)),
        n_stats=n_stats,
    )


def statistics_offsets(ops: Sequence[SizedOp]) -> tuple[dict[int, tuple[int, int]], int]:
    """Return {node: (offset, length)} of the normalizations' statistics, and their total size.

    A batch normalization stores the mean, 1/√variance, the variance, the gradients of gamma and
    beta, and the number of real steps. A normalization with fixed statistics stores the mean,
    1/√variance and a shift, repeated for every feature of a row.
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
    per_sample = stride(traits.sample_statistics * groups)
    if traits.sample_channel_statistics:
        per_sample = traits.sample_channel_statistics * stride(sized.channels)
    elif isinstance(op.settings, (Recurrence, AttentionSettings)):
        per_sample = stride(elements_kept(op.settings))
    stats, ld_stats = statistics or (-1, per_sample)
    return {
        **UNSET,
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
    """Return the table for training.

    Parameters
    ----------
    fused : Fused
    ops : list of dict
        The ops for training in the engine's form, to which this function adds the offsets.
    trained : frozenset of int
    to_input : bool
        Whether the gradients of the inputs are needed, too.
    """
    sized, inputs, outputs = fused.training, fused.inputs, fused.training_outputs
    _fuse_relu_backward(sized, ops, outputs)
    _note_shared_parameters(ops, trained)
    _set_heads(ops, heads_of(sized, outputs))
    strides = Strides(fused.unpadded)
    tensors = Tensors(sized, ops, _inputs(fused), outputs, fused.masks, strides, training=True)
    gradients = Gradients(inputs, outputs, sized, ops, tensors.aliases, trained, to_input)
    tensors.add_gradients(gradients, trained)
    return _table(inputs, outputs, fused.masks, tensors, gradients)


def inference_table(fused: Fused, ops: list[dict[str, Any]]) -> OpTable:
    """Return the table for inference, in which all tensors have equally wide memory.

    A chain therefore alternates between two ranges.
    """
    sized, outputs = fused.inference, fused.inference_outputs
    _set_heads(ops, heads_of(sized, outputs))
    strides = Strides(fused.unpadded)
    tensors = Tensors(sized, ops, _inputs(fused), outputs, fused.masks, strides, training=False)
    widest = max(storage.ld for storage in tensors.storages)
    for storage in tensors.storages:
        storage.ld = widest
    return _table(fused.inputs, outputs, fused.masks, tensors, None)


def _inputs(fused: Fused) -> dict[int, int]:
    """Return the sizes of the input tensors by their numbers."""
    return dict(zip(fused.inputs, fused.input_sizes, strict=True))


def _table(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    masks: tuple[int | None, ...],
    tensors: Tensors,
    gradients: Gradients | None,
) -> OpTable:
    """Give all tensors and gradients offsets, and return the table."""
    width = share_memory(tensors.storages)
    tensors.set_offsets()
    tensors.mark_early({mask for mask in masks if mask is not None})
    input_gradients, output_gradients = [-1] * len(inputs), [-1] * len(outputs)
    if gradients is not None:
        input_gradients = [-1 if g is None else g.offset for g in gradients.of_inputs]
        output_gradients = [g.offset for g in gradients.of_outputs]
    ops = tensors.ops
    return OpTable(
        ops=ops,
        width=width,
        n_values=sum(storage.ld for storage in tensors.storages) if gradients else width,
        inputs=[tensors.memory_of(tensor).offset for tensor in inputs],
        input_strides=[tensors.place_of_input(tensor).ld for tensor in inputs],
        input_columns=[tensors.place_of_input(tensor).column for tensor in inputs],
        outputs=[tensors.memory_of(tensor).offset for tensor in outputs],
        input_gradients=input_gradients,
        output_gradients=output_gradients,
        masks=[-1 if mask is None else tensors.memory_of(mask).offset for mask in masks],
        mask_strides=[0 if mask is None else tensors.stride_of(mask) for mask in masks],
        single_reader=len(inputs) == 1 and tensors.has_one_reader(inputs[0]),
        shares_parameters=any(op["adds_parameters"] for op in ops),
    )


def _set_heads(ops: Sequence[dict[str, Any]], heads: Sequence[int]) -> None:
    for op, head in zip(ops, heads, strict=True):
        op["head"] = head


def _fuse_relu_backward(
    sized: Sequence[SizedOp], ops: Sequence[dict[str, Any]], outputs: tuple[int, ...]
) -> None:
    """Let ops that read the output of a ReLU multiply their dX by the ReLU's derivative.

    This needs ops that can do so, and no loss that adds to the gradient.
    """
    readers: dict[int, list[dict[str, Any]]] = defaultdict(list)
    others = set(outputs)
    for numbers, op in zip(sized, ops, strict=True):
        readers[numbers.inputs[0]].append(op)
        others.update(numbers.inputs[1:])
    for numbers, op in zip(sized, ops, strict=True):
        after = readers[numbers.output]
        penalty = op["y_l1"] or op["y_l2"]
        if op["activation"] != ACTIVATIONS["relu"] or op["w"] < 0 or penalty:
            continue
        fuse = all(traits_of(reader).fuses_relu_backward for reader in after)
        if after and fuse and numbers.output not in others:
            op["relu_backward_done"] = 1
            for reader in after:
                reader["applies_relu_backward"] = 1


def _note_shared_parameters(ops: Sequence[dict[str, Any]], trained: frozenset[int]) -> None:
    """Mark the ops whose gradients are added to those of an earlier op with the same parameters."""
    seen: set[int] = set()
    for op in ops:
        numbers = trained.intersection((op["w"], op["b"]))
        op["adds_parameters"] = int(bool(numbers & seen))
        seen |= numbers


def elements_kept(s: Recurrence | AttentionSettings) -> int:
    """Return the elements that an op keeps for each sample in training.

    For a recurrent op, these are the arrays of ``kernels/step_memory.pxi``, of all steps. For
    attention, they are the probabilities.
    """
    if isinstance(s, AttentionSettings):
        return s.heads * -(-s.queries // 4) * 4 * -(-s.keys // LINE) * LINE
    lstm = s.cell == CELLS["lstm"]
    states = s.ld_units * (lstm or s.cell == CELLS["gru_reset_before"])
    hidden = s.ld_units * (s.recurrent_rate > 0)
    return s.steps * (s.ld_gates + s.ld_units * lstm) + (s.steps + 1) * (
        s.ld_inputs + states + hidden
    )


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

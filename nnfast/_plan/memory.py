"""The memory plan: offsets of the ops' outputs and gradients, and the op lists for the engine.

`make_tables` takes the fused ops and their references to weights. It returns one `OpTable` each for
training, input gradients and inference: ops with the offsets of their tensors, in elements per row
of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from nnfast._engine import ACTIVATIONS, NEEDS_PREACTIVATION, OPS
from nnfast._plan.fusion import Fused, SizedOp
from nnfast._plan.parameters import weight_fields
from nnfast._plan.spec import Resampling, Window

# LINE is the number of float32 elements per cache line. If a row takes at least ODD_LINES lines,
# its stride is an odd number of lines. With an even number, the columns that a register tile reads
# would map to at most half of the cache's sets.
LINE = 16
ODD_LINES = 4

if TYPE_CHECKING:
    from nnfast._engine.core import OpTraits

TRAITS = {traits.kind: traits for traits in OPS.values()}


class OpTable(NamedTuple):
    """The engine's ops for one kind of pass, and the arena's width in elements per batch row."""

    ops: list[dict[str, Any]]
    width: int

    @property
    def out(self) -> int:
        """The offset of the predictions."""
        offset: int = self.ops[-1]["y"]
        return offset


class OpTables(NamedTuple):
    """The op tables of a plan, and the total size of all normalizations' statistics in elements."""

    training: OpTable
    input_gradient: OpTable
    inference: OpTable
    n_stats: int


def make_tables(
    fused: Fused, references: Mapping[int, Mapping[str, int]], trained: frozenset[int]
) -> OpTables:
    """Return the tables of a chain of ops.

    Parameters
    ----------
    fused : Fused
    references : dict of int to dict of str to int
        Maps a layer's index and a weight's name to the array's number.
    trained : frozenset of int
        The numbers of the arrays that are currently trained.
    """
    statistics, n_stats = statistics_offsets(fused.training)

    def describe(sized: SizedOp) -> dict[str, Any]:
        fields = weight_fields(sized.op, references.get(sized.layer, {}))
        return describe_op(sized, fields, statistics.get(sized.layer))

    training = [describe(sized) for sized in fused.training]
    return OpTables(
        training=training_table(training, trained, to_input=False),
        input_gradient=training_table(training, trained, to_input=True),
        inference=inference_table([describe(sized) for sized in fused.inference]),
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


def statistics_offsets(ops: Sequence[SizedOp]) -> tuple[dict[int, tuple[int, int]], int]:
    """Return {layer: (offset, length)} of the normalizations' statistics, and their total size.

    A batch normalization stores the mean, 1/√variance, the variance and the gradients of gamma and
    beta. A normalization with fixed statistics stores the mean, 1/√variance and a shift, repeated
    for every feature of a row.
    """
    offsets, end = {}, 0
    for sized in ops:
        traits = OPS[sized.op.kind]
        if traits.channel_statistics:
            offsets[sized.layer] = end, stride(sized.channels)
            end += traits.channel_statistics * stride(sized.channels)
        elif traits.feature_statistics:
            offsets[sized.layer] = end, stride(sized.n_in)
            end += traits.feature_statistics * stride(sized.n_in)
    return offsets, end


def describe_op(
    sized: SizedOp, weights: Mapping[str, int], statistics: tuple[int, int] | None
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
    """
    op, traits = sized.op, OPS[sized.op.kind]
    groups = sized.n_in // sized.channels if sized.channels else 0
    stats, ld_stats = statistics or (-1, stride(traits.sample_statistics * groups))
    return {
        **dict.fromkeys(("x", "y", "z", "dx", "dy"), -1),
        **dict.fromkeys(("applies_relu_backward", "relu_backward_done"), 0),
        **weights,
        "kind": traits.kind,
        "activation": ACTIVATIONS[op.activation],
        "alpha": op.alpha,
        "n_in": sized.n_in,
        "n_out": sized.n_out,
        "ld_x": stride(sized.n_in),
        "ld_y": stride(sized.n_out),
        "layer": sized.layer,
        "frozen": op.frozen,
        "y_l1": sized.activity[0],
        "y_l2": sized.activity[1],
        "channels": sized.channels,
        "stats": stats,
        "ld_stats": ld_stats,
        "settings": op.settings,
    }


def training_table(
    ops: Sequence[Mapping[str, Any]], trained: frozenset[int], *, to_input: bool
) -> OpTable:
    """Return the table for training, with a separate offset for every output and every gradient.

    Gradients are needed down to the first op with a trained array or, if `to_input`, to the input.
    """
    placed, end = _place_outputs(ops)
    needed, dx = to_input, -1
    for op, producer in zip(placed, [None, *placed], strict=False):
        if needed:
            dx, end = end, end + op["ld_x"]
        op["dx"] = dx
        if producer:
            producer["dy"] = dx
        needed = needed or op["w"] in trained or op["b"] in trained
    placed[-1]["dy"], end = end, end + placed[-1]["ld_y"]
    for producer, op in pairwise(placed):
        penalty = producer["y_l1"] or producer["y_l2"]
        if _traits(op).fuses_relu_backward and producer["w"] >= 0 and not penalty:
            op["applies_relu_backward"] = int(producer["activation"] == ACTIVATIONS["relu"])
            producer["relu_backward_done"] = op["applies_relu_backward"]
    return OpTable(placed, end)


def _place_outputs(ops: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Return the ops with the offsets of their forward tensors, and the tensors' total size."""
    needs_preactivation = {ACTIVATIONS[name] for name in NEEDS_PREACTIVATION}
    x, end = 0, ops[0]["ld_x"]
    placed = []
    for op in map(dict, ops):
        traits = _traits(op)
        op |= {"x": x, "y": end, "z": x if traits.is_activation else end}
        x, end = end, end + op["ld_y"]
        if not traits.is_activation and op["activation"] in needs_preactivation:
            op["z"], end = end, end + op["ld_y"]
        if traits.sample_statistics:
            op["stats"], end = end, end + op["ld_stats"]
        placed.append(op)
    return placed, end


def inference_table(ops: Sequence[Mapping[str, Any]]) -> OpTable:
    """Return the table for inference, in which ops alternate between two equally wide buffers."""
    widest = max(ld for op in ops for ld in (op["ld_x"], op["ld_y"]))
    placed = []
    for i, op in enumerate(map(dict, ops)):
        x, y = (0, widest) if i % 2 == 0 else (widest, 0)
        op |= {"x": x, "y": y, "z": x if _traits(op).is_activation else y}
        placed.append(op)
    return OpTable(placed, 2 * widest)


def _traits(op: Mapping[str, Any]) -> OpTraits:
    """Return the traits of an op in the engine's form."""
    return TRAITS[op["kind"]]


def values_kept(sized: SizedOp) -> int:
    """Return the size of the largest array that an op keeps for one sample.

    That array is the input, the output, a padded image, or the taps of a resampling.
    """
    traits, settings = OPS[sized.op.kind], sized.op.settings
    numbers = max(sized.n_in, sized.n_out)
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

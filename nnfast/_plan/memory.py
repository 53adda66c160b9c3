"""Where the outputs and gradients of ops are, and the ops as the engine takes them.

Takes the fused ops and what they refer to their weights by. Gives an `OpTable` each for training,
for the gradient of the input and for inference: ops with the offsets of their tensors, in elements
for each row of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from nnfast._engine import ACTIVATIONS, OPS, SLOPE_NEEDS_INPUT
from nnfast._plan.fusion import Fused, SizedOp
from nnfast._plan.parameters import weight_fields
from nnfast._plan.spec import Window

# Elements of a cache line of float32, and the lines from which on rows are an odd number of them
# apart: an even number leaves half of the cache's sets, or less, to the columns that a tile reads.
LINE = 16
ODD_LINES = 4
# Ops that can multiply their input gradient by the derivative of a relu before them.
FUSES_RELU_BACKWARD = frozenset(OPS[kind] for kind in ("dense", "max_pool"))
# Activations whose derivative is computed from the pre-activation.
NEEDS_PREACTIVATION = frozenset(ACTIVATIONS[name] for name in SLOPE_NEEDS_INPUT)
# Ops that copy images into a border of zeros.
WITH_BORDER = frozenset(OPS[kind] for kind in ("convolution", "depthwise"))
# That a resampling keeps for each row and column: TAP_SIZE of ``_engine/core.pyx``.
NUMBERS_OF_TAP = 8


class OpTable(NamedTuple):
    """The engine's ops of a pass, and the elements of their tensors for each row of a batch."""

    ops: list[dict[str, Any]]
    width: int

    @property
    def out(self) -> int:
        """Offset of the predictions."""
        offset: int = self.ops[-1]["y"]
        return offset


class OpTables(NamedTuple):
    """The tables of a plan, and how many numbers the normalizations work with."""

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
        By layer, what its ops refer to its weights by.
    trained : frozenset of int
        The numbers of the arrays that are trained now.
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
    """Return the elements from one row of a tensor to the next.

    Examples
    --------
    >>> stride(0), stride(10), stride(32), stride(64), stride(512)
    (16, 16, 32, 80, 528)
    """
    lines = max(1, -(-n // LINE))
    return LINE * (lines | 1 if lines >= ODD_LINES else lines)


def statistics_offsets(ops: Sequence[SizedOp]) -> tuple[dict[int, tuple[int, int]], int]:
    """Return by layer where a normalization's statistics are and how long each is; and their end.

    Those of a batch are its mean, 1/√variance, variance and the gradients of gamma and beta;
    fixed ones are repeated over the row: mean, 1/√variance and a shift.
    """
    offsets, end = {}, 0
    for sized in ops:
        if sized.op.kind == "batch_norm":
            offsets[sized.layer] = end, stride(sized.channels)
            end += 5 * stride(sized.channels)
        elif sized.op.kind == "standardize":
            offsets[sized.layer] = end, stride(sized.n_in)
            end += 3 * stride(sized.n_in)
    return offsets, end


def describe_op(
    sized: SizedOp, weights: Mapping[str, int], statistics: tuple[int, int] | None
) -> dict[str, Any]:
    """Return the engine's op, still without the offsets of its tensors.

    Parameters
    ----------
    sized : SizedOp
    weights : dict of str to int
        The fields that refer to its weights.
    statistics : tuple of int or None
        Offset and length of a normalization's statistics, None where they are tensors.
    """
    op = sized.op
    groups = sized.n_in // sized.channels if sized.channels else 0
    s, ld_s = statistics or (-1, stride(2 * groups))
    return {
        **dict.fromkeys(("x", "y", "z", "dx", "dy"), -1),
        **dict.fromkeys(("dx_relu", "dz_ready"), 0),
        **weights,
        "kind": OPS[op.kind],
        "activation": ACTIVATIONS[op.activation],
        "n_in": sized.n_in,
        "n_out": sized.n_out,
        "ld_x": stride(sized.n_in),
        "ld_y": stride(sized.n_out),
        "layer": sized.layer,
        "frozen": op.frozen,
        "alpha": op.alpha,
        "beta": op.beta,
        "y_l1": sized.activity[0],
        "y_l2": sized.activity[1],
        "channels": sized.channels,
        "s": s,
        "ld_s": ld_s,
        "epsilon": op.epsilon,
        "momentum": op.momentum,
        "resampling": op.resampling.entry(),
        "window": op.window._asdict(),
    }


def training_table(
    ops: Sequence[Mapping[str, Any]], trained: frozenset[int], *, to_input: bool
) -> OpTable:
    """Assign a separate offset to every output and every gradient.

    Gradients are needed down to the first op with an array that is trained, or down to the input.
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
        if op["kind"] in FUSES_RELU_BACKWARD and producer["w"] >= 0 and not penalty:
            op["dx_relu"] = int(producer["activation"] == ACTIVATIONS["relu"])
            producer["dz_ready"] = op["dx_relu"]
    return OpTable(placed, end)


def _place_outputs(ops: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Return the ops with offsets of what the forward pass keeps for them, and their end."""
    x, end = 0, ops[0]["ld_x"]
    placed = []
    for op in map(dict, ops):
        op |= {"x": x, "y": end, "z": x if op["kind"] == OPS["activation"] else end}
        x, end = end, end + op["ld_y"]
        if op["kind"] != OPS["activation"] and op["activation"] in NEEDS_PREACTIVATION:
            op["z"], end = end, end + op["ld_y"]
        if op["kind"] == OPS["layer_norm"]:
            op["s"], end = end, end + op["ld_s"]
        placed.append(op)
    return placed, end


def inference_table(ops: Sequence[Mapping[str, Any]]) -> OpTable:
    """Let every op read one of two buffers, as wide as the widest row, and write the other."""
    widest = max(ld for op in ops for ld in (op["ld_x"], op["ld_y"]))
    placed = []
    for i, op in enumerate(map(dict, ops)):
        x, y = (0, widest) if i % 2 == 0 else (widest, 0)
        op |= {"x": x, "y": y, "z": x if op["kind"] == OPS["activation"] else y}
        placed.append(op)
    return OpTable(placed, 2 * widest)


def numbers_kept(op: Mapping[str, Any]) -> int:
    """Return the most numbers that an engine's op keeps of one kind for a sample.

    Its input, its output, an image with its border, or a resampling's rows and columns.
    """
    numbers: int = max(op["n_in"], op["n_out"])
    if op["kind"] == OPS["resample"]:
        numbers = max(numbers, NUMBERS_OF_TAP * sum(op["resampling"]["n_out"]))
    elif op["kind"] in WITH_BORDER:
        win = Window(**op["window"])
        rows = (win.out_h - 1) * win.stride_h + (win.kernel_h - 1) * win.dilation_h + 1
        cols = (win.out_w - 1) * win.stride_w + (win.kernel_w - 1) * win.dilation_w + 1
        channels = win.out_c if op["kind"] == OPS["depthwise"] else win.c
        bordered = max(rows, win.top + win.h) * max(cols, win.left + win.w) * channels
        numbers = max(numbers, bordered)
    return numbers

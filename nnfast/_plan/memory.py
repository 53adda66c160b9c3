"""Where the outputs and gradients of operations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from nnfast._engine import ACTIVATIONS, OPS, SLOPE_NEEDS_INPUT
from nnfast._plan.fusion import Step
from nnfast._plan.parameters import ARRAY_FIELDS, PLACE_FIELDS

# Elements of a cache line of float32, and the lines from which on rows are an odd number of them
# apart: an even number leaves half of the cache's sets, or less, to the columns that a tile reads.
LINE = 16
ODD_LINES = 4
# Ops that can multiply their dX by the slope of a relu before them.
WITH_GATE = frozenset(OPS[kind] for kind in ("dense", "max_pool"))


def stride(n: int) -> int:
    """Return the elements from one row of a slot to the next.

    Examples
    --------
    >>> stride(0), stride(10), stride(32), stride(64), stride(512)
    (16, 16, 32, 80, 528)
    """
    lines = max(1, -(-n // LINE))
    return LINE * (lines | 1 if lines >= ODD_LINES else lines)


def place_statistics(steps: list[Step]) -> tuple[dict[int, tuple[int, int]], int]:
    """Return by layer where a normalization's statistics are and how long each is; and their end.

    Those of a batch are its mean, 1/√variance, variance and the gradients of gamma and beta;
    given ones are repeated over the row: mean, 1/√variance and a shift.
    """
    places, end = {}, 0
    for step in steps:
        if step.op.kind == "batch_norm":
            places[step.layer] = end, stride(step.channels)
            end += 5 * stride(step.channels)
        elif step.op.kind == "standardize":
            places[step.layer] = end, stride(step.n_in)
            end += 3 * stride(step.n_in)
    return places, end


def training_ops(
    ops: Sequence[Mapping[str, Any]], trained: frozenset[int], *, to_input: bool
) -> tuple[list[dict[str, Any]], int]:
    """Place every output and every gradient in a slot of its own.

    Gradients are needed down to the first op with an array that is trained, or down to the input.
    """
    end = ops[0]["ld_x"]
    x, placed = 0, []
    for op in map(dict, ops):
        op |= {"x": x, "y": end, "z": x if op["kind"] == OPS["activation"] else end}
        x, end = end, end + op["ld_y"]
        if op["kind"] != OPS["activation"] and op["activation"] in _NEED_INPUT:
            op["z"], end = end, end + op["ld_y"]
        if op["kind"] == OPS["layer_norm"]:
            op["s"], end = end, end + op["ld_s"]
        placed.append(op)
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
        if op["kind"] in WITH_GATE and producer["w"] >= 0 and not _has_activity(producer):
            op["dx_relu"] = int(producer["activation"] == ACTIVATIONS["relu"])
            producer["dz_ready"] = op["dx_relu"]
    return placed, end


_NEED_INPUT = frozenset(ACTIVATIONS[name] for name in SLOPE_NEEDS_INPUT)


def _has_activity(op: Mapping[str, Any]) -> bool:
    return bool(op["y_l1"] or op["y_l2"])


def inference_ops(ops: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Let every op read one of two slots, as wide as the widest row, and write the other."""
    widest = max(ld for op in ops for ld in (op["ld_x"], op["ld_y"]))
    placed = []
    for i, op in enumerate(map(dict, ops)):
        x, y = (0, widest) if i % 2 == 0 else (widest, 0)
        op |= {"x": x, "y": y, "z": x if op["kind"] == OPS["activation"] else y}
        placed.append(op)
    return placed, 2 * widest


def describe_op(
    step: Step,
    places: Mapping[int, Mapping[str, int]],
    statistics: Mapping[int, tuple[int, int]],
) -> dict[str, Any]:
    """Return the engine's op, still without the places of its slots."""
    own = places.get(step.layer, {})
    numbers = {PLACE_FIELDS[name]: place for name, place in own.items() if name in PLACE_FIELDS}
    indices = {
        ARRAY_FIELDS[name]: place
        for name, place in own.items()
        if name in (step.op.weights or ARRAY_FIELDS) and name in ARRAY_FIELDS
    }
    groups = step.n_in // step.channels if step.channels else 0
    s, ld_s = statistics.get(step.layer, (-1, stride(2 * groups)))
    return {
        "kind": OPS[step.op.kind],
        "activation": ACTIVATIONS[step.op.activation],
        "n_in": step.n_in,
        "n_out": step.n_out,
        "x": -1,
        "y": -1,
        "z": -1,
        "ld_x": stride(step.n_in),
        "ld_y": stride(step.n_out),
        "dx": -1,
        "dy": -1,
        "w": indices.get("w", -1),
        "b": indices.get("b", -1),
        "layer": step.layer,
        "dx_relu": 0,
        "dz_ready": 0,
        "frozen": step.op.frozen,
        "alpha": step.op.alpha,
        "beta": step.op.beta,
        "y_l1": step.activity[0],
        "y_l2": step.activity[1],
        "channels": step.channels,
        "mean": numbers.get("mean", -1),
        "variance": numbers.get("variance", -1),
        "s": s,
        "ld_s": ld_s,
        "epsilon": step.op.epsilon,
        "momentum": step.op.momentum,
        "resampling": step.op.resampling.entry(),
        "window": step.op.window._asdict(),
    }

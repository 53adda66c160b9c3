"""The columns of the inputs that hold ids: row numbers of an embedding's table.

An id reaches its embedding unchanged: from an input, through ops that only move elements. So the
engine checks the user's arrays once, before a run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnfast._plan.graph import FlatGraph
from nnfast._plan.layouts import Layout
from nnfast._plan.lowering import Lowered, SizedOp
from nnfast._plan.spec import IDENTITY, BlockSettings, EmbeddingSettings, StridedSettings

# Ranges of columns: first column, end, and the number of rows of the smallest table that they name.
IdColumns = list[tuple[int, int, int]]

# The limits on the way from the inputs are arrays. Larger ones are refused before memory is
# allocated: a small file could describe them.
MAX_SIZE = 2**22
MAX_RANGES = 2**12
NO_ID = np.iinfo(np.int64).max


def find_ids(lowered: Lowered, graph: FlatGraph) -> list[IdColumns | None]:
    """Return the columns of each input that hold ids, None if there are none.

    Raises
    ------
    ValueError
        If an embedding reads something that other layers compute, or there are too many ids.
    """
    limits: dict[int, NDArray[np.int64]] = {}
    size = 0
    for sized in reversed(lowered.ops):
        tensor = sized.inputs[0]
        if sized.output not in limits and not isinstance(sized.op.settings, EmbeddingSettings):
            continue
        size += sized.steps * sized.n_in
        if size > MAX_SIZE:
            raise ValueError(f"A sample has more than {MAX_SIZE} ids for Embedding layers")
        read = _limits_before(sized, limits.get(sized.output), graph)
        known = limits.get(tensor)
        limits[tensor] = read if known is None else np.minimum(known, read)
    return [_ranges(limits[tensor]) if tensor in limits else None for tensor in lowered.inputs]


def _limits_before(
    sized: SizedOp, limits: NDArray[np.int64] | None, graph: FlatGraph
) -> NDArray[np.int64]:
    """Return the limits of what an op reads, from those of what it writes; None: it has no ids.

    If samples have several rows, these are padded to whole cache lines.
    """
    if sized.steps == 1:
        return _limits_before_row(sized, limits, graph)
    read = np.full((sized.steps, Layout(sized.steps, sized.n_in).row), NO_ID)
    written = None if limits is None else limits.reshape(sized.steps, -1)[:, : sized.n_out]
    for k, row in enumerate(read):
        row[: sized.n_in] = _limits_before_row(
            sized, None if written is None else written[k], graph
        )
    return read.reshape(-1)


def _limits_before_row(
    sized: SizedOp, limits: NDArray[np.int64] | None, graph: FlatGraph
) -> NDArray[np.int64]:
    """Return the limits of a row of what an op reads."""
    settings = sized.op.settings
    if limits is None and isinstance(settings, EmbeddingSettings):
        return np.full(sized.n_in, settings.rows)
    assert limits is not None
    if (sized.op.kind, settings) == (IDENTITY.kind, IDENTITY.settings):
        return limits
    read = np.full(sized.n_in, NO_ID)
    if isinstance(settings, BlockSettings):
        blocks, columns = np.ogrid[: settings.outer, : settings.inner]
        source = settings.x_begin + blocks * settings.x_stride + columns
        target = settings.y_begin + blocks * settings.y_stride + columns
        read[source] = limits[target]
    elif isinstance(settings, StridedSettings):
        source = np.full(settings.sizes, settings.begin)
        for axis, stride in zip(
            np.indices(settings.sizes, sparse=True), settings.strides, strict=True
        ):
            source += axis * stride
        np.minimum.at(read, source.reshape(-1), limits)
    else:
        raise ValueError(
            "The ids of an Embedding must come from an Input, possibly through layers that only "
            "move elements, such as Flatten, Reshape, slices and Concatenate; received the output "
            f"of layer {graph.layers[sized.layer].name!r}"
        )
    return read


def _ranges(limits: NDArray[np.int64]) -> IdColumns | None:
    """Return the ranges of columns with the same limit."""
    ends = [*(np.flatnonzero(np.diff(limits)) + 1).tolist(), limits.size]
    if len(ends) > MAX_RANGES:
        raise ValueError(
            f"The ids of Embedding layers may be in at most {MAX_RANGES} separate ranges of an "
            f"input's columns; received {len(ends)}"
        )
    ranges = []
    begin = 0
    for end in ends:
        if end > begin and limits[begin] != NO_ID:
            ranges.append((begin, end, int(limits[begin])))
        begin = end
    return ranges or None

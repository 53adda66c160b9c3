"""Concatenations without copies: parts lie in the memory of the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nnfast._engine import OPS
from nnfast._plan.layouts import LINE
from nnfast._plan.lowering import SizedOp
from nnfast._plan.spec import BlockSettings, Recurrence
from nnfast._plan.storage import Strides


class Place(NamedTuple):
    """Where a part of a concatenation lies.

    Attributes
    ----------
    tensor : int
        The whole.
    ld, column : int
        The stride of its rows, and the first column of the part.
    step : int
        The distance between the steps of the part if there are columns of others between them; 0 if
        all its columns are contiguous.
    """

    tensor: int
    ld: int
    column: int
    step: int = 0


class Aliases(NamedTuple):
    """The tensors that lie in others, and the positions of the copies that are omitted."""

    places: dict[int, Place]
    omitted: frozenset[int]


def find_aliases(ops: Sequence[SizedOp], outputs: tuple[int, ...], strides: Strides) -> Aliases:
    """Return the parts of concatenations that their producers can write in place.

    A part consists of whole cache lines or is at the end of the concatenation, because kernels
    write whole vectors; an input, which is gathered exactly, may be anywhere. The concatenation is
    the last reader of the part, so that the gradient of the part is that of the concatenation, to
    which earlier readers add. If there are such readers, the part is an input or at least half of
    the whole, so that its other gradients take little more memory.

    A recurrent op, which writes the exact elements, can also write to columns of every step. So can
    an op whose rows are the steps, if the columns are whole cache lines. The concatenation must
    then be the only reader.
    """
    producers = {sized.output: sized for sized in ops}
    if not any(isinstance(sized.op.settings, BlockSettings) for sized in ops):
        return Aliases({}, frozenset())
    fixed = set(outputs)  # tensors with the usual stride
    penalized = set()
    for sized in ops:
        # Input and output of an activation have the same stride, and steps have a constant one.
        if OPS[sized.op.kind].is_activation or sized.steps > 1:
            fixed.update((*sized.inputs, sized.output))
        if any(sized.activity):
            penalized.add(sized.output)
    last_reader = {tensor: i for i, sized in enumerate(ops) for tensor in sized.inputs}
    readers = Counter(tensor for sized in ops for tensor in sized.inputs)
    sizes = {sized.output: sized.n_out for sized in ops}
    places, omitted = _rows_in_place(ops, readers, penalized | set(outputs), strides)
    # The last concatenation comes first: it may contain others.
    for i in range(len(ops) - 1, -1, -1):
        sized, settings = ops[i], ops[i].op.settings
        part = sized.inputs[0]
        in_steps = _copies_steps(sized, producers)
        copies = _copies_a_part(sized) or in_steps
        if not copies or part in fixed or sized.output in penalized:
            continue
        assert isinstance(settings, BlockSettings)
        whole = Place(sized.output, strides.of(1, sized.n_out), 0)
        whole = places.get(sized.output, whole)
        place = whole._replace(column=whole.column + settings.y_begin)
        is_input, alone = part not in sizes, readers[part] == 1
        if in_steps:
            if alone and part not in penalized:
                places[part] = place._replace(step=settings.y_stride)
                omitted.add(i)
            continue
        small = not (alone or is_input) and 2 * sized.n_in < sizes[whole.tensor]
        at_end = place.column + sized.n_in == sizes[whole.tensor]
        separate = is_input or at_end or sized.n_in % LINE == 0
        fits = (is_input and alone) or (separate and _has_whole_vectors(place, sized.n_in))
        if last_reader[part] == i and fits and not small:
            places[part] = place
            omitted.add(i)
    return Aliases(places, frozenset(omitted))


def _rows_in_place(
    ops: Sequence[SizedOp], readers: Mapping[int, int], fixed: set[int], strides: Strides
) -> tuple[dict[int, Place], set[int]]:
    """Return the tensors whose rows are whole cache lines of longer rows, and the copies."""
    producers = {sized.output: sized for sized in ops}
    places, omitted = {}, set()
    for i, sized in enumerate(ops):
        part, settings = sized.inputs[0], sized.op.settings
        if (
            _copies_rows(sized, producers)
            and isinstance(settings, BlockSettings)
            and readers[part] == 1
            and fixed.isdisjoint((part, sized.output))
        ):
            ld = strides.of(sized.steps, sized.n_out)
            places[part] = Place(sized.output, ld, settings.y_begin)
            omitted.add(i)
    return places, omitted


def _copies_a_part(sized: SizedOp) -> bool:
    """Return whether an op copies a tensor to one range of another."""
    settings = sized.op.settings
    return (
        isinstance(settings, BlockSettings)
        and sized.steps == 1
        and settings.outer == 1
        and settings.covers_x
    )


def _copies_steps(sized: SizedOp, producers: Mapping[int, SizedOp]) -> bool:
    """Return whether an op copies the steps of a recurrent op to columns of every step."""
    settings = sized.op.settings
    made = producers.get(sized.inputs[0])
    if not isinstance(settings, BlockSettings) or made is None or sized.steps > 1:
        return False
    source = made.op.settings
    return (
        isinstance(source, Recurrence)
        and source.sequences
        and not source.returns_states
        and (settings.outer, settings.inner) == (source.steps, source.units)
        and settings.outer > 1
        and settings.covers_x
    )


def _copies_rows(sized: SizedOp, producers: Mapping[int, SizedOp]) -> bool:
    """Return whether an op copies the rows of samples to whole cache lines of longer rows."""
    settings = sized.op.settings
    made = producers.get(sized.inputs[0])
    return (
        isinstance(settings, BlockSettings)
        and sized.steps > 1
        and settings.outer == 1
        and settings.covers_x
        and sized.n_in % LINE == settings.y_begin % LINE == 0
        and made is not None
        and made.steps == sized.steps
        and not OPS[made.op.kind].is_activation
    )


def _has_whole_vectors(place: Place, n: int) -> bool:
    """Return whether the last whole vector of n elements ends within the row."""
    return place.column + -(-n // LINE) * LINE <= place.ld

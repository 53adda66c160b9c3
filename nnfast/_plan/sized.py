"""Graphs for samples of known sizes, made from graphs with open axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nnfast._plan.graph import FlatGraph
from nnfast._plan.open_shapes import filled
from nnfast._plan.spec import Shape


def sized(graph: FlatGraph, shapes: Sequence[Shape]) -> FlatGraph:
    """Return a graph with these shapes of what the engine reads, which have no open axes.

    Raises
    ------
    ValueError
        If a layer cannot take the shape that it would receive.
    """
    return replace(graph, shapes=graph.propagated(shapes))


def first_sized(graph: FlatGraph) -> FlatGraph:
    """Return a graph with some size for its open axes; the graph itself if it has none.

    Raises
    ------
    ValueError
        If the layers fit together for none of the sizes that are tried.
    """
    if not graph.is_open:
        return graph
    first: ValueError | None = None
    for size in _candidates(graph):
        try:
            return sized(graph, [filled(graph.shapes[tensor], size) for tensor in graph.inputs])
        except ValueError as error:
            first = first or error
    assert first is not None
    raise ValueError(f"The model fits none of the sizes that were tried for None: {first}")


def _candidates(graph: FlatGraph) -> Iterator[int]:
    """Yield the sizes to try: powers of two, small ones last, those of other axes, and others."""
    yield from (2**k for k in (*range(5, 18), *range(4, -1, -1)))
    yield from dict.fromkeys(size for shape in graph.shapes for size in shape if size is not None)
    yield from range(3, 512)

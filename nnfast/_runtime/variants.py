"""The networks of a model for samples of different sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._data.preparation import Part
from nnfast._data.sizes import given_shapes
from nnfast._plan.graph import FlatGraph
from nnfast._plan.plan import Plan
from nnfast._plan.sized import sized
from nnfast._runtime.limits import check_growth
from nnfast._utils.checks import Shape
from nnfast._utils.recent import Recent

# The number of sizes whose plans are kept.
MOST = 64

Sizes = tuple[Shape, ...]


class Variants:
    """What the networks of a model with open axes have in common.

    Parameters
    ----------
    graph : FlatGraph
        The graph with open axes.
    names : sequence of str
        The names of the inputs, for messages.

    Attributes
    ----------
    networks : Recent of Network
        The networks by the shapes of the inputs' samples.
    stored : int or None
        The number of values in the file that the model comes from, if it comes from one. It limits
        the values that are computed for samples of any size.
    """

    def __init__(self, graph: FlatGraph, names: Sequence[str]) -> None:
        self._graph = graph
        self._shapes = [graph.shapes[tensor] for tensor in graph.inputs]
        made = {call.outputs[0]: graph.paths[call.layer] for call in graph.prepared}
        known = made | dict(zip(graph.given, names, strict=True))
        self._names = [known[tensor] for tensor in graph.inputs]
        self.networks: Recent[Any] = Recent(MOST)
        self.stored: int | None = None

    def sizes(self, parts: Sequence[Part]) -> Sizes:
        """Return the shapes of the samples of all arrays that the engine reads."""
        x = parts[0][1]
        if len(parts) == 1 and type(x) is np.ndarray:
            sizes = (x.shape[1:],)
            if self.networks.get(sizes) is not None:
                return sizes  # known to fit
        return given_shapes(parts, self._shapes)

    def graph(self, sizes: Sizes) -> FlatGraph:
        """Return the graph for samples of these shapes.

        Raises
        ------
        ValueError
            If a layer cannot take the shape that it would receive.
        """
        try:
            return sized(self._graph, sizes)
        except ValueError as error:
            raise ValueError(f"{self._described(sizes)}: {error}") from None

    def check_growth(self, plan: Plan, sizes: Sizes) -> None:
        """Raise a ValueError if a model from a file computes too many values for its samples."""
        if self.stored is not None:
            try:
                check_growth(plan, self.stored)
            except ValueError as error:
                raise ValueError(f"{self._described(sizes)}: {error}") from None

    def _described(self, sizes: Sizes) -> str:
        """Return the shapes of samples as the begin of a message."""
        if len(sizes) == 1:
            return f"The samples have shape {sizes[0]}"
        named = (f"{name!r} {shape}" for name, shape in zip(self._names, sizes, strict=True))
        return f"The samples of the inputs have shapes {', '.join(named)}"

"""The networks of a model for samples of different sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._data.ends import Ends
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

    Attributes
    ----------
    networks : Recent of Network
        The networks by the shapes of the inputs' samples.
    stored : int or None
        The number of values in the file that the model comes from, if it comes from one. It limits
        the values that are computed for samples of any size.
    """

    def __init__(self, graph: FlatGraph) -> None:
        self._graph = graph
        self._shapes = [graph.shapes[tensor] for tensor in graph.given]
        self._dtypes = [graph.dtypes[tensor] for tensor in graph.given]
        self.networks: Recent[Any] = Recent(MOST)
        self.stored: int | None = None

    def sizes(self, inputs: Ends, name: str, x: object) -> Sizes:
        """Return the shapes of the samples of all inputs."""
        if type(x) is np.ndarray and self.networks.get(sizes := (x.shape[1:],)) is not None:
            return sizes  # known to fit
        return given_shapes(inputs, self._shapes, self._dtypes, name, x)

    def graph(self, inputs: Ends, sizes: Sizes) -> FlatGraph:
        """Return the graph for samples of these shapes.

        Raises
        ------
        ValueError
            If a layer cannot take the shape that it would receive.
        """
        try:
            return sized(self._graph, sizes)
        except ValueError as error:
            raise ValueError(f"{_described(inputs, sizes)}: {error}") from None

    def check_growth(self, plan: Plan, inputs: Ends, sizes: Sizes) -> None:
        """Raise a ValueError if a model from a file computes too many values for its samples."""
        if self.stored is not None:
            try:
                check_growth(plan, self.stored)
            except ValueError as error:
                raise ValueError(f"{_described(inputs, sizes)}: {error}") from None


def _described(inputs: Ends, sizes: Sizes) -> str:
    """Return the shapes of samples as the begin of a message."""
    if len(sizes) == 1:
        return f"The samples have shape {sizes[0]}"
    named = (f"{name!r} {shape}" for name, shape in zip(inputs.names, sizes, strict=True))
    return f"The samples of the inputs have shapes {', '.join(named)}"

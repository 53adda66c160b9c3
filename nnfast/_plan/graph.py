"""Graphs of layers: which layer computes which tensor from which others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nnfast._plan.spec import LayerSpec, Shape


class Node(NamedTuple):
    """A call of a layer: the layer's index, and the numbers of its input and output tensors."""

    layer: int
    inputs: tuple[int, ...]
    output: int


class Graph(NamedTuple):
    """Calls of layers in topological order.

    Attributes
    ----------
    layers : tuple of LayerSpec
        Each layer once, even if it is called several times.
    nodes : tuple of Node
        In topological order. A node's index is the key of its random stream.
    shapes : tuple of tuple of int
        The shape of a sample of each tensor.
    input, output : int
        Numbers of tensors.
    """

    layers: tuple[LayerSpec, ...]
    nodes: tuple[Node, ...]
    shapes: tuple[Shape, ...]
    input: int
    output: int


def chain(layers: Sequence[LayerSpec], input_shape: Shape) -> Graph:
    """Return the graph of a chain, in which each layer takes the output of the previous one.

    Raises
    ------
    ValueError
        If a layer cannot take the output shape of the previous one.
    """
    shapes = [input_shape]
    for layer in layers:
        shapes.append(layer.infer_shape(shapes[-1]))
    nodes = tuple(Node(i, (i,), i + 1) for i in range(len(layers)))
    return Graph(tuple(layers), nodes, tuple(shapes), 0, len(layers))

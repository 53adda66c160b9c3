"""Graphs of calls, and the same graphs as plain numbers for the plan.

A `Graph` has the nodes between the inputs and the outputs of a model. Models that were called are
single nodes in it. `FlatGraph` has the nodes of their layers instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from nnfast._plan.open_shapes import fixed_weights, is_open
from nnfast._plan.spec import LayerSpec, OpenShape, Shape
from nnfast._plan.symbolic import KerasTensor, Node, sample_shape
from nnfast._utils.config import TEXT

# A larger graph is refused. A small file could otherwise describe a graph that fills the memory,
# by models that call the next one twice.
MAX_CALLS = 2**16


class Call(NamedTuple):
    """One call of a layer; its position among the calls is its number.

    Attributes
    ----------
    layer : int
    inputs : tuple of int
        The numbers of the tensors it reads.
    outputs : tuple of int
        The numbers of the tensors it makes.
    inference : bool
        Whether it computes as in inference, even during training.
    outer : int
        The number of leading axes of the samples to whose entries the layer is applied one by one,
        such as the steps of sequences.
    """

    layer: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    inference: bool = False
    outer: int = 0


@dataclass
class FlatGraph:
    """Calls of layers in topological order, over numbered tensors.

    Attributes
    ----------
    layers : list of LayerSpec
        Each layer once, in the order of a model's weights.
    paths : list of str
        The names of the layers, after the names of the models that they belong to:
        ``"encoder/dense"``.
    inputs, outputs : tuple of int
        Numbers of tensors.
    nodes : list of Call
        A depth-first order from the outputs, inputs from left to right. The calls of a model
        within the model are adjacent, and may include calls that no output needs.
    shapes : list of tuple of (int or None)
        The shape of a sample of each tensor. Only a graph without None can be compiled.
    dtypes : list of str
        The dtype of each tensor.
    given : tuple of int
        The numbers of the tensors that users pass; they differ from `inputs` if Python computes the
        first layers.
    prepared : list of Call
        The calls of these layers, which are not in `nodes`.
    """

    layers: list[LayerSpec]
    paths: list[str]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...] = ()
    nodes: list[Call] = field(default_factory=list)
    shapes: list[Any] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    given: tuple[int, ...] = ()
    prepared: list[Call] = field(default_factory=list)

    def split(self) -> None:
        """Move the calls of the layers that Python computes from `nodes` to `prepared`.

        Raises
        ------
        ValueError
            If one of them takes the output of a layer that the engine computes, or the engine would
            have to read text.
        """
        self.given = self.inputs
        early = set(self.inputs)
        for call in self.nodes:
            layer = self.layers[call.layer]
            if not layer.before_engine:
                continue
            if not early.issuperset(call.inputs):
                raise ValueError(
                    f"Layer {layer.name!r} prepares data, so it must come first: its input must be "
                    "an Input or the output of another layer that prepares data"
                )
            early.update(call.outputs)
            self.prepared.append(call)
        if self.prepared:
            self.nodes = [c for c in self.nodes if not self.layers[c.layer].before_engine]
            read = {tensor for call in self.nodes for tensor in call.inputs}
            self.inputs = tuple(sorted(early & (read | set(self.outputs))))
        if any(self.dtypes[tensor] == TEXT for tensor in self.inputs):
            raise ValueError(
                "An input of dtype 'string' holds text, which only StringLookup and "
                "TextVectorization can take; another layer or an output of the model takes it"
            )

    def needed(self) -> list[tuple[int, Call]]:
        """Return the calls on which an output depends, with their numbers."""
        tensors = set(self.outputs)
        needed = []
        for number in range(len(self.nodes) - 1, -1, -1):
            call = self.nodes[number]
            if not tensors.isdisjoint(call.outputs):
                tensors.update(call.inputs)
                needed.append((number, call))
        return needed[::-1]

    @property
    def is_open(self) -> bool:
        """Whether the samples that the engine reads have axes whose sizes may vary."""
        return is_open([self.shapes[tensor] for tensor in self.inputs])

    def propagated(self, shapes: Sequence[OpenShape], from_given: bool = False) -> list[OpenShape]:
        """Return the shapes of all tensors for samples of these shapes.

        They are the shapes of `inputs`, or those of `given`.
        """
        found = list(self.shapes)
        tensors = self.given if from_given else self.inputs
        for tensor, shape in zip(tensors, shapes, strict=True):
            found[tensor] = shape
        for call in (*(self.prepared if from_given else ()), *self.nodes):
            read = [found[tensor][call.outer :] for tensor in call.inputs]
            entries = found[call.inputs[0]][: call.outer]
            made = self.layers[call.layer].infer_open_shapes(*read)
            for tensor, shape in zip(call.outputs, made, strict=True):
                found[tensor] = (*entries, *shape)
        return found

    def weights(self) -> Iterator[tuple[LayerSpec, list[Any]]]:
        """Yield each layer with the descriptions of its weights."""
        shapes: dict[int, OpenShape] = {}
        for call in (*self.prepared, *self.nodes):
            shapes.setdefault(call.layer, self.shapes[call.inputs[0]][call.outer :])
        for number, layer in enumerate(self.layers):
            yield layer, fixed_weights(layer, shapes[number])


class Graph:
    """The calls between the inputs and the outputs of a model.

    Parameters
    ----------
    inputs, outputs : sequence of KerasTensor

    Attributes
    ----------
    inputs, outputs : tuple of KerasTensor
    nodes : tuple of Node
        The calls in topological order: depth-first from the outputs, inputs from left to right. The
        inputs of the model have no node here.
    calls : dict of Layer or Model to list of Node
        The calls of each layer, in the order of `nodes`. The layers are in the order of Keras:
        by decreasing distance from the outputs. The layers of the inputs are included.

    Raises
    ------
    ValueError
        If the outputs need another input, an input is not needed, or two layers have one name.

    Examples
    --------
    >>> import nnfast
    >>> x = nnfast.Input((4,), name="x")
    >>> y = nnfast.layers.Dense(3, name="y")(x)
    >>> graph = Graph([x], [nnfast.layers.add([y, y], name="z")])
    >>> [layer.name for layer in graph.calls]
    ['x', 'y', 'z']
    >>> [tuple(call) for call in graph.flat.nodes]
    [(0, (0,), (1,), False, 0), (1, (1, 1), (2,), False, 0)]
    """

    def __init__(self, inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        if len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"An input is given twice: {[tensor.name for tensor in self.inputs]}")
        walk = _Walk(self.inputs, self.outputs)
        self.nodes = tuple(walk.order)
        self.calls = _calls_by_layer(walk, self.inputs)
        _check_names([layer.name for layer in self.calls])
        self.n_calls = sum(1 if node.graph is None else node.graph.n_calls for node in self.nodes)
        if self.n_calls > MAX_CALLS:
            raise ValueError(
                f"A model may have at most {MAX_CALLS} calls of layers; received {self.n_calls}"
            )

    def position(self, tensor: KerasTensor) -> tuple[Any, int, int]:
        """Return the layer that makes a tensor, the number of its call, and that of the output."""
        layer = tensor.node.layer
        return layer, self.calls[layer].index(tensor.node), tensor.index

    @property
    def branches(self) -> bool:
        """Whether the calls are more than one after the other."""
        made = self.inputs
        for node in self.nodes:
            if len(made) > 1 or node.inputs != made:
                return True
            made = node.outputs
        return any(len(nodes) > 1 for nodes in self.calls.values())

    @cached_property
    def flat(self) -> FlatGraph:
        """The graph with the calls of layers in place of those of models."""
        paths: dict[Any, str] = {}
        _add_paths(self, "", paths, set())
        flat = FlatGraph(list(paths), list(paths.values()), tuple(range(len(self.inputs))))
        numbers = {layer: i for i, layer in enumerate(flat.layers)}
        for tensor in self.inputs:
            flat.shapes.append(sample_shape(tensor))
            flat.dtypes.append(tensor.dtype)
        flat.outputs = _flatten(self, flat.inputs, flat, numbers, inference=False)
        flat.split()
        if is_open(flat.shapes):  # a model within this one may have open axes that are known here
            given = [sample_shape(tensor) for tensor in self.inputs]
            flat.shapes = flat.propagated(given, from_given=True)
        return flat


def _flatten(
    graph: Graph,
    inputs: tuple[int, ...],
    flat: FlatGraph,
    numbers: dict[Any, int],
    inference: bool,
    outer: int = 0,
) -> tuple[int, ...]:
    """Append the calls of a graph with these inputs to `flat`; return its outputs.

    See `Call` for `outer`.
    """
    found = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        read = tuple(found[tensor] for tensor in node.inputs)
        fixed = inference or node.training is False
        inside = outer + (node.step is not None)
        if node.graph is not None:
            made = _flatten(node.graph, read, flat, numbers, fixed, inside)
        else:
            first = len(flat.shapes)
            made = tuple(range(first, first + len(node.specs)))
            flat.nodes.append(Call(numbers[node.layer], read, made, fixed, inside))
            entries = flat.shapes[read[0]][:outer]
            flat.shapes += [(*entries, *sample_shape(output)) for output in node.outputs]
            flat.dtypes += (output.dtype for output in node.outputs)
        found |= zip(node.outputs, made, strict=True)
    return tuple(found[tensor] for tensor in graph.outputs)


def _add_paths(graph: Graph, prefix: str, found: dict[Any, str], seen: set[Graph]) -> None:
    """Add the layers of a graph, and of the models in it, with their paths to `found`."""
    for layer, nodes in graph.calls.items():
        for node in nodes:
            if node.graph is None:
                if node.inputs:
                    found.setdefault(layer, prefix + layer.name)
            elif node.graph not in seen:
                seen.add(node.graph)
                _add_paths(node.graph, f"{prefix}{layer.name}/", found, seen)


class _Walk:
    """A depth-first walk from the outputs to the inputs, without recursion.

    Attributes
    ----------
    order : list of Node
        Every node after its inputs.
    visited : dict of layer to int
        The number of layers that the walk reached before this one.
    """

    def __init__(self, inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> None:
        self.order: list[Node] = []
        self.visited: dict[Any, int] = {}
        unread = dict.fromkeys(inputs)
        known, entered = set(inputs), set()
        # The end of the stack is the node whose inputs are being read.
        stack: list[tuple[Node | None, Iterator[KerasTensor]]] = [(None, iter(outputs))]
        while stack:
            node, remaining = stack[-1]
            tensor = next(remaining, None)
            if tensor is None:
                stack.pop()
                if node is not None:
                    self.order.append(node)
                continue
            self.visited.setdefault(tensor.node.layer, len(self.visited))
            if tensor in known:
                unread.pop(tensor, None)
            elif not tensor.node.inputs:
                raise self._disconnected(tensor, node)
            elif tensor.node not in entered:
                entered.add(tensor.node)
                stack.append((tensor.node, iter(tensor.node.inputs)))
        if unread:
            raise ValueError(f"No output needs the inputs {[tensor.name for tensor in unread]}")

    def _disconnected(self, tensor: KerasTensor, reader: Node | None) -> ValueError:
        where = "an output" if reader is None else f"layer {reader.layer.name!r}"
        reached = [node.layer.name for node in self.order]
        return ValueError(
            f"Graph disconnected: {where} needs {tensor}, which is not among the inputs and "
            f"depends on none of them. These layers were reached without a problem: {reached}"
        )


def _calls_by_layer(walk: _Walk, inputs: Sequence[KerasTensor]) -> dict[Any, list[Node]]:
    """Return the nodes of each layer; see `Graph.calls`."""
    calls: dict[Any, list[Node]] = {tensor.node.layer: [tensor.node] for tensor in inputs}
    known = {tensor.node for tensor in inputs}
    node_depth: dict[Node, int] = {}
    depth: dict[Any, int] = {}
    for node in reversed(walk.order):
        depth[node.layer] = max(depth.get(node.layer, 0), node_depth.get(node, 0))
        for tensor in node.inputs:
            after = max(depth[node.layer] + 1, node_depth.get(tensor.node, 0))
            node_depth[tensor.node] = after
            if tensor.node in known:
                depth[tensor.node.layer] = max(after, depth.get(tensor.node.layer, 0))
    for node in walk.order:
        calls.setdefault(node.layer, []).append(node)
    order = sorted(calls, key=lambda layer: (-depth.get(layer, 0), walk.visited[layer]))
    return {layer: calls[layer] for layer in order}


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"The name {name!r} is used {names.count(name)} times in the model; names of layers "
            "must be unique"
        )


def chain(layers: Sequence[LayerSpec], input_shape: Shape) -> FlatGraph:
    """Return the graph of a chain, in which each layer takes the output of the previous one.

    Raises
    ------
    ValueError
        If a layer cannot take the output shape of the previous one.
    """
    shapes = [input_shape]
    for layer in layers:
        shapes += layer.infer_shapes(shapes[-1])
    names = [layer.name for layer in layers]
    nodes = [Call(i, (i,), (i + 1,)) for i in range(len(layers))]
    return FlatGraph(list(layers), names, (0,), (len(layers),), nodes, shapes)

"""Graphs of models as JSON values, and copies of graphs with other layers or inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnfast._plan.graph import Graph
from nnfast._plan.symbolic import KerasTensor, leaves, packed
from nnfast._utils.checks import flag
from nnfast.layers.core import InputLayer
from nnfast.layers.layer import register

# A layer's name, the number of its call, and the number of the output.
Key = tuple[str, int, int]


def describe_graph(
    graph: Graph, inputs: Any, outputs: Any, describe: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    """Return a graph as JSON values, in the form of Keras' functional models.

    Parameters
    ----------
    graph : Graph
    inputs, outputs : KerasTensor, or a structure of them
    describe : callable
        Returns the description of a layer or a model.
    """

    def key(tensor: KerasTensor) -> list[Any]:
        layer, call, index = graph.position(tensor)
        return [layer.name, call, index]

    layers = []
    for layer, nodes in graph.calls.items():
        calls: list[dict[str, Any]] = []
        for node in nodes:
            fixed: dict[str, Any] = {} if node.training is None else {"training": node.training}
            if node.arguments:
                fixed["arguments"] = node.arguments
            if node.inputs:
                calls.append({"inputs": [key(tensor) for tensor in node.inputs], **fixed})
        layers.append({**describe(layer), "name": layer.name, "inbound_nodes": calls})
    return {
        "layers": layers,
        "input_layers": packed(inputs, map(key, leaves(inputs))),
        "output_layers": packed(outputs, map(key, leaves(outputs))),
    }


def restore_graph(
    config: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Any]
) -> tuple[Any, Any]:
    """Return the inputs and the outputs of the graph that `describe_graph` described.

    Parameters
    ----------
    config : dict
    make : callable
        Returns a layer or a model for its description.

    Raises
    ------
    ValueError
        If the description is not complete, or the graph has a cycle.
    """
    layers: dict[str, Any] = {}
    tensors: dict[Key, KerasTensor] = {}
    waiting: dict[tuple[str, int], _Waiting] = {}
    for entry in config["layers"]:
        layer = make(entry)
        if layer.name in layers:
            raise ValueError(f"The name {layer.name!r} is used twice in the model")
        layers[layer.name] = layer
        if isinstance(layer, InputLayer):
            tensors[layer.name, 0, 0] = layer.tensor(config["dtype"])
        for number, call in enumerate(entry["inbound_nodes"]):
            waiting[layer.name, number] = _Waiting(layer, call)
    _connect(waiting, tensors)
    inputs, outputs = (
        _map_keys(config[part], tensors) for part in ("input_layers", "output_layers")
    )
    return inputs, outputs


class _Waiting:
    """A call in a description whose inputs are not all there yet."""

    def __init__(self, layer: Any, call: Mapping[str, Any]) -> None:
        self.layer = layer
        self.inputs = [_key(entry) for entry in call["inputs"]]
        training = call.get("training")
        self.training = None if training is None else flag("training", training)
        self.arguments = call.get("arguments", {})
        known = getattr(layer, "call_arguments", ())
        if not isinstance(self.arguments, Mapping) or not set(self.arguments) <= set(known):
            raise ValueError(
                f"A call of layer {layer.name!r} can have the arguments {[*known]}; received "
                f"{self.arguments!r}"
            )
        self.missing = len({key[:2] for key in self.inputs})
        if not self.inputs:
            raise ValueError(f"A call of layer {layer.name!r} has no inputs")


def _connect(waiting: dict[tuple[str, int], _Waiting], tensors: dict[Key, KerasTensor]) -> None:
    """Call the layers as soon as their inputs are there; add the outputs to `tensors`."""
    readers: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for at, call in waiting.items():
        for made in dict.fromkeys(key[:2] for key in call.inputs):
            readers.setdefault(made, []).append(at)
    ready = [key[:2] for key in tensors]
    for made in ready:  # grows meanwhile
        for at in readers.get(made, ()):
            call = waiting[at]
            call.missing -= 1
            if call.missing == 0:
                inputs = [_tensor(key, tensors) for key in call.inputs]
                node = call.layer.connect(inputs, call.training, **call.arguments)
                register([node])
                tensors |= {(*at, i): tensor for i, tensor in enumerate(node.outputs)}
                ready.append(at)
    failed = sorted({name for (name, _), call in waiting.items() if call.missing})
    if failed:
        raise ValueError(
            f"The model has a cycle, or the inputs of some layers are missing: {failed}"
        )


def _key(entry: Any) -> Key:
    if not isinstance(entry, (list, tuple)) or list(map(type, entry)) != [str, int, int]:
        raise ValueError(
            "A tensor is described by the name of a layer, the number of its call and that of the "
            f"output; received {entry!r}"
        )
    return tuple(entry)


def _tensor(key: Key, tensors: Mapping[Key, KerasTensor]) -> KerasTensor:
    if key not in tensors:
        raise ValueError(f"The model has no output {list(key)}")
    return tensors[key]


def _map_keys(structure: Any, tensors: Mapping[Key, KerasTensor]) -> Any:
    """Return a structure of keys with the tensors in place of the keys."""
    if isinstance(structure, Mapping):
        return {name: _map_keys(part, tensors) for name, part in structure.items()}
    if isinstance(structure, (list, tuple)) and not (structure and isinstance(structure[0], str)):
        return [_map_keys(part, tensors) for part in structure]
    return _tensor(_key(structure), tensors)


def copy_graph(
    graph: Graph, inputs: Sequence[KerasTensor], clone: Callable[[Any], Any]
) -> list[KerasTensor]:
    """Return the outputs of the same calls for other inputs and other layers.

    Parameters
    ----------
    graph : Graph
    inputs : sequence of KerasTensor
    clone : callable
        Returns the layer or model that is called instead; called once for each.
    """
    found = dict(zip(graph.inputs, inputs, strict=True))
    clones: dict[Any, Any] = {}
    for node in graph.nodes:
        if node.layer not in clones:
            clones[node.layer] = clone(node.layer)
        read = [found[x] for x in node.inputs]
        new = clones[node.layer].connect(read, node.training, **node.arguments)
        register([new])
        found |= zip(node.outputs, new.outputs, strict=True)
    return [found[tensor] for tensor in graph.outputs]


def cut(inputs: Any, outputs: Any) -> tuple[Any, Any]:
    """Return inputs and outputs of a graph that begins in the middle of another.

    Inputs that are outputs of layers are replaced by new ones, and the layers after them are called
    again.
    """
    before = leaves(inputs)
    after = [
        InputLayer(batch_shape=x.shape, dtype=x.dtype).tensor() if x.node.inputs else x
        for x in before
    ]
    copies = copy_graph(Graph(before, leaves(outputs)), after, lambda layer: layer)
    return packed(inputs, after), packed(outputs, copies)

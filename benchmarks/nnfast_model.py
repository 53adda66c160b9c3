"""nnfast's model of a case."""

from __future__ import annotations

from typing import Any

from cases import Case
from networks import Add, AveragePool, Conv, ConvTranspose, Dense, MaxPool, Node, Reshape
from training import only


def nnfast_model(case: Case) -> Any:
    """Return nnfast's model: a `Sequential` if the network is a chain."""
    import nnfast

    network = case.network
    inputs = [nnfast.Input(shape) for shape in network.inputs]
    last = dict(zip(network.outputs, case.losses, strict=True))
    stack: list[Any] = [*inputs]
    tensors: list[Any] = [*inputs]
    for i, node in network.numbered:
        activation = "softmax" if last.get(i) == "crossentropy" else node.activation
        layers = nnfast_layers(node, activation, len(network.shapes[node.inputs[0]]))
        stack += layers
        x = [tensors[j] for j in node.inputs] if len(node.inputs) > 1 else tensors[node.inputs[0]]
        for layer in layers:
            x = layer(x)
        tensors.append(x)
    if network.is_chain:
        return nnfast.Sequential(stack, dtype=case.dtype)
    return nnfast.Model(only(inputs), only([tensors[i] for i in network.outputs]))


def nnfast_layers(node: Node, activation: str | None, rank: int) -> list[Any]:
    """Return the layers for a node, whose input has `rank` axes."""
    from nnfast import layers

    match node.layer:
        case Conv(filters, size, padding, stride):
            return [layers.Conv2D(filters, size, stride, padding, activation=activation)]
        case ConvTranspose(filters, size, stride):
            return [layers.Conv2DTranspose(filters, size, stride, "same", activation=activation)]
        case Reshape(target):
            return [layers.Reshape(target)]
        case Dense(units):
            flatten = [layers.Flatten()] if rank > 1 else []
            return [*flatten, layers.Dense(units, activation=activation)]
        case MaxPool(size):
            return [layers.MaxPooling2D(size)]
        case AveragePool():
            return [layers.GlobalAveragePooling2D()]
        case Add():
            return [layers.Add()]
    return [layers.Concatenate()]

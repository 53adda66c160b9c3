"""The models of nnfast and Keras, which are made in the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case, Problem
from networks import (
    LAYER_NORM_EPSILON,
    Add,
    Attention,
    AveragePool,
    Bidirectional,
    Conv,
    ConvTranspose,
    Dense,
    Embedding,
    LayerNorm,
    MaxPool,
    Node,
    Positions,
    Recurrent,
    Reshape,
)
from numpy.typing import NDArray
from training import Excluded, only


def keras_inputs(problem: Problem) -> list[NDArray[Any]]:
    """Return the arrays of x, and for each table of positions an array that numbers the steps."""
    case = problem.case
    lengths = [shape[0] for layer, shape in case.weighted if isinstance(layer, Positions)]
    numbers = [np.tile(np.arange(n, dtype=np.int32), (problem.n, 1)) for n in lengths]
    return [*problem.x, *numbers]


def keras_model(case: Case, library: Any) -> Any:
    """Return the model of `nnfast` or `keras`: a `Sequential` if the network is a chain.

    A table of positions is an embedding of a further input.
    """
    network = case.network
    inputs = []
    for i, shape in enumerate(network.inputs):
        dtype = case.dtype if network.vocabulary(i) is None else "int32"
        inputs.append(library.Input(shape, dtype=dtype))
    last = dict(zip(network.outputs, case.losses, strict=True))
    stack: list[Any] = [*inputs]
    tensors: list[Any] = [*inputs]
    for i, node in network.numbered:
        activation = "softmax" if last.get(i) == "crossentropy" else node.activation
        shape = network.shapes[node.inputs[0]]
        x = [tensors[j] for j in node.inputs] if len(node.inputs) > 1 else tensors[node.inputs[0]]
        if isinstance(node.layer, Positions):
            inputs.append(library.Input(shape[:1], dtype="int32"))
            table = _class(library, "Embedding")(*shape)
            tensors.append(library.layers.Add()([x, table(inputs[-1])]))
            continue
        layers = keras_layers(node, activation, len(shape), library)
        stack += layers
        for layer in layers:
            x = layer(x, x) if isinstance(node.layer, Attention) else layer(x)
        tensors.append(x)
    if network.is_chain:
        double = {"dtype": case.dtype} if case.dtype != "float32" else {}
        return library.Sequential(stack, **double)
    return library.Model(only(inputs), only([tensors[i] for i in network.outputs]))


def keras_layers(node: Node, activation: str | None, rank: int, library: Any) -> list[Any]:
    """Return the layers for a node, whose input has `rank` axes."""
    layers = library.layers
    match node.layer:
        case Conv(filters, size, padding, stride):
            return [layers.Conv2D(filters, size, stride, padding, activation=activation)]
        case ConvTranspose(filters, size, stride):
            return [layers.Conv2DTranspose(filters, size, stride, "same", activation=activation)]
        case Reshape(target):
            return [layers.Reshape(target)]
        case Dense(units):
            flatten = [layers.Flatten()] if rank == 3 else []
            return [*flatten, layers.Dense(units, activation=activation)]
        case MaxPool(size):
            return [layers.MaxPooling2D(size)]
        case AveragePool():
            return [
                layers.GlobalAveragePooling1D() if rank == 2 else layers.GlobalAveragePooling2D()
            ]
        case Add():
            return [layers.Add()]
        case Recurrent(kind, units, return_sequences):
            return [_class(library, kind)(units, return_sequences=return_sequences)]
        case Bidirectional(layer):
            (inner,) = keras_layers(Node(layer, node.inputs), activation, rank, library)
            return [_class(library, "Bidirectional")(inner)]
        case Attention(heads, key_dim):
            return [_class(library, "MultiHeadAttention")(heads, key_dim)]
        case LayerNorm():
            return [layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON)]
        case Embedding(vocabulary, units):
            return [_class(library, "Embedding")(vocabulary, units)]
    return [layers.Concatenate()]


def _class(library: Any, name: str) -> Any:
    """Return a layer's class; raise `Excluded` if the library does not have it yet."""
    if not hasattr(library.layers, name):
        raise Excluded(f"{library.__name__}.layers has no {name}")
    return getattr(library.layers, name)

"""Tests that ONNX Runtime computes the same outputs from a model's weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers

pytestmark = pytest.mark.peers

# The operator of ONNX for each kind of layer and activation, with its attributes.
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"axis": -1}),
    "tanh": ("Tanh", {}),
}

STACKS: dict[str, Callable[[], list[Any]]] = {
    "one hidden layer": lambda: [
        layers.Dense(16, "relu", input_dim=6),
        layers.Dense(3, "softmax"),
    ],
    "normalization": lambda: [
        layers.Dense(64, "tanh", input_dim=6),
        layers.BatchNormalization(),
        layers.Dense(33),
        layers.LayerNormalization(),
        layers.Dense(3, "sigmoid"),
    ],
    "images": lambda: [
        layers.Conv2D(5, 3, activation="relu", input_shape=(9, 8, 2)),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(4, "softmax"),
    ],
}


class Graph:
    """A graph of ONNX that grows node by node; `value` is the name of the last output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.value = "x"

    def add(self, operator: str, *weights: Any, **attributes: Any) -> None:
        from onnx import helper, numpy_helper

        output = f"{operator}_{len(self.nodes)}"
        names = [f"{output}_{i}" for i in range(len(weights))]
        self.constants += map(numpy_helper.from_array, map(np.ascontiguousarray, weights), names)
        self.nodes.append(helper.make_node(operator, [self.value, *names], [output], **attributes))
        self.value = output

    def run(self, x: Any) -> Any:
        import onnxruntime
        from onnx import checker, helper

        kind = helper.np_dtype_to_tensor_dtype(x.dtype)
        ends = [
            [helper.make_tensor_value_info(name, kind, shape)]
            for name, shape in (("x", x.shape), (self.value, (len(x), None)))
        ]
        graph = helper.make_graph(self.nodes, "model", *ends, self.constants)
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
        checker.check_model(model)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"x": x})[0]


def graph_of(net: Any) -> Graph:
    """Return the layers of a model as a graph; ONNX has the channels of images first."""
    graph = Graph()
    for layer in net.layers:
        weights = layer.get_weights()
        match type(layer).__name__:
            case "Dense":
                graph.add("Gemm", *weights)
            case "BatchNormalization":
                graph.add("BatchNormalization", *weights, epsilon=layer.epsilon)
            case "LayerNormalization":
                graph.add("LayerNormalization", *weights, axis=-1, epsilon=layer.epsilon)
            case "Conv2D":
                graph.add("Transpose", perm=(0, 3, 1, 2))
                graph.add("Conv", weights[0].transpose(3, 2, 0, 1), weights[1])
                graph.add("Transpose", perm=(0, 2, 3, 1))
            case "MaxPooling2D":
                graph.add("Transpose", perm=(0, 3, 1, 2))
                graph.add("MaxPool", kernel_shape=layer.pool_size, strides=layer.strides)
                graph.add("Transpose", perm=(0, 2, 3, 1))
            case "Flatten":
                graph.add("Flatten")
        activation = getattr(layer, "activation", None)
        if activation is not None and activation.name != "linear":
            operator, attributes = ACTIVATIONS[activation.name]
            graph.add(operator, **attributes)
    return graph


@pytest.mark.parametrize("rows", [1, 70])
@pytest.mark.parametrize("stack", STACKS)
def test_outputs_equal_those_of_onnx_runtime(stack: str, rows: int) -> None:
    nnfast.set_seed(0)
    net = nnfast.Sequential(STACKS[stack]())
    rng = np.random.default_rng(0)
    net.set_weights([rng.uniform(0.1, 1.0, w.shape) * _sign(rng, w) for w in net.get_weights()])
    x = rng.normal(size=(rows, *net.input_shape[1:])).astype(np.float32)
    expected = graph_of(net).run(x)
    assert expected.shape == (rows, *net.output_shape[1:])
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(net.predict(x), expected, rtol=0, atol=1e-6)


def _sign(rng: Any, weight: Any) -> Any:
    """Return random signs for a kernel, scaled to keep its outputs small; 1 for a vector."""
    fan_in = weight[..., 0].size
    return rng.choice([-1, 1], weight.shape) / np.sqrt(fan_in) if weight.ndim > 1 else 1.0

"""The ONNX model of a case, for ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case
from networks import Concatenate, Dense, Recurrent
from numpy.typing import NDArray
from training import Excluded

OPSET = 17
IR_VERSION = 10


def onnx_model(case: Case, weights: list[NDArray[Any]]) -> bytes:
    """Return a model whose inputs and outputs are named after the network's tensors."""
    from onnx import helper, numpy_helper

    network, nodes, constants = case.network, [], {}
    last = dict(zip(network.outputs, case.losses, strict=True))
    remaining = iter(weights)
    for i, node in network.numbered:
        parts = [f"t{j}" for j in node.inputs]
        follows = "Softmax" if last.get(i) == "crossentropy" else "Relu" if node.activation else ""
        out = f"z{i}" if follows else f"t{i}"
        match node.layer:
            case Dense():
                nodes.append(helper.make_node("Gemm", [*parts, f"w{i}", f"b{i}"], [out]))
                constants |= {f"w{i}": next(remaining), f"b{i}": next(remaining)}
            case Recurrent("LSTM", units, return_sequences=False):
                arrays = lstm_arrays(*(next(remaining) for _ in range(3)))
                names = [f"{letter}{i}" for letter in "wrb"]
                constants |= dict(zip(names, arrays, strict=True)) | {f"axis{i}": np.array([0])}
                # The operator reads step by step; it cannot read the rows of a batch in turn.
                nodes += [
                    helper.make_node("Transpose", parts, [f"x{i}"], perm=[1, 0, 2]),
                    helper.make_node("LSTM", [f"x{i}", *names], ["", f"h{i}"], hidden_size=units),
                    helper.make_node("Squeeze", [f"h{i}", f"axis{i}"], [out]),
                ]
            case Concatenate():
                nodes.append(helper.make_node("Concat", parts, [out], axis=1))
            case other:
                raise Excluded(f"{other} is not written for ONNX")
        if follows:
            axis = {"axis": -1} if follows == "Softmax" else {}
            nodes.append(helper.make_node(follows, [out], [f"t{i}"], **axis))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    ends = [
        [
            helper.make_tensor_value_info(f"t{i}", kind, [case.rows, *network.shapes[i]])
            for i in numbers
        ]
        for numbers in (range(len(network.inputs)), network.outputs)
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "network", *ends, initializers)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def lstm_arrays(
    kernel: NDArray[Any], recurrent_kernel: NDArray[Any], bias: NDArray[Any]
) -> list[NDArray[Any]]:
    """Return W, R and B of ONNX's operator, which has the gates i, o, f, c and two biases."""
    units = len(recurrent_kernel)
    gates = np.arange(4 * units).reshape(4, units)
    order = gates[[0, 3, 1, 2]].ravel()
    w, r = (array[:, order].T[np.newaxis] for array in (kernel, recurrent_kernel))
    return [w, r, np.concatenate([bias[order], np.zeros_like(bias)])[np.newaxis]]

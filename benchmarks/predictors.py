"""Contenders in prediction. All use the same rows and weights and must return the same outputs.

Inputs and outputs are arrays of the respective library, so that no conversion is timed.
`check_values` returns the outputs as an array. `run` is timed: it predicts the same rows several
times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case, Problem
from numpy.typing import NDArray
from pin import threads
from trainers import EPSILON, jax_outputs, nnfast_model, sklearn_net, torch_net, trigger_compilation

BLOCK = 512  # rows per block, the fastest size for NumPy between 128 and 10,000
COMPILE_SECONDS = 60.0


class Predictor:
    """Base class of the contenders; `call` returns the outputs."""

    def reset(self) -> None:
        """Do nothing: predictions have no state."""

    def call(self) -> Any:
        """Predict the rows once."""
        raise NotImplementedError

    def check_values(self) -> NDArray[Any]:
        return np.array(self.call())

    def run(self, calls: int) -> None:
        call = self.call
        for _ in range(calls):
            call()


class NumPyAdd(Predictor):
    """Not a contender, but a limit: the time of a minimal NumPy call on these rows."""

    def __init__(self, problem: Problem) -> None:
        self.x, self.out = problem.x, np.empty_like(problem.x)

    def call(self) -> Any:
        return np.add(self.x, self.x, out=self.out)


class NNFast(Predictor):
    """nnfast: ``model(x)``."""

    def __init__(self, problem: Problem) -> None:
        import nnfast

        nnfast.set_num_threads(threads())
        self.x, self.model = problem.x, nnfast_model(problem.case)
        self.model.set_weights(problem.weights)

    def call(self) -> Any:
        return self.model(self.x)


class NumPy(Predictor):
    """NumPy, writing into preallocated arrays, in blocks of rows that stay in cache."""

    def __init__(self, problem: Problem) -> None:
        self.case, self.x, w = problem.case, problem.x, problem.weights
        self.pairs = list(zip(w[::2], w[1::2], strict=True))
        rows = min(self.case.rows, BLOCK)
        self.hidden = [np.empty((rows, n), w[0].dtype) for n in self.case.sizes[1:-1]]
        self.out = np.empty((self.case.rows, self.case.sizes[-1]), w[0].dtype)

    def call(self) -> Any:
        for start in range(0, len(self.x), BLOCK):
            self._block(self.x[start : start + BLOCK], self.out[start : start + BLOCK])
        return self.out

    def _block(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        for (w, b), buffer in zip(self.pairs[:-1], self.hidden, strict=True):
            a = buffer[: len(x)]
            np.matmul(x, w, out=a)
            np.add(a, b, out=a)
            x = np.maximum(a, 0.0, out=a)
        w, b = self.pairs[-1]
        np.matmul(x, w, out=out)
        np.add(out, b, out=out)
        if self.case.loss == "crossentropy":
            out -= np.maximum.reduce(out, axis=1, keepdims=True)
            np.exp(out, out=out)
            out /= np.add.reduce(out, axis=1, keepdims=True)


class ScikitLearn(Predictor):
    """scikit-learn: ``predict_proba`` or ``predict``."""

    def __init__(self, problem: Problem) -> None:
        self.x, net = problem.x, sklearn_net(problem, EPSILON)
        self.predict = net.predict if problem.case.loss == "mse" else net.predict_proba

    def call(self) -> Any:
        return self.predict(self.x)

    def check_values(self) -> NDArray[Any]:
        return np.array(self.call()).reshape(len(self.x), -1)


class PyTorch(Predictor):
    """PyTorch in eager mode, under ``inference_mode``."""

    def __init__(self, problem: Problem) -> None:
        import torch

        torch.set_num_threads(threads())
        self.torch, self.x = torch, torch.from_numpy(problem.x)
        self.net = torch_net(problem)
        if problem.case.loss == "crossentropy":
            self.net.append(torch.nn.Softmax(-1))
        self.net.eval()

    def call(self) -> Any:
        return self.net(self.x)

    def check_values(self) -> NDArray[Any]:
        with self.torch.inference_mode():
            return np.array(super().check_values())

    def run(self, calls: int) -> None:
        with self.torch.inference_mode():
            super().run(calls)


class CompiledPyTorch(PyTorch):
    """PyTorch with ``torch.compile``; freezing and the C++ wrapper do not make it faster here."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.torch.compiler.reset()  # otherwise a second case is compiled for variable shapes
        self.net = self.torch.compile(self.net, dynamic=False)
        trigger_compilation(self.check_values, COMPILE_SECONDS)


class JAX(Predictor):
    """JAX: a jitted function with the weights as constants."""

    def __init__(self, problem: Problem) -> None:
        import jax

        jax.config.update("jax_enable_x64", problem.case.dtype == "float64")
        self.x = jax.numpy.asarray(problem.x)
        weights = [jax.numpy.asarray(array) for array in problem.weights]

        def outputs(x: Any) -> Any:
            z = jax_outputs(problem.case, weights, x)
            return jax.nn.softmax(z) if problem.case.loss == "crossentropy" else z

        self.outputs = jax.jit(outputs)

    def call(self) -> Any:
        return self.outputs(self.x).block_until_ready()


class OnnxRuntime(Predictor):
    """ONNX Runtime: a session that takes an array and returns a new one, as the others do.

    Binding inputs and outputs would save 2 µs per call. However, the rows would first have to be
    copied into the bound input, and the next call would overwrite the outputs.
    """

    def __init__(self, problem: Problem) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        model = onnx_model(problem.case, problem.weights)
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.x = problem.x

    def call(self) -> Any:
        return self.session.run(None, {"x": self.x})[0]


def onnx_model(case: Case, weights: list[NDArray[Any]]) -> bytes:
    from onnx import helper, numpy_helper

    layers = len(case.sizes) - 1
    nodes, value = [], "x"
    for i in range(layers):
        z = f"z{i}" if i < layers - 1 or case.loss == "crossentropy" else "out"
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [z]))
        value = z
        if i < layers - 1:
            value = f"a{i}"
            nodes.append(helper.make_node("Relu", [z], [value]))
    if case.loss == "crossentropy":
        nodes.append(helper.make_node("Softmax", [value], ["out"], axis=-1))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    ends = [
        [helper.make_tensor_value_info(name, kind, [case.rows, n])]
        for name, n in (("x", case.sizes[0]), ("out", case.sizes[-1]))
    ]
    names = [f"{letter}{i}" for i in range(layers) for letter in "wb"]
    constants = [numpy_helper.from_array(w, n) for w, n in zip(weights, names, strict=True)]
    graph = helper.make_graph(nodes, "mlp", *ends, constants)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return bytes(model.SerializeToString())

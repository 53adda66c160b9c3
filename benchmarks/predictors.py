"""Contenders in prediction. All use the same rows and weights and must return the same outputs.

Inputs and outputs are arrays of the respective library, so that no conversion is timed.
`check_values` returns the outputs as an array. `run` is timed: it predicts the same rows several
times.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from cases import Goal, Problem, predict
from jax_trainers import jax_outputs
from keras_models import keras_inputs, keras_model
from networks import Dense, Node
from numpy.typing import NDArray
from onnx_models import onnx_model
from pin import threads
from torch_net import torch_net
from trainers import sklearn_net
from training import EPSILON, only, trigger_compilation

BLOCK = 512  # rows per block, the fastest size for NumPy between 128 and 10,000
COMPILE_SECONDS = 60.0


class Predictor:
    """Base class of the contenders; `call` returns the outputs."""

    def reset(self) -> None:
        """Do nothing: predictions have no state."""

    def call(self) -> Any:
        """Predict the rows once; several outputs are a list."""
        raise NotImplementedError

    def check_values(self) -> NDArray[Any]:
        found = self.call()
        if isinstance(found, list):
            return np.concatenate([np.asarray(output) for output in found], 1)
        return np.array(found)

    def run(self, calls: int) -> None:
        call = self.call
        for _ in range(calls):
            call()


class NumPyAdd(Predictor):
    """Not a contender, but a limit: the time of a minimal NumPy call on these rows."""

    def __init__(self, problem: Problem) -> None:
        (self.x,) = problem.x
        self.out = np.empty_like(self.x)

    def call(self) -> Any:
        return np.add(self.x, self.x, out=self.out)


class NNFast(Predictor):
    """nnfast: ``model(x)``."""

    def __init__(self, problem: Problem) -> None:
        import nnfast

        nnfast.set_num_threads(threads())
        self.x, self.model = only(keras_inputs(problem)), keras_model(problem.case, nnfast)
        self.model.set_weights(problem.weights)

    def call(self) -> Any:
        return self.model(self.x)


class Keras(Predictor):
    """Keras on JAX: ``predict_on_batch``, which returns an array."""

    def __init__(self, problem: Problem) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        self.x, self.model = only(keras_inputs(problem)), keras_model(problem.case, keras)
        self.model.set_weights(problem.weights)

    def call(self) -> Any:
        return self.model.predict_on_batch(self.x)


class SmallChain(NNFast):
    """Not a contender, but a limit: nnfast's prediction of one row with a small chain."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(Problem(predict((20, 64, 1), 1, Goal(None))))


class NumPy(Predictor):
    """NumPy, writing into preallocated arrays, in blocks of rows that stay in cache."""

    def __init__(self, problem: Problem) -> None:
        case, w = problem.case, problem.weights
        self.problem = problem
        self.ends = [*zip(case.network.outputs, case.losses, strict=True)]
        rows, pairs = min(case.rows, BLOCK), iter(zip(w[::2], w[1::2], strict=True))
        self.steps: list[tuple[Node, Any, NDArray[Any]]] = []
        self.out: list[NDArray[Any]] = []
        for i, node in case.network.numbered:
            pair = next(pairs) if isinstance(node.layer, Dense) else None
            ends = i in case.network.outputs
            buffer = np.empty((case.rows if ends else rows, case.sizes[i]), case.dtype)
            self.steps.append((node, pair, buffer))
            self.out += [buffer] if ends else []

    def call(self) -> Any:
        for start in range(0, self.problem.n, BLOCK):
            self._block(slice(start, start + BLOCK))
        return only(self.out)

    def _block(self, rows: slice) -> None:
        tensors = [x[rows] for x in self.problem.x]
        n = len(tensors[0])
        for node, pair, buffer in self.steps:
            out = buffer[rows] if len(buffer) == self.problem.n else buffer[:n]
            if pair is not None:
                w, b = pair
                np.matmul(tensors[node.inputs[0]], w, out=out)
                np.add(out, b, out=out)
                if node.activation is not None:
                    np.maximum(out, 0.0, out=out)
            else:
                np.concatenate([tensors[i] for i in node.inputs], 1, out=out)
            tensors.append(out)
        for i, loss in self.ends:
            if loss == "crossentropy":
                out = tensors[i]
                out -= np.maximum.reduce(out, axis=1, keepdims=True)
                np.exp(out, out=out)
                out /= np.add.reduce(out, axis=1, keepdims=True)


class ScikitLearn(Predictor):
    """scikit-learn: ``predict_proba`` or ``predict``."""

    def __init__(self, problem: Problem) -> None:
        (self.x,), net = problem.x, sklearn_net(problem, EPSILON)
        self.predict = net.predict if problem.case.losses == ("mse",) else net.predict_proba

    def call(self) -> Any:
        return self.predict(self.x)

    def check_values(self) -> NDArray[Any]:
        return np.array(self.call()).reshape(len(self.x), -1)


class PyTorch(Predictor):
    """PyTorch in eager mode, under ``inference_mode``."""

    def __init__(self, problem: Problem) -> None:
        import torch

        torch.set_num_threads(threads())
        self.torch, self.x = torch, [torch.from_numpy(x) for x in problem.x]
        self.net = torch_net(problem, softmax=True).eval()

    def call(self) -> Any:
        return self.net(*self.x)

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
        self.x = [jax.numpy.asarray(x) for x in problem.x]
        weights = [jax.numpy.asarray(array) for array in problem.weights]

        def outputs(x: list[Any]) -> Any:
            found = zip(jax_outputs(problem.case, weights, x), problem.case.losses, strict=True)
            return only([jax.nn.softmax(z) if loss == "crossentropy" else z for z, loss in found])

        self.outputs, self.block_until_ready = jax.jit(outputs), jax.block_until_ready

    def call(self) -> Any:
        return self.block_until_ready(self.outputs(self.x))


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
        self.x = {f"t{i}": x for i, x in enumerate(problem.x)}

    def call(self) -> Any:
        return only(self.session.run(None, self.x))

"""Contenders in policies: steps of one sequence, each of which continues the one before.

The network is an LSTM and a dense layer. nnfast keeps the state in the layer; for the others, it is
an output of a step and an input of the next one. `check_values` returns the outputs of the first
steps, and `run` is timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Problem
from networks import Recurrent
from numpy.typing import NDArray
from onnx_models import IR_VERSION, OPSET, lstm_arrays
from pin import threads

CHECKED = 5  # steps


class Policy:
    """Base class of the contenders.

    The network is that of the case. `weights` are the kernel, the recurrent kernel and the bias of
    the LSTM, and the kernel and the bias of the dense layer.
    """

    def __init__(self, problem: Problem) -> None:
        (self.x,) = problem.x
        self.weights = problem.weights
        self.units = next(
            layer.units for layer, _ in problem.case.weighted if isinstance(layer, Recurrent)
        )

    def reset(self) -> None:
        """Forget the steps before."""
        raise NotImplementedError

    def step(self) -> Any:
        """Return the output of the next step."""
        raise NotImplementedError

    def check_values(self) -> NDArray[Any]:
        self.reset()
        return np.concatenate([np.array(self.step()) for _ in range(CHECKED)])

    def run(self, steps: int) -> None:
        step = self.step
        for _ in range(steps):
            step()


class NNFast(Policy):
    """nnfast: ``model(x)`` with a stateful layer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import nnfast

        nnfast.set_num_threads(threads())
        layers = nnfast.layers
        self.model = nnfast.Sequential(
            [
                nnfast.Input(self.x.shape[1:], batch_size=1),
                layers.LSTM(self.units, stateful=True),
                layers.Dense(1),
            ]
        )
        self.model.set_weights(self.weights)

    def reset(self) -> None:
        self.model.reset_state()

    def step(self) -> Any:
        return self.model(self.x)


class PyTorch(Policy):
    """PyTorch in eager mode: ``nn.LSTM`` of one step."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import torch

        torch.set_num_threads(threads())
        kernel, recurrent, bias, dense, dense_bias = map(torch.from_numpy, self.weights)
        self.torch, self.input = torch, torch.from_numpy(self.x)
        self.lstm = torch.nn.LSTM(len(kernel), self.units, batch_first=True).requires_grad_(False)
        self.lstm.load_state_dict(
            {
                "weight_ih_l0": kernel.T,
                "weight_hh_l0": recurrent.T,
                "bias_ih_l0": bias,
                "bias_hh_l0": torch.zeros_like(bias),
            }
        )
        self.dense = torch.nn.Linear(self.units, 1).requires_grad_(False)
        self.dense.load_state_dict({"weight": dense.T, "bias": dense_bias})

    def reset(self) -> None:
        self.state = None

    def step(self) -> Any:
        y, self.state = self.lstm(self.input, self.state)
        return self.dense(y[:, -1])

    def run(self, steps: int) -> None:
        with self.torch.inference_mode():
            super().run(steps)


class OnnxRuntime(Policy):
    """ONNX Runtime: a session with the state among its inputs and outputs."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            self._model(), options, providers=["CPUExecutionProvider"]
        )

    def _model(self) -> bytes:
        from onnx import TensorProto, helper, numpy_helper

        *lstm, dense, dense_bias = self.weights
        constants = dict(zip("wrb", lstm_arrays(*lstm), strict=True))
        constants |= {"dense": dense, "dense_bias": dense_bias, "axis": np.array([0])}
        shapes = {"x": self.x.shape, "h0": (1, 1, self.units), "c0": (1, 1, self.units)}
        graph = helper.make_graph(
            [
                helper.make_node(
                    "LSTM",
                    ["x", "w", "r", "b", "", "h0", "c0"],
                    ["", "h", "c"],
                    hidden_size=self.units,
                ),
                helper.make_node("Squeeze", ["h", "axis"], ["last"]),
                helper.make_node("Gemm", ["last", "dense", "dense_bias"], ["y"]),
            ],
            "policy",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in shapes.items()
            ],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("y", "h", "c")],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        return bytes(model.SerializeToString())

    def reset(self) -> None:
        self.h = self.c = np.zeros((1, 1, self.units), np.float32)

    def step(self) -> Any:
        feed = {"x": self.x, "h0": self.h, "c0": self.c}
        y, self.h, self.c = self.session.run(None, feed)
        return y

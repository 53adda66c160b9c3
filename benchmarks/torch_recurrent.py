"""PyTorch's recurrent layers: its own modules, and steps that torch.compile can unroll.

PyTorch adds two biases. Where Keras has one, the second one stays zero: otherwise, Adam would move
their sum at twice the rate.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from networks import Bidirectional, Recurrent, Shape
from numpy.typing import NDArray
from training import Excluded

# torch.compile takes 22 s for an LSTM with 30 steps. With 50 steps, it takes 75 s, and the result
# is slower than PyTorch's own module.
MAX_UNROLLED = 32


def recurrent_module(layer: Recurrent | Bidirectional, shape: Shape, unrolled: bool) -> Any:
    """Return the module for inputs of a shape (steps, features)."""
    if not unrolled:
        return module_classes()[0](layer, shape)
    if isinstance(layer, Bidirectional) or layer.kind == "GRU" or shape[0] > MAX_UNROLLED:
        raise Excluded(
            f"torch.compile needs unrolled steps: here LSTM or SimpleRNN with at most "
            f"{MAX_UNROLLED}, not {layer} with {shape[0]}"
        )
    return module_classes()[1](layer, shape)


@functools.cache
def module_classes() -> tuple[Any, Any]:
    import torch

    nn, functional = torch.nn, torch.nn.functional
    own = {"LSTM": nn.LSTM, "GRU": nn.GRU, "SimpleRNN": nn.RNN}

    class Own(nn.Module):
        """PyTorch's own module, which is a single operation for each direction."""

        def __init__(self, layer: Recurrent | Bidirectional, shape: Shape) -> None:
            super().__init__()
            self.two = isinstance(layer, Bidirectional)
            self.one = layer.layer if isinstance(layer, Bidirectional) else layer
            self.module = own[self.one.kind](
                shape[1], self.one.units, batch_first=True, bidirectional=self.two
            )
            for name, parameter in self.module.named_parameters():
                parameter.requires_grad_(self.one.kind == "GRU" or "bias_hh" not in name)

        def forward(self, x: Any) -> Any:
            sequence, state = self.module(x)
            if self.one.return_sequences:
                return sequence
            last = state[0] if self.one.kind == "LSTM" else state
            return torch.cat([last[0], last[1]], 1) if self.two else last[0]

    class Unrolled(nn.Module):
        """A loop over the steps of an LSTM or a SimpleRNN.

        The product of x and the kernel is computed for all steps at once, before the loop.
        """

        def __init__(self, layer: Recurrent, shape: Shape) -> None:
            super().__init__()
            self.layer = layer
            for name, parameter in own[layer.kind](shape[1], layer.units).named_parameters():
                trained = "bias_hh" not in name
                setattr(self, name, nn.Parameter(parameter.detach(), requires_grad=trained))

        def forward(self, x: Any) -> Any:
            w = self.weight_hh_l0.t()
            inputs = functional.linear(x.transpose(0, 1), self.weight_ih_l0, self.bias_ih_l0)
            h = c = x.new_zeros(len(x), self.layer.units)
            found = []
            for step in inputs.unbind(0):
                z = torch.addmm(step, h, w)
                if self.layer.kind == "LSTM":
                    i, f, g, o = z.chunk(4, 1)
                    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                    h = torch.sigmoid(o) * torch.tanh(c)
                else:
                    h = torch.tanh(z)
                found.append(h)
            return torch.stack(found, 1) if self.layer.return_sequences else h

    return Own, Unrolled


def recurrent_weights(
    kind: str, kernel: NDArray[Any], recurrent_kernel: NDArray[Any], bias: NDArray[Any]
) -> list[NDArray[Any]]:
    """Return the weights of one direction in PyTorch's layout.

    PyTorch has the first two gates of a GRU in the opposite order.
    """
    if kind == "GRU":
        units = len(recurrent_kernel)
        order = np.r_[units : 2 * units, 0:units, 2 * units : 3 * units]
        return [kernel[:, order].T, recurrent_kernel[:, order].T, *bias[:, order]]
    return [kernel.T, recurrent_kernel.T, bias, np.zeros_like(bias)]

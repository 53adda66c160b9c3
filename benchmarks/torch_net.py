"""PyTorch's network of a case."""

from __future__ import annotations

import functools
import math
from typing import Any

from cases import Case, Problem
from networks import (
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
from torch_attention import attention_weights, transformer_module
from torch_recurrent import recurrent_module, recurrent_weights
from training import only


def torch_net(problem: Problem, softmax: bool = False, unrolled: bool = False) -> Any:
    """Return PyTorch's network with the problem's weights; classifiers end linear or in `softmax`.

    Images and kernels are channels last, PyTorch's faster layout. Recurrent layers are PyTorch's
    own, or `unrolled`.
    """
    import torch

    network, nn = problem.case.network, torch.nn

    class Graph(nn.Module):
        """Nodes that read the tensors with the given numbers."""

        def __init__(self, begin: Any, nodes: list[Any]) -> None:
            super().__init__()
            self.begin, self.nodes = begin, nn.ModuleList(nodes)
            self.steps = [(node.inputs, m) for node, m in zip(network.nodes, nodes, strict=True)]

        def forward(self, *inputs: Any) -> Any:
            tensors = [self.begin(x) for x in inputs]
            for numbers, module in self.steps:
                tensors.append(module(*[tensors[i] for i in numbers]))
            return only([tensors[i] for i in network.outputs])

    nodes = [torch_modules(node, problem.case, unrolled) for node in network.nodes]
    for i, loss in zip(network.outputs, problem.case.losses, strict=True):
        if softmax and loss == "crossentropy":
            nodes[i - len(network.inputs)].append(nn.Softmax(-1))
    images = len(network.inputs[0]) == 3
    begin = [torch_layouts()[0]()] if images else []
    net: Any
    if network.is_chain:
        net = nn.Sequential(*begin, *(module for node in nodes for module in node))
    else:
        net = Graph(
            nn.Sequential(*begin), [m[0] if len(m) == 1 else nn.Sequential(*m) for m in nodes]
        )
    with torch.no_grad():
        for parameter, start in zip(net.parameters(), torch_weights(problem), strict=True):
            parameter.copy_(torch.from_numpy(start))
    return net.to(memory_format=torch.channels_last) if problem.case.convolutional else net


def torch_modules(node: Node, case: Case, unrolled: bool) -> list[Any]:
    """Return the modules for a node."""
    import torch

    nn, dtype = torch.nn, getattr(torch, case.dtype)
    shape = case.network.shapes[node.inputs[0]]
    activation = {None: [], "relu": [nn.ReLU()], "tanh": [nn.Tanh()]}[node.activation]
    _, rows, average, average_steps, add, concatenate, unflatten, crop = torch_layouts()
    match node.layer:
        case Conv(filters, size, padding, stride):
            # PyTorch has no "same" padding with strides; here, it is even on both sides.
            own = (size - stride) // 2 if padding == "same" and stride > 1 else padding
            conv = nn.Conv2d(shape[2], filters, size, stride, own, dtype=dtype)
            return [conv, *activation]
        case ConvTranspose(filters, size, stride) as layer:
            padding = layer.removed
            conv = nn.ConvTranspose2d(shape[2], filters, size, stride, padding, dtype=dtype)
            even = size - stride == 2 * padding
            return [conv, *([] if even else [crop(layer.shape(shape))]), *activation]
        case Reshape(target):
            return [unflatten(target)] if len(target) > 1 else [rows()]
        case Dense(units):
            flatten, inputs = ([rows()], math.prod(shape)) if len(shape) == 3 else ([], shape[-1])
            return [*flatten, nn.Linear(inputs, units, dtype=dtype), *activation]
        case MaxPool(size):
            return [nn.MaxPool2d(size)]
        case AveragePool():
            return [average_steps() if len(shape) == 2 else average()]
        case Add():
            return [add()]
        case Recurrent() | Bidirectional() as layer:
            return [recurrent_module(layer, shape, unrolled)]
        case Attention() | LayerNorm() | Positions() as layer:
            return [transformer_module(layer, shape)]
        case Embedding(vocabulary, units):
            return [nn.Embedding(vocabulary, units)]
    return [concatenate()]


@functools.cache
def torch_layouts() -> tuple[Any, ...]:
    """Return modules without weights that PyTorch does not have."""
    import torch

    nn = torch.nn

    class ChannelsFirst(nn.Module):
        """Permute (rows, height, width, channels) to PyTorch's order of axes, without a copy."""

        def forward(self, x: Any) -> Any:
            return x.permute(0, 3, 1, 2)

    class Rows(nn.Module):
        """Flatten each image into a row, in memory order."""

        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    class Average(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean((2, 3))

    class AverageSteps(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean(1)

    class Sum(nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a + b

    class Concatenation(nn.Module):
        def forward(self, *parts: Any) -> Any:
            return torch.cat(parts, 1)

    class Unflatten(nn.Module):
        """Make images from rows, channels last in memory."""

        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.shape = shape

        def forward(self, x: Any) -> Any:
            return x.view(-1, *self.shape).permute(0, 3, 1, 2)

    class Crop(nn.Module):
        """Remove the last rows and columns of images."""

        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.height, self.width, _ = shape

        def forward(self, x: Any) -> Any:
            return x[:, :, : self.height, : self.width]

    return ChannelsFirst, Rows, Average, AverageSteps, Sum, Concatenation, Unflatten, Crop


def torch_weights(problem: Problem) -> list[NDArray[Any]]:
    """Return the weights in PyTorch's layout."""
    arrays, found = iter(problem.weights), []
    for layer, shape in problem.case.weighted:
        own = [next(arrays) for _ in layer.arrays(shape)]
        match layer:
            case Recurrent(kind):
                found += recurrent_weights(kind, *own)
            case Bidirectional(Recurrent(kind)):
                found += [*recurrent_weights(kind, *own[:3]), *recurrent_weights(kind, *own[3:])]
            case Embedding() | Positions() | LayerNorm():
                found += own
            case Attention():
                found += attention_weights(own)
            case _:
                kernel, bias = own
                # Outputs, inputs, height, width.
                found += [kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T, bias]
    return found

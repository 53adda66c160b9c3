"""The compared networks: their layers, shapes and operations, independent of any library.

Images are channels last. Sequences have the shape (steps, features), and sequences of tokens the
shape (steps,). Layers with weights have the methods `arrays` and `products`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]
LAYER_NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class Array:
    """An array of weights, and the standard deviation and the mean of its initial values."""

    shape: Shape
    scale: float
    mean: float = 0.0


@dataclass(frozen=True)
class Product:
    """The product (m, k) · (k, n) in the forward pass for one sample; dW and dX cost the same.

    `gates` is the number of equal parts of the n columns, each of which is in whole vectors.
    `internal` is true if the layer computes the left matrix itself, so that dX is always needed.
    """

    m: int
    k: int
    n: int
    gates: int = 1
    internal: bool = False


def kernel_and_bias(kernel: Shape, fan_in: int, channels: int) -> list[Array]:
    return [Array(kernel, fan_in**-0.5), Array((channels,), 0.1)]


@dataclass(frozen=True)
class Dense:
    """A dense layer with `units` outputs; it flattens images and applies to steps of sequences."""

    units: int

    def shape(self, input_shape: Shape) -> Shape:
        return (*self._steps(input_shape), self.units)

    def arrays(self, input_shape: Shape) -> list[Array]:
        inputs = self._inputs(input_shape)
        return kernel_and_bias((inputs, self.units), inputs, self.units)

    def products(self, input_shape: Shape) -> list[Product]:
        rows = math.prod(self._steps(input_shape))
        return [Product(rows, self._inputs(input_shape), self.units)]

    def _steps(self, input_shape: Shape) -> Shape:
        return input_shape[:1] if len(input_shape) == 2 else ()

    def _inputs(self, input_shape: Shape) -> int:
        return math.prod(input_shape) // math.prod(self._steps(input_shape))


@dataclass(frozen=True)
class Conv:
    """A convolution with `filters` windows of size × size."""

    filters: int
    size: int
    padding: str = "valid"
    stride: int = 1

    def shape(self, input_shape: Shape) -> Shape:
        reduction = 0 if self.padding == "same" else self.size - 1
        height, width = (-(-(n - reduction) // self.stride) for n in input_shape[:2])
        return (height, width, self.filters)

    def arrays(self, input_shape: Shape) -> list[Array]:
        kernel = (self.size, self.size, input_shape[2], self.filters)
        return kernel_and_bias(kernel, math.prod(kernel[:3]), self.filters)

    def products(self, input_shape: Shape) -> list[Product]:
        height, width, _ = self.shape(input_shape)
        return [Product(height * width, self.size * self.size * input_shape[2], self.filters)]


@dataclass(frozen=True)
class ConvTranspose:
    """A transposed convolution whose output is `stride` times as high and wide as its input."""

    filters: int
    size: int
    stride: int = 2

    @property
    def removed(self) -> int:
        """The number of rows and columns that are removed before the first of the output."""
        return (self.size - self.stride) // 2

    def shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0] * self.stride, input_shape[1] * self.stride, self.filters)

    def arrays(self, input_shape: Shape) -> list[Array]:
        kernel = (self.size, self.size, self.filters, input_shape[2])
        return kernel_and_bias(kernel, input_shape[2], self.filters)

    def products(self, input_shape: Shape) -> list[Product]:
        height, width, channels = input_shape
        return [Product(height * width, channels, self.size * self.size * self.filters)]


@dataclass(frozen=True)
class Cell:
    """The step of a recurrent layer.

    Parameters
    ----------
    gates : int
        Number of matrices (features, units) within the kernel.
    sigmoids, tanhs : int
        Number of functions per unit and step.
    kept, gradients : int
        Number of vectors of the layer's width that a step keeps for the backward pass, without the
        output, and of gradients that the backward pass computes from them.
    """

    gates: int
    sigmoids: int
    tanhs: int
    kept: int
    gradients: int


CELLS = {
    "LSTM": Cell(4, 3, 2, kept=6, gradients=4),  # the gates, the state and its tanh
    "GRU": Cell(3, 2, 1, kept=4, gradients=4),  # the two terms of the third gate are kept apart
    "SimpleRNN": Cell(1, 0, 1, kept=0, gradients=1),  # the output is enough
}


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer; its output is h after every step or after the last one.

    The bias of a GRU has two rows, as in PyTorch and in Keras with ``reset_after=True``.
    """

    kind: str
    units: int
    return_sequences: bool = False

    @property
    def cell(self) -> Cell:
        return CELLS[self.kind]

    def shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.units) if self.return_sequences else (self.units,)

    def arrays(self, input_shape: Shape) -> list[Array]:
        features, columns = input_shape[1], self.cell.gates * self.units
        bias = (2, columns) if self.kind == "GRU" else (columns,)
        return [
            Array((features, columns), features**-0.5),
            Array((self.units, columns), self.units**-0.5),
            Array(bias, 0.1),
        ]

    def products(self, input_shape: Shape) -> list[Product]:
        (steps, features), gates = input_shape, self.cell.gates
        return [
            Product(steps, features, gates * self.units, gates),
            Product(steps, self.units, gates * self.units, gates, internal=True),
        ]


@dataclass(frozen=True)
class Bidirectional:
    """Two recurrent layers, one in each direction, whose outputs are concatenated."""

    layer: Recurrent

    def shape(self, input_shape: Shape) -> Shape:
        *steps, units = self.layer.shape(input_shape)
        return (*steps, 2 * units)

    def arrays(self, input_shape: Shape) -> list[Array]:
        return 2 * self.layer.arrays(input_shape)

    def products(self, input_shape: Shape) -> list[Product]:
        return 2 * self.layer.products(input_shape)


@dataclass(frozen=True)
class Embedding:
    """A vector of `units` numbers from a table for each token."""

    vocabulary: int
    units: int

    def shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.units)

    def arrays(self, input_shape: Shape) -> list[Array]:
        return [Array((self.vocabulary, self.units), 1.0)]

    def products(self, input_shape: Shape) -> list[Product]:
        return []


@dataclass(frozen=True)
class Positions:
    """The sum of a sequence and a table with a trained vector for each of its steps."""

    def shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def arrays(self, input_shape: Shape) -> list[Array]:
        return [Array(input_shape, 1.0)]

    def products(self, input_shape: Shape) -> list[Product]:
        return []


@dataclass(frozen=True)
class Attention:
    """Multi-head self-attention; its output has the width of its input."""

    heads: int
    key_dim: int

    def shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def arrays(self, input_shape: Shape) -> list[Array]:
        """Return the arrays of query, key, value and output, in Keras' shapes."""
        features, heads, key_dim = input_shape[1], self.heads, self.key_dim
        width = heads * key_dim
        projection = [
            Array((features, heads, key_dim), features**-0.5),
            Array((heads, key_dim), 0.1),
        ]
        return 3 * projection + kernel_and_bias((heads, key_dim, features), width, features)

    def products(self, input_shape: Shape) -> list[Product]:
        (steps, features), width = input_shape, self.heads * self.key_dim
        scores = Product(steps, self.key_dim, steps, internal=True)
        weighted_values = Product(steps, steps, self.key_dim, internal=True)
        return [
            *(3 * [Product(steps, features, width)]),
            *(self.heads * [scores, weighted_values]),
            Product(steps, width, features, internal=True),
        ]


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalization of the last axis, with a scale and an offset."""

    def shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def arrays(self, input_shape: Shape) -> list[Array]:
        return [Array(input_shape[-1:], 0.1, mean=1.0), Array(input_shape[-1:], 0.1)]

    def products(self, input_shape: Shape) -> list[Product]:
        return []


@dataclass(frozen=True)
class Reshape:
    """The elements of a sample in another shape."""

    target: Shape

    def shape(self, input_shape: Shape) -> Shape:
        return self.target


@dataclass(frozen=True)
class MaxPool:
    """A max pooling layer with adjacent windows of size × size."""

    size: int = 2

    def shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0] // self.size, input_shape[1] // self.size, input_shape[2])


@dataclass(frozen=True)
class AveragePool:
    """Global average pooling: the mean over all pixels or steps."""

    def shape(self, input_shape: Shape) -> Shape:
        return input_shape[-1:]


@dataclass(frozen=True)
class Add:
    """The sum of tensors of the same shape."""

    def shape(self, *input_shapes: Shape) -> Shape:
        return input_shapes[0]


@dataclass(frozen=True)
class Concatenate:
    """The concatenation of vectors."""

    def shape(self, *input_shapes: Shape) -> Shape:
        return (sum(n for (n,) in input_shapes),)


Convolution = Conv | ConvTranspose
AnyRecurrent = Recurrent | Bidirectional
Weighted = Dense | Convolution | AnyRecurrent | Embedding | Positions | Attention | LayerNorm
Merging = Add | Concatenate
Layer = Weighted | Merging | MaxPool | AveragePool | Reshape


@dataclass(frozen=True)
class Node:
    """A layer, the numbers of the tensors that it reads, and its activation.

    The last layer of a classifier has no activation, because its softmax belongs to the loss.
    """

    layer: Layer
    inputs: tuple[int, ...]
    activation: str | None = None


@dataclass(frozen=True)
class Network:
    """A graph of layers.

    Its tensors are numbered: first the inputs, then the output of each node.
    """

    inputs: tuple[Shape, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    @property
    def shapes(self) -> list[Shape]:
        """The shape of each tensor of one sample."""
        found = list(self.inputs)
        for node in self.nodes:
            found.append(node.layer.shape(*(found[i] for i in node.inputs)))
        return found

    @property
    def numbered(self) -> list[tuple[int, Node]]:
        """The nodes with the numbers of their outputs."""
        return list(enumerate(self.nodes, len(self.inputs)))

    @property
    def is_chain(self) -> bool:
        """Whether each node reads only the output of the node before it."""
        alone = len(self.inputs) == len(self.outputs) == 1
        return alone and all(node.inputs == (i - 1,) for i, node in self.numbered)

    @property
    def weighted(self) -> list[tuple[int, Node, Weighted]]:
        """The nodes that have weights, with the numbers of their outputs and their layers."""
        return [(i, n, n.layer) for i, n in self.numbered if isinstance(n.layer, Weighted)]

    def vocabulary(self, tensor: int) -> int | None:
        """Return the number of different tokens in an input; None if it contains numbers."""
        layers = [node.layer for node in self.readers(tensor)]
        return next((e.vocabulary for e in layers if isinstance(e, Embedding)), None)

    def readers(self, tensor: int) -> list[Node]:
        return [node for node in self.nodes if tensor in node.inputs]

    @property
    def trained(self) -> list[bool]:
        """Whether each tensor depends on weights, so that it has a gradient."""
        found = [False] * len(self.inputs)
        for node in self.nodes:
            found.append(isinstance(node.layer, Weighted) or any(found[i] for i in node.inputs))
        return found


class Builder:
    """Builds a network node by node; `add` returns the number of the node's output."""

    def __init__(self, *inputs: Shape) -> None:
        self.inputs = inputs
        self.nodes: list[Node] = []

    def add(self, layer: Layer, *inputs: int, activation: str | None = None) -> int:
        self.nodes.append(Node(layer, inputs, activation))
        return len(self.inputs) + len(self.nodes) - 1

    def network(self, *outputs: int) -> Network:
        return Network(self.inputs, tuple(self.nodes), outputs)


def chain(input_shape: Shape, layers: Sequence[Layer], hidden: str = "relu") -> Network:
    """Return a chain of layers; dense ones and convolutions but the last have an activation."""
    builder = Builder(input_shape)
    last = max(i for i, layer in enumerate(layers) if isinstance(layer, Weighted))
    for i, layer in enumerate(layers):
        activated = isinstance(layer, Dense | Convolution) and i < last
        builder.add(layer, i, activation=hidden if activated else None)
    return builder.network(len(layers))


def residual_mlp() -> Network:
    builder = Builder((64,))
    x = builder.add(Dense(128), 0, activation="relu")
    for _ in range(4):
        hidden = builder.add(Dense(128), x, activation="relu")
        x = builder.add(Add(), x, builder.add(Dense(128), hidden))
    return builder.network(builder.add(Dense(10), x))


def wide_and_deep() -> Network:
    builder = Builder((8,))
    first = builder.add(Dense(30), 0, activation="relu")
    deep = builder.add(Dense(30), first, activation="relu")
    return builder.network(builder.add(Dense(1), builder.add(Concatenate(), 0, deep)))


def two_inputs(*units: int) -> Network:
    """Return a network with inputs of 20 and 10 and an output of each of the given widths."""
    builder = Builder((20,), (10,))
    hidden = builder.add(Dense(64), builder.add(Concatenate(), 0, 1), activation="relu")
    return builder.network(*(builder.add(Dense(n), hidden) for n in units))


def residual_cnn() -> Network:
    """Return a small residual network, with blocks as in Keras' guide to the functional API."""
    builder = Builder((16, 16, 3))
    x = builder.add(Conv(32, 3, "same"), 0, activation="relu")
    for _ in range(3):
        first = builder.add(Conv(32, 3, "same"), x, activation="relu")
        x = builder.add(Add(), x, builder.add(Conv(32, 3, "same"), first, activation="relu"))
    return builder.network(builder.add(Dense(10), builder.add(AveragePool(), x)))


def add_transformer_block(builder: Builder, x: int, attention: Attention, hidden: int) -> int:
    """Add a block as in Keras' example "Text classification with Transformer"; return its output.

    Each half of it is normalized after the sum.
    """
    features = builder.network(x).shapes[x][-1]
    x = builder.add(Add(), x, builder.add(attention, x))
    x = builder.add(LayerNorm(), x)
    forward = builder.add(Dense(features), builder.add(Dense(hidden), x, activation="relu"))
    return builder.add(LayerNorm(), builder.add(Add(), x, forward))


def text_transformer(steps: int) -> Network:
    """Return the network of Keras' example "Text classification with Transformer"."""
    builder = Builder((steps,))
    x = builder.add(Positions(), builder.add(Embedding(20_000, 32), 0))
    x = add_transformer_block(builder, x, Attention(2, 32), 32)
    x = builder.add(Dense(20), builder.add(AveragePool(), x), activation="relu")
    return builder.network(builder.add(Dense(2), x))


def transformer(shape: Shape, blocks: int, attention: Attention, hidden: int) -> Network:
    """Return a network that predicts one number from sequences of vectors."""
    builder, x = Builder(shape), 0
    for _ in range(blocks):
        x = add_transformer_block(builder, x, attention, hidden)
    return builder.network(builder.add(Dense(1), builder.add(AveragePool(), x)))


# The image classifier of Keras' introductory examples.
KERAS_MNIST: tuple[Layer, ...] = (
    *(Conv(32, 3), MaxPool(), Conv(64, 3), MaxPool(), Conv(64, 3)),
    *(Dense(64), Dense(10)),
)
LENET_5: tuple[Layer, ...] = (
    *(Conv(6, 5, "same"), MaxPool(), Conv(16, 5), MaxPool()),
    *(Dense(120), Dense(84), Dense(10)),
)
# The two halves of a small DCGAN. Each is trained alone, with the squared error.
GENERATOR: tuple[Layer, ...] = (
    *(Dense(7 * 7 * 64), Reshape((7, 7, 64)), ConvTranspose(32, 4), ConvTranspose(1, 4)),
    Reshape((784,)),
)
DISCRIMINATOR: tuple[Layer, ...] = (*(Conv(32, 4, "same", 2), Conv(64, 4, "same", 2), Dense(1)),)
# The denoising autoencoder of Keras' examples.
AUTOENCODER: tuple[Layer, ...] = (
    *(Conv(32, 3, "same"), MaxPool(), Conv(32, 3, "same"), MaxPool()),
    *(ConvTranspose(32, 3), ConvTranspose(32, 3), Conv(1, 3, "same"), Reshape((784,))),
)


def stacked(kind: str, *units: int) -> list[Layer]:
    """Return recurrent layers, of which all but the last return sequences."""
    last = len(units) - 1
    return [Recurrent(kind, n, return_sequences=i < last) for i, n in enumerate(units)]

"""Networks of dense layers in NumPy, as fast as NumPy allows: the baseline for nnfast.

Every buffer is allocated once, and every operation writes into a buffer with ``out=``. The
parameters are one flat array, so Adam is a single pass over this array. The pass works in blocks,
so its operands stay in the cache. The parts of a concatenation are views of its buffer, and the
terms of a sum share its gradient, so that neither needs a copy.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from networks import Add, Concatenate, Dense, Network, Node
from numpy.typing import NDArray

# Elements per block of Adam: the fastest size between 4096 and 131072. For 784-512-512-10, it is
# 7 % faster than a pass without blocks.
ADAM_BLOCK = 65536


class NumpyNet:
    """A network that is trained with Adam.

    Parameters
    ----------
    network : Network
        With dense layers, sums and concatenations. A term of a sum that a layer computes has no
        activation, unless another node reads it, too.
    losses : sequence of {"crossentropy", "mse"}
        For each output: softmax with sparse categorical cross-entropy, or mean squared error.
    weights : list of ndarray
        ``[w, b, w, b, …]``, copied. Their dtype is used for all computation.
    batch_size : int
        Rows per step; the buffers have exactly this size.
    learning_rate, epsilon : float
        Hyperparameters of Adam; the others are Keras' defaults.
    """

    def __init__(
        self,
        network: Network,
        losses: tuple[str, ...],
        weights: list[NDArray],
        batch_size: int,
        learning_rate: float,
        epsilon: float,
    ) -> None:
        self.network, self.losses, self.batch_size = network, losses, batch_size
        self.learning_rate, self.epsilon = learning_rate, epsilon
        self.iterations = 0
        dtype = weights[0].dtype
        self.params = np.concatenate([w.ravel() for w in weights])
        self.grads = np.zeros_like(self.params)
        self.m = np.zeros_like(self.params)
        self.v = np.zeros_like(self.params)
        self.scratch = np.empty(min(ADAM_BLOCK, self.params.size), dtype)

        numbers = [i for i, _, _ in network.weighted]
        self.weights = self._views(self.params, weights, numbers)
        self.gradients = self._views(self.grads, weights, numbers)
        self.a = self._buffers(dtype)
        self.dz = self._buffers(dtype)
        self.merged = {
            i for _, node in network.numbered if len(node.inputs) > 1 for i in node.inputs
        }
        for i, node in reversed(network.numbered):
            if isinstance(node.layer, Add):
                for j in node.inputs:
                    self.dz[j] = self.dz[i]
        # The gradients to which a node adds, because a sum has written them before.
        self.added = {
            j for _, node in network.numbered if isinstance(node.layer, Add) for j in node.inputs
        }
        self.dx = {n: np.empty((batch_size, n), dtype) for n in {a.shape[1] for a in self.a}}
        self.derivatives = [
            np.empty(a.shape, bool if node.activation == "relu" else dtype)
            for a, node in zip(self.a[len(network.inputs) :], network.nodes, strict=True)
        ]
        self.targets = [
            np.empty(batch_size, np.int64) if loss == "crossentropy" else np.empty_like(self.a[i])
            for i, loss in zip(network.outputs, losses, strict=True)
        ]
        self.rows = np.arange(batch_size)
        self.column = np.empty((batch_size, 1), dtype)
        self.ones = np.ones(batch_size, dtype)

    @staticmethod
    def _views(
        flat: NDArray, weights: list[NDArray], numbers: list[int]
    ) -> dict[int, tuple[NDArray, NDArray]]:
        """Return each layer's kernel and bias as views of `flat`, by the number of its output."""
        ends = np.cumsum([0, *(w.size for w in weights)])
        views = [
            flat[start:stop].reshape(w.shape)
            for w, (start, stop) in zip(weights, pairwise(ends), strict=True)
        ]
        return dict(zip(numbers, zip(views[::2], views[1::2], strict=True), strict=True))

    def _buffers(self, dtype: np.dtype) -> list[NDArray]:
        """Return a buffer for each tensor; the parts of a concatenation are views."""
        buffers = [np.empty((self.batch_size, n), dtype) for (n,) in self.network.shapes]
        for i, node in self.network.numbered:
            if isinstance(node.layer, Concatenate):
                start = 0
                for j in node.inputs:
                    stop = start + buffers[j].shape[1]
                    buffers[j] = buffers[i][:, start:stop]
                    start = stop
        return buffers

    def train_step(self) -> float:
        """Take a training step on the batch in the first ``a`` and ``targets``; return its loss."""
        for i, node in self.network.numbered:
            self._forward(i, node)
        loss = 0.0
        for i, kind, y in zip(self.network.outputs, self.losses, self.targets, strict=True):
            function = self._crossentropy if kind == "crossentropy" else self._squared
            loss += function(self.a[i], self.dz[i], y)
        written = set(self.added)
        for i, node in reversed(self.network.numbered):
            if isinstance(node.layer, Dense):
                self._backward(i, node, written)
        self._adam()
        return loss

    def train_epoch(
        self, x: list[NDArray], y: list[NDArray], order: NDArray | None = None
    ) -> NDArray:
        """Train on the rows in ``order`` in complete batches; return the loss of each step."""
        steps = len(x[0] if order is None else order) // self.batch_size
        losses = np.empty(steps)
        for step in range(steps):
            rows = slice(step * self.batch_size, (step + 1) * self.batch_size)
            for data, buffers in ((x, self.a), (y, self.targets)):
                for i, part in enumerate(data):
                    if order is not None:
                        np.take(part, order[rows], axis=0, out=buffers[i], mode="clip")
                    elif buffers is self.a and i in self.merged:
                        buffers[i][...] = part[rows]
                    else:
                        buffers[i] = part[rows]
            losses[step] = self.train_step()
        return losses

    def _forward(self, i: int, node: Node) -> None:
        out = self.a[i]
        if isinstance(node.layer, Dense):
            w, b = self.weights[i]
            np.matmul(self.a[node.inputs[0]], w, out=out)
            out += b
            if node.activation == "relu":
                np.maximum(out, 0.0, out=out)
            elif node.activation == "tanh":
                np.tanh(out, out=out)
        elif isinstance(node.layer, Add):
            np.add(*(self.a[j] for j in node.inputs), out=out)

    def _crossentropy(self, z: NDArray, dz: NDArray, y: NDArray) -> float:
        """Return the mean cross-entropy and write dz = (softmax(z) − onehot(y)) / m."""
        column = self.column
        np.maximum.reduce(z, axis=1, keepdims=True, out=column)
        z -= column
        picked = float(z[self.rows, y].sum())
        np.exp(z, out=dz)
        np.add.reduce(dz, axis=1, keepdims=True, out=column)
        dz /= column
        np.log(column, out=column)
        loss = (float(column.sum()) - picked) / self.batch_size
        dz[self.rows, y] -= 1.0
        dz *= 1.0 / self.batch_size
        return loss

    def _squared(self, a: NDArray, dz: NDArray, y: NDArray) -> float:
        """Return the mean squared error of the outputs a; write dz = 2·(a − y) / size."""
        np.subtract(a, y, out=dz)
        loss = float(np.vdot(dz, dz)) / dz.size
        dz *= 2.0 / dz.size
        return loss

    def _backward(self, i: int, node: Node, written: set[int]) -> None:
        """Compute a layer's gradients; `written` has the tensors whose gradients were begun."""
        (source,) = node.inputs
        x, dz = self.a[source], self.dz[i]
        if node.activation is not None:
            self._activation_derivative(
                node, self.a[i], self.derivatives[i - len(self.network.inputs)]
            )
            dz *= self.derivatives[i - len(self.network.inputs)]
        dw, db = self.gradients[i]
        np.matmul(x.T, dz, out=dw)
        np.dot(self.ones, dz, out=db)  # twice as fast as a sum over axis 0
        if self.network.trained[source]:
            w = self.weights[i][0].T
            if source in written:
                self.dz[source] += np.matmul(dz, w, out=self.dx[x.shape[1]])
            else:
                np.matmul(dz, w, out=self.dz[source])
                written.add(source)

    def _activation_derivative(self, node: Node, a: NDArray, out: NDArray) -> None:
        if node.activation == "relu":
            np.greater(a, 0.0, out=out)
        else:
            np.multiply(a, a, out=out)
            np.subtract(1.0, out, out=out)

    def _adam(self) -> None:
        self.iterations += 1
        b1, b2 = 0.9, 0.999
        t = self.iterations
        alpha = self.learning_rate * (1.0 - b2**t) ** 0.5 / (1.0 - b1**t)
        for start in range(0, self.params.size, ADAM_BLOCK):
            block = slice(start, start + ADAM_BLOCK)
            p, g, m, v = self.params[block], self.grads[block], self.m[block], self.v[block]
            s = self.scratch[: p.size]
            m *= b1
            np.multiply(g, 1.0 - b1, out=s)
            m += s
            v *= b2
            np.multiply(g, g, out=s)
            s *= 1.0 - b2
            v += s
            np.sqrt(v, out=s)
            s += self.epsilon
            np.divide(m, s, out=s)
            s *= alpha
            p -= s

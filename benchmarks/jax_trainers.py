"""JAX's contender in training; see `trainers.py`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from cases import CHECKED_STEPS, Case, Problem
from networks import (
    LAYER_NORM_EPSILON,
    Add,
    Attention,
    AveragePool,
    Bidirectional,
    Concatenate,
    Conv,
    ConvTranspose,
    Dense,
    Embedding,
    LayerNorm,
    MaxPool,
    Positions,
    Recurrent,
    Reshape,
)
from numpy.typing import NDArray
from training import BETA_1, BETA_2, EPSILON, LEARNING_RATE


class JAX:
    """JAX with jit: a whole epoch is one ``lax.scan``, and each step gathers its shuffled batch.

    Convolutions take 4 to 40 times as long inside XLA's loops, so the steps of convolutional
    networks are called from Python.

    The permutation is drawn before the measurement, which favours JAX. In cases where every step
    uses all rows, one call runs a loop over all epochs.
    """

    def __init__(self, problem: Problem) -> None:
        import jax
        import optax

        jax.config.update("jax_enable_x64", problem.case.dtype == "float64")
        self.jax, self.jnp, self.problem = jax, jax.numpy, problem
        self.optimizer = optax.adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON)
        self.x = [self.jnp.asarray(x) for x in problem.x]
        dtypes = {"mse": None, "crossentropy": self.jnp.int32}
        pairs = zip(problem.y, problem.case.losses, strict=True)
        self.y = [self.jnp.asarray(y, dtypes[loss]) for y, loss in pairs]
        self.rng = np.random.default_rng(0)
        self.epoch = jax.jit(self._epoch, donate_argnums=0)
        self.repeat = jax.jit(self._repeat, donate_argnums=0)
        self.step = jax.jit(self._gathered_step, donate_argnums=0)

    def reset(self) -> None:
        # Copy the weights, because the step donates their buffers.
        params = [self.jnp.array(array, copy=True) for array in self.problem.weights]
        self.state = params, self.optimizer.init(params)
        if self.problem.case.shuffle:
            self.shuffled = self._batches(self.rng.permutation(self.problem.n))

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        if self.problem.case.shuffle:
            order = self._batches(np.arange(self.problem.n))
            self.state, losses = self._run_epoch(self.state, self.x, self.y, order)
            return np.asarray(losses, np.float64)[:CHECKED_STEPS]
        found = []
        for _ in range(CHECKED_STEPS):
            self.state, loss = self.repeat(self.state, self.x, self.y, 1)
            found.append(float(loss))
        return np.array(found)

    def run(self, epochs: int) -> None:
        if self.problem.case.shuffle:
            for _ in range(epochs):
                self.state, losses = self._run_epoch(self.state, self.x, self.y, self.shuffled)
        else:
            self.state, losses = self.repeat(self.state, self.x, self.y, epochs)
        self.jax.block_until_ready(losses)

    def _run_epoch(self, state: Any, x: Any, y: Any, order: Any) -> Any:
        if not self.problem.case.convolutional:
            return self.epoch(state, x, y, order)
        losses = []
        for rows in order:
            state, loss = self.step(state, x, y, rows)
            losses.append(loss)
        return state, losses

    def _gathered_step(self, state: Any, x: Any, y: Any, rows: Any) -> Any:
        return self._step(state, [part[rows] for part in x], [part[rows] for part in y])

    def _epoch(self, state: Any, x: Any, y: Any, order: Any) -> Any:
        return self.jax.lax.scan(
            lambda state, rows: self._gathered_step(state, x, y, rows), state, order
        )

    def _repeat(self, state: Any, x: Any, y: Any, epochs: Any) -> Any:
        zero = self.jnp.zeros((), x[0].dtype)
        return self.jax.lax.fori_loop(
            0, epochs, lambda _, carry: self._step(carry[0], x, y), (state, zero)
        )

    def _step(self, state: Any, x: Any, y: Any) -> Any:
        import optax

        params, slots = state
        loss, gradients = self.jax.value_and_grad(self._loss)(params, x, y)
        updates, slots = self.optimizer.update(gradients, slots, params)
        return (optax.apply_updates(params, updates), slots), loss

    def _loss(self, params: Any, x: Any, y: Any) -> Any:
        import optax

        total = 0.0
        outputs = jax_outputs(self.problem.case, params, x)
        for loss, output, target in zip(self.problem.case.losses, outputs, y, strict=True):
            if loss == "mse":
                total += ((output - target) ** 2).mean()
            else:
                total += optax.softmax_cross_entropy_with_integer_labels(output, target).mean()
        return total

    def _batches(self, order: NDArray[np.int64]) -> Any:
        rows = order.reshape(-1, self.problem.case.rows)
        return self.jax.block_until_ready(self.jnp.asarray(rows, self.jnp.int32))


def jax_outputs(case: Case, params: Any, inputs: Any) -> list[Any]:
    """Return the network's outputs before the final softmax."""
    import jax

    activations = {None: lambda z: z, "relu": jax.nn.relu, "tanh": jax.numpy.tanh}
    remaining = iter(params)
    tensors = [*inputs]
    for node in case.network.nodes:
        activation = activations[node.activation]
        x, *others = (tensors[i] for i in node.inputs)
        match node.layer:
            case Conv(_, _, padding, stride):
                dimensions = ("NHWC", "HWIO", "NHWC")
                strides = (stride, stride)
                x = jax.lax.conv_general_dilated(
                    *(x, next(remaining), strides, padding.upper()), dimension_numbers=dimensions
                )
                x = activation(x + next(remaining))
            case ConvTranspose(_, _, stride):
                x = jax.lax.conv_transpose(
                    x,
                    next(remaining),
                    (stride, stride),
                    "SAME",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    transpose_kernel=True,
                )
                x = activation(x + next(remaining))
            case Reshape(target):
                x = x.reshape(len(x), *target)
            case Dense():
                flat = x.reshape(len(x), -1) if x.ndim == 4 else x
                x = activation(flat @ next(remaining) + next(remaining))
            case MaxPool(size):
                window = (1, size, size, 1)
                x = jax.lax.reduce_window(x, -math.inf, jax.lax.max, window, window, "VALID")
            case AveragePool():
                x = x.mean(tuple(range(1, x.ndim - 1)))
            case Recurrent():
                weights = [next(remaining) for _ in range(3)]
                x = jax_recurrent(node.layer, x, *weights)
            case Bidirectional(layer):
                weights = [next(remaining) for _ in range(6)]
                x = jax_bidirectional(layer, x, weights)
            case Embedding():
                x = next(remaining)[x]
            case Positions():
                x = x + next(remaining)
            case Attention():
                x = jax_attention(node.layer, x, [next(remaining) for _ in range(8)])
            case LayerNorm():
                scaled = jax.nn.standardize(x, epsilon=LAYER_NORM_EPSILON)
                x = scaled * next(remaining) + next(remaining)
            case Add():
                x = sum(others, x)
            case Concatenate():
                x = jax.numpy.concatenate([x, *others], axis=1)
        tensors.append(x)
    return [tensors[i] for i in case.network.outputs]


def jax_recurrent(layer: Recurrent, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    """Return a recurrent layer's output from a ``lax.scan`` over the steps.

    The product of x and the kernel is computed for all steps at once, before the loop.
    """
    import jax

    jnp, sigmoid, tanh = jax.numpy, jax.nn.sigmoid, jax.numpy.tanh
    x_bias = bias[0] if layer.kind == "GRU" else bias
    inputs = x.swapaxes(0, 1) @ kernel + x_bias
    zeros = jnp.zeros((len(x), layer.units), inputs.dtype)

    def lstm(state: Any, z: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(z + h @ recurrent_kernel, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return (h, c), h if layer.return_sequences else None

    def gru(h: Any, z: Any) -> Any:
        x_z, x_r, x_h = jnp.split(z, 3, axis=1)
        h_z, h_r, h_h = jnp.split(h @ recurrent_kernel + bias[1], 3, axis=1)
        update = sigmoid(x_z + h_z)
        h = update * h + (1 - update) * tanh(x_h + sigmoid(x_r + h_r) * h_h)
        return h, h if layer.return_sequences else None

    def simple_rnn(h: Any, z: Any) -> Any:
        h = tanh(z + h @ recurrent_kernel)
        return h, h if layer.return_sequences else None

    step = {"LSTM": lstm, "GRU": gru, "SimpleRNN": simple_rnn}[layer.kind]
    start = (zeros, zeros) if layer.kind == "LSTM" else zeros
    state, sequence = jax.lax.scan(step, start, inputs)
    if layer.return_sequences:
        return sequence.swapaxes(0, 1)
    return state[0] if layer.kind == "LSTM" else state


def jax_bidirectional(layer: Recurrent, x: Any, weights: list[Any]) -> Any:
    import jax

    forward = jax_recurrent(layer, x, *weights[:3])
    backward = jax_recurrent(layer, x[:, ::-1], *weights[3:])
    if layer.return_sequences:
        backward = backward[:, ::-1]
    return jax.numpy.concatenate([forward, backward], axis=-1)


def jax_attention(layer: Attention, x: Any, weights: list[Any]) -> Any:
    """Return the output of multi-head self-attention.

    The softmax divides after the product with the values, which has fewer elements than the
    scores. With `jax.nn.softmax`, or one product for queries, keys and values, a step of 200
    positions takes up to 1.5 times as long.
    """
    import jax

    jnp, (steps, features) = jax.numpy, x.shape[1:]
    heads, key_dim = layer.heads, layer.key_dim
    *projections, kernel, bias = weights
    q, k, v = (
        (x.reshape(-1, features) @ w.reshape(features, -1) + b.ravel())
        .reshape(-1, steps, heads, key_dim)
        .swapaxes(1, 2)
        for w, b in zip(projections[::2], projections[1::2], strict=True)
    )
    scores = (q * key_dim**-0.5) @ k.swapaxes(2, 3)
    p = jnp.exp(scores - jax.lax.stop_gradient(scores.max(3, keepdims=True)))
    y = (p @ v / p.sum(3, keepdims=True)).swapaxes(1, 2)
    rows = y.reshape(-1, heads * key_dim) @ kernel.reshape(-1, features)
    return rows.reshape(x.shape) + bias

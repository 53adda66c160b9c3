"""Contenders in training. All use the same data, initial weights and Adam settings.

Each contender uses its library as an expert user would for speed. It imports the library only when
it is created, so not every library must be installed. `reset` restores the initial weights and
creates a new optimizer. `check_values` calls `reset`, trains on the first batches in order and
returns their losses.
`run` is timed: it trains for several epochs of shuffled batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CHECKED_STEPS, Case, Problem
from networks import Conv, Dense
from numpy.typing import NDArray
from numpy_mlp import NumpyMLP
from pin import threads

LEARNING_RATE = 1e-3
BETA_1, BETA_2 = 0.9, 0.999
# Smaller than every library's default. Keras adds epsilon to √v, other libraries to the
# bias-corrected root, which makes a difference for small gradients. An epsilon of 1e-7 changed the
# losses of the large case by 1e-3, and 1e-8 also changed the convolutional networks' losses.
EPSILON = 1e-10


class Excluded(Exception):
    """A contender cannot take part in a case; the message gives the reason."""


def trigger_compilation(call: Callable[[], Any], limit: float = math.inf) -> None:
    """Compile with a first call; raise `Excluded` if it fails or takes over `limit` seconds."""
    start = time.perf_counter()
    try:
        call()
    except Exception as error:  # the compiler may be missing or fail with any error
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise Excluded(f"compilation failed: {reason[0]}") from error
    if (took := time.perf_counter() - start) > limit:
        raise Excluded(f"compiling took {took:.0f} s, more than the limit of {limit:.0f} s")


class NNFast:
    """nnfast: `Sequential.fit`, as a user calls it."""

    def __init__(self, problem: Problem) -> None:
        import nnfast

        nnfast.set_num_threads(threads())
        self.nnfast, self.problem = nnfast, problem
        self.model = nnfast_model(problem.case)

    def reset(self) -> None:
        case = self.problem.case
        self.model.set_weights(self.problem.weights)
        optimizer = self.nnfast.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON)
        self.model.compile(
            optimizer, "mse" if case.loss == "mse" else "sparse_categorical_crossentropy"
        )

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        return np.array([self._fit(x, y, 1)[0] for x, y in self.problem.first_batches()])

    def run(self, epochs: int) -> None:
        self._fit(self.problem.x, self.problem.y, epochs)

    def _fit(self, x: Any, y: Any, epochs: int) -> list[float]:
        case = self.problem.case
        history = self.model.fit(
            x, y, batch_size=case.rows, epochs=epochs, shuffle=case.shuffle, verbose=0
        )
        losses: list[float] = history.history["loss"]
        return losses


def nnfast_model(case: Case) -> Any:
    import nnfast

    layers = nnfast.layers
    last = "softmax" if case.loss == "crossentropy" else None
    stack: list[Any] = [layers.Input(case.input_shape)]
    for i, layer in enumerate(case.layers):
        activation = last if i == len(case.layers) - 1 else case.hidden
        if isinstance(layer, Conv):
            stack.append(
                layers.Conv2D(
                    *(layer.filters, layer.size), padding=layer.padding, activation=activation
                )
            )
        elif isinstance(layer, Dense):
            if len(case.shapes[i]) > 1:
                stack.append(layers.Flatten())
            stack.append(layers.Dense(layer.units, activation=activation))
        else:
            stack.append(layers.MaxPooling2D(layer.size))
    return nnfast.Sequential(stack, dtype=case.dtype)


class NumPy:
    """NumPy: `NumpyMLP`, without allocations and with one flat pass of Adam in blocks."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rng = np.random.default_rng(0)

    def reset(self) -> None:
        case = self.problem.case
        self.net = NumpyMLP(
            self.problem.weights, case.rows, LEARNING_RATE, EPSILON, case.hidden, case.loss
        )

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        batches = self.problem.first_batches()
        return np.array([self.net.train_epoch(x, y)[0] for x, y in batches])

    def run(self, epochs: int) -> None:
        x, y = self.problem.x, self.problem.y
        for _ in range(epochs):
            order = self.rng.permutation(len(x)) if self.problem.case.shuffle else None
            self.net.train_epoch(x, y, order)


class ScikitLearn:
    """scikit-learn: `partial_fit` of `MLPClassifier` or `MLPRegressor`, one epoch per call."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        # scikit-learn computes the gradient of half the sum of squared errors over the outputs, not
        # of their mean. Adam's steps do not change if gradient and epsilon have the same factor.
        squared = problem.case.loss == "mse"
        self.gradient_scale = problem.case.sizes[-1] / 2 if squared else 1.0
        self.loss_scale = 2.0 if squared else 1.0

    def reset(self) -> None:
        self.net = sklearn_net(self.problem, EPSILON * self.gradient_scale)

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        return np.array([self._epoch(x, y) for x, y in self.problem.first_batches()])

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            self._epoch(self.problem.x, self.problem.y)

    def _epoch(self, x: Any, y: Any) -> float:
        self.net.partial_fit(x, y.ravel() if y.shape[1:] == (1,) else y)
        return float(self.net.loss_) * self.loss_scale


def sklearn_net(problem: Problem, epsilon: float) -> Any:
    """Return scikit-learn's network with the problem's weights and a fresh optimizer."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    case = problem.case
    settings = {
        "hidden_layer_sizes": case.sizes[1:-1],
        "activation": case.hidden,
        "batch_size": case.rows,
        "shuffle": case.shuffle,
        "alpha": 0.0,
        "learning_rate_init": LEARNING_RATE,
        "epsilon": epsilon,
    }
    # The first step creates the parameters and the optimizer; its effect is undone below.
    x, y = next(problem.first_batches())
    if case.loss == "mse":
        net = MLPRegressor(**settings).partial_fit(x, y.ravel() if case.sizes[-1] == 1 else y)
    else:
        net = MLPClassifier(**settings).partial_fit(x, y, classes=np.arange(case.sizes[-1]))
    pairs = zip(net.coefs_, net.intercepts_, strict=True)
    arrays = (array for pair in pairs for array in pair)
    for array, start in zip(arrays, problem.weights, strict=True):
        array[...] = start
    net._optimizer.t = 0
    for slot in [*net._optimizer.ms, *net._optimizer.vs]:
        slot[...] = 0.0
    return net


class PyTorch:
    """PyTorch in eager mode, with the fused Adam."""

    def __init__(self, problem: Problem) -> None:
        import torch

        torch.set_num_threads(threads())
        self.torch, self.problem = torch, problem
        self.x, self.y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
        functional = torch.nn.functional
        squared = problem.case.loss == "mse"
        self.loss = functional.mse_loss if squared else functional.cross_entropy

    def reset(self) -> None:
        self.net = torch_net(self.problem)
        self.optimizer = self.torch.optim.Adam(
            self.net.parameters(), LEARNING_RATE, (BETA_1, BETA_2), EPSILON, fused=True
        )

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        torch = self.torch
        batches = self.problem.first_batches()
        return np.array(
            [self._step(torch.from_numpy(x), torch.from_numpy(y)).item() for x, y in batches]
        )

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            if self.problem.case.shuffle:
                order = self.torch.randperm(len(self.x))
                for rows in order.split(self.problem.case.rows):
                    self._step(self.x[rows], self.y[rows])
            else:
                self._step(self.x, self.y)

    def _step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.net(x), y)
        loss.backward()
        self.optimizer.step()
        return loss


def torch_net(problem: Problem) -> Any:
    """Return PyTorch's network with the problem's weights and a linear output.

    Images and kernels are channels last, PyTorch's faster layout.
    """
    import torch

    case, nn = problem.case, torch.nn
    activation = nn.ReLU if case.hidden == "relu" else nn.Tanh
    dtype = getattr(torch, case.dtype)

    class ChannelsFirst(nn.Module):
        """Permute (rows, height, width, channels) to PyTorch's order of axes, without a copy."""

        def forward(self, x: Any) -> Any:
            return x.permute(0, 3, 1, 2)

    class Rows(nn.Module):
        """Flatten each image into a row, in memory order."""

        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    modules: list[Any] = [] if case.dense else [ChannelsFirst()]
    for layer, shape in zip(case.layers, case.shapes, strict=False):
        if isinstance(layer, Conv):
            conv = nn.Conv2d(
                *(shape[2], layer.filters, layer.size), padding=layer.padding, dtype=dtype
            )
            modules += [conv, activation()]
        elif isinstance(layer, Dense):
            modules += [Rows()] * (len(shape) > 1)
            modules += [nn.Linear(math.prod(shape), layer.units, dtype=dtype), activation()]
        else:
            modules.append(nn.MaxPool2d(layer.size))
    net = nn.Sequential(*modules[:-1])
    with torch.no_grad():
        for parameter, start in zip(net.parameters(), problem.weights, strict=True):
            parameter.copy_(torch.from_numpy(torch_order(start)))
    return net if case.dense else net.to(memory_format=torch.channels_last)


def torch_order(w: NDArray[Any]) -> NDArray[Any]:
    """Return weights with the axes in PyTorch's order: outputs, inputs, height, width."""
    return w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T


class CompiledPyTorch(PyTorch):
    """PyTorch with the whole step compiled: gather, forward, backward and Adam are one graph.

    These settings were the fastest of those tried. `loss.backward()` and `optimizer.step()` break
    the graph, and a step of 20-64-64-10 with batches of 32 takes 245 µs. With `torch.func` and an
    explicit Adam, there is one graph, and the step takes 80 µs. Without the C++ wrapper and
    autotuning, it takes up to 1.6 times as long.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        torch = self.torch
        torch.compiler.reset()  # otherwise a second case is compiled for variable shapes
        net = torch_net(problem)
        self.names = [name for name, _ in net.named_parameters()]
        self.params = [parameter.detach() for parameter in net.parameters()]
        self.functional_net = net
        self.start = [p.clone() for p in self.params]
        self.slots = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.params]
        self.t = torch.zeros(())  # float32, because Inductor loses increments of a float64
        options = {"cpp_wrapper": True, "max_autotune": True}
        self.step = torch.compile(self._whole_step, dynamic=False, options=options)
        trigger_compilation(self.check_values)

    def reset(self) -> None:
        for p, start, slots in zip(self.params, self.start, self.slots, strict=True):
            p.copy_(start)
            for slot in slots:
                slot.zero_()
        self.t.zero_()

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        case = self.problem.case
        rows = self.torch.arange(len(self.x)).split(case.rows)
        batches = [rows[i % case.steps] if case.shuffle else None for i in range(CHECKED_STEPS)]
        return np.array([self.step(batch).item() for batch in batches])

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            if self.problem.case.shuffle:
                for rows in self.torch.randperm(len(self.x)).split(self.problem.case.rows):
                    self.step(rows)
            else:
                self.step(None)

    def _whole_step(self, rows: Any) -> Any:
        torch = self.torch
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])

        def loss_of(params: list[Any]) -> Any:
            return self.loss(self._outputs(params, x), y)

        gradients, loss = torch.func.grad_and_value(loss_of)(self.params)
        self.t.add_(1.0)
        alpha = LEARNING_RATE * torch.sqrt(1.0 - BETA_2**self.t) / (1.0 - BETA_1**self.t)
        for p, g, (m, v) in zip(self.params, gradients, self.slots, strict=True):
            m.mul_(BETA_1).add_(g, alpha=1.0 - BETA_1)
            v.mul_(BETA_2).addcmul_(g, g, value=1.0 - BETA_2)
            p.sub_(alpha.to(g.dtype) * m / (v.sqrt() + EPSILON))
        return loss

    def _outputs(self, params: list[Any], x: Any) -> Any:
        named = dict(zip(self.names, params, strict=True))
        return self.torch.func.functional_call(self.functional_net, named, (x,))


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
        self.x = self.jnp.asarray(problem.x)
        labels = problem.case.loss == "crossentropy"
        self.y = self.jnp.asarray(problem.y, self.jnp.int32 if labels else None)
        self.rng = np.random.default_rng(0)
        self.epoch = jax.jit(self._epoch, donate_argnums=0)
        self.repeat = jax.jit(self._repeat, donate_argnums=0)
        self.step = jax.jit(self._gathered_step, donate_argnums=0)

    def reset(self) -> None:
        # Copy the weights, because the step donates their buffers.
        params = [self.jnp.array(array, copy=True) for array in self.problem.weights]
        self.state = params, self.optimizer.init(params)
        if self.problem.case.shuffle:
            self.shuffled = self._batches(self.rng.permutation(len(self.problem.x)))

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        if self.problem.case.shuffle:
            order = self._batches(np.arange(len(self.problem.x)))
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
        if self.problem.case.dense:
            return self.epoch(state, x, y, order)
        losses = []
        for rows in order:
            state, loss = self.step(state, x, y, rows)
            losses.append(loss)
        return state, losses

    def _gathered_step(self, state: Any, x: Any, y: Any, rows: Any) -> Any:
        return self._step(state, x[rows], y[rows])

    def _epoch(self, state: Any, x: Any, y: Any, order: Any) -> Any:
        return self.jax.lax.scan(
            lambda state, rows: self._step(state, x[rows], y[rows]), state, order
        )

    def _repeat(self, state: Any, x: Any, y: Any, epochs: Any) -> Any:
        zero = self.jnp.zeros((), x.dtype)
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

        outputs = jax_outputs(self.problem.case, params, x)
        if self.problem.case.loss == "mse":
            return ((outputs - y) ** 2).mean()
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

    def _batches(self, order: NDArray[np.int64]) -> Any:
        rows = order.reshape(-1, self.problem.case.rows)
        return self.jax.block_until_ready(self.jnp.asarray(rows, self.jnp.int32))


def jax_outputs(case: Case, params: Any, x: Any) -> Any:
    """Return the network's outputs before the final softmax."""
    import jax

    activation = jax.nn.relu if case.hidden == "relu" else jax.numpy.tanh
    remaining = iter(params)
    for i, layer in enumerate(case.layers):
        if isinstance(layer, Conv):
            dimensions = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(
                *(x, next(remaining), (1, 1), layer.padding.upper()), dimension_numbers=dimensions
            )
            x = activation(x + next(remaining))
        elif isinstance(layer, Dense):
            x = x.reshape(len(x), -1) @ next(remaining) + next(remaining)
            x = activation(x) if i < len(case.layers) - 1 else x
        else:
            window = (1, layer.size, layer.size, 1)
            x = jax.lax.reduce_window(x, -math.inf, jax.lax.max, window, window, "VALID")
    return x

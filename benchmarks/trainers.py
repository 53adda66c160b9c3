"""Contenders in training. All use the same data, initial weights and Adam settings.

Each contender uses its library as an expert user would for speed. It imports the library only when
it is created, so not every library must be installed. `reset` restores the initial weights and
creates a new optimizer. `check_values` calls `reset`, trains on the first batches in order and
returns their losses.
`run` is timed: it trains for several epochs of shuffled batches.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CHECKED_STEPS, Case, Problem
from networks import (
    Add,
    AveragePool,
    Concatenate,
    Conv,
    ConvTranspose,
    Dense,
    MaxPool,
    Node,
    Reshape,
)
from numpy.typing import NDArray
from numpy_net import NumpyNet
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
    """nnfast: `fit`, as a user calls it."""

    def __init__(self, problem: Problem) -> None:
        import nnfast

        nnfast.set_num_threads(threads())
        self.nnfast, self.problem = nnfast, problem
        self.model = nnfast_model(problem.case)

    def reset(self) -> None:
        names = {"mse": "mse", "crossentropy": "sparse_categorical_crossentropy"}
        self.model.set_weights(self.problem.weights)
        optimizer = self.nnfast.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON)
        self.model.compile(optimizer, [names[loss] for loss in self.problem.case.losses])

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        return np.array([self._fit(x, y, 1)[0] for x, y in self.problem.first_batches()])

    def run(self, epochs: int) -> None:
        self._fit(self.problem.x, self.problem.y, epochs)

    def _fit(self, x: list[Any], y: list[Any], epochs: int) -> list[float]:
        case = self.problem.case
        history = self.model.fit(
            only(x), only(y), batch_size=case.rows, epochs=epochs, shuffle=case.shuffle, verbose=0
        )
        losses: list[float] = history.history["loss"]
        return losses


def nnfast_model(case: Case) -> Any:
    """Return nnfast's model: a `Sequential` if the network is a chain."""
    import nnfast

    network = case.network
    inputs = [nnfast.Input(shape) for shape in network.inputs]
    last = dict(zip(network.outputs, case.losses, strict=True))
    stack: list[Any] = [*inputs]
    tensors: list[Any] = [*inputs]
    for i, node in network.numbered:
        activation = "softmax" if last.get(i) == "crossentropy" else node.activation
        layers = nnfast_layers(node, activation, len(network.shapes[node.inputs[0]]))
        stack += layers
        x = [tensors[j] for j in node.inputs] if len(node.inputs) > 1 else tensors[node.inputs[0]]
        for layer in layers:
            x = layer(x)
        tensors.append(x)
    if network.is_chain:
        return nnfast.Sequential(stack, dtype=case.dtype)
    return nnfast.Model(only(inputs), only([tensors[i] for i in network.outputs]))


def nnfast_layers(node: Node, activation: str | None, rank: int) -> list[Any]:
    """Return the layers for a node, whose input has `rank` axes."""
    from nnfast import layers

    match node.layer:
        case Conv(filters, size, padding, stride):
            return [layers.Conv2D(filters, size, stride, padding, activation=activation)]
        case ConvTranspose(filters, size, stride):
            return [layers.Conv2DTranspose(filters, size, stride, "same", activation=activation)]
        case Reshape(target):
            return [layers.Reshape(target)]
        case Dense(units):
            flatten = [layers.Flatten()] if rank > 1 else []
            return [*flatten, layers.Dense(units, activation=activation)]
        case MaxPool(size):
            return [layers.MaxPooling2D(size)]
        case AveragePool():
            return [layers.GlobalAveragePooling2D()]
        case Add():
            return [layers.Add()]
    return [layers.Concatenate()]


def only(parts: list[Any]) -> Any:
    """Return the only part, or the list of several."""
    return parts[0] if len(parts) == 1 else parts


class NumPy:
    """NumPy: `NumpyNet`, without allocations and with one flat pass of Adam in blocks."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rng = np.random.default_rng(0)

    def reset(self) -> None:
        case = self.problem.case
        self.net = NumpyNet(
            case.network, case.losses, self.problem.weights, case.rows, LEARNING_RATE, EPSILON
        )

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        batches = self.problem.first_batches()
        return np.array([self.net.train_epoch(x, y)[0] for x, y in batches])

    def run(self, epochs: int) -> None:
        x, y = self.problem.x, self.problem.y
        for _ in range(epochs):
            order = self.rng.permutation(self.problem.n) if self.problem.case.shuffle else None
            self.net.train_epoch(x, y, order)


class ScikitLearn:
    """scikit-learn: `partial_fit` of `MLPClassifier` or `MLPRegressor`, one epoch per call."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        # scikit-learn computes the gradient of half the sum of squared errors over the outputs, not
        # of their mean. Adam's steps do not change if gradient and epsilon have the same factor.
        squared = problem.case.losses == ("mse",)
        self.gradient_scale = problem.case.sizes[-1] / 2 if squared else 1.0
        self.loss_scale = 2.0 if squared else 1.0

    def reset(self) -> None:
        self.net = sklearn_net(self.problem, EPSILON * self.gradient_scale)

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        return np.array([self._epoch(x, y) for (x,), (y,) in self.problem.first_batches()])

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            self._epoch(self.problem.x[0], self.problem.y[0])

    def _epoch(self, x: Any, y: Any) -> float:
        self.net.partial_fit(x, y.ravel() if y.shape[1:] == (1,) else y)
        return float(self.net.loss_) * self.loss_scale


def sklearn_net(problem: Problem, epsilon: float) -> Any:
    """Return scikit-learn's network with the problem's weights and a fresh optimizer."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    case = problem.case
    settings = {
        "hidden_layer_sizes": case.sizes[1:-1],
        "activation": case.network.nodes[0].activation,
        "batch_size": case.rows,
        "shuffle": case.shuffle,
        "alpha": 0.0,
        "learning_rate_init": LEARNING_RATE,
        "epsilon": epsilon,
    }
    # The first step creates the parameters and the optimizer; its effect is undone below.
    (x,), (y,) = next(problem.first_batches())
    if case.losses == ("mse",):
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
        self.x = [torch.from_numpy(x) for x in problem.x]
        self.y = [torch.from_numpy(y) for y in problem.y]
        functional = torch.nn.functional
        losses = {"mse": functional.mse_loss, "crossentropy": functional.cross_entropy}
        self.losses = [losses[loss] for loss in problem.case.losses]

    def reset(self) -> None:
        self.net = torch_net(self.problem)
        self.optimizer = self.torch.optim.Adam(
            self.net.parameters(), LEARNING_RATE, (BETA_1, BETA_2), EPSILON, fused=True
        )

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        tensor = self.torch.from_numpy
        batches = self.problem.first_batches()
        return np.array(
            [self._step([*map(tensor, x)], [*map(tensor, y)]).item() for x, y in batches]
        )

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            if self.problem.case.shuffle:
                order = self.torch.randperm(self.problem.n)
                for rows in order.split(self.problem.case.rows):
                    self._step([x[rows] for x in self.x], [y[rows] for y in self.y])
            else:
                self._step(self.x, self.y)

    def _step(self, x: list[Any], y: list[Any]) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._total_loss(self.net(*x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def _total_loss(self, outputs: Any, y: list[Any]) -> Any:
        if len(y) == 1:
            return self.losses[0](outputs, y[0])
        parts = zip(self.losses, outputs, y, strict=True)
        return sum(loss(output, target) for loss, output, target in parts)


def torch_net(problem: Problem, softmax: bool = False) -> Any:
    """Return PyTorch's network with the problem's weights; classifiers end linear or in `softmax`.

    Images and kernels are channels last, PyTorch's faster layout.
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

    nodes = [torch_modules(node, problem.case) for node in network.nodes]
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
        for parameter, start in zip(net.parameters(), problem.weights, strict=True):
            parameter.copy_(torch.from_numpy(torch_order(start)))
    return net if problem.case.dense else net.to(memory_format=torch.channels_last)


def torch_modules(node: Node, case: Case) -> list[Any]:
    """Return the modules for a node."""
    import torch

    nn, dtype = torch.nn, getattr(torch, case.dtype)
    shape = case.network.shapes[node.inputs[0]]
    activation = {None: [], "relu": [nn.ReLU()], "tanh": [nn.Tanh()]}[node.activation]
    _, rows, average, add, concatenate, unflatten, crop = torch_layouts()
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
            flatten = [rows()] if len(shape) > 1 else []
            return [*flatten, nn.Linear(math.prod(shape), units, dtype=dtype), *activation]
        case MaxPool(size):
            return [nn.MaxPool2d(size)]
        case AveragePool():
            return [average()]
        case Add():
            return [add()]
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

    return ChannelsFirst, Rows, Average, Sum, Concatenation, Unflatten, Crop


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
        rows = self.torch.arange(self.problem.n).split(case.rows)
        batches = [rows[i % case.steps] if case.shuffle else None for i in range(CHECKED_STEPS)]
        return np.array([self.step(batch).item() for batch in batches])

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            if self.problem.case.shuffle:
                for rows in self.torch.randperm(self.problem.n).split(self.problem.case.rows):
                    self.step(rows)
            else:
                self.step(None)

    def _whole_step(self, rows: Any) -> Any:
        torch = self.torch
        x, y = self.x, self.y
        if rows is not None:
            x, y = [part[rows] for part in x], [part[rows] for part in y]

        def loss_of(params: list[Any]) -> Any:
            return self._total_loss(self._outputs(params, x), y)

        gradients, loss = torch.func.grad_and_value(loss_of)(self.params)
        self.t.add_(1.0)
        alpha = LEARNING_RATE * torch.sqrt(1.0 - BETA_2**self.t) / (1.0 - BETA_1**self.t)
        for p, g, (m, v) in zip(self.params, gradients, self.slots, strict=True):
            m.mul_(BETA_1).add_(g, alpha=1.0 - BETA_1)
            v.mul_(BETA_2).addcmul_(g, g, value=1.0 - BETA_2)
            p.sub_(alpha.to(g.dtype) * m / (v.sqrt() + EPSILON))
        return loss

    def _outputs(self, params: list[Any], x: list[Any]) -> Any:
        named = dict(zip(self.names, params, strict=True))
        return self.torch.func.functional_call(self.functional_net, named, tuple(x))


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
        if self.problem.case.dense:
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
                x = activation(x.reshape(len(x), -1) @ next(remaining) + next(remaining))
            case MaxPool(size):
                window = (1, size, size, 1)
                x = jax.lax.reduce_window(x, -math.inf, jax.lax.max, window, window, "VALID")
            case AveragePool():
                x = x.mean((1, 2))
            case Add():
                x = sum(others, x)
            case Concatenate():
                x = jax.numpy.concatenate([x, *others], axis=1)
        tensors.append(x)
    return [tensors[i] for i in case.network.outputs]

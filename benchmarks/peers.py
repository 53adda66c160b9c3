"""One adapter per contender: the same data, the same initial weights, the same training.

Every contender trains relu hidden layers and a softmax output with (sparse) categorical
cross-entropy and Adam in float32. Libraries are imported by their adapter, so that a
contender that is not installed costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from numpy_mlp import NumpyMLP

LEARNING_RATE = 1e-3
EPSILON = 1e-7  # Keras' default, given to every contender
STEPS_PER_EPOCH = 50


@dataclass(frozen=True)
class Case:
    """A network and a batch size."""

    sizes: tuple[int, ...]
    batch_size: int

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} @{self.batch_size}"

    @property
    def flops(self) -> int:
        """Floating-point operations of one step's matrix products; layer 0 has no dX."""
        products = [2 * self.batch_size * a * b for a, b in pairwise(self.sizes)]
        return 3 * sum(products) - products[0]


CASES = [
    Case((20, 64, 64, 10), 32),
    Case((20, 64, 64, 10), 256),
    Case((64, 100, 10), 200),
    Case((784, 128, 10), 32),
    Case((784, 512, 512, 10), 128),
]


class Problem:
    """Data and initial weights of a case, equal for every contender."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n = case.batch_size * STEPS_PER_EPOCH
        self.case = case
        self.x: NDArray[np.float32] = rng.standard_normal((n, case.sizes[0]), np.float32)
        self.y: NDArray[np.int64] = rng.integers(0, case.sizes[-1], n)
        self.weights: list[NDArray[np.float32]] = []
        for n_in, n_out in pairwise(case.sizes):
            w = rng.standard_normal((n_in, n_out), np.float32) * np.float32(n_in**-0.5)
            self.weights += [w, np.zeros(n_out, np.float32)]

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rows = slice(i * self.case.batch_size, (i + 1) * self.case.batch_size)
        return self.x[rows], self.y[rows]


class Peer(Protocol):
    """What a contender does."""

    def reset(self) -> None:
        """Go back to the initial weights and a fresh optimizer."""

    def first_losses(self, steps: int) -> list[float]:
        """Train on the first batches in order, from the start; return each one's loss."""

    def train(self, epochs: int) -> None:
        """Train on shuffled batches: the thing that is timed."""


class NNFast:
    """`Sequential.fit`, as a user calls it."""

    def __init__(self, problem: Problem) -> None:
        import nnfast

        nnfast.set_num_threads(1)
        self.nnfast, self.problem = nnfast, problem
        layers = nnfast.layers
        sizes = problem.case.sizes
        self.model = nnfast.Sequential(
            [
                layers.Input((sizes[0],)),
                *(layers.Dense(n, activation="relu") for n in sizes[1:-1]),
                layers.Dense(sizes[-1], activation="softmax"),
            ]
        )

    def reset(self) -> None:
        self.model.set_weights(self.problem.weights)
        optimizer = self.nnfast.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON)
        self.model.compile(optimizer, "sparse_categorical_crossentropy")

    def first_losses(self, steps: int) -> list[float]:
        self.reset()
        losses = []
        for i in range(steps):
            x, y = self.problem.batch(i)
            history = self.model.fit(x, y, batch_size=len(x), shuffle=False, verbose=0)
            losses.append(history.history["loss"][0])
        return losses

    def train(self, epochs: int) -> None:
        batch_size = self.problem.case.batch_size
        self.model.fit(
            self.problem.x,
            self.problem.y,
            batch_size=batch_size,
            epochs=epochs,
            shuffle=True,
            verbose=0,
        )


class ClearNumPy:
    """The NumPy loop of `nnfast demo`: whole-batch operations, each into a new array."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rng = np.random.default_rng(0)

    def reset(self) -> None:
        """Nothing is kept from call to call."""

    def _train(self, order: NDArray[np.int64], epochs: int) -> float:
        from nnfast.demo import train_numpy

        x, y = self.problem.x[order], self.problem.y[order]
        batch_size = self.problem.case.batch_size
        return train_numpy(self.problem.weights, x, y, epochs, batch_size, LEARNING_RATE)[0]

    def first_losses(self, steps: int) -> list[float]:
        rows = self.problem.case.batch_size
        sums = [k * self._train(np.arange(k * rows), 1) for k in range(1, steps + 1)]
        return list(np.diff(sums, prepend=0.0))

    def train(self, epochs: int) -> None:
        self._train(self.rng.permutation(len(self.problem.x)), epochs)


class TunedNumPy:
    """`NumpyMLP`: no allocation, one flat Adam pass in blocks."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rng = np.random.default_rng(0)

    def reset(self) -> None:
        batch_size = self.problem.case.batch_size
        self.net = NumpyMLP(self.problem.weights, batch_size, LEARNING_RATE)

    def first_losses(self, steps: int) -> list[float]:
        self.reset()
        order = np.arange(steps * self.problem.case.batch_size)
        return list(self.net.train_epoch(self.problem.x, self.problem.y, order))

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.rng.permutation(len(self.problem.x))
            self.net.train_epoch(self.problem.x, self.problem.y, order)


class ScikitLearn:
    """`MLPClassifier.partial_fit`, one shuffled epoch a call."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def reset(self) -> None:
        from sklearn.neural_network import MLPClassifier

        case = self.problem.case
        self.net = MLPClassifier(
            case.sizes[1:-1],
            batch_size=case.batch_size,
            alpha=0.0,
            learning_rate_init=LEARNING_RATE,
            epsilon=EPSILON,
        )
        # Only a first step makes the parameters and the optimizer; it is then undone.
        self.net.partial_fit(*self.problem.batch(0), classes=np.arange(case.sizes[-1]))
        pairs = zip(self.net.coefs_, self.net.intercepts_, strict=True)
        for array, start in zip(
            (array for pair in pairs for array in pair), self.problem.weights, strict=True
        ):
            array[...] = start
        optimizer = self.net._optimizer
        optimizer.t = 0
        for slot in [*optimizer.ms, *optimizer.vs]:
            slot[...] = 0.0

    def first_losses(self, steps: int) -> list[float]:
        self.reset()
        losses = []
        for i in range(steps):
            self.net.partial_fit(*self.problem.batch(i))
            losses.append(float(self.net.loss_))
        return losses

    def train(self, epochs: int) -> None:
        for _ in range(epochs):  # partial_fit is one shuffled epoch
            self.net.partial_fit(self.problem.x, self.problem.y)


class PyTorch:
    """Eager mode with the fused Adam."""

    def __init__(self, problem: Problem) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.problem = torch, problem
        self.x, self.y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)

    def reset(self) -> None:
        nn = self.torch.nn
        sizes = self.problem.case.sizes
        modules: list[Any] = []
        for n_in, n_out in pairwise(sizes):
            modules += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.net = nn.Sequential(*modules[:-1])
        with self.torch.no_grad():
            for parameter, start in zip(self.net.parameters(), self.problem.weights, strict=True):
                parameter.copy_(self.torch.from_numpy(start.T))
        self.optimizer = self.torch.optim.Adam(
            self.net.parameters(), lr=LEARNING_RATE, eps=EPSILON, fused=True
        )

    def _step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.torch.nn.functional.cross_entropy(self.net(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def first_losses(self, steps: int) -> list[float]:
        self.reset()
        batches = (self.problem.batch(i) for i in range(steps))
        from_numpy = self.torch.from_numpy
        return [self._step(from_numpy(x), from_numpy(y)).item() for x, y in batches]

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.torch.randperm(len(self.x))
            for rows in order.split(self.problem.case.batch_size):
                self._step(self.x[rows], self.y[rows])


class JAX:
    """jit, with the whole epoch in ``lax.scan`` and the shuffle's gather in its step.

    Its permutation is made before the clock starts: a present to JAX.
    """

    def __init__(self, problem: Problem) -> None:
        import jax
        import jax.numpy as jnp
        import optax

        self.jax, self.jnp, self.problem = jax, jnp, problem
        self.optimizer = optax.adam(LEARNING_RATE, eps=EPSILON)
        self.x, self.y = jnp.asarray(problem.x), jnp.asarray(problem.y, jnp.int32)
        self.rng = np.random.default_rng(0)

        def loss_of(params: Any, x: Any, y: Any) -> Any:
            for i, (w, b) in enumerate(params):
                x = x @ w + b
                if i < len(params) - 1:
                    x = jax.nn.relu(x)
            return optax.softmax_cross_entropy_with_integer_labels(x, y).mean()

        def epoch(params: Any, state: Any, x: Any, y: Any, order: Any) -> Any:
            def step(carry: Any, rows: Any) -> Any:
                params, state = carry
                loss, gradients = jax.value_and_grad(loss_of)(params, x[rows], y[rows])
                updates, state = self.optimizer.update(gradients, state, params)
                return (optax.apply_updates(params, updates), state), loss

            return jax.lax.scan(step, (params, state), order)

        self.epoch = jax.jit(epoch, donate_argnums=(0, 1))

    def reset(self) -> None:
        weights = self.problem.weights
        # A copy, because the buffers are donated.
        self.params = [
            (self.jnp.array(w, copy=True), self.jnp.array(b, copy=True))
            for w, b in zip(weights[::2], weights[1::2], strict=True)
        ]
        self.state = self.optimizer.init(self.params)
        self.shuffled = self._batches(self.rng.permutation(len(self.problem.x)))

    def _batches(self, order: NDArray) -> Any:
        rows = order.reshape(-1, self.problem.case.batch_size)
        return self.jax.block_until_ready(self.jnp.asarray(rows, self.jnp.int32))

    def _run(self, batches: Any) -> Any:
        (self.params, self.state), losses = self.epoch(
            self.params, self.state, self.x, self.y, batches
        )
        return losses

    def first_losses(self, steps: int) -> list[float]:
        self.reset()
        losses = self._run(self._batches(np.arange(len(self.problem.x))))
        return [float(loss) for loss in losses[:steps]]

    def train(self, epochs: int) -> None:
        losses = None
        for _ in range(epochs):
            losses = self._run(self.shuffled)
        self.jax.block_until_ready(losses)


PEERS: dict[str, type[Any]] = {
    "nnfast": NNFast,
    "numpy": ClearNumPy,
    "numpy-tuned": TunedNumPy,
    "jax": JAX,
    "torch": PyTorch,
    "sklearn": ScikitLearn,
}

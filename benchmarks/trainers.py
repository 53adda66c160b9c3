"""Contenders in training. All use the same data, initial weights and Adam settings.

Each contender uses its library as an expert user would for speed. It imports the library only when
it is created, so not every library must be installed. `reset` restores the initial weights and
creates a new optimizer. `check_values` calls `reset`, trains on the first batches in order and
returns their losses.
`run` is timed: it trains for several epochs of shuffled batches.

PyTorch's contenders are in `torch_trainers.py`, JAX's in `jax_trainers.py`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from cases import Problem
from keras_models import keras_inputs, keras_model
from numpy.typing import NDArray
from numpy_net import NumpyNet
from pin import threads
from training import EPSILON, LEARNING_RATE, only


class NNFast:
    """nnfast: `fit`, as a user calls it."""

    def __init__(self, problem: Problem) -> None:
        import nnfast

        nnfast.set_num_threads(threads())
        self._set_up(problem, nnfast)

    def _set_up(self, problem: Problem, library: Any, **compile_options: Any) -> None:
        self.library, self.problem, self.compile_options = library, problem, compile_options
        self.model, self.x = keras_model(problem.case, library), keras_inputs(problem)

    def reset(self) -> None:
        names = {"mse": "mse", "crossentropy": "sparse_categorical_crossentropy"}
        losses = [names[loss] for loss in self.problem.case.losses]
        self.model.set_weights(self.problem.weights)
        optimizer = self.library.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON)
        self.model.compile(optimizer, losses, **self.compile_options)

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        batches = self.problem.first_batches(self.x)
        return np.array([self._fit(x, y, 1)[0] for x, y in batches])

    def run(self, epochs: int) -> None:
        self._fit(self.x, self.problem.y, epochs)

    def _fit(self, x: list[Any], y: list[Any], epochs: int) -> list[float]:
        case = self.problem.case
        history = self.model.fit(
            only(x), only(y), batch_size=case.rows, epochs=epochs, shuffle=case.shuffle, verbose=0
        )
        losses: list[float] = history.history["loss"]
        return losses


class Keras(NNFast):
    """Keras on JAX: `fit`, with callbacks once per epoch.

    `compile` would compile the step again, so it is called once. Later resets restore the
    optimizer's variables.
    """

    def __init__(self, problem: Problem) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        self._set_up(problem, keras, steps_per_execution=problem.case.steps)
        super().reset()
        self.model.optimizer.build(self.model.trainable_variables)
        self.start = [np.array(variable) for variable in self.model.optimizer.variables]

    def reset(self) -> None:
        self.model.set_weights(self.problem.weights)
        for variable, start in zip(self.model.optimizer.variables, self.start, strict=True):
            variable.assign(start)


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

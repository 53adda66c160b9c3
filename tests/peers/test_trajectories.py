"""Tests that compare twenty steps of every optimizer with the NumPy reference and with Keras."""

from __future__ import annotations

from typing import Any

import keras_programs
import numpy as np
import pytest
from helpers import dense_model, random_weights, targets
from reference import SGD, Adam, Network

from nnfast import optimizers

STEPS, BATCH = 20, 8
SIZES = (5, 7, 3)

OPTIMIZERS: dict[str, tuple[Any, Any]] = {
    "sgd": (lambda: optimizers.SGD(0.1), lambda: SGD(0.1)),
    "momentum": (lambda: optimizers.SGD(0.05, momentum=0.9), lambda: SGD(0.05, 0.9)),
    "nesterov": (
        lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        lambda: SGD(0.05, 0.9, nesterov=True),
    ),
    "adam": (lambda: optimizers.Adam(0.01), lambda: Adam(0.01)),
    "adam, other constants": (
        lambda: optimizers.Adam(0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
        lambda: Adam(0.02, 0.8, 0.95, 1e-3),
    ),
}

NETWORKS = [
    (("relu", "linear"), "mean_squared_error"),
    (("tanh", "sigmoid"), "binary_crossentropy"),
    (("tanh", "softmax"), "sparse_categorical_crossentropy"),
    (("sigmoid", "softmax"), "mean_squared_error"),
]


@pytest.mark.parametrize(("activations", "loss"), NETWORKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_and_weights_equal_those_of_the_reference(
    optimizer: str, activations: tuple[str, ...], loss: str, weighted: bool
) -> None:
    rng = np.random.default_rng(3)
    network = Network(random_weights(rng, SIZES), activations, loss)
    x = rng.normal(size=(STEPS * BATCH, SIZES[0]))
    y = targets(rng, loss, len(x), SIZES[-1])
    weight = rng.uniform(0.2, 2.0, len(x)) if weighted else None
    fast, plain = (make() for make in OPTIMIZERS[optimizer])

    model = dense_model(SIZES, activations)
    model.set_weights(network.weights)
    model.compile(fast, loss)
    history = model.fit(x, y, batch_size=BATCH, shuffle=False, sample_weight=weight, verbose=0)

    batches = [slice(i, i + BATCH) for i in range(0, len(x), BATCH)]
    losses = [
        network.step(plain, x[rows], y[rows], None if weight is None else weight[rows])
        for rows in batches
    ]
    assert history.history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-12)
    for actual, expected in zip(model.get_weights(), network.weights, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_of_layers_larger_than_a_block_equal_those_of_the_reference(
    optimizer: str,
) -> None:
    """The kernel spans several blocks of rows and columns, and the batch has more rows than one
    partial sum covers."""
    rng = np.random.default_rng(4)
    sizes, batch, loss = (110, 1040, 5), 300, "categorical_crossentropy"
    network = Network(random_weights(rng, sizes), ("tanh", "softmax"), loss)
    x = rng.normal(size=(2 * batch, sizes[0]))
    y = targets(rng, loss, len(x), sizes[-1])
    fast, plain = (make() for make in OPTIMIZERS[optimizer])
    model = dense_model(sizes, ("tanh", "softmax"))
    model.set_weights(network.weights)
    model.compile(fast, loss)
    model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)
    for rows in (slice(0, batch), slice(batch, 2 * batch)):
        network.step(plain, x[rows], y[rows])
    for actual, expected in zip(model.get_weights(), network.weights, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.peers
@pytest.mark.parametrize("name", keras_programs.TRAJECTORIES)
def test_trajectories_equal_those_of_keras(name: str, keras64: Any) -> None:
    keras_programs.assert_same_results(name, keras_programs.TRAJECTORIES[name], keras64)


@pytest.mark.peers
@pytest.mark.parametrize("name", keras_programs.STACK_PROGRAMS)
def test_layers_losses_and_optimizers_train_as_in_keras(name: str, keras64: Any) -> None:
    keras_programs.assert_same_results(name, keras_programs.STACK_PROGRAMS[name], keras64)


def test_the_programs_cover_every_pair_of_layer_loss_and_optimizer() -> None:
    programs = [tuple(name.rsplit(", ", 2)) for name in keras_programs.STACK_PROGRAMS]
    tables = (
        keras_programs.STACKS,
        keras_programs.STACK_LOSSES,
        keras_programs.STACK_OPTIMIZERS,
    )
    for i, j in ((0, 1), (0, 2), (1, 2)):
        pairs = {(names[i], names[j]) for names in programs}
        assert pairs == {(a, b) for a in tables[i] for b in tables[j]}

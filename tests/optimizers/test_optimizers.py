"""Tests of every optimizer and its options against the NumPy reference, with several threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from helpers import dense_model, random_weights
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from reference import Network

import nnfast
from nnfast import _engine, kernels, layers, optimizers, regularizers

SIZES, ACTIVATIONS = (7, 9, 5, 2), ("tanh", "tanh", "linear")

PAIRS = [
    (optimizers.RMSprop(0.01), reference.RMSprop(0.01)),
    (optimizers.RMSprop(0.01, momentum=0.9), reference.RMSprop(0.01, momentum=0.9)),
    (optimizers.RMSprop(0.01, rho=0.8, centered=True), reference.RMSprop(0.01, 0.8, centered=True)),
    (
        optimizers.RMSprop(0.01, momentum=0.5, centered=True),
        reference.RMSprop(0.01, momentum=0.5, centered=True),
    ),
    (optimizers.Adagrad(0.1), reference.Adagrad(0.1)),
    (optimizers.Adagrad(0.1, 0.5), reference.Adagrad(0.1, 0.5)),
    (optimizers.Lion(0.01), reference.Lion(0.01)),
    (optimizers.Nadam(0.01), reference.Nadam(0.01)),
    (optimizers.Adadelta(1.0), reference.Adadelta(1.0)),
    (optimizers.Adadelta(0.5, rho=0.8), reference.Adadelta(0.5, rho=0.8)),
    (optimizers.Adamax(0.01), reference.Adamax(0.01)),
    (optimizers.Adamax(0.01, 0.8, 0.95), reference.Adamax(0.01, 0.8, 0.95)),
    (optimizers.Adam(0.01, amsgrad=True), reference.Adam(0.01, amsgrad=True)),
    (optimizers.AdamW(0.01, weight_decay=0.0), reference.Adam(0.01)),
]


def problem(rows: int = 12) -> tuple[Network, NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    network = Network(random_weights(rng, SIZES), ACTIVATIONS, "mean_squared_error")
    return network, rng.normal(size=(rows, SIZES[0])), rng.normal(size=(rows, SIZES[-1]))


def trained(
    optimizer: optimizers.Optimizer, network: Network, x: NDArray[Any], y: NDArray[Any], steps: int
) -> list[NDArray[Any]]:
    """Return the weights after full-batch steps."""
    model = dense_model(SIZES, ACTIVATIONS)
    model.set_weights(network.weights)
    model.compile(optimizer, "mse")
    model.fit(x, y, batch_size=len(x), epochs=steps, shuffle=False, verbose=0)
    return model.get_weights()


def assert_close(
    weights: list[NDArray[Any]], expected: list[NDArray[Any]], rtol: float = 1e-10
) -> None:
    for w, e in zip(weights, expected, strict=True):
        assert_allclose(w, e, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("optimizer", "peer"), PAIRS, ids=lambda p: repr(p)[:60])
def test_20_steps_give_the_weights_of_the_reference(
    optimizer: optimizers.Optimizer, peer: Any
) -> None:
    network, x, y = problem()
    # Make a new object, because the reference keeps state between steps.
    peer = type(peer)(**{k: v for k, v in vars(peer).items() if isinstance(v, (float, bool))})
    start = [w.copy() for w in network.weights]
    for _ in range(20):
        network.step(peer, x, y)
    network.weights, expected = start, network.weights
    assert_close(trained(optimizer, network, x, y, 20), expected)


@pytest.mark.parametrize("name", sorted(optimizers.TABLE))
def test_kernel_and_engine_take_the_same_steps(name: str) -> None:
    network, x, y = problem()
    optimizer = optimizers.TABLE[name](0.01, use_ema=True, clipvalue=0.05, weight_decay=0.1)
    model = dense_model(SIZES, ACTIVATIONS)
    model.set_weights(network.weights)
    model.compile(optimizer, "mse")
    theta = model.get_flat_weights()
    slots = np.zeros((optimizer.n_slots, theta.size))
    optimizer.start(slots)
    for i in range(3):
        _, gradient = model.loss_and_grad_flat(theta, x, y)
        kernels.optimizer_step(theta, gradient, slots, i, optimizer)
    network_weights = trained(optimizer, network, x, y, 3)
    model.set_flat_weights(slots[-1])  # `fit` ends by setting the weights to their average.
    assert_close(network_weights, model.get_weights(), 1e-12)


def gradients_of(network: Network, x: NDArray[Any], y: NDArray[Any]) -> list[NDArray[Any]]:
    return network.loss_and_grad(x, y)[1]


def test_clipvalue_clips_each_gradient_entry() -> None:
    network, x, y = problem()
    g = gradients_of(network, x, y)
    expected = [w - np.clip(d, -0.02, 0.02) for w, d in zip(network.weights, g, strict=True)]
    assert_close(trained(optimizers.SGD(1.0, clipvalue=0.02), network, x, y, 1), expected)


def test_clipnorm_limits_the_norm_of_each_array() -> None:
    network, x, y = problem()
    g = gradients_of(network, x, y)
    limit = float(np.median([np.linalg.norm(d) for d in g]))
    factors = [min(1.0, limit / np.linalg.norm(d)) for d in g]
    assert min(factors) < 1.0 == max(factors)
    expected = [w - f * d for w, f, d in zip(network.weights, factors, g, strict=True)]
    assert_close(trained(optimizers.SGD(1.0, clipnorm=limit), network, x, y, 1), expected)


@pytest.mark.parametrize("rows", [12, 2000])
def test_global_clipnorm_limits_the_norm_over_all_arrays(rows: int) -> None:
    network, x, y = problem(rows)
    g = gradients_of(network, x, y)
    norm = np.sqrt(sum((d**2).sum() for d in g))
    expected = [w - 0.3 * d for w, d in zip(network.weights, g, strict=True)]
    assert_close(
        trained(optimizers.SGD(1.0, global_clipnorm=0.3 * norm), network, x, y, 1), expected
    )
    untouched = [w - d for w, d in zip(network.weights, g, strict=True)]
    assert_close(
        trained(optimizers.SGD(1.0, global_clipnorm=2 * norm), network, x, y, 1), untouched
    )


def test_weight_decay_is_applied_to_the_weights_before_the_step() -> None:
    network, x, y = problem()
    g = gradients_of(network, x, y)
    expected = [w - 0.1 * 0.5 * w - 0.1 * d for w, d in zip(network.weights, g, strict=True)]
    assert_close(trained(optimizers.SGD(0.1, weight_decay=0.5), network, x, y, 1), expected)


def test_the_moving_average_replaces_the_weights_at_the_end_and_every_few_steps() -> None:
    network, x, y = problem()
    path, average = [], None
    peer = Network(network.weights, ACTIVATIONS, "mean_squared_error")
    for _ in range(4):
        peer.step(reference.SGD(0.1), x, y)
        path.append([w.copy() for w in peer.weights])
        average = [
            w if average is None else 0.8 * a + 0.2 * w
            for w, a in zip(path[-1], average or path[-1], strict=True)
        ]
    assert average is not None
    assert_close(
        trained(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8), network, x, y, 4), average
    )
    # Here every step overwrites the weights, so the next step starts from the average.
    often = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=1)
    one = trained(often, network, x, y, 1)
    assert_close(one, path[0])
    two = trained(often, network, x, y, 2)
    assert_close(two, [(a + b) / 2 for a, b in zip(path[0], path[1], strict=True)])


@pytest.mark.parametrize("rows", [48, 4000])
@pytest.mark.parametrize(
    "options",
    [
        {"global_clipnorm": 0.1},
        {"clipnorm": 0.1},
        {"clipvalue": 0.01, "weight_decay": 0.1, "use_ema": True, "ema_overwrite_frequency": 3},
    ],
    ids=str,
)
def test_weights_do_not_depend_on_the_number_of_threads(rows: int, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 30)).astype("float32")
    y = rng.normal(size=rows).astype("float32")
    results = []
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        try:
            nnfast.set_seed(0)
            regularizer = regularizers.L1L2(1e-3, 1e-3)
            model = nnfast.Sequential(
                [
                    layers.Dense(40, activation="relu", kernel_regularizer=regularizer),
                    layers.Dense(1, bias_regularizer="l2"),
                ]
            )
            model.compile(optimizers.Nadam(0.01, **options), "mse")
            history = model.fit(x, y, batch_size=rows, epochs=7, verbose=0)
        finally:
            _engine.force_threads(0)
        results.append([*model.get_weights(), np.array(history.history["loss"])])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("rows", [12, 2000])
def test_regularizers_add_their_penalty_to_the_loss_and_the_gradient(rows: int) -> None:
    network, x, y = problem(rows)
    plain = dense_model(SIZES, ACTIVATIONS)
    model = nnfast.Sequential(
        [
            layers.Input((SIZES[0],)),
            layers.Dense(9, "tanh", kernel_regularizer="l1", bias_regularizer=regularizers.L2(0.3)),
            layers.Dense(5, "tanh", kernel_regularizer=regularizers.L1L2(0.1, 0.2)),
            layers.Dense(2, bias_regularizer={"class_name": "L1", "config": {"l1": 0.5}}),
        ],
        dtype="float64",
    )
    w1, b1, w2, _, _, b3 = network.weights
    penalty = (
        0.01 * np.abs(w1).sum() + 0.3 * (b1**2).sum()
        + 0.1 * np.abs(w2).sum() + 0.2 * (w2**2).sum() + 0.5 * np.abs(b3).sum()
    )  # fmt: skip
    extra = [
        *(0.01 * np.sign(w1), 0.6 * b1, 0.1 * np.sign(w2) + 0.4 * w2),
        *(np.zeros(5), np.zeros((5, 2)), 0.5 * np.sign(b3)),
    ]
    for each in (plain, model):
        each.set_weights(network.weights)
        each.compile(optimizers.SGD(0.1), "mse")
    loss, gradients = plain.loss_and_grad(x, y)
    loss_r, gradients_r = model.loss_and_grad(x, y)
    assert loss_r == pytest.approx(loss + penalty, rel=1e-12)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(loss + penalty, rel=1e-12)
    assert_close(gradients_r, [g + e for g, e in zip(gradients, extra, strict=True)], 1e-12)
    history = model.fit(x, y, batch_size=rows, shuffle=False, verbose=0)
    assert history.history["loss"][0] == pytest.approx(loss + penalty, rel=1e-12)
    stepped = [w - 0.1 * g for w, g in zip(network.weights, gradients_r, strict=True)]
    assert_close(model.get_weights(), stepped, 1e-12)
    copy = nnfast.Sequential.from_config(model.get_config())
    assert copy.layers[1].kernel_regularizer == regularizers.L1L2(0.1, 0.2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optimizers.SGD(0.1, clipnorm=1.0, clipvalue=1.0), "one way of clipping"),
        (lambda: optimizers.SGD(0.1, clipnorm=0.0), "clipnorm"),
        (lambda: optimizers.Adam(weight_decay=-1.0), "weight_decay"),
        (lambda: optimizers.Adam(use_ema=True, ema_momentum=1.0), "ema_momentum"),
        (lambda: optimizers.Adam(use_ema=True, ema_overwrite_frequency=0), "ema_overwrite"),
        (lambda: optimizers.RMSprop(rho=1.0), "rho"),
        (lambda: optimizers.Adagrad(initial_accumulator_value=-1), "initial_accumulator_value"),
        (lambda: optimizers.SGD(loss_scale_factor=2.0), "loss_scale_factor"),
        (lambda: optimizers.Adam(gradient_accumulation_steps=4), "gradient_accumulation_steps"),
        (lambda: regularizers.L2(-0.1), "l2"),
        (lambda: layers.Dense(1, kernel_regularizer="l3"), "Unknown regularizer 'l3'"),
    ],
)
def test_error_messages_name_the_invalid_option(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make()

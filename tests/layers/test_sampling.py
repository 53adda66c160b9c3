"""Sampling draws standard normal numbers by key, in training and in inference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import differences, normal_draws
from numpy.testing import assert_allclose, assert_array_equal
from reference import normal_cdf

import nnfast
from nnfast import _engine, layers

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(75, 5)), RNG.normal(size=(75, 2))
THREADS = (1, 2, 3, 4, 7)


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


def sampler(shape: tuple[int, ...] = (5,), seed: int | None = None, dtype: str = "float64") -> Any:
    """Return a model of two inputs, the means and the log-variances."""
    inputs = [nnfast.Input(shape, dtype=dtype) for _ in range(2)]
    return nnfast.Model(inputs, layers.Sampling(seed)(inputs))


def encoder(seed: int | None = None, dtype: str = "float64") -> Any:
    """Return a compiled model with a dense layer before and one after the draws."""
    nnfast.set_seed(5)
    x = nnfast.Input((5,), dtype=dtype)
    h = layers.Dense(9, activation="tanh")(x)
    z = layers.Sampling(seed)([layers.Dense(3)(h), layers.Dense(3)(h)])
    model = nnfast.Model(x, layers.Dense(2)(z))
    model.compile("adam", "mse")
    return model


def numbers(rows: int, columns: int, seed: int | None = None, dtype: str = "float64") -> Any:
    """Return the ε of a new model, which draws with means and log-variances of 0."""
    zeros = np.zeros((rows, columns))
    return sampler((columns,), seed, dtype).predict([zeros, zeros], verbose=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_are_normally_distributed(dtype: str) -> None:
    z = np.sort(numbers(400, 100, seed=1, dtype=dtype).ravel())
    n = len(z)
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.std() - 1) < 4 / math.sqrt(2 * n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)
    # Kolmogorov–Smirnov test: 1.95 / √n is exceeded with probability 0.001.
    p = normal_cdf(z)
    distance = max((p - np.arange(n) / n).max(), (np.arange(1, n + 1) / n - p).max())
    assert distance < 1.95 / math.sqrt(n)


def test_rows_columns_epochs_seeds_and_inference_are_uncorrelated() -> None:
    z = normal_draws(1, (300, 100))
    for other in (
        *(z[1:], z[:, 1:], normal_draws(2, (300, 100))),
        *(normal_draws(1, (300, 100), epoch) for epoch in (0, 1)),
    ):
        a = z[: len(other), : other.shape[1]]
        assert abs((a * other).mean()) < 4 / math.sqrt(a.size)
    first, second = (normal_draws(1, (300, 100), epoch) for epoch in (0, 1))
    assert abs((first * second).mean()) < 4 / math.sqrt(first.size)


def test_means_and_variances_are_those_of_the_inputs() -> None:
    mean, log_variance = RNG.normal(size=(2, 40, 3, 7))
    z = sampler((3, 7), seed=4).predict([mean, log_variance], verbose=0)
    eps = normal_draws(4, (40, 3, 7))
    assert_allclose(z, mean + np.exp(log_variance / 2) * eps, rtol=1e-13, atol=1e-13)


def test_a_seed_replaces_the_seed_of_the_model() -> None:
    assert_array_equal(numbers(20, 5, seed=3), numbers(20, 5, seed=3))
    assert not np.isclose(numbers(20, 5, seed=3), numbers(20, 5, seed=4)).any()
    assert not np.isclose(numbers(20, 5), numbers(20, 5)).any(), "models have seeds of their own"
    zeros = np.zeros((20, 5))
    model = sampler()
    assert_array_equal(model.predict([zeros] * 2), model.predict([zeros] * 2))


def test_each_call_draws_other_numbers() -> None:
    x = nnfast.Input((4,))
    shared = layers.Sampling()
    outputs = [shared([x, x]), shared([x, x]), layers.Sampling()([x, x])]
    a, b, c = nnfast.Model(x, outputs).predict(np.zeros((30, 4)))
    for one, other in ((a, b), (a, c), (b, c)):
        assert not np.isclose(one, other).any()


def test_both_dtypes_draw_the_same_numbers() -> None:
    assert_allclose(numbers(20, 33, 1, "float32"), numbers(20, 33, 1), rtol=1e-4, atol=1e-6)


def test_draws_depend_on_the_position_in_the_call_alone(free_threads: None) -> None:
    """Threads, blocks, batches, callbacks and the kind of call change no bit."""
    x = RNG.normal(size=(3000, 5))
    model = encoder()
    expected = model.predict(x)
    for threads in THREADS:
        _engine.force_threads(threads)
        assert_array_equal(model.predict(x), expected)
    _engine.force_threads(0)
    seen = nnfast.callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: None)
    assert_array_equal(model.predict(x, batch_size=7, callbacks=seen), expected)
    parts = [x[i : i + 700] for i in range(0, 3000, 700)]
    assert_array_equal(model.predict(iter([part] for part in parts)), expected)
    for rows in (1, 3, 60):
        assert_array_equal(model.predict(x[:rows]), expected[:rows])
        assert_array_equal(np.asarray(model(x[:rows])), expected[:rows])
        assert_array_equal(model.predict(x[:rows].tolist()), expected[:rows])


def test_evaluation_takes_the_draws_of_predictions() -> None:
    model = encoder()
    model.compile("adam", "mse", metrics=["mse"])
    expected = ((model.predict(X) - Y) ** 2).mean()
    seen = nnfast.callbacks.LambdaCallback(on_test_batch_end=lambda batch, logs: None)
    batches = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 75, 16)]
    for results in (
        model.evaluate(X, Y, verbose=0),
        model.evaluate(X, Y, batch_size=16, verbose=0, callbacks=seen),
        model.evaluate(iter(batches), verbose=0),
        model.test_on_batch(X, Y),
    ):
        assert_allclose(results, [expected, expected], rtol=1e-12)
    assert model.loss_and_grad(X, Y)[0] == pytest.approx(expected, rel=1e-12)


def test_a_function_as_loss_takes_the_draws_of_predictions() -> None:
    model = encoder()
    model.compile("adam", lambda y, a: (((a - y) ** 2).mean(axis=1), (a - y)))
    expected = ((model.predict(X) - Y) ** 2).mean()
    seen = nnfast.callbacks.LambdaCallback(on_test_batch_end=lambda batch, logs: None)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-12)
    batched = model.evaluate(X, Y, batch_size=16, verbose=0, callbacks=seen)
    assert batched == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", [None, 3])
def test_gradients_agree_with_central_differences(seed: int | None) -> None:
    """The draws stay the same, so the loss is a differentiable function of weights and inputs."""
    model = encoder(seed)
    _, gradients = model.loss_and_grad(X, Y)
    weights = model.weights
    expected = differences(lambda: model.evaluate(X, Y, verbose=0), weights)
    for a, b in zip(gradients, expected, strict=True):
        assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    x = X[:4].copy()
    (dx,) = differences(lambda: 4 * model.evaluate(x, Y[:4], verbose=0), [x])
    assert_allclose(model.input_gradient(x, Y[:4]), dx, rtol=1e-6, atol=1e-8)


def test_the_number_of_threads_changes_no_bit_of_training(free_threads: None) -> None:
    results = set()
    x, y = RNG.normal(size=(900, 5)), RNG.normal(size=(900, 2))
    for threads in THREADS:
        _engine.force_threads(threads)
        model = encoder(dtype="float32")
        losses = model.fit(x, y, batch_size=400, epochs=2, verbose=0).history["loss"]
        results.add((*losses, *(w.tobytes() for w in model.get_weights())))
    assert len(results) == 1


def test_generators_give_the_same_bits_as_arrays() -> None:
    array, stream = encoder(), encoder()
    array.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    parts = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 75, 8)]
    for _ in range(2):
        stream.fit(iter(parts), verbose=0)
    for a, b in zip(array.get_weights(), stream.get_weights(), strict=True):
        assert_array_equal(a, b)


def test_a_loaded_model_draws_the_same_numbers(tmp_path: Any) -> None:
    model = encoder()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model")
    copy = nnfast.load_model(tmp_path / "model")
    assert_array_equal(copy.predict(X), model.predict(X))
    for each in (model, copy):
        each.fit(X, Y, verbose=0)
    assert_array_equal(copy.predict(X), model.predict(X))


def test_the_layer_draws_with_training_false_and_in_training_true() -> None:
    model = encoder(seed=1)
    assert_array_equal(np.asarray(model(X, training=True)), model.predict(X))
    x = nnfast.Input((5,), dtype="float64")
    outer = nnfast.Model(x, model(x, training=False))
    assert_array_equal(outer.predict(X), model.predict(X))


def test_the_layer_in_clones_and_configurations() -> None:
    layer = layers.Sampling(seed=9, name="z")
    assert layer.get_config() == {"name": "z", "seed": 9}
    assert layers.deserialize(layers.serialize(layer)).get_config() == layer.get_config()
    model = encoder(seed=9)
    copy = nnfast.models.clone_model(model)
    copy.set_weights(model.get_weights())
    assert_array_equal(copy.predict(X), model.predict(X))


def test_wrong_inputs_are_named() -> None:
    a, b = nnfast.Input((3,)), nnfast.Input((4,))
    for wrong in (a, [a], [a, a, a]):
        with pytest.raises(ValueError, match=r"Sampling layer .* exactly 2 inputs"):
            layers.Sampling()(wrong)
    for pair in ([a, b], [a, nnfast.Input((1,))], [a, nnfast.Input((3, 1))]):
        with pytest.raises(ValueError, match=r"log-variances of equal shapes; received .*\(3,\)"):
            layers.Sampling()(pair)
    with pytest.raises(TypeError, match="symbolic"):
        layers.Sampling()([X, X])


@pytest.mark.parametrize("seed", [-1, 1.5, "a", 2**64, True])
def test_wrong_seeds_are_named(seed: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="seed"):
        layers.Sampling(seed)

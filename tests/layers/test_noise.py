"""Gaussian noise is normal, reproducible and added only in training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from reference import normal_cdf

import nnfast
from nnfast import _engine, layers, optimizers


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


def noise(
    rows: int, columns: int, dtype: str = "float64", seed: int = 0, epochs: int = 1, **fit: Any
) -> NDArray[Any]:
    """Return the noise of each epoch, (epochs, rows, columns).

    With the loss Σ y·a, an SGD step adds −xᵀ·y to the kernel that follows the noise layer. If y is
    −I, the kernel becomes the noisy inputs, transposed.
    """
    model = nnfast.Sequential(
        [
            *(layers.Input((columns,)), layers.GaussianNoise(1.0)),
            layers.Dense(rows, kernel_initializer="zeros", use_bias=False),
        ],
        dtype=dtype,
    )
    model._built().engine.set_seed(seed)
    results = []
    # The loss is Σ a·y, so its gradient with respect to a is y.
    model.compile(optimizers.SGD(1.0), lambda y, a: ((a * y).sum(axis=1), y))
    for _ in range(epochs):
        model.layers[1].set_weights([np.zeros((columns, rows))])
        x = np.zeros((rows, columns))
        model.fit(x, -np.eye(rows), shuffle=False, verbose=0, **{"batch_size": rows, **fit})
        size = min(fit.get("batch_size", rows), rows)
        # Gradients are means over the rows of a batch; multiplying by the batch size undoes this.
        sizes = np.array([min(size, rows - i // size * size) for i in range(rows)])
        results.append(model.layers[1].kernel.T * sizes[:, None])
    return np.array(results)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_normally_distributed(dtype: str) -> None:
    z = np.sort(noise(400, 100, dtype).ravel())
    n = len(z)
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.std() - 1) < 4 / math.sqrt(2 * n)
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)
    # Kolmogorov–Smirnov test: 1.95 / √n is exceeded with probability 0.001.
    p = normal_cdf(z)
    distance = max((p - np.arange(n) / n).max(), (np.arange(1, n + 1) / n - p).max())
    assert distance < 1.95 / math.sqrt(n)
    # The largest of 40,000 draws lies in the tails, but is still plausible.
    assert 3.5 < abs(z).max() < 6


def test_noise_is_uncorrelated() -> None:
    """Neighbours in a row, in a column and in successive epochs are uncorrelated."""
    z = noise(300, 101, epochs=2)
    for a, b in (
        (z[0, :, 1:], z[0, :, :-1]),
        (z[0, 1:], z[0, :-1]),
        (z[0], z[1]),
        (z[0, :, ::2][:, :50], z[0, :, 1::2][:, :50]),
    ):
        assert abs((a * b).mean()) < 4 / math.sqrt(a.size)
        assert abs((a**2 * b**2).mean() - 1) < 4 * math.sqrt(8 / a.size)


def test_noise_depends_on_the_seed() -> None:
    assert_array_equal(noise(20, 5, seed=3), noise(20, 5, seed=3))
    assert not np.isclose(noise(20, 5, seed=3), noise(20, 5, seed=4)).any()


def test_noise_is_the_same_in_both_dtypes() -> None:
    assert_allclose(noise(20, 33, "float32"), noise(20, 33, "float64"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 32])
def test_noise_does_not_depend_on_batch_size_and_threads(size: int, free_threads: None) -> None:
    _engine.force_threads(1)
    expected = noise(50, 17, batch_size=50)
    for threads in (1, 3, 7):
        _engine.force_threads(threads)
        assert_allclose(noise(50, 17, batch_size=size), expected, rtol=1e-12)


def noisy(**options: Any) -> Any:
    nnfast.set_seed(5)
    model = nnfast.Sequential(
        [
            *(layers.Input((3,)), layers.GaussianNoise(0.5), layers.Dense(8, "relu")),
            *(layers.GaussianNoise(0.25), layers.Dense(2)),
        ],
        **options,
    )
    model.compile("adam", "mse")
    return model


RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(45, 3)), RNG.normal(size=(45, 2))


def test_inference_adds_no_noise() -> None:
    model = noisy(dtype="float64")
    w, b, v, c = model.get_weights()
    expected = np.maximum(X @ w + b, 0.0) @ v + c
    assert_allclose(model.predict(X), expected, rtol=1e-12)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(((expected - Y) ** 2).mean())
    assert model.loss_and_grad(X, Y)[0] == pytest.approx(((expected - Y) ** 2).mean())
    model.optimizer.learning_rate = 0.0
    assert model.train_on_batch(X, Y) != pytest.approx(((expected - Y) ** 2).mean(), rel=1e-3)


def test_gradients_are_taken_at_the_noisy_outputs() -> None:
    """A linear model's gradient is computed from the noisy error; adding noise has derivative 1."""
    rows = 30
    z = noise(rows, 3)[0]
    model = nnfast.Sequential(
        [layers.Input((3,)), layers.Dense(3, use_bias=False), layers.GaussianNoise(1.0)],
        dtype="float64",
    )
    model._built().engine.set_seed(0)
    model.layers[0].set_weights([np.eye(3)])
    model.compile(optimizers.SGD(1.0), "mse")
    x, y = RNG.normal(size=(rows, 3)), RNG.normal(size=(rows, 3))
    model.fit(x, y, batch_size=rows, shuffle=False, verbose=0)
    drawn = noise_of_layer(1, z, rows)
    step = np.eye(3) - model.layers[0].kernel
    assert_allclose(step, x.T @ (2 * (x + drawn - y)) / (3 * rows), rtol=1e-9, atol=1e-12)


def noise_of_layer(layer: int, of_layer_0: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return the standard normal noise that layer number `layer` draws for seed 0."""
    model = nnfast.Sequential(
        [
            *(layers.Input((3,)), *(layers.Activation("linear") for _ in range(layer))),
            *(layers.GaussianNoise(1.0), layers.Dense(rows, "linear", use_bias=False)),
        ],
        dtype="float64",
    )
    model._built().engine.set_seed(0)
    model.layers[-1].set_weights([np.zeros((3, rows))])
    model.compile(optimizers.SGD(1.0), lambda y, a: ((a * y).sum(axis=1), y))
    model.fit(np.zeros((rows, 3)), -np.eye(rows), batch_size=rows, shuffle=False, verbose=0)
    drawn = model.layers[-1].kernel.T * rows
    assert not np.isclose(drawn, of_layer_0).any(), "every layer has its own random stream"
    return np.array(drawn)


def test_generators_give_the_same_bits_as_arrays() -> None:
    array, stream = noisy(), noisy()
    array.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    parts = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 45, 8)]
    for _ in range(2):
        stream.fit(iter(parts), verbose=0)
    for a, b in zip(array.get_weights(), stream.get_weights(), strict=True):
        assert_array_equal(a, b)


def test_noise_of_standard_deviation_0_changes_nothing() -> None:
    losses = []
    for stack in ([layers.GaussianNoise(0.0)], []):
        nnfast.set_seed(0)
        model = nnfast.Sequential([layers.Dense(2, input_dim=3), *stack])
        model.compile("sgd", "mse")
        losses.append(model.fit(X, Y, epochs=2, verbose=0).history["loss"])
    assert losses[0] == losses[1]


def test_a_loaded_model_continues_with_the_same_noise(tmp_path: Any) -> None:
    model = noisy()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model")
    copy = nnfast.load_model(tmp_path / "model")
    for each in (model, copy):
        each.fit(X, Y, verbose=0)
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("stddev", [-0.1, math.nan, math.inf, "a", None])
def test_wrong_standard_deviations_are_named(stddev: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="stddev"):
        layers.GaussianNoise(stddev)

"""BatchNormalization of sequences with masks: the statistics are those of the real steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import layers
from nnfast._engine import core

Array = NDArray[Any]
STEPS = 5


@pytest.fixture
def any_threads() -> Any:
    yield
    core.force_threads(0)


def padded(rows: int, features: int, shift: float = 0.0) -> tuple[Array, Array]:
    """Return sequences whose padding is 0, and their masks; the first sequence has no real step."""
    rng = np.random.default_rng(rows)
    mask = rng.random((rows, STEPS)) < 0.6
    mask[0], mask[-1] = False, True
    return np.where(mask[..., None], rng.normal(size=(rows, STEPS, features)) + shift, 0.0), mask


def normalizing(features: int, dtype: str = "float64", **options: Any) -> nnfast.Sequential:
    """Return a model whose output is a batch normalization without a mask."""
    x = nnfast.Input((STEPS, features), dtype=dtype)
    h = layers.Dense(features, name="dense")(layers.Masking()(x))
    y = layers.BatchNormalization(name="bn", **options)(h)
    # Slices have no mask: all steps are in the loss, also the masked ones.
    model = nnfast.Model(x, y[:, :])
    randomize(model)
    return model


def naive(model: nnfast.Model, x: Array, mask: Array) -> tuple[Array, Array, Array]:
    """Return the outputs in training, and the mean and variance of the real steps."""
    bn, dense = model.get_layer("bn"), model.get_layer("dense")
    h = x @ dense.kernel + dense.bias
    real = h[mask]
    mean, variance = real.mean(axis=0), real.var(axis=0)
    y = (h - mean) / np.sqrt(variance + bn.epsilon)
    return y * (1 if bn.gamma is None else bn.gamma) + bn.beta, mean, variance


@pytest.mark.parametrize("features", [1, 3, 16, 21])
@pytest.mark.parametrize("scale", [True, False])
def test_a_step_has_the_loss_the_gradients_and_the_statistics_of_the_formula(
    features: int, scale: bool
) -> None:
    x, mask = padded(19, features)
    model = normalizing(features, momentum=0.7, scale=scale)
    bn = model.get_layer("bn")
    y = np.random.default_rng(1).normal(size=x.shape)
    model.compile(nnfast.optimizers.SGD(1.0), "mse")
    arrays = model.trainable_weights

    def loss() -> float:
        return float(((naive(model, x, mask)[0] - y) ** 2).mean())

    first, wanted = loss(), differences(loss, arrays)
    _, mean, variance = naive(model, x, mask)
    old_mean, old_variance = bn.moving_mean.copy(), bn.moving_variance.copy()
    before = [w.copy() for w in arrays]
    assert_allclose(model.train_on_batch(x, y), first, rtol=1e-10)
    for old, new, gradient in zip(before, arrays, wanted, strict=True):
        assert_allclose(old - new, gradient, rtol=1e-5, atol=1e-8)
    assert_allclose(bn.moving_mean, 0.7 * old_mean + 0.3 * mean, rtol=1e-10)
    assert_allclose(bn.moving_variance, 0.7 * old_variance + 0.3 * variance, rtol=1e-10)


def test_a_mean_far_from_zero_is_as_accurate_as_without_padding() -> None:
    """The padding is 0, so it must not be what differences are computed from."""
    x, mask = padded(600, 2, shift=3e4)
    inputs = nnfast.Input((STEPS, 2))
    bn = layers.BatchNormalization(momentum=0.0)
    model = nnfast.Model(inputs, layers.GlobalAveragePooling1D()(bn(layers.Masking()(inputs))))
    model.compile("sgd", "mse")
    model.train_on_batch(x, np.zeros((len(x), 2)))
    rounded = x.astype(np.float32).astype(np.float64)[mask]
    assert_allclose(bn.moving_mean, rounded.mean(axis=0), rtol=1e-7)
    assert_allclose(bn.moving_variance, rounded.var(axis=0), rtol=1e-5)


def test_a_step_counts_if_it_is_real_in_any_merged_input() -> None:
    inputs = [nnfast.Input((STEPS, 3), dtype="float64") for _ in range(2)]
    (x, mask), (z, other) = padded(7, 3), padded(8, 3)
    z, other = z[1:], other[1:]
    bn = layers.BatchNormalization()
    h = bn(layers.Add()([layers.Masking()(each) for each in inputs]))
    model = nnfast.Model(inputs, layers.GlobalAveragePooling1D()(h))
    model.compile("sgd", "mse")
    model.train_on_batch([x, z], np.zeros((7, 3)))
    real = (x + z)[mask | other]
    assert_allclose(bn.moving_mean, 0.01 * real.mean(axis=0), rtol=1e-10)
    assert_allclose(bn.moving_variance, 0.99 + 0.01 * real.var(axis=0), rtol=1e-10)


def test_a_batch_without_real_steps_keeps_the_moving_averages() -> None:
    """In Keras, the moving averages approach 0 with each such batch."""
    model = normalizing(3)
    model.compile(nnfast.optimizers.SGD(0.1), "mse")
    bn = model.get_layer("bn")
    before = bn.moving_mean.copy(), bn.moving_variance.copy()
    for _ in range(2):
        assert np.isfinite(model.train_on_batch(np.zeros((4, STEPS, 3)), np.ones((4, STEPS, 3))))
    assert_array_equal(bn.moving_mean, before[0])
    assert_array_equal(bn.moving_variance, before[1])
    for w in model.get_weights():
        assert np.isfinite(w).all()


def test_inference_and_frozen_layers_use_the_moving_averages() -> None:
    x, _ = padded(9, 3)
    model = normalizing(3)
    bn, dense = model.get_layer("bn"), model.get_layer("dense")
    h = x @ dense.kernel + dense.bias
    scale = bn.gamma / np.sqrt(bn.moving_variance + bn.epsilon)
    expected = (h - bn.moving_mean) * scale + bn.beta
    assert_allclose(model.predict(x), expected, rtol=1e-10)
    bn.trainable = False
    model.compile("sgd", "mse")
    assert_allclose(model.train_on_batch(x, 0 * x), (expected**2).mean(), rtol=1e-10)
    assert_allclose(bn.moving_mean, model.get_weights()[-2], rtol=0)


@pytest.mark.parametrize("rows", [5, 150])
def test_the_number_of_threads_does_not_change_a_bit(rows: int, any_threads: None) -> None:
    x, _ = padded(rows, 37)
    y = np.random.default_rng(0).normal(size=x.shape)
    results = []
    for threads in (1, 2, 3, 4, 7):
        nnfast.set_seed(1)
        core.force_threads(threads)
        model = normalizing(37, "float32")
        model.compile("adam", "mse")
        history = model.fit(x, y, batch_size=70, epochs=2, verbose=0)
        results.append([*model.get_weights(), *history.history.values()])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_a_mask_needs_sequences_of_vectors() -> None:
    x = nnfast.Input((STEPS, 4))
    h = layers.TimeDistributed(layers.Reshape((2, 2)))(layers.Masking()(x))
    with pytest.raises(ValueError, match=r"'bn' has a mask of 5 steps.*received \(5, 2, 2\)"):
        nnfast.Model(x, layers.BatchNormalization(name="bn")(h))

"""Tests of dropout masks: their shape, their seed, and rates 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import layers, optimizers

SHAPE = (3, 4, 5)


def masks(
    layer: layers.Layer,
    shape: tuple[int, ...] = SHAPE,
    rows: int = 16,
    seed: int = 0,
    threads: int = 1,
) -> NDArray[Any]:
    """Return the outputs for ones in training, as the weights that one SGD step subtracts.

    The loss is the sum of the dense layer's outputs times −1 for row i in output i, so that the
    kernel's column i becomes row i of the layer's outputs.
    """
    nnfast.set_seed(seed)
    size = int(np.prod(SHAPE))
    dense = layers.Dense(rows, kernel_initializer="zeros", use_bias=False)
    model = nnfast.Sequential([layers.Input(SHAPE), layer, layers.Flatten(), dense])
    model.n_threads = threads
    model.compile(optimizers.SGD(1.0), lambda y, a: ((a * y).sum(axis=1), y))
    model.fit(np.ones((rows, *SHAPE)), -np.eye(rows), batch_size=rows, shuffle=False, verbose=0)
    kernel = model.layers[-1].get_weights()[0]
    assert kernel.shape == (size, rows)
    return (kernel.T * rows).reshape(rows, *SHAPE).round(4)


@pytest.mark.parametrize(
    "noise_shape",
    [
        (None, None, None, 1),
        (None, 1, None, None),
        (None, 1, 1, 5),
        (16, 3, 1, 5),
        (None, 1, 4, 1),
        (None, 3, 4, 5),
        (None, 1, 1, 1),
    ],
)
def test_elements_along_axes_of_size_1_share_the_mask(noise_shape: Any) -> None:
    mask = masks(layers.Dropout(0.5, noise_shape))
    assert set(np.unique(mask)) == {0.0, 2.0}
    shared = tuple(i for i, n in enumerate(noise_shape) if n == 1)
    first = mask[tuple(slice(0, 1) if i in shared else slice(None) for i in range(4))]
    assert_array_equal(mask, np.broadcast_to(first, mask.shape))
    # Along the other axes, the mask differs.
    for axis in set(range(4)) - set(shared):
        assert (np.diff(first, axis=axis) != 0).any()
    assert abs(first.mean() - 1) < 5 / np.sqrt(first.size)


def test_the_mask_does_not_depend_on_threads() -> None:
    layer = lambda: layers.Dropout(0.3, (None, 1, None, None))  # noqa: E731
    expected = masks(layer(), rows=70)
    for threads in (2, 3):
        assert_array_equal(masks(layer(), rows=70, threads=threads), expected)


def test_a_full_mask_shape_changes_nothing() -> None:
    assert_array_equal(masks(layers.Dropout(0.5, (None, *SHAPE))), masks(layers.Dropout(0.5)))


@pytest.mark.parametrize("kind", [layers.Dropout, layers.GaussianNoise])
def test_a_layers_seed_replaces_that_of_the_model(kind: Any) -> None:
    one, two = masks(kind(0.5, seed=3), seed=0), masks(kind(0.5, seed=3), seed=1)
    assert_array_equal(one, two)
    assert (one != masks(kind(0.5, seed=4))).any()
    assert (masks(kind(0.5), seed=0) != masks(kind(0.5), seed=1)).any()
    with pytest.raises(ValueError, match="seed"):
        kind(0.5, seed=-1)


def test_rate_1_gives_zeros_in_training_only() -> None:
    assert not masks(layers.Dropout(1.0)).any()
    model = nnfast.Sequential([layers.Input((3,)), layers.Dropout(1.0), layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.ones((4, 3))
    assert model.predict(x).any()
    _, gradients = model.loss_and_grad(x, np.zeros((4, 2)))
    assert gradients[0].any(), "in inference mode"


@pytest.mark.parametrize(
    "noise_shape", [(1, None, 4), (None, 2, None), (None, 4), (), (None, 0, 4), "ab"]
)
def test_wrong_mask_shapes_are_refused(noise_shape: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="noise_shape"):
        nnfast.Sequential([layers.Input((3, 4)), layers.Dropout(0.5, noise_shape)])


def test_a_mask_that_alternates_more_than_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="alternates"):
        nnfast.Sequential(
            [layers.Input((2, 2, 2, 2)), layers.Dropout(0.5, (None, 1, None, 1, None))]
        )


# Layers that are variants of Dropout or of GaussianNoise


def input_gradients(layer: layers.Layer, rows: int = 16, threads: int = 1) -> NDArray[Any]:
    """Return the gradients of the layer's inputs in training if those of its outputs are ones.

    The dense layer's inputs are rows of the identity matrix, so that its kernel's gradient has a
    row for each sample.
    """
    dense = layers.Dense(int(np.prod(SHAPE)), kernel_initializer="zeros", bias_initializer="ones")
    stack = [layers.Input((rows,)), dense, layers.Reshape(SHAPE), layer, layers.Flatten()]
    model = nnfast.Sequential(stack)
    model.n_threads = threads
    model.compile(optimizers.SGD(1.0), lambda y, a: ((a * y).sum(axis=1), y))
    y = np.ones((rows, dense.units))
    model.fit(np.eye(rows), y, batch_size=rows, shuffle=False, verbose=0)
    return (-dense.get_weights()[0] * rows).reshape(rows, *SHAPE).round(4)


def test_spatial_dropout_draws_once_per_channel() -> None:
    mask = masks(layers.SpatialDropout2D(0.5))
    assert_array_equal(mask, masks(layers.Dropout(0.5, (None, 1, 1, None))))
    x = np.ones((6, 9, 5))
    drawn = []
    for layer in (layers.SpatialDropout1D(0.5), layers.Dropout(0.5, (None, 1, None))):
        nnfast.set_seed(0)
        stack = [layers.Input((9, 5)), layer, layers.Flatten(), layers.Dense(2, use_bias=False)]
        model = nnfast.Sequential(stack)
        model.compile("sgd", "mse")
        model.fit(x, np.zeros((6, 2)), epochs=2, verbose=0)
        drawn.append(model.get_weights()[0])
    assert_array_equal(*drawn)


ALPHA = 1.6732632423543772 * 1.0507009873554805  # selu(−∞) is −ALPHA


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    rate = 0.25
    a = ((1 - rate) * (1 + rate * ALPHA**2)) ** -0.5
    b = a * ALPHA * rate
    mask = masks(layers.AlphaDropout(rate), rows=64)
    kept, dropped = round(a + b, 4), round(b - a * ALPHA, 4)
    assert sorted(np.unique(mask)) == pytest.approx([dropped, kept], abs=2e-4)
    assert abs((mask < 0).mean() - rate) < 5 * np.sqrt(rate / mask.size)
    # For inputs of mean 0 and variance 1, the outputs' mean and mean square are 0 and 1.
    assert (1 - rate) * b + rate * dropped == pytest.approx(0, abs=1e-4)
    assert (1 - rate) * (a**2 + b**2) + rate * dropped**2 == pytest.approx(1, abs=1e-4)
    shared = masks(layers.AlphaDropout(rate, (None, 1, None, 1)))
    assert_array_equal(shared, np.broadcast_to(shared[:, :1, :, :1], shared.shape))


def test_gaussian_dropout_multiplies_by_normal_numbers_of_mean_1() -> None:
    factors = masks(layers.GaussianDropout(0.2), rows=64)
    assert abs(factors.mean() - 1) < 5 * 0.5 / np.sqrt(factors.size)
    assert abs(factors.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * factors.size)
    assert factors.min() < 0.0
    assert factors.max() > 2.0


# name: (layer, input gradient for each of its outputs for ones)
VARIANTS: dict[str, tuple[Any, Any]] = {
    "Dropout": (lambda: layers.Dropout(0.25, seed=3), lambda y: y),
    "SpatialDropout2D": (lambda: layers.SpatialDropout2D(0.25, seed=3), lambda y: y),
    "GaussianDropout": (lambda: layers.GaussianDropout(0.25, seed=3), lambda y: y),
    "AlphaDropout": (
        lambda: layers.AlphaDropout(0.25, seed=3),
        lambda y: np.where(y > 0, (0.75 * (1 + 0.25 * ALPHA**2)) ** -0.5, 0.0),
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_have_the_draws_of_the_outputs(name: str) -> None:
    make, derivative = VARIANTS[name]
    for rows, threads in ((16, 1), (70, 1), (70, 3), (70, 7)):
        outputs = masks(make(), rows=rows, threads=threads)
        gradients = input_gradients(make(), rows, threads)
        np.testing.assert_allclose(gradients, derivative(outputs), atol=2e-4)
    assert_array_equal(outputs, masks(make(), rows=70))


@pytest.mark.parametrize("name", VARIANTS)
def test_inference_changes_nothing(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(5, *SHAPE)).astype(np.float32)
    model = nnfast.Sequential([layers.Input(SHAPE), VARIANTS[name][0]()])
    assert_array_equal(model.predict(x), x)
    rates: list[Any] = [layers.AlphaDropout, layers.GaussianDropout, layers.SpatialDropout2D]
    for kind in rates:
        stack = [layers.Input(SHAPE), kind(0.0), layers.Flatten(), layers.Dense(1)]
        model = nnfast.Sequential(stack)
        assert len(model._built().plan.training.ops) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers.AlphaDropout(1.0), "rate"),
        (lambda: layers.AlphaDropout(0.5, (1, 2)), "noise_shape"),
        (lambda: layers.AlphaDropout(0.5, (None, 2)), "noise_shape"),
        (lambda: layers.GaussianDropout(1.0), "rate"),
        (lambda: layers.GaussianDropout(-0.1), "rate"),
        (lambda: layers.SpatialDropout1D(1.5), "rate"),
        (lambda: layers.SpatialDropout1D(0.5), r"\(steps, channels\)"),
        (lambda: layers.SpatialDropout2D(0.5), r"\(height, width, channels\)"),
        (lambda: layers.SpatialDropout2D(0.5, "channels_first"), "data_format"),
        (lambda: layers.SpatialDropout2D(0.5, seed=-1), "seed"),
    ],
)
def test_wrong_arguments_are_named(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        nnfast.Sequential([layers.Input((3,)), make()])

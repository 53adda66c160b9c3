"""Long sums in float32 are as accurate as NumPy's in float64.

Adding the same number repeatedly in float32 also repeats the rounding error: the relative error
of a sum of 0.1s reaches 1e-4 after about 10,000 terms. In the other tests, the rows are too few and
too short to reveal this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, constraints, kernels, layers, optimizers, regularizers

Array = NDArray[Any]
TENTH = np.float32(0.1)
WIDE = 300_000
THREADS = (1, 2, 3, 4, 7)


def near(expected: Any) -> Any:
    return pytest.approx(expected, rel=2e-6, abs=0)


def stack(shape: tuple[int, ...], *made: layers.Layer) -> nnfast.Sequential:
    return nnfast.Sequential([layers.Input(shape), *made])


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


# Pixels


@pytest.mark.parametrize("channels", [1, 19, 32])
def test_global_means_of_large_images_are_accurate(channels: int) -> None:
    model = stack((512, 512, channels), layers.GlobalAveragePooling2D())
    assert_allclose(model.predict(np.full((1, 512, 512, channels), TENTH)), TENTH, rtol=3e-7)
    x = np.random.default_rng(0).random((2, 512, 512, channels), np.float32)
    assert_allclose(model.predict(x), x.mean(axis=(1, 2), dtype=np.float64), rtol=3e-7)


@pytest.mark.parametrize("size", [(300, 1), (1, 300), (70, 3), (3, 70), (12, 11), (20, 31)])
@pytest.mark.parametrize("channels", [1, 5, 17])
def test_means_of_large_windows_are_accurate(size: tuple[int, int], channels: int) -> None:
    """The last windows extend one row or one column beyond the image."""
    high, wide = size
    x = np.random.default_rng(0).random((2, 3 * high, 2 * wide, channels), np.float32)
    inside = x[:, : 3 * high - (high > 1), : 2 * wide - (wide > 1)]
    model = stack(inside.shape[1:], layers.AveragePooling2D(size, padding="same"))
    actual = model.predict(inside)
    assert actual.shape == (2, 3, 2, channels)
    for row, col in np.ndindex(3, 2):
        window = inside[:, row * high : (row + 1) * high, col * wide : (col + 1) * wide]
        expected = window.mean(axis=(1, 2), dtype=np.float64)
        assert_allclose(actual[:, row, col], expected, rtol=3e-7)


# Rows


def trained_batch_norm(x: Array) -> Any:
    """Return a batch normalization layer whose moving statistics equal those of the batch."""
    layer = layers.BatchNormalization(momentum=0.0)
    model = stack(x.shape[1:], layer)
    model.compile(optimizers.SGD(0.0), "mse")
    model.train_on_batch(x, np.zeros_like(x))
    return layer


@pytest.mark.parametrize("shape", [(20_000, 19), (8, 50, 50, 3), (700, 3, 17)])
@pytest.mark.parametrize("offset", [0.0, 1e6, -3e4])
def test_batch_normalization_is_accurate_far_from_zero(
    shape: tuple[int, ...], offset: float
) -> None:
    """The mean is exact up to rounding, and its rounding does not affect the variance."""
    rng = np.random.default_rng(0)
    over = tuple(range(len(shape) - 1))
    x = (offset + rng.normal(size=shape)).astype(np.float32)
    layer, exact = trained_batch_norm(x), x.astype(np.float64)
    assert_allclose(layer.moving_mean, exact.mean(axis=over), rtol=6e-8, atol=1e-7)
    assert_allclose(layer.moving_variance, exact.var(axis=over), rtol=1e-6)
    constant = np.full(shape, offset, np.float32)
    constant[..., -1] = -offset
    layer = trained_batch_norm(constant)
    assert_array_equal(layer.moving_mean, constant.reshape(-1, shape[-1])[0])
    assert not layer.moving_variance.any()


def weight_gradients(model: nnfast.Sequential, x: Array, dout: Array) -> list[Array]:
    """Return the weight gradients from one step, which is exact because weights are 0 or 1."""
    before = [w.copy() for w in model.trainable_weights]
    model.compile(optimizers.SGD(1.0))
    model.train_on_gradient(x, dout)
    return [old - new for old, new in zip(before, model.trainable_weights, strict=True)]


ROWS, IMAGES = (20_000, 3), (16, 90, 90, 3)
ZEROS: dict[str, Any] = {"kernel_initializer": "zeros"}
GRADIENTS: dict[str, tuple[tuple[int, ...], Any, list[int]]] = {
    # name: (input shape, layer, indices of gradients that are sums of output gradients)
    "dense": (ROWS, lambda: layers.Dense(35, **ZEROS), [1]),
    "convolution": (IMAGES, lambda: layers.Conv2D(19, 1, **ZEROS), [1]),
    "transposed convolution": (IMAGES, lambda: layers.Conv2DTranspose(19, 1, **ZEROS), [1]),
    "depthwise": (IMAGES, lambda: layers.DepthwiseConv2D(1, depthwise_initializer="zeros"), [0, 1]),
    "batch": (ROWS, layers.BatchNormalization, [1]),
    "batch of images": (IMAGES, layers.BatchNormalization, [1]),
    "layer": (ROWS, layers.LayerNormalization, [1]),
    "layer of images": (IMAGES, layers.LayerNormalization, [1]),
    "group": (ROWS, lambda: layers.GroupNormalization(1), [1]),
    "group of images": (IMAGES, lambda: layers.GroupNormalization(1), [1]),
    "slopes": (ROWS, layers.PReLU, [0]),
    "slopes of images": (IMAGES, lambda: layers.PReLU(shared_axes=[1, 2]), [0]),
    "one slope": (IMAGES, lambda: layers.PReLU(shared_axes=[1, 2, 3]), [0]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_summed_over_rows_and_pixels_are_accurate(name: str) -> None:
    shape, make, sums = GRADIENTS[name]
    model = stack(shape[1:], make(), layers.Flatten())
    sign = -1.0 if "slope" in name else 1.0  # slopes apply to negative inputs
    x = np.full(shape, sign, np.float32)
    dout = np.full((shape[0], model.output_shape[-1]), TENTH)
    gradients = weight_gradients(model, x, dout)
    channels = gradients[sums[0]].size
    for which in sums:
        expected = sign * float(TENTH) * dout.size / channels
        assert_allclose(gradients[which].ravel(), expected, rtol=5e-6)


@pytest.mark.parametrize("name", ["batch", "batch of images", "layer", "layer of images"])
def test_gradients_of_gamma_are_accurate(name: str) -> None:
    """The inputs are ±1, normalized to ±0.9995, and the output gradients have the same sign."""
    shape, make, _ = GRADIENTS[name]
    signs = np.where(
        np.arange(np.prod(shape)).reshape(shape) % 2 == 0, np.float32(1), -np.float32(1)
    )
    if "layer" in name:
        shape = (*shape[:-1], 4)
        signs = np.broadcast_to(np.float32([1, -1, 1, -1]), shape)
    model = stack(shape[1:], make(), layers.Flatten())
    dout = (signs * TENTH).reshape(shape[0], -1)
    gradient = weight_gradients(model, np.ascontiguousarray(signs), dout)[0]
    expected = float(TENTH) * signs.size / shape[-1] / np.sqrt(1.001)
    assert_allclose(gradient, expected, rtol=5e-6)


@pytest.mark.usefixtures("free_threads")
@pytest.mark.parametrize("batch", [520, 1500])
def test_layer_normalization_gradients_do_not_depend_on_blocks_of_rows(batch: int) -> None:
    """One thread processes the whole batch; several threads process parts of it, in blocks."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3000, 6)), rng.normal(size=(3000, 5))
    results = []
    for threads in THREADS:
        _engine.force_threads(threads)
        nnfast.set_seed(0)
        model = nnfast.Sequential(
            [
                *(layers.Dense(40, input_dim=6), layers.LayerNormalization()),
                *(layers.Reshape((4, 10)), layers.LayerNormalization(), layers.Flatten()),
                layers.Dense(5),
            ]
        )
        model.compile("adam", "mse")
        model.fit(x, y, batch_size=batch, epochs=2, verbose=0)
        results.append(model.get_weights())
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


# Sums within a row


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", float(TENTH) ** 2),
        ("mae", float(TENTH)),
        ("poisson", float(TENTH)),
        ("binary_crossentropy", -np.log1p(-float(TENTH))),
    ],
)
def test_losses_of_wide_rows_are_accurate(loss: str, expected: float) -> None:
    model = stack((WIDE,), layers.Activation("linear"))
    model.compile("sgd", loss)
    x = np.full((2, WIDE), TENTH)
    assert model.evaluate(x, np.zeros_like(x), verbose=0) == near(expected)


def test_softmax_and_cross_entropy_of_many_classes_are_accurate() -> None:
    """One logit is 0 and all others are −0.1, so every probability is known."""
    z = np.full((2, WIDE), -TENTH)
    z[:, 7] = 0.0
    mass = 1.0 + (WIDE - 1) * np.exp(-float(TENTH))
    labels = np.array([7, 0])
    expected = np.log(mass) + float(TENTH) / 2
    softmax = stack((WIDE,), layers.Activation("softmax"))
    assert_allclose(softmax.predict(z), np.exp(z.astype(np.float64)) / mass, rtol=2e-6)
    softmax.compile("sgd", "sparse_categorical_crossentropy")
    assert softmax.evaluate(z, labels, verbose=0) == near(expected)
    linear = stack((WIDE,), layers.Activation("linear"))
    linear.compile("sgd", nnfast.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert linear.evaluate(z, labels, verbose=0) == near(expected)
    # Probabilities that do not add up to 1 are divided by their sum.
    linear.compile("sgd", "sparse_categorical_crossentropy")
    probability = 1.0 / (1.0 + (WIDE - 1) * float(TENTH))
    x = np.full((1, WIDE), TENTH)
    x[0, 7] = 1.0
    assert linear.evaluate(x, labels[:1], verbose=0) == near(-np.log(probability))
    # dz = y ⊙ (dy − Σ dy ⊙ y)
    softmax.compile("sgd", "mse")
    y = np.exp(z[1].astype(np.float64)) / mass
    target = np.full((1, WIDE), -TENTH)
    dy = 2 * (y + float(TENTH)) / WIDE
    dz = softmax.input_gradient(z[1:], target)[0]
    assert_allclose(dz, y * (dy - dy @ y), rtol=0, atol=3e-6 * dy.max() * y.max())


def test_layer_normalization_of_wide_rows_is_accurate() -> None:
    model = stack((WIDE,), layers.LayerNormalization())
    x = 1000 + np.random.default_rng(0).random((2, WIDE), np.float32)
    exact = x.astype(np.float64)
    mean, variance = exact.mean(axis=1, keepdims=True), exact.var(axis=1, keepdims=True)
    tolerance = 6e-5 / np.sqrt(variance.min())  # half the spacing of float32 near 1000
    assert_allclose(
        model.predict(x), (exact - mean) / np.sqrt(variance + 1e-3), rtol=0, atol=tolerance
    )


def test_activity_penalties_of_wide_rows_are_accurate() -> None:
    for regularizer, expected in (
        (regularizers.L1(1.0), WIDE * float(TENTH)),
        (regularizers.L2(1.0), WIDE * float(TENTH) ** 2),
    ):
        model = stack((WIDE,), layers.Activation("linear", activity_regularizer=regularizer))
        model.compile("sgd", "mse")
        x = np.full((2, WIDE), TENTH)
        assert model.evaluate(x, x, verbose=0) == near(expected)


# Parameters


def one_dense(**keywords: Any) -> nnfast.Sequential:
    model = stack((WIDE,), layers.Dense(1, use_bias=False, **keywords))
    model.set_weights([np.full((WIDE, 1), TENTH)])
    return model


def test_penalties_of_many_weights_are_accurate() -> None:
    for regularizer, expected in (
        (regularizers.L1(1.0), WIDE * float(TENTH)),
        (regularizers.L2(1.0), WIDE * float(TENTH) ** 2),
    ):
        model = one_dense(kernel_regularizer=regularizer)
        model.compile("sgd", "mse")
        x = np.zeros((1, WIDE), np.float32)
        assert model.evaluate(x, [0.0], verbose=0) == near(expected)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_clipping_gives_long_gradients_the_exact_norm(clip: str) -> None:
    """SGD(1.0) steps by the clipped gradient, so the weights have its norm."""
    model = one_dense()
    model.set_weights([np.zeros((WIDE, 1))])
    model.compile(optimizers.SGD(1.0, **{clip: 1.0}))  # type: ignore[arg-type]
    model.train_on_gradient(np.full((1, WIDE), TENTH), np.ones((1, 1)))
    assert np.linalg.norm(model.get_weights()[0].astype(np.float64)) == near(1.0)


def test_optimizer_step_clips_long_gradients_to_the_exact_norm() -> None:
    """An implementation that used NumPy's norm of float32 arrays would not be accurate enough."""
    g, w = np.full(10 * WIDE, TENTH), np.zeros(10 * WIDE, np.float32)
    slots = np.zeros((0, len(w)), np.float32)
    kernels.optimizer_step(w, g, slots, 0, optimizers.SGD(1.0, clipnorm=1.0))
    assert np.linalg.norm(w.astype(np.float64)) == near(1.0)


@pytest.mark.parametrize("axis", [0, (0, 1), 1])
def test_unit_norm_of_many_weights_is_accurate(axis: Any) -> None:
    rows = axis == 1
    shape = (1, WIDE) if rows else (WIDE, 1)
    constraint = constraints.UnitNorm(axis=axis)
    model = stack(shape[:1], layers.Dense(shape[1], use_bias=False, kernel_constraint=constraint))
    model.compile(optimizers.SGD(0.0), "mse")
    model.set_weights([np.full(shape, TENTH)])
    model.train_on_batch(np.zeros((1, shape[0])), np.zeros((1, shape[1])))
    assert np.linalg.norm(model.get_weights()[0].astype(np.float64)) == near(1.0)

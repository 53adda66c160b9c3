"""Convolutions agree with NumPy, finite differences and PyTorch; wrong arguments are named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import differences, plain_loss, plain_outputs, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, constraints, layers
from nnfast._engine import core

Array = NDArray[Any]

CHANNELS = (1, 2, 3, 7, 8, 9, 16, 17, 33)


def draw_conv(
    rng: np.random.Generator, max_channels: int = 33
) -> tuple[layers.Layer, tuple[int, ...]]:
    """Return a random convolution and the shape of its samples."""
    choices = [c for c in CHANNELS if c <= max_channels]
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    channels, filters = (groups * int(rng.choice(choices)) for _ in range(2))
    strides, dilation = (1, 1), (1, 1)
    if rng.random() < 0.3:
        dilation = tuple(rng.integers(1, 4, 2).tolist())
    elif rng.random() < 0.5:
        strides = tuple(rng.integers(1, 4, 2).tolist())
    kernel = tuple(rng.integers(1, 5, 2).tolist())
    shape = tuple(
        int(rng.integers((k - 1) * d + 1, (k - 1) * d + 8))
        for k, d in zip(kernel, dilation, strict=True)
    )
    layer = layers.Conv2D(
        filters,
        kernel,
        strides,
        str(rng.choice(["valid", "same"])),
        dilation_rate=dilation,
        groups=groups,
        activation=str(rng.choice(["linear", "relu", "tanh", "gelu"])),
        use_bias=bool(rng.random() < 0.8),
    )
    return layer, (*shape, channels)


def draw_depthwise(rng: np.random.Generator) -> tuple[layers.Layer, tuple[int, ...]]:
    kernel, shape = int(rng.integers(1, 4)), tuple(rng.integers(3, 9, 2).tolist())
    options = {
        "strides": int(rng.integers(1, 3)),
        "padding": str(rng.choice(["valid", "same"])),
        "depth_multiplier": int(rng.integers(1, 4)),
        "use_bias": bool(rng.random() < 0.8),
    }
    activation = str(rng.choice(["linear", "relu", "tanh"]))
    channels = int(rng.choice([1, 3, 8, 17]))
    if rng.random() < 0.5:
        return layers.DepthwiseConv2D(kernel, activation=activation, **options), (*shape, channels)
    if rng.random() < 0.3:
        kind, shape = layers.SeparableConv1D, shape[:1]
    else:
        kind = layers.SeparableConv2D
    layer = kind(int(rng.choice([1, 5, 17])), kernel, activation=activation, **options)
    return layer, (*shape, channels)


def draw_sequence(rng: np.random.Generator) -> tuple[layers.Layer, tuple[int, ...]]:
    dilation = int(rng.integers(1, 3))
    layer = layers.Conv1D(
        int(rng.choice([1, 6, 17])),
        int(rng.integers(1, 4)),
        1 if dilation > 1 else int(rng.integers(1, 3)),
        str(rng.choice(["valid", "same", "causal"])),
        dilation_rate=dilation,
    )
    return layer, (int(rng.integers(5, 12)), int(rng.choice([1, 3, 9])))


DRAW: dict[str, Callable[[np.random.Generator], tuple[layers.Layer, tuple[int, ...]]]] = {
    "conv": draw_conv,
    "depthwise": draw_depthwise,
    "sequence": draw_sequence,
}


def model_of(
    layer: layers.Layer, shape: tuple[int, ...], seed: int, dtype: str = "float64"
) -> nnfast.Sequential:
    """Return a model with layers around this one, so that this one computes an input gradient."""
    model = nnfast.Sequential(
        [layers.Input(shape), layers.Rescaling(1.5), layer, layers.Flatten()], dtype=dtype
    )
    randomize(model, seed)
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", DRAW)
def test_outputs_agree_with_numpy(kind: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    for seed in range(40):
        layer, shape = DRAW[kind](rng)
        model = model_of(layer, shape, seed, dtype)
        x = rng.normal(size=(int(rng.integers(1, 9)), *shape))
        expected, _ = plain_outputs(model, model.get_weights(), x, False)
        tolerance = 1e-12 if dtype == "float64" else 2e-5
        assert_allclose(
            model.predict(x), expected, rtol=0, atol=tolerance * max(1.0, abs(expected).max())
        )


@pytest.mark.parametrize("kind", DRAW)
def test_gradients_agree_with_central_differences(kind: str) -> None:
    """Check weight and input gradients; the tests against PyTorch below have larger sizes."""
    rng = np.random.default_rng(2)
    for seed in range(6):
        layer, shape = draw_conv(rng, max_channels=3) if kind == "conv" else DRAW[kind](rng)
        if layer.activation.name == "relu":  # type: ignore[attr-defined]
            layer = type(layer).from_config(layer.get_config() | {"activation": "tanh"})
        model = model_of(layer, shape, seed)
        x = rng.normal(size=(int(rng.integers(1, 3)), *shape))
        y = rng.normal(size=model.predict(x).shape)
        weights = model.get_weights()

        def loss(model: Any = model, weights: Any = weights, x: Array = x, y: Array = y) -> float:
            return plain_loss(model, weights, x, y, training=False)

        _, gradients = model.loss_and_grad(x, y)
        *expected, dx = differences(loss, [*weights, x])
        for actual, wanted in zip(gradients, expected, strict=True):
            assert_allclose(actual, wanted, rtol=0, atol=1e-7)
        assert_allclose(model.input_gradient(x, y), dx * len(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("filters", [1, 2, 3, 4])
def test_few_filters_agree_with_numpy(filters: int, dtype: str) -> None:
    """With few filters, vectors hold the pixels of a row, and dW is computed patch by patch."""
    rng = np.random.default_rng(6)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    cases: list[dict[str, Any]] = [
        {"padding": "same", "strides": (2, 1), "activation": "relu"},
        {"padding": "same", "use_bias": False},
        {"padding": "valid", "dilation_rate": 2, "use_bias": False},
    ]
    for seed, (channels, width, kernel) in enumerate([(1, 17, 3), (5, 40, 2), (17, 11, (1, 4))]):
        for options in cases:
            model = model_of(
                layers.Conv2D(filters, kernel, **options), (6, width, channels), seed, dtype
            )
            x = rng.normal(size=(3, 6, width, channels))
            y, _ = plain_outputs(model, model.get_weights(), x, False)
            assert_allclose(model.predict(x), y, rtol=0, atol=tolerance * abs(y).max())
            if "activation" not in options:
                # y is linear in the kernel; 2·y / y.size is the gradient of its mean square.
                along = rng.normal(size=model.get_weights()[0].shape)
                change, _ = plain_outputs(model, [along], x, False)
                (gradient,) = model.loss_and_grad(x, np.zeros_like(y))[1]
                expected = (2 * y / y.size * change).sum()
                assert (gradient * along).sum() == pytest.approx(expected, 100 * tolerance)


def torch_gradients(layer: Any, weights: list[Array], x: Array, y: Array) -> list[Array]:
    """Return PyTorch's gradients of the MSE with respect to kernel, bias and input."""
    import reference_images as images
    import torch

    padding = [
        images.padding_of(*axis, layer.padding)
        for axis in zip(
            x.shape[1:3], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
        )
    ]
    tensors = [torch.tensor(a, requires_grad=True) for a in (*weights, x)]
    a = tensors[-1].permute(0, 3, 1, 2).contiguous()
    a = torch.nn.functional.conv2d(
        torch.nn.functional.pad(a, (*padding[1], *padding[0])),
        tensors[0].permute(3, 2, 0, 1).contiguous(),
        tensors[1] if layer.use_bias else None,
        layer.strides,
        dilation=layer.dilation_rate,
        groups=layer.groups,
    )
    if layer.activation.name != "linear":
        a = getattr(torch.nn.functional, layer.activation.name)(a)
    a = a.permute(0, 2, 3, 1).reshape(len(x), -1)
    ((a - torch.tensor(y)) ** 2).mean().backward()
    return [tensor.grad.numpy() for tensor in tensors]


@pytest.mark.peers
@pytest.mark.parametrize("density", [1.0, 0.2])
def test_gradients_agree_with_pytorch(density: float) -> None:
    """If dz is mostly zeros, a different kernel computes the gradients."""
    rng = np.random.default_rng(3)
    for seed in range(40):
        layer, shape = draw_conv(rng)
        model = nnfast.Sequential([layers.Input(shape), layer, layers.Flatten()], dtype="float64")
        randomize(model, seed)
        model.compile("sgd", "mse")
        x = rng.normal(size=(int(rng.integers(1, 9)), *shape))
        outputs = model.predict(x)
        y = np.where(rng.random(outputs.shape) < density, rng.normal(size=outputs.shape), outputs)
        *expected, dx = torch_gradients(layer, model.get_weights(), x, y)
        _, gradients = model.loss_and_grad(x, y)
        for actual, wanted in zip(gradients, expected, strict=True):
            assert_allclose(actual, wanted, rtol=0, atol=1e-12 * max(1.0, abs(wanted).max()))
        assert_allclose(model.input_gradient(x, y), dx * len(x), rtol=0, atol=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("density", [1.0, 0.2])
@pytest.mark.parametrize(("kernel", "groups"), [(3, 1), (1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_gradients_of_large_images_agree_with_pytorch(
    kernel: int, groups: int, padding: str, density: float
) -> None:
    """dW is summed over blocks of pixels, and the channels do not fill whole SIMD vectors."""
    rng = np.random.default_rng(4)
    shape = (19, 23, 10 * groups)
    layer = layers.Conv2D(17 * groups, kernel, padding=padding, groups=groups)
    model = nnfast.Sequential([layers.Input(shape), layer, layers.Flatten()], dtype="float64")
    model.compile("sgd", "mse")
    x = rng.normal(size=(3, *shape))
    outputs = model.predict(x)
    y = np.where(rng.random(outputs.shape) < density, rng.normal(size=outputs.shape), outputs)
    *expected, dx = torch_gradients(layer, model.get_weights(), x, y)
    for actual, wanted in zip(model.loss_and_grad(x, y)[1], expected, strict=True):
        assert_allclose(actual, wanted, rtol=0, atol=1e-13)
    assert_allclose(model.input_gradient(x, y), dx * len(x), rtol=0, atol=1e-13)


def classifier(dtype: str = "float32", norm: bool = False) -> nnfast.Sequential:
    """Return a small image classifier with all kinds of layers."""
    nnfast.set_seed(5)
    return nnfast.Sequential(
        [
            layers.Conv2D(9, 3, activation="relu", input_shape=(13, 13, 3)),
            layers.MaxPooling2D(2),
            *([layers.BatchNormalization()] if norm else []),
            layers.Conv2D(17, (2, 3), padding="same", activation="tanh"),
            layers.AveragePooling2D(2, strides=1, padding="same"),
            layers.SeparableConv2D(12, 3, depth_multiplier=2, activation="relu"),
            layers.MaxPooling2D(2, strides=1),
            layers.Dropout(0.25),
            layers.DepthwiseConv2D(2),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ],
        dtype=dtype,
    )


def data(n: int = 50) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 13, 13, 3)).astype(np.float32), rng.integers(0, 4, n)


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.usefixtures("free_threads")
def test_results_do_not_depend_on_the_number_of_threads(norm: bool) -> None:
    x, y = data()
    results = []
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        model = classifier(norm=norm)
        model.compile("adam", "sparse_categorical_crossentropy")
        history = model.fit(x, y, batch_size=19, epochs=2, verbose=0)
        _, gradients = model.loss_and_grad(x, y)
        assert np.isfinite(history.history["loss"]).all()
        results.append(
            [*model.get_weights(), model.predict(x), *gradients, model.input_gradient(x, y)]
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_skipping_zeros_changes_no_bits_of_input_gradients(dtype: str) -> None:
    """The density of a block of images decides whether zeros are skipped."""
    rng = np.random.default_rng(3)
    wanted: Array = np.empty(0)

    def loss(y: Array, p: Array) -> tuple[float, Array]:
        return 0.0, wanted[: len(p)]

    for _ in range(60):
        layer, shape = draw_conv(rng)
        layer = type(layer).from_config(layer.get_config() | {"activation": "linear"})
        model = nnfast.Sequential([layers.Input(shape), layer, layers.Flatten()], dtype=dtype)
        randomize(model)
        model.compile("sgd", loss)
        x = rng.normal(size=(16, *shape))
        wanted = rng.normal(size=model.predict(x).shape)
        wanted[:4][rng.random(wanted[:4].shape) < 0.7] = 0.0
        few, many = (model.input_gradient(x[:n], np.zeros(n)) for n in (4, 16))
        assert few.any()
        assert_array_equal(few, many[:4] / 4)  # input_gradient multiplies by the number of images


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("free_threads")
def test_results_do_not_depend_on_threads_if_the_density_of_rows_varies(dtype: str) -> None:
    """The threads share a batch because of batch normalization; its halves differ in density."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 8, 8, 32)).astype(dtype)
    x[:80] -= 0.2
    x[80:] += 0.2
    y = rng.normal(size=(160, 3))
    results = []
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        nnfast.set_seed(0)
        uneven = nnfast.initializers.RandomUniform(-0.05, 0.1)
        model = nnfast.Sequential(
            [
                *(layers.Input((8, 8, 32)), layers.BatchNormalization()),
                layers.Conv2D(8, 3, activation="relu", kernel_initializer=uneven),
                *(layers.Flatten(), layers.Dense(3)),
            ],
            dtype=dtype,
        )
        model.compile("adam", "mse")
        model.fit(x, y, batch_size=160, shuffle=False, epochs=3, verbose=0)
        results.append(model.get_weights())
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_a_prediction_does_not_depend_on_other_rows() -> None:
    x, _ = data(21)
    model = classifier()
    whole = model.predict(x)
    for rows in (slice(0, 1), slice(3, 8), slice(20, 21)):
        assert_array_equal(model.predict(x[rows]), whole[rows])


@pytest.mark.parametrize("norm", [False, True])
def test_memory_is_not_read_before_it_is_written(norm: bool) -> None:
    x, y = data()
    results = []
    for poisoned in (False, True):
        core.poison(poisoned)
        try:
            model = classifier(norm=norm)
            model.compile("adam", "sparse_categorical_crossentropy")
            model.fit(x, y, batch_size=7, epochs=2, verbose=0)
            results.append([*model.get_weights(), model.predict(x), model.input_gradient(x, y)])
        finally:
            core.poison(False)
    for a, b in zip(*results, strict=True):
        assert np.isfinite(a).all()
        assert_array_equal(a, b)


def test_float32_training_agrees_with_float64() -> None:
    x, y = data()
    histories = []
    for dtype in ("float32", "float64"):
        model = classifier(dtype)
        model.compile(nnfast.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
        histories.append(model.fit(x, y, batch_size=16, epochs=8, verbose=0).history["loss"])
    assert histories[0][-1] < histories[0][0]
    assert_allclose(histories[0], histories[1], rtol=1e-3)


def test_regularized_kernels_are_clipped_by_the_global_norm() -> None:
    x, y = data(30)
    options: dict[str, Any] = {"kernel_regularizer": "l2", "bias_regularizer": "l1"}
    model = nnfast.Sequential(
        [
            layers.Conv2D(5, 3, strides=2, input_shape=(13, 13, 3), **options),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ],
        dtype="float64",
    )
    randomize(model)
    before = model.get_weights()
    model.compile(
        nnfast.optimizers.SGD(1.0, global_clipnorm=0.5), "sparse_categorical_crossentropy"
    )
    _, gradients = model.loss_and_grad(x, y)
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    assert norm > 0.5
    model.train_on_batch(x, y)
    for w, old, g in zip(model.get_weights(), before, gradients, strict=True):
        assert_allclose(w, old - g * 0.5 / norm, rtol=0, atol=1e-12)


def test_rescaling_of_uint8_images_is_fused_into_the_input() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 9, 9, 1)).astype(np.uint8)
    nnfast.set_seed(0)
    model = nnfast.Sequential(
        [layers.Rescaling(1 / 255, input_shape=(9, 9, 1)), layers.Conv2D(4, 3), layers.Flatten()]
    )
    plan = model._network.plan
    assert plan is not None
    assert (len(plan.training.ops), plan.inputs[0]["scale"]) == (1, 1 / 255)
    assert_allclose(model.predict(x), model.predict(x.astype(np.float64)), rtol=1e-6)


def test_names_and_shapes_of_weights_are_those_of_keras() -> None:
    def shapes(layer: layers.Layer, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        nnfast.Sequential([layers.Input(shape), layer])
        return {name: view.shape for name, view in layer.named_weights.items()}

    assert shapes(layers.Conv2D(6, (3, 5)), (9, 9, 4)) == {"kernel": (3, 5, 4, 6), "bias": (6,)}
    assert shapes(layers.Conv2D(6, 3, groups=2, use_bias=False), (9, 9, 4)) == {
        "kernel": (3, 3, 2, 6)
    }
    assert shapes(layers.Conv1D(6, 3), (9, 4)) == {"kernel": (3, 4, 6), "bias": (6,)}
    assert shapes(layers.DepthwiseConv2D(3, depth_multiplier=2), (9, 9, 4)) == {
        "kernel": (3, 3, 4, 2),
        "bias": (8,),
    }
    assert shapes(layers.SeparableConv2D(6, 3, depth_multiplier=2), (9, 9, 4)) == {
        "depthwise_kernel": (3, 3, 4, 2),
        "pointwise_kernel": (1, 1, 8, 6),
        "bias": (6,),
    }


def test_fans_of_initial_kernels_include_the_window() -> None:
    """Glorot's limit is √(6 / (fan_in + fan_out)); both fans include the window's 9 positions."""
    nnfast.set_seed(0)
    layer = layers.Conv2D(64, 3)
    nnfast.Sequential([layers.Input((8, 8, 32)), layer])
    limit = np.sqrt(6 / (9 * 32 + 9 * 64))
    assert 0.99 * limit < abs(layer.kernel).max() <= limit


@pytest.mark.parametrize("axis", [0, (0, 1), (0, 1, 2), (1, 2), 2, 3, (2, 3), (0, 1, 2, 3), [1, 2]])
def test_constraints_accept_contiguous_axes_of_the_kernel(axis: Any) -> None:
    x, _ = data(8)
    layer = layers.Conv2D(
        7, (3, 2), kernel_constraint=constraints.MaxNorm(0.3, axis), input_shape=(13, 13, 3)
    )
    model = nnfast.Sequential([layer, layers.Flatten(), layers.Dense(1)], dtype="float64")
    model.compile(nnfast.optimizers.SGD(0.0), "mse")
    before = layer.kernel.copy()
    model.train_on_batch(x, np.zeros(8))
    over = tuple(axis) if isinstance(axis, list) else axis
    norm = np.sqrt((before**2).sum(axis=over, keepdims=True))
    assert (norm > 0.3).any()
    expected = before * np.minimum(norm, 0.3) / (norm + 1e-7)
    assert_allclose(layer.kernel, expected, rtol=0, atol=1e-12)


def test_relu_derivatives_are_applied_once() -> None:
    """The next layer's backward pass applies the derivative, unless a penalty lies in between."""
    x = np.random.default_rng(0).normal(size=(3, 7, 7, 2))
    for penalty in (None, "l2"):
        model = nnfast.Sequential(
            [
                layers.Conv2D(
                    6, 3, activation="relu", activity_regularizer=penalty, input_shape=(7, 7, 2)
                ),
                layers.MaxPooling2D(2),
                layers.Conv2D(5, 2, activation="relu"),
                layers.Flatten(),
                layers.Dense(2),
            ],
            dtype="float64",
        )
        randomize(model, 4)
        model.compile("sgd", "mse")
        y = np.ones((3, 2))
        weights = model.get_weights()

        def loss(model: Any = model, weights: Any = weights, y: Array = y) -> float:
            return plain_loss(model, weights, x, y, training=False)

        _, gradients = model.loss_and_grad(x, y)
        expected = differences(loss, weights, h=1e-6)
        for actual, wanted in zip(gradients, expected, strict=True):
            assert_allclose(actual, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda: layers.Conv2D(4, 3, name="c"), (28, 28), r"Conv2D layer 'c' .*\(28, 28\)"),
        (lambda: layers.Conv1D(4, 3, name="c"), (8, 8, 1), r"Conv1D layer 'c' .*\(8, 8, 1\)"),
        (lambda: layers.Conv2D(4, 5, name="c"), (4, 9, 1), r"'c' .*\(5, 5\).*\(4, 9, 1\)"),
        (lambda: layers.Conv2D(4, 3, dilation_rate=3), (6, 9, 1), r"dilation \(3, 3\).*\(6, 9, 1"),
        (lambda: layers.Conv2D(4, 3, groups=2, name="c"), (9, 9, 3), r"'c' has 2 groups.*3 chan"),
        (lambda: layers.DepthwiseConv2D(3, name="c"), (9,), r"'c'.*\(9,\)"),
        (lambda: layers.SeparableConv2D(3, 4, name="c"), (3, 3, 2), r"'c'.*\(3, 3, 2\)"),
        (lambda: layers.Conv2D(4, 3), (0, 9, 1), r"at least 1.*\(0, 9, 1\)"),
    ],
)
def test_wrong_input_shapes_are_named(layer: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nnfast.Sequential([layers.Input(shape), layer()])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.Conv2D(0, 3), ValueError, "filters.*>= 1.*received 0"),
        (lambda: layers.Conv2D(4.5, 3), TypeError, "filters.*4.5"),  # type: ignore[arg-type]
        (lambda: layers.Conv2D(4, (3, 0)), ValueError, "kernel_size.*received 0"),
        (lambda: layers.Conv2D(4, (3, 3, 3)), ValueError, r"kernel_size.*2 of them.*\(3, 3, 3\)"),
        (lambda: layers.Conv2D(4, "33"), TypeError, "kernel_size.*'33'"),  # type: ignore[arg-type]
        (lambda: layers.Conv2D(4, 3, padding="some"), ValueError, "padding 'some'.*'same'"),
        (lambda: layers.Conv2D(4, 3, padding="causal"), ValueError, "padding 'causal'"),
        (lambda: layers.Conv2D(4, 3, data_format="channels_first"), ValueError, "channels_last"),
        (lambda: layers.Conv2D(4, 3, groups=3), ValueError, "filters=4.*groups=3"),
        (
            lambda: layers.Conv2D(4, 3, strides=2, dilation_rate=2),
            ValueError,
            r"strides=\(2, 2\).*dilation_rate=\(2, 2\)",
        ),
        (
            lambda: layers.DepthwiseConv2D(3, depth_multiplier=0),
            ValueError,
            "depth_multiplier.*received 0",
        ),
    ],
)
def test_wrong_arguments_are_named(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


def test_samples_with_too_many_elements_are_refused() -> None:
    layer = layers.Conv2D(2**20, 3, padding="same")
    with pytest.raises(ValueError, match=r"Conv2D.*\(64, 64, 1048576\).*1073741824"):
        layer.infer_shape((64, 64, 1))
    assert layer.infer_shape((32, 32, 1)) == (32, 32, 2**20)


def test_constraints_refuse_noncontiguous_axes() -> None:
    with pytest.raises(ValueError, match=r"axis=\(0, 2\).*\(3, 3, 1, 4\)"):
        nnfast.Sequential(
            [
                layers.Input((9, 9, 1)),
                layers.Conv2D(4, 3, kernel_constraint=constraints.UnitNorm((0, 2))),
            ]
        )


def test_summary_shows_shapes_and_counts() -> None:
    lines: list[str] = []
    classifier().summary(print_fn=lines.append)
    assert "(None, 11, 11, 9)" in "\n".join(lines)

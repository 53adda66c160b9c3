"""Transposed convolutions agree with NumPy, finite differences and PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import differences, plain_loss, plain_outputs, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, layers
from nnfast._engine import core

Array = NDArray[Any]

CHANNELS = (1, 2, 3, 8, 9, 16, 17, 33)


def draw_images(
    rng: np.random.Generator, max_channels: int = 33
) -> tuple[layers.Conv2DTranspose, tuple[int, ...]]:
    """Return a random transposed convolution and the shape of its samples."""
    choices = [c for c in CHANNELS if c <= max_channels]
    strides, dilation = (1, 1), (1, 1)
    if rng.random() < 0.3:
        dilation = tuple(rng.integers(1, 4, 2).tolist())
    elif rng.random() < 0.8:
        strides = tuple(rng.integers(1, 5, 2).tolist())
    extra = None
    if rng.random() < 0.5:
        extra = tuple(int(rng.integers(s)) for s in strides)
    layer = layers.Conv2DTranspose(
        int(rng.choice(choices)),
        tuple(rng.integers(1, 6, 2).tolist()),
        strides,
        str(rng.choice(["valid", "same"])),
        extra,
        dilation_rate=dilation,
        activation=str(rng.choice(["linear", "relu", "tanh", "gelu"])),
        use_bias=bool(rng.random() < 0.8),
    )
    return layer, (*rng.integers(2, 7, 2).tolist(), int(rng.choice(choices)))


def draw_sequence(rng: np.random.Generator) -> tuple[layers.Conv1DTranspose, tuple[int, ...]]:
    dilation = int(rng.integers(1, 3))
    stride = 1 if dilation > 1 else int(rng.integers(1, 4))
    layer = layers.Conv1DTranspose(
        int(rng.choice([1, 6, 17])),
        int(rng.integers(1, 5)),
        stride,
        str(rng.choice(["valid", "same"])),
        int(rng.integers(stride)) if rng.random() < 0.5 else None,
        dilation_rate=dilation,
    )
    return layer, (int(rng.integers(2, 9)), int(rng.choice([1, 3, 9])))


DRAW: dict[str, Callable[[np.random.Generator], tuple[Any, tuple[int, ...]]]] = {
    "images": draw_images,
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


def images(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> Array:
    """Return up to eight samples, of whose elements a fraction `density` is not zero."""
    x = rng.normal(size=(int(rng.integers(1, 9)), *shape))
    return np.where(rng.random(x.shape) < density, x, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", DRAW)
def test_outputs_agree_with_numpy(kind: str, dtype: str) -> None:
    """If x is mostly zeros, a different kernel computes the outputs."""
    rng = np.random.default_rng(1)
    for seed in range(40):
        layer, shape = DRAW[kind](rng)
        model = model_of(layer, shape, seed, dtype)
        x = images(rng, shape, (1.0, 0.2)[seed % 2])
        expected, _ = plain_outputs(model, model.get_weights(), x, False)
        tolerance = 1e-12 if dtype == "float64" else 2e-5
        assert_allclose(
            model.predict(x), expected, rtol=0, atol=tolerance * max(1.0, abs(expected).max())
        )


@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize("kind", DRAW)
def test_gradients_agree_with_central_differences(kind: str, density: float) -> None:
    rng = np.random.default_rng(2)
    for seed in range(6):
        layer, shape = draw_images(rng, 3) if kind == "images" else DRAW[kind](rng)
        if layer.activation.name == "relu":
            layer = type(layer).from_config(layer.get_config() | {"activation": "tanh"})
        model = model_of(layer, shape, seed)
        x = images(rng, shape, density)[:2]
        y = rng.normal(size=model.predict(x).shape)
        weights = model.get_weights()

        def loss(model: Any = model, weights: Any = weights, x: Array = x, y: Array = y) -> float:
            return plain_loss(model, weights, x, y, training=False)

        _, gradients = model.loss_and_grad(x, y)
        *expected, dx = differences(loss, [*weights, x])
        for actual, wanted in zip(gradients, expected, strict=True):
            assert_allclose(actual, wanted, rtol=0, atol=1e-7)
        assert_allclose(model.input_gradient(x, y), dx * len(x), rtol=0, atol=1e-7)


def torch_gradients(layer: Any, weights: list[Array], x: Array, y: Array) -> list[Array]:
    """Return PyTorch's gradients of the MSE with respect to kernel, bias and input."""
    import torch

    tensors = [torch.tensor(a, requires_grad=True) for a in (*weights, x)]
    a = torch.nn.functional.conv_transpose2d(
        tensors[-1].permute(0, 3, 1, 2),
        tensors[0].permute(3, 2, 0, 1).contiguous(),
        stride=layer.strides,
        dilation=layer.dilation_rate,
    ).permute(0, 2, 3, 1)
    out = layer.infer_shape(x.shape[1:])
    missing = [max(0, n - m) for n, m in zip(out[:2], a.shape[1:3], strict=True)]
    a = torch.nn.functional.pad(a, (0, 0, 0, missing[1], 0, missing[0]))
    if layer.padding == "same":
        rows, columns = (max(0, (m - n) // 2) for n, m in zip(out[:2], a.shape[1:3], strict=True))
        a = a[:, rows : rows + out[0], columns : columns + out[1]]
    if layer.use_bias:
        a = a + tensors[1]
    if layer.activation.name != "linear":
        a = getattr(torch.nn.functional, layer.activation.name)(a)
    ((a.reshape(len(x), -1) - torch.tensor(y)) ** 2).mean().backward()
    return [tensor.grad.numpy() for tensor in tensors]


@pytest.mark.peers
@pytest.mark.parametrize("density", [1.0, 0.2])
def test_gradients_agree_with_pytorch(density: float) -> None:
    rng = np.random.default_rng(3)
    for seed in range(40):
        layer, shape = draw_images(rng)
        model = nnfast.Sequential([layers.Input(shape), layer, layers.Flatten()], dtype="float64")
        randomize(model, seed)
        model.compile("sgd", "mse")
        x = images(rng, shape, density)
        y = rng.normal(size=model.predict(x).shape)
        *expected, dx = torch_gradients(layer, model.get_weights(), x, y)
        _, gradients = model.loss_and_grad(x, y)
        for actual, wanted in zip(gradients, expected, strict=True):
            assert_allclose(actual, wanted, rtol=0, atol=1e-12 * max(1.0, abs(wanted).max()))
        assert_allclose(model.input_gradient(x, y), dx * len(x), rtol=0, atol=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("kind", DRAW)
def test_outputs_agree_with_keras(kind: str) -> None:
    import keras

    rng = np.random.default_rng(4)
    for seed in range(40):
        layer, shape = DRAW[kind](rng)
        layer = type(layer).from_config(layer.get_config() | {"activation": "linear"})
        model = nnfast.Sequential([layers.Input(shape), layer], dtype="float64")
        randomize(model, seed)
        names = ("filters", "kernel_size", "strides", "padding", "output_padding")
        config = {name: getattr(layer, name) for name in (*names, "dilation_rate", "use_bias")}
        theirs = getattr(keras.layers, type(layer).__name__)(**config, dtype="float64")
        x = images(rng, shape, 1.0)
        theirs.build((None, *shape))
        theirs.set_weights(model.get_weights())
        expected = keras.ops.convert_to_numpy(theirs(x))
        assert tuple(theirs.compute_output_shape((None, *shape))) == model.output_shape
        assert_allclose(model.predict(x), expected, rtol=0, atol=1e-11)


def decoder(dtype: str = "float32", norm: bool = False) -> nnfast.Sequential:
    """Return a small decoder of images, whose threads share the batch if `norm`."""
    nnfast.set_seed(5)
    return nnfast.Sequential(
        [
            layers.Dense(3 * 3 * 17, activation="relu", input_shape=(8,)),
            layers.Reshape((3, 3, 17)),
            *([layers.BatchNormalization()] if norm else []),
            layers.Conv2DTranspose(20, (3, 4), 2, "same", activation="relu"),
            layers.Conv2DTranspose(9, 2, 3, output_padding=1, activation="tanh"),
            layers.Conv2DTranspose(2, 5, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 5, 2, padding="same"),
            layers.Flatten(),
        ],
        dtype=dtype,
    )


def data(n: int = 40) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 8)).astype(np.float32), rng.normal(size=(n, 36 * 36))


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
        model = decoder(norm=norm)
        model.compile("adam", "mse")
        history = model.fit(x, y, batch_size=19, epochs=1, verbose=0)
        _, gradients = model.loss_and_grad(x, y)
        assert np.isfinite(history.history["loss"]).all()
        results.append(
            [*model.get_weights(), model.predict(x), *gradients, model.input_gradient(x, y)]
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_prediction_does_not_depend_on_other_rows(dtype: str) -> None:
    """Nor on whether zeros are skipped, which the density of all rows decides."""
    rng = np.random.default_rng(5)
    for seed in range(30):
        layer, shape = draw_images(rng)
        model = model_of(layer, shape, seed, dtype)
        x = rng.normal(size=(12, *shape))
        x[:4][rng.random(x[:4].shape) < 0.8] = 0.0
        whole = model.predict(x)
        for rows in (slice(0, 1), slice(0, 4), slice(3, 8), slice(11, 12)):
            assert_array_equal(model.predict(x[rows]), whole[rows])


@pytest.mark.parametrize("norm", [False, True])
def test_memory_is_not_read_before_it_is_written(norm: bool) -> None:
    x, y = data()
    results = []
    for poisoned in (False, True):
        core.poison(poisoned)
        try:
            model = decoder(norm=norm)
            model.compile("adam", "mse")
            model.fit(x, y, batch_size=7, epochs=1, verbose=0)
            results.append([*model.get_weights(), model.predict(x), model.input_gradient(x, y)])
        finally:
            core.poison(False)
    for a, b in zip(*results, strict=True):
        assert np.isfinite(a).all()
        assert_array_equal(a, b)


def test_outputs_without_inputs_are_the_bias() -> None:
    """Strides larger than the kernel leave gaps, and an output padding leaves a border."""
    layer = layers.Conv2DTranspose(2, 1, 3, output_padding=2, bias_initializer="ones")
    model = nnfast.Sequential([layers.Input((2, 3, 4)), layer])
    y = model.predict(np.ones((1, 2, 3, 4)))[0]
    assert y.shape == (6, 9, 2)
    reached = np.zeros((6, 9), bool)
    reached[::3, ::3] = True
    assert_array_equal(y[~reached], 1.0)
    assert_allclose(y[reached], np.broadcast_to(1 + layer.kernel[0, 0].sum(-1), (6, 2)), rtol=1e-6)


def test_names_and_shapes_of_weights_are_those_of_keras() -> None:
    for layer, shape, kernel in (
        (layers.Conv2DTranspose(6, (3, 5)), (9, 9, 4), (3, 5, 6, 4)),
        (layers.Conv1DTranspose(6, 3), (9, 4), (3, 6, 4)),
    ):
        nnfast.Sequential([layers.Input(shape), layer])
        assert {name: view.shape for name, view in layer.named_weights.items()} == {
            "kernel": kernel,
            "bias": (6,),
        }


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: layers.Conv2DTranspose(4, 3, name="c"), (8, 8), r"Conv2DTr.* 'c' .*\(8, 8\)"),
        (lambda: layers.Conv1DTranspose(4, 3, name="c"), (8, 8, 1), r"'c' .*\(8, 8, 1\)"),
        (lambda: layers.Conv2DTranspose(4, 3), (0, 9, 1), r"at least 1.*\(0, 9, 1\)"),
        (
            lambda: layers.Conv2DTranspose(4, 2, 2, "same", 0, name="c"),
            (1, 3, 1),
            r"'c' computes samples of shape \(0, 4, 4\).*\(1, 3, 1\).*output_padding",
        ),
        (
            lambda: layers.Conv2DTranspose(4, 1, 2**31 - 1, name="c"),
            (3, 3, 1),
            r"'c' computes samples of shape \(6442450941, 6442450941, 4\).*1073741824",
        ),
        (lambda: layers.Conv2DTranspose(1, 1), (2**11, 2**10, 2**10), r"1073741824"),
    ],
)
def test_wrong_input_shapes_are_named(make: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().infer_shape(shape)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.Conv2DTranspose(0, 3), ValueError, "filters.*>= 1.*received 0"),
        (lambda: layers.Conv2DTranspose(4, (3, 0)), ValueError, "kernel_size.*received 0"),
        (lambda: layers.Conv2DTranspose(4, 3, padding="causal"), ValueError, "'causal'"),
        (
            lambda: layers.Conv2DTranspose(4, 3, data_format="channels_first"),
            ValueError,
            "channels_last",
        ),
        (
            lambda: layers.Conv2DTranspose(4, 3, 2, dilation_rate=2),
            ValueError,
            r"strides=\(2, 2\).*dilation_rate=\(2, 2\)",
        ),
        (
            lambda: layers.Conv2DTranspose(4, 3, (2, 1), output_padding=1),
            ValueError,
            r"output_padding=\(1, 1\) and strides=\(2, 1\)",
        ),
        (
            lambda: layers.Conv2DTranspose(4, 3, 2, output_padding=-1),
            ValueError,
            "output_padding.*>= 0.*-1",
        ),
        (
            lambda: layers.Conv2DTranspose(4, 3, 2, output_padding=0.5),  # type: ignore[arg-type]
            TypeError,
            "output_padding.*0.5",
        ),
        (lambda: layers.Conv1DTranspose(4, 3, 2, output_padding=(1, 1)), ValueError, "1 of them"),
    ],
)
def test_wrong_arguments_are_named(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()

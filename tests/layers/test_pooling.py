"""Pooling agrees with NumPy and finite differences; wrong arguments are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import differences, plain_loss, plain_outputs
from numpy.testing import assert_allclose, assert_array_equal

import nnfast
from nnfast import layers

CHANNELS = (1, 3, 8, 9, 17)
GLOBAL = ("GlobalAveragePooling", "GlobalMaxPooling")


def draw(rng: np.random.Generator, name: str) -> tuple[layers.Layer, tuple[int, ...]]:
    """Return a random pooling layer and the shape of its samples."""
    rank = 1 if name.endswith("1D") else 2
    shape = (*rng.integers(2, 9, rank).tolist(), int(rng.choice(CHANNELS)))
    cls: Any = layers.TABLE[name]
    if name.startswith("Global"):
        return cls(keepdims=bool(rng.random() < 0.5)), shape
    size = [int(rng.integers(1, min(5, axis + 1))) for axis in shape[:-1]]
    strides = None if rng.random() < 0.5 else rng.integers(1, 5, rank).tolist()
    return cls(size, strides, str(rng.choice(["valid", "same"]))), shape


NAMES = [f"{kind}{rank}D" for kind in ("MaxPooling", "AveragePooling", *GLOBAL) for rank in (1, 2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_agree_with_numpy(name: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        layer, shape = draw(rng, name)
        model = nnfast.Sequential([layers.Input(shape), layer], dtype=dtype)
        x = rng.normal(size=(int(rng.integers(1, 6)), *shape)).astype(dtype)
        expected, _ = plain_outputs(model, [], x, False)
        assert_allclose(
            model.predict(x), expected, rtol=0, atol=1e-12 if dtype == "float64" else 1e-6
        )


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_central_differences(name: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        layer, shape = draw(rng, name)
        model = nnfast.Sequential([layers.Input(shape), layer, layers.Flatten()], dtype="float64")
        model.compile("sgd", "mse")
        x = rng.permutation(np.arange(2.0 * np.prod(shape))).reshape(2, *shape) / 50
        y = rng.normal(size=model.predict(x).shape)

        def loss(model: Any = model, x: Any = x, y: Any = y) -> float:
            return plain_loss(model, [], x, y, training=False)

        (dx,) = differences(loss, [x])
        assert_allclose(model.input_gradient(x, y), dx * len(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize("strides", [2, 1])
def test_the_first_of_equal_maxima_gets_the_gradient(strides: int) -> None:
    model = nnfast.Sequential(
        [layers.Input((2, 2, 9)), layers.MaxPooling2D(2, strides), layers.Flatten()]
    )
    gradient = model.input_gradient(np.ones((1, 2, 2, 9)))
    expected = np.zeros((1, 2, 2, 9))
    expected[0, 0, 0, 0] = 1.0  # the gradient is that of the first of nine equal outputs
    assert_array_equal(gradient, expected)


def test_pixels_outside_all_windows_have_no_gradient() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 7, 8))
    for size, strides, padding in ((2, 3, "same"), (2, 3, "valid"), (3, 3, "valid")):
        model = nnfast.Sequential(
            [
                layers.Input((4, 7, 8)),
                layers.Conv2D(8, 1, activation="relu"),
                layers.MaxPooling2D(size, strides, padding),
                layers.Flatten(),
            ],
            dtype="float64",
        )
        model.compile("sgd", "mse")
        y = np.zeros((3, model.output_shape[1] or 0))
        weights = model.get_weights()

        def loss(model: Any = model, weights: Any = weights, y: Any = y) -> float:
            return plain_loss(model, weights, x, y, training=False)

        _, gradients = model.loss_and_grad(x, y)
        for actual, wanted in zip(gradients, differences(loss, weights), strict=True):
            assert_allclose(actual, wanted, rtol=0, atol=1e-7)


def test_short_names_are_those_of_keras() -> None:
    assert layers.MaxPool2D is layers.MaxPooling2D
    assert layers.AvgPool1D is layers.AveragePooling1D
    assert layers.GlobalAvgPool2D is layers.GlobalAveragePooling2D
    assert layers.MaxPooling2D((2, 3)).strides == (2, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.MaxPooling2D(0), "pool_size.*received 0"),
        (lambda: layers.MaxPooling2D((2, 2, 2)), r"pool_size.*\(2, 2, 2\)"),
        (lambda: layers.AveragePooling2D(2, 0), "strides.*received 0"),
        (lambda: layers.MaxPooling2D(2, padding="full"), "padding 'full'"),
        (lambda: layers.MaxPooling1D(2, data_format="channels_first"), "channels_last"),
        (
            lambda: nnfast.Sequential([layers.Input((4, 4)), layers.MaxPooling2D(2, name="p")]),
            r"MaxPooling2D layer 'p'.*\(4, 4\)",
        ),
        (
            lambda: nnfast.Sequential([layers.Input((4, 3, 1)), layers.MaxPooling2D(4, name="p")]),
            r"'p'.*\(4, 4\).*\(4, 3, 1\)",
        ),
        (
            lambda: nnfast.Sequential([layers.Input((4,)), layers.GlobalMaxPooling2D(name="p")]),
            r"'p'.*\(4,\)",
        ),
    ],
)
def test_wrong_arguments_and_shapes_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

"""Layers that move, repeat, pad or crop the elements of samples agree with NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import layer_outputs, plain_loss
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, layers

Array = NDArray[Any]

SEQUENCES = [(5, 1), (4, 3), (3, 17), (9, 8), (33, 16)]
IMAGES = [(5, 6, 1), (4, 7, 3), (5, 5, 17)]
MOVED: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "repeated": (lambda: layers.RepeatVector(3), [(1,), (3,), (16,), (37,)]),
    "repeated once": (lambda: layers.RepeatVector(1), [(5,)]),
    "padded": (lambda: layers.ZeroPadding1D(2), SEQUENCES),
    "padded on one side": (lambda: layers.ZeroPadding1D((0, 3)), SEQUENCES),
    "steps cropped": (lambda: layers.Cropping1D(), SEQUENCES),
    "steps cropped at the end": (lambda: layers.Cropping1D((0, 2)), SEQUENCES),
    "steps repeated": (lambda: layers.UpSampling1D(3), SEQUENCES),
    "cropped": (lambda: layers.Cropping2D(1), IMAGES),
    "cropped by axis": (lambda: layers.Cropping2D((0, 2)), IMAGES),
    "cropped by side": (lambda: layers.Cropping2D(((2, 1), (0, 3))), IMAGES),
    "not cropped": (lambda: layers.Cropping2D(), IMAGES),
    "transposed": (lambda: layers.Permute((2, 1)), [(3, 4), (16, 16), (33, 17), (1, 5), (100, 3)]),
    "channels first": (lambda: layers.Permute((3, 1, 2)), IMAGES),
    "rows and columns swapped": (lambda: layers.Permute((2, 1, 3)), IMAGES),
    "reversed": (lambda: layers.Permute((3, 2, 1)), IMAGES),
}
CASES = [(make, shape) for make, shapes in MOVED.values() for shape in shapes]


@pytest.fixture(autouse=True)
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


def distinct(*shape: int) -> Array:
    """Return distinct numbers that are exact in float32."""
    return np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) / 64 + 1


def input_gradient(layer: layers.Layer, x: Array, dy: Array) -> Array:
    """Return the gradient of Σ y·dy with respect to x, computed from the mean squared error."""
    model = nnfast.Sequential([layers.Input(x.shape[1:]), layer, layers.Flatten()], dtype="float64")
    model.compile("sgd", "mse")
    y = model.predict(x)
    return model.input_gradient(x, y - dy.reshape(y.shape) * y.shape[1] / 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MOVED)
def test_outputs_are_those_of_numpy(name: str, dtype: str) -> None:
    make, shapes = MOVED[name]
    for shape in shapes:
        x = distinct(5, *shape)
        model = nnfast.Sequential([layers.Input(shape), make()], dtype=dtype)
        actual = model.predict(x)
        assert actual.shape == (5, *model.output_shape[1:])
        assert_array_equal(actual, layer_outputs(model.layers[0], x, {}))


@pytest.mark.parametrize("name", MOVED)
def test_the_gradient_is_the_transpose(name: str) -> None:
    """For a linear f, the gradient dx of Σ f(x)·dy satisfies Σ dx·v = Σ f(v)·dy for every v."""
    make, shapes = MOVED[name]
    rng = np.random.default_rng(1)
    for shape in shapes:
        layer = make()
        x = rng.normal(size=(4, *shape))
        dy = rng.normal(size=layer_outputs(layer, x, {}).shape)
        dx = input_gradient(layer, x, dy)
        for row in range(4):
            basis = np.eye(x[0].size).reshape(-1, *shape)
            expected = np.tensordot(layer_outputs(layer, basis, {}), dy[row], dy.ndim - 1)
            assert_allclose(dx[row].ravel(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 3), (17, 2, 3, 1), (2, 3, 2, 3, 2)])
def test_axes_are_permuted_in_every_order(shape: tuple[int, ...]) -> None:
    x = distinct(2, *shape)
    orders = list(itertools.permutations(range(1, 1 + len(shape))))
    for dims in orders[:: 1 + len(orders) // 24]:
        layer = layers.Permute(dims)
        model = nnfast.Sequential([layers.Input(shape), layer], dtype="float64")
        y = model.predict(x)
        assert_array_equal(y, x.transpose(0, *dims))
        dx = input_gradient(layer, x, y)
        assert_allclose(dx, x, rtol=1e-12)


def test_a_permutation_that_moves_no_element_has_no_op() -> None:
    assert layers.Permute((1, 2)).ops((3, 4)) == []
    assert layers.Permute((2, 1)).ops((1, 4)) == []
    assert layers.Permute((3, 1, 2)).ops((3, 4, 1)) == []
    assert [op.kind for op in layers.Permute((3, 1, 2)).ops((3, 4, 5))] == ["strided"]


@pytest.mark.parametrize("name", MOVED)
def test_weights_before_and_after_have_the_gradients_of_central_differences(name: str) -> None:
    make, shapes = MOVED[name]
    size = int(np.prod(shapes[0]))
    stack = [
        layers.Dense(size, "tanh", input_dim=2),
        layers.Reshape(shapes[0]),
        make(),
        layers.Flatten(),
        layers.Dense(2),
    ]
    model = nnfast.Sequential(stack, dtype="float64")
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    weights = model.get_weights()
    _, gradients = model.loss_and_grad(x, y)
    direction = [rng.normal(size=w.shape) for w in weights]
    losses = []
    for step in (1e-5, -1e-5):
        moved = [w + step * d for w, d in zip(weights, direction, strict=True)]
        losses.append(plain_loss(model, moved, x, y, training=True))
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    assert slope == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-7)


def test_the_number_of_threads_changes_no_bit() -> None:
    found: list[list[Array]] = []
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(210, 12)), rng.normal(size=(210, 2))
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        nnfast.set_seed(0)
        model = nnfast.Sequential(
            [
                *(layers.Dense(12, input_dim=12), layers.RepeatVector(7)),
                layers.SeparableConv1D(5, 3, activation="tanh"),
                *(layers.ZeroPadding1D(1), layers.UpSampling1D(2), layers.Permute((2, 1))),
                *(layers.Cropping1D((1, 0)), layers.Reshape((7, 4, 2)), layers.Cropping2D(1)),
                *(layers.Permute((3, 1, 2)), layers.Flatten(), layers.Dense(2)),
            ]
        )
        model.compile("adam", "mse")
        model.fit(x, y, epochs=2, batch_size=100, verbose=0)
        found.append(model.get_weights())
    for weights in found[1:]:
        for first, other in zip(found[0], weights, strict=True):
            assert_array_equal(first, other)


def test_samples_without_elements_are_accepted() -> None:
    for layer, shape in (
        (layers.RepeatVector(3), (0,)),
        (layers.ZeroPadding1D(1), (3, 0)),
        (layers.UpSampling1D(2), (0, 3)),
        (layers.Permute((2, 1)), (0, 3)),
        (layers.Cropping1D(1), (3, 0)),
    ):
        model = nnfast.Sequential([layers.Input(shape), layer])
        assert model.predict(np.zeros((2, *shape))).shape == (2, *layer.infer_shape(shape))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Permute((1, 3)), r"dims must have .* once.*\(1, 3\)"),
        (lambda: layers.Permute((1, 1)), r"dims must have .* once.*\(1, 1\)"),
        (lambda: layers.Permute((0, 1)), "entry of dims.*>= 1.*0"),
        (lambda: layers.Permute((1, 2.0)), "entry of dims.*2.0"),
        (lambda: layers.Permute(3), "dims.*3"),
        (lambda: layers.RepeatVector(0), "n must.*>= 1.*0"),
        (lambda: layers.RepeatVector(2.0), "n must.*2.0"),
        (lambda: layers.ZeroPadding1D(-1), "padding.*>= 0.*-1"),
        (lambda: layers.ZeroPadding1D((1, 2, 3)), r"padding.*pair.*\(1, 2, 3\)"),
        (lambda: layers.ZeroPadding1D(data_format="channels_first"), "data_format"),
        (lambda: layers.Cropping1D((1, -2)), r"cropping\[1\].*>= 0.*-2"),
        (lambda: layers.Cropping1D(1.5), "cropping.*1.5"),
        (lambda: layers.Cropping2D(-1), "cropping.*>= 0.*-1"),
        (lambda: layers.Cropping2D((1, 2, 3)), r"cropping.*pair.*\(1, 2, 3\)"),
        (lambda: layers.Cropping2D(((1, 2), "ab")), "cropping.*'ab'"),
        (lambda: layers.Cropping2D(data_format="channels_first"), "data_format"),
        (lambda: layers.UpSampling1D(0), "size.*>= 1.*0"),
        (lambda: layers.UpSampling1D((2,)), r"size.*\(2,\)"),
        (lambda: layers.SeparableConv1D(4, 2, padding="causal"), "padding.*'causal'"),
    ],
)
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Permute((2, 1), name="mine"), (4,)),
        (layers.RepeatVector(2, name="mine"), (4, 2)),
        (layers.ZeroPadding1D(name="mine"), (4,)),
        (layers.UpSampling1D(name="mine"), (4, 4, 1)),
        (layers.Cropping1D((2, 2), name="mine"), (4, 3)),
        (layers.Cropping2D(((0, 0), (3, 2)), name="mine"), (9, 5, 1)),
        (layers.Cropping2D(name="mine"), (9, 5)),
    ],
)
def test_wrong_input_shapes_are_named(layer: layers.Layer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="'mine'") as error:
        nnfast.Sequential([layers.Input(shape), layer])
    assert str(shape) in str(error.value)

"""Layers that merge several inputs, the functions for them, and the operators of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers

ELEMENTWISE = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]


def inputs(*shapes: tuple[int, ...]) -> list[Any]:
    return [nnfast.Input(shape) for shape in shapes]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_layers_broadcast_from_the_last_axis(name: str) -> None:
    layer = layers.TABLE[name]()
    for shapes, expected in (
        (((4,), (4,)), (4,)),
        (((4,), (1,)), (4,)),
        (((3, 4), (4,)), (3, 4)),
        (((1, 4), (3, 1)), (3, 4)),
        (((2, 3, 1), (1, 5)), (2, 3, 5)),
    ):
        assert layer(inputs(*shapes)).shape == (None, *expected)
    with pytest.raises(ValueError, match=rf"{name} layer .* cannot broadcast .*\(4,\), \(5,\)"):
        layer(inputs((4,), (5,)))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_functions_make_layers(name: str) -> None:
    function = getattr(layers, name.lower())
    y = function(inputs((4,), (4,)), name="it")
    assert (y.name, y.shape) == ("it", (None, 4))
    assert type(y.node.layer).__name__ == name


def test_many_inputs_are_merged_but_subtract_takes_two() -> None:
    assert layers.add(inputs(*[(2,)] * 5)).shape == (None, 2)
    assert layers.average(inputs((2,))).shape == (None, 2)
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"exactly 2 inputs; received {count}"):
            layers.subtract(inputs(*[(2,)] * count))


@pytest.mark.parametrize("x", [[], nnfast.Input((2,)), None])
def test_merging_layers_take_a_list(x: Any) -> None:
    with pytest.raises(ValueError, match="must be called on a list of at least 1 input"):
        layers.Add()(x)


def test_batches_of_different_sizes_are_refused() -> None:
    a, b, c = (nnfast.Input((4,), batch_size=size) for size in (2, 3, None))
    assert layers.add([a, c]).shape == (2, 4)
    with pytest.raises(ValueError, match=r"different sizes.*\(2, 4\), \(3, 4\)"):
        layers.add([a, b])


@pytest.mark.parametrize(
    ("axis", "shapes", "expected"),
    [
        (-1, [(4,), (2,), (1,)], (7,)),
        (1, [(2, 3), (5, 3)], (7, 3)),
        (2, [(2, 3), (2, 1)], (2, 4)),
        (-2, [(8, 8, 3), (8, 1, 3)], (8, 9, 3)),
    ],
)
def test_concatenate_adds_the_sizes_of_an_axis(
    axis: int, shapes: list[tuple[int, ...]], expected: tuple[int, ...]
) -> None:
    assert layers.concatenate(inputs(*shapes), axis).shape == (None, *expected)
    layer = layers.Concatenate(axis=axis, name="c")
    assert layers.deserialize(layers.serialize(layer)).get_config() == {"name": "c", "axis": axis}


def test_concatenate_refuses_other_shapes_and_axes() -> None:
    for shapes in ([(2, 3), (3, 4)], [(2, 3), (3,)]):
        with pytest.raises(ValueError, match="requires samples of equal shapes except for axis"):
            layers.concatenate(inputs(*shapes))
    with pytest.raises(ValueError, match=r"has no axis 3 in samples of shape \(4,\)"):
        layers.concatenate(inputs((4,), (4,)), axis=3)
    with pytest.raises(ValueError, match="axis must not be 0, the axis of the batch"):
        layers.Concatenate(axis=0)
    with pytest.raises(TypeError, match="axis must be an integer"):
        layers.Concatenate(axis="1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("axes", "shapes", "expected"),
    [
        (1, [(4,), (4,)], (1,)),
        (-1, [(3, 4), (5, 4)], (3, 5)),
        (1, [(3, 4), (3, 5)], (4, 5)),
        ((2, 1), [(3, 4), (4, 5)], (3, 5)),
        ((1, 2), [(3, 4), (5, 3)], (4, 5)),
        ((1, -1), [(4,), (6, 4)], (6,)),
    ],
)
def test_dot_leaves_the_other_axes(
    axes: Any, shapes: list[tuple[int, ...]], expected: tuple[int, ...]
) -> None:
    assert layers.dot(inputs(*shapes), axes, normalize=True).shape == (None, *expected)


def test_dot_refuses_other_sizes_and_axes() -> None:
    with pytest.raises(ValueError, match=r"equal sizes; .*\(3,\) and \(4,\) with axes=1"):
        layers.dot(inputs((3,), (4,)), axes=1)
    with pytest.raises(ValueError, match=r"a pair of them; received \(1, 2, 3\)"):
        layers.Dot((1, 2, 3))
    with pytest.raises(TypeError, match="each of axes must be an integer"):
        layers.Dot((1, "a"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="axes must not be 0"):
        layers.Dot(0)


# ---- operators -----------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)

AFFINE: dict[str, Callable[[Any], Any]] = {
    "x + 2": lambda x: x + 2,
    "2 + x": lambda x: 2 + x,
    "x - 2": lambda x: x - 2,
    "2 - x": lambda x: 2 - x,
    "x * 2": lambda x: x * np.float32(2),
    "2 * x": lambda x: 2 * x,
    "x / 2": lambda x: x / 2,
    "-x": lambda x: -x,
    "x + 0": lambda x: x + 0,
    "x * 0": lambda x: x * 0,
}


@pytest.mark.parametrize("text", AFFINE)
def test_operators_with_numbers_compute(text: str) -> None:
    x = nnfast.Input((3,))
    model = nnfast.Model(x, AFFINE[text](layers.Activation("tanh")(x)))
    np.testing.assert_allclose(model.predict(X), AFFINE[text](np.tanh(X)), rtol=1e-5, atol=1e-6)
    copy = nnfast.models.model_from_json(model.to_json())
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("make", "kind", "name", "shape"),
    [
        (lambda x, y: x + y, "Add", "add", (3,)),
        (lambda x, y: x - y, "Subtract", "subtract", (3,)),
        (lambda x, y: x * y, "Multiply", "multiply", (3,)),
        (lambda x, y: x / y, "Arithmetic", "divide", (3,)),
        (lambda x, y: x**y, "Arithmetic", "power", (3,)),
        (lambda x, y: x**2, "Arithmetic", "power", (3,)),
        (lambda x, y: 2**x, "Arithmetic", "power", (3,)),
        (lambda x, y: 1 / x, "Arithmetic", "divide", (3,)),
        (lambda x, y: x + np.ones(3), "Arithmetic", "add", (3,)),
        (lambda x, y: np.ones((1, 3)) * x, "Arithmetic", "multiply", (3,)),
        (lambda x, y: x[:, 0], "GetItem", "get_item", ()),
        (lambda x, y: x[:, -2:], "GetItem", "get_item", (2,)),
    ],
)
def test_operators_make_layers_that_are_saved(
    make: Callable[[Any, Any], Any], kind: str, name: str, shape: tuple[int, ...]
) -> None:
    nnfast.keras.backend.clear_session()
    x, y = inputs((3,), (3,))
    made = make(x, y)
    layer = made.node.layer
    assert (type(layer).__name__, layer.name, made.shape) == (kind, name, (None, *shape))
    copy = layers.deserialize(layers.serialize(layer))
    assert copy.get_config() == layer.get_config()


def test_slices_have_the_shapes_of_numpy() -> None:
    array = np.empty((7, 5, 6, 2))
    x = nnfast.Input(array.shape[1:])
    for key in (
        np.s_[:, 1:3],
        np.s_[:, ::2, -1],
        np.s_[:, ..., 0],
        np.s_[..., -1],
        np.s_[:, :, 4:1:-1],
        np.s_[:, 4, 5, 1],
        np.s_[:],
        np.s_[:, 3:100],
    ):
        assert x[key].shape[1:] == array[key].shape[1:]


def test_operators_refuse_what_they_cannot_compute() -> None:
    x, y = inputs((3,), (2, 3))
    with pytest.raises(ValueError, match="out of bounds for axis 1 of size 3"):
        x[:, 3]
    with pytest.raises(ValueError, match="batch must be taken whole"):
        x[0]
    with pytest.raises(ValueError, match="2 axes"):
        y[:, 0, 0, 0]
    with pytest.raises(TypeError, match="integer or a slice"):
        x[:, None]
    with pytest.raises(ValueError, match="step of a slice"):
        x[:, ::0]
    with pytest.raises(ValueError, match="equally many axes"):
        x + y
    with pytest.raises(TypeError, match="a number or an array"):
        x + "1"
    with pytest.raises(ValueError, match="divided by 0"):
        x / 0
    with pytest.raises(ValueError, match="finite"):
        x * np.array([1.0, np.inf, 2.0])
    for wrong in (np.ones((2, 3)), np.ones((1, 1, 3))):
        with pytest.raises(ValueError, match="an axis of size 1; received an array of shape"):
            x * wrong
    with pytest.raises(ValueError, match=r"cannot broadcast .*\(3,\), \(2,\)"):
        x * np.ones(2)
    with pytest.raises(ValueError, match="divided by 0"):
        x / np.array([1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="base of a power"):
        np.array([1.0, -1.0, 2.0]) ** x
    for use in (bool, iter, float, np.asarray):
        with pytest.raises((TypeError, ValueError), match="symbolic tensor"):
            use(x)

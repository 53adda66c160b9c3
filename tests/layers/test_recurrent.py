"""Recurrent layers agree with NumPy, and their gradients with central differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from reference_recurrent import recurrent_outputs

import nnfast
from nnfast import layers
from nnfast._engine import core

Array = NDArray[Any]

CELLS: dict[str, Callable[..., layers.Layer]] = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "GRU, reset before": partial(layers.GRU, reset_after=False),
    "SimpleRNN": layers.SimpleRNN,
}
# Steps, features, units and rows.
SIZES = [(1, 1, 1, 1), (4, 1, 16, 5), (5, 3, 5, 9), (3, 17, 33, 30), (7, 2, 48, 50), (2, 40, 70, 3)]


def single(cell: str, steps: int, features: int, units: int, **options: Any) -> Any:
    """Return a float64 model of one layer with random weights."""
    x = nnfast.Input((steps, features))
    layer = CELLS[cell](units, recurrent_initializer="zeros", **options)
    model = nnfast.Sequential([x, layer], dtype="float64")
    randomize(model)
    return model


def outputs(model: Any, x: Array) -> Array:
    """Return the outputs of recurrent layers, computed in NumPy."""
    for layer in model.layers:
        x = recurrent_outputs(layer, x, layer.named_weights)
    return x


def sequences(rows: int, steps: int, features: int) -> Array:
    return np.random.default_rng(rows).normal(size=(rows, steps, features))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_equal_those_of_the_reference(cell: str, sizes: tuple[int, ...]) -> None:
    steps, features, units, rows = sizes
    x = sequences(rows, steps, features)
    for options in (
        {},
        {"return_sequences": True},
        {"return_sequences": True, "go_backwards": True, "use_bias": False},
        {"go_backwards": True, "activation": "softsign"},
    ):
        model = single(cell, steps, features, units, **options)
        assert_allclose(model.predict(x), outputs(model, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_a_row_has_the_bits_that_it_has_in_a_batch(cell: str, dtype: str, steps: int) -> None:
    """A single row with few steps reads the weights where they are."""
    x = sequences(61, steps, 3).astype(dtype)
    stack = [nnfast.Input((steps, 3)), CELLS[cell](21, return_sequences=True), CELLS[cell](16)]
    model = nnfast.Sequential(stack, dtype=dtype)
    whole = model.predict(x)
    for rows in (slice(0, 1), slice(60, 61), slice(7, 12), slice(30, 60)):
        assert_array_equal(model.predict(x[rows]), whole[rows])
    model.compile("sgd", "mse")  # in training, the forward pass keeps all steps
    assert_array_equal(model.predict_on_batch(x), whole)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True, "go_backwards": True},
        {"use_bias": False, "go_backwards": True},
        {"activation": "relu", "recurrent_activation": "hard_sigmoid", "return_sequences": True},
        {"activation": "elu", "recurrent_activation": "tanh"},
        {"activation": "silu", "recurrent_activation": "mish", "return_sequences": True},
    ],
)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_central_differences(
    cell: str, steps: int, options: dict[str, Any]
) -> None:
    if cell == "SimpleRNN":
        options = {name: value for name, value in options.items() if "recurrent" not in name}
    x = sequences(6, steps, 2)
    model = nnfast.Sequential(
        [
            nnfast.Input((steps, 2)),
            CELLS[cell](2, return_sequences=True),
            CELLS[cell](3, **options),
        ],
        dtype="float64",
    )
    model.compile("sgd", "mse")
    randomize(model)
    arrays = [w for layer in model.layers for w in layer.named_weights.values()]
    y = np.random.default_rng(1).normal(size=model.predict(x).shape)
    _, gradients = model.loss_and_grad(x, y)

    def loss() -> float:
        return float(((outputs(model, x) - y) ** 2).mean())

    for found, expected in zip(gradients, differences(loss, arrays), strict=True):
        assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    (expected,) = differences(lambda: loss() * len(x), [x])
    assert_allclose(model.input_gradient(x, y), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("units", "rows", "activation"), [(1, 5, "tanh"), (17, 9, "tanh"), (40, 30, "gelu")]
)
@pytest.mark.parametrize("cell", CELLS)
def test_directional_derivatives_of_larger_layers(
    cell: str, units: int, rows: int, activation: str
) -> None:
    x = sequences(rows, 4, 19)
    model = single(cell, 4, 19, units, activation=activation, return_sequences=True)
    model.compile("sgd", "mse")
    y = np.random.default_rng(1).normal(size=(rows, 4, units))
    _, gradients = model.loss_and_grad(x, y)
    weights = model.get_weights()
    for k, gradient in enumerate(gradients):
        direction = np.random.default_rng(k).normal(size=gradient.shape)
        sides = []
        for h in (1e-5, -1e-5):
            model.set_weights([*weights[:k], weights[k] + h * direction, *weights[k + 1 :]])
            sides.append(((outputs(model, x) - y) ** 2).mean())
        slope = (sides[0] - sides[1]) / 2e-5
        assert_allclose((gradient * direction).sum(), slope, rtol=1e-6, atol=1e-8)
        model.set_weights(weights)


@pytest.fixture
def any_threads() -> Any:
    yield
    core.force_threads(0)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_number_of_threads_does_not_change_a_bit(
    cell: str, normalized: bool, any_threads: None
) -> None:
    """Batch normalization makes the threads share the whole batch."""
    x, y = sequences(150, 5, 3), np.random.default_rng(0).normal(size=(150, 1))
    results = []
    for threads in (1, 2, 3, 4, 7):
        nnfast.set_seed(1)
        core.force_threads(threads)
        model = nnfast.Sequential(
            [
                nnfast.Input((5, 3)),
                CELLS[cell](18, return_sequences=True),
                *([layers.BatchNormalization()] if normalized else []),
                CELLS[cell](7),
                layers.Dense(1),
            ]
        )
        model.compile("adam", "mse")
        model.fit(x, y, batch_size=70, epochs=2, verbose=0)
        results.append([*model.get_weights(), model.predict(x)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_memory_is_not_read_before_it_is_written(cell: str, steps: int) -> None:
    x = sequences(23, steps, 3)
    results = []
    for poisoned in (False, True):
        nnfast.set_seed(1)
        core.poison(poisoned)
        try:
            stack = [CELLS[cell](5, return_sequences=True), CELLS[cell](18, activation="gelu")]
            model = nnfast.Sequential([nnfast.Input((steps, 3)), *stack, layers.Dense(1)])
            model.compile("adam", "mse")
            model.fit(x, np.ones((23, 1)), batch_size=19, epochs=2, verbose=0)
            results.append([*model.get_weights(), model.predict(x), model.input_gradient(x)])
        finally:
            core.poison(False)
    for a, b in zip(*results, strict=True):
        assert np.isfinite(a).all()
        assert_array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_sequences_go_through_other_layers(cell: str) -> None:
    """The layers between and behind read the steps in their own layouts."""
    model = nnfast.Sequential(
        [
            nnfast.Input((6, 3)),
            layers.Conv1D(5, 2, padding="same"),
            CELLS[cell](7, return_sequences=True),
            layers.LayerNormalization(),
            layers.Dense(4, "tanh"),
            layers.Dropout(0.0),
            CELLS[cell](5, return_sequences=True, activity_regularizer="l2"),
            layers.Flatten(),
            layers.Dense(2),
        ],
        dtype="float64",
    )
    randomize(model)
    model.compile("sgd", "mse")
    x, y = sequences(20, 6, 3), np.random.default_rng(0).normal(size=(20, 2))
    _, gradients = model.loss_and_grad(x, y)
    arrays = [w for layer in model.layers for w in layer.named_weights.values()]
    expected = differences(lambda: float(model.evaluate(x, y, verbose=0)), arrays[-4:])
    for found, wanted in zip(gradients[-4:], expected, strict=True):
        assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_frozen_layers_pass_the_gradient_on(cell: str) -> None:
    model = nnfast.Sequential(
        [
            nnfast.Input((4, 3)),
            layers.Dense(3),
            CELLS[cell](6, return_sequences=True, trainable=False),
            CELLS[cell](5),
        ]
    )
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(sequences(40, 4, 3), np.ones((40, 5)), verbose=0)
    n = len(model.layers[1].get_weights())
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [True, True, *([False] * n), *([True] * n)]


@pytest.mark.parametrize("cell", CELLS)
def test_keras_defaults_are_accepted(cell: str) -> None:
    defaults = {"dropout": 0.0, "recurrent_dropout": 0.0, "return_state": False, "seed": None}
    defaults |= {"stateful": False, "implementation": 2, "zero_output_for_mask": False}
    if cell != "SimpleRNN":
        defaults["use_cudnn"] = "auto"
    layer = CELLS[cell](3, name="a", **defaults)
    assert layer.get_config() == CELLS[cell](3, name="a").get_config()


def test_the_bias_of_the_forget_gate_starts_at_one() -> None:
    bias = {"bias_initializer": nnfast.initializers.Constant(0.5), "input_shape": (2, 3)}
    for forget, expected in ((True, [0.5, 1.0, 0.5, 0.5]), (False, [0.5] * 4)):
        layer = layers.LSTM(2, unit_forget_bias=forget, **bias)
        nnfast.Sequential([layer])
        assert_array_equal(layer.bias, np.repeat(expected, 2))
        assert layer.bias_initializer == nnfast.initializers.Constant(0.5)
    recurrent = np.asarray(layer.recurrent_kernel, np.float64)
    assert_allclose(recurrent @ recurrent.T, np.eye(2), atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_wrong_arguments_are_named(cell: str) -> None:
    for options, message in (
        ({"units": 0}, "units"),
        ({"units": 2.5}, "units"),
        ({"return_sequences": "yes"}, "return_sequences"),
        ({"activation": "softmax"}, "activation of a recurrent layer"),
        ({"activation": "tan"}, "tan"),
        ({"activation": layers.ReLU(max_value=0.1)}, "activation of a recurrent layer"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"recurrent_dropout": np.ones(2)}, "recurrent_dropout"),
        ({"return_state": "x"}, "return_state"),
        ({"stateful": "no"}, "stateful"),
        ({"zero_output_for_mask": None}, "zero_output_for_mask"),
        ({"use_biases": True}, "use_biases"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            CELLS[cell](**{"units": 2, **options})
    called = CELLS[cell](2, name="called")
    x = nnfast.Input((4, 3))
    with pytest.raises(ValueError, match="mask must be None, because layer 'called'"):
        called(x, mask=np.ones((1, 4)))
    with pytest.raises(TypeError, match="'called' can be called with symbolic tensors"):
        called(x, initial_state=np.ones((1, 2)))
    with pytest.raises(
        ValueError, match=r"'called' takes an input and . initial states; received 4"
    ):
        called(x, initial_state=[nnfast.Input((2,)) for _ in range(3)])
    n = called.cell.n_states
    with pytest.raises(ValueError, match=r"initial_state of layer 'called' .* \(2,\)"):
        called(x, initial_state=[nnfast.Input((5,)) for _ in range(n)])
    layer = CELLS[cell](2, name="mine")
    for shape in ((), (3,), (2, 3, 4), (0, 3)):
        with pytest.raises(
            ValueError, match=r"'mine' expects sequences of shape \(steps, features"
        ):
            layer.infer_shape(shape)


@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_that_is_called_twice_adds_up_its_gradients(cell: str) -> None:
    x = nnfast.Input((3, 4), dtype="float64")
    layer = CELLS[cell](4, return_sequences=True)
    model = nnfast.Model(x, layers.add([layer(layer(x)), x]))
    randomize(model)
    model.compile("sgd", "mse")
    data, y = sequences(9, 3, 4), np.random.default_rng(1).normal(size=(9, 3, 4))
    _, gradients = model.loss_and_grad(data, y)
    arrays = list(layer.named_weights.values())

    def loss() -> float:
        once = recurrent_outputs(layer, data, layer.named_weights)
        twice = recurrent_outputs(layer, once, layer.named_weights)
        return float(((twice + data - y) ** 2).mean())

    for found, expected in zip(gradients, differences(loss, arrays), strict=True):
        assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("features", [2, 5])
@pytest.mark.parametrize("cell", CELLS)
def test_rounding_errors_do_not_grow_with_the_number_of_steps(cell: str, features: int) -> None:
    """Single float32 sums of 30,000 equal terms would have relative errors of 2e-4."""
    steps = 30_000
    x, y = np.ones((1, steps, features)), np.zeros((1, steps, 4))
    gradients, weights = [], None
    for dtype in ("float64", "float32"):
        nnfast.set_seed(1)
        layer = CELLS[cell](4, return_sequences=True)
        model = nnfast.Sequential([nnfast.Input((steps, features)), layer], dtype=dtype)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        model.compile("sgd", "mse")
        gradients.append(model.loss_and_grad(x, y)[1])
    for right, found in zip(*gradients, strict=True):
        assert np.abs(found - right).max() < 5e-5 * np.abs(right).max()

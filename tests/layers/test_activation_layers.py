"""Layers that only apply an activation function agree with NumPy, also within other layers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from helpers import differences, layer_outputs, plain_loss, randomize
from numpy.testing import assert_allclose, assert_array_equal

import nnfast
from nnfast import _engine, activations, constraints, layers, models, optimizers
from nnfast.layers import ELU, Conv2D, Dense, Flatten, Input, LeakyReLU, PReLU, ReLU, Softmax

THREADS = (1, 2, 3, 4, 7)
X = np.ones((2, 3))
Make = Callable[[], layers.Layer]

# name: (shape of a sample, layer)
CASES: dict[str, tuple[tuple[int, ...], Make]] = {
    "LeakyReLU": ((19,), LeakyReLU),
    "LeakyReLU, slope 0": ((19,), lambda: LeakyReLU(0.0)),
    "ELU": ((3, 7), lambda: ELU(0.5)),
    "ReLU": ((19,), ReLU),
    "ReLU, slope": ((19,), lambda: ReLU(negative_slope=0.25)),
    "ReLU, 6": ((19,), lambda: ReLU(6.0)),
    "ReLU, limit": ((19,), lambda: ReLU(0.75)),
    "ReLU, limit 0": ((19,), lambda: ReLU(0.0, negative_slope=0.5)),
    "ReLU, threshold": ((5, 4, 3), lambda: ReLU(threshold=0.5)),
    "ReLU, all": ((5, 4, 3), lambda: ReLU(1.5, 0.25, 0.5)),
    "ReLU, limit below threshold": ((19,), lambda: ReLU(0.25, 0.25, 0.5)),
    "PReLU of rows": ((19,), PReLU),
    "PReLU, all shared": ((40,), lambda: PReLU(shared_axes=1)),
    "PReLU of sequences": ((5, 19), lambda: PReLU(shared_axes=[1])),
    "PReLU of images": ((3, 5, 18), lambda: PReLU(shared_axes=[1, 2])),
    "PReLU of large images": ((9, 10, 3), lambda: PReLU(shared_axes=[1, 2])),
    "PReLU, last axis shared": ((3, 5), lambda: PReLU(shared_axes=[2])),
    "PReLU, middle axis shared": ((2, 3, 4), lambda: PReLU(shared_axes=[2])),
    "PReLU, outer axes shared": ((2, 3, 4), lambda: PReLU(shared_axes=(3, 1))),
    "Softmax": ((19,), Softmax),
    "Softmax of images": ((2, 3, 4), Softmax),
    "Softmax, first axis": ((5, 3), lambda: Softmax(axis=1)),
    "Softmax, middle axis": ((2, 3, 4), lambda: Softmax(axis=-2)),
    "Softmax, two axes": ((2, 3, 4), lambda: Softmax(axis=[1, 2])),
    "Softmax, outer axes": ((2, 3, 4), lambda: Softmax(axis=(1, -1))),
    "Softmax, all axes": ((2, 3, 4), lambda: Softmax(axis=(1, 2, 3))),
}


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


def model_of(*stack: layers.Layer, shape: tuple[int, ...], dtype: str = "float64") -> Any:
    model = nnfast.Sequential([Input(shape), *stack], dtype=dtype)
    randomize(model)
    model.compile(optimizers.SGD(0.0), "mse")
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_agree_with_numpy(name: str, dtype: str) -> None:
    shape, make = CASES[name]
    model = model_of(make(), shape=shape, dtype=dtype)
    x = np.random.default_rng(0).normal(size=(7, *shape)).astype(dtype)
    weights = {key: np.float64(w) for key, w in model.layers[0].named_weights.items()}
    expected = layer_outputs(model.layers[0], x.astype(np.float64), weights)
    assert_allclose(model.predict(x), expected, rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_central_differences(name: str) -> None:
    shape, make = CASES[name]
    n = min(math.prod(shape), 40)
    dense = Dense(math.prod(shape), input_dim=2)
    model = model_of(dense, layers.Reshape(shape), make(), Flatten(), Dense(2), shape=(2,))
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    weights = [np.array(w) for w in model.get_weights()]
    loss, gradient = model.loss_and_grad(x, y)
    for first, second in zip(gradient, model.loss_and_grad(x, y)[1], strict=True):
        assert_array_equal(first, second)

    def plain() -> float:
        return plain_loss(model, weights, x, y, training=False)

    assert loss == pytest.approx(plain(), rel=1e-12)
    # The layer's own weights, and some of those before it, which show its input gradient.
    for w, exact in zip(weights[:1] + weights[2:-2], gradient[:1] + gradient[2:-2], strict=True):
        views = [w[:, :n]] if w.ndim == 2 and len(w) == 2 else [w]
        (expected,) = differences(plain, views)
        assert_allclose(
            exact.reshape(w.shape)[:, :n] if len(w) == 2 == w.ndim else exact,
            expected,
            rtol=1e-5,
            atol=1e-8,
        )


def results(threads: int, dtype: str, rows: int) -> list[Any]:
    """Return the losses, weights and gradients of a network with the layers that have weights."""
    _engine.force_threads(threads)
    nnfast.set_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 6, 5, 3)), rng.normal(size=(rows, 2))
    model = nnfast.Sequential(
        [
            *(Input((6, 5, 3)), Conv2D(19, 2), PReLU(shared_axes=[1, 2]), Conv2D(4, 2)),
            *(PReLU("ones", shared_axes=[2]), Softmax(axis=(1, 2)), ReLU(0.5, 0.25, 0.125)),
            *(Flatten(), Dense(40), PReLU(), Dense(33), PReLU(shared_axes=[1]), Dense(2)),
        ],
        dtype=dtype,
    )
    model.compile(optimizers.Adam(0.01), "mse")
    history = model.fit(x, y, batch_size=rows // 2, epochs=2, verbose=0)
    return [
        *(history.history["loss"], *model.get_weights(), model.predict(x)),
        *(model.input_gradient(x, y), *model.loss_and_grad(x, y)[1]),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [5, 90])
def test_results_do_not_depend_on_the_number_of_threads(
    rows: int, dtype: str, free_threads: None
) -> None:
    first, *others = (results(threads, dtype, rows) for threads in THREADS)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert_array_equal(a, b)
            assert np.isfinite(a).all()


# name: (layer, the same as an argument of other layers)
FUNCTIONS: dict[str, tuple[Make, Any]] = {
    "LeakyReLU": (lambda: LeakyReLU(0.1), activations.Activation("leaky_relu", 0.1)),
    "ELU": (ELU, "elu"),
    "ELU, alpha": (lambda: ELU(0.5), partial(activations.elu, alpha=0.5)),
    "ReLU": (ReLU, "relu"),
    "ReLU, slope": (
        lambda: ReLU(negative_slope=0.25),
        partial(activations.relu, negative_slope=0.25),
    ),
    "ReLU, 6": (lambda: ReLU(6), "relu6"),
    "ReLU, all": (
        lambda: ReLU(1.5, 0.25, 0.5),
        partial(activations.relu, negative_slope=0.25, max_value=1.5, threshold=0.5),
    ),
    "Softmax": (Softmax, "softmax"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_layer_gives_the_bits_of_the_same_activation(name: str) -> None:
    """It is fused into the layer before it, or passed to that as a layer."""
    make, activation = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5, 6, 2)), rng.normal(size=(40, 3))
    found: list[Any] = []
    start: list[Any] = []
    for way in ("layer", "argument", "layer as argument", "Activation"):
        inner = {"argument": activation, "layer as argument": make()}.get(way)
        outer = {"layer": make, "Activation": lambda: layers.Activation(make())}.get(way)
        after = [] if outer is None else [outer()]
        model = nnfast.Sequential(
            [
                *(Input((5, 6, 2)), Conv2D(3, 2, activation=inner), *after, Flatten()),
                *(Dense(9, inner), *([] if outer is None else [outer()]), Dense(3)),
            ]
        )
        model.compile("adam", "mse")
        model.set_weights(start := start or model.get_weights())
        fit = model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
        plan = model._built().plan
        kinds = [op["kind"] for op in plan.training.ops]
        found.append([kinds, fit.history["loss"], model.predict(x), *model.get_weights()])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert_array_equal(a, b)


def test_the_first_layer_and_the_last_may_be_activations() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    model = nnfast.Sequential([Input((4,)), PReLU("ones"), Softmax()])
    model.compile("sgd", "categorical_crossentropy")
    y = np.eye(4)[[0, 1, 2, 3, 0, 1]]
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=5, verbose=0)
    assert model.evaluate(x, y, verbose=0) < before
    with pytest.raises(AttributeError):
        layers.PReLU().alpha  # noqa: B018


def test_infinite_inputs_are_limited() -> None:
    x = [[-math.inf, math.inf, math.nan, -1e30]]
    model = nnfast.Sequential([ReLU(2.0, threshold=0.5, input_dim=4)])
    assert_array_equal(model.predict(x), [[0.0, 2.0, math.nan, 0.0]])


def test_leaky_relu_takes_the_older_name_of_its_slope() -> None:
    layer = LeakyReLU(alpha=0.125)
    assert layer.negative_slope == 0.125
    assert "alpha" not in layer.get_config()
    with pytest.raises(ValueError, match="alpha"):
        LeakyReLU(alpha=-1.0)


@pytest.mark.parametrize(
    "thing",
    [ReLU(2.0, 0.5, 0.25), ReLU(3.0), ReLU(6), ReLU(threshold=1.0), ELU(0.5), LeakyReLU(0.1)],
    ids=repr,
)
def test_the_arguments_survive_serialization(thing: Any) -> None:
    dense = Dense(2, activation=thing, input_dim=4)
    config = json.loads(json.dumps(dense.get_config()))
    assert Dense.from_config(config).activation == thing.function  # type: ignore[attr-defined]
    model = nnfast.Sequential([dense, thing])
    copy = models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(5, 4))
    assert_array_equal(copy.predict(x), model.predict(x))
    assert_allclose(thing.function(x), layer_outputs(thing, x, {}), rtol=1e-12)


def test_slopes_have_a_regularizer_and_a_constraint() -> None:
    layer = PReLU("normal", "l2", constraints.NonNeg(), [1], input_shape=(3, 4))
    model = nnfast.Sequential([layer], dtype="float64")
    layer.set_weights([[[-0.5, 0.25, 0.5, 1.0]]])
    model.compile(optimizers.SGD(0.0), "mse")
    assert layer.losses[0] == pytest.approx(0.01 * (0.25 + 0.0625 + 0.25 + 1))
    model.train_on_batch(np.ones((2, 3, 4)), np.ones((2, 3, 4)))
    assert_array_equal(layer.alpha, [[0.0, 0.25, 0.5, 1.0]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LeakyReLU(-0.1), "negative_slope"),
        (lambda: LeakyReLU(None), "negative_slope"),  # type: ignore[arg-type]
        (lambda: ELU(-1.0), "alpha"),
        (lambda: ReLU(-1.0), "max_value"),
        (lambda: ReLU(negative_slope=-1.0), "negative_slope"),
        (lambda: ReLU(threshold=-1.0), "threshold"),
        (lambda: PReLU("zeroes"), "initializer"),
        (lambda: PReLU(shared_axes=0), "shared_axes"),
        (lambda: PReLU(shared_axes=[1, 1]), "shared_axes"),
        (lambda: PReLU(shared_axes="1"), "shared_axes"),  # type: ignore[arg-type]
        (lambda: PReLU(shared_axes=[3]), "no axis 3"),
        (lambda: Softmax(axis=0), "axis"),
        (lambda: Softmax(axis=3), "no axis 3"),
        (lambda: Softmax(axis=[]), "axis"),
        (lambda: Softmax(axis=[1, -2]), "twice"),
        (lambda: Dense(2, Softmax(axis=1)), "axis of softmax must be -1"),
        (lambda: Dense(2, PReLU()), "Expected an activation"),
        (lambda: activations.Activation("tanh", max_value=1.0), "max_value"),
        (lambda: nnfast.kernels.activation_backward(X, X, ReLU(2.0).function), "use a layer"),
    ],
)
def test_wrong_arguments_are_named(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        nnfast.Sequential([Input((2, 3)), make()])


def test_masks_are_refused() -> None:
    x = Input((4,))
    with pytest.raises(ValueError, match="mask"):
        Softmax()(x, mask=Input((4,)))
    assert Softmax()(x, mask=None).shape == (None, 4)


def test_axes_between_too_many_others_are_refused() -> None:
    with pytest.raises(ValueError, match="too many others"):
        nnfast.Sequential([Input((2, 2, 2, 2, 2)), Softmax(axis=[1, 3, 5])])

"""AddLoss adds a penalty to the loss of training and evaluation, and passes its first input on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import differences
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, layers, losses, optimizers
from nnfast.layers import AddLoss, Dense

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(21, 4)), RNG.normal(size=(21, 2)), RNG.uniform(0.5, 2.0, 21)
WEIGHT = 0.3


def hidden(x: Any) -> Any:
    return Dense(5, activation="tanh", name="hidden")(x)


def inner(x: Any) -> Any:
    h = hidden(x)
    return Dense(2, name="out")(AddLoss(WEIGHT)([h, h**2]))


def other_shape(x: Any) -> Any:
    """The penalty has more elements than x, and other layers depend on both."""
    h = hidden(x)
    p = layers.Reshape((2, 3))(Dense(6)(h))
    return layers.add([Dense(2, name="out")(AddLoss(WEIGHT)([h, p * p])), Dense(2)(h)])


def of_the_input(x: Any) -> Any:
    return Dense(2, name="out")(AddLoss(WEIGHT)([x, hidden(x) ** 2]))


def of_the_output(x: Any) -> Any:
    y = Dense(2, activation="sigmoid", name="out")(hidden(x))
    return AddLoss(WEIGHT)([y, y**2])


def of_itself(x: Any) -> Any:
    h = hidden(x)
    return Dense(2, name="out")(AddLoss(WEIGHT)([h, h]))


def twice(x: Any) -> Any:
    layer, h = AddLoss(WEIGHT, activity_regularizer="l2"), hidden(x)
    return Dense(2, name="out")(layer([layer([h, h**2]), h * h * h]))


def negative(x: Any) -> Any:
    h = hidden(x)
    return Dense(2, name="out")(AddLoss(-0.2)([h, h**2]))


# The graph, and its penalty for each row as a function of the hidden layer and a model's tensors.
CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Array, Any], Array]]] = {
    "inner": (inner, lambda h, m: WEIGHT * h**2),
    "other shape": (other_shape, lambda h, m: WEIGHT * outputs(m, "reshape", h) ** 2),
    "of the input": (of_the_input, lambda h, m: WEIGHT * h**2),
    "of the output": (of_the_output, lambda h, m: WEIGHT * outputs(m, "out", h) ** 2),
    "of itself": (of_itself, lambda h, m: WEIGHT * h),
    "twice": (twice, lambda h, m: WEIGHT * (h**2 + h**3) + 2 * 0.01 * h**2),
    "negative": (negative, lambda h, m: -0.2 * h**2),
}


def outputs(model: Any, name: str, h: Array) -> Array:
    """Return what the layer of this name computes for the outputs of the hidden layer."""
    start = next(layer for layer in model.layers if layer.name == "hidden").output
    end = next(layer for layer in model.layers if layer.name.startswith(name)).output
    return np.asarray(nnfast.Model(start, end).predict(h)).reshape(len(h), -1)


def model_of(make: Callable[[Any], Any], loss: Any = "mse", rate: float = 1.0) -> Any:
    nnfast.set_seed(1)
    x = nnfast.Input((4,), dtype="float64")
    model = nnfast.Model(x, make(x))
    model.compile(optimizers.SGD(rate), loss)
    return model


def penalties(name: str, model: Any, x: Array) -> Array:
    """Return the penalty of each row."""
    w, b = model.get_layer("hidden").get_weights()
    return CASES[name][1](np.tanh(x @ w + b), model).sum(axis=1)


@pytest.mark.parametrize("name", CASES)
def test_the_penalty_is_a_mean_over_the_rows_without_sample_weights(name: str) -> None:
    model = model_of(CASES[name][0], rate=0.0)
    penalty = penalties(name, model, X).mean()
    rows = ((model.predict(X) - Y) ** 2).mean(axis=1)
    for weight, plain in ((None, rows.mean()), (W, (W * rows).mean())):
        expected = pytest.approx(plain + penalty, rel=1e-12)
        assert model.evaluate(X, Y, sample_weight=weight, verbose=0) == expected
        assert model.train_on_batch(X, Y, sample_weight=weight) == expected
        assert model.loss_and_grad(X, Y, sample_weight=weight)[0] == expected
        history = model.fit(
            *(X, Y, 8), sample_weight=weight, shuffle=False, validation_data=(X, Y), verbose=0
        ).history
        assert history["loss"] == [expected]
        assert history["val_loss"] == [pytest.approx(rows.mean() + penalty, rel=1e-12)]


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_central_differences(name: str) -> None:
    model = model_of(CASES[name][0])
    weights = model.weights
    expected = differences(lambda: model.evaluate(X, Y, sample_weight=W, verbose=0), weights)
    for gradient, own in zip(model.loss_and_grad(X, Y, W)[1], expected, strict=True):
        assert_allclose(gradient, own, rtol=1e-6, atol=1e-9)
    before = model.get_weights()
    model.train_on_batch(X, Y, sample_weight=W)
    for old, new, own in zip(before, model.get_weights(), expected, strict=True):
        assert_allclose(old - new, own, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_inputs_contain_the_penalty_if_there_are_targets(name: str) -> None:
    model = model_of(CASES[name][0])
    x = X[:3].copy()

    def loss() -> float:
        return 3 * float(model.evaluate(x, Y[:3], verbose=0))

    def largest() -> float:
        return float(model.predict(x).max(axis=1).sum())

    (with_y,), (without,) = differences(loss, [x]), differences(largest, [x])
    assert_allclose(model.input_gradient(x, Y[:3]), with_y, rtol=1e-6, atol=1e-8)
    assert_allclose(model.input_gradient(x), without, rtol=1e-6, atol=1e-8)


def test_a_supplied_gradient_and_a_function_as_loss_have_the_penalty_too() -> None:
    model = model_of(inner)
    start = model.get_weights()
    dout = RNG.normal(size=Y.shape)

    def plain() -> float:
        return float((model.predict(X) * dout).sum() + penalties("inner", model, X).sum() / len(X))

    expected = differences(plain, model.weights)
    model.train_on_gradient(X, dout)
    for old, new, own in zip(start, model.get_weights(), expected, strict=True):
        assert_allclose(old - new, own, rtol=1e-6, atol=1e-9)

    def mse(y: Array, a: Array) -> Any:
        return ((a - y) ** 2).mean(axis=1), a - y

    results = []
    for loss in ("mse", mse):
        model.set_weights(start)
        model.compile(optimizers.SGD(0.1), loss)
        history = model.fit(X, Y, batch_size=8, shuffle=False, verbose=0).history
        results.append([*history["loss"], model.evaluate(X, Y, verbose=0), *model.get_weights()])
    for a, b in zip(*results, strict=True):
        assert_allclose(a, b, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
def test_reductions_do_not_change_the_penalty(reduction: str) -> None:
    model = model_of(inner, losses.MeanSquaredError(reduction=reduction), rate=0.0)
    rows = ((model.predict(X) - Y) ** 2).mean(axis=1)
    plain = (W * rows).sum() / (1 if reduction == "sum" else W.sum())
    expected = plain + penalties("inner", model, X).mean()
    assert model.train_on_batch(X, Y, sample_weight=W) == pytest.approx(expected, rel=1e-12)


def test_of_several_outputs_only_the_total_has_the_penalty() -> None:
    x = nnfast.Input((4,), dtype="float64")
    h = hidden(x)
    a, b = Dense(2, name="a")(AddLoss(WEIGHT)([h, h**2])), Dense(2, name="b")(h)
    model = nnfast.Model(x, [a, b])
    model.compile(optimizers.SGD(0.1), ["mse", "mae"], loss_weights=[0.5, 2.0])
    penalty = penalties("inner", model, X).mean()
    total, first, second = model.evaluate(X, [Y, Y], verbose=0)
    assert total == pytest.approx(0.5 * first + 2 * second + penalty, rel=1e-12)
    assert first == pytest.approx(((model.predict(X)[0] - Y) ** 2).mean(), rel=1e-12)
    expected = differences(lambda: model.evaluate(X, [Y, Y], verbose=0)[0], model.weights)
    before = model.get_weights()
    assert model.train_on_batch(X, [Y, Y])[0] == pytest.approx(total, rel=1e-12)
    for old, new, own in zip(before, model.get_weights(), expected, strict=True):
        assert_allclose((old - new) / 0.1, own, rtol=1e-5, atol=1e-8)


def test_a_frozen_layer_before_the_penalty_is_not_trained() -> None:
    model = model_of(inner)
    model.get_layer("hidden").trainable = False
    before = model.get_weights()
    loss = model.train_on_batch(X, Y)
    assert loss > penalties("inner", model, X).mean()
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False, False, True, True]


def test_a_part_of_the_model_without_the_layer_has_no_penalty() -> None:
    model = model_of(inner)
    part = nnfast.Model(model.input, model.get_layer("hidden").output)
    part.compile("sgd", "mse")
    expected = (part.predict(X) ** 2).mean()
    assert part.evaluate(X, np.zeros((21, 5)), verbose=0) == pytest.approx(expected)


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


@pytest.mark.parametrize("rows", [32, 1200])
def test_the_number_of_threads_changes_no_bit(rows: int, free_threads: None) -> None:
    x, y = RNG.normal(size=(1200, 4)), RNG.normal(size=(1200, 2))
    results = set()
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        model = model_of(other_shape, rate=0.01)
        history = model.fit(x[: 8 * rows], y[: 8 * rows], rows, 2, verbose=0).history
        loss = model.evaluate(x, y, verbose=0)
        results.add((*history["loss"], loss, *(w.tobytes() for w in model.get_weights())))
    assert len(results) == 1


def test_the_layer_in_files_clones_and_configurations(tmp_path: Any) -> None:
    layer = AddLoss(2.5, name="kl")
    assert layer.get_config() == {"name": "kl", "weight": 2.5}
    assert layers.deserialize(layers.serialize(layer)).get_config() == layer.get_config()
    model = model_of(inner)
    model.save(tmp_path / "model")
    copy = nnfast.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile("sgd", "mse")
    expected = model.evaluate(X, Y, verbose=0)
    for each in (copy, nnfast.load_model(tmp_path / "model")):
        assert each.evaluate(X, Y, verbose=0) == expected
        assert_array_equal(each.predict(X), model.predict(X))


def test_wrong_arguments_are_named() -> None:
    x = nnfast.Input((3,))
    for weight in (np.nan, np.inf, "1", None, True):
        with pytest.raises((TypeError, ValueError), match="weight must be a finite number"):
            AddLoss(weight)  # type: ignore[arg-type]
    for wrong in (x, [x], [x, x, x]):
        with pytest.raises(ValueError, match=r"AddLoss layer .* exactly 2 inputs"):
            AddLoss()(wrong)
    with pytest.raises(TypeError, match="symbolic"):
        AddLoss()([X, X])

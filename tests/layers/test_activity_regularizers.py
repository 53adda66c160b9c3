"""Values and gradients of penalties on outputs agree with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import differences, plain_loss, plain_outputs, randomize, trainable
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, layers, models, optimizers, regularizers
from nnfast.layers import Activation, ActivityRegularization, BatchNormalization, Dense

L1, L2, BOTH = regularizers.L1(0.3), regularizers.L2(0.2), regularizers.L1L2(0.1, 0.4)
MSE, CLASSES, BINARY = "mse", "sparse_categorical_crossentropy", "binary_crossentropy"

# name: (layers after an input of five numbers, loss)
CASES: dict[str, tuple[Callable[[], list[layers.Layer]], str]] = {
    "hidden": (lambda: [Dense(6, "tanh", activity_regularizer=BOTH), Dense(2)], MSE),
    "last": (lambda: [Dense(6, "tanh"), Dense(2, activity_regularizer=BOTH)], MSE),
    "all": (
        lambda: [
            Dense(6, "tanh", activity_regularizer=L1),
            Dense(19, "softplus", activity_regularizer=L2, kernel_regularizer=L2),
            Dense(2, "tanh", activity_regularizer=BOTH, bias_regularizer=L1),
        ],
        MSE,
    ),
    # The backward pass of a relu layer applies the derivative of the preceding relu, unless an
    # activity penalty lies between the two.
    "chain of relus": (
        lambda: [
            Dense(9, "relu"),
            Dense(8, "relu", activity_regularizer=BOTH),
            *(Dense(7, "relu"), Dense(2)),
        ],
        MSE,
    ),
    "relu, last": (lambda: [Dense(6, "relu"), Dense(3, "relu", activity_regularizer=L1)], MSE),
    "derivative from the pre-activation": (
        lambda: [Dense(6, "gelu", activity_regularizer=BOTH), Dense(2)],
        MSE,
    ),
    "softmax, of probabilities": (
        lambda: [Dense(6, "tanh"), Dense(3, "softmax", activity_regularizer=BOTH)],
        CLASSES,
    ),
    "softmax, of logits": (
        lambda: [Dense(3, activity_regularizer=BOTH), Activation("softmax")],
        CLASSES,
    ),
    "softmax, in a separate layer": (
        lambda: [Dense(3), Activation("softmax", activity_regularizer=L2)],
        CLASSES,
    ),
    "sigmoid, of probabilities": (
        lambda: [Dense(2, "sigmoid", activity_regularizer=BOTH)],
        BINARY,
    ),
    "softmax, hidden": (
        lambda: [Dense(4, "softmax", activity_regularizer=L2), Dense(3, "softmax")],
        CLASSES,
    ),
    "separate layer": (
        lambda: [Dense(6, "tanh"), ActivityRegularization(0.1, 0.2), Dense(2)],
        MSE,
    ),
    "separate layer, first": (lambda: [ActivityRegularization(l2=0.2), Dense(2)], MSE),
    "separate layer, last": (
        lambda: [Dense(3, "softmax"), ActivityRegularization(l1=0.2)],
        CLASSES,
    ),
    "separate layer only": (lambda: [ActivityRegularization(l2=0.2)], MSE),
    "normalization": (
        lambda: [Dense(6), BatchNormalization(activity_regularizer=BOTH), Activation("relu")],
        MSE,
    ),
    "normalization and activation": (
        lambda: [Dense(6), BatchNormalization(), Activation("tanh", activity_regularizer=BOTH)],
        MSE,
    ),
    "layer norm": (
        lambda: [layers.LayerNormalization(activity_regularizer=L2), Dense(2)],
        MSE,
    ),
    "standardized": (
        lambda: [layers.Normalization(mean=0.5, variance=2.0, activity_regularizer=L2), Dense(2)],
        MSE,
    ),
    "rescaled": (lambda: [layers.Rescaling(0.5, 1.0, activity_regularizer=BOTH), Dense(2)], MSE),
    "rescaled in two steps": (
        lambda: [
            *(layers.Rescaling(2.0), layers.Rescaling(0.5, 1.0, activity_regularizer=BOTH)),
            Dense(2),
        ],
        MSE,
    ),
    "reshaped": (
        lambda: [
            *(Dense(6, "tanh"), layers.Reshape((2, 3), activity_regularizer=L2)),
            layers.Flatten(activity_regularizer=L1),
        ],
        MSE,
    ),
    "linear activation": (
        lambda: [Dense(6, "tanh"), Activation("linear", activity_regularizer=L2), Dense(2)],
        MSE,
    ),
}
M, N_IN = 7, 5


def problem(name: str, rows: int = M) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    make, loss = CASES[name]
    model = nnfast.Sequential([layers.Input((N_IN,)), *make()], dtype="float64")
    randomize(model)
    model.compile(optimizers.SGD(1.0), loss)
    rng = np.random.default_rng(3)
    x, n_out = rng.normal(size=(rows, N_IN)), model.output_shape[1]
    if loss == CLASSES:
        return model, x, rng.integers(0, n_out, rows)
    y = rng.normal(size=(rows, n_out))
    return model, x, (y > 0).astype(float) if loss == BINARY else y


def assert_close(actual: list[Any], expected: list[Any]) -> None:
    scale = max([np.abs(e).max(initial=0.0) for e in expected], default=0.0)
    for a, e in zip(actual, expected, strict=True):
        assert_allclose(a, e, rtol=0, atol=1e-7 * scale)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_agree_with_numpy(name: str, weighted: bool) -> None:
    model, x, y = problem(name)
    weights = model.get_weights()
    weight = np.random.default_rng(2).uniform(0.5, 2.0, M) if weighted else None
    penalty = plain_outputs(model, weights, x, training=False)[1]
    assert penalty > 1e-2

    def plain(training: bool) -> float:
        return plain_loss(model, weights, x, y, training=training, sample_weight=weight)

    # In inference mode, which differs for batch normalization:
    loss, gradient = model.loss_and_grad(x, y, sample_weight=weight)
    assert loss == pytest.approx(plain(False), rel=1e-12)
    assert model.evaluate(x, y, sample_weight=weight, verbose=0) == pytest.approx(loss, rel=1e-12)
    assert_close(gradient, differences(lambda: plain(False), trainable(model, weights)))

    # In training mode, from a step with learning rate 1:
    expected = differences(lambda: plain(True), trainable(model, weights))
    assert model.train_on_batch(x, y, sample_weight=weight) == pytest.approx(plain(True), rel=1e-12)
    step = [w - v for w, v in zip(weights, model.get_weights(), strict=True)]
    assert_close(trainable(model, step), expected)


@pytest.mark.parametrize("name", CASES)
def test_input_gradients_agree_with_differences(name: str) -> None:
    """With y, the gradient is that of the loss plus penalty; without y, of the largest output."""
    model, x, y = problem(name)
    weights = model.get_weights()
    with_y, without = np.empty_like(x), np.empty_like(x)
    for i in range(M):
        sample = x[i : i + 1].copy()

        def loss(a: NDArray[Any] = sample, i: int = i) -> float:
            return plain_loss(model, weights, a, y[i : i + 1], training=False)

        def largest(a: NDArray[Any] = sample) -> float:
            return float(plain_outputs(model, weights, a, training=False)[0].max())

        (with_y[i : i + 1],) = differences(loss, [sample])
        (without[i : i + 1],) = differences(largest, [sample])
    assert_close([model.input_gradient(x, y)], [with_y])
    assert_close([model.input_gradient(x)], [without])


@pytest.mark.parametrize("name", CASES)
def test_train_on_gradient_adds_the_penalties(name: str) -> None:
    model, x, _ = problem(name)
    weights = model.get_weights()
    dout = np.random.default_rng(4).normal(size=(M, model.output_shape[1]))

    def plain() -> float:
        a, penalties = plain_outputs(model, weights, x, training=True)
        return float((a * dout).sum()) + penalties

    expected = differences(plain, trainable(model, weights))
    model.train_on_gradient(x, dout)
    step = [w - v for w, v in zip(weights, model.get_weights(), strict=True)]
    assert_close(trainable(model, step), expected)


@pytest.mark.parametrize("name", ["all", "chain of relus", "softmax, of probabilities"])
def test_penalties_are_added_to_user_defined_losses(name: str) -> None:
    model, x, y = problem(name)
    n_out = model.output_shape[1]
    y = np.random.default_rng(4).normal(size=(M, n_out))

    def mse(t: NDArray[Any], p: NDArray[Any]) -> Any:
        return ((p - t) ** 2).mean(axis=1), 2 * (p - t) / n_out

    weights = model.get_weights()
    results = []
    for loss in ("mse", mse):
        model.set_weights(weights)
        model.compile(optimizers.SGD(0.1), loss)
        value, gradient = model.loss_and_grad(x, y)
        results.append(
            [
                *(value, model.evaluate(x, y, verbose=0), model.input_gradient(x, y), *gradient),
                model.fit(x, y, batch_size=3, shuffle=False, verbose=0).history["loss"],
                *model.get_weights(),
            ]
        )
    for a, b in zip(*results, strict=True):
        assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_losses_of_epochs_are_means_over_rows() -> None:
    """An activity penalty is a mean over a batch; an epoch's loss is a mean over all rows."""
    model, x, y = problem("all", rows=19)
    model.compile(optimizers.SGD(0.0), MSE)
    weights = model.get_weights()
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0, validation_data=(x, y))
    expected = plain_loss(model, weights, x, y, training=True)
    # Each batch loss contains all weight penalties and the batch's mean activity penalty. The mean
    # of the batch losses, weighted by the number of rows, is therefore the loss of all rows.
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-12)
    assert history.history["val_loss"][0] == pytest.approx(expected, rel=1e-12)


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [3, 32, 1200])
def test_results_do_not_depend_on_the_number_of_threads(
    batch: int, dtype: str, free_threads: None
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1200, N_IN)), rng.integers(0, 3, 1200)
    x, y = x[: 10 * batch], y[: 10 * batch]
    results = []
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        nnfast.set_seed(0)
        model = nnfast.Sequential(
            [
                *(Dense(17, "relu", activity_regularizer=BOTH), Dense(9, "relu")),
                Dense(3, "softmax", activity_regularizer=L2),
            ],
            dtype=dtype,
        )
        model.compile("adam", CLASSES)
        history = model.fit(x, y, batch_size=batch, epochs=2, verbose=0)
        loss, gradient = model.loss_and_grad(x, y)
        results.append(
            [
                *(np.array(history.history["loss"]), *model.get_weights(), np.array(loss)),
                *(np.array(model.evaluate(x, y, verbose=0)), model.input_gradient(x, y), *gradient),
            ]
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_dropout_and_noise_are_penalized_in_inference() -> None:
    """In inference mode, the outputs of these layers equal their inputs."""
    for layer in (
        layers.Dropout(0.5, activity_regularizer=L2),
        layers.GaussianNoise(1.0, activity_regularizer=L2),
    ):
        model = nnfast.Sequential([layers.Input((N_IN,)), layer], dtype="float64")
        model.compile("sgd", "mse")
        x = np.random.default_rng(0).normal(size=(M, N_IN))
        assert model.evaluate(x, x, verbose=0) == pytest.approx(0.2 * (x**2).sum() / M)
        loss = model.train_on_batch(x, x)
        assert loss > 1.2 * model.evaluate(x, x, verbose=0)


def test_configurations_preserve_activity_regularizers() -> None:
    model, x, _ = problem("all")
    assert [layer.activity_regularizer for layer in model.layers] == [L1, L2, BOTH]
    copy = models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    assert [layer.activity_regularizer for layer in copy.layers] == [L1, L2, BOTH]
    layer = ActivityRegularization(0.1, 0.2)
    assert "activity_regularizer" not in layer.get_config()
    again = layers.deserialize(layers.serialize(layer))
    assert again.activity_regularizer == regularizers.L1L2(0.1, 0.2)
    assert_array_equal(copy.predict(x), model.predict(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dense(1, activity_regularizer="l3"), "Unknown regularizer 'l3'"),
        (lambda: Dense(1, activity_regularizer=0.1), "regularizer"),
        (lambda: ActivityRegularization(l1=-1.0), "l1"),
        (lambda: ActivityRegularization(activity_regularizer="l2"), "l1 and l2"),
    ],
)
def test_wrong_arguments_are_named(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()

"""Batch and layer normalization and standardization agree with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import differences, plain_loss, plain_outputs, randomize, targets, trainable
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from reference import batch_norm, group_norm, layer_norm, standardize

import nnfast
from nnfast import _engine, callbacks, constraints, layers, models, optimizers, regularizers
from nnfast.layers import (
    Activation,
    BatchNormalization,
    Dense,
    Flatten,
    GroupNormalization,
    LayerNormalization,
    Normalization,
    Reshape,
)

M, N_IN = 7, 6
THREADS = (1, 2, 3, 4, 7)
MSE, CLASSES, BINARY = "mse", "sparse_categorical_crossentropy", "binary_crossentropy"

L1L2 = regularizers.L1L2(0.02, 0.03)
FIXED_STATISTICS = {"mean": [0.5, -1.0, 2.0], "variance": [4.0, 0.25, 1.0]}

# name: (layers after an input of six numbers, loss)
CASES: dict[str, tuple[Callable[[], list[layers.Layer]], str]] = {
    "batch, first layer": (lambda: [BatchNormalization(), Dense(3, "tanh"), Dense(2)], MSE),
    "batch, hidden": (
        lambda: [Dense(5), BatchNormalization(), Activation("tanh"), Dense(2)],
        MSE,
    ),
    "batch, last layer": (lambda: [Dense(3, "tanh"), Dense(2), BatchNormalization()], MSE),
    "batch, only layer": (lambda: [BatchNormalization()], MSE),
    "batch, before a softmax": (
        lambda: [Dense(4, "tanh"), Dense(3), BatchNormalization(), Activation("softmax")],
        CLASSES,
    ),
    "batch, before a sigmoid": (
        lambda: [Dense(2), BatchNormalization(), Activation("sigmoid")],
        BINARY,
    ),
    # The derivative of gelu needs its input, which must be kept; relu's needs its output.
    "batch, before gelu": (
        lambda: [Dense(5), BatchNormalization(), Activation("gelu"), Dense(2)],
        MSE,
    ),
    "batch, before relu": (
        lambda: [Dense(5), BatchNormalization(), Activation("relu"), Dense(2)],
        MSE,
    ),
    "batch, after relu": (lambda: [Dense(9, "relu"), BatchNormalization(), Dense(2)], MSE),
    "batch, no beta": (lambda: [Dense(5), BatchNormalization(center=False), Dense(2, "tanh")], MSE),
    "batch, no gamma": (lambda: [Dense(5), BatchNormalization(scale=False), Dense(2, "tanh")], MSE),
    "batch, no gamma and beta": (
        lambda: [Dense(5), BatchNormalization(center=False, scale=False), Dense(2, "tanh")],
        MSE,
    ),
    "batch, no gamma and beta, first layer": (
        lambda: [BatchNormalization(center=False, scale=False), Dense(2, "tanh")],
        MSE,
    ),
    "batch, regularized": (
        lambda: [
            Dense(5),
            BatchNormalization(gamma_regularizer=L1L2, beta_regularizer=L1L2),
            Dense(2, kernel_regularizer="l2", activity_regularizer="l2"),
        ],
        MSE,
    ),
    "batch, another epsilon": (
        lambda: [BatchNormalization(epsilon=0.5), Dense(3, "tanh"), Dense(2)],
        MSE,
    ),
    "batch, samples of 2 axes": (
        lambda: [Reshape((2, 3)), BatchNormalization(), Flatten(), Dense(2, "tanh")],
        MSE,
    ),
    # The number of channels exceeds the SIMD width and is not a multiple of it.
    "batch, twice and wide": (
        lambda: [
            *(Dense(35), BatchNormalization(), Activation("tanh")),
            *(Dense(19), BatchNormalization(), Activation("softplus"), Dense(2)),
        ],
        MSE,
    ),
    "layer, first layer": (lambda: [LayerNormalization(), Dense(3, "tanh"), Dense(2)], MSE),
    "layer, hidden": (
        lambda: [Dense(5), LayerNormalization(), Activation("tanh"), Dense(2)],
        MSE,
    ),
    "layer, last layer": (lambda: [Dense(3), LayerNormalization()], MSE),
    "layer, only layer": (lambda: [LayerNormalization()], MSE),
    "layer, before a softmax": (
        lambda: [Dense(3), LayerNormalization(), Activation("softmax")],
        CLASSES,
    ),
    "layer, before gelu": (
        lambda: [Dense(5), LayerNormalization(), Activation("gelu"), Dense(2)],
        MSE,
    ),
    "layer, no gamma and beta": (
        lambda: [Dense(5), LayerNormalization(center=False, scale=False), Dense(2)],
        MSE,
    ),
    "layer, no beta": (lambda: [Dense(5), LayerNormalization(center=False), Dense(2)], MSE),
    "layer, no gamma": (lambda: [Dense(5), LayerNormalization(scale=False), Dense(2)], MSE),
    "layer, regularized": (
        lambda: [Dense(5), LayerNormalization(gamma_regularizer=L1L2, beta_regularizer="l2")],
        MSE,
    ),
    "layer, last of 2 axes": (
        lambda: [Reshape((2, 3)), LayerNormalization(), Flatten(), Dense(2, "tanh")],
        MSE,
    ),
    "layer, all of 2 axes": (
        lambda: [Reshape((2, 3)), LayerNormalization(axis=[1, 2]), Flatten(), Dense(2, "tanh")],
        MSE,
    ),
    "layer, 2 of 3 axes": (
        lambda: [Reshape((2, 3, 1)), LayerNormalization(axis=(-1, -2)), Flatten(), Dense(2)],
        MSE,
    ),
    "layer, wide": (
        lambda: [
            Dense(35),
            LayerNormalization(),
            Dense(19, "tanh"),
            LayerNormalization(),
            Dense(2),
        ],
        MSE,
    ),
    "group, first layer": (lambda: [GroupNormalization(2), Dense(3, "tanh"), Dense(2)], MSE),
    "group, hidden": (
        lambda: [Dense(6), GroupNormalization(3), Activation("gelu"), Dense(2)],
        MSE,
    ),
    "group, images": (
        lambda: [
            *(Dense(48), Reshape((3, 4, 4)), GroupNormalization(2), Activation("relu"), Flatten()),
            Dense(2),
        ],
        MSE,
    ),
    "group, wide": (
        lambda: [
            *(Dense(114), Reshape((3, 38)), GroupNormalization(2), Activation("softmax")),
            *(Flatten(), Dense(2)),
        ],
        MSE,
    ),
    "group, one, no gamma": (
        lambda: [Reshape((3, 2)), GroupNormalization(1, scale=False), Flatten(), Dense(2)],
        MSE,
    ),
    "group, instances, no beta": (
        lambda: [Reshape((3, 2)), GroupNormalization(-1, center=False), Flatten(), Dense(2)],
        MSE,
    ),
    "group, instances, no gamma and beta": (
        lambda: [
            *(Dense(18), Reshape((2, 3, 3)), GroupNormalization(-1, center=False, scale=False)),
            *(Flatten(), Dense(2)),
        ],
        MSE,
    ),
    "group, first axis": (
        lambda: [
            *(Dense(12), Reshape((4, 3)), GroupNormalization(2, axis=1, epsilon=0.1), Flatten()),
            Dense(2),
        ],
        MSE,
    ),
    "group, middle axis, regularized": (
        lambda: [
            *(Dense(24), Reshape((2, 4, 3))),
            GroupNormalization(2, -2, gamma_regularizer=L1L2, beta_regularizer="l2"),
            *(Flatten(), Dense(2)),
        ],
        MSE,
    ),
    "standardized, first layer": (
        lambda: [Reshape((2, 3)), Normalization(**FIXED_STATISTICS), Flatten(), Dense(2, "tanh")],
        MSE,
    ),
    "standardized, hidden": (
        lambda: [Dense(3, "tanh"), Normalization(**FIXED_STATISTICS), Activation("gelu"), Dense(2)],
        MSE,
    ),
    "standardized, inverted, last layer": (
        lambda: [Dense(3, "tanh"), Normalization(invert=True, **FIXED_STATISTICS)],
        MSE,
    ),
    "standardized by a scalar": (
        lambda: [Dense(4, "tanh"), Normalization(axis=None, mean=0.5, variance=4.0), Dense(2)],
        MSE,
    ),
    "standardized by an array of 2 axes": (
        lambda: [
            Reshape((2, 3)),
            Normalization(axis=(1, 2), mean=np.arange(6.0).reshape(2, 3), variance=4.0),
            *(Flatten(), Dense(2)),
        ],
        MSE,
    ),
    "all three": (
        lambda: [
            *(Normalization(axis=None, mean=0.1, variance=2.0), Dense(5), BatchNormalization()),
            *(Activation("silu"), Dense(5), LayerNormalization(), Activation("tanh"), Dense(2)),
        ],
        MSE,
    ),
}


def problem(name: str, dtype: str = "float64") -> tuple[Any, NDArray[Any], NDArray[Any]]:
    """Return a compiled model with random weights, x and y."""
    make, loss = CASES[name]
    model = nnfast.Sequential([layers.Input((N_IN,)), *make()], dtype=dtype)
    randomize(model)
    model.compile(optimizers.SGD(0.0), loss)
    rng = np.random.default_rng(1)
    x = rng.normal(1.0, 2.0, (M, N_IN))
    shape = model.output_shape[1:]
    kind = model.loss.kind
    y = targets(rng, kind, M, int(np.prod(shape)))
    return model, x, y if kind == CLASSES else y.reshape(M, *shape)


def assert_close(actual: list[Any], expected: list[Any], tolerance: float) -> None:
    """Compare arrays; the tolerance is relative to the largest element of all of them."""
    scale = max(np.abs(e).max(initial=0.0) for e in expected)
    assert scale > 1e-3
    for a, e in zip(actual, expected, strict=True):
        assert_allclose(a, e, rtol=0, atol=tolerance * scale)


def step(model: Any, x: Any, y: Any, rate: float, **options: Any) -> tuple[float, list[Any]]:
    """Return the loss and the weights after one step, then restore the model's weights."""
    weights = model.get_weights()
    model.optimizer.learning_rate = rate
    loss = model.train_on_batch(x, y, **options)
    after = model.get_weights()
    model.set_weights(weights)
    return loss, after


def training_gradient(model: Any, x: Any, y: Any, **options: Any) -> tuple[float, list[Any]]:
    """Return the loss and gradient in training mode, from a step with learning rate 1."""
    loss, after = step(model, x, y, 1.0, **options)
    gradient = [v - w for v, w in zip(model.get_weights(), after, strict=True)]
    return loss, trainable(model, gradient)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_in_training_agree_with_numpy(name: str, weighted: bool) -> None:
    model, x, y = problem(name)
    weight = np.random.default_rng(2).uniform(0.5, 2.0, M) if weighted else None
    loss, gradient = training_gradient(model, x, y, sample_weight=weight)
    # A step with learning rate 0 has the same loss and changes no trainable weights.
    same_loss, after = step(model, x, y, 0.0, sample_weight=weight)
    assert same_loss == loss
    for a, b in zip(*(trainable(model, w) for w in (after, model.get_weights())), strict=True):
        assert_array_equal(a, b)

    weights = model.get_weights()

    def plain() -> float:
        return plain_loss(model, weights, x, y, training=True, sample_weight=weight)

    assert loss == pytest.approx(plain(), rel=1e-12)
    assert_close(gradient, differences(plain, trainable(model, weights)), 1e-7)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_in_inference_agree_with_numpy(name: str) -> None:
    model, x, y = problem(name)
    weights = model.get_weights()

    def plain() -> float:
        return plain_loss(model, weights, x, y, training=False)

    loss, gradient = model.loss_and_grad(x, y)
    for first, second in zip(gradient, model.loss_and_grad(x, y)[1], strict=True):
        assert_array_equal(first, second)
    assert loss == pytest.approx(plain(), rel=1e-12)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(plain(), rel=1e-12)
    assert_allclose(model.predict(x), plain_outputs(model, weights, x, False)[0], rtol=1e-12)
    assert_close(gradient, differences(plain, trainable(model, weights)), 1e-7)
    for a, b in zip(model.get_weights(), weights, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("name", CASES)
def test_input_gradients_agree_with_differences(name: str) -> None:
    model, x, y = problem(name)
    weights = model.get_weights()
    rows = np.empty_like(x)
    for i in range(M):
        # In inference, the loss of a sample does not depend on other samples.
        sample, target = x[i : i + 1].copy(), y[i : i + 1]
        (rows[i : i + 1],) = differences(
            lambda a=sample, b=target: plain_loss(model, weights, a, b, training=False), [sample]
        )
    assert_close([model.input_gradient(x, y)], [rows], 1e-7)


@pytest.mark.parametrize("name", CASES)
def test_float32_gradients_agree_with_float64(name: str) -> None:
    exact, x, y = problem(name)
    model, _, _ = problem(name, "float32")
    x = x.astype(np.float32)
    model.set_weights(exact.get_weights())
    expected_loss, expected = training_gradient(exact, x, y)
    loss, gradient = training_gradient(model, x, y)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert_close(gradient, expected, 1e-4)
    assert_close(model.loss_and_grad(x, y)[1], exact.loss_and_grad(x, y)[1], 1e-4)
    assert_close([model.input_gradient(x, y)], [exact.input_gradient(x, y)], 1e-4)


# Moving averages


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99, 1.0])
def test_moving_averages_agree_with_numpy(momentum: float, shape: tuple[int, ...]) -> None:
    """Average two epochs of three batches in NumPy; the last batch is short."""
    layer = BatchNormalization(momentum=momentum, input_shape=shape)
    model = nnfast.Sequential([layer, Flatten(), Dense(1)], dtype="float64")
    randomize(model)
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(3.0, 2.0, (19, *shape)), rng.normal(size=19)
    mean, variance = layer.moving_mean.copy(), layer.moving_variance.copy()
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    others = tuple(range(len(shape)))
    for batch in [x[:8], x[8:16], x[16:]] * 2:
        mean = momentum * mean + (1 - momentum) * batch.mean(axis=others)
        variance = momentum * variance + (1 - momentum) * batch.var(axis=others)
    assert_allclose(layer.moving_mean, mean, rtol=1e-12)
    assert_allclose(layer.moving_variance, variance, rtol=1e-12)


def test_only_training_updates_the_moving_averages() -> None:
    model, x, y = problem("all three")
    before = [w.copy() for w in model.non_trainable_weights]
    assert len(before) == 4
    model.evaluate(x, y, verbose=0)
    model.predict(x)
    model.test_on_batch(x, y)
    model.loss_and_grad(x, y)
    model.input_gradient(x, y)
    for a, b in zip(model.non_trainable_weights, before, strict=True):
        assert_array_equal(a, b)
    model.train_on_batch(x, y)
    updated = [
        not np.array_equal(a, b) for a, b in zip(model.non_trainable_weights, before, strict=True)
    ]
    assert updated == [False, False, True, True], "Normalization keeps the data's statistics"


def after_a_step(x: NDArray[Any], y: NDArray[Any]) -> Any:
    """Return a model that has taken one step."""
    model, _, _ = problem("batch, hidden")
    model.optimizer.learning_rate = 0.1
    model.train_on_batch(x, y)
    return model


DIVERGE: dict[str, Callable[[Any, NDArray[Any], NDArray[Any]], Any]] = {
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "train_on_gradient": lambda model, x, y: model.train_on_gradient(x, np.ones((M, 2))),
    "stream": lambda model, x, y: model.fit(iter([(x, y)]), verbose=0),
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "fit, clipped": lambda model, x, y: (
        model.compile(optimizers.SGD(0.1, clipnorm=1.0), "mse"),
        model.fit(x, y, batch_size=M, verbose=0),
    ),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("how", DIVERGE)
def test_a_nonfinite_batch_changes_no_weights_and_averages(
    how: str, threads: int, free_threads: None
) -> None:
    _, x, y = problem("batch, hidden")
    expected = after_a_step(x, y).get_weights()
    model = after_a_step(x, y)
    wrong = x.copy()
    wrong[3, 2] = np.nan
    _engine.force_threads(threads)
    with pytest.warns(RuntimeWarning, match="not finite"):
        DIVERGE[how](model, wrong, y)
    for a, b in zip(model.get_weights(), expected, strict=True):
        assert_array_equal(a, b)


def test_batches_before_a_nonfinite_one_are_trained() -> None:
    _, x, y = problem("batch, hidden")
    model, expected = after_a_step(x, y), after_a_step(x, y)
    expected.train_on_batch(x, y)
    both = np.concatenate([x, np.full_like(x, np.inf)])
    with pytest.warns(RuntimeWarning, match="batch 2"):
        model.fit(both, np.concatenate([y, y]), batch_size=M, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert_array_equal(a, b)


# Clipping, decay, averages and constraints


@pytest.mark.parametrize("layer", [BatchNormalization, LayerNormalization])
@pytest.mark.parametrize(
    "options",
    [
        *({"clipnorm": 2.2}, {"global_clipnorm": 0.05}, {"clipvalue": 0.01}),
        *({"weight_decay": 0.1}, {"weight_decay": 0.1, "clipnorm": 2.2}),
    ],
    ids=str,
)
def test_gamma_and_beta_are_clipped_and_decayed(layer: Any, options: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(M, N_IN)), rng.normal(size=(M, 2))
    model, plain = (
        nnfast.Sequential([layers.Input((N_IN,)), *stack], dtype="float64")
        for stack in ([Dense(5), layer(gamma_regularizer=L1L2), Dense(2)] for _ in range(2))
    )
    for each, more in ((model, options), (plain, {})):
        randomize(each)
        each.compile(optimizers.SGD(0.1, **more), "mse")
    _, gradient = training_gradient(plain, x, y)
    before = trainable(plain, plain.get_weights())
    model.train_on_batch(x, y)

    norms = [np.linalg.norm(g) for g in gradient]
    if "clipnorm" in options:
        assert min(norms) < 2.2 < max(norms), "the limit clips only some gradients"
        gradient = [g * min(1.0, 2.2 / n) for g, n in zip(gradient, norms, strict=True)]
    if "global_clipnorm" in options:
        gradient = [g * min(1.0, 0.05 / np.linalg.norm(norms)) for g in gradient]
    if "clipvalue" in options:
        gradient = [np.clip(g, -0.01, 0.01) for g in gradient]
    decay = 1 - 0.1 * options.get("weight_decay", 0.0)
    expected = [decay * w - 0.1 * g for w, g in zip(before, gradient, strict=True)]
    for a, e in zip(trainable(model, model.get_weights()), expected, strict=True):
        assert_allclose(a, e, rtol=1e-9, atol=1e-12)


def test_the_average_of_weights_does_not_change_the_moving_statistics() -> None:
    """The optimizer averages trainable weights only, and replaces only these at the end of fit."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, N_IN)), rng.normal(size=(40, 2))
    results = []
    for options in ({}, {"use_ema": True, "ema_momentum": 0.9}):
        # The first layer normalizes x, so its statistics do not depend on the weights.
        model = nnfast.Sequential([layers.Input((N_IN,)), BatchNormalization(), Dense(2)])
        randomize(model)
        model.compile(optimizers.SGD(0.1, **options), "mse")
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        results.append(([w.copy() for w in model.non_trainable_weights], model.get_weights()))
    for a, b in zip(results[0][0], results[1][0], strict=True):
        assert_array_equal(a, b)
    assert not np.array_equal(results[0][1][0], results[1][1][0])


def test_gamma_and_beta_are_constrained() -> None:
    layer = BatchNormalization(
        gamma_constraint=constraints.MaxNorm(0.5), beta_constraint="non_neg", input_dim=N_IN
    )
    model = nnfast.Sequential([layer, Dense(1)])
    randomize(model)
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((4, N_IN)), np.ones(4))
    assert np.linalg.norm(layer.gamma) == pytest.approx(0.5, rel=1e-5)
    assert (layer.beta >= 0).all()
    assert (layer.beta > 0).any()


# The number of threads


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Undo `force_threads` after the test."""
    yield
    _engine.force_threads(0)


def all_results(threads: int, dtype: str, rows: int, batch: int, **options: Any) -> list[Any]:
    """Return all results of training and evaluating a model with this number of threads."""
    _engine.force_threads(threads)
    nnfast.set_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, N_IN)).astype(dtype), rng.integers(0, 3, rows)
    model = nnfast.Sequential(
        [
            *(layers.Input((N_IN,)), Normalization(mean=0.1, variance=2.0), Dense(35)),
            *(BatchNormalization(), Activation("gelu"), Dense(20), Reshape((4, 5))),
            *(LayerNormalization(), Activation("tanh"), BatchNormalization(scale=False)),
            *(GroupNormalization(5), GroupNormalization(2, axis=1, scale=False)),
            *(layers.GaussianNoise(0.1), Flatten(), LayerNormalization(center=False)),
            *(Dense(3, activity_regularizer="l2"), BatchNormalization(), Activation("softmax")),
        ],
        dtype=dtype,
    )
    model.compile(optimizers.Adam(0.01, **options), CLASSES, metrics=["accuracy"])
    history = model.fit(x, y, batch_size=batch, epochs=2, verbose=0)
    loss, gradient = model.loss_and_grad(x, y)
    return [
        *(np.array(v) for v in history.history.values()),
        *(*model.get_weights(), np.array(model.evaluate(x, y, verbose=0)), model.predict(x)),
        *(model.input_gradient(x), model.input_gradient(x, y), np.array(loss), *gradient),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "batch", "options"),
    [
        (9, 3, {}),  # fewer rows than threads
        (70, 32, {}),
        (70, 32, {"clipnorm": 0.1}),
        # Large batches of small networks are split, but not with batch normalization.
        (1300, 600, {}),
        (1300, 600, {"global_clipnorm": 0.1, "weight_decay": 0.1, "use_ema": True}),
    ],
    ids=str,
)
def test_results_do_not_depend_on_the_number_of_threads(
    rows: int, batch: int, options: dict[str, Any], dtype: str, free_threads: None
) -> None:
    first, *others = (all_results(threads, dtype, rows, batch, **options) for threads in THREADS)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert_array_equal(a, b)
            assert np.isfinite(a).all()


@pytest.mark.parametrize(
    "layer",
    [
        *(LayerNormalization, lambda: GroupNormalization(1)),
        lambda: Normalization(**FIXED_STATISTICS),
    ],
)
def test_micro_batches_have_the_gradient_of_the_whole_batch(layer: Any) -> None:
    """The engine splits a large batch into micro-batches; NumPy processes it as a whole."""
    model = nnfast.Sequential(
        [layers.Input((3,)), layer(), Activation("tanh"), Dense(1, activity_regularizer="l2")],
        dtype="float64",
    )
    weights = randomize(model)
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 3)), rng.normal(size=(2000, 1))
    loss, gradient = training_gradient(model, x, y)

    def plain() -> float:
        return plain_loss(model, weights, x, y, training=True)

    assert loss == pytest.approx(plain(), rel=1e-12)
    assert_close(gradient, differences(plain, trainable(model, weights)), 1e-7)


# Precision and special shapes


@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_float32_is_accurate_for_large_means(mean: float) -> None:
    """Variances are computed from squared deviations, not as a difference of squares.

    The spacing of float32 near 1e4 is 1e-3, so a mean may have an error of that size.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(mean, 1.0, (512, 40)).astype(np.float32)
    exact = x.astype(np.float64)
    tolerance = 1e-5 if mean == 0 else 3e-3

    per_sample = nnfast.Sequential([LayerNormalization(input_dim=40)])
    assert_allclose(per_sample.predict(x), layer_norm(exact), atol=tolerance)
    for shape in [(40,), (10, 4), (5, 2, 4)]:
        group = nnfast.Sequential([Reshape(shape, input_dim=40), GroupNormalization(2)])
        rows = exact.reshape(-1, *shape)
        expected = group_norm(rows, 2, -1, 1.0, 0.0, 1e-3)
        assert_allclose(group.predict(x), expected, atol=tolerance)

    over = nnfast.Sequential([BatchNormalization(momentum=0.0, input_dim=40)])
    over.compile(optimizers.SGD(0.0), "mse")
    loss = over.train_on_batch(x, np.zeros_like(x))
    assert loss == pytest.approx((batch_norm(exact) ** 2).mean(), abs=tolerance**2 + 1e-6)
    # With momentum 0, the moving averages are the statistics of the batch.
    assert_allclose(over.layers[0].moving_mean, exact.mean(axis=0), atol=tolerance)
    assert_allclose(over.layers[0].moving_variance, exact.var(axis=0), rtol=1e-4)
    assert_allclose(over.predict(x), batch_norm(exact), atol=tolerance)

    by_data = Normalization()
    by_data.adapt(x)
    assert_allclose(by_data.mean, exact.mean(axis=0), rtol=1e-12, atol=1e-12)
    assert_allclose(by_data.variance, exact.var(axis=0), rtol=1e-9)
    expected = standardize(exact, exact.mean(axis=0), exact.var(axis=0))
    assert_allclose(nnfast.Sequential([by_data]).predict(x), expected, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_of_one_row_is_normalized_to_beta(dtype: str) -> None:
    """The variance is 0, so the outputs are beta; gamma and earlier layers have no gradient."""
    model = nnfast.Sequential(
        [layers.Input((3,)), Dense(4), BatchNormalization(momentum=0.5)], dtype=dtype
    )
    randomize(model)
    model.compile(optimizers.SGD(0.0), "mse")
    layer, x, y = model.layers[1], np.ones((1, 3)), np.zeros((1, 4))
    loss, (dw, db, dgamma, dbeta) = training_gradient(model, x, y)
    assert loss == pytest.approx((layer.beta**2).mean(), rel=1e-6)
    assert_array_equal(dgamma, np.zeros(4))
    assert np.abs(dbeta).min() > 1e-3
    assert_allclose(dw, np.zeros((3, 4)), atol=1e-5)
    assert_allclose(db, np.zeros(4), atol=1e-5)
    variance = layer.moving_variance.copy()
    model.train_on_batch(x, y)
    assert_allclose(layer.moving_variance, variance / 2, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layer_normalization_of_one_feature_is_beta(dtype: str) -> None:
    model = nnfast.Sequential([LayerNormalization(input_dim=1)], dtype=dtype)
    model.set_weights([[2.0], [0.75]])
    assert_array_equal(model.predict([[3.0], [-1e6]]), [[0.75], [0.75]])
    assert_array_equal(model.input_gradient([[3.0]]), [[0.0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "layer", [BatchNormalization, LayerNormalization, partial(GroupNormalization, 1)]
)
def test_constant_features_without_epsilon_stay_finite(layer: Any, dtype: str) -> None:
    model = nnfast.Sequential([layers.Input((3,)), layer(epsilon=0.0), Dense(1)], dtype=dtype)
    model.compile(optimizers.SGD(0.01), "mse")
    model.fit(np.full((8, 3), 2.0), np.zeros(8), epochs=3, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_samples_without_features_are_normalized() -> None:
    stack = [
        *(BatchNormalization(), LayerNormalization(), GroupNormalization(-1), Normalization()),
        Activation("tanh"),
    ]
    model = nnfast.Sequential([layers.Input((0,)), *stack, Dense(2)])
    model.compile(optimizers.SGD(0.5), "mse")
    assert_array_equal(model.predict(np.empty((3, 0))), np.zeros((3, 2)))
    model.fit(np.empty((3, 0)), np.ones((3, 2)), verbose=0)
    assert_allclose(model.layers[-1].bias, [0.5, 0.5])
    assert model.input_gradient(np.empty((3, 0))).shape == (3, 0)


# Configuration


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (lambda: BatchNormalization(axis=1), (2, 3), "last axis.*None, 2, 3.*received 1"),
        (lambda: BatchNormalization(axis=0), (3,), "axis must not be 0, the axis of the batch"),
        (lambda: BatchNormalization(axis=[1]), (3,), "axis"),
        (lambda: BatchNormalization(axis=3), (2, 3), "received 3"),
        (lambda: LayerNormalization(axis=(1, 3)), (2, 3, 4), "last ones"),
        (lambda: LayerNormalization(axis=(0, 1)), (3,), "each axis must not be 0"),
        (lambda: LayerNormalization(axis=(1, -1)), (3,), "last ones"),
        (lambda: LayerNormalization(axis=[]), (3,), "axis"),
        (lambda: LayerNormalization(axis=(1, 1)), (3,), "different"),
        (lambda: LayerNormalization(axis="last"), (3,), "axis"),
        (lambda: GroupNormalization(0), (4,), "groups"),
        (lambda: GroupNormalization(-2), (4,), "groups"),
        (lambda: GroupNormalization(2.0), (4,), "groups"),
        (lambda: GroupNormalization(), (4,), "groups of layer .* must divide .*, 4 of"),
        (lambda: GroupNormalization(3), (2, 4), "must divide"),
        (lambda: GroupNormalization(2, axis=0), (4,), "axis"),
        (lambda: GroupNormalization(2, axis=2), (4,), "no axis 2"),
        (lambda: GroupNormalization(2, axis=[1, 2]), (4, 4), "axis"),
        (lambda: GroupNormalization(2, epsilon=-1.0), (4,), "epsilon"),
        (lambda: Normalization(axis=1), (2, 3), "last axis"),
        (lambda: BatchNormalization(momentum=1.5), (3,), "momentum"),
        (lambda: BatchNormalization(epsilon=-1.0), (3,), "epsilon"),
        (lambda: BatchNormalization(gamma_constraint="norm"), (3,), "constraint"),
        (lambda: BatchNormalization(beta_regularizer="l3"), (3,), "regularizer"),
        (lambda: Normalization(mean=1.0), (3,), "together"),
        (lambda: Normalization(variance=1.0), (3,), "together"),
        (lambda: Normalization(mean=0.0, variance=-1.0), (3,), "at least 0"),
        (lambda: Normalization(mean=[0.0, 1.0], variance=1.0), (3,), "shape"),
        (lambda: Normalization(mean="a", variance=1.0), (3,), "mean"),
    ],
)
def test_wrong_arguments_are_named(make: Any, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        nnfast.Sequential([layers.Input(shape), make()])


def test_weights_are_listed_by_name_and_trainability() -> None:
    model = nnfast.Sequential(
        [
            *(Dense(4, input_dim=3), BatchNormalization(), LayerNormalization(scale=False)),
            *(BatchNormalization(center=False), Normalization()),
        ]
    )
    names = [list(layer.named_weights) for layer in model.layers]
    assert names == [
        ["kernel", "bias"],
        ["gamma", "beta", "moving_mean", "moving_variance"],
        ["beta"],
        ["gamma", "moving_mean", "moving_variance"],
        ["mean", "variance"],
    ]
    assert len(model.trainable_weights) == 6
    assert len(model.non_trainable_weights) == 6
    assert model.count_params() == 12 + 11 * 4
    assert len(model.get_flat_weights()) == 12 + 5 * 4, "the trainable weights"
    model.set_flat_weights(np.zeros(12 + 5 * 4))
    assert not any(w.any() for w in model.trainable_weights)
    assert_array_equal(model.layers[1].moving_variance, np.ones(4))
    assert_array_equal(model.layers[4].variance, np.ones(4))
    assert model.layers[2].gamma is None
    assert model.layers[3].beta is None


# Normalization.adapt


def blocks(x: NDArray[Any], size: int = 7) -> Iterator[NDArray[Any]]:
    for i in range(0, len(x), size):
        yield x[i : i + size]


class Batches:
    """A dataset like `keras.utils.PyDataset`."""

    def __init__(self, x: NDArray[Any]) -> None:
        self.items = [(part, part[:, 0]) for part in blocks(x)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


FORMS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "array": lambda x: x,
    "lists": lambda x: x.tolist(),
    "float32, not contiguous": lambda x: np.asfortranarray(x.astype(np.float32)),
    "generator": lambda x: blocks(x),
    "generator of pairs": lambda x: ((part, part[:, 0]) for part in blocks(x)),
    "generator with an empty block": lambda x: iter([x[:0], x[:3], x[3:]]),
    "dataset": Batches,
}


@pytest.mark.parametrize("axis", [-1, None, (1, 2), 2])
@pytest.mark.parametrize("form", FORMS)
def test_adapt_computes_mean_and_variance(form: str, axis: Any) -> None:
    # More rows than adapt reads at a time.
    x = np.random.default_rng(0).normal(3.0, 2.0, (5000 if form == "array" else 30, 2, 3))
    layer = Normalization(axis=axis)
    layer.adapt(FORMS[form](x))
    over = {-1: (0, 1), 2: (0, 1), None: (0, 1, 2), (1, 2): (0,)}[axis]
    tolerance = 1e-6 if "float32" in form else 1e-12
    assert_allclose(layer.mean, x.mean(axis=over), rtol=tolerance)
    assert_allclose(layer.variance, x.var(axis=over), rtol=tolerance)
    model = nnfast.Sequential([layer], dtype="float64")
    expected = standardize(x, x.mean(axis=over), x.var(axis=over))
    assert_allclose(model.predict(x), expected, atol=10 * tolerance)
    inverse = Normalization(axis=axis, invert=True)
    inverse.adapt(FORMS[form](x))
    back = nnfast.Sequential([inverse], dtype="float64").predict(model.predict(x))
    assert_allclose(back, x, rtol=tolerance, atol=tolerance)


def test_adapt_takes_uint8_images() -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 5, 5), np.uint8)
    layer = Normalization(axis=None)
    layer.adapt(x)
    assert layer.mean == pytest.approx(x.mean())
    assert layer.variance == pytest.approx(x.astype(float).var())
    model = nnfast.Sequential([layer, Flatten()])
    out = model.predict(x)
    assert out.mean() == pytest.approx(0.0, abs=1e-5)
    assert out.std() == pytest.approx(1.0, rel=1e-5)


def test_adapt_forgets_earlier_data() -> None:
    rng = np.random.default_rng(0)
    x, other = rng.normal(5.0, 3.0, (20, 3)), rng.normal(size=(30, 3))
    layer = Normalization(input_dim=3)
    assert_array_equal(layer.mean, np.zeros(3))
    assert_array_equal(layer.variance, np.ones(3))
    model = nnfast.Sequential([layer], dtype="float64")
    for data in (x, other):
        layer.adapt(data)
        assert_allclose(layer.mean, data.mean(axis=0), rtol=1e-12)
        expected = standardize(data, data.mean(axis=0), data.var(axis=0))
        assert_allclose(model.predict(data), expected, rtol=1e-9, atol=1e-12)


def test_adapt_standardizes_constant_features_to_0() -> None:
    layer = Normalization()
    layer.adapt([[1.0, 7.0], [3.0, 7.0]])
    assert_array_equal(nnfast.Sequential([layer]).predict([[1.0, 7.0]]), [[-1.0, 0.0]])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.ones(3), r"\(n, \.\.\.\)"),
        (np.empty((0, 3)), "at least one row"),
        (iter([]), "at least one row"),
        (iter([np.ones((2, 3)), np.ones((2, 4))]), "one shape"),
        (np.ones((2, 4)), r"\(3,\).*\(4,\)"),
        ([["a", "b"]], "data"),
        (None, "data"),
    ],
)
def test_adapt_refuses_wrong_data(data: Any, words: str) -> None:
    layer = Normalization(input_dim=3)
    nnfast.Sequential([layer])
    layer.adapt([[1.0, 2.0, 3.0]])
    with pytest.raises((TypeError, ValueError), match=words):
        layer.adapt(data)
    assert_array_equal(layer.mean, [1.0, 2.0, 3.0])


def test_adapt_refuses_layers_with_fixed_statistics() -> None:
    with pytest.raises(ValueError, match="nothing to adapt"):
        Normalization(mean=0.0, variance=1.0).adapt([[1.0]])


def test_statistics_of_another_shape_are_refused() -> None:
    layer = Normalization()
    layer.adapt(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"\(3,\).*\(4,\)"):
        nnfast.Sequential([layers.Input((4,)), layer])


# Copies


def trained() -> tuple[Any, NDArray[Any], NDArray[Any]]:
    """Return an adapted and briefly trained model with all three normalizations, x and y."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(4.0, 3.0, (40, 3)), rng.normal(size=(40, 2))
    scale = Normalization(name="scale")
    scale.adapt(x)
    model = nnfast.Sequential(
        [layers.Input((3,)), scale, Dense(5), BatchNormalization(), LayerNormalization(), Dense(2)]
    )
    model.compile("adam", "mse")
    model.fit(x, y, epochs=2, verbose=0)
    return model, x, y


def assert_same(a: Any, b: Any, x: Any) -> None:
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        assert_array_equal(v, w)
    assert_array_equal(a.predict(x), b.predict(x))


def test_a_loaded_model_trains_like_the_original(tmp_path: Path) -> None:
    model, x, y = trained()
    model.save(tmp_path / "model")
    copy = nnfast.load_model(tmp_path / "model")
    assert_same(model, copy, x)
    assert_allclose(copy.get_layer("scale").mean, x.mean(axis=0), rtol=1e-5)
    for each in (model, copy):
        each.fit(x, y, epochs=2, verbose=0)
    assert_same(model, copy, x)


@pytest.mark.parametrize("how", ["json", "clone", "config"])
def test_copies_accept_the_weights(how: str, tmp_path: Path) -> None:
    model, x, _ = trained()
    copies = {
        "json": lambda: models.model_from_json(model.to_json()),
        "clone": lambda: models.clone_model(model),
        "config": lambda: nnfast.Sequential.from_config(model.get_config()),
    }
    copy = copies[how]()
    assert copy.get_config() == model.get_config()
    model.save_weights(tmp_path / "weights")
    copy.load_weights(tmp_path / "weights")
    assert_same(model, copy, x)
    other = copies[how]()
    other.set_weights(model.get_weights())
    assert_same(model, other, x)


def test_fixed_statistics_are_in_the_configuration() -> None:
    model = nnfast.Sequential([layers.Input((3,)), Normalization(invert=True, **FIXED_STATISTICS)])
    copy = models.model_from_json(model.to_json())
    assert_same(model, copy, np.ones((2, 3)))
    assert_allclose(copy.layers[0].mean, FIXED_STATISTICS["mean"])


def test_a_shared_layer_has_one_set_of_moving_averages() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(4.0, 3.0, (40, 3)), rng.normal(size=40)
    shared = [Normalization(), Dense(4), BatchNormalization(momentum=0.5)]
    model = nnfast.Sequential([layers.Input((3,)), *shared, Dense(1)])
    front = nnfast.Sequential([layers.Input((3,)), *shared])
    other = nnfast.Sequential([layers.Input((3,)), *shared, Dense(1)])
    front.predict(x)
    shared[0].adapt(x)
    for each in (model, other, model):
        each.compile("sgd", "mse")
        each.fit(x, y, verbose=0)
        expected = plain_outputs(front, front.get_weights(), x, training=False)[0]
        assert_allclose(front.predict(x), expected, rtol=1e-4, atol=1e-5)
        for a, b in zip(each.get_weights()[:8], front.get_weights(), strict=True):
            assert_array_equal(a, b)
    assert_allclose(shared[0].mean, x.mean(axis=0), rtol=1e-5)
    assert not np.array_equal(shared[2].moving_mean, np.zeros(4))


def test_add_keeps_the_trained_weights() -> None:
    model, x, _ = trained()
    before = model.get_weights()
    model.add(Dense(1))
    for a, b in zip(model.get_weights(), before, strict=False):
        assert_array_equal(a, b)
    model.pop()
    assert_array_equal(model.predict(x).shape, (40, 2))


def test_summary_counts_non_trainable_parameters() -> None:
    lines: list[str] = []
    trained()[0].summary(print_fn=lines.append)
    assert lines[-1] == "Total params: 68 (272 B), of which 16 are not trained"


def test_calling_a_normalized_model_in_training_mode_is_refused() -> None:
    model, x, _ = trained()
    with pytest.raises(ValueError, match="training=False"):
        model(x, training=True)
    assert_array_equal(model(x, training=False), model.predict(x))


def test_early_stopping_restores_moving_averages() -> None:
    """The restored model has the validation loss of the best epoch."""
    model, x, y = trained()
    losses: list[float] = []

    class Worse(callbacks.Callback):
        """A callback that spoils the model after the third epoch."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            losses.append(logs["val_loss"])
            if epoch == 2:
                self.model.optimizer.learning_rate = 3.0

    stop = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model.fit(x, y, epochs=20, validation_data=(x, y), callbacks=[Worse(), stop], verbose=0)
    assert min(losses) < losses[-1]
    assert model.evaluate(x, y, verbose=0) == min(losses)


def test_generators_train_like_arrays() -> None:
    model, x, y = trained()
    stream, _, _ = trained()
    stream.set_weights(model.get_weights())
    for each in (model, stream):
        each.compile("adam", "mse")
    model.fit(x, y, batch_size=9, epochs=2, shuffle=False, verbose=0)
    for _ in range(2):
        stream.fit(zip(blocks(x, 9), blocks(y, 9), strict=True), verbose=0)
    assert_same(model, stream, x)

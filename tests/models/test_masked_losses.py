"""Losses and metrics of outputs with masks leave out the masked steps, as in Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import layers
from nnfast._engine import core

Array = NDArray[Any]


@pytest.fixture
def any_threads() -> Any:
    yield
    core.force_threads(0)


def padded(rows: int, steps: int = 6) -> tuple[Array, Array]:
    """Return sequences of two features, and their masks."""
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, steps, 2))
    mask = rng.random((rows, steps)) < 0.6
    mask[0], mask[-1] = False, True
    x[~mask] = 0
    return x, mask


def tagger(units: int, activation: str | None, dtype: str = "float64") -> nnfast.Sequential:
    """Return a model with an output for each step."""
    stack = [
        nnfast.Input((6, 2)),
        layers.Masking(),
        layers.LSTM(4, return_sequences=True),
        layers.Dropout(0.0),
        layers.Dense(units, activation),
    ]
    model = nnfast.Sequential(stack, dtype=dtype)
    randomize(model)
    return model


def loss_and_gradient(model: nnfast.Model, *data: Any) -> tuple[float, Array]:
    """Return the loss, and its gradient as one vector."""
    loss, gradients = model.loss_and_grad(*data)
    return loss, np.concatenate([part.ravel() for part in gradients])


def crossentropy(p: Array, labels: Array) -> Array:
    return -np.log(np.take_along_axis(p, labels[..., None], axis=-1)[..., 0])


@pytest.mark.parametrize("kind", ["mse", "sparse_categorical_crossentropy", "mae"])
def test_loss_gradient_and_metrics(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, mask = padded(23)
    weights = rng.random(23)
    classes = kind.startswith("sparse")
    model = tagger(3, "softmax" if classes else None)
    model.compile("sgd", kind, metrics=["accuracy" if classes else "mae"], weighted_metrics=[kind])
    y = rng.integers(0, 3, (23, 6)) if classes else rng.normal(size=(23, 6, 3))

    def values() -> Array:
        p = model.predict(x)
        if classes:
            return crossentropy(p, y)
        error = p - y
        return (error**2 if kind == "mse" else abs(error)).mean(axis=-1)

    for weight in (None, weights):
        w = mask * (1 if weight is None else weight[:, None])
        found = model.evaluate(
            x, y, batch_size=23, sample_weight=weight, verbose=0, return_dict=True
        )
        assert_allclose(found["loss"], (values() * w).sum() / mask.sum(), rtol=1e-9)
        p = model.predict(x)
        if classes:
            assert_allclose(found["accuracy"], (p.argmax(-1) == y)[mask].mean(), rtol=1e-9)
        else:
            assert_allclose(found["mae"], abs(p - y).mean(-1)[mask].mean(), rtol=1e-9)
        weighted = found[[key for key in found if key.endswith(kind) and key != "mae"][-1]]
        assert_allclose(weighted, (values() * w).sum() / w.sum(), rtol=1e-9)
        # The loss of a batch is the mean over its real steps; batches are weighted by their rows.
        parts = [(values() * w)[i : i + 8].sum() / mask[i : i + 8].sum() * 8 for i in (0, 8)]
        parts.append((values() * w)[16:].sum() / mask[16:].sum() * 7)
        found = model.evaluate(x, y, 8, verbose=0, sample_weight=weight, return_dict=True)
        assert_allclose(found["loss"], sum(parts) / 23, rtol=1e-9)

    _, gradients = model.loss_and_grad(x, y, weights)
    arrays = [w for layer in model.layers for w in layer.named_weights.values()]

    def loss() -> float:
        return float((values() * mask * weights[:, None]).sum() / mask.sum())

    for found, expected in zip(gradients, differences(loss, arrays), strict=True):
        assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    before = [w.copy() for w in arrays]
    model.compile(nnfast.optimizers.SGD(1.0), kind)
    first = loss()
    assert_allclose(model.train_on_batch(x, y, sample_weight=weights), first, rtol=1e-9)
    for old, new, gradient in zip(before, arrays, gradients, strict=True):
        assert_allclose(old - new, gradient, rtol=1e-6, atol=1e-9)


def test_the_number_of_threads_does_not_change_a_bit(any_threads: None) -> None:
    x, _ = padded(150)
    y = np.random.default_rng(0).integers(0, 3, (150, 6))
    results = []
    for threads in (1, 2, 3, 4, 7):
        nnfast.set_seed(1)
        core.force_threads(threads)
        model = tagger(3, "softmax", "float32")
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(x, y, batch_size=70, epochs=2, verbose=0)
        results.append([*model.get_weights(), model.predict(x), *history.history.values()])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_batches_without_real_steps_have_no_loss() -> None:
    model = tagger(2, None)
    model.compile("sgd", "mse", metrics=["mae"])
    before = model.get_weights()
    assert model.train_on_batch(np.zeros((5, 6, 2)), np.ones((5, 6, 2)))[0] == 0
    for old, new in zip(before, model.get_weights(), strict=True):
        assert_array_equal(old, new)


def test_each_output_has_its_own_mask() -> None:
    x, mask = padded(9)
    inputs = nnfast.Input((6, 2), dtype="float64")
    h = layers.GRU(3, return_sequences=True)(layers.Masking()(inputs))
    model = nnfast.Model(inputs, [layers.Dense(1)(h), layers.GlobalAveragePooling1D()(h), h])
    randomize(model)
    model.compile("sgd", ["mse", "mse", "mse"])
    steps, mean, states = model.predict(x)
    n = np.maximum(mask.sum(axis=1), 1)
    assert_allclose(mean, (states * mask[..., None]).sum(axis=1) / n[:, None], rtol=1e-9)
    zeros = [np.zeros_like(part) for part in (steps, mean, states)]
    found = model.evaluate(x, zeros, batch_size=9, verbose=0)
    expected = [(steps[mask] ** 2).mean(), (mean**2).mean(), (states[mask] ** 2).mean()]
    assert_allclose(found, [sum(expected), *expected], rtol=1e-9)
    _, gradients = model.loss_and_grad(x, zeros)
    arrays = [w for layer in model.layers for w in layer.named_weights.values()]
    for gradient, wanted in zip(
        gradients,
        differences(lambda: model.evaluate(x, zeros, batch_size=9, verbose=0)[0], arrays),
        strict=True,
    ):
        assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-8)


def mse_of_steps(y: Array, p: Array) -> tuple[Array, Array]:
    return ((p - y) ** 2).mean(axis=-1), 2 * (p - y) / p.shape[-1]


@pytest.mark.parametrize("weighting", ["none", "samples", "steps"])
def test_a_function_has_the_results_of_the_built_in_loss(weighting: str) -> None:
    x, _ = padded(23)
    y = np.random.default_rng(0).normal(size=(23, 6, 3))
    shape = {"none": None, "samples": 23, "steps": (23, 6)}[weighting]
    weights = None if shape is None else np.random.default_rng(1).random(shape)
    found = []
    for loss in ("mse", mse_of_steps):
        nnfast.set_seed(0)
        model = tagger(3, None)
        model.compile(nnfast.optimizers.SGD(0.5), loss, metrics=["mae"])
        value, gradients = model.loss_and_grad(x, y, weights)
        own = [value, *gradients, *model.evaluate(x, y, 8, 0, weights)]
        own += model.train_on_batch(x, y, weights)
        history = model.fit(x, y, 8, 2, 0, sample_weight=weights)
        found.append([*own, history.history["loss"], *model.get_weights()])
    for a, b in zip(*found, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_function_that_returns_a_number_sees_all_steps() -> None:
    """As in Keras, the mask does not change the number, unless no step is real."""
    x, _ = padded(9)
    y = np.random.default_rng(0).normal(size=(9, 6, 3))

    def mean(t: Array, p: Array) -> tuple[float, Array]:
        return float(((p - t) ** 2).mean()), 2 * (p - t) / p.size

    model = tagger(3, None)
    model.compile(nnfast.optimizers.SGD(1.0), mean)
    arrays = model.trainable_weights

    def loss() -> float:
        return float(((model.predict(x) - y) ** 2).mean())

    first, wanted = loss(), differences(loss, arrays)
    value, gradients = model.loss_and_grad(x, y)
    before = [w.copy() for w in arrays]
    assert_allclose([value, model.train_on_batch(x, y)], first, rtol=1e-10)
    for old, new, found, want in zip(before, arrays, gradients, wanted, strict=True):
        assert_allclose(found, want, rtol=1e-5, atol=1e-8)
        assert_allclose(old - new, want, rtol=1e-5, atol=1e-8)
    before = [w.copy() for w in arrays]
    assert model.train_on_batch(np.zeros_like(x), y) == 0
    for old, new in zip(before, arrays, strict=True):
        assert_array_equal(old, new)


def test_losses_of_masked_steps_may_be_infinite() -> None:
    x, mask = padded(9)
    y = np.where(mask, 1.0, 0.0)[..., None]

    def relative(t: Array, p: Array) -> tuple[Array, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (p / t)[..., 0], np.ones_like(p) / t

    model = tagger(1, None)
    model.compile("sgd", relative)
    assert_allclose(model.train_on_batch(x, y), model.predict(x)[mask].mean(), rtol=0.2)
    assert np.isfinite(loss_and_gradient(model, x, y)[1]).all()


def test_what_functions_of_masked_outputs_must_return() -> None:
    x, _ = padded(9)
    y = np.zeros((9, 6, 3))
    model = tagger(3, None)
    model.compile("sgd", lambda t, p: (p.mean(axis=(1, 2)), np.ones_like(p) / 18))
    wanted = r"must be a number or an array of numbers, one for each step, shape \(9, 6\)"
    for method in (model.train_on_batch, model.evaluate, model.loss_and_grad):
        with pytest.raises(ValueError, match=wanted):
            method(x, y)
    inputs = nnfast.Input((6, 2), dtype="float64")
    model = nnfast.Model(inputs, layers.Dense(3)(inputs))
    model.compile("sgd", lambda t, p: (p.mean(axis=(1, 2)), np.ones_like(p) / 18))
    assert np.isfinite(model.train_on_batch(x, y))
    with pytest.raises(ValueError, match=r"Steps are weighted, so loss .* for each step"):
        model.train_on_batch(x, y, sample_weight=np.ones((9, 6)))
    model.compile("sgd", lambda t, p: (p, np.ones_like(p)))
    with pytest.raises(ValueError, match=r"9 rows or for each step, shape \(9, 6\); received"):
        model.train_on_batch(x, y)


@pytest.mark.parametrize("weighting", ["none", "samples", "steps"])
def test_means_with_sample_weight_are_divided_by_the_weights_of_real_steps(weighting: str) -> None:
    x, mask = padded(23)
    y = np.random.default_rng(0).normal(size=(23, 6, 3))
    shape = {"none": (1, 1), "samples": (23, 1), "steps": (23, 6)}[weighting]
    weights = np.random.default_rng(1).random(shape)
    given = None if weighting == "none" else weights
    model = tagger(3, None)
    loss = nnfast.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    model.compile(nnfast.optimizers.SGD(1.0), loss)
    arrays = model.trainable_weights
    if given is None:
        weights = np.ones((1, 1))

    def expected() -> float:
        w = weights * mask
        return float((((model.predict(x) - y) ** 2).mean(axis=-1) * w).sum() / w.sum())

    first, wanted = expected(), differences(expected, arrays)
    value, gradients = model.loss_and_grad(x, y, given)
    assert_allclose([value, model.evaluate(x, y, 23, 0, given)], first, rtol=1e-10)
    before = [w.copy() for w in arrays]
    assert_allclose(model.train_on_batch(x, y, given), first, rtol=1e-10)
    for old, new, found, want in zip(before, arrays, gradients, wanted, strict=True):
        assert_allclose(found, want, rtol=1e-5, atol=1e-8)
        assert_allclose(old - new, want, rtol=1e-5, atol=1e-8)


def test_a_long_pass_counts_the_real_steps_once() -> None:
    """Passes stop from time to time, so that Ctrl-C is noticed, and then go on."""
    x, mask = padded(600)
    model = tagger(1, None)
    model.compile("sgd", "mse")
    y = np.zeros((600, 6, 1))
    whole = loss_and_gradient(model, x, y)
    seconds = core.set_pass_seconds(0.0)
    try:
        parts = loss_and_gradient(model, x, y)
        value = model.evaluate(x, y, 600, 0)
    finally:
        core.set_pass_seconds(seconds)
    assert whole[0] == parts[0]
    assert_array_equal(whole[1], parts[1])
    assert_allclose(value, (model.predict(x)[mask] ** 2).mean(), rtol=1e-10)


def test_merged_masks() -> None:
    """Sums have the steps that are real in any term; concatenations join the masks."""
    x, mask = padded(12)
    z, other = padded(13)
    z, other = z[1:], other[1:]
    a, b = nnfast.Input((6, 2), dtype="float64"), nnfast.Input((6, 2), dtype="float64")
    masked = [layers.Masking()(each) for each in (a, b)]

    def mean(y: Any) -> Any:
        return layers.GlobalAveragePooling1D()(y)

    model = nnfast.Model(
        [a, b],
        [
            mean(layers.Add()(masked)),
            mean(layers.Concatenate(axis=1)(masked)),
            mean(layers.Concatenate()(masked)),
            mean(layers.Concatenate(axis=1)([masked[0], b])),
            mean(layers.Add()([masked[0], b])),
        ],
    )
    found = model.predict([x, z])
    either = (mask | other)[..., None]
    joined = np.concatenate([x, z], axis=1)

    def average(values: Array, real: Array) -> Array:
        return (values * real).sum(axis=1) / np.maximum(real.sum(axis=1), 1)

    all_real = np.ones_like(other)
    for output, expected in zip(
        found,
        [
            average(x + z, either),
            average(joined, np.concatenate([mask, other], axis=1)[..., None]),
            average(np.concatenate([x, z], axis=2), either),
            average(joined, np.concatenate([mask, all_real], axis=1)[..., None]),
            (x + z).mean(axis=1),
        ],
        strict=True,
    ):
        assert_allclose(output, expected, rtol=1e-9, atol=1e-12)


def test_layers_without_masks_say_so() -> None:
    x = layers.Masking()(nnfast.Input((6, 2)))
    with pytest.warns(UserWarning, match="'flat'.*does not support masks"):
        layers.Flatten(name="flat")(x)
    for value in ("0", None, np.ones(2)):
        with pytest.raises((TypeError, ValueError), match="mask_value"):
            layers.Masking(value)
    with pytest.raises(ValueError, match="expects sequences of shape"):
        layers.Masking(name="m")(nnfast.Input((3,)))


def test_the_mask_of_a_concatenation_with_a_reshaped_input() -> None:
    """Reshape has no op, so its output is the input tensor."""
    x, z = nnfast.Input((3, 2), dtype="float64"), nnfast.Input((4,), dtype="float64")
    y = layers.concatenate([layers.Masking()(x), layers.Reshape((2, 2))(z)], axis=1)
    model = nnfast.Model([x, z], layers.GlobalAveragePooling1D()(y))
    data = np.array([[[1.0, 2.0], [0.0, 0.0], [3.0, 4.0]]])
    found = model.predict([data, np.array([[0.0, 0.0, 4.0, 6.0]])])
    np.testing.assert_allclose(found, [[2.0, 3.0]])

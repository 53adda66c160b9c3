"""Sample weights for each step of a sequence and for each pixel of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import layers, losses
from nnfast._engine import core

Array = NDArray[Any]
RNG = np.random.default_rng(0)
N, STEPS, FEATURES = 11, 18, 2


@pytest.fixture
def any_threads() -> Any:
    yield
    core.force_threads(0)


def network(units: int, kind: str, dtype: str = "float64") -> nnfast.Model:
    """Return a model with outputs of (STEPS, units).

    A Dense layer writes rows for each step, also with a mask; a convolution writes one row for each
    sample.
    """
    x = nnfast.Input((STEPS, FEATURES), dtype=dtype)
    h = layers.Masking()(x) if kind == "masked" else x
    if kind == "flat":
        y = layers.Conv1D(units, 2, padding="same")(h)
    else:
        y = layers.Dense(units, "softmax" if kind == "classes" else None)(h)
    model = nnfast.Model(x, y)
    randomize(model)
    return model


def loss_and_gradient(model: nnfast.Model, *data: Any) -> tuple[float, Array]:
    """Return the loss, and its gradient as one vector."""
    loss, gradients = model.loss_and_grad(*data)
    return loss, np.concatenate([part.ravel() for part in gradients])


def data(kind: str) -> tuple[Array, Array, Array]:
    """Return x, masks and weights; without a mask, all steps are real."""
    x, mask = RNG.normal(size=(N, STEPS, FEATURES)), np.ones((N, STEPS), bool)
    if kind == "masked":
        mask = RNG.random((N, STEPS)) < 0.6
        mask[0] = False
        x[~mask] = 0
    weights = RNG.random((N, STEPS))
    weights[2] = 0
    return x, mask, weights


def expected(values: Array, weights: Array, mask: Array, reduction: str) -> float:
    total = float((values * weights * mask).sum())
    if reduction == "sum":
        return total
    divisor = (weights * mask).sum() if reduction == "mean_with_sample_weight" else mask.sum()
    return total / float(divisor)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("units", [1, 3, 16, 21])
@pytest.mark.parametrize("kind", ["rows", "flat", "masked"])
def test_losses_and_gradients(kind: str, units: int, reduction: str) -> None:
    x, mask, weights = data(kind)
    y = RNG.normal(size=(N, STEPS, units))
    model = network(units, kind)
    model.compile(nnfast.optimizers.SGD(1.0), losses.MeanSquaredError(reduction=reduction))
    arrays = model.trainable_weights

    def loss() -> float:
        values = ((model.predict(x) - y) ** 2).mean(axis=-1)
        return expected(values, weights, mask, reduction)

    first, wanted = loss(), differences(loss, arrays)
    found, gradients = model.loss_and_grad(x, y, weights)
    for value in (found, model.evaluate(x, y, N, sample_weight=weights[..., None], verbose=0)):
        assert_allclose(value, first, rtol=1e-10)
    for gradient, want in zip(gradients, wanted, strict=True):
        assert_allclose(gradient, want, rtol=1e-5, atol=1e-8)
    before = [w.copy() for w in arrays]
    assert_allclose(model.train_on_batch(x, y, sample_weight=weights), first, rtol=1e-10)
    for old, new, gradient in zip(before, arrays, gradients, strict=True):
        assert_allclose(old - new, gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["rows", "flat", "masked"])
def test_weights_of_samples_are_those_of_all_their_steps(kind: str) -> None:
    x, _, weights = data(kind)
    y = RNG.normal(size=(N, STEPS, 3))
    model = network(3, kind)
    model.compile("sgd", "mse", weighted_metrics=["mae", "mse"])
    by_sample = weights[:, 0]
    found = [
        model.evaluate(x, y, N, sample_weight=w, verbose=0)
        for w in (by_sample, by_sample[:, None], np.repeat(by_sample[:, None], STEPS, axis=1))
    ]
    for other in found[1:]:
        assert_allclose(other, found[0], rtol=1e-10)
    gradient = loss_and_gradient(model, x, y, by_sample)[1]
    full = np.repeat(by_sample[:, None], STEPS, axis=1)
    assert_allclose(loss_and_gradient(model, x, y, full)[1], gradient, rtol=1e-9, atol=1e-12)


LOSSES = [
    "mae",
    "msle",
    "mape",
    "huber",
    "log_cosh",
    "poisson",
    "hinge",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "kl_divergence",
]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_outputs_in_one_row_equal_those_of_rows(name: str) -> None:
    """Samples in one row are computed in tiles, and samples of several rows row by row."""
    x, _, weights = data("flat")
    y = (RNG.random((N, STEPS, 5)) < 0.5).astype(np.float64)
    inputs = nnfast.Input((STEPS, FEATURES), dtype="float64")
    values = []
    rows = layers.Dense(5, "sigmoid")(inputs)
    for output in (rows, layers.Reshape((STEPS, 5))(layers.Flatten()(rows))):
        model = nnfast.Model(inputs, output)
        model.set_weights([np.linspace(-1, 1, w.size).reshape(w.shape) for w in model.weights])
        model.compile("sgd", name)
        loss, gradient = loss_and_gradient(model, x, y, weights)
        values.append(np.array([loss, *gradient]))
    assert_allclose(values[0], values[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (3, 3, 6), (1, 54)])
def test_steps_that_are_divided_anew(shape: tuple[int, ...]) -> None:
    x, _, _ = data("rows")
    inputs = nnfast.Input((STEPS, FEATURES), dtype="float64")
    model = nnfast.Model(inputs, layers.Reshape(shape)(layers.Dense(3)(inputs)))
    model.compile("sgd", "mse")
    y, weights = RNG.normal(size=(N, *shape)), RNG.random((N, *shape[:-1]))
    values = ((model.predict(x) - y) ** 2).mean(axis=-1)
    found = model.evaluate(x, y, sample_weight=weights, verbose=0)
    assert_allclose(found, (values * weights).mean(), rtol=1e-10)


def test_classes_and_their_metrics() -> None:
    x, _, weights = data("classes")
    y = RNG.integers(0, 3, (N, STEPS))
    model = network(3, "classes")
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    p = model.predict(x)
    values = -np.log(np.take_along_axis(p, y[..., None], axis=-1)[..., 0])
    found = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    assert_allclose(found["loss"], (values * weights).mean(), rtol=1e-10)
    right = p.argmax(axis=-1) == y
    assert_allclose(found["accuracy"], (right * weights).sum() / weights.sum(), rtol=1e-10)


@pytest.mark.parametrize("kind", ["rows", "flat", "masked"])
def test_metrics(kind: str) -> None:
    x, mask, weights = data(kind)
    y = RNG.normal(size=(N, STEPS, 3))
    model = network(3, kind)
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse", "r2_score"])
    error = model.predict(x) - y
    found = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    w = weights * mask
    assert_allclose(found["mae"], abs(error)[mask].mean(), rtol=1e-9)
    assert_allclose(found["mse"], ((error**2).mean(-1) * w).sum() / w.sum(), rtol=1e-9)
    centre = (y * w[..., None]).sum((0, 1)) / w.sum()
    r2 = 1 - (error**2 * w[..., None]).sum((0, 1)) / ((y - centre) ** 2 * w[..., None]).sum((0, 1))
    assert_allclose(found["r2_score"], r2.mean(), rtol=1e-6)


@pytest.mark.parametrize("kind", ["rows", "flat", "masked"])
def test_fit_streams_and_single_batches_agree(kind: str) -> None:
    x, _, weights = data(kind)
    y = RNG.normal(size=(N, STEPS, 3))
    histories, results = [], []

    def batches() -> Any:
        for i in range(0, N, 4):
            yield x[i : i + 4], y[i : i + 4], weights[i : i + 4]

    for way in ("fit", "stream", "single"):
        nnfast.set_seed(3)
        model = network(3, kind)
        model.compile("sgd", "mse", weighted_metrics=["mae"])
        if way == "fit":
            history = model.fit(
                *(x, y, 4, 1, 0), shuffle=False, sample_weight=weights, validation_split=0.0
            )
            checked = model.evaluate(x, y, 4, sample_weight=weights, verbose=0)
        elif way == "stream":
            history = model.fit(batches(), verbose=0, validation_data=(x, y, weights))
            checked = model.evaluate(batches(), verbose=0)
            assert_allclose(
                history.history["val_mae"], model.evaluate(x, y, 32, 0, weights)[1], rtol=1e-9
            )
        else:
            for batch in batches():
                model.train_on_batch(*batch)
            checked = model.evaluate(batches(), verbose=0)
            history = None
        results.append([*model.get_weights(), np.array(checked)])
        histories.append(history)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_allclose(a, b, rtol=1e-9)
    assert_allclose(histories[0].history["loss"], histories[1].history["loss"], rtol=1e-9)


def test_shuffled_rows_keep_their_weights() -> None:
    """Only one sample of the epoch has weights; the others do not change the model."""
    x, _, weights = data("rows")
    y, only = RNG.normal(size=(N, STEPS, 3)), np.zeros_like(weights)
    only[4] = weights[4]
    one, two = network(3, "rows"), network(3, "rows")
    two.set_weights(one.get_weights())
    for model in (one, two):
        model.compile(nnfast.optimizers.SGD(0.1), "mse")
    one.fit(x, y, batch_size=1, verbose=0, sample_weight=only)
    two.train_on_batch(x[4:5], y[4:5], sample_weight=weights[4:5])
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-10)


def test_pixels_broadcast_axes_and_several_outputs() -> None:
    inputs = nnfast.Input((4, 5, 2), dtype="float64")
    image = layers.Conv2D(1, 3, padding="same", name="image")(inputs)
    label = layers.Dense(1, name="label")(layers.GlobalAveragePooling2D()(inputs))
    model = nnfast.Model(inputs, [image, label])
    randomize(model)
    model.compile("sgd", "mse")
    x, y, z = RNG.normal(size=(6, 4, 5, 2)), RNG.normal(size=(6, 4, 5, 1)), RNG.normal(size=(6, 1))
    errors = [(p - t) ** 2 for p, t in zip(model.predict(x), (y, z), strict=True)]
    for shape in ((6, 4, 5), (6, 4, 5, 1), (6, 1, 5), (6, 4, 1), (6, 1, 1), (6, 1), (6,)):
        w, v = RNG.random(shape), RNG.random(6)
        full = (w[..., 0] if len(shape) == 4 else w).reshape(
            6, *shape[1:3], *[1] * (3 - len(shape))
        )
        found = model.evaluate(x, [y, z], 6, 0, {"image": w, "label": v})
        assert_allclose(found[1], (errors[0][..., 0] * full).mean(), rtol=1e-10)
        assert_allclose(found[2], (errors[1][:, 0] * v).mean(), rtol=1e-10)
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(n,\).*\(6, 4, 5\)"):
        model.evaluate(x, [y, z], sample_weight=np.ones((6, 4, 5)))


def test_class_weights_need_one_target_per_sample() -> None:
    x, _, _ = data("rows")
    model = network(3, "rows")
    model.compile("sgd", "mse")
    with pytest.raises(
        ValueError, match=r"of shape \(18,\): pass a sample_weight of shape \(n, 18\)"
    ):
        model.fit(x, np.zeros((N, STEPS, 3)), class_weight={0: 2.0}, verbose=0)


def test_sequences_of_any_length() -> None:
    x = nnfast.Input((None, FEATURES), dtype="float64")
    model = nnfast.Model(x, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    for steps in (3, 7):
        inputs, weights = RNG.normal(size=(4, steps, FEATURES)), RNG.random((4, steps))
        error = model.predict(inputs)[..., 0] ** 2
        found = model.test_on_batch(inputs, np.zeros((4, steps, 1)), sample_weight=weights)
        assert_allclose(found, (error * weights).mean(), rtol=1e-10)
        with pytest.raises(ValueError, match=rf"or \(n, {steps}\), one per step"):
            model.test_on_batch(inputs, np.zeros((4, steps, 1)), sample_weight=np.ones((4, 5)))


@pytest.mark.parametrize("kind", ["rows", "flat", "masked"])
def test_the_number_of_threads_does_not_change_a_bit(kind: str, any_threads: None) -> None:
    x = np.where(RNG.random((150, STEPS, 1)) < 0.6, RNG.normal(size=(150, STEPS, FEATURES)), 0)
    y, weights = RNG.normal(size=(150, STEPS, 3)), RNG.random((150, STEPS))
    results = []
    for threads in (1, 2, 3, 4, 7):
        nnfast.set_seed(1)
        core.force_threads(threads)
        model = network(3, kind, "float32")
        loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
        model.compile("adam", loss, weighted_metrics=["mae"])
        history = model.fit(x, y, 70, 2, 0, sample_weight=weights)
        value, gradient = loss_and_gradient(model, x, y, weights)
        evaluated = model.evaluate(x, y, sample_weight=weights, verbose=0)
        results.append(
            [*model.get_weights(), *history.history.values(), value, gradient, evaluated]
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("shape", "received"),
    [((N, STEPS + 1), r"\(11, 19\)"), ((N, STEPS, 2), r"\(11, 18, 2\)"), ((), r"\(\)")],
)
def test_wrong_shapes_are_refused(shape: tuple[int, ...], received: str) -> None:
    x, _, _ = data("rows")
    y = RNG.normal(size=(N, STEPS, 3))
    model = network(3, "rows")
    model.compile("sgd", "mse")
    message = (
        rf"sample_weight must have shape \(n,\).*\(n, 18\), one per step; received shape {received}"
    )
    for method in (model.fit, model.evaluate, model.train_on_batch, model.loss_and_grad):
        with pytest.raises(ValueError, match=message):
            method(x, y, sample_weight=np.ones(shape))
    with pytest.raises(ValueError, match="sample_weight must have 11 rows"):
        model.evaluate(x, y, sample_weight=np.ones((5, STEPS)))
    with pytest.raises(ValueError, match=r"finite and >= 0; received -1\.0 in row 2"):
        model.evaluate(
            x, y, sample_weight=np.where(np.arange(N)[:, None] == 2, -1.0, x[..., 0] > 9)
        )


def test_vectors_have_no_steps() -> None:
    model = nnfast.Sequential([layers.Dense(3, input_dim=2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"one weight per sample; received shape \(4, 3\)"):
        model.fit(np.ones((4, 2)), np.ones((4, 3)), sample_weight=np.ones((4, 3)))

"""Dense, softmax and losses of classes work on the last axis of samples of any rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
import nnfast.keras
from nnfast import layers, losses, metrics
from nnfast._engine import core
from nnfast.models import load_model, model_from_json

Array = NDArray[Any]
RNG = np.random.default_rng(0)
SHAPES = [(7, 4), (3, 2, 4), (20, 16), (40, 3), (1, 4)]


def sequence_model(
    shape: tuple[int, ...] = (7, 4), classes: int = 5, activation: str = "softmax"
) -> Any:
    x = nnfast.Input(shape, dtype="float64", name="x")
    h = layers.Dense(6, activation="relu", name="hidden")(x)
    return nnfast.Model(x, layers.Dense(classes, activation=activation, name="out")(h))


def examples(shape: tuple[int, ...], classes: int, rows: int = 9) -> tuple[Array, Array]:
    """Return inputs, and a class for each entry of their last axis."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, *shape)), rng.integers(0, classes, (rows, *shape[:-1]))


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def outputs(model: Any, x: Array) -> Array:
    k1, b1, k2, b2 = model.get_weights()
    return softmax(np.maximum(x @ k1 + b1, 0) @ k2 + b2)


# ---- values and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [1, 2, 9, 300])
def test_dense_multiplies_the_last_axis(shape: tuple[int, ...], rows: int) -> None:
    model = sequence_model(shape)
    x, _ = examples(shape, 5, rows)
    assert model.output_shape == (None, *shape[:-1], 5)
    assert [w.shape for w in model.get_weights()] == [(shape[-1], 6), (6,), (6, 5), (5,)]
    np.testing.assert_allclose(model.predict(x), outputs(model, x), rtol=1e-9)


CONVOLUTIONS: list[Callable[..., layers.Layer]] = [
    *(layers.Conv2D, layers.Conv2DTranspose, layers.SeparableConv2D),
    lambda n, size, **options: layers.DepthwiseConv2D(size, depth_multiplier=n // 2, **options),
]


@pytest.mark.parametrize("filters", [6, 16])
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_softmax_after_a_convolution(convolution: Any, filters: int) -> None:
    x = nnfast.Input((5, 4, 2), dtype="float64")
    layer = convolution(filters, 3, activation="softmax")
    model = nnfast.Model(x, layer(x))
    linear = nnfast.Model(x, convolution(filters, 3)(x))
    linear.set_weights(model.get_weights())
    images = RNG.normal(size=(6, 5, 4, 2))
    np.testing.assert_allclose(model.predict(images), softmax(linear.predict(images)), rtol=1e-9)


LOSSES = [
    *(losses.CategoricalCrossentropy(), losses.SparseCategoricalCrossentropy()),
    losses.CategoricalCrossentropy(label_smoothing=0.2, reduction="sum"),
    losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"),
    losses.CategoricalFocalCrossentropy(alpha=(0.1, 0.2, 0.3, 0.4, 0.5)),
    *(losses.MeanSquaredError(), losses.KLDivergence(), losses.CosineSimilarity()),
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_losses_are_means_over_samples_and_steps(
    shape: tuple[int, ...], loss: Any, activation: str
) -> None:
    rng = np.random.default_rng(2)
    model = sequence_model(shape, activation=activation)
    # Central differences need weights that are the same in each run: a ReLU has a kink.
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    model.compile(nnfast.optimizers.SGD(1.0), loss)
    x, classes = examples(shape, 5)
    y = classes if loss.sparse else np.eye(5)[classes]
    weight = rng.uniform(0.5, 2, len(x))
    by_step = np.broadcast_to(weight.reshape(-1, *[1] * (len(shape) - 1)), classes.shape)
    expected = loss(y, model.predict(x), sample_weight=by_step)
    assert model.evaluate(x, y, sample_weight=weight, verbose=0) == pytest.approx(expected, 1e-6)

    direction = [rng.normal(size=w.shape) for w in model.get_weights()]
    before = model.get_weights()
    values = []
    for h in (1e-6, -1e-6):
        model.set_weights([w + h * d for w, d in zip(before, direction, strict=True)])
        values.append(model.evaluate(x, y, sample_weight=weight, verbose=0))
    model.set_weights(before)
    model.train_on_batch(x, y, sample_weight=weight)
    step = zip(before, model.get_weights(), direction, strict=True)
    exact = sum(((old - new) * d).sum() for old, new, d in step)
    assert exact == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("shape", [(4, 8), (2, 16), (32,), (1, 32)])
@pytest.mark.parametrize("width", [2, 16])
def test_steps_may_be_divided_anew(width: int, shape: tuple[int, ...]) -> None:
    x = nnfast.Input((32 // width, 3), dtype="float64")
    model = nnfast.Model(x, layers.Dense(3)(layers.Reshape(shape)(layers.Dense(width)(x))))
    data = np.random.default_rng(0).normal(size=(7, 32 // width, 3))
    k1, b1, k2, b2 = model.get_weights()
    expected = (data @ k1 + b1).reshape(7, *shape) @ k2 + b2
    np.testing.assert_allclose(model.predict(data), expected, atol=1e-12)


def test_metrics_of_classes_count_every_step() -> None:
    model = sequence_model()
    x, classes = examples((7, 4), 5)
    weight = RNG.uniform(0.5, 2, len(x))
    hits = model.predict(x).argmax(-1) == classes
    for y, loss in (
        (classes, "sparse_categorical_crossentropy"),
        (np.eye(5)[classes], "categorical_crossentropy"),
    ):
        own = [metrics.Precision(class_id=1)] if y is not classes else []
        model.compile("sgd", loss, metrics=["accuracy", *own], weighted_metrics=["accuracy"])
        logs = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
        assert logs["accuracy"] == pytest.approx(hits.mean())
        weighted = logs["weighted_accuracy"]
        assert weighted == pytest.approx((hits.mean(1) * weight).sum() / weight.sum())
    said = model.predict(x)[..., 1] > 0.5
    expected = (classes[said] == 1).mean() if said.any() else 0.0
    assert logs["precision"] == pytest.approx(expected)


def test_user_defined_losses_and_supplied_gradients_have_the_shape_of_the_outputs() -> None:
    x, classes = examples((7, 4), 5)
    y = np.eye(5)[classes]

    def squares(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        assert y_true.shape == y_pred.shape == (len(y_true), 7, 5)
        d = y_pred - y_true
        return (d * d).mean((1, 2)), 2 * d / d[0].size

    results = []
    for loss in ("mse", losses.FunctionLoss(squares)):
        model = sequence_model()
        weights = [np.linspace(-1, 1, w.size).reshape(w.shape) for w in model.get_weights()]
        model.set_weights(weights)
        model.compile(nnfast.optimizers.SGD(0.5), loss)
        model.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0)
        results.append(model.get_weights())
        gradient = 2 * (model.predict(x) - y) / y.size
        before = model.get_weights()
        model.train_on_gradient(x, gradient)
        by_gradient = model.get_weights()
        model.set_weights(before)
        model.train_on_batch(x, y)
        for a, b in zip(by_gradient, model.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_gradients_with_respect_to_the_inputs() -> None:
    model = sequence_model()
    x, classes = examples((7, 4), 5, 3)
    model.compile("sgd", "sparse_categorical_crossentropy")

    def value(y: Array | None, inputs: Array) -> Array:
        p = model.predict(inputs)
        if y is None:
            return np.asarray(p.reshape(len(p), -1).max(1))
        return np.asarray(-np.log(np.take_along_axis(p, y[..., None], -1)).mean((1, 2)))

    direction = RNG.normal(size=x.shape)
    for y in (None, classes):
        gradient = model.input_gradient(x, y)
        numeric = (value(y, x + 1e-6 * direction) - value(y, x - 1e-6 * direction)) / 2e-6
        np.testing.assert_allclose((gradient * direction).sum((1, 2)), numeric, atol=1e-7)


@pytest.mark.parametrize("shape", [(5, 4), (40, 16)])
@pytest.mark.parametrize("rows", [9, 400])
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, ...], rows: int) -> None:
    x, y = examples(shape, 5, rows)
    results = set()
    for threads in (1, 2, 3, 4, 7):
        nnfast.keras.utils.set_random_seed(0)
        model = nnfast.Sequential(
            [
                nnfast.Input(shape),
                layers.Dense(32, activation="relu"),
                layers.Dropout(0.2),
                layers.Dense(6, activation="softmax"),
                layers.LayerNormalization(),
                layers.Dense(5, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        core.force_threads(threads)
        try:
            logs = model.fit(x, y, epochs=2, batch_size=200, verbose=0).history
            found = [*model.get_weights(), model.predict(x)]
        finally:
            core.force_threads(0)
        results.add((repr(logs), *(array.tobytes() for array in found)))
    assert len(results) == 1


# ---- files, summaries and errors -----------------------------------------------------------------


def test_models_are_saved_and_described(tmp_path: Path) -> None:
    x = nnfast.Input((3, 4), dtype="float64")
    constant = np.arange(1.0, 5.0)
    h = layers.Dense(5, activation="softmax")(constant - x * np.ones((1, 3, 1)) / constant)
    model = nnfast.Model(x, layers.Activation("softmax")(h))
    data = RNG.normal(size=(6, 3, 4))
    model.compile("adam", "categorical_crossentropy")
    model.fit(data, np.eye(5)[RNG.integers(0, 5, (6, 3))], verbose=0)
    model.save(tmp_path / "model.nnfast")
    np.testing.assert_array_equal(load_model(tmp_path / "model.nnfast")(data), model(data))
    copy = model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy(data), model(data))
    kernel, bias = model.get_weights()
    expected = softmax(softmax((constant - data / constant) @ kernel + bias))
    np.testing.assert_allclose(model(data), expected, rtol=1e-9)
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "(None, 3, 5)" in "\n".join(lines)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((9, 6), int), r"one class index per row of outputs, shape \(n, 7\)"),
        (np.zeros(9, int), "one class index per row"),
        (np.zeros((9, 7, 5)), "for one-hot targets use categorical_crossentropy"),
        (np.full((9, 7), 5), "from 0 to 4"),
        (np.full((9, 7), 0.5), "integers"),
        (np.zeros((8, 7), int), "9 rows"),
    ],
)
def test_wrong_classes_are_refused(y: Array, message: str) -> None:
    model = sequence_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, classes = examples((7, 4), 5)
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, verbose=0)
    one_axis_more = model.evaluate(x, classes[..., None], verbose=0)
    assert one_axis_more == model.evaluate(x, classes, verbose=0)


def test_class_weights_need_one_class_per_sample() -> None:
    model = sequence_model()
    x, classes = examples((7, 4), 5)
    for loss, y in (
        ("sparse_categorical_crossentropy", classes),
        ("categorical_crossentropy", np.eye(5)[classes]),
    ):
        model.compile("sgd", loss)
        with pytest.raises(ValueError, match="class_weight needs targets with one class"):
            model.fit(x, y, class_weight={0: 2.0}, verbose=0)


def test_classes_of_pixels_need_a_dense_layer_or_softmax() -> None:
    x = nnfast.Input((6, 6, 1))
    logits = nnfast.Model(x, layers.Conv2D(3, 3)(x))
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match=r"\(4, 4, 3\): end it with Activation\('softmax'\)"):
        logits.compile("sgd", loss)
    model = nnfast.Model(x, layers.Activation("softmax")(logits(x)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    images, classes = RNG.normal(size=(5, 6, 6, 1)), RNG.integers(0, 3, (5, 4, 4))
    p = model.predict(images)
    expected = -np.log(np.take_along_axis(p, classes[..., None], -1)).mean()
    assert model.evaluate(images, classes, verbose=0) == pytest.approx(expected, 1e-5)


def test_samples_without_elements() -> None:
    for shape in ((0, 4), (4, 0)):
        x = nnfast.Input(shape)
        model = nnfast.Model(x, layers.Dense(3, activation="softmax")(x))
        assert model.predict(np.zeros((2, *shape))).shape == (2, shape[0], 3)
    model.compile("sgd", "mse")
    model.train_on_batch(np.zeros((2, 4, 0)), np.full((2, 4, 3), 1 / 3))

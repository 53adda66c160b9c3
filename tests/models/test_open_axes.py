"""Models whose samples have axes of any size: shapes, plans for each size, training, files."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import every_layer
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import Input, Model, Sequential, callbacks, layers
from nnfast._engine import core
from nnfast._plan.open_shapes import fits
from nnfast._runtime.variants import MOST

Array = NDArray[Any]


def batch(steps: int, rows: int = 6, seed: int = 0) -> tuple[Array, Array]:
    """Return sequences with 3 features, and targets with 2 for each step."""
    rng = np.random.default_rng([steps, rows, seed])
    return rng.normal(size=(rows, steps, 3)), rng.normal(size=(rows, steps, 2))


def tagger(steps: int | None, dtype: str = "float32", **options: Any) -> Any:
    """Return a model with a prediction for each step."""
    nnfast.set_seed(3)
    model = Sequential(
        [
            Input((steps, 3)),
            layers.LSTM(5, return_sequences=True),
            layers.Dropout(0.25),
            layers.BatchNormalization(),
            layers.Conv1D(4, 3, padding="same", activation="relu"),
            layers.Dense(2),
        ],
        dtype=dtype,
    )
    model.compile(**{"optimizer": "adam", "loss": "mse", "metrics": ["mae"], **options})
    return model


def assert_same_weights(a: Any, b: Any) -> None:
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        assert_array_equal(one, other)


# ---- shapes --------------------------------------------------------------------------------------

SEQUENCE, IMAGE = Input((None, 8)), Input((None, None, 3))
SHAPES: list[tuple[Callable[[], Any], tuple[int | None, ...]]] = [
    (lambda: layers.Dense(4)(SEQUENCE), (None, 4)),
    (lambda: layers.Softmax()(SEQUENCE), (None, 8)),
    (lambda: layers.LayerNormalization()(SEQUENCE), (None, 8)),
    (lambda: layers.GRU(4)(SEQUENCE), (4,)),
    (lambda: layers.SimpleRNN(4, return_sequences=True)(SEQUENCE), (None, 4)),
    (lambda: layers.Conv1D(4, 5, strides=2)(SEQUENCE), (None, 4)),
    (lambda: layers.Conv1D(4, 1000)(SEQUENCE), (None, 4)),
    (lambda: layers.MaxPooling1D(128, padding="same")(SEQUENCE), (None, 8)),
    (lambda: layers.GlobalAveragePooling1D()(SEQUENCE), (8,)),
    (lambda: layers.GlobalMaxPooling1D(keepdims=True)(SEQUENCE), (1, 8)),
    (lambda: layers.Cropping1D(2)(SEQUENCE), (None, 8)),
    (lambda: layers.UpSampling1D(2)(SEQUENCE), (None, 8)),
    (lambda: layers.Flatten()(SEQUENCE), (None,)),
    (lambda: layers.Permute((2, 1))(SEQUENCE), (8, None)),
    (lambda: layers.Reshape((-1, 4))(SEQUENCE), (None, 4)),
    (lambda: layers.Reshape((4, 8))(SEQUENCE), (4, 8)),
    (lambda: layers.RepeatVector(3)(Input((None,))), (3, None)),
    (lambda: layers.Add()([SEQUENCE, Input((None, 8))]), (None, 8)),
    (lambda: layers.Multiply()([SEQUENCE, Input((1, 8))]), (None, 8)),
    (lambda: layers.Concatenate()([SEQUENCE, Input((None, 2))]), (None, 10)),
    (lambda: layers.Concatenate(1)([SEQUENCE, Input((5, 8))]), (None, 8)),
    (lambda: layers.Dot(2)([SEQUENCE, Input((None, 8))]), (None, None)),
    (lambda: layers.Dot(1)([SEQUENCE, Input((None, 8))]), (8, 8)),
    (lambda: SEQUENCE[:, -1], (8,)),
    (lambda: SEQUENCE[:, :5, 2:], (None, 6)),
    (lambda: 2 * SEQUENCE + np.ones(8), (None, 8)),
    (lambda: layers.Conv2D(4, 3, strides=2)(IMAGE), (None, None, 4)),
    (lambda: layers.Conv2DTranspose(4, 3, strides=2)(IMAGE), (None, None, 4)),
    (lambda: layers.ZeroPadding2D()(IMAGE), (None, None, 3)),
    (lambda: layers.UpSampling2D()(IMAGE), (None, None, 3)),
    (lambda: layers.Resizing(7, 9)(IMAGE), (7, 9, 3)),
    (lambda: layers.Rescaling(0.5)(IMAGE), (None, None, 3)),
    (lambda: layers.GlobalAveragePooling2D()(IMAGE), (3,)),
    (lambda: layers.PReLU(shared_axes=[1, 2])(IMAGE), (None, None, 3)),
]


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_open_axes_pass_through_layers_as_in_keras(number: int) -> None:
    make, expected = SHAPES[number]
    assert make().shape == (None, *expected)


@pytest.mark.parametrize(
    ("make", "weight"),
    [
        (lambda: layers.Dense(4)(layers.Flatten()(SEQUENCE)), "kernel"),
        (lambda: layers.Dense(4)(Input((None,))), "kernel"),
        (lambda: layers.LayerNormalization(axis=(1, 2))(SEQUENCE), "gamma"),
        (lambda: layers.PReLU()(SEQUENCE), "alpha"),
        (lambda: layers.LSTM(4)(layers.Permute((2, 1))(SEQUENCE)), "kernel"),
    ],
)
def test_weights_must_not_depend_on_open_axes(make: Callable[[], Any], weight: str) -> None:
    with pytest.raises(
        ValueError, match=rf"has a {weight} whose shape depends .*None.* give Input"
    ):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.LSTM(4)(Input((None,))), r"\(steps, features\).*received shape \(None,\)"),
        (lambda: layers.Conv2D(4, 3)(SEQUENCE), r"height, width, channels.*\(None, 8\)"),
        (
            lambda: layers.Add()([SEQUENCE, Input((None, 7))]),
            r"broadcast.*\(None, 8\), \(None, 7\)",
        ),
        (lambda: Input((None, -1)), "integer >= 0"),
        (lambda: Input((None, "3")), "integer"),
    ],
)
def test_errors_show_open_axes_as_none(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def open_first(name: str) -> tuple[layers.Layer, tuple[int | None, ...], tuple[int, ...]]:
    """Return a layer, the shape of its input with an open first axis, and a shape that fits."""
    layer = every_layer.LAYERS[name]()
    known = layer.feature_shape or (4,)
    sizes = tuple(size or 4 for size in known)
    return layer, (None, *sizes[1:]), sizes


SINGLE = sorted(every_layer.LAYERS.keys() - every_layer.MERGING - every_layer.PREPARING)


@pytest.mark.parametrize("name", SINGLE)
def test_every_layer_computes_the_same_bits_with_an_open_axis(name: str) -> None:
    layer, shape, sizes = open_first(name)
    if isinstance(layer, layers.InputLayer):
        return
    config = {key: v for key, v in layer.get_config().items() if key != "input_shape"}
    fixed, other = (type(layer).from_config(config) for _ in range(2))
    nnfast.set_seed(0)
    known = Sequential([Input(sizes), fixed])
    try:
        model = Sequential([Input(shape), other])
    except ValueError as error:
        unknown = ("depends on an axis of unknown size", "cannot be broadcast to (None,)")
        assert any(text in str(error) for text in unknown)  # noqa: PT017
        return
    model.set_weights(known.get_weights())
    assert fits(known.output_shape[1:], model.output_shape[1:])
    x = np.random.default_rng(0).uniform(0.1, 1, size=(5, *sizes))
    if isinstance(layer, layers.Embedding):
        x = np.ones((5, *sizes), int)
    assert_array_equal(model.predict(x), known.predict(x))


def test_models_describe_open_axes(tmp_path: Path) -> None:
    model = tagger(None)
    assert model.input_shape == (None, None, 3)
    assert model.output_shape == (None, None, 2)
    assert model.layers[0].output_shape == (None, None, 5)
    assert model.count_params() == tagger(4).count_params()
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "(None, None, 5)" in "\n".join(lines)
    x, y = batch(4)
    model.fit(x, y, verbose=0)
    expected = model.predict(x)
    model.save(tmp_path / "model")
    for copied in (
        nnfast.load_model(tmp_path / "model"),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
    ):
        assert copied.output_shape == (None, None, 2)
        assert_array_equal(copied.predict(x), expected)
    for made in (
        nnfast.models.model_from_json(model.to_json()),
        nnfast.models.clone_model(model),
        Sequential.from_config(model.get_config()),
    ):
        assert made.output_shape == (None, None, 2)
        made.set_weights(model.get_weights())
        assert_array_equal(made.predict(x), expected)


def test_the_first_layer_and_build_accept_open_axes() -> None:
    declared = Sequential([layers.GRU(4, input_shape=(None, 3))])
    built = Sequential([layers.GRU(4)])
    built.build((None, None, 3))
    assert declared.input_shape == built.input_shape == (None, None, 3)
    assert declared.layers[0].get_config()["input_shape"] == [None, 3]
    assert Input(batch_shape=(7, None, 3)).shape == (7, None, 3)


# ---- models within models ------------------------------------------------------------------------


def test_models_within_models_have_the_sizes_of_the_outer_one() -> None:
    inner = Sequential([Input((None, 3)), layers.LSTM(4, return_sequences=True)], name="inner")
    x = Input((None, 3))
    outer = Model(x, layers.Dense(2)(inner(x)))
    assert outer.output_shape == (None, None, 2)
    z = Input((6, 3))
    known = Model(z, layers.Dense(2)(layers.Flatten()(inner(z))))
    assert inner(z).shape == (None, 6, 4)
    data = batch(6)[0]
    steps = inner.predict(data)
    kernel, bias = known.layers[-1].get_weights()
    assert_allclose(known.predict(data), steps.reshape(6, -1) @ kernel + bias, rtol=1e-4, atol=1e-6)
    kernel, bias = outer.layers[-1].get_weights()
    assert_allclose(outer.predict(data), steps @ kernel + bias, rtol=1e-4, atol=1e-6)
    again = nnfast.models.clone_model(outer)
    assert again.output_shape == (None, None, 2)


def test_a_model_of_known_size_refuses_tensors_of_unknown_size() -> None:
    model = Sequential([Input((6, 3)), layers.LSTM(4)])
    with pytest.raises(ValueError, match=r"expects samples of shape .*6, 3.*received .*None, 3"):
        model(Input((None, 3)))


# ---- bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_on_one_length_has_the_bits_of_a_model_of_that_length(dtype: str) -> None:
    model, known = tagger(None, dtype), tagger(7, dtype)
    assert_same_weights(model, known)
    x, y = batch(7, rows=50)
    test = batch(7, rows=9, seed=1)
    found, expected = (
        m.fit(x, y, epochs=3, batch_size=16, validation_data=test, verbose=0).history
        for m in (model, known)
    )
    assert found == expected
    assert_same_weights(model, known)
    assert model.train_on_batch(x, y) == known.train_on_batch(x, y)
    assert model.evaluate(x, y, verbose=0) == known.evaluate(x, y, verbose=0)
    assert model.test_on_batch(x, y) == known.test_on_batch(x, y)
    assert_array_equal(model.predict(x), known.predict(x))
    assert_array_equal(model(x[:1]), known(x[:1]))
    assert_array_equal(model.input_gradient(x, y), known.input_gradient(x, y))
    for a, b in zip(model.loss_and_grad(x, y)[1], known.loss_and_grad(x, y)[1], strict=True):
        assert_array_equal(a, b)
    for m in (model, known):
        m.train_on_gradient(x, y)
    assert_same_weights(model, known)


def test_batches_of_many_lengths_are_trained_as_adam_prescribes() -> None:
    """The gradients are those of models of known length that share the layers."""
    nnfast.set_seed(0)
    shared = [layers.GRU(4, return_sequences=True), layers.Dense(2)]
    model = Sequential([Input((None, 3)), *shared], dtype="float64")
    model.compile("adam", "mse")
    reference = [w.astype(np.float64) for w in model.get_weights()]
    m, v = ([np.zeros_like(w) for w in reference] for _ in range(2))
    lengths = [4, 9, 4, 1, 9, 4]
    data = [batch(steps, rows=3 + i, seed=i) for i, steps in enumerate(lengths)]
    expected = []
    for t, (x, y) in enumerate(data, start=1):
        copies = [layers.GRU(4, return_sequences=True), layers.Dense(2)]
        known = Sequential([Input(x.shape[1:]), *copies], dtype="float64")
        known.compile("sgd", "mse")
        known.set_weights(reference)
        loss, gradients = known.loss_and_grad(x, y)
        expected.append(loss)
        for w, a, b, g in zip(reference, m, v, gradients, strict=True):
            a += 0.1 * (g - a)
            b += 0.001 * (g**2 - b)
            w -= 0.001 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * a / (np.sqrt(b) + 1e-7)
    losses = [model.train_on_batch(x, y) for x, y in data[:3]]
    history = model.fit(iter(data[3:]), verbose=0).history
    assert_allclose(losses, expected[:3], rtol=1e-9)
    rows = [len(x) for x, _ in data[3:]]
    assert_allclose(history["loss"], [np.average(expected[3:], weights=rows)], rtol=1e-9)
    for found, wanted in zip(model.get_weights(), reference, strict=True):
        assert_allclose(found, wanted, rtol=1e-7, atol=1e-9)
    assert model.iterations == len(lengths)


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    model, known = tagger(None), tagger(None)
    data = [batch(steps, rows=70) for steps in (5, 30, 5, 2)]
    known.fit(iter(data), verbose=0)
    core.force_threads(threads)
    try:
        model.fit(iter(data), verbose=0)
    finally:
        core.force_threads(0)
    assert_same_weights(model, known)


def test_means_count_every_sample_once_and_counts_every_step() -> None:
    kinds = ["mae", "accuracy", nnfast.metrics.TruePositives()]
    model = tagger(None, metrics=kinds, loss="binary_crossentropy")
    data = [(x, (y > 0).astype(float)) for x, y in (batch(3, rows=4), batch(8, rows=2))]
    loss, mae, accuracy, positives = model.evaluate(iter(data), verbose=0)
    single = [model.evaluate(x, y, verbose=0) for x, y in data]
    means = np.average(single, axis=0, weights=[4, 2])
    assert_allclose([loss, mae, accuracy], means[:3], rtol=1e-6)
    assert positives == single[0][3] + single[1][3]


def test_images_of_any_size() -> None:
    def classifier(shape: tuple[int | None, ...]) -> Any:
        nnfast.set_seed(1)
        x = Input(shape)
        y = layers.MaxPooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
        model = Model(x, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(y)))
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    model = classifier((None, None, 1))
    rng = np.random.default_rng(0)
    for size in ((6, 9), (12, 5)):
        known = classifier((*size, 1))
        known.set_weights(model.get_weights())
        x, y = rng.normal(size=(9, *size)), rng.integers(0, 3, 9)
        assert model.train_on_batch(x[..., None], y) == known.train_on_batch(x, y)
        assert_same_weights(model, known)
        assert_array_equal(model.predict(x), known.predict(x))


def test_a_last_axis_of_size_one_may_be_missing_or_superfluous() -> None:
    model = Sequential([Input((None, 1)), layers.LSTM(2)])
    x = np.random.default_rng(0).normal(size=(4, 5))
    assert_array_equal(model.predict(x), model.predict(x[..., None]))
    assert_array_equal(model.predict(x.tolist()), model.predict([x]))
    assert_array_equal(
        Sequential([Input((None,)), layers.Rescaling(2.0)]).predict(x[..., None]),
        2 * x.astype(np.float32),
    )


# ---- plans ---------------------------------------------------------------------------------------


def test_the_plan_of_a_length_is_made_once() -> None:
    model = tagger(None)
    for steps in (4, 6):
        model.train_on_batch(*batch(steps))
        model(batch(steps)[0].astype(np.float32))
        model.evaluate(*batch(steps), verbose=0)
    variants = model._network.variants
    known = {sizes: variants.networks.get(sizes) for sizes in (((4, 3),), ((6, 3),))}
    before = core.allocation_count()
    for steps in (4, 6, 4, 6):
        model.train_on_batch(*batch(steps))
    per_step = (core.allocation_count() - before) / 4
    assert per_step < 1  # a step of a known length allocates nothing
    assert all(variants.networks.get(sizes) is found for sizes, found in known.items())


def test_a_model_is_freed_with_its_last_reference() -> None:
    model = tagger(None)
    model.train_on_batch(*batch(4))
    model.predict(batch(5)[0])
    references = [weakref.ref(network) for network in (model._network, model._trainer)]
    references.append(weakref.ref(model._network.variant(((5, 3),))))
    gc.disable()
    try:
        del model
        assert [reference() for reference in references] == [None] * 3
    finally:
        gc.enable()


def test_a_limited_number_of_plans_is_kept() -> None:
    model = Sequential([Input((None, 3)), layers.GRU(2)])
    first = model.predict(batch(1)[0])
    for steps in range(1, MOST + 10):
        model.predict(batch(steps)[0])
    assert len(model._network.variants.networks) == MOST
    assert_array_equal(model.predict(batch(1)[0]), first)


def test_the_memory_for_training_on_many_lengths_is_limited() -> None:
    model = Sequential([Input((None, 1)), layers.UpSampling1D(1600), layers.GlobalMaxPooling1D()])
    model.compile("sgd", "mse")
    lengths = [1000 + 10 * i for i in range(6)]
    for steps in lengths:  # each needs more than 50 MB, with one thread, too
        model.train_on_batch(np.ones((16, steps, 1)), np.ones((16, 1)))
    before = core.allocation_count()
    model.train_on_batch(np.ones((16, lengths[-1], 1)), np.ones((16, 1)))
    assert core.allocation_count() == before
    model.train_on_batch(np.ones((16, lengths[0], 1)), np.ones((16, 1)))
    assert core.allocation_count() > before  # its memory had been freed


# ---- data ----------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_arrays() -> None:
    model = tagger(None)
    for x, message in (
        (np.zeros((2, 5, 4)), r"x must have shape \(n, None, 3\).*received shape \(2, 5, 4\)"),
        (np.zeros((5, 3)), r"received shape \(5, 3\); a single sample needs a batch axis"),
        (np.zeros((2, 3, 3, 3)), r"received shape \(2, 3, 3, 3\)"),
        (np.float64(3), r"received shape \(\)"),
        (np.zeros((2, 0, 3)), r"The samples have shape \(0, 3\): LSTM .* at least one step"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(x)
        with pytest.raises(ValueError, match=message):
            model.train_on_batch(x, np.zeros((2, 5, 2)))
    with pytest.raises(TypeError, match="all rows alike"):
        model.predict([[[1.0, 2.0, 3.0]], [[1.0, 2.0]]])


def test_targets_must_have_the_length_of_their_batch() -> None:
    model = tagger(None)
    with pytest.raises(ValueError, match=r"shape \(n, 5, 2\) .*received shape \(6, 4, 2\)"):
        model.fit(batch(5)[0], batch(4)[1], verbose=0)
    with pytest.raises(ValueError, match=r"y of batch 2 of epoch 1 must have shape \(n, 3, 2\)"):
        model.fit(iter([batch(5), (batch(3)[0], batch(5)[1])]), verbose=0)
    with pytest.raises(ValueError, match=r"validation_data\[1\] must have shape \(n, 3, 2\)"):
        model.fit(*batch(5), validation_data=(batch(3)[0], batch(5)[1]), verbose=0)


def test_validation_data_may_have_another_length() -> None:
    model = tagger(None)
    history = model.fit(*batch(5), validation_data=batch(9), verbose=0).history
    expected = model.evaluate(*batch(9), verbose=0, return_dict=True)
    assert {"val_" + key: [value] for key, value in expected.items()}.items() <= history.items()
    history = model.fit(iter([batch(5), batch(2)]), validation_data=iter([batch(4)]), verbose=0)
    assert history.history["val_loss"] == [model.evaluate(*batch(4), verbose=0)[0]]


def test_windows_that_exceed_the_sample_are_refused() -> None:
    model = Sequential([Input((None, 3)), layers.Conv1D(2, 5)])
    assert model.predict(batch(5)[0]).shape == (6, 1, 2)
    with pytest.raises(ValueError, match=r"The samples have shape \(4, 3\): Conv1D .* larger than"):
        model.predict(batch(4)[0])


def test_sizes_of_several_inputs_must_fit_together() -> None:
    a, b = Input((None, 3), name="a"), Input((None, 3), name="b")
    model = Model([a, b], layers.Add()([a, layers.LSTM(3, return_sequences=True)(b)]))
    x, other = batch(4)[0], batch(5)[0]
    assert model.predict([x, x]).shape == (6, 4, 3)
    assert model.predict({"a": other, "b": other}).shape == (6, 5, 3)
    with pytest.raises(ValueError, match=r"'a' \(4, 3\), 'b' \(5, 3\): Add .* cannot broadcast"):
        model.predict([x, other])
    apart = Model([a, b], layers.Add()([layers.LSTM(3)(a), layers.LSTM(3)(b)]))
    assert apart.predict([x, other]).shape == (6, 3)


def test_an_axis_may_have_to_be_as_long_as_another_one() -> None:
    a, b = Input((None, 3)), Input((10, 3))
    model = Model([a, b], layers.Add()([a, b]))
    x = batch(10)[0]
    assert_allclose(model.predict([x, x]), 2 * x, rtol=1e-6)
    with pytest.raises(ValueError, match="cannot broadcast"):
        model.predict([batch(9)[0], x])
    fixed = Model(a, layers.Reshape((5, 6))(a))
    assert fixed.output_shape == (None, 5, 6)
    assert fixed.predict(x).shape == (6, 5, 6)
    with pytest.raises(ValueError, match=r"shape \(9, 3\): Reshape .* cannot reshape"):
        fixed.predict(batch(9)[0])


def test_predictions_for_a_stream_are_joined_if_they_can_be() -> None:
    model = tagger(None)
    data = [batch(5, rows)[0] for rows in (2, 4)]
    assert_array_equal(model.predict(iter(data)), np.concatenate([model.predict(x) for x in data]))
    with pytest.raises(
        ValueError, match=r"batch 1 .*\(5, 2\).* batch 2 .*\(4, 2\).*predict_on_batch"
    ):
        model.predict(iter([batch(5)[0], batch(4)[0]]))
    last = Sequential([Input((None, 3)), layers.LSTM(2)])
    assert last.predict(iter([batch(5)[0], batch(4)[0]])).shape == (12, 2)
    assert last.predict(batch(5)[0], batch_size=2, steps=2).shape == (4, 2)


def test_inputs_of_text_may_have_any_length() -> None:
    x = Input((None,), dtype="string")
    numbers = layers.StringLookup(vocabulary=["a", "b"])(x)
    one_hot = layers.CategoryEncoding(3, output_mode="count")(numbers)
    model = Model(x, one_hot)
    assert_array_equal(model.predict([["a", "b", "b"], ["x", "a", "a"]]), [[0, 1, 2], [1, 2, 0]])
    assert_array_equal(model.predict(np.array([["a"], ["b"]])), [[0, 1, 0], [0, 0, 1]])


def test_several_outputs_and_losses_that_are_functions() -> None:
    def loss(y: Array, a: Array) -> tuple[float, Array]:
        return float(((a - y) ** 2).mean()), 2 * (a - y) / a.size

    def made(steps: int | None, kind: Any) -> Any:
        nnfast.set_seed(5)
        x = Input((steps, 3))
        h = layers.LSTM(4, return_sequences=True)(x)
        outputs = [layers.Dense(2, name="each")(h), layers.Dense(1, name="last")(h[:, -1])]
        model = Model(x, outputs, name="model")
        model.compile("sgd", {"each": kind, "last": "mae"}, metrics={"each": "mae", "last": "mse"})
        return model

    model, known = made(None, loss), made(None, "mse")
    for steps in (4, 2, 4):
        x, y = batch(steps)
        targets = [y, y[:, -1, :1]]
        found, expected = (m.train_on_batch(x, targets) for m in (model, known))
        assert_allclose(found, expected, rtol=1e-5)
        assert_allclose(*(m.evaluate(x, targets, verbose=0) for m in (model, known)), rtol=1e-5)
    for a, b in zip(model.get_weights(), known.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# ---- training ------------------------------------------------------------------------------------


def test_states_are_carried_from_batch_to_batch_of_any_length() -> None:
    x = batch(7, rows=4)[0]
    plain = Sequential([Input((None, 3)), layers.GRU(5, return_sequences=True)])
    model = Sequential(
        [
            Input(batch_shape=(4, None, 3)),
            layers.GRU(5, return_sequences=True, stateful=True),
        ]
    )
    model.set_weights(plain.get_weights())
    parts = [model.predict(part) for part in (x[:, :3], x[:, 3:4], x[:, 4:])]
    assert_allclose(np.concatenate(parts, axis=1), plain.predict(x), rtol=1e-6, atol=1e-7)
    model.reset_state()
    assert_array_equal(model.predict(x[:, :3]), parts[0])


@pytest.mark.parametrize("return_sequences", [False, True])
def test_masked_steps_of_any_length(return_sequences: bool) -> None:
    def made(steps: int | None) -> Any:
        nnfast.set_seed(2)
        x = Input((steps, 3))
        h = layers.LSTM(4, return_sequences=return_sequences)(layers.Masking()(x))
        model = Model(x, layers.Dense(2)(h))
        model.compile("adam", "mse", metrics=["mae"])
        return model

    model = made(None)
    for steps in (5, 3, 5):
        x, y = batch(steps)
        x[:4, 2:] = 0
        y = y if return_sequences else y[:, 0]
        known = made(steps)
        known.set_weights(model.get_weights())
        assert_array_equal(model.predict(x), known.predict(x))
        assert model.evaluate(x, y, verbose=0) == known.evaluate(x, y, verbose=0)
        assert model.train_on_batch(x, y) == known.train_on_batch(x, y)


def test_states_are_outputs_for_any_length() -> None:
    x = Input((None, 3))
    y, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(x)
    assert (y.shape, h.shape, c.shape) == ((None, None, 4), (None, 4), (None, 4))
    model = Model(x, [y, h, layers.LSTM(4)(x, initial_state=[h, c])])
    for steps in (2, 6):
        steps_out, last, _ = model.predict(batch(steps)[0])
        assert_array_equal(steps_out[:, -1], last)


class Batches:
    """A dataset of batches."""

    def __init__(self, data: list[tuple[Array, Array]]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[Array, Array]:
        return self.data[i]


class Freeze(callbacks.Callback):
    """Freezes a layer after the first epoch and trains it again after the third."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch in (0, 2):
            self.model.layers[0].trainable = epoch == 2


@pytest.mark.parametrize("as_batches", [False, True])
def test_layers_may_be_frozen_during_training(as_batches: bool) -> None:
    found = []
    for steps in (None, 7):
        model = tagger(steps)
        x, y = batch(7, rows=12)
        data = (Batches([(x[:6], y[:6]), (x[6:], y[6:])]),) if as_batches else (x, y)
        options = {} if as_batches else {"batch_size": 6}
        history = model.fit(
            *data, epochs=5, callbacks=[Freeze()], verbose=0, validation_data=(x, y), **options
        )
        found.append((history.history, model))
    assert found[0][0] == found[1][0]
    assert_same_weights(found[0][1], found[1][1])


def test_a_frozen_model_of_open_axes_can_be_trained_again() -> None:
    model, known = tagger(None), tagger(5)
    for flag in (True, False, True):
        for m in (model, known):
            m.layers[0].trainable = flag
            m.train_on_batch(*batch(5))
            if m is model:
                m.evaluate(*batch(4), verbose=0)
    assert_same_weights(model, known)


def test_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    data = [batch(steps, seed=i) for i, steps in enumerate((4, 7, 4, 2))]
    whole, model = tagger(None), tagger(None)
    whole.fit(Batches(data), epochs=4, verbose=0)
    model.fit(Batches(data), epochs=2, verbose=0)
    model.save(tmp_path / "model")
    model.save_state(tmp_path / "state")
    loaded = nnfast.load_model(tmp_path / "model")
    fresh = tagger(None)
    fresh.load_state(tmp_path / "state")
    for resumed in (model, loaded, fresh, pickle.loads(pickle.dumps(loaded))):
        resumed.fit(Batches(data), epochs=2, verbose=0)
        assert_same_weights(resumed, whole)


def test_divergence_restores_the_last_finite_state() -> None:
    model = tagger(None, optimizer="sgd")
    x, y = batch(4)
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    bad = batch(3)[0]
    bad[0, 0, 0] = np.inf
    with pytest.warns(RuntimeWarning, match="not finite"):
        model.fit(iter([(bad, batch(3)[1]), (x, y)]), verbose=0)
    for found, expected in zip(model.get_weights(), before, strict=True):
        assert np.isfinite(found).all()
        assert found.shape == expected.shape


def test_compiling_again_applies_to_every_length() -> None:
    model = tagger(None)
    data = [batch(steps) for steps in (3, 5)]
    for x, y in data:
        model.train_on_batch(x, y)
    model.compile("sgd", "mae")
    assert model.iterations == 0
    for x, y in data:
        assert_allclose(model.evaluate(x, y, verbose=0), np.abs(model.predict(x) - y).mean(), 1e-5)
        model.train_on_batch(x, y)
    model.optimizer.learning_rate = 0.0
    before = model.layers[-1].get_weights()
    for x, y in data:
        model.train_on_batch(x, y)
    for a, b in zip(before, model.layers[-1].get_weights(), strict=True):
        assert_array_equal(a, b)
    assert model.iterations == 4


def test_the_moving_average_spans_all_lengths() -> None:
    made = {"optimizer": nnfast.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)}
    model, known = tagger(None, **made), tagger(4, **copy.deepcopy(made))
    for m in (model, known):
        m.fit(*batch(4), epochs=3, verbose=0)
    assert_same_weights(model, known)


# ---- threads -------------------------------------------------------------------------------------


def test_threads_predict_different_lengths_at_once() -> None:
    model = tagger(None)
    data = {steps: batch(steps, rows=3)[0] for steps in range(1, 9)}
    expected = {steps: model.predict(x) for steps, x in data.items()}
    model = nnfast.models.clone_model(model)
    model.set_weights(tagger(None).get_weights())

    def check(seed: int) -> None:
        for steps in np.random.default_rng(seed).integers(1, 9, 200).tolist():
            assert_array_equal(model.predict(data[steps]), expected[steps])
            assert_array_equal(model(data[steps]), expected[steps])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(4)))


def test_other_threads_evaluate_new_lengths_during_fit() -> None:
    """Training is not disturbed, and a second training is refused."""
    data = [batch(steps) for steps in (3, 4)] * 20
    undisturbed, model = tagger(None), tagger(None)
    undisturbed.fit(iter(data), verbose=0)
    began, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[tuple[Array, Array]]:
        for i, item in enumerate(data):
            if i == 5:
                began.set()
                assert go_on.wait(60)
            yield item

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(lambda: model.fit(slow(), verbose=0))
        assert began.wait(60)
        for steps in (3, 5, 6):
            x, y = batch(steps)
            assert np.isfinite(model.evaluate(x, y, verbose=0)).all()
            assert model.predict(x).shape == y.shape
            with pytest.raises(RuntimeError, match="another thread"):
                model.train_on_batch(x, y)
        go_on.set()
        training.result()
    assert_same_weights(model, undisturbed)


# ---- limits --------------------------------------------------------------------------------------


def test_huge_sizes_are_refused_before_memory_is_taken() -> None:
    x = Input((None, 1))
    model = Model(x, layers.GlobalAveragePooling1D()(layers.UpSampling1D(2**31)(x)))
    with pytest.raises((ValueError, MemoryError)):
        model.predict(np.zeros((1, 2**20, 1)))
    endless = np.broadcast_to(np.float32(0), (1, 2**50, 1))
    with pytest.raises((ValueError, MemoryError)):
        Model(x, layers.Rescaling(2.0)(x)).predict(endless)


def test_a_model_from_a_file_must_not_demand_much_memory(tmp_path: Path) -> None:
    x = Input((None, 1))
    model = Model(x, layers.GlobalAveragePooling1D()(layers.UpSampling1D(2**12)(x)))
    model.save(tmp_path / "model")
    loaded = nnfast.load_model(tmp_path / "model")
    small = np.zeros((1, 2**6, 1))
    assert loaded.predict(small) == model.predict(small) == 0
    with pytest.raises(
        ValueError, match=r"shape \(8192, 1\): its model has .* intermediate values"
    ):
        loaded.predict(np.zeros((1, 2**13, 1)))
    loaded.compile("sgd", "mse")
    with pytest.raises(ValueError, match="intermediate values"):
        loaded.fit(np.zeros((1, 2**13, 1)), np.zeros((1, 1)), verbose=0)


def test_a_model_that_fits_no_size_is_refused() -> None:
    x = Input((None, 3))
    short = layers.Cropping1D((0, 1))(x)
    with pytest.raises(ValueError, match="cannot broadcast"):
        Model(x, layers.Add()([x, layers.UpSampling1D(2)(short)[:, :5000], Input((None, 7))]))


# ---- embeddings and wrappers ---------------------------------------------------------------------


def test_ids_of_any_length_are_looked_up_and_checked() -> None:
    def made(steps: int | None) -> Any:
        nnfast.set_seed(4)
        ids = Input((steps,), dtype="int32")
        h = layers.Embedding(7, 3, mask_zero=True)(ids)
        h = layers.Bidirectional(layers.GRU(4, return_sequences=True))(h)
        model = Model(ids, layers.TimeDistributed(layers.Dense(2))(h))
        model.compile("adam", "mse")
        return model

    model = made(None)
    assert model.output_shape == (None, None, 2)
    for steps in (5, 3, 5):
        x = np.random.default_rng(steps).integers(0, 7, (6, steps))
        y = batch(steps)[1]
        known = made(steps)
        known.set_weights(model.get_weights())
        assert_array_equal(model.predict(x), known.predict(x))
        assert model.train_on_batch(x, y) == known.train_on_batch(x, y)
    x[1, 2] = 7
    with pytest.raises(ValueError, match=r"from 0 to 6 .* received 7 at position \(1, 2\)"):
        model.predict(x)
    with pytest.raises(ValueError, match="received 7"):
        model.fit(x, y, verbose=0)

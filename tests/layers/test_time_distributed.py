"""TimeDistributed computes what its layer computes for each step."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from every_layer import LAYERS, MERGING, PREPARING
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import layers
from nnfast._engine import core

Array = NDArray[Any]

STEPS = 3
# Their outputs are random in training.
RANDOM = {name for name in LAYERS if name.startswith(("Random", "Gaussian", "Alpha", "Spatial"))}
RANDOM |= {"Dropout", "LSTM", "GRU", "RNN", "Bidirectional"}


def make(name: str) -> layers.Layer:
    """Return a frozen BatchNormalization, or another layer of the table."""
    layer = LAYERS[name]()
    config = layer.get_config()
    if name in ("LSTM", "GRU", "SimpleRNN"):
        config |= {"dropout": 0.0, "recurrent_dropout": 0.0}
    config["dtype"] = "float64"
    config["trainable"] = name != "BatchNormalization"
    return type(layer).from_config(config)


def stacked(tensors: list[Any]) -> Any:
    """Return tensors as the steps of one."""
    shape = tensors[0].shape[1:]
    return layers.concatenate([layers.Reshape((1, *shape))(y) for y in tensors], axis=1)


def pair(name: str) -> tuple[nnfast.Model, nnfast.Model, Array]:
    """Return a model of TimeDistributed, one that calls the layer for each step, and data."""
    layer = make(name)
    shape = layer.feature_shape or (4,)
    x = nnfast.Input((STEPS, *shape), dtype="float64")
    together = nnfast.Model(x, layers.TimeDistributed(layer)(x))
    single = [layer(x[:, t]) for t in range(STEPS)]
    apart = nnfast.Model(x, stacked(single))
    randomize(together)
    data = np.random.default_rng(0).normal(size=(13, STEPS, *shape))
    return together, apart, np.floor(abs(data)) if name == "Embedding" else data


NAMES = sorted(LAYERS.keys() - MERGING - PREPARING - {"InputLayer"})


@pytest.mark.parametrize("name", NAMES)
def test_every_layer(name: str) -> None:
    together, apart, x = pair(name)
    assert together.output_shape == apart.output_shape
    assert_allclose(together.predict(x), apart.predict(x), rtol=1e-10, atol=1e-12)
    if name in RANDOM:
        return
    for model in (together, apart):
        model.compile(nnfast.optimizers.SGD(0.0), "mse")
    y = np.random.default_rng(1).normal(size=(13, *together.output_shape[1:]))
    loss, gradients = together.loss_and_grad(x, y)
    expected, others = apart.loss_and_grad(x, y)
    assert_allclose(loss, expected, rtol=1e-10)
    assert len(gradients) == len(others)
    for a, b in zip(gradients, others, strict=True):
        assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    found, right = together.input_gradient(x, y), apart.input_gradient(x, y)
    assert_allclose(found, right, rtol=1e-8, atol=1e-10)


def stack(wrapped: bool) -> nnfast.Model:
    """Return a small network for images, as a model within TimeDistributed."""
    x = nnfast.Input((6, 5, 2), dtype="float64")
    h = layers.Conv2D(3, 3, activation="relu", padding="same", kernel_regularizer="l2")(x)
    h = layers.MaxPooling2D(2)(h)
    h = layers.LayerNormalization()(h)
    h = layers.GroupNormalization(1)(layers.add([h, 2 * h]))
    h = layers.Flatten(activity_regularizer="l2")(h)
    h = layers.AddLoss(0.1)([h, h[:, :2] ** 2])
    model = nnfast.Model(x, layers.Dense(4, activation="tanh", name="last")(h))
    frames = nnfast.Input((STEPS, 6, 5, 2), dtype="float64")
    if wrapped:
        y = layers.TimeDistributed(model)(frames)
    else:
        y = stacked([model(frames[:, t]) for t in range(STEPS)])
    return nnfast.Model(frames, layers.GRU(2)(y))


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_a_model_trains_as_one_that_is_called_for_each_step(rows: int) -> None:
    together, apart = stack(True), stack(False)
    weights = randomize(together)
    apart.set_weights(weights)
    rng = np.random.default_rng(rows)
    x, y = rng.normal(size=(rows, STEPS, 6, 5, 2)), rng.normal(size=(rows, 2))
    for model in (together, apart):
        model.compile(nnfast.optimizers.Adam(0.01), "mse")
        model.fit(x, y, epochs=3, batch_size=32, shuffle=False, verbose=0)
    losses = [model.evaluate(x, y, verbose=0) for model in (together, apart)]
    assert_allclose(*losses, rtol=1e-8)
    for a, b in zip(together.get_weights(), apart.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def test_gradients_equal_central_differences() -> None:
    together = stack(True)
    randomize(together)
    together.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, STEPS, 6, 5, 2)), rng.normal(size=(3, 2))
    _, gradients = together.loss_and_grad(x, y)
    arrays = [w for layer in together.flat_layers() for w in layer.named_weights.values()]
    expected = differences(lambda: float(together.evaluate(x, y, verbose=0)), arrays)
    for a, b in zip(gradients, expected, strict=True):
        assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    x = np.random.default_rng(0).normal(size=(150, 5, 4, 3))
    results = []
    try:
        for threads in (1, 2, 3, 4, 7):
            nnfast.set_seed(1)
            core.force_threads(threads)
            words = nnfast.Sequential(
                [layers.LSTM(9, dropout=0.2, recurrent_dropout=0.2), layers.LayerNormalization()]
            )
            model = nnfast.Sequential(
                [
                    nnfast.Input((5, 4, 3)),
                    layers.TimeDistributed(layers.Conv1D(6, 2, padding="same")),
                    layers.TimeDistributed(words),
                    layers.GRU(5),
                ]
            )
            model.compile("adam", "mse")
            model.fit(x, np.ones((150, 5)), batch_size=70, epochs=2, verbose=0)
            results.append([*model.get_weights(), model.predict(x)])
    finally:
        core.force_threads(0)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


# ---- masks ---------------------------------------------------------------------------------------


def padded() -> tuple[Array, Array]:
    x = np.random.default_rng(0).normal(size=(6, 4, 3, 2))
    mask = np.random.default_rng(1).random((6, 4)) < 0.6
    x[~mask] = 0
    return x, mask


def test_the_mask_of_the_steps_is_passed_on() -> None:
    x, mask = padded()
    inputs = nnfast.Input((4, 3, 2), dtype="float64")
    y = layers.TimeDistributed(layers.Flatten())(layers.Masking()(inputs))
    assert y.masked
    model = nnfast.Model(inputs, layers.GlobalAveragePooling1D()(y))
    flat = x.reshape(6, 4, 6)
    n = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    assert_allclose(model.predict(x), (flat * mask[:, :, None]).sum(axis=1) / n)
    twice = layers.TimeDistributed(layers.Dense(2))(y)
    model = nnfast.Model(inputs, twice)
    model.compile("sgd", "mse")
    out, targets = model.predict(x), np.ones((6, 4, 2))
    expected = (((out - targets) ** 2).mean(axis=-1) * mask).sum() / mask.sum()
    assert_allclose(model.evaluate(x, targets, verbose=0), expected)


def test_masks_within_the_steps() -> None:
    """The mask of the steps is not passed to the layer, which may make its own mask."""
    x, _ = padded()
    x[:, :, 1:][np.random.default_rng(2).random((6, 4, 2)) < 0.5] = 0
    words = nnfast.Input((3, 2), dtype="float64")
    masked = layers.Masking()(words)
    both = layers.concatenate([layers.GRU(3, return_sequences=True)(masked), masked])
    encoder = nnfast.Model(
        words, layers.GlobalAveragePooling1D()(layers.LSTM(2, return_sequences=True)(both))
    )
    inputs = nnfast.Input((4, 3, 2), dtype="float64")
    model = nnfast.Model(inputs, layers.TimeDistributed(encoder)(layers.Masking()(inputs)))
    randomize(model)
    assert model.outputs[0].masked
    expected = encoder.predict(x.reshape(24, 3, 2)).reshape(6, 4, 2)
    assert_allclose(model.predict(x), expected, rtol=1e-10, atol=1e-12)
    joined = nnfast.Model(words, layers.GRU(2)(layers.concatenate([masked, words * 2], axis=1)))
    model = nnfast.Model(inputs, layers.TimeDistributed(joined)(inputs))
    randomize(model)
    expected = joined.predict(x.reshape(24, 3, 2)).reshape(6, 4, 2)
    assert_allclose(model.predict(x), expected, rtol=1e-10, atol=1e-12)


# ---- structure -----------------------------------------------------------------------------------


def test_nested_layers(tmp_path: Any) -> None:
    inner = layers.TimeDistributed(layers.Bidirectional(layers.GRU(2)), name="inner")
    model = nnfast.Sequential(
        [nnfast.Input((2, 3, 4, 5)), layers.TimeDistributed(inner, name="outer")], dtype="float64"
    )
    randomize(model)
    assert model.output_shape == (None, 2, 3, 4)
    x = np.random.default_rng(0).normal(size=(4, 2, 3, 4, 5))
    sequence = nnfast.Input((4, 5), dtype="float64")
    single = nnfast.Model(sequence, inner.layer(sequence))
    expected = single.predict(x.reshape(24, 4, 5)).reshape(4, 2, 3, 4)
    assert_allclose(model.predict(x), expected, rtol=1e-12, atol=1e-14)
    model.save(tmp_path / "model.safetensors")
    again = nnfast.models.load_model(tmp_path / "model.safetensors")
    assert_array_equal(again.predict(x), model.predict(x))
    name = list(model.layers[0].named_weights)[3]
    assert re.fullmatch(r"inner/bidirectional\w*/backward_gru\w*/kernel", name)


def test_models_are_described_and_shared(tmp_path: Any) -> None:
    encoder = nnfast.Sequential([layers.Conv1D(2, 2), layers.Flatten()], name="encoder")
    layer = layers.TimeDistributed(encoder)
    x = nnfast.Input((STEPS, 4, 2))
    single = nnfast.Input((4, 2))
    model = nnfast.Model([x, single], [layer(x), encoder(single)])
    assert model.count_params() == encoder.count_params() == 10
    data = np.random.default_rng(0).normal(size=(5, STEPS, 4, 2)).astype(np.float32)
    steps, first = model.predict([data, data[:, 0]])
    assert_allclose(steps[:, 0], first, rtol=1e-6)
    for copy in (
        nnfast.models.clone_model(nnfast.Model(x, layer(x))),
        nnfast.models.model_from_json(nnfast.Model(x, layer(x)).to_json()),
    ):
        copy.set_weights(encoder.get_weights())
        assert_allclose(copy.predict(data), steps, rtol=1e-6)
    layer.trainable = False
    assert not encoder.layers[0].trainable
    assert layer.trainable_weights == []
    declared = layers.TimeDistributed(layers.Dense(3), input_shape=(4, 2))
    assert nnfast.Sequential([declared]).output_shape == (None, 4, 3)


def test_dropout_differs_from_step_to_step() -> None:
    layer = layers.TimeDistributed(layers.Dropout(0.5, seed=1))
    model = nnfast.Sequential([nnfast.Input((40, 30)), layer, layers.Flatten(), layers.Dense(1)])
    model.compile(nnfast.optimizers.SGD(1.0), lambda y, a: ((a * y).sum(axis=1), y))
    model.layers[-1].set_weights([np.zeros((1200, 1)), np.zeros(1)])
    model.train_on_batch(np.ones((1, 40, 30)), -np.ones((1, 1)))
    kept = model.layers[-1].kernel.numpy().reshape(40, 30) != 0
    assert 0.4 < kept.mean() < 0.6
    assert len({row.tobytes() for row in kept}) == 40


def test_batch_normalization_must_be_frozen() -> None:
    layer = layers.BatchNormalization()
    x = nnfast.Input((STEPS, 4))
    with pytest.raises(ValueError, match="within TimeDistributed would normalize each step"):
        nnfast.Model(x, layers.TimeDistributed(layer)(x))
    layer.trainable = False
    model = nnfast.Model(x, layers.TimeDistributed(layer)(x))
    assert model.predict(np.ones((2, STEPS, 4))).shape == (2, STEPS, 4)


def shared(shape: tuple[int, ...]) -> Any:
    x = nnfast.Input(shape)
    return nnfast.Model(x, [layers.Dense(1)(x), layers.Dense(1)(x)])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.TimeDistributed("dense"), "must be a layer"),
        (lambda: layers.TimeDistributed(layers.Dense), "must be a layer"),
        (
            lambda: layers.TimeDistributed(layers.Dense(3))(nnfast.Input((4,))),
            "expects samples of shape",
        ),
        (
            lambda: layers.TimeDistributed(layers.Dense(3))(nnfast.Input((0, 4))),
            "at least two axes and one step",
        ),
        (
            lambda: layers.TimeDistributed(layers.GRU(3, stateful=True))(
                nnfast.Input((4, 3, 2), batch_size=2)
            ),
            "cannot contain the stateful layer",
        ),
        (
            lambda: layers.TimeDistributed(layers.CategoryEncoding(3))(nnfast.Input((4, 2))),
            "which prepares data in Python",
        ),
        (
            lambda: layers.TimeDistributed(layers.GRU(3, return_state=True))(
                nnfast.Input((4, 3, 2))
            ),
            "needs a layer with one output",
        ),
        (lambda: layers.TimeDistributed(shared((2,)))(nnfast.Input((4, 2))), "with one output"),
        (lambda: layers.TimeDistributed(layers.Conv1D(2, 2))(nnfast.Input((4, 2))), "Conv1D"),
        (lambda: layers.TimeDistributed(layers.Add())(nnfast.Input((4, 2))), "called on a list"),
    ],
)
def test_errors(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()

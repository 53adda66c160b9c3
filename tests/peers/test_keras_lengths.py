"""Models with axes of any size have the shapes, the values and the training of Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from nnfast import keras as nnfast_keras

pytestmark = pytest.mark.peers

LENGTHS = (7, 12, 7)


def tagger(k: Any) -> Any:
    return k.Sequential(
        [
            k.layers.Input((None, 4)),
            k.layers.LSTM(6, return_sequences=True),
            k.layers.LayerNormalization(),
            k.layers.Dense(5, activation="tanh"),
            k.layers.GRU(3, return_sequences=True),
            k.layers.Dense(2),
        ]
    )


def classifier(k: Any) -> Any:
    return k.Sequential(
        [
            k.layers.Input((None, 4)),
            k.layers.Conv1D(6, 3, padding="causal", activation="relu"),
            k.layers.BatchNormalization(),
            k.layers.MaxPooling1D(2, padding="same"),
            k.layers.UpSampling1D(3),
            k.layers.SimpleRNN(5),
            k.layers.Dense(2),
        ]
    )


def images(k: Any) -> Any:
    return k.Sequential(
        [
            k.layers.Input((None, None, 1)),
            k.layers.ZeroPadding2D(1),
            k.layers.Conv2D(4, 3, strides=2, activation="relu"),
            k.layers.Conv2DTranspose(3, 2, strides=2),
            k.layers.AveragePooling2D(2),
            k.layers.GlobalMaxPooling2D(),
            k.layers.Dense(2),
        ]
    )


def graph(k: Any) -> Any:
    x = k.Input((None, 4))
    inner = k.Sequential([k.layers.Input((None, 4)), k.layers.GRU(4, return_sequences=True)])
    h = k.layers.add([x, inner(x)])
    h = k.layers.concatenate([h, k.layers.Multiply()([h, x]), 2.0 * x])
    last, mean = h[:, -1], k.layers.GlobalAveragePooling1D()(h[:, :5])
    halves = k.layers.GlobalMaxPooling1D()(k.layers.Reshape((-1, 6))(h))
    return k.Model(x, k.layers.Dense(2)(k.layers.concatenate([last, mean, halves])))


def batch(model: Any, length: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(length)
    shape = [length if size is None else size for size in model.output_shape[1:]]
    inside = [length + i if n is None else n for i, n in enumerate(model.input_shape[1:])]
    return rng.normal(size=(6, *inside)), rng.normal(size=(6, *shape))


MODELS: dict[str, Callable[[Any], Any]] = {
    "tagger": tagger,
    "classifier": classifier,
    "images": images,
    "graph": graph,
}


@pytest.mark.parametrize("name", MODELS)
def test_shapes_values_and_training_on_several_lengths(keras64: Any, name: str) -> None:
    theirs, ours = (MODELS[name](k) for k in (keras64, nnfast_keras))
    assert ours.input_shape == theirs.input_shape
    assert ours.output_shape == theirs.output_shape
    for a, b in zip(ours.layers[-4:], theirs.layers[-4:], strict=True):
        assert a.output.shape == tuple(b.output.shape)
    ours.set_weights(theirs.get_weights())
    for length in (*LENGTHS, 30):
        x, _ = batch(ours, length)
        assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=1e-6, atol=1e-8)
    losses = []
    for model in (ours, theirs):
        model.compile("adam", "mse", metrics=["mae"])
        data = [batch(ours, length) for length in LENGTHS]
        losses.append([float(np.ravel(model.train_on_batch(x, y))[0]) for x, y in data])
    assert_allclose(losses[0], losses[1], rtol=1e-6)
    for found, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_epochs_over_batches_of_several_lengths(keras64: Any) -> None:
    """Losses and means count each sample once, whatever its length."""
    theirs, ours = (tagger(k) for k in (keras64, nnfast_keras))
    ours.set_weights(theirs.get_weights())
    found = []
    for model in (ours, theirs):
        model.compile("sgd", "mse", metrics=["mae", "cosine_similarity", "accuracy"])
        data = [batch(ours, length) for length in (3, 9)]

        def batches(data: Any = data) -> Any:
            yield from data * 10

        history = model.fit(batches(), steps_per_epoch=2, epochs=2, verbose=0).history
        found.append([history[key] for key in ("loss", "mae", "cosine_similarity", "accuracy")])
        found[-1].append(model.evaluate(batches(), steps=2, verbose=0))
    for a, b in zip(*found, strict=True):
        assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda k, x: k.layers.Dense(4)(k.layers.Flatten()(x)),
        lambda k, x: k.layers.LayerNormalization(axis=(1, 2))(x),
        lambda k, x: k.layers.PReLU()(x),
        lambda k, x: k.layers.Dense(2)(k.Input((None,))),
    ],
)
def test_both_refuse_weights_that_depend_on_a_length(keras: Any, make: Any) -> None:
    for k in (keras, nnfast_keras):
        with pytest.raises(ValueError, match="None"):
            make(k, k.Input((None, 8)))

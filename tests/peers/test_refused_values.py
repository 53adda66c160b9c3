"""Tests that nnfast refuses the values that docs/coming-from-keras.md lists, and Keras does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnfast import keras as nnfast_keras

PAGE = Path(__file__).parents[2] / "docs/coming-from-keras.md"

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(8, 2)).astype("float32")
IMAGES = np.zeros((8, 6, 6, 3), "float32")


def fit(k: Any, *layers: Any, x: Any = X, y: Any = Y, verbose: Any = 0, **options: Any) -> Any:
    """Train a network of the given layers and a Dense(2) with the package `k`."""
    flat = [k.layers.Flatten()] if x.ndim > 2 else []
    model = k.Sequential([k.layers.Input(x.shape[1:]), *layers, *flat, k.layers.Dense(2)])
    callbacks = options.pop("callbacks", None)
    model.compile(**({"optimizer": "sgd", "loss": "mse"} | options))
    model.fit(x, y, verbose=verbose, callbacks=callbacks)
    return model


def dense(k: Any, **options: Any) -> Any:
    return fit(k, k.layers.Dense(3, **options))


def scheduled(k: Any) -> Any:
    optimizer = k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
    return fit(k, optimizer=optimizer, callbacks=[k.callbacks.ReduceLROnPlateau("loss")])


class PythonCell:
    state_size = 3

    def call(self, x: Any, states: Any) -> Any:
        raise NotImplementedError


# Keys are the page's words for values that nnfast refuses. The programs use these values, and
# Keras 3.15 accepts them.
REFUSED: dict[str, Callable[[Any], Any]] = {
    "`activation=f`": lambda k: dense(k, activation=lambda z: z * 2),
    "`kernel_initializer=f`": lambda k: dense(
        k, kernel_initializer=lambda shape, dtype=None: np.zeros(shape, "float32")
    ),
    "`kernel_regularizer=f`": lambda k: dense(k, kernel_regularizer=lambda w: (w**2).sum()),
    "`kernel_constraint=f`": lambda k: dense(k, kernel_constraint=lambda w: w),
    "`learning_rate=f`": lambda k: fit(k, optimizer=k.optimizers.SGD(lambda: 0.1)),
    "called with a tensor of shape `(None, None, 3)`": lambda k: k.Sequential(
        [k.layers.Input((5, 3)), k.layers.Conv1D(2, 3)]
    )(k.Input((None, 3))),
    "`x + array` along an axis of unknown size": lambda k: k.Input((None, 3)) + np.ones((5, 3)),
    "`Input(())`": lambda k: k.Sequential([k.layers.Input(())]),
    '`dtype="float16"`': lambda k: dense(k, dtype="float16"),
    '`dtype="float64"`': lambda k: dense(k, dtype="float64"),
    "complex x": lambda k: fit(k).predict(X.astype("complex64"), verbose=0),
    "`BatchNormalization(axis=1)` of images": lambda k: fit(
        k, k.layers.BatchNormalization(axis=1), x=IMAGES
    ),
    "`Normalization(axis=1)` of images": lambda k: fit(
        k, k.layers.Normalization(axis=1, mean=[0.0] * 6, variance=[1.0] * 6), x=IMAGES
    ),
    "`Softmax(axis=0)`": lambda k: fit(k, k.layers.Softmax(axis=0)),
    "`UnitNormalization(axis=0)`": lambda k: fit(k, k.layers.UnitNormalization(axis=0)),
    "`Softmax()(x, mask=m)`": lambda k: k.layers.Softmax()(
        k.Input((4,)), mask=k.Input((4,), dtype="bool")
    ),
    "`MaxNorm(1, axis=[0, 2])`": lambda k: fit(
        k, k.layers.Conv2D(2, 3, kernel_constraint=k.constraints.MaxNorm(1, [0, 2])), x=IMAGES
    ),
    "convolutional outputs with `from_logits=True`": lambda k: k.Sequential(
        [k.layers.Input((6, 6, 1)), k.layers.Conv2D(2, 3)]
    ).compile("sgd", k.losses.SparseCategoricalCrossentropy(from_logits=True)),
    "`Rescaling` by arrays": lambda k: fit(k, k.layers.Rescaling([1.0, 2.0, 3.0, 4.0])),
    '`Resizing(4, 4, "bicubic")`': lambda k: fit(k, k.layers.Resizing(4, 4, "bicubic"), x=IMAGES),
    "`Resizing(4, 4, antialias=True)`": lambda k: fit(
        k, k.layers.Resizing(4, 4, antialias=True), x=IMAGES
    ),
    '`UpSampling2D(interpolation="bicubic")`': lambda k: fit(
        k, k.layers.UpSampling2D(2, interpolation="bicubic"), x=IMAGES
    ),
    '`Conv2DTranspose(4, 2, 2, "same", output_padding=0)`': lambda k: k.Sequential(
        [k.layers.Input((1, 1, 1)), k.layers.Conv2DTranspose(4, 2, 2, "same", output_padding=0)]
    ),
    "`Dropout(0.5, noise_shape=(1, 4))`": lambda k: fit(k, k.layers.Dropout(0.5, (1, 4))),
    "Negative ids of an `Embedding`": lambda k: fit(
        k, k.layers.Embedding(3, 2), k.layers.Flatten(), x=-np.ones((8, 4))
    ),
    "ids that are not whole numbers": lambda k: fit(
        k, k.layers.Embedding(3, 2), k.layers.Flatten(), x=np.full((8, 4), 0.5)
    ),
    "an `Embedding` of values that other layers compute": lambda k: fit(
        k, k.layers.Rescaling(0.0), k.layers.Embedding(3, 2), k.layers.Flatten()
    ),
    "`Embedding(3, 2, mask_zero=True)` of samples with several axes": lambda k: fit(
        k, k.layers.Embedding(3, 2, mask_zero=True), k.layers.Reshape((-1,)), x=np.ones((8, 2, 2))
    ),
    '`LSTM(4, activation="softmax")`': lambda k: fit(
        k, k.layers.Reshape((2, 2)), k.layers.LSTM(4, activation="softmax")
    ),
    "`RNN` of a cell that is written in Python": lambda k: k.layers.RNN(PythonCell()),
    "a cell twice in a list of cells": lambda k: k.layers.RNN([k.layers.GRUCell(2)] * 2),
    "`Bidirectional(LSTM(4), weights=[…])`": lambda k: k.layers.Bidirectional(
        k.layers.LSTM(4), weights=[np.ones((4, 16))] * 6
    ),
    "a BatchNormalization that is trained": lambda k: fit(
        k,
        k.layers.Reshape((2, 2)),
        k.layers.TimeDistributed(k.layers.BatchNormalization()),
        k.layers.Flatten(),
    ),
    "negative seeds": lambda k: dense(k, kernel_initializer=k.initializers.GlorotUniform(seed=-1)),
    "`SGD(-1.0)`": lambda k: k.optimizers.SGD(-1.0),
    "`SGD(weight_decay=-0.1)`": lambda k: k.optimizers.SGD(weight_decay=-0.1),
    "`SGD(clipnorm=0.0)`": lambda k: k.optimizers.SGD(clipnorm=0.0),
    "`Adam(beta_1=1.0)`": lambda k: k.optimizers.Adam(beta_1=1.0),
    "`Adam(epsilon=0.0)`": lambda k: k.optimizers.Adam(epsilon=0.0),
    "`SGD(use_ema=True, ema_momentum=1.0)`": lambda k: k.optimizers.SGD(
        use_ema=True, ema_momentum=1.0
    ),
    "`Huber(-1.0)`": lambda k: k.losses.Huber(-1.0),
    "`BinaryCrossentropy(label_smoothing=2.0)`": lambda k: k.losses.BinaryCrossentropy(
        label_smoothing=2.0
    ),
    "`MaxNorm(-1.0)`": lambda k: k.constraints.MaxNorm(-1.0),
    "`BatchNormalization(momentum=1.5)`": lambda k: k.layers.BatchNormalization(momentum=1.5),
    "`TopKCategoricalAccuracy(k=0)`": lambda k: k.metrics.TopKCategoricalAccuracy(k=0),
    "`GaussianDropout(1.0)`": lambda k: k.layers.GaussianDropout(1.0),
    "`AlphaDropout(1.0)`": lambda k: k.layers.AlphaDropout(1.0),
    "`ELU(-1.0)`": lambda k: k.layers.ELU(-1.0),
    "`PReLU(shared_axes=[-1])`": lambda k: fit(k, k.layers.PReLU(shared_axes=[-1]), x=IMAGES),
    "`CategoryEncoding(4)` of arrays with three axes": lambda k: k.layers.CategoryEncoding(4)(
        np.zeros((2, 3, 2), "int64")
    ),
    '`CategoryEncoding(4, dtype="int32")`': lambda k: k.layers.CategoryEncoding(4, dtype="int32"),
    '`Discretization(num_bins=3, output_mode="one_hot")` of a symbolic x': lambda k: (
        k.layers.Discretization(num_bins=3, output_mode="one_hot")(k.Input((1,)))
    ),
    "`EarlyStopping(patience=2.5)`": lambda k: k.callbacks.EarlyStopping(patience=2.5),
    "`ReduceLROnPlateau` of an optimizer": scheduled,
    "`verbose=3`": lambda k: fit(k, verbose=3),
    "`layer(x)` of an array": lambda k: fit(k).layers[0](X),
    "`layer(x, training=True)`": lambda k: k.layers.Dropout(0.5)(k.Input((3,)), training=True),
    "an input that no output needs": lambda k: k.Model([k.Input((3,)), x := k.Input((3,))], x),
    "`x / 0`": lambda k: k.Input((3,)) / 0,
    "`model(x, training=True)` with a Dropout": lambda k: fit(k, k.layers.Dropout(0.5))(
        X, training=True
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_the_listed_values_are_refused(words: str) -> None:
    assert words in " ".join(PAGE.read_text("utf-8").split())
    with pytest.raises((TypeError, ValueError, AttributeError)) as error:
        REFUSED[words](nnfast_keras)
    assert len(str(error.value)) > 20


# The page lists differences only, so values that Keras also refuses do not belong there.
@pytest.mark.peers
@pytest.mark.parametrize("words", REFUSED)
def test_keras_accepts_the_listed_values(words: str, keras: Any) -> None:
    REFUSED[words](keras)

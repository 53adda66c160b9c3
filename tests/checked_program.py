"""A short program that runs compiled code under tools too slow for the tests, such as Valgrind.

valgrind --error-exitcode=9 python tests/checked_program.py
"""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import numpy as np

import nnfast
from nnfast import _engine, layers, optimizers

RNG = np.random.default_rng(0)


def stacks(n_in: int, n_out: int) -> list[list[layers.Layer]]:
    """Return stacks of layers whose sizes are not multiples of the SIMD width."""
    return [
        [layers.Dense(19, activation="relu", input_dim=n_in), layers.Dense(n_out)],
        [
            layers.Dense(75, activation="relu", input_dim=n_in),
            layers.Dense(83, activation="relu"),  # skips zeros in its input
            layers.Dense(n_out),
        ],
        [
            layers.Rescaling(0.5, input_shape=(n_in,)),
            layers.BatchNormalization(center=False, scale=False),
            layers.Dense(35, activation="gelu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(7, activation="tanh", use_bias=False),
            layers.LayerNormalization(),
            layers.GaussianNoise(0.1),
            layers.Activation("mish"),
            layers.Dense(n_out, kernel_constraint="unit_norm"),
        ],
        [
            *(layers.Dense(9, input_dim=n_in), layers.RepeatVector(7), layers.Permute((2, 1))),
            *(layers.ZeroPadding1D(1), layers.UpSampling1D(3), layers.Cropping1D((2, 4))),
            *(layers.Reshape((9, 3, 7)), layers.Cropping2D(1), layers.Permute((3, 2, 1))),
            *(layers.SeparableConv2D(5, 1), layers.Flatten(), layers.Dense(n_out)),
        ],
        [
            *(layers.PReLU("ones", input_shape=(n_in,)), layers.Dense(38)),
            *(layers.GroupNormalization(2), layers.PReLU(shared_axes=1), layers.Dense(30)),
            *(layers.Reshape((2, 5, 3)), layers.PReLU("ones", shared_axes=[1, 2])),
            *(layers.GroupNormalization(-1), layers.PReLU("ones", shared_axes=[2])),
            *(layers.ReLU(1.0, 0.25, 0.125), layers.Softmax(axis=1), layers.SpatialDropout2D(0.2)),
            *(layers.UnitNormalization([1, 3]), layers.AlphaDropout(0.2)),
            *(layers.Flatten(), layers.GaussianDropout(0.2), layers.Dense(n_out)),
        ],
        [
            layers.Reshape((n_in, 1), input_shape=(n_in,)),
            layers.LSTM(19, return_sequences=True),
            layers.GRU(17, "gelu", return_sequences=True, go_backwards=True),
            layers.GRU(5, reset_after=False, return_sequences=True),
            layers.SimpleRNN(3),
            layers.Dense(n_out),
        ],
        [
            *(layers.Dense(24, input_dim=n_in), layers.Reshape((3, 4, 2))),
            layers.TimeDistributed(layers.Bidirectional(layers.GRU(5, return_sequences=True))),
            *(
                layers.TimeDistributed(layers.Conv1D(3, 2)),
                layers.TimeDistributed(layers.Flatten()),
            ),
            layers.Bidirectional(layers.LSTM(7, return_sequences=True)),
            *(layers.RNN([layers.GRUCell(9), layers.LSTMCell(2)]), layers.Dense(n_out)),
        ],
        [
            *(layers.Reshape((n_in, 1), input_shape=(n_in,)), layers.Dense(5), attending(n_in, 5)),
            *(layers.Flatten(), layers.Dense(n_out)),
        ],
    ]


def attending(steps: int, features: int) -> Any:
    """Return a model with attention layers, masks and dropout."""
    x = nnfast.Input((steps, features))
    y, p = layers.MultiHeadAttention(3, 5, 7, 0.25, sliding_window=4)(
        x, layers.Masking()(x)[:, 2:], return_attention_scores=True, use_causal_mask=True
    )
    z = layers.Attention(True, "concat", 0.25)([y, x])
    z = layers.MultiHeadAttention(1, 16)(z, x, attention_mask=np.eye(steps))
    return nnfast.Model(x, layers.concatenate([z, layers.Permute((2, 1, 3))(p)[:, :, 0]]))


def embeddings(n_in: int, n_out: int) -> list[list[layers.Layer]]:
    """Return stacks of layers for ids: of few and of many, with batches as a whole or divided."""
    return [
        [
            *(layers.Embedding(5, 19, input_shape=(n_in,)), layers.Flatten()),
            *(layers.BatchNormalization(), layers.Dense(n_out)),
        ],
        [
            *(layers.Reshape((n_in,), input_shape=(n_in,)), layers.RepeatVector(3)),
            *(layers.Embedding(5, 7, "normal", "l2"), layers.Reshape((-1, 7)), layers.GRU(3)),
            layers.Dense(n_out),
        ],
    ]


def work(model: nnfast.Sequential, n: int, n_in: int, n_out: int, ids: bool) -> None:
    """Train, evaluate, differentiate, save and load the model."""
    x, y = RNG.normal(size=(n, n_in)), RNG.normal(size=(n, n_out))
    if ids:
        x = RNG.integers(0, 5, (n, n_in)).astype(float)
    for rows in (x, x.astype(np.float32), (x > 0).astype(np.uint8)):
        model.fit(rows, y, epochs=2, batch_size=17, verbose=0, validation_split=0.2)
        model.evaluate(rows, y, verbose=0)
        for size in (1, 3, 4, n):
            model.predict(rows[:size])
    model.loss_and_grad(x, y)
    model.input_gradient(x, y)
    model.train_on_gradient(x, y)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model")
        nnfast.load_model(f"{folder}/model").fit(x, y, verbose=0)


def main() -> None:
    """Run the models in both dtypes, with one thread and with three."""
    warnings.simplefilter("ignore")
    for threads in (1, 3):
        _engine.force_threads(threads)
        for dtype in ("float32", "float64"):
            nnfast.set_default_dtype(dtype)  # of models within models
            kinds = [(stack, False) for stack in stacks(13, 3)]
            kinds += [(stack, True) for stack in embeddings(13, 3)]
            for i, (stack, ids) in enumerate(kinds):
                model = nnfast.Sequential(stack, dtype=dtype)
                adam = optimizers.Adam(amsgrad=True, clipnorm=1.0)
                model.compile(adam if i else optimizers.SGD(0.1, momentum=0.9), "mse", ["mae"])
                work(model, 53, 13, 3, ids)
            classes = nnfast.Sequential(
                [layers.Dense(9, input_dim=3), layers.Dense(5, activation="softmax")], dtype=dtype
            )
            classes.compile("rmsprop", "sparse_categorical_crossentropy", ["accuracy"])
            x, y = RNG.normal(size=(1100, 3)), RNG.integers(0, 5, 1100)
            classes.fit(x, y, batch_size=1000, verbose=0)  # split into micro-batches
            classes.evaluate(x, y, verbose=0)
    nnfast.show_config()


if __name__ == "__main__":
    main()

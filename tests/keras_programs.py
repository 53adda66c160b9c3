"""Programs that run unchanged with Keras and with nnfast, so that their results can be compared.

Both libraries compute in float64, see the fixture `keras64`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import keras_tools_programs
import numpy as np
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import nnfast

Results = dict[str, NDArray[Any]]
Program = Callable[[Any], Results]

RNG_SEED = 11


def _weights(*sizes: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(RNG_SEED)
    weights: list[NDArray[np.float64]] = []
    for n_in, n_out in pairwise(sizes):
        weights += [rng.normal(size=(n_in, n_out)) / np.sqrt(n_in), rng.normal(size=n_out) * 0.1]
    return weights


def _results(model: Any, history: Any, **more: Any) -> Results:
    results = {f"history/{key}": np.array(values) for key, values in history.history.items()}
    results |= {f"weights/{i}": np.array(w) for i, w in enumerate(model.get_weights())}
    return results | {key: np.array(value) for key, value in more.items()}


def _trajectory(optimizer: str, **hyper: Any) -> Program:
    def program(keras: Any) -> Results:
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(160, 6)), rng.integers(0, 3, 160)
        model = keras.Sequential(
            [
                keras.layers.Input((6,)),
                keras.layers.Dense(8, activation="tanh"),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
        model.set_weights(_weights(6, 8, 3))
        model.compile(
            getattr(keras.optimizers, optimizer)(**hyper), "sparse_categorical_crossentropy"
        )
        history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)  # 20 steps
        return _results(model, history)

    return program


TRAJECTORIES: dict[str, Program] = {
    "sgd": _trajectory("SGD", learning_rate=0.1),
    "momentum": _trajectory("SGD", learning_rate=0.1, momentum=0.9),
    "nesterov": _trajectory("SGD", learning_rate=0.1, momentum=0.9, nesterov=True),
    "adam": _trajectory("Adam", learning_rate=0.01),
    "adam, other constants": _trajectory(
        "Adam", learning_rate=0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3
    ),
    "amsgrad": _trajectory("Adam", learning_rate=0.01, amsgrad=True),
    "adamw": _trajectory("AdamW", learning_rate=0.01, weight_decay=0.1),
    "nadam": _trajectory("Nadam", learning_rate=0.01),
    "rmsprop": _trajectory("RMSprop", learning_rate=0.01),
    "rmsprop, centred with momentum": _trajectory(
        "RMSprop", learning_rate=0.01, rho=0.8, momentum=0.5, centered=True
    ),
    "adagrad": _trajectory("Adagrad", learning_rate=0.1, initial_accumulator_value=0.2),
    "lion": _trajectory("Lion", learning_rate=0.003),
    "adadelta": _trajectory("Adadelta", learning_rate=1.0),
    "adadelta, other constants": _trajectory("Adadelta", learning_rate=0.5, rho=0.8, epsilon=1e-4),
    "adamax": _trajectory("Adamax", learning_rate=0.01),
    "adamax, other constants": _trajectory(
        "Adamax", learning_rate=0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3
    ),
    "clipvalue": _trajectory("SGD", learning_rate=0.5, clipvalue=0.05),
    "clipnorm": _trajectory("SGD", learning_rate=0.5, clipnorm=0.1),
    "global_clipnorm": _trajectory("SGD", learning_rate=0.5, global_clipnorm=0.1),
    "weight decay": _trajectory("SGD", learning_rate=0.1, weight_decay=0.1),
    "moving average": _trajectory("SGD", learning_rate=0.1, use_ema=True, ema_momentum=0.8),
    "moving average, overwriting": _trajectory(
        "SGD", learning_rate=0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3
    ),
}


def _matrix(activation: str, loss: str) -> Program:
    """Return a program: 20 Adam steps with this activation and loss, and L1 and L2 penalties."""

    def program(keras: Any) -> Results:
        rng = np.random.default_rng(2)
        x = rng.normal(size=(40, 6))
        y = {
            "poisson": rng.poisson(2.0, (40, 2)),
            "hinge": rng.integers(0, 2, (40, 2)),
            "binary_crossentropy": rng.integers(0, 2, (40, 2)),
        }.get(loss, rng.normal(size=(40, 2)))
        y, last = {
            "poisson": (y, "softplus"),
            "binary_crossentropy": (y, "sigmoid"),
            "squared_hinge": (rng.integers(0, 2, (40, 2)), "linear"),
            "binary_focal_crossentropy": (rng.integers(0, 2, (40, 2)), "sigmoid"),
            "categorical_focal_crossentropy": (np.eye(2)[rng.integers(0, 2, 40)], "softmax"),
            "categorical_hinge": (np.eye(2)[rng.integers(0, 2, 40)], "linear"),
            "kl_divergence": (rng.dirichlet(np.ones(2), 40), "softmax"),
            "mean_squared_logarithmic_error": (rng.exponential(size=(40, 2)), "softplus"),
        }.get(loss, (y, "linear"))
        regularizers = keras.regularizers
        model = keras.Sequential(
            [
                keras.layers.Input((6,)),
                keras.layers.Dense(
                    8, activation=activation, kernel_regularizer=regularizers.L1(1e-3)
                ),
                keras.layers.Dense(
                    2, activation=last, bias_regularizer=regularizers.L1L2(1e-3, 1e-2)
                ),
            ]
        )
        model.set_weights(_weights(6, 8, 2))
        model.compile(keras.optimizers.Adam(0.01), loss)
        return _results(model, model.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0))

    return program


ACTIVATIONS = (
    *("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu"),
    *("selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "tanh", "relu6", "celu"),
    *("hard_tanh", "hard_silu", "log_sigmoid", "tanh_shrink", "soft_shrink", "hard_shrink"),
    *("squareplus", "sparse_plus", "sparse_sigmoid"),
)
LOSSES = (
    *("mean_squared_error", "mean_absolute_error", "huber", "log_cosh", "poisson", "hinge"),
    *("binary_crossentropy", "mean_absolute_percentage_error", "mean_squared_logarithmic_error"),
    *("squared_hinge", "categorical_hinge", "kl_divergence", "cosine_similarity"),
    *("binary_focal_crossentropy", "categorical_focal_crossentropy"),
)
TRAJECTORIES |= {f"activation {name}": _matrix(name, "huber") for name in ACTIVATIONS}
TRAJECTORIES |= {f"loss {name}": _matrix("tanh", name) for name in LOSSES}


def _arguments(loss: str, outputs: str, weighted: bool = True, **options: Any) -> Program:
    """Return a program: 24 steps with a loss that has these arguments, and penalties."""

    def program(keras: Any) -> Results:
        rng = np.random.default_rng(4)
        x, other = rng.normal(size=(2, 44, 6))
        hot = np.eye(3)[rng.integers(0, 3, 44)]
        y = rng.normal(size=(44, 3)) if outputs == "linear" else hot
        weights = rng.uniform(0.0, 2.0, 44) if weighted else None
        activity = keras.regularizers.L2(0.01)
        hidden = keras.layers.Dense(8, "tanh", activity_regularizer=activity)
        last = keras.layers.Dense(3, outputs, kernel_regularizer=keras.regularizers.L2(0.01))
        model = keras.Sequential([keras.layers.Input((6,)), hidden, last])
        if not weighted:  # several losses per sample
            y = y[:, :, None]
            model.add(keras.layers.Reshape((3, 1)))
        model.set_weights(_weights(6, 8, 3))
        model.compile(keras.optimizers.SGD(0.01), getattr(keras.losses, loss)(**options))
        history = model.fit(x, y, 8, 4, shuffle=False, verbose=0, sample_weight=weights)
        evaluated = model.evaluate(other, y, 8, verbose=0, sample_weight=weights)
        return _results(model, history, evaluate=evaluated)

    return program


TRAJECTORIES |= {
    "reduction sum": _arguments("Huber", "linear", reduction="sum"),
    "reduction sum of several losses per sample": _arguments(
        "MeanSquaredError", "linear", weighted=False, reduction="sum"
    ),
    "reduction mean": _arguments("KLDivergence", "softmax", reduction="mean"),
    "reduction mean_with_sample_weight": _arguments(
        "CategoricalCrossentropy", "softmax", reduction="mean_with_sample_weight"
    ),
    "balanced focal loss": _arguments(
        "BinaryFocalCrossentropy",
        "sigmoid",
        apply_class_balancing=True,
        alpha=0.3,
        gamma=1.5,
        label_smoothing=0.1,
    ),
    "focal loss of logits": _arguments(
        "CategoricalFocalCrossentropy", "tanh", alpha=[0.2, 0.5, 1.0], gamma=1.5, from_logits=True
    ),
}


# Layers from six inputs to n outputs with activation f. A layer before a batch normalization has no
# bias, because the exact gradient of a bias would be zero and Lion would follow the sign of its
# rounding errors.
STACKS: dict[str, Callable[[Any, int, str], list[Any]]] = {
    "constraints": lambda k, n, f: [
        k.layers.Dense(
            *(8, "tanh"),
            kernel_constraint=k.constraints.MaxNorm(0.9),
            bias_constraint=k.constraints.NonNeg(),
        ),
        k.layers.Dense(n, f, kernel_constraint=k.constraints.UnitNorm(axis=1)),
    ],
    "constraints with a rate": lambda k, n, f: [
        k.layers.Dense(8, "tanh", kernel_constraint=k.constraints.MinMaxNorm(0.5, 1.0, rate=0.5)),
        k.layers.LayerNormalization(gamma_constraint=k.constraints.MaxNorm(2.0)),
        k.layers.Dense(n, f, kernel_constraint=k.constraints.UnitNorm(axis=[0, 1])),
    ],
    "batch normalization": lambda k, n, f: [
        k.layers.Dense(8, use_bias=False),
        k.layers.BatchNormalization(momentum=0.9),
        k.layers.Activation("relu"),
        k.layers.Dense(n, f),
    ],
    "frozen layers": lambda k, n, f: [
        k.layers.Dense(8, "tanh", kernel_regularizer=k.regularizers.L2(0.01), trainable=False),
        k.layers.Dense(8, kernel_regularizer=k.regularizers.L1(0.01)),
        k.layers.BatchNormalization(gamma_regularizer=k.regularizers.L2(0.1), trainable=False),
        k.layers.Activation("relu"),
        k.layers.Dense(n, f),
    ],
    "batch normalization as first layer": lambda k, n, f: [
        k.layers.BatchNormalization(
            momentum=0.9, gamma_regularizer=k.regularizers.L2(0.01), center=False
        ),
        k.layers.Dense(8, "tanh"),
        k.layers.Dense(n, f),
    ],
    "batch normalization as last layer": lambda k, n, f: [
        k.layers.Dense(8, "tanh"),
        k.layers.Dense(n, use_bias=False),
        k.layers.BatchNormalization(momentum=0.9, epsilon=0.01),
        k.layers.Activation(f),
    ],
    "batch normalization of sequences": lambda k, n, f: [
        k.layers.Reshape((2, 3)),
        k.layers.BatchNormalization(momentum=0.9, scale=False),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "layer normalization": lambda k, n, f: [
        k.layers.Dense(8),
        k.layers.LayerNormalization(),
        k.layers.Activation("gelu"),
        k.layers.Dense(n, f),
    ],
    "layer normalization of sequences": lambda k, n, f: [
        k.layers.Reshape((2, 3)),
        k.layers.LayerNormalization(center=False, epsilon=0.01),
        k.layers.Activation("silu"),
        k.layers.LayerNormalization(axis=[1, 2]),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "normalization": lambda k, n, f: [
        _adapted(k, 3.0),
        k.layers.Dense(8, "tanh"),
        k.layers.Normalization(mean=[0.5] * 8, variance=[0.5] * 4 + [2.0] * 4, invert=True),
        k.layers.Dense(n, f),
    ],
    "rescaling": lambda k, n, f: [
        k.layers.Rescaling(0.5, offset=0.1),
        k.layers.Dense(8, "tanh"),
        k.layers.Rescaling(2.0, offset=-0.5),
        k.layers.Dense(n, f),
    ],
    "reshaping": lambda k, n, f: [
        k.layers.Reshape((-1, 2)),
        k.layers.Activation("tanh"),
        k.layers.Flatten(),
        k.layers.Dense(n),
        k.layers.Activation(f),
    ],
    "activity regularizers": lambda k, n, f: [
        k.layers.Dense(8, "relu", activity_regularizer=k.regularizers.L1L2(0.01, 0.01)),
        k.layers.Dense(8, "relu"),
        k.layers.ActivityRegularization(l1=0.01),
        k.layers.Dense(n, f, activity_regularizer=k.regularizers.L2(0.05)),
    ],
    "images": lambda k, n, f: [
        k.layers.Reshape((1, 3, 2)),
        k.layers.ZeroPadding2D(((1, 2), (0, 1))),
        k.layers.UpSampling2D((2, 1)),
        k.layers.LayerNormalization(),
        k.layers.UpSampling2D((1, 3), interpolation="bilinear"),
        k.layers.RandomTranslation((0.3, 0.3), (-0.2, -0.2), "nearest"),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "translation by whole pixels": lambda k, n, f: [
        k.layers.Dense(12, "tanh"),
        k.layers.Reshape((3, 2, 2)),
        k.layers.RandomTranslation(
            *((0.4, 0.4), (0.6, 0.6), "constant", "nearest"), fill_value=0.5
        ),
        k.layers.ZeroPadding2D((0, 1)),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "resizing": lambda k, n, f: [
        k.layers.Dense(24, "tanh"),
        k.layers.Reshape((3, 4, 2)),
        k.layers.Resizing(5, 3),
        k.layers.CenterCrop(3, 3),
        k.layers.Resizing(4, 2, "nearest", pad_to_aspect_ratio=True, fill_value=0.5),
        k.layers.CenterCrop(5, 2),
        k.layers.Resizing(2, 3, crop_to_aspect_ratio=True),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "zoom and rotation": lambda k, n, f: [
        k.layers.Dense(24, "tanh"),
        k.layers.Reshape((3, 4, 2)),
        k.layers.RandomZoom((-0.25, -0.25), (0.5, 0.5), "wrap"),
        k.layers.RandomZoom((0.25, 0.25), None, "constant", "nearest", fill_value=0.5),
        k.layers.RandomRotation((0.2, 0.2), "constant", "nearest", fill_value=0.5),
        k.layers.RandomRotation((0.125, 0.125), "nearest"),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "contrast and brightness": lambda k, n, f: [
        k.layers.Dense(24, "tanh"),
        k.layers.Reshape((3, 4, 2)),
        k.layers.RandomContrast((-0.5, 0.5), (-0.75, 0.5)),
        k.layers.RandomBrightness((-0.25, -0.25), (-1.0, 0.5)),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "convolutions": lambda k, n, f: [
        k.layers.Dense(50, "tanh"),
        k.layers.Reshape((5, 5, 2)),
        k.layers.Conv2D(4, (3, 3), activation="relu", padding="same"),
        k.layers.MaxPooling2D((2, 2)),
        k.layers.Conv2D(3, 2, activation="tanh", kernel_regularizer=k.regularizers.L2(0.01)),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "strides, groups, dilation": lambda k, n, f: [
        k.layers.Dense(84, "tanh"),
        k.layers.Reshape((6, 7, 2)),
        k.layers.Conv2D(4, (2, 3), strides=(2, 1), padding="same", groups=2, activation="elu"),
        k.layers.Conv2D(6, 2, dilation_rate=(1, 2), use_bias=False),
        k.layers.AveragePooling2D(2, strides=1, padding="same"),
        k.layers.GlobalAveragePooling2D(),
        k.layers.Dense(n, f),
    ],
    "moved, repeated and cropped": lambda k, n, f: [
        k.layers.Dense(6, "tanh"),
        k.layers.RepeatVector(4),
        k.layers.SeparableConv1D(5, 2, padding="same", depth_multiplier=2, activation="tanh"),
        k.layers.ZeroPadding1D((1, 2)),
        k.layers.UpSampling1D(2),
        k.layers.Permute((2, 1)),
        k.layers.Cropping1D((1, 0)),
        k.layers.Reshape((7, 4, 2)),
        k.layers.Cropping2D(((1, 2), (0, 1))),
        k.layers.Permute((3, 1, 2)),
        k.layers.Activation("tanh"),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "transposed convolutions": lambda k, n, f: [
        k.layers.Dense(24, "tanh"),
        k.layers.Reshape((2, 3, 4)),
        k.layers.Conv2DTranspose(5, (3, 4), 2, "same", activation="relu"),
        k.layers.Conv2DTranspose(2, 2, (1, 3), output_padding=(0, 1), use_bias=False),
        k.layers.Conv2DTranspose(3, 3, dilation_rate=(1, 2), padding="same"),
        k.layers.Reshape((-1, 3)),
        k.layers.Conv1DTranspose(2, 3, 2, "same", output_padding=0, activation="tanh"),
        k.layers.GlobalMaxPooling1D(),
        k.layers.Dense(n, f),
    ],
    "depthwise, separable": lambda k, n, f: [
        k.layers.Dense(48, "tanh"),
        k.layers.Reshape((4, 4, 3)),
        k.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="softplus"),
        k.layers.SeparableConv2D(5, 2, activation="tanh"),
        k.layers.GlobalMaxPooling2D(),
        k.layers.Dense(n, f),
    ],
    "sequences": lambda k, n, f: [
        k.layers.Dense(30, "tanh"),
        k.layers.Reshape((10, 3)),
        k.layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        k.layers.MaxPooling1D(2),
        k.layers.Conv1D(3, 2, strides=2),
        k.layers.AveragePooling1D(2, strides=1, padding="same"),
        k.layers.GlobalAveragePooling1D(),
        k.layers.Dense(n, f),
    ],
    "recurrent": lambda k, n, f: [
        k.layers.Dense(30, "tanh"),
        k.layers.Reshape((10, 3)),
        k.layers.LSTM(7, return_sequences=True, recurrent_regularizer=k.regularizers.L2(0.01)),
        k.layers.LSTM(5, "relu", "hard_sigmoid", return_sequences=True, go_backwards=True),
        k.layers.LSTM(4, use_bias=False),
        k.layers.Dense(n, f),
    ],
    "embedding": lambda k, n, f: [
        k.layers.Embedding(
            *(7, 5, "normal", k.regularizers.L2(0.01), k.constraints.MaxNorm(0.8, axis=1))
        ),
        k.layers.Conv1D(4, 3, activation="tanh"),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
    "embedding of padded ids": lambda k, n, f: [
        k.layers.Embedding(7, 5, mask_zero=True),
        k.layers.LSTM(4, return_sequences=True),
        k.layers.GlobalAveragePooling1D(),
        k.layers.Dense(n, f),
    ],
    "embeddings of repeated ids": lambda k, n, f: [
        k.layers.Reshape((2, 3)),
        k.layers.Permute((2, 1)),
        k.layers.Flatten(),
        k.layers.RepeatVector(6),
        k.layers.Embedding(8, 3),
        k.layers.Reshape((36, 3)),
        k.layers.GlobalAveragePooling1D(),
        k.layers.Dense(n, f),
    ],
    "both directions": lambda k, n, f: [
        k.layers.Dense(30, "tanh"),
        k.layers.Reshape((5, 3, 2)),
        k.layers.TimeDistributed(k.layers.Conv1D(3, 2, activation="tanh")),
        k.layers.TimeDistributed(k.layers.Flatten()),
        k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True)),
        k.layers.Bidirectional(k.layers.GRU(3, return_sequences=True), "sum"),
        k.layers.RNN([k.layers.GRUCell(4), k.layers.SimpleRNNCell(3)]),
        k.layers.Dense(n, f),
    ],
    "attention": lambda k, n, f: [
        k.layers.Dense(30, "tanh"),
        k.layers.Reshape((6, 5)),
        _attending(k),
        k.layers.LayerNormalization(),
        k.layers.GlobalAveragePooling1D(),
        k.layers.Dense(n, f),
    ],
    "gated and simple units": lambda k, n, f: [
        k.layers.Dense(30, "tanh"),
        k.layers.Reshape((10, 3)),
        k.layers.GRU(7, return_sequences=True, bias_regularizer=k.regularizers.L2(0.01)),
        k.layers.GRU(5, "tanh", "hard_sigmoid", return_sequences=True, go_backwards=True),
        k.layers.GRU(6, reset_after=False, return_sequences=True),
        k.layers.SimpleRNN(5, return_sequences=True),
        k.layers.GRU(4, use_bias=False),
        k.layers.Dense(n, f),
    ],
    "batch normalization of channels": lambda k, n, f: [
        k.layers.Reshape((3, 2, 1)),
        k.layers.ZeroPadding2D(((1, 0), (2, 1))),
        k.layers.Conv2D(4, 2, use_bias=False),
        k.layers.BatchNormalization(momentum=0.9),
        k.layers.Activation("relu"),
        k.layers.MaxPooling2D(2, strides=1),
        k.layers.UpSampling2D((2, 1)),
        k.layers.Conv2D(2, 3, padding="same", activation="tanh"),
        k.layers.GlobalAveragePooling2D(),
        k.layers.Dense(n, f),
    ],
    "activation layers": lambda k, n, f: [
        *(k.layers.Dense(8), k.layers.LeakyReLU(), k.layers.Dense(8), k.layers.ELU(0.5)),
        *(k.layers.ReLU(1.5, 0.125, 0.25), k.layers.Dense(7), k.layers.ReLU(6.0)),
        *(k.layers.Softmax(), k.layers.ReLU(negative_slope=0.5), k.layers.ReLU()),
        k.layers.Dense(6, activation=k.layers.LeakyReLU(negative_slope=0.1)),
        k.layers.Dense(n),
        k.layers.Activation(f),
    ],
    "trainable slopes": lambda k, n, f: [
        *(k.layers.Dense(5), k.layers.PReLU(), k.layers.Dense(12)),
        k.layers.PReLU(shared_axes=1, alpha_constraint=k.constraints.NonNeg()),
        k.layers.Reshape((2, 3, 2)),
        k.layers.PReLU(alpha_regularizer=k.regularizers.L2(0.01), shared_axes=[1, 2]),
        k.layers.PReLU(shared_axes=[2]),
        *(k.layers.PReLU(shared_axes=[3]), k.layers.Flatten(), k.layers.Dense(n, f)),
    ],
    "softmax and unit normalization along axes": lambda k, n, f: [
        *(k.layers.Dense(24), k.layers.Reshape((2, 3, 4)), k.layers.Softmax(axis=[1, 2])),
        *(k.layers.UnitNormalization(axis=1), k.layers.Softmax(axis=-2)),
        *(k.layers.UnitNormalization(axis=[1, 3]), k.layers.Identity(), k.layers.Flatten()),
        *(k.layers.UnitNormalization(), k.layers.Dense(n, f)),
    ],
    "group normalization": lambda k, n, f: [
        *(k.layers.Dense(24), k.layers.GroupNormalization(4), k.layers.Reshape((2, 3, 4))),
        k.layers.GroupNormalization(2, gamma_regularizer=k.regularizers.L2(0.01), epsilon=0.01),
        *(k.layers.Activation("tanh"), k.layers.GroupNormalization(1, axis=1, center=False)),
        k.layers.Dense(4, use_bias=False),
        *(k.layers.GroupNormalization(groups=-1), k.layers.Flatten()),
        k.layers.Dense(n, f),
    ],
    "normalization by one mean and variance": lambda k, n, f: [
        _adapted(k, 3.0, axis=None),
        k.layers.Dense(8, "tanh"),
        k.layers.Normalization(axis=None, mean=0.5, variance=2.0, invert=True),
        k.layers.Dense(n, f),
    ],
    "dropout and noise at rate 0": lambda k, n, f: [
        k.layers.Dense(8, "tanh"),
        k.layers.Dropout(0.0),
        k.layers.GaussianNoise(0.0),
        *(k.layers.AlphaDropout(0.0), k.layers.GaussianDropout(0.0), k.layers.Reshape((2, 2, 2))),
        *(k.layers.SpatialDropout2D(0.0), k.layers.Reshape((4, 2)), k.layers.SpatialDropout1D(0.0)),
        k.layers.Flatten(),
        k.layers.Dense(n, f),
    ],
}
# Loss: (activation of the outputs, number of outputs).
STACK_LOSSES = {
    "mean_squared_error": ("linear", 2),
    "binary_crossentropy": ("sigmoid", 2),
    "sparse_categorical_crossentropy": ("softmax", 3),
    "huber": ("linear", 2),
}
STACK_OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "clipnorm": 0.5}),
    "Adam": ("Adam", {"learning_rate": 0.01}),
    "RMSprop": ("RMSprop", {"learning_rate": 0.01}),
    "Lion": ("Lion", {"learning_rate": 0.003, "weight_decay": 0.01}),
    "average": (
        "AdamW",
        {"learning_rate": 0.01, "use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 7},
    ),
}


def _stack_data(n: int) -> NDArray[np.float64]:
    return np.random.default_rng(n).normal(1.0, 2.0, (40, 6))


def _attending(keras: Any) -> Any:
    """Return a model of attention layers, one after the other, with residual connections."""
    x = keras.layers.Input((6, 5))
    # The gradient of the keys' bias would be a rounding error, whose sign Lion would take.
    attend = keras.layers.MultiHeadAttention(2, 3, 4, use_bias=False)
    y = attend(x, x, use_causal_mask=True)
    y = keras.layers.Add()([x, y])
    y = keras.layers.Attention(use_scale=True)([y, x])
    return keras.Model(x, keras.layers.AdditiveAttention()([y, x, y]))


def _adapted(keras: Any, scale: float, **options: Any) -> Any:
    layer = keras.layers.Normalization(**options)
    layer.adapt(scale * _stack_data(0))
    return layer


def _stack(name: str, loss: str, optimizer: str) -> Program:
    """Return a program that trains a stack of layers for 20 steps, evaluates and predicts."""

    def program(keras: Any) -> Results:
        rng = np.random.default_rng(3)
        activation, n = STACK_LOSSES[loss]
        x, other = _stack_data(1), _stack_data(2)
        if name.startswith("embedding"):
            x, other = (np.abs(part).astype(int) % 7 for part in (x, other))
        y = {
            "binary_crossentropy": rng.integers(0, 2, (40, n)),
            "sparse_categorical_crossentropy": rng.integers(0, n, 40),
        }.get(loss, rng.normal(size=(40, n)))
        model = keras.Sequential([keras.layers.Input((6,)), *STACKS[name](keras, n, activation)])
        # Normalization in Keras also keeps a sample count, or has no weights.
        learned = [layer for layer in model.layers if type(layer).__name__ != "Normalization"]
        for layer in learned:
            shapes = [w.shape for w in layer.get_weights()]
            layer.set_weights(
                [
                    rng.normal(size=s) / np.sqrt(np.prod(s[:-1]))
                    if len(s) > 1
                    else rng.uniform(0.5, 1.5, s)
                    for s in shapes
                ]
            )
        kind, options = STACK_OPTIMIZERS[optimizer]
        model.compile(getattr(keras.optimizers, kind)(**options), loss)
        history = model.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0)
        weights = [w for layer in learned for w in layer.get_weights()]
        return {
            "loss": np.array(history.history["loss"]),
            "evaluate": np.array(model.evaluate(other, y, verbose=0)),
            "predict": np.array(model.predict(other, verbose=0)),
        } | {f"weights/{i}": np.array(w) for i, w in enumerate(weights)}

    return program


def _pairs() -> dict[str, Program]:
    """Return programs that cover all pairwise combinations of stacks, losses and optimizers."""
    losses = list(STACK_LOSSES)
    chosen = [
        (stack, losses[(i + j) % len(losses)], optimizer)
        for i, stack in enumerate(STACKS)
        for j, optimizer in enumerate(STACK_OPTIMIZERS)
    ]
    return {", ".join(names): _stack(*names) for names in chosen}


STACK_PROGRAMS = _pairs()


def regression(keras: Any) -> Results:
    """Train on 1-D y with validation_split and a short last batch; evaluate and predict."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(103, 4))
    y = x @ np.array([1.0, -2.0, 0.5, 3.0]) + 1.0
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.set_weights(_weights(4, 8, 1))
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    history = model.fit(
        x, y, batch_size=16, epochs=4, validation_split=0.2, shuffle=False, verbose=0
    )
    return _results(
        model,
        history,
        evaluate=model.evaluate(x, y, verbose=0),
        predict=model.predict(x, verbose=0),
        batch=model.predict_on_batch(x[:5]),
    )


def classification(keras: Any) -> Results:
    """Train on one-hot targets with accuracy and weights, also in validation_data; evaluate."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(90, 5))
    labels = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    y = np.eye(3)[labels]
    model = keras.Sequential(
        [
            keras.layers.Input((5,)),
            keras.layers.Dense(9, activation="sigmoid"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.set_weights(_weights(5, 9, 3))
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=0.5, momentum=0.9),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    weight = rng.uniform(0.5, 2.0, 60)
    history = model.fit(
        x[:60],
        y[:60],
        batch_size=25,
        epochs=5,
        sample_weight=weight,
        validation_data=(x[60:], y[60:], np.linspace(0.1, 2.0, 30)),
        shuffle=False,
        verbose=0,
    )
    return _results(
        model,
        history,
        evaluate=model.evaluate(x[:60], y[:60], sample_weight=weight, batch_size=7, verbose=0),
    )


def imbalanced(keras: Any) -> Results:
    """Train on boolean y with class weights and binary accuracy; continue with a second fit."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(80, 3)).astype(np.float32)
    y = x.sum(axis=1) > 1.0
    model = keras.Sequential(
        [
            keras.layers.Input((3,)),
            keras.layers.Dense(6, activation="tanh"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.set_weights(_weights(3, 6, 1))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    first = model.fit(
        x, y, epochs=2, batch_size=20, class_weight={0: 1.0, 1: 4.0}, shuffle=False, verbose=0
    )
    second = model.fit(x, y, epochs=5, initial_epoch=2, batch_size=20, shuffle=False, verbose=0)
    return _results(model, second, first=first.history["loss"], epochs=second.epoch)


def images(keras: Any) -> Results:
    """Train on uint8 images with Rescaling, Flatten, integer labels and a loss on logits."""
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (64, 4, 4), dtype=np.uint8)
    y = rng.integers(0, 3, 64).astype(np.uint8)
    model = keras.Sequential(
        [
            keras.layers.Input((4, 4)),
            keras.layers.Rescaling(1 / 255, offset=-0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3),
        ]
    )
    model.set_weights(_weights(16, 8, 3))
    model.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(x, y, epochs=3, shuffle=False, verbose=0)
    return _results(model, history, predict=model.predict(x, verbose=0))


def batch_by_batch(keras: Any) -> Results:
    """Call train_on_batch in a loop; each call returns the loss of its batch."""
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(24, 2)), rng.normal(size=(24, 2))
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    model.set_weights(_weights(2, 2))
    model.compile(optimizer="sgd", loss="mean_squared_error")
    losses = [model.train_on_batch(x[i : i + 8], y[i : i + 8]) for i in (0, 8, 16)]
    return {"losses": np.array(losses), "w": model.get_weights()[0]}


def shared_layers(keras: Any) -> Results:
    """Build an encoder from an autoencoder's layer; predict with it and train both models."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(32, 5))
    model = keras.Sequential(
        [
            keras.layers.Input((5,)),
            keras.layers.Dense(3, activation="tanh", name="code"),
            keras.layers.Dense(5),
        ]
    )
    model.set_weights(_weights(5, 3, 5))
    encoder = keras.Sequential([keras.layers.Input((5,)), model.get_layer("code")])
    results = {"before": encoder.predict(x, verbose=0)}
    model.compile("adam", "mse")
    model.fit(x, x, epochs=2, shuffle=False, verbose=0)
    results["after"] = encoder.predict(x, verbose=0)
    encoder.compile("sgd", "mse")
    for _ in range(3):
        encoder.train_on_batch(x[:8], x[:8, :3])
        model.train_on_batch(x[8:16], x[8:16])
    results["back"] = model.predict(x, verbose=0)
    model.pop()
    results["popped"] = model.predict(x, verbose=0)
    return results | {f"weights/{i}": np.array(w) for i, w in enumerate(encoder.get_weights())}


def weighted_metrics(keras: Any) -> Results:
    """Compute metrics with and without sample and class weights; some weights are zero."""
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    model = keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Dense(1, activation="sigmoid")]
    )
    model.set_weights(_weights(3, 1))
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mae", "binary_accuracy"])
    weight = rng.integers(0, 3, 50).astype(float)
    history = model.fit(
        x,
        y,
        batch_size=16,
        epochs=2,
        sample_weight=weight,
        validation_data=(x[:20], y[:20], weight[:20]),
        shuffle=False,
        verbose=0,
    )
    classes = model.fit(x, y, class_weight={0: 2.0}, shuffle=False, verbose=0).history
    return _results(model, history, classes=classes["weighted_mae"])


def generators(keras: Any) -> Results:
    """Train on weighted generator batches of varying size and validate every other epoch."""
    rng = np.random.default_rng(9)
    x, y, w = rng.normal(size=(40, 4)), rng.normal(size=(40, 2)), rng.uniform(size=40)

    def forever(*bounds: int) -> Any:
        while True:
            for a, b in pairwise(bounds):
                yield x[a:b], y[a:b], w[a:b]

    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    model.set_weights(_weights(4, 2))
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mae"])
    history = model.fit(
        forever(0, 7, 17, 40),
        steps_per_epoch=4,
        epochs=4,
        validation_data=forever(0, 10, 25),
        validation_steps=2,
        validation_freq=2,
        verbose=0,
    )
    once = model.fit(((x[a : a + 8], y[a : a + 8]) for a in range(0, 40, 8)), verbose=0).history
    values = model.evaluate(forever(0, 3, 40), steps=3, return_dict=True, verbose=0)
    return _results(
        model,
        history,
        once=once["loss"],
        evaluate=[values[name] for name in sorted(values)],
        predict=model.predict(forever(0, 3, 40), steps=3, verbose=0),
    )


def steps_of_arrays(keras: Any) -> Results:
    """Set validation_steps, steps, and a steps_per_epoch that crosses the end of the arrays."""
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.set_weights(_weights(3, 1))
    model.compile("sgd", "mse", metrics=["mae"])
    options = {"shuffle": False, "verbose": 0}
    history = model.fit(
        x,
        y,
        batch_size=8,
        epochs=5,
        steps_per_epoch=2,
        validation_data=(x, y),
        validation_steps=3,
        validation_batch_size=4,
        validation_freq=[2, 5],
        **options,
    )
    even = model.fit(x, y, steps_per_epoch=3, **options).history
    return _results(
        model,
        history,
        even=even["mae"],
        evaluate=model.evaluate(x, y, batch_size=9, steps=2, verbose=0),
        predict=model.predict(x, batch_size=9, steps=2, verbose=0),
        predict_steps=model.predict(x, steps=3, verbose=0),
    )


def fine_tuning(keras: Any) -> Results:
    """Train a network whole, then only its last layer, then whole again, then fully frozen."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(48, 6)), rng.normal(size=(48, 2))
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(8, activation="tanh", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(momentum=0.8),
            keras.layers.Dense(2),
        ]
    )
    kernel, bias, head, head_bias = _weights(6, 8, 2)
    ones, zeros = np.ones(8), np.zeros(8)
    model.set_weights([kernel, bias, ones, zeros, zeros, ones, head, head_bias])
    results: Results = {}
    for step, frozen in enumerate(((), (0, 1), (), (0, 1, 2))):
        model.trainable = True
        for index in frozen:
            model.layers[index].trainable = False
        model.compile(keras.optimizers.Adam(0.01), "mse")
        history = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
        found = _results(
            model,
            history,
            evaluate=model.evaluate(x, y, verbose=0),
            counts=[len(model.trainable_weights), len(model.non_trainable_weights)],
        )
        results |= {f"{step}/{key}": value for key, value in found.items()}
    return results


PROGRAMS: dict[str, Program] = {
    program.__name__: program
    for program in (
        fine_tuning,
        regression,
        classification,
        imbalanced,
        images,
        batch_by_batch,
        shared_layers,
        weighted_metrics,
        generators,
        steps_of_arrays,
    )
} | keras_tools_programs.PROGRAMS


# Keras computes parts of these in float32 even if the model's dtype is float64.
ROUNDED = ("images, ", "zoom and rotation, ", "activation hard_sigmoid")


def assert_same_results(name: str, program: Program, keras: Any) -> None:
    """Run a program with Keras and with nnfast, and compare all results."""
    expected, actual = program(keras), program(nnfast.keras)
    tolerance = 1e-5 if name.startswith(ROUNDED) else 1e-7
    assert sorted(actual) == sorted(expected)
    for key, value in expected.items():
        assert actual[key].shape == value.shape, key
        if value.dtype.kind == "U":
            assert actual[key].tolist() == value.tolist(), key
            continue
        assert_allclose(actual[key], value, rtol=tolerance, atol=tolerance / 10, err_msg=key)

"""One instance of every layer class, with arguments that differ from the defaults.

The layers take samples of four numbers unless they declare an input shape. `test_config` checks
that no layer class is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import activations, constraints, initializers, layers, regularizers

NORM = {
    "epsilon": 0.01,
    "center": True,
    "scale": True,
    "beta_initializer": initializers.Constant(0.5),
    "gamma_initializer": initializers.RandomUniform(0.5, 2.0, seed=1),
    "beta_regularizer": "l1",
    "gamma_regularizer": regularizers.L1L2(0.1, 0.2),
    "beta_constraint": "non_neg",
    "gamma_constraint": constraints.MaxNorm(1.5),
}
IMAGE = (4, 5, 2)
CONV: dict[str, Any] = {
    "padding": "same",
    "data_format": "channels_last",
    "activation": "tanh",
    "use_bias": True,
    "bias_initializer": initializers.Constant(0.5),
    "bias_regularizer": "l1",
    "bias_constraint": "non_neg",
}
KERNEL = {
    "kernel_initializer": initializers.HeNormal(seed=1),
    "kernel_regularizer": "l2",
    "kernel_constraint": constraints.MaxNorm(1.5, axis=(0, 1)),
}
DEPTHWISE: dict[str, Any] = {
    "depth_multiplier": 2,
    "depthwise_initializer": initializers.RandomUniform(0.5, 2.0, seed=1),
    "depthwise_regularizer": "l1",
    "depthwise_constraint": constraints.MaxNorm(1.5, axis=(0, 1, 2)),
}
POOL: dict[str, Any] = {"padding": "same", "data_format": "channels_last"}
GLOBAL: dict[str, Any] = {"data_format": "channels_last", "keepdims": True}
RECURRENT: dict[str, Any] = {
    "use_bias": True,
    "kernel_initializer": initializers.HeNormal(seed=1),
    "recurrent_initializer": initializers.Orthogonal(seed=1),
    "bias_initializer": initializers.Constant(0.5),
    "kernel_regularizer": "l2",
    "recurrent_regularizer": "l1",
    "bias_regularizer": regularizers.L1(0.5),
    "kernel_constraint": constraints.MaxNorm(1.5, axis=0),
    "recurrent_constraint": constraints.MaxNorm(1.5, axis=0),
    "bias_constraint": "non_neg",
    "return_sequences": True,
    "go_backwards": True,
    "unroll": True,
    "dropout": 0.25,
    "recurrent_dropout": 0.5,
    "zero_output_for_mask": True,
}
LAYERS: dict[str, Callable[[], layers.Layer]] = {
    "Dense": lambda: layers.Dense(
        3,
        "relu",
        kernel_initializer=initializers.HeNormal(seed=1),
        bias_initializer=initializers.Constant(2.0),
        kernel_regularizer="l2",
        bias_regularizer=regularizers.L1(0.5),
        kernel_constraint=constraints.UnitNorm(axis=(0, 1)),
        bias_constraint="non_neg",
        activity_regularizer="l1",
        input_dim=4,
    ),
    "Activation": lambda: layers.Activation(activations.softmax),
    "LeakyReLU": lambda: layers.LeakyReLU(0.25),
    "ReLU": lambda: layers.ReLU(2.0, 0.25, 0.5),
    "PReLU": lambda: layers.PReLU(
        *(initializers.Constant(0.25), "l2", "non_neg", [2]), input_shape=(3, 2)
    ),
    "ELU": lambda: layers.ELU(0.5),
    "Softmax": lambda: layers.Softmax((1, 2), input_shape=(3, 2)),
    "Identity": lambda: layers.Identity(activity_regularizer="l2"),
    "Embedding": lambda: layers.Embedding(
        *(7, 3, initializers.RandomNormal(seed=1), "l2", constraints.MaxNorm(1.5, axis=1), True)
    ),
    "Dropout": lambda: layers.Dropout(0.25, (None, 1), 7, name="mine"),
    "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.25, 7, input_shape=(3, 2)),
    "SpatialDropout2D": lambda: layers.SpatialDropout2D(
        0.25, "channels_last", 7, input_shape=IMAGE
    ),
    "AlphaDropout": lambda: layers.AlphaDropout(0.25, (None, 1), 7),
    "GaussianDropout": lambda: layers.GaussianDropout(0.25, 7),
    "GaussianNoise": lambda: layers.GaussianNoise(0.25, 7, activity_regularizer="l2"),
    "ActivityRegularization": lambda: layers.ActivityRegularization(0.1, l2=0.2),
    "BatchNormalization": lambda: layers.BatchNormalization(
        axis=1,
        momentum=0.5,
        moving_mean_initializer=initializers.Constant(0.25),
        moving_variance_initializer=initializers.Constant(2.0),
        **NORM,
    ),
    "LayerNormalization": lambda: layers.LayerNormalization(
        axis=[1, 2], input_shape=(2, 2), **NORM
    ),
    "GroupNormalization": lambda: layers.GroupNormalization(2, 1, input_shape=(4, 3), **NORM),
    "UnitNormalization": lambda: layers.UnitNormalization([1, 2], input_shape=(3, 2)),
    "Normalization": lambda: layers.Normalization(
        mean=[1.0, 2.0, 3.0, 4.0], variance=2.0, invert=True
    ),
    "Flatten": lambda: layers.Flatten(input_shape=(2, 2)),
    "Reshape": lambda: layers.Reshape((2, -1)),
    "Permute": lambda: layers.Permute((3, 1, 2), input_shape=IMAGE),
    "RepeatVector": lambda: layers.RepeatVector(3),
    "Rescaling": lambda: layers.Rescaling(0.5, offset=1.0, dtype="float32"),
    "ZeroPadding2D": lambda: layers.ZeroPadding2D(
        ((1, 0), (2, 3)), "channels_last", input_shape=IMAGE
    ),
    "ZeroPadding1D": lambda: layers.ZeroPadding1D((1, 2), "channels_last", input_shape=(7, 2)),
    "Cropping1D": lambda: layers.Cropping1D((1, 2), input_shape=(7, 2)),
    "Cropping2D": lambda: layers.Cropping2D(((1, 0), (2, 1)), "channels_last", input_shape=IMAGE),
    "UpSampling1D": lambda: layers.UpSampling1D(3, input_shape=(7, 2)),
    "UpSampling2D": lambda: layers.UpSampling2D(
        (2, 3), "channels_last", "bilinear", input_shape=IMAGE
    ),
    "RandomFlip": lambda: layers.RandomFlip(
        "vertical", 3, data_format="channels_last", input_shape=IMAGE
    ),
    "RandomTranslation": lambda: layers.RandomTranslation(
        *(0.3, (-0.2, 0.1), "nearest", "nearest", 3, 0.5, "channels_last"), input_shape=IMAGE
    ),
    "RandomCrop": lambda: layers.RandomCrop(2, 3, 3, "channels_last", input_shape=IMAGE),
    "RandomZoom": lambda: layers.RandomZoom(
        *(0.3, (-0.2, 0.1), "nearest", "nearest", 3, 0.5, "channels_last"), input_shape=IMAGE
    ),
    "RandomRotation": lambda: layers.RandomRotation(
        (-0.1, 0.3), "wrap", "nearest", 3, 0.5, "channels_last", input_shape=IMAGE
    ),
    "RandomContrast": lambda: layers.RandomContrast(
        (0.5, 0.3), (-1, 1), 3, "channels_last", input_shape=IMAGE
    ),
    "RandomBrightness": lambda: layers.RandomBrightness(
        (-0.1, 0.3), (-1, 1), 3, "channels_last", input_shape=IMAGE
    ),
    "Resizing": lambda: layers.Resizing(
        *(3, 7, "nearest", False, True, "constant", 0.5, False, "channels_last"), input_shape=IMAGE
    ),
    "CenterCrop": lambda: layers.CenterCrop(2, 3, "channels_last", input_shape=IMAGE),
    "Conv1D": lambda: layers.Conv1D(
        6, 3, dilation_rate=2, groups=2, strides=1, input_shape=(9, 4), **CONV, **KERNEL
    ),
    "Conv2D": lambda: layers.Conv2D(
        6, (2, 3), strides=(2, 1), groups=2, input_shape=(5, 6, 4), **CONV, **KERNEL
    ),
    "Conv1DTranspose": lambda: layers.Conv1DTranspose(
        6, 4, strides=3, output_padding=2, input_shape=(5, 4), **CONV, **KERNEL
    ),
    "Conv2DTranspose": lambda: layers.Conv2DTranspose(
        6, (2, 3), dilation_rate=(2, 1), output_padding=0, input_shape=(5, 6, 4), **CONV, **KERNEL
    ),
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(
        (2, 3), strides=2, dilation_rate=1, input_shape=(5, 6, 3), **CONV, **DEPTHWISE
    ),
    "SeparableConv2D": lambda: layers.SeparableConv2D(
        5,
        2,
        dilation_rate=2,
        pointwise_initializer=initializers.HeNormal(seed=1),
        pointwise_regularizer="l2",
        pointwise_constraint=constraints.MaxNorm(1.5, axis=2),
        input_shape=(5, 6, 3),
        **CONV,
        **DEPTHWISE,
    ),
    "SeparableConv1D": lambda: layers.SeparableConv1D(
        5,
        2,
        strides=2,
        pointwise_initializer=initializers.HeNormal(seed=1),
        pointwise_regularizer="l2",
        pointwise_constraint=constraints.MaxNorm(1.5, axis=1),
        input_shape=(9, 3),
        **CONV,
        **DEPTHWISE | {"depthwise_constraint": constraints.MaxNorm(1.5, axis=(0, 1))},
    ),
    "MaxPooling1D": lambda: layers.MaxPooling1D(3, 2, input_shape=(7, 2), **POOL),
    "MaxPooling2D": lambda: layers.MaxPooling2D((3, 2), (1, 2), input_shape=(5, 6, 3), **POOL),
    "AveragePooling1D": lambda: layers.AveragePooling1D(3, 2, input_shape=(7, 2), **POOL),
    "AveragePooling2D": lambda: layers.AveragePooling2D(3, (1, 2), input_shape=(5, 6, 3), **POOL),
    "GlobalMaxPooling1D": lambda: layers.GlobalMaxPooling1D(input_shape=(7, 2), **GLOBAL),
    "GlobalMaxPooling2D": lambda: layers.GlobalMaxPooling2D(input_shape=(5, 6, 3), **GLOBAL),
    "GlobalAveragePooling1D": lambda: layers.GlobalAveragePooling1D(input_shape=(7, 2), **GLOBAL),
    "GlobalAveragePooling2D": lambda: layers.GlobalAveragePooling2D(
        input_shape=(5, 6, 3), **GLOBAL
    ),
    "LSTM": lambda: layers.LSTM(
        3,
        "softsign",
        "hard_sigmoid",
        unit_forget_bias=False,
        seed=3,
        input_shape=(5, 2),
        **RECURRENT,
    ),
    "GRU": lambda: layers.GRU(
        3, "softsign", "hard_sigmoid", reset_after=False, input_shape=(5, 2), **RECURRENT
    ),
    "SimpleRNN": lambda: layers.SimpleRNN(3, "softsign", input_shape=(5, 2), **RECURRENT),
    "RNN": lambda: layers.RNN(
        [layers.GRUCell(3, dropout=0.25, name="first"), layers.LSTMCell(2, name="second")],
        *(True, False, True, False, True, True),
        input_shape=(5, 2),
    ),
    "MultiHeadAttention": lambda: layers.MultiHeadAttention(
        *(2, 3, 4, 0.25, False, (3, 2), 1, 2, False, initializers.HeNormal(seed=1), "ones", "l2"),
        *("l1", "l2", constraints.MaxNorm(1.5, axis=0), "non_neg", 3),
    ),
    "Attention": lambda: layers.Attention(True, "concat", 0.25, 3, activity_regularizer="l2"),
    "AdditiveAttention": lambda: layers.AdditiveAttention(False, 0.25, 3),
    "Bidirectional": lambda: layers.Bidirectional(
        layers.LSTM(3, return_sequences=True, dropout=0.25),
        "ave",
        None,
        layers.GRU(3, return_sequences=True, go_backwards=True, name="back"),
        activity_regularizer="l2",
        input_shape=(5, 2),
    ),
    "TimeDistributed": lambda: layers.TimeDistributed(
        layers.Conv1D(2, 2, bias_initializer="ones", kernel_regularizer="l2"), input_shape=(3, 4, 2)
    ),
    "Wrapper": lambda: layers.Wrapper(layers.Dense(3, kernel_regularizer="l2"), input_shape=(4,)),
    "Masking": lambda: layers.Masking(0.5, input_shape=(3, 2)),
    "Add": lambda: layers.Add(),
    "Subtract": lambda: layers.Subtract(),
    "Multiply": lambda: layers.Multiply(),
    "Average": lambda: layers.Average(),
    "Maximum": lambda: layers.Maximum(),
    "Minimum": lambda: layers.Minimum(),
    "Concatenate": lambda: layers.Concatenate(2),
    "Dot": lambda: layers.Dot((1, 2), True),
    "Sampling": lambda: layers.Sampling(7),
    "AddLoss": lambda: layers.AddLoss(0.25, activity_regularizer="l2"),
    "StringLookup": lambda: layers.StringLookup(
        *(9, 2, "", "?", ["é", "b", "c"], [0.5, 1.5, 2.5], False, "tf_idf", True, False),
        *("latin-1", "text", (7, 8)),
    ),
    "IntegerLookup": lambda: layers.IntegerLookup(
        *(9, 2, 0, -2, [7, 5, 6], "int64", [0.5, 1.5, 2.5], False, "tf_idf", False, True),
        *("farmhash", 7, "numbers"),
    ),
    "TextVectorization": lambda: layers.TextVectorization(
        *(9, "lower", "character", (2, 1), "tf_idf", None, True, ["é", "a b"], [0.5, 1.5]),
        *(False, False, "latin-1", "text"),
    ),
    "CategoryEncoding": lambda: layers.CategoryEncoding(5, "count", input_shape=(3,)),
    "Discretization": lambda: layers.Discretization.from_config(
        {
            "bin_boundaries": [0.0, 0.5],
            "num_bins": 3,
            "epsilon": 0.1,
            "output_mode": "count",
            "dtype": "float32",
        }
    ),
    "InputLayer": lambda: layers.InputLayer((4,), 8, "float32"),
}

# Layers that are called with a list of tensors, so that a Sequential cannot have them.
MERGING = {
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"),
    *("Sampling", "AddLoss", "MultiHeadAttention", "Attention", "AdditiveAttention"),
}
# Layers that Python computes before the engine, so that they must come first in a model.
PREPARING = {
    *("CategoryEncoding", "Discretization", "IntegerLookup", "StringLookup", "TextVectorization"),
}
# Layers whose inputs are ids, so that nothing that is trained can precede them.
READING_IDS = {"Embedding"}


def samples(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """Return the data for a layer: random numbers, or ids made from them."""
    return np.abs(10 * x) // 1 % 7 if name in READING_IDS else x

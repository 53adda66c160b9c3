"""The layers: their configuration, shape inference and operations."""

from nnfast.layers.augmentation import (
    RandomCrop,
    RandomFlip,
    RandomTranslation,
    Rescaling,
)
from nnfast.layers.convolution import (
    Conv1D,
    Conv2D,
    Convolution1D,
    Convolution2D,
    DepthwiseConv2D,
    SeparableConv2D,
    SeparableConvolution2D,
)
from nnfast.layers.core import (
    Activation,
    Dense,
    Input,
    InputLayer,
)
from nnfast.layers.layer import (
    Layer,
)
from nnfast.layers.normalization import (
    BatchNormalization,
    LayerNormalization,
    Normalization,
)
from nnfast.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AvgPool1D,
    AvgPool2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPool1D,
    MaxPool2D,
    MaxPooling1D,
    MaxPooling2D,
)
from nnfast.layers.registry import (
    TABLE as TABLE,
)
from nnfast.layers.registry import (
    deserialize,
    serialize,
)
from nnfast.layers.regularization import (
    ActivityRegularization,
    Dropout,
    GaussianNoise,
)
from nnfast.layers.reshaping import (
    Flatten,
    Reshape,
    UpSampling2D,
    ZeroPadding2D,
)

__all__ = [
    "Activation",
    "ActivityRegularization",
    "AveragePooling1D",
    "AveragePooling2D",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv1D",
    "Conv2D",
    "Convolution1D",
    "Convolution2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "Normalization",
    "RandomCrop",
    "RandomFlip",
    "RandomTranslation",
    "Rescaling",
    "Reshape",
    "SeparableConv2D",
    "SeparableConvolution2D",
    "UpSampling2D",
    "ZeroPadding2D",
    "deserialize",
    "serialize",
]

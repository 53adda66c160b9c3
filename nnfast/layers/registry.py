"""The table of layers by class name, and the descriptions of layers in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnfast._utils.registry import choose, describe, name_constructors
from nnfast.layers.augmentation import RandomCrop, RandomFlip, RandomTranslation, Rescaling
from nnfast.layers.convolution import Conv1D, Conv2D, DepthwiseConv2D, SeparableConv2D
from nnfast.layers.core import Activation, Dense, InputLayer
from nnfast.layers.layer import Layer
from nnfast.layers.normalization import BatchNormalization, LayerNormalization, Normalization
from nnfast.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPooling1D,
    MaxPooling2D,
)
from nnfast.layers.regularization import ActivityRegularization, Dropout, GaussianNoise
from nnfast.layers.reshaping import Flatten, Reshape, UpSampling2D, ZeroPadding2D

TABLE: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        *(Dense, Activation, Dropout, GaussianNoise, ActivityRegularization),
        *(BatchNormalization, LayerNormalization, Normalization, Rescaling, Flatten, Reshape),
        *(ZeroPadding2D, UpSampling2D, RandomFlip, RandomTranslation, RandomCrop),
        *(Conv1D, Conv2D, DepthwiseConv2D, SeparableConv2D),
        *(MaxPooling1D, MaxPooling2D, AveragePooling1D, AveragePooling2D),
        *(GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalAveragePooling1D, GlobalAveragePooling2D),
    )
}
name_constructors(TABLE.values())


# Keras' name.
serialize = describe


def deserialize(description: Mapping[str, Any]) -> Layer:
    """Return a new layer from its description ``{"class_name": …, "config": …}``.

    Weights are not part of the description.

    Raises
    ------
    ValueError
        If the class is unknown, or `description` is not a dict of that form.

    Examples
    --------
    >>> deserialize(serialize(Flatten(name="flat")))
    Flatten(name='flat')
    """
    if not isinstance(description, Mapping) or not {"class_name", "config"} <= description.keys():
        raise ValueError(
            'Expected the description of a layer as {"class_name": …, "config": …}; received '
            f"{description!r}"
        )
    table = TABLE | {"InputLayer": InputLayer}
    return choose("layer", description["class_name"], table).from_config(description["config"])

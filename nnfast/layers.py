"""The layers: what each is configured by, its shape inference and its op."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from numpy.typing import NDArray

from nnfast import activations, constraints, initializers, regularizers
from nnfast._convolution import (
    Conv1D,
    Conv2D,
    Convolution1D,
    Convolution2D,
    DepthwiseConv2D,
    SeparableConv2D,
    SeparableConvolution2D,
)
from nnfast._images import (
    RandomCrop,
    RandomFlip,
    RandomTranslation,
    UpSampling2D,
    ZeroPadding2D,
)
from nnfast._layer import Input, InputLayer, Layer, LayerOptions
from nnfast._normalization import BatchNormalization, LayerNormalization, Normalization
from nnfast._plan import Op, Weight
from nnfast._pooling import (
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
from nnfast._resolve import choose, describe, name_constructors
from nnfast._validation import Shape, entries, flag, integer, real, shape

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


class Dense(Layer):
    """A fully connected layer: activation(x·w + b), w (n_in, units), b (units,).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or activation, default None
        A function of `nnfast.activations` or its name; None is linear.
    use_bias : bool, default True
    kernel_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    kernel_regularizer, bias_regularizer : str, Regularizer or None, default None
        Penalties of `nnfast.regularizers` that are added to the loss.
    kernel_constraint, bias_constraint : str, Constraint or None, default None
        What `nnfast.constraints` does to the weights after each step.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> Dense(64, activation="relu").infer_shape((10,))
    (64,)
    """

    _fields = (
        *("units", "activation", "use_bias", "kernel_initializer", "bias_initializer"),
        *("kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint"),
    )

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.L1L2 | None = None,
        bias_regularizer: str | regularizers.L1L2 | None = None,
        kernel_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.units = integer("units", units, minimum=1)
        self.activation = activations.resolve(activation)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.resolve(kernel_initializer)
        self.bias_initializer = initializers.resolve(bias_initializer)
        self.kernel_regularizer = regularizers.resolve(kernel_regularizer)
        self.bias_regularizer = regularizers.resolve(bias_regularizer)
        self.kernel_constraint = constraints.resolve(kernel_constraint)
        self.bias_constraint = constraints.resolve(bias_constraint)

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(
                f"Dense layer {self.name!r} expects samples with one axis; received shape "
                f"{input_shape}: put Flatten() before it"
            )
        return (self.units,)

    def op(self) -> Op:
        return Op("dense", self.activation.name, self.activation.alpha)

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        kernel = Weight(
            "kernel",
            (input_shape[0], self.units),
            self.kernel_initializer,
            self.kernel_regularizer,
            self.kernel_constraint,
        )
        bias = Weight(
            "bias",
            (self.units,),
            self.bias_initializer,
            self.bias_regularizer,
            self.bias_constraint,
        )
        return [kernel, bias] if self.use_bias else [kernel]

    @property
    def kernel(self) -> NDArray[Any]:
        """The kernel (n_in, units), a view into the built model."""
        return self._view("kernel")

    @property
    def bias(self) -> NDArray[Any] | None:
        """The bias (units,), a view into the built model; None without bias."""
        return self._view("bias") if self.use_bias else None


class Activation(Layer):
    """Apply an activation; directly after a linear `Dense` it costs no pass of its own.

    Parameters
    ----------
    activation : str or activation
    **options
        See `Layer`.

    Examples
    --------
    >>> Activation("softmax", name="probabilities")
    Activation(name='probabilities', activation='softmax')
    """

    _fields = ("activation",)

    def __init__(
        self, activation: str | activations.Activation, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.activation = activations.resolve(activation)

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1 and not self.activation.elementwise:
            raise ValueError(
                f"Activation {self.activation.name!r} of layer {self.name!r} expects samples "
                f"with one axis; received shape {input_shape}"
            )
        return input_shape

    def op(self) -> Op | None:
        name = self.activation.name
        return None if name == "linear" else Op("activation", name, self.activation.alpha)


class Dropout(Layer):
    """In training, zero each input with probability `rate` and divide the rest by 1 − rate.

    The mask depends on the model's seed, the epoch, the layer and the row alone
    (Srivastava et al., 2014).

    Parameters
    ----------
    rate : float
        From 0 (the layer does nothing) to below 1.
    **options
        See `Layer`.

    Examples
    --------
    >>> Dropout(0.2).rate
    0.2
    """

    _fields = ("rate",)
    training_differs = True

    def __init__(self, rate: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.rate = real("rate", rate, low=0.0, below=1.0)

    def op(self) -> Op | None:
        return Op("dropout", alpha=self.rate) if self.rate else None


class GaussianNoise(Layer):
    """In training, add normal noise of mean 0 to each input; nothing in inference.

    The noise depends on the model's seed, the epoch, the layer and the row alone.

    Parameters
    ----------
    stddev : float
        Standard deviation, at least 0 (then the layer does nothing).
    **options
        See `Layer`.

    Examples
    --------
    >>> GaussianNoise(0.1).stddev
    0.1
    """

    _fields = ("stddev",)
    training_differs = True

    def __init__(self, stddev: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.stddev = real("stddev", stddev, low=0.0)

    def op(self) -> Op | None:
        return Op("noise", alpha=self.stddev) if self.stddev else None


class ActivityRegularization(Layer):
    """Leave the inputs as they are and add l1·Σ|x| + l2·Σx² to the loss, a mean over the rows.

    Parameters
    ----------
    l1, l2 : float, default 0.0
        At least 0.
    **options
        See `Layer`.

    Examples
    --------
    >>> ActivityRegularization(l1=0.01).activity_regularizer
    L1L2(l1=0.01, l2=0.0)
    """

    _fields = ("l1", "l2")

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        if "activity_regularizer" in options:
            raise TypeError("ActivityRegularization takes l1 and l2, not activity_regularizer")
        options["activity_regularizer"] = regularizers.L1L2(l1, l2)
        super().__init__(**options)
        self.l1 = real("l1", l1, low=0.0)
        self.l2 = real("l2", l2, low=0.0)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["activity_regularizer"]
        return config


class Flatten(Layer):
    """Make each sample one row: (n, a, b, …) → (n, a·b·…), in C order.

    Examples
    --------
    >>> Flatten().infer_shape((28, 28))
    (784,)
    """

    def infer_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)


class Reshape(Layer):
    """Give each sample another shape, in C order.

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch axis; one entry may be -1, to be inferred.
    **options
        See `Layer`.

    Examples
    --------
    >>> Reshape((-1, 28)).infer_shape((784,))
    (28, 28)
    """

    _fields = ("target_shape",)

    def __init__(self, target_shape: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        sizes = entries("target_shape", target_shape)
        shape("target_shape", [1 if size == -1 else size for size in sizes])
        if sizes.count(-1) > 1:
            raise ValueError(f"target_shape can have one -1; received {tuple(target_shape)}")
        self.target_shape = tuple(int(size) for size in sizes)

    def infer_shape(self, input_shape: Shape) -> Shape:
        size = math.prod(input_shape)
        known = math.prod(entry for entry in self.target_shape if entry != -1)
        inferred = size // known if known else 0
        out = tuple(inferred if entry == -1 else entry for entry in self.target_shape)
        if math.prod(out) != size:
            raise ValueError(
                f"Reshape layer {self.name!r} cannot give samples of shape {input_shape} "
                f"({size} elements) the shape {self.target_shape}"
            )
        return out


class Rescaling(Layer):
    """y = scale·x + offset. As a model's first layer it is part of reading the input.

    Parameters
    ----------
    scale : float
    offset : float, default 0.0
    **options
        See `Layer`.

    Examples
    --------
    >>> Rescaling(1 / 255, name="to_unit").offset
    0.0
    """

    _fields = ("scale", "offset")

    def __init__(self, scale: float, offset: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.scale = real("scale", scale)
        self.offset = real("offset", offset)

    def op(self) -> Op:
        return Op("affine", alpha=self.scale, beta=self.offset)


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
    """Return the layer, with new weights, that ``{"class_name": …, "config": …}`` describes.

    Raises
    ------
    ValueError
        If there is no such layer, or `description` is no such dict.

    Examples
    --------
    >>> deserialize(serialize(Flatten(name="flat")))
    Flatten(name='flat')
    """
    if not isinstance(description, Mapping) or not {"class_name", "config"} <= description.keys():
        raise ValueError(
            f'Expected a layer as {{"class_name": …, "config": …}}; received {description!r}'
        )
    table = TABLE | {"InputLayer": InputLayer}
    return choose("layer", description["class_name"], table).from_config(description["config"])

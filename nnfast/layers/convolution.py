"""The convolutional layers."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Unpack

from nnfast import activations, constraints, initializers, regularizers
from nnfast._plan.spec import Op, Weight
from nnfast._utils.checks import Shape, flag, integer
from nnfast._utils.variable import Variable
from nnfast.layers.activation import activation_ops
from nnfast.layers.layer import LayerOptions
from nnfast.layers.window import Sizes, Windowed

__all__ = [
    "Conv1D",
    "Conv2D",
    "Convolution1D",
    "Convolution2D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
]


class Convolution(Windowed):
    """Base class of the convolutions, with bias and activation."""

    bias_initializer: initializers.Initializer
    bias_regularizer: regularizers.L1L2 | None
    bias_constraint: constraints.Constraint | None

    @property
    def kernel_size(self) -> tuple[int, ...]:
        return self._kernel

    def _set_outputs(
        self,
        activation: str | activations.Activation | None,
        use_bias: bool,
        bias_initializer: str | initializers.Initializer,
        bias_regularizer: str | regularizers.L1L2 | None,
        bias_constraint: str | constraints.Constraint | None,
    ) -> None:
        self.activation = activations.resolve(activation)
        self.use_bias = flag("use_bias", use_bias)
        self._configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)

    def _activated(self, input_shape: Shape, op: Op) -> list[Op]:
        """Return an op with its activation, which may need a separate op."""
        if self.activation.elementwise and not self.activation.is_general_relu:
            return [replace(op, activation=self.activation.name, alpha=self.activation.alpha)]
        plain = replace(op, shape=self.infer_shape(input_shape))
        return [plain, *activation_ops(self.activation)]

    def _bias(self, channels: int) -> list[Weight]:
        return [self._weight("bias", (channels,))] if self.use_bias else []

    @property
    def bias(self) -> Variable | None:
        """The bias (channels,), a view of the built model's weights; None without bias."""
        return self._variable("bias") if self.use_bias else None


class _Conv(Convolution):
    """Base class of `Conv1D` and `Conv2D`."""

    kernel_initializer: initializers.Initializer
    kernel_regularizer: regularizers.L1L2 | None
    kernel_constraint: constraints.Constraint | None

    _fields = (
        *("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate"),
        *("groups", "activation", "use_bias", "kernel_initializer", "bias_initializer"),
        *("kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint"),
    )

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        groups: int = 1,
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
        self.filters = integer("filters", filters, minimum=1)
        self.groups = integer("groups", groups, minimum=1)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self._set_outputs(activation, use_bias, bias_initializer, bias_regularizer, bias_constraint)
        self._configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        if self.filters % self.groups:
            raise ValueError(
                f"filters must be divisible by groups; received filters={filters} and "
                f"groups={groups}"
            )

    def infer_shape(self, input_shape: Shape) -> Shape:
        self._check_images(input_shape)
        if input_shape[-1] % self.groups:
            raise ValueError(
                f"{self._label()} has {self.groups} groups, which must divide the "
                f"{input_shape[-1]} channels of its input; received shape {input_shape}"
            )
        return self._outputs(self._window(input_shape, self.filters, self.groups))

    def ops(self, input_shape: Shape) -> list[Op]:
        win = self._window(input_shape, self.filters, self.groups)
        return self._activated(input_shape, Op("convolution", settings=win))

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        shape = (*self._kernel, input_shape[-1] // self.groups, self.filters)
        return [self._weight("kernel", shape), *self._bias(self.filters)]

    @property
    def kernel(self) -> Variable:
        """The kernel (*kernel_size, channels / groups, filters), a view of the model's weights."""
        return self._variable("kernel")


class Conv2D(_Conv):
    """A 2-D convolution: activation(x * w + b), for images x of shape (height, width, channels).

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int or tuple of int
        Height and width of the window.
    strides : int or tuple of int, default 1
        Step between windows.
    padding : {"valid", "same"}, default "valid"
        "same" pads the image with zeros, so that the output's size is the input's size divided by
        the strides, rounded up.
    data_format : {None, "channels_last"}
        Only this layout is supported.
    dilation_rate : int or tuple of int, default 1
        Distance between the elements of the window; cannot be combined with strides.
    groups : int, default 1
        Number of groups into which the channels are divided; each group has its own filters.
    activation : str or activation, default None
        A function of `nnfast.activations` or its name; None means linear.
    use_bias : bool, default True
        Whether b is added.
    kernel_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    kernel_regularizer, bias_regularizer : str, Regularizer or None, default None
    kernel_constraint, bias_constraint : str, Constraint or None, default None
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> Conv2D(32, (3, 3), activation="relu").infer_shape((28, 28, 1))
    (26, 26, 32)
    >>> Conv2D(8, 3, strides=2, padding="same").infer_shape((28, 28, 1))
    (14, 14, 8)
    """


class Conv1D(_Conv):
    """A 1-D convolution: activation(x * w + b), for sequences x of shape (steps, channels).

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int
        Length of the window.
    strides : int, default 1
        Step between windows.
    padding : {"valid", "same", "causal"}, default "valid"
        "causal" pads only before the first step, so that no output depends on later inputs.
    data_format, dilation_rate, groups, activation, use_bias
        As in `Conv2D`.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer
        As in `Conv2D`.
    kernel_constraint, bias_constraint
        As in `Conv2D`.
    **options
        See `Layer`.

    Examples
    --------
    >>> Conv1D(8, 3, padding="causal").infer_shape((100, 4))
    (100, 8)
    """

    rank = 1
    _paddings: ClassVar[tuple[str, ...]] = ("valid", "same", "causal")


class DepthwiseConv2D(Convolution):
    """A depthwise convolution: every channel is convolved with its own filters.

    Output channel c·depth_multiplier + i is input channel c convolved with its filter i.

    Parameters
    ----------
    kernel_size : int or tuple of int
        Height and width of the window.
    strides : int or tuple of int, default 1
        Step between windows.
    padding : {"valid", "same"}, default "valid"
        As in `Conv2D`.
    depth_multiplier : int, default 1
        Number of filters per channel.
    data_format, dilation_rate, activation, use_bias
        As in `Conv2D`.
    depthwise_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    depthwise_regularizer, bias_regularizer : str, Regularizer or None, default None
    depthwise_constraint, bias_constraint : str, Constraint or None, default None
    **options
        See `Layer`.

    Examples
    --------
    >>> DepthwiseConv2D(3, depth_multiplier=2).infer_shape((8, 8, 3))
    (6, 6, 6)
    """

    depthwise_initializer: initializers.Initializer
    depthwise_regularizer: regularizers.L1L2 | None
    depthwise_constraint: constraints.Constraint | None

    _fields = (
        *("kernel_size", "strides", "padding", "depth_multiplier", "data_format", "dilation_rate"),
        *("activation", "use_bias", "depthwise_initializer", "bias_initializer"),
        *("depthwise_regularizer", "bias_regularizer", "depthwise_constraint", "bias_constraint"),
    )

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: str | activations.Activation | None = None,
        use_bias: bool = True,
        depthwise_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        depthwise_regularizer: str | regularizers.L1L2 | None = None,
        bias_regularizer: str | regularizers.L1L2 | None = None,
        depthwise_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.depth_multiplier = integer("depth_multiplier", depth_multiplier, minimum=1)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self._set_outputs(activation, use_bias, bias_initializer, bias_regularizer, bias_constraint)
        self._configure_weight(
            "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint
        )

    def infer_shape(self, input_shape: Shape) -> Shape:
        self._check_images(input_shape)
        return self._outputs(self._window(input_shape, input_shape[-1] * self.depth_multiplier))

    def ops(self, input_shape: Shape) -> list[Op]:
        win = self._window(input_shape, input_shape[-1] * self.depth_multiplier)
        return self._activated(input_shape, Op("depthwise", settings=win))

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        channels = input_shape[-1]
        kernel = self._weight(
            "kernel", (*self._kernel, channels, self.depth_multiplier), "depthwise"
        )
        return [kernel, *self._bias(channels * self.depth_multiplier)]

    @property
    def kernel(self) -> Variable:
        """The kernel (*kernel_size, channels, depth_multiplier), a view of the model's weights."""
        return self._variable("kernel")


class SeparableConv2D(Convolution):
    """A depthwise convolution followed by a pointwise (1 × 1) convolution.

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int or tuple of int
        Height and width of the depthwise window.
    strides : int or tuple of int, default 1
        Step between windows.
    padding : {"valid", "same"}, default "valid"
        As in `Conv2D`.
    data_format, dilation_rate
        As in `Conv2D`.
    depth_multiplier : int, default 1
        Number of depthwise filters per channel.
    activation, use_bias
        As in `Conv2D`; both are applied after the pointwise convolution.
    depthwise_initializer, pointwise_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    depthwise_regularizer, pointwise_regularizer, bias_regularizer : optional
        Each is a str, a Regularizer or None (the default).
    depthwise_constraint, pointwise_constraint, bias_constraint : optional
        Each is a str, a Constraint or None (the default).
    **options
        See `Layer`.

    Examples
    --------
    >>> SeparableConv2D(16, 3).infer_shape((8, 8, 3))
    (6, 6, 16)
    """

    depthwise_initializer: initializers.Initializer
    depthwise_regularizer: regularizers.L1L2 | None
    depthwise_constraint: constraints.Constraint | None
    pointwise_initializer: initializers.Initializer
    pointwise_regularizer: regularizers.L1L2 | None
    pointwise_constraint: constraints.Constraint | None

    _fields = (
        *("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate"),
        *("depth_multiplier", "activation", "use_bias", "depthwise_initializer"),
        *("pointwise_initializer", "bias_initializer", "depthwise_regularizer"),
        *("pointwise_regularizer", "bias_regularizer", "depthwise_constraint"),
        *("pointwise_constraint", "bias_constraint"),
    )

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        depth_multiplier: int = 1,
        activation: str | activations.Activation | None = None,
        use_bias: bool = True,
        depthwise_initializer: str | initializers.Initializer = "glorot_uniform",
        pointwise_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        depthwise_regularizer: str | regularizers.L1L2 | None = None,
        pointwise_regularizer: str | regularizers.L1L2 | None = None,
        bias_regularizer: str | regularizers.L1L2 | None = None,
        depthwise_constraint: str | constraints.Constraint | None = None,
        pointwise_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.filters = integer("filters", filters, minimum=1)
        self.depth_multiplier = integer("depth_multiplier", depth_multiplier, minimum=1)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self._set_outputs(activation, use_bias, bias_initializer, bias_regularizer, bias_constraint)
        self._configure_weight(
            "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint
        )
        self._configure_weight(
            "pointwise", pointwise_initializer, pointwise_regularizer, pointwise_constraint
        )

    def infer_shape(self, input_shape: Shape) -> Shape:
        return self._outputs(self._window(input_shape, self.filters))

    def ops(self, input_shape: Shape) -> list[Op]:
        depthwise = self._window(input_shape, input_shape[-1] * self.depth_multiplier)
        _, _, _, h, w, c, *_ = depthwise
        pointwise = type(depthwise)(h, w, c, h, w, self.filters, 1, 1)
        last = Op("convolution", settings=pointwise, weights=("pointwise_kernel", "bias"))
        return [
            Op(
                "depthwise",
                settings=depthwise,
                weights=("depthwise_kernel",),
                shape=self._outputs(depthwise),
            ),
            *self._activated(input_shape, last),
        ]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        channels = input_shape[-1]
        depthwise = (*self._kernel, channels, self.depth_multiplier)
        pointwise = (*[1] * self.rank, channels * self.depth_multiplier, self.filters)
        return [
            self._weight("depthwise_kernel", depthwise, "depthwise"),
            self._weight("pointwise_kernel", pointwise, "pointwise"),
            *self._bias(self.filters),
        ]

    @property
    def depthwise_kernel(self) -> Variable:
        """The kernel (*kernel_size, channels, depth_multiplier), a view of the model's weights."""
        return self._variable("depthwise_kernel")

    @property
    def pointwise_kernel(self) -> Variable:
        """The kernel (1, 1, channels·depth_multiplier, filters), a view of the model's weights."""
        return self._variable("pointwise_kernel")


class SeparableConv1D(SeparableConv2D):
    """`SeparableConv2D` over sequences (steps, channels).

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int
        Length of the depthwise window.
    strides : int, default 1
        Step between windows.
    padding : {"valid", "same"}, default "valid"
        As in `Conv2D`.
    data_format, dilation_rate, depth_multiplier, activation, use_bias
        As in `SeparableConv2D`.
    depthwise_initializer, pointwise_initializer, bias_initializer
        As in `SeparableConv2D`.
    depthwise_regularizer, pointwise_regularizer, bias_regularizer
        As in `SeparableConv2D`.
    depthwise_constraint, pointwise_constraint, bias_constraint
        As in `SeparableConv2D`.
    **options
        See `Layer`.

    Examples
    --------
    >>> SeparableConv1D(16, 3).infer_shape((8, 3))
    (6, 16)
    """

    rank = 1


# Alternative names in Keras.
Convolution1D, Convolution2D = Conv1D, Conv2D
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D

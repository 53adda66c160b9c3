"""The transposed convolutions."""

from __future__ import annotations

import math
from typing import Unpack

from nnfast import activations, constraints, initializers, regularizers
from nnfast._plan.spec import Op, Weight, Window
from nnfast._utils.checks import Shape, integer
from nnfast._utils.variable import Variable
from nnfast.layers.convolution import Convolution
from nnfast.layers.layer import LayerOptions
from nnfast.layers.window import LARGEST_IMAGE, Sizes, sizes

__all__ = [
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Convolution1DTranspose",
    "Convolution2DTranspose",
]


def transposed_span(
    size: int, kernel: int, stride: int, rate: int, padding: str, extra: int | None
) -> tuple[int, int, int]:
    """Return (number of outputs, number removed before them, number before padding) on one axis.

    `extra` is the output padding. Output o before padding is the sum over the inputs i and the
    elements k of the window with i·stride + k·rate = o.

    Examples
    --------
    >>> transposed_span(7, 5, 2, 1, "same", None), transposed_span(7, 5, 2, 1, "valid", None)
    ((14, 1, 17), (17, 0, 17))
    >>> transposed_span(7, 3, 2, 1, "same", 1), transposed_span(7, 2, 3, 1, "valid", None)
    ((14, 0, 15), (21, 0, 20))
    """
    reach = (kernel - 1) * rate + 1
    full = (size - 1) * stride + reach
    if padding == "valid":
        return full + (max(0, stride - reach) if extra is None else extra), 0, full
    kept = stride if extra is None else reach % 2 + extra  # outputs for the last input
    return (size - 1) * stride + kept, max(0, (reach - kept) // 2), full


class _Transposed(Convolution):
    """Base class of `Conv1DTranspose` and `Conv2DTranspose`."""

    kernel_initializer: initializers.Initializer
    kernel_regularizer: regularizers.L1L2 | None
    kernel_constraint: constraints.Constraint | None

    _fields = (
        *("filters", "kernel_size", "strides", "padding", "output_padding", "data_format"),
        *("dilation_rate", "activation", "use_bias", "kernel_initializer", "bias_initializer"),
        *("kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint"),
    )

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        output_padding: Sizes | None = None,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
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
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self.output_padding = self._output_padding(output_padding)
        self._set_outputs(activation, use_bias, bias_initializer, bias_regularizer, bias_constraint)
        self._configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def _output_padding(self, value: Sizes | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        padding = sizes("output_padding", value, self.rank, minimum=0)
        if any(p >= stride for p, stride in zip(padding, self.strides, strict=True)):
            raise ValueError(
                "output_padding must be less than strides on each axis; received output_padding="
                f"{padding} and strides={self.strides}"
            )
        return padding

    def _transposed_window(self, input_shape: Shape) -> Window:
        """Return the window of the convolution from the outputs to the inputs."""
        self._check_images(input_shape)
        extra = self.output_padding or (None,) * self.rank
        axes = zip(input_shape, self._kernel, self.strides, self.dilation_rate, strict=False)
        spans = [
            transposed_span(*axis, self.padding, more)
            for axis, more in zip(axes, extra, strict=True)
        ]
        out, before, full = zip(*spans, strict=True)
        if min(out) < 1:
            raise ValueError(
                f"{self._label()} computes samples of shape {(*out, self.filters)} from samples "
                f"of shape {input_shape}: use a larger output_padding or kernel_size"
            )
        padded = [max(b + n, f) for b, n, f in zip(before, out, full, strict=True)]
        if max(math.prod(padded) * self.filters, math.prod(input_shape)) > LARGEST_IMAGE:
            raise ValueError(
                f"{self._label()} computes samples of shape {(*out, self.filters)}, with padding "
                f"{(*padded, self.filters)}, from samples of shape {input_shape}; a sample may "
                f"have at most {LARGEST_IMAGE} elements"
            )
        return Window(
            *self._two(out),
            self.filters,
            *self._two(input_shape[:-1]),
            input_shape[-1],
            *self._two(self._kernel),
            *self._two(self.strides),
            *self._two(self.dilation_rate),
            *self._two(before, missing=0),
        )

    def infer_shape(self, input_shape: Shape) -> Shape:
        win = self._transposed_window(input_shape)
        return (win.h, win.w, win.c)[2 - self.rank :]

    def ops(self, input_shape: Shape) -> list[Op]:
        win = self._transposed_window(input_shape)
        return self._activated(input_shape, Op("transposed_convolution", settings=win))

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        shape = (*self._kernel, self.filters, input_shape[-1])
        return [self._weight("kernel", shape), *self._bias(self.filters)]

    @property
    def kernel(self) -> Variable:
        """The kernel (*kernel_size, filters, channels), a view of the model's weights."""
        return self._variable("kernel")


class Conv2DTranspose(_Transposed):
    """A 2-D transposed convolution, for images x of shape (height, width, channels).

    Each pixel of x adds its products with the kernel to a window of the output:
    z[i·s + k·d − p] += Σ_c w[k, :, c]·x[i, c] for each pixel i and each position k in the window,
    with strides s, dilation d and removed border p. The output is activation(z + b).

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int or tuple of int
        Height and width of the window.
    strides : int or tuple of int, default 1
        Distance between the windows of adjacent pixels.
    padding : {"valid", "same"}, default "valid"
        "valid" keeps all outputs, (size − 1)·strides + kernel_size on each axis, or size·strides if
        the strides are larger than the window. "same" keeps size·strides of them.
    output_padding : int or tuple of int, default None
        Changes the size of the output: "valid" adds this number of outputs, and "same" keeps
        (size − 1)·strides + kernel_size mod 2 + output_padding of them. It is less than `strides`.
    data_format : {None, "channels_last"}
        Only this layout is supported.
    dilation_rate : int or tuple of int, default 1
        Distance between the elements of the window; cannot be combined with strides.
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
    >>> Conv2DTranspose(32, 5, strides=2, padding="same").infer_shape((7, 7, 64))
    (14, 14, 32)
    >>> Conv2DTranspose(8, 3, strides=2).infer_shape((7, 7, 1))
    (15, 15, 8)
    """


class Conv1DTranspose(_Transposed):
    """A 1-D transposed convolution, for sequences x of shape (steps, channels).

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int
        Length of the window.
    strides : int, default 1
        Distance between the windows of adjacent steps.
    padding, output_padding, data_format, dilation_rate, activation, use_bias
        As in `Conv2DTranspose`.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer
        As in `Conv2DTranspose`.
    kernel_constraint, bias_constraint
        As in `Conv2DTranspose`.
    **options
        See `Layer`.

    Examples
    --------
    >>> Conv1DTranspose(8, 4, strides=2).infer_shape((10, 3))
    (22, 8)
    """

    rank = 1


# Alternative names in Keras.
Convolution1DTranspose, Convolution2DTranspose = Conv1DTranspose, Conv2DTranspose

"""Dense layers, activations, and the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from nnfast import activations, constraints, initializers, regularizers
from nnfast._plan.spec import Op, Weight
from nnfast._plan.symbolic import KerasTensor, Node, TensorSpec
from nnfast._utils.checks import Shape, entries, flag, integer, optional_integer
from nnfast._utils.config import DTYPES, INTEGERS, TEXT, default_dtype
from nnfast._utils.variable import Variable
from nnfast.layers.activation import activation_ops
from nnfast.layers.layer import Layer, LayerOptions, register

__all__ = [
    "Activation",
    "Dense",
    "Identity",
    "Input",
    "InputLayer",
]


class InputLayer(Layer):
    """The layer of a model's input; the ``layers`` of a `Sequential` do not list it.

    Parameters
    ----------
    shape : tuple of (int or None)
        Shape of one sample, without the batch axis. None is a size that may vary from batch to
        batch, such as the length of sequences.
    batch_size : int, optional
        The first entry of the model's `input_shape` and `output_shape`, None by default. Batches
        may have any size.
    dtype : str, optional
        The dtype of the data, which may be an integer or boolean one, or "string" for text. A
        floating-point dtype must be the model's.
    batch_shape : tuple of (int or None)
        Short for `batch_size` and `shape`.
    name : str, optional
        As in `Layer`.
    input_shape : tuple of int
        Alias of `shape`; exactly one of `shape`, `batch_shape` and `input_shape` must be given.

    Raises
    ------
    TypeError, ValueError
        If none or several of the shapes are given, or if the shape is not a non-empty tuple of
        integers and None.
    """

    _dtypes = (*DTYPES, *INTEGERS, TEXT)

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        *,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
    ) -> None:
        given = [s for s in (shape, batch_shape, input_shape) if s is not None]
        if len(given) != 1 or (batch_shape is not None and batch_size is not None):
            raise ValueError(
                "Give the shape of one sample as shape=, for example shape=(784,); received "
                f"shape={shape!r}, batch_size={batch_size!r}, batch_shape={batch_shape!r} and "
                f"input_shape={input_shape!r}"
            )
        sample_shape: Any = given[0]
        if batch_shape is not None:
            batch_size, *sample_shape = entries("batch_shape", batch_shape) or (None,)
        super().__init__(input_shape=sample_shape, name=name, dtype=dtype)
        self.batch_size = optional_integer("batch_size", batch_size)

    def tensor(self, dtype: str | None = None) -> KerasTensor:
        """Return the symbolic input, whose dtype is by default that of the layer."""
        node = self._first_call()
        dtype = self.dtype or dtype or default_dtype()
        if node is None or node.outputs[0].dtype != dtype:
            batch_shape = (self.batch_size, *(self.feature_shape or ()))
            node = Node(self, (), [TensorSpec(batch_shape, dtype, self.name)])
            register([node])
        return node.outputs[0]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> InputLayer:
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("trainable", None)  # it is set with that of the model, without effect
        return config if self.batch_size is None else config | {"batch_size": self.batch_size}


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> KerasTensor:
    """Return the symbolic input of a model; a `Sequential` that starts with one is built at once.

    Parameters
    ----------
    shape, batch_size, dtype, batch_shape, name
        As in `InputLayer`.

    Raises
    ------
    TypeError, ValueError
        If `shape` is not a non-empty tuple of integers and None.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.Sequential([Input((4,)), nnfast.layers.Dense(3)]).count_params()
    15
    >>> x = Input((4,))
    >>> nnfast.Model(x, nnfast.layers.Dense(3)(x)).count_params()
    15

    Sequences of any length, each with 8 features per step:

    >>> nnfast.layers.LSTM(3, return_sequences=True)(Input((None, 8))).shape
    (None, None, 3)
    """
    return InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name).tensor()


class Dense(Layer):
    """A fully connected layer: y = activation(x·w + b).

    The kernel w has shape (n_in, units), and the bias b has shape (units,). Samples may have any
    number of axes: as in Keras, x has shape (n, ..., n_in) and y has shape (n, ..., units).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or activation, default None
        A function of `nnfast.activations` or its name; None means linear.
    use_bias : bool, default True
        Whether b is added.
    kernel_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    kernel_regularizer, bias_regularizer : str, Regularizer or None, default None
        Penalties from `nnfast.regularizers` that are added to the loss.
    kernel_constraint, bias_constraint : str, Constraint or None, default None
        Constraints from `nnfast.constraints` that are applied after each step.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> Dense(64, activation="relu").infer_shape((10,))
    (64,)
    >>> Dense(64, activation="softmax").infer_shape((5, 10))
    (5, 64)
    """

    passes_mask = True

    kernel_initializer: initializers.Initializer
    kernel_regularizer: regularizers.L1L2 | None
    kernel_constraint: constraints.Constraint | None
    bias_initializer: initializers.Initializer
    bias_regularizer: regularizers.L1L2 | None
    bias_constraint: constraints.Constraint | None

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
        self._configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)

    def infer_shape(self, input_shape: Shape) -> Shape:
        _check_axes(self, input_shape)
        return (*input_shape[:-1], self.units)

    def ops(self, input_shape: Shape) -> list[Op]:
        if self.activation.is_general_relu:
            dense = Op("dense", shape=self.infer_shape(input_shape))
            return [dense, *activation_ops(self.activation)]
        return [Op("dense", self.activation.name, self.activation.alpha)]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        kernel = self._weight("kernel", (input_shape[-1], self.units))
        return [kernel, self._weight("bias", (self.units,))] if self.use_bias else [kernel]

    @property
    def kernel(self) -> Variable:
        """The kernel, of shape (n_in, units): a view of the built model's weights."""
        return self._variable("kernel")

    @property
    def bias(self) -> Variable | None:
        """The bias, of shape (units,): a view of the built model's weights; None without bias."""
        return self._variable("bias") if self.use_bias else None


class Activation(Layer):
    """Apply an activation function.

    Softmax is computed over the last axis. Directly after a linear `Dense`, convolution or
    normalization, an activation is fused into that layer if both compute the same rows.

    Parameters
    ----------
    activation : str or activation
        A function of `nnfast.activations` or its name.
    **options
        See `Layer`.

    Examples
    --------
    >>> Activation("softmax", name="probabilities")
    Activation(name='probabilities', activation='softmax')
    """

    passes_mask = True
    _fields = ("activation",)

    def __init__(
        self, activation: str | activations.Activation, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.activation = activations.resolve(activation)

    def infer_shape(self, input_shape: Shape) -> Shape:
        if not self.activation.elementwise:
            _check_axes(self, input_shape)
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        return activation_ops(self.activation)


class Identity(Layer):
    """Return the inputs unchanged.

    Parameters
    ----------
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.Sequential([Identity(input_dim=2)]).predict([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    passes_mask = True


def _check_axes(layer: Layer, input_shape: Shape) -> None:
    """Raise a ValueError if samples are numbers, which have no last axis."""
    if not input_shape:
        raise ValueError(
            f"{type(layer).__name__} layer {layer.name!r} expects samples with at least one axis; "
            f"received shape {input_shape}"
        )

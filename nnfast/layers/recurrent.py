"""Recurrent layers: a cell that goes through the steps of a sequence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from nnfast import activations, constraints, initializers, regularizers
from nnfast._engine import ACTIVATIONS, CELLS, NEEDS_PREACTIVATION
from nnfast._plan.layouts import LINE
from nnfast._plan.spec import Op, Recurrence, Weight
from nnfast._plan.storage import stride
from nnfast._plan.symbolic import KerasTensor
from nnfast._utils.checks import Shape, flag, integer
from nnfast._utils.variable import Variable
from nnfast.layers.layer import Layer, LayerOptions

__all__ = ["GRU", "LSTM", "SimpleRNN"]


def _cell_activation(
    name: str, value: str | activations.Activation | None
) -> activations.Activation:
    """Return an elementwise activation."""
    activation = activations.resolve(value)
    if not activation.elementwise or activation.is_general_relu:
        raise ValueError(
            f"{name} of a recurrent layer must be an elementwise activation, such as 'tanh', "
            f"'sigmoid' or 'relu' without a limit or threshold; received {value!r}"
        )
    return activation


# Keras' arguments that are not supported yet, and the values that they must have.
_ONLY: dict[str, object] = {
    "dropout": 0,
    "recurrent_dropout": 0,
    "return_state": False,
    "stateful": False,
    "zero_output_for_mask": False,
}
# Keras' arguments that change nothing here: an implementation, and the seed of a dropout.
_WITHOUT_EFFECT = ("implementation", "seed", "use_cudnn")


class _Recurrent(Layer):
    """Base class of the recurrent layers.

    Subclasses set `_n_gates`, the number of matrices (features, units) within the kernel, and
    `_n_kept`, the number of vectors that the engine keeps in each step as gates.
    """

    _n_gates: ClassVar[int]
    _n_kept: ClassVar[int] = 4
    _fields: ClassVar[tuple[str, ...]] = (
        *("return_sequences", "go_backwards", "unroll", "units", "activation", "use_bias"),
        *("kernel_initializer", "recurrent_initializer", "bias_initializer"),
        *("kernel_regularizer", "recurrent_regularizer", "bias_regularizer"),
        *("kernel_constraint", "recurrent_constraint", "bias_constraint"),
    )

    kernel_initializer: initializers.Initializer
    kernel_regularizer: regularizers.L1L2 | None
    kernel_constraint: constraints.Constraint | None
    recurrent_initializer: initializers.Initializer
    recurrent_regularizer: regularizers.L1L2 | None
    recurrent_constraint: constraints.Constraint | None
    bias_initializer: initializers.Initializer
    bias_regularizer: regularizers.L1L2 | None
    bias_constraint: constraints.Constraint | None

    def __init__(self, **options: Any) -> None:
        for name, only in _ONLY.items():
            value = options.pop(name, only)
            if isinstance(value, np.ndarray) or value != only:
                raise ValueError(
                    f"{name} of {type(self).__name__} layers is not supported yet and must be "
                    f"{only}; received {value!r}"
                )
        for name in _WITHOUT_EFFECT:
            options.pop(name, None)
        super().__init__(**options)

    def __call__(
        self,
        x: Any,
        initial_state: None = None,
        mask: None = None,
        *,
        training: bool | None = None,
    ) -> KerasTensor:
        """Return the symbolic output for a symbolic input; see `Layer`.

        Parameters
        ----------
        x : KerasTensor
        initial_state, mask : None
            Keras' arguments, which are not supported yet.
        training : bool, optional
            See `Layer`.
        """
        for name, value in (("initial_state", initial_state), ("mask", mask)):
            if value is not None:
                raise ValueError(
                    f"{name} of {type(self).__name__} layers is not supported yet and must be "
                    f"None; layer {self.name!r} received {value!r}"
                )
        return super().__call__(x, training=training)

    def _configure_steps(self, return_sequences: bool, go_backwards: bool, unroll: bool) -> None:
        self.return_sequences = flag("return_sequences", return_sequences)
        self.go_backwards = flag("go_backwards", go_backwards)
        self.unroll = flag("unroll", unroll)

    def _configure_cell(
        self,
        units: int,
        activation: str | activations.Activation | None,
        recurrent_activation: str | activations.Activation | None,
        use_bias: bool,
    ) -> None:
        self.units = integer("units", units, minimum=1)
        self.activation = _cell_activation("activation", activation)
        self.recurrent_activation = _cell_activation("recurrent_activation", recurrent_activation)
        self.use_bias = flag("use_bias", use_bias)

    @property
    def _cell(self) -> int:
        """The number of the cell in the engine."""
        raise NotImplementedError

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 2 or input_shape[0] == 0:
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} expects sequences of shape "
                f"(steps, features) with at least one step; received shape {input_shape}"
            )
        return (input_shape[0], self.units) if self.return_sequences else (self.units,)

    def ops(self, input_shape: Shape) -> list[Op]:
        steps, features = input_shape
        ld_units = LINE * -(-self.units // LINE)
        names = {self.activation.name, self.recurrent_activation.name}
        keeps_z = not names.isdisjoint(NEEDS_PREACTIVATION)
        return [
            Op(
                "recurrent",
                settings=Recurrence(
                    self._cell,
                    steps,
                    features,
                    self.units,
                    ACTIVATIONS[self.activation.name],
                    ACTIVATIONS[self.recurrent_activation.name],
                    self.activation.alpha,
                    self.recurrent_activation.alpha,
                    keeps_z,
                    self.return_sequences,
                    self.go_backwards,
                    ld_inputs=stride(max(ld_units, self.units + LINE * -(-features // LINE))),
                    ld_gates=stride((1 + keeps_z) * self._n_kept * ld_units),
                    ld_units=ld_units,
                ),
            )
        ]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        columns = self._n_gates * self.units
        kernel = self._weight("kernel", (input_shape[-1], columns))
        recurrent = self._weight("recurrent_kernel", (self.units, columns), "recurrent")
        bias = self._weight("bias", self._bias_shape)
        return [kernel, recurrent, bias][: 3 if self.use_bias else 2]

    @property
    def _bias_shape(self) -> Shape:
        return (self._n_gates * self.units,)

    @property
    def kernel(self) -> Variable:
        """The kernel for x, a view of the built model's weights."""
        return self._variable("kernel")

    @property
    def recurrent_kernel(self) -> Variable:
        """The kernel for the outputs of the step before, a view of the built model's weights."""
        return self._variable("recurrent_kernel")

    @property
    def bias(self) -> Variable | None:
        """The bias, a view of the built model's weights; None without bias."""
        return self._variable("bias") if self.use_bias else None


class GRU(_Recurrent):
    """A gated recurrent unit (Cho et al., 2014).

    In each step, with gates z and r and the output h, which is 0 at first::

        z = σ(x·k_z + h·r_z + b_z)
        r = σ(x·k_r + h·r_r + b_r)
        h ← z·h + (1 − z)·tanh(x·k_h + b_h + r·(h·r_h + c_h))

    With ``reset_after=False``, the last argument is x·k_h + (r·h)·r_h + b_h. `activation` takes the
    place of tanh, and `recurrent_activation` that of the sigmoid σ. Inputs have shape (n, steps,
    features). The kernel k has shape (features, 3·units), with the columns of z, r and h in this
    order, and the recurrent kernel has shape (units, 3·units). The bias has shape (2, 3·units): one
    row is added to x·k and the other to h·r. With ``reset_after=False``, its shape is (3·units,).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str, activation or None, default "tanh"
        An elementwise activation of `nnfast.activations` or its name; None means linear.
    recurrent_activation : str, activation or None, default "sigmoid"
        The same for the gates z and r.
    use_bias : bool, default True
        Whether b is added.
    kernel_initializer : str or Initializer, default "glorot_uniform"
    recurrent_initializer : str or Initializer, default "orthogonal"
    bias_initializer : str or Initializer, default "zeros"
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str, Regularizer or None
        Penalties from `nnfast.regularizers` that are added to the loss; None by default.
    kernel_constraint, recurrent_constraint, bias_constraint : str, Constraint or None
        Constraints from `nnfast.constraints` that are applied after each step; None by default.
    return_sequences : bool, default False
        Whether the output consists of h after every step, with shape (n, steps, units), or of the
        last h, with shape (n, units).
    go_backwards : bool, default False
        Whether the last step of x comes first. The outputs are in the order of computation.
    unroll : bool, default False
        Accepted for compatibility with Keras; it changes nothing.
    reset_after : bool, default True
        Whether the gate r is applied after the product of h and the recurrent kernel.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.Input((10, 8)), GRU(32), nnfast.layers.Dense(1)])
    >>> model.output_shape, model.count_params()
    ((None, 1), 4065)
    """

    _n_gates = 3
    _fields = (*_Recurrent._fields, "recurrent_activation", "reset_after")

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        recurrent_activation: str | activations.Activation | None = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.L1L2 | None = None,
        recurrent_regularizer: str | regularizers.L1L2 | None = None,
        bias_regularizer: str | regularizers.L1L2 | None = None,
        *,
        kernel_constraint: str | constraints.Constraint | None = None,
        recurrent_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        return_sequences: bool = False,
        go_backwards: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._configure_cell(units, activation, recurrent_activation, use_bias)
        self._configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._configure_weight(
            "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint
        )
        self._configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self._configure_steps(return_sequences, go_backwards, unroll)
        self.reset_after = flag("reset_after", reset_after)

    @property
    def _cell(self) -> int:
        return CELLS["gru" if self.reset_after else "gru_reset_before"]

    @property
    def _bias_shape(self) -> Shape:
        shape = super()._bias_shape
        return (2, *shape) if self.reset_after else shape


@dataclass(frozen=True)
class _UnitForgetBias(initializers.Initializer):
    """The initial bias of an LSTM: 1 for the forget gate, the second of four parts."""

    others: initializers.Initializer

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        units = shape[0] // 4
        parts = self.others.draw((units,), rng), np.ones(units), self.others.draw((2 * units,), rng)
        return np.concatenate(parts)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; Gers et al., 2000).

    In each step, with gates i, f, o, the state c and the output h, which are 0 at first::

        i = σ(x·kᵢ + h·rᵢ + bᵢ)
        f = σ(x·k_f + h·r_f + b_f)
        c ← f·c + i·tanh(x·k_c + h·r_c + b_c)
        h ← σ(x·kₒ + h·rₒ + bₒ)·tanh(c)

    `activation` takes the place of tanh, and `recurrent_activation` that of the sigmoid σ. Inputs
    have shape (n, steps, features). The kernel k has shape (features, 4·units), with the columns of
    i, f, c and o in this order, the recurrent kernel r has shape (units, 4·units), and b has shape
    (4·units,).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str, activation or None, default "tanh"
        An elementwise activation of `nnfast.activations` or its name; None means linear.
    recurrent_activation : str, activation or None, default "sigmoid"
        The same for the gates i, f and o.
    use_bias : bool, default True
        Whether b is added.
    kernel_initializer : str or Initializer, default "glorot_uniform"
    recurrent_initializer : str or Initializer, default "orthogonal"
    bias_initializer : str or Initializer, default "zeros"
    unit_forget_bias : bool, default True
        Whether the bias of the gate f is 1 at first, whatever `bias_initializer` is.
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str, Regularizer or None
        Penalties from `nnfast.regularizers` that are added to the loss; None by default.
    kernel_constraint, recurrent_constraint, bias_constraint : str, Constraint or None
        Constraints from `nnfast.constraints` that are applied after each step; None by default.
    return_sequences : bool, default False
        Whether the output consists of h after every step, with shape (n, steps, units), or of the
        last h, with shape (n, units).
    go_backwards : bool, default False
        Whether the last step of x comes first. The outputs are in the order of computation.
    unroll : bool, default False
        Accepted for compatibility with Keras; it changes nothing.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> LSTM(32).infer_shape((10, 8)), LSTM(32, return_sequences=True).infer_shape((10, 8))
    ((32,), (10, 32))
    >>> model = nnfast.Sequential([nnfast.Input((10, 8)), LSTM(32), nnfast.layers.Dense(1)])
    >>> model.count_params()
    5281
    """

    _n_gates = 4
    _fields = (*_Recurrent._fields, "recurrent_activation", "unit_forget_bias")

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        recurrent_activation: str | activations.Activation | None = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: str | regularizers.L1L2 | None = None,
        recurrent_regularizer: str | regularizers.L1L2 | None = None,
        bias_regularizer: str | regularizers.L1L2 | None = None,
        *,
        kernel_constraint: str | constraints.Constraint | None = None,
        recurrent_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        return_sequences: bool = False,
        go_backwards: bool = False,
        unroll: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._configure_cell(units, activation, recurrent_activation, use_bias)
        self._configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._configure_weight(
            "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint
        )
        self._configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self._configure_steps(return_sequences, go_backwards, unroll)
        self.unit_forget_bias = flag("unit_forget_bias", unit_forget_bias)

    @property
    def _cell(self) -> int:
        return CELLS["lstm"]

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        specs = super().weight_specs(input_shape)
        if self.use_bias and self.unit_forget_bias:
            specs[2] = replace(specs[2], initializer=_UnitForgetBias(self.bias_initializer))
        return specs


class SimpleRNN(_Recurrent):
    """A simple recurrent layer (Elman, 1990): in each step, h ← activation(x·k + h·r + b).

    h is 0 at first. Inputs have shape (n, steps, features). The kernel k has shape (features,
    units), the recurrent kernel r has shape (units, units), and b has shape (units,).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str, activation or None, default "tanh"
        An elementwise activation of `nnfast.activations` or its name; None means linear.
    use_bias : bool, default True
        Whether b is added.
    kernel_initializer : str or Initializer, default "glorot_uniform"
    recurrent_initializer : str or Initializer, default "orthogonal"
    bias_initializer : str or Initializer, default "zeros"
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str, Regularizer or None
        Penalties from `nnfast.regularizers` that are added to the loss; None by default.
    kernel_constraint, recurrent_constraint, bias_constraint : str, Constraint or None
        Constraints from `nnfast.constraints` that are applied after each step; None by default.
    return_sequences : bool, default False
        Whether the output consists of h after every step, with shape (n, steps, units), or of the
        last h, with shape (n, units).
    go_backwards : bool, default False
        Whether the last step of x comes first. The outputs are in the order of computation.
    unroll : bool, default False
        Accepted for compatibility with Keras; it changes nothing.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import nnfast
    >>> model = nnfast.Sequential([nnfast.Input((10, 8)), SimpleRNN(16), nnfast.layers.Dense(1)])
    >>> model.output_shape, model.count_params()
    ((None, 1), 417)
    """

    _n_gates = _n_kept = 1

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.L1L2 | None = None,
        recurrent_regularizer: str | regularizers.L1L2 | None = None,
        bias_regularizer: str | regularizers.L1L2 | None = None,
        *,
        kernel_constraint: str | constraints.Constraint | None = None,
        recurrent_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        return_sequences: bool = False,
        go_backwards: bool = False,
        unroll: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._configure_cell(units, activation, None, use_bias)
        self._configure_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._configure_weight(
            "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint
        )
        self._configure_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self._configure_steps(return_sequences, go_backwards, unroll)

    @property
    def _cell(self) -> int:
        return CELLS["simple"]

"""Recurrent layers: a cell that goes through the steps of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Unpack

import numpy as np

from nnfast import activations, initializers
from nnfast._engine import ACTIVATIONS, NEEDS_PREACTIVATION
from nnfast._plan.layouts import LINE
from nnfast._plan.spec import BlockSettings, Masking, Op, Recurrence, Weight
from nnfast._plan.storage import stride
from nnfast._plan.symbolic import KerasTensor, Node, leaves
from nnfast._utils.checks import Shape, flag
from nnfast._utils.variable import Variable
from nnfast.layers.cells import OPTIONS, Cell, CellOptions, GRUCell, LSTMCell, SimpleRNNCell
from nnfast.layers.layer import Layer, LayerOptions, symbolic_leaves
from nnfast.layers.merged_ops import concatenate_ops

__all__ = ["GRU", "LSTM", "SimpleRNN"]

# Keras' arguments that choose an implementation.
_WITHOUT_EFFECT = ("implementation", "use_cudnn")
FLAGS = (
    *("return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
    "zero_output_for_mask",
)


class RecurrentOptions(CellOptions, LayerOptions, total=False):
    """Keyword arguments that every recurrent layer accepts; see `Recurrent`."""

    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    unroll: bool
    zero_output_for_mask: bool
    implementation: int
    use_cudnn: bool | str


class SequenceLayer(Layer):
    """Base class of the layers that are called with a sequence and initial states."""

    stateful: bool

    @property
    def n_states(self) -> int:
        """The number of states."""
        raise NotImplementedError

    def __call__(
        self,
        x: Any,
        initial_state: Any = None,
        mask: None = None,
        *,
        training: bool | None = None,
    ) -> Any:
        """Return the symbolic output for a symbolic input; see `Layer`.

        Parameters
        ----------
        x : KerasTensor
        initial_state : KerasTensor or list of KerasTensor, optional
            The states before the first step, of shape (n, units): h and, for an LSTM, c. Zeros by
            default.
        mask : None
            Keras' argument, which is not supported: the mask is that of `x`.
        training : bool, optional
            See `Layer`.

        Returns
        -------
        KerasTensor, or a tuple of them if `return_state` is set
        """
        if mask is not None:
            raise ValueError(
                f"mask must be None, because layer {self.name!r} uses the mask that `Masking` or "
                f"`Embedding` have made for its input; received {mask!r}"
            )
        given = [] if initial_state is None else leaves(initial_state)
        return self._called_on([*leaves(x), *given], training)

    def _inputs(self, x: Any) -> list[KerasTensor]:
        inputs = symbolic_leaves(f"Layer {self.name!r}", x)
        if len(inputs) not in ((1,) if self.stateful else (1, 1 + self.n_states)):
            kind = "no initial_state" if self.stateful else f"{self.n_states} initial states"
            raise ValueError(
                f"Layer {self.name!r} takes an input and {kind}; received {len(inputs)} tensors"
            )
        return inputs


class Recurrent(SequenceLayer):
    """Base class of the recurrent layers.

    The first output is h after every step or h after the last one. If the input has a mask (see
    `Masking`), masked steps leave the states as they are, and their output is that of the step
    before.

    Parameters
    ----------
    cell : Cell
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str, Regularizer or None
        Penalties from `nnfast.regularizers` that are added to the loss; None by default.
    kernel_constraint, recurrent_constraint, bias_constraint : str, Constraint or None
        Constraints from `nnfast.constraints` that are applied after each step; None by default.
    dropout : float, default 0.0
        In training, the fraction of the features of x that are dropped; the others are divided by
        1 − dropout. All steps of a sequence drop the same features (Gal and Ghahramani, 2016), and
        so do all gates, unless there is recurrent dropout.
    recurrent_dropout : float, default 0.0
        The same for the elements of h that enter the product with the recurrent kernel. As in
        Keras, each gate then has its own masks of h and of x.
    seed : int, optional
        Makes the dropout independent of the model's seed.
    return_sequences : bool, default False
        Whether the output consists of h after every step, with shape (n, steps, units), or of the
        last h, with shape (n, units).
    return_state : bool, default False
        Whether the final states follow as further outputs: h and, for an LSTM, c.
    go_backwards : bool, default False
        Whether the last step of x comes first. The outputs are in the order of computation.
    stateful : bool, default False
        Whether row r of a batch begins with the states with which row r of the batch before ended,
        in training and in predictions. The batch size must then be fixed: pass ``batch_size`` to
        `Input`. `reset_state` sets the states to zero.
    unroll : bool, default False
        Accepted for compatibility with Keras, as `implementation` and `use_cudnn` are; it changes
        nothing.
    zero_output_for_mask : bool, default False
        Whether the output of masked steps is zero.
    **options
        See `Layer`.
    """

    _cell_class: ClassVar[type[Cell]]
    _fields: ClassVar[tuple[str, ...]] = FLAGS
    uses_mask = True

    return_sequences: bool
    return_state: bool
    go_backwards: bool
    unroll: bool
    zero_output_for_mask: bool
    # Whether the last output comes first; a layer that contains this one sets it.
    reverses_outputs = False

    def __init__(self, cell: Cell, **options: Any) -> None:
        for name in _WITHOUT_EFFECT:
            options.pop(name, None)
        for name in FLAGS:
            setattr(self, name, flag(name, options.pop(name, False)))
        super().__init__(**options)
        self.cell = cell
        self._batch_size: int | None = None

    def __getattr__(self, name: str) -> Any:
        cell = vars(self).get("cell")
        if cell is not None and name in cell.fields:
            return getattr(cell, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if "cell" in vars(self) and (name == "cell" or name in self.cell.fields):
            raise AttributeError(
                f"{name} of layer {self.name!r} cannot be changed, because models are compiled "
                f"from the layer: make a new {type(self).__name__} in a new model"
            )
        super().__setattr__(name, value)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self.cell.arguments()

    # ---- calls -----------------------------------------------------------------------------------

    @property
    def n_states(self) -> int:
        return self.cell.n_states

    def connect(self, x: Any, training: bool | None = None) -> Node:
        node = super().connect(x, training)
        if self.stateful:
            self._fix_batch_size(node.inputs[0])
        return node

    def _fix_batch_size(self, x: KerasTensor) -> None:
        size = x.shape[0]
        if size is None:
            raise ValueError(
                f"Layer {self.name!r} is stateful, so the batch size must be fixed: pass it to "
                f"Input as batch_size; received an input of shape {x.shape}"
            )
        if self._batch_size not in (None, size):
            raise ValueError(
                f"Layer {self.name!r} is stateful and has states of {self._batch_size} rows; "
                f"received an input of shape {x.shape}"
            )
        self._batch_size = size

    @property
    def masking(self) -> Masking:
        return Masking.PASSES if self.return_sequences else Masking.ENDS

    # ---- description -----------------------------------------------------------------------------

    def infer_shape(self, input_shape: Shape, *states: Shape) -> Shape:
        if len(input_shape) != 2 or input_shape[0] == 0:
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} expects sequences of shape "
                f"(steps, features) with at least one step; received shape {input_shape}"
            )
        wrong = [shape for shape in states if shape != (self.cell.units,)]
        if wrong:
            raise ValueError(
                f"initial_state of layer {self.name!r} must have samples of shape "
                f"({self.cell.units},); received {wrong[0]}"
            )
        units = self.cell.units
        return (input_shape[0], units) if self.return_sequences else (units,)

    def infer_shapes(self, *input_shapes: Shape) -> list[Shape]:
        states = [(self.cell.units,)] * self.cell.n_states if self.return_state else []
        return [self.infer_shape(*input_shapes), *states]

    @property
    def training_differs(self) -> bool:  # type: ignore[override]
        return self.cell.dropout > 0 or self.cell.recurrent_dropout > 0

    def ops(self, input_shape: Shape, *states: Shape) -> list[Op]:
        return self._ops(input_shape, states, masked=False)

    def masked_ops(self, *shapes: Shape) -> list[Op]:
        input_shape, *states, _ = shapes
        return self._ops(input_shape, states, masked=True)

    def _ops(self, input_shape: Shape, states: Sequence[Shape], masked: bool) -> list[Op]:
        """Return the ops; the initial states and the mask become one tensor."""
        extra = [*states, *[(input_shape[0],)] * masked]
        joined: list[Op] = []
        operands = tuple(range(1 + len(extra)))
        if len(extra) > 1:
            joined = [
                replace(op, operands=(1 + k,), weights=(), shape=(sum(n for (n,) in extra),))
                for k, op in enumerate(concatenate_ops(extra, 0))
            ]
            operands = (0, len(extra) + len(joined))
        whole = Op(
            "recurrent",
            settings=self._settings(input_shape, len(states), masked),
            operands=operands,
        )
        if not self.return_state:
            return [*joined, whole]
        shapes = self.infer_shapes(input_shape, *states)
        sizes = [int(np.prod(shape)) for shape in shapes]
        number = 1 + len(extra) + len(joined)  # of what the op writes
        parts = []
        for k, size in enumerate(sizes):
            blocks = BlockSettings(1, size, sum(sizes[:k]), size, 0, size, covers_x=False)
            parts.append(
                Op("copy_blocks", settings=blocks, operands=(number,), weights=(), output=k)
            )
        return [*joined, replace(whole, shape=(sum(sizes),)), *parts]

    def _settings(self, input_shape: Shape, n_initial: int, masked: bool) -> Recurrence:
        cell = self.cell
        steps, features = input_shape
        ld_units = LINE * -(-cell.units // LINE)
        names = {cell.activation.name, cell.recurrent_activation.name}
        keeps_z = not names.isdisjoint(NEEDS_PREACTIVATION)
        copies = cell.n_gates if cell.recurrent_dropout > 0 else 1
        return Recurrence(
            cell.number,
            steps,
            features,
            cell.units,
            ACTIVATIONS[cell.activation.name],
            ACTIVATIONS[cell.recurrent_activation.name],
            cell.activation.alpha,
            cell.recurrent_activation.alpha,
            keeps_z,
            self.return_sequences,
            self.go_backwards,
            ld_inputs=copies * stride(max(ld_units, cell.units + LINE * -(-features // LINE))),
            ld_gates=stride((1 + keeps_z) * cell.n_kept * ld_units),
            ld_units=ld_units,
            n_initial=n_initial,
            masked=masked,
            zero_masked=self.zero_output_for_mask,
            returns_states=self.return_state,
            reverses_y=self.reverses_outputs,
            y_stride=cell.units,
            rate=cell.dropout,
            recurrent_rate=cell.recurrent_dropout,
            seeded=cell.seed is not None,
            seed=cell.seed or 0,
        )

    # ---- weights and states ----------------------------------------------------------------------

    def weight_specs(self, input_shape: Shape) -> list[Weight]:
        specs = self.cell.weight_specs(input_shape[-1])
        if self.stateful:
            shape = (self.cell.n_states, self._batch_size or 1, self.cell.units)
            zeros = initializers.resolve("zeros")
            specs.append(Weight("states", shape, zeros, trainable=False, is_state=True))
        return specs

    @property
    def states(self) -> list[np.ndarray] | None:
        """The states of a stateful layer as views: h and, for an LSTM, c; None if it has none."""
        return list(self.named_states["states"]) if self.named_states else None

    def reset_state(self, rows: Any = None) -> None:
        """Set the states of a stateful layer to zero.

        Parameters
        ----------
        rows : int, slice or sequence of int, optional
            The rows of the batch whose states are reset; by default all.
        """
        for state in self.named_states.values():
            state[:, slice(None) if rows is None else rows] = 0

    reset_states = reset_state

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
        return self._variable("bias") if self.cell.use_bias else None


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that are those of a cell, and the others."""
    of_cell = {name: value for name, value in options.items() if name in OPTIONS}
    return of_cell, {name: value for name, value in options.items() if name not in OPTIONS}


class GRU(Recurrent):
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
    reset_after : bool, default True
        Whether the gate r is applied after the product of h and the recurrent kernel.
    **options
        See `Recurrent`.

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

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        recurrent_activation: str | activations.Activation | None = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        reset_after: bool = True,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        of_cell, others = split_options(options)
        cell = GRUCell(
            *(units, activation, recurrent_activation, use_bias),
            *(kernel_initializer, recurrent_initializer, bias_initializer),
            reset_after,
            name="cell",
            **of_cell,
        )
        super().__init__(cell, **others)


class LSTM(Recurrent):
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
    **options
        See `Recurrent`.

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

    An encoder whose states are the initial states of a decoder:

    >>> x, z = nnfast.Input((10, 8)), nnfast.Input((6, 4))
    >>> _, h, c = LSTM(32, return_state=True)(x)
    >>> LSTM(32, return_sequences=True)(z, initial_state=[h, c]).shape
    (None, 6, 32)
    """

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
        **options: Unpack[RecurrentOptions],
    ) -> None:
        of_cell, others = split_options(options)
        cell = LSTMCell(
            *(units, activation, recurrent_activation, use_bias),
            *(kernel_initializer, recurrent_initializer, bias_initializer),
            unit_forget_bias,
            name="cell",
            **of_cell,
        )
        super().__init__(cell, **others)


class SimpleRNN(Recurrent):
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
    **options
        See `Recurrent`.

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

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        **options: Unpack[RecurrentOptions],
    ) -> None:
        of_cell, others = split_options(options)
        cell = SimpleRNNCell(
            *(units, activation, use_bias),
            *(kernel_initializer, recurrent_initializer, bias_initializer),
            name="cell",
            **of_cell,
        )
        super().__init__(cell, **others)

"""RNN: a recurrent layer of given cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, Unpack

from nnfast._plan.symbolic import KerasTensor
from nnfast._utils.checks import flag
from nnfast.layers.cells import Cell, StackedRNNCells, deserialize
from nnfast.layers.layer import LayerOptions
from nnfast.layers.recurrent import FLAGS, Recurrent, SequenceLayer
from nnfast.layers.wrapper import Composite

__all__ = ["RNN"]


class RNN(SequenceLayer, Composite):
    """A recurrent layer of a cell, or of several cells that follow each other in every step.

    Its cells are those of `LSTM`, `GRU` and `SimpleRNN`, whose outputs it has, too. Cells are
    configurations without weights, so layers of the same cell have weights of their own. In masked
    steps, all cells keep their states.

    Parameters
    ----------
    cell : LSTMCell, GRUCell, SimpleRNNCell, StackedRNNCells or a list of cells
    return_sequences : bool, default False
        Whether the output consists of the outputs of the last cell after every step, with shape
        (n, steps, units), or of the last one, with shape (n, units).
    return_state : bool, default False
        Whether the final states follow as further outputs: for each cell h or, for an LSTM, h and
        c; those of several cells are lists. An `initial_state` has the same order.
    go_backwards : bool, default False
        Whether the last step of x comes first. The outputs are in the order of computation.
    stateful : bool, default False
        Whether states are kept from batch to batch: see `LSTM`.
    unroll : bool, default False
        Accepted for compatibility with Keras; it changes nothing.
    zero_output_for_mask : bool, default False
        Whether the output of masked steps is zero; it is that of the step before otherwise.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If `cell` is not one of these cells: the engine cannot run cells written in Python.

    Examples
    --------
    >>> import nnfast
    >>> cells = [nnfast.layers.LSTMCell(8), nnfast.layers.GRUCell(4)]
    >>> RNN(cells, return_sequences=True)(nnfast.Input((5, 3))).shape
    (None, 5, 4)
    """

    _fields: ClassVar[tuple[str, ...]] = FLAGS
    _fixed = (*Composite._fixed, "cell")
    _layer_fields: ClassVar[Mapping[str, str]] = {"cell": "cell"}

    return_sequences: bool
    return_state: bool
    go_backwards: bool
    unroll: bool
    zero_output_for_mask: bool

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        if not isinstance(cell, (Cell, StackedRNNCells)):
            raise ValueError(
                "cell must be an LSTMCell, a GRUCell, a SimpleRNNCell or a list of them, because "
                f"the compiled engine cannot run cells written in Python; received {cell!r}"
            )
        super().__init__(**options)
        self.cell = cell
        values = return_sequences, return_state, go_backwards, stateful, unroll
        for name, value in zip(FLAGS, (*values, zero_output_for_mask), strict=True):
            setattr(self, name, flag(name, value))
        self._layers = [self._layer(inner, inner is self._cells[-1]) for inner in self._cells]
        self._adopt()

    def _layer(self, cell: Cell, last: bool) -> Recurrent:
        """Return the layer of one cell; those before the last give outputs at the steps of x."""
        layer = Recurrent(
            cell,
            name=cell.name,
            return_sequences=self.return_sequences or not last,
            return_state=self.return_state,
            go_backwards=self.go_backwards,
            stateful=self.stateful,
            zero_output_for_mask=self.zero_output_for_mask and last,
        )
        layer.reverses_outputs = self.go_backwards and not last
        return layer

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**{**config, "cell": deserialize(config["cell"])})

    @property
    def _cells(self) -> list[Cell]:
        return self.cell.cells if isinstance(self.cell, StackedRNNCells) else [self.cell]

    @property
    def parts(self) -> list[Any]:
        return list(self._layers)

    @property
    def n_states(self) -> int:
        return sum(cell.n_states for cell in self._cells)

    @property
    def reverses_outputs(self) -> bool:
        """Whether the last output comes first; a layer that contains this one sets it."""
        return self._layers[-1].reverses_outputs

    @reverses_outputs.setter
    def reverses_outputs(self, value: bool) -> None:
        self._layers[-1].reverses_outputs = value

    @property
    def states(self) -> list[Any] | None:
        """The states of a stateful layer as views, cell by cell; None if it has none."""
        states = [layer.states for layer in self._layers]
        return None if None in states else [state for own in states for state in own or ()]

    def __call__(
        self,
        x: Any,
        initial_state: Any = None,
        mask: None = None,
        *,
        training: bool | None = None,
    ) -> Any:
        outputs = super().__call__(x, initial_state, mask, training=training)
        if not self.return_state or len(self._cells) == 1:
            return outputs
        y, *states = outputs
        nested = []
        for cell in self._cells:
            own, states = states[: cell.n_states], states[cell.n_states :]
            nested.append(own if cell.n_states > 1 else own[0])
        return y, *nested

    def _apply(self, inputs: list[KerasTensor]) -> list[KerasTensor]:
        x, *states = inputs
        ends: list[KerasTensor] = []
        for layer in self._layers:
            n = layer.cell.n_states if states else 0
            x, *own = layer.connect([x, *states[:n]]).outputs
            states = states[n:]
            ends += own
        return [x, *ends]

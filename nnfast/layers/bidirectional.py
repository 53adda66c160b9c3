"""Bidirectional: a recurrent layer that goes through sequences in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from nnfast._plan.symbolic import KerasTensor
from nnfast.layers.layer import Layer, LayerOptions
from nnfast.layers.merging import Add, Average, Concatenate, Multiply
from nnfast.layers.recurrent import Recurrent, SequenceLayer
from nnfast.layers.registry import describe, deserialize
from nnfast.layers.rnn import RNN
from nnfast.layers.wrapper import Composite

__all__ = ["Bidirectional"]

MERGES: dict[str, type[Layer]] = {
    "concat": Concatenate,
    "sum": Add,
    "mul": Multiply,
    "ave": Average,
}
_COMMON = ("stateful", "return_sequences", "return_state")


class Bidirectional(SequenceLayer, Composite):
    """Two recurrent layers, one of which goes through the steps backwards (Schuster, 1997).

    The outputs of the layer that goes backwards are in the order of the steps, too. If
    `return_sequences` is set, the outputs of masked steps are zero. With `return_state`, the states
    follow: those of the forward layer, then those of the backward layer; an `initial_state` has
    the same order.

    Parameters
    ----------
    layer : LSTM, GRU, SimpleRNN or RNN
        The layers of both directions are made from its configuration; it is not used itself.
    merge_mode : {"concat", "sum", "mul", "ave"} or None, default "concat"
        How the outputs of both layers become one. With None, they are two outputs.
    weights : None
        Accepted for compatibility with Keras: call `set_weights` instead.
    backward_layer : LSTM, GRU, SimpleRNN or RNN, optional
        The layer that goes backwards is made from its configuration, by default from that of
        `layer`. Exactly one of both must have ``go_backwards=True``.
    **options
        See `Layer`. With ``trainable=False``, both layers are frozen.

    Attributes
    ----------
    forward_layer, backward_layer : Layer

    Raises
    ------
    ValueError
        If a layer is not recurrent, both layers have the same direction, or they differ in
        `stateful`, `return_sequences` or `return_state`.

    Examples
    --------
    >>> import nnfast
    >>> layer = Bidirectional(nnfast.layers.LSTM(8, return_sequences=True))
    >>> layer(nnfast.Input((5, 3))).shape
    (None, 5, 16)
    """

    _fields = ("merge_mode",)
    _fixed = (*Layer._fixed, "forward_layer", "backward_layer")
    _layer_fields: ClassVar[Mapping[str, str]] = {
        "layer": "forward_layer",
        "backward_layer": "backward_layer",
    }
    forward_layer: Any
    backward_layer: Any

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: None = None,
        backward_layer: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        _check_recurrent("layer", layer)
        if backward_layer is not None:
            _check_recurrent("backward_layer", backward_layer)
        if weights is not None:
            raise ValueError(
                "weights must be None: call set_weights after the model is built; received "
                f"{weights!r}"
            )
        if merge_mode is not None and not (isinstance(merge_mode, str) and merge_mode in MERGES):
            raise ValueError(
                f"merge_mode must be one of {[*MERGES, None]}; received {merge_mode!r}"
            )
        super().__init__(**options)
        self.merge_mode = merge_mode
        plain = layer.name.removeprefix("forward_")
        self.forward_layer = _remade(layer, name=f"forward_{plain}")
        if backward_layer is None:
            plain = layer.name.removeprefix("backward_")
            changes = {"name": f"backward_{plain}", "go_backwards": True}
            self.backward_layer = _remade(layer, **changes)
        else:
            self.backward_layer = _remade(backward_layer)
        self._check_layers()
        self.backward_layer.reverses_outputs = True
        if merge_mode is not None:
            self._merge = MERGES[merge_mode](name=self._inner_name("merge"))
        self._adopt()

    def _check_layers(self) -> None:
        """Raise a ValueError if the layers do not belong together."""
        first, second = self.parts
        if first.go_backwards == second.go_backwards:
            raise ValueError(
                "Exactly one of layer and backward_layer must have go_backwards=True; received "
                f"go_backwards={first.go_backwards} for both"
            )
        for name in _COMMON:
            values = getattr(first, name), getattr(second, name)
            if values[0] != values[1]:
                raise ValueError(
                    f"layer and backward_layer must have the same {name}; received {values[0]} "
                    f"and {values[1]}"
                )

    @property
    def parts(self) -> list[Any]:
        return [self.forward_layer, self.backward_layer]

    @property
    def return_sequences(self) -> bool:
        """Whether the outputs are those of all steps."""
        return bool(self.forward_layer.return_sequences)

    @property
    def return_state(self) -> bool:
        """Whether the final states are outputs."""
        return bool(self.forward_layer.return_state)

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """Whether the states are kept from batch to batch."""
        return bool(self.forward_layer.stateful)

    @property
    def n_states(self) -> int:
        return int(self.forward_layer.n_states + self.backward_layer.n_states)

    @property
    def states(self) -> tuple[Any, ...] | None:
        """The states of stateful layers, forward first; None if there are none."""
        states = [part.states for part in self.parts]
        return None if None in states else (*states[0], *states[1])

    def _apply(self, inputs: list[KerasTensor]) -> list[KerasTensor]:
        x, *states = inputs
        half = self.forward_layer.n_states if states else 0
        y, *ends = self.forward_layer.connect([x, *states[:half]]).outputs
        back, *back_ends = self.backward_layer.connect([x, *states[half:]]).outputs
        merged = [y, back]
        if self.merge_mode is not None:
            merged = [*self._merge.connect(merged).outputs]
        return [*merged, *ends, *back_ends]


def _check_recurrent(name: str, layer: object) -> None:
    if not isinstance(layer, (Recurrent, RNN)):
        raise ValueError(
            f"{name} of Bidirectional must be a recurrent layer: an LSTM, GRU, SimpleRNN or RNN; "
            f"received {layer!r}"
        )


def _remade(layer: Any, **changes: Any) -> Any:
    """Return a new layer with the same configuration except for these changes."""
    description = describe(layer)
    # The outputs of masked steps would be those of different steps in both directions.
    changes["zero_output_for_mask"] = layer.return_sequences
    return deserialize({**description, "config": {**description["config"], **changes}})

"""Cells: what a recurrent layer computes in each step, as configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from nnfast import activations, constraints, initializers, regularizers
from nnfast._engine import CELLS
from nnfast._plan.spec import Weight
from nnfast._utils.checks import Shape, flag, integer, real
from nnfast._utils.names import auto_name, check_name
from nnfast._utils.registry import Configured, choose, plain
from nnfast.layers.resampling import check_seed

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"]

WEIGHTS = ("kernel", "recurrent", "bias")


class CellOptions(TypedDict, total=False):
    """Keyword arguments that every cell accepts; see `LSTM`."""

    kernel_regularizer: str | regularizers.L1L2 | None
    recurrent_regularizer: str | regularizers.L1L2 | None
    bias_regularizer: str | regularizers.L1L2 | None
    kernel_constraint: str | constraints.Constraint | None
    recurrent_constraint: str | constraints.Constraint | None
    bias_constraint: str | constraints.Constraint | None
    dropout: float
    recurrent_dropout: float
    seed: int | None
    name: str | None


OPTIONS = tuple(name for name in CellOptions.__annotations__ if name != "name")


class Cell(Configured):
    """Base class of the cells.

    Subclasses set `n_gates`, the number of matrices (features, units) within the kernel; `n_kept`,
    the number of vectors that the engine keeps in each step as gates; and `n_states`.
    """

    n_gates: ClassVar[int]
    n_kept: ClassVar[int] = 4
    n_states: ClassVar[int] = 1
    # The names of the constructor's arguments.
    fields: ClassVar[tuple[str, ...]] = (
        *("units", "activation", "use_bias"),
        *(f"{name}_initializer" for name in WEIGHTS),
        *OPTIONS,
    )

    units: int
    activation: activations.Activation
    recurrent_activation: activations.Activation
    use_bias: bool
    dropout: float
    recurrent_dropout: float
    seed: int | None
    name: str

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None,
        recurrent_activation: str | activations.Activation | None,
        use_bias: bool,
        given: tuple[str | initializers.Initializer, ...],
        name: str | None = None,
        **options: Any,
    ) -> None:
        unknown = set(options).difference(OPTIONS)
        if unknown:
            raise TypeError(f"{type(self).__name__} got an unexpected argument {min(unknown)!r}")
        self._keep(
            units=integer("units", units, minimum=1),
            activation=_elementwise("activation", activation),
            recurrent_activation=_elementwise("recurrent_activation", recurrent_activation),
            use_bias=flag("use_bias", use_bias),
            dropout=_rate("dropout", options.get("dropout", 0.0)),
            recurrent_dropout=_rate("recurrent_dropout", options.get("recurrent_dropout", 0.0)),
            seed=check_seed(options.get("seed")),
            name=auto_name(type(self).__name__) if name is None else check_name(name),
        )
        for weight, initializer in zip(WEIGHTS, given, strict=True):
            self._keep(
                **{
                    f"{weight}_initializer": initializers.resolve(initializer),
                    f"{weight}_regularizer": regularizers.resolve(
                        options.get(f"{weight}_regularizer")
                    ),
                    f"{weight}_constraint": constraints.resolve(
                        options.get(f"{weight}_constraint")
                    ),
                }
            )

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{name} of {type(self).__name__} cannot be changed, because models are compiled from "
            "the cell: make a new one"
        )

    @property
    def number(self) -> int:
        """The number of the cell in the engine."""
        raise NotImplementedError

    @property
    def state_size(self) -> Any:
        """The size of the state, or a list of the sizes of several."""
        return self.units if self.n_states == 1 else [self.units] * self.n_states

    @property
    def output_size(self) -> int:
        return self.units

    @property
    def bias_shape(self) -> Shape:
        return (self.n_gates * self.units,)

    def weight_specs(self, features: int) -> list[Weight]:
        """Return the descriptions of the weights for this number of features."""
        columns = self.n_gates * self.units
        shapes = (features, columns), (self.units, columns), self.bias_shape
        specs = [
            Weight(
                f"{name}_kernel" if name == "recurrent" else name,
                shape,
                getattr(self, f"{name}_initializer"),
                getattr(self, f"{name}_regularizer"),
                getattr(self, f"{name}_constraint"),
            )
            for name, shape in zip(WEIGHTS, shapes, strict=True)
        ]
        return specs if self.use_bias else specs[:2]

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.arguments()}

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments except the name as plain Python values (JSON)."""
        return {name: _plain(getattr(self, name)) for name in self.fields}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class GRUCell(Cell):
    """The cell of a `GRU` layer, for `RNN`.

    Parameters
    ----------
    units, activation, recurrent_activation, use_bias, kernel_initializer, \
recurrent_initializer, bias_initializer, reset_after
        As in `GRU`.
    **options
        A name, regularizers, constraints, dropouts and a seed, as in `GRU`.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.layers.RNN(GRUCell(8)).infer_shapes((5, 3))
    [(8,)]
    """

    n_gates = 3
    fields = (*Cell.fields, "recurrent_activation", "reset_after")
    reset_after: bool

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
        **options: Unpack[CellOptions],
    ) -> None:
        given = kernel_initializer, recurrent_initializer, bias_initializer
        super().__init__(units, activation, recurrent_activation, use_bias, given, **options)
        self._keep(reset_after=flag("reset_after", reset_after))

    @property
    def number(self) -> int:
        return CELLS["gru" if self.reset_after else "gru_reset_before"]

    @property
    def bias_shape(self) -> Shape:
        shape = super().bias_shape
        return (2, *shape) if self.reset_after else shape


class LSTMCell(Cell):
    """The cell of an `LSTM` layer, for `RNN`.

    Parameters
    ----------
    units, activation, recurrent_activation, use_bias, kernel_initializer, \
recurrent_initializer, bias_initializer, unit_forget_bias
        As in `LSTM`.
    **options
        A name, regularizers, constraints, dropouts and a seed, as in `LSTM`.

    Examples
    --------
    >>> LSTMCell(8).state_size
    [8, 8]
    """

    n_gates = 4
    n_states = 2
    fields = (*Cell.fields, "recurrent_activation", "unit_forget_bias")
    unit_forget_bias: bool
    bias_initializer: initializers.Initializer

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
        **options: Unpack[CellOptions],
    ) -> None:
        given = kernel_initializer, recurrent_initializer, bias_initializer
        super().__init__(units, activation, recurrent_activation, use_bias, given, **options)
        self._keep(unit_forget_bias=flag("unit_forget_bias", unit_forget_bias))

    @property
    def number(self) -> int:
        return CELLS["lstm"]

    def weight_specs(self, features: int) -> list[Weight]:
        specs = super().weight_specs(features)
        if self.use_bias and self.unit_forget_bias:
            specs[2] = replace(specs[2], initializer=_UnitForgetBias(self.bias_initializer))
        return specs


@dataclass(frozen=True)
class _UnitForgetBias(initializers.Initializer):
    """The initial bias of an LSTM: 1 for the forget gate, the second of four parts."""

    others: initializers.Initializer

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        units = shape[0] // 4
        parts = self.others.draw((units,), rng), np.ones(units), self.others.draw((2 * units,), rng)
        return np.concatenate(parts)


class SimpleRNNCell(Cell):
    """The cell of a `SimpleRNN` layer, for `RNN`.

    Parameters
    ----------
    units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer
        As in `SimpleRNN`.
    **options
        A name, regularizers, constraints, dropouts and a seed, as in `SimpleRNN`.

    Examples
    --------
    >>> SimpleRNNCell(8).state_size
    8
    """

    n_gates = n_kept = 1

    def __init__(
        self,
        units: int,
        activation: str | activations.Activation | None = "tanh",
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        **options: Unpack[CellOptions],
    ) -> None:
        given = kernel_initializer, recurrent_initializer, bias_initializer
        super().__init__(units, activation, None, use_bias, given, **options)

    @property
    def number(self) -> int:
        return CELLS["simple"]


class StackedRNNCells(Configured):
    """Cells that follow each other in every step, for `RNN`: each takes the output of the last.

    Parameters
    ----------
    cells : list of cells
        Their names must differ.
    name : str, optional

    Examples
    --------
    >>> cells = StackedRNNCells([LSTMCell(8), GRUCell(4)])
    >>> cells.state_size, cells.output_size
    ([[8, 8], 4], 4)
    """

    def __init__(self, cells: Sequence[Cell], name: str | None = None) -> None:
        if not isinstance(cells, (list, tuple)) or not cells:
            raise ValueError(f"cells must be a list of at least one cell; received {cells!r}")
        for cell in cells:
            if not isinstance(cell, Cell):
                raise ValueError(
                    "cells must be a list in which each cell is an LSTMCell, a GRUCell or a "
                    "SimpleRNNCell, because the compiled engine cannot run cells written in "
                    f"Python; received {cell!r}"
                )
        names = [cell.name for cell in cells]
        if len(set(names)) < len(names):
            raise ValueError(
                "cells must have different names: cells are configurations, so that one that is "
                f"used twice would not share weights; received names {names}"
            )
        self.cells = list(cells)
        self.name = auto_name(type(self).__name__) if name is None else check_name(name)

    @property
    def state_size(self) -> list[Any]:
        """The sizes of each cell's state."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        last: Cell = self.cells[-1]
        return last.output_size

    def get_config(self) -> dict[str, Any]:
        return {"cells": [plain(cell) for cell in self.cells], "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**{**config, "cells": [deserialize(cell) for cell in config["cells"]]})


TABLE: dict[str, Any] = {
    cls.__name__: cls for cls in (GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells)
}


def deserialize(description: Any) -> Any:
    """Return a new cell from its description ``{"class_name": …, "config": …}``."""
    if not isinstance(description, Mapping) or not {"class_name", "config"} <= description.keys():
        raise ValueError(
            'Expected the description of a cell as {"class_name": …, "config": …}; received '
            f"{description!r}"
        )
    return choose("cell", description["class_name"], TABLE).from_config(description["config"])


def _elementwise(name: str, value: str | activations.Activation | None) -> activations.Activation:
    """Return an elementwise activation."""
    activation = activations.resolve(value)
    if not activation.elementwise or activation.is_general_relu:
        raise ValueError(
            f"{name} of a recurrent layer must be an elementwise activation, such as 'tanh', "
            f"'sigmoid' or 'relu' without a limit or threshold; received {value!r}"
        )
    return activation


def _rate(name: str, value: object) -> float:
    rate = real(name, value, low=0.0)
    if rate >= 1:
        raise ValueError(f"{name} must be at least 0 and below 1; received {value!r}")
    return rate


def _plain(value: Any) -> Any:
    return (
        activations.serialize(value) if isinstance(value, activations.Activation) else plain(value)
    )

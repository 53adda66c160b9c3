"""Symbolic tensors: what is known of an array before it is computed, and the call that makes it.

A call of a layer makes a `Node`, whose outputs are `KerasTensor` objects. Tensors know their node,
and nodes know their inputs, so the outputs of a model are enough to find all of its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from nnfast._plan.spec import OpenShape

BatchShape = tuple[int | None, ...]

# The implementations of the operators of symbolic tensors by name: "add", "getitem" and so on. The
# module that has the layers for them fills this table.
OPERATORS: dict[str, Callable[..., Any]] = {}


class TensorSpec(NamedTuple):
    """The shape of a batch, the dtype and the name of a tensor, and whether it has a mask."""

    shape: BatchShape
    dtype: str
    name: str
    masked: bool = False


class Node:
    """One call of a layer or model.

    Attributes
    ----------
    layer : Layer or Model
        What was called.
    inputs : tuple of KerasTensor
        Empty if the layer is the input of a model.
    specs : tuple of TensorSpec
        The outputs.
    graph : Graph or None
        The graph of a model at the time of the call; None for a layer.
    training : bool or None
        False if this call computes as in inference, even during training.
    step : Node or None
        If the layer is applied to each step of sequences: its call for one step. The graph, if
        any, is then that for one step, too.
    arguments : mapping of str to object
        Further arguments of the call, as JSON values.
    """

    def __init__(
        self,
        layer: Any,
        inputs: Iterable[KerasTensor],
        specs: Iterable[TensorSpec],
        graph: Any = None,
        training: bool | None = None,
        step: Node | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.layer = layer
        self.inputs = tuple(inputs)
        self.specs = tuple(specs)
        self.graph = graph
        self.training = training
        self.step = step
        self.arguments = dict(arguments or {})

    @property
    def calls_model(self) -> bool:
        """Whether a model was called, whose layers can be shown in place of it."""
        return hasattr(self.layer, "layers")

    @property
    def outputs(self) -> tuple[KerasTensor, ...]:
        return tuple(KerasTensor(self, i) for i in range(len(self.specs)))


class KerasTensor:
    """What is known of an array before it is computed: an output of a node.

    Operators and slices make further nodes. Two objects are equal if they are the same output.

    Parameters
    ----------
    node : Node
    index : int
        The number of the output among those of the node.

    Attributes
    ----------
    shape : tuple of (int or None)
        None is a size that may vary: that of the batch, or of an axis that `Input` leaves open.
    dtype : str
    name : str

    Examples
    --------
    >>> import nnfast
    >>> x = nnfast.Input((4,), name="x")
    >>> x.shape, (2 * x[:, :3] + 1).shape
    ((None, 4), (None, 3))
    """

    # NumPy must leave `array + tensor` to the tensor.
    __array_ufunc__ = None

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index

    @property
    def shape(self) -> BatchShape:
        return self.node.specs[self.index].shape

    @property
    def ndim(self) -> int:
        """The number of axes, with that of the batch."""
        return len(self.shape)

    @property
    def dtype(self) -> str:
        return self.node.specs[self.index].dtype

    @property
    def name(self) -> str:
        return self.node.specs[self.index].name

    @property
    def masked(self) -> bool:
        """Whether a mask tells which steps of a sequence are real."""
        return self.node.specs[self.index].masked

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KerasTensor):
            return NotImplemented
        return self.node is other.node and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self.node), self.index))

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __add__(self, other: Any) -> Any:
        return OPERATORS["add"](self, other)

    def __radd__(self, other: Any) -> Any:
        return OPERATORS["add"](other, self)

    def __sub__(self, other: Any) -> Any:
        return OPERATORS["subtract"](self, other)

    def __rsub__(self, other: Any) -> Any:
        return OPERATORS["subtract"](other, self)

    def __mul__(self, other: Any) -> Any:
        return OPERATORS["multiply"](self, other)

    def __rmul__(self, other: Any) -> Any:
        return OPERATORS["multiply"](other, self)

    def __truediv__(self, other: Any) -> Any:
        return OPERATORS["divide"](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return OPERATORS["divide"](other, self)

    def __pow__(self, other: Any) -> Any:
        return OPERATORS["power"](self, other)

    def __rpow__(self, other: Any) -> Any:
        return OPERATORS["power"](other, self)

    def __neg__(self) -> Any:
        return OPERATORS["negative"](self)

    def __getitem__(self, key: Any) -> Any:
        return OPERATORS["getitem"](self, key)

    def __iter__(self) -> NoReturn:
        raise TypeError(f"A symbolic tensor cannot be iterated over: {self!r}")

    def __bool__(self) -> NoReturn:
        raise TypeError(f"A symbolic tensor has no truth value, because it has no values: {self!r}")

    def __float__(self) -> NoReturn:
        raise ValueError(f"A symbolic tensor has no values to convert to a number: {self!r}")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise ValueError(f"A symbolic tensor has no values to convert to an array: {self!r}")


def sample_shape(x: KerasTensor) -> OpenShape:
    """Return the shape of one sample.

    Examples
    --------
    >>> import nnfast
    >>> sample_shape(nnfast.Input((None, 3)))
    (None, 3)
    """
    return x.shape[1:]


def batch_size(name: str, inputs: Sequence[KerasTensor]) -> int | None:
    """Return the size of a batch, None if it may vary."""
    sizes = {x.shape[0] for x in inputs} - {None}
    if len(sizes) > 1:
        raise ValueError(
            f"Layer {name!r} cannot merge batches of different sizes; received shapes "
            f"{[x.shape for x in inputs]}"
        )
    return next(iter(sizes), None)


# ---- structures of tensors -----------------------------------------------------------------------


def leaves(structure: Any) -> list[Any]:
    """Return the entries of a structure of lists, tuples and dicts; a dict's by sorted keys.

    Examples
    --------
    >>> leaves({"b": 1, "a": [2, (3,)]}), leaves(5)
    ([2, 3, 1], [5])
    """
    if isinstance(structure, Mapping):
        return [leaf for key in sorted(structure) for leaf in leaves(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [leaf for entry in structure for leaf in leaves(entry)]
    return [structure]


def packed(structure: Any, values: Iterable[Any]) -> Any:
    """Return a structure like `structure` with other entries, in the order of `leaves`.

    Examples
    --------
    >>> packed({"b": 1, "a": [2, (3,)]}, "xyz")
    {'a': ['x', ('y',)], 'b': 'z'}
    """
    remaining = iter(values)

    def pack(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {key: pack(part[key]) for key in sorted(part)}
        if isinstance(part, (list, tuple)):
            return type(part)([pack(entry) for entry in part])
        return next(remaining)

    return pack(structure)


def symbolic(structure: Any) -> bool:
    """Return whether a structure has a symbolic tensor."""
    if isinstance(structure, KerasTensor):
        return True
    return isinstance(structure, (list, tuple, Mapping)) and any(
        isinstance(leaf, KerasTensor) for leaf in leaves(structure)
    )

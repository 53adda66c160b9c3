"""Layers that consist of other layers: a call of one is a graph of calls of the others."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, Unpack

from numpy.typing import NDArray

from nnfast._plan.graph import Graph
from nnfast._plan.symbolic import KerasTensor, Node, TensorSpec, batch_size
from nnfast._utils.checks import Shape
from nnfast._utils.config import default_dtype
from nnfast._utils.tensor import Scalar
from nnfast._utils.variable import Variable
from nnfast.layers.core import Identity, InputLayer
from nnfast.layers.layer import Layer, LayerOptions, float_dtype, inference
from nnfast.layers.registry import describe, deserialize

__all__ = ["Wrapper"]


class Composite(Layer):
    """Base class of the layers that consist of other layers, or of models.

    A call makes a graph of calls of these parts, as the call of a model within a model does. The
    plan therefore sees the parts alone, with their weights, states and masks.
    """

    # The arguments that are described as layers, and the names of their attributes.
    _layer_fields: ClassVar[Mapping[str, str]] = {}
    # Whether the penalty of `activity_regularizer` is that on the outputs; if not, parts have it.
    _penalizes_outputs: ClassVar[bool] = True

    @property
    def parts(self) -> list[Any]:
        """The layers and models that have the weights, in the order of the weights."""
        raise NotImplementedError

    def _apply(self, inputs: list[KerasTensor]) -> list[KerasTensor]:
        """Return the outputs of the parts for the inputs of a call; subclasses take arguments."""
        raise NotImplementedError

    def connect(self, x: Any, training: bool | None = None, **arguments: Any) -> Node:
        inputs = self._inputs(x)
        graph = self._graph([x.node.specs[x.index] for x in inputs], **arguments)
        dtype = float_dtype(f"layer {self.name!r}", self.dtype, graph.outputs)
        rows = batch_size(self.name, inputs)
        specs = [
            TensorSpec((rows, *y.shape[1:]), dtype, self.name, y.masked) for y in graph.outputs
        ]
        return Node(self, inputs, specs, graph, inference(training), arguments=arguments)

    def infer_shapes(self, *input_shapes: Shape) -> list[Shape]:
        specs = [TensorSpec((None, *shape), default_dtype(), "x") for shape in input_shapes]
        outputs = self._graph(specs).outputs
        return [tuple(size for size in y.shape[1:] if size is not None) for y in outputs]

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        return self.infer_shapes(input_shape, *others)[0]

    def _graph(self, specs: list[TensorSpec], **arguments: Any) -> Graph:
        """Return the graph of a call with these arguments and inputs described like this."""
        inputs: list[KerasTensor] = []
        for k, spec in enumerate(specs):
            layer = InputLayer(name=self._inner_name(f"input_{k}"), batch_shape=spec.shape)
            inputs += Node(layer, (), [spec]).outputs
        outputs = self._apply(inputs, **arguments)
        if self.activity_regularizer is not None and self._penalizes_outputs:
            outputs = [self._penalty.connect(y).outputs[0] for y in outputs]
        return Graph(inputs, outputs)

    def _inner_name(self, what: str) -> str:
        """Return a name within the graph that differs from those of the parts."""
        return "_".join([*(part.name for part in self.parts), what])

    def _adopt(self) -> None:
        """Freeze the parts if the layer is frozen, and make the layer for the penalty."""
        if not self.trainable:
            self.trainable = False
        regularizer = self.activity_regularizer
        self._penalty = Identity(name=self._inner_name("penalty"), activity_regularizer=regularizer)

    def get_config(self) -> dict[str, Any]:
        attributes = self._layer_fields.items()
        described = {name: describe(getattr(self, attribute)) for name, attribute in attributes}
        config = super().get_config() | described
        if any(layer.trainable for layer in self.flat_layers()):
            config.pop("trainable", None)  # which would freeze all of them
        return config

    def __repr__(self) -> str:
        inner = {name: getattr(self, attribute) for name, attribute in self._layer_fields.items()}
        arguments = ", ".join(f"{key}={it!r}" for key, it in (self.get_config() | inner).items())
        return f"{type(self).__name__}({arguments})"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        made = {name: deserialize(config[name]) for name in cls._layer_fields}
        return cls(**{**config, **made})

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # a copy does not share the weights

    # ---- what the parts have ---------------------------------------------------------------------

    def flat_layers(self) -> list[Layer]:
        return [layer for part in self.parts for layer in part.flat_layers()]

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        Layer.trainable.fset(self, value)  # type: ignore[attr-defined]
        for part in self.parts:
            part.trainable = value

    @property
    def built(self) -> bool:
        return all(part.built for part in self.parts)

    @property
    def named_weights(self) -> dict[str, NDArray[Any]]:
        return _named(self.parts, "named_weights")

    @property
    def named_states(self) -> dict[str, NDArray[Any]]:
        return _named(self.parts, "named_states")

    @property
    def weights(self) -> list[Variable]:
        return [weight for part in self.parts for weight in part.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        return [weight for part in self.parts for weight in part.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return [weight for part in self.parts for weight in part.non_trainable_weights]

    variables, trainable_variables = weights, trainable_weights
    non_trainable_variables = non_trainable_weights

    @property
    def losses(self) -> list[Scalar]:
        return [penalty for part in self.parts for penalty in part.losses]

    def reset_state(self, rows: Any = None) -> None:
        """Set the states of stateful layers to zero; see `LSTM` for `rows`."""
        for layer in self.flat_layers():
            if layer.named_states:
                layer.reset_state(rows)  # type: ignore[attr-defined]

    reset_states = reset_state


class Wrapper(Composite):
    """A layer that contains another layer, or a model, and applies it.

    It is the base class of `TimeDistributed` and `Bidirectional`.

    Parameters
    ----------
    layer : Layer or Model
    **options
        See `Layer`. With ``trainable=False``, `layer` is frozen, too.

    Raises
    ------
    ValueError
        If `layer` is not a layer.

    Examples
    --------
    >>> import nnfast
    >>> wrapper = Wrapper(nnfast.layers.Dense(3))
    >>> wrapper(nnfast.Input((4,))).shape
    (None, 3)
    """

    _fixed = (*Layer._fixed, "layer")
    _layer_fields: ClassVar[Mapping[str, str]] = {"layer": "layer"}
    layer: Any

    def __init__(self, layer: Any, **options: Unpack[LayerOptions]) -> None:
        self._check_layer("layer", layer)
        super().__init__(**options)
        self.layer = layer
        self._adopt()

    def _check_layer(self, name: str, layer: Any) -> None:
        if isinstance(layer, type) or not hasattr(layer, "flat_layers"):
            raise ValueError(
                f"{name} of {type(self).__name__} must be a layer of nnfast.layers; received "
                f"{layer!r}"
            )

    @property
    def parts(self) -> list[Any]:
        return [self.layer]

    @property
    def input_dtype(self) -> str | None:  # type: ignore[override]
        return getattr(self.layer, "input_dtype", None)

    def _apply(self, inputs: list[KerasTensor]) -> list[KerasTensor]:
        return list(self.layer.connect(inputs).outputs)


def _named(parts: Iterable[Any], which: str) -> dict[str, NDArray[Any]]:
    """Return the weights or states of layers and models, with names that begin with theirs."""
    return {
        f"{part.name}/{name}": view
        for part in parts
        for name, view in (
            getattr(part, which) if isinstance(part, Layer) else _named(part.layers, which)
        ).items()
    }

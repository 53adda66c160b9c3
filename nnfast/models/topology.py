"""The graph of a model: layers, inputs and outputs, calls with symbolic tensors, configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np

from nnfast._plan.graph import Graph
from nnfast._plan.open_shapes import fits
from nnfast._plan.symbolic import (
    KerasTensor,
    Node,
    TensorSpec,
    batch_size,
    leaves,
    packed,
    sample_shape,
)
from nnfast._utils import checks
from nnfast._utils.json_text import json_text
from nnfast._utils.read_only import read_only
from nnfast._utils.registry import choose
from nnfast.layers.core import InputLayer
from nnfast.layers.layer import Layer, float_dtype, inference, symbolic_leaves
from nnfast.models.graphs import copy_graph, describe_graph, restore_graph
from nnfast.models.serialization import check_keys, describe, deserialize


class Topology:
    """The part of a model that is known without weights; `Model` documents its constructor."""

    # The name of the class in configurations, which is that of Keras.
    class_name: ClassVar[str] = "Functional"
    # Whether `layers` has the layers of the inputs.
    lists_inputs: ClassVar[bool] = True

    name: str
    _dtype: np.dtype[Any]
    _trainable: bool
    _layers: list[Any]
    _graph: Graph | None
    trainable: bool
    # The inputs and outputs as they were passed to the model.
    _ends: tuple[Any, Any]

    def _initialize(self, name: str | None, dtype: str | None) -> None:
        """Set the attributes of a model without layers."""
        raise NotImplementedError

    def _build(self) -> None:
        """Create the network."""
        raise NotImplementedError

    def _like(self, inputs: Any, outputs: Any) -> Self:
        """Return a model of the same class and name."""
        raise NotImplementedError

    def _freeze_alone(self, trainable: bool) -> None:
        """Set `trainable` of the model, but not of its layers."""
        raise NotImplementedError

    # ---- layers and shapes -----------------------------------------------------------------------

    @read_only("set: use add and pop, or make a new model")
    def layers(self) -> list[Any]:
        """The layers, and the models within the model, in the order of Keras."""
        return list(self._layers)

    @property
    def graph(self) -> Graph | None:
        """The calls of the layers; None before the input shape is known."""
        return self._graph

    @read_only("changed: make a new model with that dtype and copy the weights with set_weights")
    def dtype(self) -> str:
        """The dtype of weights and outputs."""
        return self._dtype.name

    def flat_layers(self) -> list[Layer]:
        """Return the layers, those of models within the model included, without the inputs."""
        if self._graph is not None:
            return list(self._graph.flat.layers)  # type: ignore[arg-type]
        found: dict[Layer, None] = {}
        for layer in self._layers:
            found |= dict.fromkeys(layer.flat_layers())
        return list(found)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """Return the layer with this name, or with this index in `layers`.

        Parameters
        ----------
        name : str, optional
        index : int, optional
            Negative indices count from the end.

        Returns
        -------
        Layer or Model

        Raises
        ------
        TypeError
            If `index` is not an integer.
        ValueError
            If the model has no such layer, or if both or neither of `name` and `index` are passed.
        """
        if (name is None) == (index is None):
            raise ValueError("Give get_layer either a name or an index, not both")
        if name is not None:
            return choose("layer", name, {layer.name: layer for layer in self._layers})
        at: Any = index
        if isinstance(at, bool) or not isinstance(at, Integral):
            raise TypeError(f"index must be an integer; received {at!r}")
        if not -len(self._layers) <= int(at) < len(self._layers):
            raise ValueError(
                f"Model {self.name!r} has {len(self._layers)} layers; received index {at}"
            )
        return self._layers[int(at)]

    @property
    def input(self) -> Any:
        """The symbolic input, or the inputs as they were passed to the model."""
        return self._ends[0]

    @property
    def output(self) -> Any:
        """The symbolic output, or the outputs as they were passed to the model."""
        return self._ends[1]

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs as a list."""
        return leaves(self.input)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs as a list."""
        return leaves(self.output)

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs' layers."""
        return [tensor.node.layer.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that make the outputs."""
        return [tensor.node.layer.name for tensor in self.outputs]

    @property
    def input_shape(self) -> Any:
        """Shape of a batch of inputs; a list of shapes if there are several.

        The first entry is None or the `batch_size` of an `Input`; further ones are None where the
        size of an axis may vary.
        """
        shapes = [tensor.shape for tensor in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """Shape of a batch of outputs; a list of shapes if there are several."""
        shapes = [tensor.shape for tensor in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    # ---- calls -----------------------------------------------------------------------------------

    def connect(self, x: Any, training: bool | None = None) -> Node:
        """Return the node of a call with symbolic tensors.

        Raises
        ------
        TypeError, ValueError
            If the tensors do not fit the inputs.
        """
        graph = self._graph_for(x)
        found = self._in_order(x, graph)
        shapes = [sample_shape(tensor) for tensor in found]
        expected = [sample_shape(tensor) for tensor in graph.inputs]
        if not all(map(fits, shapes, expected)):
            raise ValueError(
                f"Model {self.name!r} expects samples of shape {expected}; received {shapes}"
            )
        dtype = float_dtype(f"model {self.name!r}", self.dtype, found)
        rows = batch_size(self.name, found)
        outputs = [sample_shape(y) for y in graph.outputs]
        if shapes != expected:  # the sizes of some open axes are known here
            made = graph.flat.propagated(shapes)
            outputs = [made[tensor] for tensor in graph.flat.outputs]
        specs = [TensorSpec((rows, *shape), dtype, self.name) for shape in outputs]
        return Node(self, found, specs, graph, inference(training))

    def _graph_for(self, x: Any) -> Graph:
        """Return the graph that a call with these tensors uses."""
        assert self._graph is not None
        return self._graph

    def _in_order(self, x: Any, graph: Graph) -> list[KerasTensor]:
        """Return the tensors of a call in the order of the graph's inputs."""
        keys = [tensor.node.layer.name for tensor in graph.inputs]
        if isinstance(self.input, Mapping):
            keys = sorted(self.input)
        if isinstance(x, Mapping):
            if x.keys() != set(keys):
                raise ValueError(
                    f"Model {self.name!r} expects inputs named {keys}; received {sorted(x)}"
                )
            x = [x[key] for key in keys]
        found = symbolic_leaves(f"Model {self.name!r}", x)
        if len(found) != len(keys):
            raise ValueError(
                f"Model {self.name!r} expects {len(keys)} inputs named {keys}; received "
                f"{len(found)}"
            )
        return found

    # ---- configuration ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the architecture as JSON-serializable Python values."""
        assert self._graph is not None
        frozen = {} if self.trainable else {"trainable": False}
        graph = describe_graph(self._graph, *self._ends, describe)
        return {"name": self.name, "dtype": self.dtype, **frozen, **graph}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new model, with new weights, from the result of `get_config`.

        Parameters
        ----------
        config : dict

        Raises
        ------
        ValueError
            If `config` is not a result of `get_config`.
        """
        model = cls.without_weights(config)
        model._build()
        return model

    @classmethod
    def without_weights(cls, config: Mapping[str, Any]) -> Self:
        """Return the model that `from_config` returns before it is built."""
        check_keys(config, ("name", "dtype", "layers", "input_layers", "output_layers"))
        ends = restore_graph(config, deserialize)
        graph = Graph(leaves(ends[0]), leaves(ends[1]))
        model = cls.__new__(cls)
        model._initialize(config["name"], float_dtype("Model", None, graph.outputs))
        model._ends, model._graph, model._layers = ends, graph, list(graph.calls)
        model._trainable = checks.flag("trainable", config.get("trainable", True))
        return model

    def copied(self, clone: Callable[[Any], Any]) -> Self:
        """Return a model of the same calls to the layers that `clone` returns for the layers."""
        assert self._graph is not None
        inputs = [
            InputLayer.from_config(x.node.layer.get_config()).tensor(self.dtype)
            for x in self._graph.inputs
        ]
        outputs = copy_graph(self._graph, inputs, clone)
        ends = packed(self.input, inputs), packed(self.output, outputs)
        copy = self._like(*ends)
        copy._freeze_alone(self.trainable)
        return copy

    def to_json(self, **options: Any) -> str:
        """Return the architecture as JSON, for `nnfast.models.model_from_json`.

        Parameters
        ----------
        **options
            Passed to `json.dumps`, for example ``indent=2``.
        """
        return json_text(describe(self), **options)

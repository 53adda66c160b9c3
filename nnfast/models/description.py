"""What a model consists of: layers, shapes, weights, metrics, and the summary of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import losses, optimizers
from nnfast._plan.graph import Graph
from nnfast._plan.symbolic import KerasTensor, Node, TensorSpec, leaves, sample_shape
from nnfast._runtime.network import Network
from nnfast._runtime.trainer import Settings, Trainer
from nnfast._utils import checks
from nnfast._utils.assign import assign
from nnfast._utils.read_only import read_only
from nnfast._utils.registry import choose
from nnfast._utils.tensor import Scalar, Variable
from nnfast.layers.layer import Layer, batch_size, float_dtype, inference, symbolic_leaves
from nnfast.metrics import Metric
from nnfast.models.summary import summarize, summary_html, summary_lines

Array = NDArray[Any]

_COMPILED = "set, because the compiled trainer uses it: call compile({}=…)"


class Description:
    """The attributes of a model that describe it; `Model` documents its constructor."""

    # The name of the class in configurations, which is that of Keras.
    class_name: ClassVar[str] = "Functional"
    # Whether `layers` has the layers of the inputs.
    lists_inputs: ClassVar[bool] = True

    name: str
    trainable: bool
    _dtype: np.dtype[Any]
    _layers: list[Any]
    _graph: Graph | None
    _network: Network | None
    _settings: Settings | None
    _trainer: Trainer | None

    # ---- layers and shapes -----------------------------------------------------------------------

    @read_only("changed: make a new model with that dtype and copy the weights with set_weights")
    def dtype(self) -> str:
        """The dtype of weights and outputs."""
        return self._dtype.name

    @read_only("set: make a new model")
    def layers(self) -> list[Any]:
        """The layers, and the models within the model, in the order of Keras."""
        return list(self._layers)

    @property
    def graph(self) -> Graph | None:
        """The calls of the layers; None before the input shape is known."""
        return self._graph

    def flat_layers(self) -> list[Layer]:
        """Return the layers, those of models within the model included, without the inputs."""
        if self._graph is not None:
            return list(self._graph.flat.layers)  # type: ignore[arg-type]
        found: dict[Layer, None] = {}
        for layer in self._layers:
            inside = layer.flat_layers() if isinstance(layer, Description) else [layer]
            found |= dict.fromkeys(inside)
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
    def built(self) -> bool:
        """Whether the weights have been created."""
        if self._network is not None:
            return True
        return self._graph is not None and all(layer.built for layer in self.flat_layers())

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs as a list."""
        return leaves(self.input)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs as a list."""
        return leaves(self.output)

    @property
    def input(self) -> Any:
        """The symbolic input, or the inputs as they were passed to the model."""
        raise NotImplementedError

    @property
    def output(self) -> Any:
        """The symbolic output, or the outputs as they were passed to the model."""
        raise NotImplementedError

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

        The first entry is None or the `batch_size` of an `Input`.
        """
        shapes = [tensor.shape for tensor in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """Shape of a batch of outputs; a list of shapes if there are several."""
        shapes = [tensor.shape for tensor in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def _built(self) -> Network:
        """Return the network, which is made now if only other models have used the layers."""
        if self._network is None and self._graph is not None:
            self._build_once()
        if self._network is None:
            raise ValueError(
                f"Model {self.name!r} has no weights yet: give it an Input or an input_shape, or "
                "call build() or fit() first"
            )
        return self._network

    def _build_once(self) -> None:
        """Make the network of the graph unless there is one."""
        raise NotImplementedError

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
        if shapes != expected:
            raise ValueError(
                f"Model {self.name!r} expects samples of shape {expected}; received {shapes}"
            )
        dtype = float_dtype(f"model {self.name!r}", self.dtype, found)
        rows = batch_size(self.name, found)
        specs = [TensorSpec((rows, *sample_shape(y)), dtype, self.name) for y in graph.outputs]
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

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], object] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print a table of the layers with their output shapes and parameter counts.

        Parameters
        ----------
        line_length : int, optional
            Width of the table; by default as wide as its contents.
        positions : sequence of float, optional
            The ends of the columns, as fractions of the width or, if the last is above 1, in
            characters.
        print_fn : callable, optional
            Called with each line; `print` by default.
        expand_nested : bool, default False
            Whether to show the layers of models within the model.
        show_trainable : bool, default False
            Add a column that says whether a layer is trainable.
        layer_range : pair of str, optional
            Show only the layers from the first one whose name contains the first string (or matches
            it as a regular expression) to the last one whose name contains the second one.
        """
        write: Callable[[str], object] = print if print_fn is None else print_fn
        if not callable(write):
            raise TypeError(f"print_fn must be callable; received {print_fn!r}")
        expand = checks.flag("expand_nested", expand_nested)
        summary = summarize(self, self._dtype.itemsize, expand)._replace(
            line_length=checks.optional_integer("line_length", line_length),
            positions=None if positions is None else checks.entries("positions", positions),
            show_trainable=checks.flag("show_trainable", show_trainable),
        )
        for text in summary_lines(summary.of_range(layer_range)):
            write(text)

    def _repr_html_(self) -> str:
        """Return the table of `summary` as HTML, for notebooks."""
        return summary_html(summarize(self, self._dtype.itemsize))

    # ---- weights ---------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Variable]:
        """All weights, layer by layer, as views of the memory; [] before the model is built."""
        return [weight for layer in self.flat_layers() for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that the optimizer changes."""
        if not self.trainable:
            return []
        return [weight for layer in self.flat_layers() for weight in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The other weights: moving averages, data statistics and frozen weights."""
        if not self.trainable:
            return self.weights
        return [weight for layer in self.flat_layers() for weight in layer.non_trainable_weights]

    variables, trainable_variables = weights, trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Return copies of all weights: kernel, bias, kernel, …; [] before the model is built."""
        return [weight for layer in self.flat_layers() for weight in layer.get_weights()]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all weights.

        Parameters
        ----------
        weights : sequence of array_like
            Arrays in the order and with the shapes of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs; then no weight is changed.
        """
        views = [view for layer in self.flat_layers() for view in layer.named_weights.values()]
        assign(f"model {self.name!r}", views, weights)

    def count_params(self) -> int:
        """Return the number of parameters of a model whose input shape is known."""
        if self._graph is None:
            return self._built().engine.weights.size
        return sum(
            math.prod(weight.shape) for _, specs in self._graph.flat.weights() for weight in specs
        )

    # ---- loss and metrics ------------------------------------------------------------------------

    @read_only(_COMPILED.format("optimizer"))
    def optimizer(self) -> optimizers.Optimizer | None:
        return None if self._settings is None else self._settings.optimizer

    @read_only(_COMPILED.format("loss"))
    def loss(self) -> losses.Loss | None:
        return None if self._settings is None else self._settings.loss

    @property
    def iterations(self) -> int:
        """The number of optimizer steps since `compile`."""
        return 0 if self._network is None else self._network.engine.iterations

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of `compile`, weighted ones last; [] before the model is built."""
        return [] if self._trainer is None else list(self._trainer.metrics.values())

    def reset_metrics(self) -> None:
        """Reset the state of all `metrics`; `fit` and `evaluate` do not use it."""
        for metric in self.metrics:
            metric.reset_state()

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns: ``"loss"`` and the metrics' keys in History."""
        if self._settings is None:
            return []
        return ["loss", *(() if self._trainer is None else self._trainer.metrics)]

    @property
    def losses(self) -> list[Scalar]:
        """The current penalties of the weights' regularizers, layer by layer."""
        return [Scalar(penalty) for layer in self.flat_layers() for penalty in layer.losses]

    def metric_direction(self, key: str) -> str | None:
        """Return "up" if a higher value of a History key is better, "down" if a lower one is.

        Return None if the key is unknown.
        """
        if key == "loss":
            return "down"
        return None if self._trainer is None else self._trainer.metric_direction(key)

"""The Sequential model: a stack of layers, with the names and semantics of Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from nnfast._data.ends import Ends, only
from nnfast._plan.graph import Graph
from nnfast._plan.spec import OpenShape
from nnfast._plan.symbolic import KerasTensor, sample_shape
from nnfast._utils import checks
from nnfast._utils.config import INTEGERS, TEXT
from nnfast.layers.core import InputLayer
from nnfast.layers.layer import Layer, register, symbolic_leaves
from nnfast.models.model import Model
from nnfast.models.serialization import MODELS, check_keys, describe, deserialize


class Sequential(Model):
    """A linear stack of layers.

    The model is built (its weights are created) as soon as the shape of a sample is known: from
    an `Input` or a first layer with ``input_shape=``, otherwise in `build` or the first call of
    `fit`, `predict` or `evaluate`.

    Parameters
    ----------
    layers : iterable of Layer, optional
    name : str, optional
        ``"sequential"``, ``"sequential_1"``, … by default.
    dtype : {"float32", "float64"}, optional
        Dtype of weights and outputs; by default, the dtype set by `nnfast.set_default_dtype`.
    trainable : bool, default True
        False freezes the model: see the attribute `trainable`.

    Attributes
    ----------
    layers : list of Layer
        The layers and models without the `Input`.
    trainable : bool
        Setting this also sets the flag of every layer: see `nnfast.layers.Layer`. In a frozen
        model no weight is trained, even if a layer is trainable.
    optimizer, loss : Optimizer, Loss or None
        None before `compile`. The optimizer's hyperparameters can be set at any time.
    history : History or None
        The completed epochs of the last `fit`.
    n_threads : int or None
        The maximum number of threads; None means `nnfast.get_num_threads`. It can be set at any
        time, and results do not depend on it.
    stop_training, stop_evaluating, stop_predicting : bool
        Callbacks set these to end `fit`, `evaluate` or `predict` early.

    Raises
    ------
    TypeError, ValueError
        If an entry of `layers` is not a layer, or is incompatible with the layer before it.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> from nnfast.layers import Dense
    >>> nnfast.set_seed(0)
    >>> model = Sequential([nnfast.Input((2,)), Dense(8, activation="tanh"), Dense(1)])
    >>> model.compile("adam", "mse")
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> history = model.fit(x, x.sum(axis=1), epochs=100, verbose=0)
    >>> history.history["loss"][-1] < history.history["loss"][0]
    True
    >>> model.predict(x).shape
    (4, 1)
    """

    class_name = "Sequential"
    lists_inputs = False

    def __init__(
        self,
        layers: Iterable[Any] | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
        trainable: bool = True,
    ) -> None:
        self._initialize(name, dtype)
        self._input: KerasTensor | None = None
        self._names: set[str] = set()
        if not (layers is None or hasattr(layers, "__iter__")):
            raise TypeError(f"layers must be a list of layers; received {layers!r}")
        for layer in layers or ():
            self._append(layer)
        self._rebuild()
        if not checks.flag("trainable", trainable):
            self.trainable = False

    def add(self, layer: Any) -> None:
        """Append a layer.

        A built model is rebuilt: its layers keep their weights, and the optimizer's state is
        reset.

        Parameters
        ----------
        layer : Layer

        Raises
        ------
        TypeError, ValueError
            If `layer` is not a layer, has a name that is already used, or does not fit the
            model's output. The model is then unchanged.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential()
        >>> model.add(Dense(3, input_shape=(2,)))
        >>> model.add(Dense(1))
        >>> model.output_shape
        (None, 1)
        """
        with self._guard, self._build_lock:
            before, n_layers = self._input, len(self._layers)
            self._append(layer)
            try:
                self._rebuild()
            except BaseException:
                self._input = before
                if len(self._layers) > n_layers:
                    self._remove_last()
                raise

    def pop(self) -> Any:
        """Remove the last layer and return it.

        The other layers keep their weights, and the optimizer's state is reset.

        Returns
        -------
        Layer

        Raises
        ------
        ValueError
            If the model has no layers, or the loss or a metric does not fit the new output.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential([Dense(3, input_shape=(2,)), Dense(1, name="head")])
        >>> model.pop().name
        'head'
        >>> model.output_shape
        (None, 3)
        """
        if not self._layers:
            raise ValueError(f"Model {self.name!r} has no layers to pop")
        with self._guard, self._build_lock:
            layer = self._remove_last()
            try:
                self._rebuild()
            except BaseException:
                self._place(layer)
                raise
        return layer

    @property
    def input(self) -> KerasTensor:
        """The symbolic input."""
        if self._input is None:
            raise AttributeError(f"Model {self.name!r} has no input shape yet")
        return self._input

    @property
    def output(self) -> KerasTensor:
        """The symbolic output."""
        if self._graph is None:
            raise AttributeError(f"Model {self.name!r} has no output shape yet")
        return self._graph.outputs[0]

    def _output_ends(self) -> Ends:
        return only(self._layers[-1].name if self._layers else "")

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Create the weights.

        Parameters
        ----------
        input_shape : tuple of (int or None)
            Shape of a batch, as in Keras: ``(None, 784)``, or ``(None, None, 8)`` for sequences of
            any length.

        Raises
        ------
        TypeError, ValueError
            If `input_shape` is not a tuple of this form, the model already has another input
            shape, or the model has no layers.
        """
        if input_shape is None:
            self._built()
            return
        shape = checks.open_shape("input_shape[1:]", checks.entries("input_shape", input_shape)[1:])
        if self._input is not None and shape != sample_shape(self._input):
            raise ValueError(
                f"Model {self.name!r} has input shape {self.input_shape}; build received "
                f"{tuple(input_shape)}"
            )
        if not self._layers:
            raise ValueError(f"Model {self.name!r} has no layers to build: add one first")
        with self._build_lock:
            if self._network is None:
                self._set_shape(shape)

    def _set_shape(self, shape: OpenShape, rebuild: bool = True) -> None:
        """Make the graph, and the network unless `rebuild` is False, for samples of a shape."""
        before = self._input
        if before is None:
            self._input = InputLayer(shape, dtype=_input_dtype(self._layers)).tensor(self.dtype)
        try:
            self._rebuild(rebuild)
        except BaseException:
            self._input = before
            raise

    def _rebuild(self, network: bool = True) -> None:
        """Make the graph of the layers and, if `network`, the network."""
        before = self._graph
        self._graph = self._chain()
        try:
            if network:
                self._build()
        except BaseException:
            self._graph = before
            raise
        register(() if self._graph is None else self._graph.nodes)

    def _chain(self) -> Graph | None:
        """Return the graph of the layers if the input shape is known."""
        if self._input is None or not self._layers:
            return None
        x = self._input
        for layer in self._layers:
            outputs = layer.connect(x).outputs
            if len(outputs) != 1:
                raise ValueError(
                    f"The layers of a Sequential must have one output; {layer.name!r} has "
                    f"{len(outputs)}"
                )
            x = outputs[0]
        return Graph([self._input], [x])

    def _graph_for(self, x: Any) -> Graph:
        if self._graph is None:
            tensors = symbolic_leaves(f"Model {self.name!r}", x)
            if not self._layers:
                raise ValueError(f"Model {self.name!r} has no layers to call: add one first")
            self._set_shape(sample_shape(tensors[0]), rebuild=False)
        return super()._graph_for(x)

    def _append(self, layer: Any) -> None:
        """Append a layer after checking it; an `Input` only sets the input shape."""
        if isinstance(layer, KerasTensor) and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
        if not isinstance(layer, (Layer, Model)):
            raise TypeError(f"Expected a layer of nnfast.layers; received {layer!r}")
        if isinstance(layer, InputLayer) and (self._layers or self._input is not None):
            raise ValueError(f"Model {self.name!r} can have only one Input, which must come first")
        if layer.dtype not in (None, self.dtype, *INTEGERS, TEXT):
            raise ValueError(
                f"Layer {layer.name!r} has dtype {layer.dtype!r}, but model {self.name!r} has "
                f"{self.dtype!r}: pass the dtype to Sequential"
            )
        if layer.name in self._names:
            raise ValueError(
                f"Model {self.name!r} has a layer {layer.name!r} already; names must be unique"
            )
        if not self._layers and self._input is None:
            self._input = self._input_of(layer)
        if not isinstance(layer, InputLayer):
            self._place(layer)

    def _input_of(self, first: Any) -> KerasTensor | None:
        """Return the input that the first layer or model declares."""
        if isinstance(first, InputLayer):
            return first.tensor(self.dtype)
        if isinstance(first, Model):
            if first.graph is None or len(first.graph.inputs) != 1:
                return None
            x = first.graph.inputs[0]
            return InputLayer(batch_shape=x.shape, dtype=x.dtype).tensor()
        shape = first.feature_shape
        if shape is None:
            return None
        return InputLayer(shape, dtype=_input_dtype([first])).tensor(self.dtype)

    def _place(self, layer: Any) -> None:
        self._layers.append(layer)
        self._names.add(layer.name)

    def _remove_last(self) -> Any:
        layer = self._layers.pop()
        self._names.remove(layer.name)
        return layer

    def get_config(self) -> dict[str, Any]:
        """Return the architecture as JSON-serializable Python values."""
        frozen = {} if self.trainable else {"trainable": False}
        size = None if self._input is None else self._input.shape[0]
        batch_size = {} if size is None else {"batch_size": size}
        shape = None if self._input is None else list(sample_shape(self._input))
        return {
            "name": self.name,
            "dtype": self.dtype,
            **frozen,
            **batch_size,
            "input_shape": shape,
            "layers": [describe(layer) for layer in self._layers],
        }

    @classmethod
    def without_weights(cls, config: Mapping[str, Any]) -> Self:
        check_keys(config, ("name", "dtype", "input_shape", "layers"))
        layers = [deserialize(entry) for entry in config["layers"]]
        if config["input_shape"] is not None:
            dtype = _input_dtype(layers)
            layers.insert(0, InputLayer(config["input_shape"], config.get("batch_size"), dtype))
        model = cls(name=config["name"], dtype=config["dtype"])
        model._trainable = checks.flag("trainable", config.get("trainable", True))
        for layer in layers:
            model._append(layer)
        model._rebuild(network=False)
        return model

    def copied(self, clone: Callable[[Any], Any]) -> Self:
        layers = [clone(layer) for layer in self._layers]
        inputs = []
        if self._input is not None:
            dtype = _input_dtype(layers)
            inputs = [InputLayer(batch_shape=self._input.shape, dtype=dtype)]
        copy = type(self)([*inputs, *layers], name=self.name, dtype=self.dtype)
        copy._freeze_alone(self.trainable)
        return copy

    def _description(self, paths: Sequence[str]) -> dict[str, Any]:
        described = {"model": self.get_config()}
        nested = any("/" in path for path in paths)
        return described | ({"paths": list(paths)} if nested else {})


def _input_dtype(layers: Sequence[Any]) -> str | None:
    """Return the dtype of the data that the first layer requires, if any."""
    return getattr(layers[0], "input_dtype", None) if layers else None


MODELS["Sequential"] = Sequential

"""The Sequential model: a stack of layers, with the names and semantics of Keras."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Self

from numpy.typing import NDArray

from nnfast._plan.plan import compile_plan
from nnfast._runtime.state import check_shapes, checked_counters
from nnfast._utils import checks
from nnfast._utils.registry import choose
from nnfast.layers import deserialize
from nnfast.layers.core import InputLayer
from nnfast.layers.layer import Layer
from nnfast.models.model import Model


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
        The layers without the `Input`.
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

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name, dtype)
        self._names: set[str] = set()
        if not (layers is None or hasattr(layers, "__iter__")):
            raise TypeError(f"layers must be a list of layers; received {layers!r}")
        for layer in layers or ():
            self._append(layer)
        self._build()
        if not checks.flag("trainable", trainable):
            self.trainable = False

    def add(self, layer: Layer) -> None:
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
            input_shape, n_layers = self._input_shape, len(self._layers)
            batch_size = self._batch_size
            self._append(layer)
            try:
                self._build()
            except BaseException:
                self._input_shape, self._batch_size = input_shape, batch_size
                if len(self._layers) > n_layers:
                    self._remove_last()
                raise

    def pop(self) -> Layer:
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
                self._build()
            except BaseException:
                self._place(layer)
                raise
        return layer

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return the layer with this name, or with this index in `layers`.

        Parameters
        ----------
        name : str, optional
        index : int, optional
            Negative indices count from the end.

        Returns
        -------
        Layer

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

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights.

        Parameters
        ----------
        input_shape : tuple of (int or None)
            Shape of a batch, as in Keras: ``(None, 784)``.

        Raises
        ------
        TypeError, ValueError
            If `input_shape` is not a tuple of this form, the model already has another input
            shape, or the model has no layers.
        """
        shape = checks.shape("input_shape[1:]", checks.entries("input_shape", input_shape)[1:])
        if self._input_shape is not None and shape != self._input_shape:
            raise ValueError(
                f"Model {self.name!r} has input shape {self.input_shape}; build received "
                f"{tuple(input_shape)}"
            )
        if not self._layers:
            raise ValueError(f"Model {self.name!r} has no layers to build: add one first")
        with self._build_lock:
            if not self.built:
                self._input_shape = shape
                try:
                    self._build()
                except BaseException:
                    self._input_shape = None
                    raise

    def _append(self, layer: Layer) -> None:
        """Append a layer after checking it; an `Input` only sets the input shape."""
        if not isinstance(layer, Layer):
            raise TypeError(f"Expected a layer of nnfast.layers; received {layer!r}")
        if isinstance(layer, InputLayer) and (self._layers or self._input_shape is not None):
            raise ValueError(f"Model {self.name!r} can have only one Input, which must come first")
        if layer.dtype not in (None, self.dtype):
            raise ValueError(
                f"Layer {layer.name!r} has dtype {layer.dtype!r}, but model {self.name!r} has "
                f"{self.dtype!r}: pass the dtype to Sequential"
            )
        if layer.name in self._names:
            raise ValueError(
                f"Model {self.name!r} has a layer {layer.name!r} already; names must be unique"
            )
        if not self._layers and layer.feature_shape is not None and self._input_shape is None:
            self._input_shape = layer.feature_shape
            self._batch_size = getattr(layer, "batch_size", None)
        if not isinstance(layer, InputLayer):
            self._place(layer)

    def _place(self, layer: Layer) -> None:
        self._layers.append(layer)
        self._names.add(layer.name)

    def _remove_last(self) -> Layer:
        layer = self._layers.pop()
        self._names.remove(layer.name)
        return layer

    def get_config(self) -> dict[str, Any]:
        """Return the architecture as JSON-serializable Python values."""
        frozen = {} if self.trainable else {"trainable": False}
        batch_size = {} if self._batch_size is None else {"batch_size": self._batch_size}
        return {
            "name": self.name,
            "dtype": self.dtype,
            **frozen,
            **batch_size,
            "input_shape": None if self._input_shape is None else list(self._input_shape),
            "layers": [
                {"class_name": type(layer).__name__, "config": layer.get_config()}
                for layer in self._layers
            ],
        }

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
        needed = ("name", "dtype", "input_shape", "layers")
        if not isinstance(config, Mapping) or not config.keys() >= set(needed):
            raise ValueError(
                f"config must be a dict with {', '.join(needed)}, as get_config returns it; "
                f"received {config!r}"
            )
        layers: list[Layer] = [deserialize(entry) for entry in config["layers"]]
        if config["input_shape"] is not None:
            layers.insert(0, InputLayer(config["input_shape"], config.get("batch_size")))
        model = cls(name=config["name"], dtype=config["dtype"])
        model._trainable = checks.flag("trainable", config.get("trainable", True))
        for layer in layers:
            model._append(layer)
        model._build()
        return model

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle holds the contents of a saved file and references to user-defined functions.
        return unpickled, (self._state(),)


def restored(arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Sequential:
    """Return the Sequential described by a saved file, without running any code from the file.

    Raises
    ------
    ValueError, TypeError, KeyError
        If something is missing or inconsistent.
    """
    config = description["model"]
    layers = [deserialize(entry) for entry in config["layers"]]
    shape = checks.shape("input_shape", config["input_shape"])
    plan = compile_plan(layers, shape, config.get("trainable", True))
    shapes = {f"layers/{layers[p.layer].name}/{p.name}": p.shape for p in plan.parameters}
    check_shapes(arrays, shapes, plan)  # before the model allocates memory for them
    model = Sequential.from_config(config)
    if description["compile"] is not None:
        model.compile(**description["compile"])
    model._take_contents(arrays, checked_counters(description["state"]))
    return model


def unpickled(state: dict[str, Any]) -> Sequential:
    """Return the model whose state `Sequential.__reduce__` returned."""
    model = Sequential.from_config(state["model"])
    model._take_state(state)
    return model

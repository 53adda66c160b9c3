"""A chain of layers: architecture, building and weights. `Sequential` adds training."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import _engine
from nnfast._data import arrays
from nnfast._plan.plan import Plan, compile_plan
from nnfast._utils import checks, config
from nnfast._utils.assign import assign
from nnfast._utils.checks import Shape
from nnfast._utils.registry import choose
from nnfast.initializers import parameter_generator
from nnfast.layers.core import InputLayer
from nnfast.layers.layer import Layer, auto_name, check_name
from nnfast.layers.registry import deserialize
from nnfast.models.summary import Summary, summary_html, summary_lines

Array = NDArray[Any]


class Chain:
    """Layers, and once the shape of a sample is known, a plan, an engine and weights.

    A layer may be in several models; its weights are one. Each engine has its own flat memory,
    so the layer remembers the engine that wrote its weights last (`Layer.home`): a model copies
    from there before it reads (`_pull`), and moves the layer to itself before it trains
    (`_claim`). A model alone with its layers copies nothing.

    Parameters
    ----------
    layers, name, dtype
        See `nnfast.Sequential`.
    """

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.name = auto_name(type(self).__name__) if name is None else check_name(name)
        self._np_dtype = np.dtype(
            config.default_dtype() if dtype is None else config.check_dtype(dtype)
        )
        self._seed = config.next_seed()
        self._trainable = True
        # Whether `trainable` of the model or of a layer has been set since the plan was made.
        self._trainable_set = False
        # Held by what trains the model or changes how it is trained.
        self._guard = _engine.Guard()
        # Held while it is built: two threads may be the first to predict, another may compile.
        self._build_lock = threading.Lock()
        self._layers: list[Layer] = []
        self._names: set[str] = set()
        self._one: Shape | None = None
        self._plan: Plan | None = None
        self._engine: _engine.Engine | None = None
        self._views: list[dict[str, Array]] = []
        self._shares = False
        self._n_threads: int | None = None
        if not (layers is None or hasattr(layers, "__iter__")):
            raise TypeError(f"layers must be a list of layers; received {layers!r}")
        for layer in layers or ():
            self._append(layer)
        self._build()

    @property
    def n_threads(self) -> int | None:
        """The most threads that this model uses; None: as many as `nnfast.get_num_threads` says.

        Results do not depend on it. It may be set at any time and is not saved.
        """
        return self._n_threads

    @n_threads.setter
    def n_threads(self, n: int | None) -> None:
        self._n_threads = checks.optional_integer("n_threads", n)
        if self._engine is not None:
            self._engine.n_threads = min(self._n_threads or 0, 2**15)

    @property
    def dtype(self) -> str:
        """The dtype of weights and outputs."""
        return self._np_dtype.name

    @dtype.setter
    def dtype(self, value: object) -> None:
        raise AttributeError(
            f"dtype of model {self.name!r} cannot be changed: give it to a new model, and that one "
            "the weights of this with set_weights"
        )

    @property
    def trainable(self) -> bool:
        """Whether training changes weights. Setting it sets that of every layer, too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = checks.flag("trainable", value)
        for layer in self._layers:
            layer.trainable = self._trainable
        self.note_trainable()

    def note_trainable(self) -> None:
        """Note that `trainable` of this model or of one of its layers was set."""
        self._trainable_set = True

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    @layers.setter
    def layers(self, value: object) -> None:
        raise AttributeError(f"layers of model {self.name!r} cannot be set: use add and pop")

    @property
    def built(self) -> bool:
        """Whether the model has its weights."""
        return self._engine is not None

    def add(self, layer: Layer) -> None:
        """Append a layer.

        A built model is built again: the layers it has keep their weights, the optimizer
        starts anew.

        Parameters
        ----------
        layer : Layer

        Raises
        ------
        TypeError, ValueError
            If it is not a layer, is in another model, has a name that is taken, or does not
            fit the model's output. The model stays as it was.

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
            one = self._one
            self._append(layer)
            try:
                self._build()
            except BaseException:
                self._one = one
                self._remove_last()
                raise

    def pop(self) -> Layer:
        """Remove the last layer and return it; the others keep their weights.

        The optimizer starts anew.

        Raises
        ------
        ValueError
            If there is none, or what is compiled does not fit the rest.

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
            if not self._layers:
                self._unbuild()
                return layer
            try:
                self._build()
            except BaseException:
                self._place(layer)
                raise
        return layer

    def _unbuild(self) -> None:
        """Forget plan, engine and views: there are no layers."""
        self._plan, self._engine, self._views = None, None, []

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return one layer, by its name or by its place in `layers`.

        Raises
        ------
        ValueError
            If there is no such layer, or not one of `name` and `index` is given.
        """
        if (name is None) == (index is None):
            raise ValueError("Give get_layer a name or an index, one of them")
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
        input_shape : tuple
            Of a batch, as in Keras: ``(None, 784)``.

        Raises
        ------
        TypeError, ValueError
            If it is not such a tuple, or another input shape is known already.
        """
        one = checks.shape("input_shape[1:]", checks.entries("input_shape", input_shape)[1:])
        if self._one is not None and one != self._one:
            raise ValueError(
                f"Model {self.name!r} has input shape {self.input_shape}; build received "
                f"{tuple(input_shape)}"
            )
        if not self._layers:
            raise ValueError(f"Model {self.name!r} has no layers to build: add one first")
        with self._build_lock:
            if not self.built:
                self._one = one
                try:
                    self._build()
                except BaseException:
                    self._one = None
                    raise

    def _append(self, layer: Layer) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"Expected a layer of nnfast.layers; received {layer!r}")
        if isinstance(layer, InputLayer) and (self._layers or self._one is not None):
            raise ValueError(f"An Input must come first, and once, in model {self.name!r}")
        if layer.dtype not in (None, self.dtype):
            raise ValueError(
                f"Layer {layer.name!r} has dtype {layer.dtype!r} and model {self.name!r} has "
                f"{self.dtype!r}: give the dtype to Sequential"
            )
        if layer.name in self._names:
            raise ValueError(
                f"Model {self.name!r} has a layer {layer.name!r} already; names must be unique"
            )
        if not self._layers and layer.feature_shape is not None and self._one is None:
            self._one = layer.feature_shape
        if not isinstance(layer, InputLayer):
            self._place(layer)

    def _place(self, layer: Layer) -> None:
        """Append a layer that has been checked; models share it where it is in several."""
        self._layers.append(layer)
        self._names.add(layer.name)
        others = _other_models(layer, self)
        layer.models = [weakref.ref(model) for model in (*others, self)]
        for model in others:
            self._shares = model._shares = True

    def _remove_last(self) -> Layer:
        layer = self._layers.pop()
        self._names.remove(layer.name)
        layer.models = [weakref.ref(model) for model in _other_models(layer, self)]
        return layer

    def _build(self) -> None:
        """Make plan, engine and weights if the input's shape is known.

        Other threads may predict meanwhile: they see the new engine when it has its weights.
        """
        if self._one is None or not self._layers:
            return
        before, self._trainable_set = self._trainable_set, False
        try:
            plan = compile_plan(self._layers, self._one, self.trainable)
            self._check_built_layers(plan)
            engine = _engine.Engine(plan, self.dtype)
            engine.set_seed(self._seed)
            engine.n_threads = min(self._n_threads or 0, 2**15)
            if self._engine is not None:
                engine.epoch = self._engine.epoch
            views = self._filled(plan, engine)
            self._configure(plan, engine)
        except BaseException:
            self._trainable_set |= before
            raise
        self._plan, self._engine = plan, engine
        self._bind(plan, engine, views)

    def _check_built_layers(self, plan: Plan) -> None:
        """Refuse a layer that has weights of another shape or dtype already."""
        shapes: list[list[Shape]] = [[] for _ in self._layers]
        for p in plan.parameters:
            shapes[p.layer].append(p.shape)
        for layer, needed in zip(self._layers, shapes, strict=True):
            if layer.built and needed != [view.shape for view in layer.weights]:
                raise ValueError(
                    f"Layer {layer.name!r} has weights of shapes "
                    f"{[view.shape for view in layer.weights]} from another model; model "
                    f"{self.name!r} needs {needed}"
                )
            if any(view.dtype != self._np_dtype for view in layer.weights):
                raise ValueError(
                    f"Layer {layer.name!r} has {layer.weights[0].dtype} weights from another "
                    f"model; model {self.name!r} is {self.dtype}: give it that dtype"
                )

    def _configure(self, plan: Plan, engine: _engine.Engine) -> None:
        """Prepare a new engine for what the model is compiled for; may refuse the plan."""

    def _filled(self, plan: Plan, engine: _engine.Engine) -> list[dict[str, Array]]:
        """Fill an engine with the layers' weights, new ones drawn; return views by layer."""
        views: list[dict[str, Array]] = [{} for _ in self._layers]
        for p, view in zip(plan.parameters, plan.views(engine.weights), strict=True):
            layer = self._layers[p.layer]
            if layer.built:
                view[...] = layer.weights[len(views[p.layer])]
            else:
                generator = parameter_generator(self._seed, p.layer, len(views[p.layer]))
                p.weight.initializer.fill(view, generator)
            views[p.layer][p.name] = view
        return views

    def _bind(self, plan: Plan, engine: _engine.Engine, views: list[dict[str, Array]]) -> None:
        """Give every layer its views."""
        self._views = views
        fixed: list[set[str]] = [set() for _ in self._layers]
        for p in plan.parameters:
            if not p.weight.trainable:
                fixed[p.layer].add(p.name)
        for layer, own, names in zip(self._layers, views, fixed, strict=True):
            layer.bind(own, engine, frozenset(names))

    def _pull(self) -> None:
        """Copy in the weights that another model has written last."""
        if not self._shares:
            return
        engine = self._engine
        for layer, own in zip(self._layers, self._views, strict=False):
            if layer.home is not engine:
                for name, view in own.items():
                    view[...] = layer.named_weights[name]
        if engine is not None and not any(_other_models(layer, self) for layer in self._layers):
            # The others are gone: the weights need not be in their memory any longer.
            for layer, own in zip(self._layers, self._views, strict=False):
                layer.bind(own, engine, layer.fixed_weights)
            self._shares = False

    def _claim(self) -> None:
        """Make this model the one that writes the weights of its layers, those that are trainable.

        Raises
        ------
        ValueError
            If a layer is trainable whose weights the optimizer does not know.
        """
        if self._trainable_set:
            self._follow_trainable()
            missing = self._missing()
            if missing:
                raise ValueError(
                    f"Layer {missing[0]!r} became trainable after model {self.name!r} was "
                    "compiled: call compile() before training it"
                )
        if not self._shares:
            return
        self._pull()
        for layer, own in zip(self._layers, self._views, strict=False):
            if layer.home is not self._engine:
                layer.bind(own, self._engine, layer.fixed_weights)

    def _follow_trainable(self) -> None:
        """Make plan and engine train what `trainable` says, as far as they can.

        Before the first step of an optimizer they are made again. After it weights stay where they
        are, those that are frozen with their optimizer slots. Weights that were frozen until
        then have neither gradients nor slots; `_missing` names their layers.
        """
        with self._build_lock:
            if not self._trainable_set or self._plan is None or self._engine is None:
                return
            if self._guard.held_elsewhere:  # what trains the model there follows by itself
                return
            assert self._one is not None
            if self._engine.iterations == 0 and not self._guard.held:
                with self._guard:
                    self._build()
                return
            self._trainable_set = False
            try:
                plan = compile_plan(self._layers, self._one, self.trainable, like=self._plan)
                self._engine.replan(plan)
                self._take_plan(plan)
            except BaseException:
                self._trainable_set = True
                raise
            self._trainable_set |= bool(self._missing())

    def _take_plan(self, plan: Plan) -> None:
        """Go on with a plan of the same weights, of which others are trained."""
        self._plan = plan

    def _missing(self) -> list[str]:
        """Return the names of the layers that are trainable and have no memory to be trained."""
        if self._plan is None or not self.trainable:
            return []
        return [
            self._layers[p.layer].name
            for p in self._plan.parameters
            if not p.trained and p.weight.trainable and self._layers[p.layer].trainable
        ]

    def _built_for(self, x: object) -> Any:
        """Build for samples like those of `x` unless built; return `x`, converted if so."""
        if self._engine is None:
            x = checks.real_array("x", x)
            self.build((None, *arrays.feature_shape(x)))
        return x

    def get_flat_weights(self) -> NDArray[np.float64]:
        """Return a copy of all trainable weights as one vector: every kernel, then every bias."""
        return self._flat(self._built_engine().params)

    def set_flat_weights(self, theta: ArrayLike) -> None:
        """Set all trainable weights from one vector, as `get_flat_weights` gives it."""
        engine = self._built_engine()
        theta = checks.real_array("theta", theta)
        parts = self._flat_parts(engine.params)
        size = sum(part.size for part in parts)
        if theta.shape != (size,):
            raise ValueError(
                f"theta must have shape ({size},), as get_flat_weights gives it; received shape "
                f"{theta.shape}"
            )
        self._claim()
        flat = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0), *parts])
        assign(f"model {self.name!r}", [flat], [theta])
        if len(parts) != 1:
            ends = np.cumsum([part.size for part in parts])
            for part, end in zip(parts, ends, strict=True):
                part[...] = flat[end - part.size : end]

    def _flat(self, flat: Array) -> NDArray[np.float64]:
        """Return a copy of the numbers of trainable weights among parameters or gradients."""
        parts = [part.astype(np.float64) for part in self._flat_parts(flat)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0), *parts])

    def _flat_parts(self, flat: Array) -> list[Array]:
        """Return the parts of flat parameters or gradients whose weights are trainable."""
        assert self._plan is not None
        if not self._plan.has_untrained_slots:
            return [flat]
        trained = sorted(p.offset for p in self._plan.parameters if p.trained)
        sizes = {p.offset: p.size for p in self._plan.parameters if p.trained}
        return [flat[begin : begin + sizes[begin]] for begin in trained]

    @property
    def weights(self) -> list[Array]:
        """Views of all weights, layer by layer; [] before the model is built."""
        return [view for layer in self._layers for view in layer.weights]

    @property
    def trainable_weights(self) -> list[Array]:
        """Those of them that the optimizer changes."""
        if not self.trainable:
            return []
        return [view for layer in self._layers for view in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """The others: moving averages, the statistics of a data set, frozen layers."""
        if not self.trainable:
            return self.weights
        return [view for layer in self._layers for view in layer.non_trainable_weights]

    def get_weights(self) -> list[Array]:
        """Return copies of all weights: kernel, bias, kernel, …; [] before it is built."""
        return [view.copy() for view in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all weights.

        Parameters
        ----------
        weights : sequence of array_like
            In the order and of the shapes of `get_weights`.

        Raises
        ------
        ValueError
            If their number or a shape differs; nothing is set then.
        """
        assign(f"model {self.name!r}", self.weights, weights)

    def count_params(self) -> int:
        """Return the number of parameters of the built model."""
        return self._built_engine().weights.size

    def _built_engine(self) -> _engine.Engine:
        if self._engine is None:
            raise ValueError(
                f"Model {self.name!r} has no weights yet: give it an Input or an input_shape, or "
                "call build() or fit() first"
            )
        return self._engine

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of a batch of inputs, its first entry None."""
        if self._one is None:
            raise AttributeError(f"Model {self.name!r} has no input shape yet")
        return (None, *self._one)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of a batch of outputs, its first entry None."""
        if self._plan is None:
            raise AttributeError(f"Model {self.name!r} has no output shape yet")
        return (None, *self._plan.output_shape)

    def summary(self, print_fn: Callable[[str], object] | None = None) -> None:
        """Print a table of the layers, their output shapes and numbers of parameters.

        Parameters
        ----------
        print_fn : callable, optional
            Called with each line; `print` by default.
        """
        write: Callable[[str], object] = print if print_fn is None else print_fn
        if not callable(write):
            raise TypeError(f"print_fn must be callable; received {print_fn!r}")
        for text in summary_lines(self._summary()):
            write(text)

    def _repr_html_(self) -> str:
        """Return `summary`'s table for notebooks."""
        return summary_html(self._summary())

    def _summary(self) -> Summary:
        fixed = sum(view.size for view in self.non_trainable_weights)
        return Summary(self.name, self._layers, self._one, self._np_dtype.itemsize, fixed)

    def get_config(self) -> dict[str, Any]:
        """Return the architecture as plain Python values (JSON)."""
        frozen = {} if self.trainable else {"trainable": False}
        return {
            "name": self.name,
            "dtype": self.dtype,
            **frozen,
            "input_shape": None if self._one is None else list(self._one),
            "layers": [
                {"class_name": type(layer).__name__, "config": layer.get_config()}
                for layer in self._layers
            ],
        }

    def to_json(self, **options: Any) -> str:
        """Return the architecture as JSON, for `nnfast.models.model_from_json`.

        Parameters
        ----------
        **options
            Of `json.dumps`, for example ``indent=2``.
        """
        return json.dumps(
            {"class_name": type(self).__name__, "config": self.get_config()}, **options
        )

    @staticmethod
    def _plan_of(config: Mapping[str, Any]) -> tuple[dict[str, Shape], Plan]:
        """Return the shapes of a model's weights, named as by `_named_weights`, and its plan.

        Nothing is allocated.
        """
        chain = [deserialize(entry) for entry in config["layers"]]
        shape = checks.shape("input_shape", config["input_shape"])
        plan = compile_plan(chain, shape, config.get("trainable", True))
        shapes = {f"layers/{chain[p.layer].name}/{p.name}": p.shape for p in plan.parameters}
        return shapes, plan

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new model, with new weights, made from what `get_config` gave.

        Raises
        ------
        ValueError
            If it is not what `get_config` gave.
        """
        needed = ("name", "dtype", "input_shape", "layers")
        if not isinstance(config, Mapping) or not config.keys() >= set(needed):
            raise ValueError(
                f"config must be a dict with {', '.join(needed)}, as get_config gives it; received "
                f"{config!r}"
            )
        chain: list[Layer] = [deserialize(entry) for entry in config["layers"]]
        if config["input_shape"] is not None:
            chain.insert(0, InputLayer(config["input_shape"]))
        model = cls(name=config["name"], dtype=config["dtype"])
        model._trainable = checks.flag("trainable", config.get("trainable", True))
        for layer in chain:
            model._append(layer)
        model._build()
        return model

    def _named_weights(self) -> Iterator[tuple[str, Array]]:
        """Yield every weight under a name that is unique in the model."""
        for layer in self._layers:
            for name, view in layer.named_weights.items():
                yield f"layers/{layer.name}/{name}", view


def _other_models(layer: Layer, model: Chain) -> list[Chain]:
    """Return the other models that a layer is in, as far as they still are."""
    models = [ref() for ref in layer.models]
    return [other for other in models if other is not None and other is not model]

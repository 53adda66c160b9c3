"""Layers compiled into a plan, with the engine that holds their weights."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._data.ends import Ends, only
from nnfast._data.preparation import Part, Preparation, Step
from nnfast._data.samples import checked_rows
from nnfast._engine import Engine, WeightArray
from nnfast._plan.graph import FlatGraph
from nnfast._plan.parameters import Parameter
from nnfast._plan.plan import Plan, compile_graph
from nnfast._plan.sized import first_sized
from nnfast._runtime.variants import Sizes, Variants
from nnfast._utils.checks import Shape, real_array
from nnfast.initializers import parameter_generator

Array = NDArray[Any]


class Network:
    """A plan, its engine and, for a model, the layers whose weights the engine uses.

    A layer may belong to several networks. Its weights stay in the memory that the first of their
    engines allocated, and the other engines use the same memory.

    Parameters
    ----------
    plan : Plan
    dtype : numpy.dtype
        float32 or float64.
    graph : FlatGraph, optional
        The graph that the plan was compiled from; None if the weights belong to no layer.
    trainable : bool
        False freezes all layers.
    ends : tuple of Ends, optional
        The names and the structure of the inputs and of the outputs.
    like : Network, optional
        The network of the same model for samples of another size. Both have the same weights and
        the same position in training.

    Attributes
    ----------
    layers : list of Layer
    names : list of str
        A unique name for each layer; those of layers within models are paths.
    engine : nnfast._engine.Engine
    seed : int
        Seed of the initial weights, shuffles and dropout.
    trainable_set : bool
        Whether `trainable` of the network or of a layer was set after the plan was made.
    direct : bool
        Whether the engine may predict directly from the user's arrays. This requires that several
        inputs or outputs form a list, and that each output for a sample is a vector.
    inputs, outputs : Ends
    preparation : Preparation or None
        Makes the arrays that the engine reads, if Python computes the first layers.
    variants : Variants or None
        The networks for samples of other sizes, if an input has axes whose sizes may vary. They use
        the weights of this one, which computes nothing itself.
    """

    def __init__(
        self,
        plan: Plan,
        dtype: np.dtype[Any],
        graph: FlatGraph | None = None,
        trainable: bool = True,
        ends: tuple[Ends, Ends] = (only("x"), only("y")),
        like: Network | None = None,
    ) -> None:
        self.plan = plan
        self.inputs, self.outputs = ends
        self.dtype = dtype
        self.graph = graph
        self.layers: list[Any] = [] if graph is None else list(graph.layers)
        self.names = [] if graph is None else graph.paths
        self.trainable = trainable
        self.trainable_set = False
        self.seed = 0
        self.variants: Variants | None = None
        self.engine = _engine(plan, dtype, self.layers, like)
        flat_inputs = len(self.inputs) == 1 or self.inputs.flat
        self.preparation = None if graph is None else _preparation(graph)
        self.direct = (
            self.engine.plain_rows
            and flat_inputs
            and self.outputs.flat
            and self.preparation is None
        )
        self._arrays: list[dict[str, WeightArray]] = [{} for _ in self.layers]

    @classmethod
    def of_graph(
        cls,
        flat: FlatGraph,
        dtype: np.dtype[Any],
        seed: int,
        trainable: bool,
        ends: tuple[Ends, Ends] = (only("x"), only("y")),
    ) -> Network:
        """Return a network for the layers of a graph; `bind` connects the layers to it later.

        Layers that have weights keep them; the weights of the others are initialized.

        Raises
        ------
        ValueError
            If the layers, or the weights that they already have, do not fit together.
        """
        graph = first_sized(flat)
        plan = compile_graph(graph, trainable)
        _check_built_layers(flat.layers, plan, dtype)
        network = cls(plan, dtype, graph, trainable, ends)
        if flat.is_open:
            network.variants = Variants(flat, ends[0].names)
            network.direct = False
        network.set_seed(seed)
        network._initialize()
        return network

    def follow(self, before: Network) -> None:
        """Continue with the epoch, and with the limits, of the network that this one replaces."""
        self.engine.epoch = before.engine.epoch
        if self.variants is not None and before.variants is not None:
            self.variants.stored = before.variants.stored

    def limit_growth(self, stored: int) -> None:
        """Limit the memory for samples of other sizes to what a file of `stored` values may demand.

        The plan of this network was checked when the file was read.
        """
        if self.variants is not None:
            self.variants.stored = stored

    def set_seed(self, seed: int) -> None:
        """Set the seed of shuffles and dropout."""
        self.seed = seed
        self.engine.set_seed(seed)

    def set_n_threads(self, n: int | None) -> None:
        """Use at most `n` threads; None means `nnfast.get_num_threads`."""
        self.engine.n_threads = min(n or 0, 2**15)

    # ---- sizes -----------------------------------------------------------------------------------

    def sized(self, name: str, x: object) -> Network:
        """Return the network for samples as those of `x`.

        It is this one unless it has `variants`, or if the sizes are those of prepared arrays.
        """
        if self.variants is None or self.preparation is not None:
            return self
        return self.variant(self.sizes(self.parts(name, x)))

    def call(self, x: object) -> Any:
        """Return the predictions of a variant for an array that its engine can read, else None."""
        if self.variants is None or type(x) is not np.ndarray:
            return None
        network = self.sized("x", x)
        return network.engine.call(x) if network.direct else None

    def sizes(self, parts: Sequence[Part]) -> Sizes:
        """Return the shape of a sample of each of the engine's arrays; needs `variants`."""
        assert self.variants is not None
        return self.variants.sizes(parts)

    def variant(self, sizes: Sizes) -> Network:
        """Return the network for samples of these shapes; needs `variants`."""
        assert self.variants is not None
        found: Network | None = self.variants.networks.get(sizes)
        if found is None or found.plan.trainable != self.plan.trainable:
            found = self._new_variant(sizes)
            self.variants.networks.put(sizes, found)
        return found

    def _new_variant(self, sizes: Sizes) -> Network:
        assert self.variants is not None
        graph = self.variants.graph(sizes)
        trainable, *trained = self.plan.trainable  # flags may have been set since
        plan = compile_graph(graph, trainable, self.plan, trained)
        self.variants.check_growth(plan, sizes)
        return self._with_plan(plan, graph)

    def again(self) -> Network:
        """Return another network with the same plan, weights and position in training."""
        return self._with_plan(self.plan, self.graph)

    def _with_plan(self, plan: Plan, graph: FlatGraph | None) -> Network:
        ends = self.inputs, self.outputs
        return Network(plan, self.dtype, graph, self.trainable, ends, self)

    # ---- data ------------------------------------------------------------------------------------

    def parts(self, name: str, x: object) -> list[Part]:
        """Return the arrays that the engine reads, not checked yet, with their names."""
        parts = self.inputs.labelled(name, x, True)
        return parts if self.preparation is None else self.preparation(parts)

    def rows(self, parts: Sequence[Part]) -> list[Array]:
        """Return the checked arrays; see `checked_rows`."""
        return checked_rows(parts, self.plan.input_shapes, self.dtype, self.plan.ids)

    def checked(self, name: str, x: object) -> tuple[Network, list[Array]]:
        """Return the network for samples as those of `x`, and its checked arrays.

        It is this one unless it has `variants`.
        """
        parts = self.parts(name, x)
        network = self if self.variants is None else self.variant(self.sizes(parts))
        return network, network.rows(parts)

    def batch_size(self, given: int | None, rows: int) -> int | None:
        """Return the batch size for data with these rows: that of stateful layers, if any.

        Raises
        ------
        ValueError
            If another one is given, or the rows do not fill the last batch.
        """
        fixed = self.plan.fixed_rows
        if fixed and given not in (None, fixed):
            raise ValueError(
                f"batch_size must be {fixed}, as in Input, because the model has stateful layers; "
                f"received {given}"
            )
        if fixed and rows % fixed:
            raise ValueError(
                f"The model has stateful layers for batches of {fixed} rows, so x must have a "
                f"multiple of {fixed} rows; received {rows}"
            )
        return fixed or given

    # ---- layers ----------------------------------------------------------------------------------

    def _initialize(self) -> None:
        """Initialize the weights of new layers; the others keep theirs."""
        for p, array in zip(self.plan.parameters, self.engine.arrays, strict=True):
            own = self._arrays[p.layer]
            if p.name not in self.layers[p.layer].arrays:
                generator = parameter_generator(self.seed, p.layer, len(own))
                p.weight.initializer.fill(np.asarray(array).reshape(p.shape), generator)
            own[p.name] = array

    def bind(self) -> None:
        """Give new layers their weights, and connect all layers to this network.

        Raises
        ------
        RuntimeError
            If another thread has given a new layer other weights meanwhile.
        """
        weights: list[list[Parameter]] = [[] for _ in self.layers]
        for p in self.plan.parameters:
            weights[p.layer].append(p)
        for layer, own in zip(self.layers, self._arrays, strict=True):
            if layer.built and layer.arrays != own:
                raise RuntimeError(f"Another thread is building layer {layer.name!r}: call again")
        for layer, own, described in zip(self.layers, self._arrays, weights, strict=True):
            alive = [ref for ref in layer.networks if ref() is not None]
            layer.networks = [*alive, weakref.ref(self)]
            if not layer.built:
                layer.bind(
                    own,
                    {p.name: p.shape for p in described},
                    frozenset(p.name for p in described if not p.weight.trainable),
                    frozenset(p.name for p in described if p.weight.is_state),
                )

    def note_trainable(self) -> None:
        """Record that `trainable` of the network or of one of its layers was set."""
        self.trainable_set = True

    def follow_trainable(self) -> None:
        """Apply the current `trainable` flags, without moving weights in memory.

        Weights that are frozen now keep their optimizer slots. Weights that were frozen until now
        have neither gradients nor slots; `missing` names their layers.
        """
        self.trainable_set = False
        # While two models take turns in training, flags are often set back before the next step.
        if self.plan.trainable != (self.trainable, *(layer.trainable for layer in self.layers)):
            try:
                plan = self.new_plan(like=self.plan)
                self.engine.replan(plan)
                self.plan = plan
            except BaseException:
                self.trainable_set = True
                raise
        self.trainable_set |= bool(self.missing())

    def new_plan(self, like: Plan | None = None) -> Plan:
        """Return a plan for the current `trainable` flags; see `compile_graph`."""
        assert self.graph is not None, "only models change what they train"
        return compile_graph(self.graph, self.trainable, like)

    def has_other_slots(self) -> bool:
        """Return whether the weights with slots may differ from the currently trainable weights."""
        return self.trainable_set or self.plan.has_untrained_slots

    def missing(self) -> list[str]:
        """Return the names of trainable layers whose weights have no gradients or slots."""
        if not self.trainable:
            return []
        return [
            self.layers[p.layer].name
            for p in self.plan.parameters
            if not p.trained
            and p.weight.trainable
            and self.layers[p.layer].trainable
            and p.layer in self.plan.used_layers
        ]

    # ---- weights ---------------------------------------------------------------------------------

    def named_weights(self) -> Iterator[tuple[str, Array]]:
        """Yield the weights and states of every layer with names that are unique in the network."""
        for layer, path in zip(self.layers, self.names, strict=True):
            for name, view in (layer.named_weights | layer.named_states).items():
                yield f"layers/{path}/{name}", view

    def flat_weights(self) -> NDArray[np.float64]:
        """Return a copy of the trainable weights as one vector: every matrix, then every vector."""
        return _flat(array for _, array in self._trained())

    def flat_gradient(self, gradient: Array) -> NDArray[np.float64]:
        """Return the trainable weights' part of a flat gradient, in the order of `flat_weights`."""
        return _flat(gradient[p.offset : p.offset + p.size] for p, _ in self._trained())

    def set_flat(self, theta: ArrayLike) -> None:
        """Set all trainable weights from one vector, in the order of `flat_weights`."""
        theta = real_array("theta", theta)
        trained = self._trained()
        size = sum(p.size for p, _ in trained)
        if theta.shape != (size,):
            raise ValueError(
                f"theta must have shape ({size},), as get_flat_weights gives it; received shape "
                f"{theta.shape}"
            )
        ends = np.cumsum([p.size for p, _ in trained])
        for (p, array), end in zip(trained, ends, strict=True):
            array[...] = theta[end - p.size : end]

    def _trained(self) -> list[tuple[Parameter, Array]]:
        """Return the trainable weights as vectors, in the order of their gradients."""
        pairs = zip(self.plan.parameters, self.engine.arrays, strict=True)
        trained = [(p, np.asarray(array)) for p, array in pairs if p.trained]
        return sorted(trained, key=lambda pair: pair[0].offset)

    # ---- training --------------------------------------------------------------------------------

    def next_epoch(self) -> None:
        """Advance to the first batch of the next epoch if the current one is unfinished."""
        if self.engine.batch:
            self.engine.epoch += 1
            self.engine.batch = 0

    def finish(self) -> None:
        """Replace the weights by their moving average, if the optimizer keeps one."""
        engine = self.engine
        if engine.has_average and engine.iterations:
            average = engine.slots[-1]
            for p, array in self._trained():
                array[...] = average[p.offset : p.offset + p.size]


def _engine(
    plan: Plan, dtype: np.dtype[Any], layers: Sequence[Any], like: Network | None
) -> Engine:
    """Return the engine of a network, which uses the weights of its layers or of another one."""
    if like is not None:
        return Engine(plan, dtype.name, like.engine.arrays, like.engine)
    arrays = [layers[p.layer].arrays.get(p.name) for p in plan.parameters if layers]
    return Engine(plan, dtype.name, arrays or None)


def _flat(parts: Iterable[Array]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *parts])


def _preparation(graph: FlatGraph) -> Preparation | None:
    """Return the computation of the layers before the engine, if there are any."""
    if not graph.prepared:
        return None
    steps = [
        Step(graph.layers[call.layer], source, call.outputs[0], graph.shapes[source])  # type: ignore[arg-type]
        for call in graph.prepared
        for source in call.inputs
    ]
    return Preparation(graph.given, steps, graph.inputs)


def _check_built_layers(layers: Sequence[Any], plan: Plan, dtype: np.dtype[Any]) -> None:
    """Raise a ValueError if a layer already has weights of another shape or dtype."""
    shapes: list[list[Shape]] = [[] for _ in layers]
    for p in plan.parameters:
        shapes[p.layer].append(p.shape)
    for layer, needed in zip(layers, shapes, strict=True):
        own = [view.shape for view in (*layer.weights, *layer.named_states.values())]
        if layer.built and needed != own:
            raise ValueError(
                f"Layer {layer.name!r} has weights of shapes {own} from another model; this one "
                f"needs {needed}"
            )
        if any(view.dtype != dtype for view in layer.weights):
            raise ValueError(
                f"Layer {layer.name!r} has {layer.weights[0].dtype} weights from another model, "
                f"but this model is {dtype.name}: give both the same dtype"
            )

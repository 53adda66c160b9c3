"""Layers compiled into a plan, with the engine that holds their weights."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._engine import Engine
from nnfast._plan.graph import FlatGraph
from nnfast._plan.plan import Plan, compile_plan
from nnfast._utils.assign import assign
from nnfast._utils.checks import Shape, real_array
from nnfast.initializers import parameter_generator
from nnfast.layers.layer import Layer

Array = NDArray[Any]


class Network:
    """A plan, its engine and, for a model, the layers whose weights are in the engine's memory.

    A layer may belong to several networks, which share its weights. Each engine has its own memory,
    so the layer remembers the engine that wrote its weights last (`Layer.home`). Before a network
    reads the weights, it copies them from that engine (`pull`). Before it trains, its own engine
    becomes the layer's home (`claim`). A network that shares no layers copies nothing.

    Parameters
    ----------
    plan : Plan
    dtype : numpy.dtype
        float32 or float64.
    layers : sequence of Layer
        The layers that the plan was compiled from; empty if the weights belong to no layer.
    trainable : bool
        False freezes all layers.
    names : sequence of str
        A unique name for each layer; those of layers within models are paths.

    Attributes
    ----------
    engine : nnfast._engine.Engine
    seed : int
        Seed of the initial weights, shuffles and dropout.
    trainable_set : bool
        Whether `trainable` of the network or of a layer was set after the plan was made.
    shared : bool
        Whether a layer may also belong to another network.
    direct : bool
        Whether the engine may predict directly from the user's array. This requires that the
        output for a sample is a vector and that no layer is shared.
    """

    def __init__(
        self,
        plan: Plan,
        dtype: np.dtype[Any],
        layers: Sequence[Layer] = (),
        trainable: bool = True,
        names: Sequence[str] = (),
    ) -> None:
        self.plan = plan
        self.dtype = dtype
        self.layers = list(layers)
        self.names = list(names)
        self.trainable = trainable
        self.trainable_set = False
        self.seed = 0
        self.engine = Engine(plan, dtype.name)
        self.share(False)
        self._views: list[dict[str, Array]] = [{} for _ in self.layers]

    @classmethod
    def of_graph(
        cls,
        flat: FlatGraph,
        dtype: np.dtype[Any],
        seed: int,
        trainable: bool,
    ) -> Network:
        """Return a network for the layers of a graph; `bind` connects the layers to it later.

        Layers that have weights keep them; the weights of the others are initialized.

        Raises
        ------
        ValueError
            If the layers, or the weights that they already have, do not fit together.
        """
        layers, input_shape = flat.chain()
        plan = compile_plan(layers, input_shape, trainable)
        _check_built_layers(layers, plan, dtype)
        network = cls(plan, dtype, layers, trainable, flat.paths)
        network.set_seed(seed)
        network._fill()
        return network

    def set_seed(self, seed: int) -> None:
        """Set the seed of shuffles and dropout."""
        self.seed = seed
        self.engine.set_seed(seed)

    def set_n_threads(self, n: int | None) -> None:
        """Use at most `n` threads; None means `nnfast.get_num_threads`."""
        self.engine.n_threads = min(n or 0, 2**15)

    # ---- layers ----------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Copy the layers' weights into the engine, and initialize those of new layers."""
        views = self.plan.views(self.engine.weights)
        for p, view in zip(self.plan.parameters, views, strict=True):
            layer, own = self.layers[p.layer], self._views[p.layer]
            if layer.built:
                view[...] = layer.named_weights[p.name]
            else:
                generator = parameter_generator(self.seed, p.layer, len(own))
                p.weight.initializer.fill(view, generator)
            own[p.name] = view

    def bind(self, replaced: Network | None = None) -> None:
        """Point the layers to their weights in this network instead of the `replaced` network."""
        non_trainable: list[set[str]] = [set() for _ in self.layers]
        for p in self.plan.parameters:
            if not p.weight.trainable:
                non_trainable[p.layer].add(p.name)
        for layer, own, names in zip(self.layers, self._views, non_trainable, strict=True):
            others = [other for other in self._others(layer) if other is not replaced]
            layer.networks = [weakref.ref(network) for network in (*others, self)]
            for other in others:
                self.share(True)
                other.share(True)
            layer.bind(own, self.engine, frozenset(names))

    def _others(self, layer: Layer) -> list[Network]:
        """Return the other networks that a layer belongs to and that still exist."""
        networks = [ref() for ref in layer.networks]
        return [other for other in networks if other is not None and other is not self]

    def pull(self) -> None:
        """Update this network's copy of weights that another network wrote last."""
        if not self.shared:
            return
        for layer, own in zip(self.layers, self._views, strict=True):
            if layer.home is not self.engine:
                for name, view in own.items():
                    view[...] = layer.named_weights[name]
        if not any(self._others(layer) for layer in self.layers):
            # No other network uses these layers any more, so this engine becomes their home.
            self._move_layers()
            self.share(False)

    def share(self, shared: bool) -> None:
        """Record whether a layer may also belong to another network."""
        self.shared = shared
        self.direct = self.engine.plain_rows and not shared

    def claim(self) -> None:
        """Make this the network that writes the weights of its layers."""
        if self.shared:
            self.pull()
            self._move_layers()

    def _move_layers(self) -> None:
        for layer, own in zip(self.layers, self._views, strict=True):
            if layer.home is not self.engine:
                layer.bind(own, self.engine, layer.fixed_weights)

    def note_trainable(self) -> None:
        """Record that `trainable` of the network or of one of its layers was set."""
        self.trainable_set = True

    def follow_trainable(self) -> None:
        """Apply the current `trainable` flags, without moving weights in memory.

        Weights that are frozen now keep their optimizer slots. Weights that were frozen until now
        have neither gradients nor slots; `missing` names their layers.
        """
        self.trainable_set = False
        try:
            plan = compile_plan(self.layers, self.plan.input_shape, self.trainable, like=self.plan)
            self.engine.replan(plan)
            self.plan = plan
        except BaseException:
            self.trainable_set = True
            raise
        self.trainable_set |= bool(self.missing())

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
            if not p.trained and p.weight.trainable and self.layers[p.layer].trainable
        ]

    # ---- weights ---------------------------------------------------------------------------------

    def named_weights(self) -> Iterator[tuple[str, Array]]:
        """Yield the weights of every layer with names that are unique in the network."""
        for layer, path in zip(self.layers, self.names, strict=True):
            for name, view in layer.named_weights.items():
                yield f"layers/{path}/{name}", view

    def flat(self, values: Array) -> NDArray[np.float64]:
        """Return the trainable weights' part of flat parameters or gradients, as a float64 copy."""
        parts = [part.astype(np.float64) for part in self._flat_parts(values)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0), *parts])

    def set_flat(self, whose: str, theta: ArrayLike) -> None:
        """Set all trainable weights from one vector, in the order of ``flat(engine.params)``."""
        theta = real_array("theta", theta)
        parts = self._flat_parts(self.engine.params)
        size = sum(part.size for part in parts)
        if theta.shape != (size,):
            raise ValueError(
                f"theta must have shape ({size},), as get_flat_weights gives it; received shape "
                f"{theta.shape}"
            )
        flat = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0), *parts])
        assign(whose, [flat], [theta])
        if len(parts) != 1:
            ends = np.cumsum([part.size for part in parts])
            for part, end in zip(parts, ends, strict=True):
                part[...] = flat[end - part.size : end]

    def _flat_parts(self, values: Array) -> list[Array]:
        """Return views of the trainable weights' ranges in flat parameters or gradients."""
        if not self.plan.has_untrained_slots:
            return [values]
        trained = {p.offset: p.size for p in self.plan.parameters if p.trained}
        return [values[begin : begin + trained[begin]] for begin in sorted(trained)]

    # ---- training --------------------------------------------------------------------------------

    def next_epoch(self) -> None:
        """Advance to the first batch of the next epoch if the current one is unfinished."""
        if self.engine.batch:
            self.engine.epoch += 1
            self.engine.batch = 0

    def finish(self) -> None:
        """Replace the weights by their moving average, if the optimizer keeps one."""
        engine, plan = self.engine, self.plan
        if engine.has_average and engine.iterations:
            averages = plan.trained_views(engine.slots[-1])
            for view, average in zip(plan.trained_views(engine.params), averages, strict=True):
                view[...] = average


def _check_built_layers(layers: Sequence[Layer], plan: Plan, dtype: np.dtype[Any]) -> None:
    """Raise a ValueError if a layer already has weights of another shape or dtype."""
    shapes: list[list[Shape]] = [[] for _ in layers]
    for p in plan.parameters:
        shapes[p.layer].append(p.shape)
    for layer, needed in zip(layers, shapes, strict=True):
        if layer.built and needed != [view.shape for view in layer.weights]:
            raise ValueError(
                f"Layer {layer.name!r} has weights of shapes "
                f"{[view.shape for view in layer.weights]} from another model; this one needs "
                f"{needed}"
            )
        if any(view.dtype != dtype for view in layer.weights):
            raise ValueError(
                f"Layer {layer.name!r} has {layer.weights[0].dtype} weights from another model, "
                f"but this model is {dtype.name}: give both the same dtype"
            )

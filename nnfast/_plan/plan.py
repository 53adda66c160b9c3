"""Compilation of layers into a plan: op tables, and the layouts of the parameters and the arena.

`compile_plan` takes layers and the shape of one sample. It returns a `Plan` of plain numbers, with
offsets in elements, from which an engine is built; see docs/design.md, "The plan".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from nnfast._plan.fusion import Fused, final_activations, fuse
from nnfast._plan.graph import FlatGraph, chain
from nnfast._plan.ids import IdColumns, find_ids
from nnfast._plan.lowering import lower
from nnfast._plan.memory import OpTable, make_tables, values_kept
from nnfast._plan.parameters import (
    Parameter,
    describe_arrays,
    describe_parameters,
    keep_offsets,
    lay_out,
    layer_references,
)
from nnfast._plan.spec import LayerSpec, Shape
from nnfast._plan.storage import Strides


@dataclass(frozen=True)
class Plan:
    """A compiled model.

    Attributes
    ----------
    input_shapes, output_shapes : list of tuple of int
        Shapes of one sample.
    inputs, outputs : list of dict
        The engine's descriptions of the inputs and outputs: sizes, the scale and offset with which
        the engine reads x, and the strides of outputs, the number of their rows per sample and that
        of the steps of their masks, 0 without a mask.
    ids : list of (list of tuple of int or None)
        The columns of each input that hold ids; see `IdColumns`.
    n_params, n_weights : int
        The number of weights with gradients and optimizer slots, and the number of all weights.
        Weights without gradients come last.
    training, input_gradient, inference : OpTable
        The ops for training, the same with a backward pass down to the input, and the ops for
        inference, which omit dropout and reuse the memory of tensors that no op reads any more.
    max_values_kept : int
        The size of the largest array that an op keeps for one sample in inference.
    n_stats : int
        Total size of all normalizations' statistics in elements.
    arrays : list of dict
        The engine's descriptions of the weights, in the order of `parameters`.
    parameters : tuple of Parameter
        In the order of `get_weights`.
    final_activations : tuple of str
        The activation that each output's last op applies in training, "linear" if none.
    used_layers : frozenset of int
        The layers on which the output depends; no other layer is trained.
    trainable : tuple of bool
        The flags from which the plan was made: that of the model and those of all layers.
    """

    input_shapes: list[Shape]
    output_shapes: list[Shape]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    ids: list[IdColumns | None]
    n_params: int
    n_weights: int
    training: OpTable
    input_gradient: OpTable
    inference: OpTable
    max_values_kept: int
    n_stats: int
    arrays: list[dict[str, Any]]
    parameters: tuple[Parameter, ...]
    final_activations: tuple[str, ...]
    used_layers: frozenset[int]
    trainable: tuple[bool, ...]

    # A model with one input and one output has these, too.

    @property
    def input_shape(self) -> Shape:
        return self.input_shapes[0]

    @property
    def output_shape(self) -> Shape:
        return self.output_shapes[0]

    @property
    def n_in(self) -> int:
        n: int = self.inputs[0]["n"]
        return n

    @property
    def n_out(self) -> int:
        return math.prod(self.output_shape)

    @property
    def final_activation(self) -> str:
        return self.final_activations[0]

    @property
    def max_values_per_sample(self) -> int:
        """The size of the largest array that is needed to predict one sample.

        That array is an op's input or output, a padded image, a resampling's taps, or statistics.
        """
        return max(self.n_stats, self.max_values_kept)

    @cached_property
    def mask_numbers(self) -> dict[int, int]:
        """The outputs with masks, and the positions of the masks among the engine's results."""
        masked = [k for k, end in enumerate(self.outputs) if end["mask_steps"]]
        return {k: len(self.outputs) + i for i, k in enumerate(masked)}

    @cached_property
    def fixed_rows(self) -> int:
        """The number of rows that every batch must have because of stateful layers; 0: any."""
        states = [p.shape for p in self.parameters if p.weight.is_state]
        return states[0][1] if states else 0

    @property
    def has_untrained_slots(self) -> bool:
        """Whether some weights with gradients and slots are currently not trained."""
        return sum(p.size for p in self.parameters if p.trained) < self.n_params

    def views(self, flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield each array's view into a flat array of weights, in the order of `parameters`."""
        for p in self.parameters:
            yield p.view(flat)

    def trained_views(self, flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the views of those arrays that the optimizer changes."""
        for p in self.parameters:
            if p.trained:
                yield p.view(flat)


def describe_input(shape: Shape, scaling: tuple[float, float]) -> dict[str, Any]:
    """Return the engine's description of an input."""
    n = math.prod(shape)
    return {"n": n, "scale": scaling[0], "offset": scaling[1]}


def describe_outputs(fused: Fused) -> list[dict[str, Any]]:
    """Return the engine's descriptions of the outputs."""
    strides = Strides(fused.unpadded)
    made = {sized.output: (sized.steps, sized.n_out) for sized in fused.training}
    found = []
    for tensor, mask in zip(fused.training_outputs, fused.masks, strict=True):
        steps, n = made[tensor]
        real = 0 if mask is None else made[mask][1]
        found.append({"steps": steps, "n": n, "ld": strides.of(steps, n), "mask_steps": real})
    return found


def compile_plan(
    layers: Sequence[LayerSpec],
    input_shape: Shape,
    trainable: bool = True,
    like: Plan | None = None,
) -> Plan:
    """Compile a chain of layers; see `compile_graph`.

    Examples
    --------
    >>> from nnfast import layers
    >>> plan = compile_plan([layers.Dense(3, activation="relu")], (4,))
    >>> plan.n_params, plan.training.width, plan.final_activation
    (15, 48, 'relu')
    """
    return compile_graph(chain(layers, input_shape), trainable, like)


def compile_graph(
    graph: FlatGraph,
    trainable: bool = True,
    like: Plan | None = None,
    trained_layers: Sequence[bool] | None = None,
) -> Plan:
    """Compile a graph of layers.

    Parameters
    ----------
    graph : FlatGraph
    trainable : bool
        Whether trainable layers are trained. If False, no weight is trained.
    like : Plan, optional
        An earlier plan of the same layers, some of which may have changed `trainable` since, or for
        samples of other sizes. Every weight keeps its offset. Weights without gradients in that
        plan are not trained.
    trained_layers : sequence of bool, optional
        Whether each layer is trained; by default its `trainable`.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the engine cannot compute the graph.
    """
    layers = graph.layers
    input_shapes = [graph.shapes[tensor] for tensor in graph.inputs]
    output_shapes = [graph.shapes[tensor] for tensor in graph.outputs]
    # Read once, so that a layer is not partly trained if another thread freezes it meanwhile.
    if trained_layers is None:
        trained_layers = [layer.trainable for layer in layers]
    lowered = lower(graph, trained_layers)
    fused = fuse(lowered)
    # A layer that the output does not need has no gradient.
    used = frozenset(call.layer for _, call in graph.needed())
    wanted = [trainable and on and i in used for i, on in enumerate(trained_layers)]
    weights = describe_parameters(graph, wanted)
    if like is None:
        parameters, n_params = lay_out(weights)
    else:
        n_params = like.n_params
        parameters = keep_offsets(weights, like.parameters, n_params)
    trained = frozenset(i for i, p in enumerate(parameters) if p.trained)
    tables = make_tables(fused, layer_references(parameters), trained)
    return Plan(
        input_shapes=input_shapes,
        output_shapes=output_shapes,
        inputs=[
            describe_input(*entry)
            for entry in zip(input_shapes, fused.scaling.values(), strict=True)
        ],
        outputs=describe_outputs(fused),
        ids=find_ids(lowered, graph),
        n_params=n_params,
        n_weights=sum(p.size for p in parameters),
        training=tables.training,
        input_gradient=tables.input_gradient,
        inference=tables.inference,
        max_values_kept=max(map(values_kept, fused.inference)),
        n_stats=tables.n_stats,
        arrays=describe_arrays(parameters, n_params),
        parameters=parameters,
        final_activations=final_activations(fused),
        used_layers=used,
        trainable=(trainable, *trained_layers),
    )

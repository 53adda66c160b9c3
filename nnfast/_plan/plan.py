"""From layers to a plan: the op tables, the parameters' layout and the arena's layout.

Takes layers and the shape of one sample. Gives a `Plan` of plain integers, offsets in elements,
from which an engine is made; see docs/design.md, "The plan".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nnfast._plan.fusion import final_activation, fuse
from nnfast._plan.memory import make_tables, values_kept
from nnfast._plan.parameters import (
    Parameter,
    describe_array,
    describe_parameters,
    keep_offsets,
    lay_out,
    layer_references,
)
from nnfast._plan.spec import LayerSpec, Shape


@dataclass(frozen=True)
class Plan:
    """A compiled model.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        Of one sample.
    n_in, n_out : int
        Features and outputs, flat.
    n_params, n_weights : int
        Numbers that have gradients and optimizer slots; all numbers of the weights: the others
        come last.
    in_scale, in_offset : float
        The gather computes x·in_scale + in_offset.
    ops, infer_ops : list of dict
        The op table for training, and for inference (without dropout, two buffers in turn).
    input_gradient_ops : list of dict
        Like `ops`, with the gradient down to the input.
    width, infer_width, input_gradient_width : int
        Elements of the arena per row of the batch.
    out, infer_out : int
        Offset of the predictions in a row of the arena.
    max_values_kept : int
        The most numbers that an op of inference keeps of one kind for a sample.
    n_stats : int
        Numbers that the normalizations work with.
    arrays : list of dict
        The engine's descriptions of the parameters that an optimizer may change.
    parameters : tuple of Parameter
        In the order of `get_weights`.
    final_activation : str
        The activation that the last training op applies, "linear" if none.
    """

    input_shape: Shape
    output_shape: Shape
    n_in: int
    n_out: int
    n_params: int
    n_weights: int
    in_scale: float
    in_offset: float
    ops: list[dict[str, Any]]
    width: int
    out: int
    infer_ops: list[dict[str, Any]]
    infer_width: int
    infer_out: int
    input_gradient_ops: list[dict[str, Any]]
    input_gradient_width: int
    max_values_kept: int
    n_stats: int
    arrays: list[dict[str, Any]]
    parameters: tuple[Parameter, ...]
    final_activation: str

    @property
    def max_values_per_sample(self) -> int:
        """The most numbers that a prediction of one sample keeps of one kind.

        Outputs of an op, an image with its border, a resampling's rows and columns, statistics.
        """
        return max(self.n_stats, self.max_values_kept)

    @property
    def has_untrained_slots(self) -> bool:
        """Whether weights that have gradients and slots are not trained now."""
        return sum(p.size for p in self.parameters if p.trained) < self.n_params

    def views(self, flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield each array of weights as a part of a flat array, in the order of `parameters`."""
        for p in self.parameters:
            yield p.view(flat)

    def trained_views(self, flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the arrays among them that the optimizer changes."""
        for p in self.parameters:
            if p.trained:
                yield p.view(flat)


def compile_plan(
    layers: Sequence[LayerSpec],
    input_shape: Shape,
    trainable: bool = True,
    like: Plan | None = None,
) -> Plan:
    """Compile a chain of layers.

    Parameters
    ----------
    layers : sequence of LayerSpec
    input_shape : tuple of int
        Shape of one sample.
    trainable : bool
        Whether layers that are trainable are trained.
    like : Plan, optional
        A plan of these layers, in which other layers may have been trained. Every weight keeps
        its offset, so that those which have no gradients there are not trained.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If a layer cannot take the shape that the one before gives.

    Examples
    --------
    >>> from nnfast import layers
    >>> plan = compile_plan([layers.Dense(3, activation="relu")], (4,))
    >>> plan.n_params, plan.width, plan.final_activation
    (15, 48, 'relu')
    """
    shapes = infer_shapes(layers, input_shape)
    # Read once: another thread may freeze a layer meanwhile, and not a part of it may be trained.
    trained_layers = [layer.trainable for layer in layers]
    fused = fuse(layers, shapes, trained_layers)
    wanted = trained_layers if trainable else [False] * len(layers)
    weights = describe_parameters(layers, shapes, wanted)
    if like is None:
        parameters, n_params = lay_out(weights)
    else:
        n_params = like.n_params
        parameters = keep_offsets(weights, like.parameters, n_params)
    arrays = [p for p in parameters if p.weight.trainable]
    trained = frozenset(i for i, p in enumerate(arrays) if p.trained)
    tables = make_tables(fused, layer_references(parameters, arrays), trained)
    return Plan(
        input_shape=input_shape,
        output_shape=shapes[-1],
        n_in=math.prod(input_shape),
        n_out=math.prod(shapes[-1]),
        n_params=n_params,
        n_weights=sum(p.size for p in parameters),
        in_scale=fused.in_scale,
        in_offset=fused.in_offset,
        ops=tables.training.ops,
        width=tables.training.width,
        out=tables.training.out,
        infer_ops=tables.inference.ops,
        infer_width=tables.inference.width,
        infer_out=tables.inference.out,
        input_gradient_ops=tables.input_gradient.ops,
        input_gradient_width=tables.input_gradient.width,
        max_values_kept=max(map(values_kept, fused.inference)),
        n_stats=tables.n_stats,
        arrays=[describe_array(p) for p in arrays],
        parameters=parameters,
        final_activation=final_activation(fused.training[-1]),
    )


def infer_shapes(layers: Sequence[LayerSpec], input_shape: Shape) -> list[Shape]:
    """Return the shapes of a sample before each layer and after the last."""
    shapes = [input_shape]
    for layer in layers:
        shapes.append(layer.infer_shape(shapes[-1]))
    return shapes

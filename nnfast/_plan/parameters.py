"""The layout of all gradients in one flat array, and the engine's description of each weight.

Layers describe their weights. This module turns each description into a `Parameter`, an array with
the offset of its gradient. It also builds the engine's description of the array, and the fields
with which ops refer to the array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from nnfast._engine import CONSTRAINTS
from nnfast._plan.graph import FlatGraph
from nnfast._plan.spec import Op, Shape, Weight

# Maps a weight's name to the field of the engine's op that holds the array's number.
FIELDS = {
    "kernel": "w",
    "embeddings": "w",
    "depthwise_kernel": "w",
    "pointwise_kernel": "w",
    "recurrent_kernel": "recurrent",
    "gamma": "w",
    "alpha": "w",
    "scale": "w",
    "concat_score_weight": "w",
    "bias": "b",
    "beta": "b",
    "mean": "mean",
    "moving_mean": "mean",
    "variance": "variance",
    "moving_variance": "variance",
    "states": "mean",
}


@dataclass(frozen=True)
class Parameter:
    """One array of weights, the offset of its gradient, and whether the optimizer changes it.

    The weights that have no gradient follow the others. In a network that shares no layers, the
    weights themselves have these offsets, too.
    """

    layer: int
    weight: Weight
    offset: int
    trained: bool

    @property
    def name(self) -> str:
        return self.weight.name

    @property
    def shape(self) -> Shape:
        return self.weight.shape

    @property
    def size(self) -> int:
        return math.prod(self.weight.shape)

    def view(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Return a view of this array in a flat array of all weights."""
        return flat[self.offset : self.offset + self.size].reshape(self.shape)


def describe_parameters(graph: FlatGraph, trained: Sequence[bool]) -> list[Parameter]:
    """Return the weights of all layers in order; their offsets are still 0."""
    return [
        Parameter(index, weight, 0, trained[index] and weight.trainable)
        for index, (_, weights) in enumerate(graph.weights())
        for weight in weights
    ]


def keep_offsets(
    weights: Sequence[Parameter], before: Sequence[Parameter], n_params: int
) -> tuple[Parameter, ...]:
    """Return the weights with the offsets of an earlier plan.

    Weights whose offset is not below `n_params` have no gradient in that plan and are not trained.
    """
    return tuple(
        replace(p, offset=old.offset, trained=p.trained and old.offset < n_params)
        for p, old in zip(weights, before, strict=True)
    )


def lay_out(weights: Sequence[Parameter]) -> tuple[tuple[Parameter, ...], int]:
    """Return the weights with offsets, in unchanged order, and the number of trained elements.

    Trained matrices come first, then trained vectors, then arrays with sparse gradients, then
    untrained weights.
    """
    offsets = {}
    end = 0
    for p in sorted(weights, key=lambda p: (not p.trained, p.weight.sparse, len(p.shape) < 2)):
        offsets[p.layer, p.name] = end
        end += p.size
    placed = [replace(p, offset=offsets[p.layer, p.name]) for p in weights]
    return tuple(placed), sum(p.size for p in placed if p.trained)


def describe_arrays(parameters: Sequence[Parameter], n_params: int) -> list[dict[str, Any]]:
    """Return the engine's descriptions of the weights, of which `n_params` have gradients."""
    arrays = []
    n_sparse = 0
    for parameter in parameters:
        entry = describe_array(parameter)
        if parameter.weight.sparse and parameter.offset < n_params:
            entry["sparse"] = n_sparse
            n_sparse += 1
        arrays.append(entry)
    return arrays


def describe_array(parameter: Parameter) -> dict[str, Any]:
    """Return the engine's description of a parameter array; a vector is one row."""
    weight = parameter.weight
    rows = 1 if len(weight.shape) < 2 else weight.shape[0]
    l1, l2 = (0.0, 0.0) if weight.regularizer is None else weight.regularizer.penalty
    entry = {
        "trained": parameter.trained,
        "sparse": -1,
        "begin": parameter.offset,
        "outer": 1,
        "rows": rows,
        "l1": l1,
        "l2": l2,
        "constraint": CONSTRAINTS["none"],
        "axis": 0,
        "low": 0.0,
        "high": 0.0,
        "rate": 0.0,
    }
    if weight.constraint is not None and len(weight.shape) > 1:
        entry |= weight.constraint.entry(weight.shape)
    elif weight.constraint is not None:
        entry |= weight.constraint.entry(weight.shape) | {"outer": 1, "rows": 1}
    matrices = entry["outer"] * entry["rows"]
    return entry | {"cols": parameter.size // matrices if matrices else 0}


def layer_references(parameters: Sequence[Parameter]) -> dict[int, dict[str, int]]:
    """Return {layer: {weight name: the array's number}}."""
    references: dict[int, dict[str, int]] = {}
    for i, p in enumerate(parameters):
        references.setdefault(p.layer, {})[p.name] = i
    return references


def weight_fields(op: Op, references: Mapping[str, int]) -> dict[str, int]:
    """Return the fields of the engine's op that refer to weights; -1 for weights it lacks."""
    fields = dict.fromkeys(FIELDS.values(), -1)
    for name, reference in references.items():
        if op.weights is None or name in op.weights:
            fields[FIELDS[name]] = reference
    return fields

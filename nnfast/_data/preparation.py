"""The layers that Python computes between the user's arrays and the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from nnfast._data.arrays import batch_of, with_last_axis
from nnfast._plan.open_shapes import fits
from nnfast._utils.checks import Array, OpenShape

# The name of an array in messages, and the array.
Part = tuple[str, Any]


class Computed(Protocol):
    """The interface that a layer must have."""

    def values(self, name: str, x: Any) -> Array:
        """Return `x` as an array of the layer's kind; `name` is its name in messages."""

    def compute(self, x: Array) -> Array:
        """Return the outputs for such an array."""


class Step(NamedTuple):
    """The computation of one layer; tensors are numbered.

    Attributes
    ----------
    layer : Computed
    source, output : int
        The numbers of the tensors that it reads and makes.
    shape : tuple of (int or None)
        The shape of a sample of `source`; None is any size.
    """

    layer: Computed
    source: int
    output: int
    shape: OpenShape


class Preparation:
    """Makes the arrays that the engine reads from those that users pass.

    Parameters
    ----------
    inputs : sequence of int
        The numbers of the user's arrays.
    steps : sequence of Step
        In the order of execution.
    outputs : sequence of int
        The numbers of the arrays that the engine reads.
    """

    def __init__(
        self, inputs: Sequence[int], steps: Sequence[Step], outputs: Sequence[int]
    ) -> None:
        self._inputs = tuple(inputs)
        self._steps = tuple(steps)
        self._outputs = tuple(outputs)

    def __call__(self, parts: Sequence[Part]) -> list[Part]:
        """Return the engine's arrays for the user's, each with its name in messages."""
        found: dict[int, Part] = dict(zip(self._inputs, parts, strict=True))
        for layer, source, output, shape in self._steps:
            name, value = found[source]
            array = with_last_axis(layer.values(name, value), shape)
            if array.ndim == 0 or not fits(array.shape[1:], shape):
                raise ValueError(
                    f"{name} must have shape {batch_of(shape)}, one row per sample; received "
                    f"shape {array.shape}"
                )
            found[output] = name, layer.compute(array)
        return [found[output] for output in self._outputs]

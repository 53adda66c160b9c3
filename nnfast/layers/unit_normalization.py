"""Division by the Euclidean norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

from nnfast._plan.spec import Op, UnitNormSettings
from nnfast._utils.checks import Shape
from nnfast.layers.axes import along_last, axis_or_axes, sample_axes
from nnfast.layers.layer import Layer, LayerOptions

__all__ = ["UnitNormalization"]

_MIN_NORM = 1e-12  # as in Keras


class UnitNormalization(Layer):
    """Divide by the Euclidean norm along an axis or several axes: y = x / √Σx².

    Norms below 1e-12 count as 1e-12.

    Parameters
    ----------
    axis : int or sequence of int, default -1
        Axis 0 is the batch, which cannot be one of them.
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.Sequential([UnitNormalization(input_dim=2)]).predict([[3.0, 4.0]])
    array([[0.6, 0.8]], dtype=float32)
    """

    passes_mask = True
    _fields = ("axis",)

    def __init__(self, axis: int | Sequence[int] = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis_or_axes("axis", axis)

    def infer_shape(self, input_shape: Shape) -> Shape:
        sample_axes(self, self.axis, input_shape)
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        axes = sample_axes(self, self.axis, input_shape)
        first, last = axes[0], axes[-1] + 1
        depth = math.prod(input_shape[axis] for axis in axes)
        if last - first == len(axes):
            before, after = math.prod(input_shape[:first]), math.prod(input_shape[last:])
            return [Op("unit_norm", settings=UnitNormSettings(before, depth, after, _MIN_NORM))]
        rest = math.prod(size for i, size in enumerate(input_shape) if i not in axes)
        op = Op("unit_norm", settings=UnitNormSettings(rest, depth, 1, _MIN_NORM))
        return along_last(op, input_shape, axes)

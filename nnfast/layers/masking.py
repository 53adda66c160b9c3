"""Masks of sequences: the layer that makes one, and the ops of other layers that use it."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from nnfast._plan.spec import Masking as MaskRule, MaskSettings, Op
from nnfast._utils.checks import Shape, real
from nnfast.layers.layer import Layer, LayerOptions

__all__ = ["Masking"]


def step_mask(steps: int, features: int, value: float) -> Op:
    """Return the op that takes a step for real if any of its features differs from `value`."""
    settings = MaskSettings(steps, features, float(value))
    return Op(
        "step_mask",
        settings=settings,
        operands=(0,),
        shape=(steps,),
        weights=(),
        makes_mask=True,
    )


class Masking(Layer):
    """Mask the steps of sequences in which all features are equal to a value.

    Such steps are only padding. Their output is zero, and the layers after this one skip them:
    recurrent layers keep their states, averages over the steps leave them out, and so do losses
    and metrics. Samples have shape (steps, features) or (steps, …).

    Parameters
    ----------
    mask_value : float, default 0.0
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If `mask_value` is not a number.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> model = nnfast.Sequential(
    ...     [nnfast.Input((3, 1)), Masking(), nnfast.layers.GlobalAveragePooling1D()]
    ... )
    >>> model.predict(np.array([[[2.0], [4.0], [0.0]]])).tolist()
    [[3.0]]
    """

    _fields = ("mask_value",)

    def __init__(self, mask_value: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.mask_value = real("mask_value", mask_value)

    @property
    def masking(self) -> MaskRule:
        return MaskRule.MAKES

    def infer_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2:
            raise ValueError(
                f"Masking layer {self.name!r} expects sequences of shape (steps, features); "
                f"received shape {input_shape}"
            )
        return input_shape

    def ops(self, input_shape: Shape) -> list[Op]:
        steps, *features = input_shape
        mask = step_mask(steps, int(np.prod(features)), self.mask_value)
        return [mask, Op("zero_steps", settings=mask.settings, operands=(0, 1), shape=input_shape)]

"""TimeDistributed: a layer or a model that is applied to each step of sequences."""

from __future__ import annotations

from typing import Any, Unpack

from nnfast._plan.spec import Masking, Op
from nnfast._plan.symbolic import KerasTensor, Node, TensorSpec
from nnfast._utils.checks import Shape
from nnfast.layers.core import InputLayer
from nnfast.layers.layer import LayerOptions
from nnfast.layers.merging import Merge
from nnfast.layers.wrapper import Wrapper

__all__ = ["TimeDistributed"]


class TimeDistributed(Wrapper):
    """Apply a layer or a model to each step of a sequence, with the same weights.

    Samples have shape (steps, …), and the layer sees (…). The mask of the input is passed on. The
    steps are computed together, as if they were further samples; random numbers differ from step to
    step. Dense layers and others that work on the last axis alone need no wrapper.

    Parameters
    ----------
    layer : Layer or Model
        It has one input and one output. It is not stateful and prepares no data. A
        BatchNormalization in it must be frozen.
    **options
        See `Layer`. With ``trainable=False``, `layer` is frozen, too.

    Raises
    ------
    ValueError
        If `layer` is not such a layer.

    Examples
    --------
    >>> import nnfast
    >>> frames = nnfast.Input((10, 32, 32, 3))
    >>> TimeDistributed(nnfast.layers.Conv2D(16, 3))(frames).shape
    (None, 10, 30, 30, 16)
    """

    def __init__(self, layer: Any, **options: Unpack[LayerOptions]) -> None:
        super().__init__(layer, **options)
        self._with_mask = _WithMask(name=self._inner_name("mask"))

    def _apply(self, inputs: list[KerasTensor]) -> list[KerasTensor]:
        (x,) = inputs
        if len(x.shape) < 3 or x.shape[1] == 0:
            raise ValueError(
                f"TimeDistributed layer {self.name!r} expects samples of shape (steps, …) with at "
                f"least two axes and one step; received an input of shape {x.shape}"
            )
        rows, steps, *shape = x.shape
        name = self._inner_name("step")
        one = Node(
            *(InputLayer(name=name, batch_shape=(rows, *shape)), ()),
            [TensorSpec((rows, *shape), x.dtype, name)],
        )
        step = self.layer.connect(one.outputs[0])
        self._check_step(step)
        specs = [spec._replace(shape=(rows, steps, *spec.shape[1:])) for spec in step.specs]
        specs = [spec._replace(masked=False) for spec in specs]
        (y,) = Node(self.layer, [x], specs, step.graph, step.training, step).outputs
        return [self._with_mask.connect([y, x]).outputs[0] if x.masked else y]

    def _check_step(self, step: Node) -> None:
        """Raise a ValueError if the layer's call for one step cannot be distributed."""
        if len(step.specs) != 1:
            raise ValueError(
                f"TimeDistributed layer {self.name!r} needs a layer with one output; "
                f"{self.layer.name!r} has {len(step.specs)}"
            )
        for layer in self.layer.flat_layers():
            if getattr(layer, "stateful", False):
                raise ValueError(
                    f"TimeDistributed layer {self.name!r} cannot contain the stateful layer "
                    f"{layer.name!r}, whose states would be those of all steps"
                )
            if layer.before_engine:
                raise ValueError(
                    f"TimeDistributed layer {self.name!r} cannot contain layer {layer.name!r}, "
                    "which prepares data in Python"
                )


class _WithMask(Merge):
    """Return the first input with the mask of the second."""

    n_inputs = 2

    @property
    def masking(self) -> Masking:
        return Masking.GIVEN

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        return input_shape

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        return []

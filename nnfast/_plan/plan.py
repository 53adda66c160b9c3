"""From layers to a plan: the op table, the parameters' layout and the arena's layout.

Plain integers, offsets in elements; see docs/design.md, "The plan".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nnfast._engine import OPS
from nnfast._plan.fusion import Step, final_activation, fuse, in_inference
from nnfast._plan.memory import describe_op, inference_ops, place_statistics, training_ops
from nnfast._plan.parameters import (
    Parameter,
    describe_array,
    describe_parameters,
    keep_places,
    lay_out,
    weight_places,
)
from nnfast._plan.spec import IDENTITY, LayerSpec, Shape, Window

# Ops that copy images into a border of zeros.
WITH_BORDER = frozenset(OPS[kind] for kind in ("convolution", "depthwise"))
# That a resampling keeps for each row and column: TAP_SIZE of ``_engine/core.pyx``.
NUMBERS_OF_TAP = 8


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
        The op table for training, and for inference (without dropout, slots reused).
    sensitivity_ops : list of dict
        Like `ops`, with the gradient down to the input.
    width, infer_width, sensitivity_width : int
        Elements of the arena per row of the batch.
    out, infer_out : int
        Place of the predictions.
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
    sensitivity_ops: list[dict[str, Any]]
    sensitivity_width: int
    n_stats: int
    arrays: list[dict[str, Any]]
    parameters: tuple[Parameter, ...]
    final_activation: str

    @property
    def most_numbers(self) -> int:
        """The most numbers that a prediction of one sample keeps of one kind.

        Outputs of an op, an image with its border, a resampling's rows and columns, statistics.
        """
        return max(self.n_stats, *(_numbers(op) for op in self.infer_ops))

    @property
    def has_untrained_slots(self) -> bool:
        """Whether weights that have gradients and slots are not trained now."""
        return sum(p.size for p in self.parameters if p.trained) < self.n_params

    def views(self, flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield each array of weights as a part of a flat array, in the order of `parameters`."""
        for p in self.parameters:
            yield flat[p.offset : p.offset + p.size].reshape(p.shape)

    def trained_views(self, flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the arrays among them that the optimizer changes."""
        for p in self.parameters:
            if p.trained:
                yield flat[p.offset : p.offset + p.size].reshape(p.shape)


def _numbers(op: Mapping[str, Any]) -> int:
    """Return the most numbers that an op keeps of one kind for a sample."""
    numbers: int = max(op["n_in"], op["n_out"])
    if op["kind"] == OPS["resample"]:
        numbers = max(numbers, NUMBERS_OF_TAP * sum(op["resampling"]["n_out"]))
    elif op["kind"] in WITH_BORDER:
        win = Window(**op["window"])
        rows = (win.out_h - 1) * win.stride_h + (win.kernel_h - 1) * win.dilation_h + 1
        cols = (win.out_w - 1) * win.stride_w + (win.kernel_w - 1) * win.dilation_w + 1
        channels = win.out_c if op["kind"] == OPS["depthwise"] else win.c
        bordered = max(rows, win.top + win.h) * max(cols, win.left + win.w) * channels
        numbers = max(numbers, bordered)
    return numbers


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
        A plan of these layers, in which other layers may have been trained. Every weight stays in
        its place, so that those which have no gradients there are not trained.

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
    shapes = [input_shape]
    for layer in layers:
        shapes.append(layer.infer_shape(shapes[-1]))
    # Read once: another thread may freeze a layer meanwhile, and not a part of it may be trained.
    trained_layers = [layer.trainable for layer in layers]
    steps, scale, offset = fuse(layers, shapes, trained_layers)
    n_in, n_out = math.prod(input_shape), math.prod(shapes[-1])
    nothing = [Step(IDENTITY, 0, n_in, n_out)]
    training = steps or nothing
    inference = [step for step in map(in_inference, steps) if step is not None] or nothing
    if not trainable:
        trained_layers = [False] * len(layers)
    weights = describe_parameters(layers, shapes, trained_layers)
    if like is None:
        parameters, n_params = lay_out(weights)
    else:
        n_params = like.n_params
        parameters = keep_places(weights, like.parameters, n_params)
    arrays = [p for p in parameters if p.weight.trainable]
    statistics, n_stats = place_statistics(training)
    places = weight_places(parameters, arrays)
    bound = [describe_op(step, places, statistics) for step in training]
    trained = frozenset(i for i, p in enumerate(arrays) if p.trained)
    ops, width = training_ops(bound, trained, to_input=False)
    sensitivity_ops, sensitivity_width = training_ops(bound, trained, to_input=True)
    infer_ops, infer_width = inference_ops(
        [describe_op(step, places, statistics) for step in inference]
    )
    return Plan(
        input_shape=input_shape,
        output_shape=shapes[-1],
        n_in=n_in,
        n_out=n_out,
        n_params=n_params,
        n_weights=sum(p.size for p in parameters),
        in_scale=scale,
        in_offset=offset,
        ops=ops,
        width=width,
        out=ops[-1]["y"],
        infer_ops=infer_ops,
        infer_width=infer_width,
        infer_out=infer_ops[-1]["y"],
        sensitivity_ops=sensitivity_ops,
        sensitivity_width=sensitivity_width,
        n_stats=n_stats,
        arrays=[describe_array(p) for p in arrays],
        parameters=parameters,
        final_activation=final_activation(training[-1]),
    )

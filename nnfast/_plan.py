"""From layers to a plan: the op table, the parameters' layout and the arena's layout.

Plain integers, offsets in elements; see docs/design.md, "The plan".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from nnfast._engine import ACTIVATIONS, OPS, SLOPE_NEEDS_INPUT

if TYPE_CHECKING:
    from nnfast.initializers import Initializer
    from nnfast.layers import Layer

Shape = tuple[int, ...]

# Elements: a cache line of float32, and the distance at which rows share their cache sets.
LINE = 16
ALIAS = 512


@dataclass(frozen=True)
class Op:
    """What a layer does, as it says itself.

    Attributes
    ----------
    kind : {"dense", "activation", "dropout", "affine"}
    activation : str
        Of dense and activation ops.
    alpha, beta : float
        The rate of a dropout; y = alpha·x + beta of an affine op; alpha of an activation.
    kernel_penalty, bias_penalty : tuple of float
        (l1, l2) of a dense op's regularizers.
    """

    kind: str
    activation: str = "linear"
    alpha: float = 0.0
    beta: float = 0.0
    kernel_penalty: tuple[float, float] = (0.0, 0.0)
    bias_penalty: tuple[float, float] = (0.0, 0.0)


IDENTITY = Op("affine", alpha=1.0)


@dataclass(frozen=True)
class Parameter:
    """One parameter array and its place in the flat range."""

    layer: int
    name: str
    shape: Shape
    initializer: Initializer
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Plan:
    """A compiled model.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        Of one sample.
    n_in, n_out, n_params : int
        Features, outputs and parameters, flat.
    in_scale, in_offset : float
        The gather computes x·in_scale + in_offset.
    ops, infer_ops : list of dict
        The op table for training, and for inference (without dropout, slots reused).
    width, infer_width : int
        Elements of the arena per row of the batch.
    out, infer_out : int
        Place of the predictions.
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
    in_scale: float
    in_offset: float
    ops: list[dict[str, Any]]
    width: int
    out: int
    infer_ops: list[dict[str, Any]]
    infer_width: int
    infer_out: int
    parameters: tuple[Parameter, ...]
    final_activation: str

    def views(self, flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield each parameter's part of a flat array, in the order of `parameters`."""
        for p in self.parameters:
            yield flat[p.offset : p.offset + p.size].reshape(p.shape)


class _Step(NamedTuple):
    """An op, the index of its layer, and its flat sizes."""

    op: Op
    layer: int
    n_in: int
    n_out: int


def stride(n: int) -> int:
    """Return the elements from one row of a slot to the next.

    Examples
    --------
    >>> stride(0), stride(10), stride(16), stride(512)
    (16, 16, 16, 528)
    """
    ld = max(LINE, -(-n // LINE) * LINE)
    return ld + LINE if ld % ALIAS == 0 else ld


def compile_plan(layers: Sequence[Layer], input_shape: Shape) -> Plan:
    """Compile a chain of layers.

    Parameters
    ----------
    layers : sequence of Layer
    input_shape : tuple of int
        Shape of one sample.

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
    steps, scale, offset = _steps(layers, shapes)
    n_in, n_out = math.prod(input_shape), math.prod(shapes[-1])
    nothing = [_Step(IDENTITY, 0, n_in, n_out)]
    training = steps or nothing
    inference = [step for step in steps if step.op.kind != "dropout"] or nothing
    parameters = _parameters(layers, shapes)
    ops, width = _training_ops(training, parameters)
    infer_ops, infer_width = _inference_ops(inference, parameters)
    return Plan(
        input_shape=input_shape,
        output_shape=shapes[-1],
        n_in=n_in,
        n_out=n_out,
        n_params=sum(parameter.size for parameter in parameters),
        in_scale=scale,
        in_offset=offset,
        ops=ops,
        width=width,
        out=ops[-1]["y"],
        infer_ops=infer_ops,
        infer_width=infer_width,
        infer_out=infer_ops[-1]["y"],
        parameters=parameters,
        final_activation=training[-1].op.activation,
    )


def _steps(layers: Sequence[Layer], shapes: list[Shape]) -> tuple[list[_Step], float, float]:
    """Return the ops of the chain, and the scale and offset folded into the gather.

    Folded are a Rescaling before any other op, and an Activation into a linear Dense before it.
    """
    steps: list[_Step] = []
    scale, offset = 1.0, 0.0
    for index, layer in enumerate(layers):
        op = layer.op()
        if op is None:
            continue
        if op.kind == "affine" and not steps:
            scale, offset = op.alpha * scale, op.alpha * offset + op.beta
            continue
        last = steps[-1] if steps else None
        dense = last is not None and last.op.kind == "dense" and last.op.activation == "linear"
        if op.kind == "activation" and last is not None and dense:
            folded = replace(last.op, activation=op.activation, alpha=op.alpha)
            steps[-1] = last._replace(op=folded)
            continue
        n_in, n_out = math.prod(shapes[index]), math.prod(shapes[index + 1])
        steps.append(_Step(op, index, n_in, n_out))
    return steps, scale, offset


def _parameters(layers: Sequence[Layer], shapes: list[Shape]) -> tuple[Parameter, ...]:
    """Lay out all kernels, then all biases, in one range; return them in layer order."""
    specs = [
        (index, name, size, initializer)
        for index, layer in enumerate(layers)
        for name, size, initializer in layer.parameter_specs(shapes[index])
    ]
    offsets = {}
    end = 0
    for index, name, size, _ in sorted(specs, key=lambda spec: spec[1] == "bias"):
        offsets[index, name] = end
        end += math.prod(size)
    return tuple(Parameter(*spec, offset=offsets[spec[0], spec[1]]) for spec in specs)


def _training_ops(
    steps: list[_Step], parameters: tuple[Parameter, ...]
) -> tuple[list[dict[str, Any]], int]:
    """Place every output and every gradient in a slot of its own."""
    end = stride(steps[0].n_in)
    x, ops = 0, []
    for step in steps:
        ops.append(_op(step, parameters, x=x, y=end))
        x, end = end, end + stride(step.n_out)
        if step.op.kind == "dense" and step.op.activation in SLOPE_NEEDS_INPUT:
            ops[-1]["z"], end = end, end + stride(step.n_out)
    trainable, dx = False, -1
    for op, producer in zip(ops, [None, *ops], strict=False):
        if trainable:
            dx, end = end, end + op["ld_x"]
        op["dx"] = dx
        if producer:
            producer["dy"] = dx
        trainable = trainable or op["w"] >= 0
    ops[-1]["dy"], end = end, end + ops[-1]["ld_y"]
    for producer, op in pairwise(ops):
        if op["kind"] == producer["kind"] == OPS["dense"]:
            op["dx_relu"] = int(producer["activation"] == ACTIVATIONS["relu"])
            producer["dz_ready"] = op["dx_relu"]
    return ops, end


def _inference_ops(
    steps: list[_Step], parameters: tuple[Parameter, ...]
) -> tuple[list[dict[str, Any]], int]:
    """Let every op read one of two slots, as wide as the widest row, and write the other."""
    widest = max(stride(n) for step in steps for n in (step.n_in, step.n_out))
    places = (0, widest)
    ops = [
        _op(step, parameters, x=places[i % 2], y=places[(i + 1) % 2])
        for i, step in enumerate(steps)
    ]
    return ops, 2 * widest


def _op(step: _Step, parameters: tuple[Parameter, ...], *, x: int, y: int) -> dict[str, Any]:
    own = {p.name: p.offset for p in parameters if p.layer == step.layer}
    return {
        "kind": OPS[step.op.kind],
        "activation": ACTIVATIONS[step.op.activation],
        "n_in": step.n_in,
        "n_out": step.n_out,
        "x": x,
        "y": y,
        "z": x if step.op.kind == "activation" else y,
        "ld_x": stride(step.n_in),
        "ld_y": stride(step.n_out),
        "dx": -1,
        "dy": -1,
        "w": own.get("kernel", -1),
        "b": own.get("bias", -1),
        "layer": step.layer,
        "dx_relu": 0,
        "dz_ready": 0,
        "w_l1": step.op.kernel_penalty[0],
        "w_l2": step.op.kernel_penalty[1],
        "b_l1": step.op.bias_penalty[0],
        "b_l2": step.op.bias_penalty[1],
        "alpha": step.op.alpha,
        "beta": step.op.beta,
    }

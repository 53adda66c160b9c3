"""From layers to a plan: the op table, the parameters' layout and the arena's layout.

Plain integers, offsets in elements; see docs/design.md, "The plan".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from nnfast._engine import ACTIVATIONS, BORDERS, CONSTRAINTS, OPS, RESAMPLINGS, SLOPE_NEEDS_INPUT

if TYPE_CHECKING:
    from nnfast._layer import Layer
    from nnfast.constraints import Constraint
    from nnfast.initializers import Initializer
    from nnfast.regularizers import L1L2

Shape = tuple[int, ...]

# Elements of a cache line of float32, and the lines from which on rows are an odd number of them
# apart: an even number leaves half of the cache's sets, or less, to the columns that a tile reads.
LINE = 16
ODD_LINES = 4


class Window(NamedTuple):
    """What a convolution or a pooling moves over images of (h, w, c), channels last.

    `top` and `left` are the zeros before the first row and column; what comes after the last ones
    follows from the output's size. `groups` of channels do not mix.
    """

    h: int
    w: int
    c: int
    out_h: int
    out_w: int
    out_c: int
    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    top: int = 0
    left: int = 0
    groups: int = 1


NO_WINDOW = Window(*[0] * 15)


class Resampling(NamedTuple):
    """How an image is made of another; see `Resample` in ``_engine/program.pxd``.

    Pairs are of height and width. `kind` is a key of `nnfast._engine.RESAMPLINGS`, `border` of
    `nnfast._engine.BORDERS`; `seed` is the key of its random numbers, None: the model's.
    """

    kind: str
    n_in: tuple[int, int]
    n_out: tuple[int, int]
    channels: int
    low: tuple[float, float] = (0.0, 0.0)
    high: tuple[float, float] = (0.0, 0.0)
    border: str = "constant"
    smooth: bool = False
    fill: float = 0.0
    seed: int | None = None

    def entry(self) -> dict[str, Any]:
        """Return the engine's description."""
        numbers = {"kind": RESAMPLINGS[self.kind], "border": BORDERS[self.border]}
        return self._asdict() | numbers | {"seeded": self.seed is not None, "seed": self.seed or 0}


NO_RESAMPLING = Resampling("pad", (0, 0), (0, 0), 0)


@dataclass(frozen=True)
class Op:
    """What a layer does, as it says itself.

    Attributes
    ----------
    kind : str
        A key of `nnfast._engine.OPS`.
    activation : str
        Of dense and activation ops.
    alpha, beta : float
        The rate of a dropout, the standard deviation of a noise; y = alpha·x + beta of an affine
        op; alpha of an activation; beta = 1 inverts a standardize op.
    axes : int
        Of a normalization: how many of the last axes have statistics of their own.
    epsilon, momentum : float
        Of a normalization.
    resampling : Resampling
        Of a resample op.
    window : Window
        Of a convolution or a pooling.
    weights : tuple of str or None
        Names of the layer's weights that the op has; None: all of them.
    frozen : bool
        Of a batch normalization: it uses its moving averages in training, too.
    """

    kind: str
    activation: str = "linear"
    alpha: float = 0.0
    beta: float = 0.0
    axes: int = 0
    epsilon: float = 0.0
    momentum: float = 0.0
    resampling: Resampling = NO_RESAMPLING
    window: Window = NO_WINDOW
    weights: tuple[str, ...] | None = None
    frozen: bool = False

    @property
    def training_only(self) -> bool:
        """Whether it does nothing in inference."""
        return self.kind in TRAINING_ONLY or self.resampling.kind in TRAINING_ONLY


IDENTITY = Op("affine", alpha=1.0)

TRAINING_ONLY = frozenset({"dropout", "noise", "flip", "shift"})
NORMALIZATIONS = frozenset({"standardize", "batch_norm", "layer_norm"})
# Ops that apply an activation to what they have computed.
WITH_ACTIVATION = frozenset({"dense", "batch_norm", "layer_norm", "convolution", "depthwise"})
# Ops that can multiply their dX by the slope of a relu before them.
WITH_GATE = frozenset(OPS[kind] for kind in ("dense", "max_pool"))

# Ops that copy images into a border of zeros.
WITH_BORDER = frozenset(OPS[kind] for kind in ("convolution", "depthwise"))
# That a resampling keeps for each row and column: TAP_SIZE of ``_engine/core.pyx``.
NUMBERS_OF_TAP = 8

# The field of an engine's op that knows a weight of this name: by the array's number, or by its
# place in the flat range.
ARRAY_FIELDS = {
    "kernel": "w",
    "depthwise_kernel": "w",
    "pointwise_kernel": "w",
    "gamma": "w",
    "bias": "b",
    "beta": "b",
}
PLACE_FIELDS = {
    "mean": "mean",
    "moving_mean": "mean",
    "variance": "variance",
    "moving_variance": "variance",
}


@dataclass(frozen=True)
class Weight:
    """One array of a layer's weights, as the layer says itself.

    Attributes
    ----------
    name : str
        A key of `ARRAY_FIELDS` or `PLACE_FIELDS`.
    shape : tuple of int
    initializer : Initializer
    regularizer : L1L2 or None
    constraint : Constraint or None
    trainable : bool
        Whether the optimizer changes it while its layer is trainable.
    """

    name: str
    shape: Shape
    initializer: Initializer
    regularizer: L1L2 | None = None
    constraint: Constraint | None = None
    trainable: bool = True


@dataclass(frozen=True)
class Parameter:
    """One array of weights, its place in the flat range, and whether the optimizer changes it."""

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


class _Step(NamedTuple):
    """An op, the index of its layer, its flat sizes, and the penalty on its output."""

    op: Op
    layer: int
    n_in: int
    n_out: int
    channels: int = 0
    activity: tuple[float, float] = (0.0, 0.0)


def stride(n: int) -> int:
    """Return the elements from one row of a slot to the next.

    Examples
    --------
    >>> stride(0), stride(10), stride(32), stride(64), stride(512)
    (16, 16, 32, 80, 528)
    """
    lines = max(1, -(-n // LINE))
    return LINE * (lines | 1 if lines >= ODD_LINES else lines)


def compile_plan(
    layers: Sequence[Layer], input_shape: Shape, trainable: bool = True, like: Plan | None = None
) -> Plan:
    """Compile a chain of layers.

    Parameters
    ----------
    layers : sequence of Layer
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
    steps, scale, offset = _steps(layers, shapes, trained_layers)
    n_in, n_out = math.prod(input_shape), math.prod(shapes[-1])
    nothing = [_Step(IDENTITY, 0, n_in, n_out)]
    training = steps or nothing
    inference = [step for step in map(_in_inference, steps) if step is not None] or nothing
    if not trainable:
        trained_layers = [False] * len(layers)
    parameters, n_params = _parameters(layers, shapes, trained_layers, like)
    arrays = [p for p in parameters if p.weight.trainable]
    statistics, n_stats = _statistics(training)
    places = _places(parameters, arrays)
    bound = [_bound(step, places, statistics) for step in training]
    trained = frozenset(i for i, p in enumerate(arrays) if p.trained)
    ops, width = _training_ops(bound, trained, to_input=False)
    sensitivity_ops, sensitivity_width = _training_ops(bound, trained, to_input=True)
    infer_ops, infer_width = _inference_ops(
        [_bound(step, places, statistics) for step in inference]
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
        arrays=[_array(p) for p in arrays],
        parameters=parameters,
        final_activation=_final_activation(training[-1]),
    )


def _in_inference(step: _Step) -> _Step | None:
    """Return what is left of an op outside of training; a penalty on its output is."""
    if not step.op.training_only:
        return step
    return step._replace(op=IDENTITY) if any(step.activity) else None


def _final_activation(last: _Step) -> str:
    """Return the activation that a loss may take over: not one whose output has a penalty."""
    return "linear" if any(last.activity) else last.op.activation


def _steps(
    layers: Sequence[Layer], shapes: list[Shape], trained: Sequence[bool]
) -> tuple[list[_Step], float, float]:
    """Return the ops of the chain, and the scale and offset folded into the gather.

    trained: whether each layer is trainable; a batch normalization that is not is frozen.

    Folded are a Rescaling before any other op, and an Activation into a linear op before it.
    """
    steps: list[_Step] = []
    scale, offset = 1.0, 0.0
    for index, layer in enumerate(layers):
        regularizer = layer.activity_regularizer
        activity = (0.0, 0.0) if regularizer is None else regularizer.penalty
        shape = shapes[index]
        ops = layer.ops(shape)
        for first in ops[:-1]:
            n_in, n_out = _sizes(first, shape, shape)
            steps.append(_Step(first, index, n_in, n_out))
        op = ops[-1] if ops else None
        if op is not None and op.kind in NORMALIZATIONS and 0 in shape:
            op = None  # the engine divides by the number of channels
        if op is None:
            if not any(activity):
                continue
            op = IDENTITY
        if op.kind == "batch_norm":
            op = replace(op, frozen=not trained[index])
        if op.kind == "affine" and not steps and not any(activity):
            scale, offset = op.alpha * scale, op.alpha * offset + op.beta
            continue
        last = steps[-1] if steps else None
        if op.kind == "activation" and last is not None and _takes_activation(last):
            folded = replace(last.op, activation=op.activation, alpha=op.alpha)
            steps[-1] = last._replace(op=folded, activity=activity)
            continue
        channels = math.prod(shape[len(shape) - op.axes :]) if op.kind in NORMALIZATIONS else 0
        n_in, n_out = _sizes(op, shape, shapes[index + 1])
        steps.append(_Step(op, index, n_in, n_out, channels, activity))
    return steps, scale, offset


def _sizes(op: Op, shape: Shape, out: Shape) -> tuple[int, int]:
    """Return the flat sizes of an op's input and output; a layer of several has other shapes."""
    win = op.window
    if win is NO_WINDOW:
        return math.prod(shape), math.prod(out)
    return win.h * win.w * win.c, win.out_h * win.out_w * win.out_c


def _takes_activation(step: _Step) -> bool:
    return (
        step.op.kind in WITH_ACTIVATION
        and step.op.activation == "linear"
        and not any(step.activity)
    )


def _parameters(
    layers: Sequence[Layer], shapes: list[Shape], trained: Sequence[bool], like: Plan | None
) -> tuple[tuple[Parameter, ...], int]:
    """Lay out all kernels, then all vectors, then what is not trained, in one range.

    They are returned in the order of the layers, with the number of those before the last.
    """
    weights = [
        Parameter(index, weight, 0, trained[index] and weight.trainable)
        for index, layer in enumerate(layers)
        for weight in layer.weight_specs(shapes[index])
    ]
    if like is not None:
        pairs = zip(weights, like.parameters, strict=True)
        kept = [
            replace(p, offset=old.offset, trained=p.trained and old.offset < like.n_params)
            for p, old in pairs
        ]
        return tuple(kept), like.n_params
    offsets = {}
    end = 0
    for p in sorted(weights, key=lambda p: (not p.trained, len(p.shape) < 2)):
        offsets[p.layer, p.name] = end
        end += p.size
    placed = [replace(p, offset=offsets[p.layer, p.name]) for p in weights]
    return tuple(placed), sum(p.size for p in placed if p.trained)


def _array(parameter: Parameter) -> dict[str, Any]:
    """Return the engine's description of an array of parameters; a vector is one row."""
    weight = parameter.weight
    rows = 1 if len(weight.shape) < 2 else weight.shape[0]
    l1, l2 = (0.0, 0.0) if weight.regularizer is None else weight.regularizer.penalty
    entry = {
        "trained": parameter.trained,
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


def _statistics(steps: list[_Step]) -> tuple[dict[int, tuple[int, int]], int]:
    """Return by layer where a normalization's statistics are and how long each is; and their end.

    Those of a batch are its mean, 1/√variance, variance and the gradients of gamma and beta;
    given ones are repeated over the row: mean, 1/√variance and a shift.
    """
    places, end = {}, 0
    for step in steps:
        if step.op.kind == "batch_norm":
            places[step.layer] = end, stride(step.channels)
            end += 5 * stride(step.channels)
        elif step.op.kind == "standardize":
            places[step.layer] = end, stride(step.n_in)
            end += 3 * stride(step.n_in)
    return places, end


def _training_ops(
    ops: Sequence[Mapping[str, Any]], trained: frozenset[int], *, to_input: bool
) -> tuple[list[dict[str, Any]], int]:
    """Place every output and every gradient in a slot of its own.

    Gradients are needed down to the first op with an array that is trained, or down to the input.
    """
    end = ops[0]["ld_x"]
    x, placed = 0, []
    for op in map(dict, ops):
        op |= {"x": x, "y": end, "z": x if op["kind"] == OPS["activation"] else end}
        x, end = end, end + op["ld_y"]
        if op["kind"] != OPS["activation"] and op["activation"] in _NEED_INPUT:
            op["z"], end = end, end + op["ld_y"]
        if op["kind"] == OPS["layer_norm"]:
            op["s"], end = end, end + op["ld_s"]
        placed.append(op)
    needed, dx = to_input, -1
    for op, producer in zip(placed, [None, *placed], strict=False):
        if needed:
            dx, end = end, end + op["ld_x"]
        op["dx"] = dx
        if producer:
            producer["dy"] = dx
        needed = needed or op["w"] in trained or op["b"] in trained
    placed[-1]["dy"], end = end, end + placed[-1]["ld_y"]
    for producer, op in pairwise(placed):
        if op["kind"] in WITH_GATE and producer["w"] >= 0 and not _has_activity(producer):
            op["dx_relu"] = int(producer["activation"] == ACTIVATIONS["relu"])
            producer["dz_ready"] = op["dx_relu"]
    return placed, end


_NEED_INPUT = frozenset(ACTIVATIONS[name] for name in SLOPE_NEEDS_INPUT)


def _has_activity(op: Mapping[str, Any]) -> bool:
    return bool(op["y_l1"] or op["y_l2"])


def _inference_ops(ops: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Let every op read one of two slots, as wide as the widest row, and write the other."""
    widest = max(ld for op in ops for ld in (op["ld_x"], op["ld_y"]))
    placed = []
    for i, op in enumerate(map(dict, ops)):
        x, y = (0, widest) if i % 2 == 0 else (widest, 0)
        op |= {"x": x, "y": y, "z": x if op["kind"] == OPS["activation"] else y}
        placed.append(op)
    return placed, 2 * widest


def _places(
    parameters: Sequence[Parameter], arrays: Sequence[Parameter]
) -> dict[int, dict[str, int]]:
    """Return by layer where each weight is: its array's number, or its place in the flat range."""
    places: dict[int, dict[str, int]] = {}
    for p in parameters:
        if p.name in PLACE_FIELDS:
            places.setdefault(p.layer, {})[p.name] = p.offset
    for i, p in enumerate(arrays):
        places.setdefault(p.layer, {})[p.name] = i
    return places


def _bound(
    step: _Step,
    places: Mapping[int, Mapping[str, int]],
    statistics: Mapping[int, tuple[int, int]],
) -> dict[str, Any]:
    """Return the engine's op, still without the places of its slots."""
    own = places.get(step.layer, {})
    numbers = {PLACE_FIELDS[name]: place for name, place in own.items() if name in PLACE_FIELDS}
    indices = {
        ARRAY_FIELDS[name]: place
        for name, place in own.items()
        if name in (step.op.weights or ARRAY_FIELDS) and name in ARRAY_FIELDS
    }
    groups = step.n_in // step.channels if step.channels else 0
    s, ld_s = statistics.get(step.layer, (-1, stride(2 * groups)))
    return {
        "kind": OPS[step.op.kind],
        "activation": ACTIVATIONS[step.op.activation],
        "n_in": step.n_in,
        "n_out": step.n_out,
        "x": -1,
        "y": -1,
        "z": -1,
        "ld_x": stride(step.n_in),
        "ld_y": stride(step.n_out),
        "dx": -1,
        "dy": -1,
        "w": indices.get("w", -1),
        "b": indices.get("b", -1),
        "layer": step.layer,
        "dx_relu": 0,
        "dz_ready": 0,
        "frozen": step.op.frozen,
        "alpha": step.op.alpha,
        "beta": step.op.beta,
        "y_l1": step.activity[0],
        "y_l2": step.activity[1],
        "channels": step.channels,
        "mean": numbers.get("mean", -1),
        "variance": numbers.get("variance", -1),
        "s": s,
        "ld_s": ld_s,
        "epsilon": step.op.epsilon,
        "momentum": step.op.momentum,
        "resampling": step.op.resampling.entry(),
        "window": step.op.window._asdict(),
    }

"""In plans of random models, ops find their tensors and their weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import layer_outputs
from hypothesis import given, settings, strategies as st
from shadow_arena import check_arena

from nnfast import _engine, layers, regularizers
from nnfast._plan.graph import chain as flat_chain
from nnfast._plan.layouts import LINE
from nnfast._plan.plan import compile_plan
from nnfast._plan.storage import ODD_LINES, stride

KINDS = {traits.kind: name for name, traits in _engine.OPS.items()}


# Kind of op: {field of the op: name of the weight}.
WEIGHTS = {
    "embedding": {"w": "embeddings"},
    "dense": {"w": "kernel", "b": "bias"},
    "batch_norm": {"w": "gamma", "b": "beta", "mean": "moving_mean", "variance": "moving_variance"},
    "layer_norm": {"w": "gamma", "b": "beta"},
    "group_norm": {"w": "gamma", "b": "beta"},
    "prelu": {"w": "alpha"},
    "standardize": {"mean": "mean", "variance": "variance"},
    "convolution": {"w": "kernel", "b": "bias"},
    "transposed_convolution": {"w": "kernel", "b": "bias"},
    "depthwise": {"w": "kernel", "b": "bias"},
}


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[layers.Layer], tuple[int, ...]]:
    """Draw compatible layers and the shape of a sample."""
    shape: tuple[int, ...] = (draw(st.sampled_from([0, 1, 3, 15, 16, 17, 512, 520])),)
    if draw(st.booleans()):
        shape = (shape[0], draw(st.integers(1, 3)))
    elif draw(st.booleans()):
        shape = (*draw(st.tuples(st.integers(1, 9), st.integers(1, 9))), draw(st.integers(1, 17)))
    first, chain = shape, []
    if len(shape) < 3 and math.prod(shape) < 100 and draw(st.integers(0, 3)) == 0:
        chain += _moved(draw, shape)
        trainable = draw(st.booleans())
        chain.append(layers.Embedding(5, draw(st.sampled_from([1, 3, 16])), trainable=trainable))
        for layer in chain:
            shape = layer.infer_shape(shape)
    for kind in draw(st.lists(st.sampled_from("daarosefbbllngpicccwwmmtuvxxyyhh"), max_size=8)):
        layer = _layer(draw, kind, shape)
        # An activity penalty prevents fusion with neighbouring ops.
        penalty = draw(st.sampled_from([None] * 4 + [regularizers.L2(0.1)]))
        options: dict[str, Any] = {"trainable": draw(st.sampled_from([1, 1, 0]))}
        if not isinstance(layer, layers.ActivityRegularization):
            options["activity_regularizer"] = penalty
        layer = type(layer).from_config(layer.get_config() | options)
        shape = layer.infer_shape(shape)
        chain.append(layer)
    return chain, first


def _moved(draw: st.DrawFn, shape: tuple[int, ...]) -> list[layers.Layer]:
    """Draw layers that only move elements, and whose output has at most two axes."""
    numbers = list(range(1, len(shape) + 1))
    permuted = layers.Permute(draw(st.permutations(numbers)))
    repeated = [layers.RepeatVector(2)] if len(shape) == 1 else []
    return draw(st.sampled_from([[], [permuted], [layers.Flatten()], repeated]))


def _layer(draw: st.DrawFn, kind: str, shape: tuple[int, ...]) -> layers.Layer:
    if kind == "f" or (kind in "de" and len(shape) != 1):
        return layers.Flatten()
    if kind in "de":
        units = draw(st.sampled_from([1, 2, 15, 16, 17, 64, 511, 512]))
        activation = draw(st.sampled_from(["linear", "relu", "tanh", "softmax"]))
        return layers.Dense(units, activation=activation, use_bias=draw(st.booleans()))
    if kind in "cwmt":
        fits = len(shape) == 3 and 0 not in shape and (kind != "t" or math.prod(shape) < 600)
        return _image_layer(draw, kind) if fits else layers.Flatten()
    if kind == "h" and len(shape) == 2 and shape[0] > 0:
        cell = draw(st.sampled_from([layers.LSTM, layers.GRU, layers.SimpleRNN]))
        return cell(draw(st.sampled_from([1, 15, 17])), return_sequences=draw(st.booleans()))
    if kind == "a":
        return layers.Activation(draw(st.sampled_from(["linear", "relu", "sigmoid", "gelu"])))
    flags = {"center": draw(st.booleans()), "scale": draw(st.booleans())}
    last_axes = (-1,) if draw(st.booleans()) else tuple(range(-len(shape), 0))
    if kind == "b":
        return layers.BatchNormalization(**flags)
    if kind == "l":
        return layers.LayerNormalization(axis=last_axes, **flags)
    if kind == "n":
        axis = draw(st.sampled_from([None, last_axes]))
        return layers.Normalization(axis=axis, mean=0.5, variance=4.0, invert=draw(st.booleans()))
    if kind == "g":
        return layers.GaussianNoise(draw(st.sampled_from([0.0, 0.5])))
    if kind == "v":
        return draw(st.sampled_from([layers.AlphaDropout, layers.GaussianDropout]))(0.5)
    if kind in "uxy":
        return _axis_layer(draw, kind, shape)
    if kind == "p":
        return layers.ActivityRegularization(l1=draw(st.sampled_from([0.0, 0.1])))
    if kind == "r":
        return layers.Rescaling(draw(st.sampled_from([0.5, 2.0])), offset=draw(st.just(-1.0)))
    if kind == "o":
        return layers.Dropout(draw(st.sampled_from([0.0, 0.5])))
    if kind == "i" and len(shape) != 3:
        return layers.Reshape((shape[0], math.prod(shape[1:]), 1))
    if kind == "i":
        grows = math.prod(shape) < 600
        return draw(st.sampled_from(IMAGES[:8] if 0 in shape or not grows else IMAGES))()
    return layers.Reshape((math.prod(shape),))


def _axis_layer(draw: st.DrawFn, kind: str, shape: tuple[int, ...]) -> layers.Layer:
    """Draw a layer that works along some of the axes."""
    numbers = list(range(1, len(shape) + 1))
    axes = draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True))
    if kind == "u":
        if 0 in shape:
            return layers.Flatten()
        # A softmax of all axes reads a sample as one row, like the other layers here.
        return draw(st.sampled_from([layers.Softmax(numbers), layers.UnitNormalization(axes)]))
    if kind == "x":
        return layers.PReLU("normal", shared_axes=draw(st.sampled_from([None, axes])))
    channels = shape[axes[0] - 1]
    fitting = [-1] + [n for n in (1, 2, 3, 16) if channels >= n and channels % n == 0]
    return layers.GroupNormalization(draw(st.sampled_from(fitting)), axes[0])


IMAGES: list[Callable[[], layers.Layer]] = [
    layers.RandomFlip,
    lambda: layers.RandomTranslation(0.2, 0.3),
    lambda: layers.UpSampling2D(1),
    lambda: layers.Permute((2, 3, 1)),
    lambda: layers.RandomZoom(0.2, 0.3),
    lambda: layers.RandomRotation(0.2),
    lambda: layers.RandomContrast(0.2),
    lambda: layers.RandomBrightness(0.2),
    lambda: layers.RandomCrop(2, 3),
    lambda: layers.RandomCrop(1, 20),
    lambda: layers.Resizing(4, 3),
    lambda: layers.Resizing(5, 2, "nearest", pad_to_aspect_ratio=True),
    lambda: layers.CenterCrop(2, 6),
    lambda: layers.ZeroPadding2D(((1, 0), (2, 3))),
    lambda: layers.UpSampling2D((2, 1)),
    lambda: layers.Permute((3, 1, 2)),
    lambda: layers.UpSampling2D((1, 3), interpolation="bilinear"),
]


def _image_layer(draw: st.DrawFn, kind: str) -> layers.Layer:
    """Draw a layer that accepts every image."""
    options: dict[str, Any] = {"strides": draw(st.integers(1, 2)), "padding": "same"}
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    if kind == "m":
        cls = draw(st.sampled_from([layers.MaxPooling2D, layers.AveragePooling2D]))
        return cls(size, **options)
    options["activation"] = draw(st.sampled_from(["linear", "relu", "gelu"]))
    options["use_bias"] = draw(st.booleans())
    if kind == "t":
        return layers.Conv2DTranspose(draw(st.sampled_from([1, 6, 17])), size, **options)
    if kind == "w":
        return layers.DepthwiseConv2D(size, depth_multiplier=draw(st.integers(1, 2)), **options)
    return layers.Conv2D(draw(st.sampled_from([1, 6, 16, 17])), size, **options)


class Tensor(NamedTuple):
    """A range of memory."""

    name: str
    offset: int
    size: int


def assert_disjoint(tensors: list[Tensor], width: int) -> None:
    for tensor in tensors:
        assert tensor.offset >= 0, tensor
        assert tensor.offset + tensor.size <= width, (tensor, width)
        assert tensor.offset % LINE == tensor.size % LINE == 0, tensor
    for i, a in enumerate(tensors):
        for b in tensors[:i]:
            overlap = a.offset < b.offset + b.size and b.offset < a.offset + a.size
            assert not overlap, (a, b)


def assert_connected(ops: list[dict[str, Any]], out: int, n_in: int, n_out: int) -> None:
    """Check that every op reads the output of the op before it, with sufficient strides."""
    assert ops[0]["n_in"] == n_in
    assert ops[-1]["n_out"] == n_out
    assert ops[-1]["y"] == out
    for op in ops:
        assert op["ld_x"] >= op["n_in"]
        assert op["ld_y"] >= op["n_out"]
    for op, after in pairwise(ops):
        assert (after["x"], after["ld_x"], after["n_in"]) == (op["y"], op["ld_y"], op["n_out"])


@settings(max_examples=200, deadline=None)
@given(chains())
def test_each_op_finds_what_it_reads(chain: tuple[list[layers.Layer], tuple[int, ...]]) -> None:
    plan = compile_plan(*chain)
    assert plan.n_in == math.prod(chain[1])
    assert plan.n_out == math.prod(plan.output_shape)
    for ops, out in (
        (plan.training.ops, plan.training.outputs[0]),
        (plan.inference.ops, plan.inference.outputs[0]),
    ):
        assert_connected(ops, out, plan.n_in, plan.n_out)
    assert_connected(plan.input_gradient.ops, plan.input_gradient.outputs[0], plan.n_in, plan.n_out)
    check_arena(flat_chain(*chain), plan)
    assert not {KINDS[op["kind"]] for op in plan.inference.ops} & {"dropout", "noise", "intensity"}
    drawn = {op["settings"].kind for op in plan.inference.ops if KINDS[op["kind"]] == "resample"}
    assert not drawn & {_engine.RESAMPLINGS[kind] for kind in ("flip", "shift", "zoom", "rotate")}


@settings(max_examples=200, deadline=None)
@given(chains())
def test_gradients_reach_every_trainable_parameter_and_no_further(
    chain: tuple[list[layers.Layer], tuple[int, ...]],
) -> None:
    plan = compile_plan(*chain)
    trained = False
    for i, op in enumerate(plan.training.ops):
        assert (op["dx"] >= 0) == trained, "dx exists if and only if an earlier op is trained"
        if i > 0:
            assert op["dx"] == plan.training.ops[i - 1]["dy"]
        own = any(op[field] >= 0 and plan.arrays[op[field]]["trained"] for field in ("w", "b"))
        trained = trained or own
        if own:
            assert op["dy"] >= 0
    assert plan.training.ops[-1]["dy"] >= 0, "the loss writes its gradient to it"
    for i, op in enumerate(plan.input_gradient.ops):
        assert op["dx"] >= 0, "the input has a gradient"
        assert i == 0 or op["dx"] == plan.input_gradient.ops[i - 1]["dy"]


@settings(max_examples=200, deadline=None)
@given(chains())
def test_parameters_are_contiguous_without_gaps(
    chain: tuple[list[layers.Layer], tuple[int, ...]],
) -> None:
    plan = compile_plan(*chain)
    end = 0
    for parameter in sorted(plan.parameters, key=lambda p: (p.offset, p.size)):
        assert parameter.offset == end
        end += parameter.size
    assert end == plan.n_weights

    # The order is matrices, vectors, tables of embeddings, non-trainable parameters.
    classes = [
        (not p.trained, p.weight.sparse, len(p.shape) < 2) for p in plan.parameters if p.size
    ]
    offsets = [p.offset for p in plan.parameters if p.size]
    ordered = [c for _, c in sorted(zip(offsets, classes, strict=True))]
    assert ordered == sorted(ordered)
    for p in plan.parameters:
        assert p.trained == (p.weight.trainable and chain[0][p.layer].trainable)
        assert p.offset + p.size <= plan.n_params or not p.trained
        assert p.offset >= plan.n_params or p.trained

    end = 0
    trained = [array for array in plan.arrays if array["trained"]]
    for array in sorted(trained, key=lambda a: (a["begin"], a["rows"] * a["cols"])):
        assert array["begin"] == end
        end += array["outer"] * array["rows"] * array["cols"]
    assert end == plan.n_params


@settings(max_examples=100, deadline=None)
@given(chains(), st.randoms())
def test_a_plan_like_another_keeps_its_offsets(
    chain: tuple[list[layers.Layer], tuple[int, ...]], random: Any
) -> None:
    """Layers may be frozen and unfrozen, but parameters that had no gradient stay frozen."""
    first = compile_plan(*chain)
    for layer in chain[0]:
        layer.trainable = random.random() < 0.5
    plan = compile_plan(*chain, like=first)
    assert [p.offset for p in plan.parameters] == [p.offset for p in first.parameters]
    assert (plan.n_params, plan.n_weights) == (first.n_params, first.n_weights)
    for p in plan.parameters:
        wanted = p.weight.trainable and chain[0][p.layer].trainable
        assert p.trained == (wanted and p.offset < first.n_params)
    new_ops, old_ops = ([op | {"frozen": 0} for op in p.inference.ops] for p in (plan, first))
    assert new_ops == old_ops
    check_arena(flat_chain(*chain), plan)
    assert plan.has_untrained_slots == (
        sum(p.size for p in plan.parameters if p.trained) < first.n_params
    )


@settings(max_examples=200, deadline=None)
@given(chains())
def test_ops_have_the_numbers_of_their_weights(
    chain: tuple[list[layers.Layer], tuple[int, ...]],
) -> None:
    plan = compile_plan(*chain)
    numbers = {(p.layer, p.name): i for i, p in enumerate(plan.parameters)}
    for op in [*plan.training.ops, *plan.inference.ops, *plan.input_gradient.ops]:
        for field, name in WEIGHTS.get(KINDS[op["kind"]], {}).items():
            assert op[field] == numbers.get((op["node"], name), -1)
    assert [array["begin"] for array in plan.arrays] == [p.offset for p in plan.parameters]


@settings(max_examples=200, deadline=None)
@given(chains())
def test_statistics_do_not_overlap(chain: tuple[list[layers.Layer], tuple[int, ...]]) -> None:
    """batch_norm has mean, 1/√variance, variance, dgamma, dbeta and a number; standardize has 3."""
    plan = compile_plan(*chain)
    numbers = {"batch_norm": 6, "standardize": 3}
    tensors = [
        Tensor(KINDS[op["kind"]], op["stats"] + k * op["ld_stats"], op["ld_stats"])
        for op in plan.training.ops
        for k in range(numbers.get(KINDS[op["kind"]], 0))
    ]
    assert_disjoint(tensors, plan.n_stats)
    assert sum(tensor.size for tensor in tensors) == plan.n_stats
    for op in plan.training.ops:
        if KINDS[op["kind"]] in numbers:
            wide = op["channels"] if KINDS[op["kind"]] == "batch_norm" else op["n_in"]
            assert op["ld_stats"] >= wide
        if KINDS[op["kind"]] in (*numbers, "layer_norm") and op["n_in"]:
            assert op["n_in"] % op["channels"] == 0
    same = [(op["node"], op["stats"]) for op in plan.training.ops if KINDS[op["kind"]] in numbers]
    for ops in (plan.inference.ops, plan.input_gradient.ops):
        assert same == [(op["node"], op["stats"]) for op in ops if KINDS[op["kind"]] in numbers]


@settings(max_examples=40, deadline=None)
@given(chains(), st.integers(1, 20), st.sampled_from(["float32", "float64"]))
def test_the_engine_agrees_with_numpy(
    chain: tuple[list[layers.Layer], tuple[int, ...]], rows: int, dtype: str
) -> None:
    """NumPy computes layer by layer, so fusing ops must not change the outputs."""
    stack, shape = chain
    plan = compile_plan(stack, shape)
    engine = _engine.Engine(plan, dtype)
    rng = np.random.default_rng(0)
    for p, view in zip(plan.parameters, plan.views(engine.weights), strict=True):
        low, high = (0.5, 2.0) if "variance" in p.name else (-0.1, 0.1)
        view[...] = rng.uniform(low, high, p.shape)
    x = rng.normal(size=(rows, plan.n_in))
    if any(isinstance(layer, layers.Embedding) for layer in stack):
        x = np.abs(x) // 1
    out = np.empty((rows, plan.n_out), dtype)
    engine.forward(_engine.Data(x), out)

    a = x.reshape(rows, *shape)
    for i, layer in enumerate(stack):
        w = {
            p.name: view.astype(np.float64)
            for p, view in zip(plan.parameters, plan.views(engine.weights), strict=True)
            if p.layer == i
        }
        a = layer_outputs(layer, a, w)
    # Layer normalization of nearly equal numbers amplifies rounding errors by a factor of 30.
    tolerance = 1e-9 if dtype == "float64" else 5e-3
    scale = max(1.0, np.abs(a).max(initial=0.0))
    np.testing.assert_allclose(out / scale, a.reshape(rows, -1) / scale, atol=tolerance, rtol=0)


@given(st.integers(0, 10_000))
def test_long_strides_are_odd_numbers_of_cache_lines(n: int) -> None:
    ld = stride(n)
    assert n <= ld < n + 2 * LINE + (n == 0)
    assert ld % LINE == 0
    assert ld < ODD_LINES * LINE or ld // LINE % 2 == 1


def test_activations_are_fused_only_into_linear_ops_with_parameters() -> None:
    def kinds(*stack: layers.Layer) -> list[str]:
        return [KINDS[op["kind"]] for op in compile_plan(stack, (4,)).training.ops]

    assert kinds(layers.Dense(2), layers.Activation("relu")) == ["dense"]
    assert kinds(layers.Dense(2, "tanh"), layers.Activation("relu")) == ["dense", "activation"]
    assert kinds(layers.Rescaling(2.0), layers.Dense(2)) == ["dense"]
    assert kinds(layers.Dense(2), layers.Rescaling(2.0)) == ["dense", "affine"]
    relu = layers.Activation("relu")
    assert kinds(layers.BatchNormalization(), relu) == ["batch_norm"]
    assert kinds(layers.LayerNormalization(), relu) == ["layer_norm"]
    assert kinds(layers.Normalization(), relu) == ["standardize", "activation"]
    # The penalty applies to the output before the activation.
    assert kinds(layers.Dense(2, activity_regularizer="l2"), relu) == ["dense", "activation"]
    assert kinds(layers.Dense(2), layers.Activation("relu", activity_regularizer="l2")) == ["dense"]


def test_the_last_activation_is_fused_into_the_loss_unless_penalized() -> None:
    def final(*stack: layers.Layer) -> str:
        return compile_plan(stack, (4,)).final_activation

    softmax = layers.Dense(3, "softmax")
    assert final(softmax) == "softmax"
    assert final(layers.BatchNormalization(), layers.Activation("sigmoid")) == "sigmoid"
    assert final(layers.Dense(3, "softmax", activity_regularizer="l2")) == "linear"
    assert final(softmax, layers.ActivityRegularization(l1=0.1)) == "linear"


def test_leading_rescalings_are_fused_into_the_input() -> None:
    plan = compile_plan(
        [layers.Rescaling(2.0, 1.0), layers.Rescaling(3.0, -4.0), layers.Dense(1)], (2,)
    )
    assert (plan.inputs[0]["scale"], plan.inputs[0]["offset"]) == (6.0, -1.0)


@pytest.mark.parametrize("layer", [layers.Dense(2), layers.Activation("softmax")])
def test_a_last_axis_is_needed(layer: layers.Layer) -> None:
    with pytest.raises(ValueError, match=r"at least one axis; received shape \(\)"):
        compile_plan([layer], ())

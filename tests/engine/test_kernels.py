"""Kernels agree with NumPy for sizes around the SIMD widths, in float32 and float64.

Run with NNFAST_ISA=base, avx2 or avx512 to test that variant.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import ACTIVATIONS, SGD, Adam, activate, activate_backward, loss_rows

from nnfast import kernels, losses, optimizers
from nnfast._engine import PRIMITIVES, core

SIZES = (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65)
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
# The triples contain every pair of sizes; all 2,197 triples would take a minute.
SHAPES = [
    (SIZES[i], SIZES[j], SIZES[(i + 5 * j) % len(SIZES)])
    for i, j in itertools.product(range(len(SIZES)), repeat=2)
]


def assert_close(actual, expected, dtype):
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def evaluate(name, x):
    y = np.empty_like(x)
    core.primitive(PRIMITIVES[name], x, y)
    return y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_layers_agree_with_numpy_for_all_sizes(activation, dtype):
    rng = np.random.default_rng(0)
    for m, k, n in SHAPES:
        x, w, b = (rng.normal(size=s).astype(dtype) for s in ((m, k), (k, n), (n,)))
        w /= max(1, k) ** 0.5
        dout = rng.normal(size=(m, n)).astype(dtype)
        before = [a.copy() for a in (x, w, b, dout)]
        out = kernels.dense_forward(x, w, b, activation)
        z = kernels.dense_forward(x, w, b)
        dx, dw, db = kernels.dense_backward(dout, x, w, out, activation, z=z)
        for array, old in zip((x, w, b, dout), before, strict=True):
            assert_array_equal(array, old)
        if n == 0:
            assert (out.shape, dw.shape, db.shape) == ((m, 0), (k, 0), (0,))
            assert not dx.any()
            continue
        wide = [a.astype("float64") for a in (x, w, b, dout)]
        expected = activate(wide[0] @ wide[1] + wide[2], activation) if m else np.zeros((0, n))
        assert_close(out, expected, dtype)
        dz = activate_backward(wide[3], z.astype("float64"), activation) if m else wide[3]
        for actual, wanted in ((dx, dz @ wide[1].T), (dw, wide[0].T @ dz), (db, dz.sum(0))):
            assert actual.dtype == dtype
            assert_close(actual, wanted, dtype)


# Every dimension has sizes above and below that of the cache block.
BLOCKS = [(130, 200, 150), (64, 300, 70), (257, 129, 200), (12, 700, 300), (530, 100, 1030)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), BLOCKS)
def test_dense_layers_agree_with_numpy_across_cache_blocks(m, k, n, dtype):
    rng = np.random.default_rng(1)
    x, w, b = (rng.normal(size=s).astype(dtype) for s in ((m, k), (k, n), (n,)))
    dz = rng.normal(size=(m, n)).astype(dtype)
    wide = [a.astype("float64") for a in (x, w, b, dz)]
    out = kernels.dense_forward(x, w, b)
    assert_close(out, wide[0] @ wide[1] + wide[2], dtype)
    dx, dw, db = kernels.dense_backward(dz, x, w, out)
    assert_close(dx, wide[3] @ wide[1].T, dtype)
    assert_close(dw, wide[0].T @ wide[3], dtype)
    assert_close(db, wide[3].sum(0), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_its_position_in_the_batch(dtype):
    """The order of summation does not depend on the tile, the block or the batch."""
    rng = np.random.default_rng(2)
    for k in (150, 600):
        x, w, b = (rng.normal(size=s).astype(dtype) for s in ((400, k), (k, 77), (77,)))
        whole = kernels.dense_forward(x, w, b, "tanh")
        for rows in (slice(0, 1), slice(3, 20), slice(50, 100), slice(100, 400)):
            assert_array_equal(kernels.dense_forward(x[rows], w, b, "tanh"), whole[rows])


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_unaligned_and_strided_arrays_are_accepted(dtype):
    rng = np.random.default_rng(3)
    raw = rng.normal(size=5 * 33 + 1).astype(dtype)
    x = raw[1:].reshape(5, 33)  # not aligned to a vector
    w = np.asfortranarray(rng.normal(size=(33, 20)).astype(dtype))
    b = rng.normal(size=40).astype(dtype)[::2]
    out = np.empty((5, 20), dtype)
    assert kernels.dense_forward(x, w, b, "relu", out=out) is out
    assert_close(out, np.maximum(x.astype("f8") @ w.astype("f8") + b, 0), dtype)
    bytes_off = np.empty(4 * 8 * 3 + 1, np.uint8)[1 : 1 + 12 * np.dtype(dtype).itemsize]
    shifted = bytes_off.view(dtype).reshape(4, 3)
    shifted[...] = x[:4, :3]
    assert_array_equal(
        kernels.dense_forward(shifted, w[:3], b), kernels.dense_forward(x[:4, :3], w[:3], b)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "tanh", "sigmoid", "erf", "erfc"])
def test_primitives_are_accurate(name, dtype):
    """If results are not subnormal, errors are ≤ 4 ulp in float32, ≤ 1e-14 relative in float64."""
    rng = np.random.default_rng(4)
    limit = np.log(np.finfo(dtype).max)
    if name == "log":
        x = np.concatenate(
            [np.exp(rng.uniform(-limit, limit, 200_000)), rng.uniform(0.5, 2, 200_000)]
        )
    elif name == "log1p":
        x = np.concatenate([rng.uniform(0, 1, 100_000), np.exp(rng.uniform(-limit, 0, 100_000))])
    else:
        x = np.concatenate(
            [
                rng.uniform(-limit, limit, 200_000),
                rng.uniform(-2, 2, 200_000),
                rng.normal(size=1000) * 1e-4,
            ]
        )
    x = x.astype(dtype)
    if name in ("erf", "erfc"):
        # math.erf and math.erfc are the reference, because they are accurate to one float64 ulp.
        x = np.concatenate([x[::40], rng.uniform(-6, 30, 50_000)]).astype(dtype)
    exact = {
        "exp": np.exp,
        "log": np.log,
        "log1p": np.log1p,
        "tanh": np.tanh,
        "sigmoid": lambda t: 1 / (1 + np.exp(-t)),
        "erf": np.vectorize(math.erf),
        "erfc": np.vectorize(math.erfc),
    }[name](x.astype(np.longdouble)).astype(np.longdouble)
    actual = evaluate(name, x)
    tiny = np.finfo(dtype).tiny
    normal = np.abs(exact) >= tiny
    error = np.abs(actual[normal] - exact[normal])
    if dtype == "float32":
        assert (error / np.spacing(np.abs(exact[normal]).astype(dtype))).max() <= 4
    else:
        assert (error / np.abs(exact[normal])).max() <= 1e-14
    assert (np.abs(actual[~normal]) <= tiny).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_primitives_handle_infinities_nan_and_zeros(dtype):
    x = np.array([-np.inf, np.inf, np.nan, 0.0, -0.0], dtype)
    assert_array_equal(evaluate("exp", x), np.array([0, np.inf, np.nan, 1, 1], dtype))
    assert_array_equal(evaluate("tanh", x), np.array([-1, 1, np.nan, 0, 0], dtype))
    assert_array_equal(np.signbit(evaluate("tanh", x[3:])), [False, True])
    assert_array_equal(evaluate("sigmoid", x), np.array([0, 1, np.nan, 0.5, 0.5], dtype))
    assert_array_equal(
        evaluate("log", x), np.array([np.nan, np.inf, np.nan, -np.inf, -np.inf], dtype)
    )
    subnormal = np.array([np.finfo(dtype).smallest_subnormal], dtype)
    assert_allclose(evaluate("log", subnormal), np.log(subnormal), rtol=1e-6)
    below, above = np.array([-1e5], dtype), np.array([1e5], dtype)
    assert evaluate("exp", below) == 0
    assert evaluate("exp", above) == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_agree_with_numpy(activation, dtype):
    rng = np.random.default_rng(5)
    for m, n in itertools.product((1, 3, 17), SIZES[1:]):
        x, dout = (rng.normal(size=(m, n)).astype(dtype) * 3 for _ in range(2))
        out = kernels.activation_forward(x, activation)
        assert_close(out, activate(x.astype("f8"), activation), dtype)
        dx = kernels.activation_backward(dout, out, activation, x=x)
        assert_close(dx, activate_backward(dout.astype("f8"), x.astype("f8"), activation), dtype)
    cube = rng.normal(size=(2, 3, 5)).astype(dtype)
    same = kernels.activation_forward(cube.reshape(6, 5), activation).reshape(2, 3, 5)
    assert_array_equal(kernels.activation_forward(cube, activation), same)
    assert kernels.activation_forward(cube, activation, out=cube) is cube
    assert_array_equal(cube, same)


def test_activations_are_accurate_over_their_range():
    """Errors in float32 are at most 8 ulp or 1e-7, whichever is larger."""
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.uniform(-100, 80, 20_000), rng.normal(size=20_000)]).astype("float32")
    for activation in sorted(set(ACTIVATIONS) - {"softmax"}):
        exact = activate(x.astype("float64"), activation)
        allowed = np.maximum(1e-7, 8 * np.spacing(np.abs(exact).astype("float32")))
        error = np.abs(kernels.activation_forward(x, activation) - exact)
        assert (error <= allowed).all(), activation


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "silu", "mish"])
def test_a_derivative_that_needs_the_pre_activation_requires_it(activation):
    with pytest.raises(ValueError, match=f"x is needed for the derivative of '{activation}'"):
        kernels.activation_backward([[1.0]], [[1.0]], activation)
    with pytest.raises(ValueError, match="z is needed"):
        kernels.dense_backward([[1.0]], [[1.0]], [[1.0]], [[1.0]], activation)


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"linear"}))
def test_activations_propagate_nan_and_handle_infinities(activation):
    x = np.array([[np.nan, 1.0, -1.0], [np.inf, 1.0, -np.inf], [0.5, 1.0, -1.0]], "float32")
    with np.errstate(all="ignore"):
        expected = activate(x.astype("float64"), activation)
    actual = kernels.activation_forward(x, activation)
    assert_array_equal(np.isnan(actual[[0, 2]]), np.isnan(expected[[0, 2]]))
    # NumPy's formulas give NaN for ∞·0 and ∞/∞; all other results must agree.
    limits = np.isfinite(expected[1]) | np.isinf(expected[1])
    if activation != "softmax":
        assert_allclose(actual[1][limits], expected[1][limits], rtol=1e-6)


LOSSES = [
    (losses.MeanSquaredError(), "mean_squared_error", False),
    (losses.MeanAbsoluteError(), "mean_absolute_error", False),
    (losses.Huber(), "huber", False),
    (losses.LogCosh(), "log_cosh", False),
    (losses.Quantile(), "quantile", False),
    (losses.Poisson(), "poisson", False),
    (losses.Hinge(), "hinge", False),
    (losses.BinaryCrossentropy(), "binary_crossentropy", False),
    (losses.BinaryCrossentropy(from_logits=True), "binary_crossentropy", True),
    (losses.CategoricalCrossentropy(), "categorical_crossentropy", False),
    (losses.CategoricalCrossentropy(from_logits=True), "categorical_crossentropy", True),
    (losses.SparseCategoricalCrossentropy(), "sparse_categorical_crossentropy", False),
    (losses.SparseCategoricalCrossentropy(True), "sparse_categorical_crossentropy", True),
    (losses.MeanAbsolutePercentageError(), "mean_absolute_percentage_error", False),
    (losses.MeanSquaredLogarithmicError(), "mean_squared_logarithmic_error", False),
    (losses.SquaredHinge(), "squared_hinge", False),
    (losses.CategoricalHinge(), "categorical_hinge", False),
    (losses.CosineSimilarity(), "cosine_similarity", False),
    (losses.KLDivergence(), "kl_divergence", False),
    (losses.BinaryFocalCrossentropy(), "binary_focal_crossentropy", False),
    (losses.BinaryFocalCrossentropy(from_logits=True), "binary_focal_crossentropy", True),
    (losses.CategoricalFocalCrossentropy(), "categorical_focal_crossentropy", False),
    (losses.CategoricalFocalCrossentropy(from_logits=True), "categorical_focal_crossentropy", True),
]
# Losses of positive outputs, and losses of targets between 0 and 1.
POSITIVE = ("poisson", "mean_squared_logarithmic_error")
FRACTIONS = (*POSITIVE, "kl_divergence", "categorical_hinge")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "name", "logits"), LOSSES)
def test_losses_agree_with_numpy(loss, name, logits, dtype):
    rng = np.random.default_rng(6)
    for m, n in itertools.product((1, 5, 18), SIZES[1:]):
        probabilities = ("crossentropy" in name and not logits) or name == "kl_divergence"
        pred = rng.uniform(0.05, 0.95, (m, n)) if probabilities else rng.normal(size=(m, n)) * 3
        if name in POSITIVE:
            pred = np.abs(pred) + 0.1
        pred = pred.astype(dtype)
        if name.startswith("sparse"):
            y = rng.integers(0, n, m)
        elif name in ("hinge", "squared_hinge"):
            y = rng.choice([-1.0, 1.0], (m, n)).astype(dtype)
        elif "crossentropy" in name or name in FRACTIONS:
            y = rng.uniform(0, 1, (m, n)).astype(dtype)
        else:
            y = rng.normal(size=(m, n)).astype(dtype)
        for w in (None, rng.uniform(0, 2, m)):
            value, gradient = kernels.loss(y, pred, loss, sample_weight=w)
            rows, derivative = loss_rows(
                signed(y) if "hinge" in name else y, pred.astype("f8"), name, logits
            )
            factor = np.ones(m) if w is None else w
            atol = 1e-6 if dtype == "float32" else 1e-13
            wanted = (rows * factor).sum() / m
            assert_allclose(value, wanted, rtol=20 * TOLERANCE[dtype], atol=atol)
            assert_close(gradient, derivative * factor[:, None] / m, dtype)


def signed(y):
    """Return the targets as −1 and 1; convert them if they are all 0 or 1, as hinge does."""
    return 2 * y - 1 if ((y == 0) | (y == 1)).all() else y


def test_huber_and_quantile_use_their_parameters():
    y, pred = np.zeros((1, 2)), np.array([[3.0, -3.0]])
    value, gradient = kernels.loss(y, pred, losses.Huber(delta=2.0))
    assert_allclose((value, *gradient[0]), (4.0, 1.0, -1.0))
    value, gradient = kernels.loss([0.0], pred, losses.Quantile((0.1, 0.9)))
    assert_allclose((value, *gradient[0]), ((0.9 * 3 + 0.9 * 3) / 2, 0.45, -0.45))


def test_label_smoothing_equals_smoothed_targets():
    pred, y = np.array([[0.2, 0.5, 0.3]]), np.array([[0.0, 1.0, 0.0]])
    smooth = kernels.loss(y, pred, losses.CategoricalCrossentropy(label_smoothing=0.3))
    plain = kernels.loss(0.7 * y + 0.1, pred, "categorical_crossentropy")
    assert_allclose(smooth[0], plain[0])
    assert_allclose(smooth[1], plain[1], rtol=1e-14)
    smooth = kernels.loss(y, pred, losses.BinaryCrossentropy(label_smoothing=0.3))
    assert_allclose(smooth[0], kernels.loss(0.7 * y + 0.15, pred, "binary_crossentropy")[0])


def test_cross_entropies_are_accurate_for_large_logits():
    z = np.array([[30.0], [-40.0], [200.0], [-200.0]])
    value, gradient = kernels.loss([[1.0]], z[:1], losses.BinaryCrossentropy(from_logits=True))
    assert_allclose(value, np.exp(-30.0), rtol=1e-12)
    value, _ = kernels.loss([[1.0]], z[3:], losses.BinaryCrossentropy(from_logits=True))
    assert value == 200.0
    logits = np.array([[1000.0, 0.0, -np.inf]])
    value, gradient = kernels.loss([0], logits, losses.SparseCategoricalCrossentropy(True))
    assert value == 0.0
    assert_array_equal(gradient, [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("optimizer", "reference"),
    [
        (optimizers.SGD(0.1), SGD(0.1)),
        (optimizers.SGD(0.1, momentum=0.9), SGD(0.1, 0.9)),
        (optimizers.SGD(0.1, momentum=0.8, nesterov=True), SGD(0.1, 0.8, True)),
        (optimizers.Adam(0.01), Adam(0.01)),
        (optimizers.Adam(0.01, 0.5, 0.9, 1e-3), Adam(0.01, 0.5, 0.9, 1e-3)),
    ],
)
def test_optimizer_steps_agree_with_numpy(optimizer, reference, dtype):
    rng = np.random.default_rng(7)
    for n in SIZES:
        w = rng.normal(size=n).astype(dtype)
        slots = np.zeros((optimizer.n_slots, n), dtype)
        wanted, twin = [w.astype("float64")], type(reference)(**optimizer_fields(reference))
        for t in range(5):
            g = rng.normal(size=n).astype(dtype)
            kernels.optimizer_step(w, g, slots, t, optimizer)
            twin.update(wanted, [g.astype("float64")])
        assert_close(w, wanted[0], dtype)


def optimizer_fields(reference):
    state = {"velocities", "ms", "vs", "iterations"}
    return {k: v for k, v in vars(reference).items() if k not in state}


def test_adam_is_accurate_for_huge_and_tiny_gradients():
    """The approximate reciprocal and square root in float32 are accurate over the whole range."""
    g = np.array([0.0, 1e-30, 1e-12, 1e-7, 1e-3, 1.0, 1e6, 1e15], "float32")
    w = np.zeros_like(g)
    kernels.optimizer_step(w, g, np.zeros((2, g.size), "float32"), 0, optimizers.Adam(1.0))
    wide = g.astype("float64")
    root = np.sqrt(np.where(wide < 1e-15, 0.0, 0.001 * wide**2))
    alpha = np.sqrt(0.001) / 0.1
    assert_allclose(w, -alpha * 0.1 * wide / (root + 1e-7), rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((4, 2)), np.ones(2)), "w"),
        (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((3, 2)), np.ones(3)), "b"),
        (lambda: kernels.dense_forward(np.ones(3), np.ones((3, 2)), np.ones(2)), "x"),
        (lambda: kernels.dense_forward([["a"]], [[1.0]], [1.0]), "x"),
        (lambda: kernels.dense_forward([[1.0]], [[1.0]], [1.0], out=np.ones((2, 2))), "out"),
        (lambda: kernels.dense_forward([[1.0]], [[1.0]], [1.0], out=np.ones((1, 1), "f4")), "out"),
        (lambda: kernels.dense_forward([[1.0]], [[1.0]], [1.0], "rleu"), "relu"),
        (lambda: kernels.dense_backward(np.ones((2, 1)), np.ones((3, 1)), [[1.0]], [[1.0]]), "x"),
        (lambda: kernels.loss([2], [[0.0, 1.0]], "sparse_categorical_crossentropy"), "y_true"),
        (lambda: kernels.loss([[1.0]], [[1.0]], "mse", sample_weight=[-1.0]), "sample_weight"),
        (lambda: kernels.loss(np.ones((0, 1)), np.ones((0, 1))), "y_pred"),
        (lambda: kernels.optimizer_step(np.ones(2), np.ones(2), np.zeros((1, 2)), 0), "slots"),
        (lambda: kernels.optimizer_step([1.0], [1.0], np.zeros((2, 1)), 0), "params"),
        (lambda: kernels.optimizer_step(np.ones(1), [1.0], np.zeros((2, 1)), -1), "iteration"),
    ],
)
def test_errors_name_the_wrong_argument(call, word):
    with pytest.raises((ValueError, TypeError), match=word):
        call()

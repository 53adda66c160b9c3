"""Unit normalization and the identity agree with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import differences, layer_outputs
from numpy.testing import assert_allclose, assert_array_equal

import nnfast
from nnfast import _engine, layers
from nnfast.layers import Dense, Flatten, Identity, Input, Reshape, UnitNormalization

SHAPE = (2, 3, 4)
AXES: list[Any] = [-1, 1, 2, -2, [1, 2], (2, 3), [1, 3], [3, 2, 1]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_outputs_agree_with_numpy(axis: Any, dtype: str) -> None:
    layer = UnitNormalization(axis)
    x = np.random.default_rng(0).normal(size=(5, *SHAPE)).astype(dtype)
    y = nnfast.Sequential([Input(SHAPE), layer], dtype=dtype).predict(x)
    expected = layer_outputs(layer, x.astype(np.float64), {})
    assert_allclose(y, expected, rtol=1e-6 if dtype == "float32" else 1e-14)
    norms = (y.astype(np.float64) ** 2).sum(axis=layer.axis)
    assert_allclose(norms, 1, rtol=1e-6)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_gradients_agree_with_central_differences(axis: Any) -> None:
    layer = UnitNormalization(axis)
    model = nnfast.Sequential([Input(SHAPE), layer, Flatten(), Dense(2)], dtype="float64")
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, *SHAPE)), rng.normal(size=(1, 2))
    (expected,) = differences(lambda: model.evaluate(x, y, verbose=0), [x])
    assert_allclose(model.input_gradient(x, y), expected, rtol=1e-6, atol=1e-9)


def test_small_norms_are_not_divided_by() -> None:
    model = nnfast.Sequential([UnitNormalization(input_dim=2)], dtype="float64")
    model.compile("sgd", "mse")
    x = np.array([[0.0, 0.0], [3e-13, -4e-13], [3e-11, 4e-11]])
    assert_allclose(model.predict(x), [[0, 0], [0.3, -0.4], [0.6, 0.8]], rtol=1e-12)
    gradient = model.input_gradient(x, np.ones((3, 2)))
    assert np.isfinite(gradient).all()


def test_long_sums_are_accurate_in_float32() -> None:
    x = np.full((3, 50_000), 0.1, np.float32)
    y = nnfast.Sequential([UnitNormalization(input_dim=x.shape[1])]).predict(x)
    assert_allclose(y, 50_000**-0.5, rtol=2e-7)
    huge = nnfast.Sequential([UnitNormalization(input_dim=2)]).predict([[3e30, 4e30]])
    assert_allclose(huge, [[0.6, 0.8]], rtol=1e-6)


def test_threads_change_no_bits() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 12)), rng.normal(size=(70, 2))
    results = []
    try:
        for threads in (1, 2, 3, 4, 7):
            _engine.force_threads(threads)
            nnfast.set_seed(0)
            stack = [Dense(24), Reshape(SHAPE), UnitNormalization([1, 3]), Identity(), Flatten()]
            model = nnfast.Sequential([Input((12,)), *stack, UnitNormalization(), Dense(2)])
            model.compile("adam", "mse")
            model.fit(x, y, epochs=2, verbose=0)
            results.append([*model.get_weights(), model.input_gradient(x, y)])
    finally:
        _engine.force_threads(0)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_the_identity_is_no_op() -> None:
    model = nnfast.Sequential([Input((3,)), Identity(), Dense(2), Identity()])
    assert len(model._built().plan.training.ops) == 1
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert_array_equal(nnfast.Sequential([Identity(input_dim=3)]).predict(x), x)


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        *((0, "axis"), (4, "no axis 4"), (-4, "no axis -4"), ([], "axis"), ([1, 1], "different")),
        *(([1, -3], "twice"), ("last", "axis"), (None, "axis"), (1.5, "axis")),
    ],
)
def test_wrong_axes_are_named(axis: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        nnfast.Sequential([Input(SHAPE), layers.UnitNormalization(axis)])

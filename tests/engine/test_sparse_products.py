"""Matrix products of dense layers skip zeros; the results are bit-identical."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import kernels, layers

DTYPES = ("float32", "float64")
# The sizes lie above and below those of the bitmask, the register tile and the packed block.
SHAPES = [
    *[(64, 64, 64), (70, 150, 130), (257, 65, 200), (1030, 100, 90), (100, 40, 515)],
    *[(64, 96, 80), (64, 96, 176), (64, 96, 208)],  # W is read in place up to its last element
]


def sparse(
    rng: np.random.Generator, shape: tuple[int, int], density: float, dtype: str
) -> NDArray[np.floating]:
    """Return random numbers of which a fraction `density` is nonzero."""
    x = rng.normal(size=shape)
    x[rng.random(shape) >= density] = 0
    return x.astype(dtype)


def backward(
    dz: NDArray[np.floating], x: NDArray[np.floating], w: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return dx and dw of a linear layer."""
    dx, dw, _ = kernels.dense_backward(dz, x, w, np.zeros_like(dz))
    return dx, dw


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.0, 0.2, 0.45])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_skipping_zeros_changes_no_bits(m: int, k: int, n: int, density: float, dtype: str) -> None:
    """Skipping zeros depends on the density of all rows, so dense rows disable it."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(k, n)).astype(dtype), rng.normal(size=n).astype(dtype)
    x, dz = sparse(rng, (m, k), density, dtype), sparse(rng, (m, n), density, dtype)
    full_x, full_dz = (rng.normal(size=(9 * m, size)).astype(dtype) for size in (k, n))
    many_x, many_dz = np.concatenate([x, full_x]), np.concatenate([dz, full_dz])
    for activation in ("linear", "relu"):
        few = kernels.dense_forward(x, w, b, activation)
        assert_array_equal(few, kernels.dense_forward(many_x, w, b, activation)[:m])
    assert_allclose(kernels.dense_forward(x, w, b), x @ w + b, rtol=1e-4, atol=1e-4)
    dx, dw = backward(dz, x, w)
    assert_array_equal(dx, backward(many_dz, many_x, w)[0][:m])
    assert_allclose(dx, dz @ w.T, rtol=1e-4, atol=1e-4)
    assert_allclose(dw, x.T.astype("f8") @ dz, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.0, 0.2, 0.45])
def test_skipping_zeros_changes_no_bits_of_weight_gradients(density: float, dtype: str) -> None:
    """Skipping zeros is decided per block of 96 rows of W; dense columns of x disable it."""
    rng = np.random.default_rng(1)
    m, n = 300, 110
    full, dz = (rng.normal(size=(m, size)).astype(dtype) for size in (96, n))
    x, w = sparse(rng, (m, 20), density, dtype), np.zeros((96, n), dtype)
    wider = np.concatenate([x, full[:, :76]], axis=1)
    assert_array_equal(backward(dz, x, w[:20])[1], backward(dz, wider, w)[1][:20])
    # If x has no zeros, those of dz are skipped.
    dz = sparse(rng, (m, 20), density, dtype)
    wider = np.concatenate([dz, full], axis=1)
    narrow, wide = np.zeros((96, 20), dtype), np.zeros((96, 116), dtype)
    assert_array_equal(backward(dz, full, narrow)[1], backward(wider, full, wide)[1][:, :20])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.3, 0.95])
def test_zeros_are_skipped(density: float, dtype: str) -> None:
    """Values multiplied only by zeros are not read, so an infinity among them has no effect."""
    rng = np.random.default_rng(2)
    skipped = density < 0.5
    x, dz = sparse(rng, (80, 70), density, dtype), sparse(rng, (80, 90), density, dtype)
    w = rng.normal(size=(70, 90)).astype(dtype)
    x[:, 5] = dz[:, 7] = 0
    row, column = w.copy(), w.copy()
    row[5] = column[:, 7] = np.inf
    assert np.isfinite(kernels.dense_forward(x, row, np.zeros(90, dtype))).all() == skipped
    assert np.isfinite(backward(dz, x, column)[0]).all() == skipped
    x[9] = 0
    dz[9] = np.inf
    assert np.isfinite(backward(dz, x, w)[1]).all() == skipped
    full = rng.normal(size=x.shape).astype(dtype)
    full[9], dz[9] = np.inf, 0
    assert np.isfinite(backward(dz, full, w)[1]).all() == skipped


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_are_not_skipped(dtype: str) -> None:
    rng = np.random.default_rng(3)
    x, w = sparse(rng, (64, 80), 0.3, dtype), rng.normal(size=(80, 70)).astype(dtype)
    x[3, 6], x[4, 7] = np.nan, np.inf
    out = kernels.dense_forward(x, w, np.zeros(70, dtype))
    assert np.isnan(out[3]).all()
    assert np.isinf(out[4]).all()
    assert np.isfinite(np.delete(out, (3, 4), axis=0)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 10, 20])
@pytest.mark.parametrize("k", [16, 40, 100, 130])
def test_gradients_of_layers_with_few_outputs_agree_with_numpy(k: int, n: int, dtype: str) -> None:
    """If there are few outputs, the transpose of dW is computed."""
    rng = np.random.default_rng(4)
    for m in (32, 65, 300):
        x, dz = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(m, n)).astype(dtype)
        w = rng.normal(size=(k, n)).astype(dtype)
        dx, dw = backward(dz, x, w)
        assert_allclose(dx, dz @ w.T, rtol=1e-4, atol=1e-4)
        assert_allclose(dw, x.T.astype("f8") @ dz, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [100, 3001])
@pytest.mark.parametrize("sizes", [(20, 70, 80, 10), (70, 33, 1), (33, 90, 90, 3)])
def test_gradients_of_relu_networks_agree_with_numpy(sizes: tuple[int, ...], rows: int) -> None:
    """The gradients of many rows are added up block by block."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(rows, sizes[0])), rng.normal(size=(rows, sizes[-1]))
    hidden = [layers.Dense(size, activation="relu") for size in sizes[1:-1]]
    model = nnfast.Sequential(
        [layers.Input((sizes[0],)), *hidden, layers.Dense(sizes[-1])], dtype="float64"
    )
    model.compile("sgd", "mse")
    loss, gradients = model.loss_and_grad(x, y)
    weights = model.get_weights()
    a = [x]
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        a.append(np.maximum(a[-1] @ w + b, 0))
    out = a[-1] @ weights[-2] + weights[-1]
    assert loss == pytest.approx(np.mean((out - y) ** 2), rel=1e-12)
    dz = 2 * (out - y) / y.size
    for i in range(len(a) - 1, -1, -1):
        assert_allclose(gradients[2 * i], a[i].T @ dz, rtol=1e-9, atol=1e-12)
        assert_allclose(gradients[2 * i + 1], dz.sum(0), rtol=1e-9, atol=1e-12)
        dz = (dz @ weights[2 * i].T) * (a[i] > 0)

"""Compare the kernels' results and speed with NumPy; each case is one benchmark group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nnfast import kernels

pytestmark = pytest.mark.benchmark(max_time=0.25, min_rounds=5, warmup=True)

# The numbers of rows, inputs and outputs.
SHAPES = [(32, 20, 64), (256, 64, 64), (32, 784, 128), (128, 512, 512)]
ELEMENTS = (256, 512)
CONTENDERS = ["nnfast", "numpy"]


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def assert_same(actual: Any, expected: Any) -> None:
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4 * float(np.abs(e).max()))


def compare(
    benchmark: Any, contender: str, functions: dict[str, Callable[[], Any]], group: str
) -> None:
    """Check that both functions return equal arrays up to rounding, then time one of them."""
    assert_same(functions["nnfast"](), functions["numpy"]())
    benchmark.group = group
    benchmark(functions[contender])


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dense_forward(benchmark: Any, contender: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    x, w, b = normal(m, k), normal(k, n), normal(n)
    out, other = np.empty((m, n), np.float32), np.empty((m, n), np.float32)

    def numpy() -> list[NDArray[Any]]:
        np.matmul(x, w, out=other)
        np.add(other, b, out=other)
        np.maximum(other, 0.0, out=other)
        return [other]

    functions = {
        "nnfast": lambda: [kernels.dense_forward(x, w, b, activation="relu", out=out)],
        "numpy": numpy,
    }
    compare(benchmark, contender, functions, f"dense forward, relu, {shape}")


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dense_backward(benchmark: Any, contender: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    x, w, dout = normal(m, k), normal(k, n), normal(m, n)
    out = np.maximum(x @ w, 0.0)

    def numpy() -> list[NDArray[Any]]:
        dz = dout * (out > 0.0)
        return [dz @ w.T, x.T @ dz, dz.sum(axis=0)]

    functions = {
        "nnfast": lambda: list(kernels.dense_backward(dout, x, w, out, activation="relu")),
        "numpy": numpy,
    }
    compare(benchmark, contender, functions, f"dense backward, relu, {shape}")


def softmax(x: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
    np.subtract(x, x.max(axis=1, keepdims=True), out=out)
    np.exp(out, out=out)
    return np.divide(out, out.sum(axis=1, keepdims=True), out=out)


def sigmoid(x: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
    np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, 1.0, out=out)
    return np.reciprocal(out, out=out)


ACTIVATIONS: dict[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]] = {
    "relu": lambda x, out: np.maximum(x, 0.0, out=out),
    "tanh": lambda x, out: np.tanh(x, out=out),
    "sigmoid": sigmoid,
    "softmax": softmax,
}


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_forward(benchmark: Any, contender: str, activation: str) -> None:
    x = normal(*ELEMENTS)
    out, other = np.empty_like(x), np.empty_like(x)
    functions = {
        "nnfast": lambda: [kernels.activation_forward(x, activation, out=out)],
        "numpy": lambda: [ACTIVATIONS[activation](x, other)],
    }
    compare(benchmark, contender, functions, f"{activation}, {ELEMENTS}")


@pytest.mark.parametrize("contender", CONTENDERS)
def test_mean_squared_error(benchmark: Any, contender: str) -> None:
    y, p = normal(*ELEMENTS), normal(*ELEMENTS) + np.float32(0.5)

    def numpy() -> list[Any]:
        d = p - y
        return [np.mean(d * d), d * np.float32(2 / d.size)]

    functions = {"nnfast": lambda: list(kernels.loss(y, p)), "numpy": numpy}
    compare(benchmark, contender, functions, f"mean squared error, {ELEMENTS}")


@pytest.mark.parametrize("contender", CONTENDERS)
def test_crossentropy(benchmark: Any, contender: str) -> None:
    from nnfast.losses import CategoricalCrossentropy

    z = normal(*ELEMENTS)
    y = np.eye(ELEMENTS[1], dtype=np.float32)[np.arange(ELEMENTS[0])]
    loss = CategoricalCrossentropy(from_logits=True)

    def numpy() -> list[Any]:
        e = z - z.max(axis=1, keepdims=True)
        value = -(y * e).sum()
        np.exp(e, out=e)
        total = e.sum(axis=1, keepdims=True)
        return [(value + np.log(total).sum()) / len(z), (e / total - y) / np.float32(len(z))]

    functions = {"nnfast": lambda: list(kernels.loss(y, z, loss)), "numpy": numpy}
    compare(benchmark, contender, functions, f"softmax cross-entropy, {ELEMENTS}")


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("n", [6_000, 670_000])
def test_adam(benchmark: Any, contender: str, n: int) -> None:
    g = normal(n) * np.float32(1e-2)
    fast, plain = ([normal(n), np.zeros((2, n), np.float32)] for _ in range(2))
    scratch = np.empty(n, np.float32)

    def nnfast() -> list[NDArray[Any]]:
        kernels.optimizer_step(fast[0], g, fast[1], 10, "adam")
        return fast

    def numpy() -> list[NDArray[Any]]:
        p, (m, v) = plain[0], plain[1]
        alpha = 1e-3 * (1 - 0.999**11) ** 0.5 / (1 - 0.9**11)
        np.multiply(m, 0.9, out=m)
        np.multiply(g, 0.1, out=scratch)
        np.add(m, scratch, out=m)
        np.multiply(v, 0.999, out=v)
        np.multiply(g, g, out=scratch)
        np.multiply(scratch, 0.001, out=scratch)
        np.add(v, scratch, out=v)
        np.sqrt(v, out=scratch)
        np.add(scratch, 1e-7, out=scratch)
        np.divide(m, scratch, out=scratch)
        np.multiply(scratch, alpha, out=scratch)
        np.subtract(p, scratch, out=p)
        return plain

    compare(benchmark, contender, {"nnfast": nnfast, "numpy": numpy}, f"Adam, {n} parameters")

"""Training with subnormal gradients or optimizer slots must not be slower.

The optimizer slots of dead units decay towards 0. Without flush-to-zero inside the loop, each
operation on a subnormal number runs in microcode, and a step of 784-128-10 took six times as long.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast import kernels, layers, optimizers

N = 100_000
HEALTHY, SUBNORMAL = np.float32(1e-3), np.float32(1e-40)


def adam_step(start: np.float32) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return np.ones(N, np.float32), np.zeros(N, np.float32), np.full((2, N), start)


@pytest.mark.parametrize("start", [HEALTHY, SUBNORMAL], ids=["healthy", "subnormal"])
@pytest.mark.benchmark(group=f"Adam, {N} parameters")
def test_adam(benchmark: Any, start: np.float32) -> None:
    params, grads, slots = adam_step(start)
    kernels.optimizer_step(params, grads, slots, 0, "adam")
    assert (slots == 0).all() == (start == SUBNORMAL)

    def setup() -> tuple[tuple[()], dict[str, Any]]:
        slots.fill(start)
        return (), {}

    def step() -> None:
        kernels.optimizer_step(params, grads, slots, 0, "adam")

    benchmark.pedantic(step, setup=setup, rounds=200, warmup_rounds=5)


def epoch_seconds(scale: float) -> float:
    """Return the shortest time of an epoch; `scale` multiplies the inputs and so the gradients."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((3200, 784)) * scale).astype(np.float32)
    y = np.zeros((3200, 10), np.float32)
    nnfast.set_seed(0)
    model = nnfast.Sequential([layers.Dense(128, input_dim=784), layers.Dense(10)])
    model.compile(optimizers.Adam(0.0), "mse")
    model.fit(x, y, verbose=0)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model.fit(x, y, verbose=0)
        times.append(time.perf_counter() - start)
    return min(times)


def test_an_epoch_of_subnormal_gradients_takes_no_longer() -> None:
    assert np.float32(1e-22) ** 2 < np.finfo(np.float32).tiny
    nnfast.set_num_threads(1)
    try:
        assert epoch_seconds(1e-22) < 2 * epoch_seconds(1.0)
    finally:
        nnfast.set_num_threads(None)

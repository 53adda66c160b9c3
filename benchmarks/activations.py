"""Time every elementwise activation against PyTorch's: 10⁶ float32 values, one thread.

    python benchmarks/activations.py

Both libraries write into preallocated arrays, and their calls alternate. The ratio of an activation
is PyTorch's median time divided by nnfast's. The program fails if a ratio is below 1, or if the
median of the ratios is below 1.2.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pin import pin

from nnfast import kernels

VALUES = 1_000_000
ROUNDS = 41
REPEATS = 4
MEDIAN_AT_LEAST = 1.2


def peers(x: Any, out: Any) -> dict[str, Callable[[], Any]]:
    """Return PyTorch's activations, called through private functions that accept ``out=``."""
    import torch

    torch.set_num_threads(1)
    nn = torch._C._nn
    selu = (1.6732632423543772, 1.0507009873554805)

    def softsign() -> None:
        torch.abs(x, out=out)
        out.add_(1.0)
        torch.div(x, out, out=out)

    return {
        "relu": lambda: torch.clamp_min(x, 0.0, out=out),
        "leaky_relu": lambda: nn.leaky_relu(x, 0.2, out=out),
        "elu": lambda: nn.elu(x, out=out),
        "selu": lambda: nn.elu(x, *selu, out=out),
        "gelu": lambda: nn.gelu(x, out=out),
        "gelu_tanh": lambda: nn.gelu(x, approximate="tanh", out=out),
        "silu": lambda: nn.silu(x, out=out),
        "mish": lambda: nn.mish(x, out=out),
        "softplus": lambda: nn.softplus(x, out=out),
        "softsign": softsign,
        "sigmoid": lambda: torch.sigmoid(x, out=out),
        "hard_sigmoid": lambda: nn.hardsigmoid(x, out=out),
        "tanh": lambda: torch.tanh(x, out=out),
        "exponential": lambda: torch.exp(x, out=out),
    }


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for _ in range(REPEATS):
        function()
    return (time.perf_counter() - start) / REPEATS


def main() -> int:
    import torch

    pin(1)
    x = np.random.default_rng(0).standard_normal((1000, VALUES // 1000), np.float32) * 2
    out, other = np.empty_like(x), np.empty_like(x)
    ratios = {}
    for name, peer in peers(torch.from_numpy(x), torch.from_numpy(other)).items():

        def nnfast(name: str = name) -> None:
            kernels.activation_forward(x, name, out=out)

        nnfast()
        peer()
        np.testing.assert_allclose(out, other, rtol=2e-5, atol=2e-6, err_msg=name)
        times: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for measured, function in zip(times, (nnfast, peer), strict=True):
                measured.append(seconds(function))
        ours, pytorch = (1e6 * statistics.median(measured) for measured in times)
        ratios[name] = pytorch / ours
        print(f"{name:14} {ours:8.0f} µs   PyTorch {pytorch:8.0f} µs   {ratios[name]:.2f}×")
    median = statistics.median(ratios.values())
    print(f"median {median:.2f}×, smallest {min(ratios.values()):.2f}×")
    return int(min(ratios.values()) < 1.0 or median < MEDIAN_AT_LEAST)


if __name__ == "__main__":
    sys.exit(main())

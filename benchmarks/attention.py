"""Time attention alone, forward and backward, and compare it with PyTorch's.

    python benchmarks/attention.py
    python benchmarks/attention.py --check           # fails unless every goal is met

The 64 heads of 32 numbers are those of a batch of 16 with 4 heads. Queries, keys and values are the
same array, so that its gradient is a sum of three. PyTorch's attention is
`scaled_dot_product_attention`. nnfast's time includes reading the input and writing the gradient.

The limit is the time of six products for each head at the FMA peak, two of them in the forward
pass, and of one exponential per score in nnfast's own kernel. The calls alternate in short rounds,
and the fastest round of each one counts, because other programs can only slow it down.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import machine
import numpy as np
import roofline
from numpy.typing import NDArray
from pin import pin, threads
from report import markdown
from timing import AGREEMENT

HEADS, KEY_DIM = 64, 32
ROUNDS = 50
ROUND_SECONDS = 0.01  # per call


@dataclass(frozen=True)
class Goal:
    """The required ratio of PyTorch's time to nnfast's, and a more ambitious one."""

    required: float
    stretch: float


GOALS = {64: Goal(1.9, 2.3), 200: Goal(1.5, 1.7)}  # by the number of steps


def nnfast_call(x: NDArray[Any], dy: NDArray[Any]) -> Callable[[], NDArray[Any]]:
    """Return a function that computes the gradient with respect to x."""
    import nnfast
    from nnfast import _engine

    nnfast.set_num_threads(threads())
    inputs = nnfast.Input(x.shape[1:])
    model = nnfast.Model(inputs, nnfast.layers.Attention()([inputs, inputs]))
    model.compile("sgd", _unused_loss)  # for such a loss, data hold gradients instead of targets
    engine, rows = model._built().engine, len(x)
    both, dx = _engine.Data(x.reshape(rows, -1), dy.reshape(rows, -1)), np.empty_like(x)

    def call() -> NDArray[Any]:
        engine.input_gradient(both, dx.reshape(rows, -1))
        return dx

    return call


def _unused_loss(y: NDArray[Any], p: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    raise NotImplementedError


def torch_call(x: NDArray[Any], dy: NDArray[Any]) -> Callable[[], NDArray[Any]]:
    """Return a function that computes the gradient with respect to x."""
    import torch

    torch.set_num_threads(threads())
    heads = torch.from_numpy(x.reshape(16, -1, *x.shape[1:])).requires_grad_()
    gradient = torch.from_numpy(dy).view(heads.shape)
    attention = torch.nn.functional.scaled_dot_product_attention

    def call() -> NDArray[Any]:
        heads.grad = None
        attention(heads, heads, heads, scale=1.0).backward(gradient)
        result: NDArray[Any] = heads.grad.numpy().reshape(x.shape)
        return result

    return call


def limit_seconds(steps: int) -> float:
    """Return the time of the products and the exponentials."""
    lanes = machine.lanes("float32")
    scores, width = -(-steps // lanes) * lanes, -(-KEY_DIM // lanes) * lanes
    flops = 2 * HEADS * steps * (2 * scores * KEY_DIM + 4 * steps * width)
    exponentials = HEADS * steps * scores * roofline.seconds_per_value("exponential", "float32")
    return flops / machine.peak("float32") + exponentials


def measure(steps: int, rounds: int) -> dict[str, float]:
    """Return the time of each contender in seconds, if they agree."""
    rng = np.random.default_rng(0)
    x = 0.5 * rng.standard_normal((HEADS, steps, KEY_DIM), np.float32)
    dy = rng.standard_normal(x.shape, np.float32)
    calls = {"nnfast": nnfast_call(x, dy), "torch": torch_call(x, dy)}
    actual, expected = (call() for call in calls.values())
    if not (difference := np.abs(actual - expected).max() / np.abs(expected).max()) <= AGREEMENT:
        raise SystemExit(f"{steps} steps: the gradients differ by {difference:.2g}")
    repeats = {n: max(1, round(ROUND_SECONDS / seconds(call, 3))) for n, call in calls.items()}
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], seconds(call, repeats[name]))
    return best


def seconds(call: Callable[[], object], n: int) -> float:
    start = time.perf_counter()
    for _ in range(n):
        call()
    return (time.perf_counter() - start) / n


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail unless every goal is met")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    pin(1)
    header = ["steps", "nnfast, µs", "torch, µs", "ratio", "required", "stretch", "limit"]
    rows, missed = [header], 0
    for steps, goal in GOALS.items():
        best = measure(steps, options.rounds)
        ratio = best["torch"] / best["nnfast"]
        missed += ratio < goal.required
        times = [f"{time * 1e6:.0f}" for time in best.values()]
        ratios = [f"{value:.2f}×" for value in (ratio, goal.required, goal.stretch)]
        rows.append([str(steps), *times, *ratios, f"{limit_seconds(steps) / best['nnfast']:.0%}"])
    print(markdown(rows))
    return int(options.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())

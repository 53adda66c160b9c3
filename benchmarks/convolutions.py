"""Convolutions layer by layer: forward, dX and dW as shares of the FMA peak of a core.

    python benchmarks/convolutions.py
    python benchmarks/convolutions.py --check           # fails below 60 % for 64 channels

A model of one layer predicts; takes the gradient of its input, which is forward and dX; takes that
of its weights, forward and dW. Differences of the times are those of dX and dW; reading inputs and
writing outputs is counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import machine
import numpy as np
from networks import Conv
from pin import pin
from report import markdown

ROUNDS = 15
ROUND_SECONDS = 0.02
REQUIRED = 0.60


@dataclass(frozen=True)
class Layer:
    """A convolution of `rows` images of height = width = `size`."""

    size: int
    channels: int
    conv: Conv
    rows: int = 32

    @property
    def name(self) -> str:
        kernel = f"{self.conv.size}×{self.conv.size} {self.conv.padding}"
        image = f"{self.size}×{self.size}×{self.channels}"
        return f"{image} → {self.conv.filters}, {kernel} @{self.rows}"

    @property
    def required(self) -> bool:
        return self.channels % 64 == 0 and self.conv.filters % 64 == 0

    @property
    def flops(self) -> int:
        product = self.conv.product((self.size, self.size, self.channels))
        return 2 * self.rows * product.m * product.k * product.n


LAYERS = [
    Layer(28, 64, Conv(64, 3)),
    Layer(14, 64, Conv(64, 3, "same")),
    Layer(14, 64, Conv(128, 3)),
    Layer(8, 64, Conv(64, 3, "same")),
    Layer(5, 64, Conv(64, 3)),
    Layer(14, 64, Conv(64, 5, "same")),
    Layer(14, 64, Conv(64, 1)),
    Layer(13, 32, Conv(64, 3)),
    Layer(28, 1, Conv(32, 3)),
    Layer(28, 1, Conv(6, 5, "same")),
    Layer(14, 6, Conv(16, 5)),
]


def timed(layer: Layer, dtype: str) -> list[float]:
    """Return the seconds of forward, dX and dW."""
    import nnfast
    from nnfast import _engine

    rng = np.random.default_rng(0)
    shape = (layer.size, layer.size, layer.channels)
    conv = nnfast.layers.Conv2D(
        *(layer.conv.filters, layer.conv.size), padding=layer.conv.padding, input_shape=shape
    )
    model = nnfast.Sequential([conv], dtype=dtype)
    engine = model._built_engine()
    real = np.dtype(dtype)
    x = rng.standard_normal((layer.rows, int(np.prod(shape)))).astype(real)
    out = np.empty((layer.rows, int(np.prod(model.output_shape[1:]))), real)
    dy = rng.standard_normal(out.shape).astype(real)
    dx = np.empty_like(x)
    forward, both = _engine.Data(x), _engine.Data(x, dy)
    calls: list[Callable[[], object]] = [
        lambda: engine.forward(forward, out),
        lambda: engine.input_gradient(both, dx, given=True),
        lambda: engine.loss_and_grad(both, given=True),
    ]
    first, with_dx, with_dw = (statistics.median(times) for times in _rounds(calls))
    return [first, with_dx - first, with_dw - first]


def _rounds(calls: list[Callable[[], object]]) -> list[list[float]]:
    """Return the seconds of each call, one number a round; the calls take turns."""
    repeats = [max(1, round(ROUND_SECONDS / _seconds(call, 3))) for call in calls]
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for times, call, n in zip(found, calls, repeats, strict=True):
            times.append(_seconds(call, n))
    return found


def _seconds(call: Callable[[], object], n: int) -> float:
    start = time.perf_counter()
    for _ in range(n):
        call()
    return (time.perf_counter() - start) / n


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help=f"fail below {REQUIRED:.0%}")
    parser.add_argument("--dtype", default="float32", choices=list(machine.REALS))
    parser.add_argument("--layers", default="", help="only layers whose name contains this")
    options = parser.parse_args()
    pin(1)
    peak = machine.peak(options.dtype)
    rows = [["layer", "forward, µs", "dX, µs", "dW, µs", "forward", "dX", "dW"]]
    missed = []
    for layer in LAYERS:
        if options.layers not in layer.name:
            continue
        times = timed(layer, options.dtype)
        shares = [layer.flops / seconds / peak for seconds in times]
        cells = [f"{seconds * 1e6:.0f}" for seconds in times]
        rows.append([layer.name, *cells, *(f"{share:.0%}" for share in shares)])
        if layer.required and min(shares) < REQUIRED:
            missed.append(layer.name)
    print(markdown(rows))
    print(f"\nShares of {peak / 1e9:.0f} GFLOP/s in {options.dtype}, the FMA peak of this core.")
    if missed:
        print(f"below {REQUIRED:.0%}, with 64 channels: {'; '.join(missed)}")
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())

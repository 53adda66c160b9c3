"""Time convolutions layer by layer: forward, dX and dW as percentages of a core's FMA peak.

    python benchmarks/convolutions.py
    python benchmarks/convolutions.py --check           # fails below 60 % for 64 channels

Three calls of a model with one layer are timed: a prediction (forward), the input gradient (forward
and dX) and the weight gradient (forward and dW). The times of dX and dW are differences of these.
The times include reading inputs and writing outputs. They exclude reading the gradients of the
outputs, which is measured with a model that only copies. For a pointwise convolution, the copies
take half of the time, because it does little arithmetic per element.

The calls alternate with a measurement of the peak in short rounds. The fastest round of each call
counts, because other programs on the machine can only slow it down, often for seconds. Rounds in
which the core does not reach its peak are ignored.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import machine
import numpy as np
from keras_models import keras_layers
from networks import Conv, Convolution, ConvTranspose, Node
from numpy.typing import NDArray
from pin import pin
from report import markdown

ROUNDS = 50
MAX_ROUNDS_FACTOR = 10  # run at most this many times the requested rounds
ROUND_SECONDS = 0.004  # per call
PEAK_ATTEMPTS = 4
UNDISTURBED = 0.95  # fraction of the peak above which a round counts as undisturbed
REQUIRED = 0.60  # fraction of the peak


@dataclass(frozen=True)
class Layer:
    """A convolution of `rows` images with `size` rows and columns of pixels."""

    size: int
    channels: int
    conv: Convolution
    rows: int = 32

    @property
    def name(self) -> str:
        kernel = f"{self.conv.size}×{self.conv.size}"
        if isinstance(self.conv, ConvTranspose):
            kernel += f" transposed, strides {self.conv.stride}"
        else:
            kernel += f" {self.conv.padding}"
        image = f"{self.size}×{self.size}×{self.channels}"
        return f"{image} → {self.conv.filters}, {kernel} @{self.rows}"

    @property
    def required(self) -> bool:
        return self.channels % 64 == 0 and self.conv.filters % 64 == 0

    @property
    def flops(self) -> int:
        (product,) = self.conv.products((self.size, self.size, self.channels))
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
    Layer(14, 64, ConvTranspose(64, 3, 1)),
    Layer(7, 64, ConvTranspose(64, 4)),
    Layer(14, 64, ConvTranspose(64, 4)),
    Layer(14, 64, ConvTranspose(64, 3)),
    Layer(14, 64, ConvTranspose(64, 2)),
    Layer(7, 64, ConvTranspose(32, 4)),
    Layer(14, 32, ConvTranspose(1, 4)),
]


@dataclass(frozen=True)
class Times:
    """Seconds per pass, and the core's FMA peak in FLOP/s during the measurement."""

    forward: float
    dx: float
    dw: float
    peak: float

    @property
    def passes(self) -> list[float]:
        return [self.forward, self.dx, self.dw, self.forward + self.dx + self.dw]

    def shares(self, flops: int) -> list[float]:
        """Return the fraction of the peak of each pass and of all three passes together."""
        work = [flops, flops, flops, 3 * flops]
        return [f / s / self.peak for f, s in zip(work, self.passes, strict=True)]


def timed(layer: Layer, dtype: str, rounds: int) -> Times:
    import nnfast
    from nnfast import _engine

    rng = np.random.default_rng(0)
    shape = (layer.size, layer.size, layer.channels)
    (conv,) = keras_layers(Node(layer.conv, (0,)), None, len(shape), nnfast)
    model = nnfast.Sequential([nnfast.layers.Input(shape), conv], dtype=dtype)
    copy_only = nnfast.Sequential(
        [nnfast.layers.Input(model.output_shape[1:]), nnfast.layers.Flatten()], dtype=dtype
    )
    for each in (model, copy_only):
        each.compile("sgd", _unused_loss)  # for such a loss, data hold gradients instead of targets
    engine, copy_engine = model._built().engine, copy_only._built().engine
    real = np.dtype(dtype)
    x = rng.standard_normal((layer.rows, int(np.prod(shape)))).astype(real)
    out = np.empty((layer.rows, int(np.prod(model.output_shape[1:]))), real)
    dy = rng.standard_normal(out.shape).astype(real)
    dx = np.empty_like(x)
    forward, both = _engine.Data(x), _engine.Data(x, dy)
    copy_forward, copy_both = _engine.Data(dy), _engine.Data(dy, dy)
    calls: list[Callable[[], object]] = [
        lambda: engine.forward(forward, out),
        lambda: engine.input_gradient(both, dx),
        lambda: engine.loss_and_gradient(both),
        lambda: copy_engine.forward(copy_forward, out),
        lambda: copy_engine.loss_and_gradient(copy_both),
    ]
    repeats = [max(1, round(ROUND_SECONDS / _seconds(call, 3))) for call in calls]
    best = [float("inf")] * len(calls)
    peak = 0.0
    undisturbed = 0
    for _ in range(MAX_ROUNDS_FACTOR * rounds):
        current = max(machine.multiply_adds(dtype) for _ in range(PEAK_ATTEMPTS))
        peak = max(peak, current)
        undisturbed += current > UNDISTURBED * peak
        if undisturbed > rounds:
            break
        times = [_seconds(call, n) for call, n in zip(calls, repeats, strict=True)]
        best = [min(pair) for pair in zip(best, times, strict=True)]
    forward_only, with_dx, with_dw, copy, copy_with_gradient = best
    overhead = forward_only + max(0.0, copy_with_gradient - copy)
    return Times(forward_only, with_dx - overhead, with_dw - overhead, peak)


def _unused_loss(y: NDArray, p: NDArray) -> tuple[float, NDArray]:
    raise NotImplementedError


def _seconds(call: Callable[[], object], n: int) -> float:
    start = time.perf_counter()
    for _ in range(n):
        call()
    return (time.perf_counter() - start) / n


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help=f"fail below {REQUIRED} of the peak")
    parser.add_argument("--dtype", default="float32", choices=list(machine.REALS))
    parser.add_argument("--layers", default="", help="only layers whose name contains this")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    pin(1)
    passes = ["forward", "dX", "dW", "all"]
    rows = [["layer", *(f"{name}, µs" for name in passes), *passes, "peak"]]
    missed = []
    for layer in LAYERS:
        if options.layers not in layer.name:
            continue
        times = timed(layer, options.dtype, options.rounds)
        shares = times.shares(layer.flops)
        cells = [f"{seconds * 1e6:.0f}" for seconds in times.passes]
        rows.append([layer.name, *cells, *(f"{share:.0%}" for share in shares)])
        rows[-1].append(f"{times.peak / 1e9:.0f}")
        if layer.required and min(shares) < REQUIRED:
            missed.append(layer.name)
    print(markdown(rows))
    print(f"\nPercentages of the core's FMA peak, in the last column in GFLOP/s, {options.dtype}.")
    if missed:
        print(f"below {REQUIRED:.0%} with a multiple of 64 channels: {'; '.join(missed)}")
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())

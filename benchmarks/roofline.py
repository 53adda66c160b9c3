"""The least time that a core's limits allow a case.

Multiply-adds at the FMA peak, plus bytes at the bandwidth of the cache level that holds them; the
two are added, because a step does them one after the other.

*Multiply-adds.* A product of (m, k) by (k, n) takes m·k·⌈n⌉, where ⌈n⌉ is n rounded up to whole
vectors: forward and dW are vectors along n, dX is vectors along k; with one column all three are
vectors along k. The first layer has no dX. A convolution is a product with a row for each pixel of
its output; poolings are layers without one.

*The optimizer* reads and writes w, m and v: 24 bytes for each float32 parameter.

*Activations of a step.* Layer inputs are read twice (forward, dW) and those that the network makes
are written once; gradients of layer outputs are written once and read once (dW), those with a dX
twice; the network's outputs are written and read once. Gathering a shuffled batch is not counted,
nor is dW, which need not leave the first-level cache. The bandwidth is measured with as many bytes
as w, m, v, activations and gradients are together.

*Activations of a prediction.* Nothing has to be kept, so rows may go through in blocks: hidden
activations are written and read once at the bandwidth of the weights and `BLOCK` rows of
activations. Inputs are read and outputs written once, at the bandwidth of both together.
"""

from __future__ import annotations

from dataclasses import dataclass

import machine
import numpy as np
from cases import Case

BLOCK = 128  # rows


@dataclass(frozen=True)
class Traffic:
    """Bytes that are read and written, and the size of what they are part of."""

    moved: int
    held: int

    @property
    def seconds(self) -> float:
        return self.moved / machine.bandwidth(self.held) if self.moved else 0.0


def rounded_flops(case: Case, lanes: int) -> int:
    """Return the operations of a case's products when every vector is a whole one."""

    def up(n: int) -> int:
        return -(-n // lanes) * lanes

    total = 0
    for i, p in enumerate(case.products):
        forward = p.k * up(p.n) if p.n > 1 else up(p.k)
        back = (i > 0) * up(p.k) * p.n
        total += p.m * (forward + case.training * (forward + back))
    return 2 * case.rows * total


def traffic(case: Case) -> list[Traffic]:
    """Return what a step or a prediction has to move."""
    item = np.dtype(case.dtype).itemsize
    first, *hidden, last = (item * case.rows * n for n in case.sizes)
    weights = item * case.params
    if case.training:
        held = 3 * weights + first + 2 * (sum(hidden) + last)
        # hidden: written, read twice; gradients written, read twice but for the first layer's
        without_dx = (hidden or [last])[0]
        activations = 2 * first + 6 * sum(hidden) + (2 + 3) * last - without_dx
        return [Traffic(6 * weights, held), Traffic(activations, held)]
    block = weights + item * min(case.rows, BLOCK) * sum(case.sizes)
    return [Traffic(2 * sum(hidden), block), Traffic(first + last, first + last)]


def seconds(case: Case) -> float:
    """Return the roofline's time of a step or a prediction."""
    arithmetic = rounded_flops(case, machine.lanes(case.dtype)) / machine.peak(case.dtype)
    return arithmetic + sum(part.seconds for part in traffic(case))


def limit_seconds(case: Case) -> float:
    """Return the time of the limit that the case's goal names; NaN for one timed by `compare`."""
    match case.goal.limit:
        case "roofline":
            return seconds(case)
        case "FMA peak":
            return case.flops / machine.peak(case.dtype)
        case "convolutions":
            return case.convolution_flops / machine.peak(case.dtype)
        case "one read":
            return machine.read_seconds(np.dtype(case.dtype).itemsize * case.params)
    return float("nan")


def level(case: Case) -> str:
    """Return the cache level that holds what the case works on."""
    return machine.level_of(max(part.held for part in traffic(case)))

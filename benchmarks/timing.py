"""Timing contenders against each other: they take turns, round by round.

A slow moment of the machine then hits all of them, and medians of the rounds can be compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from peers import Contender

ROUND_SECONDS = 0.15
# float32 rounding, and two placements of Adam's epsilon, move a loss by less than this.
AGREEMENT = 2e-4
# Which of two nearly equal pixels a pooling takes, rounding decides: that moves one by 3e-4.
AGREEMENT_OF_IMAGES = 5e-4


def seconds(contender: Contender, times: int) -> float:
    contender.reset()
    start = time.perf_counter()
    contender.run(times)
    return time.perf_counter() - start


def times_in_a_round(contender: Contender) -> int:
    """Return how often a contender runs in a round; compiles and touches its memory by the way."""
    seconds(contender, 1)
    times = 1
    while (took := seconds(contender, times)) < ROUND_SECONDS / 10:
        times *= 10
    return max(1, round(times * ROUND_SECONDS / took))


def interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Return each contender's seconds for one epoch or call, one number a round."""
    times = {name: times_in_a_round(contender) for name, contender in contenders.items()}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            found[name].append(seconds(contender, times[name]) / times[name])
    return found


def medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(times) for name, times in found.items()}


def disagreements(contenders: Mapping[str, Contender]) -> dict[str, float]:
    """Return the largest difference of each proof from the first one, by the largest of that."""
    proofs = {name: np.asarray(c.proof(), np.float64) for name, c in contenders.items()}
    first = next(iter(proofs.values()))
    scale = np.max(np.abs(first))
    return {name: float(np.max(np.abs(proof - first)) / scale) for name, proof in proofs.items()}

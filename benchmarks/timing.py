"""Time the contenders in alternation, round by round.

A slow period of the machine then affects all of them, and medians over the rounds are comparable.
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
# Maximum relative difference of losses or outputs. Libraries differ by less than this because of
# float32 rounding, and because some add Adam's epsilon at another place.
AGREEMENT = 2e-4
# With max pooling, rounding decides which of two nearly equal pixels is selected. This has changed
# a loss by 3e-4.
AGREEMENT_OF_IMAGES = 5e-4


def seconds(contender: Contender, repeats: int) -> float:
    contender.reset()
    start = time.perf_counter()
    contender.run(repeats)
    return time.perf_counter() - start


def repeats_per_round(contender: Contender) -> int:
    """Return the number of epochs or calls per round; measuring it also warms up the contender."""
    seconds(contender, 1)
    repeats = 1
    while (took := seconds(contender, repeats)) < ROUND_SECONDS / 10:
        repeats *= 10
    return max(1, round(repeats * ROUND_SECONDS / took))


def interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Return each contender's times in seconds per epoch or call, one time for each round."""
    repeats = {name: repeats_per_round(contender) for name, contender in contenders.items()}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            found[name].append(seconds(contender, repeats[name]) / repeats[name])
    return found


def medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(times) for name, times in found.items()}


def disagreements(contenders: Mapping[str, Contender]) -> dict[str, float]:
    """Return each contender's maximum difference from the first, relative to the first's scale."""
    values = {name: np.asarray(c.check_values(), np.float64) for name, c in contenders.items()}
    first = next(iter(values.values()))
    scale = np.max(np.abs(first))
    return {name: float(np.max(np.abs(v - first)) / scale) for name, v in values.items()}

"""Compare the speed of nnfast on several threads and on one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import machine
from cases import Case, Problem
from numpy.typing import NDArray
from peers import PEERS, Contender
from timing import interleaved, medians

# (minimum µs per step with one thread, speedup that several threads must then reach)
GOALS = [(150.0, 1.75), (50.0, 1.4), (0.0, 1.0)]
NOISE = 0.03  # relative noise of the times, tolerated where the required speedup is 1


class WithThreads:
    """nnfast's contender with a fixed number of threads."""

    def __init__(self, contender: Contender, threads: int) -> None:
        self.contender, self.threads = contender, threads

    def reset(self) -> None:
        import nnfast

        nnfast.set_num_threads(self.threads)
        self.contender.reset()

    def check_values(self) -> NDArray[Any]:
        return self.contender.check_values()

    def run(self, repeats: int) -> None:
        self.contender.run(repeats)


def exchange() -> float:
    """Return the round-trip time of a cache line to another core in ns; NaN without a compiler."""
    try:
        return machine.exchange_seconds() * 1e9
    except machine.NoCompiler:
        return float("nan")


def measure(case: Case, threads: int, rounds: int) -> dict[str, Any]:
    contender_of = PEERS["nnfast"].of(case)
    assert contender_of is not None
    contender = contender_of(Problem(case))
    before = exchange()
    found = interleaved({str(n): WithThreads(contender, n) for n in (1, threads)}, rounds)
    one, several = (seconds / case.steps * 1e6 for seconds in medians(found).values())
    required = next(speedup for least_us, speedup in GOALS if one >= least_us)
    slack = NOISE if required == 1.0 else 0.0
    return {
        "case": case.name,
        "one": one,
        "several": several,
        "exchange": [before, exchange()],
        "ratio": one / several,
        "required": required,
        "verdict": "met" if one / several >= required - slack else "missed",
    }


def rows(results: Sequence[dict[str, Any]], threads: int) -> list[list[str]]:
    """Return the rows of the table; the first row is the header."""
    return [
        [
            *("network, batch", "one thread, µs", f"{threads} threads, µs", "ratio", "required"),
            "round trip to another core, ns",
        ],
        *(
            [
                r["case"],
                f"{r['one']:.1f}",
                f"{r['several']:.1f}",
                f"{r['ratio']:.2f}×",
                f"{r['required']:.2f}×: {r['verdict']}",
                " … ".join(f"{ns:.0f}" for ns in r["exchange"]),
            ]
            for r in results
        ),
    ]

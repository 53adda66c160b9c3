"""nnfast with several threads against itself with one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import machine
from cases import Case, Problem
from numpy.typing import NDArray
from peers import PEERS, Contender
from timing import interleaved, medians

# From so many µs of a step with one thread on, two threads are to be so many times as fast.
GOALS = [(150.0, 1.75), (50.0, 1.4), (0.0, 1.0)]
NOISE = 0.03  # what the same work may differ by: "never slower" is within it


class WithThreads:
    """A contender of nnfast whose every run has its own number of threads."""

    def __init__(self, contender: Contender, threads: int) -> None:
        self.contender, self.threads = contender, threads

    def reset(self) -> None:
        import nnfast

        nnfast.set_num_threads(self.threads)
        self.contender.reset()

    def proof(self) -> NDArray[Any]:
        return self.contender.proof()

    def run(self, times: int) -> None:
        self.contender.run(times)


def exchange() -> float:
    """Return the ns in which a cache line goes to another core and back; NaN without a compiler."""
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
    required = next(factor for least, factor in GOALS if one >= least)
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
    """Return the cells of a table, its header first."""
    return [
        [
            *("network, batch", "one thread, µs", f"{threads} threads, µs", "ratio", "required"),
            "to another core and back, ns",
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

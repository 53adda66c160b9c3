"""Training and prediction keep their speed relative to tuned NumPy, measured in the same run.

The smallest allowed ratios are about three quarters of those measured on 2-core AMD EPYC machines:

- "avx512" on Zen 5;
- "avx512 in halves" on Zen 4, which executes 512-bit instructions in two halves, so that NumPy is
  closer to the peak;
- "avx2" with AVX-512 also disabled in NumPy:
  ``NNFAST_ISA=avx2 OPENBLAS_CORETYPE=Haswell NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL"``.

Timings are noisy, so each case has several attempts.
"""

from __future__ import annotations

import re
from pathlib import Path

import predictors
import pytest
import trainers
from cases import CLASSIC, DOUBLE, PREDICTIONS, SIMPLE_CHAINS, TABULAR, Case, Problem
from timing import interleaved, medians

from nnfast import _engine

ROUNDS = 5
ATTEMPTS = 3

LEAST = {
    "avx512": [5.0, 2.2, 2.3, 1.8, 1.25, 2.0, 1.3, 1.5],
    "avx512 in halves": [4.1, 1.7, 1.6, 1.55, 1.25, 1.4, 4.5, 0.9],
    "avx2": [2.9, 1.3, 1.35, 0.95, 1.1, 1.1, 4.5, 0.8],
}
CASES = [
    CLASSIC[0],
    CLASSIC[2],
    CLASSIC[3],
    TABULAR,
    SIMPLE_CHAINS,
    DOUBLE,
    PREDICTIONS[0],
    PREDICTIONS[3],
]


def vectors() -> str:
    """Return the key of `LEAST` for this machine; only AMD's Zen 4 splits 512-bit instructions."""
    try:
        facts = Path("/proc/cpuinfo").read_text()
    except OSError:
        return _engine._isa
    zen_4 = "AuthenticAMD" in facts and re.search(r"^cpu family\s*: 25$", facts, re.MULTILINE)
    return "avx512 in halves" if _engine._isa == "avx512" and zen_4 else _engine._isa


def ratio(case: Case) -> float:
    """Return NumPy's time divided by nnfast's time."""
    problem = Problem(case)
    peers = trainers if case.training else predictors
    pair = {"nnfast": peers.NNFast(problem), "numpy": peers.NumPy(problem)}
    found = medians(interleaved(pair, ROUNDS))
    return found["numpy"] / found["nnfast"]


@pytest.mark.skipif(_engine._isa not in LEAST, reason="ratios are known only for AVX2 and AVX-512")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_speed_relative_to_numpy_has_not_regressed(case: Case) -> None:
    least = LEAST[vectors()][CASES.index(case)]
    best = 0.0
    for _ in range(ATTEMPTS):
        best = max(best, ratio(case))
        print(f"\n{case.name}: {best:.2f} times as fast as NumPy, required {least}")
        if best >= least:
            return
    pytest.fail(f"{case.name}: at best {best:.2f} times as fast as NumPy, required {least}")

"""Time training and prediction of whole networks; `compare.py` includes other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CLASSIC, DOUBLE, SIMPLE_CHAINS, TABULAR, Case, Problem
from timing import AGREEMENT, disagreements
from trainers import NNFast, NumPy

CASES = [*CLASSIC, TABULAR, SIMPLE_CHAINS, DOUBLE]


@pytest.mark.parametrize("contender", [NNFast, NumPy], ids=["nnfast", "numpy"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.benchmark(min_rounds=3, max_time=0.5)
def test_epoch(benchmark: Any, contender: type[Any], case: Case) -> None:
    problem = Problem(case)
    pair: dict[str, Any] = {"numpy": NumPy(problem), "nnfast": NNFast(problem)}
    assert disagreements(pair)["nnfast"] <= AGREEMENT
    peer = contender(problem)
    peer.reset()
    benchmark.group = f"{case.steps} steps of {case.name}"
    benchmark(peer.run, 1)


@pytest.mark.parametrize("contender", ["nnfast", "numpy"])
@pytest.mark.parametrize("rows", [1, 1000])
@pytest.mark.benchmark(max_time=0.25, min_rounds=5)
def test_predict(benchmark: Any, contender: str, rows: int) -> None:
    problem = Problem(CASES[0])
    peer = NNFast(problem)
    peer.reset()
    x = problem.x[0][:rows]
    w = problem.weights

    def numpy() -> Any:
        a = np.maximum(x @ w[0] + w[1], 0.0)
        a = np.maximum(a @ w[2] + w[3], 0.0)
        z = a @ w[4] + w[5]
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    functions = {"nnfast": lambda: peer.model.predict(x, verbose=0), "numpy": numpy}
    np.testing.assert_allclose(functions["nnfast"](), numpy(), rtol=1e-4, atol=1e-6)
    benchmark.group = f"predict {rows} rows of {CASES[0].name}"
    benchmark(functions[contender])

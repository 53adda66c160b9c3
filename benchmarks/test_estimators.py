"""What `fit` of an estimator costs beyond the training itself."""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast._engine import Engine, core


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_fit_on_150_rows_costs_under_2_ms(
    kind: str, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is not the engine's: checks, weights, the plan, epochs in Python (here 20)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 4)), np.repeat([0, 1, 2], 50)
    training = 0.0
    plain = core.Engine.run

    def run(*arguments: Any, **options: Any) -> Any:
        nonlocal training
        begin = time.perf_counter()
        result = plain(*arguments, **options)
        training += time.perf_counter() - begin
        return result

    monkeypatch.setattr(Engine, "run", run)
    beyond = []
    for _ in range(30):
        model = getattr(nnfast, kind)(solver=solver, max_iter=20, random_state=0)
        training, begin = 0.0, time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x, y)
        beyond.append(time.perf_counter() - begin - training)
    assert training > 0
    print(f"{kind}, {solver}: {1e3 * statistics.median(beyond):.2f} ms beyond the training")
    assert statistics.median(beyond) < 0.002

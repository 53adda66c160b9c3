"""What `fit` of an estimator costs beyond the training itself."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from sklearn import neural_network

import nnfast
from nnfast._engine import Engine, core


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_fit_on_150_rows_costs_under_2_ms(
    kind: str, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks, weights, the plan, an epoch in Python: the best of several, of the processor's time.

    On a machine so busy that all takes longer it is less than scikit-learn's fit of one epoch.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 4)), np.repeat([0, 1, 2], 50)
    training = 0.0
    plain = core.Engine.run

    def run(*arguments: Any, **options: Any) -> Any:
        nonlocal training
        begin = time.thread_time()
        result = plain(*arguments, **options)
        training += time.thread_time() - begin
        return result

    monkeypatch.setattr(Engine, "run", run)
    options = {"solver": solver, "max_iter": 1, "random_state": 0}
    beyond, theirs = [], []
    for _ in range(30):
        begin = time.thread_time()
        getattr(neural_network, kind)(**options).fit(x, y)
        theirs.append(time.thread_time() - begin)
        model = getattr(nnfast, kind)(n_threads=1, **options)
        training, begin = 0.0, time.thread_time()
        model.fit(x, y)
        beyond.append(time.thread_time() - begin - training)
    assert training > 0
    print(
        f"{kind}, {solver}: {1e3 * min(beyond):.2f} ms beyond the training, "
        f"scikit-learn takes {1e3 * min(theirs):.2f} ms"
    )
    assert min(beyond) < max(0.002, min(theirs))

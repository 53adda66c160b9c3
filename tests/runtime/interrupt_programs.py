"""Programs that are interrupted while they work; the tests run them as subprocesses.

For every interrupt they print the seconds from the signal to the return, in wall time and in CPU
time. On a shared machine only CPU time measures the program itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import nnfast
from nnfast import layers

TIMES = 2


def largest(threads: int) -> nnfast.Sequential:
    """Return the largest network of the benchmarks."""
    model = nnfast.Sequential(
        [
            layers.Dense(2048, activation="relu", input_dim=1024),
            layers.Dense(2048, activation="relu"),
            layers.Dense(1000, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.n_threads = threads
    return model


def interrupted(
    work: Callable[[], object], after: float, begun: threading.Event | None = None
) -> tuple[float, float]:
    """Return the wall and CPU seconds that `work` takes to stop after a SIGINT.

    The signal is sent `after` seconds after the call, or after `begun` is set.
    """
    sent: list[float] = []

    def send() -> None:
        if begun:
            begun.wait(60)
        time.sleep(after)
        sent.extend((time.perf_counter(), time.process_time()))
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        work()
        time.sleep(60)
    except KeyboardInterrupt:
        now = (time.perf_counter(), time.process_time())
    sender.join()
    return now[0] - sent[0], now[1] - sent[1]


def network(call: str, threads: int) -> None:
    """Interrupt a call several times, each time a little later, and check the model every time."""
    x, y = np.zeros((32_768, 1024), np.float32), np.zeros(32_768, np.int32)
    model = largest(threads)
    few = slice(0, 256)  # One step per epoch.
    # This allocates the working memory before anything is timed.
    model.fit(x[few], y[few], batch_size=256, epochs=2, verbose=0)
    begin, wall = time.process_time(), time.perf_counter()
    model.train_on_batch(x[few], y[few])
    print(time.process_time() - begin)
    # Seconds after which at least one step is surely complete.
    some_steps = 4 * (time.perf_counter() - wall)
    work: dict[str, Callable[[], object]] = {
        "fit": lambda: model.fit(x[few], y[few], batch_size=256, epochs=10_000, verbose=0),
        "evaluate": lambda: model.evaluate(x, y, verbose=0),
        "predict": lambda: model.predict(x),
        "loss_and_grad": lambda: model.loss_and_grad(x, y),
    }
    for i in range(TIMES):
        print(*interrupted(work[call], 0.4 + some_steps + 0.037 * i))
        assert model.history is not None
        epochs = len(model.history.history["loss"])
        assert epochs > 0  # The history holds the epochs before the signal.
        assert np.isfinite(model.predict(x[:64])).all()
        assert np.isfinite(model.train_on_batch(x[:32], y[:32]))


def lbfgs(threads: int) -> None:
    """Interrupt L-BFGS in its first and in its fourth evaluation of the loss."""
    rng = np.random.default_rng(0)
    x, y = rng.random((12_288, 1024), np.float32), rng.integers(0, 10, 12_288)
    nnfast.set_num_threads(threads)
    # From these weights the first iteration of L-BFGS takes three evaluations.
    model = nnfast.MLPClassifier((512, 512), solver="lbfgs", random_state=0)
    plain = nnfast.estimators.lbfgs.loss_and_gradient
    evaluations: list[int] = []
    begun = threading.Event()
    wanted = 0

    def evaluate(engine: Any, data: Any) -> Any:
        evaluations.append(1)
        if len(evaluations) == wanted:
            begun.set()
        return plain(engine, data)

    nnfast.estimators.lbfgs.loss_and_gradient = evaluate

    def fit() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(x, y)
        assert [str(each.message) for each in caught] == ["Training interrupted by user."]
        raise KeyboardInterrupt

    print(0.0)
    for wanted in (1, 4):
        evaluations.clear()
        begun.clear()
        print(*interrupted(fit, 0.05, begun))
        assert len(evaluations) == wanted
        assert np.isnan(model.loss_) == (wanted == 1)
        assert (model.n_iter_ > 0) == (wanted > 1)
        assert np.isfinite(model.predict_proba(x[:64])).all()


if __name__ == "__main__":
    call, threads = sys.argv[1], int(sys.argv[2])
    if call == "lbfgs":
        lbfgs(threads)
    else:
        network(call, threads)

"""Programs that run with a limited number of threads; the tests run each in a separate process.

gcc's libgomp aborts the process if it cannot start a thread. At its end, each program prints its
number of threads. The limits do not apply to root, so a program started by root switches to another
user. That user may be unable to read the package, so everything is imported before the switch.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import nnfast
from nnfast import _engine, layers

WANTED = 6
# The ID of a user without other processes, because their threads would count towards the limit. It
# differs between test runs.
NOBODY = 50_000 + os.getpid() % 10_000
X = np.random.default_rng(0).standard_normal((3000, 16))
SKLEARN = find_spec("sklearn") is not None


def results(threads: int) -> list[Any]:
    """Return the results of a model and an estimator that use teams of `threads` threads."""
    _engine.force_threads(threads)
    nnfast.set_seed(0)
    model = nnfast.Sequential([layers.Dense(32, "tanh", input_dim=16), layers.Dense(16)])
    model.compile("adam", "mse")
    found: list[Any] = [model.fit(X, X, batch_size=256, verbose=0).history["loss"]]
    found.append(model.evaluate(X, X, verbose=0))
    arrays = [model.predict(X), model.input_gradient(X, X), *model.loss_and_grad(X, X)[1]]
    if SKLEARN:
        regressor = nnfast.MLPRegressor(
            hidden_layer_sizes=[8], solver="lbfgs", max_iter=3, random_state=0
        )
        with warnings.catch_warnings(action="ignore"):  # three iterations do not converge
            arrays += regressor.fit(X, X[:, 0]).coefs_
    return [*found, *(array.tobytes() for array in arrays)]


def allow(threads: int) -> None:
    """Limit the number of threads of this user."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (threads, hard))


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def limited(expected: list[Any], extra: int) -> int:
    """Every call continues with fewer threads; a team at the limit keeps its size."""
    allow(1 + extra)
    for _ in range(3):
        assert results(WANTED) == expected
    return thread_count()


def little_memory(expected: list[Any], extra: int) -> int:
    """Thread stacks of 1 GB (by OMP_STACKSIZE or ulimit) do not fit into the address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + extra * 2**30 + 2**29
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    assert results(WANTED) == expected
    return thread_count()


def growing(expected: list[Any], extra: int) -> int:
    """Teams grow and shrink."""
    allow(1 + extra)
    for threads in (2, 1, WANTED, 2, 3, 2, WANTED):
        assert results(threads) == expected
    return thread_count()


def again(expected: list[Any], extra: int) -> int:
    """After a second, the engine retries starting the threads that could not be started."""
    allow(1)
    assert results(WANTED) == expected
    assert thread_count() == 1
    allow(1 + extra)
    time.sleep(1.1)
    assert results(WANTED) == expected
    return thread_count()


def several(expected: list[Any], extra: int) -> int:
    """Several Python threads open teams simultaneously; none takes threads reserved by another."""
    callers = 3
    allow(1 + callers + extra)
    together = threading.Barrier(callers)
    _engine.force_threads(WANTED)

    def work(i: int) -> bytes:
        model = nnfast.Sequential([layers.Dense(32, "tanh", input_dim=16), layers.Dense(16)])
        model.set_weights([np.full(w.shape, 0.1) for w in model.weights])
        together.wait()
        model.compile("adam", "mse")
        model.fit(X, X, batch_size=256, shuffle=False, verbose=0)
        return model.predict(X).tobytes()

    for _ in range(20):
        with ThreadPoolExecutor(callers) as pool:
            assert len(set(pool.map(work, range(callers)))) == 1
        while thread_count() > 1:
            time.sleep(0.001)
    return thread_count()


def fork() -> int:
    """Return the result of os.fork; retry, because ended threads still count for a moment."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return os.fork()
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def forks(expected: list[Any], extra: int) -> int:
    """A forked child has none of its parent's threads and starts its own; so does the parent."""
    allow(2 + extra)
    for _ in range(5):
        assert results(WANTED) == expected
        child = fork()
        if child == 0:
            os._exit(results(WANTED) != expected)
        assert os.waitpid(child, 0)[1] == 0
    return thread_count()


def own_choice(expected: list[Any], extra: int) -> int:
    """The model measures whether a team is faster than one thread."""
    x = np.random.default_rng(0).standard_normal((8192, 64), np.float32)

    def trained(threads: int) -> list[Any]:
        nnfast.set_seed(0)
        model = nnfast.Sequential([layers.Dense(256, "relu", input_dim=64), layers.Dense(64)])
        model.n_threads = threads
        model.compile("adam", "mse")
        history = model.fit(x, x, batch_size=1024, epochs=3, validation_split=0.2, verbose=0)
        return [history.history, model.predict(x).tobytes()]

    _engine.force_threads(0)
    alone = trained(1)
    allow(1 + extra)
    assert trained(WANTED) == alone
    return min(thread_count(), 1 + extra)  # timings decide whether the team is kept


if __name__ == "__main__":
    program: Callable[[list[Any], int], int] = globals()[sys.argv[1]]
    expected = results(1)
    assert thread_count() == 1
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    print(program(expected, int(sys.argv[2])))

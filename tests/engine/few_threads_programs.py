"""Programs whose system lets them start few threads; the tests run them in a process of their own.

Where gcc's libgomp cannot start a thread it ends the process. Each program prints how many threads
there are at its end. Everything is imported before there are limits: the user to whom root has to
change, because they do not bind root, may not read it.
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
# A user without other processes, whose threads would count: those of other test runs are others.
NOBODY = 50_000 + os.getpid() % 10_000
X = np.random.default_rng(0).standard_normal((3000, 16))
SKLEARN = find_spec("sklearn") is not None


def results(threads: int) -> list[Any]:
    """Return what a model and an estimator compute with teams of `threads` threads."""
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
        with warnings.catch_warnings(action="ignore"):  # that it has not converged
            arrays += regressor.fit(X, X[:, 0]).coefs_
    return [*found, *(array.tobytes() for array in arrays)]


def allow(threads: int) -> None:
    """Limit the number of threads that this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (threads, hard))


def living() -> int:
    return len(os.listdir("/proc/self/task"))


def limited(expected: list[Any], extra: int) -> int:
    """Every call goes on with fewer threads; a team that is as large as it may be stays so."""
    allow(1 + extra)
    for _ in range(3):
        assert results(WANTED) == expected
    return living()


def little_memory(expected: list[Any], extra: int) -> int:
    """Stacks of 1 GB, by OMP_STACKSIZE or the system's limit, do not fit into the address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + extra * 2**30 + 2**29
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    assert results(WANTED) == expected
    return living()


def growing(expected: list[Any], extra: int) -> int:
    """Teams of all sizes in turn."""
    allow(1 + extra)
    for threads in (2, 1, WANTED, 2, 3, 2, WANTED):
        assert results(threads) == expected
    return living()


def again(expected: list[Any], extra: int) -> int:
    """What was refused is tried again after a second."""
    allow(1)
    assert results(WANTED) == expected
    assert living() == 1
    allow(1 + extra)
    time.sleep(1.1)
    assert results(WANTED) == expected
    return living()


def several(expected: list[Any], extra: int) -> int:
    """Several Python threads open teams at once; none takes threads that another has reserved."""
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
        while living() > 1:
            time.sleep(0.001)
    return living()


def fork() -> int:
    """Fork; a thread that has ended goes on counting for the limit for some microseconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return os.fork()
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def forks(expected: list[Any], extra: int) -> int:
    """A forked child tries again, because it has none of its parent's threads, and so does that."""
    allow(2 + extra)
    for _ in range(5):
        assert results(WANTED) == expected
        child = fork()
        if child == 0:
            os._exit(results(WANTED) != expected)
        assert os.waitpid(child, 0)[1] == 0
    return living()


def own_choice(expected: list[Any], extra: int) -> int:
    """The model tries by itself whether teams pay."""
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
    return min(living(), 1 + extra)  # the trials decide whether there is a team at the end


if __name__ == "__main__":
    program: Callable[[list[Any], int], int] = globals()[sys.argv[1]]
    expected = results(1)
    assert living() == 1
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    print(program(expected, int(sys.argv[2])))

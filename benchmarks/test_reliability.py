"""Time concurrent predictions, snapshots of the last finite state, and models of many layers."""

from __future__ import annotations

import hashlib
import statistics
import threading
import time
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers
from nnfast._runtime import steps


def large() -> nnfast.Sequential:
    """Return a compiled 784-1024-1024-10 classifier."""
    model = nnfast.Sequential(
        [
            layers.Dense(1024, activation="relu", input_dim=784),
            layers.Dense(1024, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def seconds(threads: int, rows: int, calls: int) -> float:
    """Return the time for `threads` threads to call `predict` `calls` times each."""
    model, x = large(), np.ones((rows, 784), np.float32)
    model.n_threads = 1
    model.predict(x)

    def work() -> None:
        for _ in range(calls):
            model.predict(x)

    team = [threading.Thread(target=work) for _ in range(threads)]
    begin = time.perf_counter()
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    return time.perf_counter() - begin


def hashing(threads: int) -> float:
    """Return the time for `threads` threads to hash 32 MB each, without the GIL."""
    content = bytes(1 << 25)
    team = [threading.Thread(target=hashlib.sha256, args=(content,)) for _ in range(threads)]
    begin = time.perf_counter()
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    return time.perf_counter() - begin


def test_two_threads_predict_nearly_twice_as_fast() -> None:
    """Compare the best speedup of several attempts with the required speedup.

    The speedup of hashing shows how much of the second core is available. If it is busy, a smaller
    speedup is required.
    """
    gain = hashing_gain = 0.0
    for _ in range(10):
        hashing_gain = max(hashing_gain, 2 * hashing(1) / hashing(2))
        gain = max(gain, 2 * seconds(1, 64, 100) / seconds(2, 64, 100))
        if gain >= 1.7:
            break
    print(f"two threads: {gain:.2f} times the throughput of one; hashing {hashing_gain:.2f} times")
    assert gain >= (1.7 if hashing_gain >= 1.8 else 0.85 * hashing_gain)


@pytest.mark.parametrize(
    ("sizes", "rows", "epochs"),
    [((784, 128, 10), 10_000, 1), ((784, 128, 10), 10_000, 20), ((20, 64, 64, 10), 4_000, 1)],
)
def test_snapshots_of_the_last_finite_state_cost_at_most_one_percent(
    sizes: tuple[int, ...], rows: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measure long fits and a fit of 2 ms, and take the median of several attempts."""
    model = nnfast.Sequential([layers.Input((sizes[0],))])
    for units in sizes[1:-1]:
        model.add(layers.Dense(units, activation="relu"))
    model.add(layers.Dense(sizes[-1], activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((rows, sizes[0]), np.float32)
    y = np.zeros(rows, np.int32)
    spent = 0.0

    class Timed:
        """A `Snapshot` that adds the time spent in its methods to `spent`."""

        def __init__(self, engine: Any) -> None:
            self.snapshot = Real(engine)

        def __getattr__(self, name: str) -> Any:
            method = getattr(self.snapshot, name)

            def call(*arguments: Any) -> Any:
                nonlocal spent
                begin = time.perf_counter()
                result = method(*arguments)
                spent += time.perf_counter() - begin
                return result

            return call

    Real = steps.Snapshot
    monkeypatch.setattr(steps, "Snapshot", Timed)
    shares = []
    for _ in range(3 if epochs > 1 else 9 if rows > 4_000 else 99):
        spent, begin = 0.0, time.perf_counter()
        model.fit(x, y, epochs=epochs, verbose=0)
        shares.append(spent / (time.perf_counter() - begin))
    print(f"{epochs} epochs: median {statistics.median(shares):.2%}, first fit {shares[0]:.2%}")
    assert spent > 0
    assert statistics.median(shares) <= 0.01


@pytest.mark.parametrize("operation", ["build", "save", "load"])
def test_time_is_linear_in_the_number_of_layers(operation: str, tmp_path: Any) -> None:
    """Four times as many layers take about four times as long, not sixteen times."""
    path = tmp_path / "model.safetensors"

    def take(n: int) -> float:
        chain = [layers.Input((1,)), *(layers.Dense(1) for _ in range(n))]
        model = None if operation == "build" else nnfast.Sequential(chain)
        if model is not None:
            model.save(path)
        begin = time.perf_counter()
        if model is None:
            nnfast.Sequential(chain)
        elif operation == "save":
            model.save(path)
        else:
            nnfast.load_model(path)
        return time.perf_counter() - begin

    few, many = (min(take(n) for _ in range(7)) for n in (500, 2000))
    assert many < 8 * few

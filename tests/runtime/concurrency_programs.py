"""A program in which threads use one model at the same time; the tests run it as a subprocess.

One thread compiles the model in a loop, or freezes and unfreezes a layer. The others evaluate,
predict and compute gradients. Each result must be correct for one of the compiled states, or the
call must be refused with an error that names the conflict. With the option "sequences", the samples
are sequences of several lengths.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnfast
from nnfast import layers

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(300, 6)), RNG.uniform(0.1, 1.0, (300, 2))
INPUT: tuple[int | None, ...] = (6,)


def squares(y: Array, p: Array) -> tuple[Array, Array]:
    squared = (p - y).reshape(len(p), -1) ** 2
    return squared.mean(axis=1), 2 * (p - y) / squared.shape[1]


LOSSES: list[Any] = ["mse", squares, "mae", nnfast.losses.Huber(0.3), "poisson"]
METRICS: list[Any] = [None, ["mae"], ["mse", "mae"]]
OPTIMIZERS = ["sgd", "adam", "rmsprop"]


def network() -> nnfast.Sequential:
    nnfast.set_seed(0)
    model = nnfast.Sequential(
        [
            nnfast.Input(INPUT),
            layers.Dense(20, "tanh", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dense(2, "sigmoid"),
        ],
        dtype="float64",
    )
    model.set_weights(
        [0.5 + 0.1 * np.cos(np.arange(w.size).reshape(w.shape)) for w in model.weights]
    )
    return model


def flat(value: Any) -> Any:
    """Return a result as a hashable value."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return tuple(value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(flat, value))
    return value


CALLS: dict[str, Callable[[nnfast.Sequential], Any]] = {
    "evaluate": lambda model: model.evaluate(X, Y, verbose=0, return_dict=True),
    "test_on_batch": lambda model: model.test_on_batch(X, Y, return_dict=True),
    "predict": lambda model: model.predict(X),
    "predict a few": lambda model: model.predict(X[:3]),
    "input_gradient": lambda model: model.input_gradient(X, Y),
    "input_gradient of outputs": lambda model: model.input_gradient(X),
    "loss_and_grad": lambda model: model.loss_and_grad(X, Y),
}


def use_sequences() -> None:
    """Let the models take sequences of any length, and call them with several lengths."""
    global X, Y, INPUT
    X, Y, INPUT = X.reshape(60, 5, 6), Y.reshape(60, 5, 2), (None, 6)
    CALLS["predict shorter"] = lambda model: model.predict(X[:, :3])
    CALLS["evaluate shorter"] = lambda model: model.evaluate(X[:, :2], Y[:, :2], verbose=0)


def correct_results(call: str) -> set[Any]:
    """Return the correct results of a call for every combination of loss, metrics and freezing."""
    found = set()
    for loss in LOSSES:
        for metrics in METRICS:
            for frozen in (False, True):
                model = network()
                model.layers[0].trainable = not frozen
                model.compile("sgd", loss, metrics)
                found.add(flat(CALLS[call](model)))
    return found


def work(kind: str, seconds: float, seed: int) -> dict[str, list[int]]:
    """Return the numbers of correct results and of refusals for each call.

    kind: what the first thread does. "compile" changes everything, "freeze" keeps the loss
    and starts after the optimizer has taken a step.
    """
    possible = {call: correct_results(call) for call in CALLS}
    model = network()
    weights = model.get_weights()
    model.compile("sgd", "mse")
    if kind == "freeze":
        model.train_on_batch(X, Y)
        model.set_weights(weights)
    end = time.monotonic() + seconds
    faults: list[str] = []
    counts = {call: [0, 0] for call in [*CALLS, kind]}

    def attempt(call: str, function: Callable[[nnfast.Sequential], Any]) -> None:
        try:
            value = flat(function(model))
        except RuntimeError as error:
            counts[call][1] += 1
            if "thread" not in str(error):
                faults.append(f"{call}: {error!r}")
        except BaseException as error:
            faults.append(f"{call}: {error!r}")
        else:
            counts[call][0] += 1
            if call in CALLS and value not in possible[call]:
                faults.append(f"{call}: {str(value)[:200]} is correct for no compiled state")

    def change_something(rng: np.random.Generator) -> None:
        which = rng.integers(6 if kind == "compile" else 2)
        if which == 0:
            model.layers[0].trainable = not model.layers[0].trainable
        elif which == 1:
            model.n_threads = int(rng.integers(1, 4))
        else:
            loss = LOSSES[rng.integers(len(LOSSES))]
            metrics = METRICS[rng.integers(len(METRICS))]
            model.compile(OPTIMIZERS[rng.integers(3)], loss, metrics)

    def change_in_a_loop() -> None:
        rng = np.random.default_rng(seed)
        while time.monotonic() < end and not faults:
            attempt(kind, lambda _: change_something(rng))

    def call_in_a_loop(which: int) -> None:
        rng = np.random.default_rng([seed, which])
        while time.monotonic() < end and not faults:
            call = list(CALLS)[rng.integers(len(CALLS))]
            attempt(call, CALLS[call])

    threads = [threading.Thread(target=change_in_a_loop)]
    threads += [threading.Thread(target=call_in_a_loop, args=(i,)) for i in range(3)]
    sys.setswitchinterval(1e-5)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        sys.exit("\n".join(faults))
    return counts


if __name__ == "__main__":
    if sys.argv[4:] == ["sequences"]:
        use_sequences()
    counts = work(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
    assert all(done > 0 for done, _ in counts.values()), counts
    print(counts)

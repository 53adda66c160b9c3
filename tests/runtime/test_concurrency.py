"""Tests of models that are used by several threads or called during their own training.

Each call gives a correct result or is refused.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import concurrency_programs
import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast import callbacks, layers
from nnfast._plan.plan import compile_plan

Array = NDArray[Any]
SECONDS = 2.0
X = np.random.default_rng(0).normal(size=(64, 5))
Y = np.random.default_rng(1).normal(size=(64, 2))


def network(width: int = 8) -> nnfast.Sequential:
    nnfast.set_seed(0)
    model = nnfast.Sequential([layers.Dense(width, "tanh", input_dim=5), layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("options", [[], ["sequences"]])
@pytest.mark.parametrize("kind", ["compile", "freeze"])
def test_results_are_correct_while_another_thread_compiles_or_freezes(
    kind: str, options: list[str]
) -> None:
    seconds = str(SECONDS / (1 + 2 * len(options)))
    package = os.path.dirname(os.path.dirname(nnfast.__file__))
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        [sys.executable, concurrency_programs.__file__, kind, seconds, "0", *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


# Calls that train a model or change its training, and calls that only read the model.
TRAINING: dict[str, Callable[[nnfast.Sequential], Any]] = {
    "fit": lambda model: model.fit(X, Y, verbose=0),
    "fit on batches": lambda model: model.fit(iter([(X, Y)]), verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(X, Y),
    "train_on_gradient": lambda model: model.train_on_gradient(X, Y),
    "compile": lambda model: model.compile("sgd", "mae"),
    "add": lambda model: model.add(layers.Dense(2)),
    "pop": lambda model: model.pop(),
}
READING: dict[str, Callable[[nnfast.Sequential], Any]] = {
    "evaluate": lambda model: model.evaluate(X, Y, verbose=0),
    "evaluate on batches": lambda model: model.evaluate(iter([(X, Y)]), verbose=0),
    "test_on_batch": lambda model: model.test_on_batch(X, Y),
    "predict": lambda model: model.predict(X),
    "predict a few": lambda model: model.predict(X[:2]),
    "predict_on_batch": lambda model: model.predict_on_batch(X),
    "call": lambda model: model(X),
    "input_gradient": lambda model: model.input_gradient(X, Y),
    "get_weights": lambda model: model.get_weights(),
    "get_config": lambda model: model.get_config(),
}


class Stepwise:
    """A dataset that pauses training at each of its calls until `resume` is released."""

    num_batches = 2

    def __init__(self) -> None:
        self.paused = threading.Semaphore(0)
        self.resume = threading.Semaphore(0)

    def pause(self) -> None:
        self.paused.release()
        assert self.resume.acquire(timeout=60)

    def __getitem__(self, i: int) -> tuple[Array, Array]:
        self.pause()
        return X[32 * i : 32 * i + 32], Y[32 * i : 32 * i + 32]

    def on_epoch_end(self) -> None:
        self.pause()


class EveryHook(callbacks.Callback):
    """A callback that pauses training in every hook."""

    def __init__(self, dataset: Stepwise) -> None:
        super().__init__()
        self.dataset = dataset


def _pause(self: EveryHook, *arguments: Any, **options: Any) -> None:
    self.dataset.pause()


HOOKS = [
    *("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"),
    *("on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"),
    *("on_epoch_end", "on_train_end"),
]
for hook in HOOKS:
    setattr(EveryHook, hook, _pause)


def fitted(model: nnfast.Sequential, dataset: Stepwise) -> dict[str, list[float]]:
    history = model.fit(
        dataset, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[EveryHook(dataset)]
    )
    return history.history


def pauses(dataset: Stepwise, training: Any) -> Iterator[None]:
    """Yield at every pause of a training and resume it; return when the training has ended."""
    while True:
        while not dataset.paused.acquire(timeout=0.01):
            if training.done():
                return
        yield
        dataset.resume.release()


def test_other_threads_cannot_change_a_model_during_fit() -> None:
    """The result is bit-identical to a fit without other threads, wherever they intervene."""
    undisturbed = network()
    without_pauses = Stepwise()
    without_pauses.resume.release(1000)
    expected = fitted(undisturbed, without_pauses)
    model, dataset = network(), Stepwise()
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(fitted, model, dataset)
        number = 0
        for _ in pauses(dataset, training):
            number += 1
            for call in TRAINING.values():
                with pytest.raises(RuntimeError, match="by another thread"):
                    call(model)
            for call in READING.values():
                call(model)
        assert training.result() == expected
    assert number > 30
    assert len(model.layers) == 2
    for a, b in zip(undisturbed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # After the fit every call is allowed again.
    for call in TRAINING.values():
        call(model)


def test_two_threads_that_train_one_model_take_turns_or_are_refused() -> None:
    """Every step that was not refused counts exactly once."""
    model = network()
    counts, refusals = [0, 0], []

    def work(i: int) -> None:
        while counts[i] < 200:
            try:
                model.train_on_batch(X, Y)
                counts[i] += 1
            except RuntimeError as error:
                refusals.append(str(error))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, range(2)))
    finally:
        sys.setswitchinterval(before)
    assert all("another thread" in refusal for refusal in refusals)
    by_one_thread = network()
    for _ in range(400):
        by_one_thread.train_on_batch(X, Y)
    for a, b in zip(by_one_thread.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# Calls during the model's own training, from callbacks, losses, metrics and generators.


def within_callback(hook: str) -> Callable[[nnfast.Sequential, Callable[[], None]], Any]:
    def fit(model: nnfast.Sequential, call: Callable[[], None]) -> Any:
        caller = callbacks.Callback()
        setattr(caller, hook, lambda *arguments, **options: call())
        return model.fit(X, Y, verbose=0, validation_data=(X, Y), callbacks=[caller])

    return fit


def within_loss(model: nnfast.Sequential, call: Callable[[], None]) -> Any:
    def squares(y: Array, p: Array) -> tuple[Array, Array]:
        call()
        return ((p - y) ** 2).mean(axis=1), 2 * (p - y) / p.shape[1]

    model.compile("adam", squares)
    return model.fit(X, Y, verbose=0)


def within_metric(model: nnfast.Sequential, call: Callable[[], None]) -> Any:
    def distance(y: Array, p: Array) -> Array:
        call()
        return np.abs(y - p).mean(axis=1)

    model.compile("adam", "mse", metrics=[distance])
    return model.fit(X, Y, verbose=0)


def within_generator(model: nnfast.Sequential, call: Callable[[], None]) -> Any:
    def batches() -> Iterator[tuple[Array, Array]]:
        for _ in range(3):
            call()
            yield X, Y

    return model.fit(batches(), verbose=0)


def within_loss_of_train_on_batch(model: nnfast.Sequential, call: Callable[[], None]) -> Any:
    def squares(y: Array, p: Array) -> tuple[Array, Array]:
        call()
        return ((p - y) ** 2).mean(axis=1), 2 * (p - y) / p.shape[1]

    model.compile("adam", squares)
    return model.train_on_batch(X, Y)


PLACES: dict[str, Callable[[nnfast.Sequential, Callable[[], None]], Any]] = {
    **{f"callback's {hook}": within_callback(hook) for hook in HOOKS},
    "loss": within_loss,
    "metric": within_metric,
    "generator": within_generator,
    "loss of train_on_batch": within_loss_of_train_on_batch,
}


@pytest.mark.parametrize("place", PLACES)
def test_training_calls_are_refused_within_training(place: str) -> None:
    for call in TRAINING.values():
        model, called = network(), []

        def inner(
            call: Callable[[nnfast.Sequential], Any] = call,
            model: nnfast.Sequential = model,
            called: list[int] = called,
        ) -> None:
            called.append(1)
            call(model)

        with pytest.raises(RuntimeError, match="within its own training"):
            PLACES[place](model, inner)
        assert called == [1]  # Training ends at the first refusal.
        model.compile("adam", "mse")
        assert len(model.layers) == 2
        assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("place", PLACES)
def test_reading_a_model_and_training_others_within_training_changes_nothing(place: str) -> None:
    found = []
    for calls in ({}, READING):
        model, other, called = network(), network(16), []

        def inner(
            calls: dict[str, Callable[[nnfast.Sequential], Any]] = calls,
            model: nnfast.Sequential = model,
            other: nnfast.Sequential = other,
            called: list[int] = called,
        ) -> None:
            if called:  # `evaluate` below calls the loss or metric again.
                return
            called.append(1)
            for call in calls.values():
                call(model)
            if calls:
                for call in TRAINING.values():
                    call(other)

        PLACES[place](model, inner)
        assert called
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("second", ["predict", "fit"])
@pytest.mark.parametrize("first", ["predict", "fit", "compile", "add"])
def test_a_model_is_built_once_by_two_threads_that_use_it_first(first: str, second: str) -> None:
    """The calls act as if they ran one after the other, or one of them is refused."""
    calls: dict[str, Callable[[nnfast.Sequential], Any]] = {
        "predict": lambda model: model.predict(X),
        "fit": lambda model: model.fit(X, Y, shuffle=False, verbose=0),
        "compile": lambda model: model.compile("adam", "mse"),
        "add": lambda model: model.add(layers.Dense(2)),
    }
    refusals: list[str] = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(60):
            nnfast.set_seed(0)
            model = nnfast.Sequential([layers.Dense(8, "tanh"), layers.Dense(2)])
            model.compile("adam", "mse")
            together = threading.Barrier(2)

            def work(
                call: Callable[[nnfast.Sequential], Any],
                model: nnfast.Sequential = model,
                together: threading.Barrier = together,
            ) -> Any:
                together.wait()
                try:
                    return call(model)
                except RuntimeError as error:
                    refusals.append(str(error))
                    return None

            with ThreadPoolExecutor(2) as pool:
                list(pool.map(work, (calls[first], calls[second])))
            assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()
            assert model.predict(X).shape == (64, 2)
            shapes = [w.shape for w in model.get_weights()]
            assert shapes[:4] == [(5, 8), (8,), (8, 2), (2,)]
            assert all(w is v for w, v in zip(model.layers[0].weights, model.weights, strict=False))
    finally:
        sys.setswitchinterval(before)
    assert all("another thread" in refusal for refusal in refusals)


class Observed(nnfast.Sequential):
    """A model that checks its own consistency after every assignment to an attribute."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if getattr(self, "_settings", None) is not None and self.built:
            assert self._trainer is not None


def test_a_built_and_compiled_model_always_has_a_trainer() -> None:
    model = Observed([layers.Dense(8, "tanh"), layers.Dense(2)])
    model.compile("adam", "mse")
    model.predict(X)
    model.add(layers.Dense(2))
    model.pop()
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("kind", [layers.Dense, layers.BatchNormalization])
def test_freezing_a_layer_while_the_plan_is_compiled_affects_all_its_weights_or_none(
    kind: Any,
) -> None:
    """The engine cannot compute gradients for only some weights of a layer."""
    flags = itertools.cycle((True, False))

    class Flickering(kind):
        trainable = property(lambda self: next(flags), lambda self, value: None)

    for _ in range(8):
        stack = [Flickering(5), layers.Dense(2)] if kind is layers.Dense else [Flickering()]
        plan = compile_plan(stack, (5,))
        trained = {p.trained for p in plan.parameters if p.layer == 0 and p.weight.trainable}
        assert len(trained) == 1
        assert {op["frozen"] for op in plan.training.ops} <= {False, not trained.pop()}
        next(flags)


def test_a_model_can_be_frozen_and_evaluated_while_another_thread_trains_it() -> None:
    model = network()
    model.train_on_batch(X, Y)
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(model.fit, X, Y, epochs=10**9, verbose=0)
        try:
            while not model._guard.held:
                assert not training.done()
            for i in range(60):
                model.layers[0].trainable = i % 2 == 0
                assert np.isfinite(model.evaluate(X, Y, verbose=0)).all()
                assert np.isfinite(model.input_gradient(X, Y)).all()
        finally:
            while not training.done():  # The start of `fit` resets the flag.
                model.stop_training = True
        assert np.isfinite(training.result().history["loss"]).all()

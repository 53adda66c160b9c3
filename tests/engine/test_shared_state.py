"""Engines for samples of different sizes share weights, gradients, slots and the position."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from nnfast import _engine, layers, losses, optimizers
from nnfast._plan.plan import compile_plan

Array = NDArray[Any]


def engine(steps: int, like: _engine.Engine | None = None) -> _engine.Engine:
    """Return an engine for sequences, whose weights are those of another one."""
    plan = compile_plan([layers.Dense(4, "tanh"), layers.Dense(2)], (steps, 3))
    made = _engine.Engine(plan, "float32", None if like is None else like.arrays, like)
    made.set_loss(*losses.resolve("mse").engine_loss(plan.final_activation))
    if like is None:
        adam = optimizers.Adam()
        made.set_optimizer(_engine.OPTIMIZERS["adam"], adam.n_slots, tuple(adam.hyper))
        made.params[...] = np.random.default_rng(0).normal(size=made.params.size)
    return made


def data(steps: int, rows: int = 8) -> _engine.Data:
    rng = np.random.default_rng(steps)
    x, y = rng.normal(size=(rows, 3 * steps)), rng.normal(size=(rows, 2 * steps))
    return _engine.Data(x.astype(np.float32), y.astype(np.float32))


def step(own: _engine.Engine, steps: int) -> float:
    """Take a step on two of eight rows, shuffled; return the loss."""
    found = np.empty(1)
    own.run(data(steps), 2, True, np.array([0.01]), found)
    return float(found[0])


def test_any_of_the_engines_may_take_the_next_step() -> None:
    """Two engines of one size give the bits of a single one, also in the middle of an epoch."""
    alone, first = engine(5), engine(5)
    second = engine(5, first)
    assert second.weights.size == 0
    second.set_seed(9)
    alone.set_seed(9)
    for i in range(10):
        assert step([first, second][i % 2], 5) == step(alone, 5)
        assert_array_equal(first.params, alone.params)
        assert_array_equal(second.slots, alone.slots)
        for own in (first, second):
            assert (own.iterations, own.epoch, own.batch) == (i + 1, alone.epoch, alone.batch)
    second.n_threads, first.epoch, second.iterations = 3, 7, 0
    assert (first.n_threads, second.epoch, first.iterations) == (3, 7, 0)
    first.set_optimizer(_engine.OPTIMIZERS["sgd"], 0, ())
    assert second.slots.shape[0] == 0
    step(second, 5)


def test_gradients_are_shared() -> None:
    first = engine(5)
    second = engine(3, first)
    loss, gradient = second.loss_and_gradient(data(3))
    assert np.isfinite(loss)
    assert_array_equal(first.grads, gradient)


def test_another_layout_of_the_weights_is_refused() -> None:
    first = engine(5)
    plan = compile_plan([layers.Dense(4)], (5, 3))
    with pytest.raises(ValueError, match="differ from those of the other engine"):
        _engine.Engine(plan, "float32", first.arrays[:2], first)


def test_engines_that_share_their_state_do_not_train_at_once() -> None:
    """The loss of one that does not run may be set, because nothing depends on it."""
    first = engine(5)
    second = engine(3, first)
    errors: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    def waits(*_: Any) -> None:
        began.set()
        assert go_on.wait(60)

    first.set_loss(_engine.LOSSES["python"], False, function=waits)
    training = threading.Thread(target=step, args=(first, 5))
    training.start()
    assert began.wait(60)
    attempts: list[Callable[[], Any]] = [
        lambda: step(second, 3),
        lambda: second.loss_and_gradient(data(3)),
        lambda: second.set_optimizer(_engine.OPTIMIZERS["sgd"], 0, ()),
        lambda: first.set_loss(_engine.LOSSES["mean_squared_error"], False),
    ]
    for attempt in attempts:
        with pytest.raises(RuntimeError, match="in use by another thread") as error:
            attempt()
        errors.append(str(error.value))
    second.set_loss(_engine.LOSSES["mean_absolute_error"], False)
    third = engine(4, first)
    assert np.isfinite(third.evaluate(data(4)))
    go_on.set()
    training.join()
    assert len(set(errors)) == 1
    assert np.isfinite(step(second, 3))


def test_working_memory_of_one_size_is_kept_while_another_is_used() -> None:
    first = engine(5)
    second = engine(3, first)
    for own, steps in ((first, 5), (second, 3)):
        step(own, steps)
    before = _engine.core.allocation_count()
    for own, steps in ((first, 5), (second, 3), (first, 5)):
        step(own, steps)
    assert _engine.core.allocation_count() == before

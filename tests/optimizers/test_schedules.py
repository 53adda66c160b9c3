"""Tests of the values of learning-rate schedules and of training with them.

tests/keras_tools_programs.py compares the values with those of Keras.
"""

from __future__ import annotations

import json
from typing import Any

import keras_tools_programs
import numpy as np
import pytest

import nnfast
from nnfast import layers, optimizers, schedules

X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.ones((40, 1))

ALL = {
    key: getattr(schedules, name)(*arguments, **keywords)
    for key, (name, arguments, keywords) in keras_tools_programs.SCHEDULES.items()
} | {
    "one cycle": schedules.OneCycle(0.5, 40),
    "one cycle, linear": schedules.OneCycle(0.5, 40, 0.4, 10.0, 100.0, "linear"),
}


def model(rate: Any, kind: type[Any] = optimizers.SGD) -> Any:
    nnfast.set_seed(0)
    net = nnfast.Sequential([layers.Dense(1, input_dim=3)], dtype="float64")
    net.compile(kind(rate), "mse")
    return net


@pytest.mark.parametrize("key", ALL)
def test_an_array_of_steps_gives_one_learning_rate_per_step(key: str) -> None:
    schedule = ALL[key]
    steps = np.arange(60)
    expected = [schedule(int(step)) for step in steps]
    assert all(type(value) is float for value in expected)
    np.testing.assert_array_equal(schedule(steps), expected)
    np.testing.assert_array_equal(schedule.over(7, 20), expected[7:27])


@pytest.mark.parametrize("key", ALL)
def test_schedules_survive_serialization(key: str) -> None:
    schedule = ALL[key]
    optimizer = optimizers.Adam(schedule)
    text = json.dumps({"class_name": "Adam", "config": optimizer.get_config()})
    again = optimizers.resolve(json.loads(text))
    assert again.learning_rate == schedule
    assert type(schedule).from_config(schedule.get_config()) == schedule


@pytest.mark.peers
@pytest.mark.parametrize(
    ("keywords", "torch_keywords"),
    [
        ({}, {}),
        (
            {"warmup": 0.5, "div_factor": 10.0, "final_div_factor": 50.0},
            {"pct_start": 0.5, "div_factor": 10.0, "final_div_factor": 50.0},
        ),
        ({"shape": "linear"}, {"anneal_strategy": "linear"}),
    ],
)
def test_one_cycle_equals_that_of_pytorch(
    keywords: dict[str, Any], torch_keywords: dict[str, Any]
) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    peer = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=37, **torch_keywords)
    expected = []
    for _ in range(37):
        expected.append(peer.get_last_lr()[0])
        optimizer.step()
        if len(expected) < 37:
            peer.step()
    actual = schedules.OneCycle(0.3, 37, **keywords)(np.arange(37))
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


def test_one_cycle_keeps_its_final_learning_rate() -> None:
    schedule = schedules.OneCycle(1.0, 10, div_factor=4.0, final_div_factor=10.0)
    assert schedule(9) == schedule(500) == pytest.approx(1 / 40)
    assert schedule(0) == pytest.approx(1 / 4)
    assert max(schedule(range(10))) == pytest.approx(1.0, rel=0.05)


def test_restarts_begin_exactly_at_their_first_step() -> None:
    """Rounding must not assign the first step of a cycle to the end of the previous cycle."""
    for t_mul in (1.0, 1.1, 1.3, 1.5, 2.0, 3.0):
        schedule = schedules.CosineDecayRestarts(1.0, 1000, t_mul=t_mul)
        start = sum(1000 * t_mul**i for i in range(3))
        if start == int(start):
            assert schedule(int(start)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam])
@pytest.mark.parametrize("level", [None, "epochs", "batches"])
def test_each_step_uses_the_learning_rate_of_the_schedule(kind: type[Any], level: Any) -> None:
    schedule = schedules.ExponentialDecay(0.1, 3, 0.5)
    scheduled, by_hand = model(schedule, kind), model(0.1, kind)
    callback = {
        None: None,
        "epochs": nnfast.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
        "batches": nnfast.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None),
    }[level]
    for _ in range(2):
        scheduled.fit(X, Y, 8, epochs=2, shuffle=False, verbose=0, callbacks=callback)
    scheduled.train_on_batch(X[:8], Y[:8])
    for step in range(21):
        by_hand.optimizer.learning_rate = float(schedule(step))
        rows = slice(step % 5 * 8, step % 5 * 8 + 8)
        by_hand.train_on_batch(X[rows], Y[rows])
    for a, b in zip(scheduled.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_loaded_model_continues_in_the_schedule(tmp_path: Any) -> None:
    schedule = schedules.CosineDecay(0.1, 20)
    whole, parts = model(schedule), model(schedule)
    whole.fit(X, Y, 8, epochs=4, verbose=0)
    parts.fit(X, Y, 8, epochs=2, verbose=0)
    parts.save(tmp_path / "m")
    again = nnfast.load_model(tmp_path / "m")
    assert again.optimizer.learning_rate == schedule
    again.fit(X, Y, 8, epochs=2, verbose=0)
    np.testing.assert_array_equal(whole.get_weights()[0], again.get_weights()[0])


class Halving(schedules.LearningRateSchedule):
    """A user-defined schedule that accepts only a single step, as is usual in Keras."""

    def __init__(self, every: int) -> None:
        self.every = every

    def __call__(self, step: int) -> float:
        return 0.1 if step < self.every else 0.05


def test_a_user_defined_schedule_trains_like_a_built_in_one() -> None:
    user_defined = model(Halving(5))
    built_in = model(schedules.PiecewiseConstantDecay([4], [0.1, 0.05]))
    a = user_defined.fit(X, Y, 8, epochs=2, verbose=0).history
    assert a == built_in.fit(X, Y, 8, epochs=2, verbose=0).history


def test_optimizer_step_accepts_a_schedule() -> None:
    w = np.array([1.0])
    rate = schedules.PiecewiseConstantDecay([4], [0.5, 0.25])
    nnfast.kernels.optimizer_step(w, [1.0], np.zeros((0, 1)), 5, optimizers.SGD(rate))
    assert w == [0.75]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), ["decay_steps", "> 0", "0"]),
        (lambda: schedules.ExponentialDecay(-0.1, 1, 0.5), ["initial_learning_rate", "-0.1"]),
        (lambda: schedules.CosineDecayRestarts(0.1, 10, t_mul=0.5), ["t_mul", ">= 1", "0.5"]),
        (lambda: schedules.PiecewiseConstantDecay([1, 2], [1, 2]), ["values", "2 boundaries"]),
        (lambda: schedules.PiecewiseConstantDecay([2, 1], [1, 2, 3]), ["ascend", "[2.0, 1.0]"]),
        (lambda: schedules.OneCycle(0.1, 10, shape="cosin"), ["shape", "'cosine'"]),
        (lambda: schedules.OneCycle(0.1, 10, warmup=1.0), ["warmup", "< 1", "1.0"]),
        (lambda: schedules.resolve({"class_name": "CosinDecay", "config": {}}), ["CosineDecay"]),
        (lambda: optimizers.SGD("fast"), ["learning_rate", "'fast'"]),
    ],
)
def test_error_messages_name_the_argument_and_its_value(make: Any, words: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


def test_the_error_about_a_negative_learning_rate_names_its_step() -> None:
    class Falling(schedules.LearningRateSchedule):
        def __call__(self, step: int) -> float:
            return 0.1 - 0.05 * step

    with pytest.raises(ValueError, match="step 3"):
        model(Falling()).fit(X, Y, 8, verbose=0)


def test_schedules_are_importable_from_every_documented_path() -> None:
    from nnfast.keras.optimizers.schedules import CosineDecay as b
    from nnfast.optimizers.schedules import CosineDecay as a
    from nnfast.schedules import CosineDecay as c

    assert a is b is c is schedules.CosineDecay is nnfast.keras.optimizers.schedules.CosineDecay
    assert nnfast.schedules is nnfast.optimizers.schedules

"""What must not break a model: bad batches, other threads, forks, memory that runs out."""

from __future__ import annotations

import multiprocessing
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import _engine, activations, callbacks, layers, optimizers
from nnfast._trainer import Program, Snapshot

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 5)).astype("float32"), RNG.normal(size=64).astype("float32")


def model(optimizer: Any = "adam", width: int = 16) -> nnfast.Sequential:
    nnfast.set_seed(0)
    one = nnfast.Sequential(
        [layers.Input((5,)), layers.Dense(width, activation="relu"), layers.Dense(1)]
    )
    one.compile(optimizer, "mse")
    return one


@pytest.mark.parametrize("options", [{}, {"use_ema": True, "ema_overwrite_frequency": 1}])
def test_a_bad_batch_changes_nothing_and_the_next_one_trains(options: dict[str, Any]) -> None:
    one = model(optimizers.SGD(0.01, **options))
    before = one.get_weights()
    with pytest.warns(RuntimeWarning, match="not finite"):
        one.train_on_batch(np.full_like(X, np.nan), Y)
    for a, b in zip(before, one.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    losses = [one.train_on_batch(X, Y) for _ in range(5)]
    assert losses[-1] < losses[0]


class Batches:
    """A dataset in its own order."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        return self.x[i : i + 1], self.y[i : i + 1]


@pytest.mark.parametrize("how", ["array", "callback", "stream"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_state_that_overflows_with_a_finite_loss_comes_back(how: str, optimizer: str) -> None:
    """A gradient of 1e20 has an infinite square, long before a loss is infinite."""
    nnfast.set_seed(0)
    one = nnfast.Sequential([layers.Dense(1, input_dim=1, kernel_initializer="zeros")])
    one.compile(optimizer, "mae")
    x, y = np.ones((40, 1), np.float32), np.full(40, 2.0, np.float32)
    one.fit(x, y, batch_size=1, epochs=2, verbose=0)
    assert one._engine is not None
    engine = one._engine
    before = [*one.get_weights(), engine.slots.copy(), engine.iterations]
    x[0], x[1:] = 1e20, np.nan
    fit: dict[str, Any] = {"x": x, "y": y, "batch_size": 1}
    if how == "callback":
        fit["callbacks"] = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    if how == "stream":
        fit = {"x": Batches(x, y)}
    message = r"epoch 1/3, batch 2: the loss is not finite.*as after step 80, the last known"
    with pytest.warns(RuntimeWarning, match=message):
        history = one.fit(**fit, shuffle=False, epochs=3, verbose=0)
    assert history.history == {}
    after = [*one.get_weights(), engine.slots, engine.iterations]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_that_is_finite_stays_as_before_the_batch() -> None:
    one = model()
    x = X.copy()
    x[40] = np.nan
    with pytest.warns(RuntimeWarning, match="as before that batch"):
        one.fit(x, Y, batch_size=8, shuffle=False, verbose=0)
    assert one._engine is not None
    assert one._engine.iterations == 5


def program_of(one: nnfast.Sequential) -> Program:
    assert one._program is not None
    return one._program


def test_snapshots_and_looks_wait_for_what_they_took() -> None:
    program = program_of(model(width=2000))
    engine, snapshot = program.engine, Snapshot(program)
    begin = time.perf_counter()
    snapshot.take()
    middle = time.perf_counter()
    assert not snapshot.doubts(always=False)
    end = time.perf_counter()
    assert middle < snapshot._next_copy <= middle + 200 * (middle - begin)
    assert end < snapshot._next_look <= end + 200 * (end - middle)
    snapshot._next_copy += 60.0
    snapshot._next_look += 60.0
    engine.weights[:] = 1.0
    snapshot.take()
    engine.weights[:] = np.inf
    assert not snapshot.doubts(always=False)
    assert snapshot.doubts(always=True)
    assert snapshot.put_back()
    assert not (engine.weights == 1.0).any()
    assert np.isfinite(engine.weights).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad"])
def test_a_first_fit_that_fails_leaves_the_state_before_it(optimizer: str, dtype: str) -> None:
    nnfast.set_seed(0)
    one = nnfast.Sequential([layers.Dense(3, input_dim=2)], dtype=dtype)
    one.compile(optimizer, "mae")
    engine = program_of(one).engine
    before = [*one.get_weights(), engine.slots.copy()]
    for value in (np.nan, np.inf, -np.inf):
        snapshot = Snapshot(program_of(one))
        snapshot.take()
        for array in (engine.weights, engine.slots):
            if array.size:
                array.flat[-1] = value
                engine.iterations = 1
                assert snapshot.doubts(always=True)
                assert snapshot.put_back()
                assert engine.iterations == 0
                for a, b in zip(before, [*one.get_weights(), engine.slots], strict=True):
                    np.testing.assert_array_equal(a, b)
    engine.weights[:] = np.finfo(dtype).max  # their sum overflows, they do not
    assert engine.is_finite()


def test_a_state_of_another_optimizer_is_refused() -> None:
    one = model("adam")
    engine = program_of(one).engine
    kept = engine.state()
    one.compile("sgd", "mse")
    with pytest.raises(ValueError, match="another optimizer"):
        engine.set_state(kept)


def test_training_within_a_callback_of_training() -> None:
    class Inner(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.losses = [*getattr(self, "losses", []), self.model.train_on_batch(X[:4], Y[:4])]

    inner = Inner()
    history = model().fit(X, Y, batch_size=16, epochs=3, verbose=0, callbacks=[inner])
    assert len(inner.losses) == 12
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_a_second_thread_is_refused_while_the_first_trains() -> None:
    one = model()
    engine = one._engine
    assert engine is not None
    data = _engine.Data(X, Y[:, None])
    steps = 2_000_000  # more than 2 seconds hold
    rates, losses = np.zeros(steps), np.empty(steps)
    thread = threading.Thread(
        target=engine.run, args=(data, 32, False, rates, losses), kwargs={"seconds": 2.0}
    )
    thread.start()
    refused = False
    while thread.is_alive() and not refused:
        try:
            engine.set_loss(_engine.LOSSES["mean_squared_error"], False)
        except RuntimeError:
            refused = True
    assert refused
    for call in (
        lambda: one.train_on_batch(X, Y),
        lambda: one.compile("sgd", "mse"),
        lambda: one.loss_and_grad(X, Y),
    ):
        with pytest.raises(RuntimeError, match="in use by another thread"):
            call()
    assert one.predict(X).shape == (64, 1)  # reading is allowed at any time
    thread.join()
    assert one.train_on_batch(X, Y) > 0


def _fit_in_child(queue: Any) -> None:
    one = model()
    history = one.fit(X, Y, epochs=2, verbose=0)
    assert one._engine is not None
    queue.put((history.history["loss"], one._engine.team))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork"
)
@pytest.mark.parametrize("by", ["main thread", "helper thread"])
def test_a_forked_child_trains_with_threads_after_its_parent_did(by: str) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = []

    def fork() -> None:
        model().fit(X, Y, verbose=0)  # this thread, too, has a team then
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads around
            children.append(context.Process(target=_fit_in_child, args=(queue,)))
            children[-1].start()

    _engine.force_threads(2)
    try:
        for _ in range(5):
            expected = model().fit(X, Y, epochs=2, verbose=0).history["loss"]
            if by == "main thread":
                fork()
            else:
                helper = threading.Thread(target=fork)
                helper.start()
                helper.join()
            losses, team = queue.get(timeout=60)
            assert model().fit(X, Y, epochs=2, verbose=0).history["loss"] == expected == losses
            assert team == 2
    finally:
        _engine.force_threads(0)
        for child in children:
            child.join(timeout=60)
    assert [child.exitcode for child in children] == [0] * 5


def test_an_optimizer_that_does_not_fit_in_memory_leaves_the_old_one() -> None:
    one = model("sgd")
    engine = one._engine
    assert engine is not None
    with pytest.raises(MemoryError):
        engine.set_optimizer(_engine.OPTIMIZERS["adam"], 2**31 - 1, (0.9, 0.999, 1e-7, 0.0))
    with pytest.raises(ValueError, match="needs 2 slots"):
        engine.set_optimizer(_engine.OPTIMIZERS["adam"], 1, (0.9, 0.999, 1e-7, 0.0))
    first, second = one.train_on_batch(X, Y), one.train_on_batch(X, Y)
    assert second < first


def test_the_order_of_an_epoch_follows_a_position_that_is_set() -> None:
    """Back and forth: a position's shuffle depends on seed and epoch alone."""
    weights = []
    for detour in (False, True):
        one = model("sgd")
        engine = one._engine
        assert engine is not None
        data = _engine.Data(X, Y[:, None])
        lr, losses = np.full(1, 0.01), np.empty(1)
        if detour:
            engine.run(data, 16, True, np.zeros(2), np.empty(2))
        engine.epoch, engine.batch = 7, 1
        engine.run(data, 16, True, lr, losses)
        weights.append(one.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_changing_the_optimizer_object_after_compile_changes_no_weights() -> None:
    one = model("adam")
    assert one.optimizer is not None
    one.optimizer.use_ema = True
    one.optimizer.learning_rate = 0.0
    before = one.get_weights()
    one.fit(X, Y, verbose=0)
    for a, b in zip(before, one.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_negative_slopes_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        activations.Activation("leaky_relu", alpha=-0.5)


def test_eight_threads_predict_with_one_model() -> None:
    one = nnfast.Sequential([layers.Dense(64, activation="relu", input_dim=5), layers.Dense(3)])
    rng = np.random.default_rng(1)
    inputs = [rng.normal(size=(rows, 5)).astype("f") for rows in (1, 3, 4, 5, 100, 192, 193, 5000)]
    expected = [one.predict(x) for x in inputs]
    wrong = []

    def work(first: int) -> None:
        for i in range(first, first + 300):
            if not np.array_equal(one.predict(inputs[i % 8]), expected[i % 8]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

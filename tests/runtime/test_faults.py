"""Tests that bad batches, other threads, forks and a lack of memory do not break a model."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import _engine, activations, callbacks, layers, optimizers
from nnfast._engine import Snapshot
from nnfast._runtime.trainer import Trainer

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
def test_a_batch_with_nan_changes_nothing_and_the_next_one_trains(options: dict[str, Any]) -> None:
    one = model(optimizers.SGD(0.01, **options))
    before = one.get_weights()
    with pytest.warns(RuntimeWarning, match="not finite"):
        one.train_on_batch(np.full_like(X, np.nan), Y)
    for a, b in zip(before, one.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    losses = [one.train_on_batch(X, Y) for _ in range(5)]
    assert losses[-1] < losses[0]


class Batches:
    """A dataset of batches of one row, in order."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        return self.x[i : i + 1], self.y[i : i + 1]


@pytest.mark.parametrize("how", ["array", "callback", "stream"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_the_last_finite_state_is_restored_if_slots_overflow_with_a_finite_loss(
    how: str, optimizer: str
) -> None:
    """The square of a gradient of 1e20 overflows, although the loss is still finite."""
    nnfast.set_seed(0)
    one = nnfast.Sequential([layers.Dense(1, input_dim=1, kernel_initializer="zeros")])
    one.compile(optimizer, "mae")
    x, y = np.ones((40, 1), np.float32), np.full(40, 2.0, np.float32)
    one.fit(x, y, batch_size=1, epochs=2, verbose=0)
    assert one._network is not None
    engine = one._network.engine
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


def test_a_finite_state_stays_as_before_the_batch_with_nan() -> None:
    one = model()
    x = X.copy()
    x[40] = np.nan
    with pytest.warns(RuntimeWarning, match="as before that batch"):
        one.fit(x, Y, batch_size=8, shuffle=False, verbose=0)
    assert one._network is not None
    assert one._network.engine.iterations == 5


def trainer_of(one: nnfast.Sequential) -> Trainer:
    assert one._trainer is not None
    return one._trainer


def test_snapshots_and_checks_are_rare_enough_to_cost_little_time() -> None:
    engine = trainer_of(model(width=2000)).engine
    snapshot = Snapshot(engine)
    begin = time.perf_counter()
    snapshot.take()
    middle = time.perf_counter()
    assert middle < snapshot.next_copy <= middle + 500 * (middle - begin)
    assert middle < snapshot.next_check <= middle + 500 * (middle - begin)
    begin = time.perf_counter()
    assert not snapshot.is_suspect(always=True)
    end = time.perf_counter()
    assert end < snapshot.next_check <= end + 500 * (end - begin)
    snapshot.next_copy += 60.0
    snapshot.next_check += 60.0
    engine.weights[:] = 1.0
    snapshot.take()
    engine.weights[:] = np.inf
    assert not snapshot.is_suspect(always=False)
    assert snapshot.is_suspect(always=True)
    assert snapshot.restore()
    assert not (engine.weights == 1.0).any()
    assert np.isfinite(engine.weights).all()


def states(one: nnfast.Sequential) -> list[np.ndarray]:
    return [*one.get_weights(), trainer_of(one).engine.slots.copy()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad"])
def test_a_non_finite_number_is_found_in_any_position(optimizer: str, dtype: str) -> None:
    """The check is vectorized, so every lane and the tail are tried."""
    one = nnfast.Sequential([layers.Dense(11, input_dim=3)], dtype=dtype)
    one.compile(optimizer, "mae")
    engine = trainer_of(one).engine
    snapshot = Snapshot(engine)
    for array in (engine.weights, *engine.slots):
        for i in range(array.size):
            number = array[i]
            for value in (np.nan, np.inf, -np.inf):
                array[i] = value
                assert snapshot.is_suspect(always=True)
            array[i] = number
            assert not snapshot.is_suspect(always=True)
        array[:] = np.finfo(dtype).max  # The numbers are finite, although their sum overflows.
        assert not snapshot.is_suspect(always=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_last_of_several_snapshots_is_restored(optimizer: str, dtype: str) -> None:
    one = nnfast.Sequential([layers.Dense(3, input_dim=2)], dtype=dtype)
    one.compile(optimizer, "mae")
    engine = trainer_of(one).engine
    snapshot = Snapshot(engine)
    for step in range(3):
        engine.weights[:], engine.slots[:], engine.iterations = step, 2 * step, step
        snapshot.next_copy = 0.0
        snapshot.take()
    engine.weights[0], engine.iterations = np.nan, 9
    snapshot.next_copy = 0.0
    snapshot.take()  # No snapshot is taken of a state that is not finite.
    assert snapshot.restore()
    assert (snapshot.iterations, engine.iterations) == (2, 2)
    assert (engine.weights == 2).all()
    assert (engine.slots == 4).all()
    assert not snapshot.restore()  # Nothing is restored, because the state is finite now.


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad"])
def test_a_first_fit_that_diverges_restores_the_initial_state(optimizer: str) -> None:
    """The initial optimizer slots are not copied but initialized again."""
    one = nnfast.Sequential([layers.Dense(1, input_dim=1, kernel_initializer="ones")])
    one.compile(optimizer, "mae")
    if optimizer == "sgd":
        one.optimizer.learning_rate = 1e30
    before = states(one)
    x, y = np.array([[1e20], [np.nan]], np.float32), np.zeros(2, np.float32)
    with pytest.warns(RuntimeWarning, match="as after step 0, the last known to be finite"):
        one.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=0)
    assert trainer_of(one).engine.iterations == 0
    for a, b in zip(before, states(one), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_were_not_finite_before_training_are_not_restored() -> None:
    """The first snapshot is only checked when it is needed."""
    one = model()
    engine = trainer_of(one).engine
    engine.weights[0] = np.nan
    with pytest.warns(RuntimeWarning, match="as before that batch"):
        one.fit(X, Y, verbose=0)
    assert np.isnan(engine.weights).sum() == 1


def test_the_memory_of_snapshots_is_reused_by_the_next_training() -> None:
    one = model()
    one.fit(X, Y, verbose=0)
    snapshots = [Snapshot(trainer_of(one).engine) for _ in range(2)]
    counts = [_engine.allocation_count()]
    # The first of two simultaneous snapshots reuses memory; only the second allocates.
    for snapshot in snapshots:
        snapshot.take()
        counts.append(_engine.allocation_count() - counts[0])
    assert counts[1:] == [0, 1]
    for snapshot in snapshots:
        snapshot.release()
    before = _engine.allocation_count()
    Snapshot(trainer_of(one).engine).take()
    assert _engine.allocation_count() == before


def test_a_snapshot_of_another_optimizer_is_refused() -> None:
    one = model("adam")
    engine = trainer_of(one).engine
    snapshot = Snapshot(engine)
    snapshot.take()
    one.compile("sgd", "mse")
    engine.weights[0] = np.nan
    with pytest.raises(ValueError, match="the optimizer has changed"):
        snapshot.restore()


# Each hook fails in the second of three epochs, after this number of steps (four per epoch).
HOOKS = {
    "on_train_begin": 0,
    "on_epoch_begin": 4,
    "on_train_batch_begin": 4,
    "on_train_batch_end": 5,
    "on_test_begin": 8,
    "on_test_batch_begin": 8,
    "on_test_batch_end": 8,
    "on_test_end": 8,
    "on_epoch_end": 8,
    "on_train_end": 12,
}


@pytest.mark.parametrize("hook", HOOKS)
def test_an_exception_in_a_callback_keeps_the_steps_before_it(hook: str) -> None:
    class Failing(callbacks.Callback):
        epoch = 0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch

    def fail(self: Failing, *arguments: Any, **logs: Any) -> None:
        if hook == "on_epoch_begin":
            self.epoch = arguments[0]
        if self.epoch == 1 or hook in ("on_train_begin", "on_train_end"):
            raise OSError("the disk is gone")

    setattr(Failing, hook, fail)
    one, other = model(), model()
    fit: dict[str, Any] = {"x": X, "y": Y, "batch_size": 16, "verbose": 0, "shuffle": False}
    with pytest.raises(OSError, match="the disk is gone"):
        one.fit(**fit, epochs=3, validation_data=(X, Y), callbacks=[Failing()])
    assert one._network is not None
    assert one._network.engine.iterations == HOOKS[hook]
    for _ in range(HOOKS[hook] // 4):
        other.fit(**fit)
    if HOOKS[hook] % 4:
        other.train_on_batch(X[:16], Y[:16])
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for each in (one, other):
        each.fit(**fit)  # Training can continue.
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_exception_in_a_metric_keeps_the_steps_before_it() -> None:
    one, other = model(), model()

    def failing(y_true: Any, y_pred: Any) -> Any:
        raise ZeroDivisionError("the mean of an empty array")

    one.compile("adam", "mse", metrics=[failing])
    with pytest.raises(ZeroDivisionError):
        one.fit(X, Y, batch_size=16, epochs=3, verbose=0, shuffle=False)
    other.fit(X, Y, batch_size=16, verbose=0, shuffle=False)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    one.compile("adam", "mse")
    assert np.isfinite(one.fit(X, Y, verbose=0).history["loss"]).all()


def test_several_threads_can_train_a_model_each() -> None:
    x = np.random.default_rng(0).normal(size=(2000, 5)).astype("f")
    models = [model(width=8 + 8 * i) for i in range(4)]
    histories: dict[int, Any] = {}

    def work(i: int) -> None:
        histories[i] = models[i].fit(x, x[:, 0], epochs=5, verbose=0).history

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        by_itself = model(width=8 + 8 * i)
        assert histories[i] == by_itself.fit(x, x[:, 0], epochs=5, verbose=0).history
        for a, b in zip(by_itself.get_weights(), models[i].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_training_within_a_callback_is_refused_and_the_model_stays_usable() -> None:
    class Inner(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.losses = [*getattr(self, "losses", []), self.model.train_on_batch(X[:4], Y[:4])]

    one = model()
    with pytest.raises(RuntimeError, match="within its own training"):
        one.fit(X, Y, batch_size=16, epochs=3, verbose=0, callbacks=[Inner()])
    history = one.fit(X, Y, batch_size=16, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_a_second_thread_is_refused_while_the_first_trains() -> None:
    one = model()
    engine = one._network.engine
    assert engine is not None
    data = _engine.Data(X, Y[:, None])
    steps = 2_000_000  # More steps than fit into two seconds.
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
    assert one.predict(X).shape == (64, 1)  # Reading is allowed at any time.
    thread.join()
    assert one.train_on_batch(X, Y) > 0


def _fit_in_child(queue: Any) -> None:
    one = model()
    history = one.fit(X, Y, epochs=2, verbose=0)
    assert one._network is not None
    queue.put((history.history["loss"], one._network.engine.team))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork"
)
@pytest.mark.parametrize("by", ["main thread", "helper thread"])
def test_a_forked_child_can_train_with_threads_after_its_parent_did(by: str) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = []

    def fork() -> None:
        model().fit(X, Y, verbose=0)  # From now on this thread has a thread pool, too.
        with warnings.catch_warnings():
            # Python warns of forks of a process that has threads.
            warnings.simplefilter("ignore", DeprecationWarning)
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


def test_a_spawned_child_can_train_with_threads_after_its_parent_did() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    _engine.force_threads(2)
    try:
        expected = model().fit(X, Y, epochs=2, verbose=0).history["loss"]
    finally:
        _engine.force_threads(0)
    child = context.Process(target=_fit_in_child, args=(queue,))
    child.start()
    losses, _ = queue.get(timeout=60)
    child.join(timeout=60)
    assert losses == expected
    assert child.exitcode == 0


def _losses_and_threads() -> tuple[list[float], int]:
    return model().fit(X, Y, epochs=2, verbose=0).history["loss"], nnfast.get_num_threads()


def test_joblib_workers_train_and_share_the_processors() -> None:
    joblib = pytest.importorskip("joblib")
    _engine.force_threads(2)
    try:
        expected = model().fit(X, Y, epochs=2, verbose=0).history["loss"]
    finally:
        _engine.force_threads(0)
    work = joblib.Parallel(n_jobs=2, backend="loky", timeout=120)
    for losses, threads in work(joblib.delayed(_losses_and_threads)() for _ in range(4)):
        assert losses == expected
        assert threads <= max(1, joblib.cpu_count() // 2)


@pytest.mark.skipif(sys.platform != "linux", reason="needs sparse files")
def test_rows_beyond_2_to_the_31_elements_are_trained_on_correctly(tmp_path: Path) -> None:
    """A step on the last batch, beyond the reach of 32-bit indices, equals a step on its copy."""
    shape, batch = (2_200_000, 1000), 40
    # The file is sparse, so it takes almost no space on disk.
    file = np.memmap(tmp_path / "x", np.uint8, "w+", shape=shape)
    file[-batch:] = np.random.default_rng(0).integers(0, 256, (batch, 1000))
    y = np.zeros((shape[0], 1), np.float32)
    y[-batch:] = 1.0
    weights = []
    for x, targets in ((file, y), (np.array(file[-batch:]), y[-batch:])):
        nnfast.set_seed(0)
        one = nnfast.Sequential([layers.Dense(1, input_dim=1000)])
        one.compile("sgd", "mse")
        engine = one._network.engine
        assert engine is not None
        engine.batch = len(x) // batch - 1
        status, steps = engine.run(
            _engine.Data(x, targets), batch, False, np.full(1, 1e-6), np.empty(1)
        )
        assert (status, steps) == (_engine.OK, 1)
        weights.append(one.get_weights()[0])
    assert weights[0].any()
    np.testing.assert_array_equal(*weights)


def test_an_optimizer_that_does_not_fit_into_memory_leaves_the_old_one_in_place() -> None:
    one = model("sgd")
    engine = one._network.engine
    assert engine is not None
    with pytest.raises(MemoryError):
        engine.set_optimizer(_engine.OPTIMIZERS["adam"], 2**31 - 1, (0.9, 0.999, 1e-7, 0.0))
    with pytest.raises(ValueError, match="needs 2 slots"):
        engine.set_optimizer(_engine.OPTIMIZERS["adam"], 1, (0.9, 0.999, 1e-7, 0.0))
    first, second = one.train_on_batch(X, Y), one.train_on_batch(X, Y)
    assert second < first


def test_the_shuffled_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    """Training on other batches first does not change the order."""
    weights = []
    for detour in (False, True):
        one = model("sgd")
        engine = one._network.engine
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


def test_a_negative_alpha_of_leaky_relu_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        activations.Activation("leaky_relu", alpha=-0.5)


def test_eight_threads_can_predict_with_one_model() -> None:
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

"""One-hot targets, normalized arrays, the parts of a batch, and datasets with numbered batches."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import keras
from nnfast._utils.ahead import ahead
from nnfast.keras.utils import (
    PyDataset,
    Sequence,
    normalize,
    pack_x_y_sample_weight,
    to_categorical,
    unpack_x_y_sample_weight,
)

# ---- to_categorical and normalize ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "num_classes", "shape"),
    [
        ([0, 2, 1], None, (3, 3)),
        ([0, 2, 1], 5, (3, 5)),
        ([[0], [1]], None, (2, 2)),
        ([[0, 1], [2, 0]], None, (2, 2, 3)),
        (np.zeros((2, 3, 1), int), 4, (2, 3, 4)),
        (2, 4, (4,)),
        (np.array([1.0, 0.0], np.float32), None, (2, 2)),
        (["1", "0"], None, (2, 2)),
        (np.array([True, False]), None, (2, 2)),
        ([], 3, (0, 3)),
    ],
)
def test_to_categorical_has_a_one_per_class(x: Any, num_classes: Any, shape: Any) -> None:
    y = to_categorical(x, num_classes)
    assert y.shape == shape
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y.argmax(-1).ravel(), np.asarray(x).astype(int).ravel())
    assert (y.sum(-1) == 1).all()


@pytest.mark.parametrize(
    ("x", "num_classes", "message"),
    [
        ([0, 3], 3, "from 0 to 2; received values from 0 to 3"),
        ([-1, 0], None, "received values from -1 to 0"),
        ([0.5], None, "must hold integers"),
        ([np.inf], None, "must hold integers"),
        ([1j], None, "must hold integers"),
        ([None], None, "must hold integers"),
        (["a"], None, "must hold integers"),
        ([], None, "num_classes must be given"),
        ([0], 0, "num_classes must be an integer >= 1"),
    ],
)
def test_to_categorical_refuses(x: Any, num_classes: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        to_categorical(x, num_classes)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_normalized_vectors_have_the_norm_one(axis: int, order: float) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    kept = x.copy()
    y = normalize(x, axis, order)
    np.testing.assert_allclose(np.linalg.norm(y, order, axis), 1, rtol=1e-6)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(normalize(np.zeros((2, 2))), 0)


# ---- the parts of a batch ------------------------------------------------------------------------


def test_parts_are_packed_and_unpacked_as_in_keras() -> None:
    assert pack_x_y_sample_weight(1) == 1
    assert pack_x_y_sample_weight([1, 2]) == ([1, 2],)
    assert pack_x_y_sample_weight(1, 2) == (1, 2)
    assert pack_x_y_sample_weight(1, 2, 3) == (1, 2, 3)
    assert unpack_x_y_sample_weight(1) == (1, None, None)
    assert unpack_x_y_sample_weight((1,)) == (1, None, None)
    assert unpack_x_y_sample_weight([1, 2]) == (1, 2, None)
    assert unpack_x_y_sample_weight((1, 2, 3)) == (1, 2, 3)
    with pytest.raises(ValueError, match="tuple of length 4"):
        unpack_x_y_sample_weight((1, 2, 3, 4))


# ---- reading ahead -------------------------------------------------------------------------------


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("nnfast-ahead")]


@pytest.mark.parametrize("depth", [1, 3, 20])
def test_ahead_gives_all_values_in_order(depth: int) -> None:
    assert list(ahead(lambda: range(10), depth)) == list(range(10))
    assert not threads()


def test_ahead_makes_as_many_values_as_it_says() -> None:
    made: list[int] = []
    values = ahead(lambda: (made.append(n) or n for n in range(10)), depth=3, complete=True)
    assert [next(values), next(values)] == [0, 1]
    values.close()
    assert made == [0, 1, 2, 3, 4]
    assert not threads()


def test_ahead_uses_one_thread_and_passes_exceptions_on() -> None:
    seen = set()

    def broken() -> Any:
        for n in range(3):
            seen.add(threading.get_ident())
            yield n
        raise ZeroDivisionError("third")

    values = ahead(broken, depth=2)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="third"):
        next(values)
    assert len(seen) == 1
    assert threading.get_ident() not in seen
    assert not threads()


def run(code: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import signal, sys, time
from nnfast._utils.ahead import ahead
sys.modules["nnfast._utils.ahead"]._EXIT_SECONDS = 0.1
def slow():
    while True:
        yield 0
        time.sleep(1000)
{code}
"""
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("complete", [False, True])
def test_python_exits_although_the_thread_works(complete: bool) -> None:
    done = run(f"values = ahead(slow, 1, {complete}); print(next(values))")
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


def test_ctrl_c_interrupts_the_wait_for_a_value() -> None:
    done = run(
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "try:\n"
        "    list(ahead(slow, 1, complete=True))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    assert (done.stdout, done.returncode) == ("interrupted\n", 0)


# ---- PyDataset -----------------------------------------------------------------------------------


class Batches(PyDataset):
    """Notes the order of the calls and their threads; changes its data after each epoch."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.epoch = 0

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        self.calls.append(str(index))
        self.threads.add(threading.get_ident())
        x = np.random.default_rng([index, self.epoch]).normal(size=(4, 3))
        return x, x.sum(axis=1)

    def on_epoch_begin(self) -> None:
        self.calls.append("begin")

    def on_epoch_end(self) -> None:
        self.calls.append("end")
        self.epoch += 1


def fitted(data: Any, **options: Any) -> tuple[Any, Any]:
    nnfast.set_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(data, epochs=3, verbose=0, **options)
    return model, history.history["loss"]


AHEAD = [{"workers": 2}, {"use_multiprocessing": True, "max_queue_size": 1}, {"workers": 4}]


@pytest.mark.filterwarnings("ignore:x ran out of data")
@pytest.mark.parametrize("options", AHEAD, ids=str)
@pytest.mark.parametrize(
    "fit",
    [{}, {"steps_per_epoch": 2}, {"steps_per_epoch": 5}, {"steps_per_epoch": 7, "shuffle": False}],
    ids=str,
)
def test_reading_ahead_changes_no_result(options: dict[str, Any], fit: dict[str, Any]) -> None:
    plain, other = Batches(), Batches(**options)
    model, losses = fitted(plain, **fit)
    same, same_losses = fitted(other, **fit)
    assert losses == same_losses
    np.testing.assert_array_equal(model.get_weights()[0], same.get_weights()[0])
    assert plain.calls == other.calls
    assert plain.threads == {threading.get_ident()}
    if fit.get("steps_per_epoch") != 2:  # one batch after the first needs no thread
        assert len(other.threads) > 1
    assert not threads()


def test_epochs_begin_and_end_around_their_batches() -> None:
    data = Batches(workers=3)
    fitted(data, shuffle=False)
    assert data.calls == ["begin", "0", "1", "2", "3", "4", "end"] * 3
    model, _ = fitted(Batches())
    data = Batches(workers=3)
    assert model.predict(data, verbose=0).shape == (20, 1)
    assert model.evaluate(data, verbose=0) >= 0


class StopAfter(keras.callbacks.Callback):
    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training = batch == self.batch

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_evaluating = batch == self.batch


@pytest.mark.parametrize("batch", [0, 1, 4])
def test_an_early_stop_ends_the_thread_after_the_batches_it_makes(batch: int) -> None:
    data = Batches(workers=2, max_queue_size=2)
    fitted(data, shuffle=False, callbacks=[StopAfter(batch)])
    made = [call for call in data.calls if call.isdigit()]
    assert made == [str(n) for n in range(min(batch + 1 + 2, 5) if batch else 1)]
    assert not threads()


@pytest.mark.filterwarnings("ignore:validation_data ran out of data")
def test_a_validation_that_is_stopped_early_continues_there() -> None:
    calls = []
    for workers in (1, 2):
        data = Batches(workers=workers)
        x, y = data[0]
        data.calls.clear()
        stop = {"validation_steps": 3, "callbacks": [StopAfter(1)], "validation_data": data}
        fitted(x, y=y, **stop)
        calls.append([call for call in data.calls if call.isdigit()])
    assert calls == [["0", "1", "2", "3", "4"]] * 2
    assert not threads()


def test_a_batch_that_fails_ends_the_fit() -> None:
    class Broken(Batches):
        def __getitem__(self, index: int) -> Any:
            if index == 3:
                raise OSError("disk")
            return super().__getitem__(index)

    with pytest.raises(OSError, match="disk"):
        fitted(Broken(workers=2), shuffle=False)
    assert not threads()


def test_a_dataset_may_have_no_end_and_no_constructor() -> None:
    class Endless(PyDataset):
        num_batches = None

        def __init__(self) -> None:
            self.made: list[int] = []

        def __getitem__(self, index: int) -> Any:
            self.made.append(index)
            x = np.full((2, 3), index, float)
            return x, x[:, 0]

    data = Endless()
    fitted(data, steps_per_epoch=2)
    assert data.made == list(range(6))
    values = iter(data)
    assert [next(values)[0][0, 0] for _ in range(3)] == [0, 1, 2]
    assert (data.workers, data.use_multiprocessing, data.max_queue_size) == (1, False, 10)
    with pytest.raises(ValueError, match="no end"):
        fitted(data)


def test_sequence_is_the_older_name() -> None:
    assert Sequence is PyDataset is keras.utils.PyDataset
    assert len(list(Batches())) == 5


def test_py_dataset_refuses() -> None:
    with pytest.raises(TypeError, match="workers must be an integer"):
        PyDataset(workers="two")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_queue_size must be an integer >= 1"):
        PyDataset(max_queue_size=0)
    with pytest.raises(NotImplementedError, match="must define __len__ or num_batches"):
        _ = PyDataset().num_batches
    with pytest.raises(NotImplementedError, match="must define __getitem__"):
        PyDataset()[0]


# ---- Keras ---------------------------------------------------------------------------------------


@pytest.mark.peers
def test_arrays_are_those_of_keras() -> None:
    import keras as peer

    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    for order in (1, 2, 3):
        ours, theirs = normalize(x, -1, order), peer.utils.normalize(x, -1, order)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    for labels, n in (([0, 2], None), ([[1], [0]], 3), ([[0, 1]], None), (["1", "0"], None)):
        ours, theirs = to_categorical(labels, n), peer.utils.to_categorical(labels, n)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype

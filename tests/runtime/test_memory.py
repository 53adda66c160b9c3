"""Tests of memory: any allocation may fail, no memory leaks, and data are not copied."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, callbacks, kernels, layers, optimizers

Array = NDArray[Any]
CALLS = int(os.environ.get("NNFAST_TEST_CALLS", "10000"))
MB = 2**20
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 5)), RNG.normal(size=(64, 2))
MANY, MANY_Y = RNG.normal(size=(2000, 5)), RNG.normal(size=(2000, 2))
SMALL = X[:3].astype(np.float32)


def make() -> nnfast.Sequential:
    nnfast.set_seed(0)
    model = nnfast.Sequential(
        [
            layers.Dense(16, activation="gelu", input_dim=5, kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.1),
            layers.LayerNormalization(),
            layers.Dense(2),
        ]
    )
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def pinball(y: Array, p: Array) -> tuple[Array, Array]:
    return np.abs(p - y).mean(axis=1), np.sign(p - y) / 2


def compile_anew(model: nnfast.Sequential) -> None:
    model.compile(optimizers.SGD(0.1, momentum=0.9), "mae")


def compile_function(model: nnfast.Sequential) -> None:
    model.compile("sgd", pinball)


UNCHANGED: dict[str, Callable[[nnfast.Sequential], Any]] = {
    "add": lambda model: model.add(layers.Dense(3)),
    "pop": lambda model: model.pop(),
    "compile": compile_anew,
    "compile a function": compile_function,
    "fit": lambda model: model.fit(X, Y, epochs=2, batch_size=17, verbose=0),
    "fit in micro-batches": lambda model: model.fit(MANY, MANY_Y, batch_size=1000, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(X, Y),
    "train_on_gradient": lambda model: model.train_on_gradient(X, Y),
    "evaluate": lambda model: model.evaluate(MANY, MANY_Y, verbose=0),
    "predict": lambda model: model.predict(MANY),
    "predict a few": lambda model: model.predict(SMALL),
    "loss_and_grad": lambda model: model.loss_and_grad(X, Y),
    "input_gradient": lambda model: model.input_gradient(X, Y),
    "clone": nnfast.models.clone_model,
}


def state(model: nnfast.Sequential) -> list[Any]:
    """Return everything that a failing call must leave unchanged."""
    engine = model._network.engine
    assert engine is not None
    numbers = [engine.iterations, engine.epoch, engine.batch, len(model.layers)]
    return [*model.get_weights(), engine.slots.copy(), *numbers, model.evaluate(X, Y, verbose=0)]


def assert_same(a: list[Any], b: list[Any]) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def failures(call: Callable[[], Any], check: Callable[[], None]) -> int:
    """Return the number of allocations of a call, after letting each of them fail in turn."""
    n = 1
    while True:
        _engine.fail_allocation(n)
        try:
            call()
        except MemoryError:
            check()
            n += 1
        else:
            return n - 1
        finally:
            _engine.fail_allocation(0)


def trained() -> nnfast.Sequential:
    model = make()
    model.fit(X, Y, verbose=0)
    return model


@pytest.mark.parametrize("call", UNCHANGED)
def test_a_model_is_unchanged_after_a_failed_allocation(call: str) -> None:
    model, untouched = trained(), trained()
    before, compiled = state(model), [model.optimizer, model.loss]

    def check() -> None:
        assert [model.optimizer, model.loss] == compiled
        assert_same(state(model), before)

    assert failures(lambda: UNCHANGED[call](model), check) > 0
    # The call that finally succeeded gives the same result as one without failures before it.
    UNCHANGED[call](untouched)
    for layer, other in list(zip(model.layers, untouched.layers, strict=True))[:5]:
        assert_same(layer.get_weights(), other.get_weights())


@pytest.mark.parametrize("call", ["validation", "function"])
def test_a_failed_allocation_during_training_keeps_the_steps_before_it(call: str) -> None:
    model = trained()
    if call == "function":
        model.compile("sgd", pinball)
    steps = []

    def check() -> None:
        assert model._network is not None
        steps.append(model._network.engine.iterations)
        assert all(np.isfinite(value).all() for value in state(model))

    split = 0.5 if call == "validation" else 0.0
    fit = {"batch_size": 16, "validation_split": split, "verbose": 0}
    # The engine keeps its working memory, so fewer allocations can fail before training starts.
    model.fit(X, Y, **fit)
    assert model._network is not None
    begin = model._network.engine.iterations
    assert failures(lambda: model.fit(X, Y, **fit), check) > 0
    assert steps == sorted(steps)
    assert steps[-1] > begin  # Some allocations failed after the first steps.


def test_building_and_loading_can_be_repeated_after_a_failed_allocation(tmp_path: Path) -> None:
    make().save(tmp_path / "model")
    assert failures(make, lambda: None) > 5
    assert failures(lambda: nnfast.load_model(tmp_path / "model"), lambda: None) > 5
    late = nnfast.Sequential([layers.Dense(2)])
    late.compile("adam", "mse")
    assert failures(lambda: late.fit(X, Y, verbose=0), lambda: None) > 5
    assert late.built
    assert late.predict(X).shape == (64, 2)


def test_kernels_raise_memory_errors_for_failed_allocations() -> None:
    w, b = RNG.normal(size=(5, 2)), np.zeros(2)
    assert failures(lambda: kernels.dense_forward(X, w, b), lambda: None) > 0
    out = kernels.dense_forward(X, w, b)
    assert failures(lambda: kernels.dense_backward(out, X, w, out), lambda: None) > 0
    assert failures(lambda: kernels.loss(out, Y), lambda: None) > 0


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def refused(call: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, TypeError, MemoryError)):
        call()


def without_memory(call: Callable[[], Any]) -> None:
    _engine.fail_allocation(1)
    refused(call)
    _engine.fail_allocation(0)


def diverge(model: nnfast.Sequential) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        model.fit(X * np.nan, Y, verbose=0)


REPEATED: dict[str, Callable[[nnfast.Sequential], Any]] = {
    "fit": lambda model: model.fit(X, Y, verbose=0),
    "predict": lambda model: (model.predict(SMALL), model.predict(X)),
    "evaluate": lambda model: model.evaluate(X, Y, verbose=0),
    "build": lambda model: make(),
    "compile": lambda model: model.compile("adam", "mse"),
    "fit that is refused": lambda model: refused(lambda: model.fit(X, Y[:3], verbose=0)),
    "fit that diverges": diverge,
    "predict that is refused": lambda model: refused(lambda: model.predict(X[:, :2])),
    "fit without memory": lambda model: without_memory(
        lambda: model.fit(X[:17], Y[:17], batch_size=17, verbose=0)
    ),
    "predict without memory": lambda model: without_memory(lambda: model.predict(MANY)),
    "file that is refused": lambda model: refused(lambda: nnfast.load_model(__file__)),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("call", REPEATED)
def test_repeated_calls_do_not_leak_memory(call: str) -> None:
    model = make()
    # A model takes so much memory that a quarter of the calls would show a leak.
    calls = CALLS // 4 if call == "build" else CALLS
    for _ in range(calls // 10):
        REPEATED[call](model)
    before = rss()
    for _ in range(calls):
        REPEATED[call](model)
    assert rss() - before < 4 * MB


PROGRAM = """
import re, sys
import numpy as np
import nnfast
from nnfast import layers

kind, path = sys.argv[1:]
rng = np.random.default_rng(0)
if kind == "images":
    x = rng.integers(0, 256, (30000, 28, 28, 1), dtype=np.uint8)
elif kind == "uint8":
    x = rng.integers(0, 256, (60000, 784), dtype=np.uint8)
elif kind == "int64":
    x = rng.integers(0, 256, (60000, 784))
elif kind == "float32":
    x = rng.random((60000, 784), dtype=np.float32)
else:
    x = np.memmap(path, np.float32, "w+", shape=(60000, 784))
    x[:] = 0.5
    x.flush()
    x = np.memmap(path, np.float32, "r", shape=(60000, 784))
y = rng.integers(0, 10, len(x))
assert x.max() > 0  # Reading loads all pages, those of a file too, before memory is measured.


def status(key):
    return int(re.search(key + r":\\s*(\\d+)", open("/proc/self/status").read())[1]) * 1024


stack = [layers.Dense(128, activation="relu"), layers.Dense(10, activation="softmax")]
if kind == "images":
    stack = [
        layers.Rescaling(1 / 255),
        layers.RandomTranslation(0.1, 0.1),
        layers.Conv2D(4, 3, strides=2, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        *stack[1:],
    ]
model = nnfast.Sequential([layers.Input(x.shape[1:]), *stack])
model.compile("adam", "sparse_categorical_crossentropy")
open("/proc/self/clear_refs", "w").write("5")  # Reset the peak.
before = status("VmRSS")
model.fit(x, y, epochs=1, batch_size=128, verbose=0)
model.evaluate(x, y, verbose=0)
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["float32", "uint8", "int64", "images", "memmap"])
def test_data_are_not_copied(kind: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, kind, str(tmp_path / "x")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    (tmp_path / "x").unlink(missing_ok=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 64 * MB
    print(f"{kind}: {int(result.stdout) / MB:.1f} MB")


FILES = """
import re, resource, sys
import numpy as np
import nnfast
from nnfast import layers

what, folder = sys.argv[1:]
UNITS = 2048
SIZE = 4 * UNITS**2  # The weights in bytes.


def status(key):
    return int(re.search(key + r":\\s*(\\d+)", open("/proc/self/status").read())[1]) * 1024


def extra(call):
    open("/proc/self/clear_refs", "w").write("5")  # Reset the peak.
    before = status("VmRSS")
    result = call()
    print((status("VmHWM") - before) / SIZE)
    return result


def build(initializer="glorot_uniform"):
    layer = layers.Dense(UNITS, input_dim=UNITS, kernel_initializer=initializer)
    return nnfast.Sequential([layer])


small = nnfast.Sequential([layers.Dense(3, input_dim=3)])
small.save(folder + "/small")
nnfast.load_model(folder + "/small")  # Lazy imports are done before memory is measured.
if what in ("save", "save_weights", "load", "load_weights"):
    model = build()
    model.save(folder + "/model")
    model.save_weights(folder + "/weights")
if what == "load":
    del model
    extra(lambda: nnfast.load_model(folder + "/model"))
elif what == "load_weights":
    extra(lambda: model.load_weights(folder + "/weights"))
elif what in ("save", "save_weights"):
    extra(lambda: getattr(model, what)(folder + "/again"))
    before = open(folder + "/again", "rb").read()
    room = status("VmSize") + SIZE // 4
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (room, hard))
    getattr(model, what)(folder + "/again")  # A copy of the weights would exceed the limit.
    try:
        nnfast.load_model(folder + "/model")
    except Exception as error:
        assert isinstance(error, MemoryError), error
    else:
        raise AssertionError("the limit leaves enough memory for a second model")
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert open(folder + "/again", "rb").read() == before
else:
    extra(lambda: build(what))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("what", "most"),
    [
        ("save", 0.1),
        ("save_weights", 0.1),
        ("load", 2.2),
        ("load_weights", 1.1),
        ("glorot_uniform", 1.3),
        ("he_normal", 1.5),
        ("random_normal", 1.3),
        ("ones", 1.3),
        ("identity", 1.3),
        ("orthogonal", 1.8),
    ],
)
def test_saving_loading_and_building_need_little_memory_beyond_the_weights(
    what: str, most: float, tmp_path: Path
) -> None:
    """Memory is measured in multiples of the size of the weights. Building takes 1 for the model
    itself; loading takes 1 more for the file."""
    result = subprocess.run(
        [sys.executable, "-P", "-c", FILES, what, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < most, result.stdout


@pytest.mark.parametrize("train", ["fit", "stream", "callbacks", "function", "evaluate"])
def test_an_unreferenced_model_is_freed_without_the_garbage_collector(train: str) -> None:
    """Reference cycles would keep the memory of a large model alive for some time."""

    def squared_error(y: Any, p: Any) -> Any:
        return ((p - y) ** 2).mean(axis=1), 2 * (p - y)

    x, y = np.ones((8, 2)), np.ones((8, 1))
    model = nnfast.Sequential([layers.Dense(1, input_dim=2)])
    model.compile("sgd", squared_error if train == "function" else "mse", metrics=["mae"])
    gc.collect()
    gc.disable()
    try:
        if train == "stream":
            model.fit(iter([(x, y)] * 4), steps_per_epoch=2, epochs=2, verbose=0)
        elif train == "callbacks":
            model.fit(x, y, verbose=0, callbacks=[callbacks.EarlyStopping("loss")])
        elif train == "evaluate":
            model.evaluate(x, y, verbose=0)
        else:
            model.fit(x, y, epochs=2, verbose=0, validation_split=0.25)
        alive = weakref.ref(model)
        del model
        assert alive() is None
    finally:
        gc.enable()


def test_the_history_of_a_model_outlives_the_object_that_fit_returned() -> None:
    """Once that object is freed, the model returns a new one with the same content."""
    x, y = np.ones((8, 2)), np.ones((8, 1))
    model = nnfast.Sequential([layers.Dense(1, input_dim=2)])
    assert model.history is None
    model.compile("sgd", "mse")
    history = model.fit(x, y, epochs=3, verbose=0)
    assert model.history is history
    expected = history.history
    del history
    gc.collect()
    assert model.history.history is expected
    assert model.history.epoch == [0, 1, 2]
    assert model.history.model is model
    assert model.history.params["epochs"] == 3
    held = model.history
    alive = weakref.ref(model)
    del model
    assert held.model is alive()
    assert held.model.predict(x).shape == (8, 1)

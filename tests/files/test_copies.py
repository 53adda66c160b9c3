"""pickle and copy make independent copies of models and layers."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from every_layer import LAYERS, MERGING, PREPARING, samples

import nnfast
from nnfast import Sequential, layers, optimizers
from nnfast.optimizers import schedules

X = np.random.default_rng(0).normal(size=(50, 4))
Y = np.random.default_rng(1).normal(size=(50, 1))


def squared_error(y: Any, p: Any) -> Any:
    return (p - y)[:, 0] ** 2, 2 * (p - y)


def largest_error(y: Any, p: Any) -> Any:
    return abs(y - p).max()


def network(dtype: str = "float32") -> Sequential:
    nnfast.set_seed(1)
    return Sequential(
        [
            layers.Input((4,)),
            layers.Dense(8, "relu", kernel_constraint="max_norm"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ],
        dtype=dtype,
    )


def fit(model: Sequential) -> list[float]:
    return model.fit(X, Y, batch_size=16, epochs=2, verbose=0).history["loss"]


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "oldest protocol with bytes": lambda thing: pickle.loads(pickle.dumps(thing, protocol=2)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
OPTIMIZERS = [
    optimizers.Adam(schedules.ExponentialDecay(0.01, 3, 0.9), amsgrad=True),
    optimizers.SGD(0.01, momentum=0.9, use_ema=True),
    optimizers.Adagrad(0.1),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda made: type(made).__name__)
@pytest.mark.parametrize("loss", ["mse", squared_error], ids=["mse", "function"])
def test_a_copy_continues_training_bit_for_bit(
    way: str, dtype: str, optimizer: Any, loss: Any
) -> None:
    model = network(dtype)
    model.compile(copy.deepcopy(optimizer), loss, ["mae", largest_error], ["mse"])
    model.n_threads = 1
    fit(model)
    twin = WAYS[way](model)
    assert (twin.name, twin.dtype, twin.n_threads) == (model.name, dtype, 1)
    assert twin.layers[0] is not model.layers[0]
    assert twin.optimizer is not model.optimizer
    assert fit(twin) == fit(model)
    assert twin.evaluate(X, Y, verbose=0, return_dict=True) == model.evaluate(
        X, Y, verbose=0, return_dict=True
    )
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("way", WAYS)
def test_training_a_model_does_not_change_its_copy(way: str) -> None:
    model = network()
    model.compile("sgd", "mse")
    twin = WAYS[way](model)
    before = twin.get_weights()
    fit(model)
    model.optimizer.learning_rate = 0.5
    assert twin.optimizer.learning_rate == 0.01
    assert all((a == b).all() for a, b in zip(before, twin.get_weights(), strict=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("compiled", [False, True])
def test_an_unbuilt_model_is_copied(way: str, compiled: bool) -> None:
    nnfast.set_seed(2)
    model = Sequential([layers.Dense(3, "tanh"), layers.Dropout(0.5), layers.Dense(1)])
    if compiled:
        model.compile("adam", "mse")
    twin = WAYS[way](model)
    assert not twin.built
    for each in (model, twin):
        if not compiled:
            each.compile("adam", "mse")
    assert fit(model) == fit(twin)


def test_an_empty_model_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(Sequential())).layers == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - MERGING - PREPARING))
def test_a_layer_of_a_built_model_is_copied(way: str, name: str) -> None:
    """The copy has the same weights and configuration, and belongs to no model."""
    layer = LAYERS[name]()
    if name == "InputLayer":
        assert WAYS[way](layer).feature_shape == layer.feature_shape
        return
    shape = layer.feature_shape or (4,)
    model = Sequential([layers.Input(shape), layer])
    x = samples(name, np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32))
    model.compile("sgd")
    twin = WAYS[way](layer)
    assert twin.get_config() == layer.get_config()
    before = twin.get_weights()
    for own, other in zip(layer.weights, twin.weights, strict=True):
        np.testing.assert_array_equal(own, other)
    assert len(twin.trainable_weights) == len(layer.trainable_weights)
    expected = model.predict(x)
    model.train_on_gradient(x, np.ones((3, *model.output_shape[1:])))
    assert all((a == b).all() for a, b in zip(before, twin.get_weights(), strict=True))
    np.testing.assert_array_equal(Sequential([layers.Input(shape), twin]).predict(x), expected)


def _predict(model: Sequential, x: Any, queue: Any) -> None:
    queue.put(model.predict(x))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_model_is_an_argument_of_a_process(method: str) -> None:
    context = multiprocessing.get_context(method)
    model, queue = network(), context.Queue()
    process = context.Process(target=_predict, args=(model, X, queue))
    process.start()
    np.testing.assert_array_equal(queue.get(timeout=60), model.predict(X))
    process.join()


def test_joblib_trains_models_in_parallel() -> None:
    joblib = pytest.importorskip("joblib")
    model = network()
    model.compile("sgd", "mse")
    first, second = joblib.Parallel(n_jobs=2)(joblib.delayed(fit)(model) for _ in range(2))
    assert first == second == fit(model)


def test_a_copy_of_a_shared_layer_has_the_last_weights() -> None:
    """The copied model has its own layer, with the weights trained by the other model."""
    shared = layers.Dense(3, input_dim=4)
    one, two = Sequential([shared]), Sequential([shared, layers.Dense(1)])
    two.compile("sgd", "mse")
    fit(two)
    np.testing.assert_array_equal(copy.deepcopy(one).get_weights()[0], two.get_weights()[0])


def test_deleted_models_leave_the_weights_that_they_trained() -> None:
    model = network()
    model.compile("sgd", "mse")
    x = X.astype(np.float32)
    for _ in range(3):
        part = Sequential(model.layers[:1])
        part.compile("sgd", "mse")
        part.train_on_batch(x, part.predict(x) + 1)
        expected = part.get_weights()
        del part
    gc.collect()
    np.testing.assert_array_equal(model.get_weights()[0], expected[0])
    assert len(model.layers[0].networks) <= 2
    twin = Sequential([layers.Input((4,)), *(copy.copy(layer) for layer in model.layers)])
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))


@pytest.mark.parametrize("how", ["pickle", "deepcopy", "copy"])
def test_variables_of_a_copied_layer_remain_its_weights(how: str) -> None:
    """The copy shares no weights with the layer, and a model uses the copy's weights."""
    layer = network().layers[0]
    twin = WAYS[how](layer)
    kernel = twin.kernel
    model = Sequential([layers.Input((4,)), twin, layers.Dense(1)])
    model.compile("sgd", "mse")
    before = layer.get_weights()
    fit(model)
    assert twin.kernel is kernel
    np.testing.assert_array_equal(kernel, model.get_weights()[0])
    assert not np.array_equal(kernel, before[0])
    np.testing.assert_array_equal(layer.kernel, before[0])

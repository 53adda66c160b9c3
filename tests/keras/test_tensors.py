"""Tests of arrays, weights, learning rates and counters with the methods of Keras' tensors."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers, optimizers
from nnfast._utils.tensor import Tensor
from nnfast._utils.variable import Variable
from nnfast.keras import backend

X = np.arange(12.0, dtype=np.float32).reshape(4, 3)


def model(**options: Any) -> Any:
    nnfast.set_seed(0)
    net = nnfast.Sequential([layers.Input((3,)), layers.Dense(2, name="head")], **options)
    net.compile(optimizers.SGD(0.1), "mse")
    return net


@pytest.mark.parametrize("x", [X, X.tolist(), X[:, ::-1], np.tile(X, (500, 1))])
def test_a_called_model_returns_what_predict_returns_as_a_tensor(x: Any) -> None:
    net = model()
    outputs = net(x)
    assert type(outputs) is Tensor
    assert type(outputs.numpy()) is np.ndarray
    np.testing.assert_array_equal(outputs.numpy(), net.predict(x))
    assert type(net.predict(x)) is type(net.predict_on_batch(x)) is np.ndarray


def test_weights_have_names_and_can_be_assigned() -> None:
    net = model()
    kernel, bias = net.layers[0].weights
    assert (kernel.name, kernel.path, bias.path) == ("kernel", "head/kernel", "head/bias")
    assert kernel is net.layers[0].kernel is net.weights[0] is net.trainable_variables[0]
    before = kernel.numpy()
    kernel.assign(np.ones((3, 2)))
    kernel.assign_add(np.ones((3, 2)))
    kernel.assign_sub(0.5 * np.ones((3, 2)))
    np.testing.assert_array_equal(kernel.numpy(), np.full((3, 2), 1.5))
    np.testing.assert_array_equal(net.predict(np.ones((1, 3))), [[4.5, 4.5]])
    assert not (before == kernel).any(), "numpy() is a copy"
    with pytest.raises(ValueError, match=r"head/kernel.*\(3, 2\).*\(2,\)"):
        kernel.assign([1.0, 2.0])
    np.testing.assert_array_equal(kernel.value, np.full((3, 2), 1.5))


def test_copies_and_results_are_not_weights() -> None:
    kernel = model().layers[0].kernel
    assert type(kernel * 2) is type(np.exp(kernel)) is Tensor
    for copied in (pickle.loads(pickle.dumps(kernel)), copy.deepcopy(kernel)):
        assert type(copied) is Tensor
        np.testing.assert_array_equal(copied, kernel)
    values = kernel.numpy()
    same = kernel
    same += 1.0
    np.testing.assert_array_equal(kernel, values + 1)
    assert all(type(w) is np.ndarray for w in model().get_weights())


def test_an_old_variable_assigns_the_weight_where_it_is_now() -> None:
    one = model()
    old = one.layers[0].kernel
    two = nnfast.Sequential([layers.Input((3,)), one.layers[0]])
    two.compile("sgd", "mse")
    two.fit(X, X[:, :2], verbose=0)
    old.assign(np.zeros((3, 2)))
    assert not one.layers[0].kernel.any()
    assert (one.predict(X) == two.predict(X)).all()


def test_the_learning_rate_can_be_assigned() -> None:
    net = model()
    rate = net.optimizer.learning_rate
    assert (rate, rate.numpy(), repr(rate), f"{rate:.2f}") == (0.1, 0.1, "0.1", "0.10")
    assert rate.assign(0.05) == net.optimizer.learning_rate == 0.05
    backend.set_value(net.optimizer.learning_rate, 0.0)
    assert backend.get_value(net.optimizer.learning_rate) == 0.0
    before = net.get_weights()
    net.fit(X, X[:, :2], verbose=0)
    np.testing.assert_array_equal(net.get_weights()[0], before[0])
    with pytest.raises(ValueError, match="learning_rate"):
        net.optimizer.learning_rate.assign(-1.0)


def test_copies_of_an_optimizer_have_their_own_learning_rate() -> None:
    optimizer = optimizers.Adam(0.1)
    for other in (
        copy.copy(optimizer),
        copy.deepcopy(optimizer),
        pickle.loads(pickle.dumps(optimizer)),
    ):
        other.learning_rate.assign(0.2)
        assert (other.learning_rate, optimizer.learning_rate) == (0.2, 0.1)
    config = optimizer.get_config()
    assert type(config["learning_rate"]) is float
    assert json.loads(json.dumps(config))["learning_rate"] == 0.1


def test_an_optimizer_counts_its_steps() -> None:
    net = model()
    assert net.optimizer.iterations == 0
    net.fit(X, X[:, :2], batch_size=2, epochs=3, verbose=0)
    assert net.optimizer.iterations.numpy() == 6
    assert f"{net.optimizer.iterations}" == "6"
    assert copy.deepcopy(net.optimizer).iterations == 0
    net.compile("sgd", "mse")
    assert net.optimizer.iterations == 0


def test_an_array_can_be_viewed_as_a_variable() -> None:
    memory = np.zeros(2)
    memory.view(Variable).assign([1.0, 2.0])
    np.testing.assert_array_equal(memory, [1.0, 2.0])

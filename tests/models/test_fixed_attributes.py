"""Tests of attributes that cannot be set, and of optimizer attributes that can."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from every_layer import LAYERS

import nnfast
from nnfast import (
    Sequential,
    callbacks,
    constraints,
    initializers,
    layers,
    losses,
    optimizers,
    regularizers,
)

X = np.random.default_rng(0).normal(size=(64, 4))
Y = np.random.default_rng(1).normal(size=(64, 1))


def network() -> Sequential:
    nnfast.set_seed(0)
    return Sequential(
        [layers.Input((4,)), layers.Dense(5, "tanh"), layers.Dense(1)], dtype="float64"
    )


def fit(model: Sequential, epochs: int = 1, **options: Any) -> None:
    model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, **options)


@pytest.mark.parametrize("name", LAYERS)
def test_the_arguments_of_a_layer_cannot_be_set(name: str) -> None:
    """Therefore, `get_config` always returns the arguments of the constructor."""
    layer = LAYERS[name]()
    config = layer.get_config()
    fields = {"name", "dtype", "activity_regularizer", *type(layer)._fields} - {"trainable"}
    for field in fields:
        with pytest.raises(AttributeError, match=f"{field} of layer .* make a new {name} in a new"):
            setattr(layer, field, None)
    assert layer.get_config() == config
    layer.note = 1  # Attributes that nnfast does not define can be set.
    layer.note = 2


def test_the_compiled_attributes_of_a_model_cannot_be_set() -> None:
    model = network()
    model.compile("sgd", "mse")
    for name, value, advice in (
        ("dtype", "float32", "a new model"),
        ("optimizer", "adam", r"compile\(optimizer=…\)"),
        ("loss", "mae", r"compile\(loss=…\)"),
        ("layers", [], "use add and pop"),
    ):
        with pytest.raises(AttributeError, match=f"{name} of model .*{advice}"):
            setattr(model, name, value)
    assert type(model.optimizer) is optimizers.SGD
    assert model.loss == losses.MeanSquaredError()
    assert model.dtype == "float64"


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (regularizers.L2(0.1), "l2"),
        (initializers.RandomNormal(), "stddev"),
        (losses.Huber(), "delta"),
        (nnfast.activations.leaky_relu, "alpha"),
        *((norm, "axis") for norm in (constraints.UnitNorm(), constraints.MaxNorm())),
        (constraints.MinMaxNorm(), "rate"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_the_arguments_of_losses_regularizers_and_the_like_cannot_be_set(
    thing: Any, name: str
) -> None:
    before = getattr(thing, name)
    with pytest.raises(AttributeError):
        setattr(thing, name, before)


# Optimizer, its initial hyperparameters, and those that change after four steps.
CHANGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("SGD", {"momentum": 0.9}, {"momentum": 0.5, "nesterov": True}),
    ("SGD", {"momentum": 0.9}, {"clipnorm": 0.1}),
    ("SGD", {"clipnorm": 0.2}, {"clipnorm": None}),
    ("SGD", {}, {"clipvalue": 0.05, "weight_decay": 0.1}),
    ("SGD", {}, {"global_clipnorm": 0.1}),
    ("Adam", {}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1}),
    ("AdamW", {}, {"weight_decay": 0.5}),
    ("Nadam", {}, {"epsilon": 0.1}),
    ("RMSprop", {"momentum": 0.9}, {"rho": 0.5, "momentum": 0.1}),
    ("RMSprop", {"centered": True}, {"epsilon": 0.1}),
    ("Adagrad", {}, {"epsilon": 0.5}),
    ("Lion", {}, {"beta_1": 0.1, "beta_2": 0.5}),
    ("Adam", {"use_ema": True}, {"ema_momentum": 0.5, "ema_overwrite_frequency": 2}),
]


@pytest.mark.parametrize(("kind", "first", "then"), CHANGES)
@pytest.mark.parametrize("way", ["train_on_batch", "fit", "callback"])
def test_changed_hyperparameters_apply_from_the_next_step(
    kind: str, first: dict[str, Any], then: dict[str, Any], way: str
) -> None:
    """The model trains like one with the same state that was compiled with the new values."""
    make = getattr(optimizers, kind)
    model, peer = network(), network()
    model.compile(make(0.01, **first), "mse")
    peer.compile(make(0.01, **(first | then)), "mse")

    def change() -> None:
        for name, value in then.items():
            setattr(model.optimizer, name, value)

    class Change(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                peer.set_weights(model.get_weights())
                peer._network.engine.slots[...] = model._network.engine.slots
                peer._network.engine.iterations, peer._network.engine.epoch = (
                    model._network.engine.iterations,
                    1,
                )
                change()

    if way == "callback":
        fit(model, 2, callbacks=Change())
        fit(peer)
    else:
        fit(model)
        state = copy.deepcopy(model._network.engine.slots), model._network.engine.iterations
        peer.set_weights(model.get_weights())
        peer._network.engine.slots[...], peer._network.engine.iterations = state
        peer._network.engine.epoch = model._network.engine.epoch
        change()
        for each in (model, peer):
            if way == "fit":
                fit(each)
            else:
                each.train_on_batch(X, Y)
    assert model.optimizer == peer.optimizer
    for a, b in zip(model.get_weights(), peer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("optimizer", "name", "value"),
    [
        (optimizers.SGD(), "momentum", 0.5),
        (optimizers.SGD(momentum=0.5), "momentum", 0.0),
        (optimizers.Adam(), "amsgrad", True),
        (optimizers.Adam(), "use_ema", True),
        (optimizers.RMSprop(), "centered", True),
        (optimizers.Adagrad(), "initial_accumulator_value", 0.5),
    ],
    ids=repr,
)
def test_hyperparameters_that_determine_the_slots_cannot_change_after_compile(
    optimizer: Any, name: str, value: Any
) -> None:
    not_compiled = copy.deepcopy(optimizer)
    setattr(not_compiled, name, value)
    assert getattr(not_compiled, name) == value
    model = network()
    model.compile(optimizer, "mse")
    before = optimizer.get_config()
    with pytest.raises(AttributeError, match=f"{name} of .* cannot change .*compile"):
        setattr(optimizer, name, value)
    assert optimizer.get_config() == before
    fit(model)


def test_invalid_hyperparameters_are_refused_and_change_nothing() -> None:
    optimizer = optimizers.SGD(0.1, momentum=0.5, clipnorm=1.0)
    model = network()
    model.compile(optimizer, "mse")
    before = optimizer.get_config()
    for name, value, error in (
        ("momentum", 2.0, ValueError),
        ("momentum", "much", TypeError),
        ("nesterov", 3, TypeError),
        ("clipvalue", 1.0, ValueError),  # Only one way of clipping is allowed.
        ("ema_overwrite_frequency", 0, ValueError),
        ("weight_decay", -1.0, ValueError),
        ("learning_rate", -1.0, ValueError),
    ):
        with pytest.raises(error, match=name):
            setattr(optimizer, name, value)
    assert optimizer.get_config() == before


def test_two_models_can_share_an_optimizer() -> None:
    """A changed hyperparameter applies to both."""
    optimizer = optimizers.SGD(0.1, momentum=0.5)
    models = [network() for _ in range(2)]
    for model in models:
        model.compile(optimizer, "mse")
        fit(model)
    optimizer.momentum = 0.9
    for model in models:
        fit(model)
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

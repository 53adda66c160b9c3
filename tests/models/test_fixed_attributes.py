"""What models are compiled from cannot be set; what optimizers can change, they change."""

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
def test_arguments_of_layers(name: str) -> None:
    """Whatever `get_config` writes is what the layer was made with."""
    layer = LAYERS[name]()
    config = layer.get_config()
    fields = {"name", "dtype", "activity_regularizer", *type(layer)._fields} - {"trainable"}
    for field in fields:
        with pytest.raises(AttributeError, match=f"{field} of layer .* make a new {name} in a new"):
            setattr(layer, field, None)
    assert layer.get_config() == config
    layer.note = 1  # what is not nnfast's is free
    layer.note = 2


def test_attributes_of_models() -> None:
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
        *((made, "axis") for made in (constraints.UnitNorm(), constraints.MaxNorm())),
        (constraints.MinMaxNorm(), "rate"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_descriptions(thing: Any, name: str) -> None:
    before = getattr(thing, name)
    with pytest.raises(AttributeError):
        setattr(thing, name, before)


# Each optimizer's numbers: before, and from the fourth step on.
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
def test_hyper_parameters_hold_from_the_next_step(
    kind: str, first: dict[str, Any], then: dict[str, Any], way: str
) -> None:
    """As if a model with the same state had been compiled with the new ones."""
    make = getattr(optimizers, kind)
    model, twin = network(), network()
    model.compile(make(0.01, **first), "mse")
    twin.compile(make(0.01, **(first | then)), "mse")

    def change() -> None:
        for name, value in then.items():
            setattr(model.optimizer, name, value)

    class Change(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                twin.set_weights(model.get_weights())
                twin._network.engine.slots[...] = model._network.engine.slots
                twin._network.engine.iterations, twin._network.engine.epoch = (
                    model._network.engine.iterations,
                    1,
                )
                change()

    if way == "callback":
        fit(model, 2, callbacks=Change())
        fit(twin)
    else:
        fit(model)
        state = copy.deepcopy(model._network.engine.slots), model._network.engine.iterations
        twin.set_weights(model.get_weights())
        twin._network.engine.slots[...], twin._network.engine.iterations = state
        twin._network.engine.epoch = model._network.engine.epoch
        change()
        for each in (model, twin):
            if way == "fit":
                fit(each)
            else:
                each.train_on_batch(X, Y)
    assert model.optimizer == twin.optimizer
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("made", "name", "value"),
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
def test_what_says_how_much_is_kept(made: Any, name: str, value: Any) -> None:
    """Before it is compiled an optimizer takes it; in use it stays as it is."""
    free = copy.deepcopy(made)
    setattr(free, name, value)
    assert getattr(free, name) == value
    model = network()
    model.compile(made, "mse")
    before = made.get_config()
    with pytest.raises(AttributeError, match=f"{name} of .* cannot change .*compile"):
        setattr(made, name, value)
    assert made.get_config() == before
    fit(model)


def test_wrong_values_change_nothing() -> None:
    made = optimizers.SGD(0.1, momentum=0.5, clipnorm=1.0)
    model = network()
    model.compile(made, "mse")
    before = made.get_config()
    for name, value, error in (
        ("momentum", 2.0, ValueError),
        ("momentum", "much", TypeError),
        ("nesterov", 3, TypeError),
        ("clipvalue", 1.0, ValueError),  # besides clipnorm
        ("ema_overwrite_frequency", 0, ValueError),
        ("weight_decay", -1.0, ValueError),
        ("learning_rate", -1.0, ValueError),
    ):
        with pytest.raises(error, match=name):
            setattr(made, name, value)
    assert made.get_config() == before


def test_two_models_with_one_optimizer() -> None:
    """Both take over what is set."""
    made = optimizers.SGD(0.1, momentum=0.5)
    models = [network() for _ in range(2)]
    for model in models:
        model.compile(made, "mse")
        fit(model)
    made.momentum = 0.9
    for model in models:
        fit(model)
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

"""Tests that names, classes, instances and JSON configurations are interchangeable."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from every_layer import LAYERS, MERGING, PREPARING, READING_IDS, samples

import nnfast
from nnfast import (
    activations,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
)
from nnfast.optimizers import schedules

X = np.random.default_rng(0).normal(size=(12, 4))

FAMILIES: list[tuple[ModuleType, str, Mapping[str, Any]]] = [
    (losses, "loss", losses.TABLE),
    (optimizers, "optimizer", optimizers.TABLE),
    (initializers, "initializer", initializers.TABLE),
    (metrics, "metric", metrics.TABLE),
    (regularizers, "regularizer", regularizers.TABLE),
    (constraints, "constraint", constraints.TABLE),
]
ROWS = [(module, name) for module, _, table in FAMILIES for name in table]


@pytest.mark.parametrize(("module", "name"), ROWS, ids=[f"{m.__name__}-{name}" for m, name in ROWS])
def test_name_class_instance_and_configuration_give_equal_objects(module: Any, name: str) -> None:
    thing = module.get(name)
    cls = type(thing)
    description = json.loads(json.dumps(module.serialize(thing)))
    forms = [thing, cls, cls.__name__, name.upper(), description]
    assert all(module.get(form) == thing for form in forms)
    assert module.deserialize(description) == thing
    assert cls.from_config(thing.get_config()) == thing


def test_get_returns_none_for_none_but_compile_refuses_it() -> None:
    for module in (losses, optimizers, initializers, metrics, regularizers):
        assert module.get(None) is None  # type: ignore[attr-defined]
    assert activations.get(None) is activations.linear
    model = nnfast.Sequential([layers.Dense(1, input_dim=4)])
    for options in ({"optimizer": None}, {"metrics": [None]}):
        with pytest.raises(TypeError, match=r"Expected an? (optimizer|metric) .*None"):
            model.compile(**({"optimizer": "sgd", "loss": "mse"} | options))


def test_the_alpha_of_an_activation_survives_serialization() -> None:
    leaky = activations.Activation("leaky_relu", alpha=0.05)
    for layer in (layers.Dense(2, activation=leaky), layers.Activation(leaky)):
        config = json.loads(json.dumps(layer.get_config()))
        assert type(layer).from_config(config).activation == leaky
    assert activations.serialize(activations.leaky_relu) == "leaky_relu"


def test_gelu_with_approximate_is_gelu_tanh() -> None:
    """`approximate` is Keras' argument; nnfast has an activation for each of its values."""
    gelu = activations.gelu
    chosen = partial(gelu, approximate=True)
    assert activations.get(chosen) is activations.gelu_tanh
    assert activations.get(partial(gelu, approximate=False)) is gelu
    out = np.empty_like(X)
    assert gelu(X, out=out, approximate=True) is out
    np.testing.assert_array_equal(out, activations.gelu_tanh(X))
    np.testing.assert_array_equal(gelu(X, approximate=False), gelu(X))
    assert (out != gelu(X)).any()
    model = nnfast.Sequential([layers.Dense(2, chosen, input_dim=4)])  # type: ignore[arg-type]
    copy = nnfast.Sequential.from_config(json.loads(json.dumps(model.get_config())))
    assert copy.layers[0].activation is activations.gelu_tanh
    with pytest.raises(TypeError, match="approximate=True is not an argument of tanh"):
        activations.tanh(X, approximate=True)
    for other in (partial(gelu, X), partial(gelu, out=out), partial(np.tanh), lambda x: x):
        with pytest.raises(TypeError, match="Expected an activation"):
            activations.get(other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "thing",
    [
        losses.BinaryCrossentropy(from_logits=True),
        optimizers.SGD(0.5, momentum=0.9, nesterov=True),
        optimizers.Adam(0.5, beta_1=0.1),
        initializers.RandomNormal(1.0, 2.0, seed=3),
        metrics.BinaryAccuracy(threshold=0.25),
        metrics.AUC(thresholds=[0.5, 0.1], name="area"),
        regularizers.L1L2(0.5, 0.25),
        constraints.MaxNorm(3.0, axis=1),
        constraints.UnitNorm(axis=(0, 1)),
        constraints.MinMaxNorm(0.5, 2.0, rate=0.5, axis=[-1, -2]),
        schedules.PiecewiseConstantDecay([10], [0.1, 0.01]),
        optimizers.SGD(schedules.ExponentialDecay(0.1, 10, 0.5)),
    ],
    ids=repr,
)
def test_arguments_survive_serialization(thing: Any) -> None:
    config = json.loads(json.dumps(thing.get_config()))
    assert type(thing).from_config(config) == thing


@pytest.mark.parametrize(("module", "what", "table"), FAMILIES, ids=lambda v: str(v)[:20])
def test_errors_about_unknown_names_suggest_the_nearest(
    module: Any, what: str, table: Mapping[str, Any]
) -> None:
    name = max(table, key=len)
    with pytest.raises(ValueError, match=f"Unknown {what}.*did you mean '{name}'"):
        module.get(name[:-1] + "x")
    thing = module.get(next(n for n in table if module.get(n).get_config()))
    key = next(iter(thing.get_config()))
    with pytest.raises(ValueError, match=f"Unknown argument of .*did you mean '{key}'"):
        type(thing).from_config({key + "x": 1})
    with pytest.raises(TypeError, match=what):
        module.get(3.5)


@pytest.mark.parametrize("name", activations.TABLE)
def test_activations_survive_serialization(name: str) -> None:
    thing = activations.get(name)
    assert activations.deserialize(activations.serialize(thing)) is thing


def test_the_table_of_test_layers_covers_every_layer() -> None:
    assert LAYERS.keys() == layers.TABLE.keys() | {"InputLayer"}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_survive_serialization(name: str) -> None:
    layer = LAYERS[name]()
    description = json.loads(json.dumps(layers.serialize(layer)))
    assert description["class_name"] == name
    copy = layers.deserialize(description)
    assert type(copy) is type(layer)
    assert copy is not layer
    assert copy.get_config() == layer.get_config()
    assert repr(copy) == repr(layer)


# Arguments that have but one value, or exclude another one of the layer in every_layer.py.
WITH_DEFAULTS = {
    *(("IntegerLookup", "vocabulary_dtype"), ("Resizing", "fill_mode")),
    ("TextVectorization", "output_sequence_length"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_argument_is_in_the_configuration(name: str) -> None:
    """The layers in every_layer.py have no default arguments, which would hide a missing key."""
    cls = layers.InputLayer if name == "InputLayer" else layers.TABLE[name]
    config = LAYERS[name]().get_config()
    for argument, parameter in inspect.signature(cls).parameters.items():
        if argument in ("shape", "weights"):  # the shape has another name; values are no argument
            continue
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert argument in config
            flag = isinstance(parameter.default, bool)
            last_axis = argument == "axis" and name != "LayerNormalization"
            only = (name, argument) in WITH_DEFAULTS
            assert config[argument] != parameter.default or flag or last_axis or only


@pytest.mark.parametrize("name", sorted(layers.TABLE.keys() - MERGING - PREPARING))
def test_a_model_built_from_json_trains_alike(name: str) -> None:
    """Both models take one step with the same seed."""
    layer = LAYERS[name]()
    shape = layer.feature_shape or (4,)
    nnfast.set_seed(3)
    one = nnfast.Sequential(
        [layers.Input(shape), layer, layers.Flatten(), layers.Dense(2)], dtype="float32"
    )
    two = models.model_from_json(one.to_json())
    two.set_weights(one.get_weights())
    two._seed = one._seed
    two._built().engine.set_seed(one._seed)
    x = samples(name, np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32))
    y = np.random.default_rng(1).normal(size=(6, 2))
    step_losses = []
    for each in (one, two):
        each.compile(optimizers.SGD(0.1), "mse")
        before = each.get_weights()
        step_losses.append(each.train_on_batch(x, y))
        assert not np.array_equal(each.get_weights()[-1], before[-1])
    assert step_losses[0] == step_losses[1]
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.predict(x), two.predict(x))
    if layer.trainable_weights:
        assert one.input_gradient(x).any() == (name not in READING_IDS)


@pytest.mark.parametrize("description", [{}, {"class_name": "Dens", "config": {}}, "Dense", None])
def test_deserialize_refuses_what_is_not_a_layer(description: Any) -> None:
    with pytest.raises(ValueError, match="layer"):
        layers.deserialize(description)


def model() -> Any:
    nnfast.set_seed(0)
    return nnfast.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(3, "tanh", kernel_initializer=initializers.HeNormal(seed=5), name="first"),
            layers.Dropout(0.5),
            layers.Dense(2, name="last"),
        ],
        name="mine",
    )


def test_a_model_survives_json() -> None:
    one = model()
    two = models.model_from_json(one.to_json(indent=2))
    assert two.get_config() == one.get_config()
    # The first layer's initializer has a seed, so its weights are equal, too.
    np.testing.assert_array_equal(two.get_weights()[0], one.get_weights()[0])
    two.set_weights(one.get_weights())
    np.testing.assert_array_equal(two.predict(X), one.predict(X))
    with pytest.raises(ValueError, match="Sequential"):
        models.model_from_json("[]")
    with pytest.raises(ValueError, match=r"custom_objects.*\['Mine'\]"):
        models.model_from_json(one.to_json(), custom_objects={"Mine": object})


def test_a_model_without_an_input_shape_is_not_built_by_json() -> None:
    one = nnfast.Sequential([layers.Dense(2)])
    assert not models.model_from_json(one.to_json()).built


def test_clone_model_copies_the_layers_or_applies_clone_function() -> None:
    one = model()
    two = models.clone_model(one)
    assert two.get_config() == one.get_config()
    assert not any(a is b for a, b in zip(one.layers, two.layers, strict=True))
    three = models.clone_model(one, clone_function=lambda layer: layer)
    assert three.layers == one.layers
    np.testing.assert_array_equal(three.predict(X), one.predict(X))


def test_get_layer_finds_by_name_or_index() -> None:
    one = model()
    assert one.get_layer("last") is one.get_layer(index=2) is one.get_layer(index=-1)
    with pytest.raises(ValueError, match="'lasst'; did you mean 'last'"):
        one.get_layer("lasst")
    with pytest.raises(ValueError, match="3 layers; received index 3"):
        one.get_layer(index=3)
    for wrong in ({}, {"name": "last", "index": 2}):
        with pytest.raises(ValueError, match="name or an index"):
            one.get_layer(**wrong)


def test_pop_and_add_keep_the_weights_of_the_other_layers() -> None:
    one = model()
    one.compile("adam", "mse")
    first, last = one.get_weights()[:2], one.get_weights()[2:]
    layer = one.pop()
    assert one.output_shape == (None, 3)
    one.fit(X, X[:, :3], verbose=0)
    one.set_weights(first)
    one.add(layer)
    for a, b in zip(one.get_weights(), [*first, *last], strict=True):
        np.testing.assert_array_equal(a, b)
    for _ in range(3):
        one.pop()
    assert one.layers == []
    assert not one.built
    with pytest.raises(ValueError, match="no layers"):
        one.pop()
    one.add(layers.Dense(2))
    one.fit(X, X[:, :2], verbose=0)


def test_pop_changes_nothing_if_the_loss_does_not_fit_the_new_output() -> None:
    one = nnfast.Sequential([layers.Input((2, 2)), layers.Rescaling(2.0), layers.Flatten()])
    one.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="CategoricalCrossentropy"):
        one.pop()
    assert len(one.layers) == 2
    assert one.predict(np.ones((1, 2, 2))).shape == (1, 4)


def test_compile_accepts_the_arguments_of_keras() -> None:
    x, y = X, X[:, :2]
    plain, keras = model(), model()
    plain.compile("sgd", "mse")
    keras.compile(
        optimizer={"class_name": "SGD", "config": {"learning_rate": 0.01}},
        loss=losses.MeanSquaredError,
        metrics=None,
        run_eagerly=False,
        steps_per_execution=4,
        jit_compile=True,
        auto_scale_loss=False,
    )
    assert plain.fit(x, y, verbose=0).history == keras.fit(x, y, verbose=0).history


def test_weighted_metrics_are_saved(tmp_path: Any) -> None:
    one = model()
    one.compile(
        "sgd", "mse", metrics=["mae"], weighted_metrics=["mae", metrics.BinaryAccuracy(threshold=2)]
    )
    options = {"sample_weight": np.arange(12.0), "verbose": 0, "return_dict": True}
    values = one.evaluate(X, X[:, :2], **options)
    assert list(values) == ["loss", "mae", "weighted_mae", "binary_accuracy"]
    one.save(tmp_path / "model")
    assert nnfast.load_model(tmp_path / "model").evaluate(X, X[:, :2], **options) == values


def numpy_values(value: Any) -> Any:
    """Return an argument with every number and bool in it converted to a NumPy scalar."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    if isinstance(value, float):
        return np.float32(value)
    if isinstance(value, (list, tuple)):
        return type(value)(numpy_values(entry) for entry in value)
    if isinstance(value, dict):
        return {key: numpy_values(entry) for key, entry in value.items()}
    return value


def is_plain(value: Any) -> bool:
    """Return whether a value consists only of JSON types and not of their subclasses."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    return type(value) in (bool, int, float, str, type(None))


# Values for arguments that have no default.
REQUIRED: dict[str, dict[str, Any]] = {
    "ExponentialDecay": {"initial_learning_rate": 0.5, "decay_steps": 3, "decay_rate": 0.25},
    "InverseTimeDecay": {"initial_learning_rate": 0.5, "decay_steps": 3, "decay_rate": 0.25},
    "PolynomialDecay": {"initial_learning_rate": 0.5, "decay_steps": 3},
    "CosineDecay": {"initial_learning_rate": 0.5, "decay_steps": 3, "warmup_target": 1.5},
    "CosineDecayRestarts": {"initial_learning_rate": 0.5, "first_decay_steps": 3},
    "PiecewiseConstantDecay": {"boundaries": [2], "values": [0.5, 0.25]},
    "OneCycle": {"max_learning_rate": 0.5, "total_steps": 9},
}
# Values for arguments whose default is None.
OPTIONAL: dict[str, dict[str, Any]] = {
    "Precision": {"thresholds": (0.25, 0.5), "top_k": 2, "class_id": 1},
    "Recall": {"thresholds": 0.25, "top_k": 2, "class_id": 1},
    "AUC": {"thresholds": [0.25, 0.5]},
    "Quantile": {"level": (0.25, 0.5)},
    "MaxNorm": {"axis": [0, 1]},
    "SGD": {"clipnorm": 0.5, "weight_decay": 0.25, "ema_overwrite_frequency": 3},
    "Adam": {"clipvalue": 0.5},
    "Lion": {"global_clipnorm": 0.5},
}
CLASSES = {
    f"{module.__name__.rpartition('.')[2]}.{cls.__name__}": cls
    for module in (*(m for m, _, _ in FAMILIES), schedules)
    for cls in module.TABLE.values()
}


@pytest.mark.parametrize("name", CLASSES)
def test_numpy_scalars_become_python_values_in_configurations(name: str) -> None:
    cls = CLASSES[name]
    arguments = {
        key: p.default
        for key, p in inspect.signature(cls).parameters.items()
        if p.default is not p.empty
    }
    arguments |= {"seed": 3} if "seed" in arguments else {}
    arguments |= {"name": "own"} if "name" in arguments else {}
    arguments |= REQUIRED.get(cls.__name__, {}) | OPTIONAL.get(cls.__name__, {})
    config = cls(**{key: numpy_values(value) for key, value in arguments.items()}).get_config()
    assert is_plain(config)
    for key, value in arguments.items():
        assert config[key] == json.loads(json.dumps(value)) or config[key] == np.float32(value)


@pytest.mark.parametrize("name", layers.TABLE)
def test_numpy_scalars_become_python_values_in_the_configurations_of_layers(name: str) -> None:
    expected = LAYERS[name]().get_config()
    layer = type(LAYERS[name]()).from_config(
        numpy_values(expected) | {"trainable": np.bool_(False)}
    )
    config = layer.get_config()
    assert is_plain(config)
    assert config["trainable"] is False
    # The layers within wrappers are frozen, too.
    text = json.dumps(config).replace(', "trainable": false', "")
    assert text == json.dumps(_rounded(expected))


def _rounded(value: Any) -> Any:
    """Return a configuration with its floats rounded to float32."""
    if isinstance(value, float):
        return float(np.float32(value))
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return {k: _rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_models_made_with_numpy_scalars_are_saved(tmp_path: Any) -> None:
    model = nnfast.Sequential(
        [
            layers.Dense(
                np.int64(2), kernel_regularizer=regularizers.L2(np.float32(0.1)), input_dim=4
            )
        ]
    )
    loss = losses.BinaryCrossentropy(np.bool_(True), label_smoothing=np.float32(0.25))
    model.compile(optimizers.SGD(np.float32(0.5), ema_overwrite_frequency=np.int64(3)), loss)
    model.save(tmp_path / "model.safetensors")
    loaded = nnfast.load_model(tmp_path / "model.safetensors")
    assert loaded.get_config() == model.get_config()
    assert (loaded.loss, loaded.optimizer) == (model.loss, model.optimizer)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: layers.Dense(2, foo=1), "Dense"),
        (lambda: layers.MaxPooling2D(foo=1), "MaxPooling2D"),
        (lambda: layers.Conv2D(), "Conv2D"),  # type: ignore[call-arg]
        (lambda: losses.MeanSquaredError(foo=1), "MeanSquaredError"),  # type: ignore[call-arg]
        (lambda: metrics.MeanAbsoluteError(foo=1), "MeanAbsoluteError"),  # type: ignore[call-arg]
        (lambda: constraints.UnitNorm(foo=1), "UnitNorm"),  # type: ignore[call-arg]
        (lambda: initializers.HeNormal(foo=1), "HeNormal"),  # type: ignore[call-arg]
        (lambda: schedules.ExponentialDecay(), "ExponentialDecay"),  # type: ignore[call-arg]
        (lambda: regularizers.L1(foo=1), "L1"),  # type: ignore[call-arg]
        (lambda: optimizers.AdamW(foo=1), "AdamW"),  # type: ignore[call-arg]
    ],
)
def test_errors_about_arguments_name_the_class(make: Callable[[], Any], name: str) -> None:
    """Errors name the class itself, not the base class that defines its constructor."""
    with pytest.raises(TypeError, match=rf"^{name}(\.__init__\(\))? (got an unexp|missing)"):
        make()

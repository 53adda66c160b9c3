"""The functional API: models of symbolic tensors, models in models, and their errors."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers, models
from nnfast.models import Model, Sequential, clone_model, load_model, model_from_json

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
Y = X[:, :1] - X[:, 1:2]


def functional(**options: Any) -> Any:
    """Return a chain, made of tensors."""
    x = nnfast.Input((4,), name="x")
    h = layers.Dense(6, "tanh", name="hidden")(x)
    h = layers.Dropout(0.25, name="drop")(h)
    return Model(x, layers.Dense(1, name="out")(h), **options)


def sequential() -> Any:
    return Sequential(
        [
            nnfast.Input((4,)),
            layers.Dense(6, "tanh", name="hidden"),
            layers.Dropout(0.25, name="drop"),
            layers.Dense(1, name="out"),
        ]
    )


def nested() -> Any:
    """Return a functional model that has a Sequential, which has a functional model."""
    x = nnfast.Input((4,), name="x")
    core = Model(x, layers.Dense(5, "relu", name="core")(x), name="inner")
    middle = Sequential([core, layers.Dense(3, "tanh", name="head")], name="middle")
    y = nnfast.Input((4,), name="y")
    return Model(y, layers.Dense(1, name="out")(middle(2.0 * y)), name="outer")


def siamese() -> Any:
    """Return a model with two inputs and two outputs."""
    encoder = Sequential([layers.Dense(3, name="encode")], name="encoder")
    a, b = nnfast.Input((4,), name="a"), nnfast.Input((4,), name="b")
    distance = layers.subtract([encoder(a), encoder(b)], name="difference")
    both = layers.concatenate([distance, distance * distance], name="both")
    return Model({"left": a, "right": b}, [layers.Dense(1, name="out")(both), distance])


BUILT: dict[str, Callable[[], Any]] = {
    "functional": functional,
    "nested": nested,
    "model in Sequential": lambda: Sequential([functional(), layers.Dense(1, name="last")]),
    "Sequential in Sequential": lambda: Sequential([sequential(), layers.Dense(1, name="last")]),
}
ALL = BUILT | {"siamese": siamese}


def fit(model: Any) -> Any:
    model.compile("adam", "mse")
    return model.fit(X, Y, epochs=2, verbose=0).history["loss"]


# ---- chains --------------------------------------------------------------------------------------


def test_a_chain_of_tensors_has_the_bits_of_a_sequential() -> None:
    results = []
    for make in (functional, sequential):
        nnfast.set_seed(5)
        model = make()
        results.append((fit(model), model.predict(X), model.get_weights()))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    for a, b in zip(results[0][2], results[1][2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_nested_models_have_the_bits_of_their_layers() -> None:
    """Layers in models have the numbers that they would have without the models."""
    results = []
    for group in (False, True):
        nnfast.set_seed(5)
        stack = [layers.Dense(6, "relu"), layers.Dropout(0.5), layers.Dense(5), layers.Dropout(0.5)]
        if group:
            stack = [Sequential(stack[:2]), Sequential([Sequential(stack[2:3]), stack[3]])]
        nnfast.set_seed(5)
        model = Sequential([nnfast.Input((4,)), *stack, layers.Dense(1)])
        results.append((fit(model), model.get_weights()))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_autoencoder_encoder_and_decoder_share_their_weights() -> None:
    x = nnfast.Input((4,))
    code = layers.Dense(2, "tanh", name="code")(x)
    auto = Model(x, layers.Dense(4, name="decode")(code))
    encoder = Model(auto.input, auto.get_layer("code").output)
    decoder = Model(auto.get_layer("code").output, auto.output)
    auto.compile("adam", "mse")
    for _ in range(2):
        auto.fit(X, X, verbose=0)
        np.testing.assert_allclose(
            decoder.predict(encoder.predict(X)), auto.predict(X), rtol=1e-5, atol=1e-6
        )
    assert [layer.name for layer in decoder.layers][1:] == ["decode"]


def test_outputs_of_layers_of_a_sequential_make_models() -> None:
    model = sequential()
    features = Model(model.input, model.layers[0].output)
    w, b = model.layers[0].get_weights()
    np.testing.assert_allclose(features.predict(X), np.tanh(X @ w + b), rtol=1e-5, atol=1e-6)
    assert model.layers[0].output == model.layers[1].input
    assert model.output.shape == model.output_shape == (None, 1)


def test_an_unbuilt_sequential_takes_the_shape_of_its_call() -> None:
    encoder = Sequential([layers.Dense(3), layers.Dense(2)])
    x = nnfast.Input((4,))
    model = Model(x, encoder(x))
    assert encoder.input_shape == (None, 4)
    np.testing.assert_array_equal(encoder.predict(X), model.predict(X))
    assert encoder.layers[0].get_weights()[0].shape == (4, 3)


def test_a_model_without_layers_returns_its_input() -> None:
    x = nnfast.Input((4,))
    np.testing.assert_array_equal(Model(x, x).predict(X), X)


def test_models_are_called_with_arrays_as_before() -> None:
    model = functional()
    np.testing.assert_array_equal(model(X).numpy(), model.predict(X))
    with pytest.raises(TypeError, match=r"Layer 'hidden' .*symbolic tensors.*received ndarray"):
        model.get_layer("hidden")(X)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_inputs_may_be_integers(dtype: str) -> None:
    x = nnfast.Input((4,), dtype=dtype)
    model = Model(x, layers.Dense(2)(x))
    assert (x.dtype, model.dtype, model.output.dtype) == (dtype, "float32", "float32")
    data = (X > 0).astype(dtype)
    np.testing.assert_array_equal(model.predict(data), model.predict(data.astype(np.float32)))
    assert Sequential([nnfast.Input((4,), dtype=dtype), layers.Dense(1)]).predict(data).any()


def test_the_dtype_is_that_of_the_tensors() -> None:
    x = nnfast.Input((4,), dtype="float64")
    model = Model(x, layers.Dense(2)(x))
    assert model.dtype == "float64"
    assert model_from_json(model.to_json()).dtype == "float64"
    with pytest.raises(ValueError, match="has one dtype"):
        layers.add([nnfast.Input((4,)), x])
    with pytest.raises(ValueError, match="has one dtype"):
        functional()(x)


# ---- trainable -----------------------------------------------------------------------------------


def test_a_frozen_model_is_not_trained_within_another() -> None:
    base = sequential()
    base.trainable = False
    model = Sequential([base, layers.Dense(1)])
    before = model.get_weights()
    assert (len(model.trainable_weights), len(model.non_trainable_weights)) == (2, 4)
    fit(model)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False] * 4 + [True] * 2
    base.trainable = True
    assert len(model.trainable_weights) == 6


def test_the_flags_of_layers_decide_within_another_model_as_in_keras() -> None:
    base = sequential()
    base.trainable = False
    base.layers[0].trainable = True
    model = Sequential([base, layers.Dense(1)])
    assert (len(base.trainable_weights), len(model.trainable_weights)) == (0, 4)


def test_adversarial_training_with_a_frozen_discriminator() -> None:
    discriminator = Sequential([nnfast.Input((3,)), layers.Dense(4, "relu"), layers.Dense(1)])
    discriminator.compile("adam", "mse")
    generator = Sequential([nnfast.Input((4,)), layers.Dense(3)])
    x = nnfast.Input((4,))
    discriminator.trainable = False
    adversarial = Model(x, discriminator(generator(x)))
    adversarial.compile("adam", "mse")
    before, own = discriminator.get_weights(), generator.get_weights()
    adversarial.train_on_batch(X, Y)
    for a, b in zip(before, discriminator.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(own[0], generator.get_weights()[0])


# ---- description ---------------------------------------------------------------------------------


def test_layers_inputs_and_outputs_of_a_model() -> None:
    model = siamese()
    assert [layer.name for layer in model.layers] == [
        *("a", "b", "encoder", "difference", model.layers[4].name, "both", "out")
    ]
    assert {key: x.name for key, x in model.input.items()} == {"left": "a", "right": "b"}
    assert model.input_names == ["a", "b"]
    assert model.output_names == ["out", "difference"]
    assert model.input_shape == [(None, 4), (None, 4)]
    assert model.output_shape == [(None, 1), (None, 3)]
    assert model.count_params() == 15 + 7
    assert model.get_layer(index=0).name == "a"
    assert model.get_layer("encoder").get_layer("encode").output.shape == (None, 3)
    with pytest.raises(ValueError, match="Unknown layer 'encode'"):
        model.get_layer("encode")


def test_the_summary_says_what_layers_are_connected_to() -> None:
    nnfast.keras.backend.clear_session()
    lines: list[str] = []
    siamese().summary(print_fn=lines.append, show_trainable=True, expand_nested=True)
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines[1:]]
    assert rows.pop(1) == rows.pop(-2) == ["-" * 91]
    assert rows == [
        ["Layer (type)", "Output shape", "Param #", "Connected to", "Trainable"],
        ["a (InputLayer)", "(None, 4)", "0", "-", "Y"],
        ["b (InputLayer)", "(None, 4)", "0", "-", "Y"],
        ["encoder (Sequential)", "(None, 3)", "15", "a[0][0], b[0][0]", "Y"],
        ["└ encode (Dense)", "(None, 3)", "15", "input_layer[0][0]", "Y"],
        ["difference (Subtract)", "(None, 3)", "0", "encoder[0][0], encoder[1][0]", "Y"],
        ["multiply (Multiply)", "(None, 3)", "0", "difference[0][0], difference[0][0]", "Y"],
        ["both (Concatenate)", "(None, 6)", "0", "difference[0][0], multiply[0][0]", "Y"],
        ["out (Dense)", "(None, 1)", "7", "both[0][0]", "Y"],
        ["Total params: 22 (88 B)"],
    ]


def test_the_summary_of_a_chain_has_no_connections() -> None:
    lines: list[str] = []
    model = nested()
    model.get_layer("middle").trainable = False
    model.summary(print_fn=lines.append)
    assert "Connected" not in lines[1]
    assert lines[-1].endswith("of which 43 are not trained")
    ranged: list[str] = []
    model.summary(print_fn=ranged.append, layer_range=["mid", "out"], expand_nested=True)
    assert [line.split(" (")[0] for line in ranged[3:-2]] == [
        *("middle", "   └ inner", "      └ x", "      └ core", "   └ head", "out")
    ]
    html = siamese()._repr_html_()
    assert "<th>Connected to</th>" in html
    assert "encoder[0][0], encoder[1][0]" in html


# ---- copies and files ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_models_survive_serialization(name: str) -> None:
    model = ALL[name]()
    text = model.to_json()
    assert model_from_json(text).to_json() == text
    again = type(model).from_config(json.loads(text)["config"])
    assert again.to_json() == text
    assert clone_model(model).to_json() == text
    assert copy.deepcopy(model).to_json() == text


@pytest.mark.parametrize("name", BUILT)
def test_trained_models_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model = BUILT[name]()
    fit(model)
    model.save(tmp_path / "model")
    loaded, twin = load_model(tmp_path / "model"), pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    other = clone_model(model)
    other.load_weights(tmp_path / "model")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    model.save_weights(tmp_path / "weights")
    third = clone_model(model)
    third.load_weights(tmp_path / "weights")
    np.testing.assert_array_equal(third.predict(X), model.predict(X))
    expected = model.fit(X, Y, epochs=2, verbose=0).history
    for each in (loaded, twin):
        assert each.fit(X, Y, epochs=2, verbose=0).history == expected


@pytest.mark.parametrize("name", BUILT)
def test_the_state_of_training_is_saved_and_restored(name: str, tmp_path: Path) -> None:
    model = BUILT[name]()
    fit(model)
    model.save_state(tmp_path / "state")
    other = clone_model(model)
    other.load_state(tmp_path / "state")
    assert other.fit(X, Y, verbose=0).history == model.fit(X, Y, verbose=0).history


def test_layers_with_one_name_in_different_models_are_saved_apart(tmp_path: Path) -> None:
    parts = [Sequential([layers.Dense(4, name="same")], name=name) for name in "ab"]
    model = Sequential([nnfast.Input((4,)), *parts])
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_weights_are_loaded_by_name(method: str, tmp_path: Path) -> None:
    model = nested()
    getattr(model, method)(tmp_path / "file")
    other = nested()
    other.get_layer("out").set_weights([np.ones((3, 1)), np.ones(1)])
    x = nnfast.Input((4,))
    part = Model(x, layers.Dense(2, name="new")(other.get_layer("middle")(x)))
    with pytest.raises(ValueError, match="another architecture"):
        part.load_weights(tmp_path / "file")
    before = part.get_layer("new").get_weights()
    part.load_weights(tmp_path / "file", by_name=True)
    for name in ("middle", "new"):
        expected = before if name == "new" else model.get_layer("middle").get_weights()
        for a, b in zip(expected, part.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    wrong = Sequential([nnfast.Input((2,)), layers.Dense(1, name="out")])
    with pytest.raises(ValueError, match="shape"):
        wrong.load_weights(tmp_path / "file", by_name=True)
    with pytest.warns(UserWarning, match="do not fit"):
        wrong.load_weights(tmp_path / "file", skip_mismatch=True, by_name=True)


def test_frozen_models_stay_frozen() -> None:
    model = nested()
    model.get_layer("middle").trainable = False
    for twin in (clone_model(model), model_from_json(model.to_json()), copy.deepcopy(model)):
        assert not twin.get_layer("middle").trainable
        assert twin.trainable
        assert len(twin.trainable_weights) == 2
    frozen = functional(trainable=False)
    assert frozen.trainable_weights == clone_model(frozen).trainable_weights == []


def test_a_clone_function_may_share_layers() -> None:
    model = nested()
    shared = clone_model(model, lambda layer: layer)
    np.testing.assert_array_equal(shared.predict(X), model.predict(X))
    fit(shared)
    np.testing.assert_array_equal(shared.predict(X), model.predict(X))


def test_models_are_freed_without_the_garbage_collector() -> None:
    model = nested()
    fit(model)
    gc.disable()
    try:
        alive = weakref.ref(model.layers[-1])
        del model
        assert alive() is None
    finally:
        gc.enable()


# ---- errors --------------------------------------------------------------------------------------


def test_models_need_tensors() -> None:
    x = nnfast.Input((4,))
    with pytest.raises(TypeError, match="Subclasses with a method `call` are not supported"):
        Model()
    with pytest.raises(TypeError, match="received int"):
        Model(x, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'dtype'"):
        Model(x, x, dtype="float32")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="disconnected"):
        Model(nnfast.Input((4,)), layers.Dense(1)(x))


def test_calls_check_the_number_the_names_and_the_shapes_of_inputs() -> None:
    model = siamese()
    a, b = nnfast.Input((4,)), nnfast.Input((4,))
    assert [y.shape for y in model([a, b])] == [(None, 1), (None, 3)]
    assert [y.name for y in model({"left": a, "right": b})] == [model.name] * 2
    with pytest.raises(ValueError, match=r"expects 2 inputs named \['left', 'right'\]; received 1"):
        model(a)
    with pytest.raises(ValueError, match=r"named \['left', 'right'\]; received \['left', 'up'\]"):
        model({"left": a, "up": b})
    with pytest.raises(ValueError, match=r"expects samples of shape .*received \[\(4,\), \(5,\)\]"):
        model([a, nnfast.Input((5,))])
    with pytest.raises(ValueError, match="Layer 'd' expects 1 input; received 2"):
        layers.Dense(2, name="d")([a, b])
    with pytest.raises(ValueError, match="training must be None or False"):
        layers.Dropout(0.5)(a, training=True)


def test_a_layer_cannot_have_weights_for_two_shapes() -> None:
    layer = layers.Dense(3, name="layer")
    y = layer(nnfast.Input((4,)))
    with pytest.raises(ValueError, match=r"'layer' has weights of shapes \[\(4, 3\), .*\(5,\)"):
        layer(nnfast.Input((5,)))
    del y  # nothing refers to the first call any more
    assert layer(nnfast.Input((5,))).shape == (None, 3)
    trained = functional()
    with pytest.raises(ValueError, match="'hidden' has weights of shapes"):
        trained.get_layer("hidden")(nnfast.Input((7,)))
    assert layers.Activation("tanh")(nnfast.Input((4,))).shape == (None, 4)


def test_an_uncalled_layer_has_no_output() -> None:
    with pytest.raises(AttributeError, match="'d' has no output yet: call it, or build its model"):
        _ = layers.Dense(1, name="d").output


def test_a_sequential_refuses_models_with_several_outputs() -> None:
    x = nnfast.Input((4,))
    with pytest.raises(ValueError, match="must have one output; 'two' has 2"):
        Sequential([Model(x, [x, -x], name="two")])


def edited(**changes: Any) -> dict[str, Any]:
    config = copy.deepcopy(functional().get_config())
    by_name = {entry["name"]: entry for entry in config["layers"]}
    for name, inputs in changes.items():
        by_name[name]["inbound_nodes"] = [{"inputs": inputs}]
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (edited(hidden=[["out", 0, 0]]), r"a cycle, .*\['drop', 'hidden', 'out'\]"),
        (edited(hidden=[["nobody", 0, 0]]), "inputs of some layers are missing"),
        (edited(hidden=[["x", 0, 1]]), r"no output \['x', 0, 1\]"),
        (edited(hidden=[["x", 0]]), "described by the name of a layer"),
        (edited(hidden=[]), "has no inputs"),
        (edited() | {"output_layers": ["x", 1, 0]}, r"no output \['x', 1, 0\]"),
        (edited() | {"layers": edited()["layers"] * 2}, "used twice"),
        ({"name": "a"}, "config must be a dict with name, dtype, layers"),
    ],
)
def test_edited_configurations_are_refused(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Model.from_config(config)


def test_a_file_cannot_demand_more_memory_than_its_size(tmp_path: Path) -> None:
    """Weights are checked before the model, or a model within it, allocates them."""
    model = Sequential([functional(), layers.Dense(1, name="last")])
    model.save(tmp_path / "model")
    data = (tmp_path / "model").read_bytes()
    assert data.count(b'units\\": 6') == 1
    (tmp_path / "big").write_bytes(data.replace(b'units\\": 6', b'units\\": 9'))
    with pytest.raises(ValueError, match=f"array layers/{model.layers[0].name}/hidden/kernel"):
        load_model(tmp_path / "big")


def test_models_are_exported() -> None:
    assert nnfast.Model is models.Model is nnfast.keras.Model is nnfast.keras.models.Model
    assert isinstance(nnfast.Input((2,)), nnfast.keras.KerasTensor)

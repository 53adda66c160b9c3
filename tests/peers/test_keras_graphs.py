"""Functional models have the layers, shapes, names and results of Keras."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast._plan.symbolic import leaves

pytestmark = pytest.mark.peers

X = np.random.default_rng(0).normal(size=(48, 6))
Y = np.tanh(X[:, :2])


def residual(k: Any) -> Any:
    x = k.Input((6,), name="x")
    h = k.layers.Dense(6, activation="relu", name="d1")(x)
    h = k.layers.Add(name="sum1")([x, h])
    g = k.layers.Dense(6, name="d2")(h)
    return k.Model(x, k.layers.Dense(2, name="out")(k.layers.add([h, g], name="sum2")))


def wide_and_deep(k: Any) -> Any:
    wide, deep = k.Input((3,), name="wide"), k.Input((6,), name="deep")
    h = k.layers.Dense(5, name="h1")(deep)
    h = k.layers.Dense(4, name="h2")(h)
    h = k.layers.Concatenate(name="both")([wide, h])
    return k.Model(
        [wide, deep], [k.layers.Dense(1, name="main")(h), k.layers.Dense(1, name="aux")(h)]
    )


def siamese(k: Any) -> Any:
    encoder = k.Sequential([k.layers.Dense(4, name="encode")], name="encoder")
    a, b = k.Input((6,), name="a"), k.Input((6,), name="b")
    product = k.layers.Dot(axes=1, normalize=True, name="cosine")([encoder(a), encoder(b)])
    return k.Model({"p": b, "o": a}, product)


def inception(k: Any) -> Any:
    x = k.Input((8, 8, 3), name="image")
    a = k.layers.Conv2D(4, 1, name="a1")(x)
    b = k.layers.Conv2D(4, 3, padding="same", name="b2")(k.layers.Conv2D(2, 1, name="b1")(x))
    c = k.layers.MaxPooling2D(3, strides=1, padding="same", name="pool")(x)
    h = k.layers.concatenate([a, b, c], axis=3, name="blocks")
    h = k.layers.GlobalAveragePooling2D(name="mean")(h)
    return k.Model(x, k.layers.Dense(2, name="out")(h))


def shared_twice(k: Any) -> Any:
    x = k.Input((6,), name="x")
    layer = k.layers.Dense(6, name="again")
    return k.Model(x, k.layers.average([layer(layer(x)), x], name="mean"))


def two_outputs(k: Any) -> Any:
    x = k.Input((6,), name="x")
    inner = k.Model(
        x, [k.layers.Dense(3, name="i1")(x), k.layers.Dense(3, name="i2")(x)], name="in"
    )
    y = k.Input((6,), name="y")
    return k.Model(y, k.layers.subtract(list(inner(y)), name="out"))


def autoencoder(k: Any) -> Any:
    x = k.Input((6,), name="x")
    encoder = k.Model(x, k.layers.Dense(3, activation="tanh", name="code")(x), name="encoder")
    z = k.Input((3,), name="z")
    decoder = k.Model(z, k.layers.Dense(2, name="decode")(z), name="decoder")
    y = k.Input((6,), name="y")
    return k.Model(y, decoder(encoder(y)), name="auto")


def base_and_head(k: Any) -> Any:
    base = k.Sequential(
        [k.Input((6,)), k.layers.Dense(5, activation="relu", name="b")], name="base"
    )
    base.trainable = False
    x = k.Input((6,), name="x")
    return k.Model(x, k.layers.Dense(2, name="head")(base(x, training=False)))


def nested_sequentials(k: Any) -> Any:
    inner = k.Sequential([k.layers.Dense(5, activation="tanh", name="a")], name="inner")
    return k.Sequential([k.Input((6,)), inner, k.layers.Dense(2, name="b")])


def middle(k: Any) -> Any:
    whole = k.Sequential([k.Input((6,)), k.layers.Dense(2, name="a"), k.layers.Activation("tanh")])
    return k.Model(whole.inputs, whole.get_layer("a").output)


def scaled(k: Any) -> Any:
    x = k.Input((6,), name="x")
    return k.Model(x, k.layers.Dense(2, name="out")(1.0 - 2.0 * k.layers.Dense(3, name="h")(x)))


CHAINS: list[Callable[[Any], Any]] = [
    *(autoencoder, base_and_head, nested_sequentials, middle, scaled),
]
GRAPHS: list[Callable[[Any], Any]] = [
    *(residual, wide_and_deep, siamese, inception, shared_twice, two_outputs),
]


def structure(model: Any) -> list[Any]:
    return [
        (layer.name, type(layer).__name__.replace("Model", "Functional")) for layer in model.layers
    ]


def shapes(value: Any) -> list[Any]:
    return [tuple(shape) for shape in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize("make", [*GRAPHS, *CHAINS[:3]])
def test_layers_shapes_and_names_are_those_of_keras(make: Any, keras: Any) -> None:
    own, other = make(nnfast.keras), make(keras)
    assert [n for n in structure(own) if n[1] != "InputLayer"] == [
        n for n in structure(other) if n[1] != "InputLayer"
    ]
    assert [layer.name for layer in own.layers] == [layer.name for layer in other.layers]
    assert shapes(own.output_shape) == shapes(other.output_shape)
    assert [x.shape for x in own.inputs] == [x.shape for x in other.inputs]
    if isinstance(own, nnfast.Model) and not isinstance(own, nnfast.Sequential):
        assert own.output_names == other.output_names
        assert [x.name for x in own.inputs] == [x.name for x in other.inputs]
    assert own.count_params() == other.count_params()


def cells(text: str) -> list[list[str]]:
    """Return the rows of the table that Keras prints."""
    rows = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("make", GRAPHS)
def test_summaries_connect_layers_as_in_keras(
    make: Any, expand: bool, keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")  # otherwise Keras breaks the lines
    printed: list[str] = []
    own: list[str] = []
    other = make(keras)
    other.summary(
        line_length=200, print_fn=lambda text, **_: printed.append(text), expand_nested=expand
    )
    make(nnfast.keras).summary(print_fn=own.append, expand_nested=expand)
    rows = [re.split(r"\s{2,}", line.strip()) for line in own[3:-2]]
    theirs = cells("\n".join(printed))
    assert len(rows) == len(theirs)
    for row, expected in zip(rows, theirs, strict=True):
        assert [row[0].replace("Model", "Functional"), row[2]] == [expected[0], expected[2]]
        if not row[0].startswith("└"):  # the input of a Sequential has another name
            assert row[3] == expected[3]


@pytest.mark.parametrize("make", [*GRAPHS, *CHAINS])
def test_configurations_connect_layers_as_in_keras(make: Any, keras: Any) -> None:
    own, other = make(nnfast.keras), make(keras)
    if isinstance(own, nnfast.Sequential):
        return
    again = type(own).from_config(own.get_config())
    assert again.get_config() == own.get_config()
    mine, theirs = own.get_config(), other.get_config()
    if make is not middle:  # Keras gives inputs in the middle other names
        assert mine["input_layers"] == theirs["input_layers"]
    if make is not scaled:  # the operators of Keras are not among its layers
        assert [entry["name"] for entry in mine["layers"]][1:] == [
            entry["name"] for entry in theirs["layers"]
        ][1:]
        assert leaves(mine["output_layers"])[::3] == leaves(theirs["output_layers"])[::3]


def halves(k: Any) -> Any:
    """Two halves of a row, in one encoder."""
    x = k.Input((6,))
    encoder = k.Sequential([k.layers.Dense(4, activation="tanh"), k.layers.Dense(3)])
    a, b = encoder(x[:, :3]), encoder(x[:, 3:])
    joined = k.layers.concatenate([k.layers.subtract([a, b]), k.layers.multiply([a, b])])
    return k.Model(x, k.layers.Dense(2, activation="sigmoid")(joined))


def operators(k: Any) -> Any:
    x = k.Input((6,))
    h = k.layers.Dense(5, activation="softplus")(x)
    g = 2 / (1 + h) - h**2 + 0.5 * k.layers.Dense(5)(x)
    peak = k.layers.maximum([h, g, k.layers.minimum([-g, 1 - h])])
    cosine = k.layers.dot([h, g], axes=1, normalize=True)
    return k.Model(x, k.layers.concatenate([peak / (1 + h), cosine * g]))


def residual_images(k: Any) -> Any:
    x = k.Input((8, 8, 3))
    h = k.layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    for _ in range(2):
        g = k.layers.Conv2D(4, 3, padding="same")(k.layers.BatchNormalization()(h))
        g = k.layers.Conv2D(4, 3, padding="same")(k.layers.Activation("relu")(g))
        h = k.layers.Activation("relu")(k.layers.add([h, g]))
    scale = k.layers.Dense(4, activation="sigmoid")(k.layers.GlobalAveragePooling2D()(h))
    h = k.layers.multiply([h, k.layers.Reshape((1, 1, 4))(scale)])
    return k.Model(x, k.layers.Dense(2)(k.layers.Flatten()(h)))


def frozen_base(k: Any) -> Any:
    x = k.Input((6,))
    h = k.layers.Dense(4, activation="relu")(x)
    base = k.Model(x, k.layers.concatenate([h, k.layers.BatchNormalization()(h)]))
    base.trainable = False
    y = k.Input((6,))
    return k.Model(y, k.layers.Dense(2)(base(y, training=False)))


def steps(k: Any) -> Any:
    """Layers on the last axis, with a residual connection and a sum over the steps."""
    x = k.Input((5, 6))
    h = k.layers.Dense(6, activation="relu")(x)
    h = k.layers.LayerNormalization(epsilon=1e-3)(k.layers.add([x, h]))
    gate = k.layers.Dense(16, activation="softmax")(h)
    h = k.layers.multiply([k.layers.Dense(16, activation="tanh")(h), gate])
    h = k.layers.BatchNormalization()(k.layers.Reshape((10, 8))(h))
    return k.Model(x, k.layers.Dense(2)(k.layers.Flatten()(k.layers.Activation("softmax")(h))))


def pixels(k: Any) -> Any:
    x = k.Input((6, 6, 2))
    h = k.layers.Conv2D(3, 3, activation="softmax")(x)
    h = k.layers.Dense(4, activation="gelu")(h)
    return k.Model(x, k.layers.SeparableConv2D(16, 3, activation="softmax")(h))


CONSTANT = np.linspace(0.5, 2.0, 12).reshape(3, 4)


def constants(k: Any) -> Any:
    """Arrays as right operands: NumPy does not leave left ones to Keras."""
    x = k.Input((3, 4))
    h = k.layers.Dense(4, activation="tanh")(x / CONSTANT + CONSTANT)
    h = h * CONSTANT[None] - CONSTANT[:, :1] + CONSTANT[0]
    return k.Model(x, k.layers.Dense(2)((h**2 + 0.5) ** CONSTANT))


TRAINED = [
    *(residual, inception, shared_twice, halves, operators, residual_images, frozen_base),
    *(steps, pixels, constants),
]


@pytest.mark.parametrize("make", [*CHAINS, *TRAINED])
def test_models_train_as_in_keras(make: Any, keras64: Any) -> None:
    own, other = make(nnfast.keras), make(keras64)
    assert [w.shape for w in own.get_weights()] == [w.shape for w in other.get_weights()]
    rng = np.random.default_rng(0)
    other.set_weights(own.get_weights())
    X = rng.normal(size=(48, *own.input_shape[1:]))
    Y = np.tanh(rng.normal(size=(48, *own.output_shape[1:])))
    results = []
    for package, model in ((nnfast.keras, own), (keras64, other)):
        model.compile(package.optimizers.Adam(0.01), "mse")
        history = model.fit(X, Y, batch_size=16, epochs=3, shuffle=False, verbose=0)
        results.append((history.history["loss"], model.predict(X, verbose=0)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-7)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-7, atol=1e-7)
    for a, b in zip(own.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)
    names = ("trainable_weights", "non_trainable_weights")
    for name in names:
        assert len(getattr(own, name)) == len(getattr(other, name))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda k: k.layers.add([k.Input((3,)), k.Input((4,))]),
        lambda k: k.layers.subtract([k.Input((3,))] * 3),
        lambda k: k.layers.Add()(k.Input((3,))),
        lambda k: k.layers.concatenate([k.Input((2, 3)), k.Input((3, 3))]),
        lambda k: k.layers.dot([k.Input((3,)), k.Input((4,))], axes=1),
        lambda k: k.layers.Dot((1, 2, 3)),
        lambda k: k.layers.Dense(2)([k.Input((3,)), k.Input((3,))]),
        lambda k: k.Model(k.Input((3,)), k.layers.Dense(2)(k.Input((3,)))),
        lambda k: k.Model(
            x := k.Input((3,)), k.layers.Dense(2, name="n")(k.layers.Dense(2, name="n")(x))
        ),
        lambda k: (d := k.layers.Dense(2)) and (d(k.Input((3,))), d(k.Input((4,)))),
        lambda k: residual(k)([k.Input((6,))] * 2),
        lambda k: residual(k)(k.Input((7,))),
        lambda k: siamese(k)({"p": k.Input((6,)), "q": k.Input((6,))}),
        lambda k: residual(k).get_layer("nobody"),
        lambda k: k.Input((3,))[:, 3],
    ],
)
def test_keras_refuses_the_same_graphs(wrong: Any, keras: Any) -> None:
    held = []  # nnfast forgets calls that nothing refers to
    for package in (nnfast.keras, keras):
        with pytest.raises(ValueError):
            held.append(wrong(package))


# ---- several inputs and outputs ------------------------------------------------------------------

SPARSE = "sparse_categorical_crossentropy"


def two_losses(k: Any) -> Any:
    """A regression and a classification of two inputs."""
    a, b = k.Input((3,), name="a"), k.Input((4, 4, 1), name="b")
    h = k.layers.Dense(8, activation="tanh")(a)
    g = k.layers.Flatten()(k.layers.Conv2D(3, 3, activation="relu")(b))
    h = k.layers.concatenate([h, k.layers.Dense(6, kernel_regularizer="l2")(g)])
    value = k.layers.Dense(1, name="value")(h)
    return k.Model([a, b], [value, k.layers.Dense(3, activation="softmax", name="kind")(h)])


def dict_outputs(k: Any) -> Any:
    x = k.Input((6,), name="x")
    h = k.layers.Dense(7, activation="relu", name="h")(x)
    return k.Model(
        x,
        {
            "z": k.layers.Dense(2, name="o1")(h),
            "p": k.layers.Dense(1, activation="sigmoid", name="o2")(h),
            "q": k.layers.Dense(3, activation="softmax", name="o3")(h),
        },
    )


def nested_outputs(k: Any) -> Any:
    x = k.Input((6,), name="x")
    h = k.layers.Dense(7, activation="relu", name="h")(x)
    parts = {"u": k.layers.Dense(2, name="e2")(h), "v": k.layers.Dense(1, name="e3")(h)}
    return k.Model(x, [k.layers.Dense(2, name="e1")(h), parts])


RNG = np.random.default_rng(1)
A, B = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 4, 4, 1))
C = RNG.normal(size=(50, 6))
V, K, P = RNG.normal(size=(50, 1)), RNG.integers(0, 3, 50), RNG.integers(0, 2, (50, 1))
W1, W2 = RNG.uniform(0.5, 2, (2, 50))
PAIRS = np.concatenate([V, RNG.normal(size=(50, 1))], axis=1)
DICT = {"z": PAIRS, "p": P, "q": K}

T, TK = RNG.normal(size=(50, 5, 4)), RNG.integers(0, 3, (50, 5))


def tags(k: Any) -> Any:
    """A class for each step."""
    x = k.Input((5, 4), name="x")
    h = k.layers.Dense(8, activation="tanh", name="h")(x)
    return k.Model(x, k.layers.Dense(3, activation="softmax", name="tag")(h))


def two_tags(k: Any) -> Any:
    """Logits for each step and a value for each sample."""
    x = k.Input((5, 4), name="x")
    h = k.layers.Dense(8, activation="tanh", name="h")(x)
    value = k.layers.Dense(1, name="value")(k.layers.Flatten(name="flat")(h))
    return k.Model(x, [k.layers.Dense(3, activation="sigmoid", name="tag")(h), value])


# A model, x, y, the arguments of `compile`, and those of `fit`.
SEVERAL: dict[str, tuple[Any, Any, Any, dict[str, Any], dict[str, Any]]] = {
    "wide and deep": (
        wide_and_deep,
        [A, C],
        [V, 2 * V],
        {
            "loss": ["mse", "mse"],
            "loss_weights": [1.0, 0.3],
            "metrics": ["mae", "mse"],
            "weighted_metrics": [None, ["mae"]],
        },
        {"sample_weight": W1},
    ),
    "wide and deep, dicts": (
        wide_and_deep,
        {"deep": C, "wide": A},
        {"aux": 2 * V, "main": V},
        {
            "loss": {"aux": "mae", "main": "huber"},
            "loss_weights": {"aux": 0.2, "main": 1.5},
            "metrics": {"main": ["mae", "mse", "mae"]},
            "weighted_metrics": {"main": ["mae"], "aux": ["mse"]},
        },
        {},
    ),
    "one loss for all": (wide_and_deep, [A, C], [V, 2 * V], {"loss": "mse"}, {}),
    "two losses": (
        two_losses,
        (A, B),
        [V, K],
        {"loss": ["mse", SPARSE], "metrics": [["mae"], ["accuracy"]]},
        {"sample_weight": [W1, W2], "validation_split": 0.2},
    ),
    "no loss": (
        two_losses,
        [A, B],
        [V, K],
        {"loss": [None, SPARSE], "metrics": [["mae"], ["accuracy"]]},
        {},
    ),
    "dict": (
        dict_outputs,
        C,
        DICT,
        {
            "loss": {"p": "binary_crossentropy", "q": SPARSE, "z": "mse"},
            "loss_weights": {"p": 0.5, "q": 2.0, "z": 1.0},
            "metrics": {"q": ["accuracy"], "p": ["accuracy", "AUC"]},
        },
        {"validation_data": (C[:20], {name: y[:20] for name, y in DICT.items()})},
    ),
    "nested": (
        nested_outputs,
        C,
        [PAIRS, {"u": 2 * PAIRS, "v": V}],
        {"loss": ["mse", {"u": "mae", "v": "mse"}]},
        {},
    ),
    "siamese": (siamese, {"o": A @ A.T[:3, :6], "p": C}, V, {"loss": "mse"}, {}),
    "tags": (
        tags,
        T,
        TK,
        {"loss": SPARSE, "weighted_metrics": ["accuracy"]},
        {"sample_weight": W1[:, None], "validation_split": 0.2},
    ),
    "one-hot tags": (
        tags,
        T,
        np.eye(3)[TK],
        {
            "loss": "categorical_crossentropy",
            "metrics": ["accuracy", "categorical_crossentropy"],
        },
        {},
    ),
    "tags and values": (
        two_tags,
        T,
        [np.eye(3)[TK], V],
        {
            "loss": ["categorical_crossentropy", "mse"],
            "loss_weights": [0.5, 2.0],
            "metrics": [["accuracy", "mae"], ["mae"]],
        },
        {"sample_weight": [W1[:, None], W2]},
    ),
    "weight of one loss": (residual, C, PAIRS, {"loss": "mse", "loss_weights": 0.3}, {}),
}


def flat(value: Any) -> list[Any]:
    return leaves(value) if isinstance(value, (list, tuple, dict)) else [value]


@pytest.mark.parametrize("name", SEVERAL)
def test_models_with_several_ends_train_as_in_keras(name: str, keras64: Any) -> None:
    make, x, y, compiled, options = SEVERAL[name]
    own, other = make(nnfast.keras), make(keras64)
    other.set_weights(own.get_weights())
    results = []
    for package, model in ((nnfast.keras, own), (keras64, other)):
        model.compile(package.optimizers.Adam(0.01), **compiled)
        history = model.fit(
            x, y, batch_size=16, epochs=3, shuffle=False, verbose=0, **options
        ).history
        values = model.evaluate(x, y, batch_size=50, verbose=0)
        named = model.evaluate(x, y, batch_size=50, verbose=0, return_dict=True)
        results.append((history, values, named, model.predict(x, verbose=0)))
    (mine, values, named, outputs), (theirs, *expected) = results
    assert set(mine) == set(theirs)
    assert set(named) == set(expected[1])
    for key, losses in theirs.items():
        np.testing.assert_allclose(mine[key], losses, rtol=1e-7, err_msg=key)
    np.testing.assert_allclose(values, expected[0], rtol=1e-7)
    assert type(outputs) is type(expected[2])
    for a, b in zip(flat(outputs), flat(expected[2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)
    for a, b in zip(own.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)

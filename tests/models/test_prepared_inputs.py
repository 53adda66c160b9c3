"""Models whose first layers Python computes: text, integers and bins become the engine's arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import nnfast.keras
from nnfast import layers, models

COLORS = ["red", "green", "blue"]
RNG = np.random.default_rng(0)
X: dict[str, Any] = {
    "color": RNG.choice([*COLORS, "pink"], 40),
    "age": RNG.normal(size=(40, 2)),
    "code": RNG.integers(5, 9, (40, 3)),
}
Y = RNG.normal(size=40)


def table_model(dtype: str | None = None) -> nnfast.Model:
    """Return a model with text, numbers that are read twice, and integers."""
    color = nnfast.Input((1,), dtype="string", name="color")
    age = nnfast.Input((2,), name="age", dtype=dtype)
    code = nnfast.Input((3,), dtype="int64", name="code")
    bins = layers.Discretization([-0.5, 0.5])(age)
    codes = layers.IntegerLookup(output_mode="count", dtype=dtype)
    codes.adapt(X["code"][:20])
    parts = [
        layers.StringLookup(vocabulary=COLORS, output_mode="one_hot", dtype=dtype)(color),
        age,
        layers.Flatten()(layers.CategoryEncoding(3, "one_hot", dtype=dtype)(bins)),
        codes(code),
    ]
    h = layers.concatenate(parts)
    return nnfast.Model([color, age, code], layers.Dense(1, dtype=dtype)(h), name="table")


def encoded(x: dict[str, Any]) -> Any:
    """Return what the last layer of `table_model` reads, computed in NumPy."""
    color = np.array([[c == known for known in ["none", *COLORS]] for c in np.ravel(x["color"])])
    color[:, 0] = ~color.any(axis=1)
    bins = np.eye(3)[np.digitize(x["age"], [-0.5, 0.5])].reshape(-1, 6)
    known = set(X["code"][:20].ravel())
    order = sorted(known, key=lambda code: (-(X["code"][:20] == code).sum(), -code))
    counts = [[sum(row == code) for code in order] for row in x["code"]]
    unknown = [[sum(code not in known for code in row)] for row in x["code"]]
    return np.concatenate([color, x["age"], bins, unknown, counts], axis=1)


def test_models_see_the_prepared_arrays() -> None:
    model = table_model("float64")
    kernel, bias = (w.numpy() for w in model.weights)
    np.testing.assert_allclose(model.predict(X), encoded(X) @ kernel + bias, rtol=1e-12)
    assert [layer.name for layer in model.layers if not layer.weights][:2]
    assert model.count_params() == kernel.size + 1
    assert model.input_shape == [(None, 1), (None, 2), (None, 3)]


def test_every_way_of_passing_data_agrees() -> None:
    model = table_model()
    expected = model.predict(X)
    rows = [X[name] for name in ("color", "age", "code")]
    assert_array_equal(model(rows), expected)
    assert_array_equal(model.predict(X | {"color": X["color"].astype("S")}), expected)
    assert_array_equal(model.predict(X | {"color": X["color"][:, None].tolist()}), expected)
    assert_array_equal(model.predict(X | {"color": X["color"].astype(object)}), expected)
    parts = ({name: x[i : i + 16] for name, x in X.items()} for i in range(0, 40, 16))
    assert_array_equal(model.predict(parts), expected)
    assert_array_equal(model.predict(X, steps=2, batch_size=10), expected[:20])
    assert_array_equal(model.predict_on_batch(X), expected)


def batches(size: int) -> Iterator[Any]:
    for i in range(0, 40, size):
        yield {name: x[i : i + size] for name, x in X.items()}, Y[i : i + size]


def test_models_are_trained_and_evaluated() -> None:
    trained = []
    for stream in (False, True):
        nnfast.set_seed(1)
        model = table_model()
        model.compile(nnfast.optimizers.Adam(0.1), "mse", metrics=["mae"])
        before = model.evaluate(X, Y, verbose=0)
        if stream:
            for _ in range(20):
                model.fit(batches(10), verbose=0)
        else:
            model.fit(X, Y, 10, 20, validation_split=0.0, verbose=0, shuffle=False)
        after = model.evaluate(X, Y, verbose=0)
        assert after[0] < before[0] / 2
        assert after == model.evaluate(batches(40), verbose=0)
        trained.append(model.get_weights())
        model.train_on_batch(X, Y)
        model.fit(X, Y, validation_split=0.25, validation_data=(X, Y), verbose=0)
    for one, other in zip(*trained, strict=True):
        assert_array_equal(one, other)


def test_models_are_saved_and_copied(tmp_path: Path) -> None:
    model = table_model()
    expected = model.predict(X)
    model.compile("adam", "mse")
    model.save(tmp_path / "model.safetensors")
    loaded = nnfast.load_model(tmp_path / "model.safetensors")
    clone = models.clone_model(model)
    clone.set_weights(model.get_weights())
    twin = models.model_from_json(model.to_json())
    twin.set_weights(model.get_weights())
    for copy in (loaded, clone, twin):
        assert_array_equal(copy.predict(X), expected)
        assert copy.get_config() == model.get_config()
    codes = next(layer for layer in loaded.layers if isinstance(layer, layers.IntegerLookup))
    codes.adapt(X["code"][:20])


@pytest.mark.parametrize("declared", [True, False])
def test_a_sequential_begins_with_text(declared: bool, tmp_path: Path) -> None:
    stack: list[Any] = [
        layers.StringLookup(vocabulary=COLORS, output_mode="multi_hot"),
        layers.Dense(2),
    ]
    if declared:
        stack.insert(0, layers.Input((2,), dtype="string"))
    model = nnfast.Sequential(stack, dtype="float64")
    x = np.array([["red", "blue"], ["pink", "red"], ["blue", "blue"]])
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((3, 2)), verbose=0)
    kernel, bias = (w.numpy() for w in model.weights)
    hot = np.array([[0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(model.predict(x), hot @ kernel + bias, rtol=1e-12)
    model.save(tmp_path / "model")
    clone = models.clone_model(model)
    clone.set_weights(model.get_weights())
    for copy in (nnfast.load_model(tmp_path / "model"), clone):
        assert_array_equal(copy.predict(x), model.predict(x))
    built = nnfast.Sequential(
        [layers.StringLookup(vocabulary=COLORS, input_shape=(2,)), layers.Dense(1)]
    )
    assert built.input.dtype == "string"


def test_a_model_that_prepares_data_is_part_of_another() -> None:
    text = nnfast.Input((1,), dtype="string", name="text")
    number = nnfast.Input((1,), name="number")
    lookup = layers.StringLookup(vocabulary=COLORS, output_mode="one_hot")
    preparing = nnfast.Model([text, number], layers.concatenate([lookup(text), number]))
    head = nnfast.Sequential([layers.Input((5,)), layers.Dense(1)])
    texts, numbers = nnfast.Input((1,), dtype="string"), nnfast.Input((1,))
    model = nnfast.Model([texts, numbers], head(preparing([texts, numbers])))
    x = [X["color"], X["age"][:, 0]]
    assert_array_equal(model.predict(x), head.predict(preparing.predict(x)))


def test_outputs_may_be_prepared_arrays() -> None:
    text = nnfast.Input((1,), dtype="string")
    lookup = layers.StringLookup(vocabulary=COLORS)
    assert_array_equal(
        nnfast.Model(text, lookup(text)).predict(X["color"]), lookup(X["color"][:, None])
    )


def test_a_vocabulary_may_change_as_long_as_indices_are_the_output() -> None:
    lookup = layers.StringLookup(vocabulary=["red"])
    model = nnfast.Sequential([layers.Input((1,), dtype="string"), lookup, layers.Rescaling(1.0)])
    assert model.predict(["blue"]).tolist() == [[0]]
    lookup.set_vocabulary(COLORS)
    assert model.predict(["blue"]).tolist() == [[3]]


def raises(message: str) -> Any:
    return pytest.raises((TypeError, ValueError), match=message)


def test_a_data_set_of_text_is_prepared() -> None:
    """As in programs for tf.keras, the vocabulary is made from a data set of the same text."""
    tf = nnfast.keras.tf
    rows = {"color": X["color"], "age": X["age"][:, 0]}
    data = tf.data.Dataset.from_tensor_slices((rows, Y)).batch(8)
    color = nnfast.keras.Input((1,), dtype=tf.string, name="color")
    age = nnfast.keras.Input((1,), name="age")
    lookup = layers.StringLookup(output_mode="binary")
    lookup.adapt(data.map(lambda x, y: x["color"]))
    assert sorted(lookup.get_vocabulary()[1:]) == sorted([*COLORS, "pink"])
    h = layers.concatenate([lookup(color), age])
    model = nnfast.keras.Model([color, age], layers.Dense(1)(h))
    model.compile("adam", "mse")
    model.fit(data, epochs=2, verbose=0)
    assert_array_equal(model.predict(data), model.predict(rows))
    mapped = next(iter(data.map(lambda x, y: (lookup(x["color"][:, None]), y))))
    assert_array_equal(mapped[0], lookup(X["color"][:8, None]))


class Pairs(nnfast.keras.utils.PyDataset):
    """Batches of text or numbers, and of targets that are not in any of them."""

    def __init__(self, x: Any) -> None:
        super().__init__()
        self.x = x

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return self.x[index : index + 1], np.array([7.0])


def test_targets_of_batches_are_no_data() -> None:
    tf = nnfast.keras.tf
    for make, x in (
        (layers.StringLookup, np.array([["a"], ["b"]])),
        (layers.IntegerLookup, np.array([[3], [5]])),
        (lambda: layers.Discretization(num_bins=2), np.array([[1.0], [2.0]])),
    ):
        expected = make()
        expected.adapt(iter([x[:1], x[1:]]))
        for data in (
            tf.data.Dataset.from_tensor_slices((x, np.array([7, 8]))).batch(1),
            Pairs(x),
            ((x[i : i + 1], [7], [0.5]) for i in range(2)),
        ):
            layer = make()
            layer.adapt(data)
            assert layer.get_config() | {"name": ""} == expected.get_config() | {"name": ""}


def test_layers_that_prepare_data_come_first() -> None:
    with raises("Layer 'mine' prepares data, so it must come first"):
        nnfast.Sequential(
            [layers.Input((2,)), layers.Dense(2), layers.Discretization([0.0], name="mine")]
        )
    x = nnfast.Input((2,))
    with raises("'mine' prepares data"):
        nnfast.Model(x, layers.CategoryEncoding(3, name="mine")(layers.Reshape((2,))(x)))


def in_a_sequential(layer: Any) -> nnfast.Sequential:
    return nnfast.Sequential([layers.Input((1,), dtype="int64"), layer, layers.Rescaling(1.0)])


def test_text_never_reaches_the_engine() -> None:
    text = nnfast.Input((1,), dtype="string")
    with raises("dtype 'string' holds text, which only StringLookup and TextVec"):
        nnfast.Model(text, layers.Dense(1)(text))
    with raises("dtype 'string' holds text"):
        nnfast.Sequential([layers.Input((1,), dtype="string"), layers.Dense(1)])
    with raises("StringLookup layer 'mine' expects text.*'float32'.*dtype='string'"):
        layers.StringLookup(name="mine")(nnfast.Input((1,)))
    with raises("IntegerLookup layer 'mine' expects numbers.*'string'"):
        layers.IntegerLookup(name="mine")(text)
    for lookup in (layers.StringLookup, layers.IntegerLookup):
        for first in (lambda layer: layer(nnfast.Input((1,), dtype="int64")), in_a_sequential):
            with raises("'mine' with invert=True cannot be part of a model, whose outputs are"):
                first(lookup(invert=True, name="mine"))


def test_wrong_data_are_named() -> None:
    model = table_model()
    model.compile("sgd", "mse")
    for part, message in (
        ({"color": np.ones(40)}, r"x\['color'\] must hold text"),
        ({"color": np.array([["red", "red"]] * 40)}, r"x\['color'\] .*\(n, 1\).*\(40, 2\)"),
        ({"color": X["color"][:39]}, r"x\['(age|color)'\] must have \d+ rows"),
        ({"code": X["code"] + 0.5}, r"x\['code'\] must hold integers"),
        ({"age": X["age"][:, :1]}, r"x\['age'\] .*\(n, 2\).*\(40, 1\)"),
    ):
        for call in (model.predict, lambda x: model.fit(x, Y, verbose=0)):
            with raises(message):
                call(X | part)
    pairs = nnfast.Sequential([layers.StringLookup(vocabulary=COLORS), layers.Rescaling(1.0)])
    with raises("x must hold text; received 2.5"):
        pairs.predict([["red", "blue"], ["red", 2.5]])
    lookup = layers.StringLookup(vocabulary=COLORS, output_mode="multi_hot")
    one = nnfast.Sequential([lookup, layers.Dense(1)])
    with raises("input_gradient needs a model without layers that prepare data"):
        one.input_gradient(np.array([["red"]]))
    with raises("train_on_gradient needs a model with one input"):
        model.train_on_gradient(X, np.ones((40, 1)))

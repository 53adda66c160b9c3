"""Embeddings train like Dense layers on one-hot inputs, with any options, and refuse wrong ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import constraints, layers, optimizers, regularizers
from nnfast._engine import force_threads

Array = NDArray[Any]

ROWS = 13  # of the tables below, whose vectors have WIDTH elements unless a test varies it
WIDTH = 5


def ids(rows: int, *shape: int, n: int = ROWS) -> Array:
    """Return ids that are distributed unevenly; the last one does not occur."""
    return (n - 1) * np.random.default_rng(rows).random((rows, *shape)) ** 2 // 1


def lookup(x: Any, one_hot: bool, n: int = ROWS, width: int = WIDTH, **options: Any) -> Any:
    """Return a layer, and its output for ids, or for one-hot vectors in their place."""
    if not one_hot:
        layer = layers.Embedding(n, width, **{f"embeddings_{k}": v for k, v in options.items()})
    else:
        options = {f"kernel_{k}": v for k, v in options.items()}
        layer = layers.Dense(width, use_bias=False, **options)
    return layer, layer(x)


def one_hot(x: Array, n: int = ROWS) -> Array:
    return np.eye(n)[x.astype(int)]


@pytest.fixture(autouse=True)
def _any_number_of_threads() -> Iterator[None]:
    yield
    force_threads(0)


Make = Callable[[bool], nnfast.Model]


def plain(tokens: int, width: int = WIDTH, batch_norm: bool = False, **options: Any) -> Make:
    """Return a function that makes a model of one embedding, or of its twin."""

    def make(twin: bool) -> nnfast.Model:
        x = nnfast.Input((tokens, ROWS) if twin else (tokens,), dtype="float64")
        _, h = lookup(x, twin, width=width, **options)
        h = layers.Flatten()(h)
        if batch_norm:
            h = layers.BatchNormalization()(h)
        h = layers.Dense(4, "tanh", kernel_regularizer="l2")(h)
        return nnfast.Model(x, layers.Dense(2)(h))

    return make


def trained(make: Make, twin: bool, x: Any, y: Array, optimizer: Any, **options: Any) -> Any:
    """Return the losses and the weights after some steps from the same initial weights."""
    model = make(twin)
    weights = np.random.default_rng(0)
    model.set_weights([weights.normal(0.3, 0.5, w.shape) for w in model.get_weights()])
    model.compile(optimizer, "mse")
    if twin:
        x = [one_hot(part) for part in x] if isinstance(x, list) else one_hot(x)
    options = {"epochs": 3, "batch_size": 32, "shuffle": False} | options
    history = model.fit(x, y, verbose=0, **options)
    return history.history["loss"], model.get_weights()


def assert_like_twin(make: Make, x: Any, optimizer: Callable[[], Any], **options: Any) -> None:
    rows = len(x[0] if isinstance(x, list) else x)
    y = np.random.default_rng(1).normal(size=(rows, 2))
    found, expected = (trained(make, twin, x, y, optimizer(), **options) for twin in (False, True))
    assert_allclose(found[0], expected[0], rtol=1e-9)
    for own, reference in zip(found[1], expected[1], strict=True):
        assert_allclose(own, reference, rtol=1e-8, atol=1e-10)


def adam() -> Any:
    return optimizers.Adam(0.02)


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "amsgrad": lambda: optimizers.Adam(0.02, amsgrad=True),
    "AdamW": lambda: optimizers.AdamW(0.02, weight_decay=0.1),
    "Nadam": lambda: optimizers.Nadam(0.02),
    "RMSprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "Adagrad": lambda: optimizers.Adagrad(0.05),
    "Adadelta": lambda: optimizers.Adadelta(0.5),
    "Adamax": lambda: optimizers.Adamax(0.02),
    "Lion": lambda: optimizers.Lion(0.002),
    "clipvalue": lambda: optimizers.Adam(0.02, clipvalue=0.003),
    "clipnorm": lambda: optimizers.SGD(0.05, clipnorm=0.05),
    "global_clipnorm": lambda: optimizers.SGD(0.05, global_clipnorm=0.05),
    "average": lambda: optimizers.Adam(
        0.02, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2
    ),
}


# Samples of 40 ids: the batch is divided into micro-batches. Samples of 3 ids: it is not. Then the
# gradient of a table with a width of 16 is dense, because the batch reads most rows of the table.
SIZES = pytest.mark.parametrize(("tokens", "width"), [(3, 5), (40, 5), (3, 16)])


@SIZES
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, tokens: int, width: int) -> None:
    assert_like_twin(plain(tokens, width), ids(45, tokens), OPTIMIZERS[name])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tokens", [2, 33])
@pytest.mark.parametrize(
    "options",
    [
        {"regularizer": regularizers.L1L2(0.01, 0.02)},
        {"constraint": constraints.MaxNorm(0.8, axis=0)},
        {"constraint": constraints.MaxNorm(0.8, axis=1)},
        {"constraint": "non_neg"},
    ],
)
def test_regularizers_and_constraints(options: dict[str, Any], tokens: int, threads: int) -> None:
    force_threads(threads)
    assert_like_twin(plain(tokens, **options), ids(33, tokens), adam)


@pytest.mark.parametrize("width", [1, 7, 8, 16, 19, 33])
@pytest.mark.parametrize("tokens", [1, 34])
def test_widths(width: int, tokens: int) -> None:
    assert_like_twin(plain(tokens, width), ids(41, tokens), adam)


@pytest.mark.parametrize("clip", [{}, {"global_clipnorm": 0.05}])
@pytest.mark.parametrize("threads", [1, 2, 3])
@SIZES
def test_a_batch_that_threads_share(
    tokens: int, width: int, threads: int, clip: dict[str, float]
) -> None:
    force_threads(threads)
    make = plain(tokens, width, batch_norm=True)
    assert_like_twin(make, ids(50, tokens), lambda: optimizers.Adam(0.02, **clip))


@SIZES
@pytest.mark.parametrize("optimizer", ["AdamW", "global_clipnorm"])
def test_a_table_that_several_calls_share(tokens: int, width: int, optimizer: str) -> None:
    def make(twin: bool) -> nnfast.Model:
        shape = (tokens, ROWS) if twin else (tokens,)
        x = [nnfast.Input(shape, dtype="float64") for _ in range(2)]
        layer, first = lookup(x[0], twin, width=width)
        joined = layers.Concatenate()([first, layer(x[1])])
        return nnfast.Model(x, layers.Dense(2)(layers.Flatten()(joined)))

    x = [ids(30, tokens), ROWS - 1 - ids(30, tokens)]
    assert_like_twin(make, x, OPTIMIZERS[optimizer])


@pytest.mark.parametrize("threads", [1, 2])
@SIZES
def test_freezing(tokens: int, width: int, threads: int) -> None:
    force_threads(threads)
    found = []
    for twin in (False, True):
        model = plain(tokens, width)(twin)
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        model.compile(adam(), "mse")
        x, y = ids(40, tokens), rng.normal(size=(40, 2))
        for trainable in (True, False, True):
            model.layers[1].trainable = trainable
            before = model.get_weights()[0]
            rows = one_hot(x) if twin else x
            model.fit(rows, y, epochs=2, shuffle=False, verbose=0)
            assert trainable == (model.get_weights()[0] != before).any()
        found.append(model.get_weights())
    for own, reference in zip(*found, strict=True):
        assert_allclose(own, reference, rtol=1e-8, atol=1e-10)


def test_a_table_that_is_never_trained() -> None:
    layer = layers.Embedding(ROWS, WIDTH, trainable=False)
    model = nnfast.Sequential([nnfast.Input((34,)), layer, layers.Flatten(), layers.Dense(2)])
    model.compile("adam", "mse")
    before = layer.get_weights()
    model.fit(ids(20, 34), np.zeros((20, 2)), verbose=0)
    assert_array_equal(layer.get_weights(), before)
    assert [len(w) for w in (layer.trainable_weights, layer.non_trainable_weights)] == [0, 1]


@pytest.mark.parametrize("threads", [1, 2])
@SIZES
def test_gradients(tokens: int, width: int, threads: int) -> None:
    force_threads(threads)
    x, y = ids(300, tokens), np.random.default_rng(1).normal(size=(300, 2))
    make, found = plain(tokens, width, regularizer="l1"), []
    for twin in (False, True):
        model = make(twin)
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        model.compile("sgd", "mse")
        rows = one_hot(x) if twin else x
        found.append(model.loss_and_grad(rows, y))
        theta = model.get_flat_weights()
        loss, flat = model.loss_and_grad_flat(theta, rows, y)
        assert_allclose(loss, found[-1][0])
        assert_allclose(np.sort(np.concatenate([g.ravel() for g in found[-1][1]])), np.sort(flat))
    assert_allclose(found[0][0], found[1][0])
    for own, reference in zip(found[0][1], found[1][1], strict=True):
        assert_allclose(own, reference, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("rows", [4, 32])
@pytest.mark.parametrize("width", [5, 16])
def test_the_gradients_of_a_batch_without_a_finite_loss_are_dropped(width: int, rows: int) -> None:
    """A batch of 4 sequences is not divided."""
    x, y = ids(rows, 34), np.random.default_rng(1).normal(size=(rows, 34, 100))
    wrong = y.copy()
    wrong[2, 2, 1] = np.inf
    found = []
    for twin in (False, True):
        inputs = nnfast.Input((34, ROWS) if twin else (34,), dtype="float64")
        _, h = lookup(inputs, twin, width=width)
        model = nnfast.Model(inputs, layers.Dense(100)(layers.Dense(100)(h)))
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        model.compile(adam(), "mse")
        batch = one_hot(x) if twin else x
        assert np.isfinite(model.train_on_batch(batch, y))
        with pytest.warns(RuntimeWarning, match="finite"):
            model.train_on_batch(batch, wrong)
        assert np.isfinite(model.train_on_batch(batch, y))
        found.append(model.get_weights())
    for own, reference in zip(*found, strict=True):
        assert_allclose(own, reference, rtol=1e-8, atol=1e-10)


def test_gradients_equal_central_differences() -> None:
    x, y = ids(5, 3, n=4), np.random.default_rng(1).normal(size=(5, 3, 2))
    stack = [nnfast.Input((3,)), layers.Embedding(4, 2, activity_regularizer="l2")]
    model = nnfast.Sequential(stack, dtype="float64")
    model.compile("sgd", "mse")
    (table,) = randomize(model)
    view = model.layers[0].named_weights["embeddings"]
    _, (gradient,) = model.loss_and_grad(x, y)
    (expected,) = differences(lambda: model.evaluate(x, y, verbose=0), [view])
    assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)
    assert_array_equal(view, table)
    assert_array_equal(model.input_gradient(x, y), np.zeros_like(x))


@pytest.mark.parametrize("clip", [{}, {"clipnorm": 0.1}])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("tokens", "width"), [(5, 21), (40, 21), (5, 32)])
def test_weights_do_not_depend_on_the_number_of_threads(
    tokens: int, width: int, batch_norm: bool, clip: dict[str, float]
) -> None:
    x = ids(250, tokens, n=300).astype(np.uint16)
    y = np.random.default_rng(1).normal(size=(250, 2))
    found: list[list[Array]] = []
    for threads in (1, 2, 3, 4, 7):
        force_threads(threads)
        nnfast.set_seed(1)
        stack = [nnfast.Input((tokens,)), layers.Embedding(300, width), layers.Flatten()]
        stack += [layers.BatchNormalization()] if batch_norm else []
        model = nnfast.Sequential([*stack, layers.Dense(20, "relu"), layers.Dense(2)])
        model.compile(optimizers.Adam(0.01, **clip), "mse")
        model.fit(x, y, batch_size=200, epochs=2, verbose=0)
        found.append(model.get_weights())
    for weights in found[1:]:
        for own, first in zip(weights, found[0], strict=True):
            assert_array_equal(own, first)


# ---- ids -----------------------------------------------------------------------------------------


def small(*shape: int, n: int = ROWS, dtype: str = "float32") -> nnfast.Sequential:
    stack = [nnfast.Input(shape), layers.Embedding(n, 3), layers.Flatten(), layers.Dense(2)]
    model = nnfast.Sequential(stack, dtype=dtype)
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("code", "bBhHiIlLqQfde?")
def test_dtypes_of_ids(code: str) -> None:
    model = small(4, 2, n=2 if code == "?" else ROWS)
    x = ids(9, 4, 2, n=2 if code == "?" else ROWS).astype(code)
    table, w, b = model.get_weights()
    expected = table[x.astype(int)].reshape(9, -1) @ w + b
    assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
    assert_array_equal(model(x[:1]), model.predict(x)[:1])
    assert_array_equal(model.predict(x.tolist()), model.predict(x))


@pytest.mark.parametrize(
    ("dtype", "wrong"),
    [
        *[("float32", value) for value in (np.nan, np.inf, -np.inf, -1, 0.5, ROWS, 1e30)],
        *[("float64", value) for value in (np.nan, -1e300, 1e300, ROWS - 1e-9, -0.25)],
        *[(code, value) for code in "bhiq" for value in (-1, -128, ROWS, 127)],
        *[(code, value) for code in "BHIQ" for value in (ROWS, 255)],
        *[("int64", value) for value in (-(2**63), 2**63 - 1, 2**32, -(2**32) + 1)],
        *[("uint64", value) for value in (2**63, 2**64 - 1, 2**64 - ROWS)],
    ],
)
def test_wrong_ids_are_refused(dtype: str, wrong: float) -> None:
    model = small(4, 2)
    x, y = ids(5, 4, 2).astype(dtype), np.zeros((5, 2))
    before = model.get_weights()
    x[3, 2, 1] = wrong
    for call in (
        lambda: model.fit(x, y, verbose=0),
        lambda: model.fit(iter([(x, y)]), steps_per_epoch=1, verbose=0),
        lambda: model.evaluate(x, y, verbose=0),
        lambda: model.predict(x),
        lambda: model.predict_on_batch(x),
        lambda: model.predict(iter([x])),
        lambda: model.train_on_batch(x, y),
        lambda: model.test_on_batch(x, y),
        lambda: model(x),
        lambda: model.loss_and_grad(x, y),
        lambda: model.input_gradient(x),
        lambda: model.train_on_gradient(x, y),
    ):
        with pytest.raises(ValueError, match=r"from 0 to 12 .* has 13 rows; .* \(3, 2, 1\)"):
            call()
    for own, first in zip(model.get_weights(), before, strict=True):
        assert_array_equal(own, first)
    with pytest.raises(ValueError, match="validation"):
        model.fit(x[:2], y[:2], validation_data=(x, y), verbose=0)


def moved() -> Iterator[tuple[str, Callable[[Any], Any], Callable[[Array], Array]]]:
    """Yield layers that move elements of samples of (4, 3), and the same in NumPy."""
    yield "Flatten", layers.Flatten(), lambda x: x.reshape(-1, 12)
    yield "Reshape", layers.Reshape((2, 6)), lambda x: x.reshape(-1, 2, 6)
    yield "Permute", layers.Permute((2, 1)), lambda x: x.transpose(0, 2, 1)
    yield "slice", lambda x: x[:, 1::2, :2], lambda x: x[:, 1::2, :2]
    yield "column", lambda x: x[:, -1], lambda x: x[:, -1]
    yield (
        "Concatenate",
        lambda x: layers.Concatenate(2)([x[:, :, :1], x, layers.Identity()(x)]),
        lambda x: np.concatenate([x[:, :, :1], x, x], axis=2),
    )
    yield (
        "RepeatVector",
        lambda x: layers.RepeatVector(3)(layers.Flatten()(x)),
        lambda x: np.repeat(x.reshape(-1, 1, 12), 3, axis=1),
    )


@pytest.mark.parametrize(("name", "layer", "move"), list(moved()), ids=lambda part: str(part)[:12])
def test_ids_may_be_moved(
    name: str, layer: Callable[[Any], Any], move: Callable[[Array], Array]
) -> None:
    x = nnfast.Input((4, 3))
    model = nnfast.Model(x, layers.Embedding(ROWS, 2)(layer(x)))
    data = ids(6, 4, 3)
    (table,) = model.get_weights()
    assert_array_equal(model.predict(data), table[move(data).astype(int)])
    # Exactly the elements that are read are checked.
    place = np.arange(6 * 12).reshape(6, 4, 3)
    for i in range(12):
        wrong = data.copy()
        wrong[2].ravel()[i] = -1
        if (move(place)[2] == 24 + i).any():
            with pytest.raises(ValueError, match=rf"position \(2, {i // 3}, {i % 3}\)"):
                model.predict(wrong)
        else:
            assert_array_equal(model.predict(wrong), model.predict(data))


def test_tables_of_several_sizes_and_a_column_of_numbers() -> None:
    x = nnfast.Input((4,))
    first, second = layers.Embedding(6, 2), layers.Embedding(9, 16)
    both = layers.Concatenate()([first(x[:, 0]), second(x[:, 2]), first(x[:, 2]), x[:, 1:2]])
    model = nnfast.Model(x, layers.Dense(2)(both))
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    data = np.stack([rng.integers(0, 6, 40), rng.normal(size=40), rng.integers(0, 6, 40)], axis=1)
    data = np.hstack([data, np.full((40, 1), np.nan)])  # nothing reads the last column
    model.fit(data, np.zeros((40, 2)), verbose=0)
    tables = {layer.output_dim: layer.get_weights()[0] for layer in (first, second)}
    a, c = data[:, 0].astype(int), data[:, 2].astype(int)
    joined = [tables[2][a], tables[16][c], tables[2][c], data[:, 1:2]]
    w, b = model.layers[-1].get_weights()
    expected = np.concatenate(joined, axis=1) @ w + b
    assert_allclose(model.predict(data), expected, rtol=1e-4, atol=1e-5)
    data[7, 2] = 6
    with pytest.raises(ValueError, match=r"has 6 rows; received 6.0 at position \(7, 2\)"):
        model.predict(data)


def test_ids_from_a_lookup_of_text() -> None:
    words = layers.StringLookup(vocabulary=["a", "b"])
    x = nnfast.Input((2,), dtype="string")
    model = nnfast.Model(x, layers.Embedding(words.vocabulary_size(), 4)(words(x)))
    (table,) = model.get_weights()
    assert_array_equal(model.predict(np.array([["b", "z"]])), table[[[2, 0]]])


def test_computed_ids_are_refused() -> None:
    x = nnfast.Input((4,), name="x")
    for layer in (
        layers.Dense(3, name="h"),
        layers.Rescaling(2.0, name="h"),
        layers.ReLU(name="h"),
    ):
        y = layers.Embedding(5, 2)(layers.Reshape((-1, 1))(layer(x)))
        with pytest.raises(ValueError, match=r"must come from an Input.*output of layer 'h'"):
            nnfast.Model(x, y).predict(np.zeros((1, 4)))
    y = layers.Embedding(5, 1)(layers.Embedding(5, 1, name="e")(x))
    with pytest.raises(ValueError, match="output of layer 'e'"):
        nnfast.Model(x, y).predict(np.zeros((1, 4)))


def test_too_many_ids_are_refused_before_memory_is_taken() -> None:
    x = nnfast.Input((2**22 + 1,))
    with pytest.raises(ValueError, match="more than 4194304 ids"):
        nnfast.Model(x, layers.Embedding(5, 1)(x)).build()
    x = nnfast.Input((2**14,))
    with pytest.raises(ValueError, match="4096 separate ranges"):
        nnfast.Model(x, layers.Embedding(5, 1)(x[:, ::2])).build()


def test_numbers_of_ids_that_float32_cannot_represent_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 16777216 in a float32 model"):
        layers.Embedding(2**24 + 1, 1)(nnfast.Input((3,)))
    assert layers.Embedding(2**24 + 1, 1)(nnfast.Input((3,), dtype="float64")).shape == (None, 3, 1)
    last = 2**24 - 1
    layer = layers.Embedding(2**24, 1, "zeros")
    model = nnfast.Sequential([nnfast.Input((2,)), layer])
    with pytest.raises(ValueError, match="received 16777216 at"):
        model.predict(np.array([[0, last + 1]]))
    layer.named_weights["embeddings"][last] = 3
    assert_array_equal(model.predict(np.array([[last, last - 1]])), [[[3], [0]]])


# ---- the layer -----------------------------------------------------------------------------------


def test_arguments() -> None:
    for options, message in (
        ({"input_dim": 0}, "input_dim"),
        ({"input_dim": 2.5}, "input_dim"),
        ({"output_dim": 0}, "output_dim"),
        ({"mask_zero": "yes"}, "mask_zero"),
        ({"weights": np.zeros((3, 2))}, r"weights must have shape .*\(13, 5\); .* \(3, 2\)"),
        ({"lora_rank": 2}, "lora_rank"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            layers.Embedding(**{"input_dim": ROWS, "output_dim": WIDTH} | options)
    layer = layers.Embedding(ROWS, WIDTH, mask_zero=True, input_length=10)
    config = layer.get_config()
    assert config["mask_zero"] is layer.mask_zero is True
    assert "input_length" not in config
    assert layers.Embedding.from_config(config).get_config() == config


def test_given_weights() -> None:
    table = np.random.default_rng(0).normal(size=(ROWS, WIDTH))
    for weights in (table, [table], table.tolist()):
        layer = layers.Embedding(ROWS, WIDTH, weights=weights)
        nnfast.Sequential([nnfast.Input((3,)), layer], dtype="float64").build()
        assert_array_equal(layer.embeddings, table)
        assert "weights" not in layer.get_config()


def test_files_and_training_that_continues(tmp_path: Path) -> None:
    x, y = ids(50, 35).astype(int), np.random.default_rng(0).normal(size=(50, 2))
    model = small(35, dtype="float64")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.nnfast")
    loaded: Any = nnfast.load_model(tmp_path / "model.nnfast")
    for each in (model, loaded):
        each.fit(x, y, verbose=0)
    for own, first in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert_array_equal(own, first)
    with pytest.raises(ValueError, match="has 13 rows"):
        loaded.predict(x + ROWS)


def test_padding_is_masked() -> None:
    found = []
    x, y = ids(40, 9, n=5), np.random.default_rng(1).normal(size=(40, 2))
    for twin in (False, True):
        if twin:  # the one-hot vector of padding is 0
            first = [nnfast.Input((9, 5)), layers.Masking(), layers.Dense(3, use_bias=False)]
        else:
            first = [nnfast.Input((9,)), layers.Embedding(5, 3, mask_zero=True)]
        rest = [layers.GRU(4, return_sequences=True), layers.GlobalAveragePooling1D()]
        model = nnfast.Sequential([*first, *rest, layers.Dense(2)], dtype="float64")
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        model.compile(adam(), "mse")
        rows = one_hot(x, 5) * (x != 0)[..., None] if twin else x
        model.fit(rows, y, epochs=3, shuffle=False, verbose=0)
        found.append([*model.get_weights(), model.predict(rows)])
    for own, reference in zip(*found, strict=True):
        assert_allclose(own, reference, rtol=1e-8, atol=1e-10)
    assert (x == 0).any(axis=1).sum() > 30
    with pytest.raises(ValueError, match=r"mask_zero=True .* \(steps,\); .* \(2, 3\)"):
        layers.Embedding(5, 3, mask_zero=True)(nnfast.Input((2, 3)))


def test_batches_of_various_sizes() -> None:
    found = []
    for twin in (False, True):
        model = plain(34)(twin)
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        model.compile(adam(), "mse")
        for rows in (70, 1, 9, 40, 3):
            x = ids(rows, 34)
            model.train_on_batch(one_hot(x) if twin else x, rng.normal(size=(rows, 2)))
        found.append(model.get_weights())
    for own, reference in zip(*found, strict=True):
        assert_allclose(own, reference, rtol=1e-8, atol=1e-10)

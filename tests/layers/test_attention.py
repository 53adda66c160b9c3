"""Attention layers agree with NumPy, and their gradients with central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from reference_attention import attention, multi_head_attention

import nnfast
from nnfast import layers
from nnfast._engine import core

Array = NDArray[Any]

# Queries, keys, features of the query and of the value, heads, key_dim, value_dim.
SIZES = [
    (1, 1, 1, 1, 1, 1, None),
    (5, 5, 6, 6, 2, 3, 4),
    (7, 40, 8, 3, 3, 16, 32),
    (30, 9, 8, 8, 1, 5, None),
    (26, 26, 16, 16, 2, 16, None),
    (49, 70, 4, 5, 2, 17, 33),
]
MASKS = ("query_mask", "value_mask", "key_mask", "attention_mask")


class Case:
    """A float64 model of an attention layer after Dense layers, and the same in NumPy.

    Parameters
    ----------
    layer : Layer
    queries, keys, features, value_features : int
        The sizes of the inputs; with `own`, the query is the value, too.
    key_features : int, optional
        If given, the keys are an input of their own.
    masks : dict of str to tuple of int
        The shapes of the samples of masks that are inputs.
    constant : ndarray, optional
        A mask for all samples.
    """

    def __init__(
        self,
        layer: Any,
        sizes: tuple[int, int, int, int],
        *,
        own: bool = False,
        key_features: int | None = None,
        masks: dict[str, tuple[int, ...]] | None = None,
        constant: Array | None = None,
        causal: bool = False,
        scores: bool = False,
        rows: int = 3,
    ) -> None:
        queries, keys, features, value_features = sizes
        rng = np.random.default_rng(queries + keys)
        self.layer, self.causal, self.scores = layer, causal, scores
        shapes = {"query": (queries, features)}
        if not own:
            shapes["value"] = (keys, value_features)
        if key_features is not None:
            shapes["key"] = (keys, key_features)
        inputs = {name: nnfast.Input(shape, name=name) for name, shape in shapes.items()}
        self.x = [rng.normal(size=(rows, *shape)) for shape in shapes.values()]
        self.masks = {
            name: (rng.random((rows, *shape)) < 0.6).astype(float)
            for name, shape in (masks or {}).items()
        }
        for mask in self.masks.values():
            mask[0] = 0  # no key is left
        extra = {name: nnfast.Input(m.shape[1:], name=name) for name, m in self.masks.items()}
        calls: dict[str, Any] = {"use_causal_mask": causal, "return_attention_scores": scores}
        # Dense layers before the layer show whether the gradients of its inputs are right.
        self.before = {
            name: layers.Dense(x.shape[-1], use_bias=False) for name, x in inputs.items()
        }
        sequences = {name: dense(inputs[name]) for name, dense in self.before.items()}
        sequences.setdefault("value", sequences["query"])
        if isinstance(layer, layers.Attention):
            given = [sequences[name] for name in ("query", "value", "key") if name in sequences]
            if extra:
                calls["mask"] = [extra.get(name) for name in ("query_mask", "value_mask")]
            outputs = layer(given, **calls)
        else:
            if constant is not None:
                calls["attention_mask"] = constant
            outputs = layer(**sequences, **calls, **extra)
        self.constant = constant
        self.model = nnfast.Model([*inputs.values(), *extra.values()], outputs)
        self.model.compile("sgd", "mse")
        randomize(self.model)

    @property
    def data(self) -> list[Array]:
        return [*self.x, *self.masks.values()]

    def expected(self) -> list[Array]:
        named = {
            name: x @ dense.named_weights["kernel"]
            for x, (name, dense) in zip(self.x, self.before.items(), strict=True)
        }
        named.setdefault("value", named["query"])
        masks = dict(self.masks)
        if self.constant is not None:
            masks["attention_mask"] = self.constant
        function = attention if isinstance(self.layer, layers.Attention) else multi_head_attention
        y, p = function(self.layer, **named, masks=masks, causal=self.causal)
        return [y, p] if self.scores else [y]

    def predicted(self) -> list[Array]:
        y = self.model.predict(self.data)
        return y if isinstance(y, list) else [y]

    def check(self) -> None:
        for found, expected in zip(self.predicted(), self.expected(), strict=True):
            assert_allclose(found, expected, rtol=1e-10, atol=1e-12)

    def check_gradients(self) -> None:
        """Compare the gradients with central differences."""
        rng = np.random.default_rng(1)
        y = [rng.normal(size=p.shape) for p in self.predicted()]
        weights = [w for layer in self.model.layers for w in layer.named_weights.values()]

        def loss() -> float:
            pairs = zip(self.expected(), y, strict=True)
            return sum(float(((a - b) ** 2).mean()) for a, b in pairs)

        targets = y if len(y) > 1 else y[0]
        _, gradients = self.model.loss_and_grad(self.data, targets)
        for found, expected in zip(gradients, differences(loss, weights), strict=True):
            assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.fixture(autouse=True)
def _float64() -> Any:
    nnfast.set_default_dtype("float64")
    yield
    nnfast.set_default_dtype("float32")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_multi_head_attention_equals_the_reference(sizes: tuple[Any, ...], causal: bool) -> None:
    *inputs, heads, key_dim, value_dim = sizes
    for scores in (False, True):
        layer = layers.MultiHeadAttention(heads, key_dim, value_dim)
        Case(layer, tuple(inputs), causal=causal, scores=scores).check()


SMALL = (4, 5, 3, 2)
MHA_CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"layer": {"use_bias": False, "value_dim": 2}},
    "own": {"sizes": (4, 4, 3, 3), "own": True},
    "own, causal": {"sizes": (4, 4, 3, 3), "own": True, "causal": True},
    "causal with more keys": {"causal": True, "scores": True},
    "causal with more queries": {"sizes": (6, 3, 2, 2), "causal": True},
    "window": {"layer": {"sliding_window": 2}},
    "window, causal": {"layer": {"sliding_window": 2}, "sizes": (4, 4, 3, 3), "causal": True},
    "keys": {"key_features": 4},
    "scores": {"scores": True},
    "one step": {"sizes": (1, 1, 2, 2)},
    "output shape": {"layer": {"output_shape": (2, 3)}},
    "query mask": {"masks": {"query_mask": (4,)}},
    "value mask": {"masks": {"value_mask": (5,)}, "scores": True},
    "all masks": {
        "masks": {"query_mask": (4,), "value_mask": (5,), "key_mask": (5,)},
        "key_features": 4,
        "causal": True,
    },
    "attention mask": {"masks": {"attention_mask": (4, 5)}},
    "mask for each head": {"masks": {"attention_mask": (2, 4, 5)}, "scores": True},
    "mask of keys": {"masks": {"attention_mask": (1, 1, 5), "query_mask": (4,)}},
    "constant": {"constant": np.tri(4, 5, 1)},
    "constant for each head": {
        "constant": np.random.default_rng(0).random((1, 2, 4, 5)) < 0.5,
        "masks": {"value_mask": (5,)},
    },
}


@pytest.mark.parametrize("name", MHA_CASES)
def test_multi_head_attention_with_every_option(name: str) -> None:
    options = dict(MHA_CASES[name])
    layer = layers.MultiHeadAttention(2, 3, **options.pop("layer", {}))
    case = Case(layer, options.pop("sizes", SMALL), **options)
    case.check()
    case.check_gradients()


ATTENTION_CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "own": {"sizes": (4, 4, 3, 3), "own": True, "causal": True},
    "keys": {"key_features": 3},
    "keys and masks": {
        "key_features": 3,
        "masks": {"query_mask": (4,), "value_mask": (5,)},
        "scores": True,
    },
    "value mask": {"masks": {"value_mask": (5,)}, "causal": True},
    "scores": {"scores": True},
}
ATTENTIONS: dict[str, Any] = {
    "dot": layers.Attention,
    "scaled": lambda: layers.Attention(use_scale=True),
    "concat": lambda: layers.Attention(score_mode="concat"),
    "scaled concat": lambda: layers.Attention(True, "concat"),
    "additive": layers.AdditiveAttention,
    "additive without scale": lambda: layers.AdditiveAttention(use_scale=False),
}


@pytest.mark.parametrize("name", ATTENTION_CASES)
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_with_every_option(kind: str, name: str) -> None:
    options = dict(ATTENTION_CASES[name])
    layer = ATTENTIONS[kind]()
    case = Case(layer, options.pop("sizes", (4, 5, 3, 3)), **options)
    case.check()
    case.check_gradients()


# ---- masks of inputs, threads, sizes -----------------------------------------------------------


def language_model(heads: int = 2, steps: int = 6, **options: Any) -> nnfast.Model:
    """Return a model of a self-attention between embeddings with a mask and a recurrent layer."""
    ids = nnfast.Input((steps,), dtype="int32")
    x = layers.Embedding(9, 8, mask_zero=True)(ids)
    y = layers.MultiHeadAttention(heads, 4, **options)(x, x, use_causal_mask=True)
    model = nnfast.Model(ids, layers.Dense(2)(layers.Add()([x, y])))
    model.compile("adam", "mse")
    return model


def test_masks_of_inputs_equal_explicit_masks() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(5, 6, 3)), rng.normal(size=(5, 4, 3))
    x[:, 4:], z[0], z[1:, 2] = 0, 0, 0
    masks = [a.any(axis=-1).astype(float) for a in (x, z)]
    q, v = nnfast.Input((6, 3)), nnfast.Input((4, 3))
    marks = [nnfast.Input((6,)), nnfast.Input((4,))]
    masked_q, masked_v = layers.Masking()(q), layers.Masking()(v)
    for layer in (layers.MultiHeadAttention(2, 3), layers.Attention(), layers.AdditiveAttention()):
        if isinstance(layer, layers.MultiHeadAttention):
            outputs = layer(masked_q, masked_v), layer(q, v, None, *marks)
            parts = layer(q, masked_v), layer(q, v, value_mask=marks[1])
            third = layer(masked_q, masked_v, key=masked_v), outputs[1]
        else:
            outputs = layer([masked_q, masked_v]), layer([q, v], mask=marks)
            parts = layer([q, masked_v]), layer([q, v], mask=[None, marks[1]])
            third = layer([masked_q, v, masked_v]), layer([q, v], mask=[marks[0], None])
        assert outputs[0].masked
        assert not parts[0].masked
        for implied, explicit in (outputs, parts, third):
            one = nnfast.Model([q, v], layers.Identity()(implied))
            two = nnfast.Model([q, v, *marks], [explicit, *map(layers.Identity(), marks)])
            assert_allclose(one.predict([x, z]), two.predict([x, z, *masks])[0], rtol=1e-12)


def test_rows_without_keys_are_zero_and_train() -> None:
    model = language_model()
    ids = np.array([[0, 0, 0, 0, 0, 0], [0, 3, 0, 4, 5, 0], [1, 2, 3, 4, 5, 6]])
    layer = model.layers[2]
    attended = nnfast.Model(model.input, layer.output)
    layer.output_dense.bias[:] = 2
    y = attended.predict(ids)
    assert_array_equal(y[0], np.full((6, 8), 2.0))
    assert_array_equal(y[1, [0, 2, 5]], np.full((3, 8), 2.0))
    assert (y[2] != 2).all()
    for _ in range(3):
        assert np.isfinite(model.train_on_batch(ids, np.ones((3, 6, 2))))
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"use_bias": False}])
def test_results_do_not_depend_on_threads(dtype: str, options: dict[str, Any]) -> None:
    nnfast.set_default_dtype(dtype)
    rng = np.random.default_rng(0)
    ids, y = rng.integers(0, 9, (67, 30)), rng.normal(size=(67, 30, 2))
    results = []
    most = core.get_threads()
    try:
        for threads in (1, 2, 3, 4, 7):
            core.force_threads(threads)
            nnfast.set_seed(1)
            model = language_model(steps=30, **options)
            history = model.fit(ids, y, epochs=2, batch_size=40, verbose=0).history["loss"]
            results.append([history, model.predict(ids), *model.get_weights()])
    finally:
        core.force_threads(0)
        core.set_threads(most)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 29])
def test_a_row_has_the_bits_that_it_has_in_a_batch(steps: int, causal: bool) -> None:
    nnfast.set_default_dtype("float32")
    q, v = nnfast.Input((steps, 5)), nnfast.Input((17, 5))
    layer = layers.MultiHeadAttention(3, 7, 5)
    y, p = layer(q, v, use_causal_mask=causal, return_attention_scores=True)
    model = nnfast.Model([q, v], [y, p])
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(21, steps, 5)), rng.normal(size=(21, 17, 5))]
    whole = model.predict(x)
    for rows in (slice(0, 1), slice(20, 21), slice(7, 12)):
        for a, b in zip(model.predict([part[rows] for part in x]), whole, strict=True):
            assert_array_equal(a, b[rows])
    model.compile("sgd", "mse")  # in training, the probabilities are kept
    for a, b in zip(model.predict_on_batch(x), whole, strict=True):
        assert_array_equal(a, b)


def test_sequences_of_any_length() -> None:
    model = language_model(steps=None)  # type: ignore[arg-type]
    assert model.output_shape == (None, None, 2)
    for steps in (5, 1, 40, 5):
        ids = np.random.default_rng(steps).integers(0, 9, (4, steps))
        known = language_model(steps=steps)
        known.set_weights(model.get_weights())
        assert_array_equal(model.predict(ids), known.predict(ids))
    q, v = nnfast.Input((None, 3)), nnfast.Input((None, 3))
    y, p = layers.MultiHeadAttention(2, 3)(q, v, return_attention_scores=True)
    assert (y.shape, p.shape) == ((None, None, 3), (None, 2, None, None))


# ---- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["multi-head", "dot", "additive"])
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_with_dropout(kind: str, causal: bool) -> None:
    """In one epoch, the dropout of a row is always the same, so the loss can be differentiated."""
    x = np.random.default_rng(0).normal(size=(4, 5, 3))
    q = nnfast.Input((5, 3))
    v = layers.Dense(3)(q)
    if kind == "multi-head":
        y, p = layers.MultiHeadAttention(2, 3, dropout=0.4)(
            q, v, use_causal_mask=causal, return_attention_scores=True
        )
    else:
        layer = ATTENTIONS["scaled" if kind == "dot" else kind]()
        layer = type(layer).from_config(layer.get_config() | {"dropout": 0.4})
        y, p = layer([q, v], use_causal_mask=causal, return_attention_scores=True)
    model = nnfast.Model(q, [y, p])
    randomize(model)
    targets = [np.ones((4, *t.shape[1:])) for t in (y, p)]

    def step(rate: float) -> float:
        model.compile(nnfast.optimizers.SGD(rate), "mse")
        model._network.engine.epoch = 0
        return float(model.train_on_batch(x, targets, return_dict=True)["loss"])

    arrays = [w for layer in model.layers for w in layer.named_weights.values()]
    expected = differences(lambda: step(0.0), arrays)
    before = [w.copy() for w in arrays]
    step(1.0)
    for old, new, gradient in zip(before, arrays, expected, strict=True):
        assert_allclose(old - new, gradient, rtol=1e-5, atol=1e-8)


def test_dropout_scales_the_probabilities_that_are_left() -> None:
    """With equal scores and the identity as values, the outputs are the probabilities."""
    inputs = [nnfast.Input((40, 8)), nnfast.Input((8, 8)), nnfast.Input((8, 8))]
    seen: list[Array] = []

    def loss(y: Array, a: Array) -> tuple[Array, Array]:
        seen.append(8 * a.reshape(6, 40, 8))
        return np.zeros(len(a)), np.zeros_like(a)

    for seed in (3, 4, 3):
        layer = layers.Attention(dropout=0.25, seed=seed)
        model = nnfast.Model(inputs, layers.Flatten()(layer(inputs)))
        model.compile("sgd", loss)
        x = [np.zeros((6, 40, 8)), np.tile(np.eye(8), (6, 1, 1)), np.ones((6, 8, 8))]
        model.train_on_batch(x, np.zeros((6, 320)))
        assert_allclose(model.predict(x), 1 / 8)
    assert_allclose(np.unique(seen[0].round(9)), [0, 1 / 0.75])
    assert abs((seen[0] == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / seen[0].size)
    assert len({tuple(row) for row in seen[0].reshape(6, -1)}) == 6  # each sample has its own
    assert_array_equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).any()


def test_calls_for_inference_drop_nothing() -> None:
    x = nnfast.Input((5, 3))
    losses = []
    for rate, training in ((0.9, False), (0.0, None)):
        nnfast.set_seed(1)
        y = layers.MultiHeadAttention(2, 3, dropout=rate)(x, x, training=training)
        y = layers.Attention(dropout=rate)([y, x], training=training)
        model = nnfast.Model(x, y)
        model.compile("sgd", "mse")
        data = np.random.default_rng(0).normal(size=(4, 5, 3))
        losses.append([model.train_on_batch(data, data) for _ in range(3)])
        if rate:
            with pytest.raises(ValueError, match="training=False"):
                model(data, training=True)
    assert losses[0] == losses[1]


# ---- configuration, files and errors -------------------------------------------------------------


def test_weights_have_the_names_and_shapes_of_keras() -> None:
    layer = layers.MultiHeadAttention(2, 3, 4)
    inputs = [nnfast.Input((5, 6)), nnfast.Input((7, 8)), nnfast.Input((7, 9))]
    model = nnfast.Model(inputs, layer(*inputs))
    assert [(name, w.shape) for name, w in layer.named_weights.items()] == [
        ("query/kernel", (6, 2, 3)),
        ("query/bias", (2, 3)),
        ("key/kernel", (9, 2, 3)),
        ("key/bias", (2, 3)),
        ("value/kernel", (8, 2, 4)),
        ("value/bias", (2, 4)),
        ("attention_output/kernel", (2, 4, 6)),
        ("attention_output/bias", (6,)),
    ]
    assert [w.shape for w in model.get_weights()] == [w.shape for w in layer.weights]
    scaled = layers.Attention(True, "concat")
    pair = [inputs[0], nnfast.Input((7, 6))]
    both = nnfast.Model(pair, scaled(pair))
    assert [w.shape for w in both.get_weights()] == [(), ()]
    assert [*scaled.named_weights] == ["factor/scale", "score_factor/concat_score_weight"]


def test_files_and_copies_keep_the_arguments_of_calls(tmp_path: Any) -> None:
    q, v, mask = nnfast.Input((4, 3)), nnfast.Input((5, 3)), nnfast.Input((5,))
    layer = layers.MultiHeadAttention(2, 3, sliding_window=3)
    first, p = layer(q, v, use_causal_mask=True, return_attention_scores=True)
    second = layer(q, v, value_mask=mask, attention_mask=np.tri(4, 5))
    third = layers.Attention()([q, v, v], mask=[None, mask], use_causal_mask=True)
    model = nnfast.Model([q, v, mask], [first, p, second, third])
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 5, 3)), rng.random((6, 5)) < 0.5]
    expected = model.predict(x)
    model.save(tmp_path / "model")
    clone = nnfast.models.clone_model(model)
    clone.set_weights(model.get_weights())
    again = nnfast.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    for copy in (nnfast.load_model(tmp_path / "model"), clone, again):
        for a, b in zip(copy.predict(x), expected, strict=True):
            assert_array_equal(a, b)


def test_penalties_and_constraints_of_all_projections() -> None:
    q = nnfast.Input((4, 3))
    layer = layers.MultiHeadAttention(
        *(2, 3),
        kernel_regularizer="l2",
        bias_regularizer="l1",
        activity_regularizer="l2",
        kernel_constraint=nnfast.constraints.NonNeg(),
    )
    model = nnfast.Model(q, layer(q, q))
    model.compile("sgd", "mse")
    randomize(model)
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    w = layer.named_weights
    penalty = sum(
        0.01 * ((a**2).sum() if name.endswith("kernel") else abs(a).sum()) for name, a in w.items()
    )
    y = model.predict(x)
    projected = [
        np.einsum("btd,dhk->bthk", x, w[f"{name}/kernel"]) + w[f"{name}/bias"]
        for name in ("query", "key", "value")
    ]
    activity = sum(0.01 * (a**2).sum() / len(x) for a in (*projected, y))
    assert_allclose(model.evaluate(x, y, verbose=0), penalty + activity, rtol=1e-10)
    model.train_on_batch(x, y + 1)
    assert all((a >= 0).all() for name, a in w.items() if name.endswith("kernel"))


WRONG: list[tuple[Any, str]] = [
    (lambda q, v: layers.MultiHeadAttention(0, 3), "num_heads"),
    (lambda q, v: layers.MultiHeadAttention(2, -1), "key_dim"),
    (lambda q, v: layers.MultiHeadAttention(2, 2.5), "key_dim"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, 0), "value_dim"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, dropout=1.0), "dropout"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, output_shape=(2, 0)), "output_shape"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, output_shape="x"), "output_shape"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, attention_axes=2), "attention_axes"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2)), "attention_axes"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, sliding_window=0), "sliding_window"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, dropout=0.1, flash_attention=True), "flash"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, flash_attention="x"), "flash_attention"),
    (lambda q, v: layers.MultiHeadAttention(2, 3, seed=-1), "seed"),
    (lambda q, v: layers.MultiHeadAttention(2, 3)(q, np.ones((1, 5, 3))), "value of layer"),
    (lambda q, v: layers.MultiHeadAttention(2, 3)(q, v, v[:, :3]), "as many keys as values"),
    (lambda q, v: layers.MultiHeadAttention(2, 3)(q, v[:, 0]), "shape \\(steps, features\\)"),
    (lambda q, v: layers.MultiHeadAttention(2, 3)(q, v, value_mask=q), "value_mask"),
    (lambda q, v: layers.MultiHeadAttention(2, 3)(q, v, value_mask=np.ones(5)), "value_mask"),
    (lambda q, v: layers.MultiHeadAttention(2, 3)(q, v, attention_mask=q), "attention_mask"),
    (
        lambda q, v: layers.MultiHeadAttention(2, 3)(q, v, attention_mask=np.ones((2, 4, 5))),
        "differs from sample",
    ),
    (
        lambda q, v: layers.MultiHeadAttention(2, 3)(q, v, attention_mask=np.ones((5, 4))),
        "attention_mask",
    ),
    (
        lambda q, v: layers.MultiHeadAttention(3, 3)(q, v, attention_mask=np.ones((1, 2, 4, 5))),
        "attention_mask",
    ),
    (
        lambda q, v: layers.MultiHeadAttention(2, 3).connect(
            [q, v, nnfast.Input((4, 5))],
            roles=["attention_mask"],
            attention_mask=np.ones((4, 5)),
        ),
        "two attention masks",
    ),
    (lambda q, v: layers.MultiHeadAttention(2, 3)(q, v, attention_mask="x"), "attention_mask"),
    (lambda q, v: layers.MultiHeadAttention(2, 3)(q, v, use_causal_mask=2), "use_causal_mask"),
    (lambda q, v: layers.Attention(score_mode="sum"), "score_mode"),
    (lambda q, v: layers.Attention(dropout=-0.5), "dropout"),
    (lambda q, v: layers.Attention(use_scale="yes"), "use_scale"),
    (lambda q, v: layers.Attention()(q), "list of inputs"),
    (lambda q, v: layers.Attention()([q]), "list of inputs"),
    (lambda q, v: layers.Attention()([q, v], mask=v), "mask of layer"),
    (lambda q, v: layers.Attention()([q, v], mask=[None]), "mask of layer"),
    (lambda q, v: layers.Attention()([q, v], mask=[v, None]), "query mask"),
    (lambda q, v: layers.Attention()([q, v[:, :, :2]]), "equally many features"),
    (lambda q, v: layers.AdditiveAttention()([q, v[:, :, :2]]), "equally many features"),
    (lambda q, v: layers.MultiHeadAttention(2, 3).connect([q, v, v], roles=["x"]), "further"),
    (lambda q, v: layers.MultiHeadAttention(2, 3).connect([q, v, v]), "further inputs"),
    (lambda q, v: layers.MultiHeadAttention(2, 3).connect([q]), "further inputs"),
    (lambda q, v: layers.Attention().connect([q, v, v, v], roles=["key", "key"]), "further"),
]


@pytest.mark.parametrize(("make", "words"), WRONG)
def test_wrong_arguments_are_named(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make(nnfast.Input((4, 3)), nnfast.Input((5, 3)))

"""Attention layers agree with those of Keras and with PyTorch: values, masks, training steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import nnfast

pytestmark = pytest.mark.peers
Array = NDArray[Any]

ROWS, QUERIES, KEYS, FEATURES = 4, 6, 5, 3


def data() -> dict[str, Array]:
    """Return sequences, whose padding is zero, and masks; every query has a key that is left."""
    rng = np.random.default_rng(0)
    query = rng.normal(size=(ROWS, QUERIES, FEATURES))
    value = rng.normal(size=(ROWS, KEYS, FEATURES))
    value[:, -1], value[0, 1] = 0, 0
    pairs = rng.random((ROWS, QUERIES, KEYS)) < 0.6
    pairs[:, :, 0] = True
    heads = rng.random((ROWS, 2, QUERIES, KEYS)) < 0.6
    heads[..., 0] = True
    return {"query": query, "value": value, "pairs": pairs, "heads": heads}


# The input that is the attention_mask, the arguments of the call, and those of the layer.
CALLS: dict[str, tuple[str | None, dict[str, Any], dict[str, Any]]] = {
    "plain": (None, {}, {}),
    "causal": (None, {"use_causal_mask": True}, {"use_bias": False}),
    "scores": (None, {"return_attention_scores": True}, {"value_dim": 2}),
    "causal scores": (
        None,
        {"return_attention_scores": True, "use_causal_mask": True},
        {"output_shape": 2},
    ),
    "output shape": (None, {}, {"output_shape": (2, 4)}),
    "window": (None, {}, {"sliding_window": 3}),
    "pairs": ("pairs", {}, {}),
    "pairs and scores": ("pairs", {"return_attention_scores": True}, {}),
    "heads": ("heads", {"use_causal_mask": True}, {}),
}


def trained(model: Any, weights: list[Array] | None, x: Any, y: Any) -> list[Any]:
    """Return the initial and the final weights, predictions and losses of three training steps."""
    if weights is None:
        rng = np.random.default_rng(1)
        weights = [rng.normal(size=np.shape(w)) * 0.4 for w in model.get_weights()]
    model.set_weights(weights)
    before = model.predict(x, verbose=0)
    before = before if isinstance(before, list) else [before]
    losses = [np.ravel(model.train_on_batch(x, y))[:1] for _ in range(3)]
    return [weights, *before, *losses, *model.get_weights()]


def assert_same_training(keras: Any, build: Any, x: list[Array]) -> None:
    """Compare the training of the models that `build` makes with either library."""
    weights, results = None, []
    for library in (keras, nnfast):
        model = build(library)
        outputs = model.predict(x, verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        y = [np.random.default_rng(2).normal(size=np.shape(output)) for output in outputs]
        model.compile(library.optimizers.SGD(0.1), ["mse"] * len(y) if len(y) > 1 else "mse")
        results.append(trained(model, weights, x, y if len(y) > 1 else y[0]))
        weights = results[0][0]
    for a, b in zip(results[0][1:], results[1][1:], strict=True):
        assert_allclose(b, a, rtol=1e-7, atol=1e-9)


# With masks, some queries of "window" have no key, for which Keras takes the mean of all values.
# Keras cannot combine a mask for each head with that of the values.
MASKED = [name for name in CALLS if name not in ("window", "heads")]


@pytest.mark.parametrize(
    ("name", "masked"),
    [*((name, False) for name in CALLS), *((name, True) for name in MASKED)],
)
def test_multi_head_attention_trains_as_in_keras(keras64: Any, name: str, masked: bool) -> None:
    mask, call, options = CALLS[name]
    arrays = data()
    names = ["query", "value", *([mask] if mask else [])]

    def build(library: Any) -> Any:
        inputs = [library.Input(arrays[name].shape[1:]) for name in names]
        q, v = (library.layers.Dense(FEATURES, use_bias=False)(x) for x in inputs[:2])
        if masked:
            v = library.layers.Masking()(v)
        layer = library.layers.MultiHeadAttention(2, 4, **options)
        more = {"attention_mask": inputs[2]} if mask else {}
        outputs = layer(q, v, **more, **call)
        if isinstance(outputs, tuple):  # Keras' probabilities have a mask that no loss can take
            outputs = [outputs[0], library.layers.Flatten()(outputs[1])]
        return library.Model(inputs, outputs)

    assert_same_training(keras64, build, [arrays[name].astype(float) for name in names])


@pytest.mark.parametrize(("causal", "masked"), [(False, False), (True, True)])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Attention", {}),
        ("Attention", {"use_scale": True}),
        ("Attention", {"score_mode": "concat", "use_scale": True}),
        ("Attention", {"score_mode": "concat"}),
        ("AdditiveAttention", {}),
        ("AdditiveAttention", {"use_scale": False}),
    ],
)
def test_attention_trains_as_in_keras(
    keras64: Any, kind: str, options: dict[str, Any], causal: bool, masked: bool
) -> None:
    arrays = data()

    def build(library: Any) -> Any:
        inputs = [library.Input(arrays[name].shape[1:]) for name in ("query", "value")]
        dense = [library.layers.Dense(FEATURES, use_bias=False) for _ in range(3)]
        q, v, k = (layer(inputs[i]) for layer, i in zip(dense, (0, 1, 1), strict=True))
        if masked:
            q, v = library.layers.Masking()(q), library.layers.Masking()(v)
        layer = getattr(library.layers, kind)(**options)
        call = {"use_causal_mask": causal, "return_attention_scores": True}
        y, p = layer([q, v, k], **call)
        one = layer([q, v], use_causal_mask=causal)
        p, one = library.layers.Identity()(p), library.layers.Identity()(one)
        return library.Model(inputs, [library.layers.Dense(2)(y), p, one])

    assert_same_training(keras64, build, [arrays["query"], arrays["value"]])


def test_the_masks_of_inputs_reach_the_loss_as_in_keras(keras64: Any) -> None:
    ids = np.array([[3, 1, 0, 2, 0], [1, 2, 3, 4, 0], [4, 4, 1, 2, 3]])
    y = np.random.default_rng(0).normal(size=(3, 5, 2))
    results: list[Any] = []
    for library in (keras64, nnfast):
        x = library.Input((5,), dtype="int32")
        h = library.layers.Embedding(5, 8, mask_zero=True)(x)
        # Keras removes the mask of h, so nothing but the attention may read it.
        h = library.layers.MultiHeadAttention(2, 4, dropout=0.0)(
            h, h, use_causal_mask=True, return_attention_scores=True
        )[0]
        h = library.layers.LayerNormalization()(h)
        model = library.Model(x, library.layers.Dense(2)(h))
        model.compile(library.optimizers.SGD(0.1), "mse")
        results.append(trained(model, results[0][0] if results else None, ids, y))
    real = (ids != 0)[:, :, None]  # the outputs of padding differ
    assert_allclose(results[1][1] * real, results[0][1] * real, rtol=1e-7, atol=1e-9)
    for a, b in zip(results[0][2:], results[1][2:], strict=True):
        assert_allclose(b, a, rtol=1e-7, atol=1e-9)


def test_configurations_are_those_of_keras(keras: Any) -> None:
    for kind, arguments in (
        ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "sliding_window": 4, "seed": 1}),
        ("Attention", {"use_scale": True, "dropout": 0.5, "seed": 1}),
        ("AdditiveAttention", {"dropout": 0.5}),
    ):
        theirs = getattr(keras.layers, kind)(**arguments).get_config()
        own = getattr(nnfast.layers, kind)(**arguments).get_config()
        unlike = {"name", "dtype", "trainable", "use_gate", "activity_regularizer"}
        for name in theirs.keys() - unlike:
            if "initializer" not in name:
                assert theirs[name] == own[name]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("steps", [1, 13, 50])
def test_values_and_gradients_equal_those_of_torch(steps: int, causal: bool) -> None:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    rng = np.random.default_rng(steps)
    x = rng.normal(size=(3, steps, 12))
    nnfast.set_default_dtype("float64")
    try:
        inputs = nnfast.Input((steps, 12))
        layer = nnfast.layers.MultiHeadAttention(3, 4)
        model = nnfast.Model(inputs, layer(inputs, inputs, use_causal_mask=causal))
    finally:
        nnfast.set_default_dtype("float32")
    model.compile("sgd", "mse")
    y = rng.normal(size=(3, steps, 12))
    loss, gradients = model.loss_and_grad(x, y)
    w = [torch.tensor(a, requires_grad=True) for a in model.get_weights()]
    t = torch.tensor(x)
    q, k, v = (torch.einsum("btd,dhk->bhtk", t, w[i]) + w[i + 1][:, None, :] for i in (0, 2, 4))
    attended = scaled_dot_product_attention(q, k, v, is_causal=causal)
    outputs = torch.einsum("bhtk,hkd->btd", attended, w[6]) + w[7]
    assert_allclose(model.predict(x), outputs.detach(), rtol=1e-10, atol=1e-12)
    expected = ((outputs - torch.tensor(y)) ** 2).mean()
    assert loss == pytest.approx(float(expected))
    expected.backward()
    for a, b in zip(gradients, w, strict=True):
        assert_allclose(a, b.grad, rtol=1e-8, atol=1e-10)

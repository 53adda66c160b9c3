"""Attention layers agree with NumPy, and their gradients with central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from reference_attention import attention, multi_head_attention

import nnfast
from nnfast import layers

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
    before = nnfast.keras.config.floatx()
    nnfast.keras.config.set_floatx("float64")
    yield
    nnfast.keras.config.set_floatx(before)


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

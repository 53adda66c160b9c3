"""Attention layers in plain NumPy, to which the tests compare the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def masked_softmax(scores: Array, allowed: Array) -> Array:
    """Return the softmax of the allowed scores; zeros where no key is allowed."""
    allowed = np.broadcast_to(allowed, scores.shape)
    peak = np.where(allowed, scores, -np.inf).max(axis=-1, keepdims=True)
    e = np.where(allowed, np.exp(scores - np.where(np.isfinite(peak), peak, 0)), 0)
    total = e.sum(axis=-1, keepdims=True)
    return np.divide(e, total, out=np.zeros_like(e), where=total > 0)


def allowed_pairs(
    queries: int,
    keys: int,
    *,
    masks: Mapping[str, Array],
    causal: bool = False,
    window: int | None = None,
) -> Array:
    """Return which keys each query may use, with axes for samples, heads, queries and keys."""
    i, j = np.ogrid[:queries, :keys]
    allowed = np.ones((1, 1, queries, keys), bool)
    if causal:
        allowed = allowed & (j <= i)
    if window is not None:
        allowed = allowed & (abs(i - j) < window)
    if "query_mask" in masks:
        allowed = allowed & (masks["query_mask"] != 0)[:, None, :, None]
    for name in ("key_mask", "value_mask"):
        if name in masks:
            allowed = allowed & (masks[name] != 0)[:, None, None, :]
    if "attention_mask" in masks:
        mask = masks["attention_mask"] != 0
        while mask.ndim < 4:  # (queries, keys) or (samples, queries, keys)
            mask = mask[:, None] if mask.ndim == 3 else mask[None]
        allowed = allowed & mask
    return allowed


def multi_head_attention(
    layer: Any,
    query: Array,
    value: Array,
    key: Array | None = None,
    factors: Array | float = 1.0,
    **pairs: Any,
) -> tuple[Array, Array]:
    """Return the outputs and the probabilities of a MultiHeadAttention.

    `pairs` are the arguments of `allowed_pairs`; the dropout multiplies by `factors`.
    """
    w = layer.named_weights

    def projected(name: str, x: Array) -> Array:
        y = np.einsum("btd,dhk->bhtk", x, w[f"{name}/kernel"])
        return y + w[f"{name}/bias"][:, None] if layer.use_bias else y

    q, k, v = (
        projected(name, x)
        for name, x in (
            ("query", query),
            ("key", value if key is None else key),
            ("value", value),
        )
    )
    scores = np.einsum("bhtk,bhsk->bhts", q, k) / np.sqrt(layer.key_dim)
    allowed = allowed_pairs(*scores.shape[2:], window=layer.sliding_window, **pairs)
    p = masked_softmax(scores, allowed)
    heads = np.einsum("bhts,bhsv->bthv", p * factors, v)
    kernel = w["attention_output/kernel"]
    y = np.tensordot(heads, kernel, axes=2)
    return (y + w["attention_output/bias"] if layer.use_bias else y), p


def attention(
    layer: Any,
    query: Array,
    value: Array,
    key: Array | None = None,
    factors: Array | float = 1.0,
    **pairs: Any,
) -> tuple[Array, Array]:
    """Return the outputs and the probabilities of an Attention or AdditiveAttention."""
    key = value if key is None else key
    w = [*layer.named_weights.values()]
    if layer.score_mode == "dot":
        scores = np.einsum("btd,bsd->bts", query, key) * (w[0] if layer.use_scale else 1)
    else:
        sums = query[:, :, None] + key[:, None]
        if type(layer).__name__ == "AdditiveAttention":
            scores = (np.tanh(sums) * (w[0] if layer.use_scale else 1)).sum(axis=-1)
        else:
            scores = w[-1] * np.tanh(sums * (w[0] if layer.use_scale else 1)).sum(axis=-1)
    masks = dict(pairs.pop("masks"))
    query_mask = masks.pop("query_mask", np.ones(query.shape[:2]))
    p = masked_softmax(scores, allowed_pairs(*scores.shape[1:], masks=masks, **pairs)[:, 0])
    return ((p * factors) @ value) * (query_mask != 0)[:, :, None], p

"""PyTorch's modules of transformers, and their weights in PyTorch's layout."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from networks import LAYER_NORM_EPSILON, Attention, LayerNorm, Positions, Shape
from numpy.typing import NDArray


def transformer_module(layer: Attention | LayerNorm | Positions, shape: Shape) -> Any:
    """Return the module for inputs of a shape (steps, features)."""
    from torch import nn

    positions, attention = module_classes()
    match layer:
        case Positions():
            return positions(shape)
        case LayerNorm():
            return nn.LayerNorm(shape[-1], LAYER_NORM_EPSILON)
    return attention(layer, shape)


@functools.cache
def module_classes() -> tuple[Any, Any]:
    import torch

    nn, functional = torch.nn, torch.nn.functional

    class Sum(nn.Module):
        """A table that is added to every sequence."""

        def __init__(self, shape: Shape) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(shape))

        def forward(self, x: Any) -> Any:
            return x + self.weight

    class SelfAttention(nn.Module):
        """Two linear layers, of which the first computes queries, keys and values at once.

        ``nn.MultiheadAttention`` requires heads · key_dim = features.
        """

        def __init__(self, layer: Attention, shape: Shape) -> None:
            super().__init__()
            self.layer, width = layer, layer.heads * layer.key_dim
            self.first = nn.Linear(shape[1], 3 * width)
            self.last = nn.Linear(width, shape[1])

        def forward(self, x: Any) -> Any:
            parts = self.first(x).unflatten(2, (3, self.layer.heads, self.layer.key_dim))
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(q, k, v)
            return self.last(y.transpose(1, 2).flatten(2))

    return Sum, SelfAttention


def attention_weights(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the weights of the two linear layers of a `SelfAttention`."""
    *projections, kernel, bias = arrays
    features = kernel.shape[-1]
    first = [np.reshape(array, (features, -1)).T for array in projections[::2]]
    biases = [array.ravel() for array in projections[1::2]]
    return [np.concatenate(first), np.concatenate(biases), kernel.reshape(-1, features).T, bias]

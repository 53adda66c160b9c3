"""What several test files need: models, data and the optional peers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference import ELEMENTWISE_LOSSES, KINKS, Network, one_hot

import nnfast
from nnfast import layers

CLASS_LOSSES = ("categorical_crossentropy", "sparse_categorical_crossentropy")

LOSS_CLASSES = {
    "mean_squared_error": "MeanSquaredError",
    "binary_crossentropy": "BinaryCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
}


def loss_object(loss: str, from_logits: bool) -> Any:
    """Return the loss as an object where it needs ``from_logits``, as a name elsewhere."""
    return getattr(nnfast.losses, LOSS_CLASSES[loss])(from_logits=True) if from_logits else loss


def dense_model(
    sizes: Sequence[int], activations: Sequence[str], dtype: str = "float64"
) -> nnfast.Sequential:
    """Return a chain of Dense layers."""
    stack = [
        layers.Dense(units, activation=activation)
        for units, activation in zip(sizes[1:], activations, strict=True)
    ]
    return nnfast.Sequential([layers.Input((sizes[0],)), *stack], dtype=dtype)


def random_weights(rng: np.random.Generator, sizes: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return [w, b, w, b, …] with biases that are not zero."""
    weights: list[NDArray[np.float64]] = []
    for n_in, n_out in pairwise(sizes):
        weights.append(rng.normal(size=(n_in, n_out)) / np.sqrt(n_in))
        weights.append(rng.normal(size=n_out) * 0.3)
    return weights


def targets(rng: np.random.Generator, loss: str, m: int, n_out: int) -> NDArray[Any]:
    """Return targets of the kind the loss takes."""
    if loss == "poisson":
        return rng.poisson(2.0, (m, n_out)).astype(np.float64)
    if loss == "hinge":
        return rng.choice([-1.0, 1.0], (m, n_out))
    if loss in ELEMENTWISE_LOSSES:
        return rng.normal(size=(m, n_out))
    if loss == "binary_crossentropy":
        return rng.integers(0, 2, (m, n_out)).astype(np.float64)
    labels = rng.integers(0, n_out, m)
    return labels if loss == "sparse_categorical_crossentropy" else one_hot(labels, n_out)


def margin(network: Network, x: NDArray[Any]) -> float:
    """Return the distance of the nearest pre-activation to a kink."""
    zs, _ = network.forward(x)
    distances = [
        np.abs(z - kink).min()
        for z, f in zip(zs, network.activations, strict=True)
        for kink in KINKS.get(f, ())
    ]
    return float(min(distances, default=np.inf))

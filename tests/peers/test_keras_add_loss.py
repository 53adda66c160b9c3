"""AddLoss does what a layer of Keras does that calls `add_loss`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnfast

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(40, 5)), RNG.normal(size=(40, 2)), RNG.uniform(0.5, 2.0, 40)
WEIGHT = 0.3


def layer_of(keras: Any) -> Any:
    """Return a layer that adds the mean over the rows of the sum of the penalty to the loss."""

    class AddLoss(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            x, penalty = inputs
            self.add_loss(WEIGHT * keras.ops.mean(keras.ops.sum(penalty, axis=1)))
            return x

    return AddLoss()


def model_of(k: Any, layer: Any, outputs: int) -> Any:
    x = k.Input((5,))
    h = k.layers.Dense(6, activation="tanh", activity_regularizer="l2")(x)
    m, v = k.layers.Dense(3)(h), k.layers.Dense(3)(h)
    penalty = 0.5 * (m**2 + k.layers.Activation("exponential")(v) - 1 - v)
    z = layer([m, penalty])
    y = [k.layers.Dense(2)(z) for _ in range(outputs)]
    return k.Model(x, y if outputs > 1 else y[0])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_models_with_added_losses_train_as_in_keras(
    outputs: int, reduction: str, weighted: bool, keras64: Any
) -> None:
    own = model_of(nnfast.keras, nnfast.layers.AddLoss(WEIGHT), outputs)
    other = model_of(keras64, layer_of(keras64), outputs)
    other.set_weights(own.get_weights())
    y = [Y, 2 * Y] if outputs > 1 else Y
    weight = [W] * outputs if weighted and outputs > 1 else W if weighted else None
    results = []
    for k, model in ((nnfast.keras, own), (keras64, other)):
        losses = [k.losses.MeanSquaredError(reduction=reduction) for _ in range(outputs)]
        weights = [0.5, 2.0][:outputs]
        model.compile(
            k.optimizers.Adam(0.01),
            losses if outputs > 1 else losses[0],
            loss_weights=weights if outputs > 1 else None,
        )
        history = model.fit(*(X, y, 10, 3), sample_weight=weight, shuffle=False, verbose=0).history[
            "loss"
        ]
        batch = model.train_on_batch(X, y, sample_weight=weight)
        whole = model.evaluate(X, y, 40, sample_weight=weight, verbose=0)
        flat = np.ravel([*history, *np.ravel(batch), *np.ravel(whole)])
        results.append([flat, *model.get_weights()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)

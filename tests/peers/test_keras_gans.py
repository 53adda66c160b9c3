"""Loops of two models that take turns, as in generative adversarial networks, agree with Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast

pytestmark = pytest.mark.peers

BATCH, BATCHES, EPOCHS = 16, 4, 3
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(BATCH * BATCHES, 2)) + 1
CODES = RNG.normal(size=(EPOCHS * BATCHES, 2, BATCH, 3))

Array = NDArray[Any]


def parts(k: Any, normalized: bool) -> tuple[Any, Any]:
    """Return a generator and a discriminator."""
    normalize = [k.layers.BatchNormalization()] if normalized else []
    generator = k.Sequential(
        [k.Input((3,)), k.layers.Dense(8, activation="tanh"), *normalize, k.layers.Dense(2)]
    )
    normalize = [k.layers.BatchNormalization()] if normalized else []
    discriminator = k.Sequential(
        [
            k.Input((2,)),
            *(k.layers.Dense(9, activation="relu"), *normalize),
            k.layers.Dense(1, activation="sigmoid"),
        ]
    )
    for model in (generator, discriminator):
        rng = np.random.default_rng(1)
        model.set_weights([rng.uniform(0.02, 0.4, w.shape) for w in model.get_weights()])
    return generator, discriminator


def gan(k: Any, normalized: bool, unfreeze: bool, whole_batches: bool) -> list[Array]:
    """Train a GAN; return all losses and the weights of both models."""
    generator, discriminator = parts(k, normalized)
    discriminator.compile(
        optimizer=k.optimizers.Adam(0.01, beta_1=0.5),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    discriminator.trainable = False
    code = k.Input((3,))
    combined = k.Model(code, discriminator(generator(code)))
    combined.compile(optimizer=k.optimizers.Adam(0.01, beta_1=0.5), loss="binary_crossentropy")
    real, fake = np.ones((BATCH, 1)), np.zeros((BATCH, 1))
    codes = iter(CODES)
    losses = []
    for _ in range(EPOCHS):
        for begin in range(0, len(POINTS), BATCH):
            first, second = next(codes)
            points = POINTS[begin : begin + BATCH]
            drawn = generator.predict(first, verbose=0)
            if unfreeze:
                discriminator.trainable = True
            if whole_batches:
                x, y = np.concatenate([points, drawn]), np.concatenate([real, fake])
                losses.append(discriminator.train_on_batch(x, y))
            else:
                losses.append(discriminator.train_on_batch(points, real))
                losses.append(discriminator.train_on_batch(drawn, fake))
            discriminator.trainable = False
            losses.append([combined.train_on_batch(second, real), 0.0])
    weights = [*generator.get_weights(), *discriminator.get_weights()]
    return [np.array(losses, np.float64), *map(np.asarray, weights)]


@pytest.mark.parametrize("whole_batches", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
def test_a_discriminator_that_is_frozen_in_turns(
    normalized: bool, whole_batches: bool, keras64: Any
) -> None:
    own, theirs = (gan(k, normalized, True, whole_batches) for k in (nnfast.keras, keras64))
    for a, b in zip(own, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)


def test_a_discriminator_that_stays_frozen_is_not_trained(keras64: Any) -> None:
    """Keras 2 trained it if it was compiled first. Keras 3 reads the flags at the first step."""
    own, theirs = (gan(k, False, False, True) for k in (nnfast.keras, keras64))
    for a, b in zip(own, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)
    start = parts(nnfast.keras, False)[1].get_weights()
    for a, b in zip(own[-len(start) :], start, strict=True):
        np.testing.assert_array_equal(a, b)

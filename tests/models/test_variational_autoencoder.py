"""A variational autoencoder agrees with a NumPy implementation of its formulas."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from helpers import normal_draws
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import nnfast
from nnfast import layers, optimizers
from nnfast.layers import Activation, AddLoss, Dense, Sampling

Array = NDArray[Any]
N, N_IN, N_HIDDEN, N_Z, BATCH, EPOCHS = 50, 12, 9, 3, 16, 3
SEED, BETA, RATE = 11, 0.02, 0.01
RNG = np.random.default_rng(0)
X = RNG.uniform(size=(N, N_IN))


class Step(NamedTuple):
    """The loss of a batch, the gradients of the weights in their order, and the reconstruction."""

    loss: float
    gradients: list[Array]
    y: Array


def sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-z)))


def vae_step(weights: list[Array], x: Array, eps: Array) -> Step:
    """Compute forward and backward pass of the model below.

    h = tanh(x·W1 + b1), m = h·W2 + b2, v = h·W3 + b3, z = m + exp(v/2)·ε, d = tanh(z·W4 + b4),
    y = sigmoid(d·W5 + b5). The loss is the mean over the rows of the mean cross-entropy of y plus
    β/2·Σ (m² + exp(v) − 1 − v).
    """
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = weights
    n, n_in = x.shape
    h = np.tanh(x @ w1 + b1)
    m, v = h @ w2 + b2, h @ w3 + b3
    z = m + np.exp(v / 2) * eps
    d = np.tanh(z @ w4 + b4)
    y = sigmoid(d @ w5 + b5)
    entropy = -(x * np.log(y) + (1 - x) * np.log(1 - y)).mean()
    divergence = 0.5 * (m**2 + np.exp(v) - 1 - v).sum(axis=1).mean()

    dy = (y - x) / (n * n_in)
    dd = (dy @ w5.T) * (1 - d**2)
    dz = dd @ w4.T
    dm = dz + BETA * m / n
    dv = dz * 0.5 * np.exp(v / 2) * eps + BETA * 0.5 * (np.exp(v) - 1) / n
    dh = (dm @ w2.T + dv @ w3.T) * (1 - h**2)
    products = ((x, dh), (h, dm), (h, dv), (z, dd), (d, dy))
    gradients = [g for a, b in products for g in (a.T @ b, b.sum(axis=0))]
    return Step(float(entropy + BETA * divergence), gradients, y)


def adam(weights: list[Array], state: list[tuple[Array, Array]], step: Step, t: int) -> None:
    """Take the t-th step of Adam."""
    rate = RATE * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    for w, (m, v), g in zip(weights, state, step.gradients, strict=True):
        m += 0.1 * (g - m)
        v += 0.001 * (g * g - v)
        w -= rate * m / (np.sqrt(v) + 1e-7)


def build() -> Any:
    """Return the autoencoder, whose parts are models of their own, and these parts."""
    nnfast.set_seed(3)
    x = nnfast.Input((N_IN,), dtype="float64")
    h = Dense(N_HIDDEN, activation="tanh")(x)
    m, v = Dense(N_Z)(h), Dense(N_Z)(h)
    divergence = 0.5 * (m**2 + Activation("exponential")(v) - 1 - v)
    z = AddLoss(BETA)([Sampling(SEED)([m, v]), divergence])
    encoder = nnfast.Model(x, [m, v, z])
    decoder = nnfast.Sequential(
        [
            layers.Input((N_Z,)),
            Dense(N_HIDDEN, activation="tanh"),
            Dense(N_IN, activation="sigmoid"),
        ],
        dtype="float64",
    )
    model = nnfast.Model(x, decoder(encoder(x)[2]))
    model.compile(optimizers.Adam(RATE), "binary_crossentropy")
    return model, encoder, decoder


def test_training_agrees_with_numpy() -> None:
    model, encoder, decoder = build()
    model.build()
    weights = [w.copy() for w in model.get_weights()]
    state = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    history = model.fit(X, X, BATCH, EPOCHS, shuffle=False, verbose=0).history["loss"]
    t = 0
    for epoch in range(EPOCHS):
        eps, total = normal_draws(SEED, (N, N_Z), epoch), 0.0
        for begin in range(0, N, BATCH):
            rows = slice(begin, begin + BATCH)
            step = vae_step(weights, X[rows], eps[rows])
            total += step.loss * len(X[rows])
            t += 1
            adam(weights, state, step, t)
        assert_allclose(history[epoch], total / N, rtol=1e-10)
    for own, expected in zip(model.get_weights(), weights, strict=True):
        assert_allclose(own, expected, rtol=1e-9, atol=1e-11)

    eps = normal_draws(SEED, (N, N_Z))
    step = vae_step(weights, X, eps)
    assert_allclose(model.predict(X), step.y, rtol=1e-9)
    assert_allclose(model.evaluate(X, X, verbose=0), step.loss, rtol=1e-10)
    mean, log_variance, z = encoder.predict(X)
    assert_allclose(z, mean + np.exp(log_variance / 2) * eps, rtol=1e-12)
    assert_allclose(decoder.predict(z), step.y, rtol=1e-9)


def test_a_second_output_with_a_loss_adds_its_gradient() -> None:
    """One SGD step of a model with a reconstruction and a regression on the means."""
    model, encoder, _ = build()
    mean = encoder.outputs[0]
    y = Dense(1, name="regression")(mean)
    both = nnfast.Model(model.input, [model.output, y])
    both.compile(optimizers.SGD(1.0), ["binary_crossentropy", "mse"], loss_weights=[1.0, 0.5])
    target = RNG.normal(size=(N, 1))
    before = both.get_weights()
    shapes = [w.shape for w in before]
    w, b = before[-2:]
    kernel = next(i for i, shape in enumerate(shapes) if shape == (N_Z, 1))
    assert kernel == len(shapes) - 2
    step = vae_step(before[:-2], X, normal_draws(SEED, (N, N_Z), 0))
    w1, b1, w2, b2 = before[:4]
    h = np.tanh(X @ w1 + b1)
    m = h @ w2 + b2
    error = m @ w + b - target
    losses = both.train_on_batch(X, [X, target])
    assert_allclose(losses[0], step.loss + 0.5 * (error**2).mean(), rtol=1e-11)
    assert_allclose(losses[2], (error**2).mean(), rtol=1e-11)
    dy = error / N
    dm = dy @ w.T
    dh = (dm @ w2.T) * (1 - h**2)
    expected = [*step.gradients, m.T @ dy, dy.sum(axis=0)]
    for i, more in enumerate((X.T @ dh, dh.sum(axis=0), h.T @ dm, dm.sum(axis=0))):
        expected[i] = expected[i] + more
    for old, new, own in zip(before, both.get_weights(), expected, strict=True):
        assert_allclose(old - new, own, rtol=1e-9, atol=1e-12)

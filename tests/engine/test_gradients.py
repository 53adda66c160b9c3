"""Gradients agree with central differences, the NumPy reference and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import (
    CLASS_LOSSES,
    dense_model,
    distance_to_kink,
    loss_object,
    random_weights,
    targets,
)
from numpy.typing import NDArray
from reference import ACTIVATIONS, ELEMENTWISE_LOSSES, Network

LOSSES = [
    *ELEMENTWISE_LOSSES,
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_focal_crossentropy",
    "categorical_focal_crossentropy",
    "kl_divergence",
    "categorical_hinge",
    "cosine_similarity",
]
PROBABILITIES = ("sigmoid", "softmax")
POSITIVE = (*PROBABILITIES, "softplus", "exponential")
# Activations whose values the losses accept; by default any.
ACCEPTED = {
    "poisson": POSITIVE,
    "mean_squared_logarithmic_error": POSITIVE,
    "kl_divergence": PROBABILITIES,
}

# Cross-entropies of probabilities need outputs in (0, 1), and Poisson needs positive rates. A logit
# may be any real number.
PAIRS = [
    (activation, loss, from_logits)
    for activation in ACTIVATIONS
    for loss in LOSSES
    for from_logits in (False, True)
    if (
        from_logits or activation in PROBABILITIES
        if "crossentropy" in loss
        else not from_logits and activation in ACCEPTED.get(loss, ACTIVATIONS)
    )
]

M, SIZES = 7, (5, 6, 4)
KINK_MARGIN = 1e-3


def problem(
    hidden: str, activation: str, loss: str, from_logits: bool = False
) -> tuple[Network, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return a network with no pre-activation near a kink, x, y and sample weights."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        network = Network(
            random_weights(rng, SIZES), (hidden, activation), loss, from_logits=from_logits
        )
        x = rng.normal(size=(M, SIZES[0]))
        y = targets(rng, loss, M, SIZES[-1])
        if distance_to_kink(network, x) > KINK_MARGIN:
            return network, x, y, rng.uniform(0.5, 2.0, M)
    raise AssertionError("every seed gives a pre-activation near a kink")


def compiled(network: Network) -> Any:
    model = dense_model(SIZES, network.activations)
    model.set_weights(network.weights)
    model.compile("sgd", loss_object(network.loss, network.from_logits))
    return model


def central_differences(
    model: Any, x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None
) -> list[NDArray[Any]]:
    """Return the gradient of the loss f, computed as (f(w + h) − f(w − h)) / 2h."""
    h = 1e-5
    weights = model.get_weights()
    gradients = [np.empty_like(w) for w in weights]
    for w, g in zip(weights, gradients, strict=True):
        for i in np.ndindex(w.shape):
            value, sides = w[i], []
            for w[i] in (value + h, value - h):
                model.set_weights(weights)
                sides.append(model.loss_and_grad(x, y, sample_weight=weight)[0])
            w[i] = value
            g[i] = (sides[0] - sides[1]) / (2 * h)
    model.set_weights(weights)
    return gradients


def assert_close(actual: list[Any], expected: list[Any], relative: float) -> None:
    """Compare arrays; the tolerance is relative to the largest element of all of them."""
    scale = max(np.abs(e).max() for e in expected)
    assert scale > 1e-3
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        np.testing.assert_allclose(a, e, rtol=0, atol=relative * scale)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("activation", "loss", "from_logits"), PAIRS)
def test_output_activations_and_losses_agree_with_numpy_and_differences(
    activation: str, loss: str, from_logits: bool, weighted: bool
) -> None:
    network, x, y, weight = problem("tanh", activation, loss, from_logits)
    sample_weight = weight if weighted else None
    model = compiled(network)

    value, gradients = model.loss_and_grad(x, y, sample_weight=sample_weight)
    expected_value, expected = network.loss_and_grad(x, y, sample_weight)
    assert value == pytest.approx(expected_value, rel=1e-13)
    assert_close(gradients, expected, 1e-13)
    assert_close(gradients, central_differences(model, x, y, sample_weight), 1e-6)


@pytest.mark.parametrize("hidden", ACTIVATIONS)
@pytest.mark.parametrize(
    ("activation", "loss"),
    [("linear", "mean_squared_error"), ("softmax", "sparse_categorical_crossentropy")],
)
def test_hidden_activations_agree_with_numpy_and_differences(
    hidden: str, activation: str, loss: str
) -> None:
    network, x, y, _ = problem(hidden, activation, loss)
    model = compiled(network)
    _, gradients = model.loss_and_grad(x, y)
    assert_close(gradients, network.loss_and_grad(x, y)[1], 1e-13)
    assert_close(gradients, central_differences(model, x, y, None), 1e-6)


@pytest.mark.parametrize(("activation", "loss", "from_logits"), PAIRS)
def test_float32_gradients_agree_with_float64(
    activation: str, loss: str, from_logits: bool
) -> None:
    network, x, y, weight = problem("relu", activation, loss, from_logits)
    model = dense_model(SIZES, network.activations, dtype="float32")
    model.set_weights(network.weights)
    model.compile("sgd", loss_object(loss, from_logits))
    value, gradients = model.loss_and_grad(x, y, sample_weight=weight)
    expected_value, expected = network.loss_and_grad(x, y, weight)
    assert value == pytest.approx(expected_value, rel=1e-5)
    assert all(g.dtype == np.float32 for g in gradients)
    assert_close(gradients, expected, 1e-5)


@pytest.mark.parametrize(
    ("activation", "loss", "scale"),
    [
        ("sigmoid", "binary_crossentropy", 1e3),
        ("softmax", "categorical_crossentropy", 1e3),
        ("softmax", "sparse_categorical_crossentropy", 1e3),
    ],
)
def test_cross_entropies_of_large_logits_are_stable(
    activation: str, loss: str, scale: float
) -> None:
    network, x, y, _ = problem("linear", activation, loss)
    network.weights = [w * scale for w in network.weights]
    value, gradients = compiled(network).loss_and_grad(x, y)
    expected_value, expected = network.loss_and_grad(x, y)
    assert np.isfinite(value)
    assert value == pytest.approx(expected_value, rel=1e-13)
    assert_close(gradients, expected, 1e-13)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "crossentropy" in loss])
def test_probabilities_are_clipped_like_in_keras(loss: str, from_logits: bool) -> None:
    """If loss and activation are not fused, saturated outputs have clipped loss and no gradient."""
    activation = "softmax" if loss == "binary_crossentropy" else "sigmoid"
    network, x, y, _ = problem("linear", activation, loss, from_logits)
    network.weights = [w * 30 for w in network.weights]
    value, gradients = compiled(network).loss_and_grad(x, y)
    expected_value, expected = network.loss_and_grad(x, y)
    assert value == pytest.approx(expected_value, rel=1e-12)
    for g, e in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-9, atol=1e-12)


def test_loss_and_grad_applies_no_dropout_and_changes_no_weights() -> None:
    import nnfast
    from nnfast import layers

    model = nnfast.Sequential(
        [layers.Input((3,)), layers.Dense(8), layers.Dropout(0.5), layers.Dense(1)],
        dtype="float64",
    )
    model.compile("adam", "mean_squared_error")
    x, y = np.ones((4, 3)), np.zeros(4)
    before = model.get_weights()
    first, second = model.loss_and_grad(x, y), model.loss_and_grad(x, y)
    assert first[0] == second[0] == model.evaluate(x, y, verbose=0)
    for g, h in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(g, h)
    for w, v in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)


def torch_loss_and_grad(
    network: Network, x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any]
) -> tuple[float, list[NDArray[Any]]]:
    """Return PyTorch's loss and gradients, computed with its built-in losses."""
    import torch

    functional = torch.nn.functional
    parameters = [torch.tensor(w, requires_grad=True) for w in network.weights]
    own = {
        "leaky_relu": lambda z: functional.leaky_relu(z, 0.2),
        "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
        "hard_sigmoid": functional.hardsigmoid,
        "hard_tanh": functional.hardtanh,
        "hard_silu": functional.hardswish,
        "log_sigmoid": functional.logsigmoid,
        "tanh_shrink": functional.tanhshrink,
        "soft_shrink": functional.softshrink,
        "hard_shrink": functional.hardshrink,
        "squareplus": lambda z: (z + torch.sqrt(z**2 + 4)) / 2,
        "sparse_plus": lambda z: torch.where(z < 1, (z + 1).clamp(min=0) ** 2 / 4, z),
        "sparse_sigmoid": lambda z: ((z + 1) / 2).clamp(0, 1),
        "exponential": torch.exp,
    }
    own_losses = {
        "mean_squared_error": functional.mse_loss,
        "mean_absolute_error": functional.l1_loss,
        "huber": functional.huber_loss,
    }
    last = len(network.activations) - 1
    a = torch.tensor(x)
    for i, activation in enumerate(network.activations):
        a = a @ parameters[2 * i] + parameters[2 * i + 1]
        if i == last and network.loss in CLASS_LOSSES and activation == "softmax":
            break  # cross_entropy takes logits
        if activation == "softmax":
            a = torch.softmax(a, dim=1)
        elif activation in own:
            a = own[activation](a)
        elif activation != "linear":
            a = getattr(functional, activation)(a)
    if network.loss in CLASS_LOSSES:
        rows = functional.cross_entropy(a, torch.tensor(y), reduction="none")
    elif network.loss in own_losses:
        rows = own_losses[network.loss](a, torch.tensor(y), reduction="none").mean(1)
    elif network.from_logits:
        rows = functional.binary_cross_entropy_with_logits(
            a, torch.tensor(y), reduction="none"
        ).mean(1)
    else:
        rows = functional.binary_cross_entropy(a, torch.tensor(y), reduction="none").mean(1)
    value = (rows * torch.tensor(weight)).sum() / len(x)
    value.backward()
    return value.item(), [p.grad.numpy() for p in parameters]


@pytest.mark.peers
@pytest.mark.parametrize(
    ("hidden", "activation", "loss", "from_logits"),
    [
        ("relu", "linear", "mean_squared_error", False),
        # PyTorch's hardsigmoid rounds 1/6 to float32.
        *((f, "linear", "huber", False) for f in ACTIVATIONS if f != "hard_sigmoid"),
        ("gelu", "mish", "mean_absolute_error", False),
        ("tanh", "sigmoid", "mean_squared_error", False),
        ("relu", "softmax", "mean_squared_error", False),
        ("softmax", "tanh", "mean_squared_error", False),
        ("sigmoid", "sigmoid", "binary_crossentropy", False),
        ("relu", "softmax", "binary_crossentropy", False),
        ("tanh", "linear", "binary_crossentropy", True),
        ("relu", "softmax", "categorical_crossentropy", False),
        ("relu", "linear", "categorical_crossentropy", True),
        ("tanh", "softmax", "sparse_categorical_crossentropy", False),
        ("relu", "tanh", "sparse_categorical_crossentropy", True),
    ],
)
def test_gradients_agree_with_pytorch(
    hidden: str, activation: str, loss: str, from_logits: bool
) -> None:
    network, x, y, weight = problem(hidden, activation, loss, from_logits)
    value, gradients = compiled(network).loss_and_grad(x, y, sample_weight=weight)
    expected_value, expected = torch_loss_and_grad(network, x, y, weight)
    assert value == pytest.approx(expected_value, rel=1e-12)
    assert_close(gradients, expected, 1e-12)

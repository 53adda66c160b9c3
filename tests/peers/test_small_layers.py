"""Small layers agree with PyTorch, and layers with random numbers have Keras' distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import randomize

import nnfast
from nnfast import layers

pytestmark = pytest.mark.peers

IMAGE = (4, 3, 6)

# name: (layer, the same in PyTorch for channels first, given the layer's weights as tensors)
TORCH: dict[str, tuple[Callable[[], layers.Layer], Callable[..., Any]]] = {
    "LeakyReLU": (lambda: layers.LeakyReLU(0.1), lambda f, x: f.leaky_relu(x, 0.1)),
    "ELU": (lambda: layers.ELU(0.5), lambda f, x: f.elu(x, 0.5)),
    "ReLU6": (lambda: layers.ReLU(6.0), lambda f, x: f.relu6(x)),
    "ReLU with a limit": (lambda: layers.ReLU(0.5), lambda f, x: f.hardtanh(x, 0.0, 0.5)),
    "PReLU": (
        lambda: layers.PReLU(shared_axes=[1, 2]),
        lambda f, x, alpha: f.prelu(x, alpha.reshape(-1)),
    ),
    "PReLU with one slope": (
        lambda: layers.PReLU(shared_axes=[1, 2, 3]),
        lambda f, x, alpha: f.prelu(x, alpha.reshape(-1)),
    ),
    "Softmax": (lambda: layers.Softmax(axis=-1), lambda f, x: f.softmax(x, 1)),
    "Softmax of rows": (lambda: layers.Softmax(axis=1), lambda f, x: f.softmax(x, 2)),
    "GroupNormalization": (
        lambda: layers.GroupNormalization(3, epsilon=0.01),
        lambda f, x, gamma, beta: f.group_norm(x, 3, gamma, beta, 0.01),
    ),
    "instance normalization": (
        lambda: layers.GroupNormalization(-1, epsilon=0.01),
        lambda f, x, gamma, beta: f.instance_norm(x, weight=gamma, bias=beta, eps=0.01),
    ),
    "UnitNormalization": (
        layers.UnitNormalization,
        lambda f, x: f.normalize(x, dim=1),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_outputs_and_gradients_equal_those_of_pytorch(name: str) -> None:
    import torch

    make, function = TORCH[name]
    model = nnfast.Sequential([layers.Input(IMAGE), make()], dtype="float64")
    model.compile("sgd", "mse")
    weights = [torch.tensor(w, requires_grad=True) for w in randomize(model)]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, *IMAGE)), rng.normal(size=(5, *IMAGE))
    inputs = torch.tensor(x, requires_grad=True)
    out = function(torch.nn.functional, inputs.permute(0, 3, 1, 2), *weights).permute(0, 2, 3, 1)
    np.testing.assert_allclose(model.predict(x), out.detach(), rtol=1e-10, atol=1e-12)
    torch.nn.functional.mse_loss(out, torch.tensor(y)).backward()
    for exact, w in zip(model.loss_and_grad(x, y)[1], weights, strict=True):
        assert w.grad is not None
        np.testing.assert_allclose(exact.reshape(w.shape), w.grad, rtol=1e-8, atol=1e-10)
    assert inputs.grad is not None
    rows = model.input_gradient(x, y)  # of the loss of each row
    np.testing.assert_allclose(rows, 5 * inputs.grad, rtol=1e-8, atol=1e-10)


def outputs(layer: Any, shape: tuple[int, ...]) -> Any:
    """Return what a layer of nnfast makes of ones in training, from the step of a dense layer."""
    size = int(np.prod(shape[1:]))
    dense = layers.Dense(shape[0], kernel_initializer="zeros", use_bias=False)
    model = nnfast.Sequential([layers.Input(shape[1:]), layer, layers.Flatten(), dense])
    model.compile(nnfast.optimizers.SGD(1.0), lambda y, a: ((a * y).sum(axis=1), y))
    model.fit(np.ones(shape), -np.eye(shape[0]), shape[0], shuffle=False, verbose=0)
    assert dense.kernel.shape == (size, shape[0])
    return (dense.get_weights()[0].T * shape[0]).reshape(shape)


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("AlphaDropout", (0.25,), (40, 30)),
        ("AlphaDropout", (0.25, (40, 1, 5)), (40, 20, 5)),
        ("SpatialDropout1D", (0.25,), (40, 20, 5)),
        ("SpatialDropout2D", (0.25,), (40, 4, 3, 9)),
        ("GaussianDropout", (0.25,), (40, 30)),
    ],
)
def test_draws_have_the_distribution_of_keras(
    name: str, arguments: tuple[Any, ...], shape: tuple[int, ...], keras: Any
) -> None:
    expected = getattr(keras.layers, name)(*arguments, seed=1)(np.ones(shape), training=True)
    expected = keras.ops.convert_to_numpy(expected)
    actual = outputs(getattr(layers, name)(*arguments, seed=1), shape)
    if name != "GaussianDropout":
        kept = [np.unique(each.round(3)) for each in (actual, expected)]
        np.testing.assert_allclose(*kept, atol=1.1e-3)
    # Elements that are equal in one are equal in the other.
    shared = [
        np.ptp(each, axis=axis).max() < 1e-6
        for each in (actual, expected)
        for axis in range(1, len(shape))
    ]
    assert shared[: len(shape) - 1] == shared[len(shape) - 1 :]
    draws = actual.size if "Spatial" not in name and len(arguments) == 1 else 5 * shape[0]
    assert abs(actual.mean() - expected.mean()) < 6 * expected.std() / np.sqrt(draws)
    assert abs(actual.std() - expected.std()) < 6 * expected.std() / np.sqrt(draws)

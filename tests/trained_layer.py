"""Training of one layer for images, to see its outputs and its input gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import nnfast
from nnfast import layers, optimizers

Images = NDArray[Any]


def images(rows: int, *shape: int) -> Images:
    """Return images with distinct nonzero pixels that are exact in float32."""
    numbers = np.arange(1.0, 1 + rows * np.prod(shape)) / 4096
    return np.random.default_rng(0).permutation(numbers).reshape(rows, *shape)


class Trained:
    """The outputs of a layer in training, and the gradients that it passes backward.

    A preceding Dense layer holds one image per row of its kernel, and its input is the identity
    matrix. The kernel's gradient is therefore the tested layer's input gradient, one row per image.
    """

    def __init__(
        self,
        layer: layers.Layer,
        x: Images,
        *,
        dtype: str = "float64",
        seed: int = 0,
        epochs: int = 1,
        batch_size: int | None = None,
        before: int = 0,
    ) -> None:
        n = len(x)
        self.outputs: list[Images] = []
        size = batch_size or n
        stack = [layers.Activation("linear") for _ in range(before)]
        model = nnfast.Sequential(
            [
                layers.Input((n,)),
                *stack,
                layers.Dense(x[0].size, use_bias=False),
                layers.Reshape(x.shape[1:]),
                layer,
            ],
            dtype=dtype,
        )
        model._built().engine.set_seed(seed)
        self.model = model
        shape = (n, *model.output_shape[1:])
        self.output_gradients = np.random.default_rng(1).normal(size=shape)

        def loss(y: Images, a: Images) -> tuple[Images, Images]:
            self.outputs[-1].append(np.array(a))
            return (a * y).reshape(len(a), -1).sum(axis=1), y

        model.compile(optimizers.SGD(0.0), loss)
        kernel = model.layers[before]
        kernel.set_weights([x.reshape(n, -1)])
        for epoch in range(epochs):
            self.outputs.append([])
            if epoch == epochs - 1:
                model.optimizer.learning_rate = 1.0
            model.fit(np.eye(n), self.output_gradients, batch_size=size, shuffle=False, verbose=0)
        self.outputs = [np.concatenate(parts).reshape(shape) for parts in self.outputs]
        sizes = np.array([min(size, n - i // size * size) for i in range(n)])
        step = (x.reshape(n, -1) - kernel.kernel) * sizes[:, None]
        self.gradient = step.reshape(x.shape)


def matrix(function: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the matrix of a linear function that maps one image to another."""
    basis = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.array([function(image).ravel() for image in basis]).T


def assert_transposed(trained: Trained, row: int, function: Any) -> None:
    a = matrix(function, trained.gradient.shape[1:])
    expected = (a.T @ trained.output_gradients[row].ravel()).reshape(trained.gradient.shape[1:])
    assert_allclose(trained.gradient[row], expected, rtol=1e-9, atol=1e-11)

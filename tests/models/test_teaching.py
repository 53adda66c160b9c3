"""Tests that examples from introductory courses reach the expected accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast.layers import Conv2D, Dense, Input, MaxPooling2D, UpSampling2D

XOR_X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
XOR_Y = np.array([0, 1, 1, 0])


def xor_model(seed: int) -> nnfast.Sequential:
    nnfast.set_seed(seed)
    return nnfast.Sequential(
        [Input((2,)), Dense(4, activation="tanh"), Dense(1, activation="sigmoid")]
    )


def test_xor_is_learned_for_nearly_every_seed() -> None:
    accuracies = []
    for seed in range(20):
        model = xor_model(seed)
        model.compile(nnfast.optimizers.SGD(0.5), "binary_crossentropy", metrics=["accuracy"])
        model.fit(XOR_X, XOR_Y, batch_size=4, epochs=3000, verbose=0)
        accuracies.append(model.evaluate(XOR_X, XOR_Y, verbose=0)[1])
    assert sum(accuracy == 1.0 for accuracy in accuracies) >= 19


def test_xor_is_learned_with_sigmoids_and_squared_error() -> None:
    """Sigmoids in every layer are the textbook's choice; they learn slowly."""
    solved = 0
    for seed in range(5):
        nnfast.set_seed(seed)
        model = nnfast.Sequential(
            [Dense(4, activation="sigmoid", input_dim=2), Dense(1, activation="sigmoid")]
        )
        optimizer = nnfast.optimizers.Adam(0.05)
        model.compile(optimizer, "mean_squared_error", metrics=["accuracy"])
        model.fit(XOR_X, XOR_Y, batch_size=4, epochs=3000, verbose=0)
        loss, accuracy = model.evaluate(XOR_X, XOR_Y, verbose=0)
        solved += accuracy == 1.0 and loss < 0.01
    assert solved >= 4


def test_xor_is_learned_with_a_tanh_layer_and_squared_error() -> None:
    model = xor_model(0)
    model.compile(nnfast.optimizers.SGD(0.5), "mse", metrics=["accuracy"])
    model.fit(XOR_X, XOR_Y, batch_size=4, epochs=5000, verbose=0)
    loss, accuracy = model.evaluate(XOR_X, XOR_Y, verbose=0)
    assert accuracy == 1.0
    assert loss < 0.05


def test_linear_regression_finds_the_slope_of_a_noisy_line() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 1000)
    y = 3 * x + rng.normal(0, 0.1, 1000)
    nnfast.set_seed(0)
    model = nnfast.Sequential([Dense(1, input_dim=1)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    history = model.fit(x, y, epochs=100, batch_size=10, verbose=0)
    w, b = model.get_weights()
    assert w[0, 0] == pytest.approx(3, abs=0.05)
    assert b[0] == pytest.approx(0, abs=0.05)
    # The remaining loss is the variance of the noise.
    assert history.history["loss"][-1] == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("batch_size", [4, 1, 2], ids=["full batch", "stochastic", "mini-batch"])
def test_gradient_descent_fits_a_linear_table(batch_size: int) -> None:
    x = np.array([[1, 2], [2, 3], [3, 4], [4, 5]])
    y = np.array([3, 5, 7, 9])
    nnfast.set_seed(1)
    model = nnfast.Sequential([Dense(1, input_dim=2)])
    model.compile(nnfast.optimizers.SGD(0.01), "mse")
    history = model.fit(x, y, batch_size=batch_size, epochs=2000, verbose=0).history["loss"]
    assert history[-1] < 1e-3
    assert history[-1] < history[0]
    np.testing.assert_allclose(model.predict(x, verbose=0)[:, 0], y, atol=0.1)
    assert model.predict([[5, 6]], verbose=0)[0, 0] == pytest.approx(11, abs=0.2)


def test_autoencoder_beats_principal_components() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    x = datasets.load_digits().data / 16
    x = x[np.random.default_rng(0).permutation(len(x))]
    train, test = x[:1437], x[1437:]
    nnfast.set_seed(0)
    model = nnfast.Sequential(
        [Input((64,)), Dense(16, activation="tanh"), Dense(64, activation="sigmoid")]
    )
    model.compile(nnfast.optimizers.Adam(0.003), "mse")
    model.fit(train, train, batch_size=32, epochs=200, verbose=0)

    mean = train.mean(axis=0)
    components = np.linalg.svd(train - mean, full_matrices=False)[2][:16]
    projected = (test - mean) @ components.T @ components + mean
    assert model.evaluate(test, test, verbose=0) < ((projected - test) ** 2).mean()


# The image classifier from Keras' tutorials, without the imports and the data.
CLASSIFIER = """
model = models.Sequential([
    layers.Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)),
    layers.MaxPooling2D((2, 2)),
    layers.Conv2D(64, (3, 3), activation='relu'),
    layers.MaxPooling2D((2, 2)),
    layers.Conv2D(64, (3, 3), activation='relu'),
    layers.Flatten(),
    layers.Dense(64, activation='relu'),
    layers.Dense(10, activation='softmax')
])
model.compile(optimizer='adam',
              loss='sparse_categorical_crossentropy',
              metrics=['accuracy'])
model.fit(train_images, train_labels, epochs=5)
test_loss, test_acc = model.evaluate(test_images, test_labels)
"""


def strokes(n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return noisy images and labels of ten classes: a bar, vertical or horizontal, in one of
    five positions."""
    rng = np.random.default_rng(n)
    labels = rng.integers(0, 10, n)
    images = rng.uniform(0, 0.4, (n, 28, 28, 1))
    for image, label in zip(images, labels, strict=True):
        upright = image if label < 5 else image.transpose(1, 0, 2)
        start = 3 + label % 5 * 5 + rng.integers(-1, 2)
        upright[4:24, start : start + 3] += 0.6
    return images, labels


@pytest.mark.parametrize(
    "imports", ["from nnfast import layers, models", "from nnfast.keras import layers, models"]
)
def test_the_image_classifier_of_keras_tutorials_runs_unchanged(
    imports: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nnfast.set_seed(0)
    names: dict[str, Any] = {}
    names["train_images"], names["train_labels"] = strokes(400)
    names["test_images"], names["test_labels"] = strokes(100)
    exec(imports + CLASSIFIER, names)
    assert names["model"].count_params() == 93_322  # The number that Keras' summary prints.
    assert "Epoch 5/5" in capsys.readouterr().out
    assert names["test_acc"] > 0.95
    assert names["test_loss"] < 0.3


def test_convolutional_autoencoder_beats_principal_components() -> None:
    """8×8 pixels are encoded as 2×2×4 numbers and compared with 16 principal components."""
    datasets = pytest.importorskip("sklearn.datasets")
    x = datasets.load_digits().images[..., None] / 16
    x = x[np.random.default_rng(0).permutation(len(x))]
    train, test = x[:1437], x[1437:]
    nnfast.set_seed(0)
    model = nnfast.Sequential(
        [
            Input((8, 8, 1)),
            *(Conv2D(16, 3, padding="same", activation="gelu"), MaxPooling2D()),
            *(Conv2D(32, 3, padding="same", activation="gelu"), MaxPooling2D()),
            Conv2D(4, 3, padding="same", activation="tanh", name="code"),
            *(UpSampling2D(), Conv2D(32, 3, padding="same", activation="gelu")),
            *(UpSampling2D(), Conv2D(16, 3, padding="same", activation="gelu")),
            Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    model.compile(nnfast.optimizers.Adam(0.005), "mse")
    model.fit(train, train, batch_size=16, epochs=20, verbose=0)

    flat, flat_test = train.reshape(-1, 64), test.reshape(-1, 64)
    mean = flat.mean(axis=0)
    components = np.linalg.svd(flat - mean, full_matrices=False)[2][:16]
    projected = (flat_test - mean) @ components.T @ components + mean
    assert model.evaluate(test, test, verbose=0) < 0.9 * ((projected - flat_test) ** 2).mean()

"""Convolutions on handwritten digits: Keras' image classifier and LeNet-5.

python examples/mnist_convolution.py [folder with the MNIST files]

The folder contains MNIST's 10,000 test images and their labels in IDX format, compressed or not
(``t10k-images-idx3-ubyte.gz``, …). 8,000 of them are used for training and 2,000 for
testing. Without a folder, scikit-learn's 8×8 digits are enlarged and used instead.
"""

import sys
import time
from pathlib import Path

import numpy as np

import nnfast
from nnfast import layers, models
from nnfast.datasets import load_digits, load_idx


def load(arguments: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return images of bytes, labels, and the number of training images."""
    if arguments:
        images, labels = (
            load_idx(next(Path(arguments[0]).glob(f"*t10k-{kind}-idx*-ubyte*")))
            for kind in ("images", "labels")
        )
        return images[..., np.newaxis], labels, 8000
    pixels, labels = load_digits()
    order = np.random.default_rng(0).permutation(len(labels))
    small = (pixels[order] * 255).astype(np.uint8).reshape(-1, 8, 8, 1)
    large = np.pad(small.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2), (0, 0)))
    return large, labels[order], 1437


def keras_classifier() -> nnfast.Sequential:
    return models.Sequential(
        [
            layers.Rescaling(1 / 255, input_shape=(28, 28, 1)),
            *(layers.Conv2D(32, (3, 3), activation="relu"), layers.MaxPooling2D((2, 2))),
            *(layers.Conv2D(64, (3, 3), activation="relu"), layers.MaxPooling2D((2, 2))),
            *(layers.Conv2D(64, (3, 3), activation="relu"), layers.Flatten()),
            *(layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")),
        ]
    )


def lenet_5() -> nnfast.Sequential:
    return models.Sequential(
        [
            layers.Rescaling(1 / 255, input_shape=(28, 28, 1)),
            *(layers.Conv2D(6, 5, padding="same", activation="relu"), layers.MaxPooling2D()),
            *(layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(), layers.Flatten()),
            *(layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu")),
            layers.Dense(10, activation="softmax"),
        ]
    )


def augmented() -> nnfast.Sequential:
    """Return LeNet-5 with a layer that randomly shifts training images by up to a tenth."""
    model = models.Sequential([layers.Rescaling(1 / 255, input_shape=(28, 28, 1))])
    model.add(layers.RandomTranslation(0.1, 0.1, fill_mode="constant"))
    for layer in lenet_5().layers[1:]:
        model.add(layer)
    return model


x, y, n = load(sys.argv[1:])
for name, make in (
    ("Keras' classifier", keras_classifier),
    ("LeNet-5", lenet_5),
    ("LeNet-5, shifted", augmented),
):
    nnfast.set_seed(0)
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    model.fit(x[:n], y[:n], epochs=5, verbose=0)
    seconds = time.perf_counter() - started
    _, accuracy = model.evaluate(x[n:], y[n:], verbose=0)
    print(f"{name:18} {model.count_params():7,} weights, accuracy {accuracy:.4f}, {seconds:5.2f} s")

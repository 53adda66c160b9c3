"""Images, a model, and a comparison of batches for the tests of image iterators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnfast
from nnfast import keras

Images = NDArray[np.float32]


def images(n: int = 10, height: int = 6, width: int = 6, channels: int = 3) -> Images:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, height, width, channels)).astype(np.float32)


def classifier(shape: tuple[int, ...], outputs: int = 1) -> Any:
    nnfast.set_seed(0)
    model = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(outputs, activation="sigmoid" if outputs == 1 else "softmax"),
        ]
    )
    loss = "binary_crossentropy" if outputs == 1 else "categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def parts(batches: Any, epochs: int = 2) -> Iterator[Any]:
    """Yield the parts of batches: by `next`, and by number in two epochs."""
    for _ in range(len(batches) * epochs + 1):
        batch = next(batches)
        yield from batch if isinstance(batch, tuple) else (batch,)
    for _ in range(epochs):
        for number in reversed(range(len(batches))):
            batch = batches[number]
            yield from batch if isinstance(batch, tuple) else (batch,)
        batches.on_epoch_end()


def assert_same(ours: Any, theirs: Any) -> None:
    assert len(ours) == len(theirs)
    for own, expected in zip(parts(ours), parts(theirs), strict=True):
        np.testing.assert_array_equal(own, expected)
        assert own.dtype == expected.dtype

"""Layers that resize, move and change images give Keras' outputs if both make the same change.

Keras draws other random numbers, so both limits of a factor are equal. Keras computes positions in
float32. Positions in the middle between two pixels are avoided, because its back ends round them
differently.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers

pytestmark = pytest.mark.peers

SHAPES = [(7, 8, 1), (6, 5, 3), (1, 4, 2), (12, 5, 3)]
MODES = ["reflect", "constant", "nearest", "wrap"]
INTERPOLATIONS = ["bilinear", "nearest"]


def outputs(layer: layers.Layer, x: Any) -> Any:
    """Return the outputs of a layer in training."""
    model = nnfast.Sequential([layers.Input(x.shape[1:]), layer], dtype="float64")
    seen: list[Any] = []

    def loss(y: Any, a: Any) -> tuple[Any, Any]:
        seen.append(np.array(a))
        return np.zeros(len(a)), np.zeros_like(a)

    model.compile("sgd", loss)
    shape = (len(x), *model.output_shape[1:])
    model.fit(x, np.zeros(shape), batch_size=len(x), shuffle=False, verbose=0)
    return seen[0].reshape(shape)


def assert_agree(keras: Any, name: str, *arguments: Any, **options: Any) -> None:
    for shape in SHAPES:
        x = np.random.default_rng(0).uniform(size=(3, *shape))
        expected = getattr(keras.layers, name)(*arguments, dtype="float64", **options)(
            keras.ops.convert_to_tensor(x), training=True
        )
        actual = outputs(getattr(layers, name)(*arguments, **options), x)
        np.testing.assert_allclose(actual, keras.ops.convert_to_numpy(expected), atol=2e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_zooms_and_rotations_agree(mode: str, interpolation: str, keras64: Any) -> None:
    options = {"fill_mode": mode, "interpolation": interpolation, "fill_value": 0.7}
    for f in (0.1, -0.37, 0.013, 0.77):
        assert_agree(keras64, "RandomRotation", (f, f), **options)
        assert_agree(keras64, "RandomZoom", (f, f), **options)
        assert_agree(keras64, "RandomZoom", (f, f), (-0.33, -0.33), **options)


@pytest.mark.parametrize("size", [(3, 4), (7, 8), (14, 16), (5, 3), (2, 9), (1, 1), (20, 3)])
def test_resizing_agrees(size: tuple[int, int], keras64: Any) -> None:
    assert_agree(keras64, "CenterCrop", *size)
    for interpolation in INTERPOLATIONS:
        assert_agree(keras64, "Resizing", *size, interpolation)
        assert_agree(keras64, "Resizing", *size, interpolation, crop_to_aspect_ratio=True)
        assert_agree(
            *(keras64, "Resizing", *size, interpolation),
            pad_to_aspect_ratio=True,
            fill_value=0.3,
        )


@pytest.mark.parametrize("limits", [(0, 1), (0.2, 0.7), (0, 255)])
def test_contrast_and_brightness_agree(limits: tuple[float, float], keras64: Any) -> None:
    for f in (0.0, 0.3, -0.2):
        # Keras draws the factor of the contrast between 1 - lower and 1 + upper.
        assert_agree(keras64, "RandomContrast", (-abs(f), abs(f)), limits)
        assert_agree(keras64, "RandomBrightness", (f, f), limits)


def test_a_number_means_the_same_limits(keras64: Any) -> None:
    for name, f in itertools.product(
        ("RandomRotation", "RandomContrast", "RandomBrightness"), (0, 0.2, 1, (0.3, 0.1), (-2, 2))
    ):
        ours = getattr(layers, name)(f).factor
        assert ours == tuple(getattr(keras64.layers, name)(f).factor), (name, f)

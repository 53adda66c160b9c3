"""Transformations of single images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from image_batches import Images, images

from nnfast.keras.preprocessing import image

pytest.importorskip("PIL")
pytest.importorskip("scipy")

# The axes of images with channels last.
LAST = {"row_axis": 0, "col_axis": 1, "channel_axis": 2}


def test_shifts_and_zooms_move_pixels() -> None:
    x = images(1)[0]
    shifted = image.apply_affine_transform(x, tx=2, **LAST)
    np.testing.assert_array_equal(shifted[:, :-2], x[:, 2:])
    np.testing.assert_array_equal(shifted[:, -2:], np.repeat(x[:, -1:], 2, axis=1))
    shifted = image.apply_affine_transform(x, ty=-1, fill_mode="constant", cval=7.0, **LAST)
    np.testing.assert_array_equal(shifted[1:], x[:-1])
    np.testing.assert_array_equal(shifted[0], 7)
    first = np.moveaxis(x, -1, 0)
    np.testing.assert_array_equal(image.apply_affine_transform(first, ty=1)[:, :-1], first[:, 1:])
    enlarged = image.apply_affine_transform(x, zx=0.5, zy=0.5, order=0, **LAST)
    np.testing.assert_array_equal(np.unique(enlarged), np.unique(x[1:5, 1:5]))


@pytest.mark.parametrize("order", [0, 1, 3])
def test_rotations_by_90_degrees(order: int) -> None:
    x = images(1)[0]
    turned = image.apply_affine_transform(x, theta=90, order=order, **LAST)
    np.testing.assert_allclose(turned, np.rot90(x), atol=1e-3)
    back = image.apply_affine_transform(turned, theta=-90, order=order, **LAST)
    np.testing.assert_allclose(back, x, atol=1e-2)
    assert image.apply_affine_transform(x, **LAST) is x


def test_shears_keep_the_middle_row() -> None:
    x = images(1, 5, 5)[0]
    sheared = image.apply_affine_transform(x, shear=45, order=0, **LAST)
    assert not np.array_equal(sheared, x)
    np.testing.assert_array_equal(sheared[2, 2], x[2, 2])


def test_channel_and_brightness_shifts() -> None:
    x = images(1)[0]
    shifted = image.apply_channel_shift(x, 30.0, channel_axis=2)
    np.testing.assert_array_equal(shifted, np.clip(x + 30, x.min(), x.max()))
    np.testing.assert_array_equal(image.apply_brightness_shift(x, 0.5, scale=False), x // 2)
    np.testing.assert_array_equal(image.apply_brightness_shift(x, 0.0), 0)
    outside = image.apply_brightness_shift(x - 300, 1.0, scale=False)
    np.testing.assert_allclose(outside, x - 300, atol=1.5)


RANDOM: list[Callable[[Images], Images]] = [
    lambda x: image.random_rotation(x, 40, **LAST),
    lambda x: image.random_shift(x, 0.3, 0.3, **LAST),
    lambda x: image.random_shear(x, 30, **LAST),
    lambda x: image.random_zoom(x, (0.5, 1.5), **LAST),
    lambda x: image.random_channel_shift(x, 60, channel_axis=2),
    lambda x: image.random_brightness(x, (0.5, 1.5)),
]


@pytest.mark.parametrize("transform", RANDOM)
def test_random_transformations_depend_on_the_seed_of_numpy(transform: Any) -> None:
    x = images(1)[0]
    kept = x.copy()
    found = []
    for seed in (1, 1, 2):
        np.random.seed(seed)  # noqa: NPY002
        found.append(transform(x))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    np.testing.assert_array_equal(x, kept)
    assert found[0].shape == x.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: image.apply_affine_transform(images()), "must be one image with three axes"),
        (lambda: image.apply_affine_transform(images(1)[0], 1, row_axis=0), "must be 0, 1 and 2"),
        (
            lambda: image.apply_affine_transform(
                images(1)[0], 1, row_axis=0, col_axis=2, channel_axis=1
            ),
            "channels first or last",
        ),
        (lambda: image.apply_affine_transform(images(1)[0], 1, fill_mode="zero"), "fill_mode"),
        (lambda: image.apply_affine_transform(images(1)[0], 1, order=6), "order must be"),
        (lambda: image.random_zoom(images(1)[0], (1.0,)), "zoom_range must be two numbers"),
        (lambda: image.random_brightness(images(1)[0], (1.0,)), "brightness_range must be two"),
        (lambda: image.apply_channel_shift(images(1)[0], 1.0, 3), "channel_axis must be an axis"),
    ],
)
def test_transformations_refuse(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(ImportError, match=r'pip install "nnfast\[images\]"'):
        image.apply_affine_transform(images(1)[0], theta=1, **LAST)

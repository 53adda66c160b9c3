"""Images in files and arrays: reading, writing, conversion and resizing."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nnfast import keras
from nnfast.keras.preprocessing.image import smart_resize
from nnfast.keras.utils import array_to_img, img_to_array, load_img, save_img

pytest.importorskip("PIL")

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")


def pixels(height: int = 4, width: int = 6, channels: int = 3) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, channels)).astype(np.float32)


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "mode"), [(1, "grayscale"), (3, "rgb"), (4, "rgba")])
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_a_file_has_the_array_that_was_saved(
    channels: int, mode: str, extension: str, tmp_path: Path
) -> None:
    x = pixels(channels=channels)
    path = tmp_path / f"a.{extension}"
    save_img(path, x, scale=False)
    np.testing.assert_array_equal(img_to_array(load_img(path, color_mode=mode)), x)
    first = np.moveaxis(x, -1, 0)
    save_img(str(path), first, data_format="channels_first", scale=False)
    image = load_img(str(path).encode(), color_mode=mode)
    np.testing.assert_array_equal(img_to_array(image, data_format="channels_first"), first)


def test_color_modes_convert_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_img(path, pixels(), scale=False)
    assert load_img(path).mode == "RGB"
    assert load_img(path, color_mode="rgba").mode == "RGBA"
    gray = load_img(path, color_mode="grayscale")
    assert gray.mode == "L"
    assert img_to_array(gray).shape == (4, 6, 1)


def test_grayscale_images_keep_their_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    x = np.array([[[0.0], [1000.0], [60000.0]]])
    image = array_to_img(x, scale=False)
    assert image.mode == "I"
    image.save(path)
    read = load_img(path, color_mode="grayscale")
    np.testing.assert_array_equal(img_to_array(read, dtype="int32"), x)


def test_images_are_read_from_memory_and_saved_to_it() -> None:
    file = io.BytesIO()
    save_img(file, pixels(), file_format="PNG", scale=False)
    file.seek(0)
    np.testing.assert_array_equal(img_to_array(load_img(file)), pixels())


def test_jpeg_has_no_alpha_channel_and_takes_the_options_of_pillow(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="saved as RGB"):
        save_img(tmp_path / "a.jpg", pixels(channels=4))
    assert load_img(tmp_path / "a.jpg").mode == "RGB"
    sizes = []
    for quality in (5, 95):
        save_img(tmp_path / "b.JPG", pixels(40, 40), quality=quality)
        sizes.append((tmp_path / "b.JPG").stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "hamming", "box"])
def test_images_are_resized_when_read(interpolation: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_img(path, pixels(), scale=False)
    image = load_img(path, target_size=(2, 3), interpolation=interpolation)
    assert image.size == (3, 2)
    assert load_img(path, target_size=(4, 6), interpolation=interpolation).size == (6, 4)
    if interpolation == "box":
        means = pixels().reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(img_to_array(image), means, atol=1)


def test_the_aspect_ratio_may_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_img(path, pixels(), scale=False)
    kept = img_to_array(load_img(path, target_size=(4, 4), keep_aspect_ratio=True))
    np.testing.assert_array_equal(kept, pixels()[:, 1:5])
    tall = img_to_array(load_img(path, target_size=(4, 2), keep_aspect_ratio=True))
    np.testing.assert_array_equal(tall, pixels()[:, 2:4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color_mode": "cmyk"}, "Unknown color_mode 'cmyk'"),
        ({"interpolation": "linear"}, "Unknown interpolation 'linear'"),
        ({"target_size": (3,)}, r"target_size must be \(height, width\)"),
        ({"target_size": (0, 3)}, "each entry of target_size must be an integer >= 1"),
    ],
)
def test_load_img_refuses(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_img(tmp_path / "a.png", pixels())
    with pytest.raises(ValueError, match=message):
        load_img(tmp_path / "a.png", **options)


def test_load_img_needs_a_path_of_a_file() -> None:
    with pytest.raises(TypeError, match=r"path must be a path .* received int"):
        load_img(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        load_img("none.png")


# ---- arrays --------------------------------------------------------------------------------------


def test_scaling_extends_the_range_of_values() -> None:
    x = np.array([[[-1.0], [0.0], [3.0]]])
    kept = x.copy()
    np.testing.assert_array_equal(np.asarray(array_to_img(x)), [[0, 63, 255]])
    np.testing.assert_array_equal(np.asarray(array_to_img(np.full((1, 2, 1), 7.0))), [[0, 0]])
    np.testing.assert_array_equal(np.asarray(array_to_img(x + 1, scale=False)), [[0, 1, 4]])
    np.testing.assert_array_equal(x, kept)
    assert array_to_img(x, dtype="float64").getextrema() == (0, 255)


def test_arrays_have_the_dtype_and_the_axes_that_are_asked_for() -> None:
    image = array_to_img(pixels(), scale=False)
    assert img_to_array(image).dtype == np.float32
    assert img_to_array(image, dtype="uint8").dtype == np.uint8
    assert img_to_array(image, data_format="channels_first").shape == (3, 4, 6)
    assert img_to_array(np.zeros((4, 6)), data_format="channels_first").shape == (1, 4, 6)
    keras.config.set_floatx("float64")
    try:
        assert img_to_array(image).dtype == np.float64
    finally:
        keras.config.set_floatx("float32")


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros((2, 2)), {}, "x must have 3 axes"),
        (np.zeros((2, 2, 2)), {}, "x must have 1, 3 or 4 channels; received 2"),
        (np.zeros((2, 2, 3)), {"data_format": "last"}, "Unknown data_format 'last'"),
    ],
)
def test_array_to_img_refuses(x: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        array_to_img(x, **options)
    with pytest.raises(ValueError, match="img must have 2 or 3 axes"):
        img_to_array(np.zeros((1, 2, 2, 3)))


def test_without_pillow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    for call in (lambda: load_img("a.png"), lambda: array_to_img(pixels())):
        with pytest.raises(ImportError, match=r'pip install "nnfast\[images\]"'):
            call()


# ---- resizing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interpolation", "expected"),
    [
        ("nearest", [0, 0, 4, 4, 8, 8]),
        ("bilinear", [0, 1, 3, 5, 7, 8]),
        ("bicubic", [-0.353, 0.672, 2.84, 5.16, 7.328, 8.353]),
    ],
)
def test_smart_resize_interpolates(interpolation: str, expected: list[float]) -> None:
    x = np.array([[[0.0], [4.0], [8.0]]] * 2)
    row = smart_resize(x, (4, 6), interpolation)[0, :, 0]
    np.testing.assert_allclose(row, expected, atol=1e-3)
    assert row.dtype == np.float64


def test_smart_resize_takes_the_central_part() -> None:
    x = pixels(4, 8)
    np.testing.assert_array_equal(smart_resize(x, (4, 4)), x[:, 2:6])
    np.testing.assert_array_equal(smart_resize(x, (4, 2), "nearest"), x[:, 3:5])
    np.testing.assert_array_equal(smart_resize(x, (2, 8), "nearest"), x[1:3])
    batch = np.stack([x, x + 1])
    np.testing.assert_array_equal(smart_resize(batch, (4, 4)), batch[:, :, 2:6])
    first = np.moveaxis(x, -1, 0)
    small = smart_resize(first, (2, 2), data_format="channels_first")
    np.testing.assert_allclose(np.moveaxis(small, 0, -1), smart_resize(x, (2, 2)), rtol=1e-6)
    assert smart_resize(x.astype(np.uint8), (2, 2), "nearest").dtype == np.uint8
    assert smart_resize(x.astype(np.uint8), (2, 2)).dtype == np.float32


@pytest.mark.parametrize(
    "interpolation", ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]
)
def test_constant_images_stay_constant(interpolation: str) -> None:
    resized = smart_resize(np.full((5, 7, 2), 3.0), (9, 2), interpolation)
    np.testing.assert_allclose(resized, 3, rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "size", "options", "message"),
    [
        (pixels(), (4,), {}, r"size must be \(height, width\)"),
        (np.zeros((2, 2)), (4, 4), {}, "x must be an image"),
        (pixels(), (4, 4), {"interpolation": "cubic"}, "Unknown interpolation 'cubic'"),
    ],
)
def test_smart_resize_refuses(x: Any, size: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smart_resize(x, size, **options)


# ---- Keras ---------------------------------------------------------------------------------------


@pytest.mark.peers
def test_resized_images_are_those_of_keras_with_jax() -> None:
    from keras.preprocessing import image
    from keras.src.backend import jax

    x = np.random.default_rng(0).normal(size=(2, 7, 10, 3)).astype(np.float32)
    for size in ((3, 3), (11, 4), (7, 20)):
        for interpolation in FILTERS:
            ours = smart_resize(x, size, interpolation)
            theirs = image.smart_resize(x, size, interpolation, backend_module=jax)
            np.testing.assert_allclose(ours, theirs, atol=5e-6)
            assert ours.dtype == theirs.dtype


@pytest.mark.peers
def test_images_in_files_are_those_of_keras(tmp_path: Path) -> None:
    import keras as peer

    for channels in (1, 3, 4):
        x = np.random.default_rng(0).normal(size=(9, 14, channels))
        for scale in (True, False):
            ours, theirs = tmp_path / "ours.png", tmp_path / "theirs.png"
            save_img(ours, 20 * x + 100, scale=scale)
            peer.utils.save_img(theirs, 20 * x + 100, scale=scale)
            assert ours.read_bytes() == theirs.read_bytes()
        for mode in ("rgb", "rgba", "grayscale"):
            for options in ({}, {"keep_aspect_ratio": True, "interpolation": "lanczos"}):
                for size in (None, (5, 5), (9, 14), (20, 3)):
                    read = [
                        module.utils.img_to_array(
                            module.utils.load_img(ours, mode, size, **options)
                        )
                        for module in (keras, peer)
                    ]
                    np.testing.assert_array_equal(*read)

"""Data sets of image files: files and labels, decoding and resizing, damaged files, training."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers
from nnfast.keras.preprocessing import image_dataset_from_directory as from_preprocessing
from nnfast.keras.utils import image_dataset_from_directory
from nnfast.keras.utils.image_dataset import decoded
from nnfast.keras.utils.interpolation import INTERPOLATIONS, resized

Image = pytest.importorskip("PIL.Image")


def picture(number: int, size: tuple[int, int] = (6, 4)) -> Any:
    """Return an image whose pixels all have the red value `number`."""
    return Image.new("RGB", size, (number, 100, 200))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with the classes a (3 files), b (2) and c (1, in a subdirectory)."""
    names = ["a/2.png", "a/10.PNG", "a/1.bmp", "b/x.png", "b/y.gif", "c/deep/z.png"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / name)
    (tmp_path / "a/notes.txt").write_text("no image")
    return tmp_path


def load(folder: Path, **arguments: Any) -> Any:
    defaults = {"image_size": (2, 3), "verbose": False, "shuffle": False}
    return image_dataset_from_directory(folder, **defaults | arguments)


def reds(data: Any) -> list[int]:
    """Return the red value of each image, which is its number in `folder`."""
    batches = [own[0] if isinstance(own, tuple) else own for own in data]
    return [int(image[0, 0, 0]) for batch in batches for image in batch]


def labels(data: Any) -> list[Any]:
    return [label.tolist() for _, y in data for label in y]


# ---- files and labels ----------------------------------------------------------------------------


def test_files_are_sorted_and_classes_inferred(folder: Path, capsys: Any) -> None:
    (folder / ".hidden").mkdir()
    picture(99).save(folder / ".hidden/h.png")
    data = image_dataset_from_directory(folder, shuffle=False, image_size=(2, 3))
    assert capsys.readouterr().out == "Found 6 files belonging to 3 classes.\n"
    names = [os.path.relpath(path, folder) for path in data.file_paths]
    assert names == ["a/1.bmp", "a/10.PNG", "a/2.png", "b/x.png", "b/y.gif", "c/deep/z.png"]
    assert data.class_names == ["a", "b", "c"]
    ((x, y),) = data
    assert (x.shape, x.dtype, y.dtype) == ((6, 2, 3, 3), np.float32, np.int32)
    assert reds(data) == [2, 1, 0, 3, 4, 5]
    assert y.tolist() == [0, 0, 0, 1, 1, 2]
    assert x[0, 0, 0].tolist() == [2, 100, 200]
    assert from_preprocessing is image_dataset_from_directory


def test_label_modes(folder: Path) -> None:
    one_hot = load(folder, label_mode="categorical")
    assert labels(one_hot)[-1] == [0.0, 0.0, 1.0]
    assert next(iter(one_hot))[1].dtype == np.float32
    two = load(folder, label_mode="binary", class_names=["b", "a"])
    assert labels(two) == [[0.0], [0.0], [1.0], [1.0], [1.0]]
    assert next(iter(two))[1].dtype == np.float32
    assert two.class_names == ["b", "a"]
    for none in (load(folder, label_mode=None), load(folder, labels=None)):
        assert next(iter(none)).shape == (6, 2, 3, 3)
    assert load(folder, labels=None).class_names is None
    with pytest.raises(ValueError, match="2 classes"):
        load(folder, label_mode="binary")


def test_labels_may_be_given(folder: Path, capsys: Any) -> None:
    given = [7, 5, 5, 7, 5, 9]
    data = load(folder, labels=given, verbose=True)
    assert capsys.readouterr().out == "Found 6 files belonging to 3 classes.\n"
    assert labels(data) == given == [7, 5, 5, 7, 5, 9]
    assert data.class_names == ["5", "7", "9"]
    assert next(iter(data))[1].dtype == np.int32


def test_batches_and_single_images(folder: Path) -> None:
    data = load(folder, batch_size=4)
    assert len(data) == 2
    assert [len(x) for x, _ in data] == [4, 2]
    single = load(folder, batch_size=None)
    assert len(single) == 6
    x, y = next(iter(single))
    assert (x.shape, y.shape) == ((2, 3, 3), ())


def test_seeds_determine_the_order(folder: Path) -> None:
    first = load(folder, shuffle=True, seed=1)
    again = load(folder, shuffle=True, seed=1)
    assert first.file_paths == again.file_paths != load(folder).file_paths
    assert [reds(first), reds(first)] == [reds(again), reds(again)]
    assert len({tuple(reds(first)) for _ in range(20)}) > 1
    for x, y in first:
        classes = np.array([0, 0, 0, 1, 1, 2])[x[:, 0, 0, 0].astype(int)]
        np.testing.assert_array_equal(classes, y)
    nnfast.set_seed(3)
    unseeded = load(folder, shuffle=True).file_paths
    nnfast.set_seed(3)
    assert load(folder, shuffle=True).file_paths == unseeded
    expected = np.arange(6)
    np.random.RandomState(1).shuffle(expected)
    assert first.file_paths == [load(folder).file_paths[i] for i in expected]


def test_training_and_validation_files(folder: Path, capsys: Any) -> None:
    split = {"validation_split": 0.4, "shuffle": True, "seed": 2}
    train, test = load(folder, subset="both", verbose=True, **split)
    assert capsys.readouterr().out == (
        "Found 6 files belonging to 3 classes.\n"
        "Using 4 files for training.\nUsing 2 files for validation.\n"
    )
    whole = load(folder, shuffle=True, seed=2).file_paths
    assert (train.file_paths, test.file_paths) == (whole[:4], whole[4:])
    assert load(folder, subset="training", **split).file_paths == whole[:4]
    assert load(folder, subset="validation", **split).file_paths == whole[4:]
    assert reds(test) == reds(test), "the validation files of both are not shuffled"
    assert sorted(reds(train) + reds(test)) == list(range(6))
    with pytest.raises(ValueError, match="No validation images"):
        load(folder, subset="both", **split | {"validation_split": 0.1})
    unlabelled = load(folder, subset="validation", labels=None, **split)
    assert sorted(reds(unlabelled)) == sorted(reds(test))


def test_links_are_followed_if_asked(folder: Path) -> None:
    elsewhere = folder.parent / f"{folder.name}-linked"
    elsewhere.mkdir()
    picture(50).save(elsewhere / "l.png")
    (folder / "c/link").symlink_to(elsewhere, target_is_directory=True)
    assert 50 not in reds(load(folder))
    assert 50 in reds(load(folder, follow_links=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "wrong"}, "labels"),
        ({"labels": [1, 2]}, "labels must have one entry for each of the 6 files"),
        ({"labels": [0] * 6, "class_names": ["a"]}, "class_names"),
        ({"labels": None, "class_names": ["a"]}, "class_names"),
        ({"class_names": ["a", "z"]}, "class_names"),
        ({"label_mode": "wrong"}, "label_mode"),
        ({"color_mode": "cmyk"}, "color_mode"),
        ({"image_size": (3,)}, "image_size"),
        ({"image_size": (0, 3)}, "image_size"),
        ({"image_size": "big"}, "image_size"),
        ({"interpolation": "wrong"}, "interpolation"),
        ({"batch_size": 0}, "batch_size"),
        ({"format": "grain"}, "format"),
        ({"data_format": "channels_first"}, "data_format"),
        ({"validation_split": 0.5}, "subset"),
        ({"subset": "both"}, "validation_split"),
        ({"validation_split": 1.5, "subset": "both"}, "validation_split"),
        ({"validation_split": 0.5, "subset": "test"}, "subset"),
        ({"validation_split": 0.5, "subset": "both", "shuffle": True}, "seed"),
        ({"seed": -1}, "seed"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "exclude"),
    ],
)
def test_wrong_arguments_are_refused(folder: Path, arguments: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        load(folder, **arguments)


def test_directories_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No images"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        load(tmp_path / "missing")


# ---- pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "channels"), [("rgb", 3), ("rgba", 4), ("grayscale", 1)])
@pytest.mark.parametrize("kind", ["L", "LA", "P", "RGB", "RGBA", "1", "I;16"])
def test_images_of_all_kinds_are_converted(
    tmp_path: Path, mode: str, channels: int, kind: str
) -> None:
    gray = Image.fromarray(np.full((3, 5), 255, np.uint8))
    if kind == "I;16":
        gray = Image.fromarray(np.full((3, 5), 65535, np.uint16))
    (gray if kind == "I;16" else gray.convert(kind)).save(tmp_path / "x.png")
    pixels = decoded(str(tmp_path / "x.png"), mode)
    assert (pixels.shape, pixels.dtype) == ((3, 5, channels), np.uint8)
    assert (pixels == 255).all()


def test_jpeg_and_cmyk_files(tmp_path: Path) -> None:
    picture(30).convert("CMYK").save(tmp_path / "x.jpg")
    picture(30).save(tmp_path / "y.jpeg")
    for name in ("x.jpg", "y.jpeg"):
        assert (
            abs(decoded(str(tmp_path / name), "rgb")[0, 0].astype(int) - [30, 100, 200]).max() < 5
        )


def test_gray_levels_of_16_bits_keep_their_upper_bits(tmp_path: Path) -> None:
    levels = np.array([[0, 255, 256, 30000, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert decoded(str(tmp_path / "x.png"), "grayscale").ravel().tolist() == [0, 0, 1, 117, 255]


def test_animations_give_their_first_frame(tmp_path: Path) -> None:
    picture(10).save(tmp_path / "x.gif", save_all=True, append_images=[picture(90)])
    assert decoded(str(tmp_path / "x.gif"), "rgb")[0, 0, 0] == 10


def test_an_integer_is_the_size_of_a_square(folder: Path) -> None:
    assert next(iter(load(folder, image_size=5)))[0].shape == (6, 5, 5, 3)


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """Return a directory with one image, 8 wide and 4 high, whose columns are 0, 10, …, 70."""
    (tmp_path / "one").mkdir()
    rows = np.tile(np.arange(8, dtype=np.uint8) * 10, (4, 1))
    Image.fromarray(rows).save(tmp_path / "one/x.png")
    return tmp_path


def test_crop_and_pad_keep_the_aspect_ratio(stripes: Path) -> None:
    def image(**arguments: Any) -> Any:
        data = load(stripes, color_mode="grayscale", labels=None, image_size=(4, 4), **arguments)
        return next(iter(data))[0, ..., 0]

    np.testing.assert_array_equal(image()[0], [5, 25, 45, 65])
    np.testing.assert_array_equal(image(crop_to_aspect_ratio=True)[0], [20, 30, 40, 50])
    padded = image(pad_to_aspect_ratio=True)
    np.testing.assert_array_equal(padded[:, 0], [0, 5, 5, 0])
    np.testing.assert_array_equal(padded[1], [5, 25, 45, 65])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_interpolations_keep_constant_images_and_differ_otherwise(interpolation: str) -> None:
    constant = np.full((2, 5, 7, 3), 9, np.uint8)
    np.testing.assert_allclose(resized(constant, (4, 11), interpolation), 9, rtol=1e-6)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (5, 7, 1), np.uint8)
    own = resized(noise, (9, 4), interpolation)
    assert (own.dtype, own.shape) == (np.float32, (9, 4, 1))
    assert resized(noise.astype(np.float64), (9, 4), interpolation).dtype == np.float64
    others = set(INTERPOLATIONS) - {interpolation}
    assert all(np.abs(own - resized(noise, (9, 4), other)).max() > 0.1 for other in others)
    if interpolation not in ("gaussian", "mitchellcubic"):
        np.testing.assert_array_equal(resized(noise, (5, 7), interpolation), noise)


def test_the_area_of_old_pixels_counts() -> None:
    row = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)
    np.testing.assert_allclose(resized(row, (1, 2), "area").ravel(), [4 / 3, 10 / 3])
    np.testing.assert_allclose(resized(row, (1, 1), "area").ravel(), [7 / 3])
    large = np.arange(12.0).reshape(4, 3, 1)
    np.testing.assert_allclose(
        resized(large, (2, 3), "area")[..., 0], large.reshape(2, 2, 3).mean(1)
    )


def test_gaussian_and_mitchell_weights() -> None:
    impulse = np.array([0.0, 0.0, 1.0, 0.0, 0.0]).reshape(1, 5, 1)
    mitchell = resized(impulse, (1, 5), "mitchellcubic").ravel()
    np.testing.assert_allclose(mitchell, [0, 1 / 18, 8 / 9, 1 / 18, 0], atol=1e-12)
    gaussian = resized(impulse, (1, 5), "gaussian").ravel()
    side = np.exp(-2.0)
    np.testing.assert_allclose(gaussian[1:4], np.array([side, 1, side]) / (1 + 2 * side))


# ---- hostile files -------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_files_are_named(folder: Path, workers: int) -> None:
    path = folder / "b/x.png"
    path.write_bytes(path.read_bytes()[:50])
    nnfast.set_num_threads(workers)
    try:
        with pytest.raises(ValueError, match=r"b/x\.png cannot be read"):
            list(load(folder))
        with pytest.raises(ValueError, match=r"b/x\.png cannot be read"):
            list(load(folder, batch_size=None))
    finally:
        nnfast.set_num_threads(None)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_files_that_are_no_images_are_refused(folder: Path, content: bytes) -> None:
    (folder / "a/1.bmp").write_bytes(content)
    with pytest.raises(ValueError, match=r"a/1\.bmp cannot be read"):
        list(load(folder))


def test_images_of_too_many_pixels_are_refused(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    large = pytest.warns(Image.DecompressionBombWarning)
    with large, pytest.raises(ValueError, match=r"cannot be read.* 6 x 4 pixels, more than 15"):
        list(load(folder))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="cannot be read"):
        list(load(folder))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert len(list(load(folder))) == 1


def test_labels_cannot_be_changed(folder: Path) -> None:
    for _, label in load(folder, batch_size=None):
        assert not label.flags.writeable


def test_files_that_disappear_are_named(folder: Path) -> None:
    data = load(folder)
    (folder / "b/x.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"b/x\.png"):
        list(data)


def test_a_missing_pillow_is_explained(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"nnfast\[images\]"):
        load(folder)


# ---- training ------------------------------------------------------------------------------------


def test_a_model_trains_on_images(folder: Path) -> None:
    train, test = load(
        folder, validation_split=0.4, subset="both", shuffle=True, seed=0, batch_size=2
    )
    model = nnfast.Sequential(
        [
            nnfast.Input((2, 3, 3)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(3, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(train, validation_data=test, epochs=2, verbose=0).history
    assert len(history["val_loss"]) == 2
    assert model.predict(test, verbose=0).shape == (2, 3)


# ---- comparison with Keras -----------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize(
    "interpolation", ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]
)
@pytest.mark.parametrize("size", [(3, 4), (20, 9), (13, 11)])
@pytest.mark.parametrize("crop", [False, True])
def test_pixels_are_those_of_keras_with_jax(
    tmp_path: Path, interpolation: str, size: tuple[int, int], crop: bool
) -> None:
    from keras.src.backend.jax.image import resize

    (tmp_path / "one").mkdir()
    path = tmp_path / "one/x.png"
    pixels = np.random.default_rng(0).integers(0, 256, (13, 11, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    expected = resize(
        pixels.astype("float32"),
        size,
        interpolation=interpolation,
        crop_to_aspect_ratio=crop,
        data_format="channels_last",
    )
    data = load(
        tmp_path,
        image_size=size,
        interpolation=interpolation,
        labels=None,
        crop_to_aspect_ratio=crop,
    )
    np.testing.assert_allclose(next(iter(data))[0], np.asarray(expected), atol=2e-3)


@pytest.mark.peers
@pytest.mark.parametrize("given", ["inferred", None, [3, 1, 2, 3, 1, 2]])
@pytest.mark.parametrize("class_names", [None, ["c", "a"]])
@pytest.mark.parametrize("shuffle", [False, True])
def test_files_and_labels_are_those_of_keras(
    folder: Path, given: Any, class_names: Any, shuffle: bool
) -> None:
    from keras.src.utils.dataset_utils import get_training_or_validation_split, index_directory

    if given != "inferred" and class_names:
        return
    formats = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
    paths, numbers, names = index_directory(
        str(folder),
        given and list(given) if given != "inferred" else given,
        formats,
        class_names,
        shuffle,
        4,
        False,
        False,
    )
    data = load(folder, labels=given, class_names=class_names, shuffle=shuffle, seed=4)
    assert (data.file_paths, data.class_names) == (paths, names)
    if numbers is not None and not shuffle:
        assert labels(data) == list(numbers)
    for subset in ("training", "validation"):
        own, _ = get_training_or_validation_split(paths, numbers, 0.4, subset)
        part = load(
            folder,
            labels=given,
            class_names=class_names,
            shuffle=shuffle,
            seed=4,
            validation_split=0.4,
            subset=subset,
        )
        assert part.file_paths == own

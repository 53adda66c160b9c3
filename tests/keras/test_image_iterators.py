"""Batches of images from folders and tables."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_batches import assert_same, classifier, images

from nnfast import keras
from nnfast.keras.preprocessing.image import ImageDataGenerator, save_img

pytest.importorskip("PIL")
pytest.importorskip("scipy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes, with 4, 5 and 6 images, one of them in a folder of its own, and other files.

    The images of class k have the values 80 k, …, 80 k + n − 1.
    """
    for k, name in enumerate(("cat", "dog", "elk")):
        (tmp_path / name / "more").mkdir(parents=True)
        for i in range(4 + k):
            path = tmp_path / name / ("more" if i == 0 else "") / f"{i}.png"
            save_img(path, np.full((5 + i, 8, 3), 80.0 * k + i), scale=False)
        (tmp_path / name / "notes.txt").write_text("not an image")
    (tmp_path / "notes.txt").write_text("not a class")
    return tmp_path


# ---- batches from folders ------------------------------------------------------------------------


def test_folders_are_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batches = ImageDataGenerator().flow_from_directory(
        folder, target_size=(4, 3), batch_size=6, shuffle=False
    )
    assert capsys.readouterr().out == "Found 15 images belonging to 3 classes.\n"
    assert batches.class_indices == {"cat": 0, "dog": 1, "elk": 2}
    assert batches.classes.tolist() == [0] * 4 + [1] * 5 + [2] * 6
    assert batches.labels is batches.classes
    cats = ["cat/1.png", "cat/2.png", "cat/3.png", "cat/more/0.png"]
    assert batches.filenames[:5] == [*cats, "dog/1.png"]
    assert batches.filepaths == [str(folder / name) for name in batches.filenames]
    assert (batches.samples, batches.n, batches.num_classes, len(batches)) == (15, 15, 3, 3)
    assert (batches.image_shape, batches.target_size) == ((4, 3, 3), (4, 3))
    x, y = next(batches)
    assert (x.shape, x.dtype, y.dtype) == ((6, 4, 3, 3), np.float32, np.float32)
    np.testing.assert_array_equal(y.argmax(axis=1), [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(x[:, 0, 0, 0], [1, 2, 3, 0, 81, 82])


@pytest.mark.parametrize("mode", ["categorical", "binary", "sparse", "input", None])
def test_class_modes_give_targets(mode: str | None, folder: Path) -> None:
    batches = ImageDataGenerator().flow_from_directory(
        folder, target_size=(2, 2), class_mode=mode, seed=1
    )
    assert batches.class_mode == mode
    batch = next(batches)
    x = batch if mode is None else batch[0]
    classes = x[:, 0, 0, 0] // 80
    if mode == "categorical":
        np.testing.assert_array_equal(batch[1], np.eye(3)[classes.astype(int)])
    elif mode == "input":
        np.testing.assert_array_equal(batch[1], x)
        assert batch[1] is not x
    elif mode is not None:
        np.testing.assert_array_equal(batch[1], classes)


def test_classes_colours_and_sizes_may_be_chosen(folder: Path) -> None:
    flow = ImageDataGenerator().flow_from_directory
    some = flow(folder, classes=["elk", "cat"], class_mode="sparse", shuffle=False)
    assert some.class_indices == {"elk": 0, "cat": 1}
    assert some.classes.tolist() == [0] * 6 + [1] * 4
    assert some.image_shape == (256, 256, 3)
    for mode, channels in (("rgb", 3), ("rgba", 4), ("grayscale", 1)):
        x, _ = next(flow(folder, target_size=(3, 4), color_mode=mode))
        assert x.shape == (15, 3, 4, channels)
    first = ImageDataGenerator(data_format="channels_first")
    x, _ = next(first.flow_from_directory(folder, target_size=(3, 4)))
    assert x.shape == (15, 3, 3, 4)


def test_interpolation_and_aspect_ratio_have_an_effect(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    save_img(tmp_path / "a/0.png", images(1, 9, 20)[0])
    flow = ImageDataGenerator().flow_from_directory
    found = {
        next(flow(tmp_path, target_size=(4, 4), class_mode=None, **options)).tobytes()
        for options in ({}, {"interpolation": "bilinear"}, {"keep_aspect_ratio": True})
    }
    assert len(found) == 3


def test_a_split_divides_each_class(folder: Path) -> None:
    generator = ImageDataGenerator(validation_split=0.5)
    train = generator.flow_from_directory(folder, subset="training")
    test = generator.flow_from_directory(folder, subset="validation")
    assert test.classes.tolist() == [0] * 2 + [1] * 2 + [2] * 3
    assert train.classes.tolist() == [0] * 2 + [1] * 3 + [2] * 3
    assert not set(train.filenames) & set(test.filenames)


@pytest.mark.parametrize("content", [b"text", b"\x89PNG\r\n\x1a\n", None])
def test_damaged_files_are_named(content: bytes | None, folder: Path) -> None:
    path = folder / "cat/1.png"
    path.write_bytes(path.read_bytes()[:50] if content is None else content)
    batches = ImageDataGenerator().flow_from_directory(folder, shuffle=False)
    with pytest.raises(ValueError, match=r"cat/1\.png cannot be read"):
        next(batches)


def test_links_are_followed_if_asked(folder: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other")
    save_img(other / "9.png", np.zeros((2, 2, 3)))
    (folder / "cat" / "link").symlink_to(other, target_is_directory=True)
    flow = ImageDataGenerator().flow_from_directory
    assert flow(folder).samples == 15
    assert flow(folder, follow_links=True).samples == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_mode": "multi_output"}, 'use "raw" and split'),
        ({"class_mode": "raw"}, "Unknown class_mode 'raw'"),
        ({"color_mode": "gray"}, "Unknown color_mode 'gray'"),
        ({"target_size": 3}, "target_size must be a list or a tuple"),
        ({"interpolation": "linear"}, "Unknown interpolation 'linear'"),
        ({"classes": ["cat", "cow"]}, "there is no 'cow'"),
        ({"subset": "training"}, "with a validation_split"),
    ],
)
def test_flow_from_directory_refuses(options: Any, message: str, folder: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        ImageDataGenerator().flow_from_directory(folder, **options)
    with pytest.raises(FileNotFoundError):
        ImageDataGenerator().flow_from_directory(folder / "none")


# ---- batches from tables -------------------------------------------------------------------------


@pytest.fixture
def table(folder: Path) -> Any:
    pandas = pytest.importorskip("pandas")
    names = [f"{name}/{i}.png" for name in ("elk", "cat", "dog") for i in (1, 2, 3)]
    return pandas.DataFrame(
        {
            "filename": names,
            "class": [name[:3] for name in names],
            "tags": [["a", "b"]] * 4 + [["c"]] * 5,
            "v": np.arange(9.0),
            "w": np.arange(9) / 10,
        }
    )


def flow(table: Any, folder: Path, **options: Any) -> Any:
    options = {"target_size": (2, 2), "shuffle": False, "batch_size": 16} | options
    return ImageDataGenerator(validation_split=0.4).flow_from_dataframe(table, folder, **options)


def test_tables_list_files(table: Any, folder: Path, capsys: Any) -> None:
    batches = flow(table, folder)
    expected = "Found 9 validated image filenames belonging to 3 classes.\n"
    assert capsys.readouterr().out == expected
    assert batches.class_indices == {"cat": 0, "dog": 1, "elk": 2}
    assert batches.classes == batches.labels == [2] * 3 + [0] * 3 + [1] * 3
    assert batches.filenames == table["filename"].tolist()
    assert batches.filepaths[0] == str(folder / "elk/1.png")
    assert (batches.samples, batches.num_classes) == (9, 3)
    x, y = next(batches)
    np.testing.assert_array_equal(y.argmax(axis=1), batches.classes)
    np.testing.assert_array_equal(x[:, 0, 0, 0] // 80, batches.classes)
    whole = table.assign(filename=[str(folder / name) for name in table["filename"]])
    np.testing.assert_array_equal(next(flow(whole, None))[0], x)  # type: ignore[arg-type]


def test_tables_need_no_pandas(table: Any, folder: Path) -> None:
    columns = {name: table[name].tolist() for name in table.columns}
    ours, theirs = next(flow(columns, folder)), next(flow(table, folder))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_targets_of_tables(table: Any, folder: Path, capsys: Any) -> None:
    sparse = flow(table, folder, class_mode="sparse", classes=["dog", "elk"])
    np.testing.assert_array_equal(next(sparse)[1], [1, 1, 1, 0, 0, 0])
    binary = flow(table, folder, class_mode="binary", classes=["dog", "elk"])
    np.testing.assert_array_equal(next(binary)[1], [1, 1, 1, 0, 0, 0])
    tags = next(flow(table, folder, y_col="tags"))[1]
    np.testing.assert_array_equal(tags, [[1, 1, 0]] * 4 + [[0, 0, 1]] * 5)
    some = next(flow(table, folder, y_col="tags", classes=["b"]))[1]
    np.testing.assert_array_equal(some, [[1]] * 4)
    capsys.readouterr()
    raw = next(flow(table, folder, y_col="v", class_mode="raw"))[1]
    assert capsys.readouterr().out == "Found 9 validated image filenames.\n"
    np.testing.assert_array_equal(raw, table["v"])
    both = next(flow(table, folder, y_col=["v", "w"], class_mode="raw"))[1]
    np.testing.assert_array_equal(both, table[["v", "w"]])
    x, same = next(flow(table, folder, class_mode="input"))
    np.testing.assert_array_equal(x, same)
    assert isinstance(next(flow(table, folder, class_mode=None)), np.ndarray)
    weights = next(flow(table, folder, weight_col="w"))[2]
    np.testing.assert_array_equal(weights, table["w"])


def test_a_split_divides_a_table(table: Any, folder: Path) -> None:
    assert flow(table, folder, subset="validation").filenames == table["filename"].tolist()[:3]
    train = flow(table, folder, subset="training", weight_col="w")
    assert train.filenames == table["filename"].tolist()[3:]
    np.testing.assert_array_equal(next(train)[2], table["w"][3:])


def test_missing_files_are_left_out(table: Any, folder: Path, capsys: Any) -> None:
    table.loc[4, "filename"] = "cat/none.png"
    table.loc[5, "filename"] = "cat/notes.txt"
    with pytest.warns(UserWarning, match="2 entries of column x_col='filename' are not names"):
        batches = flow(table, folder)
    assert batches.samples == 7
    assert batches.classes == [2, 2, 2, 0, 1, 1, 1]
    capsys.readouterr()
    assert flow(table, folder, validate_filenames=False).samples == 9
    assert capsys.readouterr().out.startswith("Found 9 non-validated image filenames")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_mode": "multi_output"}, ValueError, 'use "raw" and split'),
        ({"class_mode": "multi"}, ValueError, "Unknown class_mode 'multi'"),
        ({"class_mode": "binary"}, ValueError, "needs 2 classes; received 3"),
        ({"class_mode": "binary", "classes": ["cat"]}, ValueError, "received 1"),
        ({"class_mode": "sparse", "y_col": "tags"}, TypeError, "y_col='tags' must be text"),
        ({"y_col": "v"}, TypeError, "must be text or lists of text"),
        ({"x_col": "v"}, TypeError, "x_col='v' must be text"),
        ({"weight_col": "class"}, TypeError, "weight_col='class' must be numbers"),
        ({"has_extension": True}, ValueError, "did you mean 'has_ext'"),
    ],
)
def test_flow_from_dataframe_refuses(
    options: Any, error: type[Exception], message: str, table: Any, folder: Path
) -> None:
    with pytest.raises(error, match=message):
        flow(table, folder, **options)


def test_older_arguments_warn(table: Any, folder: Path) -> None:
    with pytest.warns(DeprecationWarning, match='class_mode="other" is now class_mode="raw"'):
        batches = flow(table, folder, y_col="v", class_mode="other")
    np.testing.assert_array_equal(next(batches)[1], table["v"])
    with pytest.warns(DeprecationWarning, match="has_ext has no effect"):
        flow(table, folder, has_ext=True)
    with pytest.warns(UserWarning, match="classes has no effect with class_mode=None"):
        flow(table, folder, class_mode=None, classes=["cat"])


# ---- training ------------------------------------------------------------------------------------


def test_a_model_learns_from_a_folder(folder: Path) -> None:
    generator = ImageDataGenerator(rescale=1 / 255, horizontal_flip=True)
    train = generator.flow_from_directory(folder, target_size=(4, 4), batch_size=4, seed=1)
    test = generator.flow_from_directory(folder, target_size=(4, 4), batch_size=4, shuffle=False)
    model = classifier((4, 4, 3), outputs=3)
    model.fit(train, epochs=60, steps_per_epoch=len(train), validation_data=test, verbose=0)
    assert model.evaluate(test, verbose=0)[1] > 0.9
    predicted = model.predict(test, verbose=0).argmax(axis=1)
    assert (predicted == test.classes).mean() > 0.9
    named = test.filenames[int(predicted.argmax())]
    assert named.startswith("elk")


def test_files_are_read_while_the_model_trains(folder: Path) -> None:
    """The batch after next is made before the model asks for it."""
    train = ImageDataGenerator().flow_from_directory(folder, target_size=(4, 4), batch_size=3)
    made = []

    class Wait(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            expected = min(batch + 1 + 2, len(train)) if batch else 1
            for _ in range(1000):
                if train.total_batches_seen >= expected:
                    break
                time.sleep(0.01)
            made.append(train.total_batches_seen)

    classifier((4, 4, 3), outputs=3).fit(train, verbose=0, callbacks=[Wait()])
    assert made == [1, 4, 5, 5, 5]


# ---- Keras ---------------------------------------------------------------------------------------


@pytest.mark.peers
def test_images_of_files_are_those_of_keras(folder: Path, table: Any) -> None:
    import keras.src.legacy.preprocessing.image as peer

    options: dict[str, Any] = {"rescale": 1 / 255, "rotation_range": 9, "validation_split": 0.3}
    generators: list[Any] = [
        cls(**options) for cls in (ImageDataGenerator, peer.ImageDataGenerator)
    ]
    shape: dict[str, Any] = {"target_size": (6, 4), "batch_size": 4, "seed": 1}
    calls: list[dict[str, Any]] = [
        *({"class_mode": mode} for mode in ("categorical", "binary", "sparse", "input", None)),
        {"subset": "training", "color_mode": "rgba", "classes": ["elk", "cat"]},
        {"subset": "validation", "color_mode": "grayscale", "interpolation": "lanczos"},
        {"keep_aspect_ratio": True, "shuffle": False},
    ]
    for call in calls:
        both = [g.flow_from_directory(str(folder), **shape, **call) for g in generators]
        for name in ("class_indices", "filenames", "filepaths", "samples", "image_shape"):
            assert getattr(both[0], name) == getattr(both[1], name)
        assert_same(*both)
    calls = [
        {},
        {"class_mode": "sparse", "classes": ["dog", "elk"], "subset": "training"},
        {"y_col": "tags", "weight_col": "w"},
        {"y_col": "tags", "classes": ["b"]},
        {"y_col": ["v", "w"], "class_mode": "raw"},
        {"class_mode": None},
    ]
    for call in calls:
        both = [g.flow_from_dataframe(table, str(folder), **shape, **call) for g in generators]
        assert both[0].filenames == both[1].filenames
        assert_same(*both)

"""Data sets of text files, and functions of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers
from nnfast.keras import preprocessing, tf
from nnfast.keras.utils import text_dataset_from_directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with the classes a (2 texts), b (2) and c (1, in a subdirectory)."""
    names = ["a/10.txt", "a/2.TXT", "b/x.txt", "b/y.txt", "c/deep/z.txt"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(f"Text {number}: é\r\nend".encode())
    (tmp_path / "a/notes.md").write_text("left out")
    return tmp_path


def load(folder: Path, **arguments: Any) -> Any:
    return text_dataset_from_directory(folder, **{"verbose": False, "shuffle": False} | arguments)


def numbers(data: Any) -> list[int]:
    """Return the number of each text."""
    batches = [own[0] if isinstance(own, tuple) else own for own in data]
    return [int(text[5]) for batch in batches for text in np.ravel(batch)]


def test_texts_and_labels(folder: Path, capsys: Any) -> None:
    data = text_dataset_from_directory(folder, shuffle=False)
    assert capsys.readouterr().out == "Found 5 files belonging to 3 classes.\n"
    texts, labels = next(iter(data))
    assert texts.tolist() == [f"Text {i}: é\r\nend" for i in range(5)]
    assert (texts.dtype, texts.shape) == (object, (5,))
    assert (labels.tolist(), labels.dtype) == ([0, 0, 1, 1, 2], np.int32)
    assert data.class_names == ["a", "b", "c"]
    assert data.file_paths[4] == str(folder / "c/deep/z.txt")
    assert preprocessing.text_dataset_from_directory is text_dataset_from_directory


def test_options_are_those_of_images(folder: Path) -> None:
    """They share their code with `image_dataset_from_directory`, whose tests are thorough."""
    assert [len(x) for x, _ in load(folder, batch_size=2)] == [2, 2, 1]
    one_hot = load(folder, label_mode="categorical", class_names=["c", "a"])
    assert [y.tolist() for _, y in one_hot] == [[[1, 0], [0, 1], [0, 1]]]
    assert [y.tolist() for _, y in load(folder, labels=[3, 4, 5, 6, 7])] == [[3, 4, 5, 6, 7]]
    two = load(folder, label_mode="binary", class_names=["b", "a"])
    assert [y.tolist() for _, y in two] == [[[0], [0], [1], [1]]]
    for none in (load(folder, label_mode=None), load(folder, labels=None)):
        assert next(iter(none)).shape == (5,)
    split = {"validation_split": 0.4, "seed": 2, "shuffle": True}
    train, test = load(folder, subset="both", **split)
    assert sorted(numbers(train) + numbers(test)) == list(range(5))
    assert numbers(load(folder, subset="validation", **split)) in (
        numbers(test),
        numbers(test)[::-1],
    )
    linked = folder.parent / f"{folder.name}-linked"
    linked.mkdir()
    (linked / "l.txt").write_text("Text 9")
    (folder / "c/link").symlink_to(linked, target_is_directory=True)
    assert 9 not in numbers(load(folder))
    assert 9 in numbers(load(folder, follow_links=True))


def test_single_texts_are_batched_again(folder: Path) -> None:
    single = load(folder, batch_size=None)
    text, label = next(iter(single))
    assert (text.shape, text.item(), label.item()) == ((), "Text 0: é\r\nend", 0)
    assert numbers(single.batch(2)) == numbers(single) == [0, 1, 2, 3, 4]


def test_long_texts_are_cut_off(folder: Path) -> None:
    assert next(iter(load(folder, labels=None, max_length=9)))[0] == "Text 0: é"


def test_wrong_arguments_and_files_are_refused(folder: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ({"max_length": 0}, "max_length"),
        ({"labels": [1]}, "labels must have one entry for each of the 5 files"),
        ({"label_mode": "wrong"}, "label_mode"),
        ({"format": "grain"}, "format"),
        ({"batch_size": 0}, "batch_size"),
        ({"validation_split": 0.5}, "subset"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            load(folder, **arguments)
    (folder / "b/x.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"b/x\.txt cannot be read: UnicodeDecodeError"):
        list(load(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"No text files found in .*\('\.txt',\)"):
        load(tmp_path / "empty")


def test_a_model_trains_on_texts(folder: Path) -> None:
    data = load(folder, batch_size=2)
    words = layers.TextVectorization(output_mode="multi_hot")
    words.adapt(data.map(lambda x, y: x))
    assert words.vocabulary_size() == 9
    model = nnfast.Sequential([words, layers.Dense(3, "softmax")])
    model.compile(nnfast.optimizers.Adam(0.1), "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(data, epochs=30, verbose=0).history
    assert history["accuracy"][-1] == 1
    assert model.predict(load(folder, labels=None), verbose=0).argmax(axis=1).tolist() == [
        0,
        0,
        1,
        1,
        2,
    ]


def test_functions_of_text_are_those_of_tensorflow() -> None:
    x = np.array([["  ÀbC "], ["d-e"]])
    assert tf.strings.lower(x).tolist() == [["  Àbc "], ["d-e"]]
    assert tf.strings.lower(x, encoding="utf-8").tolist() == [["  àbc "], ["d-e"]]
    assert tf.strings.upper(["àb"]).tolist() == ["àB"]
    assert tf.strings.upper(["àb"], encoding="utf-8").tolist() == ["ÀB"]
    assert tf.strings.strip(x).tolist() == [["ÀbC"], ["d-e"]]
    assert tf.strings.strip("\u00a0a ").item() == "\u00a0a"
    assert tf.strings.regex_replace(["aab", "b"], "(a)", r"<\1>").tolist() == ["<a><a>b", "b"]
    first = tf.strings.regex_replace(["aab"], "a", "", replace_global=False)
    assert first.tolist() == ["ab"]
    assert tf.strings.split([" a\tb\u00a0c ", ""]) == [["a", "b\u00a0c"], []]
    assert tf.strings.split(["a,,b", ""], sep=",") == [["a", "", "b"], [""]]
    for wrong in ([1.0], np.array(["a", 3], object), np.array([b"a"])):
        with pytest.raises(TypeError, match="input must hold text"):
            tf.strings.lower(wrong)
    with pytest.raises(ValueError, match="Unknown encoding"):
        tf.strings.lower("a", "latin-1")

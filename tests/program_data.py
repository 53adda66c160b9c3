"""Small data in the formats of the public data sets, for the programs in tests/keras/programs."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Split = tuple[NDArray[Any], NDArray[Any]]
Data = tuple[Split, Split]

MEAN_LENGTH = 40  # words per text


def _split(x: NDArray[Any], y: NDArray[Any], tested: int) -> Data:
    return (x[tested:].copy(), y[tested:].copy()), (x[:tested].copy(), y[:tested].copy())


def _pictures(prototypes: NDArray[Any], n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return noisy copies of the prototypes, one per class, and the classes."""
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.arange(n) % len(prototypes))
    x = 0.7 * prototypes[labels] + rng.integers(0, 76, (n, *prototypes.shape[1:]))
    return x.astype(np.uint8), labels


def mnist() -> Data:
    """Return 10 classes of gray pictures of 28×28 pixels."""
    blocks = np.random.default_rng(0).integers(0, 2, (10, 7, 7)).repeat(4, axis=1).repeat(4, axis=2)
    x, y = _pictures(255 * blocks, 700)
    return _split(x, y.astype(np.uint8), 200)


def cifar10() -> Data:
    """Return 10 classes of colour pictures of 32×32 pixels, which flips leave alike."""
    half = np.random.default_rng(0).integers(0, 256, (10, 4, 2, 3)).repeat(8, axis=1)
    blocks = np.concatenate([half, half[:, :, ::-1]], axis=2).repeat(8, axis=2)
    x, y = _pictures(blocks, 500)
    return _split(x, y[:, None].astype(np.uint8), 100)


def _texts(classes: int, n: int, num_words: int) -> Data:
    """Return lists of word numbers; a class has 15 words that the others have not."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, classes, n)
    texts = np.empty(n, object)
    for i, label in enumerate(labels):
        common = rng.integers(200, num_words, MEAN_LENGTH - 10)
        own = 10 + 15 * label + rng.integers(0, 15, 10)
        texts[i] = [1, *rng.permutation([*common, *own]).tolist()]
    return _split(texts, labels.astype(np.int64), n // 4)


def imdb(num_words: int) -> Data:
    """Return reviews as lists of word numbers, and 0 for negative or 1 for positive."""
    return _texts(2, 1000, num_words)


def reuters(num_words: int) -> Data:
    """Return news as lists of word numbers, and their topics."""
    return _texts(8, 800, num_words)


def word_index() -> dict[str, int]:
    """Return the numbers of the words."""
    return {f"word{i}": i for i in range(1, 1000)}


def boston_housing() -> Data:
    """Return 13 numbers per house, and prices."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(660, 13)) * rng.uniform(0.5, 20, 13) + rng.uniform(-5, 5, 13)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    return _split(x, 2.5 + z[:, 0] - 0.5 * z[:, 5] + 0.3 * z[:, 12], 60)


DATASETS: dict[str, Callable[..., Any]] = {
    "mnist.load_data": mnist,
    "fashion_mnist.load_data": mnist,
    "cifar10.load_data": cifar10,
    "imdb.load_data": imdb,
    "imdb.get_word_index": word_index,
    "reuters.load_data": reuters,
    "boston_housing.load_data": boston_housing,
}


def cats_and_dogs() -> None:
    """Write one folder of pictures for each class, in cats_and_dogs/train and …/validation."""
    from PIL import Image

    rng = np.random.default_rng(4)
    colours = {"cat": (200, 120, 40), "dog": (60, 100, 190)}
    for part, n in (("train", 40), ("validation", 15)):
        for name, colour in colours.items():
            folder = Path("cats_and_dogs", part, f"{name}s")
            folder.mkdir(parents=True)
            for i in range(n):
                noise = rng.integers(-40, 41, (30 + i % 5, 40, 3))
                pixels = (noise + colour).clip(0, 255).astype(np.uint8)
                kind = "png" if i % 4 == 3 else "jpg"
                Image.fromarray(pixels).save(folder / f"{name}.{i}.{kind}")


def _write(path: str, header: str, columns: list[NDArray[Any]]) -> None:
    np.savetxt(path, np.stack(columns, axis=1), "%.6g", ",", header=header, comments="")


def auto_mpg() -> None:
    """Write auto-mpg.csv, in which one horsepower is unknown."""
    rng = np.random.default_rng(5)
    n = 300
    weight = rng.uniform(1600, 5100, n)
    power = weight / 30 + rng.normal(0, 12, n)
    year = rng.integers(70, 83, n)
    origin = rng.integers(1, 4, n)
    mpg = 75 - 0.012 * weight - 0.05 * power + 0.4 * (year - 76) + 2 * (origin == 3)
    cylinders = np.clip(weight // 600, 3, 8)
    header = "MPG,Cylinders,Displacement,Horsepower,Weight,Acceleration,Model Year,Origin"
    acceleration = rng.uniform(8, 25, n)
    columns = [mpg, cylinders, weight / 12, power, weight, acceleration, year, origin]
    _write("auto-mpg.csv", header, columns)
    lines = Path("auto-mpg.csv").read_text("ascii").splitlines()
    cells = lines[5].split(",")
    lines[5] = ",".join([*cells[:3], "?", *cells[4:]])
    Path("auto-mpg.csv").write_text("\n".join(lines) + "\n", "ascii")


def higgs() -> None:
    """Write higgs.csv: a class and ten numbers per row, without a header."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2000, 10))
    z = x @ rng.normal(size=10)
    kept = np.flatnonzero(np.abs(z) > 1.0)[:1000]
    table = np.column_stack([z[kept] > 0, x[kept]])
    np.savetxt("higgs.csv", table, "%.6g", ",")


def credit_card() -> None:
    """Write creditcard.csv, in which one row in 25 is a fraud."""
    rng = np.random.default_rng(7)
    n = 3000
    fraud = np.arange(n) % 25 == 0
    x = rng.normal(size=(n, 8)) + 2.0 * fraud[:, None] * np.array([1, -1, 1, 0, 0, 0, 1, 0])
    header = ",".join(["Time", *(f"V{i}" for i in range(1, 9)), "Amount", "Class"])
    _write("creditcard.csv", header, [np.arange(n), *x.T, rng.exponential(80, n).round(2), fraud])


def film_reviews() -> None:
    """Write negative and positive reviews, one file each, in aclImdb/train and …/test."""
    rng = np.random.default_rng(8)
    common = np.array(["the", "film", "an", "actor", "it", "was", "scene", "of", "<br />", "plot"])
    own = {
        "neg": np.array(["awful", "boring", "Bad.", "dull", "worst"]),
        "pos": np.array(["wonderful", "moving", "Great!", "best", "superb"]),
    }
    for part, n in (("train", 120), ("test", 40)):
        for name, words in own.items():
            folder = Path("aclImdb", part, name)
            folder.mkdir(parents=True)
            for i in range(n):
                text = [*rng.choice(common, 22), *rng.choice(words, 8)]
                (folder / f"{i}.txt").write_text(" ".join(rng.permutation(text)), "utf-8")


FILES: dict[str, Callable[[], None]] = {
    "aclImdb": film_reviews,
    "cats_and_dogs/": cats_and_dogs,
    "auto-mpg.csv": auto_mpg,
    "higgs.csv": higgs,
    "creditcard.csv": credit_card,
}


@contextlib.contextmanager
def available(text: str, keras: Any) -> Iterator[None]:
    """Let the data sets and files that the text of a program names hold small data.

    The files are written in the working directory.
    """
    homes = [f"{keras.__name__}.datasets"]
    if importlib.util.find_spec(f"{keras.__name__}._tf_keras"):
        homes.append(f"{keras.__name__}._tf_keras.keras.datasets")
    with pytest.MonkeyPatch.context() as patch:
        for name, function in DATASETS.items():
            module, _, attribute = name.partition(".")
            for home in homes if module in text else ():
                patch.setattr(importlib.import_module(f"{home}.{module}"), attribute, function)
        for name, write in FILES.items():
            if name in text:
                write()
        yield

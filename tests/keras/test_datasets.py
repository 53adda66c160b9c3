"""The data sets are downloaded, kept where Keras keeps them, and returned as Keras returns them."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import published_data as data
import pytest
from numpy.typing import NDArray
from web_server import WebServer, web_server

from nnfast.keras import datasets
from nnfast.keras.datasets import (
    boston_housing,
    california_housing,
    cifar10,
    cifar100,
    fashion_mnist,
    imdb,
    mnist,
    published,
    reuters,
)
from nnfast.keras.datasets.npz import load_npz
from nnfast.keras.datasets.pickles import load_pickle

MODULES = (
    *(boston_housing, california_housing, cifar10, cifar100, fashion_mnist, imdb, mnist, reuters),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the data sets, which is the only folder that these tests use."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "keras" / "datasets"


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """Serve small files instead of the published ones."""
    with web_server() as state:
        contents = data.published_files()
        assert contents.keys() == published.FILES.keys()
        for name, content in contents.items():
            sha256 = published.FILES[name][1] and hashlib.sha256(content).hexdigest()
            monkeypatch.setitem(published.FILES, name, (state.add(name, content), sha256))
        yield state


def assert_split(
    result: Any,
    x_train: NDArray[Any],
    y_train: NDArray[Any],
    x_test: NDArray[Any],
    y_test: NDArray[Any],
) -> None:
    """Check the values, shapes and dtypes, and that arrays can be changed."""
    (a, b), (c, d) = result
    for found, expected in (a, x_train), (b, y_train), (c, x_test), (d, y_test):
        assert found.dtype == expected.dtype
        assert found.flags.carray
        np.testing.assert_array_equal(found, expected)


def test_the_addresses_and_checksums_are_well_formed() -> None:
    for name, (origin, digits) in FILES.items():
        assert origin.startswith("https://")
        assert origin.endswith(f"/{name}")
        assert (digits is None) == name.endswith("ubyte.gz")
        assert digits is None or len(digits) == (32 if name.endswith("json") else 64)


FILES = dict(published.FILES)  # before the fixture replaces the addresses


CIFAR10 = "cifar-10-batches-py-target/cifar-10-batches-py"


@pytest.mark.parametrize(
    ("module", "files"),
    [
        (mnist, ["mnist.npz"]),
        (
            fashion_mnist,
            [
                "fashion-mnist",
                *(
                    f"fashion-mnist/{part}-{kind}-ubyte.gz"
                    for part in ("t10k", "train")
                    for kind in ("images-idx3", "labels-idx1")
                ),
            ],
        ),
        (
            cifar10,
            [
                "cifar-10-batches-py-target",
                CIFAR10,
                *(f"{CIFAR10}/data_batch_{i}" for i in range(1, 6)),
                f"{CIFAR10}/test_batch",
                "cifar-10-batches-py-target_archive",
            ],
        ),
        (
            cifar100,
            [
                "cifar-100-python-target",
                "cifar-100-python-target/cifar-100-python",
                "cifar-100-python-target/cifar-100-python/test",
                "cifar-100-python-target/cifar-100-python/train",
                "cifar-100-python-target_archive",
            ],
        ),
        (imdb, ["imdb.npz"]),
        (reuters, ["reuters.npz"]),
        (boston_housing, ["boston_housing.npz"]),
        (california_housing, ["california_housing.npz"]),
    ],
)
def test_files_are_downloaded_once_to_where_keras_has_them(
    module: ModuleType, files: list[str], home: Path, server: WebServer
) -> None:
    first = module.load_data()
    count = len(server.requests)
    assert sorted(path.relative_to(home).as_posix() for path in home.rglob("*")) == files
    second = module.load_data()
    assert len(server.requests) == count
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_mnist(home: Path) -> None:
    assert_split(mnist.load_data(), data.X_TRAIN, data.Y_TRAIN, data.X_TEST, data.Y_TEST)
    mnist.load_data(path="other.npz")
    assert sorted(path.name for path in home.iterdir()) == ["mnist.npz", "other.npz"]


def test_fashion_mnist() -> None:
    assert_split(fashion_mnist.load_data(), data.X_TRAIN, data.Y_TRAIN, data.X_TEST, data.Y_TEST)


def images(*shifts: int) -> NDArray[np.uint8]:
    pixels = np.concatenate([data.PIXELS + np.uint8(shift) for shift in shifts])
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def column(*labels: list[int], dtype: Any) -> NDArray[Any]:
    return np.concatenate([np.array(part, dtype)[:, None] for part in labels])


def test_cifar10() -> None:
    y_train = column(*([i, 9, 0, 3] for i in range(5)), dtype=np.uint8)
    y_test = column([5, 9, 0, 3], dtype=np.uint8)
    assert_split(cifar10.load_data(), images(0, 1, 2, 3, 4), y_train, images(5), y_test)


@pytest.mark.parametrize(("mode", "rest"), [("fine", [99, 50, 3]), ("coarse", [19, 7, 2])])
def test_cifar100(mode: str, rest: list[int]) -> None:
    y_train, y_test = (column([i, *rest], dtype=np.int64) for i in (0, 1))
    assert_split(cifar100.load_data(mode), images(0), y_train, images(1), y_test)
    if mode == "fine":
        assert_split(cifar100.load_data(), images(0), y_train, images(1), y_test)


def test_boston_housing_is_shuffled_and_divided() -> None:
    order = np.random.RandomState(113).permutation(650)
    x, y = data.TABLE_X[order], data.TABLE_Y[order]
    assert_split(boston_housing.load_data(), x[:520], y[:520], x[520:], y[520:])
    assert_split(boston_housing.load_data(test_split=0), x, y, x[:0], y[:0])
    assert_split(boston_housing.load_data(test_split=0.5), x[:325], y[:325], x[325:], y[325:])
    order = np.random.RandomState(7).permutation(650)
    assert_split(
        boston_housing.load_data(seed=7),
        *(data.TABLE_X[order[:520]], data.TABLE_Y[order[:520]]),
        *(data.TABLE_X[order[520:]], data.TABLE_Y[order[520:]]),
    )


@pytest.mark.parametrize(("version", "rows"), [("large", 650), ("small", 600)])
def test_california_housing_has_two_versions(version: str, rows: int) -> None:
    order = np.random.RandomState(113).permutation(rows)
    x, y = data.TABLE_X[order], data.TABLE_Y[order]
    first = int(rows * (1 - 0.2))
    result = california_housing.load_data(version)
    assert_split(result, x[:first], y[:first], x[first:], y[first:])
    if version == "large":
        assert_split(california_housing.load_data(), x[:first], y[:first], x[first:], y[first:])


def lists(texts: NDArray[Any]) -> list[list[int]]:
    assert texts.dtype == object
    assert all(type(text) is list for text in texts)
    return list(texts.tolist())


def shuffled_texts(
    seed: int = 113,
) -> tuple[list[list[int]], list[int], list[list[int]], list[int]]:
    """Return IMDB's training and test data in Keras' order."""
    rng = np.random.RandomState(seed)
    train, test = rng.permutation(6), rng.permutation(6)
    return (
        *([data.TEXTS[i] for i in train], [data.LABELS[i] for i in train]),
        *([data.TEXTS[::-1][i] for i in test], [data.LABELS[::-1][i] for i in test]),
    )


@pytest.mark.parametrize("seed", [113, 5])
def test_imdb_adds_the_start_and_replaces_words(seed: int) -> None:
    (x_train, y_train), (x_test, y_test) = imdb.load_data(seed=seed)
    x, y, x2, y2 = shuffled_texts(seed)
    largest = 70003
    for found, expected in (x_train, x), (x_test, x2):
        numbered = [[1] + [w + 3 for w in text] for text in expected]
        # As in Keras, the word with the largest number counts as out of the vocabulary.
        assert lists(found) == [[2 if w == largest else w for w in text] for text in numbered]
    assert y_train.tolist() == y
    assert y_test.tolist() == y2
    assert y_train.dtype == y_test.dtype == np.int64


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"num_words": 10}, lambda t: [1, *(w + 3 if w + 3 < 10 else 2 for w in t)]),
        (
            {"num_words": 10, "skip_top": 6},
            lambda t: [2, *(w + 3 if 6 <= w + 3 < 10 else 2 for w in t)],
        ),
        (
            {"num_words": 10, "oov_char": None},
            lambda t: [1, *(w + 3 for w in t if w + 3 < 10)],
        ),
        (
            {"num_words": 99999, "start_char": None},
            lambda t: [w + 3 for w in t],
        ),
        (
            {"num_words": 99999, "start_char": 4, "index_from": 10},
            lambda t: [4] + [w + 10 for w in t],
        ),
        ({"num_words": 99999, "start_char": None, "index_from": 0}, list),
        ({"num_words": 99999, "start_char": None, "index_from": None}, list),
        (
            {"num_words": 0, "oov_char": 77},
            lambda t: [1] + [77 if w == 70000 else w + 3 for w in t],
        ),
    ],
)
def test_texts_are_encoded_as_asked(options: dict[str, Any], change: Any) -> None:
    (x_train, _), (x_test, _) = imdb.load_data(**options)
    x, _, x2, _ = shuffled_texts()
    assert lists(x_train) == [change(text) for text in x]
    assert lists(x_test) == [change(text) for text in x2]
    (x_train, _), _ = reuters.load_data(test_split=0, **options)
    order = np.random.RandomState(113).permutation(6)
    assert lists(x_train) == [change(data.TEXTS[i]) for i in order]


def test_maxlen_removes_long_texts() -> None:
    (x_train, y_train), (x_test, y_test) = imdb.load_data(maxlen=4, num_words=99999)
    x, y, x2, y2 = shuffled_texts()
    for found, labels, texts, expected in (x_train, y_train, x, y), (x_test, y_test, x2, y2):
        kept = [i for i, text in enumerate(texts) if len(text) + 1 < 4]
        assert lists(found) == [[1] + [w + 3 for w in texts[i]] for i in kept]
        assert labels.tolist() == [expected[i] for i in kept]
        assert labels.dtype == np.int64
    for module in imdb, reuters:
        with pytest.raises(ValueError, match="shorter than maxlen=1, no sequence was kept"):
            module.load_data(maxlen=1)


def test_reuters_is_shuffled_and_divided() -> None:
    order = np.random.RandomState(113).permutation(6)
    texts = [[1] + [w + 3 for w in data.TEXTS[i]] for i in order]
    labels = [45 * data.LABELS[i] for i in order]
    for options, first in ({}, 4), ({"test_split": 0.5}, 3), ({"test_split": 1}, 0):
        (x_train, y_train), (x_test, y_test) = reuters.load_data(num_words=99999, **options)
        assert lists(x_train) == texts[:first]
        assert lists(x_test) == texts[first:]
        assert y_train.tolist() == labels[:first]
        assert y_test.tolist() == labels[first:]
        assert y_train.dtype == y_test.dtype == np.int64
    (x_train, _), _ = reuters.load_data(num_words=99999, seed=4, test_split=0)
    order = np.random.RandomState(4).permutation(6)
    assert lists(x_train) == [[1] + [w + 3 for w in data.TEXTS[i]] for i in order]


def test_texts_of_one_length_become_a_matrix_as_in_keras() -> None:
    """NumPy makes a matrix of lists of one length."""
    x, _ = reuters.load_data(maxlen=3, test_split=0, num_words=99999)[0]
    assert x.shape == (1, 2)
    assert x.dtype == object


def test_no_seed_means_any_order() -> None:
    orders = {boston_housing.load_data(seed=None)[0][1].tobytes() for _ in range(3)}
    assert len(orders) == 3


@pytest.mark.parametrize("module", [imdb, reuters])
def test_words_have_an_index(module: ModuleType, home: Path) -> None:
    assert module.get_word_index() == data.WORDS
    assert module.get_word_index("other.json") == data.WORDS
    name = f"{module.__name__.rpartition('.')[2]}_word_index.json"
    assert sorted(path.name for path in home.iterdir()) == sorted([name, "other.json"])


def test_reuters_has_names_of_labels() -> None:
    names = reuters.get_label_names()
    assert type(names) is tuple
    assert len(set(names)) == 46
    assert (names[0], names[3], names[45]) == ("cocoa", "earn", "lead")


def test_a_damaged_file_in_the_cache_is_downloaded_again(home: Path, server: WebServer) -> None:
    home.mkdir(parents=True)
    (home / "mnist.npz").write_bytes(b"incomplete")
    assert mnist.load_data()[0][1].tolist() == data.Y_TRAIN.tolist()
    (home / "mnist.npz").write_bytes(b"incomplete")
    del server.files["mnist.npz"]
    with pytest.raises(OSError, match=r"put a copy of it at .*mnist\.npz"):
        mnist.load_data()


def test_a_damaged_download_is_an_error(home: Path, server: WebServer) -> None:
    server.files["cifar-10-python.tar.gz"] += b"more"
    with pytest.raises(ValueError, match="Incomplete or corrupted"):
        cifar10.load_data()
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: cifar100.load_data("course"), ValueError, "label_mode 'course'.*'coarse'"),
        (lambda: california_housing.load_data("tiny"), ValueError, "version 'tiny'"),
        (lambda: boston_housing.load_data(test_split=1), ValueError, "test_split"),
        (lambda: california_housing.load_data(test_split=-0.1), ValueError, "test_split"),
        (lambda: boston_housing.load_data(test_split=float("nan")), ValueError, "test_split"),
        (lambda: reuters.load_data(test_split=1.1), ValueError, "test_split"),
        (lambda: imdb.load_data(seed=-1), ValueError, "Seed"),
        (lambda: mnist.load_data("a/b.npz"), ValueError, "fname"),
        (lambda: imdb.load_data(nb_words=3), TypeError, "nb_words"),
        *(
            (lambda m=module, n=name: m.load_data(**{n: "3"}), TypeError, f"{name} must be an int")
            for module in (imdb, reuters)
            for name in ("num_words", "skip_top", "maxlen", "start_char", "oov_char", "index_from")
        ),
        (lambda: imdb.load_data(skip_top=None), TypeError, "skip_top"),
    ],
)
def test_bad_arguments_are_refused_before_the_download(
    call: Any, error: type[Exception], match: str, server: WebServer
) -> None:
    with pytest.raises(error, match=match):
        call()
    assert server.requests == []


def test_the_package_has_the_modules() -> None:
    for module in MODULES:
        assert getattr(datasets, module.__name__.rpartition(".")[2]) is module


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_of_every_numpy_are_read(protocol: int) -> None:
    array = data.ragged(data.TEXTS)
    assert load_pickle(pickle.dumps(array, protocol)).tolist() == data.TEXTS
    old = pickle.dumps(array, protocol).replace(b"numpy._core", b"numpy.core")
    if protocol < 4:  # later names are preceded by their length
        assert load_pickle(old).tolist() == data.TEXTS
    for numbers in (
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype=">i4").reshape(3, 2),
        np.asfortranarray(data.PIXELS),
    ):
        loaded = load_pickle(pickle.dumps({"a": numbers, "b": numbers.copy()}, protocol))["b"]
        assert loaded.dtype == numbers.dtype
        np.testing.assert_array_equal(loaded, numbers)


def test_long_integers_of_python_2_are_read() -> None:
    assert load_pickle(b"\x80\x02](\x8a\x01\x05\x8a\x02\x00\x80\x8a\x00e.") == [5, -32768, 0]


def test_npz_files_of_every_version_are_read(tmp_path: Path) -> None:
    for version in (1, 0), (2, 0), (3, 0):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            for name, array in (
                ("x", data.ragged(data.TEXTS)),
                ("y", np.asfortranarray(data.TABLE_X)),
            ):
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, array, version)
        x, y = load_npz(str(tmp_path / "a.npz"), "x", "y")
        assert x.tolist() == data.TEXTS
        np.testing.assert_array_equal(y, data.TABLE_X)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_words": 10},
    {"num_words": 10, "skip_top": 6, "seed": 5},
    {"oov_char": None, "maxlen": 4},
    {"start_char": None, "index_from": 0},
    {"start_char": None},
    {"start_char": 7, "index_from": 10, "oov_char": 9, "num_words": 15},
]
CALLS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("mnist", "fashion_mnist", "cifar10", "boston_housing")),
    *(("cifar100", {"label_mode": mode}) for mode in ("fine", "coarse")),
    *(("california_housing", {"version": version}) for version in ("large", "small")),
    ("boston_housing", {"test_split": 0.37, "seed": 9}),
    *((name, options) for name in ("imdb", "reuters") for options in OPTIONS),
    ("reuters", {"test_split": 0.5}),
]


@pytest.mark.peers
@pytest.mark.parametrize(("name", "options"), CALLS)
def test_keras_reads_the_same_data_from_the_cache(
    name: str, options: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    module = getattr(datasets, name)
    ours = module.load_data(**options)
    theirs = __import__(f"keras.src.datasets.{name}", fromlist=["load_data"])
    cached = keras.utils.get_file

    def get_file(*args: Any, file_hash: str | None = None, **more: Any) -> Any:
        return cached(*args, cache_dir=str(home.parent), **more)

    def refused(*args: Any) -> None:
        raise AssertionError("Keras did not find the file")

    monkeypatch.setattr(theirs, "get_file", get_file)
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refused)
    if name == "cifar10":  # Keras expects five times 10,000 images
        monkeypatch.setattr(theirs, "load_batch", lambda path: load_ten_thousand(path))
        ours = tuple(
            tuple(np.repeat(part.reshape(-1, 4, *part.shape[1:]), 2500, axis=1) for part in pair)
            for pair in ours
        )
        ours = tuple(tuple(part.reshape(-1, *part.shape[2:]) for part in pair) for pair in ours)
    for a, b in zip(ours, theirs.load_data(**options), strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype
            assert x.shape == y.shape
            assert all(np.array_equal(v, w) for v, w in zip(x, y, strict=True))
            assert [type(v) for v in x] == [type(w) for w in y]


def load_ten_thousand(path: str) -> tuple[NDArray[Any], list[int]]:
    """Return Keras' result for a file in which each image occurs 2,500 times."""
    from keras.src.datasets.cifar import load_batch

    images, labels = load_batch(path)
    return np.repeat(images, 2500, axis=0), np.repeat(labels, 2500).tolist()


@pytest.mark.peers
def test_arguments_are_those_of_keras() -> None:
    import keras

    for module in MODULES:
        theirs = getattr(keras.datasets, module.__name__.rpartition(".")[2])
        for name in module.__all__:
            own = inspect.signature(getattr(module, name)).parameters
            parameters = inspect.signature(getattr(theirs, name)).parameters
            expected = {k: p.default for k, p in parameters.items() if k != "kwargs"}
            assert {k: p.default for k, p in own.items()} == expected
    assert reuters.get_label_names() == keras.datasets.reuters.get_label_names()

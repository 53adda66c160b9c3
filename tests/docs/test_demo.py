"""The demonstration, the command line, the data sets and the examples work."""

from __future__ import annotations

import gzip
import os
import re
import runpy
import statistics
import struct
import sys
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import Adam, Network

import nnfast
from nnfast import cli, datasets

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))

CODES = {
    np.dtype(np.uint8): 0x08,
    np.dtype(np.int8): 0x09,
    np.dtype(np.int16): 0x0B,
    np.dtype(np.int32): 0x0C,
    np.dtype(np.float32): 0x0D,
    np.dtype(np.float64): 0x0E,
}


def idx(array: NDArray[Any]) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[array.dtype], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


# IDX files


@pytest.mark.parametrize("dtype", CODES, ids=str)
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (0, 4), (2, 1, 1, 3)])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_files_are_read_exactly(
    dtype: np.dtype[Any], shape: tuple[int, ...], compress: Any, tmp_path: Path
) -> None:
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    (tmp_path / "array").write_bytes(compress(idx(array)))
    loaded = datasets.load_idx(tmp_path / "array")
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == dtype
    assert loaded.dtype.isnative
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable


GOOD = idx(np.arange(6, dtype=np.int32).reshape(2, 3))

BAD_FILES = {
    "empty": b"",
    "two bytes": GOOD[:2],
    "no magic": b"\x01" + GOOD[1:],
    "unknown type": GOOD[:2] + b"\x0a" + GOOD[3:],
    "no dimension": GOOD[:3] + b"\x00",
    "header cut": GOOD[:9],
    "data cut": GOOD[:-1],
    "data too long": GOOD + b"\0",
    "dimensions too large": GOOD[:4] + b"\xff" * 8 + GOOD[12:],
    "more dimensions than bytes": GOOD[:3] + b"\xff" + GOOD[4:],
    "gzip cut": gzip.compress(GOOD)[:-5],
    "gzip damaged": gzip.compress(GOOD)[:12] + b"\xff\xff\xff" + gzip.compress(GOOD)[15:],
    "gzip of an empty file": gzip.compress(b""),
    "gzip of a cut file": gzip.compress(GOOD[:-4]),
    "gzip of too much data": gzip.compress(GOOD + b"\0"),
    "garbage after gzip": gzip.compress(GOOD) + b"garbage",
    "40 axes of 1": GOOD[:3] + b"\x28" + b"\0\0\0\1" * 40 + GOOD[-4:],
    "dimensions too large, times 0": GOOD[:4] + b"\xff\xff\xff\xff" + b"\0\0\0\0" + b"1",
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_idx_files_are_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(BAD_FILES[case])
    with pytest.raises(ValueError, match="bad"):
        datasets.load_idx(path)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_wrong_idx_headers_allocate_no_memory(compress: Any, tmp_path: Path) -> None:
    """One header claims 16 EB of data; the other claims 6 numbers, but 64 MB of data follow."""
    path = tmp_path / "bomb"
    claims = GOOD[:3] + b"\2" + b"\xff" * 8
    for content in (claims + bytes(1000), GOOD + bytes(2**26)):
        path.write_bytes(compress(content))
        tracemalloc.start()
        with pytest.raises(ValueError, match="bomb"):
            datasets.load_idx(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * 2**20


def test_truncated_idx_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    for size in range(len(GOOD)):
        path.write_bytes(GOOD[:size])
        with pytest.raises(ValueError, match="cut"):
            datasets.load_idx(path)


# Digits


def test_digits_are_loaded() -> None:
    pytest.importorskip("sklearn")
    x, y = datasets.load_digits()
    assert x.shape == (1797, 64)
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert sorted(set(y)) == list(range(10))


def test_digits_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"nnfast\[sklearn\]"):
        datasets.load_digits()


# The demonstration


@pytest.fixture
def demo() -> Any:
    for module in ("sklearn", "matplotlib", "rich"):
        pytest.importorskip(module)
    from nnfast import demo

    return demo


def test_the_demo_reaches_its_promised_accuracy(
    demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "curve.png"
    assert cli.main(["demo", "--epochs", "20", "--output", str(path)]) == 0
    text = capsys.readouterr().out
    assert "test accuracy 0.9" in text
    assert "times as fast" in text
    assert "differ by" in text
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_demo_fails_if_it_misses_its_accuracy(
    demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo", "--epochs", "1", "--output", str(tmp_path / "curve.png")]
    assert cli.main(arguments) == 1
    assert "NOT REACHED" in capsys.readouterr().out


def test_the_demo_fails_if_the_learning_curves_differ(
    demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = demo.train_numpy
    monkeypatch.setattr(
        demo, "train_numpy", lambda *arguments: [loss * 1.001 for loss in original(*arguments)]
    )
    arguments = ["demo", "--epochs", "20", "--output", str(tmp_path / "curve.png")]
    assert cli.main(arguments) == 1
    assert "DISAGREE" in capsys.readouterr().out


def test_the_numpy_network_of_the_demo_agrees_with_the_reference(demo: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 5)), rng.integers(0, 3, 50)
    weights = [rng.normal(size=shape) for shape in ((5, 7), (7,), (7, 3), (3,))]
    curve = demo.train_numpy(weights, x, y, epochs=2, batch_size=16)
    network = Network(weights, ["relu", "softmax"], "sparse_categorical_crossentropy")
    optimizer, expected = Adam(), []
    for _ in range(2):
        losses = [
            network.step(optimizer, x[i : i + 16], y[i : i + 16]) * len(x[i : i + 16])
            for i in range(0, 50, 16)
        ]
        expected.append(sum(losses) / 50)
    np.testing.assert_allclose(curve, expected, rtol=1e-12)


def mnist_folder() -> Path:
    """Return the folder with MNIST's test set, or skip the test if NNFAST_MNIST is not set."""
    folder = os.environ.get("NNFAST_MNIST")
    if not folder:
        pytest.skip("NNFAST_MNIST does not name a folder with MNIST's IDX files")
    return Path(folder)


def test_the_demo_runs_on_mnist(
    demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mnist_folder()
    path = tmp_path / "curve.png"
    assert cli.main(["demo", "--mnist", str(folder), "--output", str(path)]) == 0
    assert "MNIST: 10 epochs" in capsys.readouterr().out
    assert path.is_file()


def test_the_demo_has_its_promised_accuracy_on_mnist(demo: Any) -> None:
    task = demo.mnist(mnist_folder())
    accuracies = []
    for seed in range(5):
        nnfast.set_seed(seed)
        model = demo.network(task, "float32")
        model.fit(task.x_train, task.y_train, batch_size=32, epochs=task.epochs, verbose=0)
        accuracies.append(model.evaluate(task.x_test, task.y_test, verbose=0)[1])
    assert statistics.median(accuracies) >= task.promise


def small_mnist(folder: Path, n: int) -> None:
    for name, array in (
        ("t10k-images-idx3-ubyte", np.zeros((n, 28, 28), np.uint8)),
        ("t10k-labels-idx1-ubyte", np.zeros(n, np.uint8)),
    ):
        (folder / name).write_bytes(idx(array))


@pytest.mark.parametrize("files", [0, 5])
def test_folders_without_mnist_are_named(
    files: int, demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if files:
        small_mnist(tmp_path, files)
    assert cli.main(["demo", "--mnist", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "expected" in message
    assert str(tmp_path) in message


# The command line


def test_the_config_command_prints_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config"]) == 0
    text = capsys.readouterr().out
    assert nnfast.__version__ in text
    assert "isa" in text
    assert "threads" in text


@pytest.mark.parametrize(
    "arguments", [[], ["demos"], ["demo", "--epochs", "0"], ["demo", "--epochs", "x"]]
)
def test_wrong_command_lines_print_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_the_version_option_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == f"nnfast {nnfast.__version__}"


# The examples

# Patterns of what the examples print.
EXPECTED = {
    "xor.py": "accuracy 1.00",
    "linear_regression.py": "y = 3.0",
    "autoencoder.py": "16 principal components",
    "adult.py": "nnfast MLPClassifier         accuracy 0.8",
    "grid_search.py": "nnfast MLPClassifier         accuracy 0.9",
    "mnist_convolution.py": "LeNet-5             61,706 weights, accuracy 0.9",
    "wide_and_deep.py": "expensive or not: 8",
    "variational_autoencoder.py": r"variational autoencoder: 2[45]\..* per digit",
    "dcgan.py": r"drawn digits: 0\.\d\d ink, 0\.\d\d taken for real",
    "denoising_autoencoder.py": r"with noise mean squared error 0\.08.*\ndenoised   mean",
    "forecasting.py": r"mean of the validation losses 0\.7",
    "vanishing_gradients.py": (
        r"SimpleRNN +\de-(09|1\d) .* \de-01\n.*\nLSTM, forget bias 4 +[5-9]e-01 .* \de-01"
    ),
    "addition_rnn.py": r"epoch  1: [23]\d\.\d\d% of new characters right",
    "mnist_rows.py": r"71,434 weights, accuracy 0\.[3-6]",
    "text_generation.py": r"character: 3\.\d\d\n(\nTemperature .*:\nShall(.|\n){335}\n){3}",
    "word_vectors.py": r"pairs of 104 words, (.|\n)*cat .*\n(.|\n)*4[78] of 48 words are nearest",
    "transformer_classifier.py": r"transformer, seed 0: accuracy 0\.[4-9].*\n.*mean accuracy 0\.",
    "transformer_lm.py": r"character: 2\.\d\d\n(.|\n)*\n[23]\.\d\d bits .*, [2-4]\.\d\d in the",
    "reversal_attention.py": r"letter: 3\.\d+\n\d.* letters .*\n.* s\n([a-z]{12} [a-z]{12}\n){4}",
    "date_translation.py": r"character: 2\.\d+\n.* 50 new dates .*\nMay 27, 1979 +\S{10}",
    "gan.py": r"origin: (0\.9|1\.0)\d ± 0\.[01].*\n.*quarter: \[([123]\d\d(, )?){4}\]",
}
OPTIONS = {
    **dict.fromkeys(("adult.py", "grid_search.py"), "--alone"),
    **dict.fromkeys(("dcgan.py", "denoising_autoencoder.py"), "--epochs 1"),
    **dict.fromkeys(("forecasting.py", "vanishing_gradients.py", "addition_rnn.py"), "--quick"),
    **dict.fromkeys(("mnist_rows.py", "text_generation.py", "word_vectors.py"), "--quick"),
    **dict.fromkeys(("transformer_classifier.py", "reversal_attention.py"), "--quick"),
    "date_translation.py": "--quick",
    "transformer_lm.py": "--quick --length 50",
}
# What follows the folder in the argument of an example that reads data.
NEEDS = {"adult.py": "", "wide_and_deep.py": "california-housing.csv.gz"}
WITH_SKLEARN = {
    *("autoencoder.py", "variational_autoencoder.py", "mnist_convolution.py"),
    *("adult.py", "grid_search.py", "dcgan.py", "denoising_autoencoder.py", "mnist_rows.py"),
}
# The examples that draw a picture, and what they need for it.
WITH_PICTURES = {
    "dcgan.py": "PIL",
    "denoising_autoencoder.py": "PIL",
    **dict.fromkeys(("vanishing_gradients.py", "word_vectors.py"), "matplotlib"),
    **dict.fromkeys(("transformer_classifier.py", "transformer_lm.py"), "matplotlib"),
    **dict.fromkeys(("reversal_attention.py", "date_translation.py"), "matplotlib"),
}
DATA = os.environ.get("NNFAST_DATA")  # a folder with the files that some examples read


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_run_and_print_their_results(
    path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = tmp_path / "picture.png"
    if path.name in WITH_SKLEARN:
        pytest.importorskip("sklearn")
    options = OPTIONS.get(path.name, "").split()
    if path.name in WITH_PICTURES:
        pytest.importorskip(WITH_PICTURES[path.name])
        options += ["--picture", str(picture)]
    if path.name in NEEDS:
        if DATA is None:
            pytest.skip("NNFAST_DATA names no folder with the data")
        options.append(str(Path(DATA, NEEDS[path.name])))
    monkeypatch.setattr(sys, "argv", [str(path), *options])
    monkeypatch.setattr(warnings, "filters", warnings.filters[:])
    runpy.run_path(str(path), run_name="__main__")
    assert re.search(EXPECTED[path.name], capsys.readouterr().out)
    assert picture.is_file() == (path.name in WITH_PICTURES)

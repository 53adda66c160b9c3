"""Small files in the formats of the published data sets."""

from __future__ import annotations

import functools
import gzip
import io
import json
import struct
import tarfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

RNG = np.random.default_rng(0)
X_TRAIN = RNG.integers(0, 256, (7, 28, 28)).astype(np.uint8)
Y_TRAIN = RNG.integers(0, 10, 7).astype(np.uint8)
X_TEST, Y_TEST = X_TRAIN[:3], Y_TRAIN[:3]
TABLE_X = RNG.normal(size=(650, 8))
TABLE_Y = RNG.normal(size=650)
# Texts of different lengths, whose words are all small, medium and large integers of pickles.
TEXTS = [[1, 5, 9], [2, 300, 70000, 7], [3], [4, 8, 8, 8, 1], [6, 10], [1, 2, 3, 4, 5, 6]]
LABELS = [1, 0, 0, 1, 1, 0]
WORDS = {"the": 1, "café": 2}
PIXELS = RNG.integers(0, 256, (4, 3072)).astype(np.uint8)


def npz(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    return file.getvalue()


def ragged(texts: list[Any]) -> NDArray[Any]:
    """Return an array whose elements are the lists."""
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def idx(array: NDArray[np.uint8]) -> bytes:
    """Return an array of bytes in the format of MNIST."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes())


def python2_batch(data: NDArray[np.uint8], **labels: list[int]) -> bytes:
    """Return a dict as cPickle of Python 2 wrote CIFAR's."""
    pieces = [b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x04testq\x03"]
    for name, values in labels.items():
        numbers = b"".join(b"K" + bytes((value,)) for value in values)
        pieces += [b"U", bytes((len(name),)), name.encode(), b"q\x02]q\x03(", numbers, b"e"]
    pieces += [b"U\x04dataq\x04", python2_array(data), b"u."]
    return b"".join(pieces)


def python2_array(data: NDArray[np.uint8]) -> bytes:
    shape = b"".join(b"M" + struct.pack("<H", size) for size in data.shape)
    pieces = [
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07",
        b"(K\x01" + shape + b"\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09",
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
        b"T" + struct.pack("<I", data.size) + data.tobytes() + b"tb",
    ]
    return b"".join(pieces)


def tar(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def cifar10() -> bytes:
    batches = {
        f"cifar-10-batches-py/{name}": python2_batch(PIXELS + i, labels=[i, 9, 0, 3])
        for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"])
    }
    return tar(batches)


def cifar100() -> bytes:
    batches = {
        f"cifar-100-python/{name}": python2_batch(
            PIXELS + i, fine_labels=[i, 99, 50, 3], coarse_labels=[i, 19, 7, 2]
        )
        for i, name in enumerate(["train", "test"])
    }
    return tar(batches)


@functools.cache
def published_files() -> dict[str, bytes]:
    """Return the content of each file in `nnfast.keras.datasets.published.FILES`."""
    table = npz(x=TABLE_X, y=TABLE_Y)
    labels = np.array(LABELS)
    return {
        "boston_housing.npz": table,
        "california_housing.npz": table,
        "cifar-10-python.tar.gz": cifar10(),
        "cifar-100-python.tar.gz": cifar100(),
        "imdb.npz": npz(
            x_train=ragged(TEXTS), y_train=labels, x_test=ragged(TEXTS[::-1]), y_test=labels[::-1]
        ),
        "imdb_word_index.json": json.dumps(WORDS).encode(),
        "mnist.npz": npz(x_train=X_TRAIN, y_train=Y_TRAIN, x_test=X_TEST, y_test=Y_TEST),
        "reuters.npz": npz(x=ragged(TEXTS), y=labels * 45),
        "reuters_word_index.json": json.dumps(WORDS).encode(),
        "t10k-images-idx3-ubyte.gz": idx(X_TEST),
        "t10k-labels-idx1-ubyte.gz": idx(Y_TEST),
        "train-images-idx3-ubyte.gz": idx(X_TRAIN),
        "train-labels-idx1-ubyte.gz": idx(Y_TRAIN),
    }

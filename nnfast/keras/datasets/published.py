"""Addresses and checksums of the published data sets, as in Keras."""

from __future__ import annotations

from nnfast.keras.utils.files import get_file

__all__ = ["FILES", "fetch"]

_STORAGE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"

# The address and the checksum of each file. Keras knows no checksums of Fashion-MNIST.
FILES: dict[str, tuple[str, str | None]] = {
    "boston_housing.npz": (
        f"{_STORAGE}boston_housing.npz",
        "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
    ),
    "california_housing.npz": (
        f"{_STORAGE}california_housing.npz",
        "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f",
    ),
    "cifar-10-python.tar.gz": (
        f"{_CIFAR}cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar-100-python.tar.gz": (
        f"{_CIFAR}cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
    "imdb.npz": (
        f"{_STORAGE}imdb.npz",
        "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
    ),
    "imdb_word_index.json": (
        f"{_STORAGE}imdb_word_index.json",
        "bfafd718b763782e994055a2d397834f",
    ),
    "mnist.npz": (
        f"{_STORAGE}mnist.npz",
        "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    ),
    "reuters.npz": (
        f"{_STORAGE}reuters.npz",
        "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916",
    ),
    "reuters_word_index.json": (
        f"{_STORAGE}reuters_word_index.json",
        "4d44cc38712099c9e383dc6e5f11a921",
    ),
    "t10k-images-idx3-ubyte.gz": (f"{_STORAGE}t10k-images-idx3-ubyte.gz", None),
    "t10k-labels-idx1-ubyte.gz": (f"{_STORAGE}t10k-labels-idx1-ubyte.gz", None),
    "train-images-idx3-ubyte.gz": (f"{_STORAGE}train-images-idx3-ubyte.gz", None),
    "train-labels-idx1-ubyte.gz": (f"{_STORAGE}train-labels-idx1-ubyte.gz", None),
}


def fetch(
    published: str, fname: str, *, cache_subdir: str = "datasets", extract: bool = False
) -> str:
    """Return the path of a published file, which is downloaded if it is not in the cache.

    Parameters
    ----------
    published : str
        A key of `FILES`.
    fname, cache_subdir, extract
        See `nnfast.keras.utils.get_file`.
    """
    origin, digits = FILES[published]
    return get_file(fname, origin, file_hash=digits, cache_subdir=cache_subdir, extract=extract)

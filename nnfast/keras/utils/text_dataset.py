"""Data sets of text files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import optional_integer
from nnfast.keras.utils.damage import reading
from nnfast.keras.utils.file_dataset import FileOptions, datasets_of_files

__all__ = ["text_dataset_from_directory"]

Array = NDArray[Any]


def text_dataset_from_directory(
    directory: str | os.PathLike[str],
    labels: str | Sequence[int] | None = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Return a data set of the text files in a directory, which are read during iteration.

    Files are the same, in the same order, as in Keras with the same `seed`.

    Parameters
    ----------
    directory : path
        It has one subdirectory per class if `labels` is ``"inferred"``. Files whose names do not
        end in ``.txt`` are left out.
    labels : "inferred", list or tuple of int, or None
        The labels of all files, sorted by path. None: no labels.
    label_mode : {"int", "binary", "categorical"} or None, default "int"
        Labels are int32 numbers (n,), float32 zeros and ones (n, 1), or float32 one-hot vectors
        (n, classes). None: no labels.
    class_names : sequence of str, optional
        The subdirectories in the order of their labels; by default sorted by name.
    batch_size : int or None, default 32
        None: the elements are single texts.
    max_length : int, optional
        The number of characters after which texts are cut off. Keras counts bytes.
    shuffle : bool, default True
        Whether to shuffle the files, and again a buffer of 8 batches in each iteration.
    seed : int, optional
        The seed of the orders.
    validation_split : float, optional
        The share of the files, at the end of their order, that is for validation.
    subset : {"training", "validation", "both"}, optional
        The files to return, if `validation_split` is given.
    follow_links : bool, default False
        Whether to enter directories that are symbolic links.
    format : {"tf"}
    verbose : bool, default True
        Whether to print the numbers of files and classes.

    Returns
    -------
    Dataset, or list of two if `subset` is ``"both"``
        Of pairs (texts, labels), or of texts alone. Texts are arrays (n,) of `str` objects. The
        attributes `class_names` and `file_paths` are lists.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or there are no files. During iteration, if a file is
        not text in UTF-8.

    Examples
    --------
    >>> import os
    >>> for name in ("bad", "good"):
    ...     os.makedirs(f"reviews/{name}")
    ...     with open(f"reviews/{name}/1.txt", "w") as file:
    ...         _ = file.write(f"A {name} film.")
    >>> data = text_dataset_from_directory("reviews", shuffle=False)
    Found 2 files belonging to 2 classes.
    >>> for texts, numbers in data:
    ...     print(texts.tolist(), numbers.tolist())
    ['A bad film.', 'A good film.'] [0, 1]
    """
    return datasets_of_files(
        directory,
        FileOptions(
            *(labels, label_mode, class_names, batch_size, shuffle, seed, validation_split),
            *(subset, follow_links, format, verbose),
        ),
        _Loader(optional_integer("max_length", max_length)),
    )


class _Loader(NamedTuple):
    """Reads texts; see `Reader`."""

    max_length: int | None
    what: str = "text files"
    formats: tuple[str, ...] = (".txt",)

    def load(self, path: str) -> Array:
        """Return the text in a file as an array without axes."""
        return np.array(self._text(path))

    def batch(self, paths: list[str]) -> Array:
        """Return the texts in files as an array (n,)."""
        return np.array([self._text(path) for path in paths], object)

    def _text(self, path: str) -> str:
        with reading(path), open(path, encoding="utf-8", newline="") as file:
            return file.read(-1 if self.max_length is None else self.max_length)

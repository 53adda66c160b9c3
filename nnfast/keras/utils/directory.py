"""The files of a directory with their labels, in the order of Keras and divided as in Keras."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import flag, real
from nnfast.keras.tf.structures import as_array

__all__ = [
    "LABEL_MODES",
    "LabelledFiles",
    "check_split",
    "encoded",
    "files_below",
    "index_directory",
    "part",
    "shuffled",
]

LABEL_MODES = ("int", "categorical", "binary", None)


class LabelledFiles(NamedTuple):
    """Files of a directory.

    Attributes
    ----------
    paths : list of str
    labels : ndarray (n,) or None
    class_names : list of str or None
    """

    paths: list[str]
    labels: NDArray[Any] | None
    class_names: list[str] | None


def index_directory(
    directory: str | os.PathLike[str],
    labels: str | Sequence[int] | None,
    formats: tuple[str, ...],
    class_names: Sequence[str] | None = None,
    follow_links: bool = False,
) -> LabelledFiles:
    """Return the files below a directory with the endings `formats`, sorted by name.

    Parameters
    ----------
    directory : path
    labels : "inferred", sequence of int or None
        ``"inferred"``: each subdirectory is a class. A sequence has one label per file.
    formats : tuple of str
        Lower-case endings.
    class_names : sequence of str, optional
        The subdirectories in the order of their classes, if labels are inferred; by default all of
        them, sorted by name. Hidden ones are left out.
    follow_links : bool
        Whether to enter directories that are symbolic links.

    Raises
    ------
    ValueError
        If a class has no subdirectory, or the number of labels differs from that of files.
    """
    root = os.fspath(directory)
    if labels != "inferred":
        paths = _paths(root, "", formats, follow_links)
        return _with_labels(root, paths, labels)
    found = sorted(
        name
        for name in os.listdir(root)
        if os.path.isdir(os.path.join(root, name)) and not name.startswith(".")
    )
    names = found if class_names is None else list(class_names)
    if not set(names) <= set(found):
        raise ValueError(
            f"class_names must be names of subdirectories of {root}, which are {found}; received "
            f"{names}"
        )
    by_class = [_paths(root, name, formats, follow_links) for name in names]
    numbers = np.repeat(np.arange(len(names), dtype=np.int32), [len(own) for own in by_class])
    return LabelledFiles([path for own in by_class for path in own], numbers, names)


def _paths(root: str, name: str, formats: tuple[str, ...], follow_links: bool) -> list[str]:
    return [os.path.join(root, file) for file in files_below(root, name, formats, follow_links)]


def _with_labels(root: str, paths: list[str], labels: Any) -> LabelledFiles:
    if labels is None:
        return LabelledFiles(paths, None, None)
    if len(labels) != len(paths):
        raise ValueError(
            f"labels must have one entry for each of the {len(paths)} files in {root}; received "
            f"{len(labels)}"
        )
    names = [str(label) for label in sorted(set(labels))]
    return LabelledFiles(paths, as_array(list(labels)), names)


def files_below(
    root: str, name: str, formats: tuple[str, ...], follow_links: bool
) -> Iterator[str]:
    """Yield the files below ``root/name``, relative to `root`: directory by directory, by name."""
    walk = os.walk(os.path.join(root, name), followlinks=follow_links)
    for folder, _, files in sorted(walk, key=lambda entry: entry[0]):
        for file in sorted(files):
            if file.lower().endswith(formats):
                yield os.path.relpath(os.path.join(folder, file), root)


def check_split(validation_split: object, subset: object, shuffle: object, seed: object) -> None:
    """Check the arguments that divide files into training and validation files.

    Raises
    ------
    TypeError, ValueError
        If they contradict each other, or files would be shuffled differently in both parts.
    """
    if validation_split:
        real("validation_split", validation_split, above=0.0, below=1.0)
    if bool(validation_split) != bool(subset):
        raise ValueError(
            "validation_split and subset must be set both or not at all; received "
            f"validation_split={validation_split!r} and subset={subset!r}"
        )
    if subset not in ("training", "validation", "both", None):
        raise ValueError(
            f'subset must be "training", "validation", "both" or None; received {subset!r}'
        )
    if validation_split and flag("shuffle", shuffle) and seed is None:
        raise ValueError(
            "validation_split of shuffled files needs a seed, so that training and validation "
            "files do not overlap"
        )


def shuffled(files: LabelledFiles, seed: int) -> LabelledFiles:
    """Return the files in the order into which Keras shuffles them with this seed."""
    order = np.arange(len(files.paths))
    np.random.RandomState(seed).shuffle(order)
    labels = None if files.labels is None else files.labels[order]
    return LabelledFiles([files.paths[i] for i in order], labels, files.class_names)


def part(files: LabelledFiles, share: float, subset: str, verbose: bool) -> LabelledFiles:
    """Return the training files, or the last ``int(share * n)`` files for validation.

    Raises
    ------
    ValueError
        If the part has no file.
    """
    n = int(share * len(files.paths))
    where = slice(len(files.paths) - n, None)
    if subset == "training":
        where = slice(len(files.paths) - n)
        n = len(files.paths) - n
    if verbose:
        print(f"Using {n} files for {subset}.")
    labels = None if files.labels is None else files.labels[where]
    return LabelledFiles(files.paths[where], labels, files.class_names)


def encoded(files: LabelledFiles, label_mode: str | None) -> NDArray[Any] | None:
    """Return the labels as integers (n,), as 0 and 1 (n, 1), or as one-hot vectors (n, classes)."""
    if files.labels is None or label_mode == "int":
        return files.labels
    if label_mode == "binary":
        return files.labels.astype(np.float32)[:, None]
    classes = np.arange(len(files.class_names or ()))
    one_hot: NDArray[np.bool_] = files.labels[:, None] == classes
    return one_hot.astype(np.float32)

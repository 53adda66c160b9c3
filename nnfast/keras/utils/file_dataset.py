"""Data sets of the labelled files in a directory, which are read during iteration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from nnfast._utils import config
from nnfast._utils.checks import flag, integer, optional_integer
from nnfast._utils.registry import choose
from nnfast.keras.tf.data import AUTOTUNE, Dataset, from_rows
from nnfast.keras.tf.structures import read_only
from nnfast.keras.utils import directory as directories
from nnfast.keras.utils.directory import LabelledFiles

__all__ = ["FileOptions", "datasets_of_files"]

Array = NDArray[Any]


class Reader(Protocol):
    """Reads files of some formats.

    Attributes
    ----------
    what : str
        The files in messages.
    formats : tuple of str
        The lower-case endings of their names.
    """

    @property
    def what(self) -> str: ...
    @property
    def formats(self) -> tuple[str, ...]: ...

    def load(self, path: str) -> Array:
        """Return the content of a file."""

    def batch(self, paths: list[str]) -> Array:
        """Return the contents of files, one row each."""


@dataclass
class FileOptions:
    """The arguments that data sets of files have in common; see `image_dataset_from_directory`."""

    labels: str | Sequence[int] | None
    label_mode: str | None
    class_names: Sequence[str] | None
    batch_size: int | None
    shuffle: bool
    seed: int | None
    validation_split: float | None
    subset: str | None
    follow_links: bool
    format: str
    verbose: bool

    def __post_init__(self) -> None:
        self._check_labels()
        choose("format", self.format, {"tf": None})
        optional_integer("batch_size", self.batch_size)
        directories.check_split(self.validation_split, self.subset, self.shuffle, self.seed)
        self.shuffle, self.verbose = flag("shuffle", self.shuffle), flag("verbose", self.verbose)
        if self.seed is not None:
            self.seed = integer("seed", self.seed, 0, 2**32 - 1)
        self.follow_links = flag("follow_links", self.follow_links)

    def _check_labels(self) -> None:
        labels = self.labels
        if not (labels is None or isinstance(labels, (list, tuple)) or labels == "inferred"):
            raise ValueError(
                'labels must be "inferred", None, or a list or tuple of integers; received '
                f"{labels!r:.80}"
            )
        if self.class_names is not None and labels != "inferred":
            raise ValueError(
                f'class_names requires labels="inferred"; received labels={labels!r:.80}'
            )
        if self.label_mode not in directories.LABEL_MODES:
            raise ValueError(
                'label_mode must be "int", "categorical", "binary" or None; received '
                f"{self.label_mode!r}"
            )
        if self.label_mode is None:
            self.labels = None

    def files(self, directory: str | os.PathLike[str], formats: tuple[str, ...]) -> LabelledFiles:
        """Return the files in a directory in the order of their names."""
        found = directories.index_directory(
            directory, self.labels, formats, self.class_names, self.follow_links
        )
        names = found.class_names or ()
        if self.verbose:
            classes = "" if self.labels is None else f" belonging to {len(names)} classes"
            print(f"Found {len(found.paths)} files{classes}.")
        if self.label_mode == "binary" and self.labels is not None and len(names) != 2:
            raise ValueError(f'label_mode="binary" needs 2 classes; received {found.class_names}')
        return found


def datasets_of_files(
    directory: str | os.PathLike[str], options: FileOptions, reader: Reader
) -> Any:
    """Return the data set of the files in a directory, or a list of two if `subset` is "both".

    Raises
    ------
    ValueError
        If there are no files.
    """
    seed = config.next_seed() % 2**32 if options.seed is None else options.seed
    files = options.files(directory, reader.formats)
    if options.shuffle:
        files = directories.shuffled(files, seed)
    subset, made = options.subset, []
    for name in ("training", "validation") if subset == "both" else (subset,):
        own = files
        if name is not None:
            share = float(options.validation_split or 0)
            own = directories.part(files, share, name, options.verbose)
        if not own.paths:
            what = reader.what if name is None else f"{name} {reader.what}"
            raise ValueError(f"No {what} found in {directory}; the formats are {reader.formats}")
        again = options.shuffle and not (subset == "both" and name == "validation")
        made.append(_dataset(own, options, reader, seed if again else None))
    return made if subset == "both" else made[0]


def _dataset(
    files: LabelledFiles, options: FileOptions, reader: Reader, seed: int | None
) -> Dataset:
    """Return the data set of files, shuffled if `seed` is not None."""
    targets = read_only(directories.encoded(files, options.label_mode))
    batch_size = options.batch_size

    def rows(index: Any) -> Any:
        if isinstance(index, int):
            x = reader.load(files.paths[index])
        else:
            x = reader.batch([files.paths[i] for i in index.tolist()])
        return x if targets is None else (x, targets[index, ...])

    data = from_rows(rows, len(files.paths), in_memory=False)
    if seed is not None:
        data = data.shuffle(1024 if batch_size is None else 8 * batch_size, seed)
    if batch_size is not None:
        data = data.batch(batch_size)
    data = data.prefetch(AUTOTUNE)
    vars(data).update(class_names=files.class_names, file_paths=files.paths)
    return data

"""Batches of augmented images from files, which a folder or a table names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import Array, entries, file_name, flag, warn
from nnfast._utils.registry import choose
from nnfast.keras import config
from nnfast.keras.preprocessing.iterators import (
    Augmenter,
    ImageWriter,
    Iterator,
    augmented,
    rows_of_subset,
)
from nnfast.keras.utils.damage import reading
from nnfast.keras.utils.directory import files_below
from nnfast.keras.utils.images import (
    check_data_format,
    check_interpolation,
    check_size,
    img_to_array,
    load_img,
)

__all__ = ["DataFrameIterator", "DirectoryIterator", "FileIterator", "ImageReader"]

_EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")
_CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}
# Each class mode, and whether its targets are classes.
_DIRECTORY_MODES: dict[Any, bool] = {
    "categorical": True,
    "binary": True,
    "sparse": True,
    "input": False,
    None: False,
}
_FRAME_MODES = _DIRECTORY_MODES | {"raw": False}


class ImageReader(NamedTuple):
    """How image files are read."""

    target_size: tuple[int, int]
    color_mode: str
    data_format: str
    interpolation: str
    keep_aspect_ratio: bool

    @classmethod
    def checked(
        cls,
        target_size: object,
        color_mode: str,
        data_format: str | None,
        interpolation: str,
        keep_aspect_ratio: bool,
    ) -> ImageReader:
        """Return an ImageReader after a check of its arguments."""
        choose("color_mode", color_mode, _CHANNELS)
        check_interpolation(interpolation)
        return cls(
            check_size("target_size", target_size),
            color_mode,
            check_data_format(data_format),
            interpolation,
            flag("keep_aspect_ratio", keep_aspect_ratio),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image."""
        channels, (height, width) = _CHANNELS[self.color_mode], self.target_size
        if self.data_format == "channels_first":
            return channels, height, width
        return height, width, channels

    def read(self, path: str) -> Array:
        """Return the image in a file."""
        with reading(path):
            image = load_img(
                path, self.color_mode, self.target_size, self.interpolation, self.keep_aspect_ratio
            )
            return img_to_array(image, self.data_format)


class FileIterator(Iterator):
    """Base class of iterators over image files.

    Attributes
    ----------
    filenames, filepaths : list of str
        The files as they were given, and with their folder.
    labels : list or ndarray
        The target of each file.
    samples : int
        The number of files, as `n`.
    image_shape : tuple of int
    """

    def __init__(
        self,
        generator: Augmenter | None,
        reader: ImageReader,
        writer: ImageWriter,
        dtype: Any,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
    ) -> None:
        super().__init__(0, batch_size, shuffle, seed)
        self.image_data_generator = generator
        self.target_size, self.color_mode = reader.target_size, reader.color_mode
        self.data_format, self.image_shape = reader.data_format, reader.image_shape
        self.dtype = np.dtype(config.floatx() if dtype is None else dtype)
        self.class_mode: str | None = None
        self.class_indices: dict[Any, int] = {}
        self.classes: Any = None
        self.filenames: list[str] = []
        self.filepaths: list[str] = []
        self.samples = 0
        self.sample_weight: Array | None = None
        self._reader, self._writer = reader, writer
        self._targets: Any = None

    @property
    def labels(self) -> Any:
        return self.classes if self._targets is None else self._targets

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_indices)

    def _set_files(self, folder: str, names: list[str]) -> None:
        self.filenames = names
        self.filepaths = [os.path.join(folder, name) for name in names]
        self.n = self.samples = len(names)

    def _get_batches_of_transformed_samples(self, index_array: NDArray[np.int64]) -> Any:
        images = np.empty((len(index_array), *self.image_shape), self.dtype)
        for image, row in zip(images, index_array, strict=True):
            pixels = self._reader.read(self.filepaths[row])
            image[...] = augmented(self.image_data_generator, pixels, self._random)
        self._writer.write(images, index_array, self._random, 10**7)
        if self.class_mode is None:
            return images
        targets = self._batch_targets(images, index_array)
        if self.sample_weight is None:
            return images, targets
        return images, targets, self.sample_weight[index_array]

    def _batch_targets(self, images: Array, rows: NDArray[np.int64]) -> Array:
        if self.class_mode == "input":
            return images.copy()
        if self._targets is not None:
            targets: Array = self._targets[rows]
            return targets
        classes = [self.classes[row] for row in rows]
        if self.class_mode != "categorical":
            return np.array(classes, self.dtype)
        one_hot = np.zeros((len(rows), self.num_classes), self.dtype)
        for row, labels in zip(one_hot, classes, strict=True):
            row[labels] = 1  # one class, or a list of classes
        return one_hot


class DirectoryIterator(FileIterator):
    """Batches of images from a folder; see `ImageDataGenerator.flow_from_directory`.

    Examples
    --------
    >>> from nnfast.keras.utils.images import save_img
    >>> for name in ("cat", "dog"):
    ...     os.makedirs(f"pets/{name}")
    ...     save_img(f"pets/{name}/a.png", np.zeros((8, 8, 3)))
    >>> batches = DirectoryIterator("pets", None, target_size=(4, 4), batch_size=2, shuffle=False)
    Found 2 images belonging to 2 classes.
    >>> x, y = next(batches)
    >>> x.shape, y
    ((2, 4, 4, 3), array([[1., 0.], [0., 1.]], dtype=float32))
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        image_data_generator: Augmenter | None,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: Any = None,
    ) -> None:
        reader = ImageReader.checked(
            target_size, color_mode, data_format, interpolation, keep_aspect_ratio
        )
        writer = ImageWriter.checked(save_to_dir, save_prefix, save_format, reader.data_format)
        super().__init__(image_data_generator, reader, writer, dtype, batch_size, shuffle, seed)
        self.class_mode = _check_mode(class_mode, _DIRECTORY_MODES)
        self.directory = file_name("directory", directory)
        folders = _folders(self.directory, classes)
        self.class_indices = {name: index for index, name in enumerate(folders)}
        links = flag("follow_links", follow_links)
        labels: list[int] = []
        names: list[str] = []
        for index, folder in enumerate(folders):
            found = list(files_below(self.directory, folder, _EXTENSIONS, links))
            own = found[rows_of_subset(len(found), subset, image_data_generator)]
            names += own
            labels += [index] * len(own)
        self.classes = np.array(labels, np.int32)
        self._set_files(self.directory, names)
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.", flush=True)


def _check_mode(mode: Any, modes: Mapping[Any, bool]) -> str | None:
    if mode == "multi_output":
        raise ValueError('class_mode="multi_output" is refused: use "raw" and split the targets')
    if mode is None:
        return None
    names: dict[str, str] = {name: name for name in modes if name is not None}
    return choose("class_mode", mode, names)


def _folders(directory: str, classes: Sequence[str] | None) -> list[str]:
    """Return the names of the folders with the images of each class."""
    if not classes:
        return sorted(
            name for name in os.listdir(directory) if os.path.isdir(os.path.join(directory, name))
        )
    names = entries("classes", classes)
    for name in names:
        if not os.path.isdir(os.path.join(directory, name)):
            raise ValueError(f"classes must be folders in {directory}; there is no {name!r}")
    return names


class DataFrameIterator(FileIterator):
    """Batches of images from files in a table; see `ImageDataGenerator.flow_from_dataframe`.

    Examples
    --------
    >>> from nnfast.keras.utils.images import save_img
    >>> for name in ("a.png", "b.png"):
    ...     save_img(name, np.zeros((8, 8, 3)))
    >>> table = {"filename": ["a.png", "b.png"], "class": ["cat", "dog"]}
    >>> batches = DataFrameIterator(table, target_size=(4, 4), class_mode="sparse", shuffle=False)
    Found 2 validated image filenames belonging to 2 classes.
    >>> x, y = next(batches)
    >>> x.shape, y
    ((2, 4, 4, 3), array([0., 1.], dtype=float32))
    """

    def __init__(
        self,
        dataframe: Any,
        directory: str | os.PathLike[str] | None = None,
        image_data_generator: Augmenter | None = None,
        x_col: str = "filename",
        y_col: str | Sequence[str] = "class",
        weight_col: str | None = None,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = "channels_last",
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: Any = "float32",
        validate_filenames: bool = True,
    ) -> None:
        reader = ImageReader.checked(
            target_size, color_mode, data_format, interpolation, keep_aspect_ratio
        )
        writer = ImageWriter.checked(save_to_dir, save_prefix, save_format, reader.data_format)
        super().__init__(image_data_generator, reader, writer, dtype, batch_size, shuffle, seed)
        self.class_mode = _check_mode(class_mode, _FRAME_MODES)
        self.directory = "" if directory is None else file_name("directory", directory)
        names = list(dataframe[x_col])
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"all entries of column x_col={x_col!r} must be text")
        rows = list(range(len(names)))
        if flag("validate_filenames", validate_filenames):
            rows = _valid_files(self.directory, names, x_col)
        rows = self._take_targets(dataframe, y_col, rows, classes, subset)
        if weight_col is not None:
            self.sample_weight = _weights(dataframe, weight_col)[rows]
        self._set_files(self.directory, [names[row] for row in rows])
        kind = "validated" if validate_filenames else "non-validated"
        of_classes = f" belonging to {self.num_classes} classes" if self.classes is not None else ""
        print(f"Found {self.samples} {kind} image filenames{of_classes}.", flush=True)

    def _take_targets(
        self,
        table: Any,
        column: str | Sequence[str],
        rows: list[int],
        classes: Sequence[str] | None,
        subset: str | None,
    ) -> list[int]:
        """Set the classes or other targets; return the rows of the subset that have targets."""
        by_row: dict[int, Any] = {}
        if _FRAME_MODES[self.class_mode]:
            labels = list(table[column])
            _check_labels(labels, self.class_mode, column, classes)
            own = [labels[row] for row in rows]
            self.class_indices = _class_indices(own, classes)
            by_row = {row: self._class_index(labels[row], bool(classes)) for row in rows}
            rows = [row for row in rows if by_row[row] is not None]
        elif classes:
            warn(f"classes has no effect with class_mode={self.class_mode!r}")
        rows = rows[rows_of_subset(len(rows), subset, self.image_data_generator)]
        if by_row:
            self.classes = [by_row[row] for row in rows]
        elif self.class_mode == "raw":
            self._targets = np.asarray(table[column])[rows]
        return rows

    def _class_index(self, label: Any, selected: bool) -> int | list[int] | None:
        """Return the index of a label, or those of a list of labels.

        Returns None if the label is not one of the selected classes.
        """
        if isinstance(label, str):
            return self.class_indices.get(label)
        known = [self.class_indices[name] for name in label if name in self.class_indices]
        return None if selected and not known else known


def _valid_files(folder: str, names: list[str], column: str) -> list[int]:
    """Return the rows whose files exist and are images."""
    valid = [
        row
        for row, name in enumerate(names)
        if name.lower().endswith(_EXTENSIONS) and os.path.isfile(os.path.join(folder, name))
    ]
    if len(valid) < len(names):
        warn(
            f"{len(names) - len(valid)} entries of column x_col={column!r} are not names of image "
            "files; these rows are not used"
        )
    return valid


def _check_labels(
    labels: list[Any], mode: str | None, column: object, classes: Sequence[str] | None
) -> None:
    """Raise an error if labels do not have the form that a class mode needs."""
    allowed = (str, list, tuple) if mode == "categorical" else (str,)
    if not all(isinstance(label, allowed) for label in labels):
        lists = " or lists of text" if mode == "categorical" else ""
        raise TypeError(f"with class_mode={mode!r}, column y_col={column!r} must be text{lists}")
    count = len(set(classes or labels)) if mode == "binary" else 2
    if count != 2:
        raise ValueError(f'class_mode="binary" needs 2 classes; received {count}')


def _class_indices(labels: list[Any], classes: Sequence[str] | None) -> dict[Any, int]:
    """Return the index of each class; by default, the classes are the sorted labels."""
    if not classes:
        lists = ([label] if isinstance(label, str) else label for label in labels)
        classes = sorted({name for names in lists for name in names})
    return {name: index for index, name in enumerate(dict.fromkeys(classes))}


def _weights(table: Any, column: str) -> Array:
    weights = np.asarray(table[column])
    if weights.dtype.kind not in "fiu":
        raise TypeError(f"column weight_col={column!r} must be numbers; received {weights.dtype}")
    return weights

"""Batches of augmented images from arrays, and the base of all iterators over images.

A batch depends on the seed, the number of batches before it and its rows. With the same seed, the
batches are those of Keras. No iterator changes NumPy's shared random state, except that one without
a seed takes its own seed from there.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import Array, file_name, flag, integer, real_array, warn
from nnfast._utils.registry import choose
from nnfast.keras import config
from nnfast.keras.preprocessing.random_ranges import random_state
from nnfast.keras.utils.images import array_to_img, check_data_format
from nnfast.keras.utils.py_dataset import PyDataset

__all__ = [
    "ImageWriter",
    "Iterator",
    "NumpyArrayIterator",
    "augmented",
    "rows_of_subset",
]

# The number of batches that a thread makes ahead with one worker.
_READ_AHEAD = 2


class Augmenter(Protocol):
    """What an iterator uses of an `ImageDataGenerator`."""

    validation_split: float

    def get_random_transform(
        self, img_shape: tuple[int, ...], seed: int | RandomState | None = None
    ) -> Mapping[str, Any]:
        """Return random parameters for `apply_transform`."""

    def apply_transform(self, x: Array, transform_parameters: Mapping[str, Any]) -> Array:
        """Return an image, transformed."""

    def standardize(self, x: Array) -> Array:
        """Return an image, normalized."""


class ImageWriter(NamedTuple):
    """Where the images of batches are saved, if anywhere."""

    folder: str | None
    prefix: str
    format: str
    data_format: str

    @classmethod
    def checked(cls, folder: object, prefix: str, form: str, data_format: str) -> Self:
        """Return an ImageWriter after a check of the folder's type."""
        path = None if folder is None else file_name("save_to_dir", folder)
        return cls(path, prefix, form, data_format)

    def write(self, images: Array, rows: Iterable[int], random: RandomState, numbers: int) -> None:
        """Save images; a random one of `numbers` numbers is a part of each file's name."""
        if not self.folder:
            return
        for image, row in zip(images, rows, strict=True):
            name = f"{self.prefix}_{row}_{random.randint(numbers)}.{self.format}"
            array_to_img(image, self.data_format).save(os.path.join(self.folder, name))


class Iterator(PyDataset):
    """Base class of iterators over batches of images.

    An iterator never ends: after an epoch, it starts again, in a new order if it shuffles. In
    `fit`, it is a dataset whose batches a thread makes ahead.

    Parameters
    ----------
    n : int
        The number of images.
    batch_size : int
    shuffle : bool
        Whether each epoch has another order.
    seed : int or None
        Makes the batches reproducible. By default, a seed comes from `numpy.random`.
    **kwargs
        Passed to `PyDataset`.
    """

    def __init__(
        self, n: int, batch_size: int, shuffle: bool, seed: int | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.n = integer("n", n, minimum=0)
        self.batch_size = integer("batch_size", batch_size, minimum=1)
        self.shuffle = flag("shuffle", shuffle)
        self.seed = None if seed is None else integer("seed", seed, minimum=0)
        self.batch_index = 0
        self.total_batches_seen = 0
        self.index_array: NDArray[np.int64] | None = None
        self.lock = threading.Lock()
        # Its own random state: batches made in a thread do not depend on what others draw.
        self._random = RandomState(random_state().randint(2**32, dtype=np.uint32))

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, idx: int) -> Any:
        index = integer("idx", idx, minimum=0, maximum=max(len(self) - 1, 0))
        with self.lock:
            self._begin_batch()
            if self.index_array is None:
                self.index_array = self._order()
            rows = self.index_array[index * self.batch_size :][: self.batch_size]
            return self._get_batches_of_transformed_samples(rows)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        with self.lock:
            self._begin_batch()
            if self.batch_index == 0 or self.index_array is None:
                self.index_array = self._order()
            rows = self.index_array[self.batch_index * self.batch_size :][: self.batch_size]
            self.batch_index = (self.batch_index + 1) % max(len(self), 1)
            return self._get_batches_of_transformed_samples(rows)

    @property
    def read_ahead(self) -> int:
        """The number of batches that a thread makes ahead during `fit`."""
        return max(_READ_AHEAD, super().read_ahead)

    def next(self) -> Any:
        """Return the next batch."""
        return next(self)

    def reset(self) -> None:
        """Let the next batch be the first of an epoch."""
        self.batch_index = 0

    def on_epoch_end(self) -> None:
        """Choose a new order."""
        self.index_array = self._order()

    def _begin_batch(self) -> None:
        """Count a batch and start its random numbers."""
        if self.seed is not None:
            self._random = RandomState((self.seed + self.total_batches_seen) % 2**32)
        self.total_batches_seen += 1

    def _order(self) -> NDArray[np.int64]:
        return self._random.permutation(self.n) if self.shuffle else np.arange(self.n)

    @abstractmethod
    def _get_batches_of_transformed_samples(self, index_array: NDArray[np.int64]) -> Any:
        """Return the batch of these rows; programs override it by this name."""


def augmented(generator: Augmenter | None, image: Array, random: RandomState) -> Array:
    """Return an image as `generator` transforms and normalizes it."""
    if generator is None:
        return image
    parameters = generator.get_random_transform(image.shape, random)
    return generator.standardize(generator.apply_transform(image, parameters))


class NumpyArrayIterator(Iterator):
    """Batches of images from arrays; see `ImageDataGenerator.flow`.

    Parameters
    ----------
    x : array_like (n, height, width, channels)
    y : array_like (n, ...) or None
        The targets.
    image_data_generator : ImageDataGenerator
    batch_size : int, default 32
    shuffle : bool, default False
    sample_weight : array_like (n,), optional
    seed : int, optional
    data_format : {"channels_last", "channels_first"}, default "channels_last"
    save_to_dir : str, optional
        A folder for the images of all batches.
    save_prefix : str, default ""
        How the names of these files begin.
    save_format : str, default "png"
        How they end.
    subset : {"training", "validation"}, optional
        The part of the data that the generator's `validation_split` makes.
    ignore_class_split : bool, default False
        Whether the two parts may have different classes.
    dtype : dtype-like, optional
        By default `floatx()`.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike | None,
        image_data_generator: Augmenter,
        batch_size: int = 32,
        shuffle: bool = False,
        sample_weight: ArrayLike | None = None,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        ignore_class_split: bool = False,
        dtype: Any = None,
    ) -> None:
        self.data_format = check_data_format(data_format)
        self.dtype = np.dtype(config.floatx() if dtype is None else dtype)
        self.image_data_generator = image_data_generator
        images = _images(x, self.data_format)
        own = rows_of_subset(len(images), subset, image_data_generator)
        self.x = images[own].astype(self.dtype, copy=False)
        self.y = None if y is None else _rows("y", y, len(images))[own]
        if (
            subset is not None
            and y is not None
            and not flag("ignore_class_split", ignore_class_split)
        ):
            _check_classes(np.asarray(y), own)
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = _rows("sample_weight", sample_weight, len(images))[own]
        self._writer = ImageWriter.checked(save_to_dir, save_prefix, save_format, self.data_format)
        super().__init__(len(self.x), batch_size, shuffle, seed)

    def _get_batches_of_transformed_samples(self, index_array: NDArray[np.int64]) -> Any:
        images = np.empty((len(index_array), *self.x.shape[1:]), self.dtype)
        for image, row in zip(images, index_array, strict=True):
            # A copy, because the methods of a subclass of the generator may work in place.
            image[...] = augmented(self.image_data_generator, self.x[row].copy(), self._random)
        self._writer.write(images, index_array, self._random, 10**4)
        if self.y is None:
            return images
        if self.sample_weight is None:
            return images, self.y[index_array]
        return images, self.y[index_array], self.sample_weight[index_array]


def _images(x: ArrayLike, data_format: str) -> Array:
    """Return a batch of images as an array, with a warning if the channels look wrong."""
    images = real_array("x", x)
    if images.ndim != 4:
        raise ValueError(
            f"x must be images (n, height, width, channels); received shape {images.shape}"
        )
    axis = 3 if data_format == "channels_last" else 1
    if images.shape[axis] not in (1, 3, 4):
        warn(
            f"x has {images.shape[axis]} channels on axis {axis} ({data_format}); images usually "
            "have 1, 3 or 4"
        )
    return images


def _rows(name: str, value: ArrayLike, n: int) -> Array:
    array = np.asarray(value)
    if array.ndim == 0 or len(array) != n:
        raise ValueError(
            f"{name} must have as many entries as x has images, {n}; received shape {array.shape}"
        )
    return array


def rows_of_subset(n: int, subset: str | None, generator: Augmenter | None) -> slice:
    """Return the rows of a subset: the validation data come first."""
    if subset is None:
        return slice(0, n)
    split = 0.0 if generator is None else generator.validation_split
    parts = {"training": slice(int(split * n), n), "validation": slice(0, int(split * n))}
    part = choose("subset", subset, parts)
    if not split:
        raise ValueError(f"subset={subset!r} needs an ImageDataGenerator with a validation_split")
    return part


def _check_classes(y: Array, part: slice) -> None:
    own = np.zeros(len(y), bool)
    own[part] = True
    if not np.array_equal(np.unique(y[own]), np.unique(y[~own])):
        raise ValueError(
            "the training and the validation subset must have the same classes: shuffle x and y, "
            "or pass ignore_class_split=True"
        )

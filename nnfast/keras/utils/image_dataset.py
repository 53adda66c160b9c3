"""Data sets of image files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast._engine import get_num_threads
from nnfast._utils.checks import flag
from nnfast._utils.registry import choose
from nnfast.keras.utils.damage import reading
from nnfast.keras.utils.file_dataset import FileOptions, datasets_of_files
from nnfast.keras.utils.images import central_box, check_size, import_pillow
from nnfast.keras.utils.interpolation import INTERPOLATIONS, resized

__all__ = ["image_dataset_from_directory"]

Array = NDArray[Any]

FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
# The modes of Pillow and the numbers of channels.
_MODES = {"rgb": ("RGB", 3), "rgba": ("RGBA", 4), "grayscale": ("L", 1)}


def image_dataset_from_directory(
    directory: str | os.PathLike[str],
    labels: str | Sequence[int] | None = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: tuple[int, int] | int = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Return a data set of the image files in a directory, which are read during iteration.

    Files are the same, in the same order, as in Keras with the same `seed`. While the model works
    on a batch, threads decode the next ones.

    Parameters
    ----------
    directory : path
        It has one subdirectory per class if `labels` is ``"inferred"``. Files in formats other than
        BMP, GIF (the first frame), JPEG and PNG are left out.
    labels : "inferred", list or tuple of int, or None
        The labels of all files, sorted by path. None: no labels.
    label_mode : {"int", "binary", "categorical"} or None, default "int"
        Labels are int32 numbers (n,), float32 zeros and ones (n, 1), or float32 one-hot vectors
        (n, classes). None: no labels.
    class_names : sequence of str, optional
        The subdirectories in the order of their labels; by default sorted by name.
    color_mode : {"rgb", "rgba", "grayscale"}
        Images are converted to 3, 4 or 1 channels.
    batch_size : int or None, default 32
        None: the elements are single images.
    image_size : tuple of two int, default (256, 256)
        Height and width to which images are resized.
    shuffle : bool, default True
        Whether to shuffle the files, and again a buffer of 8 batches in each iteration.
    seed : int, optional
        The seed of the orders.
    validation_split : float, optional
        The share of the files, at the end of their order, that is for validation.
    subset : {"training", "validation", "both"}, optional
        The files to return, if `validation_split` is given.
    interpolation : str, default "bilinear"
        Also ``"nearest"``, ``"bicubic"``, ``"area"``, ``"lanczos3"``, ``"lanczos5"``,
        ``"gaussian"`` or ``"mitchellcubic"``. There is no antialiasing, as in Keras.
    follow_links : bool, default False
        Whether to enter directories that are symbolic links.
    crop_to_aspect_ratio : bool, default False
        Whether to resize only the largest central part that has the aspect ratio of `image_size`.
    pad_to_aspect_ratio : bool, default False
        Whether to keep the aspect ratio, and to fill the rest of the image with zeros.
    data_format : {"channels_last"}, optional
    format : {"tf"}
    verbose : bool, default True
        Whether to print the numbers of files and classes.

    Returns
    -------
    Dataset, or list of two if `subset` is ``"both"``
        Of pairs (images, labels), or of images alone. Images are float32 from 0 to 255, of shape
        (n, height, width, channels). The attributes `class_names` and `file_paths` are lists.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    TypeError, ValueError
        If an argument is not as described, or there are no images. During iteration, if a file is
        not a complete image, or has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.

    Examples
    --------
    >>> import os
    >>> from PIL import Image
    >>> for name in ("cats", "dogs"):
    ...     os.makedirs(f"pets/{name}")
    ...     Image.new("RGB", (6, 4), "red").save(f"pets/{name}/1.png")
    >>> data = image_dataset_from_directory("pets", image_size=(2, 2))
    Found 2 files belonging to 2 classes.
    >>> images, numbers = next(iter(data))
    >>> images.shape, images[0, 0, 0].tolist(), data.class_names
    ((2, 2, 2, 3), [255.0, 0.0, 0.0], ['cats', 'dogs'])
    """
    choose("data_format", data_format or "channels_last", {"channels_last": None})
    loader = _loader(
        color_mode, image_size, interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio
    )
    return datasets_of_files(
        directory,
        FileOptions(
            *(labels, label_mode, class_names, batch_size, shuffle, seed, validation_split),
            *(subset, follow_links, format, verbose),
        ),
        loader,
    )


class _Loader(NamedTuple):
    """Reads images and resizes them; see `Reader`."""

    color_mode: str
    size: tuple[int, int]
    interpolation: str
    crop: bool
    pad: bool
    what: str = "images"
    formats: tuple[str, ...] = FORMATS

    def load(self, path: str) -> Array:
        """Return the image in a file as float32 (height, width, channels)."""
        pixels = decoded(path, self.color_mode)
        rows, columns = pixels.shape[:2]
        if self.crop:
            top, left, bottom, right = central_box(rows, columns, self.size)
            pixels = pixels[top:bottom, left:right]
        if not self.pad:
            return resized(pixels, self.size, self.interpolation)
        height, width = self.size
        inside = max(1, min(height, rows * width // columns))
        across = max(1, min(width, columns * height // rows))
        top, left = (height - inside) // 2, (width - across) // 2
        image = np.zeros((height, width, pixels.shape[2]), np.float32)
        image[top : top + inside, left : left + across] = resized(
            pixels, (inside, across), self.interpolation
        )
        return image

    def batch(self, paths: list[str]) -> Array:
        """Return the images in files, which several threads read, as (n, height, width, channels).

        Decoding and resizing release the GIL.
        """
        from concurrent.futures import ThreadPoolExecutor  # imports logging, too

        images = np.empty((len(paths), *self.size, _MODES[self.color_mode][1]), np.float32)

        def fill(i: int) -> None:
            images[i] = self.load(paths[i])

        with ThreadPoolExecutor(min(len(paths), get_num_threads())) as pool:
            list(pool.map(fill, range(len(paths))))
        return images


def _loader(
    color_mode: str, image_size: object, interpolation: str, crop: object, pad: object
) -> _Loader:
    choose("color_mode", color_mode, _MODES)
    square = isinstance(image_size, int)
    size = check_size("image_size", (image_size, image_size) if square else image_size)
    name = interpolation.lower() if isinstance(interpolation, str) else interpolation
    choose("interpolation", name, INTERPOLATIONS)
    crops, pads = flag("crop_to_aspect_ratio", crop), flag("pad_to_aspect_ratio", pad)
    if crops and pads:
        raise ValueError("crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other")
    import_pillow()
    return _Loader(color_mode, size, name, crops, pads)


def decoded(path: str, color_mode: str) -> Array:
    """Return the pixels of an image file as uint8 (height, width, channels).

    Raises
    ------
    ValueError
        If the file is not a complete image, or has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    pillow = import_pillow()
    mode, channels = _MODES[color_mode]
    with reading(path), pillow.open(path, formats=("BMP", "GIF", "JPEG", "PNG")) as image:
        most = pillow.MAX_IMAGE_PIXELS
        if most is not None and image.width * image.height > most:
            raise ValueError(f"it has {image.width} x {image.height} pixels, more than {most}")
        if image.mode.startswith("I"):  # 16 bits per pixel, of which Pillow cuts off the upper
            image = pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], channels)

"""Pillow images from files, and conversion between images and arrays."""

from __future__ import annotations

import io
import os
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nnfast._utils.checks import Array, entries, flag, integer, warn
from nnfast._utils.registry import choose
from nnfast.keras import config

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "array_to_img",
    "central_box",
    "check_data_format",
    "check_interpolation",
    "check_size",
    "img_to_array",
    "import_pillow",
    "load_img",
    "save_img",
]

# The modes of Pillow's images that stay as they are in each color mode.
_MODES = {"grayscale": ("L", "I;16", "I"), "rgb": ("RGB",), "rgba": ("RGBA",)}
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def load_img(
    path: str | bytes | os.PathLike[str] | IO[bytes],
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Image:
    """Read an image file.

    Parameters
    ----------
    path : path-like or io.BytesIO
    color_mode : {"rgb", "rgba", "grayscale"}
        The image is converted to this mode. A grayscale image of 16 or 32 bits keeps them.
    target_size : (int, int), optional
        Height and width to which the image is resized.
    interpolation : {"nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"}
        Pillow's filter for resizing.
    keep_aspect_ratio : bool, default False
        Whether the largest central part that has the target's aspect ratio is resized, instead of
        the whole image.

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    ImportError
        If Pillow is not installed.

    Examples
    --------
    >>> save_img("red.png", [[[255, 0, 0]] * 4] * 2, scale=False)
    >>> load_img("red.png").size, load_img("red.png", target_size=(8, 8)).size
    ((4, 2), (8, 8))
    """
    pillow = import_pillow()
    image: Image
    modes = choose("color_mode", color_mode, _MODES)
    filter_name = check_interpolation(interpolation)
    size = None if target_size is None else check_size("target_size", target_size)
    keep_aspect_ratio = flag("keep_aspect_ratio", keep_aspect_ratio)
    if isinstance(path, io.BytesIO):
        image = pillow.open(path)
    elif isinstance(path, (str, bytes, os.PathLike)):
        with open(path, "rb") as file:
            image = pillow.open(io.BytesIO(file.read()))
    else:
        raise TypeError(f"path must be a path or an io.BytesIO; received {type(path).__name__}")
    if image.mode not in modes:
        image = image.convert(modes[0])
    if size is None or image.size == size[::-1]:
        return image
    box = None
    if keep_aspect_ratio:
        top, left, bottom, right = central_box(image.height, image.width, size)
        box = left, top, right, bottom
    return image.resize(size[::-1], getattr(pillow.Resampling, filter_name), box=box)


def central_box(rows: int, columns: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of the largest central part with a size's aspect ratio.

    Examples
    --------
    >>> central_box(4, 10, (2, 2))
    (0, 3, 4, 7)
    """
    height, width = size
    box_rows = max(1, min(rows, columns * height // width))
    box_columns = max(1, min(columns, rows * width // height))
    top, left = (rows - box_rows) // 2, (columns - box_columns) // 2
    return top, left, top + box_rows, left + box_columns


def img_to_array(img: Image, data_format: str | None = None, dtype: Any = None) -> Array:
    """Return a Pillow image as an array with three axes.

    Parameters
    ----------
    img : PIL.Image.Image or array_like
        An image, or an array (height, width) or (height, width, channels).
    data_format : {"channels_last", "channels_first"}, default "channels_last"
    dtype : dtype-like, optional
        By default `floatx()`, which is ``"float32"`` at first.

    Returns
    -------
    ndarray (height, width, channels), or (channels, height, width) for channels first
        Values are not scaled: those of an image of 8 bits are 0, …, 255.

    Examples
    --------
    >>> image = array_to_img([[[0], [128], [255]]], scale=False)
    >>> img_to_array(image)[0, :, 0]
    array([  0., 128., 255.], dtype=float32)
    """
    channels_first = check_data_format(data_format) == "channels_first"
    array = np.asarray(img, dtype=config.floatx() if dtype is None else dtype)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise ValueError(f"img must have 2 or 3 axes; received shape {array.shape}")
    return array.transpose(2, 0, 1) if channels_first else array


def array_to_img(
    x: ArrayLike, data_format: str | None = None, scale: bool = True, dtype: Any = None
) -> Image:
    """Return an array as a Pillow image.

    Parameters
    ----------
    x : array_like (height, width, channels), or (channels, height, width) for channels first
        One channel gives a grayscale image, three give RGB and four RGBA. One channel with values
        above 255 gives an image of 32-bit integers.
    data_format : {"channels_last", "channels_first"}, default "channels_last"
    scale : bool, default True
        Whether values are scaled linearly so that they extend from 0 to 255. If all values are
        equal, they become 0.
    dtype : dtype-like, optional
        The dtype in which values are scaled; by default `floatx()`.

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    ImportError
        If Pillow is not installed.
    ValueError
        If `x` has another shape.

    Examples
    --------
    >>> array_to_img([[[0.0], [0.5], [1.0]]]).getextrema()
    (0, 255)
    """
    pillow = import_pillow()
    channels_first = check_data_format(data_format) == "channels_first"
    array = np.asarray(x, dtype=config.floatx() if dtype is None else dtype)
    if array.ndim != 3:
        raise ValueError(f"x must have 3 axes, those of one image; received shape {array.shape}")
    if channels_first:
        array = array.transpose(1, 2, 0)
    channels = array.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(f"x must have 1, 3 or 4 channels; received {channels}")
    if flag("scale", scale):
        array = array - array.min()
        array = array / (array.max() or 1) * 255
    if channels == 1:
        array = array[..., 0]
    deep = channels == 1 and array.max() > 255
    pixels = np.ascontiguousarray(array.astype(np.int32 if deep else np.uint8))
    image: Image = pillow.fromarray(pixels)
    return image


def save_img(
    path: str | os.PathLike[str] | IO[bytes],
    x: ArrayLike,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Write an array as an image file.

    Parameters
    ----------
    path : path-like or binary file
    x : array_like
        As in `array_to_img`, and so are `data_format` and `scale`. The format JPEG has no alpha
        channel, so a fourth channel is dropped with a warning.
    data_format : {"channels_last", "channels_first"}, default "channels_last"
    file_format : str, optional
        The format, such as ``"png"`` or ``"jpeg"``; by default that of the file's name.
    scale : bool, default True
    **kwargs
        Passed to `PIL.Image.Image.save`.

    Examples
    --------
    >>> save_img("gray.png", [[[0.0], [1.0]]])
    >>> load_img("gray.png", color_mode="grayscale").getextrema()
    (0, 255)
    """
    kinds = {"jpg": "jpeg", "tif": "tiff"}
    form = None if file_format is None else kinds.get(file_format.lower(), file_format.lower())
    name = os.fspath(path).lower() if isinstance(path, (str, os.PathLike)) else ""
    is_jpeg = form == "jpeg" or (form is None and name.endswith((".jpg", ".jpeg")))
    image = array_to_img(x, data_format, scale)
    if image.mode == "RGBA" and is_jpeg:
        warn("JPEG has no alpha channel: the image is saved as RGB")
        image = image.convert("RGB")
    image.save(path, format=form, **kwargs)


def check_data_format(value: object) -> str:
    """Return `value`, or the global setting if it is None, as a known order of axes."""
    formats = {"channels_last": "channels_last", "channels_first": "channels_first"}
    name: Any = config.image_data_format() if value is None else value
    return choose("data_format", name, formats)


def check_interpolation(value: Any) -> str:
    """Return `value` as the name of a filter of Pillow."""
    return choose("interpolation", value, {name: name.upper() for name in _INTERPOLATIONS})


def check_size(name: str, value: object) -> tuple[int, int]:
    """Return `value` as (height, width)."""
    sizes = [integer(f"each entry of {name}", size, minimum=1) for size in entries(name, value)]
    if len(sizes) != 2:
        raise ValueError(f"{name} must be (height, width); received {value!r}")
    return sizes[0], sizes[1]


def import_pillow() -> Any:
    """Return the module ``PIL.Image``.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise ImportError('images need Pillow: pip install "nnfast[images]"') from error
    return PIL.Image

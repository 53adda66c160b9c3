"""Transformations of single images in arrays: geometry, brightness and channels.

They give the images that Keras gives, bit for bit. The random functions draw from `numpy.random`,
so ``numpy.random.seed`` makes them reproducible.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import Array, integer
from nnfast._utils.registry import choose
from nnfast.keras.preprocessing.random_ranges import interval, random_state
from nnfast.keras.utils.images import array_to_img, img_to_array, import_pillow

__all__ = [
    "FILL_MODES",
    "apply_affine_transform",
    "apply_brightness_shift",
    "apply_channel_shift",
    "random_brightness",
    "random_channel_shift",
    "random_rotation",
    "random_shear",
    "random_shift",
    "random_zoom",
]

# What SciPy does beyond the border of an image.
_GRID_MODES = ("grid-constant", "grid-mirror", "grid-wrap")
FILL_MODES = dict.fromkeys(("nearest", "constant", "reflect", "wrap", "mirror", *_GRID_MODES))


def apply_affine_transform(
    x: Array,
    theta: float = 0,
    tx: float = 0,
    ty: float = 0,
    shear: float = 0,
    zx: float = 1,
    zy: float = 1,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    order: int = 1,
) -> Array:
    """Rotate, shift, shear and zoom an image about its center.

    The new pixel at p is the old one at R S H Z p: a zoom, then a shear, a shift and a rotation. In
    p = (x, y), x is the column and y the row, if rows are before columns. As in Keras, the center
    is then x = (rows − 1) / 2, y = (columns − 1) / 2, which is the image's center only if it is
    square.

    Parameters
    ----------
    x : ndarray
        An image with three axes.
    theta : float, default 0
        The angle of the rotation in degrees.
    tx, ty : float, default 0
        The shift in pixels along x and y.
    shear : float, default 0
        The angle of the shear in degrees.
    zx, zy : float, default 1
        The zoom along x and y; less than 1 enlarges.
    row_axis, col_axis, channel_axis : int, default 1, 2, 0
        The axes; the channels are first or last.
    fill_mode : {"nearest", "constant", "reflect", "wrap"}, default "nearest"
        What is beyond the border, as in `scipy.ndimage`.
    cval : float, default 0.0
        The value beyond the border for ``"constant"``.
    order : int, default 1
        The order of the spline, 0 to 5.

    Returns
    -------
    ndarray
        Of the shape and dtype of `x`; `x` itself if there is nothing to do.

    Raises
    ------
    ImportError
        If SciPy is not installed.

    Examples
    --------
    >>> row = np.array([[[1.0], [2.0], [3.0]]])
    >>> apply_affine_transform(row, tx=1, row_axis=0, col_axis=1, channel_axis=2)[0, :, 0]
    array([2., 3., 3.])
    """
    _check_axes(x, row_axis, col_axis, channel_axis)
    choose("fill_mode", fill_mode, FILL_MODES)
    order = integer("order", order, minimum=0, maximum=5)
    if (theta, tx, ty, shear, zx, zy) == (0, 0, 0, 0, 1, 1):
        return x
    matrix = _about_center(
        _matrix(theta, tx, ty, shear, zx, zy), x.shape[row_axis], x.shape[col_axis]
    )
    if row_axis < col_axis:  # the matrix is for (columns, rows)
        matrix = matrix[[1, 0, 2]][:, [1, 0, 2]]
    transform = _import_ndimage().affine_transform
    channels = [
        transform(channel, matrix[:2, :2], matrix[:2, 2], order=order, mode=fill_mode, cval=cval)
        for channel in np.moveaxis(x, channel_axis, 0)
    ]
    return np.moveaxis(np.stack(channels), 0, channel_axis)


def _check_axes(x: Array, row_axis: int, col_axis: int, channel_axis: int) -> None:
    if np.ndim(x) != 3:
        raise ValueError(f"x must be one image with three axes; received shape {np.shape(x)}")
    if {row_axis, col_axis, channel_axis} != {0, 1, 2} or channel_axis == 1:
        raise ValueError(
            "row_axis, col_axis and channel_axis must be 0, 1 and 2 in an order with the channels "
            f"first or last; received {row_axis}, {col_axis} and {channel_axis}"
        )


def _matrix(
    theta: float, tx: float, ty: float, shear: float, zx: float, zy: float
) -> NDArray[np.float64]:
    """Return the transformation of homogeneous coordinates (x, y, 1)."""
    turn, slant = np.deg2rad(theta), np.deg2rad(shear)
    rotation = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    shift = [[1, 0, tx], [0, 1, ty], [0, 0, 1]]
    shearing = [[1, -np.sin(slant), 0], [0, np.cos(slant), 0], [0, 0, 1]]
    zoom = np.diag([zx, zy, 1])
    matrix: NDArray[np.float64] = np.asarray(rotation) @ shift @ shearing @ zoom
    return matrix


def _about_center(matrix: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the transformation with the center of the image as its origin."""
    center = np.eye(3)
    center[:2, 2] = rows / 2 - 0.5, columns / 2 - 0.5
    back = np.eye(3)
    back[:2, 2] = -center[:2, 2]
    return center @ matrix @ back


def apply_channel_shift(x: Array, intensity: float, channel_axis: int = 0) -> Array:
    """Add `intensity` to all values of an image, within the image's own range of values.

    Examples
    --------
    >>> apply_channel_shift(np.array([[[0.0, 5.0, 9.0]]]), 3.0)
    array([[[3., 8., 9.]]])
    """
    if channel_axis not in range(-np.ndim(x), np.ndim(x)):
        raise ValueError(f"channel_axis must be an axis of x; received {channel_axis!r}")
    return np.clip(x + intensity, np.min(x), np.max(x))


def apply_brightness_shift(x: Array, brightness: float, scale: bool = True) -> Array:
    """Multiply the values of an image by `brightness`, in 8 bits per channel.

    Parameters
    ----------
    x : ndarray (height, width, channels)
    brightness : float
        0 makes the image black, and 1 leaves its brightness as it is.
    scale : bool, default True
        Whether values are scaled first, so that they extend from 0 to 255. With False, they are
        scaled only if some are outside this range, and then scaled back.

    Returns
    -------
    ndarray of `floatx()`

    Raises
    ------
    ImportError
        If Pillow is not installed.

    Examples
    --------
    >>> apply_brightness_shift(np.array([[[10.0], [100.0], [200.0]]]), 1.5, scale=False)[0, :, 0]
    array([ 15., 150., 255.], dtype=float32)
    """
    import_pillow()
    from PIL.ImageEnhance import Brightness

    low, high = np.min(x), np.max(x)
    outside = bool(low < 0 or high > 255)
    image = Brightness(array_to_img(x, "channels_last", outside or scale)).enhance(brightness)
    shifted = img_to_array(image, "channels_last")
    return shifted / 255 * (high - low) + low if outside and not scale else shifted


def random_rotation(
    x: Array,
    rg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> Array:
    """Rotate an image by a random angle from −rg to rg degrees; see `apply_affine_transform`.

    Examples
    --------
    >>> random_rotation(np.ones((1, 4, 4)), 30).shape
    (1, 4, 4)
    """
    theta = random_state().uniform(-rg, rg)
    how = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, theta, 0, 0, 0, 1, 1, *how)


def random_shift(
    x: Array,
    wrg: float,
    hrg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> Array:
    """Shift an image at random, by up to the fractions `hrg` of its height and `wrg` of its width.

    The shift by a fraction of the height is along x, as in Keras. The other arguments are those of
    `apply_affine_transform`.

    Examples
    --------
    >>> random_shift(np.ones((1, 4, 4)), 0.5, 0.5).shape
    (1, 4, 4)
    """
    random = random_state()
    tx = random.uniform(-hrg, hrg) * x.shape[row_axis]
    ty = random.uniform(-wrg, wrg) * x.shape[col_axis]
    how = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, tx, ty, 0, 1, 1, *how)


def random_shear(
    x: Array,
    intensity: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> Array:
    """Shear an image by a random angle from −intensity to intensity degrees.

    The other arguments are those of `apply_affine_transform`.

    Examples
    --------
    >>> random_shear(np.ones((1, 4, 4)), 30).shape
    (1, 4, 4)
    """
    shear = random_state().uniform(-intensity, intensity)
    how = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, 0, 0, shear, 1, 1, *how)


def random_zoom(
    x: Array,
    zoom_range: tuple[float, float],
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> Array:
    """Zoom both axes of an image by random factors in `zoom_range`.

    The other arguments are those of `apply_affine_transform`.

    Examples
    --------
    >>> random_zoom(np.ones((1, 4, 4)), (0.5, 1.5)).shape
    (1, 4, 4)
    """
    low, high = interval("zoom_range", zoom_range)
    zx, zy = (1, 1) if low == high == 1 else random_state().uniform(low, high, 2)
    how = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, 0, 0, 0, zx, zy, *how)


def random_channel_shift(x: Array, intensity_range: float, channel_axis: int = 0) -> Array:
    """Add a random number to an image, within its range of values; see `apply_channel_shift`.

    Examples
    --------
    >>> random_channel_shift(np.ones((3, 4, 4)), 0.1).shape
    (3, 4, 4)
    """
    intensity = random_state().uniform(-intensity_range, intensity_range)
    return apply_channel_shift(x, intensity, channel_axis)


def random_brightness(x: Array, brightness_range: tuple[float, float], scale: bool = True) -> Array:
    """Multiply an image by a random number in `brightness_range`; see `apply_brightness_shift`.

    Examples
    --------
    >>> random_brightness(np.ones((4, 4, 3)), (0.5, 1.5)).shape
    (4, 4, 3)
    """
    low, high = interval("brightness_range", brightness_range)
    return apply_brightness_shift(x, random_state().uniform(low, high), scale)


def _import_ndimage() -> ModuleType:
    try:
        import scipy.ndimage
    except ImportError as error:
        raise ImportError(
            'transformations of images need SciPy: pip install "nnfast[images]"'
        ) from error
    module: ModuleType = scipy.ndimage
    return module

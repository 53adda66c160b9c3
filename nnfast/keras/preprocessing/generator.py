"""The generator of randomly transformed and normalized images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import Array, flag, integer, real, real_array, warn
from nnfast._utils.registry import choose
from nnfast.keras import config
from nnfast.keras.preprocessing.augmentation import (
    FILL_MODES,
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
)
from nnfast.keras.preprocessing.file_iterators import DataFrameIterator, DirectoryIterator
from nnfast.keras.preprocessing.iterators import NumpyArrayIterator
from nnfast.keras.preprocessing.random_ranges import (
    draw_shift,
    interval,
    random_state,
    shift_range,
    zoom_interval,
)
from nnfast.keras.preprocessing.whitening import whitened, whitening_matrix
from nnfast.keras.utils.images import check_data_format

__all__ = ["ImageDataGenerator"]

# Keeps a division by the standard deviation finite.
_EPSILON = 1e-6
# The parameters of `apply_affine_transform` that are drawn at random.
_GEOMETRY = ("theta", "tx", "ty", "shear", "zx", "zy")
# Arguments of older versions that `flow_from_dataframe` still takes.
_OLD_ARGUMENTS = ("drop_duplicates", "has_ext", "sort")


class ImageDataGenerator:
    """Batches of randomly transformed and normalized images, from arrays or files.

    Each image of a batch is first transformed at random: rotated, shifted, sheared, zoomed, its
    channels shifted, flipped, and its brightness changed. Then it is normalized:
    `preprocessing_function`, `rescale`, the samplewise and the featurewise options, and whitening.

    Parameters
    ----------
    featurewise_center : bool, default False
        Whether each channel's mean over the data that `fit` saw is subtracted.
    samplewise_center : bool, default False
        Whether each image's own mean is subtracted.
    featurewise_std_normalization : bool, default False
        Whether values are divided by each channel's standard deviation over the data that `fit`
        saw. Turns `featurewise_center` on.
    samplewise_std_normalization : bool, default False
        Whether values are divided by each image's own standard deviation. Turns
        `samplewise_center` on.
    zca_whitening : bool, default False
        Whether the pixels are decorrelated by the ZCA whitening that `fit` computed. Turns
        `featurewise_center` on and `featurewise_std_normalization` off.
    zca_epsilon : float, default 1e-6
        Added to the singular values of the data, by which the whitening divides.
    rotation_range : float, default 0
        Images are rotated by up to this number of degrees, in both directions.
    width_shift_range, height_shift_range : float, int or sequence of numbers, default 0.0
        A float below 1 is the largest shift as a fraction of the size, and one from 1 on is in
        pixels. With an int n, the shift is one of −(n − 1), …, n − 1 pixels. With a sequence, it
        is one of these numbers with a random sign. See `apply_affine_transform` for the directions.
    brightness_range : (float, float), optional
        The range of the factor by which the values are multiplied.
    shear_range : float, default 0.0
        Images are sheared by up to this number of degrees.
    zoom_range : float or (float, float), default 0.0
        The range of the zoom; a number z stands for (1 − z, 1 + z).
    channel_shift_range : float, default 0.0
        The range of a number that is added to all values.
    fill_mode : {"nearest", "constant", "reflect", "wrap"}, default "nearest"
        What is beyond the border.
    cval : float, default 0.0
        The value beyond the border for ``"constant"``.
    horizontal_flip, vertical_flip : bool, default False
        Whether half of the images are flipped.
    rescale : float, optional
        Multiplies all values. None and 0 do nothing.
    preprocessing_function : callable, optional
        Takes one transformed image and returns an image of the same shape. In `fit` of a model, it
        is called in the thread that makes batches ahead.
    data_format : {"channels_last", "channels_first"}, default "channels_last"
    validation_split : float, default 0.0
        The fraction of the data that are ``subset="validation"``, below 1.
    interpolation_order : int, default 1
        The order of the spline for rotations, shifts, shears and zooms, 0 to 5.
    dtype : dtype-like, optional
        The dtype of batches; by default `floatx()`.

    Examples
    --------
    >>> images = np.arange(32.0).reshape(2, 4, 4, 1)
    >>> generator = ImageDataGenerator(rescale=1 / 31, horizontal_flip=True)
    >>> x, y = next(generator.flow(images, [0, 1], batch_size=2, seed=1))
    >>> x.shape, float(x.max()), y
    ((2, 4, 4, 1), 1.0, array([0, 1]))
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: float | Sequence[float] = 0.0,
        height_shift_range: float | Sequence[float] = 0.0,
        brightness_range: tuple[float, float] | None = None,
        shear_range: float = 0.0,
        zoom_range: float | tuple[float, float] = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[Array], Array] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: Any = None,
    ) -> None:
        self.featurewise_center = flag("featurewise_center", featurewise_center)
        self.samplewise_center = flag("samplewise_center", samplewise_center)
        self.featurewise_std_normalization = flag(
            "featurewise_std_normalization", featurewise_std_normalization
        )
        self.samplewise_std_normalization = flag(
            "samplewise_std_normalization", samplewise_std_normalization
        )
        self.zca_whitening = flag("zca_whitening", zca_whitening)
        self._resolve_conflicts()
        self.zca_epsilon = real("zca_epsilon", zca_epsilon, low=0.0)
        self.rotation_range = real("rotation_range", rotation_range)
        self.width_shift_range = shift_range("width_shift_range", width_shift_range)
        self.height_shift_range = shift_range("height_shift_range", height_shift_range)
        self.brightness_range = (
            None if brightness_range is None else interval("brightness_range", brightness_range)
        )
        self.shear_range = real("shear_range", shear_range)
        self.zoom_range = zoom_interval(zoom_range)
        self.channel_shift_range = real("channel_shift_range", channel_shift_range)
        choose("fill_mode", fill_mode, FILL_MODES)
        self.fill_mode = fill_mode
        self.cval = real("cval", cval)
        self.horizontal_flip = flag("horizontal_flip", horizontal_flip)
        self.vertical_flip = flag("vertical_flip", vertical_flip)
        self.rescale = None if rescale is None else real("rescale", rescale)
        self.preprocessing_function = _function("preprocessing_function", preprocessing_function)
        self.data_format = check_data_format(data_format)
        self.validation_split = real("validation_split", validation_split, low=0.0, below=1.0)
        self.interpolation_order = integer("interpolation_order", interpolation_order, 0, 5)
        self.dtype = np.dtype(config.floatx() if dtype is None else dtype)
        # The axes of a batch.
        first = self.data_format == "channels_first"
        self.channel_axis, self.row_axis, self.col_axis = (1, 2, 3) if first else (3, 1, 2)
        # What `fit` computes.
        self.mean: Array | None = None
        self.std: Array | None = None
        self.zca_whitening_matrix: NDArray[Any] | None = None

    def _resolve_conflicts(self) -> None:
        """Turn on or off what other options need or replace, with a warning."""
        needs = {
            "zca_whitening": "featurewise_center",
            "featurewise_std_normalization": "featurewise_center",
            "samplewise_std_normalization": "samplewise_center",
        }
        if self.zca_whitening and self.featurewise_std_normalization:
            warn("zca_whitening replaces featurewise_std_normalization, which is turned off")
            self.featurewise_std_normalization = False
        for option, needed in needs.items():
            if getattr(self, option) and not getattr(self, needed):
                warn(f"{option} needs {needed}, which is turned on")
                setattr(self, needed, True)

    # ---- batches ---------------------------------------------------------------------------------

    def flow(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        seed: int | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: str | None = None,
    ) -> NumpyArrayIterator:
        """Return an iterator over batches of the images in an array.

        Parameters
        ----------
        x : array_like (n, height, width, channels)
        y : array_like (n, ...), optional
            The targets.
        batch_size : int, default 32
        shuffle : bool, default True
            Whether each epoch has another order.
        sample_weight : array_like (n,), optional
        seed : int, optional
            Makes the batches reproducible.
        save_to_dir : path-like, optional
            A folder in which the images of all batches are saved.
        save_prefix, save_format : str, default "" and "png"
            How the names of these files begin and end.
        ignore_class_split : bool, default False
            Whether the training and the validation data may have different classes.
        subset : {"training", "validation"}, optional
            The validation data are the first rows, as many as `validation_split` says.

        Returns
        -------
        NumpyArrayIterator
            Its batches are x, (x, y) or (x, y, sample_weight). `sample_weight` has no effect
            without `y`.

        Raises
        ------
        ValueError
            If shapes do not fit, or the parts have different classes.
        """
        return NumpyArrayIterator(
            x,
            y,
            self,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            subset=subset,
            ignore_class_split=ignore_class_split,
            dtype=self.dtype,
        )

    def flow_from_directory(
        self,
        directory: str | os.PathLike[str],
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
    ) -> DirectoryIterator:
        """Return an iterator over batches of the image files in a folder.

        Parameters
        ----------
        directory : path-like
            Contains one folder per class, with images (png, jpg, bmp, ppm or tif), also in folders
            of their own.
        target_size : (int, int), default (256, 256)
            Height and width to which images are resized.
        color_mode : {"rgb", "rgba", "grayscale"}
        classes : list of str, optional
            The folders, in the order of the classes; by default all, sorted.
        class_mode : {"categorical", "binary", "sparse", "input", None}
            The targets: one-hot rows, class indices (``"binary"`` and ``"sparse"``), the images
            themselves, or none.
        batch_size, shuffle, seed, save_to_dir, save_prefix, save_format
            As in `flow`.
        follow_links : bool, default False
            Whether links to folders are followed.
        subset : {"training", "validation"}, optional
            The validation data are the first files of each class.
        interpolation, keep_aspect_ratio
            How images are resized, as in `load_img`.

        Returns
        -------
        DirectoryIterator
            Its attributes `class_indices`, `classes`, `filenames`, `filepaths` and `samples`
            describe the files.

        Raises
        ------
        ImportError
            If Pillow is not installed, when the first batch is made.
        """
        return DirectoryIterator(
            directory,
            self,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            follow_links=follow_links,
            subset=subset,
            interpolation=interpolation,
            keep_aspect_ratio=keep_aspect_ratio,
            dtype=self.dtype,
        )

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: str | os.PathLike[str] | None = None,
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
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        **kwargs: Any,
    ) -> DataFrameIterator:
        """Return an iterator over batches of the image files that a table lists.

        Parameters
        ----------
        dataframe : pandas.DataFrame
            Or any other table whose columns are ``dataframe[name]``.
        directory : path-like, optional
            The folder of the files; by default, the table has whole paths.
        x_col : str, default "filename"
            The column of the files' names.
        y_col : str or list of str, default "class"
            The column of the labels, or for ``class_mode="raw"`` one or more columns of numbers.
        weight_col : str, optional
            The column of the sample weights.
        classes : list of str, optional
            The labels, in the order of the classes; by default all, sorted. Rows with other labels
            are not used.
        class_mode : {"categorical", "binary", "sparse", "raw", "input", None}
            As in `flow_from_directory`. ``"raw"`` (or its older name ``"other"``) takes the
            numbers in `y_col` as they are. For ``"categorical"``, a label may be a list of labels,
            all of which become 1.
        subset : {"training", "validation"}, optional
            The validation data are the first rows.
        validate_filenames : bool, default True
            Whether rows whose file does not exist or is no image are left out, with a warning.
        target_size, color_mode, interpolation
            As in `flow_from_directory`.
        batch_size, shuffle, seed, save_to_dir, save_prefix, save_format
            As in `flow`.
        **kwargs
            `drop_duplicates`, `has_ext` and `sort`, which have no effect, with a warning.

        Returns
        -------
        DataFrameIterator

        Raises
        ------
        TypeError
            If a column has entries of a wrong type.
        ValueError
            If `class_mode` is ``"multi_output"``, or ``"binary"`` with another number of classes
            than two.
        """
        for name in kwargs:
            choose("argument of flow_from_dataframe", name, dict.fromkeys(_OLD_ARGUMENTS))
            _deprecated(f"{name} has no effect")
        if class_mode == "other":
            _deprecated('class_mode="other" is now class_mode="raw"')
            class_mode = "raw"
        return DataFrameIterator(
            dataframe,
            directory,
            self,
            x_col=x_col,
            y_col=y_col,
            weight_col=weight_col,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            subset=subset,
            interpolation=interpolation,
            dtype=self.dtype,
            validate_filenames=validate_filenames,
        )

    # ---- single images ---------------------------------------------------------------------------

    def standardize(self, x: Array) -> Array:
        """Return a normalized copy of an image or a batch; Keras changes `x` itself.

        Parameters
        ----------
        x : array_like
            Integers are converted to the generator's dtype.
        """
        x = self._copy("x", x)
        if self.preprocessing_function is not None:
            x = self._copy("the result of preprocessing_function", self.preprocessing_function(x))
        if self.rescale:
            x *= self.rescale
        if self.samplewise_center:
            x -= np.mean(x, keepdims=True)
        if self.samplewise_std_normalization:
            x /= np.std(x, keepdims=True) + _EPSILON
        if self.featurewise_center and self.mean is None:
            warn("featurewise options and zca_whitening have no effect before fit(x) is called")
        if self.featurewise_center and self.mean is not None:
            x -= self.mean
        if self.featurewise_std_normalization and self.std is not None:
            x /= self.std + _EPSILON
        if self.zca_whitening and self.zca_whitening_matrix is not None:
            x = whitened(x, self.zca_whitening_matrix)
        return x

    def _copy(self, name: str, x: object) -> Array:
        array = real_array(name, x)
        return np.array(array, array.dtype if array.dtype.kind == "f" else self.dtype)

    def get_random_transform(
        self, img_shape: tuple[int, ...], seed: int | RandomState | None = None
    ) -> dict[str, Any]:
        """Return random parameters for `apply_transform`.

        Parameters
        ----------
        img_shape : tuple of int
            The shape of one image.
        seed : int or RandomState, optional
            By default, numbers are drawn from `numpy.random`.

        Returns
        -------
        dict
            ``theta``, ``tx``, ``ty``, ``shear``, ``zx``, ``zy``, ``flip_horizontal``,
            ``flip_vertical``, ``channel_shift_intensity`` and ``brightness``.
        """
        random = random_state(seed)

        def symmetric(limit: float) -> Any:
            return random.uniform(-limit, limit)

        zooms = self.zoom_range != [1, 1]
        return {  # in the order in which Keras draws them
            "theta": symmetric(self.rotation_range) if self.rotation_range else 0,
            "tx": draw_shift(self.height_shift_range, img_shape[self.row_axis - 1], random),
            "ty": draw_shift(self.width_shift_range, img_shape[self.col_axis - 1], random),
            "shear": symmetric(self.shear_range) if self.shear_range else 0,
            "zx": random.uniform(*self.zoom_range) if zooms else 1,
            "zy": random.uniform(*self.zoom_range) if zooms else 1,
            "flip_horizontal": bool(random.random_sample() < 0.5) and self.horizontal_flip,
            "flip_vertical": bool(random.random_sample() < 0.5) and self.vertical_flip,
            "channel_shift_intensity": (
                symmetric(self.channel_shift_range) if self.channel_shift_range else None
            ),
            "brightness": random.uniform(*self.brightness_range) if self.brightness_range else None,
        }

    def apply_transform(self, x: Array, transform_parameters: Mapping[str, Any]) -> Array:
        """Return an image, transformed by parameters such as those of `get_random_transform`.

        Missing parameters do nothing. Without any, the result is `x` itself.

        Parameters
        ----------
        x : ndarray
            One image.
        transform_parameters : mapping
        """
        given = transform_parameters
        axes = (self.channel_axis, self.row_axis, self.col_axis)
        channel_axis, row_axis, col_axis = (axis - 1 for axis in axes)
        x = apply_affine_transform(
            x,
            **{name: given[name] for name in _GEOMETRY if name in given},
            row_axis=row_axis,
            col_axis=col_axis,
            channel_axis=channel_axis,
            fill_mode=self.fill_mode,
            cval=self.cval,
            order=self.interpolation_order,
        )
        if given.get("channel_shift_intensity") is not None:
            x = apply_channel_shift(x, given["channel_shift_intensity"], channel_axis)
        if given.get("flip_horizontal"):
            x = np.flip(x, col_axis)
        if given.get("flip_vertical"):
            x = np.flip(x, row_axis)
        if given.get("brightness") is not None:
            last = np.moveaxis(x, channel_axis, -1)
            shifted = apply_brightness_shift(last, given["brightness"], scale=False)
            x = np.moveaxis(shifted, -1, channel_axis)
        return x

    def random_transform(self, x: Array, seed: int | RandomState | None = None) -> Array:
        """Return an image, transformed at random.

        Parameters
        ----------
        x : ndarray
            One image.
        seed : int or RandomState, optional
            By default, numbers are drawn from `numpy.random`.
        """
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    # ---- statistics ------------------------------------------------------------------------------

    def fit(
        self, x: ArrayLike, augment: bool = False, rounds: int = 1, seed: int | None = None
    ) -> None:
        """Compute the means, standard deviations and whitening of the featurewise options.

        The data are multiplied by `rescale` first; `preprocessing_function` is not called.

        Parameters
        ----------
        x : array_like (n, height, width, channels)
        augment : bool, default False
            Whether the images are transformed at random.
        rounds : int, default 1
            With `augment`, how often each image is used.
        seed : int, optional
            By default, numbers are drawn from `numpy.random`.
        """
        images = np.array(real_array("x", x), self.dtype)
        rounds = integer("rounds", rounds, minimum=1)
        random = random_state(seed)
        if images.ndim != 4 or not len(images):
            raise ValueError(
                "x must be one or more images (n, height, width, channels); received shape "
                f"{images.shape}"
            )
        if self.rescale:
            images *= self.rescale
        if flag("augment", augment):
            transformed = [
                self.random_transform(image, random) for _ in range(rounds) for image in images
            ]
            images = np.stack(transformed).astype(self.dtype, copy=False)
        pixels = (0, self.row_axis, self.col_axis)
        if self.featurewise_center:
            self.mean = np.mean(images, axis=pixels, keepdims=True)[0]
            images -= self.mean
        if self.featurewise_std_normalization:
            self.std = np.std(images, axis=pixels, keepdims=True)[0]
            images /= self.std + _EPSILON
        if self.zca_whitening:
            self.zca_whitening_matrix = whitening_matrix(images, self.zca_epsilon)


def _function(name: str, value: Any) -> Callable[[Array], Array] | None:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function or None; received {value!r}")
    function: Callable[[Array], Array] | None = value
    return function


def _deprecated(message: str) -> None:
    warnings.warn(f"flow_from_dataframe: {message}", DeprecationWarning, stacklevel=3)

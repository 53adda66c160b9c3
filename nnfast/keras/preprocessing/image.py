"""Preparation of images, as in ``keras.preprocessing.image``."""

from nnfast.keras.preprocessing.augmentation import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
)
from nnfast.keras.preprocessing.file_iterators import DataFrameIterator, DirectoryIterator
from nnfast.keras.preprocessing.generator import ImageDataGenerator
from nnfast.keras.preprocessing.iterators import Iterator, NumpyArrayIterator
from nnfast.keras.utils.images import array_to_img, img_to_array, load_img, save_img
from nnfast.keras.utils.resizing import smart_resize

__all__ = [
    "DataFrameIterator",
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "apply_affine_transform",
    "apply_brightness_shift",
    "apply_channel_shift",
    "array_to_img",
    "img_to_array",
    "load_img",
    "random_brightness",
    "random_channel_shift",
    "random_rotation",
    "random_shear",
    "random_shift",
    "random_zoom",
    "save_img",
    "smart_resize",
]

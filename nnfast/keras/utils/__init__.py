"""Functions and classes around models and data, as in ``keras.utils``."""

from nnfast.keras.utils.arrays import (
    normalize,
    pack_x_y_sample_weight,
    to_categorical,
    unpack_x_y_sample_weight,
)
from nnfast.keras.utils.images import array_to_img, img_to_array, load_img, save_img
from nnfast.keras.utils.progbar import Progbar
from nnfast.keras.utils.py_dataset import PyDataset, Sequence
from nnfast.keras.utils.sequences import pad_sequences

__all__ = [
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "img_to_array",
    "load_img",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "save_img",
    "to_categorical",
    "unpack_x_y_sample_weight",
]

"""Preparation of images and sequences, as in ``keras.preprocessing``."""

from nnfast.keras.preprocessing import image, sequence
from nnfast.keras.utils.image_dataset import (
    image_dataset_from_directory,
)
from nnfast.keras.utils.timeseries import (
    timeseries_dataset_from_array,
)

__all__ = [
    "image",
    "image_dataset_from_directory",
    "sequence",
    "timeseries_dataset_from_array",
]

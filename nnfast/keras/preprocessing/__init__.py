"""Preparation of images, sequences and texts, as in ``keras.preprocessing``."""

from nnfast.keras.preprocessing import image, sequence, text
from nnfast.keras.utils.image_dataset import (
    image_dataset_from_directory,
)
from nnfast.keras.utils.text_dataset import text_dataset_from_directory
from nnfast.keras.utils.timeseries import (
    timeseries_dataset_from_array,
)

__all__ = [
    "image",
    "image_dataset_from_directory",
    "sequence",
    "text",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
]

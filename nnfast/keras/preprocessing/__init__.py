"""Preparation of images and sequences, as in ``keras.preprocessing``."""

from nnfast.keras.preprocessing import image as image, sequence as sequence
from nnfast.keras.utils.image_dataset import (
    image_dataset_from_directory as image_dataset_from_directory,
)
from nnfast.keras.utils.timeseries import (
    timeseries_dataset_from_array as timeseries_dataset_from_array,
)

"""Functions and classes around models and data, as in ``keras.utils``."""

from nnfast.keras.utils.image_dataset import (
    image_dataset_from_directory as image_dataset_from_directory,
)
from nnfast.keras.utils.split import split_dataset as split_dataset
from nnfast.keras.utils.timeseries import (
    timeseries_dataset_from_array as timeseries_dataset_from_array,
)

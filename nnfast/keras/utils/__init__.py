"""Functions and classes around models and data, as in ``keras.utils``."""

from nnfast.keras.backend import clear_session
from nnfast.keras.utils.arrays import (
    normalize,
    pack_x_y_sample_weight,
    to_categorical,
    unpack_x_y_sample_weight,
)
from nnfast.keras.utils.files import get_file
from nnfast.keras.utils.image_dataset import (
    image_dataset_from_directory,
)
from nnfast.keras.utils.images import (
    array_to_img,
    img_to_array,
    load_img,
    save_img,
)
from nnfast.keras.utils.plots import model_to_dot, plot_model
from nnfast.keras.utils.progbar import Progbar
from nnfast.keras.utils.py_dataset import PyDataset, Sequence
from nnfast.keras.utils.seeds import set_random_seed
from nnfast.keras.utils.sequences import pad_sequences
from nnfast.keras.utils.split import split_dataset
from nnfast.keras.utils.text_dataset import text_dataset_from_directory
from nnfast.keras.utils.timeseries import (
    timeseries_dataset_from_array,
)

__all__ = [
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "clear_session",
    "get_file",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "save_img",
    "set_random_seed",
    "split_dataset",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]

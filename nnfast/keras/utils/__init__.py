"""Functions and classes around models and data, as in ``keras.utils``."""

from nnfast.keras.backend import clear_session as clear_session
from nnfast.keras.utils.files import get_file as get_file
from nnfast.keras.utils.image_dataset import (
    image_dataset_from_directory as image_dataset_from_directory,
)
from nnfast.keras.utils.plots import model_to_dot as model_to_dot, plot_model as plot_model
from nnfast.keras.utils.seeds import set_random_seed as set_random_seed
from nnfast.keras.utils.split import split_dataset as split_dataset
from nnfast.keras.utils.timeseries import (
    timeseries_dataset_from_array as timeseries_dataset_from_array,
)

"""Functions and classes around models and data, as in ``keras.utils``."""

from nnfast.keras.backend import clear_session as clear_session
from nnfast.keras.utils.arrays import (
    normalize as normalize,
    pack_x_y_sample_weight as pack_x_y_sample_weight,
    to_categorical as to_categorical,
    unpack_x_y_sample_weight as unpack_x_y_sample_weight,
)
from nnfast.keras.utils.files import get_file as get_file
from nnfast.keras.utils.image_dataset import (
    image_dataset_from_directory as image_dataset_from_directory,
)
from nnfast.keras.utils.images import (
    array_to_img as array_to_img,
    img_to_array as img_to_array,
    load_img as load_img,
    save_img as save_img,
)
from nnfast.keras.utils.plots import model_to_dot as model_to_dot, plot_model as plot_model
from nnfast.keras.utils.progbar import Progbar as Progbar
from nnfast.keras.utils.py_dataset import PyDataset as PyDataset, Sequence as Sequence
from nnfast.keras.utils.seeds import set_random_seed as set_random_seed
from nnfast.keras.utils.sequences import pad_sequences as pad_sequences
from nnfast.keras.utils.split import split_dataset as split_dataset
from nnfast.keras.utils.timeseries import (
    timeseries_dataset_from_array as timeseries_dataset_from_array,
)

"""Functions and classes around models and data, as in ``keras.utils``."""

from nnfast.keras.backend import clear_session as clear_session
from nnfast.keras.utils.files import get_file as get_file
from nnfast.keras.utils.seeds import set_random_seed as set_random_seed

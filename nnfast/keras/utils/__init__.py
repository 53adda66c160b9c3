"""Functions and classes around models and data, as in ``keras.utils``."""

from nnfast.keras.utils.files import get_file as get_file

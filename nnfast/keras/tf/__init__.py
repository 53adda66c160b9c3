"""The parts of TensorFlow that programs for ``tf.keras`` use: ``from nnfast.keras import tf``."""

from nnfast._utils.lazy import lazy
from nnfast.keras.tf import data as data
from nnfast.keras.tf.structures import TensorSpec as TensorSpec

# `keras` is imported on first use, because it imports this module.
__getattr__, __dir__ = lazy(__name__, {"keras": "nnfast"})

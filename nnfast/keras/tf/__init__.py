"""The parts of TensorFlow that programs for ``tf.keras`` use: ``from nnfast.keras import tf``."""

from nnfast._utils.lazy import lazy

# `keras` is imported on first use, because it imports this module.
__getattr__, __dir__ = lazy(__name__, {"keras": "nnfast"})

"""Functions and classes around models and data, as in ``keras.utils``."""

"""Keras' data sets, one module each with a function `load_data`."""

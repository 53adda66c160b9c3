"""Functions and classes around models and data, as in ``keras.utils``."""

from nnfast.keras.utils.plots import model_to_dot as model_to_dot, plot_model as plot_model

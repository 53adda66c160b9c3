"""Fast neural networks on the CPU, with the names and semantics of Keras.

`nnfast.keras` is this package itself, so that a program written with ``tf.keras…`` runs after
``import nnfast as tf``.
"""

import sys

from nnfast import (
    activations,
    callbacks,
    datasets,
    initializers,
    kernels,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    plotting,
    schedules,
)
from nnfast._config import set_default_dtype, set_seed
from nnfast._engine import get_num_threads, set_num_threads, show_config
from nnfast._version import __version__
from nnfast.layers import Input
from nnfast.models import Sequential, load_model

__all__ = [
    "Input",
    "Sequential",
    "__version__",
    "activations",
    "callbacks",
    "datasets",
    "get_num_threads",
    "initializers",
    "keras",
    "kernels",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plotting",
    "schedules",
    "set_default_dtype",
    "set_num_threads",
    "set_seed",
    "show_config",
]

keras = sys.modules[__name__]
sys.modules[f"{__name__}.keras"] = keras
# Without these entries `from nnfast.keras.layers import Dense` would load a second copy.
for _name in (
    "activations",
    "callbacks",
    "datasets",
    "initializers",
    "kernels",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plotting",
    "schedules",
):
    sys.modules[f"{__name__}.keras.{_name}"] = sys.modules[f"{__name__}.{_name}"]
del _name

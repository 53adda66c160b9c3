"""The names of Keras 3 in its module tree: a program for Keras runs with its imports changed.

``import keras`` becomes ``from nnfast import keras``, ``from tensorflow.keras.layers import Dense``
becomes ``from nnfast.keras.layers import Dense``, and ``import tensorflow as tf`` becomes
``from nnfast.keras import tf``. The modules re-export what nnfast has, and add what only programs
for Keras need.
"""

from typing import TYPE_CHECKING

from nnfast._utils.lazy import lazy
from nnfast.keras.config import KERAS_VERSION as __version__

if TYPE_CHECKING:
    from nnfast._plan.symbolic import KerasTensor
    from nnfast.initializers import Initializer
    from nnfast.keras import (
        activations,
        backend,
        callbacks,
        config,
        constraints,
        datasets,
        initializers,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        preprocessing,
        random,
        regularizers,
        saving,
        tf,
        utils,
        wrappers,
    )
    from nnfast.layers import Input, Layer
    from nnfast.losses import Loss
    from nnfast.metrics import Metric
    from nnfast.models import Model, Sequential
    from nnfast.optimizers import Optimizer

__all__ = [
    "Initializer",
    "Input",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Sequential",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "saving",
    "tf",
    "utils",
    "wrappers",
]

# The modules that define these names; the others are submodules.
_HOMES = {
    "Initializer": "nnfast.initializers",
    "Input": "nnfast.layers",
    "KerasTensor": "nnfast._plan.symbolic",
    "Layer": "nnfast.layers",
    "Loss": "nnfast.losses",
    "Metric": "nnfast.metrics",
    "Model": "nnfast.models",
    "Optimizer": "nnfast.optimizers.optimizer",
    "Sequential": "nnfast.models",
}

__getattr__, __dir__ = lazy(__name__, dict.fromkeys(__all__, __name__) | _HOMES)

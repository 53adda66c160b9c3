"""Fast neural networks on the CPU, with the names and semantics of Keras.

`nnfast.keras` has Keras' own module tree, for programs that were written for Keras.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nnfast._engine import get_num_threads, set_num_threads, show_config
from nnfast._utils.lazy import lazy
from nnfast._version import __version__

if TYPE_CHECKING:
    from nnfast import (
        activations,
        callbacks,
        constraints,
        convert,
        datasets,
        initializers,
        keras,
        kernels,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        plotting,
        regularizers,
    )
    from nnfast._utils.config import set_default_dtype, set_seed
    from nnfast.estimators import MLPClassifier as MLPClassifier, MLPRegressor as MLPRegressor
    from nnfast.layers import Input
    from nnfast.models import Model, Sequential, load_model
    from nnfast.optimizers import schedules

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "callbacks",
    "constraints",
    "convert",
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
    "regularizers",
    "schedules",
    "set_default_dtype",
    "set_num_threads",
    "set_seed",
    "show_config",
]

# `from nnfast import *` leaves these out, because they need scikit-learn.
_NEED_SKLEARN = ("MLPClassifier", "MLPRegressor", "estimators")

# The modules that define these names; the others are submodules.
_HOMES = {
    "MLPClassifier": "nnfast.estimators",
    "MLPRegressor": "nnfast.estimators",
    "Input": "nnfast.layers",
    "Model": "nnfast.models",
    "Sequential": "nnfast.models",
    "load_model": "nnfast.models",
    "schedules": "nnfast.optimizers",
    "set_default_dtype": "nnfast._utils.config",
    "set_seed": "nnfast._utils.config",
}


class _Schedules(ModuleType):
    """`nnfast.schedules`: an alias of `nnfast.optimizers.schedules`, loaded on first use."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("nnfast.optimizers.schedules"), name)


sys.modules[f"{__name__}.schedules"] = _Schedules(f"{__name__}.schedules")

__getattr__, __dir__ = lazy(__name__, dict.fromkeys((*__all__, *_NEED_SKLEARN), __name__) | _HOMES)

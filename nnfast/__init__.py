"""Fast neural networks on the CPU, with the names and semantics of Keras.

`nnfast.keras` is this package itself, so that a program that uses ``tf.keras…`` also runs with
``import nnfast as tf``.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nnfast._engine import get_num_threads, set_num_threads, show_config
from nnfast._version import __version__

if TYPE_CHECKING:
    import nnfast as keras
    from nnfast import (
        activations,
        callbacks,
        constraints,
        datasets,
        initializers,
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
    from nnfast.estimators import MLPClassifier as MLPClassifier
    from nnfast.estimators import MLPRegressor as MLPRegressor
    from nnfast.layers import Input
    from nnfast.models import Sequential, load_model
    from nnfast.optimizers import schedules

__all__ = [
    "Input",
    "Sequential",
    "__version__",
    "activations",
    "callbacks",
    "constraints",
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

# The module that defines each of these names. All other lazily loaded names are modules.
_HOMES = {
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "Input": "layers",
    "Sequential": "models",
    "load_model": "models",
    "schedules": "optimizers",
    "set_default_dtype": "_utils.config",
    "set_seed": "_utils.config",
}


class _Schedules(ModuleType):
    """`nnfast.schedules`: an alias of `nnfast.optimizers.schedules`, loaded on first use."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("nnfast.optimizers.schedules"), name)


sys.modules[f"{__name__}.schedules"] = _Schedules(f"{__name__}.schedules")


def __getattr__(name: str) -> Any:
    """Import a public name on its first use, as NumPy and SciPy do."""
    if name not in __all__ and name not in _NEED_SKLEARN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    globals()[name] = value = getattr(module, name) if name in _HOMES else module
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_NEED_SKLEARN})

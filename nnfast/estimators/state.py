"""The state of an estimator, and its conversion to the contents of a file.

Weights and optimizer slots are arrays; the parameters and the other attributes are JSON. The file
does not contain derived attributes, such as sizes or the output activation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import activations, optimizers
from nnfast._runtime.state import COUNT_LIMIT
from nnfast._utils.registry import describe
from nnfast.estimators.architecture import Perceptron
from nnfast.estimators.parameters import entries
from nnfast.estimators.stopping import LearningRate

Array = NDArray[Any]

CLASS_NAMES = ("MLPClassifier", "MLPRegressor")
# Attributes that training sets in addition to the weights: counts, numbers, lists of numbers.
COUNTS = ("n_iter_", "t_", "_no_improvement_count")
NUMBERS = ("loss_", "best_loss_", "best_validation_score_")
CURVES = ("loss_curve_", "validation_scores_", "validation_loss_curve_")
KINDS = ("binary", "multiclass", "multilabel-indicator")
CLASS_TYPES = (
    *("bool", "float32", "float64", "str", "object"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
# Maximum size in bytes of an array of string classes; equal to the size limit of a file header.
LARGEST_CLASSES = 1 << 24


@dataclass
class Classes:
    """The classes of a classifier.

    Attributes
    ----------
    values : ndarray
        The sorted classes.
    kind : str
        The type of the targets from which the classes were learned: one of `KINDS`.
    sparse : bool
        Whether those targets were a sparse matrix.
    """

    values: Array
    kind: str
    sparse: bool


@dataclass
class State:
    """The complete state of a fitted estimator.

    Attributes
    ----------
    class_name : str
        One of `CLASS_NAMES`.
    params : dict
        The arguments of the constructor.
    attributes : dict
        The attributes in `COUNTS`, `NUMBERS` and `CURVES` that the estimator has.
    features : ndarray of str or None
        The names of the features.
    classes : Classes or None
        None for a regressor.
    network : Perceptron
    rate : LearningRate or None
        The optimizer with its policy.
    best : ndarray or None
        The weights of the best epoch.
    """

    class_name: str
    params: Mapping[str, Any]
    attributes: Mapping[str, Any]
    features: Array | None
    classes: Classes | None
    network: Perceptron
    rate: LearningRate | None
    best: Array | None


def contents(state: State, include_optimizer: bool) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and the description of a file.

    Raises
    ------
    ValueError
        If the parameters or the classes cannot be written as JSON.
    """
    arrays = named_arrays(state.network)
    description: dict[str, Any] = {
        "class_name": state.class_name,
        "params": _params(state.params),
        "attributes": {name: _attribute(name, value) for name, value in state.attributes.items()},
        "features": None if state.features is None else state.features.tolist() or None,
        "classes": None if state.classes is None else _classes(state.classes),
        "training": None,
    }
    if include_optimizer and state.network.optimizer is not None:
        slots = state.network.engine.slots
        arrays |= {f"optimizer/{i}": slot for i, slot in enumerate(slots)}
        if state.best is not None:
            arrays["best"] = state.best
        description["training"] = _training(state.network, state.network.optimizer, state.rate)
    return arrays, {"estimator": description}


# ---- parameters ----------------------------------------------------------------------------------


def _params(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as JSON-serializable values, without the callbacks."""
    params = {name: value for name, value in parameters.items() if name != "callbacks"}
    seed = params["random_state"]
    if seed is not None and not isinstance(seed, (int, np.integer)):
        raise ValueError(
            f"random_state: saving an estimator needs None or an integer; received {seed!r}"
        )
    if isinstance(params["optimizer"], (optimizers.Optimizer, type)):
        params["optimizer"] = describe(optimizers.resolve(params["optimizer"]))
    several = entries(params["activation"])
    names = [_activation(name) for name in ([params["activation"]] if several is None else several)]
    params["activation"] = names[0] if several is None else names
    if isinstance(params.get("class_weight"), dict):
        pairs = params["class_weight"].items()
        params["class_weight"] = [[label_to_json(label), _to_json(w)] for label, w in pairs]
    return {name: _to_json(value) for name, value in params.items()}


def _activation(value: Any) -> Any:
    return value if isinstance(value, str) else activations.serialize(activations.resolve(value))


def _to_json(value: Any) -> Any:
    """Return a JSON-serializable value; NaN and infinity become ``{"number": name}``."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_to_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": repr(value)}
    return value


# ---- attributes ----------------------------------------------------------------------------------


def _attribute(name: str, value: Any) -> Any:
    return min(int(value), COUNT_LIMIT) if name in COUNTS else _to_json(value)


def _classes(classes: Classes) -> dict[str, Any]:
    values = classes.values
    dtype = "str" if values.dtype.kind == "U" else values.dtype.name
    if dtype not in CLASS_TYPES or (dtype == "str" and values.nbytes > LARGEST_CLASSES):
        raise ValueError(
            f"classes must have one of the dtypes {', '.join(CLASS_TYPES)} to be saved, and texts "
            f"at most {LARGEST_CLASSES} bytes; received {values.dtype} with {values.nbytes} bytes"
        )
    return {
        "kind": classes.kind,
        "sparse": classes.sparse,
        "dtype": dtype,
        "values": [label_to_json(label) for label in values.tolist()],
    }


def label_to_json(label: Any) -> Any:
    """Return a class label as a JSON-serializable value.

    Raises
    ------
    ValueError
        If the label is neither a string nor a finite number.
    """
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, (str, int)) or (isinstance(label, float) and math.isfinite(label)):
        return label
    raise ValueError(f"classes must be texts or numbers to be saved; received {label!r}")


# ---- weights and optimizer -----------------------------------------------------------------------


def named_arrays(network: Perceptron) -> dict[str, Array]:
    """Return the arrays of a network, keyed by their names in files."""
    arrays: dict[str, Array] = {}
    for i, (coef, intercept) in enumerate(zip(network.coefs, network.intercepts, strict=True)):
        arrays |= {f"coefs/{i}": coef, f"intercepts/{i}": intercept}
    if network.architecture.normalization is not None:
        arrays["weights"] = network.engine.weights
    return arrays


def _training(
    network: Perceptron, optimizer: optimizers.Optimizer, rate: LearningRate | None
) -> dict[str, Any]:
    """Return the description of the optimizer and the position in the random streams."""
    scheduled = not isinstance(optimizer.learning_rate, float)
    return {
        "optimizer": describe(optimizer),
        "first_rate": None if scheduled or rate is None else rate.first,
        "seed": network.network.seed,
        "iterations": min(network.engine.iterations, COUNT_LIMIT),
        "epoch": min(network.engine.epoch, COUNT_LIMIT),
    }

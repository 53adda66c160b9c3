"""Estimators in files: the container and the rules of `nnfast.saving`; nothing is pickled.

Weights and optimizer slots are arrays; parameters and the rest of the attributes are JSON. What
follows from something else (sizes, outputs, their activation) is not in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import LabelBinarizer

from nnfast import activations, optimizers
from nnfast._runtime.state import COUNT_LIMIT
from nnfast._utils.assign import assign_named
from nnfast._utils.checks import flag, integer
from nnfast._utils.registry import choose, describe
from nnfast.estimators.architecture import Network, sizes_of
from nnfast.estimators.classifier import MLPClassifier
from nnfast.estimators.parameters import (
    STOCHASTIC,
    architecture_of,
    entries,
    hidden_units,
    with_policy,
)
from nnfast.estimators.regressor import MLPRegressor

if TYPE_CHECKING:
    from nnfast.estimators.base import BaseMLP

Array = NDArray[Any]

CLASSES: dict[str, type[BaseMLP]] = {
    "MLPClassifier": MLPClassifier,
    "MLPRegressor": MLPRegressor,
}
# Attributes that training leaves besides weights, where it does: counts, numbers, lists of numbers.
COUNTS = ("n_iter_", "t_", "_no_improvement_count")
NUMBERS = ("loss_", "best_loss_", "best_validation_score_")
CURVES = ("loss_curve_", "validation_scores_", "validation_loss_curve_")
KINDS = ("binary", "multiclass", "multilabel-indicator")
CLASS_TYPES = (
    *("bool", "float32", "float64", "str", "object"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
# Bytes of the classes' texts, each as long as the longest: as many as a file's header may have.
LARGEST_CLASSES = 1 << 24


def contents(
    estimator: BaseMLP, include_optimizer: bool
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and the description of a fitted estimator."""
    if type(estimator) not in CLASSES.values():
        raise ValueError(
            f"estimators that are saved are {' and '.join(CLASSES)} themselves; received an object "
            f"of their subclass {type(estimator).__name__}"
        )
    network = estimator._fitted()
    if estimator.solver in STOCHASTIC and not hasattr(estimator, "_no_improvement_count"):
        raise ValueError("solver is not that of the last fit: fit again")
    sizes, output = network.architecture.sizes, estimator.out_activation_
    if hidden_units(estimator) != list(sizes[1:-1]) or (
        architecture_of(estimator, sizes, output) != network.architecture
        or estimator._output_activation() != output
    ):
        raise ValueError("parameters of the network are not those of the last fit: fit again")
    arrays = _named(network)
    description: dict[str, Any] = {
        "class_name": type(estimator).__name__,
        "params": _params(estimator),
        "attributes": {
            name: _attribute(name, getattr(estimator, name))
            for name in (*COUNTS, *NUMBERS, *CURVES)
            if hasattr(estimator, name)
        },
        "features": getattr(estimator, "feature_names_in_", np.empty(0)).tolist() or None,
        "classes": None,
        "training": None,
    }
    if isinstance(estimator, MLPClassifier):
        kept = estimator.classes_
        dtype = "str" if kept.dtype.kind == "U" else kept.dtype.name
        if dtype not in CLASS_TYPES or (dtype == "str" and kept.nbytes > LARGEST_CLASSES):
            raise ValueError(
                f"classes that are saved are of {', '.join(CLASS_TYPES)}, texts of up to "
                f"{LARGEST_CLASSES} bytes; received {kept.dtype} and {kept.nbytes} bytes"
            )
        description["classes"] = {
            "kind": estimator._kind,
            "sparse": bool(estimator._label_binarizer.sparse_input_),
            "dtype": dtype,
            "values": [_label(label) for label in kept.tolist()],
        }
    if include_optimizer and network.optimizer is not None:
        engine = network.engine
        arrays |= {f"optimizer/{i}": slot for i, slot in enumerate(engine.slots)}
        best = estimator.__dict__.get("_best_weights")
        if best is not None:
            arrays["best"] = best
        description["training"] = {
            "optimizer": describe(network.optimizer),
            "first_rate": None if _is_schedule(network) else estimator._optimizer.first,
            "seed": network.seed,
            "iterations": min(engine.iterations, COUNT_LIMIT),
            "epoch": min(engine.epoch, COUNT_LIMIT),
        }
    return arrays, {"estimator": description}


def restored(arrays: Mapping[str, Array], description: Mapping[str, Any]) -> BaseMLP:
    """Return the estimator that `contents` described; whatever a file may hold, nothing is run.

    Raises
    ------
    ValueError, TypeError, KeyError
        If something is missing or does not fit.
    """
    description = description["estimator"]
    cls = choose("estimator", description["class_name"], CLASSES)
    estimator = cls(**_given(description["params"]))
    estimator._validate_params()
    _take_attributes(estimator, description["attributes"])
    if estimator.solver in STOCHASTIC or description["training"] is not None:
        missing = {*COUNTS, *NUMBERS, *CURVES[:2]} - description["attributes"].keys()
        if missing:
            raise ValueError(f"attributes are missing: {sorted(missing)}")
    coefs = _coefs(arrays)
    sizes = sizes_of(coefs)
    if hidden_units(estimator) != list(sizes[1:-1]):
        raise ValueError(f"hidden_layer_sizes are not those of its layers, {sizes}")
    estimator.n_features_in_, estimator.n_outputs_ = sizes[0], sizes[-1]
    estimator.n_layers_ = len(sizes)
    if description["features"] is not None:
        estimator.feature_names_in_ = _names(description["features"], sizes[0])
    if isinstance(estimator, MLPClassifier):
        _take_classes(estimator, description["classes"])
        outputs = estimator._count_outputs(None)
        if outputs != sizes[-1]:
            raise ValueError(f"its classes need {outputs} outputs, it has {sizes[-1]}")
    elif len(estimator._quantiles()) not in (0, 1, sizes[-1]):
        raise ValueError(f"its quantiles are not {sizes[-1]}")
    estimator.out_activation_ = estimator._output_activation()
    network = Network(architecture_of(estimator, sizes, estimator.out_activation_), coefs[0].dtype)
    places = _named(network)
    if description["training"] is not None:
        places |= _take_training(estimator, network, arrays, description["training"])
    # The coefficients are parts of the weights: those come first.
    order = sorted(places, key=lambda name: name != "weights")
    assign_named("the saved estimator", {name: places[name] for name in order}, arrays)
    if estimator.early_stopping and "best" not in arrays:
        estimator._best_weights = network.engine.weights.copy()
    estimator._network = network
    estimator.coefs_, estimator.intercepts_ = list(network.coefs), list(network.intercepts)
    return estimator


# ---- parameters ----------------------------------------------------------------------------------


def _params(estimator: BaseMLP) -> dict[str, Any]:
    """Return the parameters as JSON can hold them; callbacks are left out."""
    params = estimator.get_params(deep=False)
    del params["callbacks"]
    seed = params["random_state"]
    if seed is not None and not isinstance(seed, (int, np.integer)):
        raise ValueError(
            f"random_state: an estimator that is saved needs None or an integer; received {seed!r}"
        )
    if isinstance(estimator.optimizer, (optimizers.Optimizer, type)):
        params["optimizer"] = describe(optimizers.resolve(estimator.optimizer))
    given = params["activation"]
    several = entries(given)
    names = [_activation(entry) for entry in ([given] if several is None else several)]
    params["activation"] = names[0] if several is None else names
    if isinstance(params.get("class_weight"), dict):
        pairs = params["class_weight"].items()
        params["class_weight"] = [[_label(label), _to_json(w)] for label, w in pairs]
    return {name: _to_json(value) for name, value in params.items()}


def _activation(given: Any) -> Any:
    return given if isinstance(given, str) else activations.serialize(activations.resolve(given))


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a file as the constructor takes them."""
    given = {name: _from_json(value) for name, value in params.items()}
    if isinstance(given["optimizer"], dict):
        given["optimizer"] = optimizers.resolve(given["optimizer"])
    if isinstance(given.get("class_weight"), list):
        given["class_weight"] = dict(given["class_weight"])
    if isinstance(given["activation"], dict):
        given["activation"] = activations.resolve(given["activation"])
    elif isinstance(given["activation"], list):
        given["activation"] = [
            name if isinstance(name, str) else activations.resolve(name)
            for name in given["activation"]
        ]
    if isinstance(given["hidden_layer_sizes"], list):
        given["hidden_layer_sizes"] = tuple(given["hidden_layer_sizes"])
    return given


def _to_json(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are not finite by their names."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_to_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": repr(value)}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(entry) for entry in value]
    if isinstance(value, dict) and value.keys() == {"number"}:
        return choose("number", value["number"], {"inf": np.inf, "-inf": -np.inf, "nan": np.nan})
    return value


def _label(label: Any) -> Any:
    """Return a class as JSON can hold it."""
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, (str, int)) or (isinstance(label, float) and math.isfinite(label)):
        return label
    raise ValueError(f"classes that are saved are texts or numbers; received {label!r}")


# ---- attributes ----------------------------------------------------------------------------------


def _attribute(name: str, value: Any) -> Any:
    return min(int(value), COUNT_LIMIT) if name in COUNTS else _to_json(value)


def _take_attributes(estimator: BaseMLP, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        value = _from_json(value)
        if name in COUNTS:
            value = integer(name, value, minimum=0, maximum=COUNT_LIMIT)
        elif name in CURVES:
            scores = name == "validation_scores_" and value is None
            if not scores and not (isinstance(value, list) and all(map(_is_float, value))):
                raise ValueError(f"{name} is not a list of numbers")
        elif name not in NUMBERS or not (value is None or _is_float(value)):
            raise ValueError(f"{name} is not what estimators have")
        setattr(estimator, name, value)


def _is_float(value: object) -> bool:
    return type(value) is float


def _is_schedule(network: Network) -> bool:
    return network.optimizer is not None and not isinstance(network.optimizer.learning_rate, float)


def _names(names: Any, count: int) -> Array:
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its features are not {count} names")
    return np.array(names, dtype=object)


def _take_classes(estimator: MLPClassifier, described: Mapping[str, Any]) -> None:
    dtype = choose("type of class", described["dtype"], {t: t for t in CLASS_TYPES})
    values = described["values"]
    of = {"str": str, "bool": bool, "float32": float, "float64": float, "object": object}
    if not values or not all(isinstance(v, of.get(dtype, int)) for v in map(_label, values)):
        raise ValueError(f"its classes are not of type {dtype}")
    if dtype == "str" and 4 * len(values) * max(map(len, values)) > LARGEST_CLASSES:
        raise ValueError("the texts of its classes are too long")
    classes = np.array(values, dtype=dtype)
    if not (classes[1:] > classes[:-1]).all():
        raise ValueError("its classes are not in order")
    binarizer = LabelBinarizer()
    binarizer.y_type_ = choose("kind of classes", described["kind"], {k: k for k in KINDS})
    if binarizer.y_type_ == "multilabel-indicator" and classes.tolist() != [*range(len(classes))]:
        raise ValueError("its labels are not numbered")
    if binarizer.y_type_ == "binary" and len(classes) > 2:
        raise ValueError("it has more than two classes")
    binarizer.sparse_input_ = flag("sparse", described.get("sparse", False))
    binarizer.classes_ = estimator.classes_ = classes
    estimator._label_binarizer = binarizer


# ---- weights -------------------------------------------------------------------------------------


def _named(network: Network) -> dict[str, Array]:
    """Return the arrays of a network by their names in the file."""
    arrays: dict[str, Array] = {}
    for i, (coef, intercept) in enumerate(zip(network.coefs, network.intercepts, strict=True)):
        arrays |= {f"coefs/{i}": coef, f"intercepts/{i}": intercept}
    if network.architecture.normalization is not None:
        arrays["weights"] = network.engine.weights
    return arrays


def _coefs(arrays: Mapping[str, Array]) -> list[Array]:
    """Return coefficients that fit the intercepts, before memory is taken for them."""
    count = sum(name.startswith("coefs/") for name in arrays)
    coefs = [arrays[f"coefs/{i}"] for i in range(count)]
    intercepts = [arrays[f"intercepts/{i}"] for i in range(count)]
    for coef, intercept in zip(coefs, intercepts, strict=True):
        if coef.ndim != 2 or 0 in coef.shape or intercept.shape != coef.shape[1:]:
            raise ValueError(f"coefficients {coef.shape} and intercepts {intercept.shape}")
    return coefs


def _take_training(
    estimator: BaseMLP, network: Network, arrays: Mapping[str, Array], training: Mapping[str, Any]
) -> dict[str, Array]:
    """Make optimizer and random streams as they were; return the places of their arrays."""
    optimizer = optimizers.resolve(training["optimizer"])
    shapes = {arrays[f"optimizer/{i}"].shape for i in range(optimizer.n_slots)}
    if not shapes <= {(network.engine.params.size,)}:
        raise ValueError(f"slots of shapes {shapes}")
    network.start(optimizer)
    rate = with_policy(estimator, optimizer)
    if training["first_rate"] is not None:
        rate.first = float(training["first_rate"])
    estimator._optimizer = rate
    seed = integer("seed", training["seed"], minimum=0, maximum=2**64 - 1)
    iterations, epoch = (
        integer(key, training[key], minimum=0, maximum=COUNT_LIMIT)
        for key in ("iterations", "epoch")
    )
    network.set_seed(seed)
    network.engine.iterations, network.engine.epoch = iterations, epoch
    places = {f"optimizer/{i}": slot for i, slot in enumerate(network.engine.slots)}
    if "best" in arrays:
        estimator._best_weights = places["best"] = np.empty_like(network.engine.weights)
    return places

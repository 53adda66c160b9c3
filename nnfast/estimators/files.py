"""Reading estimators from the arrays and the description in a file, without using pickle.

Everything in a file is checked, and derived attributes are recomputed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import activations, optimizers
from nnfast._runtime.state import COUNT_LIMIT
from nnfast._utils.assign import assign_named
from nnfast._utils.checks import flag, integer
from nnfast._utils.registry import choose
from nnfast.estimators import classifier, regressor
from nnfast.estimators.architecture import Perceptron, sizes_of
from nnfast.estimators.base import BaseMLP
from nnfast.estimators.classifier import MLPClassifier
from nnfast.estimators.compat import validate_parameters
from nnfast.estimators.parameters import STOCHASTIC, architecture_of, hidden_units, with_policy
from nnfast.estimators.regressor import MLPRegressor
from nnfast.estimators.state import (
    CLASS_TYPES,
    COUNTS,
    CURVES,
    KINDS,
    LARGEST_CLASSES,
    NUMBERS,
    Classes,
    label_to_json,
    named_arrays,
)
from nnfast.estimators.stopping import LearningRate

Array = NDArray[Any]

CLASSES: dict[str, type[BaseMLP]] = {
    "MLPClassifier": MLPClassifier,
    "MLPRegressor": MLPRegressor,
}


def restored(arrays: Mapping[str, Array], description: Mapping[str, Any]) -> BaseMLP:
    """Return the estimator that a file describes, with all its fitted attributes.

    Raises
    ------
    ValueError, TypeError, KeyError
        If something is missing or inconsistent.
    """
    description = description["estimator"]
    cls = choose("estimator", description["class_name"], CLASSES)
    estimator = cls(**_params(description["params"]))
    validate_parameters(estimator)
    attributes = _attributes(description["attributes"])
    if estimator.solver in STOCHASTIC or description["training"] is not None:
        missing = {*COUNTS, *NUMBERS, *CURVES[:2]} - attributes.keys()
        if missing:
            raise ValueError(f"attributes are missing: {sorted(missing)}")
    coefs = _coefs(arrays)
    sizes = sizes_of(coefs)
    if hidden_units(estimator) != list(sizes[1:-1]):
        raise ValueError(f"hidden_layer_sizes are not those of its layers, {sizes}")
    attributes |= {"n_features_in_": sizes[0], "n_outputs_": sizes[-1], "n_layers_": len(sizes)}
    if description["features"] is not None:
        attributes["feature_names_in_"] = _names(description["features"], sizes[0])
    if isinstance(estimator, MLPClassifier):
        attributes |= _of_classes(_classes(description["classes"]), sizes[-1])
    else:
        attributes |= _of_loss(estimator, sizes[-1])
    architecture = architecture_of(estimator, sizes, attributes["out_activation_"])
    network = Perceptron(architecture, coefs[0].dtype)
    attributes |= _trained(estimator, network, arrays, description["training"])
    estimator.__setstate__(attributes)
    return estimator


# ---- parameters ----------------------------------------------------------------------------------


def _params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters in a file as arguments for the constructor."""
    arguments = {name: _from_json(value) for name, value in params.items()}
    if isinstance(arguments["optimizer"], dict):
        arguments["optimizer"] = optimizers.resolve(arguments["optimizer"])
    if isinstance(arguments.get("class_weight"), list):
        arguments["class_weight"] = dict(arguments["class_weight"])
    if isinstance(arguments["activation"], dict):
        arguments["activation"] = activations.resolve(arguments["activation"])
    elif isinstance(arguments["activation"], list):
        arguments["activation"] = [
            name if isinstance(name, str) else activations.resolve(name)
            for name in arguments["activation"]
        ]
    if isinstance(arguments["hidden_layer_sizes"], list):
        arguments["hidden_layer_sizes"] = tuple(arguments["hidden_layer_sizes"])
    return arguments


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(entry) for entry in value]
    if isinstance(value, dict) and value.keys() == {"number"}:
        return choose("number", value["number"], {"inf": np.inf, "-inf": -np.inf, "nan": np.nan})
    return value


# ---- attributes ----------------------------------------------------------------------------------


def _attributes(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked attributes that training sets in addition to the weights."""
    attributes = {}
    for name, value in described.items():
        value = _from_json(value)
        if name in COUNTS:
            value = integer(name, value, minimum=0, maximum=COUNT_LIMIT)
        elif name in CURVES:
            no_scores = name == "validation_scores_" and value is None
            if not no_scores and not (isinstance(value, list) and all(map(_is_float, value))):
                raise ValueError(f"{name} is not a list of numbers")
        elif name not in NUMBERS or not (value is None or _is_float(value)):
            raise ValueError(f"{name} is not what estimators have")
        attributes[name] = value
    return attributes


def _is_float(value: object) -> bool:
    return type(value) is float


def _names(names: Any, count: int) -> Array:
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its features are not {count} names")
    return np.array(names, dtype=object)


def _of_loss(estimator: BaseMLP, outputs: int) -> dict[str, Any]:
    """Return the attributes that a regressor's loss determines."""
    if len(regressor.quantiles_of(estimator.loss, estimator.quantile)) not in (0, 1, outputs):
        raise ValueError(f"the number of its quantiles is not {outputs}")
    return {"out_activation_": regressor.output_activation(estimator.loss)}


def _of_classes(classes: Classes, outputs: int) -> dict[str, Any]:
    """Return the attributes that a classifier's classes determine."""
    needed = classifier.count_outputs(classes.kind, len(classes.values))
    if needed != outputs:
        raise ValueError(f"its classes need {needed} outputs, it has {outputs}")
    return {
        "classes_": classes.values,
        "_label_binarizer": classifier.binarizer_of(classes),
        "out_activation_": classifier.output_activation(classes.kind),
    }


def _classes(described: Mapping[str, Any]) -> Classes:
    dtype = choose("type of class", described["dtype"], {t: t for t in CLASS_TYPES})
    values = described["values"]
    types = {"str": str, "bool": bool, "float32": float, "float64": float, "object": object}
    label_type = types.get(dtype, int)
    if not values or not all(isinstance(label_to_json(v), label_type) for v in values):
        raise ValueError(f"its classes are not of type {dtype}")
    if dtype == "str" and 4 * len(values) * max(map(len, values)) > LARGEST_CLASSES:
        raise ValueError("the texts of its classes are too long")
    classes = np.array(values, dtype=dtype)
    if not (classes[1:] > classes[:-1]).all():
        raise ValueError("its classes are not in order")
    kind = choose("kind of classes", described["kind"], {k: k for k in KINDS})
    if kind == "multilabel-indicator" and classes.tolist() != [*range(len(classes))]:
        raise ValueError("its labels are not 0, 1, 2, …")
    if kind == "binary" and len(classes) > 2:
        raise ValueError("it has more than two classes")
    return Classes(classes, kind, flag("sparse", described.get("sparse", False)))


# ---- weights and optimizer -----------------------------------------------------------------------


def _coefs(arrays: Mapping[str, Array]) -> list[Array]:
    """Return the coefficients, after checking that all shapes match."""
    count = sum(name.startswith("coefs/") for name in arrays)
    coefs = [arrays[f"coefs/{i}"] for i in range(count)]
    intercepts = [arrays[f"intercepts/{i}"] for i in range(count)]
    for coef, intercept in zip(coefs, intercepts, strict=True):
        if coef.ndim != 2 or 0 in coef.shape or intercept.shape != coef.shape[1:]:
            raise ValueError(
                f"coefficients of shape {coef.shape} do not match intercepts of shape "
                f"{intercept.shape}"
            )
    return coefs


def _trained(
    estimator: BaseMLP,
    network: Perceptron,
    arrays: Mapping[str, Array],
    training: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Copy the arrays into a network; return the attributes for prediction and further training."""
    views = named_arrays(network)
    attributes: dict[str, Any] = {
        "_network": network,
        "coefs_": list(network.coefs),
        "intercepts_": list(network.intercepts),
    }
    if training is not None:
        attributes["_optimizer"] = _optimizer(estimator, network, arrays, training)
        views |= {f"optimizer/{i}": slot for i, slot in enumerate(network.engine.slots)}
        if "best" in arrays:
            attributes["_best_weights"] = views["best"] = np.empty_like(network.engine.weights)
    # Assign "weights" first, because the coefficients are views of parts of this array.
    order = sorted(views, key=lambda name: name != "weights")
    assign_named("the saved estimator", {name: views[name] for name in order}, arrays)
    if estimator.early_stopping and "best" not in arrays:
        attributes["_best_weights"] = network.engine.weights.copy()
    return attributes


def _optimizer(
    estimator: BaseMLP,
    network: Perceptron,
    arrays: Mapping[str, Array],
    training: Mapping[str, Any],
) -> LearningRate:
    """Return the restored optimizer, and restore the random streams; slots are left unchanged."""
    optimizer = optimizers.resolve(training["optimizer"])
    shapes = {arrays[f"optimizer/{i}"].shape for i in range(optimizer.n_slots)}
    if not shapes <= {(network.engine.params.size,)}:
        raise ValueError(f"its optimizer slots have shapes {shapes}")
    network.start(optimizer)
    rate = with_policy(estimator, optimizer)
    if training["first_rate"] is not None:
        rate.first = float(training["first_rate"])
    seed = integer("seed", training["seed"], minimum=0, maximum=2**64 - 1)
    iterations, epoch = (
        integer(key, training[key], minimum=0, maximum=COUNT_LIMIT)
        for key in ("iterations", "epoch")
    )
    network.network.set_seed(seed)
    network.engine.iterations, network.engine.epoch = iterations, epoch
    return rate

"""Functions that create models from files, from JSON and from other models."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from nnfast._utils.checks import file_name, flag
from nnfast.models.model import Model
from nnfast.models.sequential import Sequential as Sequential
from nnfast.models.serialization import MODELS, describe, deserialize


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Return the model or the estimator that was saved to a file.

    Further training continues exactly where it stopped.

    Parameters
    ----------
    filepath : str or path-like
    custom_objects : dict, optional
        Must be empty: files hold no user-defined objects. Pass those to `compile` of the result.
    compile : bool, default True
        False leaves a model uncompiled, without the optimizer's state.
    safe_mode : bool, default True
        Has no effect, because no code from a file is ever run.

    Returns
    -------
    Model or estimator

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file does not hold a model saved by nnfast. No code from the file is ever run, and
        memory is allocated only for data that the file really holds.

    Examples
    --------
    >>> import tempfile, nnfast
    >>> model = Sequential([nnfast.layers.Dense(2, input_dim=3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(folder + "/model.safetensors")
    ...     copy = load_model(folder + "/model.safetensors")
    >>> bool((copy.get_weights()[0] == model.get_weights()[0]).all())
    True
    """
    from nnfast._utils import container

    _check_custom_objects(custom_objects)
    flag("safe_mode", safe_mode)
    path, keep = file_name("filepath", filepath), flag("compile", compile)
    arrays, description = container.read(path)
    if not keep and description.get("compile") is not None:
        description = description | {"compile": None}
        arrays = {name: a for name, a in arrays.items() if not name.startswith("optimizer/")}
    if "layers" in description:
        raise container.malformed(
            path, "it holds weights alone; make the model and call its load_weights"
        )
    kind = "estimator" if "estimator" in description else "model"
    try:
        return import_module(container.KINDS[kind]).restored(arrays, description)
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # a manipulated description can cause any exception
        raise container.malformed(path, container.reason(error)) from error


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return a new model, with new weights, from the result of its method `to_json`.

    Parameters
    ----------
    json_string : str
    custom_objects : dict, optional
        Must be empty: the JSON holds no user-defined objects.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        If `json_string` is not the JSON of a model.

    Examples
    --------
    >>> from nnfast.layers import Dense
    >>> model = Sequential([Dense(2, input_dim=3)])
    >>> model_from_json(model.to_json()).count_params()
    8
    """
    _check_custom_objects(custom_objects)
    expected = "json_string must be the JSON of a model, as its method to_json returns it"
    try:
        description = json.loads(json_string)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}: {error}") from None
    kind = description.get("class_name") if isinstance(description, dict) else None
    if kind not in MODELS:
        raise ValueError(f"{expected} (one of {', '.join(MODELS)})")
    return MODELS[kind].from_config(description.get("config", {}))


def clone_model(model: Model, clone_function: Callable[[Any], Any] | None = None) -> Any:
    """Return a model with the same architecture, but with its own layers and new weights.

    If the model is compiled, its copy is compiled with copies of the optimizer, the loss and the
    metrics.

    Parameters
    ----------
    model : Model
    clone_function : callable, optional
        Called with each layer and each model within the model; returns its clone. If it returns
        its argument, both models share that layer. By default a clone is made from the layer's
        configuration.

    Returns
    -------
    Model

    Examples
    --------
    >>> from nnfast.layers import Dense
    >>> model = Sequential([Dense(2, input_dim=3)])
    >>> copy = clone_model(model)
    >>> copy.set_weights(model.get_weights())
    >>> copy.layers[0] is model.layers[0]
    False
    """
    if not isinstance(model, Model):
        raise TypeError(f"model must be a Model; received {model!r}")
    clone = clone_function or (lambda layer: deserialize(describe(layer)))
    copy = model.copied(clone)
    copy.compile_as(model)
    return copy


def _check_custom_objects(custom_objects: Mapping[str, Any] | None) -> None:
    if custom_objects:
        raise ValueError(
            "custom_objects must be empty, because saved models hold no user-defined objects: "
            f"pass them to compile of the loaded model; received {sorted(custom_objects)}"
        )

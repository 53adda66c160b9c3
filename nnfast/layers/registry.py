"""The table of layer classes by name, and the serialization of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnfast._utils.registry import choose, name_constructors
from nnfast.layers.arithmetic import Arithmetic, GetItem
from nnfast.layers.core import InputLayer
from nnfast.layers.layer import Layer

# The classes by name, without aliases; filled by `register`.
TABLE: dict[str, type[Layer]] = {}
# The layers that `Input` and the operators of symbolic tensors make.
IMPLICIT: dict[str, type[Layer]] = {
    "Arithmetic": Arithmetic,
    "GetItem": GetItem,
    "InputLayer": InputLayer,
}
# The classes of models by their names in configurations; the modules of the classes fill it.
MODELS: dict[str, Any] = {}


def register(namespace: Mapping[str, object]) -> list[str]:
    """Add the layers in a namespace to the table, and return their public names."""
    names = []
    for name, value in namespace.items():
        if name == "Input" or (isinstance(value, type) and issubclass(value, Layer)):
            names.append(name)
        if (
            isinstance(value, type)
            and issubclass(value, Layer)
            and value not in (Layer, InputLayer)
        ):
            TABLE[value.__name__] = value
    name_constructors(TABLE.values())
    return names


def describe(layer: Any) -> dict[str, Any]:
    """Return the description of a layer or a model, ``{"class_name": …, "config": …}``."""
    name = getattr(layer, "class_name", None) or type(layer).__name__
    return {"class_name": name, "config": layer.get_config()}


# Alias, as in Keras.
serialize = describe


def deserialize(description: Mapping[str, Any]) -> Any:
    """Return a new layer, or a model that is not built, from the result of `serialize`.

    Weights are not part of the description.

    Raises
    ------
    ValueError
        If the class is unknown, or `description` is not a dict of that form.

    Examples
    --------
    >>> from nnfast.layers import Flatten
    >>> deserialize(serialize(Flatten(name="flat")))
    Flatten(name='flat')
    """
    if not isinstance(description, Mapping) or not {"class_name", "config"} <= description.keys():
        raise ValueError(
            'Expected the description of a layer as {"class_name": …, "config": …}; received '
            f"{description!r}"
        )
    kind, config = description["class_name"], description["config"]
    if isinstance(kind, str) and kind in MODELS:
        return MODELS[kind].without_weights(config)
    return choose("layer", kind, TABLE | IMPLICIT).from_config(config)

"""The table of layer classes by name, and the serialization of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnfast._utils.registry import choose, describe, name_constructors
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


# Alias, as in Keras.
serialize = describe


def deserialize(description: Mapping[str, Any]) -> Layer:
    """Return a new layer from its description ``{"class_name": …, "config": …}``.

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
    table = TABLE | IMPLICIT
    return choose("layer", description["class_name"], table).from_config(description["config"])

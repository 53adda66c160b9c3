"""Conversion of names and functions to losses."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from nnfast._utils import registry
from nnfast.losses import margins, probabilistic, regression
from nnfast.losses.function import FunctionLoss
from nnfast.losses.loss import Loss

__all__ = ["deserialize", "get", "serialize"]

_CLASSES: list[type[Loss]] = [
    getattr(module, name)
    for module in (regression, probabilistic, margins)
    for name in module.__all__
]
TABLE: dict[str, type[Loss]] = {name: cls for cls in _CLASSES for name in (cls.kind, *cls.aliases)}
registry.name_constructors(_CLASSES)

# The losses by their functions in `functional`.
BY_FUNCTION: dict[Any, type[Loss]] = {cls.formula: cls for cls in _CLASSES}


def resolve(identifier: object) -> Loss:
    """Return the loss for `identifier`: a name, a class, a loss, a config dict or a function.

    A function of this package, such as `mean_squared_error`, stands for the loss with its formula.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` has the wrong type.

    Examples
    --------
    >>> resolve("mse")
    MeanSquaredError()
    """
    if isinstance(identifier, FunctionType) and identifier in BY_FUNCTION:
        return BY_FUNCTION[identifier]()
    if callable(identifier) and not isinstance(identifier, (type, Loss)):
        return FunctionLoss(identifier)
    loss = registry.resolve("loss", identifier, Loss, TABLE)
    if not loss.kind:
        raise ValueError(
            f"{type(loss).__name__} cannot train a model, because it has no gradient: pass a "
            "function that returns (value, gradient) instead; see FunctionLoss"
        )
    return loss


def get(identifier: object) -> Loss | None:
    """Return ``resolve(identifier)``, or None for None.

    Examples
    --------
    >>> get("mse") == resolve("mse"), get(None)
    (True, None)
    """
    return None if identifier is None else resolve(identifier)


# Aliases, as in Keras.
deserialize = resolve
serialize = registry.describe

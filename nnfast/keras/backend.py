"""Settings and helpers, as in ``keras.backend``."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.names import restart_names
from nnfast.keras.config import (
    backend as backend,
    epsilon as epsilon,
    floatx as floatx,
    image_data_format as image_data_format,
    set_epsilon as set_epsilon,
    set_floatx as set_floatx,
    set_image_data_format as set_image_data_format,
)

__all__ = [
    "backend",
    "cast_to_floatx",
    "clear_session",
    "epsilon",
    "floatx",
    "get_value",
    "image_data_format",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_value",
]


class Assignable(Protocol):
    """A variable: a weight of a layer, or the learning rate of an optimizer."""

    def assign(self, value: Any) -> Any: ...


V = TypeVar("V", bound=Assignable)


def clear_session(free_memory: bool = True) -> None:
    """Restart the automatic names of layers and models.

    Models need no session: their memory is freed with them. Existing models are not affected.

    Examples
    --------
    >>> from nnfast.layers import Flatten
    >>> _ = Flatten(), Flatten()
    >>> clear_session()
    >>> Flatten().name
    'flatten'
    """
    restart_names()


def cast_to_floatx(x: ArrayLike) -> NDArray[Any]:
    """Return `x` as an array of the dtype of models that are created without `dtype=`."""
    return np.asarray(x, floatx())


def get_value(x: ArrayLike) -> NDArray[Any]:
    """Return the value of a variable as an array."""
    return np.array(x)


def set_value(x: Assignable, value: Any) -> None:
    """Set the value of a weight or of an optimizer's learning rate.

    Examples
    --------
    >>> from nnfast.optimizers import SGD
    >>> optimizer = SGD(0.1)
    >>> set_value(optimizer.learning_rate, 0.05)
    >>> optimizer.learning_rate
    0.05
    """
    x.assign(value)

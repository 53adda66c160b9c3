"""Activation functions: one row each. A row is also the function itself.

>>> import numpy as np, nnfast
>>> nnfast.activations.relu(np.array([[-1.0, 2.0]]))
array([[0., 2.]])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, NDArray

from nnfast import _validation
from nnfast._engine import ACTIVATIONS, core
from nnfast._resolve import choose

Array = NDArray[Any]


@dataclass(frozen=True)
class Activation:
    """One activation function: a row of the table below.

    Parameters
    ----------
    name : str
        Its name in Keras.
    elementwise : bool, default True
        False where an output depends on a whole row of inputs (softmax).
    """

    name: str
    elementwise: bool = True

    @property
    def id(self) -> int:
        """The engine's number of this activation."""
        return ACTIVATIONS[self.name]

    def __call__(self, x: ArrayLike, out: Array | None = None) -> Array:
        """Return f(x); see `nnfast.kernels.activation_forward`."""
        array = _validation.kernel_array("x", x, None)
        out = _validation.kernel_output("out", out, array.shape, array.dtype)
        core.activation_forward(_validation.as_rows(array), self.id, _validation.as_rows(out))
        return out


linear = Activation("linear")
relu = Activation("relu")
tanh = Activation("tanh")
sigmoid = Activation("sigmoid")
softmax = Activation("softmax", elementwise=False)

TABLE = {row.name: row for row in (linear, relu, tanh, sigmoid, softmax)}


def resolve(identifier: str | Activation | None) -> Activation:
    """Return the activation that `identifier` names.

    Parameters
    ----------
    identifier : str, Activation or None
        None means linear, as in Keras.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is neither a name nor a row of this table.

    Examples
    --------
    >>> resolve("relu") is relu
    True
    >>> resolve("rleu")
    Traceback (most recent call last):
        ...
    ValueError: Unknown activation 'rleu'; did you mean 'relu'? Valid: 'linear', 'relu', 'tanh', 'sigmoid', 'softmax'
    """  # noqa: E501
    if identifier is None:
        return linear
    if isinstance(identifier, Activation):
        return identifier
    if isinstance(identifier, str):
        return choose("activation", identifier, TABLE)
    raise TypeError(
        "Expected an activation as a name or a function of nnfast.activations "
        f"({', '.join(TABLE)}); received {identifier!r}"
    )


def serialize(activation: Activation) -> str:
    """Return the name of an activation, as `deserialize` reads it."""
    return activation.name


# Keras' names.
get = deserialize = resolve

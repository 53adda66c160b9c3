"""Activation functions: one row each. A row is also the function itself.

>>> import numpy as np, nnfast
>>> nnfast.activations.relu(np.array([[-1.0, 2.0]]))
array([[0., 2.]])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from nnfast._engine import ACTIVATIONS
from nnfast._resolve import choose


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

    def __call__(self, x: ArrayLike) -> Any:
        """Return the activation of `x`, as `nnfast.kernels.activation_forward` computes it."""
        from nnfast import kernels

        return kernels.activation_forward(x, self.name)


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

"""Activation functions, as a table with one row per function. Each row is callable.

>>> import numpy as np, nnfast
>>> nnfast.activations.relu(np.array([[-1.0, 2.0]]))
array([[0., 2.]])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from numpy.typing import ArrayLike, NDArray

from nnfast._engine import ACTIVATIONS, NEEDS_PREACTIVATION, core
from nnfast._utils import checks
from nnfast._utils.registry import choose

__all__ = [
    "Activation",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "gelu_tanh",
    "get",
    "hard_sigmoid",
    "leaky_relu",
    "linear",
    "mish",
    "relu",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class Activation:
    """An activation function: a row of the table below.

    Parameters
    ----------
    name : str
        The function's name in Keras.
    alpha : float, default 0.0
        The parameter α ≥ 0 of the functions that have one: for x < 0, leaky_relu(x) is α·x and
        elu(x) is α·(eˣ − 1).
    elementwise : bool, default True
        False if each output depends on a whole row of inputs, as in softmax.

    Raises
    ------
    TypeError, ValueError
        If `alpha` is not a number or is negative.
    """

    name: str
    alpha: float = 0.0
    elementwise: bool = True

    def __post_init__(self) -> None:
        # The engine computes the derivative from f(x), which has the sign of x only if alpha ≥ 0.
        object.__setattr__(self, "alpha", checks.real("alpha", self.alpha, low=0.0))

    @property
    def id(self) -> int:
        """The engine's ID for this activation."""
        return ACTIVATIONS[self.name]

    @property
    def needs_preactivation(self) -> bool:
        """Whether the derivative is computed from x instead of f(x)."""
        return self.name in NEEDS_PREACTIVATION

    def form(self, approximate: bool) -> Activation:
        """Return the table row for Keras' argument ``approximate``; True is valid only for gelu."""
        if not approximate:
            return self
        if self.name != "gelu":
            raise TypeError(f"approximate=True is for gelu; received it for {self.name}")
        return gelu_tanh

    def __call__(
        self, x: ArrayLike, out: Array | None = None, *, approximate: bool = False
    ) -> Array:
        """Return f(x); with `approximate`, the tanh approximation of gelu.

        See `nnfast.kernels.activation_forward`.
        """
        if approximate:
            return self.form(approximate)(x, out)
        array = checks.kernel_array("x", x, None)
        out = checks.kernel_output("out", out, array.shape, array.dtype)
        rows = checks.as_rows(array), self.id, self.alpha, checks.as_rows(out)
        core.activation_forward(*rows)
        return out


linear = Activation("linear")
relu = Activation("relu")
leaky_relu = Activation("leaky_relu", alpha=0.2)
elu = Activation("elu", alpha=1.0)
selu = Activation("selu")
gelu = Activation("gelu")
gelu_tanh = Activation("gelu_tanh")
silu = swish = Activation("silu")
mish = Activation("mish")
softplus = Activation("softplus")
softsign = Activation("softsign")
sigmoid = Activation("sigmoid")
hard_sigmoid = Activation("hard_sigmoid")
tanh = Activation("tanh")
exponential = Activation("exponential")
softmax = Activation("softmax", elementwise=False)

TABLE = {row.name: row for row in list(vars().values()) if isinstance(row, Activation)}
TABLE["swish"] = silu


def resolve(
    identifier: str | Activation | partial[Array] | Mapping[str, Any] | None,
) -> Activation:
    """Return the activation for `identifier`.

    Parameters
    ----------
    identifier : str, Activation, description or None
        None means linear, as in Keras. ``functools.partial(gelu, approximate=True)`` means
        `gelu_tanh`. A description is a dict returned by `serialize`.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` has the wrong type.

    Examples
    --------
    >>> resolve("relu") is relu
    True
    >>> resolve("rleu")
    Traceback (most recent call last):
        ...
    ValueError: Unknown activation 'rleu'; did you mean 'relu'? Valid: 'linear', 'relu', ...
    """
    if identifier is None:
        return linear
    if isinstance(identifier, Activation):
        return identifier
    if (
        isinstance(identifier, partial)
        and isinstance(identifier.func, Activation)
        and not identifier.args
        and set(identifier.keywords) == {"approximate"}
    ):
        return identifier.func.form(identifier.keywords["approximate"])
    if isinstance(identifier, str):
        return choose("activation", identifier, TABLE)
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "Activation":
        row = choose("activation", identifier["config"]["name"], TABLE)
        return replace(row, alpha=identifier["config"]["alpha"])
    raise TypeError(
        "Expected an activation as a name or a function of nnfast.activations "
        f"({', '.join(TABLE)}); received {identifier!r}"
    )


def serialize(activation: Activation) -> str | dict[str, Any]:
    """Return an activation's name, or a dict that describes it if its alpha is not the default.

    `deserialize` accepts both.

    Examples
    --------
    >>> serialize(relu)
    'relu'
    >>> serialize(Activation("leaky_relu", alpha=0.1))
    {'class_name': 'Activation', 'config': {'name': 'leaky_relu', 'alpha': 0.1}}
    """
    if activation == TABLE[activation.name]:
        return activation.name
    return {
        "class_name": "Activation",
        "config": {"name": activation.name, "alpha": activation.alpha},
    }


# Aliases, as in Keras.
get = deserialize = resolve

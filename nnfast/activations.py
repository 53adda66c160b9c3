"""Activation functions, as a table with one row per function. Each row is callable.

>>> import numpy as np, nnfast
>>> nnfast.activations.relu(np.array([[-1.0, 2.0]]))
Tensor([[0., 2.]])
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._engine import ACTIVATIONS, NEEDS_PREACTIVATION, core
from nnfast._utils import checks
from nnfast._utils.eager import operand, result
from nnfast._utils.registry import choose

__all__ = [
    "Activation",
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "gelu_tanh",
    "get",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
]

Array = NDArray[Any]


# Keyword arguments of the functions in Keras, in order, with their defaults.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "relu": {"negative_slope": 0.0, "max_value": None, "threshold": 0.0},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 1.0},
    "celu": {"alpha": 1.0},
    "soft_shrink": {"threshold": 0.5},
    "hard_shrink": {"threshold": 0.5},
    "squareplus": {"b": 4.0},
    "gelu": {"approximate": False},
    "softmax": {"axis": -1},
}
# The functions whose only argument is `alpha` in the engine, and must be positive.
_POSITIVE = ("celu", "squareplus")


@dataclass(frozen=True)
class Activation:
    """An activation function: a row of the table below.

    Parameters
    ----------
    name : str
        The function's name in Keras.
    alpha : float, default 0.0
        The parameter α ≥ 0 of the functions that have one: for x < 0, leaky_relu(x) is α·x,
        elu(x) is α·(eˣ − 1) and celu(x) is α·(e^(x/α) − 1); soft_shrink and hard_shrink are 0 for
        abs(x) ≤ α; squareplus(x) is (x + √(x² + α))/2.
    elementwise : bool, default True
        False if each output depends on a whole row of inputs, as in softmax.
    max_value : float, optional
        Of relu, the largest value.
    threshold : float, default 0.0
        Of relu, the number θ ≥ 0 up to which relu(x) is α·(x − θ).

    Raises
    ------
    TypeError, ValueError
        If `alpha`, `max_value` or `threshold` is not a number or is out of range.
    """

    name: str
    alpha: float = 0.0
    elementwise: bool = True
    max_value: float | None = None
    threshold: float = 0.0

    def __post_init__(self) -> None:
        # The engine computes most derivatives from f(x), which has the sign of x only if alpha ≥ 0.
        above = 0.0 if self.name in _POSITIVE else -math.inf
        alpha = checks.real("alpha", self.alpha, low=0.0, above=above)
        object.__setattr__(self, "alpha", alpha)
        threshold = checks.real("threshold", self.threshold, low=0.0)
        object.__setattr__(self, "threshold", threshold)
        if self.max_value is not None:
            object.__setattr__(self, "max_value", checks.real("max_value", self.max_value, low=0.0))
        if self.name != "relu" and (self.max_value is not None or threshold):
            raise ValueError(
                f"max_value and threshold are arguments of relu; {self.name} received "
                f"max_value={self.max_value} and threshold={threshold}"
            )

    @property
    def is_general_relu(self) -> bool:
        """Whether this is a relu with arguments, which the engine's op `clipped_relu` computes."""
        limits = self.max_value is not None or self.threshold != 0
        return self.name == "relu" and (limits or self.alpha != 0)

    @property
    def id(self) -> int:
        """The engine's ID for this activation."""
        if self.is_general_relu:
            raise ValueError(f"activation {self} has no function in nnfast.kernels; use a layer")
        return ACTIVATIONS[self.name]

    @property
    def needs_preactivation(self) -> bool:
        """Whether the derivative is computed from x instead of f(x)."""
        return self.name in NEEDS_PREACTIVATION

    def arguments(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name, with defaults for those not given."""
        known = ARGUMENTS.get(self.name, {})
        if self.is_general_relu:
            own = self.alpha, self.max_value, self.threshold
            known = dict(zip(known, own, strict=True))
        elif self.alpha != TABLE[self.name].alpha:
            known = dict.fromkeys(known, self.alpha)
        if len(args) > len(known):
            raise TypeError(
                f"{self.name} takes {len(known)} arguments after x; received {len(args)}"
            )
        given = dict(zip(known, args, strict=False)) | dict(options)
        for name, value in options.items():
            if name == "approximate" and not known and not value:
                given.pop(name)  # every function may be called with approximate=False
            elif name not in known or name in list(known)[: len(args)]:
                valid = ", ".join(known) or "none"
                raise TypeError(
                    f"{name}={value!r} is not an argument of {self.name}; its arguments: {valid}"
                )
        return {**known, **given}

    def configured(self, **options: Any) -> Activation:
        """Return the table row for a function with these keyword arguments, for the engine.

        Raises
        ------
        TypeError, ValueError
            If no row computes the function.
        """
        values = self.arguments((), options)
        if self.name == "relu":
            return _relu_row(**values)
        if self.name == "gelu":
            return gelu_tanh if checks.flag("approximate", values["approximate"]) else self
        if self.name == "softmax":
            if values["axis"] != -1:
                raise ValueError(f"axis of softmax must be -1 here; received {values['axis']}")
            return self
        return replace(self, alpha=next(iter(values.values()))) if values else self

    def __call__(self, x: ArrayLike, *args: Any, out: Array | None = None, **options: Any) -> Any:
        """Return f(x).

        Parameters
        ----------
        x : array_like
        *args, **options
            The function's arguments in Keras: `negative_slope`, `max_value` and `threshold` of
            relu, `negative_slope` of leaky_relu, `alpha` of elu and celu, `threshold` of
            soft_shrink and hard_shrink, `b` of squareplus, `approximate` of gelu (True means
            gelu_tanh) and `axis` of softmax.
        out : ndarray, optional
            As in `nnfast.kernels.activation_forward`.

        Returns
        -------
        ndarray
            In the dtype of x if it is an array of float32 or float64, else in float32.
        """
        if not (args or options or self.is_general_relu):
            return self._values(x, out)
        values = self.arguments(args, options)
        if self.name == "relu" and out is None:
            return _relu(x, **values)
        if self.name == "softmax" and values["axis"] not in (-1, np.ndim(x) - 1):
            last = np.moveaxis(np.asarray(x), values["axis"], -1)
            return np.moveaxis(self._values(last, out), -1, values["axis"])
        row = self if self.name == "softmax" else self.configured(**values)
        return row._values(x, out)

    def _values(self, x: ArrayLike, out: Array | None) -> Any:
        scalar = np.ndim(x) == 0 and out is None
        array = checks.kernel_array("x", [x] if scalar else operand("x", x), None)
        target = checks.kernel_output("out", out, array.shape, array.dtype)
        rows = checks.as_rows(array), self.id, self.alpha, checks.as_rows(target)
        core.activation_forward(*rows)
        return target if out is not None else result(target[0] if scalar else target)


def _relu_row(negative_slope: float, max_value: float | None, threshold: float) -> Activation:
    """Return the row for relu with these arguments."""
    if threshold == 0 and max_value is None:
        return replace(leaky_relu, alpha=negative_slope) if negative_slope else relu
    if threshold == 0 and max_value == 6 and not negative_slope:
        return relu6
    return replace(relu, alpha=negative_slope, max_value=max_value, threshold=threshold)


def _relu(x: ArrayLike, negative_slope: float, max_value: float | None, threshold: float) -> Any:
    """Return slope·(x − threshold) below the threshold, else x, but at most max_value."""
    slope, limit = (
        checks.real("negative_slope", negative_slope),
        checks.real("threshold", threshold),
    )
    array = operand("x", x)
    values = np.where(array > limit, array, slope * np.minimum(array - limit, 0))
    if max_value is not None:
        values = np.minimum(values, checks.real("max_value", max_value, low=0.0))
    return result(np.asarray(values, array.dtype))


def log_softmax(x: ArrayLike, axis: int = -1) -> Any:
    """Return log softmax(x) over an axis, for calls only: layers take softmax.

    Examples
    --------
    >>> log_softmax([0.0, 0.0])
    Tensor([-0.6931472, -0.6931472], dtype=float32)
    """
    array = operand("x", x)
    z = array - array.max(axis=axis, keepdims=True)
    return result(np.asarray(z - np.log(np.exp(z).sum(axis=axis, keepdims=True))))


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
relu6 = Activation("relu6")
hard_tanh = Activation("hard_tanh")
hard_silu = hard_swish = Activation("hard_silu")
log_sigmoid = Activation("log_sigmoid")
tanh_shrink = Activation("tanh_shrink")
soft_shrink = Activation("soft_shrink", alpha=0.5)
hard_shrink = Activation("hard_shrink", alpha=0.5)
celu = Activation("celu", alpha=1.0)
squareplus = Activation("squareplus", alpha=4.0)
sparse_plus = Activation("sparse_plus")
sparse_sigmoid = Activation("sparse_sigmoid")
softmax = Activation("softmax", elementwise=False)

TABLE = {row.name: row for row in list(vars().values()) if isinstance(row, Activation)}
TABLE["swish"] = silu
TABLE["hard_swish"] = hard_silu


def resolve(
    identifier: str | Activation | partial[Array] | Mapping[str, Any] | None,
) -> Activation:
    """Return the activation for `identifier`.

    Parameters
    ----------
    identifier : str, Activation, activation layer, description or None
        None means linear, as in Keras. ``functools.partial`` gives a function other arguments:
        ``functools.partial(gelu, approximate=True)`` means `gelu_tanh`. A layer without weights,
        such as ``LeakyReLU(0.1)``, means its function. A description is a dict returned by
        `serialize`.

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
    function = getattr(identifier, "function", None)  # of a layer that applies a function
    if isinstance(function, Activation):
        return function
    if (
        isinstance(identifier, partial)
        and isinstance(identifier.func, Activation)
        and not identifier.args
        and identifier.keywords.keys() <= ARGUMENTS.get(identifier.func.name, {}).keys()
    ):
        return identifier.func.configured(**identifier.keywords)
    if identifier is log_softmax or (isinstance(identifier, str) and identifier == "log_softmax"):
        raise ValueError(
            "log_softmax cannot be an activation of a layer: use softmax, or a linear output and a "
            "loss with from_logits=True"
        )
    if isinstance(identifier, str):
        return choose("activation", identifier, TABLE)
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "Activation":
        config = identifier["config"]
        row = choose("activation", config["name"], TABLE)
        limits = {key: config[key] for key in ("max_value", "threshold") if key in config}
        return replace(row, alpha=config["alpha"], **limits)
    raise TypeError(
        "Expected an activation as a name or a function of nnfast.activations "
        f"({', '.join(TABLE)}); received {identifier!r}"
    )


def serialize(activation: Activation) -> str | dict[str, Any]:
    """Return an activation's name, or a dict that describes it if it has other arguments.

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
    config: dict[str, Any] = {"name": activation.name, "alpha": activation.alpha}
    if activation.is_general_relu:
        config |= {"max_value": activation.max_value, "threshold": activation.threshold}
    return {"class_name": "Activation", "config": config}


# Aliases, as in Keras.
get = deserialize = resolve

"""The losses. These classes hold only their configuration; the engine computes them.

The loss of a batch of n rows is Σᵢ wᵢ·lᵢ / n (Keras' ``sum_over_batch_size``) with sample
weights wᵢ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast._engine import LOSSES
from nnfast._utils import registry
from nnfast._utils.checks import Shape, entries, flag, real, real_array

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "FunctionLoss",
    "Hinge",
    "Huber",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Poisson",
    "Quantile",
    "SparseCategoricalCrossentropy",
    "deserialize",
    "get",
    "serialize",
]

Array = NDArray[Any]


class TargetSpec(NamedTuple):
    """The targets that a loss expects for a given output shape.

    Attributes
    ----------
    loss : str
        Class name of the loss, for messages.
    shape : tuple of int
        Shape of one sample's target. For class indices it is the shape of one sample's output.
    classes : bool
        Whether targets are class indices, one per sample.
    free : bool
        Whether the targets are passed to a user-defined function. They may then have any shape
        with one row per sample.
    copies : int
        Number of outputs that share one target.
    range : tuple of float or None
        Smallest and largest valid target; None if any number is valid.
    advice : str
        Advice in the error message for targets outside this range.
    signed : bool
        Whether targets that are all 0 or 1 are mapped to −1 and 1.
    one_hot : bool
        Whether the targets of each sample form a probability distribution.
    """

    loss: str
    shape: Shape
    classes: bool = False
    free: bool = False
    copies: int = 1
    range: tuple[float, float] | None = None
    advice: str = ""
    signed: bool = False
    one_hot: bool = False


@dataclass(frozen=True)
class Loss(registry.Configured):
    """Base class of the losses.

    Attributes
    ----------
    kind : str
        The engine's name for the loss.
    canonical : str or None
        The output activation that is fused with this loss. The loss is then computed from the
        pre-activation, which is faster and never takes the logarithm of 0.
    sparse : bool
        Whether targets are class indices.
    rowwise : bool
        Whether each row of outputs is a probability distribution. The outputs must then have
        shape (n, classes).
    signed : bool
        Whether targets are −1 and 1; targets that are all 0 or 1 are then mapped to −1 and 1.
    target_range : tuple of float or None
        Smallest and largest valid target; None if any number is valid.
    target_advice : str
        Advice in the error message for targets outside this range.
    is_function : bool
        Whether the loss is a user-defined function.
    levels : tuple of float
        The loss parameter (0 if the loss has none), or one loss parameter for each output.
    """

    kind: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    canonical: ClassVar[str | None] = None
    sparse: ClassVar[bool] = False
    rowwise: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    target_range: ClassVar[tuple[float, float] | None] = None
    target_advice: ClassVar[str] = ""
    is_function: ClassVar[bool] = False

    @property
    def levels(self) -> tuple[float, ...]:
        return (0.0,)

    def target_spec(self, output_shape: Shape) -> TargetSpec:
        """Return the targets that the loss expects for outputs of shape (n, *output_shape)."""
        copies = len(self.levels)
        return TargetSpec(
            type(self).__name__,
            output_shape if copies == 1 else (1,),
            classes=self.sparse,
            free=self.is_function,
            copies=copies,
            range=self.target_range,
            advice=self.target_advice,
            signed=self.signed,
            one_hot=self.rowwise,
        )

    def smoothing(self, n_out: int) -> tuple[float, float]:
        """Return the (scale, offset) of label smoothing, which replaces y by scale·y + offset."""
        return 1.0, 0.0

    def engine_loss(self, final_activation: str) -> tuple[int, bool]:
        """Return (engine id, whether the final activation is fused into the loss)."""
        return LOSSES[self.kind], False


@dataclass(frozen=True)
class _Crossentropy(Loss):
    """Base class of the cross-entropies."""

    from_logits: bool = False

    def __post_init__(self) -> None:
        self._keep(from_logits=flag("from_logits", self.from_logits))

    def engine_loss(self, final_activation: str) -> tuple[int, bool]:
        kind = self.kind.removeprefix("sparse_")  # the engine reads class indices as one-hot rows
        if self.from_logits:
            return LOSSES[kind + "_logits"], False
        if final_activation == self.canonical:
            return LOSSES[kind + "_logits"], True
        return LOSSES[kind], False


class MeanSquaredError(Loss):
    """Mean squared error: l = mean over the outputs of (ŷ − y)².

    Examples
    --------
    >>> MeanSquaredError()
    MeanSquaredError()
    """

    kind = "mean_squared_error"
    aliases = ("mse",)


class MeanAbsoluteError(Loss):
    """Mean absolute error: l = mean over the outputs of |ŷ − y|; the derivative at ŷ = y is 0.

    Examples
    --------
    >>> MeanAbsoluteError()
    MeanAbsoluteError()
    """

    kind = "mean_absolute_error"
    aliases = ("mae",)


@dataclass(frozen=True)
class Huber(Loss):
    """Huber loss: the mean over the outputs of d²/2 if |d| ≤ δ, else of δ·|d| − δ²/2.

    Here d = ŷ − y (Huber, 1964).

    Parameters
    ----------
    delta : float, default 1.0
        The absolute error δ > 0 at which the loss changes from quadratic to linear.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a positive number.

    Examples
    --------
    >>> Huber(delta=2.0)
    Huber(delta=2.0)
    """

    delta: float = 1.0
    kind = "huber"

    def __post_init__(self) -> None:
        self._keep(delta=real("delta", self.delta, above=0.0))

    @property
    def levels(self) -> tuple[float, ...]:
        return (self.delta,)


class LogCosh(Loss):
    """Log-cosh loss: l = mean over the outputs of log cosh d, with d = ŷ − y.

    It is close to d²/2 for small d and to |d| − log 2 for large d.

    Examples
    --------
    >>> LogCosh()
    LogCosh()
    """

    kind = "log_cosh"
    aliases = ("logcosh",)


@dataclass(frozen=True)
class Quantile(Loss):
    """Quantile or pinball loss: l = mean over the outputs of max(q·e, (q − 1)·e), with e = y − ŷ.

    It trains ŷ to be the q-quantile of y given x (Koenker and Bassett, 1978).

    Parameters
    ----------
    level : float or sequence of float, default 0.5
        The quantile q, strictly between 0 and 1. With a sequence, the model has one output per
        level, and y has one column.

    Raises
    ------
    TypeError, ValueError
        If a level is not a number between 0 and 1.

    Examples
    --------
    >>> Quantile((0.1, 0.5, 0.9)).levels
    (0.1, 0.5, 0.9)
    """

    level: float | Sequence[float] = 0.5
    kind = "quantile"

    def __post_init__(self) -> None:
        many = isinstance(self.level, (Sequence, np.ndarray))
        given = entries("level", self.level) if many else [self.level]
        if not given:
            raise ValueError(
                f"level must be a number or a non-empty sequence of numbers; received {given!r}"
            )
        levels = tuple(real("level", level, above=0.0, below=1.0) for level in given)
        self._keep(level=levels if many else levels[0])

    @property
    def levels(self) -> tuple[float, ...]:
        return tuple(self.level) if isinstance(self.level, Sequence) else (self.level,)


class Poisson(Loss):
    """Poisson loss: l = mean over the outputs of ŷ − y·log(ŷ + 1e-7), for counts y and ŷ > 0.

    Examples
    --------
    >>> Poisson()
    Poisson()
    """

    kind = "poisson"
    target_range = (0.0, math.inf)
    target_advice = "counts cannot be negative; for other targets use mean_squared_error or huber"


class Hinge(Loss):
    """Hinge loss: l = mean over the outputs of max(1 − y·ŷ, 0), with targets y = −1 or 1.

    Targets that are all 0 or 1 are mapped to −1 and 1.

    Examples
    --------
    >>> Hinge()
    Hinge()
    """

    kind = "hinge"
    signed = True
    target_range = (-1.0, 1.0)
    target_advice = (
        "give the two classes as -1 and 1, or as 0 and 1; for more classes use "
        "sparse_categorical_crossentropy"
    )


@dataclass(frozen=True)
class BinaryCrossentropy(_Crossentropy):
    """Binary cross-entropy: l = −mean over the outputs of y·log p + (1 − y)·log(1 − p).

    Targets y are in [0, 1].

    Parameters
    ----------
    from_logits : bool, default False
        If True, the model's outputs are logits z, and p = 1 / (1 + e⁻ᶻ). Otherwise they are the
        probabilities p, which are clipped to [1e-7, 1 − 1e-7] as in Keras.
    label_smoothing : float, default 0.0
        The smoothing s, from 0 to 1. Targets become y·(1 − s) + s/2.

    Examples
    --------
    >>> BinaryCrossentropy(from_logits=True)
    BinaryCrossentropy(from_logits=True, label_smoothing=0.0)
    """

    label_smoothing: float = 0.0
    kind = "binary_crossentropy"
    aliases = ("bce",)
    canonical = "sigmoid"
    target_range = (0.0, 1.0)
    target_advice = (
        "give the two classes as 0 and 1, such as (y == y.max()), and images as y / 255; for more "
        "classes use sparse_categorical_crossentropy"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        smoothing = real("label_smoothing", self.label_smoothing, low=0.0, high=1.0)
        self._keep(label_smoothing=smoothing)

    def smoothing(self, n_out: int) -> tuple[float, float]:
        return 1.0 - self.label_smoothing, 0.5 * self.label_smoothing


@dataclass(frozen=True)
class CategoricalCrossentropy(_Crossentropy):
    """Categorical cross-entropy: l = −Σₖ yₖ·log pₖ, with targets y (n, classes), usually one-hot.

    Parameters
    ----------
    from_logits : bool, default False
        If True, the model's outputs are logits z, and p = softmax(z). Otherwise they are
        probabilities, which are divided by their sum and clipped to [1e-7, 1 − 1e-7] as in Keras.
    label_smoothing : float, default 0.0
        The smoothing s, from 0 to 1. Targets become y·(1 − s) + s/classes.

    Examples
    --------
    >>> CategoricalCrossentropy()
    CategoricalCrossentropy(from_logits=False, label_smoothing=0.0)
    """

    label_smoothing: float = 0.0
    kind = "categorical_crossentropy"
    aliases = ("cce",)
    canonical = "softmax"
    rowwise = True
    target_range = (0.0, 1.0)
    target_advice = (
        "give one-hot rows or probabilities; for class indices use sparse_categorical_crossentropy"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        smoothing = real("label_smoothing", self.label_smoothing, low=0.0, high=1.0)
        self._keep(label_smoothing=smoothing)

    def smoothing(self, n_out: int) -> tuple[float, float]:
        return 1.0 - self.label_smoothing, self.label_smoothing / n_out


class SparseCategoricalCrossentropy(_Crossentropy):
    """Categorical cross-entropy with class indices: l = −log p of the true class.

    Targets are integers of shape (n,) or (n, 1).

    Parameters
    ----------
    from_logits : bool, default False
        As in `CategoricalCrossentropy`.

    Examples
    --------
    >>> SparseCategoricalCrossentropy(from_logits=True)
    SparseCategoricalCrossentropy(from_logits=True)
    """

    kind = "sparse_categorical_crossentropy"
    canonical = "softmax"
    sparse = True
    rowwise = True


class FunctionLoss(Loss):
    """A user-defined loss; `compile` wraps every callable in this class.

    Parameters
    ----------
    function : callable
        Called as ``function(y_true, y_pred)`` with the rows of a batch. y_true has the shape of
        the targets passed to `fit`; a 1-D y_true becomes a column if the model has one output.
        y_pred has the outputs' shape (n, ...). The function returns (value, gradient), where value
        is either

        - a number, the loss of the batch; gradient is its derivative with respect to y_pred; or
        - an array (n,), the loss lᵢ of each row; row i of gradient is ∂lᵢ/∂ŷᵢ, and the loss of
          the batch is Σ wᵢ·lᵢ / n. Sample weights require this form.

    Raises
    ------
    TypeError
        If `function` is not callable.

    Notes
    -----
    Each training step calls the Python function. `evaluate` calls it once, with all rows. A saved
    model does not contain the function: compile the loaded model again.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> def mse(y_true, y_pred):
    ...     error = y_pred - y_true
    ...     return (error**2).mean(axis=1), 2 * error / error.shape[1]
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("adam", loss=mse)
    >>> history = model.fit(np.ones((8, 1)), np.ones(8), epochs=2, verbose=0)
    """

    kind = "python"
    is_function = True

    def __init__(self, function: Callable[[Array, Array], tuple[Any, Any]]) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable; received {function!r}")
        object.__setattr__(self, "function", function)

    def __eq__(self, other: object) -> bool:
        return type(other) is FunctionLoss and self._function is other._function

    __hash__ = Loss.__hash__

    @property
    def _function(self) -> Callable[[Array, Array], tuple[Any, Any]]:
        function: Callable[[Array, Array], tuple[Any, Any]] = vars(self)["function"]
        return function

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return getattr(self._function, "__name__", repr(self._function))

    def rows(
        self, y_true: Array, y_pred: Array, weight: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], Array]:
        """Return the weighted loss of each row (n,) and the gradient of their mean.

        Raises
        ------
        TypeError, ValueError
            If the function's return value is not as described in the class docstring.
        """
        result = self._function(y_true, y_pred)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"Loss {self.name} must return (value, gradient); received {type(result).__name__}"
            )
        n = len(y_pred)
        value = real_array(f"the value of loss {self.name}", result[0]).astype(np.float64)
        gradient = real_array(f"the gradient of loss {self.name}", result[1])
        if gradient.shape != y_pred.shape:
            raise ValueError(
                f"The gradient of loss {self.name} must have the outputs' shape {y_pred.shape}; "
                f"received {gradient.shape}"
            )
        if value.shape not in ((), (n,)):
            raise ValueError(
                f"The value of loss {self.name} must be a number or an array of numbers, one for "
                f"each of {n} rows; received shape {value.shape}"
            )
        factors = np.ones(n) if weight is None else weight
        if value.ndim:
            by_row = factors.reshape(n, *[1] * (y_pred.ndim - 1))
            return factors * value, gradient * by_row / n
        if (factors != 1).any():
            raise ValueError(
                f"Samples are weighted, so loss {self.name} must return a value for each row; "
                "received one number"
            )
        return np.full(n, value), gradient

    def for_engine(self, sample_shape: Shape) -> Callable[..., None]:
        """Return the callback for the engine, for outputs of shape (n, *sample_shape)."""

        def call(
            targets: Array, rows: Any, outputs: Any, weight: Any, values: Any, gradient: Any
        ) -> None:
            y_pred = np.asarray(outputs)
            value, derivatives = self.rows(
                targets[np.asarray(rows)[0]],
                y_pred.reshape(len(y_pred), *sample_shape),
                np.asarray(weight)[0],
            )
            # A non-finite value makes training stop before the weights are updated.
            np.asarray(values)[0] = value if np.isfinite(derivatives).all() else np.nan
            np.asarray(gradient)[:] = derivatives.reshape(y_pred.shape)

        return call


TABLE: dict[str, type[Loss]] = {
    name: cls
    for cls in list(vars().values())
    if isinstance(cls, type) and issubclass(cls, Loss) and cls.kind and not cls.is_function
    for name in (cls.kind, *cls.aliases)
}
registry.name_constructors(TABLE.values())


def resolve(identifier: object) -> Loss:
    """Return the loss for `identifier`: a name, a class, a loss, a config dict or a function.

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
    if callable(identifier) and not isinstance(identifier, (type, Loss)):
        return FunctionLoss(identifier)
    return registry.resolve("loss", identifier, Loss, TABLE)


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

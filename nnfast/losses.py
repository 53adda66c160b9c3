"""Losses: what is configured. The values and gradients are the engine's.

The loss of a batch is Σᵢ wᵢ·lᵢ / rows (Keras' ``sum_over_batch_size``), wᵢ the sample weight.
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

Array = NDArray[Any]


class TargetSpec(NamedTuple):
    """What targets a loss takes for samples of one output shape.

    Attributes
    ----------
    loss : str
        The loss's class, for messages.
    shape : tuple of int
        Shape of one sample's target; of class indices, the shape of the output.
    classes : bool
        The targets are class indices, one a sample.
    free : bool
        They are what a user-defined function wants: numbers of any shape, a row a sample.
    copies : int
        The outputs that share one target.
    range : tuple of float or None
        The smallest and the largest target, None if any number is one.
    advice : str
        What to do about targets outside of it.
    signed : bool
        Targets that are all 0 or 1 become −1 and 1.
    one_hot : bool
        A sample's targets are one distribution.
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
    """Base of the losses.

    Attributes
    ----------
    kind : str
        The engine's name of the loss.
    canonical : str or None
        The activation whose derivative cancels against this loss: together they are computed
        from the pre-activation, which is faster and never takes the logarithm of 0.
    sparse : bool
        True if the targets are class indices.
    rowwise : bool
        True if one row of outputs is one distribution, so that outputs must be (n, classes).
    signed : bool
        True if targets are −1 and 1; targets that are all 0 or 1 are mapped to them.
    target_range : tuple of float or None
        The smallest and the largest target, None if any number is one.
    target_advice : str
        What to do about targets outside of it.
    is_function : bool
        True if it is a user-defined function, which the engine calls.
    levels : tuple of float
        The loss's number, or one for each output.
    """

    kind: ClassVar[str] = ""
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
        """Return what the targets have to be for samples of an output shape."""
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
        """Return (scale, offset) of label smoothing: targets become scale·y + offset."""
        return 1.0, 0.0

    def engine_loss(self, final_activation: str) -> tuple[int, bool]:
        """Return (engine id, whether the last op's activation is fused into the loss)."""
        return LOSSES[self.kind], False


@dataclass(frozen=True)
class _Crossentropy(Loss):
    """What the cross-entropies have in common."""

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
    """l = mean over the outputs of (ŷ − y)².

    Examples
    --------
    >>> MeanSquaredError()
    MeanSquaredError()
    """

    kind = "mean_squared_error"


class MeanAbsoluteError(Loss):
    """l = mean over the outputs of |ŷ − y|; the derivative at 0 is 0.

    Examples
    --------
    >>> MeanAbsoluteError()
    MeanAbsoluteError()
    """

    kind = "mean_absolute_error"


@dataclass(frozen=True)
class Huber(Loss):
    """l = mean of d²/2 where |d| ≤ δ, else δ·|d| − δ²/2, with d = ŷ − y (Huber, 1964).

    Parameters
    ----------
    delta : float, default 1.0
        δ > 0.

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
    """l = mean of log cosh(ŷ − y): d²/2 for small d, |d| − log 2 for large.

    Examples
    --------
    >>> LogCosh()
    LogCosh()
    """

    kind = "log_cosh"


@dataclass(frozen=True)
class Quantile(Loss):
    """l = mean of max(q·e, (q − 1)·e) with e = y − ŷ: ŷ becomes the q-quantile of y given x.

    The pinball loss (Koenker and Bassett, 1978).

    Parameters
    ----------
    level : float or sequence of float, default 0.5
        q, between 0 and 1. With several levels the model has one output for each, and y one
        column.

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
            raise ValueError("level must have at least one number; received ()")
        levels = tuple(real("level", level, above=0.0, below=1.0) for level in given)
        self._keep(level=levels if many else levels[0])

    @property
    def levels(self) -> tuple[float, ...]:
        return tuple(self.level) if isinstance(self.level, Sequence) else (self.level,)


class Poisson(Loss):
    """l = mean of ŷ − y·log(ŷ + 1e-7), for counts y and rates ŷ > 0.

    Examples
    --------
    >>> Poisson()
    Poisson()
    """

    kind = "poisson"
    target_range = (0.0, math.inf)
    target_advice = "counts are not negative; for other numbers use mean_squared_error or huber"


class Hinge(Loss):
    """l = mean of max(1 − y·ŷ, 0), targets −1 and 1; targets that are all 0 or 1 are mapped.

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
    """l = −mean over the outputs of y·log p + (1 − y)·log(1 − p), targets y in [0, 1].

    Parameters
    ----------
    from_logits : bool, default False
        The model's outputs are logits z, and p = 1 / (1 + e⁻ᶻ). Otherwise they are the
        probabilities p, clipped to [1e-7, 1 − 1e-7] as in Keras.
    label_smoothing : float, default 0.0
        s from 0 to 1: targets become y·(1 − s) + s/2.

    Examples
    --------
    >>> BinaryCrossentropy(from_logits=True)
    BinaryCrossentropy(from_logits=True, label_smoothing=0.0)
    """

    label_smoothing: float = 0.0
    kind = "binary_crossentropy"
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
    """l = −Σₖ yₖ·log pₖ, targets y (n, classes), usually one-hot.

    Parameters
    ----------
    from_logits : bool, default False
        The model's outputs are logits z, and p = softmax(z). Otherwise they are probabilities,
        which are divided by their sum and clipped to [1e-7, 1 − 1e-7] as in Keras.
    label_smoothing : float, default 0.0
        s from 0 to 1: targets become y·(1 − s) + s/classes.

    Examples
    --------
    >>> CategoricalCrossentropy()
    CategoricalCrossentropy(from_logits=False, label_smoothing=0.0)
    """

    label_smoothing: float = 0.0
    kind = "categorical_crossentropy"
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
    """l = −log p of the true class; targets are class indices, (n,) or (n, 1).

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
    """A loss of your own; what `compile` makes of a callable.

    Parameters
    ----------
    function : callable
        Called as ``function(y_true, y_pred)`` with the rows of a batch: y_true as it was given
        to `fit` (a column where it was 1-D and the model has one output), y_pred of the
        outputs' shape (n, ...). It returns (value, gradient), value either

        - a number, the loss of the batch; gradient is its derivative with respect to y_pred; or
        - an array (n,), the loss lᵢ of each row; row i of gradient is ∂lᵢ/∂ŷᵢ, and the loss of
          the batch is Σ wᵢ·lᵢ / n. Only then can samples have weights.

    Raises
    ------
    TypeError
        If `function` is not callable.

    Notes
    -----
    Each step waits for Python. `evaluate` calls the function once, with all rows. A saved model
    does not hold it: compile the loaded one again.

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
            If what the function returns is not as described.
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
                f"The value of loss {self.name} must be a number, or one for each of {n} rows; "
                f"received shape {value.shape}"
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

    def for_engine(self, one: Shape) -> Callable[..., None]:
        """Return what the engine calls, for outputs of shape (n, *one)."""

        def call(
            targets: Array, numbers: Any, outputs: Any, weight: Any, values: Any, gradient: Any
        ) -> None:
            y_pred = np.asarray(outputs)
            value, derivatives = self.rows(
                targets[np.asarray(numbers)[0]],
                y_pred.reshape(len(y_pred), *one),
                np.asarray(weight)[0],
            )
            # A value that is not finite ends training before the weights take the gradient.
            np.asarray(values)[0] = value if np.isfinite(derivatives).all() else np.nan
            np.asarray(gradient)[:] = derivatives.reshape(y_pred.shape)

        return call


TABLE: dict[str, type[Loss]] = {
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "huber": Huber,
    "log_cosh": LogCosh,
    "logcosh": LogCosh,
    "quantile": Quantile,
    "poisson": Poisson,
    "hinge": Hinge,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "cce": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}
registry.name_constructors(TABLE.values())


def resolve(identifier: object) -> Loss:
    """Return the loss that `identifier` (a name, a class, an object, a function) stands for.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is neither a name nor a loss.

    Examples
    --------
    >>> resolve("mse")
    MeanSquaredError()
    """
    if callable(identifier) and not isinstance(identifier, (type, Loss)):
        return FunctionLoss(identifier)
    return registry.resolve("loss", identifier, Loss, TABLE)


def get(identifier: object) -> Loss | None:
    """Return what `resolve` returns, and None for None.

    Examples
    --------
    >>> get("mse") == resolve("mse"), get(None)
    (True, None)
    """
    return None if identifier is None else resolve(identifier)


# Keras' names.
deserialize = resolve
serialize = registry.describe

"""The base class of the losses, and the targets that a loss accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._engine import LOSSES, REDUCTIONS
from nnfast._utils import registry
from nnfast._utils.checks import Shape, optional_text
from nnfast._utils.config import check_dtype, default_dtype
from nnfast._utils.eager import operand, result, same_rank
from nnfast._utils.registry import choose

__all__ = ["Loss"]

Array = NDArray[Any]

# The engine's names of the reductions; None: the losses of samples are not reduced.
_REDUCTIONS = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "sum": "sum",
    "mean_with_sample_weight": "weighted_mean",
    "none": None,
}


class TargetSpec(NamedTuple):
    """The targets that a loss expects for a given output shape.

    Attributes
    ----------
    loss : str
        Class name of the loss, for messages.
    shape : tuple of int
        Shape of one sample's target. For class indices it is the shape of one sample's output.
    classes : bool
        Whether targets are class indices, one for each row along the last axis of the outputs.
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
    optional : bool
        Whether there may be no targets, because the output has no loss.
    steps : tuple of int
        The axes of one sample's losses, such as steps or pixels, which may each have a weight.
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
    optional: bool = False
    steps: Shape = ()


class Loss(registry.Configured):
    """Base class of the losses. Attributes are read-only: models are compiled from them.

    A loss is called with targets and outputs, as in Keras. `call` returns the loss of each sample,
    the mean or the sum over the last axis, and ``loss(y_true, y_pred, sample_weight)`` reduces
    these losses. A subclass that overrides `call` can be called in this way; to train, a model
    needs a loss of this package or a function that also returns a gradient (`FunctionLoss`).

    Parameters
    ----------
    name : str, optional
        Stored but not used; by default the class name in snake case.
    reduction : str or None, default "sum_over_batch_size"
        How the losses of samples are reduced: "sum_over_batch_size" or "mean" divides their
        weighted sum by their number, "mean_with_sample_weight" by the sum of the weights, and
        "sum" by nothing. "none" and None keep one loss per sample; training needs a number.
    dtype : {"float32", "float64"}, optional
        Dtype of the results of calls, by default that of `nnfast.set_default_dtype`.

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
        Whether the loss of a row along the last axis is not a mean over its outputs.
    one_hot : bool
        Whether the targets of each sample form a probability distribution.
    summed : bool
        Whether the loss is the sum over the last axis of what the engine averages.
    signed : bool
        Whether targets are −1 and 1; targets that are all 0 or 1 are then mapped to −1 and 1.
    target_range : tuple of float or None
        Smallest and largest valid target; None if any number is valid.
    target_advice : str
        Advice in the error message for targets outside this range.
    is_function : bool
        Whether the loss is a user-defined function.
    formula : callable or None
        The loss as a function of targets and outputs, from `nnfast.losses`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """

    kind: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    default_name: ClassVar[str | None] = None
    canonical: ClassVar[str | None] = None
    sparse: ClassVar[bool] = False
    rowwise: ClassVar[bool] = False
    one_hot: ClassVar[bool] = False
    summed: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    target_range: ClassVar[tuple[float, float] | None] = None
    target_advice: ClassVar[str] = ""
    is_function: ClassVar[bool] = False
    formula: ClassVar[Callable[..., Any] | None] = None

    name: str
    reduction: str | None = "sum_over_batch_size"
    dtype: str | None = None

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        own = self.default_name or self.kind or registry.snake_case(type(self).__name__)
        if reduction is not None:
            choose("reduction", reduction, _REDUCTIONS)
        self._keep(
            name=optional_text("name", name) or own,
            reduction=reduction,
            dtype=None if dtype is None else check_dtype(dtype),
        )

    def __setattr__(self, name: str, value: object) -> None:
        if name in vars(self):
            raise AttributeError(
                f"{name} of {self!r} cannot be changed, because models are compiled from it: make "
                f"a new {type(self).__name__}"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        common = {
            "reduction": "sum_over_batch_size",
            "name": self.default_name or self.kind,
            "dtype": None,
            "axis": -1,
        }
        config = {name: getattr(self, name) for name in self.get_config()}
        shown = (f"{k}={v!r}" for k, v in config.items() if k not in common or v != common[k])
        return f"{type(self).__name__}({', '.join(shown)})"

    # ---- as a function ---------------------------------------------------------------------------

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Return the reduced loss, a NumPy number; without a reduction, an array.

        Parameters
        ----------
        y_true : array_like
            Targets in the shape of `y_pred`, or class indices.
        y_pred : array_like (..., outputs)
        sample_weight : array_like, optional
            Weights of the samples, in the shape of the losses that `call` returns.

        Raises
        ------
        TypeError, ValueError
            If the arrays are not numeric, or their shapes do not match.

        Examples
        --------
        >>> from nnfast.losses import MeanSquaredError
        >>> loss = MeanSquaredError(reduction="sum", dtype="float64")
        >>> float(loss([[0.0], [1.0]], [[1.0], [3.0]], sample_weight=[1.0, 0.5]))
        3.0
        """
        dtype = self.dtype or default_dtype()
        outputs = operand("y_pred", y_pred, dtype)
        targets = np.asarray(y_true) if self.sparse else operand("y_true", y_true, dtype)
        values = np.asarray(self.call(targets, outputs), dtype)
        weight, kept = None, self.kept(targets, values)
        if sample_weight is not None:
            weight = operand("sample_weight", sample_weight, dtype)
            values, weight = same_rank(values, weight)
            try:
                values = values * weight
            except ValueError:
                raise ValueError(
                    "sample_weight must have one entry per sample, shape "
                    f"{values.shape}; received {weight.shape}"
                ) from None
        return result(np.asarray(self._reduced(values, weight, kept), dtype))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, over the last axis.

        Examples
        --------
        >>> from nnfast.losses import MeanSquaredError
        >>> MeanSquaredError().call([[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [3.0, 1.0]])
        Tensor([0.5, 2. ], dtype=float32)
        """
        if self.formula is None:
            raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")
        return type(self).formula(y_true, y_pred, **self.options)  # type: ignore[misc]

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of `formula`."""
        return {}

    def kept(self, y_true: Array, values: Array) -> Array | None:
        """Return which samples' losses count; None means all."""
        return None

    def _reduced(self, values: Array, weight: Array | None, kept: Array | None) -> Any:
        if self.reduction in (None, "none") or not values.ndim:
            return values
        divisor: Any = values.size if kept is None else kept.sum()
        if self.reduction == "mean_with_sample_weight":
            if weight is not None:
                divisor = (weight if kept is None else weight * kept).sum(dtype=np.float64)
        elif self.reduction == "sum":
            divisor = 1
        return values.sum(dtype=np.float64) / divisor if divisor else 0.0

    # ---- for training ----------------------------------------------------------------------------

    @property
    def parameters(self) -> tuple[tuple[float, ...], ...]:
        """The engine's loss parameters: one value for all outputs, or one for each output."""
        return ()

    @property
    def copies(self) -> int:
        """The number of outputs that share one target."""
        return 1

    def target_spec(self, output_shape: Shape) -> TargetSpec:
        """Return the targets that the loss expects for outputs of shape (n, *output_shape)."""
        return TargetSpec(
            type(self).__name__,
            output_shape if self.copies == 1 else (1,),
            classes=self.sparse,
            free=self.is_function,
            copies=self.copies,
            range=self.target_range,
            advice=self.target_advice,
            signed=self.signed,
            one_hot=self.one_hot,
            steps=output_shape[:-1] if self.copies == 1 else (),
        )

    def smoothing(self, n_out: int) -> tuple[float, float]:
        """Return the (scale, offset) of label smoothing, which replaces y by scale·y + offset."""
        return 1.0, 0.0

    def engine_loss(self, final_activation: str) -> tuple[int, bool]:
        """Return (engine id, whether the final activation is fused into the loss)."""
        return LOSSES[self.kind], False

    def scale(self, output_shape: Shape) -> float:
        """Return the factor from the engine's mean over a sample's outputs to its loss.

        The loss of a sample is the sum of its rows' losses for the reduction "sum", else the mean.
        """
        outputs = output_shape[-1] if self.summed else 1
        return float(outputs * (np.prod(output_shape[:-1]) if self.reduction == "sum" else 1))

    @property
    def engine_reduction(self) -> int:
        """The engine's ID for the reduction.

        Raises
        ------
        ValueError
            If there is no reduction, so that a batch has no loss.
        """
        reduction = None if self.reduction is None else _REDUCTIONS[self.reduction]
        if reduction is None:
            raise ValueError(
                f"{type(self).__name__} with reduction={self.reduction!r} cannot train a model, "
                'which needs one number per batch: use reduction="sum_over_batch_size"'
            )
        return REDUCTIONS[reduction]

    @property
    def by_batch(self) -> bool:
        """Whether the loss of several batches depends on how rows are divided into batches."""
        return self.reduction in ("sum", "mean_with_sample_weight")

"""Losses for probabilities and counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._engine import LOSSES
from nnfast._utils.checks import entries, flag, integer, real
from nnfast.losses import functional
from nnfast.losses.functional import check_axis
from nnfast.losses.loss import Array, Loss
from nnfast.losses.regression import PlainLoss

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "KLDivergence",
    "Poisson",
    "SparseCategoricalCrossentropy",
]


class Poisson(PlainLoss):
    """Poisson loss: l = mean over the outputs of ŷ − y·log(ŷ + 1e-7), for counts y and ŷ > 0.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> Poisson()
    Poisson()
    """

    kind = "poisson"
    formula = staticmethod(functional.poisson)
    target_range = (0.0, math.inf)
    target_advice = "counts cannot be negative; for other targets use mean_squared_error or huber"


class KLDivergence(PlainLoss):
    """Kullback-Leibler divergence: l = Σ y·log(y / ŷ), with y and ŷ clipped to [1e-7, 1].

    The outputs ŷ and the targets y of a sample are probability distributions.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> round(float(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]])), 4)
    0.1438
    """

    kind = "kl_divergence"
    aliases = ("kld", "kullback_leibler_divergence")
    formula = staticmethod(functional.kl_divergence)
    summed = True
    target_range = (0.0, 1.0)
    target_advice = "give each sample's target as probabilities"


class Crossentropy(Loss):
    """Base class of the cross-entropies."""

    from_logits: bool
    axis: int

    def _take(self, from_logits: object, axis: object) -> None:
        """Check and store the arguments that all cross-entropies have."""
        check_axis(axis)
        self._keep(from_logits=flag("from_logits", from_logits), axis=-1)

    def engine_loss(self, final_activation: str) -> tuple[int, bool]:
        kind = self.kind.removeprefix("sparse_")  # the engine reads class indices as one-hot rows
        if self.from_logits:
            return LOSSES[kind + "_logits"], False
        if final_activation == self.canonical:
            return LOSSES[kind + "_logits"], True
        return LOSSES[kind], False


class SmoothedCrossentropy(Crossentropy):
    """Base class of the cross-entropies with label smoothing."""

    label_smoothing: float

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self._take(from_logits, axis)
        smoothing = real("label_smoothing", label_smoothing, low=0.0, high=1.0)
        self._keep(label_smoothing=smoothing)

    @property
    def options(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}

    def smoothing(self, n_out: int) -> tuple[float, float]:
        classes = n_out if self.one_hot else 2
        return 1.0 - self.label_smoothing, self.label_smoothing / classes


_BINARY_ADVICE = (
    "give the two classes as 0 and 1, such as (y == y.max()), and images as y / 255; for more "
    "classes use sparse_categorical_crossentropy"
)
_CATEGORICAL_ADVICE = (
    "give one-hot rows or probabilities; for class indices use sparse_categorical_crossentropy"
)


class BinaryCrossentropy(SmoothedCrossentropy):
    """Binary cross-entropy: l = −mean over the outputs of y·log p + (1 − y)·log(1 − p).

    Targets y are in [0, 1].

    Parameters
    ----------
    from_logits : bool, default False
        If True, the model's outputs are logits z, and p = 1 / (1 + e⁻ᶻ). Otherwise they are the
        probabilities p, which are clipped to [1e-7, 1 − 1e-7] as in Keras.
    label_smoothing : float, default 0.0
        The smoothing s, from 0 to 1. Targets become y·(1 − s) + s/2.
    axis : int, default -1
        The axis over which the mean is computed; it must be the last one.
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> BinaryCrossentropy(from_logits=True)
    BinaryCrossentropy(from_logits=True, label_smoothing=0.0)
    """

    kind = "binary_crossentropy"
    aliases = ("bce",)
    formula = staticmethod(functional.binary_crossentropy)
    canonical = "sigmoid"
    target_range = (0.0, 1.0)
    target_advice = _BINARY_ADVICE


class BinaryFocalCrossentropy(SmoothedCrossentropy):
    """Binary cross-entropy times (1 − p_t)^γ, which emphasizes misclassified outputs.

    p_t = y·p + (1 − y)·(1 − p) is the probability of the target (Lin et al., 2017). With class
    balancing, the loss of an output is also multiplied by α·y + (1 − α)·(1 − y).

    Parameters
    ----------
    apply_class_balancing : bool, default False
        Whether to multiply by the weights of the classes.
    alpha : float, default 0.25
        Weight α of class 1, from 0 to 1; the weight of class 0 is 1 − α.
    gamma : float, default 2.0
        The exponent γ ≥ 0.
    from_logits, label_smoothing, axis, reduction, name, dtype
        As in `BinaryCrossentropy`.

    Examples
    --------
    >>> round(float(BinaryFocalCrossentropy(gamma=1.0)([[1.0]], [[0.5]])), 4)
    0.3466
    """

    kind = "binary_focal_crossentropy"
    formula = staticmethod(functional.binary_focal_crossentropy)
    target_range = (0.0, 1.0)
    target_advice = _BINARY_ADVICE
    apply_class_balancing: bool
    alpha: float
    gamma: float

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self._keep(
            apply_class_balancing=flag("apply_class_balancing", apply_class_balancing),
            alpha=real("alpha", alpha, low=0.0, high=1.0),
            gamma=real("gamma", gamma, low=0.0),
        )

    @property
    def options(self) -> dict[str, Any]:
        own = ("apply_class_balancing", "alpha", "gamma")
        return {name: getattr(self, name) for name in own} | super().options

    @property
    def parameters(self) -> tuple[tuple[float, ...], ...]:
        one, zero = (self.alpha, 1.0 - self.alpha) if self.apply_class_balancing else (1.0, 1.0)
        return (self.gamma,), (one,), (zero,)


class CategoricalCrossentropy(SmoothedCrossentropy):
    """Categorical cross-entropy: l = −Σₖ yₖ·log pₖ, with targets y (n, classes), usually one-hot.

    Parameters
    ----------
    from_logits : bool, default False
        If True, the model's outputs are logits z, and p = softmax(z). Otherwise they are
        probabilities, which are divided by their sum and clipped to [1e-7, 1 − 1e-7] as in Keras.
    label_smoothing : float, default 0.0
        The smoothing s, from 0 to 1. Targets become y·(1 − s) + s/classes.
    axis : int, default -1
        The axis of the classes; it must be the last one.
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> CategoricalCrossentropy()
    CategoricalCrossentropy(from_logits=False, label_smoothing=0.0)
    """

    kind = "categorical_crossentropy"
    aliases = ("cce",)
    formula = staticmethod(functional.categorical_crossentropy)
    canonical = "softmax"
    rowwise = True
    one_hot = True
    target_range = (0.0, 1.0)
    target_advice = _CATEGORICAL_ADVICE


class CategoricalFocalCrossentropy(SmoothedCrossentropy):
    """Categorical cross-entropy that emphasizes misclassified samples.

    l = −Σₖ α·(1 − pₖ)^γ·yₖ·log pₖ (Lin et al., 2017).

    Parameters
    ----------
    alpha : float or sequence of float, default 0.25
        Weight α ≥ 0 of all classes, or one weight for each class.
    gamma : float, default 2.0
        The exponent γ ≥ 0.
    from_logits, label_smoothing, axis, reduction, name, dtype
        As in `CategoricalCrossentropy`.

    Examples
    --------
    >>> CategoricalFocalCrossentropy(alpha=(0.5, 1.0)).parameters
    ((2.0,), (0.5, 1.0))
    """

    kind = "categorical_focal_crossentropy"
    formula = staticmethod(functional.categorical_focal_crossentropy)
    rowwise = True
    one_hot = True
    target_range = (0.0, 1.0)
    target_advice = _CATEGORICAL_ADVICE
    alpha: float | tuple[float, ...]
    gamma: float

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        many = isinstance(alpha, (Sequence, np.ndarray))
        weights = tuple(
            real("alpha", weight, low=0.0)
            for weight in (entries("alpha", alpha) if many else [alpha])
        )
        if not weights:
            raise ValueError("alpha must be a number or one number for each class; received []")
        self._keep(
            alpha=weights if many else weights[0],
            gamma=real("gamma", gamma, low=0.0),
        )

    @property
    def options(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "gamma": self.gamma} | super().options

    @property
    def parameters(self) -> tuple[tuple[float, ...], ...]:
        return (self.gamma,), self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)


class SparseCategoricalCrossentropy(Crossentropy):
    """Categorical cross-entropy with class indices: l = −log p of the true class.

    Targets are integers of shape (n,) or (n, 1), or (n, ...) for outputs of shape
    (n, ..., classes).

    Parameters
    ----------
    from_logits : bool, default False
        As in `CategoricalCrossentropy`.
    ignore_class : int, optional
        Samples of this class do not count when the loss is called; training refuses it. Give them
        sample weights of 0 instead.
    reduction : str or None
        As in `Loss`.
    axis : int, default -1
        The axis of the classes; it must be the last one.
    name, dtype
        As in `Loss`.

    Examples
    --------
    >>> SparseCategoricalCrossentropy(from_logits=True)
    SparseCategoricalCrossentropy(from_logits=True, ignore_class=None)
    """

    kind = "sparse_categorical_crossentropy"
    formula = staticmethod(functional.sparse_categorical_crossentropy)
    canonical = "softmax"
    sparse = True
    rowwise = True
    one_hot = True
    ignore_class: int | None

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self._take(from_logits, axis)
        ignored = ignore_class
        if ignored is not None:
            ignored = integer("ignore_class", ignored, minimum=-(2**31), maximum=2**31 - 1)
        self._keep(ignore_class=ignored)

    @property
    def options(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "ignore_class": self.ignore_class}

    def kept(self, y_true: Array, values: Array) -> Array | None:
        if self.ignore_class is None:
            return None
        return np.asarray(y_true != self.ignore_class).reshape(values.shape)

    def engine_loss(self, final_activation: str) -> tuple[int, bool]:
        if self.ignore_class is not None:
            raise ValueError(
                "SparseCategoricalCrossentropy with ignore_class cannot train a model: give the "
                f"samples of class {self.ignore_class} a sample weight of 0 instead"
            )
        return super().engine_loss(final_activation)

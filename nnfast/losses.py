"""Losses: what is configured. The values and gradients are the engine's.

The loss of a batch is Σᵢ wᵢ·lᵢ / rows (Keras' ``sum_over_batch_size``), wᵢ the sample weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnfast import _resolve
from nnfast._engine import LOSSES


@dataclass(frozen=True)
class Loss(_resolve.Configured):
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
    """

    kind: ClassVar[str] = ""
    canonical: ClassVar[str | None] = None
    sparse: ClassVar[bool] = False
    rowwise: ClassVar[bool] = False

    def engine_loss(self, final_activation: str) -> tuple[int, bool]:
        """Return (engine id, whether the last op's activation is fused into the loss)."""
        return LOSSES[self.kind], False


@dataclass(frozen=True)
class _Crossentropy(Loss):
    """What the cross-entropies have in common."""

    from_logits: bool = False

    def engine_loss(self, final_activation: str) -> tuple[int, bool]:
        if self.from_logits:
            return LOSSES[self.kind + "_logits"], False
        if final_activation == self.canonical:
            return LOSSES[self.kind + "_logits"], True
        return LOSSES[self.kind], False


class MeanSquaredError(Loss):
    """l = mean over the outputs of (ŷ − y)².

    Examples
    --------
    >>> MeanSquaredError()
    MeanSquaredError()
    """

    kind = "mean_squared_error"


class BinaryCrossentropy(_Crossentropy):
    """l = −mean over the outputs of y·log p + (1 − y)·log(1 − p), targets y in [0, 1].

    Parameters
    ----------
    from_logits : bool, default False
        The model's outputs are logits z, and p = 1 / (1 + e⁻ᶻ). Otherwise they are the
        probabilities p, clipped to [1e-7, 1 − 1e-7] as in Keras.

    Examples
    --------
    >>> BinaryCrossentropy(from_logits=True)
    BinaryCrossentropy(from_logits=True)
    """

    kind = "binary_crossentropy"
    canonical = "sigmoid"


class CategoricalCrossentropy(_Crossentropy):
    """l = −Σₖ yₖ·log pₖ, targets y (n, classes), usually one-hot.

    Parameters
    ----------
    from_logits : bool, default False
        The model's outputs are logits z, and p = softmax(z). Otherwise they are probabilities,
        which are divided by their sum and clipped to [1e-7, 1 − 1e-7] as in Keras.

    Examples
    --------
    >>> CategoricalCrossentropy()
    CategoricalCrossentropy(from_logits=False)
    """

    kind = "categorical_crossentropy"
    canonical = "softmax"
    rowwise = True


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


TABLE: dict[str, type[Loss]] = {
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "cce": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}


def resolve(identifier: object) -> Loss:
    """Return the loss that `identifier` (a name, a class or an object) stands for.

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
    return _resolve.resolve("loss", identifier, Loss, TABLE)


# Keras' names.
get = deserialize = resolve
serialize = _resolve.describe

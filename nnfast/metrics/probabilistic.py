"""Cross-entropy metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._utils.checks import flag, integer, real
from nnfast.losses import functional
from nnfast.metrics.metric import Array, Floats, FormulaMean


class BinaryCrossentropy(FormulaMean):
    """Mean of −y·log p − (1 − y)·log(1 − p).

    Parameters
    ----------
    name, dtype
        As in `Metric`.
    from_logits : bool, default False
        True if the outputs are logits z, with p = 1 / (1 + e⁻ᶻ). Otherwise they are
        probabilities, which are clipped to [1e-7, 1 − 1e-7].
    label_smoothing : float, default 0.0
        The smoothing s, from 0 to 1. Targets become y·(1 − s) + s/2.

    Examples
    --------
    >>> round(BinaryCrossentropy()(np.array([[1.0]]), np.array([[0.5]])), 4)
    0.6931
    """

    formula = staticmethod(functional.binary_crossentropy)

    def __init__(
        self,
        name: str | None = None,
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(name, dtype)
        self.from_logits = flag("from_logits", from_logits)
        self.label_smoothing = real("label_smoothing", label_smoothing, low=0.0, high=1.0)

    @property
    def options(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(BinaryCrossentropy):
    """Mean over rows of −Σₖ yₖ·log pₖ.

    Parameters
    ----------
    name, dtype
        As in `Metric`.
    from_logits : bool, default False
        True if the outputs are logits z, with p = softmax(z). Otherwise they are probabilities,
        which are divided by their sum and clipped to [1e-7, 1 − 1e-7].
    label_smoothing : float, default 0.0
        The smoothing s, from 0 to 1. Targets become y·(1 − s) + s/classes.
    axis : int, default -1
        The axis of the classes; it must be the last one.

    Examples
    --------
    >>> round(CategoricalCrossentropy()(np.eye(2), np.array([[0.5, 0.5], [0.5, 0.5]])), 4)
    0.6931
    """

    rowwise = True
    formula = staticmethod(functional.categorical_crossentropy)

    def __init__(
        self,
        name: str | None = None,
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype, from_logits, label_smoothing)
        functional.check_axis(axis)
        self.axis = -1


class SparseCategoricalCrossentropy(FormulaMean):
    """Mean over rows of −log p of the true class.

    Parameters
    ----------
    name, dtype
        As in `Metric`.
    from_logits : bool, default False
        As in `CategoricalCrossentropy`.
    ignore_class : int, optional
        Samples of this class do not count.
    axis : int, default -1
        The axis of the classes; it must be the last one.

    Examples
    --------
    >>> round(SparseCategoricalCrossentropy()(np.array([0]), np.array([[0.5, 0.5]])), 4)
    0.6931
    """

    sparse = True
    rowwise = True
    formula = staticmethod(functional.sparse_categorical_crossentropy)

    def __init__(
        self,
        name: str | None = None,
        dtype: str | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype)
        functional.check_axis(axis)
        self.axis = -1
        self.from_logits = flag("from_logits", from_logits)
        ignored = ignore_class
        self.ignore_class = (
            None if ignored is None else integer("ignore_class", ignored, minimum=-(2**31))
        )

    def totals(self, y: Array, outputs: Array, weight: Floats | None) -> Floats:
        if self.ignore_class is None:
            return super().totals(y, outputs, weight)
        kept = y != self.ignore_class
        w = kept.astype(np.float64) if weight is None else weight * kept
        return super().totals(np.where(kept, y, 0), outputs, w)

    @property
    def options(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits}


class Poisson(FormulaMean):
    """Mean of ŷ − y·log(ŷ + 1e-7).

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> Poisson()([[0.0]], [[2.0]])
    2.0
    """

    formula = staticmethod(functional.poisson)


class KLDivergence(FormulaMean):
    """Mean over rows of Σ y·log(y / ŷ), with y and ŷ clipped to [1e-7, 1].

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> KLDivergence()([[0.5, 0.5]], [[0.5, 0.5]])
    0.0
    """

    rowwise = True
    formula = staticmethod(functional.kl_divergence)

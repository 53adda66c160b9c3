"""Cross-entropy metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._utils.checks import flag, real
from nnfast.metrics.metric import EPSILON, Array, MeanDown


class BinaryCrossentropy(MeanDown):
    """Mean of −y·log p − (1 − y)·log(1 − p).

    Parameters
    ----------
    name : str, optional
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

    def __init__(
        self, name: str | None = None, *, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(name)
        self.from_logits = flag("from_logits", from_logits)
        self.label_smoothing = real("label_smoothing", label_smoothing, low=0.0, high=1.0)

    def rows(self, y: Array, outputs: Array) -> Any:
        s = self.label_smoothing
        y = y * (1.0 - s) + 0.5 * s if s else y
        if self.from_logits:
            # log(1 + eᶻ) − y·z
            return np.logaddexp(0.0, outputs) - y * outputs
        p = np.clip(outputs, EPSILON, 1.0 - EPSILON)
        return -(y * np.log(p) + (1.0 - y) * np.log(1.0 - p))


class CategoricalCrossentropy(BinaryCrossentropy):
    """Mean over rows of −Σₖ yₖ·log pₖ.

    Parameters
    ----------
    name : str, optional
    from_logits : bool, default False
        True if the outputs are logits z, with p = softmax(z). Otherwise they are probabilities,
        which are divided by their sum and clipped to [1e-7, 1 − 1e-7].
    label_smoothing : float, default 0.0
        The smoothing s, from 0 to 1. Targets become y·(1 − s) + s/classes.

    Examples
    --------
    >>> round(CategoricalCrossentropy()(np.eye(2), np.array([[0.5, 0.5], [0.5, 0.5]])), 4)
    0.6931
    """

    rowwise = True

    def rows(self, y: Array, outputs: Array) -> Any:
        s = self.label_smoothing
        y = y * (1.0 - s) + s / y.shape[1] if s else y
        return -(y * _log_probabilities(outputs, self.from_logits)).sum(axis=1)


class SparseCategoricalCrossentropy(MeanDown):
    """Mean over rows of −log p of the true class.

    Parameters
    ----------
    name : str, optional
    from_logits : bool, default False
        As in `CategoricalCrossentropy`.

    Examples
    --------
    >>> round(SparseCategoricalCrossentropy()(np.array([0]), np.array([[0.5, 0.5]])), 4)
    0.6931
    """

    sparse = True
    rowwise = True

    def __init__(self, name: str | None = None, *, from_logits: bool = False) -> None:
        super().__init__(name)
        self.from_logits = flag("from_logits", from_logits)

    def rows(self, y: Array, outputs: Array) -> Any:
        log_p = _log_probabilities(outputs, self.from_logits)
        return -np.take_along_axis(log_p, y[:, None], axis=1)[:, 0]


def _log_probabilities(outputs: Array, from_logits: bool) -> Any:
    if from_logits:
        z = outputs - outputs.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    p = outputs / outputs.sum(axis=1, keepdims=True)
    return np.log(np.clip(p, EPSILON, 1.0 - EPSILON))

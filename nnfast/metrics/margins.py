"""Hinge losses as metrics."""

from __future__ import annotations

from nnfast.losses import functional
from nnfast.metrics.metric import FormulaMean


class Hinge(FormulaMean):
    """Mean of max(1 − y·ŷ, 0); targets that are all 0 or 1 become −1 and 1.

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> Hinge()([[0.0], [1.0]], [[0.5], [0.5]])
    1.0
    """

    formula = staticmethod(functional.hinge)


class SquaredHinge(FormulaMean):
    """Mean of max(1 − y·ŷ, 0)²; targets that are all 0 or 1 become −1 and 1.

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> SquaredHinge()([[0.0], [1.0]], [[0.5], [0.5]])
    1.25
    """

    formula = staticmethod(functional.squared_hinge)


class CategoricalHinge(FormulaMean):
    """Mean over rows of max(max (1 − y)·ŷ − Σ y·ŷ + 1, 0).

    Parameters
    ----------
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> CategoricalHinge()([[0.0, 1.0]], [[0.5, 0.25]])
    1.25
    """

    rowwise = True
    formula = staticmethod(functional.categorical_hinge)

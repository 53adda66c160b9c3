"""Hinge losses, which ask for a margin between classes."""

from __future__ import annotations

from nnfast.losses import functional
from nnfast.losses.regression import PlainLoss

__all__ = ["CategoricalHinge", "Hinge", "SquaredHinge"]

_TWO_CLASSES = (
    "give the two classes as -1 and 1, or as 0 and 1; for more classes use "
    "sparse_categorical_crossentropy"
)


class Hinge(PlainLoss):
    """Hinge loss: l = mean over the outputs of max(1 − y·ŷ, 0), with targets y = −1 or 1.

    Targets that are all 0 or 1 are mapped to −1 and 1.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> Hinge()
    Hinge()
    """

    kind = "hinge"
    formula = staticmethod(functional.hinge)
    signed = True
    target_range = (-1.0, 1.0)
    target_advice = _TWO_CLASSES


class SquaredHinge(PlainLoss):
    """Squared hinge loss: l = mean over the outputs of max(1 − y·ŷ, 0)², with targets y = −1 or 1.

    Targets that are all 0 or 1 are mapped to −1 and 1.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> float(SquaredHinge()([[1.0]], [[-1.0]]))
    4.0
    """

    kind = "squared_hinge"
    formula = staticmethod(functional.squared_hinge)
    signed = True
    target_range = (-1.0, 1.0)
    target_advice = _TWO_CLASSES


class CategoricalHinge(PlainLoss):
    """Categorical hinge loss: l = max(0, 1 + max (1 − y)·ŷ − Σ y·ŷ), with one-hot targets y.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> float(CategoricalHinge()([[0.0, 1.0]], [[0.5, 0.25]]))
    1.25
    """

    kind = "categorical_hinge"
    formula = staticmethod(functional.categorical_hinge)
    rowwise = True
    one_hot = True
    target_range = (0.0, 1.0)
    target_advice = (
        "give one-hot rows; for class indices use sparse_categorical_crossentropy, or "
        "numpy.eye(classes)[y]"
    )

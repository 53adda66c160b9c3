"""Conversion of fitted scikit-learn estimators."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from nnfast._engine import Engine
from nnfast.optimizers.optimizer import Optimizer


def learned_attributes(fitted: Any) -> dict[str, Any]:
    """Return copies of the attributes set by scikit-learn's fit; they have the same names here.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    """
    check_is_fitted(fitted)
    private = ("_label_binarizer", "_no_improvement_count")
    return {
        name: deepcopy(value)
        for name, value in vars(fitted).items()
        if name in private or (name.endswith("_") and not name.startswith("_"))
    }


def import_optimizer(fitted: Any, optimizer: Optimizer, engine: Engine) -> None:
    """Copy the state of scikit-learn's optimizer to an optimizer and its engine.

    Parameters
    ----------
    fitted : AdamOptimizer or SGDOptimizer
        The optimizer of a fitted scikit-learn estimator.
    optimizer : Adam or SGD
    engine : Engine
        An engine that is configured for `optimizer`.
    """
    slots = engine.slots
    if hasattr(fitted, "ms"):
        slots[0], slots[1] = _flat(fitted.ms), _flat(fitted.vs)
        engine.iterations = fitted.t
    else:
        optimizer.learning_rate = float(fitted.learning_rate)
        if len(slots):
            slots[0] = _flat(fitted.velocities)


def _flat(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the concatenated arrays; scikit-learn and the engine order them in the same way."""
    return np.concatenate([np.ravel(array) for array in arrays])

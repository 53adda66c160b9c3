"""What a fitted estimator of scikit-learn has learned, as ours have it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from nnfast._engine import Engine
from nnfast.optimizers.optimizer import Optimizer


def learned_attributes(fitted: Any) -> dict[str, Any]:
    """Return copies of the attributes that scikit-learn's fit sets: they have our names.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If there are none.
    """
    check_is_fitted(fitted)
    private = ("_label_binarizer", "_no_improvement_count")
    return {
        name: deepcopy(value)
        for name, value in vars(fitted).items()
        if name in private or (name.endswith("_") and not name.startswith("_"))
    }


def take_optimizer(theirs: Any, optimizer: Optimizer, engine: Engine) -> None:
    """Give an optimizer and its engine the state of one of scikit-learn's.

    Parameters
    ----------
    theirs : AdamOptimizer or SGDOptimizer
    optimizer : Adam or SGD
    engine : Engine
        Configured for `optimizer`.
    """
    slots = engine.slots
    if hasattr(theirs, "ms"):
        slots[0], slots[1] = _flat(theirs.ms), _flat(theirs.vs)
        engine.iterations = theirs.t
    else:
        optimizer.learning_rate = float(theirs.learning_rate)
        if len(slots):
            slots[0] = _flat(theirs.velocities)


def _flat(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Return arrays in scikit-learn's order, which is the engine's: coefficients, intercepts."""
    return np.concatenate([np.ravel(array) for array in arrays])

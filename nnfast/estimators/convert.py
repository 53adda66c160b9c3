"""From a fitted estimator of scikit-learn to one of ours."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from nnfast.estimators.parameters import optimizer_of

if TYPE_CHECKING:
    from nnfast.estimators.base import BaseMLP


def adopt(estimator: BaseMLP, fitted: Any) -> None:
    """Give a new estimator the weights, the history and the optimizer's state of `fitted`."""
    check_is_fitted(fitted)
    kept = ("_label_binarizer", "_no_improvement_count")
    for name, value in vars(fitted).items():
        if name in kept or (name.endswith("_") and not name.startswith("_")):
            setattr(estimator, name, deepcopy(value))
    network = estimator._trainable()
    estimator._best_weights = network.engine.weights.copy()
    theirs = getattr(fitted, "_optimizer", None)
    if theirs is None:
        return
    estimator._optimizer = optimizer_of(estimator)
    network.start(estimator._optimizer.optimizer)
    slots = network.engine.slots
    if hasattr(theirs, "ms"):
        slots[0], slots[1] = _flat(theirs.ms), _flat(theirs.vs)
        network.engine.iterations = theirs.t
    else:
        estimator._optimizer.optimizer.learning_rate = float(theirs.learning_rate)
        if len(slots):
            slots[0] = _flat(theirs.velocities)


def _flat(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Return arrays in scikit-learn's order, which is the engine's: coefficients, intercepts."""
    return np.concatenate([np.ravel(array) for array in arrays])

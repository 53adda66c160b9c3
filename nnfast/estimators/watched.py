"""The adapter through which callbacks see an estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike, NDArray

from nnfast._utils import container
from nnfast._utils.assign import assign
from nnfast.estimators.architecture import Perceptron
from nnfast.optimizers.optimizer import Optimizer

# The arrays and the description for `container.write`.
Contents = tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]


class Watched:
    """The model that an estimator's callbacks see.

    Attributes
    ----------
    estimator : MLPClassifier or MLPRegressor
        The estimator. Only user-defined callbacks use this attribute.
    network : Perceptron
    contents : callable
        Called as ``contents(include_optimizer)``; returns the contents of the estimator's file.
    optimizer : Optimizer
    stop_training : bool
    """

    def __init__(
        self, estimator: object, network: Perceptron, contents: Callable[[bool], Contents]
    ) -> None:
        self.estimator = estimator
        self.network = network
        self.contents = contents
        self.stop_training = self.stop_evaluating = self.stop_predicting = False

    @property
    def optimizer(self) -> Optimizer | None:
        return self.network.optimizer

    @property
    def iterations(self) -> int:
        return self.network.engine.iterations

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of all weights, layer by layer."""
        return [view.copy() for view in self.network.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all weights to the arrays that `get_weights` returned."""
        assign("the estimator", self.network.weights, weights)

    def save(self, path: str) -> None:
        """Save the estimator, without its callbacks."""
        container.write(path, *self.contents(True))

    def save_weights(self, path: str) -> None:
        """Save the estimator without the optimizer's state, for predictions only."""
        container.write(path, *self.contents(False))

    def check_saving(self) -> None:
        """Raise the error that `save` would raise, if any."""
        self.contents(True)

    def metric_direction(self, key: str) -> str | None:
        return {"loss": "down", "score": "up"}.get(key)

"""The interface that a model must have for callbacks and training loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray

from nnfast.optimizers import Optimizer


class WatchedModel(Protocol):
    """The model that callbacks see: a Sequential, or an estimator's adapter.

    Attributes
    ----------
    stop_training, stop_evaluating, stop_predicting : bool
        Callbacks set these to end a loop, which checks them after each batch or epoch.
    """

    stop_training: bool
    stop_evaluating: bool
    stop_predicting: bool

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer, None before `compile`."""

    @property
    def iterations(self) -> int:
        """The number of optimizer steps since `compile`."""

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of all weights."""

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all weights to the arrays that `get_weights` returned."""

    def save(self, path: str) -> None:
        """Write everything that is needed to continue training."""

    def save_weights(self, path: str) -> None:
        """Write everything that is needed for predictions."""

    def metric_direction(self, key: str) -> str | None:
        """Return "up" or "down", the better direction for a key of the logs; None if unknown."""

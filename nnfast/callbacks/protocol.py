"""What callbacks and loops need of a model: the lower floor says it, models satisfy it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray

from nnfast.optimizers import Optimizer


class WatchedModel(Protocol):
    """A model, or an estimator's stand-in for one, that callbacks watch.

    Attributes
    ----------
    stop_training, stop_evaluating, stop_predicting : bool
        Callbacks set them to end a loop, which reads them after each batch or epoch.
    """

    stop_training: bool
    stop_evaluating: bool
    stop_predicting: bool

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer, None before `compile`."""

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of all weights."""

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set what `get_weights` returned."""

    def save(self, path: str) -> None:
        """Write everything that training needs to go on."""

    def save_weights(self, path: str) -> None:
        """Write what predictions need."""

    def metric_direction(self, key: str) -> str | None:
        """Return "up" or "down", whichever is better for a key of the logs, None if unknown."""

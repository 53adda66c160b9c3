"""The point at which training diverged, and the warning about it."""

from __future__ import annotations

from typing import NamedTuple

from nnfast._utils.checks import warn

# How the warning describes the weights after a batch whose loss is not finite.
BEFORE = "before that batch"


class Divergence(NamedTuple):
    """Where training diverged.

    Attributes
    ----------
    epoch, batch : int
        Counted from 0.
    loss : float
    what : str
        The subject and verb that precede "not finite" in the warning.
    """

    epoch: int
    batch: int
    loss: float
    what: str = "loss is"


def warn_diverged(where: str, state: str, what: str = "loss is") -> None:
    """Warn that training stopped, with likely causes and the state of the weights."""
    warn(
        f"Training stopped in {where}: the {what} not finite. Likely causes: a learning rate "
        "that is too large, inputs that are not scaled, NaN or infinite values in x or y, or "
        f"targets outside the loss's domain. The weights and the optimizer are as {state}",
        RuntimeWarning,
    )

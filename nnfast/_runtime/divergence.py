"""Training that has diverged: where, and what is said of it."""

from __future__ import annotations

from typing import NamedTuple

from nnfast._utils.checks import warn

# What the weights are after a batch whose loss is not finite.
BEFORE = "before that batch"


class Divergence(NamedTuple):
    """Where training stopped being finite.

    Attributes
    ----------
    epoch, batch : int
        Counted from 0.
    loss : float
    what : str
        What is not finite, with its verb.
    """

    epoch: int
    batch: int
    loss: float
    what: str = "loss is"


def warn_diverged(where: str, state: str, what: str = "loss is") -> None:
    """Say where training stopped, why that happens, and what the weights are now."""
    warn(
        f"Training stopped in {where}: the {what} not finite. Likely causes: a learning rate "
        "that is too large, inputs that are not scaled, NaN or infinite values in x or y, or "
        f"targets outside the loss's domain. The weights and the optimizer are as {state}",
        RuntimeWarning,
    )

"""What is said of training that has diverged."""

from __future__ import annotations

import warnings

# What the weights are after a batch whose loss is not finite.
BEFORE = "before that batch"


def warn_diverged(where: str, state: str, stacklevel: int, what: str = "loss is") -> None:
    """Say where training stopped, why that happens, and what the weights are now."""
    warnings.warn(
        f"Training stopped in {where}: the {what} not finite. Likely causes: a learning rate "
        "that is too large, inputs that are not scaled, NaN or infinite values in x or y, or "
        f"targets outside the loss's domain. The weights and the optimizer are as {state}",
        RuntimeWarning,
        stacklevel=stacklevel,
    )

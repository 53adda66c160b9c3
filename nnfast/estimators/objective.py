"""The losses of the estimators, as the engine takes them.

The objective is scikit-learn's: Σ w·l / Σ w over the batch plus α/2·Σ W² / Σ w, where l is a mean
over the outputs for the squared error and a sum over them for log-loss and Poisson deviance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnfast._engine import LOSSES, Engine

# Their engine's names, and whether they work on what the output activation is applied to.
_PLAIN = {
    "absolute_error": "mean_absolute_error",
    "huber": "huber",
    "log_cosh": "log_cosh",
    "quantile": "quantile",
}
REGRESSION = ("squared_error", "poisson", *_PLAIN)


@dataclass(frozen=True)
class Objective:
    """A loss with its numbers.

    Attributes
    ----------
    kind : str
        The engine's name.
    fused : bool
    levels : tuple of float
        Huber's δ, or the quantiles.
    value_scale, slope_scale : float
        What the values and the gradients of rows are multiplied by.
    limit : float
        The largest value of a row.
    smoothing : tuple of float
        Targets become scale·y + offset.
    """

    kind: str
    fused: bool = False
    levels: tuple[float, ...] = (0.0,)
    value_scale: float = 1.0
    slope_scale: float = 1.0
    limit: float = math.inf
    smoothing: tuple[float, float] = (1.0, 0.0)

    def configure(self, engine: Engine) -> None:
        """Tell the engine."""
        engine.set_loss(
            LOSSES[self.kind],
            self.fused,
            self.levels,
            *self.smoothing,
            value_scale=self.value_scale,
            slope_scale=self.slope_scale,
            limit=self.limit,
            weighted_mean=True,
        )


def classification(
    output: str, n_out: int, dtype: np.dtype[np.floating], smoothing: float = 0.0
) -> Objective:
    """Return the log-loss; probabilities are clipped to the dtype's epsilon, as in scikit-learn.

    Examples
    --------
    >>> classification("softmax", 3, np.dtype("float64")).kind
    'categorical_crossentropy_logits'
    """
    limit = -math.log(np.finfo(dtype).eps)
    if output == "softmax":
        scale, offset = 1.0 - smoothing, smoothing / n_out
        return Objective(
            "categorical_crossentropy_logits", True, limit=limit, smoothing=(scale, offset)
        )
    return Objective(
        "binary_crossentropy_logits",
        True,
        value_scale=n_out,
        slope_scale=n_out,
        limit=limit * n_out,
        smoothing=(1.0 - smoothing, smoothing / 2),
    )


def regression(
    loss: str, n_out: int, delta: float = 1.0, quantile: float | Sequence[float] = 0.5
) -> Objective:
    """Return a loss of `REGRESSION`.

    Examples
    --------
    >>> regression("squared_error", 2).slope_scale
    1.0
    """
    if loss == "squared_error":
        # The gradient of scikit-learn is that of the sum over the outputs, not of the mean.
        return Objective("mean_squared_error", value_scale=0.5, slope_scale=0.5 * n_out)
    if loss == "poisson":
        return Objective("poisson_log", True, value_scale=n_out, slope_scale=n_out)
    if loss == "huber":
        return Objective(_PLAIN[loss], levels=(float(delta),))
    if loss == "quantile":
        levels = np.atleast_1d(np.asarray(quantile, np.float64)).tolist()
        return Objective(_PLAIN[loss], levels=tuple(levels))
    return Objective(_PLAIN[loss])

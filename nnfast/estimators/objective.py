"""The losses of the estimators, and the engine settings that implement them.

The objective is scikit-learn's: Σ w·l / Σ w over the batch plus α/2·Σ W² / Σ w, with sample weights
w and coefficients W. The loss l of a sample is the mean over its outputs for the squared error, and
the sum over its outputs for the log-loss and the Poisson deviance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnfast._engine import LOSSES, Engine

# The engine's names for the losses that need no scaling.
_PLAIN = {
    "absolute_error": "mean_absolute_error",
    "huber": "huber",
    "log_cosh": "log_cosh",
    "quantile": "quantile",
}
REGRESSION = ("squared_error", "poisson", *_PLAIN)


@dataclass(frozen=True)
class Objective:
    """A loss with its parameters.

    Attributes
    ----------
    kind : str
        The engine's name for the loss.
    fused : bool
        Whether the loss is computed from pre-activations, with the output activation fused.
    parameters : tuple of float
        δ for the Huber loss, the quantiles for the quantile loss, otherwise 0.
    value_scale, gradient_scale : float
        Factors by which the loss and the gradient of each row are multiplied.
    limit : float
        The maximum loss of a row.
    smoothing : tuple of float
        (scale, offset): targets become scale·y + offset.
    """

    kind: str
    fused: bool = False
    parameters: tuple[float, ...] = (0.0,)
    value_scale: float = 1.0
    gradient_scale: float = 1.0
    limit: float = math.inf
    smoothing: tuple[float, float] = (1.0, 0.0)

    def configure(self, engine: Engine) -> None:
        """Configure the engine to use this loss."""
        engine.set_loss(
            LOSSES[self.kind],
            self.fused,
            (self.parameters,),
            *self.smoothing,
            value_scale=self.value_scale,
            gradient_scale=self.gradient_scale,
            limit=self.limit,
            weighted_mean=True,
        )


def classification(
    output: str, n_out: int, dtype: np.dtype[np.floating], smoothing: float = 0.0
) -> Objective:
    """Return the log-loss, with probabilities clipped to the dtype's epsilon as in scikit-learn.

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
        gradient_scale=n_out,
        limit=limit * n_out,
        smoothing=(1.0 - smoothing, smoothing / 2),
    )


def regression(
    loss: str, n_out: int, delta: float = 1.0, quantile: float | Sequence[float] = 0.5
) -> Objective:
    """Return the objective for a loss in `REGRESSION`.

    Examples
    --------
    >>> regression("squared_error", 2).gradient_scale
    1.0
    """
    if loss == "squared_error":
        # scikit-learn's loss is the mean over the outputs, but its gradient is that of their sum.
        return Objective("mean_squared_error", value_scale=0.5, gradient_scale=0.5 * n_out)
    if loss == "poisson":
        return Objective("poisson_log", True, value_scale=n_out, gradient_scale=n_out)
    if loss == "huber":
        return Objective(_PLAIN[loss], parameters=(float(delta),))
    if loss == "quantile":
        quantiles = np.atleast_1d(np.asarray(quantile, np.float64)).tolist()
        return Objective(_PLAIN[loss], parameters=tuple(quantiles))
    return Objective(_PLAIN[loss])

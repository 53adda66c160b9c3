"""Training with SciPy's L-BFGS, which uses the engine's loss and flat gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from nnfast._data.samples import Samples
from nnfast._engine import Data, Engine
from nnfast._utils.checks import warn
from nnfast.estimators.architecture import Perceptron
from nnfast.estimators.compat import lbfgs_verbosity, one_blas_thread

Floats = NDArray[np.float64]


def loss_and_gradient(engine: Engine, data: Data) -> tuple[float, Floats]:
    """Return the weighted mean Σ w·l / Σ w of the rows' losses l, and its flat gradient."""
    return engine.loss_and_grad(data), engine.grads.astype(np.float64)


def objective(
    network: Perceptron, rows: Samples, alpha: float
) -> Callable[[Floats], tuple[float, Floats]]:
    """Return the function θ → (loss, gradient), where θ are the engine's flat parameters."""
    engine, data = network.engine, rows.data()
    kernels = network.kernels
    penalty = alpha / (rows.total_weight or np.inf)

    def loss_and_grad(theta: Floats) -> tuple[float, Floats]:
        with np.errstate(over="ignore"):  # a step that is too large gives an infinite loss
            engine.params[:] = theta
        loss, gradient = loss_and_gradient(engine, data)
        loss += 0.5 * penalty * network.sum_of_squares()
        gradient[: kernels.size] += penalty * kernels
        return loss, gradient

    return loss_and_grad


class _Progress:
    """The objective that SciPy evaluates, with the result of the last complete iteration.

    Attributes
    ----------
    theta : ndarray
        The parameters after the last iteration.
    loss : float
        The loss at `theta`; NaN before the first evaluation.
    iterations : int
        The number of completed iterations.
    """

    def __init__(self, function: Callable[[Floats], tuple[float, Floats]], start: Floats) -> None:
        self.function = function
        self.theta = start
        self.loss = np.nan
        self.iterations = 0
        self._begun = False
        self._evaluated = np.nan  # the loss of the last evaluation

    def evaluate(self, theta: Floats) -> tuple[float, Floats]:
        """Return the loss and its gradient."""
        self._evaluated, gradient = self.function(theta)
        if not self._begun:
            self._begun, self.loss = True, self._evaluated
        return self._evaluated, gradient

    def iteration_ends(self, theta: Floats) -> None:
        """Record the parameters after an iteration, and the loss of the last evaluation."""
        self.theta = theta.copy()
        self.loss = self._evaluated
        self.iterations += 1


def minimize(
    network: Perceptron,
    rows: Samples,
    *,
    alpha: float,
    tol: float,
    max_iter: int,
    max_fun: int,
    verbose: int,
) -> tuple[float, int]:
    """Minimize the objective over all rows; return (loss, iterations).

    After Ctrl-C, a warning is issued, and the parameters and the loss are those of the last
    complete iteration. The loss is NaN if the objective was never evaluated.
    """
    start = network.engine.params.astype(np.float64)
    progress = _Progress(objective(network, rows, alpha), start)
    options = {"maxfun": max_fun, "maxiter": max_iter, "gtol": tol, **lbfgs_verbosity(verbose)}
    try:
        with one_blas_thread():
            result = scipy.optimize.minimize(
                progress.evaluate,
                start,
                method="L-BFGS-B",
                jac=True,
                callback=progress.iteration_ends,
                options=options,
            )
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        network.engine.params[:] = progress.theta
        return progress.loss, progress.iterations
    network.engine.params[:] = result.x
    if result.status != 0:
        _warn_unconverged(result, max_iter, max_fun)
    return float(result.fun), min(int(result.nit), max_iter)


def _warn_unconverged(result: Any, max_iter: int, max_fun: int) -> None:
    message = result.message
    warn(
        f"lbfgs failed to converge after {result.nit} iteration(s) "
        f"(status={result.status}):\n"
        f"{message.decode() if isinstance(message, bytes) else message}\n\n"
        f"Increase max_iter (now {max_iter}) or max_fun (now {max_fun}), or scale the data",
        ConvergenceWarning,
    )

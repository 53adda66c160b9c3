"""L-BFGS: SciPy's, over the engine's flat loss and gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from nnfast._utils.checks import warn
from nnfast.estimators.architecture import Network
from nnfast.estimators.compat import lbfgs_verbosity, one_blas_thread
from nnfast.estimators.rows import Rows

Floats = NDArray[np.float64]


def objective(
    network: Network, rows: Rows, alpha: float
) -> Callable[[Floats], tuple[float, Floats]]:
    """Return θ → (loss, gradient), where θ is the engine's flat parameters."""
    engine = network.engine
    kernels = network.kernels
    share = alpha / (rows.denominator or np.inf)

    def loss_and_grad(theta: Floats) -> tuple[float, Floats]:
        with np.errstate(over="ignore"):  # a step too far: the loss there is infinite, too
            engine.params[:] = theta
        loss, gradient = rows.loss_and_grad(engine)
        loss += 0.5 * share * network.sum_of_squares()
        gradient[: kernels.size] += share * kernels
        return loss, gradient

    return loss_and_grad


def minimize(
    network: Network,
    rows: Rows,
    *,
    alpha: float,
    tol: float,
    max_iter: int,
    max_fun: int,
    verbose: int,
) -> tuple[float, int]:
    """Minimize the objective over all rows; return (loss, iterations).

    After Ctrl-C parameters and loss are those of the last iteration, and a warning says so; the
    loss is NaN if there was no time to compute one.
    """
    function = objective(network, rows, alpha)
    start = network.engine.params.astype(np.float64)
    last: dict[str, Any] = {"x": start, "nit": 0}
    loss = np.nan

    def evaluate(theta: Floats) -> tuple[float, Floats]:
        nonlocal loss
        loss, gradient = function(theta)
        last.setdefault("loss", loss)  # of the start
        return loss, gradient

    def remember(intermediate: Floats) -> None:
        last["x"] = intermediate.copy()
        last["loss"] = loss  # an iteration ends with the evaluation of what it came to
        last["nit"] += 1

    try:
        with one_blas_thread():
            result = scipy.optimize.minimize(
                evaluate,
                start,
                method="L-BFGS-B",
                jac=True,
                callback=remember,
                options={
                    "maxfun": max_fun,
                    "maxiter": max_iter,
                    "gtol": tol,
                    **lbfgs_verbosity(verbose),
                },
            )
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        network.engine.params[:] = last["x"]
        return last.get("loss", np.nan), last["nit"]
    network.engine.params[:] = result.x
    if result.status != 0:
        message = result.message
        warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) "
            f"(status={result.status}):\n"
            f"{message.decode() if isinstance(message, bytes) else message}\n\n"
            f"Increase max_iter (now {max_iter}) or max_fun (now {max_fun}), or scale the data",
            ConvergenceWarning,
        )
    return float(result.fun), min(int(result.nit), max_iter)

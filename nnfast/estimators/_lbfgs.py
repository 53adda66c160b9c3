"""L-BFGS: SciPy's, over the engine's flat loss and gradient."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from nnfast._engine import Engine, core
from nnfast._validation import warn
from nnfast.estimators._compat import lbfgs_verbosity, one_blas_thread
from nnfast.estimators._network import Network
from nnfast.estimators._rows import Rows

Floats = NDArray[np.float64]


class Team:
    """Chooses between one thread and all of them, by how long each takes: results are the same.

    A team that is woken for each evaluation costs more than it gives where they are short, or
    where the machine is busy; only a measurement tells.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.allowed = engine.n_threads
        self.most = min(core.get_threads(), self.allowed or core.get_threads())
        self.seconds = {1: 0.0, self.most: 0.0}
        # Evaluations until the slower way gets another chance: more each time that it loses.
        self.wait = self.left = 10

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Run what is inside with the threads that were faster."""
        quick = min(self.seconds, key=lambda n: self.seconds[n])
        slow = 1 + self.most - quick
        self.left -= 1
        threads = quick
        if self.left == 0:
            threads = slow
            self.wait *= 2
            self.left = self.wait
        self.engine.n_threads = threads
        started = time.perf_counter()
        try:
            yield
        finally:
            self.engine.n_threads = self.allowed
            self.seconds[threads] = time.perf_counter() - started


def objective(
    network: Network, rows: Rows, alpha: float
) -> Callable[[Floats], tuple[float, Floats]]:
    """Return θ → (loss, gradient), where θ is the engine's flat parameters."""
    engine = network.engine
    kernels = network.kernels
    share = alpha / (rows.denominator or np.inf)
    team = Team(engine)

    def loss_and_grad(theta: Floats) -> tuple[float, Floats]:
        engine.params[:] = theta
        with team.chosen():
            loss, gradient = rows.loss_and_grad(engine)
        loss += 0.5 * share * float(kernels @ kernels)
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

"""The estimator for regression."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from nnfast._utils import checks
from nnfast.estimators import objective
from nnfast.estimators.base import BaseMLP
from nnfast.estimators.compat import Interval, StrOptions, fit_context, validate_data
from nnfast.estimators.parameters import CONSTRAINTS, entries

Array = NDArray[Any]


def output_activation(loss: str) -> str:
    """Return scikit-learn's name for the output activation."""
    return "exp" if loss == "poisson" else "identity"


def quantiles_of(loss: str, quantile: Any) -> Array:
    """Return the quantiles to predict; the array is empty for losses other than "quantile"."""
    if loss != "quantile":
        return np.empty(0)
    several = entries(quantile)
    quantiles = [quantile] if several is None else several
    if not quantiles:
        raise ValueError(f"quantile must be a number or a list of numbers; received {quantile!r}")
    return np.array([checks.real("each quantile", q, above=0.0, below=1.0) for q in quantiles])


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor, a drop-in replacement for scikit-learn's.

    The parameters up to `max_fun` are scikit-learn's. The same `random_state` gives the same
    initial weights.

    Parameters
    ----------
    loss : str, default "squared_error"
        "squared_error" and "poisson" as in scikit-learn (half the squared error, half the
        deviance), or "absolute_error", "huber", "quantile" or "log_cosh". With "poisson", the
        prediction is the exponential of the last layer's output, and y must be >= 0.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, \
early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        See `MLPClassifier`; early stopping monitors R².
    quantile : float or list of float, default 0.5
        The quantile for the loss "quantile", in (0, 1). With several quantiles, y must have one
        column, and `predict` returns one column per quantile.
    huber_delta : float, default 1.0
        The absolute error at which the loss "huber" changes from quadratic to linear.
    dropout, normalization, optimizer, callbacks, n_threads
        See `MLPClassifier`.

    Attributes
    ----------
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, \
validation_loss_curve_, t_, coefs_, intercepts_, n_features_in_, feature_names_in_, n_iter_, \
n_layers_, n_outputs_, out_activation_
        See `MLPClassifier`; the scores are R².

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> reg = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y)
    >>> reg.score(X, y) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
        "loss": [StrOptions(set(objective.REGRESSION))],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
    }

    _saved_as = "MLPRegressor"

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        quantile: Any = 0.5,
        huber_delta: float = 1.0,
        dropout: Any = 0.0,
        normalization: str | None = None,
        optimizer: Any = None,
        callbacks: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.quantile = quantile
        self.huber_delta = huber_delta
        self.dropout = dropout
        self.normalization = normalization
        self.optimizer = optimizer
        self.callbacks = callbacks
        self.n_threads = n_threads

    def _check_data(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _quantiles(self) -> Array:
        return quantiles_of(self.loss, self.quantile)

    def _count_outputs(self, y: Any) -> int:
        columns = 1 if y.ndim == 1 else int(y.shape[1])
        n_quantiles = len(self._quantiles())
        if n_quantiles > 1 and columns > 1:
            raise ValueError(f"several quantiles need y of one column; received {columns} columns")
        return max(n_quantiles, columns)

    def _targets(self, y: Any, dtype: np.dtype[Any]) -> Array:
        columns = y.reshape(len(y), -1)
        if columns.shape[1] < self.n_outputs_:
            columns = np.repeat(columns, self.n_outputs_, axis=1)
        if self.loss == "poisson" and len(y) and columns.min() < 0:
            raise ValueError("loss='poisson' needs y >= 0; received negative values")
        return checks.converted(columns, dtype)

    def _output_activation(self) -> str:
        return output_activation(self.loss)

    def _objective(self, dtype: np.dtype[Any]) -> objective.Objective:
        quantiles = self._quantiles().tolist()
        return objective.regression(self.loss, self.n_outputs_, self.huber_delta, quantiles)

    def _score_outputs(
        self, outputs: Array, targets: Array, weight: NDArray[np.float64] | None
    ) -> float:
        """Return R², averaged over the outputs."""
        middle = self._middle()
        if middle is not None:
            outputs, targets = outputs[:, [middle]], targets[:, [middle]]
        outputs, targets = outputs.astype(np.float64), targets.astype(np.float64)
        factors = np.ones(len(outputs)) if weight is None else weight
        with np.errstate(over="ignore", invalid="ignore"):  # squares of finite errors may overflow
            mean = np.average(targets, axis=0, weights=factors)
            residual = factors @ (targets - outputs) ** 2
            total = factors @ (targets - mean) ** 2
            # The score of a constant column is 1 for exact predictions, else 0.
            constant = np.where(residual == 0, 1.0, 0.0)
            scores = np.where(total == 0, constant, 1 - residual / np.where(total, total, 1))
            return float(scores.mean())

    def _middle(self) -> int | None:
        """Return the index of the quantile nearest to 0.5, or None without several quantiles."""
        quantiles = self._quantiles()
        return int(np.abs(quantiles - 0.5).argmin()) if len(quantiles) > 1 else None

    @available_if(lambda self: self._check_solver())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one more epoch.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
        y : array-like, (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like, (n_samples,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predictions for X.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)

        Returns
        -------
        ndarray
            Shape (n_samples,), or (n_samples, n_outputs) if there are several outputs.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R²; with several quantiles, only the quantile nearest to 0.5 is scored.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
        y : array-like, (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like, (n_samples,), optional

        Returns
        -------
        float
        """
        from sklearn.metrics import r2_score

        predicted = self.predict(X)
        middle = self._middle()
        if middle is not None:
            predicted = predicted[:, middle]
        return float(r2_score(y, predicted, sample_weight=sample_weight))

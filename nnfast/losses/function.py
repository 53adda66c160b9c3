"""Losses that users define as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import Shape, real_array
from nnfast.losses.loss import Array, Loss

__all__ = ["FunctionLoss"]

Weights = NDArray[np.float64]


class FunctionLoss(Loss):
    """A user-defined loss; `compile` wraps every callable in this class.

    Parameters
    ----------
    function : callable
        Called as ``function(y_true, y_pred)`` with the rows of a batch. y_true has the shape of
        the targets passed to `fit`; a 1-D y_true becomes a column if the model has one output.
        y_pred has the outputs' shape (n, ...). The function returns (value, gradient), where value
        is either

        - a number, the loss of the batch; gradient is its derivative with respect to y_pred;
        - an array (n,), the loss lᵢ of each row; row i of gradient is ∂lᵢ/∂ŷᵢ, and the loss of
          the batch is Σ wᵢ·lᵢ / n. Sample weights require this form or the next; or
        - an array of the shape of y_pred without its last axis, such as (n, steps): the same for
          each step or pixel. Weights of steps require this form. If the output has a mask, the sum
          is over the real steps, and n is their number; a number is then not changed by the mask.

    Raises
    ------
    TypeError
        If `function` is not callable.

    Notes
    -----
    Each training step calls the Python function. `evaluate` calls it once, with all rows. A saved
    model does not contain the function: compile the loaded model again.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> def mse(y_true, y_pred):
    ...     error = y_pred - y_true
    ...     return (error**2).mean(axis=1), 2 * error / error.shape[1]
    >>> model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    >>> model.compile("adam", loss=mse)
    >>> history = model.fit(np.ones((8, 1)), np.ones(8), epochs=2, verbose=0)
    """

    kind = "python"
    is_function = True

    def __init__(self, function: Callable[[Array, Array], tuple[Any, Any]]) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable; received {function!r}")
        super().__init__(getattr(function, "__name__", repr(function)))
        self._keep(function=function)

    def __eq__(self, other: object) -> bool:
        return type(other) is FunctionLoss and self._function is other._function

    def __hash__(self) -> int:
        return hash((FunctionLoss, self._function))

    def __repr__(self) -> str:
        return f"FunctionLoss(function={self._function!r})"

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the value that the function returns, without its gradient."""
        return self._function(y_true, y_pred)[0]

    @property
    def _function(self) -> Callable[[Array, Array], tuple[Any, Any]]:
        function: Callable[[Array, Array], tuple[Any, Any]] = vars(self)["function"]
        return function

    def rows(
        self, y_true: Array, y_pred: Array, weight: Weights | None, mask: Array | None = None
    ) -> tuple[NDArray[np.float64], Array]:
        """Return the weighted loss of each row (n,) and the gradient of their mean.

        Parameters
        ----------
        y_true, y_pred : ndarray (n, ...)
        weight : ndarray (n,) or (n, steps), optional
            The weights of the rows, or of their steps.
        mask : ndarray (n, mask steps), optional
            1 for each real step, else 0.

        Raises
        ------
        TypeError, ValueError
            If the function's return value is not as described in the class docstring.
        """
        value, gradient = self._results(y_true, y_pred, mask)
        n_real = 1 if mask is None else np.count_nonzero(mask)
        if not value.ndim:
            if weight is not None and (weight != 1).any():
                raise ValueError(
                    f"Samples are weighted, so loss {self.name} must return a value for each row; "
                    "received one number"
                )
            alive = bool(n_real)  # a batch without real steps has no loss
            return np.full(len(y_pred), value * alive), gradient * alive
        factors = self._factors(value.shape, weight)
        if mask is not None:
            over = mask.size / n_real if n_real else 0.0
            real = (mask != 0).reshape(*mask.shape, *[1] * (value.ndim - 2))
            # Masked steps may have any loss, infinity and NaN included.
            factors, value = np.where(real, factors * over, 0.0), np.where(real, value, 0.0)
            gradient = np.where(real[..., None], gradient, 0.0)
        by_output = factors.reshape(*factors.shape, *[1] * (y_pred.ndim - factors.ndim))
        total = (factors * value).reshape(len(y_pred), -1)
        losses = total[:, 0] if value.ndim == 1 else total.mean(axis=1)
        return losses, gradient * by_output / value.size

    def _results(
        self, y_true: Array, y_pred: Array, mask: Array | None
    ) -> tuple[NDArray[np.float64], Array]:
        """Return what the function returns, checked."""
        result = self._function(y_true, y_pred)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"Loss {self.name} must return (value, gradient); received {type(result).__name__}"
            )
        value = real_array(f"the value of loss {self.name}", result[0]).astype(np.float64)
        gradient = real_array(f"the gradient of loss {self.name}", result[1])
        if gradient.shape != y_pred.shape:
            raise ValueError(
                f"The gradient of loss {self.name} must have the outputs' shape {y_pred.shape}; "
                f"received {gradient.shape}"
            )
        n, *steps = y_pred.shape[:-1]
        by_step = f"each step, shape {(n, *steps)}, because the output has a mask"
        if mask is not None and value.shape not in ((), (n, *steps)):
            raise ValueError(
                f"The value of loss {self.name} must be a number or an array of numbers, one for "
                f"{by_step}; received shape {value.shape}"
            )
        if value.shape not in ((), (n,), (n, *steps)):
            raise ValueError(
                f"The value of loss {self.name} must be a number or an array of numbers, one for "
                f"each of {n} rows{f' or for each step, shape {(n, *steps)}' if steps else ''}; "
                f"received shape {value.shape}"
            )
        return value, gradient

    def _factors(self, shape: Shape, weight: Weights | None) -> Weights:
        """Return the weights of values of this shape."""
        if weight is None:
            return np.ones(shape)
        if weight.ndim > 1 and len(shape) == 1:
            raise ValueError(
                f"Steps are weighted, so loss {self.name} must return a value for each step; "
                f"received shape {shape}"
            )
        if weight.ndim > 1:
            return weight.reshape(shape)
        return np.broadcast_to(weight.reshape(-1, *[1] * (len(shape) - 1)), shape)

    def for_engine(self, head: int, sample_shape: Shape, loss_weight: float) -> Callable[..., None]:
        """Return the callback for the engine.

        Parameters
        ----------
        head : int
            The number of the output.
        sample_shape : tuple of int
            The shape of the output of one sample.
        loss_weight : float
            The factor of the gradient.
        """

        def call(
            targets: Sequence[Array],
            rows: Any,
            outputs: Any,
            weights: Any,
            mask: Any,
            values: Any,
            gradient: Any,
        ) -> None:
            y_pred = np.asarray(outputs)
            weight = None if weights is None else np.asarray(weights)
            if weight is not None and weight.shape[1] == 1:
                weight = weight[:, 0]
            value, derivatives = self.rows(
                targets[head][np.asarray(rows)[0]],
                y_pred.reshape(len(y_pred), *sample_shape),
                weight,
                None if mask is None else np.asarray(mask),
            )
            # A non-finite value makes training stop before the weights are updated.
            np.asarray(values)[0] = value if np.isfinite(derivatives).all() else np.nan
            np.asarray(gradient)[:] = loss_weight * derivatives.reshape(y_pred.shape)

        return call

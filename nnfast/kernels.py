"""The engine's kernels as NumPy functions, for user-defined training loops.

Every function takes and returns C-contiguous float32 or float64 arrays. Other input is converted
(integers to float32), and the other arrays in a call are converted to the dtype of the first.
Results are new arrays unless `out` is given.

>>> import numpy as np
>>> from nnfast import kernels
>>> x, w, b = np.ones((2, 3)), np.ones((3, 4)), np.zeros(4)
>>> y = kernels.dense_forward(x, w, b, activation="relu")
>>> value, dy = kernels.loss(np.zeros((2, 4)), y, "mean_squared_error")
>>> dx, dw, db = kernels.dense_backward(dy, x, w, y, activation="relu")
>>> value, dw.shape
(9.0, (3, 4))
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import activations, losses, optimizers
from nnfast._data import arrays
from nnfast._engine import core
from nnfast._utils import checks

Array = NDArray[Any]

__all__ = [
    "activation_backward",
    "activation_forward",
    "dense_backward",
    "dense_forward",
    "loss",
    "optimizer_step",
]


def dense_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike,
    activation: str | activations.Activation | None = "linear",
    out: Array | None = None,
) -> Array:
    """Return f(x·w + b), where f is the activation.

    Parameters
    ----------
    x : array_like, shape (m, n_in)
    w : array_like, shape (n_in, n_out)
    b : array_like, shape (n_out,)
    activation : str or Activation, default "linear"
        The function f.
    out : ndarray, shape (m, n_out), optional
        C-contiguous array for the result, with x's dtype; it must not be x, w or b.

    Returns
    -------
    ndarray, shape (m, n_out)
        The result; this is `out` if given.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, an array is not numeric, or `activation` is unknown.

    Examples
    --------
    >>> dense_forward([[1.0, 2.0]], [[1.0], [-1.0]], [0.5], activation="relu")
    array([[0.]])
    """
    f = activations.resolve(activation)
    x = checks.kernel_array("x", x, 2)
    w = checks.kernel_array("w", w, 2, x.dtype, shape=(x.shape[1], None))
    b = checks.kernel_array("b", b, 1, x.dtype, shape=(w.shape[1],))
    out = checks.kernel_output("out", out, (len(x), w.shape[1]), x.dtype)
    core.dense_forward(x, w, b, f.id, f.alpha, out)
    return out


def dense_backward(
    dout: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    out: ArrayLike,
    activation: str | activations.Activation | None = "linear",
    z: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients of `dense_forward` with respect to x, w and b.

    dz = dout ⊙ f′(z),  dx = dz·wᵀ,  dw = xᵀ·dz,  db = Σ dz over the rows.

    Parameters
    ----------
    dout : array_like, shape (m, n_out)
        Gradient with respect to `out`.
    x : array_like, shape (m, n_in)
    w : array_like, shape (n_in, n_out)
    out : array_like, shape (m, n_out)
        Result of `dense_forward`.
    activation : str or Activation, default "linear"
        As in `dense_forward`.
    z : array_like, shape (m, n_out), optional
        The pre-activation x·w + b, which `dense_forward` returns with "linear". Needed for gelu,
        gelu_tanh, silu and mish: their derivatives cannot be computed from `out`.

    Returns
    -------
    dx : ndarray, shape (m, n_in)
    dw : ndarray, shape (n_in, n_out)
    db : ndarray, shape (n_out,)

    Raises
    ------
    ValueError, TypeError
        As for `dense_forward`.

    Examples
    --------
    >>> dx, dw, db = dense_backward([[1.0]], [[1.0, 2.0]], [[3.0], [4.0]], [[11.0]])
    >>> dx, dw.ravel(), db
    (array([[3., 4.]]), array([1., 2.]), array([1.]))
    """
    f = activations.resolve(activation)
    dout = checks.kernel_array("dout", dout, 2)
    m, n_out = dout.shape
    x = checks.kernel_array("x", x, 2, dout.dtype, shape=(m, None))
    w = checks.kernel_array("w", w, 2, dout.dtype, shape=(x.shape[1], n_out))
    out = checks.kernel_array("out", out, 2, dout.dtype, shape=(m, n_out))
    dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty(n_out, dout.dtype)
    z = _preactivation(f, "z", z, out)
    core.dense_backward(dout, x, w, out, z, f.id, f.alpha, dx, dw, db)
    return dx, dw, db


def activation_forward(
    x: ArrayLike, activation: str | activations.Activation, out: Array | None = None
) -> Array:
    """Return f(x), where f is the activation.

    Parameters
    ----------
    x : array_like, at least 1-D
        softmax normalizes along the last axis.
    activation : str or Activation
        The function f.
    out : ndarray, shape of x, optional
        C-contiguous array for the result, with x's dtype; it may be x itself.

    Returns
    -------
    ndarray, shape of x
        The result; this is `out` if given.

    Raises
    ------
    ValueError, TypeError
        As for `dense_forward`.

    Examples
    --------
    >>> activation_forward([[0.0, 0.0]], "softmax")
    array([[0.5, 0.5]])
    """
    values: Array = activations.resolve(activation)(checks.kernel_array("x", x, None), out=out)
    return values.view(np.ndarray) if out is None else values


def activation_backward(
    dout: ArrayLike,
    out: ArrayLike,
    activation: str | activations.Activation,
    x: ArrayLike | None = None,
) -> Array:
    """Return the gradient with respect to x, where out = f(x).

    Parameters
    ----------
    dout : array_like
        Gradient with respect to `out`.
    out : array_like, shape of dout
        Result of `activation_forward`.
    activation : str or Activation
        The function f.
    x : array_like, shape of dout, optional
        The pre-activation. Needed for gelu, gelu_tanh, silu and mish: their derivatives cannot be
        computed from `out`.

    Returns
    -------
    ndarray, shape of dout

    Raises
    ------
    ValueError, TypeError
        As for `dense_forward`.

    Examples
    --------
    >>> activation_backward([[2.0, 2.0]], [[0.0, 3.0]], "relu")
    array([[0., 2.]])
    """
    f = activations.resolve(activation)
    dout = checks.kernel_array("dout", dout, None)
    out = checks.kernel_array("out", out, dout.ndim, dout.dtype, shape=dout.shape)
    dx = np.empty_like(dout)
    x = _preactivation(f, "x", x, out)
    rows = checks.as_rows
    core.activation_backward(rows(dout), rows(out), rows(x), f.id, f.alpha, rows(dx))
    return dx


def loss(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    loss: str | losses.Loss = "mean_squared_error",
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Array]:
    """Return the loss Σ wᵢ·lᵢ / m and its gradient with respect to y_pred.

    Parameters
    ----------
    y_true : array_like, shape (m, n), or (m,) class indices for sparse losses
    y_pred : array_like, shape (m, n)
    loss : str or Loss, default "mean_squared_error"
        Defines the loss lᵢ of row i.
    sample_weight : array_like, shape (m,), optional
        Weights wᵢ, by default 1.

    Returns
    -------
    value : float
    gradient : ndarray, shape (m, n)

    Raises
    ------
    ValueError, TypeError
        As for `dense_forward`, or if a class index is not in [0, n).

    Examples
    --------
    >>> value, gradient = loss([1], [[0.0, 0.0]], losses.SparseCategoricalCrossentropy(True))
    >>> round(value, 4), gradient
    (0.6931, array([[ 0.5, -0.5]]))
    """
    chosen = losses.resolve(loss)
    y_pred = checks.kernel_array("y_pred", y_pred, 2)
    m, n = y_pred.shape
    if y_pred.size == 0:
        raise ValueError(
            f"y_pred: expected at least one row and one column; received shape {(m, n)}"
        )
    target = arrays.targets("y_true", y_true, m, chosen.target_spec((n,)), y_pred.dtype.name)
    if chosen.sparse:
        target = np.eye(n, dtype=y_pred.dtype)[target]
    weight = arrays.sample_weights("sample_weight", sample_weight, m)
    gradient = np.empty_like(y_pred)
    kind, _ = chosen.engine_loss("linear")
    ones = np.ones(m) if weight is None else weight
    scale, offset = chosen.smoothing(n)
    if (scale, offset) != (1.0, 0.0):
        target = target * y_pred.dtype.type(scale) + y_pred.dtype.type(offset)
    value = core.loss(kind, chosen.parameters, target, y_pred, ones, gradient)
    factor = chosen.scale((n,))
    return value * factor, gradient * gradient.dtype.type(factor)


def optimizer_step(
    params: Array,
    grads: ArrayLike,
    slots: Array,
    iteration: int,
    optimizer: str | optimizers.Optimizer = "adam",
) -> None:
    """Update parameters and optimizer state by one step, in place.

    Parameters
    ----------
    params : ndarray, shape (n,)
        Parameters, C-contiguous float32 or float64; updated in place.
    grads : array_like, shape (n,)
        Gradients of the parameters.
    slots : ndarray, shape (n_slots, n)
        The optimizer's state, updated in place; n_slots is ``optimizer.n_slots``. Before the first
        step, all elements must be 0, or ``initial_accumulator_value`` for Adagrad.
    iteration : int
        Number of steps taken before this one.
    optimizer : str or Optimizer, default "adam"

    Raises
    ------
    ValueError, TypeError
        If an array has the wrong shape or is read-only, or `optimizer` is unknown.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> optimizer_step(w, [1.0, -1.0], np.zeros((0, 2)), 0, optimizers.SGD(0.5))
    >>> w
    array([0.5, 2.5])
    """
    chosen = optimizers.resolve(optimizer)
    if not isinstance(params, np.ndarray):
        raise TypeError(f"params: expected an ndarray to update; received {type(params).__name__}")
    n = params.size
    params = checks.kernel_output("params", params, (n,), params.dtype)
    g = checks.kernel_array("grads", grads, 1, params.dtype, shape=(n,))
    slots = checks.kernel_output("slots", slots, (chosen.n_slots, n), params.dtype)
    iteration = checks.integer("iteration", iteration, minimum=0)
    max_norm = chosen.clipnorm or chosen.global_clipnorm  # equivalent for a single array
    if max_norm is not None:
        norm = float(np.linalg.norm(g.astype(np.float64)))
        g = g * g.dtype.type(min(1.0, max_norm / norm) if norm else 1.0)
    options = chosen.options
    core.optimizer_step(
        chosen.id,
        chosen.n_slots,
        chosen.hyper,
        float(chosen.rates(iteration, 1)[0]),
        options["weight_decay"],
        options["clip_value"],
        options["ema_momentum"],
        iteration,
        params,
        g,
        slots,
    )
    if options["ema_period"] and (iteration + 1) % options["ema_period"] == 0:
        params[:] = slots[-1]


def _preactivation(
    f: activations.Activation, name: str, value: ArrayLike | None, out: Array
) -> Array:
    """Return the checked pre-activation of `f`, or `out` if the derivative does not need it."""
    if not f.needs_preactivation:
        return out
    if value is None:
        raise ValueError(f"{name} is needed for the derivative of {f.name!r}; received None")
    return checks.kernel_array(name, value, out.ndim, out.dtype, shape=out.shape)

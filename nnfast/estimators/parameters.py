"""The estimators' parameters: their constraints, and the training settings derived from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

from nnfast import activations, optimizers
from nnfast._utils import checks
from nnfast.callbacks.callback_list import CallbackList
from nnfast.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from nnfast.estimators.architecture import Architecture
from nnfast.estimators.compat import Interval, Options, StrOptions
from nnfast.estimators.stopping import LearningRate, Settings
from nnfast.optimizers.optimizer import Optimizer
from nnfast.optimizers.rules import SGD, Adam

# Maps scikit-learn's activation names to the engine's names, where these differ.
ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "exp": "exponential"}
STOCHASTIC = ("adam", "sgd")

# scikit-learn itself checks these constraints, so the error messages are the same.
CONSTRAINTS: dict[str, Any] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({*activations.TABLE, *ACTIVATIONS}), "array-like", callable],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [
        Interval(Integral, 1, None, closed="left"),
        Options(Real, {np.inf}),
    ],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "normalization": [StrOptions({"batch", "layer"}), None],
    "optimizer": [StrOptions(set(optimizers.TABLE)), optimizers.Optimizer, None],
    "callbacks": "no_validation",
    "n_threads": [Interval(Integral, 1, None, closed="left"), None],
}


class Parameters(Protocol):
    """The attributes of estimators that the functions below read."""

    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: bool | int
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    dropout: Any
    normalization: str | None
    optimizer: Any
    callbacks: Any


def entries(value: Any) -> list[Any] | None:
    """Return the entries of a list, a tuple or an array; None for a single value."""
    if isinstance(value, (str, Mapping)) or not hasattr(value, "__len__"):
        return None
    return None if isinstance(value, np.ndarray) and not value.ndim else list(value)


# ---- the network ---------------------------------------------------------------------------------


def hidden_units(parameters: Parameters) -> list[int]:
    """Return the number of units of each hidden layer."""
    several = entries(parameters.hidden_layer_sizes)
    hidden = [parameters.hidden_layer_sizes] if several is None else several
    if any(isinstance(units, Integral) and units <= 0 for units in hidden):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
    return [
        checks.integer("each entry of hidden_layer_sizes", units, minimum=1) for units in hidden
    ]


def hidden_activations(parameters: Parameters, hidden: int) -> tuple[activations.Activation, ...]:
    """Return the activation of each hidden layer; `hidden` is the number of hidden layers."""
    activation = parameters.activation
    several = entries(activation)
    names = [activation] * hidden if several is None else several
    if len(names) != hidden:
        raise ValueError(
            f"activation must be one, or one for each of the {hidden} hidden layers; received "
            f"{activation!r}"
        )
    return tuple(
        activations.resolve(ACTIVATIONS.get(name, name) if isinstance(name, str) else name)
        for name in names
    )


def dropout_rates(parameters: Parameters, hidden: int) -> tuple[float, ...]:
    """Return the dropout rate after each hidden layer; `hidden` is the number of hidden layers."""
    dropout = parameters.dropout
    several = entries(dropout)
    if several is None:
        return (float(dropout),) * hidden
    if len(several) != hidden:
        raise ValueError(
            f"dropout must be one rate, or one for each of the {hidden} hidden layers; "
            f"received {dropout!r}"
        )
    return tuple(checks.real("each entry of dropout", rate, low=0.0, below=1.0) for rate in several)


def architecture_of(parameters: Parameters, sizes: Sequence[int], output: str) -> Architecture:
    """Return the architecture for layers with the given sizes.

    Parameters
    ----------
    parameters : Parameters
    sizes : sequence of int
        The numbers of features, of units in each hidden layer, and of outputs.
    output : str
        scikit-learn's name for the output activation.

    Raises
    ------
    ValueError
        If the number of hidden layers does not match `activation` or `dropout`, or the solver
        does not support the architecture.
    """
    hidden = len(sizes) - 2
    stochastic = parameters.solver in STOCHASTIC
    dropout = dropout_rates(parameters, hidden)
    if not stochastic and (any(dropout) or parameters.normalization == "batch"):
        raise ValueError(
            "solver='lbfgs' sees all rows at once: it supports neither dropout nor "
            "normalization='batch'"
        )
    return Architecture(
        sizes=tuple(sizes),
        activations=hidden_activations(parameters, hidden),
        output=ACTIVATIONS.get(output, output),
        # For L-BFGS, `lbfgs.objective` adds the penalty, once for all rows.
        alpha=float(parameters.alpha) if stochastic else 0.0,
        dropout=dropout,
        normalization=parameters.normalization,
    )


# ---- the optimizer -------------------------------------------------------------------------------


def optimizer_of(parameters: Parameters) -> LearningRate:
    """Return a new optimizer and its learning rate policy, from `optimizer` or `solver`."""
    chosen = parameters.optimizer
    optimizer: Optimizer
    if chosen is not None:
        optimizer = optimizers.resolve(chosen)
        if isinstance(chosen, str):
            optimizer.learning_rate = float(parameters.learning_rate_init)
        else:
            optimizer = deepcopy(optimizer)
    elif parameters.solver == "adam":
        optimizer = Adam(
            float(parameters.learning_rate_init),
            parameters.beta_1,
            parameters.beta_2,
            parameters.epsilon,
        )
    else:
        optimizer = SGD(
            float(parameters.learning_rate_init),
            parameters.momentum,
            bool(parameters.nesterovs_momentum),
        )
    return with_policy(parameters, optimizer)


def optimizer_kind(parameters: Parameters) -> type[Optimizer]:
    """Return the class of the optimizer that `optimizer_of` returns."""
    if parameters.optimizer is not None:
        return type(optimizers.resolve(parameters.optimizer))
    return Adam if parameters.solver == "adam" else SGD


def with_policy(parameters: Parameters, optimizer: Optimizer) -> LearningRate:
    """Return an optimizer with its learning rate policy, which is constant except for "sgd"."""
    if parameters.optimizer is not None or parameters.solver != "sgd":
        return LearningRate(optimizer)
    return LearningRate(optimizer, parameters.learning_rate, parameters.power_t)


# ---- training ------------------------------------------------------------------------------------


def settings_of(parameters: Parameters, single_epoch: bool) -> Settings:
    """Return the training settings."""
    return Settings(
        batch_size=parameters.batch_size,
        max_iter=parameters.max_iter,
        shuffle=parameters.shuffle,
        tol=parameters.tol,
        n_iter_no_change=parameters.n_iter_no_change,
        early_stopping=bool(parameters.early_stopping),
        verbose=parameters.verbose,
        single_epoch=single_epoch,
    )


def callbacks_of(parameters: Parameters) -> CallbackList:
    """Return the callbacks after checking that training supports them.

    Raises
    ------
    TypeError
        If an entry is not a callback.
    ValueError
        If a callback has batch methods, if both a callback and the policy set the learning rate,
        or if the solver has no epochs.
    """
    callbacks = CallbackList(parameters.callbacks)
    if parameters.callbacks and parameters.solver == "lbfgs":
        raise ValueError("callbacks are called once an epoch, but solver='lbfgs' has none")
    if callbacks.per_batch or callbacks.per_test_batch:
        raise ValueError("callbacks of estimators are called once an epoch, not once a batch")
    policy = parameters.learning_rate if parameters.solver == "sgd" else "constant"
    for callback in callbacks.callbacks:
        sets_rate = isinstance(callback, (LearningRateScheduler, ReduceLROnPlateau))
        if sets_rate and policy == "invscaling" and parameters.optimizer is None:
            raise ValueError(
                f"{type(callback).__name__} cannot set the learning rate, because "
                "learning_rate='invscaling' sets it after every epoch: use only one of them"
            )
    return callbacks

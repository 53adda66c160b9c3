"""A multi-layer perceptron on the engine: its weights are views of the engine's memory."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import activations
from nnfast._engine import Engine
from nnfast._plan.plan import Plan, compile_plan
from nnfast.layers.core import Activation as ActivationLayer
from nnfast.layers.core import Dense
from nnfast.layers.layer import Layer
from nnfast.layers.normalization import BatchNormalization, LayerNormalization
from nnfast.layers.regularization import Dropout
from nnfast.optimizers.optimizer import Optimizer
from nnfast.regularizers import L2

Array = NDArray[Any]


@dataclass(frozen=True)
class Architecture:
    """What the network is.

    Attributes
    ----------
    sizes : tuple of int
        Features, units of each hidden layer, outputs.
    activations : tuple of Activation
        Of each hidden layer.
    output : str
        The engine's name of the output's activation.
    alpha : float
        Σ α/2·W² is added to the loss.
    dropout : tuple of float
        The rate after each hidden layer.
    normalization : {"batch", "layer"} or None
        Between each hidden layer's products and its activation.
    """

    sizes: tuple[int, ...]
    activations: tuple[activations.Activation, ...]
    output: str
    alpha: float
    dropout: tuple[float, ...]
    normalization: str | None = None

    def layers(self) -> list[Layer]:
        """Return the chain of layers."""
        penalty = L2(0.5 * self.alpha) if self.alpha else None
        chain: list[Layer] = []
        names = [*self.activations, activations.resolve(self.output)]
        for i, (units, activation) in enumerate(zip(self.sizes[1:], names, strict=True)):
            hidden = i < len(self.activations)
            normalized = hidden and self.normalization is not None
            chain.append(
                Dense(
                    units,
                    activation=None if normalized else activation,
                    kernel_regularizer=penalty,
                    name=f"dense_{i}",
                )
            )
            if normalized:
                kind = BatchNormalization if self.normalization == "batch" else LayerNormalization
                chain += [
                    kind(name=f"normalization_{i}"),
                    ActivationLayer(activation, name=f"activation_{i}"),
                ]
            if hidden and self.dropout[i]:
                chain.append(Dropout(self.dropout[i], name=f"dropout_{i}"))
        return chain


@functools.lru_cache(maxsize=32)
def plan_of(architecture: Architecture) -> Plan:
    """Return its plan; searches over hyper-parameters and ensembles ask for the same many times."""
    return compile_plan(architecture.layers(), architecture.sizes[:1])


class Network:
    """An engine with its weights under scikit-learn's names.

    Parameters
    ----------
    architecture : Architecture
    dtype : numpy.dtype
        float32 or float64.

    Attributes
    ----------
    engine : nnfast._engine.Engine
    coefs, intercepts : list of ndarray
        Views of the engine's weights.
    weights : list of ndarray
        Views of all of them, layer by layer.
    optimizer : Optimizer or None
        What the engine's slots are for.
    seed : int
    """

    def __init__(self, architecture: Architecture, dtype: np.dtype[Any]) -> None:
        self.architecture = architecture
        self.dtype = dtype
        self.optimizer: Optimizer | None = None
        self.seed = 0
        plan = plan_of(architecture)
        self.n_out = plan.n_out
        self.engine = Engine(plan, dtype.name)
        self.coefs: list[Array] = []
        self.intercepts: list[Array] = []
        generator = np.random.default_rng(0)
        views = list(zip(plan.parameters, plan.views(self.engine.weights), strict=True))
        self.weights = [view for _, view in sorted(views, key=lambda pair: pair[0].layer)]
        for p, view in views:
            if p.name == "kernel":
                self.coefs.append(view)
            elif p.name == "bias":
                self.intercepts.append(view)
            else:
                p.weight.initializer.fill(view, generator)

    @property
    def kernels(self) -> Array:
        """All coefficients, flat: they come first in the engine's memory."""
        size = sum(view.size for view in self.coefs)
        return self.engine.params[:size]

    def sum_of_squares(self) -> float:
        """Return Σ W² of all coefficients; infinite where it is too large for their type."""
        with np.errstate(over="ignore"):
            return float(self.kernels @ self.kernels)

    def take(self, coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
        """Copy in what is not a view of this network already."""
        for view, given in zip([*self.coefs, *self.intercepts], [*coefs, *intercepts], strict=True):
            if given is not view:
                view[...] = given

    def start(self, optimizer: Optimizer) -> None:
        """Take an optimizer, in its initial state."""
        self.optimizer = optimizer
        optimizer.configure(self.engine)

    def set_seed(self, seed: int) -> None:
        """Set the seed of shuffles and of dropout."""
        self.seed = seed
        self.engine.set_seed(seed)

    def next_epoch(self) -> None:
        """Leave an epoch that was cut short."""
        if self.engine.batch:
            self.engine.epoch += 1
            self.engine.batch = 0

    def finish(self) -> None:
        """End training: a moving average replaces the weights."""
        if self.engine.has_average and self.engine.iterations:
            self.engine.params[:] = self.engine.slots[-1]

    def state(self) -> dict[str, Any]:
        """Return what goes on from call to call besides coefs and intercepts, as copies."""
        engine = self.engine
        state = {
            "optimizer": self.optimizer,
            "seed": self.seed,
            "position": (engine.iterations, engine.epoch),
            "slots": None if self.optimizer is None else engine.slots.copy(),
        }
        if self.architecture.normalization is not None:
            state["weights"] = engine.weights.copy()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        self.set_seed(state["seed"])
        if state["optimizer"] is not None:
            self.start(state["optimizer"])
            self.engine.slots[...] = state["slots"]
        self.engine.iterations, self.engine.epoch = state["position"]
        if "weights" in state:
            self.engine.weights[...] = state["weights"]

    def __getstate__(self) -> dict[str, Any]:
        return {"architecture": self.architecture, "dtype": self.dtype.name, **self.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Network.__init__(self, state["architecture"], np.dtype(state["dtype"]))
        self.restore(state)


def sizes_of(coefs: Sequence[Array]) -> tuple[int, ...]:
    """Return the units of every layer, from the coefficients' shapes.

    Examples
    --------
    >>> sizes_of([np.ones((4, 3)), np.ones((3, 1))])
    (4, 3, 1)

    Raises
    ------
    ValueError
        If they are not a chain of matrices.
    """
    shapes = [np.shape(coef) for coef in coefs]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"coefs_ must be a list of matrices; received shapes {shapes}")
    if any(a[1] != b[0] for a, b in pairwise(shapes)):
        raise ValueError(f"coefs_ must fit each other; received shapes {shapes}")
    return (*(shape[0] for shape in shapes), shapes[-1][1])

"""The architecture of a multi-layer perceptron, and its network with scikit-learn's names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import activations
from nnfast._plan.plan import Plan, compile_plan
from nnfast._runtime.network import Network
from nnfast._runtime.predict import forward
from nnfast._runtime.trainer import Trainer
from nnfast.layers.core import Activation as ActivationLayer, Dense
from nnfast.layers.layer import Layer
from nnfast.layers.normalization import BatchNormalization, LayerNormalization
from nnfast.layers.regularization import Dropout
from nnfast.optimizers.optimizer import Optimizer
from nnfast.regularizers import L2

Array = NDArray[Any]


@dataclass(frozen=True)
class Architecture:
    """The layers of a multi-layer perceptron.

    Attributes
    ----------
    sizes : tuple of int
        The numbers of features, of units in each hidden layer, and of outputs.
    activations : tuple of Activation
        The activation of each hidden layer.
    output : str
        The engine's name for the output activation.
    alpha : float
        The strength α of the L2 penalty α/2·Σ W², which is added to the loss.
    dropout : tuple of float
        The dropout rate after each hidden layer.
    normalization : {"batch", "layer"} or None
        The normalization of each hidden layer's pre-activations.
    """

    sizes: tuple[int, ...]
    activations: tuple[activations.Activation, ...]
    output: str
    alpha: float
    dropout: tuple[float, ...]
    normalization: str | None = None

    def layers(self) -> list[Layer]:
        """Return the list of layers."""
        penalty = L2(0.5 * self.alpha) if self.alpha else None
        layers: list[Layer] = []
        names = [*self.activations, activations.resolve(self.output)]
        for i, (units, activation) in enumerate(zip(self.sizes[1:], names, strict=True)):
            hidden = i < len(self.activations)
            normalized = hidden and self.normalization is not None
            layers.append(
                Dense(
                    units,
                    activation=None if normalized else activation,
                    kernel_regularizer=penalty,
                    name=f"dense_{i}",
                )
            )
            if normalized:
                kind = BatchNormalization if self.normalization == "batch" else LayerNormalization
                layers += [
                    kind(name=f"normalization_{i}"),
                    ActivationLayer(activation, name=f"activation_{i}"),
                ]
            if hidden and self.dropout[i]:
                layers.append(Dropout(self.dropout[i], name=f"dropout_{i}"))
        return layers


@functools.lru_cache(maxsize=32)
def plan_of(architecture: Architecture) -> Plan:
    """Return the plan. It is cached: searches and ensembles reuse the same architecture often."""
    return compile_plan(architecture.layers(), architecture.sizes[:1])


class Perceptron:
    """A network with its trainer and with its weights under scikit-learn's names.

    Parameters
    ----------
    architecture : Architecture
    dtype : numpy.dtype
        float32 or float64.

    Attributes
    ----------
    network : nnfast._runtime.network.Network
    trainer : Trainer or None
        The trainer whose optimizer owns the engine's slots; None before `start`.
    coefs, intercepts : list of ndarray
        Views of the engine's weights.
    weights : list of ndarray
        Views of all weights, layer by layer.
    """

    def __init__(self, architecture: Architecture, dtype: np.dtype[Any]) -> None:
        self.architecture = architecture
        self.dtype = dtype
        self.trainer: Trainer | None = None
        plan = plan_of(architecture)
        self.network = Network(plan, dtype)
        self.engine = self.network.engine
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
    def optimizer(self) -> Optimizer | None:
        return None if self.trainer is None else self.trainer.optimizer

    @property
    def kernels(self) -> Array:
        """All coefficients as one flat view; they are the first of the engine's parameters."""
        size = sum(view.size for view in self.coefs)
        return self.engine.params[:size]

    def sum_of_squares(self) -> float:
        """Return Σ W² over all coefficients, or infinity if the sum overflows their dtype."""
        with np.errstate(over="ignore"):
            return float(self.kernels @ self.kernels)

    def take(self, coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
        """Copy weights into this network, except for arrays that are already its views."""
        for view, own in zip([*self.coefs, *self.intercepts], [*coefs, *intercepts], strict=True):
            if own is not view:
                view[...] = own

    def start(self, optimizer: Optimizer) -> Trainer:
        """Return a trainer with an optimizer in its initial state.

        The trainer has no loss, because the estimator sets the engine's objective directly.
        """
        optimizer.configure(self.engine)
        self.trainer = Trainer(self.network, optimizer, self.engine.version)
        return self.trainer

    def outputs(self, rows: Any) -> Array:
        """Return the outputs, (n, outputs), for rows that the engine can read."""
        outputs = self.engine.predict(rows)  # None if rows are sparse or too many
        return forward(self.network, [rows])[0] if outputs is None else outputs

    def state(self) -> dict[str, Any]:
        """Return a copy of the training state, without coefs and intercepts."""
        engine = self.engine
        state = {
            "optimizer": self.optimizer,
            "seed": self.network.seed,
            "position": (engine.iterations, engine.epoch),
            "slots": None if self.trainer is None else engine.slots.copy(),
        }
        if self.architecture.normalization is not None:
            state["weights"] = engine.weights.copy()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.network.set_seed(state["seed"])
        if state["optimizer"] is not None:
            self.start(state["optimizer"])
            self.engine.slots[...] = state["slots"]
        self.engine.iterations, self.engine.epoch = state["position"]
        if "weights" in state:
            self.engine.weights[...] = state["weights"]

    def __getstate__(self) -> dict[str, Any]:
        return {"architecture": self.architecture, "dtype": self.dtype.name, **self.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Perceptron.__init__(self, state["architecture"], np.dtype(state["dtype"]))
        self.restore(state)


def sizes_of(coefs: Sequence[Array]) -> tuple[int, ...]:
    """Return the number of units in each layer, from the shapes of the coefficients.

    Examples
    --------
    >>> sizes_of([np.ones((4, 3)), np.ones((3, 1))])
    (4, 3, 1)

    Raises
    ------
    ValueError
        If the coefficients are not matrices with matching shapes.
    """
    shapes = [np.shape(coef) for coef in coefs]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"coefs_ must be a list of matrices; received shapes {shapes}")
    if any(a[1] != b[0] for a, b in pairwise(shapes)):
        raise ValueError(f"coefs_ must fit each other; received shapes {shapes}")
    return (*(shape[0] for shape in shapes), shapes[-1][1])

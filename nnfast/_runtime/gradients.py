"""Gradients with respect to weights and inputs in inference mode."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._data.samples import Samples
from nnfast._engine import Data
from nnfast._runtime.network import Network
from nnfast._runtime.trainer import Trainer

Array = NDArray[Any]


def loss_and_gradient(trainer: Trainer, samples: Samples, version: int) -> tuple[float, Array]:
    """Return the loss and its flat gradient.

    `version` is the version of the engine when `samples` were checked.
    """
    engine = trainer.network.engine
    if trainer.function is None:
        return engine.loss_and_gradient(samples.data(), False, version)
    loss, dout = trainer.function_loss(trainer.function, samples)
    return loss, engine.loss_and_gradient(Data(samples.x[0], dout), True, version)[1]


def loss_input_gradient(trainer: Trainer, samples: Samples) -> Array:
    """Return the gradient of each sample's loss with respect to its input."""
    data, function = samples.data(), trainer.function
    if function is not None:
        _, gradient = trainer.function_loss(function, samples)
        data = Data(samples.x[0], gradient * len(samples))
    supplied = function is not None
    return _input_gradient(trainer.network, data, len(samples), supplied, trainer.version)


def output_input_gradient(network: Network, rows: Array) -> Array:
    """Return the gradient of each sample's largest output with respect to its input."""
    return _input_gradient(network, Data(rows), len(rows), False, -1)


def _input_gradient(network: Network, data: Data, n: int, supplied: bool, version: int) -> Array:
    plan = network.plan
    out = np.empty((n, plan.n_in), network.dtype)
    network.engine.input_gradient(data, out, supplied, version)
    return out.reshape(n, *plan.input_shape)

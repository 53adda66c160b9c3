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


def loss_and_gradients(
    trainer: Trainer, samples: Samples, version: int
) -> tuple[float, list[Array]]:
    """Return the loss and the gradient of each trained array.

    `version` is that of the trainer, read before: other threads change it after the plan.
    """
    network = trainer.network_of(samples.sizes)
    plan = network.plan
    loss, gradient = _loss_and_gradient(trainer, network, samples, version)
    return loss, list(plan.trained_views(gradient))


def loss_and_flat_gradient(
    trainer: Trainer, samples: Samples, version: int
) -> tuple[float, NDArray[np.float64]]:
    """Return the loss and the gradient in the order of `Network.flat_weights`."""
    network = trainer.network_of(samples.sizes)
    loss, gradient = _loss_and_gradient(trainer, network, samples, version)
    return loss, network.flat_gradient(gradient)


def _loss_and_gradient(
    trainer: Trainer, network: Network, samples: Samples, version: int
) -> tuple[float, Array]:
    """Return the loss and its gradient as one array with the plan's offsets."""
    engine = network.engine
    if network is not trainer.network:
        version = -1
    if not samples.functions:
        return engine.loss_and_gradient(samples.data(), version)
    losses, targets = trainer.function_losses(samples)
    data = Data(samples.x, targets, samples.weights)
    return losses[0], engine.loss_and_gradient(data, version)[1]


def loss_input_gradient(trainer: Trainer, samples: Samples) -> Array:
    """Return the gradient of each sample's loss with respect to its input."""
    data = samples.data()
    if samples.functions:
        _, (gradient,) = trainer.function_losses(samples)
        data = Data(samples.x, gradient * len(samples))
    version = trainer.version if samples.sizes is None else -1
    return _input_gradient(trainer.network_of(samples.sizes), data, len(samples), version)


def output_input_gradient(network: Network, rows: Array) -> Array:
    """Return the gradient of each sample's largest output with respect to its input."""
    return _input_gradient(network, Data(rows), len(rows), -1)


def _input_gradient(network: Network, data: Data, n: int, version: int) -> Array:
    plan = network.plan
    out = np.empty((n, plan.n_in), network.dtype)
    network.engine.input_gradient(data, out, version)
    return out.reshape(n, *plan.input_shape)

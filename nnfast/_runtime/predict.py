"""Predictions for checked rows and for streams of batches, with callbacks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._data.arrays import features
from nnfast._data.batches import Stream, batch_parts
from nnfast._engine import Data, Engine
from nnfast._runtime.network import Network
from nnfast.callbacks import CallbackList
from nnfast.callbacks.protocol import WatchedModel

Array = NDArray[Any]


def forward(network: Network, rows: Any) -> Array:
    """Return the outputs for checked rows, which may be dense or sparse."""
    engine: Engine = network.engine
    out = np.empty((rows.shape[0], math.prod(engine.output_shape)), network.dtype)
    engine.forward(Data(rows), out)
    if engine.plain_rows:
        return out
    return out.reshape(len(rows), *engine.output_shape)


def predict_rows(
    model: WatchedModel,
    network: Network,
    rows: Array,
    batch_size: int,
    verbose: int,
    callbacks: CallbackList,
) -> Array:
    """Return the outputs for checked rows, predicted in batches if there are batch callbacks."""
    steps = -(-len(rows) // batch_size)
    size = batch_size if callbacks.per_predict_batch else len(rows)
    # An array without rows forms one empty batch.
    starts = range(0, max(1, len(rows)), max(1, size))
    parts = (rows[start : start + size] for start in starts)
    params = {"verbose": verbose, "epochs": 1, "steps": steps}
    return _predict_batches(model, network, parts, callbacks, params)


def predict_stream(
    model: WatchedModel, network: Network, stream: Stream, verbose: int, callbacks: CallbackList
) -> Array:
    """Return the outputs for the batches of a stream; check each batch."""
    shape = network.plan.input_shape
    parts = (batch_parts(item, "a batch", targets=False)[0] for item in stream)
    rows = (features("x", part, shape, network.dtype) for part in parts)
    params = {"verbose": verbose, "epochs": 1, "steps": stream.length}
    return _predict_batches(model, network, rows, callbacks, params)


def _predict_batches(
    model: WatchedModel,
    network: Network,
    batches: Iterable[Array],
    callbacks: CallbackList,
    params: dict[str, Any],
) -> Array:
    """Return the outputs for batches; call the prediction callbacks.

    Parameters
    ----------
    model : WatchedModel
        The model that callbacks see; setting its `stop_predicting` ends this call.
    network : Network
    batches : iterable of ndarray
        Checked rows.
    callbacks : CallbackList
    params : dict
        The ``params`` given to the callbacks.
    """
    callbacks.attach(model, params)
    model.stop_predicting = False
    callbacks.call("on_predict_begin")
    outputs = []
    for step, rows in enumerate(batches):
        callbacks.call("on_predict_batch_begin", step)
        outputs.append(forward(network, rows))
        callbacks.call("on_predict_batch_end", step, logs={"outputs": outputs[-1]})
        if model.stop_predicting:
            break
    callbacks.call("on_predict_end")
    return np.concatenate(outputs)

"""Predictions for checked rows and for streams of batches, with callbacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._data.batches import Stream, batch_parts
from nnfast._engine import Data, Engine
from nnfast._runtime.network import Network
from nnfast._utils.checks import Shape
from nnfast.callbacks import CallbackList
from nnfast.callbacks.protocol import WatchedModel

Array = NDArray[Any]
# Checked rows of each input.
Rows = list[Any]


def forward(network: Network, rows: Rows, first_row: int = 0) -> list[Array]:
    """Return the outputs for the checked rows of each input, which may be dense or sparse.

    `first_row` is the position of the first one among all rows of the prediction.
    """
    engine: Engine = network.engine
    n = rows[0].shape[0]
    shapes = engine.output_shapes
    out = [np.empty((n, math.prod(shape)), network.dtype) for shape in shapes]
    engine.forward(Data(rows), out, first_row)
    return [own.reshape(n, *shape) for own, shape in zip(out, shapes, strict=True)]


def predict_rows(
    model: WatchedModel,
    network: Network,
    rows: Rows,
    batch_size: int,
    verbose: int,
    callbacks: CallbackList,
) -> Any:
    """Return the outputs for checked rows.

    They are predicted in batches if there are batch callbacks or stateful layers.
    """
    n = len(rows[0])
    steps = -(-n // batch_size)
    size = batch_size if callbacks.per_predict_batch or network.plan.fixed_rows else n
    # An array without rows forms one empty batch.
    starts = range(0, max(1, n), max(1, size))
    parts = ((network, [part[start : start + size] for part in rows]) for start in starts)
    params = {"verbose": verbose, "epochs": 1, "steps": steps}
    return _predict_batches(model, network, parts, callbacks, params)


def predict_stream(
    model: WatchedModel, network: Network, stream: Stream, verbose: int, callbacks: CallbackList
) -> Any:
    """Return the outputs for the batches of a stream; check each batch."""
    parts = (batch_parts(item, "a batch", targets=False)[0] for item in stream)
    checked = (network.checked("x", part) for part in parts)
    params = {"verbose": verbose, "epochs": 1, "steps": stream.length}
    return _predict_batches(model, network, checked, callbacks, params)


def _predict_batches(
    model: WatchedModel,
    network: Network,
    batches: Iterable[tuple[Network, Rows]],
    callbacks: CallbackList,
    params: dict[str, Any],
) -> Any:
    """Return the outputs for batches; call the prediction callbacks.

    Parameters
    ----------
    model : WatchedModel
        The model that callbacks see; setting its `stop_predicting` ends this call.
    network : Network
    batches : iterable of (Network, list of ndarray)
        Checked rows of each input, and the network for their sizes.
    callbacks : CallbackList
    params : dict
        The ``params`` given to the callbacks.
    """
    callbacks.attach(model, params)
    model.stop_predicting = False
    callbacks.call("on_predict_begin")
    outputs: list[list[Array]] = []
    done = 0
    for step, (own, rows) in enumerate(batches):
        if outputs:
            _check_shapes(step, own.plan.output_shapes, outputs[0])
        callbacks.call("on_predict_batch_begin", step)
        outputs.append(forward(own, rows, done))
        done += len(outputs[-1][0])
        packed = network.outputs.packed(outputs[-1])
        callbacks.call("on_predict_batch_end", step, logs={"outputs": packed})
        if model.stop_predicting:
            break
    callbacks.call("on_predict_end")
    return network.outputs.packed([np.concatenate(parts) for parts in zip(*outputs, strict=True)])


def _check_shapes(step: int, shapes: Sequence[Shape], first: Sequence[Array]) -> None:
    """Raise a ValueError if the outputs of a batch differ in size from those of the first one."""
    expected = [part.shape[1:] for part in first]
    if shapes != expected:
        raise ValueError(
            f"predict cannot join the outputs of all batches: those of batch 1 have samples of "
            f"shape {expected}, those of batch {step + 1} {shapes}: call predict_on_batch for each "
            "batch"
        )

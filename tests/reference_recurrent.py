"""The recurrent layers, step by step in NumPy: the twin of the engine's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference import activate

Array = NDArray[Any]


def lstm(layer: Any, x: Array, h: Array, c: Array, w: dict[str, Array]) -> tuple[Array, Array]:
    """Return the next h and c."""
    z = x @ w["kernel"] + h @ w["recurrent_kernel"] + w.get("bias", 0.0)
    i, f, g, o = np.split(z, 4, axis=1)
    i, f, o = (activate(gate, layer.recurrent_activation.name) for gate in (i, f, o))
    c = f * c + i * activate(g, layer.activation.name)
    return o * activate(c, layer.activation.name), c


CELLS = {"LSTM": lstm}


def recurrent_outputs(layer: Any, x: Array, w: dict[str, Array]) -> Array:
    """Return the outputs of a recurrent layer for x of shape (n, steps, features)."""
    cell = CELLS[type(layer).__name__]
    h = c = np.zeros((len(x), layer.units))
    outputs = []
    for t in range(x.shape[1]):
        h, c = cell(layer, x[:, -1 - t if layer.go_backwards else t], h, c, w)
        outputs.append(h)
    return np.stack(outputs, axis=1) if layer.return_sequences else h

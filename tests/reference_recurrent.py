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


def gru(layer: Any, x: Array, h: Array, c: Array, w: dict[str, Array]) -> tuple[Array, Array]:
    """Return the next h, and c unchanged."""
    k_z, k_r, k_h = np.split(w["kernel"], 3, axis=1)
    r_z, r_r, r_h = np.split(w["recurrent_kernel"], 3, axis=1)
    bias = np.zeros((2, 3 * layer.units))
    bias[: 2 if layer.reset_after else 1] = w.get("bias", 0.0)
    (b_z, b_r, b_h), (c_z, c_r, c_h) = (np.split(row, 3) for row in bias)
    z = activate(x @ k_z + b_z + h @ r_z + c_z, layer.recurrent_activation.name)
    r = activate(x @ k_r + b_r + h @ r_r + c_r, layer.recurrent_activation.name)
    a = r * (h @ r_h + c_h) if layer.reset_after else (r * h) @ r_h
    return z * h + (1 - z) * activate(x @ k_h + b_h + a, layer.activation.name), c


def simple_rnn(
    layer: Any, x: Array, h: Array, c: Array, w: dict[str, Array]
) -> tuple[Array, Array]:
    """Return the next h, and c unchanged."""
    z = x @ w["kernel"] + h @ w["recurrent_kernel"] + w.get("bias", 0.0)
    return activate(z, layer.activation.name), c


CELLS = {"LSTM": lstm, "GRU": gru, "SimpleRNN": simple_rnn}


def recurrent_outputs(
    layer: Any,
    x: Array,
    w: dict[str, Array],
    states: tuple[Array, ...] = (),
    mask: Array | None = None,
) -> Any:
    """Return the outputs of a recurrent layer for x of shape (n, steps, features).

    With `return_state`, the final states follow.
    """
    cell = CELLS[type(layer).__name__]
    zeros = np.zeros((len(x), layer.units))
    h, c = (*states, zeros, zeros)[:2] if len(states) != 1 else (states[0], zeros)
    outputs = []
    for t in range(x.shape[1]):
        at = x.shape[1] - 1 - t if layer.go_backwards else t
        real = np.ones((len(x), 1), bool) if mask is None else mask[:, at, None].astype(bool)
        new_h, new_c = cell(layer, np.where(real, x[:, at], 0), h, c, w)
        h, c = np.where(real, new_h, h), np.where(real, new_c, c)
        outputs.append(np.where(real, h, 0) if layer.zero_output_for_mask else h)
    y = np.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
    if not layer.return_state:
        return y
    return (y, h, c) if type(layer).__name__ == "LSTM" else (y, h)


def bidirectional_outputs(
    layer: Any, x: Array, states: tuple[Array, ...] = (), mask: Array | None = None
) -> list[Array]:
    """Return the outputs of a Bidirectional layer, whose layers have one cell each."""
    half = len(states) // 2
    found = []
    for part, own in ((layer.forward_layer, states[:half]), (layer.backward_layer, states[half:])):
        outputs = recurrent_outputs(part, x, part.named_weights, own, mask)
        found.append(list(outputs) if part.return_state else [outputs])
    (first, *ends), (second, *back_ends) = found
    if layer.return_sequences:
        second = second[:, ::-1]
    if layer.merge_mode == "concat":
        merged = [np.concatenate([first, second], axis=-1)]
    elif layer.merge_mode == "mul":
        merged = [first * second]
    elif layer.merge_mode is None:
        merged = [first, second]
    else:
        merged = [(first + second) / (2 if layer.merge_mode == "ave" else 1)]
    return [*merged, *ends, *back_ends]


def rnn_outputs(
    layer: Any, x: Array, states: tuple[Array, ...] = (), mask: Array | None = None
) -> list[Array]:
    """Return the outputs of an RNN layer: each step goes through all cells."""
    cells = getattr(layer.cell, "cells", [layer.cell])
    weights = [part.named_weights for part in layer.parts]
    given = iter(states)
    now: list[tuple[Array, Array]] = []
    for cell in cells:
        zeros = np.zeros((len(x), cell.units))
        own = [next(given, zeros) for _ in range(cell.n_states)]
        now.append((own[0], own[1] if cell.n_states > 1 else zeros))
    outputs = []
    for t in range(x.shape[1]):
        at = x.shape[1] - 1 - t if layer.go_backwards else t
        real = np.ones((len(x), 1), bool) if mask is None else mask[:, at, None].astype(bool)
        a = np.where(real, x[:, at], 0)
        for k, (cell, w) in enumerate(zip(cells, weights, strict=True)):
            new = CELLS[type(cell).__name__.removesuffix("Cell")](cell, a, *now[k], w)
            now[k] = tuple(np.where(real, *pair) for pair in zip(new, now[k], strict=True))
            a = now[k][0]
        outputs.append(np.where(real, a, 0) if layer.zero_output_for_mask else a)
    y = np.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
    ends = [s for cell, own in zip(cells, now, strict=True) for s in own[: cell.n_states]]
    return [y, *(ends if layer.return_state else [])]

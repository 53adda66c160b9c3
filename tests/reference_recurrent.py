"""The recurrent layers, step by step in NumPy: the twin of the engine's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference import activate

Array = NDArray[Any]


Drop = tuple[Any, Any]  # factors of x and of h: 1, or an array of shape (gates or 1, rows, size)


def products(x: Array, factors: Any, kernel: Array, n: int) -> list[Array]:
    """Return the products of x, after the dropout, with the parts of n gates of a kernel."""
    factors = np.broadcast_to(factors, (n, *x.shape))
    return [(x * f) @ part for f, part in zip(factors, np.split(kernel, n, axis=1), strict=True)]


def lstm(
    layer: Any, x: Array, h: Array, c: Array, w: dict[str, Array], drop: Drop = (1, 1)
) -> tuple[Array, Array]:
    """Return the next h and c."""
    z = np.hstack(products(x, drop[0], w["kernel"], 4)) + w.get("bias", 0.0)
    z = z + np.hstack(products(h, drop[1], w["recurrent_kernel"], 4))
    i, f, g, o = np.split(z, 4, axis=1)
    i, f, o = (activate(gate, layer.recurrent_activation.name) for gate in (i, f, o))
    c = f * c + i * activate(g, layer.activation.name)
    return o * activate(c, layer.activation.name), c


def gru(
    layer: Any, x: Array, h: Array, c: Array, w: dict[str, Array], drop: Drop = (1, 1)
) -> tuple[Array, Array]:
    """Return the next h, and c unchanged."""
    x_z, x_r, x_h = products(x, drop[0], w["kernel"], 3)
    h_z, h_r, h_h = products(h, drop[1], w["recurrent_kernel"], 3)
    bias = np.zeros((2, 3 * layer.units))
    bias[: 2 if layer.reset_after else 1] = w.get("bias", 0.0)
    (b_z, b_r, b_h), (c_z, c_r, c_h) = (np.split(row, 3) for row in bias)
    z = activate(x_z + b_z + h_z + c_z, layer.recurrent_activation.name)
    r = activate(x_r + b_r + h_r + c_r, layer.recurrent_activation.name)
    if layer.reset_after:
        a = r * (h_h + c_h)
    else:
        a = products(r * h, drop[1], w["recurrent_kernel"], 3)[2]
    return z * h + (1 - z) * activate(x_h + b_h + a, layer.activation.name), c


def simple_rnn(
    layer: Any, x: Array, h: Array, c: Array, w: dict[str, Array], drop: Drop = (1, 1)
) -> tuple[Array, Array]:
    """Return the next h, and c unchanged."""
    z = products(x, drop[0], w["kernel"], 1)[0] + w.get("bias", 0.0)
    z = z + products(h, drop[1], w["recurrent_kernel"], 1)[0]
    return activate(z, layer.activation.name), c


CELLS = {"LSTM": lstm, "GRU": gru, "SimpleRNN": simple_rnn}


def recurrent_outputs(
    layer: Any,
    x: Array,
    w: dict[str, Array],
    states: tuple[Array, ...] = (),
    mask: Array | None = None,
    drop: Drop = (1, 1),
) -> Any:
    """Return the outputs of a recurrent layer for x of shape (n, steps, features).

    With `return_state`, the final states follow. drop: the factors of the dropout of x and of h.
    """
    cell = CELLS[type(layer).__name__]
    zeros = np.zeros((len(x), layer.units))
    h, c = (*states, zeros, zeros)[:2] if len(states) != 1 else (states[0], zeros)
    outputs = []
    for t in range(x.shape[1]):
        at = x.shape[1] - 1 - t if layer.go_backwards else t
        real = np.ones((len(x), 1), bool) if mask is None else mask[:, at, None].astype(bool)
        new_h, new_c = cell(layer, np.where(real, x[:, at], 0), h, c, w, drop)
        h, c = np.where(real, new_h, h), np.where(real, new_c, c)
        outputs.append(np.where(real, h, 0) if layer.zero_output_for_mask else h)
    y = np.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
    if not layer.return_state:
        return y
    return (y, h, c) if type(layer).__name__ == "LSTM" else (y, h)


def dropout_factors(layer: Any, rows: int, features: int, epoch: int = 0) -> Drop:
    """Return the factors of the dropout of a layer with a seed, for the first rows of an epoch."""
    key = subkey(subkey(~layer.seed & MASK_64, epoch), 0)
    copies = layer.cell.n_gates if layer.recurrent_dropout > 0 else 1
    found = []
    for rate, size, stream in (
        (layer.dropout, features, key),
        (layer.recurrent_dropout, layer.units, subkey(key, MASK_64)),
    ):
        cols = -(-size // 16) * 16
        kept = np.stack([kept_elements(stream, i, copies * cols, rate) for i in range(rows)])
        factors = kept.reshape(rows, copies, cols)[:, :, :size] / (1 - rate)
        found.append(factors.transpose(1, 0, 2))
    return found[0], found[1]


def kept_elements(key: int, row: int, n: int, rate: float) -> Array:
    """Return which elements of a row a dropout keeps: those with large enough random numbers."""
    key = subkey(key, row)
    h = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(key & MASK_32)
    return mix32(mix32(h) ^ np.uint32(key >> 32)) >= np.uint32(int(rate * 2**32))


MASK_32, MASK_64 = 2**32 - 1, 2**64 - 1


def subkey(key: int, number: int) -> int:
    """Return the key of a random stream, which is a hash (SplitMix64)."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) & MASK_64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK_64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK_64
    return z ^ (z >> 31)


def mix32(h: Array) -> Array:
    """Return a hash (lowbias32) of numbers of 32 bits."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


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

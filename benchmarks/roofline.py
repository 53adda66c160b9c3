"""The roofline: the shortest time for a case that the limits of one core allow.

It is the sum of two times: the multiply-adds run at the FMA peak, and the memory traffic runs
at the bandwidth of the cache level that holds the data. The times are added because the
optimizer does not overlap with the matrix products. Recurrent layers add the time of their cells'
functions, and attention adds the time of its softmax.

*Multiply-adds.* The matrix product (m, k) · (k, n) needs m·k·⌈n⌉ multiply-adds, where ⌈n⌉ is n
rounded up to whole vectors. Forward and dW use vectors along n, and dX uses vectors along k. If
n = 1, all three use vectors along k. A layer that reads only inputs has no dX. A convolution is a
matrix product with one row per output pixel; pooling layers have no matrix product. A recurrent
layer multiplies x and its output h by its two kernels in each step. Its forward pass computes whole
vectors of units for each gate. The product with h always has a dX, for the step before. Attention
has four products with its kernels, and two for each head: queries with keys, and the softmax with
values.

*Functions.* An LSTM has three sigmoids and two tanh per unit and step, a GRU
two and one, a SimpleRNN one tanh. Each vector of units costs what the function costs in nnfast's
own kernel, measured in the same run. The backward pass needs no functions. The softmax of attention
is one exponential per score; its sums, its division and its gradient are not counted.

*Optimizer.* It reads and writes w, m and v: 24 bytes for each float32 parameter.

*Activations of a training step.* Layer inputs are read twice (forward, dW); the outputs of hidden
layers are also written once. Gradients of layer outputs are written once and read once (dW), or
twice if the layer has a dX. The network's outputs are written once and read once. Gathering a
shuffled batch is not counted, nor is dW, which can stay in the L1 cache. A layer whose output is
only merged writes it into the sum or concatenation. A sum then reads its other terms once, and so
does its gradient. The bandwidth is measured for the total size of w, m, v, activations and
gradients.

*Activations of a training step with sequences.* The rows can be processed in blocks whose
activations stay in the L2 cache, so they move at the bandwidth for `SEQUENCE_BLOCK` bytes. In each
step, a recurrent layer writes its gates and state and reads them in the backward pass. It writes
the gradient of the gates and reads it for dX and for dW; it writes h and reads it for dW. It reads
the gradient of its output once. An embedding reads a row of its table for each token; in the
backward pass, it reads and writes a row of the gradient. A table of positions does the same, and
the sum of both is written once. Queries, keys, values and the heads' outputs are hidden activations
of attention. The softmax of each head is written once and read once, in the backward pass; its
gradient stays in the cache. Adam's arrays w, m and v are updated at the bandwidth for their size.

*Activations of a prediction.* Nothing has to be stored, so rows can be processed in blocks. Hidden
activations are written once and read once, at the bandwidth for the weights and `BLOCK` rows of
activations. Inputs are read once and outputs written once, at the bandwidth for both together. The
states of recurrent layers are not counted.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass

import machine
import numpy as np
from cases import Case
from networks import (
    Add,
    AnyRecurrent,
    Attention,
    Bidirectional,
    Embedding,
    Layer,
    Merging,
    Positions,
    Recurrent,
    Shape,
)

BLOCK = 128  # rows per block
SEQUENCE_BLOCK = 512 * 1024  # bytes
FUNCTION_VALUES = 131_072  # values per call when a function is measured
ATTEMPTS = 50


@dataclass(frozen=True)
class Traffic:
    """The bytes that are read and written, and the total size of the data."""

    moved: int  # bytes
    working_set: int  # bytes

    @property
    def seconds(self) -> float:
        return self.moved / machine.bandwidth(self.working_set) if self.moved else 0.0


def rounded_flops(case: Case, lanes: int) -> int:
    """Return the FLOPs of a case's matrix products, counting partial vectors as full."""

    def up(n: int) -> int:
        return -(-n // lanes) * lanes

    total = 0
    for _, p, has_dx in case.products:
        forward = p.k * p.gates * up(p.n // p.gates) if p.n > 1 else up(p.k)
        dw = p.k * up(p.n) if p.n > 1 else up(p.k)
        dx = has_dx * up(p.k) * p.n
        total += p.m * (forward + case.training * (dw + dx))
    return 2 * case.rows * total


def function_seconds(case: Case) -> float:
    """Return the time of the functions of all recurrent cells and of attention."""
    lanes, total = machine.lanes(case.dtype), 0.0
    for layer, shape in case.weighted:
        if isinstance(layer, AnyRecurrent):
            one, directions = (layer.layer, 2) if isinstance(layer, Bidirectional) else (layer, 1)
            vectors = directions * case.rows * shape[0] * -(-one.units // lanes)
            for name, count in (("sigmoid", one.cell.sigmoids), ("tanh", one.cell.tanhs)):
                total += vectors * count * lanes * seconds_per_value(name, case.dtype)
        if isinstance(layer, Attention):
            vectors = case.rows * layer.heads * shape[0] * -(-shape[0] // lanes)
            total += vectors * lanes * seconds_per_value("exponential", case.dtype)
    return total


@functools.cache
def seconds_per_value(activation: str, dtype: str) -> float:
    """Return the time per value of an activation in nnfast, the best of several calls."""
    from nnfast import kernels

    x = np.linspace(-4.0, 4.0, FUNCTION_VALUES, dtype=dtype)
    out, best = np.empty_like(x), math.inf
    for _ in range(ATTEMPTS):
        start = time.perf_counter()
        kernels.activation_forward(x, activation, out=out)
        best = min(best, time.perf_counter() - start)
    return best / FUNCTION_VALUES


def traffic(case: Case) -> list[Traffic]:
    """Return the memory traffic of a training step or of a prediction."""
    item = np.dtype(case.dtype).itemsize
    weights = item * case.params
    ends = item * case.rows * sum(case.sizes[i] for i in _ends(case))
    hidden = item * case.rows * sum(case.sizes[i] for i in _stored(case))
    if case.training and case.has_sequences:
        moved = item * case.rows * (sum(_moves(case)) + sum(_moves_within(case)))
        return [Traffic(6 * weights, 3 * weights), Traffic(moved, SEQUENCE_BLOCK)]
    if case.training:
        inputs = item * case.rows * sum(case.sizes[: len(case.network.inputs)])
        working_set = 3 * weights + 2 * (ends + hidden) - inputs
        activations = item * case.rows * sum(_moves(case))
        return [Traffic(6 * weights, working_set), Traffic(activations, working_set)]
    block = weights + item * min(case.rows, BLOCK) * sum(case.sizes)
    return [Traffic(2 * hidden, block), Traffic(ends, ends)]


def _ends(case: Case) -> list[int]:
    """Return the numbers of the inputs and outputs."""
    return [*range(len(case.network.inputs)), *case.network.outputs]


def _stored(case: Case) -> list[int]:
    """Return the numbers of the hidden tensors, except those that are only merged."""
    network = case.network
    return [
        i
        for i, _ in network.numbered
        if i not in network.outputs
        and not all(isinstance(node.layer, Merging | Positions) for node in network.readers(i))
    ]


def _moves(case: Case) -> list[int]:
    """Return how many elements per row each tensor moves in a training step."""
    network, sizes = case.network, case.sizes
    # Recurrent layers read the gradients of their outputs once; `_moved_by` counts their own h.
    without_dx = {
        i
        for i, node, layer in network.weighted
        if not network.trained[node.inputs[0]] and not isinstance(layer, AnyRecurrent)
    }
    written_within = {i for i, _, layer in network.weighted if isinstance(layer, AnyRecurrent)}
    reads = [
        2 * sizes[i]
        for i in range(len(network.inputs))
        if not all(isinstance(node.layer, Merging) for node in network.readers(i))
    ]
    # Hidden outputs and their gradients are written once and read twice, except that the
    # gradient of a layer without dX is read only once.
    for i in _stored(case):
        if network.trained[i]:
            reads.append((6 - (i in without_dx) - 2 * (i in written_within)) * sizes[i])
        else:
            reads.append(2 * sizes[i])  # merged inputs
    outputs = [(5 - (i in without_dx)) * sizes[i] for i in network.outputs]
    terms = [
        2 * (len(node.inputs) - 1) * sizes[i]
        for i, node in network.numbered
        if isinstance(node.layer, Add)
    ]
    return reads + outputs + terms


def _moves_within(case: Case) -> list[int]:
    """Return how many elements per row the layers of sequences move within themselves."""
    return [_moved_by(layer, shape) for layer, shape in case.weighted]


def _moved_by(layer: Layer, shape: Shape) -> int:
    match layer:
        case Bidirectional(one):
            return 2 * _moved_by(one, shape)
        case Recurrent(_, units):
            cell = layer.cell
            return shape[0] * units * (2 * cell.kept + 3 * cell.gradients + 2)
        case Embedding(_, units):
            return shape[0] * units * 3
        case Positions():
            return math.prod(shape) * 3
        case Attention(heads, key_dim):
            return shape[0] * heads * (6 * 4 * key_dim + 2 * shape[0])
    return 0


def seconds(case: Case) -> float:
    """Return the roofline in seconds for a training step or a prediction."""
    arithmetic = rounded_flops(case, machine.lanes(case.dtype)) / machine.peak(case.dtype)
    memory = sum(part.seconds for part in traffic(case))
    return arithmetic + memory + function_seconds(case)


def limit_seconds(case: Case) -> float:
    """Return the time of the goal's limit in seconds, or NaN if `compare` measures it."""
    match case.goal.limit:
        case "roofline":
            return seconds(case)
        case "FMA peak":
            return case.flops / machine.peak(case.dtype)
        case "convolutions":
            return case.convolution_flops / machine.peak(case.dtype)
        case "one read":
            return machine.read_seconds(np.dtype(case.dtype).itemsize * case.params)
    return float("nan")


def level(case: Case) -> str:
    """Return the first cache level that holds the case's working set."""
    return machine.level_of(max(part.working_set for part in traffic(case)))

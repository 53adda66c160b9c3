"""The memory of gradients: which op writes the gradient of a tensor, and which ones add to it.

Going backward, the ops that read a tensor contribute to its gradient one after the other. A
contribution has a separate buffer, to which the engine adds the sum of the earlier contributions,
so that sums have a fixed order. A sum of tensors, or an op with the trait `passes_gradient`,
contributes its own gradient, for which no buffer is needed: the first contribution of that kind is
only referred to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnfast._engine import ACTIVATIONS, OPS
from nnfast._plan.lowering import SizedOp
from nnfast._plan.spec import Op, SumSettings

LINEAR = ACTIVATIONS["linear"]


@dataclass(eq=False)
class Buffer:
    """The memory of a gradient, which gets its offset when all buffers are known."""

    tensor: int
    op: int
    size: int
    offset: int = -1


class Gradients:
    """Decides where each op reads and writes gradients.

    Parameters
    ----------
    inputs, outputs : tuple of int
        The numbers of the input and output tensors.
    sized : sequence of SizedOp
    ops : sequence of dict
        The same ops in the engine's form.
    trained : frozenset of int
        The numbers of the arrays that are trained.
    to_input : bool
        Whether the gradients of the inputs are needed, too.
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        sized: Sequence[SizedOp],
        ops: Sequence[dict[str, Any]],
        trained: frozenset[int],
        to_input: bool,
    ) -> None:
        self._inputs, self._sized, self._ops = inputs, sized, ops
        self._buffers: list[Buffer] = []
        self._fields: list[tuple[dict[str, Any], str, Buffer]] = []
        self._needed = self._tensors_that_need_gradients(trained, to_input)
        self._sum: dict[int, Buffer] = {}  # the sum of the contributions so far
        self._dz: dict[int, Buffer] = {}  # the gradient with respect to the pre-activation
        # The losses write the gradients of the outputs before any op adds to them.
        sizes = {numbers.output: _size(op, "y") for numbers, op in zip(sized, ops, strict=True)}
        self._outputs = [self._new(tensor, len(sized), sizes[tensor]) for tensor in outputs]
        self._sum.update(zip(outputs, self._outputs, strict=True))
        for i in range(len(sized) - 1, -1, -1):
            if sized[i].output in self._sum:
                self._take_output(i)
                for k, tensor in enumerate(sized[i].inputs):
                    if tensor in self._needed:
                        self._contribute(i, k, tensor)

    @property
    def of_inputs(self) -> list[int]:
        """The offset of each input's gradient, -1 if it is not needed."""
        found = [self._sum.get(tensor) for tensor in self._inputs]
        return [-1 if buffer is None else buffer.offset for buffer in found]

    @property
    def of_outputs(self) -> list[int]:
        """The offset of the gradient that the loss of each output writes."""
        return [buffer.offset for buffer in self._outputs]

    def place(self, end: int) -> int:
        """Give the buffers offsets from `end` on, set the ops' fields, and return the new end."""
        for buffer in sorted(self._buffers, key=lambda buffer: buffer.op):
            buffer.offset, end = end, end + buffer.size
        for op, field, buffer in self._fields:
            op[field] = buffer.offset
        return end

    def _tensors_that_need_gradients(self, trained: frozenset[int], to_input: bool) -> set[int]:
        """Return the tensors before which something is trained."""
        needed = set(self._inputs) if to_input else set()
        for numbers, op in zip(self._sized, self._ops, strict=True):
            if op["w"] in trained or op["b"] in trained or needed.intersection(numbers.inputs):
                needed.add(numbers.output)
        return needed

    def _new(self, tensor: int, op: int, size: int) -> Buffer:
        self._buffers.append(Buffer(tensor, op, size))
        return self._buffers[-1]

    def _take_output(self, i: int) -> None:
        """Decide where the op reads its output's gradient, and where dZ is.

        dZ overwrites the gradient, unless other ops read it, too. Ops that write parts of one
        tensor share dZ, which the last of them computes.
        """
        numbers, op = self._sized[i], self._ops[i]
        source = self._sum[numbers.output]
        if numbers.output in self._dz:
            source = self._dz[numbers.output]
        elif source.tensor != numbers.output and _changes_gradient(op):
            self._dz[numbers.output] = self._new(numbers.output, i, _size(op, "y"))
        else:
            self._dz[numbers.output] = source
        self._fields.append((op, "dy_source", source))
        self._fields.append((op, "dy", self._dz[numbers.output]))

    def _contribute(self, i: int, k: int, tensor: int) -> None:
        """Decide where the op writes the gradient of its k-th input, and what is added to it."""
        numbers, op = self._sized[i], self._ops[i]
        name = "dx2" if k else "dx"
        if _passes_gradient(numbers.op, k) and tensor not in self._sum:
            self._sum[tensor] = self._dz[numbers.output]
            return
        buffer = self._new(tensor, i, _size(op, "x2" if k else "x"))
        self._fields.append((op, name, buffer))
        if tensor in self._sum:
            self._fields.append((op, f"{name}_base", self._sum[tensor]))
        self._sum[tensor] = buffer


def _passes_gradient(op: Op, k: int) -> bool:
    """Return whether the gradient of the op's output is that of its k-th input, too."""
    if isinstance(op.settings, SumSettings):
        return op.settings.factors[k] == 1
    return k == 0 and OPS[op.kind].passes_gradient


def _size(op: Mapping[str, Any], tensor: str) -> int:
    """Return the elements of a sample of an op's tensor, "x", "x2" or "y", with its padding."""
    size: int = op["steps"] * op[f"ld_{tensor}"]
    return size


def _changes_gradient(op: dict[str, Any]) -> bool:
    """Return whether dZ differs from the gradient of the op's output."""
    penalty = op["y_l1"] or op["y_l2"]
    return bool(penalty or (op["activation"] != LINEAR and not op["relu_backward_done"]))

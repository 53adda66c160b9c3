"""The memory of gradients: which op writes the gradient of a tensor, and which ones add to it.

Going backward, the ops that read a tensor contribute to its gradient one after the other. A
contribution has a separate buffer, to which the engine adds the sum of the earlier contributions,
so that sums have a fixed order. A sum of tensors, or an op with the trait `passes_gradient`,
contributes its own gradient, for which no buffer is needed: the first contribution of that kind is
only referred to. The same applies to a concatenation whose parts lie in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnfast._engine import ACTIVATIONS, OPS
from nnfast._plan.aliasing import Aliases
from nnfast._plan.lowering import SizedOp
from nnfast._plan.spec import Op, SumSettings
from nnfast._plan.storage import Storage

LINEAR = ACTIVATIONS["linear"]


class Buffer(Storage):
    """The memory of a gradient: of which tensor, and which op writes it first."""

    __slots__ = ("op", "tensor")

    def __init__(self, tensor: int, op: int, ld: int, first: int) -> None:
        super().__init__(ld, first)
        self.tensor, self.op = tensor, op


class Gradients:
    """Decides where each op reads and writes gradients.

    Parameters
    ----------
    inputs, outputs : tuple of int
        The numbers of the input and output tensors.
    sized : sequence of SizedOp
    ops : sequence of dict
        The same ops in the engine's form.
    aliases : Aliases
    trained : frozenset of int
        The numbers of the arrays that are trained.
    to_input : bool
        Whether the gradients of the inputs are needed, too.

    Attributes
    ----------
    fields : list of dict
        The storage of each op's gradients, by the names of the fields that get its offset.
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        sized: Sequence[SizedOp],
        ops: Sequence[dict[str, Any]],
        aliases: Aliases,
        trained: frozenset[int],
        to_input: bool,
    ) -> None:
        self._inputs, self._sized, self._ops, self._aliases = inputs, sized, ops, aliases
        self._buffers: list[Buffer] = []
        self.fields: list[dict[str, Storage]] = [{} for _ in ops]
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
    def of_inputs(self) -> list[Storage | None]:
        """The gradient of each input, None if it is not needed."""
        return [self._sum.get(tensor) for tensor in self._inputs]

    @property
    def of_outputs(self) -> list[Buffer]:
        """The gradient that the loss of each output writes."""
        return self._outputs

    @property
    def storages(self) -> list[Buffer]:
        """All gradients, those that the first ops write first."""
        return sorted(self._buffers, key=lambda buffer: buffer.op)

    def _tensors_that_need_gradients(self, trained: frozenset[int], to_input: bool) -> set[int]:
        """Return the tensors before which something is trained."""
        needed = set(self._inputs) if to_input else set()
        for numbers, op in zip(self._sized, self._ops, strict=True):
            if OPS[numbers.op.kind].stops_gradient:
                continue
            if op["w"] in trained or op["b"] in trained or needed.intersection(numbers.inputs):
                needed.add(numbers.output)
        return needed

    def _new(self, tensor: int, op: int, size: int) -> Buffer:
        time = 2 * (2 * len(self._ops) - op) + (op < len(self._ops))
        self._buffers.append(Buffer(tensor, op, size, time))
        return self._buffers[-1]

    def _whole(self, tensor: int) -> int:
        """Return the tensor in whose memory a tensor lies, or the tensor itself."""
        place = self._aliases.places.get(tensor)
        return place.tensor if place else tensor

    def _take_output(self, i: int) -> None:
        """Decide where the op reads its output's gradient, and where dZ is.

        dZ overwrites the gradient, unless other ops read it, too. Ops that write parts of one
        tensor share dZ, which the last of them computes. A part that lies in a concatenation
        overwrites its columns of that gradient.
        """
        numbers, op = self._sized[i], self._ops[i]
        source = self._sum[numbers.output]
        if numbers.output in self._dz:
            source = self._dz[numbers.output]
        elif self._whole(source.tensor) != self._whole(numbers.output) and _changes_gradient(op):
            self._dz[numbers.output] = self._new(numbers.output, i, _size(op, "y"))
        else:
            self._dz[numbers.output] = source
        self.fields[i].update(dy_source=source, dy=self._dz[numbers.output])

    def _contribute(self, i: int, k: int, tensor: int) -> None:
        """Decide where the op writes the gradient of its k-th input, and what is added to it."""
        numbers, op = self._sized[i], self._ops[i]
        if i in self._aliases.omitted or (
            tensor not in self._sum and self._passes_on(i, k, tensor)
        ):
            self._sum[tensor] = self._dz[numbers.output]
            return
        name = "dx2" if k else "dx"
        buffer = self._new(tensor, i, _size(op, "x2" if k else "x"))
        self.fields[i][name] = buffer
        if tensor in self._sum:
            self.fields[i][f"{name}_base"] = self._sum[tensor]
        self._sum[tensor] = buffer

    def _passes_on(self, i: int, k: int, tensor: int) -> bool:
        """Return whether the gradient of an op's output is also that of its k-th input."""
        numbers, places = self._sized[i], self._aliases.places
        same_place = places.get(tensor) == places.get(numbers.output)
        return same_place and _passes_gradient(numbers.op, k)


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

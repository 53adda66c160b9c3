"""The tensors of one kind of pass: where each op finds them, and how long they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnfast._engine import ACTIVATIONS, NEEDS_PREACTIVATION, OPS
from nnfast._plan.aliasing import Place, find_aliases
from nnfast._plan.gradients import LINEAR, Gradients
from nnfast._plan.lowering import SizedOp
from nnfast._plan.storage import Storage, Strides

if TYPE_CHECKING:
    from nnfast._engine.core import OpTraits

TRAITS = {traits.kind: traits for traits in OPS.values()}
PREACTIVATIONS = {ACTIVATIONS[name] for name in NEEDS_PREACTIVATION}
INPUT_FIELDS = ("x", "x2")
INPUTS_READ = -1  # the time at which inputs are read; see storage.py for other times


class Tensors:
    """The memory of a table's tensors.

    Parameters
    ----------
    sized : sequence of SizedOp
    ops : sequence of dict
        The same ops in the engine's form, whose strides and columns are set.
    inputs, outputs : dict of int to int, tuple of int
        The numbers of the inputs, with their sizes, and those of the outputs.
    masks : tuple of (int or None)
        The numbers of the outputs' masks.
    strides : Strides
    training : bool
        Whether to keep what only the backward pass reads.

    Attributes
    ----------
    aliases : Aliases
    storages : list of Storage
    """

    def __init__(
        self,
        sized: Sequence[SizedOp],
        ops: Sequence[dict[str, Any]],
        inputs: Mapping[int, int],
        outputs: tuple[int, ...],
        masks: tuple[int | None, ...],
        strides: Strides,
        *,
        training: bool,
    ) -> None:
        self._sized, self._ops = sized, ops
        masks_needed = tuple(mask for mask in masks if mask is not None)
        self._inputs = {tensor: strides.of(1, n) for tensor, n in inputs.items()}
        self.aliases = find_aliases(sized, (*outputs, *masks_needed), strides)
        self.storages: list[Storage] = []
        self._memory: dict[int, Storage] = {}
        # The storage of each op's tensors, by the names of the fields that get its offset.
        self._fields: list[dict[str, Storage]] = [{} for _ in ops]
        for tensor in self._inputs:
            self._place(tensor, self.place_of_input(tensor).ld, INPUTS_READ)
        for i, (numbers, op) in enumerate(zip(sized, ops, strict=True)):
            if i not in self.aliases.omitted:
                self._add_op(i, numbers, op)
                if training:
                    self._add_kept(i, op)
        for tensor in (*outputs, *masks_needed):
            self.memory_of(tensor).use(self._end)

    @property
    def ops(self) -> list[dict[str, Any]]:
        """The ops that are not omitted."""
        return [op for i, op in enumerate(self._ops) if i not in self.aliases.omitted]

    def memory_of(self, tensor: int) -> Storage:
        """Return the memory of a tensor, or that of the tensor of which it is a part."""
        place = self.aliases.places.get(tensor)
        return self._memory[place.tensor if place else tensor]

    def stride_of(self, tensor: int) -> int:
        """Return the stride of the rows of a tensor that an op writes."""
        pairs = zip(self._sized, self._ops, strict=True)
        stride: int = next(op["ld_y"] for numbers, op in pairs if numbers.output == tensor)
        return stride

    def place_of_input(self, tensor: int) -> Place:
        """Return the place of an input: columns of a concatenation, or a separate tensor."""
        return self.aliases.places.get(tensor) or Place(tensor, self._inputs[tensor], 0)

    def has_one_reader(self, tensor: int) -> bool:
        """Return whether a single op reads the tensor, and it is no part of a concatenation."""
        readers = sum(numbers.inputs.count(tensor) for numbers in self._sized)
        return readers == 1 and tensor not in self.aliases.places

    def add_gradients(self, gradients: Gradients, trained: frozenset[int]) -> None:
        """Add the gradients' storages, and extend all lifetimes to the backward pass."""
        self.storages += gradients.storages
        for storage in gradients.of_inputs:
            if storage is not None:
                storage.use(self._end)
        for i, added in enumerate(gradients.fields):
            if added and i not in self.aliases.omitted:
                self._fields[i].update(added)
                self._extend(i, trained)

    def set_offsets(self) -> None:
        """Set the ops' offsets to those of the storages."""
        for op, fields in zip(self._ops, self._fields, strict=True):
            for name, storage in fields.items():
                op[name] = storage.offset

    def mark_early(self, masks: set[int]) -> None:
        """Mark the ops that come before the others, because masks of outputs depend on them."""
        needed = set(masks)
        for numbers, op in zip(reversed(self._sized), reversed(self._ops), strict=True):
            if numbers.output in needed:
                needed.update(numbers.inputs)
                op["early"] = 1

    @property
    def _end(self) -> int:
        return 4 * len(self._ops) + 2

    def _new(self, ld: int, time: int) -> Storage:
        self.storages.append(Storage(ld, time))
        return self.storages[-1]

    def _place(self, tensor: int, ld: int, time: int) -> Storage:
        """Return the memory of a tensor, which is that of the whole if it is a part."""
        place = self.aliases.places.get(tensor)
        whole = place.tensor if place else tensor
        if whole not in self._memory:
            self._memory[whole] = self._new(ld, time)
        self._memory[whole].use(time)
        return self._memory[whole]

    def _add_op(self, i: int, numbers: SizedOp, op: dict[str, Any]) -> None:
        """Place the op's output, and note when its tensors are used in the forward pass."""
        if self.aliases.places:
            self._set_columns(numbers, op)
        fields, traits = self._fields[i], traits_of(op)
        time = 2 * i if _works_in_place(op, len(numbers.inputs)) else 2 * i + 1
        for name, tensor in zip(INPUT_FIELDS, numbers.inputs, strict=False):
            fields[name] = self.memory_of(tensor)
            fields[name].use(time)
        fields["y"] = self._place(numbers.output, op["steps"] * op["ld_y"], 2 * i + 1)
        fields["z"] = fields["x"] if traits.is_activation else fields["y"]

    def _set_columns(self, numbers: SizedOp, op: dict[str, Any]) -> None:
        """Set the stride and the first column of the op's tensors that lie in others."""
        for name, tensor in (
            *zip(INPUT_FIELDS, numbers.inputs, strict=False),
            ("y", numbers.output),
        ):
            if place := self.aliases.places.get(tensor):
                op[f"ld_{name}"], op[f"{name}_column"] = place.ld, place.column
                if place.step:
                    op["settings"] = op["settings"]._replace(y_stride=place.step)

    def _add_kept(self, i: int, op: dict[str, Any]) -> None:
        """Place an op's pre-activation and the statistics of its samples."""
        traits, fields = traits_of(op), self._fields[i]
        if not traits.is_activation and op["activation"] in PREACTIVATIONS:
            fields["z"] = self._new(op["steps"] * op["ld_y"], 2 * i + 1)
        kept = (traits.sample_statistics, traits.sample_channel_statistics, traits.keeps_steps)
        if any(kept):
            fields["stats"] = self._new(op["steps"] * op["ld_stats"], 2 * i + 1)
            fields["stats"].use(self._end)

    def _extend(self, i: int, trained: frozenset[int]) -> None:
        """Note when an op's tensors and gradients are used in the backward pass."""
        op, fields, traits = self._ops[i], self._fields[i], traits_of(self._ops[i])
        time = 2 * (2 * len(self._ops) - i)
        dz, source = fields["dy"], fields["dy_source"]
        in_place = "x2" not in fields and _works_in_place(op, 1)
        dz.use(time if in_place else time + 1)
        if source is not dz:
            dz.use(time)
            source.use(time + 1)
        used = ["dx_base", "dx2_base"]
        if not traits.ignores_x or op["applies_relu_backward"]:
            used += INPUT_FIELDS
        elif traits.reads_x2:
            used.append("x2")
        if not traits.ignores_y or op["activation"] != LINEAR or op["y_l1"] or op["y_l2"]:
            used += ("y", "z")
        for name in used:
            if name in fields:
                fields[name].use(time + 1)
        if op["w"] in trained or op["b"] in trained:
            fields["x"].use(self._end)
            dz.use(self._end)
        if traits.splits_k:
            dz.use(2 * i)


def traits_of(op: Mapping[str, Any]) -> OpTraits:
    """Return the traits of an op in the engine's form."""
    return TRAITS[op["kind"]]


def _works_in_place(op: Mapping[str, Any], n_inputs: int) -> bool:
    """Return whether an op's result may overwrite what it reads, element by element."""
    if not traits_of(op).works_in_place:
        return False
    places = {(op[f"ld_{name}"], op[f"{name}_column"]) for name in ("y", *INPUT_FIELDS[:n_inputs])}
    return places == {(op["ld_y"], 0)}

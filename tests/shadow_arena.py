"""A shadow of the working memory, which shows whether each op finds what it reads.

It follows the executor: each op's forward pass in order, the losses, each op's backward pass in
reverse order, the gradients of the parameters. It knows the graph of tensors and the offsets of the
plan, but not how the plan chose them. Instead of numbers, an element of memory holds a label: the
element of a tensor, or the set of contributions to a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnfast import _engine
from nnfast._plan.fusion import Fused, fuse
from nnfast._plan.graph import FlatGraph
from nnfast._plan.lowering import SizedOp, lower
from nnfast._plan.memory import OpTable
from nnfast._plan.plan import Plan
from nnfast._plan.storage import stride

KINDS = {traits.kind: name for name, traits in _engine.OPS.items()}
LINEAR, RELU = _engine.ACTIVATIONS["linear"], _engine.ACTIVATIONS["relu"]
NEEDS_PREACTIVATION = {_engine.ACTIVATIONS[name] for name in _engine.NEEDS_PREACTIVATION}
# Ops whose backward passes read their inputs; max_pool also reads its output.
SIZES = {"x": "n_in", "x2": "n_in2", "y": "n_out"}
READ_INPUTS = {
    *("standardize", "batch_norm", "layer_norm", "max_pool", "multiply", "maximum", "minimum"),
    *("dot", "unit_norm", "divide", "power", "powers"),
}
# Ops that may write y over x or x2, and dX over dZ if there is no x2.
IN_PLACE = {"activation", "dropout", "affine", "noise", "sum", "multiply"}
Label = Any


def check_arena(graph: FlatGraph, plan: Plan) -> None:
    """Check the three op tables of a plan."""
    fused = fuse(lower(graph, [layer.trainable for layer in graph.layers]))
    trained = {i for i, array in enumerate(plan.arrays) if array["trained"]}
    for table in (plan.training, plan.input_gradient):
        shadow = Shadow(fused, fused.training, fused.training_outputs, table)
        shadow.forward()
        shadow.backward(trained)
        shadow.check_strides()
    shadow = Shadow(fused, fused.inference, fused.inference_outputs, plan.inference)
    shadow.forward()


class Shadow:
    """The memory of one op table."""

    def __init__(
        self, fused: Fused, sized: Sequence[SizedOp], outputs: tuple[int, ...], table: OpTable
    ) -> None:
        self.table, self.outputs = table, outputs
        self.memory: list[Label] = [None] * table.width
        self.ranges: set[tuple[int, int]] = set()
        self.sizes = dict(zip(fused.inputs, fused.input_sizes, strict=True))
        self.sizes |= {numbers.output: numbers.n_out for numbers in sized}
        self.whole: dict[int, tuple[int, int]] = {}  # part: tensor it lies in, first element
        self.pairs: list[tuple[SizedOp, Mapping[str, Any]]] = []
        ops = iter(table.ops)
        op = next(ops, None)
        for numbers in sized:
            settings = numbers.op.settings
            if op is not None and matches(numbers, op):
                self.pairs.append((numbers, op))
                op = next(ops, None)
            else:
                assert numbers.op.kind == "copy_blocks"
                self.whole[numbers.inputs[0]] = numbers.output, settings.y_begin
        assert op is None
        places = zip(table.inputs, table.input_strides, table.input_columns, strict=True)
        for tensor, place in zip(fused.inputs, places, strict=True):
            self.write(*place, self.values(tensor))
        self.inputs = fused.inputs

    # ---- memory ----------------------------------------------------------------------------------

    def write(self, offset: int, ld: int, column: int, labels: list[Label]) -> None:
        assert offset >= 0
        assert column + len(labels) <= ld
        assert offset + ld <= len(self.memory)
        self.ranges.add((offset, ld))
        # Kernels may write whole vectors.
        for j in range(-len(labels) % 16):
            if column + len(labels) + j < ld:
                self.memory[offset + column + len(labels) + j] = None
        self.memory[offset + column : offset + column + len(labels)] = labels

    def read(self, offset: int, column: int, n: int) -> list[Label]:
        assert offset >= 0
        return self.memory[offset + column : offset + column + n]

    def check_strides(self) -> None:
        """Check that rows of different threads do not overlap, even at different times."""
        for a, ld_a in self.ranges:
            for b, ld_b in self.ranges:
                assert (a, ld_a) == (b, ld_b) or a + ld_a <= b or b + ld_b <= a

    def values(self, tensor: int) -> list[Label]:
        """Return the labels of a tensor's elements; those of parts that lie in it are theirs."""
        labels: list[Label] = [(tensor, j) for j in range(self.sizes[tensor])]
        for part, (whole, begin) in self.whole.items():
            if whole == tensor:
                labels[begin : begin + self.sizes[part]] = self.values(part)
        return labels

    # ---- passes ----------------------------------------------------------------------------------

    def check_inputs(self, numbers: SizedOp, op: Mapping[str, Any]) -> None:
        for name, tensor in zip(("x", "x2"), numbers.inputs, strict=False):
            n = self.sizes[tensor]
            assert self.read(op[name], op[f"{name}_column"], n) == self.values(tensor), op

    def forward(self) -> None:
        for i, (numbers, op) in enumerate(self.pairs):
            self.check_inputs(numbers, op)
            self.check_overwritten(numbers, op, "y", ["x", "x2"][: len(numbers.inputs)])
            place = op["ld_y"], op["y_column"]
            labels = self.values(numbers.output)
            if numbers.op.kind == "copy_blocks":  # it writes a part; the others stay
                written = block_columns(numbers)
                for j in written:
                    self.memory[op["y"] + op["y_column"] + j] = labels[j]
                self.ranges.add((op["y"], op["ld_y"]))
                continue
            if op["z"] not in (op["x"], op["y"]):
                self.write(op["z"], *place, [("z", i)] * numbers.n_out)
            if op["dy"] >= 0 and numbers.op.kind == "dense":  # split-K
                self.write(op["dy"], *place, [None] * numbers.n_out)
            self.write(op["y"], *place, labels)
        self.check_outputs()

    def check_overwritten(
        self, numbers: SizedOp, op: Mapping[str, Any], written: str, read: Sequence[str]
    ) -> None:
        """Check that an op writes over what it reads only element by element."""
        sides = {"dy": "y", "dx": "x", "dx2": "x2"}

        def place(name: str) -> tuple[int, int, int]:
            side = sides.get(name, name)
            return op[name], op[f"ld_{side}"], op[f"{side}_column"]

        for name in read:
            (a, ld_a, col_a), (b, ld_b, col_b) = place(written), place(name)
            if (a, ld_a) == (b, ld_b):  # one tensor, or two parts of one
                columns = set(range(op[SIZES[sides.get(written, written)]]))
                if numbers.op.kind == "copy_blocks" and written == "y":
                    columns = block_columns(numbers)
                over = range(col_b - col_a, col_b - col_a + op[SIZES[sides.get(name, name)]])
                in_place = numbers.op.kind in IN_PLACE and col_a == col_b
                assert in_place or columns.isdisjoint(over), op
            else:
                assert a + ld_a <= b or b + ld_b <= a, op

    def check_outputs(self) -> None:
        for tensor, offset in zip(self.outputs, self.table.outputs, strict=True):
            assert self.read(offset, 0, self.sizes[tensor]) == self.values(tensor)

    def backward(self, trained: set[int]) -> None:
        for k, offset in enumerate(self.table.output_gradients):
            n = self.sizes[self.outputs[k]]
            self.write(offset, stride(n), 0, [frozenset([("loss", k)])] * n)
        self.dz: dict[int, list[Label]] = {}
        for i, (numbers, op) in reversed(list(enumerate(self.pairs))):
            if op["dy"] >= 0:
                self.backward_op(i, numbers, op)
        for numbers, op in self.pairs:
            if {op["w"], op["b"]} & trained:
                self.check_inputs(numbers, op)
                found = self.read(op["dy"], op["y_column"], numbers.n_out)
                assert found == self.dz[numbers.output], op
        self.check_outputs()
        places = zip(self.table.input_gradients, self.table.input_columns, strict=True)
        for tensor, (offset, column) in zip(self.inputs, places, strict=True):
            if offset >= 0:
                n = self.sizes[tensor]
                assert self.read(offset, column, n) == self.gradient(tensor)

    def gradient(self, tensor: int) -> list[Label]:
        """Return the labels of a tensor's complete gradient: the contributions of all readers."""
        total: list[Label] = [frozenset()] * self.sizes[tensor]
        for k, output in enumerate(self.outputs):
            if output == tensor:
                total = [g | {("loss", k)} for g in total]
        for i, (numbers, op) in enumerate(self.pairs):
            for k, read in enumerate(numbers.inputs):
                if read == tensor and op["dy"] >= 0:
                    total = [a | b for a, b in zip(total, self.contribution(i, k), strict=True)]
        if tensor in self.whole:
            whole, begin = self.whole[tensor]
            part = self.gradient(whole)[begin : begin + self.sizes[tensor]]
            total = [a | b for a, b in zip(total, part, strict=True)]
        return total

    def contribution(self, i: int, k: int) -> list[Label]:
        numbers, _ = self.pairs[i]
        if numbers.op.kind == "sum" and numbers.op.settings.factors[k] == 1:
            return self.dz[numbers.output]
        return [frozenset([("dx", i, k)])] * self.sizes[numbers.inputs[k]]

    def backward_op(self, i: int, numbers: SizedOp, op: Mapping[str, Any]) -> None:
        kind, place = numbers.op.kind, (op["ld_y"], op["y_column"])
        columns = block_columns(numbers) if kind == "copy_blocks" else range(numbers.n_out)
        expected = self.dz.get(numbers.output) or self.gradient(numbers.output)
        source = self.read(op["dy_source"], op["y_column"], numbers.n_out)
        for j in columns:
            assert source[j] == expected[j], (op, j)
        penalty = op["y_l1"] or op["y_l2"]
        active = op["activation"] != LINEAR and not op["relu_backward_done"]
        if (active or penalty) and kind != "copy_blocks":
            found = self.read(op["y"], op["y_column"], numbers.n_out)
            if op["activation"] in NEEDS_PREACTIVATION and op["z"] not in (op["x"], op["y"]):
                assert self.read(op["z"], op["y_column"], 1)[:1] == [("z", i)][: numbers.n_out]
            else:
                assert found == self.values(numbers.output), op
            expected = [frozenset([("dz", numbers.output)])] * numbers.n_out
            self.write(op["dy"], *place, expected)
        elif op["dy"] != op["dy_source"]:
            self.write(op["dy"], *place, expected)
        self.dz[numbers.output] = expected
        if kind in READ_INPUTS or op["applies_relu_backward"]:
            self.check_inputs(numbers, op)
        if kind == "max_pool":
            assert self.read(op["y"], op["y_column"], numbers.n_out) == self.values(numbers.output)
        self.write_gradients(i, numbers, op)

    def write_gradients(self, i: int, numbers: SizedOp, op: Mapping[str, Any]) -> None:
        names = [(k, name) for k, name in enumerate(("dx", "dx2")) if op[name] >= 0]
        for k, name in names:
            # An op reads dZ for each of its inputs.
            if numbers.op.kind != "copy_blocks":
                found = self.read(op["dy"], op["y_column"], numbers.n_out)
                assert found == self.dz[numbers.output], op
            self.check_overwritten(numbers, op, name, ["dy", *(b for _, b in names if b != name)])
            self.write(op[name], *x_place(op, k), self.contribution(i, k))
        for k, name in names:
            if op[f"{name}_base"] >= 0:
                ld, column = x_place(op, k)
                n = self.sizes[numbers.inputs[k]]
                old = self.read(op[f"{name}_base"], column, n)
                new = self.read(op[name], column, n)
                assert new == self.contribution(i, k)
                self.write(op[name], ld, column, [a | b for a, b in zip(new, old, strict=True)])


def matches(numbers: SizedOp, op: Mapping[str, Any]) -> bool:
    same = (numbers.node, numbers.n_in, numbers.n_out) == (op["node"], op["n_in"], op["n_out"])
    return same and KINDS[op["kind"]] == numbers.op.kind and numbers.op.settings == op["settings"]


def x_place(op: Mapping[str, Any], k: int) -> tuple[int, int]:
    return (op["ld_x2"], op["x2_column"]) if k else (op["ld_x"], op["x_column"])


def block_columns(numbers: SizedOp) -> set[int]:
    """Return the elements of the output that a copy of blocks writes."""
    s: Any = numbers.op.settings
    begins = (s.y_begin + i * s.y_stride for i in range(s.outer))
    return {begin + j for begin in begins for j in range(s.inner)}

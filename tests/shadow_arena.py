"""A shadow of the working memory, which shows whether each op finds what it reads.

It follows the executor: each op's forward pass in order, the losses, each op's backward pass in
reverse order, the gradients of the parameters. It knows the graph of tensors and the offsets of the
plan, but not how the plan chose them. Instead of numbers, an element of memory holds a label: the
position in a tensor, or the set of contributions to a gradient. The rows of a sample may have gaps
between them, so a tensor is a set of positions relative to its offset and first column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nnfast import _engine
from nnfast._plan.fusion import Fused, fuse
from nnfast._plan.graph import FlatGraph
from nnfast._plan.lowering import SizedOp, lower
from nnfast._plan.memory import OpTable
from nnfast._plan.plan import Plan
from nnfast._plan.spec import Recurrence

KINDS = {traits.kind: name for name, traits in _engine.OPS.items()}
LINEAR, RELU = _engine.ACTIVATIONS["linear"], _engine.ACTIVATIONS["relu"]
NEEDS_PREACTIVATION = {_engine.ACTIVATIONS[name] for name in _engine.NEEDS_PREACTIVATION}
# Ops whose backward passes read their inputs; max_pool also reads its output.
SIZES = {"x": "n_in", "x2": "n_in2", "y": "n_out"}
READ_INPUTS = {
    *("standardize", "batch_norm", "layer_norm", "max_pool", "multiply", "maximum", "minimum"),
    *("dot", "unit_norm", "divide", "power", "powers", "sampling", "attention"),
}
# Ops that write exact elements.
EXACT = {"recurrent", "attention"}
# Ops whose first input has the gradient of the output.
PASS_GRADIENTS = {"sampling", "penalty"}
# Ops that may write y over x or x2, and dX over dZ if there is no x2.
IN_PLACE = {"activation", "dropout", "affine", "noise", "sum", "multiply"}
Label = Any
Labels = dict[int, Label]


def check_arena(graph: FlatGraph, plan: Plan) -> None:
    """Check the three op tables of a plan."""
    fused = fuse(lower(graph, [layer.trainable for layer in graph.layers]))
    trained = {i for i, array in enumerate(plan.arrays) if array["trained"]}
    for table in (plan.training, plan.input_gradient):
        shadow = Shadow(fused, fused.training, fused.training_outputs, table)
        shadow.forward()
        shadow.backward(trained, [end["steps"] * end["ld"] for end in plan.outputs])
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
        sizes = zip(fused.inputs, fused.input_sizes, strict=True)
        self.spans: dict[int, set[int]] = {tensor: set(range(n)) for tensor, n in sizes}
        self.whole: dict[int, tuple[int, int]] = {}  # part: tensor it lies in, first element
        self.pairs: list[tuple[SizedOp, Mapping[str, Any]]] = []
        ops = iter(table.ops)
        op = next(ops, None)
        for numbers in sized:
            settings = numbers.op.settings
            if op is not None and matches(numbers, op):
                self.pairs.append((numbers, op))
                self.spans.setdefault(numbers.output, set()).update(written(numbers, op))
                op = next(ops, None)
            else:
                assert numbers.op.kind == "copy_blocks"
                self.whole[numbers.inputs[0]] = numbers.output, settings.y_begin
                columns = block_columns(numbers)
                self.spans.setdefault(numbers.output, set()).update(columns)
        assert op is None
        places = zip(table.inputs, table.input_strides, table.input_columns, strict=True)
        for tensor, (offset, ld, column) in zip(fused.inputs, places, strict=True):
            self.write(offset, ld, column, self.values(tensor), exact=True)
        self.inputs = fused.inputs

    # ---- memory ----------------------------------------------------------------------------------

    def write(self, offset: int, ld: int, column: int, labels: Labels, exact: bool = False) -> None:
        """Write labels; unless `exact`, also to the rest of the last whole vector of each row."""
        assert offset >= 0
        assert offset + ld <= len(self.memory)
        self.ranges.add((offset, ld))
        for p in () if exact else labels:
            for after in range(p + 1, p + 1 + (-(p + 1) % 16)):
                if after not in labels:
                    assert column + after < ld
                    self.memory[offset + column + after] = None
        for p, label in labels.items():
            assert column + p < ld
            self.memory[offset + column + p] = label

    def read(self, offset: int, column: int, positions: Iterable[int]) -> Labels:
        assert offset >= 0
        return {p: self.memory[offset + column + p] for p in positions}

    def check_strides(self) -> None:
        """Check that rows of different threads do not overlap, even at different times."""
        for a, ld_a in self.ranges:
            for b, ld_b in self.ranges:
                assert (a, ld_a) == (b, ld_b) or a + ld_a <= b or b + ld_b <= a

    def values(self, tensor: int) -> Labels:
        """Return the labels of a tensor's elements; those of parts that lie in it are theirs."""
        labels: Labels = {p: (tensor, p) for p in self.spans[tensor]}
        for part, (whole, begin) in self.whole.items():
            if whole == tensor:
                labels |= {begin + p: label for p, label in self.values(part).items()}
        return labels

    # ---- passes ----------------------------------------------------------------------------------

    def check_inputs(self, numbers: SizedOp, op: Mapping[str, Any]) -> None:
        for name, tensor in zip(("x", "x2"), numbers.inputs, strict=False):
            span = self.spans[tensor]
            if numbers.op.kind == "attention":  # its rows may have gaps
                assert set(positions(op, name)) >= span, op
            elif numbers.op.kind != "copy_blocks":
                assert set(positions(op, name)) == span, op
            assert self.read(op[name], op[f"{name}_column"], span) == self.values(tensor), op

    def forward(self) -> None:
        for i, (numbers, op) in enumerate(self.pairs):
            self.check_inputs(numbers, op)
            self.check_overwritten(numbers, op, "y", ["x", "x2"][: len(numbers.inputs)])
            place = op["steps"] * op["ld_y"], op["y_column"]
            labels = self.values(numbers.output)
            if numbers.op.kind == "copy_blocks":  # it writes a part; the others stay
                for p in block_columns(numbers):
                    self.memory[op["y"] + op["y_column"] + p] = labels[p]
                self.ranges.add((op["y"], op["steps"] * op["ld_y"]))
                continue
            if op["z"] not in (op["x"], op["y"]):
                self.write(op["z"], *place, dict.fromkeys(labels, ("z", i)))
            if op["dy"] >= 0 and numbers.op.kind == "dense":  # split-K
                self.write(op["dy"], *place, dict.fromkeys(labels))
            self.write(op["y"], *place, labels, exact=numbers.op.kind in EXACT)
        self.check_outputs()

    def check_overwritten(
        self, numbers: SizedOp, op: Mapping[str, Any], overwritten: str, read: Sequence[str]
    ) -> None:
        """Check that an op writes over what it reads only element by element."""
        sides = {"dy": "y", "dx": "x", "dx2": "x2"}

        def place(name: str) -> tuple[int, int, int]:
            side = sides.get(name, name)
            return op[name], op["steps"] * op[f"ld_{side}"], op[f"{side}_column"]

        for name in read:
            (a, ld_a, col_a), (b, ld_b, col_b) = place(overwritten), place(name)
            if (a, ld_a) == (b, ld_b):  # one tensor, or two parts of one
                columns = set(positions(op, sides.get(overwritten, overwritten)))
                if numbers.op.kind == "copy_blocks" and overwritten == "y":
                    columns = block_columns(numbers)
                over = {col_b - col_a + p for p in positions(op, sides.get(name, name))}
                in_place = numbers.op.kind in IN_PLACE and col_a == col_b
                assert in_place or columns.isdisjoint(over), op
            else:
                assert a + ld_a <= b or b + ld_b <= a, op

    def check_outputs(self) -> None:
        for tensor, offset in zip(self.outputs, self.table.outputs, strict=True):
            assert self.read(offset, 0, self.spans[tensor]) == self.values(tensor)

    def backward(self, trained: set[int], strides: list[int]) -> None:
        for k, offset in enumerate(self.table.output_gradients):
            loss = dict.fromkeys(self.spans[self.outputs[k]], frozenset([("loss", k)]))
            self.write(offset, strides[k], 0, loss)
        self.dz: dict[int, Labels] = {}
        needed = self.needed(trained)
        for i, (numbers, op) in reversed(list(enumerate(self.pairs))):
            if op["dy"] >= 0 and numbers.output in needed:
                self.backward_op(i, numbers, op)
        for numbers, op in self.pairs:
            if {op["w"], op["b"]} & trained:
                self.check_inputs(numbers, op)
                found = self.read(op["dy"], op["y_column"], self.spans[numbers.output])
                assert found == self.dz[numbers.output], op
        self.check_outputs()
        places = zip(self.table.input_gradients, self.table.input_columns, strict=True)
        for tensor, (offset, column) in zip(self.inputs, places, strict=True):
            if offset >= 0:
                found = self.read(offset, column, self.spans[tensor])
                assert found == self.gradient(tensor)

    def needed(self, trained: set[int]) -> set[int]:
        """Return the tensors before which something is trained or a gradient is asked for."""
        gradients = zip(self.inputs, self.table.input_gradients, strict=True)
        needed = {tensor for tensor, offset in gradients if offset >= 0}
        for numbers, op in self.pairs:
            read = set(numbers.inputs)
            for tensor in numbers.inputs:
                read |= self.parts(tensor)
            if {op["w"], op["b"]} & trained or needed & read:
                needed.add(numbers.output)
        return needed

    def parts(self, whole: int) -> set[int]:
        """Return the tensors that lie in a tensor, directly or in parts of it."""
        found = {part for part, (tensor, _) in self.whole.items() if tensor == whole}
        return found.union(*map(self.parts, found))

    def gradient(self, tensor: int) -> Labels:
        """Return the labels of a tensor's complete gradient: the contributions of all readers."""
        total: Labels = dict.fromkeys(self.spans[tensor], frozenset())
        for k, output in enumerate(self.outputs):
            if output == tensor:
                total = {p: g | {("loss", k)} for p, g in total.items()}
        for i, (numbers, op) in enumerate(self.pairs):
            for k, read in enumerate(numbers.inputs):
                if read == tensor and op["dy"] >= 0:
                    total = union(total, self.contribution(i, k))
        if tensor in self.whole:
            whole, begin = self.whole[tensor]
            gradient = self.gradient(whole)
            total = union(total, {p: gradient[begin + p] for p in total})
        return total

    def contribution(self, i: int, k: int) -> Labels:
        numbers, _ = self.pairs[i]
        kind, settings = numbers.op.kind, numbers.op.settings
        if (kind == "sum" and settings.factors[k] == 1) or (k == 0 and kind in PASS_GRADIENTS):
            return self.dz[numbers.output]
        return dict.fromkeys(self.spans[numbers.inputs[k]], frozenset([("dx", i, k)]))

    def backward_op(self, i: int, numbers: SizedOp, op: Mapping[str, Any]) -> None:
        kind, place = numbers.op.kind, (op["steps"] * op["ld_y"], op["y_column"])
        span = self.spans[numbers.output]
        expected = self.dz.get(numbers.output) or self.gradient(numbers.output)
        source = self.read(op["dy_source"], op["y_column"], span)
        for p in written(numbers, op):
            assert source[p] == expected[p], (op, p)
        penalty = op["y_l1"] or op["y_l2"]
        active = op["activation"] != LINEAR and not op["relu_backward_done"]
        if (active or penalty) and kind != "copy_blocks":
            found = self.read(op["y"], op["y_column"], span)
            if op["activation"] in NEEDS_PREACTIVATION and op["z"] not in (op["x"], op["y"]):
                z = self.read(op["z"], op["y_column"], span)
                assert z == dict.fromkeys(span, ("z", i))
            else:
                assert found == self.values(numbers.output), op
            expected = dict.fromkeys(span, frozenset([("dz", numbers.output)]))
            self.write(op["dy"], *place, expected)
        elif op["dy"] != op["dy_source"]:
            self.write(op["dy"], *place, expected)
        self.dz[numbers.output] = expected
        if kind in READ_INPUTS or op["applies_relu_backward"]:
            self.check_inputs(numbers, op)
        if kind == "max_pool":
            assert self.read(op["y"], op["y_column"], span) == self.values(numbers.output)
        self.write_gradients(i, numbers, op)

    def write_gradients(self, i: int, numbers: SizedOp, op: Mapping[str, Any]) -> None:
        names = [(k, name) for k, name in enumerate(("dx", "dx2")) if op[name] >= 0]
        for k, name in names:
            # An op reads dZ for each of its inputs.
            if numbers.op.kind != "copy_blocks":
                found = self.read(op["dy"], op["y_column"], self.spans[numbers.output])
                assert found == self.dz[numbers.output], op
            self.check_overwritten(numbers, op, name, ["dy", *(b for _, b in names if b != name)])
            self.write(op[name], *x_place(op, k), self.contribution(i, k))
        for k, name in names:
            if op[f"{name}_base"] >= 0:
                ld, column = x_place(op, k)
                span = self.spans[numbers.inputs[k]]
                old = self.read(op[f"{name}_base"], column, span)
                new = self.read(op[name], column, span)
                assert new == self.contribution(i, k)
                self.write(op[name], ld, column, union(new, old))


def matches(numbers: SizedOp, op: Mapping[str, Any]) -> bool:
    same = (numbers.node, numbers.n_in, numbers.n_out) == (op["node"], op["n_in"], op["n_out"])
    same &= KINDS[op["kind"]] == numbers.op.kind
    return same and of_layer(numbers.op.settings) == of_layer(op["settings"])


def of_layer(settings: Any) -> Any:
    """Return settings without what depends on the place of the output."""
    return settings._replace(y_stride=0) if isinstance(settings, Recurrence) else settings


def x_place(op: Mapping[str, Any], k: int) -> tuple[int, int]:
    name = "x2" if k else "x"
    return op["steps"] * op[f"ld_{name}"], op[f"{name}_column"]


def positions(op: Mapping[str, Any], side: str) -> list[int]:
    """Return the positions of an op's tensor "x", "x2" or "y"."""
    ld, n, settings = op[f"ld_{side}"], op[SIZES[side]], op["settings"]
    if side == "y" and isinstance(settings, Recurrence) and settings.y_stride != settings.units:
        steps = (t * settings.y_stride for t in range(settings.steps))
        return [step + u for step in steps for u in range(settings.units)]
    return [step * ld + j for step in range(op["steps"]) for j in range(n)]


def written(numbers: SizedOp, op: Mapping[str, Any]) -> Iterable[int]:
    """Return the positions of the output that an op writes."""
    return block_columns(numbers) if numbers.op.kind == "copy_blocks" else positions(op, "y")


def union(a: Labels, b: Labels) -> Labels:
    """Return the contributions of both, which have the same positions."""
    assert a.keys() == b.keys()
    return {p: a[p] | b[p] for p in a}


def block_columns(numbers: SizedOp) -> set[int]:
    """Return the elements of the output that a copy of blocks writes."""
    s: Any = numbers.op.settings
    row = -(-numbers.n_out // 16) * 16
    begins = (
        step * row + s.y_begin + i * s.y_stride
        for step in range(numbers.steps)
        for i in range(s.outer)
    )
    return {begin + j for begin in begins for j in range(s.inner)}

"""The table that `Model.summary` prints, as text and as HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from nnfast._plan.graph import Graph
from nnfast._utils.checks import entries, real

Cells = tuple[str, ...]


class Row(NamedTuple):
    """One layer in the table.

    Attributes
    ----------
    name : str
    kind : str
        The name of its class.
    shape : str
        The shape of a batch of outputs.
    n_params : str
        The number of parameters.
    trainable : bool
    connected : str
        The outputs that it reads: ``name[number of the call][number of the output]``.
    level : int
        The number of models within the model that it belongs to.
    """

    name: str
    kind: str
    shape: str
    n_params: str
    trainable: bool
    connected: str
    level: int = 0


class Summary(NamedTuple):
    """The contents of the table.

    Attributes
    ----------
    name : str
        The model's name.
    rows : list of Row
    total, frozen : int
        Number of parameters, and of those that training does not change.
    itemsize : int
        Size of one parameter in bytes.
    branches : bool
        Whether a column says what layers are connected to.
    line_length : int or None
        Width of the table; None: as wide as its contents.
    positions : sequence of float or None
        The ends of the columns.
    show_trainable : bool
        Whether a column says which layers are trainable.
    """

    name: str
    rows: list[Row]
    total: int
    frozen: int
    itemsize: int
    branches: bool = False
    line_length: int | None = None
    positions: Sequence[Any] | None = None
    show_trainable: bool = False

    def of_range(self, layer_range: Sequence[str] | None) -> Summary:
        """Return the summary with the rows of a range of layers, given by two names or patterns."""
        if layer_range is None:
            return self
        found = entries("layer_range", layer_range)
        if len(found) != 2 or not all(isinstance(pattern, str) for pattern in found):
            raise ValueError(f"layer_range must be two strings; received {layer_range!r}")
        outer = [i for i, row in enumerate(self.rows) if row.level == 0]
        names = [self.rows[i].name for i in outer]
        first, last = (
            [i for i, name in enumerate(names) if re.search(pattern, name)] for pattern in found
        )
        if not first or not last:
            raise ValueError(
                f"layer_range must match names of layers, which are {names}; received "
                f"{layer_range!r}"
            )
        ends = [*outer, len(self.rows)]
        return self._replace(rows=self.rows[ends[first[0]] : ends[last[-1] + 1]])


def summarize(model: Any, itemsize: int, expand_nested: bool = False) -> Summary:
    """Return the summary of a model, whose parameters have `itemsize` bytes each."""
    graph = model.graph
    if graph is None:
        return Summary(model.name, list(_rows_without_shapes(model)), 0, 0, itemsize)
    counts: dict[Any, int] = {}
    frozen = 0
    for layer, specs in graph.flat.weights():
        weights = [spec for spec in specs if not spec.is_state]
        counts[layer] = sum(math.prod(weight.shape) for weight in weights)
        trained = model.trainable and layer.trainable
        frozen += sum(math.prod(w.shape) for w in weights if not (trained and w.trainable))
    rows = list(_rows(model, graph, counts, expand_nested))
    return Summary(model.name, rows, sum(counts.values()), frozen, itemsize, graph.branches)


def _rows(
    model: Any, graph: Graph, counts: dict[Any, int], expand_nested: bool, level: int = 0
) -> Iterator[Row]:
    """Yield the rows of a graph, and those of models within it if `expand_nested`."""
    for layer, nodes in graph.calls.items():
        if not (nodes[0].inputs or model.lists_inputs):
            continue
        inside = nodes[0].graph
        layers = [layer] if inside is None else inside.flat.layers
        read = [graph.position(tensor) for node in nodes for tensor in node.inputs]
        shapes = [spec.shape for spec in nodes[0].specs]
        yield Row(
            layer.name,
            _kind(layer),
            str(shapes[0] if len(shapes) == 1 else shapes),
            f"{sum(counts.get(inner, 0) for inner in layers):,}",
            layer.trainable,
            ", ".join(f"{source.name}[{call}][{index}]" for source, call, index in read) or "-",
            level,
        )
        if expand_nested and inside is not None and nodes[0].calls_model:
            yield from _rows(layer, inside, counts, True, level + 1)


def _rows_without_shapes(model: Any) -> Iterator[Row]:
    """Yield the rows of a model whose input shape is not known."""
    for layer in model.layers:
        yield Row(layer.name, _kind(layer), "?", "not built", layer.trainable, "-")


def _kind(layer: Any) -> str:
    return getattr(layer, "class_name", None) or type(layer).__name__


def _table(summary: Summary) -> tuple[list[Cells], str]:
    """Return the rows of cells, headings first, and the line below the table."""
    headings = ["Layer (type)", "Output shape", "Param #"]
    headings += ["Connected to"] * summary.branches + ["Trainable"] * summary.show_trainable
    table = [tuple(headings)]
    for row in summary.rows:
        prefix = "   " * row.level + "└ " if row.level else ""
        cells = [f"{prefix}{row.name} ({row.kind})", row.shape, row.n_params]
        cells += [row.connected] * summary.branches
        table.append((*cells, *(("Y" if row.trainable else "N"),) * summary.show_trainable))
    below = f"Total params: {summary.total:,} ({_size(summary.total * summary.itemsize)})"
    frozen = summary.frozen
    return table, below + (f", of which {frozen:,} are not trained" if frozen else "")


def summary_html(summary: Summary) -> str:
    """Return the table as HTML.

    Examples
    --------
    >>> summary_html(Summary("<m>", [], 0, 0, 4))[:30]
    '<p>Model: <b>&lt;m&gt;</b></p>'
    """
    import html

    rows, total = _table(summary)
    tags = ["th"] + ["td"] * (len(rows) - 1)
    body = "".join(
        "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for tag, row in zip(tags, rows, strict=True)
    )
    return f"<p>Model: <b>{html.escape(summary.name)}</b></p><table>{body}</table><p>{total}</p>"


def summary_lines(summary: Summary) -> Iterator[str]:
    r"""Yield the lines of the table.

    Examples
    --------
    >>> rows = [Row("flat", "Flatten", "(None, 6)", "0", True, "-")]
    >>> print(*summary_lines(Summary("m", rows, 0, 0, 4)), sep="\n")
    Model: "m"
    Layer (type)    Output shape  Param #
    -------------------------------------
    flat (Flatten)  (None, 6)           0
    -------------------------------------
    Total params: 0 (0 B)
    """
    rows, total = _table(summary)
    widths = _widths(summary, rows)
    lines = []
    for row in rows:
        cells = [
            f"{cell[:width]:{'>' if i == 2 else '<'}{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells))
    rule = "-" * len(lines[0])
    yield f'Model: "{summary.name}"'
    yield from (lines[0], rule, *lines[1:], rule)
    yield total


def _widths(summary: Summary, rows: Sequence[Cells]) -> list[int]:
    """Return the widths of the columns, which two spaces separate."""
    needed = [max(map(len, column)) for column in zip(*rows, strict=True)]
    length = summary.line_length
    if summary.positions is None:
        if length is not None:
            needed[0] += max(0, length - sum(needed) - 2 * (len(needed) - 1))
        return needed
    ends = [real("each of positions", end, above=0.0) for end in summary.positions]
    if len(ends) != len(needed) or ends != sorted(ends):
        raise ValueError(
            f"positions must be {len(needed)} ascending numbers, one per column; received "
            f"{list(summary.positions)}"
        )
    if ends[-1] <= 1.0:
        ends = [end * (length or 80) for end in ends]
    begins = [0, *(round(end) for end in ends[:-1])]
    last = len(ends) - 1
    return [
        max(1, round(end) - begin - (0 if i == last else 2))
        for i, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]


def _size(n_bytes: int) -> str:
    """Return a byte count as text with a readable unit.

    Examples
    --------
    >>> _size(12), _size(5 * 1024)
    ('12 B', '5.00 KB')
    """
    power = min(3, max(0, n_bytes.bit_length() - 1) // 10)
    if power == 0:
        return f"{n_bytes} B"
    return f"{n_bytes / 1024**power:.2f} {('KB', 'MB', 'GB')[power - 1]}"

"""The table that `Sequential.summary` prints, as text and as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nnfast._utils.checks import entries, real

if TYPE_CHECKING:
    from nnfast.layers.layer import Layer

Row = tuple[str, ...]


class Summary(NamedTuple):
    """The contents of the table.

    Attributes
    ----------
    name : str
        The model's name.
    layers : sequence of Layer
    input_shape : tuple of (int or None), or None
        Shape of a batch, None if it is not known yet.
    itemsize : int
        Size of one parameter in bytes.
    non_trainable : int
        Number of parameters that training does not change.
    line_length : int or None
        Width of the table; None: as wide as its contents.
    positions : sequence of float or None
        The ends of the columns.
    show_trainable : bool
        Whether a column says which layers are trainable.
    shown : slice
        The layers that have a row.
    """

    name: str
    layers: Sequence[Layer]
    input_shape: tuple[int | None, ...] | None
    itemsize: int
    non_trainable: int
    line_length: int | None = None
    positions: Sequence[Any] | None = None
    show_trainable: bool = False
    shown: slice = slice(None)

    def of_range(self, layer_range: Sequence[str] | None) -> Summary:
        """Return the summary with the rows of a range of layers, given by two names or patterns."""
        if layer_range is None:
            return self
        found = entries("layer_range", layer_range)
        if len(found) != 2 or not all(isinstance(pattern, str) for pattern in found):
            raise ValueError(f"layer_range must be two strings; received {layer_range!r}")
        first, last = (
            [i for i, layer in enumerate(self.layers) if re.search(pattern, layer.name)]
            for pattern in found
        )
        if not first or not last:
            raise ValueError(
                f"layer_range must match names of layers, which are "
                f"{[layer.name for layer in self.layers]}; received {layer_range!r}"
            )
        return self._replace(shown=slice(first[0], last[-1] + 1))


def _table(summary: Summary) -> tuple[list[Row], str]:
    """Return the rows of cells, headings first, and the line below the table."""
    rows, total, x = [], 0, summary.input_shape
    for layer in summary.layers:
        x = None if x is None else (x[0], *layer.infer_shape(tuple(n or 0 for n in x[1:])))
        count = sum(view.size for view in layer.weights)
        total += count
        label = f"{count:,}" if summary.input_shape is not None else "not built"
        flag = (("Y" if layer.trainable else "N"),) if summary.show_trainable else ()
        shape = "?" if x is None else str(x)
        rows.append((f"{layer.name} ({type(layer).__name__})", shape, label, *flag))
    headings = ("Layer (type)", "Output shape", "Param #")
    below = f"Total params: {total:,} ({_size(total * summary.itemsize)})"
    frozen = summary.non_trainable
    return (
        [headings + ("Trainable",) * summary.show_trainable, *rows[summary.shown]],
        below + (f", of which {frozen:,} are not trained" if frozen else ""),
    )


def summary_html(summary: Summary) -> str:
    """Return the table as HTML.

    Examples
    --------
    >>> summary_html(Summary("<m>", [], (None, 2), 4, 0))[:30]
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
    >>> from nnfast.layers import Flatten
    >>> print(*summary_lines(Summary("m", [Flatten(name="flat")], (None, 2, 3), 4, 0)), sep="\n")
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


def _widths(summary: Summary, rows: Sequence[Row]) -> list[int]:
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

"""The table that `Sequential.summary` prints, as text and as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnfast._utils.checks import Shape

if TYPE_CHECKING:
    from nnfast.layers.layer import Layer

Row = tuple[str, str, str]


class Summary(NamedTuple):
    """The contents of the table.

    Attributes
    ----------
    name : str
        The model's name.
    layers : sequence of Layer
    input_shape : tuple of int or None
        Shape of one sample, None if it is not known yet.
    itemsize : int
        Size of one parameter in bytes.
    non_trainable : int
        Number of parameters that training does not change.
    """

    name: str
    layers: Sequence[Layer]
    input_shape: Shape | None
    itemsize: int
    non_trainable: int


def _table(summary: Summary) -> tuple[list[Row], str]:
    """Return the rows of cells, headings first, and the line below the table."""
    rows = [("Layer (type)", "Output shape", "Param #")]
    total, sample_shape = 0, summary.input_shape
    for layer in summary.layers:
        sample_shape = None if sample_shape is None else layer.infer_shape(sample_shape)
        shape = "?" if sample_shape is None else str((None, *sample_shape))
        count = sum(view.size for view in layer.weights)
        total += count
        label = f"{count:,}" if summary.input_shape is not None else "not built"
        rows.append((f"{layer.name} ({type(layer).__name__})", shape, label))
    below = f"Total params: {total:,} ({_size(total * summary.itemsize)})"
    frozen = summary.non_trainable
    return rows, below + (f", of which {frozen:,} are not trained" if frozen else "")


def summary_html(summary: Summary) -> str:
    """Return the table as HTML.

    Examples
    --------
    >>> summary_html(Summary("<m>", [], (2,), 4, 0))[:30]
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
    >>> print(*summary_lines(Summary("m", [Flatten(name="flat")], (2, 3), 4, 0)), sep="\n")
    Model: "m"
    Layer (type)    Output shape  Param #
    -------------------------------------
    flat (Flatten)  (None, 6)           0
    -------------------------------------
    Total params: 0 (0 B)
    """
    rows, total = _table(summary)
    first, second, third = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [f"{a:<{first}}  {b:<{second}}  {c:>{third}}" for a, b, c in rows]
    rule = "-" * len(lines[0])
    yield f'Model: "{summary.name}"'
    yield from (lines[0], rule, *lines[1:], rule)
    yield total


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

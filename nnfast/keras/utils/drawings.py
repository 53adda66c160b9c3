"""Drawings of diagrams with matplotlib, for machines without Graphviz.

Lengths are in points. Boxes have ranks, which increase along every arrow that does not lead back;
boxes of equal rank are next to each other. Positions are (along, across): in the direction of the
arrows, and at right angles to it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from nnfast.keras.utils.diagrams import Box, Cell, Diagram, Style

__all__ = ["draw", "layout"]

FONT = "DejaVu Sans"  # part of matplotlib
PADDING = 10.0  # around the text of a cell
BORDER = 1.0  # around a cell
MARGIN = 8.0  # around the drawing
RANK_GAP, NEIGHBOR_GAP = 36.0, 24.0
HEAD_LENGTH, HEAD_WIDTH = 12.0, 9.0  # of an arrow
# A drawing that would have more pixels than this in one direction gets fewer dots per inch.
MAX_PIXELS = 2**16 - 1

Point = tuple[float, float]


def draw(diagram: Diagram, path: str, form: str, style: Style) -> None:
    """Write a drawing of a diagram.

    Parameters
    ----------
    diagram : Diagram
    path : str
    form : str
        The file's format, such as "png".
    style : Style

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If matplotlib cannot write the format.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "plot_model needs Graphviz (https://graphviz.org/download) or matplotlib: "
            'pip install "nnfast[plot]"'
        ) from None

    tables = [_table(box) for box in diagram.boxes]
    upright = style.rankdir in ("TB", "BT")
    sizes = [(t.height, t.width) if upright else (t.width, t.height) for t in tables]
    centers, arrows = layout(sizes, diagram.edges)
    length = max(at + size[0] / 2 for (at, _), size in zip(centers, sizes, strict=True)) + MARGIN
    sides = [abs(at) + size[1] / 2 for (_, at), size in zip(centers, sizes, strict=True)]
    sides += [abs(at) for arrow in arrows for _, at in arrow]
    breadth = 2 * (max(sides) + MARGIN)

    def place(point: Point) -> Point:
        """Return x and y, downwards from the top left."""
        along = length - point[0] if style.rankdir in ("BT", "RL") else point[0]
        across = point[1] + breadth / 2
        return (across, along) if upright else (along, across)

    width, height = (breadth, length) if upright else (length, breadth)
    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    for arrow in arrows:
        _draw_arrow(axes, [place(point) for point in arrow])
    for table, center in zip(tables, centers, strict=True):
        _draw_table(axes, table, place(center))
    dpi = min(style.dpi, 72 * MAX_PIXELS / max(width, height))
    # Hinting would change the widths of the texts.
    with rc_context({"text.hinting": "no_hinting"}):
        figure.savefig(path, format=form, dpi=dpi)


# ---- positions -----------------------------------------------------------------------------------


def layout(
    sizes: Sequence[Point], edges: Sequence[tuple[int, int]]
) -> tuple[list[Point], list[list[Point]]]:
    """Return the center of each box, and the corners of each arrow.

    Parameters
    ----------
    sizes : sequence of (float, float)
        The size of each box, along and across, in topological order.
    edges : sequence of (int, int)

    Examples
    --------
    >>> layout([(10.0, 30.0), (20.0, 40.0)], [(0, 1)])
    ([(13.0, 0.0), (64.0, 0.0)], [[(18.0, 0.0), (54.0, 0.0)]])
    """
    ranks = [0] * len(sizes)
    for a, b in sorted(edges):
        if a < b:  # other edges lead back, to a layer that is called again
            ranks[b] = max(ranks[b], ranks[a] + 1)
    rows: list[list[int]] = [[] for _ in range(max(ranks) + 1)]
    for i, rank in enumerate(ranks):
        rows[rank].append(i)
    depths = [max(sizes[i][0] for i in row) for row in rows]
    # An arrow that passes a rank has a place there, like a box without breadth.
    places, paths = list(sizes), []
    for a, b in edges:
        path = [a]
        for rank in range(ranks[a] + 1, ranks[b]):
            rows[rank].append(len(places))
            path.append(len(places))
            places.append((depths[rank], 0.0))
        paths.append([*path, b])
    centers = _centers(places, rows, paths)
    arrows = []
    for path in paths:
        ends = [
            (centers[i][0] + side * places[i][0] / 2, centers[i][1])
            for i in path
            for side in (-1, 1)
        ]
        arrows.append(ends[1:-1])
    return centers[: len(sizes)], arrows


def _centers(places: Sequence[Point], rows: list[list[int]], paths: list[list[int]]) -> list[Point]:
    """Return the center of each place; in each row, places are in the order of those before."""
    before: list[list[int]] = [[] for _ in places]
    for path in paths:
        for a, b in pairwise(path):
            before[b].append(a)
    centers = [(0.0, 0.0)] * len(places)
    begin = MARGIN
    for row in rows:
        row.sort(key=lambda i: sum(centers[j][1] for j in before[i]) / max(1, len(before[i])))
        depth = max(places[i][0] for i in row)
        across = -(sum(places[i][1] for i in row) + NEIGHBOR_GAP * (len(row) - 1)) / 2
        for i in row:
            centers[i] = begin + depth / 2, across + places[i][1] / 2
            across += places[i][1] + NEIGHBOR_GAP
        begin += depth + RANK_GAP
    return centers


# ---- boxes and arrows ----------------------------------------------------------------------------


class _Table(NamedTuple):
    """A box with its size, and the rectangle (x, y, width, height) of each cell."""

    width: float
    height: float
    cells: list[tuple[Cell, tuple[float, float, float, float]]]


def _table(box: Box) -> _Table:
    """Return the cells of a box, which fill all rows."""
    widths = [[_text_width(cell) + 2 * PADDING for cell in row] for row in box]
    width = max(map(sum, widths))
    cells, y = [], 0.0
    for row, own in zip(box, widths, strict=True):
        height = max(cell.size for cell in row) * 1.2 + 2 * PADDING
        x, extra = 0.0, (width - sum(own)) / len(row)
        for cell, cell_width in zip(row, own, strict=True):
            cells.append((cell, (x, y, cell_width + extra, height)))
            x += cell_width + extra
        y += height
    return _Table(width, y, cells)


def _text_width(cell: Cell) -> float:
    return sum(_width(text, cell.size, bold) for text, bold in cell.text)


@functools.cache
def _width(text: str, size: float, bold: bool) -> float:
    """Return the width of a text, with the spaces at its end."""
    from matplotlib.textpath import text_to_path

    # Spaces at the ends of a text do not count, so the text is put between two bars.
    between, nothing = (
        text_to_path.get_text_width_height_descent(inside, _font(bold, size), ismath=False)[0]
        for inside in (f"|{text}|", "||")
    )
    return float(between - nothing)


def _font(bold: bool, size: float) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=FONT, weight="bold" if bold else "normal", size=size)


def _draw_table(axes: Any, table: _Table, center: Point) -> None:
    """Draw a box around its center; the black behind its cells becomes their borders."""
    from matplotlib.patches import Rectangle

    left, top = center[0] - table.width / 2, center[1] - table.height / 2
    outside = (left - BORDER, top - BORDER)
    size = (table.width + 2 * BORDER, table.height + 2 * BORDER)
    axes.add_patch(Rectangle(outside, *size, facecolor="black", linewidth=0))
    for cell, (x, y, width, height) in table.cells:
        corner = (left + x + BORDER, top + y + BORDER)
        inside = (width - 2 * BORDER, height - 2 * BORDER)
        axes.add_patch(Rectangle(corner, *inside, facecolor=cell.fill, linewidth=0))
        at = left + x + (width - _text_width(cell)) / 2
        for text, bold in cell.text:
            axes.text(
                *(at, top + y + height / 2 + 0.36 * cell.size, text),
                color=cell.ink,
                fontproperties=_font(bold, cell.size),
                verticalalignment="baseline",
                parse_math=False,
            )
            at += _width(text, cell.size, bold)


def _draw_arrow(axes: Any, points: list[Point]) -> None:
    """Draw a line through the points, with an arrowhead at the last one."""
    from matplotlib.patches import Polygon

    (x0, y0), (x1, y1) = points[-2:]
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    x, y = x1 - dx * HEAD_LENGTH, y1 - dy * HEAD_LENGTH
    line = zip(*points[:-1], (x, y), strict=True)
    axes.plot(*line, color="black", linewidth=2, solid_capstyle="butt")
    half = HEAD_WIDTH / 2
    corners = [(x1, y1), (x - dy * half, y + dx * half), (x + dy * half, y - dx * half)]
    axes.add_patch(Polygon(corners, facecolor="black", linewidth=0))

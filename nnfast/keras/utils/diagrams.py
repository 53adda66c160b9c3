"""Diagrams of models: boxes of cells, and the arrows between them, as DOT for Graphviz."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any, NamedTuple

from nnfast._plan.graph import Graph
from nnfast._plan.symbolic import KerasTensor, Node
from nnfast.activations import Activation, serialize

__all__ = ["Box", "Cell", "Diagram", "Shown", "Style", "diagram_of", "dot_source"]

# Colors of the title, of layers that are trained and of frozen layers.
TITLE, TRAINED, FROZEN = "black", "forestgreen", "firebrick"


class Cell(NamedTuple):
    """One rectangle in a box.

    Attributes
    ----------
    text : tuple of (str, bool)
        The pieces of the text, each with whether it is bold.
    size : float
        Font size in points.
    ink, fill : str
        Colors of the text and of the background.
    """

    text: tuple[tuple[str, bool], ...]
    size: float = 14.0
    ink: str = "black"
    fill: str = "white"


# The rows of cells of one layer, title first.
Box = tuple[tuple[Cell, ...], ...]


class Diagram(NamedTuple):
    """Boxes, and arrows as pairs of positions in `boxes`."""

    boxes: list[Box]
    edges: list[tuple[int, int]]


class Shown(NamedTuple):
    """What the boxes show besides the class of a layer; see `plot_model`."""

    shapes: bool
    dtype: bool
    layer_names: bool
    layer_activations: bool
    trainable: bool


class Style(NamedTuple):
    """How diagrams are drawn; see `plot_model`."""

    rankdir: str
    dpi: float
    splines: str


def diagram_of(model: Any, shown: Shown, expand_nested: bool = False) -> Diagram:
    """Return the diagram of a model whose input shape is known.

    If `expand_nested`, the layers of models within the model are shown instead of these models.
    """
    weighted = {layer for layer, specs in model.graph.flat.weights() if specs}
    drawing = _Drawing(shown, expand_nested, weighted)
    found: dict[KerasTensor, int | None] = dict.fromkeys(model.graph.inputs)
    if model.lists_inputs:
        found = {x: drawing.box(x.node) for x in model.graph.inputs}
    drawing.add(model.graph, found)
    return Diagram(drawing.boxes, list(dict.fromkeys(drawing.edges)))


class _Drawing:
    """The boxes and edges of a diagram; a layer that is called several times has one box."""

    def __init__(self, shown: Shown, expand_nested: bool, weighted: set[Any]) -> None:
        self.shown = shown
        self.expand_nested = expand_nested
        self.weighted = weighted  # the layers that have weights
        self.boxes: list[Box] = []
        self.edges: list[tuple[int, int]] = []
        self.numbers: dict[Any, int] = {}

    def add(self, graph: Graph, found: dict[KerasTensor, int | None]) -> None:
        """Add the calls of a graph. `found` has the box of each tensor, None without a box."""
        for node in graph.nodes:
            if self.expand_nested and node.graph is not None and node.calls_model:
                sources = [found[x] for x in node.inputs]
                inside = dict(zip(node.graph.inputs, sources, strict=True))
                self.add(node.graph, inside)
                boxes = [inside[y] for y in node.graph.outputs]
                found |= zip(node.outputs, boxes, strict=True)
                continue
            number = self.box(node)
            self.edges += [(a, number) for x in node.inputs if (a := found[x]) is not None]
            found |= dict.fromkeys(node.outputs, number)

    def box(self, node: Node) -> int:
        """Return the number of the box of a node's layer, which is added if it is new."""
        if node.layer not in self.numbers:
            self.numbers[node.layer] = len(self.boxes)
            inside = [node.layer] if node.graph is None else node.graph.flat.layers
            has_weights = not self.weighted.isdisjoint(inside)
            self.boxes.append(tuple(_rows(node, self.shown, has_weights)))
        return self.numbers[node.layer]


def _rows(node: Node, shown: Shown, has_weights: bool) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of the box of a node's layer."""
    layer = node.layer
    kind = getattr(layer, "class_name", None) or type(layer).__name__
    title = ((layer.name, True), (f" ({kind})", False)) if shown.layer_names else ((kind, True),)
    yield (Cell(title, 16.0, "white", TITLE),)
    activation = getattr(layer, "activation", None)
    if shown.layer_activations and activation is not None:
        yield (_pair("Activation", _activation_name(activation)),)
    cells = []
    if shown.shapes:
        before = [x.shape for x in node.inputs or node.outputs]
        cells.append(_pair("Input shape", _one_or_all(before)))
        cells.append(_pair("Output shape", _one_or_all([spec.shape for spec in node.specs])))
    if shown.dtype:
        cells.append(_pair("Output dtype", _one_or_all([spec.dtype for spec in node.specs])))
    if shown.trainable and has_weights:
        text, fill = ("Trainable", TRAINED) if layer.trainable else ("Non-trainable", FROZEN)
        cells.append(Cell(((text, True),), ink="white", fill=fill))
    if cells:
        yield tuple(cells)


def _one_or_all(values: list[Any]) -> str:
    return str(values[0] if len(values) == 1 else values)


def _pair(label: str, value: str) -> Cell:
    return Cell(((f"{label}: ", False), (value, True)))


def _activation_name(activation: Any) -> str:
    if isinstance(activation, Activation):
        return str(serialize(activation))
    return getattr(activation, "__name__", None) or str(activation)


def dot_source(diagram: Diagram, style: Style) -> str:
    """Return a diagram in the language of Graphviz.

    Examples
    --------
    >>> title = Cell((("Dense", True),))
    >>> print(dot_source(Diagram([((title,),)], []), Style("TB", 200, "ortho")))
    digraph model {
      graph [rankdir=TB, dpi=200, splines=ortho]
      node [shape=plaintext, margin=0, fontname=Helvetica]
      edge [penwidth=2]
      0 [label=<<table border="0" cellborder="1" bgcolor="black" cellpadding="10">
        <tr><td bgcolor="white" colspan="1">...<b>Dense</b></font></td></tr>
      </table>>]
    }
    """
    lines = [
        "digraph model {",
        f"  graph [rankdir={style.rankdir}, dpi={style.dpi:g}, splines={style.splines}]",
        "  node [shape=plaintext, margin=0, fontname=Helvetica]",
        "  edge [penwidth=2]",
    ]
    for number, box in enumerate(diagram.boxes):
        table = '<table border="0" cellborder="1" bgcolor="black" cellpadding="10">'
        width = max(map(len, box))
        lines.append(f"  {number} [label=<{table}")
        lines += [f"    <tr>{''.join(_td(c, width // len(row)) for c in row)}</tr>" for row in box]
        lines.append("  </table>>]")
    lines += [f"  {a} -> {b}" for a, b in diagram.edges]
    return "\n".join([*lines, "}"])


def _td(cell: Cell, span: int) -> str:
    """Return a cell as an element of a table, `span` columns wide."""
    text = "".join(
        f"<b>{html.escape(piece)}</b>" if bold else html.escape(piece) for piece, bold in cell.text
    )
    return (
        f'<td bgcolor="{cell.fill}" colspan="{span}">'
        f'<font point-size="{cell.size:g}" color="{cell.ink}">{text}</font></td>'
    )

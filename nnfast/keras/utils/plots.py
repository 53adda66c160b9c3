"""Pictures of models, as in ``keras.utils``."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

from nnfast._utils.checks import file_name, flag, real
from nnfast._utils.registry import choose
from nnfast.keras.utils.diagrams import Diagram, Shown, Style, diagram_of, dot_source
from nnfast.keras.utils.drawings import draw
from nnfast.models.model import Model

__all__ = ["model_to_dot", "plot_model"]

_DIRECTIONS = {name: name for name in ("TB", "BT", "LR", "RL")}
_SPLINES = {name: name for name in ("ortho", "curved", "polyline", "spline", "line")}


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: float = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    **kwargs: Any,
) -> Any:
    """Return a model as a graph for Graphviz.

    Parameters
    ----------
    model : Model
        A model whose input shape is known.
    show_shapes, show_dtype, show_layer_names, rankdir, expand_nested, dpi
        As in `plot_model`.
    subgraph : bool, default False
        Must be False, because models within a model are not drawn alone.
    show_layer_activations, show_trainable, splines, **kwargs
        As in `plot_model`.

    Returns
    -------
    pydot.Dot or graphviz.Source
        A ``graphviz.Source`` if pydot is not installed.

    Raises
    ------
    ImportError
        If neither pydot nor graphviz is installed.
    TypeError, ValueError
        As in `plot_model`.
    """
    if flag("subgraph", subgraph):
        raise ValueError(
            "subgraph must be False, because models within a model are not drawn alone"
        )
    shown = Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    diagram = _diagram(model, shown, expand_nested, kwargs)
    source = dot_source(diagram, _style(rankdir, dpi, splines))
    try:
        import pydot

        graphs: Any = pydot.graph_from_dot_data(source)
        return graphs[0]
    except ImportError:
        pass
    try:
        import graphviz

        return graphviz.Source(source)
    except ImportError:
        raise ImportError(
            "model_to_dot needs pydot or graphviz, and neither is installed: pip install pydot"
        ) from None


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: float = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    **kwargs: Any,
) -> Any:
    """Draw a model as boxes and arrows.

    Graphviz draws the picture if its program ``dot`` is installed, matplotlib otherwise.

    Parameters
    ----------
    model : Model
        A model whose input shape is known.
    to_file : str or path-like, default "model.png"
        The extension is the format: png, svg, pdf and so on; png without an extension.
    show_shapes : bool, default False
        Show the input shape and the output shape of every layer.
    show_dtype : bool, default False
        Show the dtype of every output.
    show_layer_names : bool, default False
        Show the names of the layers, not only their classes.
    rankdir : {"TB", "BT", "LR", "RL"}, default "TB"
        The direction of the arrows: from top to bottom, from left to right and so on.
    expand_nested : bool, default False
        Show the layers of models within the model instead of these models.
    dpi : float, default 200
        Dots per inch.
    show_layer_activations : bool, default False
        Show the activation of every layer that has one.
    show_trainable : bool, default False
        Show for every layer with weights whether it is trainable.
    splines : {"ortho", "curved", "polyline", "spline", "line"}, default "ortho"
        How Graphviz draws arrows that are not straight.
    **kwargs
        Only ``layer_range=None``.

    Returns
    -------
    IPython.display.Image, IPython.display.SVG or None
        The picture for a notebook; None outside IPython, and for a PDF.

    Raises
    ------
    ImportError
        If neither Graphviz nor matplotlib is installed.
    TypeError, ValueError
        If the model's input shape is not known, or an argument has the wrong type or value.

    Examples
    --------
    >>> import nnfast
    >>> from nnfast.layers import Dense
    >>> model = nnfast.Sequential([nnfast.Input((2,)), Dense(8, activation="tanh"), Dense(1)])
    >>> plot_model(model, "model.png", show_shapes=True, rankdir="LR")
    """
    shown = Shown(show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    diagram = _diagram(model, shown, expand_nested, kwargs)
    style = _style(rankdir, dpi, splines)
    path = file_name("to_file", to_file)
    form = os.path.splitext(path)[1][1:].lower() or "png"
    if shutil.which("dot") is not None:
        _run_dot(dot_source(diagram, style), path, form)
    else:
        draw(diagram, path, form, style)
    if form == "pdf" or "IPython" not in sys.modules:
        return None
    from IPython import display

    return display.SVG(filename=path) if form == "svg" else display.Image(filename=path)


def _diagram(model: Any, shown: Shown, expand_nested: object, others: dict[str, Any]) -> Diagram:
    """Return the diagram of a model after checking what is to be shown."""
    if not isinstance(model, Model):
        raise TypeError(f"model must be a Model; received {model!r}")
    if model.graph is None:
        raise ValueError(
            "This model has not yet been built. Build the model first by calling `build()` or by "
            "calling the model on a batch of data."
        )
    expand = flag("expand_nested", expand_nested)
    if others.pop("layer_range", None) is not None:
        raise ValueError("Argument `layer_range` is no longer supported.")
    if others:
        raise ValueError(f"Unrecognized keyword arguments: {others}")
    flags = {name: flag(f"show_{name}", value) for name, value in shown._asdict().items()}
    return diagram_of(model, Shown(**flags), expand)


def _style(rankdir: str, dpi: float, splines: str) -> Style:
    return Style(
        choose("rankdir", rankdir, _DIRECTIONS),
        real("dpi", dpi, above=0.0),
        choose("splines", splines, _SPLINES),
    )


def _run_dot(source: str, path: str, form: str) -> None:
    """Let the program ``dot`` write a picture."""
    import subprocess

    done = subprocess.run(
        ["dot", f"-T{form}"], input=source.encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise ValueError(f"Graphviz cannot write {path!r}: {done.stderr.decode().strip()}")
    with open(path, "wb") as file:
        file.write(done.stdout)

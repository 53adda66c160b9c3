"""Drawings with matplotlib, which is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._resolve import choose

if TYPE_CHECKING:
    from nnfast.callbacks import History

__all__ = ["learning_curves"]


def learning_curves(
    history: History | Mapping[str, Sequence[float]],
    keys: Sequence[str] | None = None,
    axes: Any = None,
) -> Any:
    """Draw learning curves: a panel for the loss and one for each metric.

    Training is drawn as a full line, validation as a dashed one.

    Parameters
    ----------
    history : History or mapping of str to sequence of float
        What `fit` returns, or its ``history``.
    keys : sequence of str, optional
        What to draw, without ``val_``; everything but the learning rate by default.
    axes : matplotlib Axes or sequence of them, optional
        One for each key; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``figure.savefig("curves.png")``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If a key is not in the history, or the number of axes is another.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> figure = learning_curves({"loss": [2.0, 1.0], "val_loss": [3.0, 2.0]})
    >>> len(figure.axes[0].lines)
    2
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(
            "Plots need matplotlib, which is not installed: pip install 'nnfast[plot]'"
        ) from None
    if isinstance(history, Mapping):
        values, epochs = dict(history), None
    else:
        values, epochs = dict(history.history), history.epoch
    known = {key: key for key in values if not key.startswith("val_") and key != "learning_rate"}
    if keys is None:
        keys = list(known)
    keys = [choose("key", key, known | {k: k for k in values}) for key in keys]
    if not keys:
        raise ValueError("There is nothing to draw: the history is empty")
    if axes is None:
        _, axes = pyplot.subplots(
            1, len(keys), figsize=(4.8 * len(keys), 3.6), squeeze=False, layout="constrained"
        )
    panels = list(np.ravel(axes))
    if len(panels) != len(keys):
        raise ValueError(f"axes must be {len(keys)}, one for each key; received {len(panels)}")
    for key, panel in zip(keys, panels, strict=True):
        _draw(panel, key, values, epochs)
    return panels[0].figure


def _draw(
    panel: Any, key: str, values: Mapping[str, Sequence[float]], epochs: Sequence[int] | None
) -> None:
    """Draw one key, and its validation, into a panel."""
    for name, style, label in ((key, "-", "training"), (f"val_{key}", "--", "validation")):
        curve = values.get(name)
        if curve is None:
            continue
        # The last epochs, where there are fewer values: metrics may come later.
        x = np.arange(len(curve)) if epochs is None else np.asarray(epochs[-len(curve) :])
        panel.plot(x + 1, curve, style, color="C0" if style == "-" else "C1", label=label)
    panel.set_xlabel("epoch")
    panel.set_ylabel(key)
    panel.grid(alpha=0.3)
    panel.legend()

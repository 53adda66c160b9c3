"""Plots with matplotlib, which is imported only when something is plotted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import entries
from nnfast._utils.registry import choose

__all__ = ["learning_curves"]


class _Recorded(Protocol):
    """The attributes of a History that are plotted."""

    @property
    def history(self) -> Mapping[str, Sequence[float]]:
        """The values of each key, one per logged epoch."""

    @property
    def epochs(self) -> Mapping[str, Sequence[int]]:
        """The epochs in which each key's values were logged."""


def learning_curves(
    history: _Recorded | Mapping[str, Sequence[float]],
    keys: Sequence[str] | None = None,
    axes: Any = None,
) -> Any:
    """Plot learning curves: one panel for the loss and one for each metric.

    Solid lines show training, dashed lines validation.

    Parameters
    ----------
    history : History or mapping of str to sequence of float
        The result of `fit`. With a mapping, such as its ``history``, the epochs are unknown, and
        all curves start at epoch 1.
    keys : sequence of str, optional
        The keys to plot, without ``val_``; by default all numeric keys except the learning rate.
    axes : matplotlib Axes or sequence of Axes, optional
        One Axes for each key; by default, a new figure is created.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; save it with ``figure.savefig("curves.png")``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `history` or `keys` has the wrong type.
    ValueError
        If a key is not in the history, its values are not numbers, or the number of axes does not
        match the number of keys.

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
    epochs: Mapping[str, Sequence[int]] = {}
    if isinstance(history, Mapping):
        values = dict(history)
    elif not hasattr(history, "history"):
        raise TypeError(f"history must be what fit returns; received {history!r}")
    else:
        values, epochs = dict(history.history), history.epochs
    curves = {key: curve for key in values if (curve := _numbers(values[key])) is not None}
    if keys is None:
        keys = [key for key in curves if not key.startswith("val_") and key != "learning_rate"]
    keys = [choose("key", key, {k: k for k in values}) for key in entries("keys", keys)]
    for key in keys:
        if key not in curves:
            raise ValueError(f"key {key!r} cannot be drawn: its values must be numbers")
    if not keys:
        raise ValueError("There is nothing to plot: the history is empty")
    if axes is None:
        _, axes = pyplot.subplots(
            1, len(keys), figsize=(4.8 * len(keys), 3.6), squeeze=False, layout="constrained"
        )
    panels = list(np.ravel(axes))
    if len(panels) != len(keys):
        raise ValueError(f"axes must be {len(keys)}, one for each key; received {len(panels)}")
    for key, panel in zip(keys, panels, strict=True):
        _draw(panel, key, curves, epochs)
    return panels[0].figure


def _numbers(values: Sequence[Any]) -> NDArray[Any] | None:
    """Return the values as an array with NaN in place of None, or None if they are not numbers."""
    try:
        array = np.array([np.nan if value is None else value for value in values])
    except ValueError:  # lists of different lengths
        return None
    return array if array.dtype.kind in "fiub" else None


def _draw(
    panel: Any, key: str, curves: Mapping[str, NDArray[Any]], epochs: Mapping[str, Sequence[int]]
) -> None:
    """Plot the training and validation values of one key in a panel."""
    for name, style, label in ((key, "-", "training"), (f"val_{key}", "--", "validation")):
        if name not in curves:
            continue
        curve = curves[name]
        x = np.asarray(epochs.get(name, range(len(curve))))
        panel.plot(x + 1, curve, style, color="C0" if style == "-" else "C1", label=label)
    panel.set_xlabel("epoch")
    panel.set_ylabel(key)
    panel.grid(alpha=0.3)
    panel.legend()

"""The base class of callbacks that monitor one entry of the logs."""

from __future__ import annotations

import warnings

import numpy as np

from nnfast._utils.checks import real, warn
from nnfast.callbacks.callback import Callback, Logs


class Monitor(Callback):
    """Base class of callbacks that monitor one entry of the logs.

    Parameters
    ----------
    monitor : str
        The key in the logs, for example ``"val_loss"``.
    mode : {"auto", "min", "max"}
        Whether lower or higher values are better; "auto" uses the direction of the metric. Any
        other value is taken as "auto", with a UserWarning.
    min_delta : float
        The change that an improvement must exceed.
    best : float or None
        The initial best value; with None, any value but NaN is an improvement.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float, best: float | None) -> None:
        if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
            warn(f'mode must be "auto", "min" or "max"; {mode!r} is taken as "auto"')
            mode = "auto"
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(real("min_delta", min_delta))
        self.best = best

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._less()

    def _less(self) -> bool:
        """Return whether lower values are better."""
        if self.mode != "auto":
            return self.mode == "min"
        direction = self.model.metric_direction(self.monitor.removeprefix("val_"))
        if direction is None:
            raise ValueError(
                f"{type(self).__name__} does not know whether lower or higher {self.monitor!r} is "
                'better: pass mode="min" or mode="max"'
            )
        return bool(direction == "down")

    def _improves(self, value: float, reference: float | None) -> bool:
        """Return whether `value` is better than `reference`; any number is better than NaN."""
        if np.isnan(value):
            return False
        if reference is None or np.isnan(reference):
            return True
        if self._less():
            return value + self.min_delta < reference
        return value - self.min_delta > reference

    def _value(self, logs: Logs) -> float | None:
        """Return the monitored number; warn and return None if the logs do not contain it."""
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__} monitors {self.monitor!r}, which is not available; the "
                f"logs contain: {', '.join(map(str, logs))}",
                UserWarning,
                stacklevel=2,
            )
            return None
        array = np.asarray(value)
        if array.ndim or array.dtype.kind not in "fiub":
            received = f"{len(array)}: {value}" if array.ndim else repr(value)
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, which must be one number; it is "
                f"{received}"
            )
        number: float = array.item()
        return number

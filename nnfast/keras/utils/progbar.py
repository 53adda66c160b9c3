"""A progress bar for training loops that users write."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from nnfast._utils.checks import integer, real, verbosity
from nnfast._utils.formatting import numbers

__all__ = ["Progbar"]

_BOLD, _GREEN, _WHITE, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[37m", "\x1b[0m"


class Progbar:
    """A progress bar of steps, with the time per step and the means of metrics.

    Parameters
    ----------
    target : int or None
        The number of steps; None if unknown.
    width : int, default 20
        The length of the bar in characters.
    verbose : {0, 1, 2}, default 1
        0 shows nothing, 1 a bar, and 2 one line after the last step.
    interval : float, default 0.05
        The minimum number of seconds between two redraws.
    stateful_metrics : iterable of str, optional
        The metrics that are shown as they are. Of all others, the mean over steps is shown.
    stateless_metrics : iterable of str, optional
        The metrics whose mean is shown. All others are then shown as they are.
    unit_name : str, default "step"
        The name of a step.

    Raises
    ------
    ValueError
        If both `stateful_metrics` and `stateless_metrics` are given.

    Examples
    --------
    >>> bar = Progbar(2, verbose=2)
    >>> bar.update(1, [("loss", 0.5)])
    >>> bar.add(1, [("loss", 0.25)])
    2/2 - 0s - ...s/step - loss: 0.2500
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError("pass either stateful_metrics or stateless_metrics, not both")
        self.target = None if target is None else integer("target", target, minimum=0)
        self.width = integer("width", width, minimum=0)
        self.verbose = verbosity(verbose)
        self.interval = real("interval", interval, low=0.0)
        self.unit_name = unit_name
        self.stateful_metrics = None if stateful_metrics is None else set(stateful_metrics)
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self._sums: dict[str, tuple[float, int]] = {}  # the weighted sum and the number of steps
        self._seen = 0
        self._start = time.perf_counter()
        self._after_first: float | None = None
        self._drawn: float | None = None
        self._shown = 0  # the number of visible characters of the last bar

    def update(
        self,
        current: int,
        values: Iterable[tuple[str, Any]] | None = None,
        finalize: bool | None = None,
    ) -> None:
        """Show that `current` steps are done.

        Parameters
        ----------
        current : int
        values : iterable of (str, number), optional
            The metrics of the steps since the last update. In the last update, they are shown as
            they are: they are taken to be those of the whole epoch.
        finalize : bool, optional
            Whether this is the last update; by default, if `current` has reached `target`.
        """
        current = integer("current", current, minimum=0)
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        self._add_values(current - self._seen, values or (), finalize)
        self._seen = current
        now = time.perf_counter()
        step_time = self._step_time(current, now)
        if self.verbose == 1:
            if finalize or self._drawn is None or now - self._drawn >= self.interval:
                self._draw(current, now, step_time, finalize)
                self._drawn = now
        elif self.verbose == 2 and finalize and self.target:
            print(f"{self._count(current)} - {now - self._start:.0f}s - {self._tail(step_time)}")

    def add(self, n: int, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """Show that `n` more steps are done; see `update`."""
        self.update(self._seen + n, values)

    def _add_values(self, steps: int, values: Iterable[tuple[str, Any]], finalize: bool) -> None:
        steps = max(steps, 1)
        for name, value in values:
            number = float(np.mean(value))
            if finalize or not self._is_averaged(name):
                self._sums[name] = (number, 1)
            else:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + number * steps, count + steps)

    def _is_averaged(self, name: str) -> bool:
        if self.stateless_metrics is not None:
            return name in self.stateless_metrics
        return name not in (self.stateful_metrics or ())

    def _step_time(self, current: int, now: float) -> float:
        """Return the seconds per step, without the first step if there are more."""
        if self._after_first is not None and current > 1:
            return (now - self._after_first) / (current - 1)
        if current == 1:
            self._after_first = now
        return (now - self._start) / current if current else 0.0

    def _draw(self, current: int, now: float, step_time: float, finalize: bool) -> None:
        if self.target:
            full = int(self.width * min(current / self.target, 1.0))
            green, white = "━" * full, "━" * (self.width - full)
            count = self._count(current)
            bar = f"{_BOLD}{count}{_PLAIN} {_GREEN}{green}{_PLAIN}{_WHITE}{white}{_PLAIN}"
            visible = len(count) + 1 + self.width
        else:
            bar = f"{current:7d}/Unknown"
            visible = len(bar)
        left = None if finalize or not self.target else step_time * (self.target - current)
        clock = f"{now - self._start:.0f}s" if left is None else _duration(left)
        tail = self._tail(step_time)
        visible += len(clock) + len(tail) + 2
        blank = " " * (self._shown - visible)  # covers the rest of a longer bar
        end = "\n" if finalize else ""
        print(f"\r{bar} {_BOLD}{clock}{_PLAIN} {tail}{blank}", end=end, flush=True)
        self._shown = visible

    def _count(self, current: int) -> str:
        return f"{current:{len(str(self.target))}d}/{self.target}"

    def _tail(self, step_time: float) -> str:
        """Return the time per step and the metrics."""
        if step_time >= 1 or step_time == 0:
            pace = f"{step_time:.0f}s/{self.unit_name}"
        elif step_time >= 1e-3:
            pace = f"{step_time * 1e3:.0f}ms/{self.unit_name}"
        else:
            pace = f"{step_time * 1e6:.0f}us/{self.unit_name}"
        metrics = (f"{name}: {numbers(total / n)}" for name, (total, n) in self._sums.items())
        return " - ".join([pace, *metrics])


def _duration(seconds: float) -> str:
    """Return seconds as text.

    Examples
    --------
    >>> _duration(7.2), _duration(75), _duration(7275)
    ('7s', '1:15', '2:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"

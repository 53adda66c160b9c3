"""What `fit` shows while it runs: a live bar in a terminal, a line per epoch elsewhere.

The trainer calls `update` between two calls of the engine, and after every batch where it runs
step by step; what is drawn is driven by the clock, so that the number of batches and epochs
does not matter. A bar goes over all epochs, and the line of a finished epoch is left above it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nnfast._utils.formatting import line

# Seconds between two drawings.
INTERVAL = 0.1
# Metrics of an unfinished epoch take at most this share of the time.
METRICS_SHARE = 0.05


@dataclass(frozen=True)
class Extent:
    """What there is to do.

    Attributes
    ----------
    first, last : int
        The epochs first, …, last − 1.
    steps : int or None
        Batches in an epoch, None if that is not known.
    rows : int or None
        Samples in an epoch, None if that is not known.
    """

    first: int
    last: int
    steps: int | None
    rows: int | None


class Progress:
    """Shows nothing: the base of those that do.

    Attributes
    ----------
    live : bool
        Whether `update` shows anything.
    """

    live = False

    def update(self, epoch: int, step: int, measure: Callable[[bool], Mapping[str, Any]]) -> None:
        """Say how far an epoch is; ``measure(metrics)`` gives its logs, and is rarely called."""

    def epoch_end(self, epoch: int, logs: Mapping[str, Any], seconds: float) -> None:
        """Say that an epoch is done."""

    def close(self) -> None:
        """Leave the terminal as it was found."""


class Lines(Progress):
    """A line for each finished epoch."""

    def __init__(self, extent: Extent) -> None:
        self.extent = extent

    def epoch_end(self, epoch: int, logs: Mapping[str, Any], seconds: float) -> None:
        print(epoch_line(epoch, self.extent, logs, seconds), flush=True)


class Live(Progress):
    """A bar over all epochs; how it is drawn is a subclass's.

    Epochs shorter than `INTERVAL` share a line: that of the last one of them.
    """

    live = True

    def __init__(self, extent: Extent, clock: Callable[[], float] = time.perf_counter) -> None:
        self.extent = extent
        self.clock = clock
        self.started = self.drawn = self.measured = self.printed = clock()
        self.measuring = 0.0
        self.metrics: dict[str, Any] = {}

    def update(self, epoch: int, step: int, measure: Callable[[bool], Mapping[str, Any]]) -> None:
        now = self.clock()
        if now - self.drawn < INTERVAL:
            return
        all_of_it = now - self.measured >= self.measuring / METRICS_SHARE
        logs = dict(measure(all_of_it))
        if all_of_it:
            self.measured = self.clock()
            self.measuring = self.measured - now
            self.metrics = logs
        self._show(epoch, step, self.metrics | logs)

    def epoch_end(self, epoch: int, logs: Mapping[str, Any], seconds: float) -> None:
        self.metrics = dict(logs)
        now = self.clock()
        last = epoch == self.extent.last - 1
        if now - self.printed >= INTERVAL or last:
            self.printed = now
            self.above(epoch_line(epoch, self.extent, logs, seconds))
        if self.extent.steps is not None and (now - self.drawn >= INTERVAL or last):
            self._show(epoch, self.extent.steps, logs)

    def _show(self, epoch: int, step: int, logs: Mapping[str, Any]) -> None:
        self.drawn = self.clock()
        head = f"Epoch {epoch + 1}/{self.extent.last}"
        steps = self.extent.steps
        if steps is None:
            self.draw(step, None, head, f"batch {step} - {line(logs)}")
            return
        done = (epoch - self.extent.first) * steps + step
        total = (self.extent.last - self.extent.first) * steps
        rate = done / max(self.drawn - self.started, 1e-9)
        parts = [f"{_duration((total - done) / rate if rate else 0.0)} left"]
        if self.extent.rows is not None:
            parts.append(_samples(rate * self.extent.rows / steps))
        self.draw(done, total, head, " - ".join([*parts, line(logs)]))

    def draw(self, done: int, total: int | None, head: str, text: str) -> None:
        """Draw the bar with `head` before and `text` behind it."""
        raise NotImplementedError

    def above(self, text: str) -> None:
        """Print a line above the bar."""
        raise NotImplementedError


class RichBar(Live):
    """Drawn by rich."""

    def __init__(self, extent: Extent, console: Any = None) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        super().__init__(extent)
        self.escape = escape
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            # Not rich's global console, which keeps what the terminal was when it was made.
            console=console or Console(),
            auto_refresh=False,
            transient=True,
        )
        self.task = self.bar.add_task("", total=None, text="")
        self.bar.start()

    def draw(self, done: int, total: int | None, head: str, text: str) -> None:
        self.bar.update(
            self.task, total=total, completed=done, description=head, text=self.escape(text)
        )
        self.bar.refresh()

    def above(self, text: str) -> None:
        self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self.bar.stop()


class TqdmBar(Live):
    """Drawn by tqdm."""

    def __init__(self, extent: Extent, file: Any = None) -> None:
        from tqdm import tqdm

        super().__init__(extent)
        self.file = sys.stdout if file is None else file
        self.bar = tqdm(
            file=self.file,
            leave=False,
            mininterval=0,
            dynamic_ncols=True,
            bar_format="{desc} |{bar:24}| {postfix}",
        )

    def draw(self, done: int, total: int | None, head: str, text: str) -> None:
        self.bar.n, self.bar.total = done, total
        self.bar.set_description_str(head, refresh=False)
        # tqdm puts a comma and a blank before a postfix that it is given by its method.
        self.bar.postfix = text
        self.bar.refresh()

    def above(self, text: str) -> None:
        self.bar.write(text, file=self.file)

    def close(self) -> None:
        self.bar.close()


def make(verbose: int, extent: Extent) -> Progress:
    """Return what shows the progress of a fit.

    Parameters
    ----------
    verbose : int
        1: a bar where stdout is a terminal and rich or tqdm is installed, else as 2: a line per
        epoch.
    extent : Extent
    """
    if verbose == 1 and sys.stdout is not None and sys.stdout.isatty():
        for bar in (RichBar, TqdmBar):
            try:
                return bar(extent)
            except ImportError:
                continue
    return Lines(extent)


def epoch_line(epoch: int, extent: Extent, logs: Mapping[str, Any], seconds: float) -> str:
    """Return the line of a finished epoch.

    Examples
    --------
    >>> epoch_line(0, Extent(0, 2, 10, 320), {"loss": 0.25}, 0.1)
    'Epoch 1/2 - loss: 0.2500 - 0.10s - 3.2k samples/s'
    """
    text = f"Epoch {epoch + 1}/{extent.last} - {line(logs)} - {seconds:.2f}s"
    if extent.rows is None:
        return text
    return f"{text} - {_samples(extent.rows / max(seconds, 1e-9))}"


def _samples(rate: float) -> str:
    """Return samples per second.

    Examples
    --------
    >>> _samples(950.0), _samples(31250.0), _samples(2e6)
    ('950 samples/s', '31.2k samples/s', '2.0M samples/s')
    """
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= size:
            return f"{rate / size:.1f}{unit} samples/s"
    return f"{rate:.0f} samples/s"


def _duration(seconds: float) -> str:
    """Return a time in a readable form.

    Examples
    --------
    >>> _duration(4.2), _duration(83.0), _duration(7384.0)
    ('4s', '1:23', '2:03:04')
    """
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"

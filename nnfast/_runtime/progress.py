"""The progress display of `fit`: a live bar in a terminal, one line per epoch elsewhere.

The training loop calls `update` between two runs of the engine or, if it trains step by step, after
every batch. The bar is redrawn at most once per `INTERVAL`, so the cost does not depend on the
number of batches. One bar covers all epochs, and the lines of completed epochs stay above it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nnfast._utils.formatting import line

# Minimum seconds between two redraws.
INTERVAL = 0.1
# Maximum fraction of the time that is spent on computing metrics of unfinished epochs.
METRICS_SHARE = 0.05


@dataclass(frozen=True)
class Extent:
    """The epochs, batches and rows of a fit.

    Attributes
    ----------
    first, last : int
        The epochs are first, …, last − 1.
    steps : int or None
        Batches per epoch, None if unknown.
    rows : int or None
        Samples per epoch, None if unknown.
    """

    first: int
    last: int
    steps: int | None
    rows: int | None


class Progress:
    """Base class of progress displays; it shows nothing itself.

    Attributes
    ----------
    live : bool
        Whether `update` shows anything.
    """

    live = False

    def update(self, epoch: int, step: int, make_logs: Callable[[bool], Mapping[str, Any]]) -> None:
        """Show that `step` batches of an epoch are done.

        ``make_logs(metrics)`` computes the logs so far, with or without metrics. It is called only
        when the display is redrawn.
        """

    def epoch_end(self, epoch: int, logs: Mapping[str, Any], seconds: float) -> None:
        """Show the result of a completed epoch."""

    def close(self) -> None:
        """Restore the terminal."""


class Lines(Progress):
    """Prints one line for each completed epoch."""

    def __init__(self, extent: Extent) -> None:
        self.extent = extent

    def epoch_end(self, epoch: int, logs: Mapping[str, Any], seconds: float) -> None:
        print(epoch_line(epoch, self.extent, logs, seconds), flush=True)


class Live(Progress):
    """Base class of progress bars over all epochs; subclasses draw them.

    If epochs are shorter than `INTERVAL`, only some of them get a line.
    """

    live = True

    def __init__(self, extent: Extent, clock: Callable[[], float] = time.perf_counter) -> None:
        self.extent = extent
        self.clock = clock
        self.started = self.drawn = self.printed = clock()
        self.metrics_time = self.started  # when the metrics were last computed
        self.metrics_seconds = 0.0  # how long that took
        self.metrics: dict[str, Any] = {}

    def update(self, epoch: int, step: int, make_logs: Callable[[bool], Mapping[str, Any]]) -> None:
        now = self.clock()
        if now - self.drawn < INTERVAL:
            return
        with_metrics = now - self.metrics_time >= self.metrics_seconds / METRICS_SHARE
        logs = dict(make_logs(with_metrics))
        if with_metrics:
            self.metrics_time = self.clock()
            self.metrics_seconds = self.metrics_time - now
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
        """Draw the bar with `head` before it and `text` after it."""
        raise NotImplementedError

    def above(self, text: str) -> None:
        """Print a line above the bar."""
        raise NotImplementedError


class RichBar(Live):
    """A progress bar drawn by rich."""

    def __init__(self, extent: Extent, console: Any = None) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress as Bar, TextColumn

        super().__init__(extent)
        self.escape = escape
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            # rich's global console would keep the stdout that was current when it was created.
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
    """A progress bar drawn by tqdm."""

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
        # Set directly, because tqdm's method would put ", " before the postfix.
        self.bar.postfix = text
        self.bar.refresh()

    def above(self, text: str) -> None:
        self.bar.write(text, file=self.file)

    def close(self) -> None:
        self.bar.close()


def make(verbose: int, extent: Extent) -> Progress:
    """Return the progress display of a fit.

    Parameters
    ----------
    verbose : int
        1 shows a bar if stdout is a terminal and rich or tqdm is installed. Otherwise it prints
        one line per epoch, as 2 does.
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
    """Return the line of a completed epoch.

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
    """Return a number of samples per second as text.

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
    """Return a duration as text.

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

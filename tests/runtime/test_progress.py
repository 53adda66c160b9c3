"""Tests of the progress that `fit` prints, in a terminal and elsewhere, and of learning curves."""

from __future__ import annotations

import builtins
import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import callbacks, layers, plotting
from nnfast._runtime import progress

X, Y = np.random.default_rng(0).normal(size=(64, 3)), np.ones(64)


def model() -> Any:
    nnfast.set_seed(0)
    net = nnfast.Sequential([layers.Dense(1, input_dim=3)])
    net.compile("sgd", "mse", metrics=["mae"])
    return net


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def fit(terminal: Terminal, net: Any, **options: Any) -> Any:
    """Return the history of a fit whose stdout is a terminal."""
    with contextlib.redirect_stdout(terminal):
        return net.fit(X, Y, **options)


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Make importing some modules fail."""
    real = builtins.__import__

    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in missing:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_fit_prints_one_line_per_epoch_without_a_terminal(
    verbose: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model().fit(X, Y, epochs=2, verbose=verbose, validation_split=0.25)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    number = r"[\d.e+-]+"
    pattern = (
        rf"Epoch 1/2 - loss: {number} - mae: {number} - val_loss: {number} - val_mae: {number}"
        rf" - \d+\.\d\ds - {number}[kM]? samples/s"
    )
    assert re.fullmatch(pattern, lines[0]), lines[0]


def test_verbose_2_prints_plain_lines_in_a_terminal(terminal: Terminal) -> None:
    fit(terminal, model(), epochs=2, verbose=2)
    assert terminal.getvalue().count("\n") == 2
    assert "\x1b" not in terminal.getvalue()


def test_verbose_0_is_silent(terminal: Terminal) -> None:
    fit(terminal, model(), epochs=2, verbose=0)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("bar", ["rich", "tqdm"])
@pytest.mark.parametrize("by_batch", [False, True])
def test_a_progress_bar_shows_losses_and_changes_no_results(
    bar: str, by_batch: bool, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(bar)
    if bar == "tqdm":
        without(monkeypatch, "rich")
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    used = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(f"printed {epoch}"))
    if by_batch:
        used = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    with_bar, silent = model(), model()
    a = fit(terminal, with_bar, epochs=3, batch_size=8, verbose=1, callbacks=used).history
    text = terminal.getvalue()
    for epoch in (1, 2, 3):
        assert f"Epoch {epoch}/3 - loss: " in text
    assert "samples/s" in text
    assert " left" in text
    assert "mae: " in text
    assert text.count("printed") == (0 if by_batch else 3)
    assert a == silent.fit(X, Y, epochs=3, batch_size=8, verbose=0).history


def test_fit_prints_lines_in_a_terminal_without_rich_and_tqdm(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "rich", "tqdm")
    fit(terminal, model(), epochs=2, verbose=1)
    assert terminal.getvalue().count("\n") == 2


def test_the_bar_is_closed_after_an_error(terminal: Terminal) -> None:
    pytest.importorskip("rich")

    def fail(epoch: int, logs: Any) -> None:
        raise RuntimeError("user error")

    callback = callbacks.LambdaCallback(on_epoch_end=fail)
    with contextlib.redirect_stdout(terminal):
        with pytest.raises(RuntimeError, match="user error"):
            model().fit(X, Y, verbose=1, callbacks=callback)
        assert sys.stdout is terminal  # rich replaces stdout while its bar is open.
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert hide in terminal.getvalue()
    assert terminal.getvalue().rindex(show) > terminal.getvalue().rindex(hide)


class RecordedBar(progress.Live):
    """A progress bar that records what it is told to draw."""

    def __init__(self, extent: progress.Extent, clock: Any) -> None:
        super().__init__(extent, clock)
        self.drawings: list[tuple[int, int, str, str]] = []
        self.lines: list[str] = []

    def draw(self, done: int, total: int, head: str, text: str) -> None:
        self.drawings.append((done, total, head, text))

    def above(self, text: str) -> None:
        self.lines.append(text)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_bars_are_drawn_at_most_ten_times_per_second() -> None:
    clock = Clock()
    bar = RecordedBar(progress.Extent(0, 1000, 10, 320), clock)
    for epoch in range(1000):
        for step in range(1, 11):
            clock.now += 0.0005
            bar.update(epoch, step, lambda metrics: {"loss": 1.0})
        bar.epoch_end(epoch, {"loss": 0.5}, 0.005)
    assert clock.now == pytest.approx(5.0)
    assert 45 <= len(bar.drawings) <= 52
    assert 45 <= len(bar.lines) <= 52
    assert bar.lines[-1].startswith("Epoch 1000/1000 - loss: 0.5000")
    done, total, head, text = bar.drawings[0]
    assert (total, head) == (10_000, f"Epoch {-(-done // 10)}/1000")
    assert text.startswith("5s left - 64.0k samples/s - loss: ")
    assert bar.drawings[-1][0] == 10_000


def test_bars_count_batches_if_their_number_is_unknown() -> None:
    clock = Clock()
    extent = progress.Extent(0, 2, None, None)
    bar = RecordedBar(extent, clock)
    for step in range(1, 4):
        clock.now += 1.0
        bar.update(0, step, lambda metrics: {"loss": 1.0})
    bar.epoch_end(0, {"loss": 0.5}, 3.0)
    assert bar.drawings[-1] == (3, None, "Epoch 1/2", "batch 3 - loss: 1.0000")
    assert bar.lines == ["Epoch 1/2 - loss: 0.5000 - 3.00s"]


@pytest.mark.parametrize("bar", ["rich", "tqdm"])
@pytest.mark.parametrize("steps", [None, 3])
def test_bars_of_rich_and_tqdm_work_with_and_without_a_known_number_of_batches(
    bar: str, steps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    terminal = Terminal()
    extent = progress.Extent(0, 1, steps, None)
    if bar == "rich":
        console = pytest.importorskip("rich.console").Console(file=terminal, force_terminal=True)
        drawn: Any = progress.RichBar(extent, console)
    else:
        pytest.importorskip("tqdm")
        drawn = progress.TqdmBar(extent, terminal)
    for step in range(1, 4):
        drawn.update(0, step, lambda metrics: {"loss": 1.5})
    drawn.epoch_end(0, {"loss": 0.5}, 0.1)
    drawn.close()
    assert "Epoch 1/1" in terminal.getvalue()
    assert ("left - loss: 1.5000" if steps else "batch 3 - loss: 1.5000") in terminal.getvalue()
    assert "loss: 0.5000" in terminal.getvalue()


def test_metrics_of_an_unfinished_epoch_take_a_small_fraction_of_the_time() -> None:
    clock = Clock()
    bar = RecordedBar(progress.Extent(0, 1, 1000, 1000), clock)
    requests = []

    def evaluate(metrics: bool) -> dict[str, float]:
        requests.append(metrics)
        clock.now += 0.05 if metrics else 0.0
        return {"loss": clock.now} | ({"auc": 0.7} if metrics else {})

    for step in range(1, 1000):
        clock.now += 0.01
        bar.update(0, step, evaluate)
    assert len(requests) > 50
    assert sum(requests) * 0.05 < 0.06 * clock.now + 0.05
    # Between evaluations the bar shows the last known value.
    assert all("auc: 0.7" in text for *_, text in bar.drawings)


def test_metrics_of_an_unfinished_epoch_cover_the_rows_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nnfast._runtime import steps

    seen: list[tuple[int, dict[str, float]]] = []

    class RecordedProgress(progress.Progress):
        live = True

        def update(self, epoch: int, step: int, measure: Any) -> None:
            seen.append((step, dict(measure(True))))

    monkeypatch.setattr(progress, "make", lambda verbose, extent: RecordedProgress())
    monkeypatch.setattr(steps, "RUN_SECONDS", 0.002)
    x, y = np.random.default_rng(0).normal(size=(100_000, 3)), np.zeros(100_000)
    net = model()
    net.optimizer.learning_rate = 0.0
    net.fit(x, y, batch_size=4, shuffle=False, verbose=1)
    assert len(seen) > 1
    assert seen[-1][0] == 25_000
    error = abs(net.predict(x, verbose=0)[:, 0])
    for step, logs in seen:
        assert logs["mae"] == pytest.approx(error[: 4 * step].mean(), rel=1e-5)
        assert logs["loss"] == pytest.approx((error[: 4 * step] ** 2).mean(), rel=1e-5)


# Learning curves


@pytest.fixture
def pyplot() -> Any:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_learning_curves_show_training_and_validation(pyplot: Any, tmp_path: Path) -> None:
    history = model().fit(X, Y, epochs=5, initial_epoch=2, validation_split=0.5, verbose=0)
    figure = history.plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "mae"]
    training, validation = figure.axes[0].lines
    assert training.get_xdata().tolist() == [3, 4, 5]
    assert training.get_ydata().tolist() == history.history["loss"]
    assert validation.get_ydata().tolist() == history.history["val_loss"]
    assert validation.get_linestyle() == "--"
    figure.savefig(tmp_path / "curves.png")


def test_learning_curves_place_values_at_their_epochs(pyplot: Any) -> None:
    """The History in this test covers two fits."""
    history, net = callbacks.History(), model()
    options = {"verbose": 0, "callbacks": history, "validation_split": 0.5}
    net.fit(X, Y, epochs=4, validation_freq=3, **options)
    net.fit(X, Y, epochs=6, initial_epoch=4, validation_freq=[5], **options)
    training, validation = history.plot(["loss"]).axes[0].lines
    assert training.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert validation.get_xdata().tolist() == [3, 5]
    assert validation.get_ydata().tolist() == history.history["val_loss"]


def test_learning_curves_leave_out_keys_that_are_not_numbers(pyplot: Any) -> None:
    history = {"loss": [2.0, None, 1.0], "note": ["a", "b", "c"], "rows": [[1.0], [1.0, 2.0], []]}
    figure = plotting.learning_curves(history)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [2.0, np.nan, 1.0])
    for key in ("note", "rows"):
        with pytest.raises(ValueError, match=f"'{key}' cannot be drawn.*numbers"):
            plotting.learning_curves(history, [key])


def test_learning_curves_refuse_what_is_not_a_history(pyplot: Any) -> None:
    for wrong in (5, None, "x", [1.0], [[1.0]]):
        with pytest.raises(TypeError, match="history must be what fit returns"):
            plotting.learning_curves(wrong)  # type: ignore[arg-type]
    for wrong in (5, "loss", 1.5):
        with pytest.raises(TypeError, match="keys must be a list"):
            plotting.learning_curves({"loss": [1.0]}, wrong)  # type: ignore[arg-type]


def test_learning_curves_are_drawn_on_the_axes_of_the_user(pyplot: Any) -> None:
    _, axes = pyplot.subplots()
    figure = plotting.learning_curves({"loss": [1, 2], "mae": [3, 4]}, keys=["mae"], axes=axes)
    assert figure is axes.figure
    assert axes.get_ylabel() == "mae"
    with pytest.raises(ValueError, match="2, one for each"):
        plotting.learning_curves({"loss": [1], "mae": [3]}, axes=axes)


def test_learning_curves_refuse_unknown_keys_and_empty_histories(pyplot: Any) -> None:
    with pytest.raises(ValueError, match=r"'maa'.*'mae'"):
        plotting.learning_curves({"loss": [1], "mae": [3]}, keys=["maa"])
    with pytest.raises(ValueError, match="empty"):
        callbacks.History().plot()


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "matplotlib")
    with pytest.raises(ImportError, match=r"nnfast\[plot\]"):
        plotting.learning_curves({"loss": [1.0]})


def test_lines_of_a_generator_show_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """A generator's numbers of batches and rows are not known in advance."""
    batches = ((X[i : i + 16], Y[i : i + 16]) for i in range(0, 48, 16))
    model().fit(batches, epochs=1, verbose=2)
    (text,) = capsys.readouterr().out.splitlines()
    assert text.startswith("Epoch 1/1 - loss: ")
    assert "samples/s" not in text

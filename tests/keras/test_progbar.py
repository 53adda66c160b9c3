"""The progress bar of training loops that users write."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from nnfast.keras.utils import Progbar


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines drawn so far, without colours."""
    text = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    return [line.rstrip() for line in re.split(r"[\r\n]", text) if line]


def test_a_bar_grows_until_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progbar(10, width=5, interval=0)
    for step in range(1, 11):
        bar.update(step)
    lines = shown(capsys)
    assert len(lines) == 10
    assert [line.split()[0] for line in lines] == [*(f"{n}/10" for n in range(1, 11))]
    assert all("━" * 5 in line for line in lines)
    assert re.fullmatch(r"10/10 ━{5} \d+s \d+(us|ms|s)/step", lines[-1])


def test_colours_show_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    Progbar(4, width=4).update(1)
    assert "\x1b[32m━\x1b[0m\x1b[37m━━━\x1b[0m" in capsys.readouterr().out


def test_metrics_are_means_over_steps(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progbar(10, interval=0, stateful_metrics=["accuracy"])
    bar.update(1, [("loss", 1.0), ("accuracy", 0.5)])
    bar.update(4, [("loss", np.array([2.0, 4.0])), ("accuracy", 0.25)])
    assert shown(capsys)[-1].split(" - ")[1:] == ["loss: 2.5000", "accuracy: 0.2500"]
    bar.add(6, [("loss", 1e-5), ("accuracy", 0.75)])  # the last update has the epoch's own values
    assert shown(capsys)[-1].split(" - ")[1:] == ["loss: 1.0000e-05", "accuracy: 0.7500"]


def test_stateless_metrics_are_the_only_means(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progbar(9, interval=0, stateless_metrics=["loss"])
    bar.add(1, [("loss", 1.0), ("lr", 1.0)])
    bar.add(1, [("loss", 2.0), ("lr", 2.0)])
    assert shown(capsys)[-1].split(" - ")[1:] == ["loss: 1.5000", "lr: 2.0000"]


def test_verbosity(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (0, 2):
        bar = Progbar(2, verbose=verbose, unit_name="sample")
        bar.update(1, [("loss", 1.0)])
        assert shown(capsys) == []
        bar.update(2, [("loss", 3.0)])
    (line,) = shown(capsys)
    assert re.fullmatch(r"2/2 - \d+s - \d+(us|ms|s)/sample - loss: 3.0000", line)


def test_the_target_may_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progbar(None, interval=0)
    bar.add(3)
    assert "      3/Unknown" in shown(capsys)[-1]
    bar.update(4, finalize=True)
    assert capsys.readouterr().out.endswith("\n")


def test_the_bar_is_redrawn_at_most_once_per_interval(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progbar(1000, interval=1e9)
    for step in range(1, 1001):
        bar.update(step)
    assert len(shown(capsys)) == 2  # the first and the last


def test_a_longer_bar_is_covered(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progbar(2, interval=0, unit_name="unit")
    bar.update(1, [("loss", 1e-9)])
    bar.update(2, [("loss", 1.0)])
    text = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    first, last = text.removesuffix("\n").split("\r")[1:]
    assert len(first) <= len(last)
    assert last.endswith(" ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": -1}, "target must be an integer >= 0"),
        ({"target": 1, "width": -1}, "width must be an integer >= 0"),
        ({"target": 1, "verbose": 3}, "verbose must be"),
        ({"target": 1, "interval": -1.0}, "interval must be a finite number and >= 0"),
        ({"target": 1, "stateful_metrics": [], "stateless_metrics": []}, "not both"),
    ],
)
def test_progbar_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Progbar(**options)


@pytest.mark.peers
def test_the_bar_is_that_of_keras(capsys: pytest.CaptureFixture[str]) -> None:
    import keras as peer

    drawn = []
    for cls in (peer.utils.Progbar, Progbar):
        bar = cls(12, interval=0, stateful_metrics=["b"])
        for step in range(1, 13):
            bar.update(step, [("a", step), ("b", step / 4096)])
        text = re.sub(r"\d+(us|ms|s)/step", "#", capsys.readouterr().out.replace("\b", ""))
        drawn.append([line.rstrip() for line in re.split(r"[\r\n]", text) if line])
    assert drawn[0] == drawn[1]

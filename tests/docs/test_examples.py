"""The examples for sequences run and learn something, also with few data."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Return a function that runs an example with --quick and returns its variables."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", *arguments])
        monkeypatch.chdir(tmp_path)
        return runpy.run_path(str(EXAMPLES / f"{name}.py"))

    return run


def test_the_forecasts_are_better_than_the_mean(quick):
    found = quick("forecasting")
    assert found["losses"][0] < 0.7 * np.mean(found["y_val"] ** 2)


def test_gradients_vanish_in_a_simple_rnn_but_not_in_an_lstm(quick, tmp_path):
    pytest.importorskip("matplotlib")
    norms = quick("vanishing_gradients", "--picture", "gradients.png")["norms"]
    assert norms["SimpleRNN"][0] < 1e-6 * norms["SimpleRNN"][-1]
    assert norms["LSTM, forget bias 4"][0] > 0.1 * norms["LSTM, forget bias 4"][-1]
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")


def test_sums_get_better_than_guesses(quick):
    found = quick("addition_rnn")
    assert found["accuracy"] > 0.2
    assert found["guesses"].shape == (100, 4)


def test_rows_of_digits_are_recognized_better_than_by_chance(quick):
    pytest.importorskip("sklearn")  # the digits are scikit-learn's
    assert quick("mnist_rows")["accuracy"] > 0.3


def test_text_is_written_in_the_characters_of_the_sonnets(quick, capsys):
    found = quick("text_generation", "--length", "10")
    assert found["history"].history["loss"][0] < np.log(len(found["characters"]))
    *_, written = capsys.readouterr().out.rpartition(f"Temperature {found['temperature']}:\n")
    assert written.startswith(found["start"])
    assert len(written) == len(found["start"]) + 10 + len("\n")
    assert set(written) <= set(found["characters"])

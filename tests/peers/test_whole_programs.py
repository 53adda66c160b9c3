"""Tests that the programs in tests/keras/programs give the results of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import whole_programs

import nnfast

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def without_windows() -> None:
    matplotlib.use("agg")


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    monkeypatch.chdir(folder)


BOTH = [name for name, program in whole_programs.PROGRAMS.items() if program.where == "both"]
EXACT = [name for name in BOTH if whole_programs.PROGRAMS[name].exact]


@pytest.mark.parametrize("name", BOTH)
def test_programs_reach_the_score_that_they_reach_with_keras(
    name: str, keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The programs run as they are: in float32, with random weights, shuffles and dropout."""
    scores = []
    for package in (nnfast.keras, keras):
        in_folder(tmp_path / package.__name__, monkeypatch)
        scores.append(whole_programs.score(name, whole_programs.run(name, package)))
    actual, expected = scores
    assert actual >= expected - 0.02


@pytest.mark.parametrize("name", EXACT)
def test_all_results_equal_those_of_keras(
    name: str, keras64: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The initial weights are the same, and both libraries compute in float64."""
    recorded = []
    for package in (nnfast.keras, keras64):
        in_folder(tmp_path / package.__name__, monkeypatch)
        with whole_programs.recorded(package) as results:
            whole_programs.run(name, package)
        recorded.append(results)
    actual, expected = recorded
    assert len(actual) == len(expected) > 1
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)

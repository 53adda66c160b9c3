"""Trajectories are what they were: losses and predictions of many models, within 1e-6.

Bits differ between makes of processor, and between instruction sets; `.ci/freeze` compares them
between two commits on one machine. ``python tests/runtime/test_regression.py`` writes the values
anew, which a change of a result has to explain.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

VALUES = Path(__file__).parent / "regression.json"
sys.path.insert(0, str(Path(__file__).parents[1]))  # where it runs as a program

import freeze_programs  # noqa: E402

NAMES = sorted(json.loads(VALUES.read_text("utf-8"))) if VALUES.exists() else []


def values(results: dict[str, Any]) -> dict[str, list[float]]:
    """Return the losses and metrics of every epoch, and two sums over the predictions."""
    found = {
        key: np.atleast_1d(array).tolist()
        for key, array in results.items()
        if key.startswith("history") or key in ("evaluate", "value", "loss")
    }
    predicted = np.asarray(results["predict"], np.float64)
    return found | {"predictions": [float(predicted.sum()), float((predicted**2).sum())]}


def programs(folder: Path) -> dict[str, Any]:
    """Return what trains each model whose numbers are float64."""
    return {
        name: program
        for name, program in freeze_programs.programs(folder)
        if not name.endswith("float32")
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_values_are_what_they_were(name: str, tmp_path: Path) -> None:
    if name.startswith(("classifier", "regressor")):
        pytest.importorskip("sklearn")
    pytest.importorskip("safetensors")
    found = values(programs(tmp_path)[name]())
    expected = json.loads(VALUES.read_text("utf-8"))[name]
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        np.testing.assert_allclose(found[key], numbers, rtol=1e-6, atol=1e-9, err_msg=key)


def test_every_program_has_values(tmp_path: Path) -> None:
    assert sorted(programs(tmp_path)) == NAMES
    assert len(NAMES) >= 40


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        table = {name: values(program()) for name, program in programs(Path(folder)).items()}
    VALUES.write_text(json.dumps(table, indent=0), encoding="utf-8")

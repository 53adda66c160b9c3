"""Tests that the losses and predictions of many models agree with recorded values within 1e-6.

The last bits differ between processors and instruction sets; `.ci/freeze` compares them between
two commits on one machine. ``python tests/runtime/test_regression.py`` records new values; a commit
that changes them has to say why.
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
# pytest adds the tests folder to the path; when run as a program, this file does so itself.
sys.path.insert(0, str(Path(__file__).parents[1]))

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
    """Return the programs that train the float64 models, by name."""
    return {
        name: program
        for name, program in freeze_programs.programs(folder)
        if not name.endswith("float32")
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_losses_and_predictions_equal_the_recorded_values(name: str, tmp_path: Path) -> None:
    if name.startswith(("classifier", "regressor")):
        pytest.importorskip("sklearn")
    pytest.importorskip("safetensors")
    found = values(programs(tmp_path)[name]())
    expected = json.loads(VALUES.read_text("utf-8"))[name]
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        np.testing.assert_allclose(found[key], numbers, rtol=1e-6, atol=1e-9, err_msg=key)


def test_values_are_recorded_for_every_program(tmp_path: Path) -> None:
    assert sorted(programs(tmp_path)) == NAMES
    assert len(NAMES) >= 40


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        table = {name: values(program()) for name, program in programs(Path(folder)).items()}
    VALUES.write_text(json.dumps(table, indent=0), encoding="utf-8")

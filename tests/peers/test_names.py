"""Tests that docs/keras_api.json lists the names and signatures of the installed Keras."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

MAKE = Path(__file__).parents[2] / "docs/make_keras.py"


@pytest.mark.peers
def test_the_snapshot_agrees_with_keras() -> None:
    make = runpy.run_path(str(MAKE))
    known = json.loads(make["SNAPSHOT"].read_text("utf-8"))
    assert make["snapshot"]() == known, "run python docs/make_keras.py --snapshot"

"""Tests of docs/keras_api.json, the names and signatures of Keras."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

MAKE = runpy.run_path(str(Path(__file__).parents[2] / "docs/make_keras.py"))
KNOWN = json.loads(MAKE["SNAPSHOT"].read_text("utf-8"))


@pytest.mark.peers
def test_the_snapshot_agrees_with_keras() -> None:
    assert MAKE["snapshot"]() == KNOWN, "run python docs/make_keras.py --snapshot"


@pytest.mark.parametrize(
    ("family", "name", "required"),
    [
        ("layers", "Dense", {"units": 1}),
        ("layers", "BatchNormalization", {}),
    ],
)
def test_the_error_about_a_missing_argument_names_class_and_argument(
    family: str, name: str, required: dict[str, Any]
) -> None:
    thing = MAKE["resolve"](family, name)
    missing, _ = MAKE["differences"](KNOWN["families"][family][name], thing)
    assert missing
    for argument in missing:
        with pytest.raises(TypeError, match=rf"{name}.*{argument}"):
            thing(**required, **{argument: None})


def test_every_note_is_about_a_name_of_keras() -> None:
    for key in MAKE["NOTES"]:
        family, _, name = key.rpartition(".")
        assert MAKE["resolve"](family, name) is not None, key
        older = KNOWN["families"].get(f"tf.keras.{family}", {})
        assert name in KNOWN["families"].get(family, {}) or name in older, key

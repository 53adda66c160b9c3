"""The metadata for installers: requirements, extras and version."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

import nnfast

ROOT = Path(__file__).parents[2]
EXTRAS = {
    *("sklearn", "plot", "progress", "images", "tensorboard", "demo"),
    *("test", "bench", "peers", "dev", "all"),
}


def required(extra: str | None = None) -> set[str]:
    """Return the names of the packages that nnfast, or one of its extras, requires."""
    found = set()
    for line in importlib.metadata.requires("nnfast") or []:
        requirement, _, marker = line.partition(";")
        if ([extra] if extra else []) == re.findall(r'extra == "(\w+)"', marker):
            found.add(re.split(r"[<>=!~ ]", requirement.strip())[0])
    return found


def test_only_numpy_and_safetensors_are_required() -> None:
    assert required() == {"numpy", "safetensors"}


def test_the_extras_exist() -> None:
    provided = importlib.metadata.metadata("nnfast").get_all("Provides-Extra") or []
    assert set(provided) == EXTRAS
    assert all(required(extra) for extra in EXTRAS)


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ("sklearn", {"scikit-learn", "scipy"}),
        ("plot", {"matplotlib"}),
        ("progress", {"rich"}),
        ("images", {"pillow", "scipy"}),
        ("tensorboard", {"tensorboardX"}),
        ("demo", {"scikit-learn", "matplotlib", "rich"}),
    ],
)
def test_an_extra_has_only_what_it_needs(extra: str, names: set[str]) -> None:
    assert required(extra) == names


def test_numpy_1_and_2_and_python_3_11_are_allowed() -> None:
    metadata = importlib.metadata.metadata("nnfast")
    assert metadata["Requires-Python"] == ">=3.11"
    (numpy,) = [line for line in metadata.get_all("Requires-Dist") or [] if "numpy" in line]
    assert numpy == "numpy>=1.26"
    assert metadata["License-Expression"] == "BSD-3-Clause"


def test_the_build_needs_setuptools_and_cython_only() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert [re.split(">=", line)[0] for line in build] == ["setuptools", "Cython"]


def test_the_version_is_written_in_one_file() -> None:
    assert importlib.metadata.version("nnfast") == nnfast.__version__
    sources = [ROOT / "pyproject.toml", ROOT / "setup.py", *(ROOT / "nnfast").glob("*.py")]
    literal = re.compile(rf"""["']{re.escape(nnfast.__version__)}["']""")
    assert [path.name for path in sources if literal.search(path.read_text())] == ["_version.py"]


def test_the_command_is_installed() -> None:
    commands = importlib.metadata.entry_points(group="console_scripts", name="nnfast")
    assert {command.value for command in commands} == {"nnfast.cli:main"}

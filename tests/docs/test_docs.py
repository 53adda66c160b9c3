"""The examples in docstrings, README and docs run and print what they show."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import nnfast

ROOT = Path(__file__).parents[2]
PACKAGE = Path(nnfast.__file__).parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_print_what_they_show(name, tmp_path, monkeypatch):
    if name.startswith("nnfast.estimators"):
        pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    with np.printoptions():
        result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.failed == 0


def public_objects():
    """Yield the name and the object of every public class and function."""
    for module in (nnfast, *(getattr(nnfast, name) for name in nnfast.__all__)):
        if getattr(module, "__name__", "").split(".")[0] != "nnfast" or (
            not hasattr(module, "__path__") and not hasattr(module, "__file__")
        ):
            continue
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "") is None:
                continue
            if callable(thing) and getattr(thing, "__module__", "").startswith("nnfast"):
                yield f"{module.__name__}.{name}", thing


def test_public_classes_and_functions_have_docstrings():
    seen = dict(public_objects())
    assert len(seen) > 30
    assert [name for name, thing in seen.items() if not (thing.__doc__ or "").strip()] == []


def test_the_readme_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    exec(compile(code, "README.md", "exec"), {})
    accuracy = float(capsys.readouterr().out.split()[0])
    assert accuracy > 0.8


def test_the_readme_has_two_setup_lines_and_ci_runs_the_second():
    lines = re.findall(r"^    (python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.M)
    assert len(lines) == 2
    assert lines[0].endswith("nnfast demo")
    assert lines[1].endswith("pytest")
    assert "grep -m1 'pytest$' README.md" in (ROOT / ".ci/run").read_text()


def test_the_api_pages_agree_with_the_docstrings():
    pytest.importorskip("sklearn")  # the page on the estimators needs it
    made = runpy.run_path(str(ROOT / "docs/make_api.py"))["pages"]()
    stale = [path.name for path, text in made.items() if path.read_text("utf-8") != text]
    assert not stale, f"run python docs/make_api.py: {stale} changed"
    assert {path.name for path in (ROOT / "docs/api").glob("*.md")} == {p.name for p in made}


def test_the_page_of_names_agrees_with_the_package():
    pytest.importorskip("sklearn")  # the wrappers need it
    make = runpy.run_path(str(ROOT / "docs/make_keras.py"))
    assert make["PAGE"].read_text("utf-8") == make["page"](), "run python docs/make_keras.py"


def test_the_code_of_coming_from_keras_runs():
    text = (ROOT / "docs/coming-from-keras.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 6
    exec(compile("\n".join(blocks), "coming-from-keras.md", "exec"), {})

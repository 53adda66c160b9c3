"""The engine's sources use only names from lower folders, and only the table names the ops."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nnfast

# Only a checkout has the sources next to the compiled package.
ENGINE = Path(nnfast.__file__).parent / "_engine"
SOURCES = {"variant.pxi": ("kernels", "ops", "executor"), "core.pyx": ("api",)}

pytestmark = pytest.mark.skipif(
    not (ENGINE / "variant.pxi").exists(), reason="an installed package has no sources"
)


def code_of(path: Path) -> str:
    """Return a source without docstrings, comments and string literals."""
    text = re.sub(r'"""[\s\S]*?"""', "", path.read_text(encoding="utf-8"))
    return re.sub(r'"[^"\n]*"', '""', re.sub(r"#[^\n]*", "", text))


def defined(code: str) -> set[str]:
    """Return the functions, classes, types, constants and variables that a source defines."""
    found = set(re.findall(r"^cdef\s+class\s+(\w+)", code, re.M))
    found |= set(re.findall(r"^cdef\s+(?!class|enum)[\w \t*]*?\b(\w+)\s*\(", code, re.M))
    found |= set(re.findall(r"^ctypedef\s+struct\s+(\w+)", code, re.M))
    found |= set(re.findall(r"^ctypedef\s+.*\(\*(\w+)\)", code, re.M))
    found |= set(re.findall(r"^cdef\s+[\w*]+(?:\[\w+\])?\s+(\w+)(?:\[\w+\])?\s*$", code, re.M))
    for name, body in re.findall(r"^cdef\s+enum\s*(\w*)\s*:\n((?:[ \t]+[^\n]*\n|\n)*)", code, re.M):
        found |= {name} - {""}
        found |= set(re.findall(r"^\s+([A-Z]\w+)", body, re.M))
        found |= set(re.findall(r",\s*([A-Z]\w+)", body))
    return found


def order(source: str) -> list[str]:
    """Return the files that a source includes, from bottom to top."""
    included: list[str] = re.findall(
        r'^include "([^"]+)"', (ENGINE / source).read_text("utf-8"), re.M
    )
    return included


def upwards(codes: dict[str, str]) -> dict[str, set[str]]:
    """Return the names that each source uses from higher ones; `codes` start at the bottom."""
    names = {source: defined(code) for source, code in codes.items()}
    found = {}
    above: set[str] = set()
    for source in reversed(codes):
        used = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", codes[source]))
        if wrong := (used & above) - names[source]:
            found[source] = wrong
        above |= names[source]
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_names_are_used_downwards(source: str) -> None:
    included = order(source)
    folders = [Path(path).parts[0] for path in included]
    assert folders == sorted(folders, key=SOURCES[source].index)
    assert not upwards({path: code_of(ENGINE / path) for path in included})


def test_every_source_is_included() -> None:
    existing = {path.relative_to(ENGINE).as_posix() for path in ENGINE.rglob("*.pxi")}
    assert existing == {"variant.pxi", *order("variant.pxi"), *order("core.pyx")}


def test_names_from_above_are_found() -> None:
    """The search itself is checked with two small sources."""
    codes = {
        "low": "cdef void a(int n) noexcept nogil:\n    b(n)\n",
        "high": "cdef inline void b(int n) noexcept nogil:\n    a(n)\n",
    }
    assert upwards(codes) == {"low": {"b"}}


def test_only_the_table_branches_on_the_kind_of_an_op() -> None:
    """Elsewhere, the kind of an op only indexes the table and is never compared."""
    sources = [
        p for suffix in ("py", "pyx", "pyi", "pxi", "pxd") for p in ENGINE.rglob(f"*.{suffix}")
    ]
    for path in sources:
        if path.name in ("table.pxi", "program.pxd", "core.pyx", "core.pyi"):
            continue
        code = code_of(path)
        assert not re.findall(r"\bOP_(?!TABLE\b)\w+", code), path
        assert len(re.findall(r"\bop\.kind\b", code)) == code.count("OP_TABLE[op.kind]"), path

"""The engine's sources use names only from lower levels, and only the op table names the ops."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import nnfast
from nnfast import _engine, layers
from nnfast._plan import spec

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
    """Return the names that each source uses from higher levels; `codes` begins with the lowest."""
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
    """Check the search itself with two small sources."""
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


# Bottom-level kernels, which may have more than eight parameters.
LEAVES = {"gradient_sums", "batch_input_gradient", "box_backward"}


def parameter_lists(code: str) -> dict[str, int]:
    """Return the number of parameters of each cdef or cpdef function."""
    found = {}
    for name, given in re.findall(
        r"^ *cp?def\s+[^\n(=]*?(\w+)\(((?:[^()]|\([^()]*\))*)\)[^\n]*:", code, re.M
    ):
        parameters = [part.strip() for part in re.split(r",(?![^\[]*\])", given)]
        found[name] = len([part for part in parameters if part not in ("", "self")])
    return found


def test_parameter_lists_are_short() -> None:
    """Only bottom-level kernels have over eight; matrices and settings are passed as structs."""
    assert parameter_lists("cdef int f(int a[2],\n    int b) noexcept nogil:\n") == {"f": 2}
    long = {
        name
        for path in ENGINE.rglob("*.p*x*")
        if path.suffix in (".pxi", ".pyx")
        for name, count in parameter_lists(code_of(path)).items()
        if count > 8
    }
    assert long == LEAVES


def structs(code: str) -> dict[str, list[tuple[str, str]]]:
    """Return the fields of each struct as (type, name); the name of an array includes [size]."""
    found = {}
    for name, body in re.findall(r"^ctypedef struct (\w+):\n((?:    [^\n]*\n)+)", code, re.M):
        fields = []
        for line in body.strip().split("\n"):
            kind, _, names = line.split("#")[0].strip().partition(" ")
            fields += [(kind, field.strip()) for field in names.split(",")]
        found[name] = fields
    return found


def test_settings_are_those_of_the_engine() -> None:
    """Each NamedTuple of settings has the fields of the engine's struct, in the same order."""
    declared: dict[str, list[tuple[str, str]]] = {}
    for path in (ENGINE / "program.pxd", *(ENGINE / "ops").glob("*.pxi")):
        declared |= structs(code_of(path))
    declared = {
        name: fields
        for name, fields in declared.items()
        if name in ("Window", "Resampling", "Contraction") or name.endswith("Settings")
    }
    del declared["OptimizerSettings"]
    names = [module.name for module in pkgutil.iter_modules(layers.__path__, "nnfast.layers.")]
    modules = [spec, *map(importlib.import_module, names)]
    twins = {name: value for module in modules for name, value in vars(module).items()}
    for name, fields in declared.items():
        expected = []
        for field, annotation in twins[name].__annotations__.items():
            kind = "double" if "float" in str(annotation) else "int64_t"
            kind = "uint64_t" if field == "seed" else kind
            length = str(annotation).count("float") + str(annotation).count("int")
            expected.append((kind, field + f"[{length}]" * (length > 1)))
        assert fields == expected, name
    assert {"Window", "Resampling", "DropoutSettings", "BatchNormSettings"} <= declared.keys()


def test_the_numbers_of_an_enum_exist_once() -> None:
    for table, prefix in (
        (_engine.ACTIVATIONS, "ACT_"),
        (_engine.LOSSES, "LOSS_"),
        (_engine.OPTIMIZERS, "OPT_"),
        (_engine.CONSTRAINTS, "CONSTRAINT_"),
        (_engine.BORDERS, "BORDER_"),
        (_engine.RESAMPLINGS, "RESAMPLE_"),
    ):
        code = code_of(ENGINE / "core.pxd")
        assert [*table] == [name.lower() for name in re.findall(rf"\b{prefix}(\w+)", code)]
        assert [*table.values()] == list(range(len(table)))


def test_the_ops_table_names_every_op() -> None:
    rows = re.findall(r'add_op\(b"(\w+)"\)', (ENGINE / "ops" / "table.pxi").read_text("utf-8"))
    assert {name: traits.kind for name, traits in _engine.OPS.items()} == {
        name: number for number, name in enumerate(rows)
    }

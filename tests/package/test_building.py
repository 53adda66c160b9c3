"""The build refuses unknown variants and never enables fast math, whatever flags are set."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nnfast

ROOT = Path(__file__).parents[2]

# Small modules with the names of the engine's modules, so they are compiled with the same flags.
STUB = """
def survives(double tiny):
    return tiny * 0.5 > 0

def is_nan(double x):
    return x != x

def view(double[::1] numbers):
    return numbers.shape[0]
"""
MODULES = ("machine.cpu", "core", "variants.base_f32", "variants.base_f64")


def setup(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout whose engine is compiled in seconds."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    engine = tmp_path / "nnfast" / "_engine"
    for folder in (engine / "machine", engine / "variants"):
        folder.mkdir(parents=True)
    (tmp_path / "nnfast" / "_version.py").write_text('__version__ = "0"')
    for folder in (engine.parent, engine, engine / "machine", engine / "variants"):
        (folder / "__init__.py").touch()
    for name in MODULES:
        (engine / f"{name.replace('.', '/')}.pyx").write_text(STUB)
    return tmp_path


@pytest.mark.parametrize(
    "chosen", ["", ",", "avx512", "base_f32,avx1024_f32", "base_f32, base_f64"]
)
def test_unknown_variants_are_refused_before_compiling(checkout: Path, chosen: str) -> None:
    run = setup(checkout, "build_ext", "--inplace", NNFAST_BUILD=chosen)
    assert run.returncode != 0
    assert f"NNFAST_BUILD={chosen!r} must be one or several of base_f32,base_f64" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(checkout.rglob("*.c"))


# Each of these makes gcc flush subnormals or ignore NaN, in its code or the whole process.
FLAGS: dict[str, dict[str, str]] = {
    "CFLAGS": {"CFLAGS": "-ffast-math"},
    "CFLAGS with a level": {"CFLAGS": "-Ofast"},
    "parts of fast math": {"CFLAGS": "-funsafe-math-optimizations -ffinite-math-only"},
    "CPPFLAGS": {"CPPFLAGS": "-ffast-math -ffinite-math-only"},
    "LDFLAGS": {"LDFLAGS": "-Ofast -ffast-math -funsafe-math-optimizations"},
    "CC": {"CC": "gcc -Ofast -ffast-math", "LDSHARED": "gcc -shared -Ofast"},
}
PROGRAM = f"""
import math
from importlib import import_module

modules = [import_module("nnfast._engine." + name) for name in {MODULES}]
for module in modules:
    assert module.survives(5e-309), module
    assert module.is_nan(math.nan), module
assert 5e-309 * 0.5 > 0
"""


@pytest.mark.build
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="these are flags of gcc"
)
@pytest.mark.parametrize("case", FLAGS)
def test_flags_of_the_environment_do_not_enable_fast_math(checkout: Path, case: str) -> None:
    flags = FLAGS[case]
    run = setup(checkout, "build_ext", "--inplace", NNFAST_BUILD="base_f32,base_f64", **flags)
    assert run.returncode == 0, run.stderr
    given = [word for value in flags.values() for word in shlex.split(value)[-1:]]
    assert all(word in run.stdout for word in given)  # the flags reached the compiler
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert program.returncode == 0, program.stderr


# A compiler that logs its arguments and accepts a flag that older versions of gcc do not know.
COMPILER = """#!/bin/sh
echo "$@" >> {log}
for word do
    shift
    case $word in -m*daz-ftz) ;; *) set -- "$@" "$word" ;; esac
done
exec gcc "$@"
"""


@pytest.mark.build
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="this is a flag of gcc"
)
def test_the_flag_that_flushes_subnormals_is_undone(checkout: Path) -> None:
    log, compiler = checkout / "log", checkout / "compiler"
    compiler.write_text(COMPILER.format(log=log))
    compiler.chmod(0o755)
    flags = {"CC": str(compiler), "CFLAGS": "-mdaz-ftz", "LDSHARED": f"{compiler} -shared"}
    run = setup(checkout, "build_ext", "--inplace", NNFAST_BUILD="base_f32", **flags)
    assert run.returncode == 0, run.stderr
    lines = [line.split() for line in log.read_text().splitlines() if "-mdaz-ftz" in line]
    assert sum("-c" in line for line in lines) >= 3
    assert sum("-shared" in line for line in lines) >= 3
    for line in lines:
        assert line[::-1].index("-mno-daz-ftz") < line[::-1].index("-mdaz-ftz")


def test_an_unbuilt_checkout_says_how_to_build_it(tmp_path: Path) -> None:
    """Python started in the checkout's folder imports the checkout, not the installed package."""
    source = Path(nnfast.__file__).parent
    compiled = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(source, tmp_path / "nnfast", ignore=compiled)
    run = imported(tmp_path)
    assert run.returncode != 0
    assert f"ImportError: nnfast was imported from {tmp_path / 'nnfast'}" in run.stderr
    assert "start Python in another folder" in run.stderr
    assert "setup.py build_ext --inplace" in run.stderr
    assert "circular" not in run.stderr


@pytest.mark.parametrize("real", ["f32", "f64", ""])
def test_a_build_without_a_usable_variant_says_so(tmp_path: Path, real: str) -> None:
    """Only one of the two dtypes, or none, was built."""
    source = Path(nnfast.__file__).parent
    others = [f"*_{r}.*.so" for r in ("f32", "f64") if r != real]
    shutil.copytree(
        source, tmp_path / "nnfast", ignore=shutil.ignore_patterns(*others, "__pycache__")
    )
    run = imported(tmp_path)
    assert run.returncode != 0
    assert "ImportError: This build of nnfast has no variant for this processor" in run.stderr
    assert "built for float32 and float64 is none" in run.stderr
    assert "IndexError" not in run.stderr


def imported(folder: Path) -> subprocess.CompletedProcess[str]:
    """Return the result of a Python process that is started in `folder` and imports nnfast."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "NNFAST_ISA")}
    return subprocess.run(
        [sys.executable, "-c", "import nnfast"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

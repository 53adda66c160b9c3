"""Each variant is compiled for its instruction set; the CPU and the environment select one."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nnfast
from nnfast._engine import ISAS, core
from nnfast._engine.machine import cpu

FOLDER = Path(core.__file__).parent / "variants"
BUILT = [isa for isa in ISAS if list(FOLDER.glob(f"{isa}_f32.*.so"))]
REGISTER = {"avx2": "%ymm", "avx512": "%zmm"}


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=FOLDER.parents[2],  # `-c` imports the built package under test from here
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_baseline_is_always_built():
    assert "base" in BUILT
    assert "base" in cpu.supported()


@pytest.mark.parametrize("isa", BUILT)
@pytest.mark.parametrize(("real", "size"), [("f32", 4), ("f64", 8)])
def test_each_variant_reports_the_instruction_set_of_its_name(isa, real, size):
    if isa not in cpu.supported():
        pytest.skip(f"this processor has no {isa}")
    table = importlib.import_module(f"nnfast._engine.variants.{isa}_{real}").table
    built = core.describe(table)
    assert built["isa"] == isa
    assert built["isa_is_real"]
    assert built["real_bytes"] == size
    assert isa == "base" or built["vector_bytes"] == {"avx2": 32, "avx512": 64}[isa]


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump (binutils)")
@pytest.mark.parametrize("isa", BUILT)
@pytest.mark.parametrize(("real", "suffix"), [("f32", "ps"), ("f64", "pd")])
def test_each_variant_contains_the_instructions_of_its_name(isa, real, suffix):
    (path,) = FOLDER.glob(f"{isa}_{real}.*.so")
    code = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    fused = [
        line for line in code.splitlines() if "vfmadd" in line and line.split()[1].endswith(suffix)
    ]
    if isa in REGISTER:
        assert sum(REGISTER[isa] in line for line in fused) > 200
    if isa != "avx512":
        assert "%zmm" not in code
    if isa == "base":
        assert "%ymm" not in code


@pytest.mark.parametrize("isa", BUILT)
def test_the_environment_selects_the_variant(isa):
    run = python("import nnfast; print(nnfast.show_config()['isa'])", NNFAST_ISA=isa)
    if isa in cpu.supported():
        assert run.stdout.split()[-1] == isa
    else:
        assert "cannot be used here" in run.stderr


def test_an_unknown_instruction_set_is_an_error():
    run = python("import nnfast", NNFAST_ISA="sse9")
    assert run.returncode != 0
    assert "NNFAST_ISA='sse9' is unknown, expected one of avx512, avx2, base" in run.stderr


def test_show_config_prints_what_it_returns(capsys):
    config = nnfast.show_config()
    shown = capsys.readouterr().out
    assert config["version"] == nnfast.__version__
    assert config["isa"] == os.environ.get("NNFAST_ISA") or config["isa"] == next(
        isa for isa in cpu.supported() if isa in BUILT
    )
    assert config["threads"] >= 1
    assert all(key in shown for key in config)


def test_the_number_of_threads_is_set_and_validated():
    try:
        nnfast.set_num_threads(1)
        assert nnfast.get_num_threads() == 1
        nnfast.set_num_threads(10**6)
        assert 1 <= nnfast.get_num_threads() <= 10**6
    finally:
        nnfast.set_num_threads(None)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="positive integer"):
            nnfast.set_num_threads(wrong)
    for wrong in (1.5, "2", True):
        with pytest.raises(TypeError, match="positive integer"):
            nnfast.set_num_threads(wrong)


def test_importing_does_not_change_the_floating_point_mode():
    code = "import nnfast, numpy as np; x = np.float32(1e-38) * np.float32(0.1); assert x > 0, x"
    assert python(code).returncode == 0

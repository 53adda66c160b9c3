"""If the number of threads is limited, the engine works with those that it can start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nnfast
from nnfast import _engine
from nnfast._engine import core

OPENMP = core.describe(_engine._tables[0])["openmp"]
PROGRAMS = str(Path(__file__).with_name("few_threads_programs.py"))
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sets Linux limits of a process")


def threads_left(program: str, extra: int, **environment: str) -> int:
    """Run a program that may start `extra` threads; return its number of threads at the end."""
    package = os.path.dirname(os.path.dirname(nnfast.__file__))
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    threads = {"OMP_NUM_THREADS": "6", "OPENBLAS_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        [sys.executable, PROGRAMS, program, str(extra)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths, **threads},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout)


def expected_threads(extra: int) -> int:
    """Return the expected number of threads; without OpenMP, a process starts no extra threads."""
    return 1 + extra if OPENMP else 1


@pytest.mark.parametrize(
    ("program", "extra"),
    [
        ("limited", 0),
        ("limited", 2),
        ("growing", 1),
        ("again", 2),
        ("own_choice", 0),
        ("own_choice", 1),
    ],
)
def test_a_team_has_the_threads_that_can_be_started(program: str, extra: int) -> None:
    if os.geteuid() != 0 and extra:
        pytest.skip("other processes of this user count towards the limit")
    assert threads_left(program, extra) == expected_threads(extra)


# Surplus threads of a team take a moment to end, so the next team may find fewer free.
@pytest.mark.parametrize("extra", [0, 5])
@pytest.mark.parametrize("program", ["growing", "several", "forks"])
def test_teams_callers_and_forked_children_share_the_limit(program: str, extra: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("other processes of this user count towards the limit")
    assert 1 <= threads_left(program, extra) <= expected_threads(1 + extra)


@pytest.mark.parametrize("extra", [0, 2])
def test_a_team_has_the_threads_whose_stacks_fit_into_memory(extra: int) -> None:
    resource = pytest.importorskip("resource")
    assert threads_left("little_memory", extra, OMP_STACKSIZE="1G") == expected_threads(extra)
    assert threads_left("little_memory", extra, OMP_STACKSIZE=" 1048576 ") == expected_threads(
        extra
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if hard not in (-1, resource.RLIM_INFINITY) and hard < 2**30:
        return
    resource.setrlimit(resource.RLIMIT_STACK, (2**30, hard))
    try:
        assert threads_left("little_memory", extra) == expected_threads(extra)
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))

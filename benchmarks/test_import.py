"""`import nnfast` takes at most 40 ms longer than `import numpy`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import nnfast

LIMIT = 0.040  # seconds
PAIRS = 15

# The bytecode of an installed package is on disk, so let the interpreter write bytecode files.
ENVIRONMENT = {key: os.environ[key] for key in os.environ if key != "PYTHONDONTWRITEBYTECODE"}


def run(code: str) -> float:
    """Return the time in seconds that a new interpreter takes to run `code`."""
    start = time.perf_counter()
    folder = Path(nnfast.__file__).parent.parent  # the working directory, where `-c` imports from
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=ENVIRONMENT)
    return time.perf_counter() - start


@pytest.mark.benchmark(group="a fresh interpreter's import")
@pytest.mark.parametrize("modules", ["numpy", "numpy, nnfast"])
def test_import(benchmark: Any, modules: str) -> None:
    benchmark.pedantic(run, args=(f"import {modules}",), rounds=PAIRS, warmup_rounds=1)


def test_import_time_is_within_its_limit() -> None:
    run("import nnfast")
    pairs = [(run("import numpy"), run("import numpy, nnfast")) for _ in range(PAIRS)]
    added = statistics.median(both - numpy for numpy, both in pairs)
    print(f"\nimport nnfast adds {1000 * added:.1f} ms to import numpy")
    assert added <= LIMIT

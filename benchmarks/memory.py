"""Measure a contender's memory in a separate process.

    python benchmarks/memory.py "20-64-64-10 @32" nnfast

The result is the peak resident memory, in MB, that the library, the network and its training or
prediction add to a process that already holds the data. Processes that a contender starts, such as
a compiler, are not counted.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
from pathlib import Path

from cases import CASES, Problem
from peers import PEERS


def peak_megabytes() -> float:
    """Return the peak resident memory of this process in megabytes.

    On Linux it is ``VmHWM``, because a child process inherits ``ru_maxrss`` from its parent.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1024


def reset_peak() -> None:
    """Reset the peak to the current resident memory, if Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def measure_in_subprocess(case: str, peer: str) -> float | None:
    """Return the memory in megabytes that a contender adds, or None if its process fails."""
    command = [sys.executable, __file__, case, peer]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode else float(done.stdout.splitlines()[-1])


def main() -> None:
    case_name, peer_name = sys.argv[1:]
    case = next(case for case in CASES if case.name == case_name)
    contender_of = PEERS[peer_name].of(case)
    assert contender_of is not None, f"{peer_name} does not support {case_name}"
    problem = Problem(case)
    reset_peak()
    before = peak_megabytes()
    contender = contender_of(problem)
    contender.reset()
    contender.run(2)
    print(peak_megabytes() - before)


if __name__ == "__main__":
    main()

"""The memory that a contender takes, measured in a process of its own.

    python benchmarks/memory.py "20-64-64-10 @32" nnfast

What the library, the network and its training or prediction add to the peak of resident memory,
the data being there. Processes that a contender starts, such as a compiler, are not counted.
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
    """Return this process's peak of resident memory.

    Linux' ``VmHWM``, because ``ru_maxrss`` of a child starts with its parent's.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1024


def forget_peak() -> None:
    """Start the peak anew from what is resident now, where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def in_a_child(case: str, peer: str) -> float | None:
    """Return the megabytes that a contender adds; None if it fails."""
    command = [sys.executable, __file__, case, peer]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode else float(done.stdout.splitlines()[-1])


def main() -> None:
    case_name, peer_name = sys.argv[1:]
    case = next(case for case in CASES if case.name == case_name)
    contender_of = PEERS[peer_name].of(case)
    assert contender_of is not None, f"{peer_name} takes no part in {case_name}"
    problem = Problem(case)
    forget_peak()
    before = peak_megabytes()
    contender = contender_of(problem)
    contender.reset()
    contender.run(2)
    print(peak_megabytes() - before)


if __name__ == "__main__":
    main()

"""Time nnfast against its peers: one core, one thread, float32, Adam, whole training steps.

    python benchmarks/compare.py                       # all cases, all installed peers
    python benchmarks/compare.py --cases 784 --peers nnfast,jax --rounds 5
    python benchmarks/compare.py --update-readme

A case is timed only if all contenders agree on the losses of its first steps. Contenders
take turns, round by round, so that a slow moment of the machine hits all of them; medians
are reported.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers import CASES, PEERS, STEPS_PER_EPOCH, Case, Peer, Problem

README = Path(__file__).parent.parent / "README.md"
RESULTS = README.parent / ".benchmarks" / "speed.json"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"

# Read by the libraries when they are loaded, hence set before this process starts.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}

CHECKED_STEPS = 5
# float32 rounding, and two placements of Adam's epsilon, move a loss by less than this.
AGREEMENT = 2e-4
ROUND_SECONDS = 0.15

MODULES = {"sklearn": "scikit-learn"}


def one_core() -> None:
    """Run on one core with one thread; starts the program anew if need be."""
    if any(os.environ.get(key) != value for key, value in ONE_THREAD.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **ONE_THREAD})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def disagreement(peers: dict[str, Peer]) -> tuple[float, str]:
    """Return the largest relative difference of the first losses from the first peer's."""
    worst, culprit = 0.0, ""
    expected = None
    for name, peer in peers.items():
        losses = np.array(peer.first_losses(CHECKED_STEPS))
        if expected is None:
            expected = losses
        difference = float(np.max(np.abs(losses - expected) / np.abs(expected)))
        if not difference <= worst:  # also true for NaN
            worst, culprit = difference, name
    return worst, culprit


def seconds(peer: Peer, epochs: int) -> float:
    peer.reset()
    start = time.perf_counter()
    peer.train(epochs)
    return time.perf_counter() - start


def measure(case: Case, names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Check a case and time it; the result has ``error`` instead of times if it is refused."""
    problem = Problem(case)
    peers: dict[str, Peer] = {name: PEERS[name](problem) for name in names}
    worst, culprit = disagreement(peers)
    result: dict[str, Any] = {"case": case.name, "flops": case.flops, "disagreement": worst}
    if not worst <= AGREEMENT:
        result["error"] = (
            f"{culprit} disagrees with {names[0]} on the first {CHECKED_STEPS} losses: "
            f"relative difference {worst:.2g}, at most {AGREEMENT:g} allowed"
        )
        return result

    epochs = {}
    for name, peer in peers.items():
        seconds(peer, 1)  # compilation and first touch of memory
        epochs[name] = max(1, round(ROUND_SECONDS / seconds(peer, 1)))
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, peer in peers.items():
            steps = epochs[name] * STEPS_PER_EPOCH
            times[name].append(seconds(peer, epochs[name]) / steps)
    result["microseconds"] = {n: statistics.median(t) * 1e6 for n, t in times.items()}
    result["rounds"] = {n: [s * 1e6 for s in t] for n, t in times.items()}
    return result


def table(results: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return the timed cases as a Markdown table; ratios are to the first contender."""
    first, *others = names
    rows = [["network, batch", f"{first} µs/step", "GFLOP/s", *others]]
    rows.append(["---"] + ["---:"] * (len(rows[0]) - 1))
    for result in results:
        if "error" not in result:
            us = result["microseconds"]
            rate = result["flops"] / us[first] / 1e3
            cells = [f"{us[name]:.0f} ({us[name] / us[first]:.1f}×)" for name in others]
            rows.append([result["case"], f"{us[first]:.1f}", f"{rate:.0f}", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def update_readme(text: str) -> None:
    readme = README.read_text(encoding="utf-8")
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise SystemExit(f"{README} needs exactly one {BEGIN} and one {END}")
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def module_of(name: str) -> str:
    """Return the module that a contender needs: "numpy-tuned" needs numpy."""
    return name.split("-")[0]


def installed(names: Sequence[str]) -> list[str]:
    present = []
    for name in names:
        if importlib.util.find_spec(module_of(name)) is None:
            print(f"{name} is not installed: left out", file=sys.stderr)
        else:
            present.append(name)
    return present


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", default="", help="only cases whose name contains this")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated, first = base")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--update-readme", action="store_true")
    options = parser.parse_args()

    wanted = options.peers.split(",")
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        parser.error(f"--peers: expected some of {', '.join(PEERS)}, got {', '.join(unknown)}")
    cases = [case for case in CASES if options.cases in case.name]
    if not cases:
        parser.error(f"--cases: {options.cases!r} is in none of {[case.name for case in CASES]}")

    one_core()
    names = installed(wanted)
    results = []
    for case in cases:
        results.append(measure(case, names, options.rounds))
        print(results[-1].get("error") or f"{case.name}: timed", file=sys.stderr, flush=True)

    text = table(results, names)
    modules = dict.fromkeys(module_of(name) for name in names)
    versions = {name: importlib.metadata.version(MODULES.get(name, name)) for name in modules}
    caption = (
        f"One thread of {cpu_name()}, float32, Adam, medians of {options.rounds} rounds; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "; made by `python benchmarks/compare.py --update-readme`."
    )
    print(f"{text}\n\n{caption}")
    report = {"cpu": cpu_name(), "versions": versions, "results": results}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    refused = [result["error"] for result in results if "error" in result]
    if options.update_readme and not refused:
        update_readme(f"{text}\n\n{caption}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())

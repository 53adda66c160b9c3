"""Compare nnfast's speed with its peers and with the machine's limits in one run.

    python benchmarks/compare.py                       # all cases, all installed peers
    python benchmarks/compare.py --cases 784 --peers jax,torch --rounds 5
    python benchmarks/compare.py --check               # fails unless every goal is met
    python benchmarks/compare.py --threads 2           # nnfast with two threads and with one
    python benchmarks/compare.py --threads 2 --together --cases LeNet   # all with two threads
    python benchmarks/compare.py --memory --plot --update-docs --update-readme

By default, everything runs on one core with one thread. A case is timed only if all contenders
agree on the losses of its first steps, or on the outputs of its predictions. docs/performance.md
describes the contenders and how the limits are measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
import memory
import report
import roofline
import scaling
from cases import CASES, CLASSIC, Case, Problem
from peers import PEERS, Contender, installed, versions
from pin import pin, threads
from predictors import NumPyAdd, SmallChain
from timing import AGREEMENT, AGREEMENT_OF_IMAGES, disagreements, interleaved, medians
from training import Excluded
from verdicts import outcome, verdicts

ROOT = Path(__file__).parent.parent
README, PAGE = ROOT / "README.md", ROOT / "docs/performance.md"
FIGURE, README_FIGURE = ROOT / "docs/performance.png", ROOT / "docs/speed.png"
RESULTS = ROOT / ".benchmarks" / "speed.json"
README_PEERS = ["numpy", "jax", "torch", "sklearn"]
README_CASES = ("20-64-64-10 @32", "64-100-10 @200", "784-512-512-10 @128")  # fit into one row
YARDSTICKS = {"np.add": NumPyAdd, "20-64-1": SmallChain}  # limits that are timed with the case


def contenders(case: Case, names: Sequence[str]) -> dict[str, Contender]:
    """Return the contenders in a case; print which of `names` are excluded and why.

    Without nnfast, the first of them, there is nothing to compare, and the result is empty.
    """
    problem = Problem(case)
    found: dict[str, Contender] = {}
    for name in names:
        if (contender_of := PEERS[name].of(case)) is not None:
            try:
                found[name] = contender_of(problem)
            except Excluded as error:
                print(f"{case.name}: {name} is excluded: {error}", file=sys.stderr)
                if name == "nnfast":
                    break
    return found


def measure(case: Case, names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Return the result of a case: its times, or an ``error`` if it cannot be compared.

    It cannot be compared if nnfast is excluded or if a contender disagrees.
    """
    entered = contenders(case, names)
    if "nnfast" not in entered:
        return {"case": case.name, "error": f"{case.name}: skipped"}
    differences = disagreements(entered)
    result: dict[str, Any] = {"case": case.name, "flops": case.flops, "disagreement": differences}
    allowed = AGREEMENT_OF_IMAGES if case.convolutional else AGREEMENT
    for name, difference in differences.items():
        if not difference <= allowed:  # "not <=" also catches NaN
            result["error"] = (
                f"{case.name}: {name} differs from {names[0]} by {difference:.2g}; at most "
                f"{allowed:g} is allowed"
            )
            return result

    if case.goal.limit in YARDSTICKS:
        entered[case.goal.limit] = YARDSTICKS[case.goal.limit](Problem(case))
    found = interleaved(entered, rounds)
    us = {name: seconds / case.steps * 1e6 for name, seconds in medians(found).items()}
    yardstick = us.pop(case.goal.limit, None)
    result["microseconds"] = us
    result["rounds"] = {n: [s / case.steps * 1e6 for s in times] for n, times in found.items()}
    limit = yardstick
    try:
        result["roofline"] = roofline.seconds(case) * 1e6
        result["level"] = roofline.level(case)
        limit = limit or roofline.limit_seconds(case) * 1e6
        if threads() > 1:  # the limits hold for one core
            limit = None
    except machine.NoCompiler as error:
        print(error, file=sys.stderr)
    result["limit"] = limit
    result["verdicts"] = [asdict(verdict) for verdict in verdicts(case, us, limit)]
    return result


def caption(names: Sequence[str], rounds: int, option: str) -> str:
    workers = "One thread" if threads() == 1 else f"{threads()} threads"
    libraries = ", ".join(f"{name} {version}" for name, version in versions(names).items())
    return (
        f"{workers} of {cpu_name()}, medians of {rounds} rounds; {libraries}; "
        f"made by `python benchmarks/compare.py {option}`."
    )


def peaks() -> dict[str, float]:
    """Return the FMA peak of each dtype in GFLOP/s, or {} if there is no compiler."""
    try:
        return {dtype: machine.peak(dtype) / 1e9 for dtype in machine.REALS}
    except machine.NoCompiler:
        return {}


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def compare(cases: Sequence[Case], names: Sequence[str], options: argparse.Namespace) -> int:
    """Run the comparison, print and save its results, and return the exit code."""
    results = []
    for case in cases:
        result = measure(case, names, options.rounds)
        if options.memory and "error" not in result:
            result["memory"] = {
                n: memory.measure_in_subprocess(case.name, n) for n in result["microseconds"]
            }
        print(result.get("error") or f"{case.name}: timed", file=sys.stderr, flush=True)
        results.append(result)
    timed = [result for result in results if "error" not in result]
    facts = {"cpu": cpu_name(), "versions": versions(names), "gflops": peaks()}
    save(options.json, {**facts, "results": results})

    page = performance_page(timed, names, options)
    print(page)
    if options.plot:
        report.plot(timed, names[1:], FIGURE)
    refused = len(timed) < len(results)
    if options.update_docs or options.update_readme:
        if refused or len(cases) < len(CASES) or threads() > 1:
            print(
                "nothing is updated: an update needs results for all cases and one thread",
                file=sys.stderr,
            )
        else:
            update(page, timed, names, options)
    goals = [v for r in timed for v in r["verdicts"] if v["required"] is not None]
    met = sum(outcome(v["measured"], v["required"]) == "met" for v in goals)
    print(f"\n{met} of {len(goals)} goals met")
    return int(refused or (options.check and met < len(goals)))


def performance_page(
    timed: Sequence[dict[str, Any]], names: Sequence[str], options: argparse.Namespace
) -> str:
    parts = [report.times(timed, names[1:]), report.goals(timed)]
    if options.memory:
        parts.append(report.memory(timed, names))
    words = " and ".join(f"{gflops:.0f} GFLOP/s in {dtype}" for dtype, gflops in peaks().items())
    note = caption(names, options.rounds, "--update-docs")
    return "\n\n".join([*parts, f"{note} FMA peak: {words or 'not measured'}."])


def update(
    page: str,
    timed: Sequence[dict[str, Any]],
    names: Sequence[str],
    options: argparse.Namespace,
) -> None:
    """Update performance.md and README.md if the options request it."""
    if options.update_docs:
        report.update(PAGE, "performance", page)
    if options.update_readme:
        shown = [name for name in README_PEERS if name in names]
        note = caption(["nnfast", *shown], options.rounds, "--update-readme")
        shown_cases = [r for r in timed[: len(CLASSIC)] if r["case"] in README_CASES]
        report.plot(shown_cases, shown, README_FIGURE)
        image = f"![Time of a training step with each library](docs/{README_FIGURE.name})"
        report.update(README, "speed", f"{image}\n\n{note}")


def compare_threads(cases: Sequence[Case], options: argparse.Namespace) -> int:
    results = []
    for case in cases:
        results.append(scaling.measure(case, options.threads, options.rounds))
        print(f"{case.name}: timed", file=sys.stderr, flush=True)
    print(report.markdown(scaling.rows(results, options.threads)))
    save(options.json.with_stem(f"{options.json.stem}-threads"), {"results": results})
    return int(options.check and any(r["verdict"] != "met" for r in results))


def save(path: Path, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    others = [name for name in PEERS if name != "nnfast"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", default="", help="only cases whose name contains this")
    parser.add_argument("--peers", default=",".join(others), help="comma-separated")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument(
        "--threads", type=int, default=1, help="with more than one, compare nnfast with itself"
    )
    parser.add_argument(
        "--together", action="store_true", help="compare with peers, with --threads threads each"
    )
    parser.add_argument(
        "--memory", action="store_true", help="measure peak memory, with a process per contender"
    )
    parser.add_argument("--check", action="store_true", help="fail unless every goal is met")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--plot", action="store_true", help=f"draw {FIGURE.name}")
    parser.add_argument(
        "--update-docs", action="store_true", help="update the tables in performance.md"
    )
    parser.add_argument(
        "--update-readme", action="store_true", help="update the picture in README.md"
    )
    options = parser.parse_args()

    wanted = [name for name in options.peers.split(",") if name and name != "nnfast"]
    if unknown := [name for name in wanted if name not in PEERS]:
        parser.error(
            f"--peers: expected names among {', '.join(others)}; received {', '.join(unknown)}"
        )
    cases = [case for case in CASES if options.cases in case.name]
    if not cases:
        parser.error(
            f"--cases: expected part of a name among {[case.name for case in CASES]}; received "
            f"{options.cases!r}"
        )

    pin(options.threads)
    if options.threads > 1 and not options.together:
        return compare_threads(cases, options)
    return compare(cases, installed(["nnfast", *wanted]), options)


if __name__ == "__main__":
    sys.exit(main())

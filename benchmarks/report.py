"""The report of `compare.py`: Markdown tables and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verdicts import outcome

Result = Mapping[str, Any]  # the result of one case, as it is stored in the JSON file


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first row is the header, and only the first column is text."""
    header, *body = rows
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def microseconds(us: float) -> str:
    return f"{us:.1f}" if us < 100 else f"{us:,.0f}"


def times(results: Sequence[Result], peers: Sequence[str]) -> str:
    """Return the table of the contenders' times, with their ratios to nnfast's time."""
    rows = [["network, batch", "nnfast, µs", "GFLOP/s", *peers]]
    for result in results:
        us = result["microseconds"]
        rate = result["flops"] / us["nnfast"] / 1e3
        cells = [
            f"{microseconds(us[peer])} ({us[peer] / us['nnfast']:.1f}×)" if peer in us else "–"
            for peer in peers
        ]
        rows.append([result["case"], microseconds(us["nnfast"]), f"{rate:.0f}", *cells])
    return markdown(rows)


def goals(results: Sequence[Result]) -> str:
    """Return the table that compares each case with the machine's limit and the best peer."""
    rows = [["network, batch", "share of the limit", "required", "vs. the best peer", "required"]]
    for result in results:
        limits = [v for v in result["verdicts"] if v["kind"] == "limit"]
        ratios = [v for v in result["verdicts"] if v["kind"] != "limit"]
        rows.append([result["case"], *_cells(limits, result.get("level")), *_cells(ratios)])
    return markdown(rows)


def _cells(verdicts: Sequence[Mapping[str, Any]], level: str | None = None) -> list[str]:
    """Return two cells: the measured ratios, and the required ratios with their outcomes."""
    measured, required = [], []
    for v in verdicts:
        name = f"{v['what']} ({level})" if v["what"] == "roofline" and level else v["what"]
        ratio = "–" if v["measured"] is None else _number(v, v["measured"])
        measured.append(f"{ratio} {name}")
        peer = f"{v['what']} " if v["kind"] == "against" else ""
        for prefix, goal in ((peer, v["required"]), ("stretch ", v["stretch"])):
            if goal is not None:
                required.append(f"{prefix}{_number(v, goal)} {outcome(v['measured'], goal)}")
    return ["; ".join(measured), "; ".join(required)]


def _number(verdict: Mapping[str, Any], ratio: float) -> str:
    """Format a ratio as a multiple of a time, or as a percentage for a hardware limit."""
    if verdict["kind"] != "limit":
        return f"{ratio:.2f}×"
    if verdict["what"] in ("np.add", "20-64-1", "one read"):
        return f"{1 / ratio:.1f}×"
    return f"{100 * ratio:.1f} %"


def memory(results: Sequence[Result], names: Sequence[str]) -> str:
    """Return the table of peak memory: the megabytes that each contender and its library add."""
    rows = [["peak memory, MB", *names]]
    for result in results:
        found = [result["memory"].get(name) for name in names]
        rows.append([result["case"], *("–" if mb is None else f"{mb:.1f}" for mb in found)])
    return markdown(rows)


def update(path: Path, name: str, text: str) -> None:
    """Replace the text between the comments ``name:begin`` and ``name:end`` of a file."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = path.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(
            f"{path} must contain {begin} and {end} exactly once; it contains them "
            f"{old.count(begin)} and {old.count(end)} times"
        )
    before, rest = old.split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def plot(results: Sequence[Result], peers: Sequence[str], path: Path, columns: int = 3) -> None:
    """Draw one panel per case with each contender's time divided by nnfast's time."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    lines = -(-len(results) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(12, 2.1 * lines), squeeze=False, layout="constrained"
    )
    largest = max(max(r["microseconds"].values()) / r["microseconds"]["nnfast"] for r in results)
    for axis, result in zip(axes.flat, results, strict=False):
        us = result["microseconds"]
        names = [name for name in ("nnfast", *peers) if name in us][::-1]
        ratios = [us[name] / us["nnfast"] for name in names]
        colors = ["#d95f02" if name == "nnfast" else "#8da0cb" for name in names]
        bars = axis.barh(names, [r - 0.5 for r in ratios], left=0.5, color=colors)
        labels = [f"{r:.1f}×, {microseconds(us[n])} µs" for n, r in zip(names, ratios, strict=True)]
        axis.bar_label(bars, labels, padding=3, fontsize=7)
        axis.set(title=result["case"], xscale="log", xlim=(0.5, 6 * largest))
        axis.title.set_fontsize(9)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    figure.supxlabel("time divided by nnfast's time (lower is better)", fontsize=9)
    figure.savefig(path, dpi=110)

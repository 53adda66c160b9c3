"""Compare time per epoch and score with scikit-learn's MLP estimators at their defaults.

    python benchmarks/estimators.py                       # print the table
    python benchmarks/estimators.py --update-docs
    python benchmarks/estimators.py --data FOLDER --sets digits,adult --seeds 2

The two libraries alternate in rounds, so that a slow period of the machine affects both. The time
per epoch is from the fastest round, because other programs can only slow it down. Scores are R² or
accuracy on a quarter of the rows, as mean ± standard deviation over seeds. The California housing
and Adult data sets are read from files in the folder `--data`; a data set is skipped if its file
does not exist.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.metadata
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets, neural_network
from sklearn.compose import make_column_transformer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

import nnfast

DOCS = Path(__file__).parent.parent / "docs" / "estimators.md"
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
ROUNDS = 7
PAUSE = 0.2  # seconds before each fit, because BLAS threads spin for this time when idle

Dataset = tuple[str, Any, Any]  # name of the estimator, X, y


def rows_of(path: Path, header: bool) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if row]
    return rows[header:]


def california(folder: Path) -> Dataset:
    rows = rows_of(folder / "california-housing.csv.gz", header=True)
    numbers = np.array([[float(v or "nan") for v in row[:9]] for row in rows])
    x, y = numbers[:, :8], numbers[:, 8] / 1e5
    x = np.where(np.isnan(x), np.nanmedian(x, axis=0), x)
    return "MLPRegressor", np.c_[x, [row[9] == "INLAND" for row in rows]], y


def adult(folder: Path) -> Dataset:
    rows = rows_of(folder / "adult-train.csv.gz", header=False)
    table = np.array([row[:14] for row in rows], object)
    numeric = [0, 2, 4, 10, 11, 12]
    other = [i for i in range(14) if i not in numeric]
    table[:, numeric] = table[:, numeric].astype(float)
    encode = make_column_transformer(
        ("passthrough", numeric), (OneHotEncoder(sparse_output=False), other)
    )
    x = encode.fit_transform(table).astype(float)
    return "MLPClassifier", x, np.array([row[14] for row in rows])


SETS: dict[str, tuple[Callable[[Path], Dataset], int]] = {
    "digits": (lambda _: ("MLPClassifier", *datasets.load_digits(return_X_y=True)), 200),
    "breast_cancer": (
        lambda _: ("MLPClassifier", *datasets.load_breast_cancer(return_X_y=True)),
        200,
    ),
    "diabetes": (lambda _: ("MLPRegressor", *datasets.load_diabetes(return_X_y=True)), 200),
    "california": (california, 30),
    "adult": (adult, 10),
}


def compare(name: str, folder: Path, seeds: int) -> list[str]:
    """Return the cells of a data set's row in the table."""
    load, epochs = SETS[name]
    kind, x, y = load(folder)
    parts = train_test_split(x, y, random_state=0)
    x, x_test, y, y_test = parts
    scaler = StandardScaler().fit(x)
    x, x_test = scaler.transform(x), scaler.transform(x_test)
    makers = {"sklearn": getattr(neural_network, kind), "nnfast": getattr(nnfast, kind)}
    scores: dict[str, list[float]] = {library: [] for library in makers}
    for seed in range(seeds):
        for library, make in makers.items():
            fitted = make(random_state=seed, max_iter=epochs).fit(x, y)
            scores[library].append(fitted.score(x_test, y_test))
    cells = [name, f"{x.shape[0]} × {x.shape[1]}"]
    for threads in (1, None):
        seconds: dict[str, list[float]] = {library: [] for library in makers}
        with threadpool_limits(threads):
            for _ in range(ROUNDS):
                for library, make in makers.items():
                    n_epochs = max(2, min(epochs, 200_000 // len(x)))
                    model = make(random_state=0, max_iter=n_epochs)
                    time.sleep(PAUSE)
                    started = time.perf_counter()
                    model.fit(x, y)
                    seconds[library].append((time.perf_counter() - started) / model.n_iter_)
        a, b = (1e3 * min(seconds[library]) for library in ("sklearn", "nnfast"))
        cells += [f"{a:.1f}", f"{b:.2f}", f"{a / b:.1f} ×"]
    for library in ("sklearn", "nnfast"):
        cells.append(f"{np.mean(scores[library]):.4f} ± {np.std(scores[library], ddof=1):.4f}")
    return [*cells, str(epochs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--update-docs", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    heads = ("data", "rows × features", "scikit-learn", "nnfast", "ratio", "scikit-learn (all)")
    heads += ("nnfast (all)", "ratio (all)", "score, scikit-learn", "score, nnfast", "epochs")
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for name in options.sets.split(","):
        try:
            lines.append(f"| {' | '.join(compare(name, options.data, options.seeds))} |")
        except FileNotFoundError as error:
            print(f"{name}: skipped, because {error.filename} does not exist")
            continue
        print(lines[-1], flush=True)
    version = importlib.metadata.version("scikit-learn")
    lines += [
        "",
        f"Milliseconds per epoch with one thread and with all ({os.cpu_count()} cores, "
        f"{platform.machine()}), float64; nnfast {nnfast.__version__}, scikit-learn {version}; "
        "made by `python benchmarks/estimators.py --update-docs`.",
    ]
    if options.update_docs:
        text = DOCS.read_text("utf-8")
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        DOCS.write_text(f"{head}{BEGIN}\n{chr(10).join(lines)}\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()

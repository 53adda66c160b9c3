"""The demonstration: train on digits, plot the learning curve, compare with NumPy."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnfast
from nnfast import callbacks, datasets, layers

__all__ = ["Task", "digits", "mnist", "network", "run", "train_numpy"]

BATCH_SIZE = 32
LEARNING_RATE = 1e-3

# Relative tolerance for the loss curves. The two float64 implementations add in different orders,
# and training amplifies the rounding differences to about 1e-12. A wrong formula would change the
# third digit.
AGREEMENT = 1e-8


@dataclass(frozen=True)
class Task:
    """The data and the network of a demonstration, and the test accuracy that it must reach."""

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    scale: float
    hidden: tuple[int, ...]
    epochs: int
    promise: float


def digits(epochs: int = 30) -> Task:
    """Return the task on scikit-learn's digits: 1,437 images for training, 360 for testing."""
    x, y = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1437], order[1437:]
    return Task(
        "scikit-learn's digits", x[train], y[train], x[test], y[test],
        scale=1.0, hidden=(128, 64), epochs=epochs, promise=0.97,
    )  # fmt: skip


def mnist(directory: Path, epochs: int = 10) -> Task:
    """Return the task on MNIST's test set: 8,000 images for training, 2,000 for testing."""
    x, y = (
        datasets.load_idx(_only_file(directory, f"*t10k-{kind}-ubyte*"))
        for kind in ("images-idx3", "labels-idx1")
    )
    if x.shape != (10_000, 28, 28) or y.shape != (10_000,):
        raise ValueError(
            f"{directory}: expected images (10000, 28, 28) and labels (10000,), "
            f"got {x.shape} and {y.shape}"
        )
    return Task(
        "MNIST", x[:8000], y[:8000], x[8000:], y[8000:],
        scale=1 / 255, hidden=(128,), epochs=epochs, promise=0.94,
    )  # fmt: skip


def _only_file(directory: Path, pattern: str) -> Path:
    files = sorted(directory.glob(pattern))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise FileNotFoundError(f"{directory}: expected one file like {pattern}, found {found}")
    return files[0]


def network(task: Task, dtype: str) -> nnfast.Sequential:
    """Return the compiled network for a task."""
    model = nnfast.Sequential(
        [
            layers.Input(task.x_train.shape[1:]),
            layers.Rescaling(task.scale),
            layers.Flatten(),
            *(layers.Dense(units, activation="relu") for units in task.hidden),
            layers.Dense(10, activation="softmax"),
        ],
        dtype=dtype,
    )
    model.compile(
        nnfast.optimizers.Adam(LEARNING_RATE),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def train_numpy(
    weights: Sequence[NDArray[np.float64]],
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    epochs: int,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
) -> list[float]:
    """Train ReLU layers and a softmax with Adam in plain NumPy; return the loss of each epoch.

    ``weights`` is ``[w, b, w, b, …]`` and is not changed. The rows are not shuffled.
    """
    params = [array.copy() for array in weights]
    ms = [np.zeros_like(array) for array in params]
    vs = [np.zeros_like(array) for array in params]
    b1, b2, epsilon, iteration = 0.9, 0.999, 1e-7, 0
    curve = []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(x), batch_size):
            labels = y[start : start + batch_size]
            rows = np.arange(len(labels))

            a = [x[start : start + batch_size]]
            for w, b in zip(params[:-2:2], params[1:-2:2], strict=True):
                a.append(np.maximum(a[-1] @ w + b, 0.0))
            z = a[-1] @ params[-2] + params[-1]
            z -= z.max(axis=1, keepdims=True)
            log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
            total -= log_p[rows, labels].sum()

            dz = np.exp(log_p)
            dz[rows, labels] -= 1.0
            dz /= len(labels)
            grads: list[NDArray[np.float64]] = []
            for i in reversed(range(len(a))):
                grads[:0] = [a[i].T @ dz, dz.sum(axis=0)]
                if i > 0:
                    dz = (dz @ params[2 * i].T) * (a[i] > 0.0)

            iteration += 1
            alpha = learning_rate * math.sqrt(1.0 - b2**iteration) / (1.0 - b1**iteration)
            for p, g, m, v in zip(params, grads, ms, vs, strict=True):
                m += (1.0 - b1) * (g - m)
                v += (1.0 - b2) * (g * g - v)
                p -= alpha * m / (np.sqrt(v) + epsilon)
        curve.append(total / len(x))
    return curve


def _train(task: Task) -> tuple[nnfast.Sequential, dict[str, list[float]], float]:
    """Train with a progress bar; return the model, its history and the training time in seconds."""
    try:
        from rich import progress
    except ImportError as error:
        raise ImportError('the demo needs rich: pip install "nnfast[demo]"') from error

    model = network(task, "float32")
    columns = (*progress.Progress.get_default_columns(), progress.TextColumn("{task.fields[loss]}"))
    with progress.Progress(*columns) as bar:
        row = bar.add_task("training", total=task.epochs, loss="")

        class Advance(callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
                bar.update(row, advance=1, loss=f"loss {(logs or {})['loss']:.4f}")

        start = time.perf_counter()
        history = model.fit(
            task.x_train,
            task.y_train,
            batch_size=BATCH_SIZE,
            epochs=task.epochs,
            validation_data=(task.x_test, task.y_test),
            callbacks=[Advance()],
            verbose=0,
        )
        return model, history.history, time.perf_counter() - start


def _draw(history: dict[str, list[float]], title: str, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('the demo needs matplotlib: pip install "nnfast[demo]"') from error

    # A Figure made without pyplot uses the Agg backend, which needs no display.
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, key in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = range(1, len(history[key]) + 1)
        axis.plot(epochs, history[key], label="training")
        axis.plot(epochs, history[f"val_{key}"], label="test")
        axis.set_xlabel("epoch")
        axis.set_ylabel(key)
        axis.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def _compare(task: Task) -> tuple[float, float, float]:
    """Train nnfast and NumPy from the same weights on the same batches, in float64.

    Return the seconds that nnfast and NumPy take, and the largest relative difference between
    the two loss curves.
    """
    model = network(task, "float64")
    weights = model.get_weights()
    x = task.x_train.reshape(len(task.x_train), -1).astype(np.float64) * task.scale

    start = time.perf_counter()
    history = model.fit(
        task.x_train,
        task.y_train,
        batch_size=BATCH_SIZE,
        epochs=task.epochs,
        shuffle=False,
        verbose=0,
    )
    fast = time.perf_counter() - start

    start = time.perf_counter()
    expected = np.array(train_numpy(weights, x, task.y_train, task.epochs))
    slow = time.perf_counter() - start
    difference = np.abs(np.array(history.history["loss"]) - expected) / expected
    return fast, slow, float(difference.max())


def run(task: Task, output: Path, seed: int = 0) -> int:
    """Run the demonstration and print its results.

    Returns
    -------
    int
        0 on success, or 1 if the accuracy is lower than promised or the loss curves disagree.
    """
    nnfast.set_seed(seed)
    model, history, seconds = _train(task)
    accuracy = float(model.evaluate(task.x_test, task.y_test, verbose=0)[1])
    _draw(history, f"{task.name}: test accuracy {accuracy:.4f}", output)
    kept = accuracy >= task.promise
    print(f"{task.name}: {task.epochs} epochs in {seconds:.2f} s")
    print(
        f"test accuracy {accuracy:.4f}, promised at least {task.promise}"
        f"{'' if kept else ': NOT REACHED'}"
    )
    print(f"learning curve: {output}")

    fast, slow, difference = _compare(task)
    agree = difference <= AGREEMENT
    print(f"the same network in float64: nnfast {fast:.2f} s, NumPy {slow:.2f} s, "
          f"{slow / fast:.1f} times as fast")  # fmt: skip
    print(
        f"the two loss curves differ by at most {difference:.1g} of the loss"
        f"{'' if agree else ': they DISAGREE'}"
    )
    return 0 if kept and agree else 1

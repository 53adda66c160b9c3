"""Time layers that change images, as shares of a training step of the Keras MNIST network.

    python benchmarks/augmentation.py
    python benchmarks/augmentation.py --check           # fails above 10 %

The network is that of Keras' introductory example, with batches of 128 images of 28×28 pixels. The
cost of a layer is the difference between the times of a step with and without it. It is measured in
a network that does little else than average the pixels, because a difference of long times would
depend on other programs on the machine. Steps of all networks alternate in short rounds, and the
fastest round of each counts. Times are those of the processor, without waiting for it.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from pin import pin
from report import markdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnfast import layers

ROWS = 512
BATCH = 128
ROUNDS = 30
ALLOWED = 0.10  # of a step


def changes() -> dict[str, list[layers.Layer]]:
    """Return what is measured, by name."""
    from nnfast import layers

    return {
        "nothing": [],
        "Resizing, bilinear": [layers.Resizing(28, 28)],
        "Resizing, nearest": [layers.Resizing(28, 28, "nearest")],
        "RandomRotation, bilinear": [layers.RandomRotation(0.1)],
        "RandomRotation, nearest": [layers.RandomRotation(0.1, interpolation="nearest")],
        "RandomZoom, bilinear": [layers.RandomZoom(0.2, 0.2)],
        "RandomZoom, nearest": [layers.RandomZoom(0.2, 0.2, interpolation="nearest")],
        "RandomContrast": [layers.RandomContrast(0.3, (0, 1))],
        "RandomBrightness": [layers.RandomBrightness(0.3, (0, 1))],
        "CenterCrop": [layers.CenterCrop(28, 28)],
        "RandomTranslation": [layers.RandomTranslation(0.1, 0.1)],
        "RandomFlip": [layers.RandomFlip()],
        "RandomCrop": [layers.RandomCrop(28, 28)],
    }


def networks() -> dict[str, Callable[[], object]]:
    """Return functions that train one epoch with each layer, and first one of the whole network."""
    from nnfast import layers

    whole = [
        *(layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D()),
        *(layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D()),
        *(layers.Flatten(), layers.Dropout(0.5)),
    ]
    found = {"whole": _epoch(28, whole)}
    for name, first in changes().items():
        size = 32 if name.startswith(("Resizing", "CenterCrop", "RandomCrop")) else 28
        found[name] = _epoch(size, [*first, layers.GlobalAveragePooling2D()])
    return found


def _epoch(size: int, stack: list[layers.Layer]) -> Callable[[], object]:
    """Return a function that trains a network on square images of this size."""
    import nnfast
    from nnfast import layers

    rng = np.random.default_rng(0)
    x, y = rng.random((ROWS, size, size, 1), np.float32), rng.integers(0, 10, ROWS)
    last = layers.Dense(10, activation="softmax")
    model = nnfast.Sequential([layers.Input((size, size, 1)), *stack, last])
    model.compile("adam", "sparse_categorical_crossentropy")
    return lambda: model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)


def fastest(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the seconds per step of each network in its fastest round."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            best[name] = min(best[name], (time.process_time() - start) * BATCH / ROWS)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help=f"fail above {ALLOWED:.0%} of a step")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    pin(1)
    times = fastest(networks(), options.rounds)
    step, without = times.pop("whole"), times.pop("nothing")
    costs = {name: (seconds - without) / step for name, seconds in times.items()}
    rows = [["layer", "µs per step", "share of the step"]]
    for name, cost in costs.items():
        rows.append([name, f"{cost * step * 1e6:.0f}", f"{cost:.1%}"])
    print(markdown(rows))
    print(f"\nA step without these layers takes {step * 1e3:.2f} ms.")
    missed = [name for name, cost in costs.items() if cost > ALLOWED]
    if missed:
        print(f"above {ALLOWED:.0%}: {', '.join(missed)}")
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())

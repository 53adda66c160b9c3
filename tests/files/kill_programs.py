"""Programs whose child processes are killed while they work; each program has its own test.

The programs have one thread and fork. Starting a child takes a millisecond, because it needs no
imports.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import nnfast
from nnfast import callbacks, layers

EPOCHS = 60
X = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
Y = X.sum(axis=1)


def killed(work: Callable[[], object], after: float) -> bool:
    """Run `work` in a child process; return whether it had to be killed after `after` seconds."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr)
            os._exit(1)
    end = time.monotonic() + after
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"the child ended by itself, with status {status}")
            return False
        time.sleep(0.0002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def versions() -> list[nnfast.Sequential]:
    """Return models with weights that are all 1, all 2 or all 3, and files of different sizes."""
    models = []
    for i in range(3):
        model = nnfast.Sequential([layers.Dense(100 * (i + 1), input_dim=300, name=f"d{i}")])
        model.set_weights([np.full_like(w, i + 1) for w in model.get_weights()])
        models.append(model)
    return models


def save_and_be_killed(folder: Path, kills: int) -> None:
    """Print how often the file was complete and how often a temporary file was left behind."""
    models = versions()
    path = folder / "model"
    models[0].save(path)

    def save() -> None:
        i = 0
        while True:
            models[i % len(models)].save(path)
            i += 1

    rng = np.random.default_rng()
    whole = interrupted = 0
    for _ in range(kills):
        killed(save, rng.uniform(0.0005, 0.02))
        (number,) = {
            float(w) for array in nnfast.load_model(path).get_weights() for w in array.flat
        }
        whole += number in (1.0, 2.0, 3.0)
        interrupted += len(os.listdir(folder)) > 1
    models[0].save(path)
    print(whole, interrupted, *os.listdir(folder))


def checkpoint_and_be_killed(folder: Path) -> None:
    """Train to the end despite kills; print how many there were and the trained model's digest."""
    rng = np.random.default_rng()
    kills = 0
    # The time limit grows with each kill, so training ends even on a slow machine.
    while killed(lambda: train(folder), rng.uniform(0.0, 0.03) + 0.002 * kills):
        kills += 1
    print(kills, digest(nnfast.load_model(last(folder))))


def train(folder: Path) -> None:
    """Train from the last checkpoint in the folder, or from the start."""
    if any(not path.name.startswith(".") for path in folder.iterdir()):  # ignores temporary files
        model = nnfast.load_model(last(folder))
        epoch = int(last(folder).name)
    else:
        nnfast.set_seed(1)
        model = nnfast.Sequential(
            [
                layers.Dense(16, activation="tanh", input_dim=8),
                layers.Dropout(0.2),
                layers.BatchNormalization(),
                layers.Dense(1),
            ]
        )
        model.compile("adam", "mse")
        epoch = 0
    checkpoint = callbacks.ModelCheckpoint(folder / "{epoch:03d}")
    model.fit(X, Y, epochs=EPOCHS, initial_epoch=epoch, verbose=0, callbacks=checkpoint)


def last(folder: Path) -> Path:
    """Return the path of the last checkpoint in a folder."""
    return max(path for path in folder.iterdir() if path.suffix != ".tmp")


def digest(model: nnfast.Sequential) -> str:
    """Return a hash of the weights, the optimizer slots and the number of steps."""
    assert model._network is not None
    arrays = [
        *model.get_weights(),
        model._network.engine.slots,
        np.array(model._network.engine.iterations),
    ]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    if sys.argv[1] == "save":
        save_and_be_killed(folder, kills=int(sys.argv[3]))
    else:
        checkpoint_and_be_killed(folder)

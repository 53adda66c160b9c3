"""Interrupted training that continues from BackupAndRestore's file, and the state in that file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import callbacks, layers
from nnfast.optimizers import schedules

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
Y = X @ np.array([1.0, -1.0, 2.0])
EPOCHS = 6


class Batches:
    """A dataset of five batches, which `fit` shuffles."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]


def model(seed: int = 0, optimizer: Any = "adam", loss: Any = "mse") -> Any:
    nnfast.set_seed(seed)
    stack = [layers.Dense(8, "relu", input_dim=3), layers.BatchNormalization()]
    net = nnfast.Sequential([*stack, layers.Dropout(0.3), layers.Dense(1)])
    net.compile(optimizer, loss)
    return net


def fit(net: Any, *used: Any, **keywords: Any) -> Any:
    data = {"x": X, "y": Y, "batch_size": 8}
    options = {"epochs": EPOCHS, "verbose": 0, "callbacks": list(used)}
    return net.fit(**(data | options | keywords))


def stop(epoch: int, error: type[BaseException] = RuntimeError) -> Any:
    """Return a callback that raises an error in the middle of an epoch."""
    now = [0]

    def batch_end(batch: int, logs: Any) -> None:
        if now[0] == epoch and batch == 2:
            raise error

    return callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: now.__setitem__(0, epoch), on_train_batch_end=batch_end
    )


def assert_same(a: Any, b: Any) -> None:
    """Compare the weights, the optimizer's state and the position in the random streams."""
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    fit(a, epochs=1)
    fit(b, epochs=1)
    np.testing.assert_array_equal(a.get_weights()[0], b.get_weights()[0])


def squares(y_true: Any, y_pred: Any) -> Any:
    error = y_pred - y_true
    return (error**2).mean(axis=1), 2 * error / error.shape[1]


CASES: dict[str, Any] = {
    "arrays": {},
    "a dataset": {"x": Batches(), "y": None, "batch_size": None},
    "a user-defined loss": {"loss": squares},
    "a schedule": {"optimizer": nnfast.optimizers.SGD(schedules.ExponentialDecay(0.1, 5, 0.9))},
    "an average of weights": {"optimizer": nnfast.optimizers.SGD(0.01, use_ema=True)},
}


@pytest.mark.parametrize("again", ["the same model", "a new model"])
@pytest.mark.parametrize("case", CASES)
def test_resumed_training_is_bit_identical(tmp_path: Path, case: str, again: str) -> None:
    keywords = dict(CASES[case])
    made = {key: keywords.pop(key) for key in ("optimizer", "loss") if key in keywords}
    whole = model(**made)
    expected = fit(whole, **keywords).history["loss"]
    net, backup = model(**made), callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(RuntimeError):
        fit(net, backup, stop(3), **keywords)
    if again == "a new model":
        net, backup = model(seed=7, **made), callbacks.BackupAndRestore(tmp_path / "backup")
    history = fit(net, backup, **keywords)
    assert history.epoch == [3, 4, 5]
    assert history.history["loss"] == expected[3:]
    assert_same(net, whole)
    assert not (tmp_path / "backup").exists()


def test_a_learning_rate_that_a_callback_has_set_is_restored(tmp_path: Path) -> None:
    def halve() -> Any:
        return callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: setattr(
                net.optimizer, "learning_rate", net.optimizer.learning_rate / 2
            )
        )

    net = whole = model()
    fit(whole, halve())
    net = model()
    backup = callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(RuntimeError):
        fit(net, halve(), backup, stop(2))
    net = model()
    fit(net, halve(), backup)
    assert net.optimizer.learning_rate == whole.optimizer.learning_rate == 0.001 / 2**EPOCHS
    assert_same(net, whole)


PROGRAM = """
import os, signal, sys
sys.path[:0] = {path!r}
from test_backup import *

kill = callbacks.LambdaCallback(
    on_epoch_begin=lambda epoch, logs: epoch == 4 and os.kill(os.getpid(), signal.SIGKILL)
)
fit(model(), callbacks.BackupAndRestore({folder!r}), kill)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_is_continued_by_another(tmp_path: Path) -> None:
    folder = str(tmp_path / "backup")
    program = PROGRAM.format(path=[str(Path(__file__).parent), *sys.path], folder=folder)
    done = subprocess.run([sys.executable, "-P", "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    whole, net = model(), model(seed=7)
    fit(whole)
    assert fit(net, callbacks.BackupAndRestore(folder)).epoch == [4, 5]
    assert_same(net, whole)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_any_interruption_keeps_the_backup(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fit(model(), callbacks.BackupAndRestore(tmp_path / "a"), stop(2, error))
    assert os.listdir(tmp_path / "a") == ["latest.safetensors"]
    assert fit(model(), callbacks.BackupAndRestore(tmp_path / "a")).epoch == [2, 3, 4, 5]


def test_save_freq_in_batches_repeats_the_interrupted_epoch(tmp_path: Path) -> None:
    net = model()
    with pytest.raises(RuntimeError):
        fit(net, callbacks.BackupAndRestore(tmp_path, save_freq=2), stop(3))
    saved = model()
    # 15 batches in three epochs and three in the fourth: the last backup is after the 18th batch.
    assert saved.load_state(tmp_path / "latest.safetensors") == 3
    assert saved.iterations == net.iterations == 18
    np.testing.assert_array_equal(saved.get_weights()[0], net.get_weights()[0])
    resumed = callbacks.BackupAndRestore(tmp_path, save_freq=2)
    assert callbacks.CallbackList(resumed).per_batch
    assert fit(model(), resumed).epoch == [3, 4, 5]
    assert not callbacks.CallbackList(callbacks.BackupAndRestore(tmp_path)).per_batch


def test_a_damaged_backup_is_an_error_unless_there_is_an_older_one(tmp_path: Path) -> None:
    for double in (False, True):
        folder = tmp_path / str(double)
        backup = callbacks.BackupAndRestore(folder, double_checkpoint=double)
        with pytest.raises(RuntimeError):
            fit(model(), backup, stop(3))
        latest = folder / "latest.safetensors"
        latest.write_bytes(latest.read_bytes()[:-20])
        if double:
            whole, net = model(), model()
            fit(whole)
            assert fit(net, backup).epoch == [2, 3, 4, 5]
            assert_same(net, whole)
            assert not folder.exists()
        else:
            with pytest.raises(ValueError, match=r"latest\.safetensors"):
                fit(model(), backup)


def test_delete_checkpoint_false_keeps_the_last_epoch(tmp_path: Path) -> None:
    backup = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    net = model()
    fit(net, backup)
    assert fit(net, backup).epoch == []
    assert fit(net, backup, epochs=EPOCHS + 1).epoch == [EPOCHS]


def test_other_files_in_the_folder_are_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    fit(model(), callbacks.BackupAndRestore(tmp_path))
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_backup_of_another_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fit(model(), callbacks.BackupAndRestore(tmp_path), stop(2))
    nnfast.set_seed(0)
    for other in (nnfast.Sequential([layers.Dense(1, input_dim=3)]), model(optimizer="sgd")):
        other.compile("sgd", "mse")
        before = other.get_weights()
        with pytest.raises(ValueError, match="does not hold the state of a model like this one"):
            fit(other, callbacks.BackupAndRestore(tmp_path))
        np.testing.assert_array_equal(before[0], other.get_weights()[0])
    net = model()
    net.save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="learning_rate"):
        net.load_state(tmp_path / "model.safetensors")
    net.save_state(tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match="not a model"):
        nnfast.models.load_model(tmp_path / "state.safetensors")


def test_progress_begins_with_the_restored_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError):
        fit(model(), callbacks.BackupAndRestore(tmp_path), stop(3))
    capsys.readouterr()
    fit(model(), callbacks.BackupAndRestore(tmp_path), verbose=2)
    lines = [line.split(" - ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Epoch 4/6", "Epoch 5/6", "Epoch 6/6"]


def test_a_listed_progbar_logger_does_not_double_the_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verbose, lines in ((0, 0), (2, EPOCHS)):
        fit(model(), callbacks.ProgbarLogger(), verbose=verbose)
        assert len(capsys.readouterr().out.splitlines()) == lines
    assert not callbacks.CallbackList(callbacks.ProgbarLogger()).per_epoch


def test_estimators_are_refused(tmp_path: Path) -> None:
    net = nnfast.MLPRegressor(callbacks=[callbacks.BackupAndRestore(tmp_path)])
    with pytest.raises(TypeError, match="not estimators"):
        net.fit(X, Y)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("",), "backup_dir must name a folder"),
        ((3,), "backup_dir must be a path"),
        (("a", "batch"), "save_freq must be"),
        (("a", False), "save_freq must be"),
        (("a", "epoch", "yes"), "double_checkpoint must be"),
    ],
)
def test_arguments_that_are_refused(arguments: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        callbacks.BackupAndRestore(*arguments)

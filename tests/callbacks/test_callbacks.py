"""Tests of the callbacks. tests/keras_tools_programs.py compares them with those of Keras."""

from __future__ import annotations

import copy
import csv
import math
import pickle
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import callbacks, layers, optimizers
from nnfast._runtime import predict
from nnfast.optimizers import schedules

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
Y = X @ np.array([1.0, -1.0, 2.0])


def model(rate: Any = 0.01, seed: int = 0, **keywords: Any) -> Any:
    nnfast.set_seed(seed)
    net = nnfast.Sequential([layers.Dense(4, "tanh", input_dim=3), layers.Dense(1)])
    net.compile(optimizers.SGD(rate), "mse", **keywords)
    return net


def fit(net: Any, *used: Any, **keywords: Any) -> Any:
    return net.fit(
        X, Y, **({"epochs": 4, "batch_size": 8, "verbose": 0, "callbacks": list(used)} | keywords)
    )


class Script(callbacks.Callback):
    """A callback that writes given values to the logs under the key "scripted"."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["scripted"] = self.values[epoch]


EPOCH_LEVEL: dict[str, Any] = {
    "EarlyStopping": lambda: callbacks.EarlyStopping("loss", restore_best_weights=True),
    "ModelCheckpoint": lambda: callbacks.ModelCheckpoint("m{epoch}.safetensors"),
    "ReduceLROnPlateau": lambda: callbacks.ReduceLROnPlateau("loss"),
    "LearningRateScheduler": lambda: callbacks.LearningRateScheduler(lambda epoch, rate: rate),
    "CSVLogger": lambda: callbacks.CSVLogger("log.csv"),
    "TerminateOnNaN": callbacks.TerminateOnNaN,
    "LambdaCallback": lambda: callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    "History": callbacks.History,
    "ProgbarLogger": callbacks.ProgbarLogger,
    "BackupAndRestore": lambda: callbacks.BackupAndRestore("backup"),
    "TensorBoard": lambda: callbacks.TensorBoard("logs"),
}


@pytest.mark.parametrize("name", EPOCH_LEVEL)
def test_epoch_level_callbacks_neither_split_training_into_batches_nor_change_the_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not callbacks.CallbackList(EPOCH_LEVEL[name]()).per_batch
    observed, plain = model(), model()
    fit(observed, EPOCH_LEVEL[name]())
    fit(plain)
    np.testing.assert_array_equal(observed.get_weights()[0], plain.get_weights()[0])


@pytest.mark.parametrize(
    "callback",
    [
        callbacks.ModelCheckpoint("m", save_freq=2),
        callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None),
        callbacks.LambdaCallback(on_batch_begin=lambda batch, logs: None),
    ],
)
def test_batch_level_callbacks_are_detected(callback: Any) -> None:
    assert callbacks.CallbackList([callback]).per_batch


# Evaluation and prediction


def do_nothing(*_: Any) -> None:
    """Return None, whatever the arguments of the hook."""


HOOKS = {
    "test": callbacks.LambdaCallback(on_test_batch_end=do_nothing),
    "predict": callbacks.LambdaCallback(on_predict_batch_begin=do_nothing),
}


def test_hooks_of_test_batches_and_of_predict_batches_are_told_apart() -> None:
    for kind, callback in HOOKS.items():
        found = callbacks.CallbackList(callback)
        assert not found.per_batch
        assert (found.per_test_batch, found.per_predict_batch) == (kind == "test", kind != "test")


@pytest.mark.parametrize("validation", [False, True])
def test_evaluation_runs_in_one_pass_unless_a_hook_observes_its_batches(validation: bool) -> None:
    """A function metric records the number of rows of each call, which reveals the batches."""
    rows: list[int] = []

    def counted(y_true: Any, y_pred: Any) -> float:
        rows.append(len(y_true))
        return 0.0

    net = model(metrics=[counted])
    begins = callbacks.LambdaCallback(on_test_begin=do_nothing, on_test_end=do_nothing)
    # After the batches, the metric is called on all rows to compute the final value.
    by_batch = [16, 16, 8, 40]
    for used, expected in ((begins, [40]), (HOOKS["predict"], [40]), (HOOKS["test"], by_batch)):
        rows.clear()
        if validation:
            fit(net, used, epochs=1, validation_data=(X, Y), validation_batch_size=16)
            expected = [40, *expected]  # The metric is called on the training data first.
        else:
            net.evaluate(X, Y, 16, verbose=0, callbacks=used)
        assert rows == expected


def test_hooks_do_not_change_the_metrics() -> None:
    def worst(y_true: Any, y_pred: Any) -> Any:
        return abs(y_true - y_pred).max()

    net = model(metrics=["mae", worst], weighted_metrics=["auc"])
    weight, labels = rng.uniform(0, 2, 40), Y > 0
    seen: list[Any] = []
    observer = callbacks.LambdaCallback(on_test_batch_end=lambda batch, logs: seen.append(logs))
    options = {"sample_weight": weight, "return_dict": True, "verbose": 0}
    plain = net.evaluate(X, labels, **options)
    observed = net.evaluate(X, labels, 7, callbacks=observer, **options)
    assert observed == pytest.approx(plain, rel=1e-6)
    assert len(seen) == 6
    assert {**seen[-1], "worst": 0} == pytest.approx({**plain, "worst": 0}, rel=1e-6)
    # In batch logs, the value of a function metric is its mean over the batches.
    assert seen[-1]["worst"] < plain["worst"]
    for steps in (2, None):
        values = [
            net.evaluate(X, labels, 7, steps=steps, callbacks=used, **options)
            for used in (None, observer)
        ]
        assert values[1] == pytest.approx(values[0], rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, bool, np.int64])
def test_prediction_runs_in_one_pass_unless_a_hook_observes_its_batches(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = nnfast.Sequential([nnfast.Input((2, 3)), layers.Flatten(), layers.Dense(2)])
    x = rng.integers(0, 2, (40, 2, 3)).astype(dtype)
    expected = net.predict(x)
    batch_sizes: list[int] = []
    forward = predict.forward

    def counted(net: Any, rows: Any, first_row: int) -> Any:
        batch_sizes.append(len(rows[0]))
        return forward(net, rows, first_row)

    monkeypatch.setattr(predict, "forward", counted)
    begins = callbacks.LambdaCallback(on_predict_begin=do_nothing, on_predict_end=do_nothing)
    for used in (begins, [HOOKS["test"]], HOOKS["predict"]):
        np.testing.assert_array_equal(net.predict(x, 16, callbacks=used), expected)
    assert batch_sizes == [40, 40, 16, 16, 8]
    for used in (begins, HOOKS["predict"]):
        assert net.predict(x[:0], callbacks=used).shape == (0, 2)
        assert net.predict(x.tolist(), callbacks=used).shape == (40, 2)


def test_arguments_are_checked_before_callbacks_are_called() -> None:
    begun: list[Any] = []
    record = callbacks.LambdaCallback(on_predict_begin=begun.append)
    for x, words in ((X[:, :2], r"\(40, 2\)"), (np.float64(3.0), r"\(\)")):
        with pytest.raises(ValueError, match=words):
            model().predict(x, callbacks=record)
    with pytest.raises(TypeError, match=r"callbacks must be .*'say'"):
        model().predict(X, callbacks=["say"])
    with pytest.raises(TypeError, match=r"callbacks must be .*'say'"):
        model().evaluate(X, Y, callbacks=["say"])
    assert not begun


class Batches:
    """A dataset of five batches."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]


def test_a_stopped_validation_starts_again_at_the_first_batch() -> None:
    """With `validation_steps`, the next validation continues where the previous one ended."""

    class Stop(callbacks.Callback):
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_evaluating = batch == 1

    parts = [model(0.0).evaluate(X[i : i + 16], Y[i : i + 16], verbose=0) for i in (0, 16)]
    net = model(0.0)
    history = fit(net, Stop(), epochs=2, validation_data=Batches()).history
    assert history["val_loss"] == pytest.approx([parts[0]] * 2, rel=1e-6)
    history = fit(net, Stop(), epochs=2, validation_data=Batches(), validation_steps=4).history
    assert history["val_loss"] == pytest.approx(parts, rel=1e-6)
    assert net.evaluate(X, Y, verbose=0) == pytest.approx(net.evaluate(Batches(), verbose=0))


def test_batch_logs_hold_the_metrics_over_the_rows_so_far() -> None:
    seen: list[tuple[float, float, float]] = []
    net = model(0.0, metrics=["mse", "r2_score"], weighted_metrics=["mae"])
    record = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(tuple(logs.values()))
    )
    weight = rng.uniform(0, 2, 40)
    for shuffle in (False, True):
        seen.clear()
        history = fit(net, record, epochs=1, shuffle=shuffle, sample_weight=weight).history
        assert len(seen) == 5
        # The last batch's logs equal the epoch's logs, although the order of summation differs.
        for last, values in zip(seen[-1], history.values(), strict=True):
            assert last == pytest.approx(values[0], rel=1e-6)
        if not shuffle:
            error = (net.predict(X[:16], verbose=0)[:, 0] - Y[:16]) ** 2
            assert seen[1][1] == pytest.approx(error.mean(), rel=1e-5)


def test_early_stopping_restores_the_best_weights() -> None:
    snapshots: list[Any] = []
    net = model(0.1)
    snapshot = callbacks.LambdaCallback(
        on_epoch_end=lambda e, logs: snapshots.append(net.get_weights())
    )
    stop = callbacks.EarlyStopping("scripted", mode="min", patience=2, restore_best_weights=True)
    fit(net, Script(3, 1, 2, 2, 0), snapshot, stop, epochs=5)
    assert len(snapshots) == 4
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (1, 1, 3)
    for w, best, last in zip(net.get_weights(), snapshots[1], snapshots[-1], strict=True):
        np.testing.assert_array_equal(w, best)
        assert (w != last).any()


class StubModel:
    """A stand-in for a model, used to call callbacks directly with logs."""

    def __init__(self) -> None:
        self.stop_training = False
        self.optimizer = optimizers.SGD(1.0)
        self.epoch = -1
        self.restored: int | None = None
        self.saved: list[int] = []

    def get_weights(self) -> Any:
        return self.epoch

    def set_weights(self, weights: Any) -> None:
        self.restored = weights

    def save(self, path: str) -> None:
        self.saved.append(self.epoch)


def run_epochs(callback: Any, *values: float) -> tuple[StubModel, list[float]]:
    """Call a callback with one value per epoch.

    Return the callback's model and the learning rate after each epoch.
    """
    net, rates = StubModel(), []
    callback.set_model(net)
    callback.on_train_begin()
    for value in values:
        net.epoch += 1
        callback.on_epoch_begin(net.epoch, {})
        callback.on_epoch_end(net.epoch, {"scripted": value})
        rates.append(net.optimizer.learning_rate)
        if net.stop_training:
            break
    callback.on_train_end()
    return net, rates


def better(value: float, reference: float, mode: str) -> bool:
    """Return whether a value is better than a reference; NaN is worse than any number."""
    if math.isnan(value) or math.isnan(reference):
        return not math.isnan(value)
    return value < reference if mode == "min" else value > reference


def test_nan_is_never_the_best() -> None:
    nan = math.nan
    for mode, values in (("min", (nan, 3.0, 2.0, nan, 4.0)), ("max", (nan, 3.0, 4.0, nan, 2.0))):
        stop = callbacks.EarlyStopping(
            "scripted", mode=mode, patience=2, restore_best_weights=True, baseline=None
        )
        net, _ = run_epochs(stop, *values)
        assert (net.epoch, net.restored, stop.best, stop.best_epoch) == (4, 2, values[2], 2)
        save = callbacks.ModelCheckpoint("m", "scripted", mode=mode, save_best_only=True)
        assert run_epochs(save, *values)[0].saved == [1, 2]
        reduce = callbacks.ReduceLROnPlateau("scripted", mode=mode, patience=2, factor=0.5)
        assert run_epochs(reduce, *values)[1] == [1.0, 1.0, 1.0, 1.0, 0.5]
    save = callbacks.ModelCheckpoint(
        "m", "scripted", mode="min", save_best_only=True, initial_value_threshold=nan
    )
    assert run_epochs(save, nan, math.inf, 5.0, -math.inf)[0].saved == [1, 2, 3]


def test_epochs_with_nan_count_towards_patience() -> None:
    stop = callbacks.EarlyStopping("scripted", mode="min", patience=3, restore_best_weights=True)
    net, _ = run_epochs(stop, *[math.nan] * 9)
    assert (net.epoch, stop.best, net.restored) == (2, None, 0)
    stop = callbacks.EarlyStopping("scripted", mode="min")
    assert run_epochs(stop, math.nan, 1.0, 2.0)[0].epoch == 2


@pytest.mark.parametrize(
    ("patience", "values", "last", "restored"),
    [
        # Keras' documentation: "If no epoch improves on baseline, training will run for patience
        # epochs and restore weights from the best epoch in that set."
        (3, [9.0, 8.0, 7.0, 6.0, 5.5], 2, 2),
        (3, [7.0, 8.0, 9.0, 6.0, 5.5], 2, 0),
        (3, [9.0, 4.0, 8.0, 7.0, 3.0, 6.0, 6.0, 6.0], 7, 4),
        (2, [4.0, 4.5, 4.5, 1.0], 2, 0),
        (2, [6.0, 5.5, 1.0], 1, 1),
        # The first epoch never ends training.
        (1, [6.0, 4.0, 6.0], 2, 1),
        (0, [6.0, 5.5, 1.0], 1, 1),
    ],
)
def test_only_values_better_than_the_baseline_reset_the_patience(
    patience: int, values: list[float], last: int, restored: int
) -> None:
    stop = callbacks.EarlyStopping(
        "scripted", mode="min", patience=patience, baseline=5.0, restore_best_weights=True
    )
    net, _ = run_epochs(stop, *values)
    assert (net.epoch, stop.stopped_epoch, net.restored) == (last, last, restored)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_early_stopping_ends_at_the_documented_epoch(mode: str) -> None:
    """Scores are random, and some are NaN. A score is an improvement if it is the best so far and
    better than the baseline; training stops after `patience` epochs without improvement."""
    sign = 1 if mode == "min" else -1
    draw = np.random.default_rng(3)
    stops = 0
    for _ in range(500):
        values = draw.choice([1.0, 2.0, 3.0, 4.0, 5.0, math.nan], 12).tolist()
        patience, start = int(draw.integers(0, 9)), int(draw.integers(0, 3))
        baseline = draw.choice([None, 2.5])
        delta = float(draw.choice([0.0, 1.5]))
        stop = callbacks.EarlyStopping(
            "scripted",
            mode=mode,
            patience=patience,
            baseline=baseline,
            min_delta=delta,
            start_from_epoch=start,
            restore_best_weights=True,
        )
        net, _ = run_epochs(stop, *values)
        best, best_epoch, counted, end = math.nan, start, start - 1, 11
        for epoch in range(start, 12):
            value = values[epoch]
            if better(value + sign * delta, best, mode):
                best, best_epoch = value, epoch
                if baseline is None or better(value + sign * delta, baseline, mode):
                    counted = epoch
                    continue
            if epoch - counted >= patience and epoch > 0:
                end = epoch
                break
        assert (net.epoch, net.restored) == (end, best_epoch), (values, vars(stop))
        stops += net.stop_training
    assert 100 < stops < 500


@pytest.mark.parametrize(
    ("patience", "cooldown", "expected"),
    [
        # These are the learning rates of torch.optim.lr_scheduler.ReduceLROnPlateau. It counts
        # patience from 0 and has the same definition of cooldown:
        # "number of epochs to wait before resuming normal operation".
        (1, 0, [1, 0.5, 0.25, 0.125, 2**-4, 2**-5, 2**-6, 2**-7]),
        (1, 1, [1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 2**-4]),
        (1, 2, [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]),
        (2, 0, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        (2, 1, [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
        (2, 3, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]),
    ],
)
def test_cooldown_epochs_do_not_count_towards_patience(
    patience: int, cooldown: int, expected: list[float]
) -> None:
    reduce = callbacks.ReduceLROnPlateau(
        "scripted", factor=0.5, patience=patience, cooldown=cooldown, mode="min"
    )
    assert run_epochs(reduce, *[1.0] * 8)[1] == expected
    if cooldown:  # An improvement during the cooldown still updates `best`.
        run_epochs(reduce, *[1.0] * (1 + patience), 0.5, 0.6, 0.6)
        assert reduce.best == 0.5


@pytest.mark.parametrize(
    ("metric", "down"), [("mae", True), ("r2_score", False), ("accuracy", False)]
)
def test_auto_mode_takes_the_direction_from_the_metric(metric: str, down: bool) -> None:
    net = model(metrics=[metric])
    stop = callbacks.EarlyStopping(f"val_{metric}")
    fit(net, stop, validation_split=0.5, epochs=1)
    assert stop._less() == down


def test_auto_mode_refuses_metrics_without_a_known_direction() -> None:
    net = model(metrics=[lambda y_true, y_pred: 1.0])
    before = net.get_weights()[0]
    for monitor in ("val_<lambda>", "scripted"):
        with pytest.raises(ValueError, match="mode"):
            fit(net, callbacks.EarlyStopping(monitor))
    np.testing.assert_array_equal(net.get_weights()[0], before)
    fit(net, callbacks.EarlyStopping("<lambda>", mode="max"))


@pytest.mark.parametrize(
    "callback",
    [
        callbacks.EarlyStopping(),
        callbacks.ReduceLROnPlateau(),
        callbacks.ModelCheckpoint("m", save_best_only=True),
    ],
)
def test_monitoring_a_key_that_is_not_logged_warns(
    callback: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=r"'val_loss'.*loss"):
        fit(model(), callback, epochs=1)


def test_checkpoints_hold_the_model_of_their_epoch(tmp_path: Path) -> None:
    net = model(metrics=["mae"])
    path = str(tmp_path / "deep" / "{epoch:02d}-{mae:.2f}.safetensors")
    weights = str(tmp_path / "w{epoch}")
    snapshots: list[Any] = []
    history = fit(
        net,
        callbacks.ModelCheckpoint(path),
        callbacks.ModelCheckpoint(weights, save_weights_only=True),
        callbacks.LambdaCallback(on_epoch_end=lambda e, logs: snapshots.append(net.get_weights())),
        epochs=2,
    ).history
    for epoch in (0, 1):
        whole = nnfast.load_model(path.format(epoch=epoch + 1, mae=history["mae"][epoch]))
        other = model(seed=5)
        other.load_weights(weights.format(epoch=epoch + 1))
        for a, b, c in zip(whole.get_weights(), other.get_weights(), snapshots[epoch], strict=True):
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, c)
    with pytest.raises(KeyError, match="there are"):
        fit(net, callbacks.ModelCheckpoint(str(tmp_path / "{val_mae}")))


def test_save_freq_counts_batches_across_epochs(tmp_path: Path) -> None:
    fit(model(), callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_freq=4), epochs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-4", "2-3"]


def test_verbose_callbacks_print_what_they_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(
        model(),
        Script(3, 1, 2, 2),
        callbacks.EarlyStopping(
            "scripted", patience=2, mode="min", verbose=1, restore_best_weights=True
        ),
        callbacks.ModelCheckpoint(
            tmp_path / "m", "scripted", mode="min", save_best_only=True, verbose=1
        ),
        callbacks.ReduceLROnPlateau("scripted", mode="min", patience=1, verbose=1),
    )
    lines = capsys.readouterr().out.splitlines()
    assert "Epoch 4: early stopping" in lines
    assert "Restoring the weights of the best epoch: 2" in lines
    assert "Epoch 2: scripted improved from 3 to 1" in lines
    assert "Epoch 3: scripted did not improve from 1" in lines
    assert f"Epoch 2: saving to {tmp_path / 'm'}" in lines
    assert "Epoch 3: ReduceLROnPlateau sets the learning rate to 0.001" in lines
    fit(model(), callbacks.LearningRateScheduler(lambda epoch: 0.5, verbose=1), epochs=1)
    assert "LearningRateScheduler sets the learning rate to 0.5" in capsys.readouterr().out


def test_training_uses_the_reduced_learning_rate() -> None:
    net = model(0.05)
    reduce = callbacks.ReduceLROnPlateau("scripted", factor=0.0, patience=1, mode="min")
    losses = fit(net, Script(1, 2, 2, 2), reduce, shuffle=False).history["loss"]
    assert net.optimizer.learning_rate == 0.0
    assert losses[1] != losses[2] == losses[3]


@pytest.mark.parametrize(
    "callback",
    [callbacks.ReduceLROnPlateau("loss"), callbacks.LearningRateScheduler(lambda epoch: 0.1)],
)
def test_callbacks_refuse_to_overwrite_a_schedule(callback: Any) -> None:
    net = model(schedules.CosineDecay(0.1, 10))
    with pytest.raises(TypeError, match=r"CosineDecay.*a number"):
        fit(net, callback)


def test_terminate_on_nan_prints_a_line_instead_of_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A warning would fail the test, because pytest turns warnings into errors."""
    y = Y.copy()
    y[20] = np.nan
    net = model()
    history = net.fit(
        X, y, 8, epochs=4, shuffle=False, verbose=0, callbacks=[callbacks.TerminateOnNaN()]
    )
    assert history.epoch == []
    assert capsys.readouterr().out == "Batch 2: Invalid loss, terminating training\n"
    with pytest.raises(RuntimeError, match="batch 2"):
        net.fit(X, y, 8, shuffle=False, verbose=0, callbacks=callbacks.TerminateOnNaN(True))
    assert all(np.isfinite(w).all() for w in net.get_weights())
    with pytest.warns(RuntimeWarning, match="batch 3"):
        net.fit(X, y, 8, shuffle=False, verbose=0)


def test_a_user_supplied_history_is_filled() -> None:
    history = callbacks.History()
    net = model()
    assert fit(net, history) is history is net.history
    assert len(history.history["loss"]) == 4
    fit(net, history, epochs=6, initial_epoch=4)
    assert history.epoch == [0, 1, 2, 3, 4, 5]
    assert len(history.history["loss"]) == 6


def test_the_html_of_a_history_is_a_table_of_epochs() -> None:
    history = fit(model(metrics=["mae"]), epochs=3)
    text = history._repr_html_()
    assert text.count("<tr>") == 4
    assert "<th>mae</th>" in text
    assert f"{history.history['mae'][2]:.4g}" in text
    assert fit(model(), epochs=50)._repr_html_().count("<tr>") == 12


# Epochs recorded for each key of the history


def by_epoch(history: callbacks.History, key: str) -> dict[int, float]:
    return dict(zip(history.epochs[key], history.history[key], strict=True))


def cells(text: str) -> list[list[str]]:
    """Return the cells of an HTML table, row by row, without the header."""
    rows = re.findall(r"<tr>(.*?)</tr>", text)[1:]
    return [re.findall(r"<td>(.*?)</td>", row) for row in rows]


def test_history_records_the_epochs_of_each_key() -> None:
    scores = {}

    class Score(callbacks.Callback):
        def on_test_end(self, logs: Any = None) -> None:
            scores[len(scores)] = logs["loss"]

    history = fit(model(), Score(), epochs=7, validation_split=0.5, validation_freq=[2, 3, 7])
    assert history.epochs == {"loss": [*range(7)], "val_loss": [1, 2, 6]}
    assert by_epoch(history, "val_loss") == {1: scores[0], 2: scores[1], 6: scores[2]}
    shown = [f"{value:.4g}" for value in scores.values()]
    rows = cells(history._repr_html_())
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "6", "7"]
    assert [row[2] for row in rows] == ["", shown[0], shown[1], "", "", "", shown[2]]
    assert [row[1] for row in rows] == [f"{value:.4g}" for value in history.history["loss"]]


def test_history_has_no_validation_loss_after_the_validation_batches_run_out() -> None:
    batches = ((X[i : i + 8], Y[i : i + 8]) for i in range(0, 24, 8))
    with pytest.warns(UserWarning, match="ran out of data"):
        history = fit(model(), epochs=5, validation_data=batches, validation_steps=1)
    assert history.epochs == {"loss": [0, 1, 2, 3, 4], "val_loss": [0, 1, 2]}
    rows = cells(history._repr_html_())
    assert [row[2] != "" for row in rows] == [True, True, True, False, False]


def test_a_history_used_for_several_fits_holds_the_epochs_of_each() -> None:
    """The second fit starts at epoch 0 again and logs different keys."""
    history, net = callbacks.History(), model()
    fit(net, history, epochs=3)
    fit(net, history, epochs=2, validation_split=0.5)
    fit(net, history, epochs=4, initial_epoch=2)
    assert history.epoch == [0, 1, 2, 0, 1, 2, 3]
    assert history.epochs == {"loss": history.epoch, "val_loss": [0, 1]}
    rows = cells(history._repr_html_())
    assert [row[0] for row in rows] == ["1", "2", "3", "1", "2", "3", "4"]
    shown = [f"{value:.4g}" for value in history.history["val_loss"]]
    assert [row[2] for row in rows] == ["", "", "", *shown, "", ""]


def test_the_html_of_a_long_history_shows_the_first_and_the_last_epochs() -> None:
    history, net = callbacks.History(), model()
    for _ in range(3):
        fit(net, history, epochs=20)
    history.on_epoch_end(20, {"note": 1.0})
    rows = cells(history._repr_html_())
    assert [row[0] for row in rows if row] == [*"12345", "17", "18", "19", "20", "21"]
    assert [row[2] for row in rows if row] == [*[""] * 9, "1"]


def test_a_history_filled_from_outside_assigns_values_to_the_last_epochs() -> None:
    history = callbacks.History()
    history.epoch = [3, 4, 5]
    history.history = {"loss": [3.0, 2.0, 1.0], "late": [0.5]}
    assert history.epochs == {"loss": [3, 4, 5], "late": [5]}


# Logs with values that are not numbers

ODD_LOGS = {
    "note": "<good>",
    "nothing": None,
    "zero_d": np.array(0.25),
    "list": [0.5, None],
    "flag": True,
    "mapping": {"a": 1},
    "bytes": b"x",
    "complex": 1j,
}


class OddLogs(callbacks.Callback):
    """A callback that adds non-numeric values to the logs of epochs and evaluations."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs |= ODD_LOGS

    def on_test_end(self, logs: Any = None) -> None:
        logs |= ODD_LOGS


def test_logs_may_hold_objects_of_any_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = model()
    log = callbacks.CSVLogger(tmp_path / "log.csv")
    history = fit(net, OddLogs(), log, epochs=2, verbose=2, validation_split=0.5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "note: <good> - nothing: None - zero_d: 0.2500 - list: [0.5000, None]" in lines[1]
    assert history.history["note"] == ["<good>"] * 2
    assert "&lt;good&gt;" in history._repr_html_()
    assert "<good>" not in history._repr_html_()
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["note"] for row in rows] == ["<good>"] * 2
    assert [row["nothing"] for row in rows] == ["NA"] * 2
    assert [row["list"] for row in rows] == ["[0.5, None]"] * 2
    net.evaluate(X, Y, callbacks=OddLogs())
    assert "note: <good> - nothing: None" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["<good>", {"a": 1}, [0.5, 1.0], 1j], ids=str)
def test_the_monitored_value_must_be_a_number(value: Any) -> None:
    for callback in (
        callbacks.EarlyStopping("scripted", mode="min"),
        callbacks.ReduceLROnPlateau("scripted", mode="min"),
        callbacks.ModelCheckpoint("m", "scripted", mode="min", save_best_only=True),
    ):
        with pytest.raises(ValueError, match="monitors 'scripted', which must be one number"):
            fit(model(), Script(value), callback, epochs=1)


def test_the_monitored_value_may_be_a_zero_dimensional_array() -> None:
    stop = callbacks.EarlyStopping("scripted", mode="min", patience=1)
    history = fit(model(), Script(*np.array([[2.0], [1.0], [3.0], [0.0]])[:, 0]), stop)
    assert len(history.epoch) == 3
    history = fit(model(), Script(*map(np.array, (2.0, 1.0, 3.0, 0.0))), stop)
    assert (len(history.epoch), stop.best) == (3, 1.0)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("m{}", "{} names nothing"),
        ("m{0}", "{0} names nothing"),
        ("m{epoch", "expected '}'"),
        ("m}", "Single '}'"),
        ("m{epoch.x}", "no attribute 'x'"),
        ("m{epoch[0]}", "not subscriptable"),
        ("m{epoch:q}", "Unknown format code 'q'"),
        ("m{epoch!q}", "conversion specifier"),
        ("m{loss:d}", "Unknown format code 'd'"),
        ("m{val_loss.x}", "no attribute 'x'"),
        ("m{auc:{}}", "{} names nothing"),
        ("m{batch}", "{batch} names nothing"),
    ],
)
def test_invalid_templates_of_file_names_are_refused(path: str, words: str) -> None:
    with pytest.raises(ValueError, match="filepath cannot be filled in") as caught:
        callbacks.ModelCheckpoint(path)
    assert words in str(caught.value)
    assert f"{{epoch}} and what is logged, such as {{loss:.2f}}; received {path!r}" in str(
        caught.value
    )
    assert caught.value.__suppress_context__


def test_file_names_may_use_the_epoch_and_every_logged_value(tmp_path: Path) -> None:
    net = model(metrics=["mae", nnfast.metrics.MeanSquaredError("my mse")])
    path = str(tmp_path / "{{x}}{epoch:0{epoch}d}-{mae!s:.3}-{my mse:.0f}")
    logs = fit(net, callbacks.ModelCheckpoint(path), epochs=1).history
    (found,) = tmp_path.iterdir()
    assert found.name == f"{{x}}1-{str(logs['mae'][0])[:3]}-{logs['my mse'][0]:.0f}"
    callbacks.ModelCheckpoint("m{batch}", save_freq=2)
    for name, words in (("m{note:.2f}", "Unknown format code"), ("m{note[a]}", "indices")):
        with pytest.raises(ValueError, match=rf"m\{{note.*{words}.*note='good'"):
            fit(net, Script("good"), CopyToNote(), callbacks.ModelCheckpoint(tmp_path / name))


class CopyToNote(callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["note"] = logs["scripted"]


# Copies and pickles


def zero_rate(epoch: int) -> float:
    return 0.0


COPYABLE: dict[str, Any] = EPOCH_LEVEL | {
    "ModelCheckpoint of batches": lambda: callbacks.ModelCheckpoint("b{batch}", save_freq=2),
    "ModelCheckpoint of the best": lambda: callbacks.ModelCheckpoint(
        "best", "loss", save_best_only=True
    ),
    "LearningRateScheduler": lambda: callbacks.LearningRateScheduler(zero_rate),
    "LambdaCallback": lambda: callbacks.LambdaCallback(on_epoch_end=do_nothing),
    "Callback": callbacks.Callback,
}


@pytest.mark.parametrize("kind", ["pickle", "deepcopy", "copy"])
@pytest.mark.parametrize("name", COPYABLE)
def test_copies_do_not_hold_the_model(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies taken before, during and after a fit work as callbacks of another model."""
    monkeypatch.chdir(tmp_path)
    make_copy = {
        "pickle": lambda one: pickle.loads(pickle.dumps(one)),
        "deepcopy": copy.deepcopy,
        "copy": copy.copy,
    }[kind]
    copies: list[Any] = []
    one, net = COPYABLE[name](), model()
    take = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: copies.append(make_copy(one)))
    copies.append(make_copy(one))
    fit(net, one, take, epochs=2)
    copies.append(make_copy(one))
    for two in copies:
        assert type(two) is type(one)
        assert not hasattr(two, "model")
        assert callbacks.CallbackList(two).per_batch == callbacks.CallbackList(one).per_batch
        fresh = model()
        fit(fresh, two, epochs=2)
        if name != "History":
            assert two.model is fresh
    assert vars(make_copy(one)).keys() == vars(one).keys() - {"model"}
    assert one.model is net


def test_a_copied_batch_level_checkpoint_saves_its_own_model(tmp_path: Path) -> None:
    one = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_freq=4)
    for two in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        net = model(seed=9)
        fit(net, two, epochs=1, batch_size=10)
        saved = nnfast.load_model(tmp_path / "1-4")
        np.testing.assert_array_equal(saved.get_weights()[0], net.get_weights()[0])
        assert one._batches == 0
        (tmp_path / "1-4").unlink()


def test_a_copied_history_has_lists_of_its_own(tmp_path: Path) -> None:
    history = fit(model(metrics=["mae"]), epochs=4, validation_split=0.5, validation_freq=2)
    for two in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert (two.epoch, two.history, two.epochs) == (
            history.epoch,
            history.history,
            history.epochs,
        )
        assert two._repr_html_() == history._repr_html_()
        two.history["loss"].clear()
        assert len(history.history["loss"]) == 4
    assert len(pickle.dumps(history)) < 2000


def test_csv_logger_appends_with_the_columns_of_the_file(tmp_path: Path) -> None:
    path, net = tmp_path / "log.csv", model()
    scheduler = callbacks.LearningRateScheduler(lambda epoch: 0.01)
    first = fit(net, scheduler, callbacks.CSVLogger(path), epochs=1).history
    second = fit(
        net, scheduler, callbacks.CSVLogger(path, append=True), epochs=2, validation_split=0.5,
        validation_freq=2,
    ).history  # fmt: skip
    head, *rows = (line.split(",") for line in path.read_text().splitlines())
    assert head == ["epoch", "learning_rate", "loss", "val_learning_rate", "val_loss"]
    assert [dict(zip(head, row, strict=True)) for row in rows] == [
        {
            "epoch": str(epoch),
            "learning_rate": "0.01",
            "loss": str(loss),
            "val_learning_rate": "NA",
            "val_loss": str(score),
        }
        for epoch, loss, score in (
            (0, first["loss"][0], "NA"),
            (0, second["loss"][0], "NA"),
            (1, second["loss"][1], second["val_loss"][0]),
        )
    ]


def test_the_html_of_a_model_shows_its_escaped_name_and_layers() -> None:
    net = model()
    net.name = "<b>"
    text = net._repr_html_()
    assert "&lt;b&gt;" in text
    assert "Total params: 21" in text
    assert all(layer.name in text for layer in net.layers)
    assert "?" in nnfast.Sequential([layers.Dense(2)])._repr_html_()


def test_numpy_reads_the_file_of_csv_logger(tmp_path: Path) -> None:
    history = fit(model(metrics=["mae"]), callbacks.CSVLogger(tmp_path / "log.csv"))
    table = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert table["loss"].tolist() == history.history["loss"]
    assert table["mae"].tolist() == history.history["mae"]


def test_csv_logger_requires_on_train_begin_before_on_epoch_end(tmp_path: Path) -> None:
    log = callbacks.CSVLogger(tmp_path / "log.csv")
    with pytest.raises(RuntimeError, match="on_train_begin must be called before on_epoch_end"):
        log.on_epoch_end(0, {"loss": 1.0})


def test_epoch_level_callbacks_do_not_slow_training() -> None:
    """Epoch-level callbacks cost about 20 µs per epoch and nothing per batch; a Python loop over
    these batches would take seconds."""
    x, y = np.ones((40_000, 1), np.float32), np.ones((40_000, 1), np.float32)
    nnfast.set_seed(0)
    net = nnfast.Sequential([layers.Dense(1, input_dim=1)])
    net.compile("sgd", "mse")
    stop = callbacks.EarlyStopping("loss", patience=99)
    times = []
    for used in ([], [stop]):
        start = time.perf_counter()
        net.fit(x, y, batch_size=1, epochs=3, verbose=0, callbacks=used)
        times.append(time.perf_counter() - start)
    assert times[1] < 2 * times[0] + 0.2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: callbacks.EarlyStopping(patience=-1), ["patience", ">= 0", "-1"]),
        (lambda: callbacks.EarlyStopping(patience=1.5), ["patience", "integer", "1.5"]),
        (lambda: callbacks.EarlyStopping(patience=math.nan), ["patience", "integer", "nan"]),
        (lambda: callbacks.CSVLogger("log.csv", separator=""), ["separator", "''"]),
        (lambda: callbacks.ReduceLROnPlateau(factor=1.0), ["factor", "< 1", "1.0"]),
        (lambda: callbacks.ModelCheckpoint("m", save_freq="batch"), ["save_freq", "'batch'"]),
        (lambda: callbacks.LearningRateScheduler(0.1), ["schedule", "0.1"]),
        (lambda: callbacks.LambdaCallback(on_epoch=print), ["'on_epoch'"]),
        (
            lambda: fit(model(), callbacks.LearningRateScheduler(lambda epoch: "low")),
            ["learning rate", "'low'"],
        ),
    ],
)
def test_error_messages_name_the_argument_and_its_value(make: Any, words: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


def test_numbers_of_epochs_may_be_whole_floats_or_infinity() -> None:
    def epochs(patience: Any, **keywords: Any) -> int:
        stop = callbacks.EarlyStopping("loss", min_delta=99, patience=patience, **keywords)
        return len(fit(model(), stop, epochs=9).epoch)

    assert [epochs(patience) for patience in (2, 2.0, np.float32(2), math.inf)] == [3, 3, 3, 9]
    assert epochs(2, start_from_epoch=1.0, verbose=True) == 4
    reduce = callbacks.ReduceLROnPlateau("loss", min_delta=99, patience=2.0, cooldown=3.0, factor=0)
    assert fit(model(), reduce).history["learning_rate"] == [0.01, 0.01, 0.01, 0.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda mode: callbacks.EarlyStopping("mae", mode=mode),
        lambda mode: callbacks.ReduceLROnPlateau("mae", mode=mode),
        lambda mode: callbacks.ModelCheckpoint("m", "mae", save_best_only=True, mode=mode),
    ],
)
def test_an_unknown_mode_is_taken_as_auto(make: Any) -> None:
    with pytest.warns(UserWarning, match="'best' is taken as \"auto\""):
        assert make("best").mode == "auto"


def test_epsilon_is_an_older_name_of_min_delta() -> None:
    with pytest.warns(DeprecationWarning, match="use min_delta"):
        assert callbacks.ReduceLROnPlateau(epsilon=0.5).min_delta == 0.5


@pytest.mark.parametrize("name", ["m-{epoch:02d}-{loss:.2f}.keras", "m-{epoch:02d}.h5"])
def test_checkpoints_may_have_the_names_of_keras(tmp_path: Path, name: str) -> None:
    net = model()
    fit(net, callbacks.ModelCheckpoint(tmp_path / name), epochs=1)
    (path,) = tmp_path.iterdir()
    copy = nnfast.models.load_model(path)
    np.testing.assert_array_equal(copy.get_weights()[0], net.get_weights()[0])


# Weight files


def test_load_weights_reads_files_of_weights_and_of_models(tmp_path: Path) -> None:
    net = model()
    fit(net)
    net.save_weights(tmp_path / "w")
    net.save(tmp_path / "m")
    for name in ("w", "m"):
        other = model(seed=3)
        other.load_weights(tmp_path / name)
        for a, b in zip(net.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert np.isfinite(fit(other).history["loss"]).all()


def test_files_that_do_not_fit_the_model_leave_its_weights_unchanged(tmp_path: Path) -> None:
    net = model()
    net.save_weights(tmp_path / "w")
    deeper = nnfast.Sequential([layers.Dense(4, input_dim=3), layers.Dense(1), layers.Dense(1)])
    wider = nnfast.Sequential([layers.Dense(5, input_dim=3), layers.Dense(1)])
    for other, words in ((deeper, "layer 2"), (wider, r"\(3, 5\).*\(3, 4\)")):
        before = other.get_weights()
        with pytest.raises(ValueError, match=words):
            other.load_weights(tmp_path / "w")
        for a, b in zip(other.get_weights(), before, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(FileNotFoundError):
        net.load_weights(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="bad"):
        net.load_weights(tmp_path / "bad")
    with pytest.raises(ValueError, match="no weights yet"):
        nnfast.Sequential([layers.Dense(1)]).save_weights(tmp_path / "x")
    with pytest.raises(ValueError, match=r"holds weights alone; .* load_weights"):
        nnfast.load_model(tmp_path / "w")

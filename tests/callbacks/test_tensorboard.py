"""Tests of TensorBoard's event files, which are read with the protocol buffers of tensorboardX."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import callbacks, layers, optimizers
from nnfast.keras.callbacks import TensorBoard as ByKerasName
from nnfast.optimizers import schedules

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
Y = X @ np.array([1.0, -1.0, 2.0])

Written = dict[str, list[tuple[int, Any]]]


def events(folder: Path) -> list[Any]:
    """Return all events in a folder, file by file; a record is length, CRC, data, CRC."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: int(path.suffix[1:])):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            found.append(event_pb2.Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def written(folder: Path) -> tuple[Written, dict[str, str]]:
    """Return the (step, value) pairs of each tag, and each tag's plugin."""
    values: Written = defaultdict(list)
    plugins = {}
    for event in events(folder):
        for summary in event.summary.value:
            tensor = summary.tensor
            shape = [dim.size for dim in tensor.tensor_shape.dim]
            value: Any = list(tensor.string_val)
            if not value:
                dtype = {1: "<f4", 2: "<f8"}[tensor.dtype]
                value = np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
            values[summary.tag].append((event.step, value))
            plugins[summary.tag] = summary.metadata.plugin_data.plugin_name
    return dict(values), plugins


def scalars(folder: Path, tag: str) -> dict[int, float]:
    return {step: float(value) for step, value in written(folder)[0][tag]}


def model(rate: Any = 0.01) -> Any:
    nnfast.set_seed(0)
    net = nnfast.Sequential([layers.Dense(4, "tanh", input_dim=3), layers.Dense(1)], name="net")
    net.compile(optimizers.SGD(rate), "mse", metrics=["mae"])
    return net


def fit(net: Any, log: Any, **keywords: Any) -> Any:
    options = {"epochs": 3, "batch_size": 8, "verbose": 0, "validation_split": 0.2}
    return net.fit(X, Y, **(options | {"callbacks": log} | keywords)).history


def test_epochs_have_the_tags_and_folders_of_keras(tmp_path: Path) -> None:
    history = fit(model(), callbacks.TensorBoard(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "validation"]
    train, plugins = written(tmp_path / "train")
    names = ["epoch_loss", "epoch_mae", "epoch_learning_rate"]
    assert plugins == dict.fromkeys(names, "scalars") | {"keras": "graph_keras_model"}
    assert set(written(tmp_path / "validation")[0]) == {
        *("epoch_loss", "epoch_mae"),
        *("evaluation_loss_vs_iterations", "evaluation_mae_vs_iterations"),
    }
    assert train["epoch_loss"] == list(enumerate(np.float32(history["loss"])))
    assert scalars(tmp_path / "validation", "epoch_mae") == dict(
        enumerate(np.float32(history["val_mae"]).tolist())
    )
    by_steps = scalars(tmp_path / "validation", "evaluation_loss_vs_iterations")
    assert by_steps == dict(zip((4, 8, 12), np.float32(history["val_loss"]).tolist(), strict=True))


def test_files_begin_with_their_version_and_times_increase(tmp_path: Path) -> None:
    fit(model(), callbacks.TensorBoard(tmp_path))
    found = events(tmp_path / "train")
    assert found[0].file_version == "brain.Event:2"
    times = [event.wall_time for event in found]
    assert times == sorted(times)
    assert times[0] > 1.6e9


def test_nothing_is_written_batch_by_batch_unless_asked_for(tmp_path: Path) -> None:
    log = callbacks.TensorBoard(tmp_path, histogram_freq=1, write_steps_per_second=True)
    used = callbacks.CallbackList(log)
    assert (used.per_batch, used.per_test_batch, used.per_predict_batch) == (False,) * 3
    assert callbacks.CallbackList(callbacks.TensorBoard(tmp_path, update_freq="batch")).per_batch
    plain, logged = model(), model()
    fit(plain, None)
    fit(logged, log)
    np.testing.assert_array_equal(plain.get_weights()[0], logged.get_weights()[0])
    assert not any("batch" in tag for tag in written(tmp_path / "train")[0])


@pytest.mark.parametrize(
    ("update_freq", "steps"), [("batch", range(1, 13)), (1, range(1, 13)), (5, (5, 10))]
)
def test_update_freq_counts_the_batches_of_a_fit(
    tmp_path: Path, update_freq: Any, steps: Any
) -> None:
    log = callbacks.TensorBoard(tmp_path, update_freq=update_freq)
    seen: list[float] = []
    watch = callbacks.LambdaCallback(on_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    fit(model(), [log, watch])
    expected = {step: float(np.float32(seen[step - 1])) for step in steps}
    assert scalars(tmp_path / "train", "batch_loss") == expected
    assert list(scalars(tmp_path / "train", "batch_mae")) == list(steps)


def test_the_learning_rate_of_a_schedule_is_its_current_value(tmp_path: Path) -> None:
    fit(model(schedules.ExponentialDecay(0.5, 4, 0.5)), callbacks.TensorBoard(tmp_path))
    assert scalars(tmp_path / "train", "epoch_learning_rate") == {0: 0.25, 1: 0.125, 2: 0.0625}


def test_steps_per_second_are_written_if_asked_for(tmp_path: Path) -> None:
    log = callbacks.TensorBoard(tmp_path, write_steps_per_second=True, update_freq=3)
    fit(model(), log)
    for tag, steps in (("epoch", [0, 1, 2]), ("batch", [3, 6, 9, 12])):
        rates = scalars(tmp_path / "train", f"{tag}_steps_per_second")
        assert list(rates) == steps
        assert min(rates.values()) > 0


def test_histograms_count_the_weights(tmp_path: Path) -> None:
    net = model()
    fit(net, callbacks.TensorBoard(tmp_path, histogram_freq=2))
    found, plugins = written(tmp_path / "train")
    tags = {
        f"net/{name}/{w}/histogram" for name in ("dense", "dense_1") for w in ("kernel", "bias")
    }
    own = {tag for tag in found if "net/" in tag}
    assert len(own) == len(tags) == 4
    kernel = net.layers[0].kernel
    (first, _), (last, rows) = found[f"net/{net.layers[0].name}/kernel/histogram"]
    assert (first, last) == (0, 2)
    assert rows.shape == (30, 3)
    assert rows[:, 2].sum() == kernel.size
    np.testing.assert_allclose((rows[0, 0], rows[-1, 1]), (kernel.min(), kernel.max()))
    np.testing.assert_array_equal(rows[1:, 0], rows[:-1, 1])
    assert {plugins[tag] for tag in own} == {"histograms"}


def test_weights_are_written_as_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    nnfast.set_seed(0)
    net = nnfast.Sequential(
        [
            *(layers.Conv2D(5, 3, input_shape=(8, 8, 1), name="c"), layers.Flatten()),
            layers.Dense(1, name="d"),
        ],
        name="net",
    )
    net.compile(optimizers.SGD(0.0), "mse")
    log = callbacks.TensorBoard(tmp_path, histogram_freq=1, write_images=True)
    net.fit(rng.normal(size=(4, 8, 8, 1)), np.ones(4), verbose=0, callbacks=log)
    found, plugins = written(tmp_path / "train")
    assert plugins["net/c/kernel/image"] == "images"
    width, height, *pictures = found["net/c/kernel/image"][0][1]
    assert (int(width), int(height), len(pictures)) == (3, 3, 3)
    pixels = np.asarray(image.open(io.BytesIO(pictures[1])))
    kernel = net.layers[0].kernel[:, :, 0, 1]
    np.testing.assert_array_equal(pixels, np.clip(kernel * 255.5, 0, 255).astype(np.uint8))
    assert [int(n) for n in found["net/d/kernel/image"][0][1][:2]] == [1, 180]


def test_the_graph_is_the_architecture(tmp_path: Path) -> None:
    net = model()
    fit(net, callbacks.TensorBoard(tmp_path))
    ((step, text),) = written(tmp_path / "train")[0]["keras"]
    assert step == 0
    assert json.loads(text[0]) == json.loads(net.to_json())
    other = tmp_path / "other"
    fit(net, callbacks.TensorBoard(other, write_graph=False))
    assert "keras" not in written(other / "train")[0]


def test_every_fit_and_evaluation_has_a_file_of_its_own(tmp_path: Path) -> None:
    net, log = model(), ByKerasName(str(tmp_path))
    fit(net, log)
    fit(net, log)
    net.evaluate(X, Y, verbose=0, callbacks=log)
    assert len(list((tmp_path / "train").iterdir())) == 3
    steps = [
        step for step, _ in written(tmp_path / "validation")[0]["evaluation_loss_vs_iterations"]
    ]
    assert steps == [4, 8, 12, 16, 20, 24, 24]


def test_an_interrupted_fit_keeps_its_epochs(tmp_path: Path) -> None:
    def interrupt(epoch: int, logs: Any) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    net, log = model(), callbacks.TensorBoard(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(net, [log, callbacks.LambdaCallback(on_epoch_begin=interrupt)])
    fit(net, log, epochs=1)
    assert [step for step, _ in written(tmp_path / "train")[0]["epoch_loss"]] == [0, 1, 0]


def test_metrics_with_several_values_have_one_tag_each(tmp_path: Path) -> None:
    class Script(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["pair"] = np.array([1.0, 2.0])

    fit(model(), [Script(), callbacks.TensorBoard(tmp_path)], epochs=1)
    assert scalars(tmp_path / "train", "epoch_pair/1") == {0: 2.0}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_are_logged(tmp_path: Path) -> None:
    log = callbacks.TensorBoard(tmp_path, histogram_freq=1)
    net = nnfast.MLPRegressor(
        hidden_layer_sizes=(4,), max_iter=2, n_iter_no_change=9, callbacks=[log]
    )
    net.fit(X, Y)
    expected = dict(enumerate(np.float32(net.loss_curve_).tolist()))
    assert scalars(tmp_path / "train", "epoch_loss") == expected


def test_copies_hold_no_open_files(tmp_path: Path) -> None:
    log = callbacks.TensorBoard(tmp_path, update_freq=2)
    fit(model(), log)
    copy = pickle.loads(pickle.dumps(log))
    copy.log_dir = str(tmp_path / "copy")
    fit(model(), copy)
    assert list(scalars(tmp_path / "copy" / "train", "batch_loss")) == [2, 4, 6, 8, 10, 12]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(ImportError, match=r"nnfast\[tensorboard\]"):
        fit(model(), callbacks.TensorBoard(tmp_path))


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"profile_batch": 2}, "profile_batch must be 0"),
        ({"profile_batch": (2, 4)}, "profile_batch must be 0"),
        ({"embeddings_freq": 1}, "embeddings_freq must be 0"),
        ({"update_freq": "step"}, "update_freq must be"),
        ({"update_freq": 0}, "update_freq must be"),
        ({"histogram_freq": -1}, "histogram_freq must be"),
        ({"write_graph": "yes"}, "write_graph must be"),
        ({"log_dir": 3}, "log_dir must be"),
    ],
)
def test_arguments_that_are_refused(keywords: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        callbacks.TensorBoard(**keywords)

"""Loading a saved model restores everything, so training can continue; bad files are refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formats.make import inputs
from numpy.typing import NDArray

import nnfast
from nnfast import callbacks, layers, optimizers
from nnfast._utils import container
from nnfast.optimizers import schedules


def data() -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 3, 4), dtype=np.uint8), rng.integers(0, 3, 60)


def compiled(dtype: str = "float32", optimizer: Any = "adam") -> Any:
    nnfast.set_seed(2)
    model = nnfast.Sequential(
        [
            layers.Input((3, 4)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dropout(0.25),
            layers.Dense(5, use_bias=False),
            layers.Activation("tanh"),
            layers.Dense(3, activation="softmax"),
        ],
        dtype=dtype,
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def assert_same_weights(a: Any, b: Any) -> None:
    assert len(a.get_weights()) == len(b.get_weights()) == 5
    for w, v in zip(a.get_weights(), b.get_weights(), strict=True):
        assert w.dtype == v.dtype
        np.testing.assert_array_equal(w, v)


OPTIMIZERS = [
    optimizers.SGD(0.1),
    optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    optimizers.Adam(0.01, beta_1=0.8, epsilon=1e-5),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "nesterov", "adam"])
def test_a_loaded_model_continues_training_bit_for_bit(
    dtype: str, optimizer: Any, tmp_path: Path
) -> None:
    x, y = data()
    path = tmp_path / "model.safetensors"
    whole, half = compiled(dtype, optimizer), compiled(dtype, optimizer)
    expected = whole.fit(x, y, batch_size=16, epochs=10, verbose=0).history
    first = half.fit(x, y, batch_size=16, epochs=5, verbose=0).history
    half.save(path)
    del half
    loaded = nnfast.load_model(path)
    second = loaded.fit(x, y, batch_size=16, epochs=5, verbose=0).history
    assert {key: first[key] + second[key] for key in first} == expected
    assert_same_weights(whole, loaded)
    np.testing.assert_array_equal(whole.predict(x), loaded.predict(x))


STACK = [
    *(lambda: layers.GaussianNoise(0.1), lambda: layers.Dense(8, activation="relu")),
    *(lambda: layers.BatchNormalization(momentum=0.9), lambda: layers.Dropout(0.25)),
    *(lambda: layers.PReLU("ones"), lambda: layers.AlphaDropout(0.1)),
    *(lambda: layers.GroupNormalization(2), lambda: layers.GaussianDropout(0.1)),
    *(lambda: layers.LayerNormalization(), lambda: layers.Dense(3, activation="softmax")),
]
EACH_OPTIMIZER = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, global_clipnorm=1.0),
    "adamw": lambda: optimizers.AdamW(schedules.CosineDecay(0.01, 30)),
    "nadam": lambda: optimizers.Nadam(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "rmsprop centered": lambda: optimizers.RMSprop(0.01, centered=True, momentum=0.5),
    "adagrad": lambda: optimizers.Adagrad(0.05),
    "lion": lambda: optimizers.Lion(0.001),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "adamax": lambda: optimizers.Adamax(0.01),
    "average": lambda: optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=3),
}


def deep(optimizer: str) -> Any:
    nnfast.set_seed(3)
    model = nnfast.Sequential([layers.Input((12,)), *(layer() for layer in STACK)])
    model.compile(EACH_OPTIMIZER[optimizer](), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def state(model: Any) -> list[Any]:
    engine = model._network.engine
    return [engine.weights.copy(), engine.slots.copy(), engine.iterations, engine.epoch]


def train(path: Path, epochs: int) -> None:
    """Continue the training of the model in a file."""
    x, y = data()
    model = nnfast.load_model(path)
    model.fit(x.reshape(60, 12), y, batch_size=16, epochs=epochs, verbose=0)
    model.save(path)


def test_every_optimizer_continues_in_a_new_process(tmp_path: Path) -> None:
    x, y = data()
    fit = {"x": x.reshape(60, 12), "y": y, "batch_size": 16, "epochs": 10, "verbose": 0}
    expected = {}
    for name in EACH_OPTIMIZER:
        model = deep(name)
        # Save during `fit`, because at its end the moving average replaces the weights.
        half = callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, name=name, model=model: (
                epoch == 4 and model.save(tmp_path / name)
            )
        )
        model.fit(**fit, callbacks=half)
        expected[name] = state(model)
    assert optimizers.TABLE.keys() <= EACH_OPTIMIZER.keys()
    program = "import test_saving as t, pathlib, sys\nfor p in sys.argv[1:]: t.train(p, 5)"
    subprocess.run(
        [sys.executable, "-c", program, *map(str, tmp_path.iterdir())],
        check=True,
        timeout=60,
        cwd=Path(__file__).parent,
    )
    for name, values in expected.items():
        for a, b in zip(values, state(nnfast.load_model(tmp_path / name)), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_file_without_the_optimizer_predicts(tmp_path: Path) -> None:
    x, y = data()
    model = compiled()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "whole")
    model.save(tmp_path / "model", include_optimizer=False)
    assert (tmp_path / "model").stat().st_size < (tmp_path / "whole").stat().st_size
    loaded = nnfast.load_model(tmp_path / "model")
    assert loaded.optimizer is None
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    loaded.compile("adam", "sparse_categorical_crossentropy")
    assert np.isfinite(loaded.fit(x, y, verbose=0).history["loss"]).all()


def test_a_model_saved_within_an_epoch_continues_with_the_next(tmp_path: Path) -> None:
    x, y = data()
    model = compiled()
    stop = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: (
            batch == 1 and (model.save(tmp_path / "model"), setattr(model, "stop_training", True))
        )
    )
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=stop)
    loaded = nnfast.load_model(tmp_path / "model")
    for each in (model, loaded):
        each.fit(x, y, batch_size=16, epochs=2, verbose=0)
    assert_same_weights(model, loaded)


ESTIMATORS = ("format1-classifier", "format1-regressor")
ALL_FORMATS = sorted((Path(__file__).parent / "formats").glob("*.json"))
FORMATS = [path for path in ALL_FORMATS if path.stem not in ESTIMATORS]


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.stem)
def test_files_of_every_format_load(path: Path) -> None:
    """These files are never rewritten: later versions must read them."""
    model = nnfast.load_model(path.with_suffix(".safetensors"))
    x = inputs(model)
    expected = np.array(json.loads(path.read_text()))
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-6)
    copy = nnfast.models.clone_model(model)
    copy.load_weights(path.with_suffix(".weights"))
    np.testing.assert_array_equal(copy.predict(x), model.predict(x))
    y: Any = [0, 1, 2, 0, 1] if model.loss.sparse else np.zeros_like(expected)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
    assert model._network is not None
    assert model._network.engine.iterations == 3  # two steps were in the file


def test_there_are_files_of_the_current_format() -> None:
    assert any(path.name.startswith(f"format{container.FORMAT}-") for path in FORMATS)


def test_saving_preserves_the_configuration(tmp_path: Path) -> None:
    model = compiled("float64", optimizers.Adam(0.02, beta_2=0.9))
    model.save(str(tmp_path / "model"))
    loaded = nnfast.load_model(str(tmp_path / "model"))
    assert_same_weights(model, loaded)
    assert loaded.dtype == "float64"
    assert loaded.optimizer == model.optimizer
    assert loaded.loss == model.loss
    assert loaded.get_config() == model.get_config()
    assert loaded.count_params() == model.count_params()


def test_a_model_that_is_not_compiled_is_saved(tmp_path: Path) -> None:
    model = nnfast.Sequential([layers.Dense(2, activation="sigmoid", input_dim=3)])
    model.save(tmp_path / "model")
    loaded = nnfast.load_model(tmp_path / "model")
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="compile"):
        loaded.fit(x, np.ones((2, 2)))


def test_from_logits_of_the_loss_is_saved(tmp_path: Path) -> None:
    model = nnfast.Sequential([layers.Dense(3, input_dim=2)])
    model.compile("sgd", nnfast.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.save(tmp_path / "model")
    loaded = nnfast.load_model(tmp_path / "model")
    x, y = np.ones((4, 2)), np.array([0, 1, 2, 1])
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_saving_replaces_the_file_and_leaves_no_others(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"an older file")
    compiled().save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    assert nnfast.load_model(path).built


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "model.safetensors"
    compiled().save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        compiled("float64").save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_unbuilt_model_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no weights"):
        nnfast.Sequential([layers.Dense(2)]).save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        nnfast.load_model(tmp_path / "nowhere")


# Malformed files


def parts(path: Path) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Return the header of a file, its description and the bytes of its arrays."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    return header, json.loads(header["__metadata__"]["nnfast"]), content[8 + size :]


def rewrite(path: Path, header: dict[str, Any], description: Any, payload: bytes) -> None:
    header["__metadata__"]["nnfast"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + payload)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    model = compiled()
    model.fit(*data(), verbose=0)
    model.save(path)
    return path


def test_rewritten_files_load(saved: Path) -> None:
    """The tests below use a helper to damage files; the helper alone must not damage them."""
    before = nnfast.load_model(saved)
    rewrite(saved, *parts(saved))
    assert_same_weights(nnfast.load_model(saved), before)


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\0" * 100, b"\xff" * 100, b"no model"])
def test_files_of_other_content_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ValueError, match="model"):
        nnfast.load_model(tmp_path / "model")


def test_truncated_files_are_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for size in range(0, len(content), max(1, len(content) // 50)):
        saved.write_bytes(content[:size])
        with pytest.raises(ValueError, match="not a model saved by nnfast"):
            nnfast.load_model(saved)


def remove(*keys: Any) -> Any:
    def change(description: Any) -> None:
        for key in keys[:-1]:
            description = description[key]
        del description[keys[-1]]

    return change


def put(value: Any, *keys: Any) -> Any:
    def change(description: Any) -> None:
        for key in keys[:-1]:
            description = description[key]
        description[keys[-1]] = value

    return change


DAMAGES = {
    "future format": put(99, "format"),
    "no format": remove("format"),
    "no model": remove("model"),
    "model is a number": put(3, "model"),
    "layers are null": put(None, "model", "layers"),
    "unknown layer": put("Sense", "model", "layers", 0, "class_name"),
    "layer is not a name": put(["Dense"], "model", "layers", 0, "class_name"),
    "layer without configuration": remove("model", "layers", 0, "config"),
    "unknown setting": put(1, "model", "layers", 2, "config", "colour"),
    "other units": put(9, "model", "layers", 2, "config", "units"),
    "units are text": put("many", "model", "layers", 2, "config", "units"),
    "units that no memory holds": put(2**62, "model", "layers", 2, "config", "units"),
    "unknown activation": put("rleu", "model", "layers", 2, "config", "activation"),
    "unknown dtype": put("float16", "model", "dtype"),
    "other input shape": put([3, 5], "model", "input_shape"),
    "no compile": remove("compile"),
    "unknown optimizer": put("Madam", "compile", "optimizer", "class_name"),
    "optimizer with other slots": put({"class_name": "SGD", "config": {}}, "compile", "optimizer"),
    "learning rate is text": put("fast", "compile", "optimizer", "config", "learning_rate"),
    "unknown loss": put("Toss", "compile", "loss", "class_name"),
    "unknown metric": put(["acuracy"], "compile", "metrics"),
    "no state": remove("state"),
    "negative epoch": put(-1, "state", "epoch"),
    "epoch beyond 64 bits": put(2**64, "state", "epoch"),
    "iterations beyond 63 bits": put(2**63, "state", "iterations"),
    "seed beyond 64 bits": put(2**64, "state", "seed"),
    "seed is text": put("seven", "state", "seed"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_descriptions_are_refused(damage: str, saved: Path) -> None:
    header, description, payload = parts(saved)
    DAMAGES[damage](description)
    rewrite(saved, header, description, payload)
    with pytest.raises(ValueError, match="not a model saved by nnfast"):
        nnfast.load_model(saved)


@pytest.mark.parametrize("description", [None, 3, "text", [], {}])
def test_descriptions_of_another_type_are_refused(description: Any, saved: Path) -> None:
    header, _, payload = parts(saved)
    rewrite(saved, header, description, payload)
    with pytest.raises(ValueError, match="not a model saved by nnfast"):
        nnfast.load_model(saved)


def test_descriptions_that_are_not_json_are_refused(saved: Path) -> None:
    header, _, payload = parts(saved)
    header["__metadata__"]["nnfast"] = "{not json"
    text = json.dumps(header).encode()
    saved.write_bytes(struct.pack("<Q", len(text)) + text + payload)
    with pytest.raises(ValueError, match="not a model saved by nnfast"):
        nnfast.load_model(saved)


def test_arrays_of_wrong_names_shapes_and_dtypes_are_refused(saved: Path) -> None:
    from safetensors.numpy import load, save

    header, _, _ = parts(saved)
    arrays = load(saved.read_bytes())
    name = next(name for name, array in sorted(arrays.items()) if array.ndim == 2)
    wrong = [
        {key: array for key, array in arrays.items() if key != name},
        {**arrays, "extra": np.zeros(3, np.float32)},
        {**arrays, name: arrays[name].T.copy()},
        {**arrays, name: arrays[name].ravel()},
        {**arrays, name: arrays[name].astype(np.float64)},
        {**arrays, name: arrays[name].astype(np.int32)},
    ]
    for changed in wrong:
        saved.write_bytes(save(changed, metadata=header["__metadata__"]))
        with pytest.raises(ValueError, match="not a model saved by nnfast"):
            nnfast.load_model(saved)


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "other")
    with pytest.raises(ValueError, match="not a model saved by nnfast"):
        nnfast.load_model(tmp_path / "other")


def test_files_are_identical_to_those_of_the_safetensors_library(tmp_path: Path) -> None:
    """Order, padding, escaped names and array layouts agree byte for byte."""
    from safetensors.numpy import load_file, save

    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "b": rng.normal(size=(3, 2)),
        "a": rng.normal(size=5).astype(np.float32),
        'ü"\\\n\x01\x7f層/\u2028': np.zeros((0, 3)),
        "one": np.array(3.0),
        "Fortran": np.asfortranarray(rng.normal(size=(4, 3))),
        "transposed": rng.normal(size=(4, 3)).T.astype(np.float32),
        "strided": rng.normal(size=(4, 6))[:, ::2],
        "reversed bytes": rng.normal(size=3).astype(">f8"),
    }
    for count in range(len(arrays) + 1):
        some = dict(list(arrays.items())[:count])
        text = json.dumps({"format": 1, "a": 'é"\u2028' * count})
        plain = {k: np.require(v, v.dtype.newbyteorder("="), "C") for k, v in some.items()}
        container.write(tmp_path / "file", some, {"a": 'é"\u2028' * count})
        content = (tmp_path / "file").read_bytes()
        assert content == save(plain, metadata={"nnfast": text})
        read, description = container.read(tmp_path / "file")
        assert description == {"format": 1, "a": 'é"\u2028' * count}
        assert read.keys() == some.keys() == load_file(tmp_path / "file").keys()
        for name, array in read.items():
            np.testing.assert_array_equal(array, some[name])
            assert (array.shape, array.dtype) == (some[name].shape, plain[name].dtype)

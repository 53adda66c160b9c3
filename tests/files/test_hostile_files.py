"""Damaged and forged files are either refused or loaded as a valid model, without crashes.

NNFAST_TEST_FILES sets the number of files, and NNFAST_TEST_SEED the seed for changing them.
"""

from __future__ import annotations

import copy
import difflib  # loading may import this late, so import it before imports are watched  # noqa: F401
import importlib
import json
import math
import os
import random
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formats.make import models

import nnfast
from nnfast import layers, optimizers
from nnfast._plan.open_shapes import fits
from nnfast._utils import container
from nnfast.optimizers import schedules

SKLEARN = find_spec("sklearn") is not None
if SKLEARN:  # import this before imports are watched and memory is limited
    importlib.import_module("nnfast.estimators.files")

FILES = int(os.environ.get("NNFAST_TEST_FILES", "6000"))
SEED = int(os.environ.get("NNFAST_TEST_SEED", "0"))
SECONDS = 2.0  # CPU time limit for one small file
MEMORY = 200 * 2**20  # bytes for all files together; each has only a few kilobytes

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 0.5, -0.0, 1.5, 1e308, -1e308, 5e-324),
    *(2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400),
    *("", "relu", "Dense", "adam", "F32", "F64", "I8", "BF16", "os.system", "builtins.eval"),
    *(
        "__class__",
        "nnfast._utils.container",
        "../../etc/passwd",
        "a/b",
        "\ud800",
        "\0",
        "x" * 5000,
    ),
    *([], {}, [[]], [None], [0], [1], [2, 3], [2**40, 2**40], [2**63], [-1], [0] * 40, [1] * 2000),
    {"class_name": "Dense", "config": {"units": 2**40}},
    {"class_name": "Dense", "config": {"units": 3}, "module": "os", "registered_name": "system"},
    {"class_name": "Orthogonal", "config": {}},
    {"class_name": "Flatten", "config": {}},
    {"class_name": "Lambda", "config": {"function": "lambda x: x"}},
    {"class_name": "InputLayer", "config": {"shape": [2**40]}},
    {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 2**70}},
]
TEXTS = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "[" * 3000, '{"a":' * 3000, "1" * 5000),
    *('{"a": 1, "a": 2}', "tru", '"\\ud800"', "\x00", "{}", "[]", "null", "01", "1.", '"'),
]
WATCHED = {"import", "exec", "os.system", "os.exec", "subprocess.Popen", "pickle.find_class"}

_watching = False
_seen: list[Any] = []


def _watch(event: str, arguments: Any) -> None:
    if _watching and event in WATCHED:
        _seen.append((event, arguments))


@contextmanager
def watched() -> Iterator[None]:
    """Record imports and executed programs: loading a file must cause none."""
    global _watching
    _watching = True
    try:
        yield
    finally:
        _watching = False


def estimators() -> list[Any]:
    """Return small fitted estimators, or none if scikit-learn is not installed."""
    if not SKLEARN:
        return []
    x = np.linspace(-1, 1, 24).reshape(12, 2)
    texts = np.array(["a", "b", "c"] * 4)
    classifier = nnfast.MLPClassifier(3, ["tanh"], normalization="batch", class_weight={"a": 2.0})
    regressor = nnfast.MLPRegressor(
        hidden_layer_sizes=(2, 3),
        activation="gelu",
        early_stopping=True,
        optimizer=optimizers.SGD(),
    )
    with warnings.catch_warnings(action="ignore"):
        return [
            each.set_params(max_iter=2, batch_size=5).fit(x, y)
            for each, y in ((classifier, texts), (regressor, x[:, 0]))
        ]


def seeds() -> list[Any]:
    """Return small models; the test damages their saved files."""
    small = nnfast.Sequential([layers.Dense(2, input_dim=3)])
    shapes = nnfast.Sequential([layers.Input((2, 2)), layers.Flatten(), layers.Reshape((4, 1))])
    empty = nnfast.Sequential([layers.Input((0,)), layers.Dense(2)])
    normal = nnfast.Sequential(
        [
            layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 4.0], input_dim=2),
            layers.Dense(2, kernel_initializer="orthogonal", activity_regularizer="l1"),
            layers.ActivityRegularization(0.1),
        ]
    )
    axes = nnfast.Sequential(
        [
            layers.PReLU("ones", "l2", "non_neg", [2], input_shape=(2, 3, 2)),
            layers.GroupNormalization(3, axis=2, beta_regularizer="l1"),
            *(layers.Softmax(axis=[1, 3]), layers.UnitNormalization([1, 2]), layers.ReLU(2.0, 0.1)),
            *(layers.SpatialDropout2D(0.1), layers.AlphaDropout(0.1, (None, 1, 3, 1))),
            *(layers.GaussianDropout(0.1), layers.Dense(1, layers.ReLU(1.0, 0.25, 0.5))),
        ]
    )
    lengths = nnfast.Sequential(
        [
            *(layers.GRU(2, return_sequences=True, input_shape=(None, 2)), layers.UpSampling1D(2)),
            *(layers.Conv1D(2, 2), layers.GlobalAveragePooling1D(), layers.Dense(1)),
        ]
    )
    rate = schedules.PiecewiseConstantDecay([2, 5], [0.1, 0.01, 0.001])
    normal.compile(optimizers.Lion(rate), nnfast.losses.Quantile([0.1, 0.9]), metrics=["mae"])
    both = layers.Bidirectional(layers.RNN([layers.GRUCell(2), layers.LSTMCell(1)]), "sum")
    steps = layers.Input((2, 3))
    many = layers.MultiHeadAttention(2, 1)(steps, steps, attention_mask=[[1, 0], [1, 1]])
    attending = nnfast.Model(steps, layers.AdditiveAttention()([many, steps], use_causal_mask=True))
    within = nnfast.Sequential([layers.Input((2, 3, 1)), layers.TimeDistributed(both)])
    small_models = small, shapes, empty, normal, axes, within, lengths, attending
    return [*models().values(), *small_models, *preparing(), *estimators()]


def preparing() -> list[Any]:
    """Return small models whose first layers prepare data in Python, or read ids."""
    text = layers.StringLookup(vocabulary=["a", "b", "c"], mask_token="", output_mode="multi_hot")
    numbers = layers.IntegerLookup(5, output_mode="tf_idf", pad_to_max_tokens=True)
    numbers.adapt([[1, 1, 2], [3, 1, 2]])
    bins = layers.Discretization([0.0, 0.5])
    words = layers.TextVectorization(ngrams=2, vocabulary=["a", "b", "a b"])
    bag = layers.TextVectorization(5, None, "character", (2, 1), "tf_idf", pad_to_max_tokens=True)
    bag.adapt(["aba", "ca"])
    table = layers.Embedding(3, 2, embeddings_regularizer="l2", mask_zero=True)
    ids = nnfast.Sequential([layers.Input((2, 2)), layers.Flatten(), table, layers.LSTM(2)])
    return [
        nnfast.Sequential([layers.Input((2,), dtype="string"), text, layers.Dense(2)]),
        nnfast.Sequential([layers.Input((2,), dtype="int32"), numbers, layers.Dense(2)]),
        nnfast.Sequential(
            [layers.Input((1,), dtype="string"), words, layers.Embedding(5, 2), layers.Dense(1)]
        ),
        nnfast.Sequential([layers.Input((1,), dtype="string"), bag, layers.Dense(2)]),
        nnfast.Sequential([layers.Input((2,)), bins, layers.CategoryEncoding(3), layers.Flatten()]),
        ids,
    ]


class File:
    """The parts of a file: header, description and arrays."""

    def __init__(self, content: bytes) -> None:
        (size,) = struct.unpack("<Q", content[:8])
        self.header = json.loads(content[8 : 8 + size])
        self.description = json.loads(self.header["__metadata__"]["nnfast"])
        self.arrays = content[8 + size :]

    def content(self) -> bytes:
        self.header["__metadata__"]["nnfast"] = json.dumps(self.description)
        return assemble(json.dumps(self.header).encode(), self.arrays)


def assemble(header: bytes, arrays: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + arrays


def entries_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every entry within nested lists and dicts, as (container, key)."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in list(entries):
        yield value, key
        if isinstance(entry, (dict, list)):
            yield from entries_of(entry)


def forge(value: Any, rng: random.Random, others: list[Any]) -> None:
    """Change one to three entries of nested lists and dicts."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        container, key = rng.choice(list(entries_of(value)))
        kind = rng.random()
        if kind < 0.1:
            del container[key]
        elif kind < 0.2:
            where, other = rng.choice(list(entries_of(rng.choice(others))))
            container[key] = copy.deepcopy(where[other])
        elif kind < 0.3 and isinstance(container, dict):
            container[rng.choice(("units", "shape", "colour", "a/b", "name"))] = container.pop(key)
        elif kind < 0.4 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif kind < 0.5 and isinstance(container[key], (int, float)):
            container[key] += rng.choice((1, -1, 0.5))
        else:
            container[key] = copy.deepcopy(rng.choice(VALUES))


def damage_bytes(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Flip bits, truncate, delete, duplicate or replace bytes, or change the header's length."""
    data = bytearray(content)
    at, length = rng.randrange(len(data)), rng.choice((1, 2, 8, 50))
    kind = rng.randrange(7)
    if kind == 0:
        return content[:at]
    if kind == 1:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        data[at : at + length] = b""
    elif kind == 3:
        data[at:at] = data[at : at + length]
    elif kind == 4:
        data[at : at + length] = rng.randbytes(length)
    elif kind == 5:
        (size,) = struct.unpack("<Q", content[:8])
        new = rng.choice((0, 1, size - 1, size + 1, len(data) - 8, 2**24, 2**31, 2**63, 2**64 - 1))
        data[:8] = struct.pack("<Q", new)
    else:
        other = rng.choice(others)
        data[at:] = other[rng.randrange(len(other)) :]
    return bytes(data)


def forge_header(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change the entries in the header that describe arrays."""
    file = File(content)
    entries = {key: entry for key, entry in file.header.items() if key != "__metadata__"}
    if entries:
        forge(entries, rng, [File(other).header for other in others])
    file.header = {"__metadata__": file.header["__metadata__"], **entries}
    if rng.random() < 0.3:
        file.arrays += rng.randbytes(rng.choice((1, 4, 8, 1000)))
    return file.content()


def forge_description(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change the description of the model."""
    file = File(content)
    forge(file.description, rng, [File(other).description for other in others])
    return file.content()


def forge_text(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Insert invalid JSON or duplicate keys."""
    file = File(content)
    inner = rng.random() < 0.5
    text = json.dumps(file.description if inner else file.header)
    ends = [i for i, c in enumerate(text) if c in ":,[{}]"]
    at, end = sorted((rng.choice(ends), rng.choice(ends)))
    kind = rng.randrange(4)
    if kind == 0:
        text = text[: at + 1] + rng.choice(TEXTS) + text[at + 1 :]
    elif kind == 1:
        text = text[: at + 1] + rng.choice(TEXTS) + text[end:]
    elif kind == 2:
        text = text[:end] + text[at:]
    else:
        brace = rng.choice([i for i, c in enumerate(text) if c == "{"])
        key = rng.choice(("nnfast", "__metadata__", "units", "name", "config", "class_name"))
        text = f"{text[: brace + 1]}{json.dumps(key)}: {rng.choice(TEXTS)}, {text[brace + 1 :]}"
    if not inner:
        return assemble(text.encode("utf-8", "surrogatepass"), file.arrays)
    file.header["__metadata__"]["nnfast"] = text
    return assemble(json.dumps(file.header).encode(), file.arrays)


KINDS: dict[str, Callable[[bytes, random.Random, list[bytes]], bytes]] = {
    "bytes": damage_bytes,
    "header": forge_header,
    "description": forge_description,
    "text": forge_text,
}


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """Limit the growth of the address space of the process to `MEMORY` bytes."""
    resource = pytest.importorskip("resource")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check_valid_estimator(estimator: Any, content: bytes) -> None:
    """Check that a loaded estimator works, with shapes that agree with the file."""
    stored = File(content).header
    for i, (w, b) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        assert [*w.shape] == stored[f"coefs/{i}"]["shape"]
        assert [*b.shape] == stored[f"intercepts/{i}"]["shape"]
    x = np.zeros((3, estimator.n_features_in_))
    y = estimator.predict(x)
    assert len(y) == 3
    if estimator.solver != "lbfgs":
        # The parameters may be unsuitable for training, or contradict each other.
        with suppress(ValueError, TypeError, OverflowError):
            estimator.partial_fit(x, y)


def check_valid(model: Any, content: bytes) -> None:
    """Check that a loaded model works, with shapes that agree with the file."""
    if not isinstance(model, nnfast.Model):
        check_valid_estimator(model, content)
        return
    stored = File(content).header
    for layer in model.layers:
        for name, view in layer.named_weights.items():
            assert list(view.shape) == stored[f"layers/{layer.name}/{name}"]["shape"]
    shape = [2, *(5 if size is None else size for size in model.input_shape[1:])]
    if math.prod(shape) > 10**6:
        return
    text = model.input.dtype == "string"
    x = np.full(shape, "a") if text else np.zeros(shape)
    try:
        out = model.predict(x)
    except (ValueError, RuntimeError) as error:  # a changed vocabulary may not fit the data
        messages = ("num_oov_indices=0", "num_tokens", "no vocabulary yet")
        messages += ("read by an Embedding", "The samples have")
        assert any(part in str(error) for part in messages)  # noqa: PT017
        return
    assert fits(out.shape[1:], model.output_shape[1:])
    if model.loss is not None:
        one_target = model.loss.sparse or model.loss.copies > 1
        y = np.zeros((2, 1)) if one_target else np.zeros_like(out)
        with suppress(ValueError):  # hyperparameters, such as a schedule's, may be unsuitable
            model.fit(x if text else np.ones(shape), y, verbose=0)


def check_saved_again(model: Any, path: Path) -> None:
    """Check that the loaded and possibly trained model can be saved and loaded again."""
    path = path.with_name("again")
    model.save(path)
    again = nnfast.load_model(path)
    for name in ("weights", "coefs_"):
        for w, v in zip(getattr(model, name, []), getattr(again, name, []), strict=True):
            np.testing.assert_array_equal(w, v)


def loaded(read: Callable[[Path], Any], path: Path) -> Any:
    """Return the result of `read`, or None if it refuses the file with the right error."""
    try:
        with watched():
            return read(path)
    except ValueError as error:
        if "is not a model saved by nnfast" not in str(error):
            raise
        return None


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_refused_or_valid(
    kind: str, tmp_path: Path, limited_memory: None
) -> None:
    global _seen
    sys.addaudithook(_watch)
    contents = []
    for i, model in enumerate(seeds()):
        model.save(tmp_path / str(i))
        contents.append((tmp_path / str(i)).read_bytes())
    path = tmp_path / "changed"
    _seen = []
    refused = valid = 0
    for case in range(-(-FILES // len(KINDS))):
        rng = random.Random(f"{SEED} {kind} {case}")
        content = KINDS[kind](rng.choice(contents), rng, contents)
        path.write_bytes(content)
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = loaded(nnfast.load_model, path)
            if model is None:
                refused += 1
            else:
                check_valid(model, content)
                check_saved_again(model, path)
                valid += 1
            loaded(container.weights_by_layer, path)
        assert time.process_time() - started < SECONDS, case
        assert not _seen, (case, _seen)
    # Changed weights are valid, but most changes of a description are not.
    assert refused > 0.3 * (refused + valid)
    print(f"{kind}: {refused} refused, {valid} valid")


# There is one case per rule, because the test with random files would not notice if a file that
# breaks a rule were accepted.


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    nnfast.Sequential([layers.Dense(2, input_dim=3, name="d")]).save(path)
    return path


def change_header(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        file = File(content)
        text = change(json.dumps(file.header))
        assert text != json.dumps(file.header)
        return assemble(text.encode(), file.arrays)

    return changed


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    return change_header(lambda text: text.replace(old, new, 1))


def set_config(key: str, value: Any) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        file = File(content)
        file.description["model"]["layers"][0]["config"][key] = value
        return file.content()

    return changed


RULES = {
    "an array twice": (
        replaced('"layers/d/bias":', '"layers/d/bias": {"dtype": "F32"}, "layers/d/bias":'),
        "twice",
    ),
    "a setting twice": (replaced('\\"use_bias\\"', '\\"units\\": 2, \\"use_bias\\"'), "twice"),
    "NaN": (replaced('\\"use_bias\\": true', '\\"use_bias\\": NaN'), "NaN"),
    "number beyond float64": (replaced('\\"epoch\\": 0', '\\"epoch\\": 1e999'), "1e999"),
    "deeply nested": (change_header(lambda text: "[" * 10**5 + text), "nested"),
    "bytes after the arrays": (lambda content: content + b"\0", "32 bytes, and there are 33"),
    "bytes missing": (lambda content: content[:-1], "32 bytes, and there are 31"),
    "arrays that overlap": (replaced("[8, 32]", "[0, 24]"), "two arrays"),
    "a gap": (replaced("[8, 32]", "[9, 33]"), "nothing, or two arrays"),
    "a shape of other size": (replaced("[3, 2]", "[3, 3]"), "has 24 bytes"),
    "a shape beyond 64 bits": (replaced("[3, 2]", f"[{2**62}, {2**62}]"), "has 24 bytes"),
    "negative sizes": (replaced("[3, 2]", "[-3, -2]"), "of shape"),
    "another type": (replaced('"F32"', '"I32"'), "type 'I32'"),
    "a header beyond the limit": (
        change_header(lambda text: text + " " * container.HEADER_LIMIT),
        "no header of",
    ),
    "a header beyond the file": (
        lambda content: struct.pack("<Q", 2**23) + content[8:],
        "no header of 8388608",
    ),
    "more units": (set_config("units", 2**40), "the model needs"),
    "a name outside the package": (
        set_config("kernel_initializer", {"class_name": "os.system", "config": {}}),
        "os.system",
    ),
}


MAX_COUNT = 2**53  # float64 represents every integer up to this one


def counts(path: Path) -> dict[str, int]:
    description = File(path.read_bytes()).description
    if "estimator" in description:
        estimator = description["estimator"]
        return {**estimator["attributes"], **estimator["training"]}
    return description["state"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "value", [MAX_COUNT, MAX_COUNT - 1, MAX_COUNT + 1, 2**63 - 1, 2**63, 2**64, 10**400]
)
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        *[("Sequential", key) for key in ("iterations", "epoch")],
        *[("MLPRegressor", key) for key in ("iterations", "epoch", "n_iter_", "t_")],
        ("MLPRegressor", "_no_improvement_count"),
    ],
)
def test_counts_in_a_file_are_limited(kind: str, key: str, value: int, tmp_path: Path) -> None:
    """A model at the limit can be trained, saved and loaded again."""
    path = tmp_path / "model"
    if kind == "Sequential":
        model = nnfast.Sequential([layers.Dense(1, input_dim=2)])
        model.compile(optimizers.Nadam(schedules.ExponentialDecay(0.1, 10, 0.9)), "mse")
    elif not SKLEARN:
        pytest.skip("needs scikit-learn")
    else:
        model = nnfast.MLPRegressor(hidden_layer_sizes=3, max_iter=2)
        with warnings.catch_warnings(action="ignore"):
            model.fit(np.ones((8, 2)), np.ones(8))
    model.save(path)
    file = File(path.read_bytes())
    if kind == "Sequential":
        file.description["state"][key] = value
    else:
        part = "training" if key in ("iterations", "epoch") else "attributes"
        file.description["estimator"][part][key] = value
    path.write_bytes(file.content())
    if value > MAX_COUNT:
        with pytest.raises(ValueError, match=f"{key} must be an integer >= 0 and <= {MAX_COUNT}"):
            nnfast.load_model(path)
        return
    for _ in range(3):
        model = nnfast.load_model(path)
        if kind == "Sequential":
            model.fit(np.ones((8, 2)), np.ones(8), batch_size=4, epochs=2, verbose=0)
        else:
            model.partial_fit(np.ones((8, 2)), np.ones(8))
        assert all(np.isfinite(w).all() for w in getattr(model, "weights", []))
        model.save(path)
        reset = key in ("n_iter_", "_no_improvement_count")  # each partial_fit resets these
        assert (0 if reset else value) <= counts(path)[key] <= MAX_COUNT


@pytest.mark.parametrize("seed", [2**64 - 1, 2**64])
def test_seeds_in_a_file_have_64_bits(seed: int, saved: Path) -> None:
    file = File(saved.read_bytes())
    file.description["state"]["seed"] = seed
    saved.write_bytes(file.content())
    if seed >= 2**64:
        with pytest.raises(ValueError, match="seed must be an integer >= 0"):
            nnfast.load_model(saved)
        return
    nnfast.load_model(saved).save(saved)
    assert counts(saved)["seed"] == seed
    nnfast.load_model(saved)


@pytest.mark.parametrize("rule", RULES)
def test_files_that_break_a_rule_are_refused(rule: str, saved: Path) -> None:
    change, why = RULES[rule]
    saved.write_bytes(change(saved.read_bytes()))
    with pytest.raises(ValueError, match="is not a model saved by nnfast") as caught:
        nnfast.load_model(saved)
    assert why in str(caught.value)


def test_models_with_huge_outputs_are_refused(tmp_path: Path) -> None:
    nnfast.Sequential([layers.Input((4,)), layers.Flatten()]).save(tmp_path / "model")
    file = File((tmp_path / "model").read_bytes())
    file.description["model"]["input_shape"] = [2**31]
    (tmp_path / "model").write_bytes(file.content())
    with pytest.raises(ValueError, match=f"puts out {2**31} numbers"):
        nnfast.load_model(tmp_path / "model")
    enlarged = nnfast.Sequential([layers.Input((4, 4, 1)), layers.UpSampling2D(600)])
    enlarged.save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"puts out {2400**2} numbers"):
        nnfast.load_model(tmp_path / "model")


def pooled(shape: tuple[int, ...], *chain: layers.Layer) -> nnfast.Sequential:
    """Return a model that ends with global pooling, so that its outputs are small."""
    return nnfast.Sequential([layers.Input(shape), *chain, layers.GlobalAveragePooling2D()])


# Models with few weights and few outputs, but huge outputs of hidden layers. Building and saving
# them takes no memory.
HUGE_HIDDEN_OUTPUTS: dict[str, Callable[[], nnfast.Sequential]] = {
    "upsampling": lambda: pooled((4, 4, 1), layers.UpSampling2D(2500)),
    "bilinear upsampling": lambda: pooled(
        (4, 4, 1), layers.UpSampling2D(2500, interpolation="bilinear")
    ),
    "repeated upsampling": lambda: pooled(
        (2, 2, 1), *(layers.UpSampling2D(7) for _ in range(4)), layers.MaxPooling2D(2401)
    ),
    "padding": lambda: pooled((4, 4, 1), layers.ZeroPadding2D(5000)),
    "padding of no channels": lambda: nnfast.Sequential(
        [
            layers.Input((4, 4, 0)),
            layers.ZeroPadding2D(2**26),
            layers.Flatten(),
            layers.Dense(1),
        ]
    ),
    "repetitions": lambda: nnfast.Sequential(
        [layers.Input((4,)), layers.RepeatVector(10**7), layers.GlobalMaxPooling1D()]
    ),
    "steps": lambda: nnfast.Sequential(
        [
            layers.Input((4, 2)),
            layers.ZeroPadding1D(10**4),
            layers.Permute((2, 1)),
            layers.Reshape((20004, 2)),
            layers.UpSampling1D(10**3),
            layers.GlobalMaxPooling1D(),
        ]
    ),
    "padding of one column": lambda: pooled(
        (1, 1, 1), layers.ZeroPadding2D(((0, 2**24 - 1), (0, 0)))
    ),
    "a crop larger than the image": lambda: pooled((4, 4, 1), layers.RandomCrop(10000, 10000)),
    "resizing": lambda: pooled((4, 4, 1), layers.Resizing(10000, 10000)),
    "a central part larger than the image": lambda: pooled(
        (4, 4, 1), layers.CenterCrop(10000, 10000)
    ),
    "reshaping": lambda: pooled(
        (2,), layers.Dense(2), layers.Reshape((1, 2, 1)), layers.UpSampling2D((10000, 5000))
    ),
    "filters": lambda: pooled(
        (4, 4, 1), layers.UpSampling2D(500), layers.Conv2D(32, 1), layers.MaxPooling2D(2)
    ),
    "filters per channel": lambda: pooled(
        (4, 4, 1), layers.UpSampling2D(500), layers.DepthwiseConv2D(1, depth_multiplier=32)
    ),
    "transposed strides": lambda: pooled((4, 4, 1), layers.Conv2DTranspose(1, 1, strides=2500)),
    "transposed dilation": lambda: pooled(
        (4, 4, 1), layers.Conv2DTranspose(1, 3, dilation_rate=5000, padding="same")
    ),
    "separable filters": lambda: pooled(
        (4, 4, 1), layers.UpSampling2D(500), layers.SeparableConv2D(1, 1, depth_multiplier=32)
    ),
    "dilation": lambda: pooled((4, 4, 1), layers.Conv2D(1, 3, dilation_rate=5000, padding="same")),
    "dilation per channel": lambda: pooled(
        (4, 4, 1), layers.DepthwiseConv2D(3, dilation_rate=5000, padding="same")
    ),
    "causal dilation": lambda: nnfast.Sequential(
        [
            layers.Input((4, 1)),
            layers.Conv1D(1, 2, dilation_rate=10**8, padding="causal"),
            layers.GlobalMaxPooling1D(),
        ]
    ),
    "a layer without inputs": lambda: nnfast.Sequential(
        [
            layers.Input((0,)),
            layers.Dense(10**8, use_bias=False),
            layers.Reshape((10**8, 1)),
            layers.GlobalMaxPooling1D(),
        ]
    ),
    "statistics of many layers": lambda: pooled(
        (4, 4, 1),
        layers.UpSampling2D(250),
        *(layers.Normalization(mean=[0.0], variance=[1.0]) for _ in range(34)),
    ),
}


@pytest.mark.parametrize("how", HUGE_HIDDEN_OUTPUTS)
def test_models_with_huge_hidden_outputs_are_refused(how: str, tmp_path: Path) -> None:
    model = HUGE_HIDDEN_OUTPUTS[how]()
    model.save(tmp_path / "model")
    assert (tmp_path / "model").stat().st_size < 20000
    with pytest.raises(ValueError, match="intermediate values per sample"):
        nnfast.load_model(tmp_path / "model")


# Realistic models with large hidden outputs, which must load.
LARGE: dict[str, Callable[[], nnfast.Sequential]] = {
    "many filters on large images": lambda: pooled(
        (512, 512, 3), layers.Conv2D(64, 3, padding="same"), layers.MaxPooling2D(4)
    ),
    "many filters on gray images": lambda: pooled((1024, 1024, 1), layers.Conv2D(64, 3)),
    "segmentation": lambda: nnfast.Sequential(
        [
            layers.Input((512, 512, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Conv2D(21, 1, activation="sigmoid"),
        ]
    ),
    "large images to large images": lambda: nnfast.Sequential(
        [layers.Input((1500, 1500, 3)), layers.Conv2D(3, 3, padding="same")]
    ),
    "images from noise": lambda: nnfast.Sequential(
        [
            layers.Input((16, 16, 8)),
            *(
                layer
                for _ in range(5)
                for layer in (layers.Conv2D(64, 1, activation="relu"), layers.UpSampling2D())
            ),
            layers.Conv2D(3, 1, activation="sigmoid"),
        ]
    ),
    "images from codes": lambda: nnfast.Sequential(
        [
            layers.Input((100,)),
            layers.Dense(8 * 8 * 64),
            layers.Reshape((8, 8, 64)),
            *(
                layer
                for _ in range(6)
                for layer in (layers.UpSampling2D(), layers.Conv2D(32, 3, padding="same"))
            ),
            layers.Conv2D(3, 3, padding="same"),
        ]
    ),
    "dilation as in WaveNet": lambda: nnfast.Sequential(
        [
            layers.Input((16000, 1)),
            *(
                layers.Conv1D(32, 2, dilation_rate=2**i, padding="causal", activation="tanh")
                for i in range(10)
            ),
            layers.Conv1D(256, 1),
        ]
    ),
}


@pytest.mark.parametrize("which", LARGE)
def test_realistic_models_with_large_hidden_outputs_load(which: str, tmp_path: Path) -> None:
    model = LARGE[which]()
    model.save(tmp_path / "model")
    assert nnfast.load_model(tmp_path / "model").output_shape == model.output_shape


MEASURED = """
import sys, numpy as np, nnfast
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

before = peak()
model = nnfast.load_model(sys.argv[1])
model.predict(np.zeros((1, *model.input_shape[1:]), "f4"))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "model",
    [
        pooled((4, 4, 1), layers.UpSampling2D(1024)),
        pooled((4, 4, 1), layers.UpSampling2D(512), layers.UpSampling2D(2), layers.MaxPooling2D()),
        pooled((4, 4, 1), layers.Conv2D(1, 3, dilation_rate=2045, padding="same")),
        pooled((4, 4, 1), layers.UpSampling2D(511), layers.Conv2D(4, 3, padding="same")),
        pooled((1, 1, 1), layers.ZeroPadding2D(((0, 2**21 - 9), (0, 0)))),
    ],
)
def test_what_may_be_in_between_takes_little_memory(
    model: nnfast.Sequential, tmp_path: Path
) -> None:
    """Models with hidden outputs just below the limit, 64 MB, take two or three times as much."""
    model.save(tmp_path / "model")
    program = [sys.executable, "-P", "-c", MEASURED, str(tmp_path / "model")]
    package = os.path.dirname(os.path.dirname(nnfast.__file__))
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(f"{float(done.stdout):.0f} MB")
    assert float(done.stdout) < 220


def test_a_huge_sparse_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    with open(tmp_path / "model", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="is not a model"):
        nnfast.load_model(tmp_path / "model")

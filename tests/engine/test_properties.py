"""Any argument either works correctly or causes an error that names it; it is never modified.

NNFAST_TEST_EXAMPLES sets the number of examples per property.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

import nnfast
from nnfast import (
    callbacks,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
)
from nnfast.optimizers import schedules

Array = NDArray[Any]
EXAMPLES = int(os.environ.get("NNFAST_TEST_EXAMPLES", "200"))
property_of = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="NNFAST_TEST_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)

FLOATS = ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", np.longdouble)
INTEGERS = ("u1", "i1", "<i2", ">i2", "<u4", ">i4", "<i8", ">u8", "?")
LAYOUTS = ("C", "F", "stepped", "backwards", "misaligned", "memmap", "readonly", "nested lists")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def with_layout(array: Array, layout: str) -> Any:
    """Return the same values in another memory layout."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "stepped":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "backwards":
        return np.ascontiguousarray(array[::-1])[::-1]
    if layout == "misaligned":
        room = np.zeros(array.nbytes + 1, np.uint8)
        moved = room[1:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved
    if layout == "memmap":
        if not array.size:
            return array
        file = tempfile.TemporaryFile()  # noqa: SIM115  (the memmap keeps it open)
        moved = np.memmap(file, array.dtype, "w+", shape=array.shape)
        moved[...] = array
        return moved
    if layout == "readonly":
        array = array.copy()
        array.flags.writeable = False
        return array
    return array.tolist() if layout == "nested lists" else array


@st.composite
def arrays(draw: Any, *shape: int) -> Any:
    """Return an array of any dtype and layout, with values that every dtype can represent."""
    dtype = np.dtype(draw(st.sampled_from(FLOATS + INTEGERS)))
    low, high = {"u": (0, 200), "b": (0, 1)}.get(dtype.kind, (-100, 100))
    numbers = draw(hnp.arrays(np.int16, shape, elements=st.integers(low, high)))
    values = numbers / 8 if dtype.kind == "f" else numbers
    return with_layout(values.astype(dtype), draw(st.sampled_from(LAYOUTS)))


def plain(value: Any) -> Array:
    return np.array(value, np.float64, order="C")


def fingerprint(value: Any) -> Any:
    return value if isinstance(value, list) else (value.tobytes(), value.strides, value.flags.num)


@functools.cache
def model(dtype: str = "float32", classes: bool = False) -> Any:
    nnfast.set_seed(0)
    one = nnfast.Sequential(
        [
            layers.Dense(4, activation="tanh", input_dim=3),
            layers.Dense(3 if classes else 2, activation="softmax" if classes else None),
        ],
        dtype=dtype,
    )
    one.compile("sgd", "sparse_categorical_crossentropy" if classes else "mse")
    return one


def fresh(**options: Any) -> Any:
    one = nnfast.models.clone_model(model(**options))
    one.set_weights(model(**options).get_weights())
    one.compile("sgd", model(**options).loss)
    one._seed = 7
    one._network.engine.set_seed(7)
    return one


ROWS = st.integers(1, 40)


@property_of
@given(st.data(), ROWS, st.sampled_from(["float32", "float64"]))
def test_results_do_not_depend_on_layout_and_dtype_of_inputs(
    data: Any, rows: int, dtype: str
) -> None:
    x, y = data.draw(arrays(rows, 3)), data.draw(arrays(rows, 2))
    weight = np.abs(plain(data.draw(arrays(rows))))
    before = fingerprint(x), fingerprint(y)
    weights = []
    for given_x, given_y in ((x, y), (plain(x), plain(y))):
        one = fresh(dtype=dtype)
        fit = one.fit(given_x, given_y, batch_size=7, verbose=0, sample_weight=weight)
        out = one.predict(given_x)
        weights.append(
            [
                *one.get_weights(),
                out,
                fit.history.get("loss", []),
                one.evaluate(given_x, given_y, verbose=0),
                one.predict_on_batch(given_x),
                one.train_on_batch(given_x, given_y),
                one.loss_and_grad(given_x, given_y)[0],
                one.input_gradient(given_x, given_y),
            ]
        )
        hidden = np.tanh(plain(x) @ weights[-1][0].astype(np.float64) + weights[-1][1])
        expected = hidden @ weights[-1][2] + weights[-1][3]
        if np.isfinite(out).all():
            scale = 1 + np.abs(expected).max()
            np.testing.assert_allclose(out, expected, atol=2e-5 * scale)
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (fingerprint(x), fingerprint(y)) == before


ANY_SHAPE = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@property_of
@given(ANY_SHAPE, ANY_SHAPE)
def test_wrong_shapes_are_named_and_change_no_weights(
    x_shape: tuple[int, ...], y_shape: tuple[int, ...]
) -> None:
    x, y = np.ones(x_shape), np.ones(y_shape)
    # A superfluous last axis of size 1 is removed.
    x_fits = x_shape[1:] in ((3,), (3, 1))
    y_fits = y_shape[1:] in ((2,), (2, 1)) and y_shape[0] == (x_shape or [None])[0]
    if x_fits:
        assert fresh().predict(x).shape == (x_shape[0], 2)
    else:
        with pytest.raises(ValueError, match=r"^x "):
            fresh().predict(x)
    for method in ("fit", "evaluate", "train_on_batch", "loss_and_grad", "input_gradient"):
        options = {"verbose": 0} if method in ("fit", "evaluate") else {}
        one = fresh()
        before = one.get_weights()
        if x_fits and y_fits and x_shape[0] > 0:
            getattr(one, method)(x, y, **options)
        else:
            with pytest.raises(ValueError, match=r"^[xy] must"):
                getattr(one, method)(x, y, **options)
            for a, b in zip(before, one.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)


SMALL = st.integers(1, 4)
PAIR = st.tuples(SMALL, SMALL)
PADDING = st.sampled_from(["valid", "same"])
CONVOLUTION = {"strides": st.sampled_from([1, 2]), "padding": PADDING}
SIDES = st.tuples(st.integers(0, 2), st.integers(0, 2))
FILL_MODES = st.sampled_from(["reflect", "constant", "nearest", "wrap"])
AXES = st.lists(SMALL, min_size=1, unique=True)
IMAGE_LAYERS: list[tuple[type[layers.Layer], dict[str, st.SearchStrategy[Any]]]] = [
    (
        layers.Conv2D,
        {
            "filters": st.sampled_from([4, 6]),
            "kernel_size": PAIR,
            "groups": st.sampled_from([1, 2]),
            **CONVOLUTION,
        },
    ),
    (layers.Conv2D, {"filters": SMALL, "kernel_size": PAIR, "dilation_rate": PAIR}),
    (layers.Conv1D, {"filters": SMALL, "kernel_size": SMALL, **CONVOLUTION}),
    (
        layers.Conv2DTranspose,
        {
            "filters": SMALL,
            "kernel_size": PAIR,
            "strides": st.just((3, 2)),
            "padding": PADDING,
            "output_padding": st.sampled_from([None, 0, 1]),
        },
    ),
    (layers.Conv1DTranspose, {"filters": SMALL, "kernel_size": SMALL, **CONVOLUTION}),
    (layers.DepthwiseConv2D, {"kernel_size": PAIR, "depth_multiplier": SMALL, **CONVOLUTION}),
    (layers.SeparableConv2D, {"filters": SMALL, "kernel_size": PAIR, **CONVOLUTION}),
    (layers.SeparableConv1D, {"filters": SMALL, "kernel_size": SMALL, **CONVOLUTION}),
    (layers.MaxPooling2D, {"pool_size": PAIR, **CONVOLUTION}),
    (layers.MaxPooling1D, {"pool_size": SMALL, **CONVOLUTION}),
    (layers.AveragePooling2D, {"pool_size": PAIR, **CONVOLUTION}),
    (layers.AveragePooling1D, {"pool_size": SMALL, **CONVOLUTION}),
    (layers.GlobalAveragePooling2D, {"keepdims": st.booleans()}),
    (layers.GlobalMaxPooling2D, {"keepdims": st.booleans()}),
    (layers.GlobalAveragePooling1D, {}),
    (layers.GlobalMaxPooling1D, {}),
    (layers.ZeroPadding2D, {"padding": st.tuples(SIDES, SIDES)}),
    (layers.ZeroPadding1D, {"padding": SIDES}),
    (layers.Cropping2D, {"cropping": st.tuples(SIDES, SIDES)}),
    (layers.Cropping1D, {"cropping": SIDES}),
    (layers.UpSampling1D, {"size": SMALL}),
    (layers.RepeatVector, {"n": SMALL}),
    (
        layers.Permute,
        {"dims": st.integers(1, 4).flatmap(lambda n: st.permutations([*range(1, n + 1)]))},
    ),
    (
        layers.UpSampling2D,
        {"size": PAIR, "interpolation": st.sampled_from(["nearest", "bilinear"])},
    ),
    (layers.RandomFlip, {"mode": st.sampled_from(["horizontal", "vertical"])}),
    (
        layers.RandomTranslation,
        {
            "height_factor": st.floats(-1, 1),
            "width_factor": st.floats(-1, 1),
            "fill_mode": FILL_MODES,
        },
    ),
    (layers.RandomCrop, {"height": SMALL, "width": SMALL}),
    (layers.LSTM, {"units": SMALL, "return_sequences": st.booleans()}),
    (
        layers.RandomZoom,
        {
            "height_factor": st.floats(-1, 1, exclude_min=True),
            "width_factor": st.none() | st.floats(-1, 1, exclude_min=True),
            "interpolation": st.sampled_from(["nearest", "bilinear"]),
            "fill_mode": FILL_MODES,
        },
    ),
    (
        layers.RandomRotation,
        {
            "factor": st.floats(-1, 1),
            "interpolation": st.sampled_from(["nearest", "bilinear"]),
            "fill_mode": FILL_MODES,
        },
    ),
    (layers.RandomContrast, {"factor": st.floats(0, 1)}),
    (layers.RandomBrightness, {"factor": st.floats(-1, 1)}),
    (
        layers.Resizing,
        {
            "height": SMALL,
            "width": SMALL,
            "interpolation": st.sampled_from(["nearest", "bilinear"]),
            "pad_to_aspect_ratio": st.booleans(),
        },
    ),
    (layers.Resizing, {"height": SMALL, "width": SMALL, "crop_to_aspect_ratio": st.just(True)}),
    (layers.CenterCrop, {"height": SMALL, "width": SMALL}),
    (layers.GRU, {"units": SMALL, "reset_after": st.booleans()}),
    (layers.SimpleRNN, {"units": SMALL, "go_backwards": st.booleans()}),
    (layers.SpatialDropout1D, {"rate": st.floats(0, 1)}),
    (layers.SpatialDropout2D, {"rate": st.floats(0, 1)}),
    (layers.PReLU, {"shared_axes": st.one_of(st.none(), AXES)}),
    (layers.Softmax, {"axis": AXES}),
    (layers.UnitNormalization, {"axis": AXES}),
    (layers.GroupNormalization, {"groups": st.sampled_from([-1, 1, 2, 3]), "axis": SMALL}),
]


@property_of
@given(
    st.data(), st.sampled_from(IMAGE_LAYERS), hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)
)
def test_image_layers_accept_or_name_every_shape(
    data: st.DataObject, entry: tuple[Any, dict[str, Any]], shape: tuple[int, ...]
) -> None:
    cls, options = entry
    layer = cls(**{key: data.draw(values, key) for key, values in options.items()}, name="mine")
    if data.draw(st.integers(0, 9), "no pixels") == 0:
        shape = (0, *shape[1:])
    message = ""
    try:
        out = layer.infer_shape(shape)
    except ValueError as error:
        message = str(error)
    if message:
        assert "'mine'" in message
        assert str(shape) in message
        with pytest.raises(ValueError, match="'mine'"):
            nnfast.Sequential([layers.Input(shape), layer])
        return
    one = nnfast.Sequential([layers.Input(shape), layer])
    assert one.output_shape == (None, *out)
    x = np.random.default_rng(0).normal(size=(3, *shape))
    predicted = one.predict(x)
    assert predicted.shape == (3, *out)
    assert np.isfinite(predicted).all()
    if predicted.size == 0:
        return
    one.compile("adam", "mse")
    one.fit(x, np.zeros((3, *out)), verbose=0)
    assert all(np.isfinite(w).all() for w in one.get_weights())
    gradient = one.input_gradient(x, np.ones((3, *out)))
    assert gradient.shape == x.shape
    assert np.isfinite(gradient).all()


@property_of
@given(st.integers(0, 5), st.integers(0, 3), st.integers(1, 3), st.integers(1, 9))
def test_few_features_rows_and_classes_work(
    rows: int, features: int, classes: int, size: int
) -> None:
    one = nnfast.Sequential([layers.Dense(classes, activation="softmax", input_dim=features)])
    one.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = np.ones((rows, features)), np.arange(rows) % classes
    assert one.predict(x).shape == (rows, classes)
    if rows == 0:
        with pytest.raises(ValueError, match=r"^x must have at least one row"):
            one.fit(x, y, verbose=0)
        return
    expected = -np.log(np.asarray(one.predict(x), np.float64))[np.arange(rows), y].mean()
    assert one.evaluate(x, y, verbose=0)[0] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    history = one.fit(x, y, batch_size=size, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@property_of
@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint8, np.int64, np.uint64, np.float32, np.float64, bool]),
        st.integers(1, 6),
    )
)
def test_labels_out_of_range_are_named(y: Array) -> None:
    one, x = fresh(classes=True), np.ones((len(y), 3))
    right = bool(np.isin(y.astype(object), (0, 1, 2)).all())
    for method in (one.evaluate, one.fit):
        if right:
            method(x, y, verbose=0)
        else:
            with pytest.raises(ValueError, match=r"^y must hold"):
                method(x, y, verbose=0)


@property_of
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        (6, 3),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    st.sampled_from(["float32", "float64"]),
)
def test_nonfinite_inputs_affect_no_other_rows_and_no_weights(x: Array, dtype: str) -> None:
    one = fresh(dtype=dtype)
    out = one.predict(x)
    bad = ~np.isfinite(x).all(axis=1)
    clean = np.where(bad[:, None], 0, x)
    np.testing.assert_array_equal(out[~bad], one.predict(clean)[~bad])  # rows are independent
    one.fit(x, np.ones((6, 2)), batch_size=2, verbose=0)
    assert all(np.isfinite(w).all() for w in one.get_weights())


@property_of
@given(st.data())
def test_masked_arrays_are_refused(data: Any) -> None:
    x = np.ma.masked_array(np.ones((4, 3)), data.draw(hnp.arrays(bool, (4, 3))))
    for call in (fresh().predict, lambda x: fresh().fit(x, np.ones((4, 2)), verbose=0)):
        with pytest.raises(TypeError, match=r"^x must not be a masked array"):
            call(x)


# Hyper-parameters

ODD: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 0.0, 0.5, -0.5, 1.0, 1.5, 1e-300, 1e300, -1e300),
    *(2**31, 2**63, 2**64, 10**400, float("nan"), float("inf"), -float("inf"), 1j),
    *("", "text", "adam", b"bytes", (), [], [1], [None], ["a"], {}, {"a": 1}, {1}, object(), len),
    *(np.float32(0.5), np.int64(3), np.array(2), np.array([1, 2]), np.bool_(True), range(3), int),
]
ODD_VALUES = st.sampled_from(ODD)

FAMILIES = {
    callbacks: callbacks.Callback,
    constraints: constraints.Constraint,
    initializers: initializers.Initializer,
    layers: layers.Layer,
    losses: losses.Loss,
    metrics: metrics.Metric,
    optimizers: optimizers.Optimizer,
    regularizers: regularizers.L1L2,
    schedules: schedules.LearningRateSchedule,
}
CLASSES = [
    (cls, parameter.name)
    for module, base in FAMILIES.items()
    for name, cls in vars(module).items()
    if inspect.isclass(cls) and issubclass(cls, base) and cls is not base and name[0] != "_"
    if name not in ("MeanUp", "MeanDown", "InputLayer")  # base classes, and what Input returns
    for parameter in inspect.signature(cls).parameters.values()
    if parameter.kind is not parameter.VAR_KEYWORD
]

# Arguments that are required although they have a default.
ALSO_REQUIRED = {
    layers.CategoryEncoding: {"num_tokens": 4},
    layers.Discretization: {"num_bins": 3},
    layers.Embedding: {"input_dim": 4, "output_dim": 2},
    layers.MultiHeadAttention: {"num_heads": 2, "key_dim": 3},
}

# Argument: the conflicting or alternative argument that the error may name instead.
RELATED = {"min_value": "max_value", "learning_rate": "schedule", "epsilon": "min_delta"}

REQUIRED: dict[str, Any] = {
    "units": 3,
    "filters": 2,
    "kernel_size": 2,
    "height": 2,
    "width": 2,
    "factor": 0.1,
    "height_factor": 0.1,
    "width_factor": 0.1,
    "activation": "relu",
    "axes": 1,
    "layer": layers.GRU(2),
    "cell": layers.GRUCell(2),
    "rate": 0.5,
    "stddev": 0.1,
    "shape": (3,),
    "target_shape": (3,),
    "scale": 2.0,
    "filepath": "model",
    "backup_dir": "backup",
    "filename": "log",
    "schedule": lambda epoch: 0.1,
    "initial_learning_rate": 0.1,
    "learning_rate": 0.1,
    "decay_steps": 10,
    "decay_rate": 0.5,
    "first_decay_steps": 5,
    "boundaries": [2],
    "values": [0.1, 0.01],
    "max_learning_rate": 0.1,
    "total_steps": 10,
    "value": 0.5,
    "levels": (0.1, 0.9),
    "function": lambda y, p: np.abs(y - p).mean(axis=-1),
    "fn": lambda y, p: np.abs(y - p).mean(axis=-1),
    **dict.fromkeys(("specificity", "sensitivity", "precision", "recall"), 0.5),
}


def accepted_shape(layer: layers.Layer) -> tuple[int, ...]:
    """Return a sample shape that the layer accepts: a vector, a sequence or an image."""
    for shape in [(3,), (6, 2), (4, 5, 2)]:
        with suppress(ValueError):
            layer.infer_shape(shape)
            return shape
    raise ValueError("no shape fits")


def use(thing: Any) -> None:
    """Train a model that uses the object, if there is a way to use it."""
    x, y = np.ones((4, 3)), np.ones((4, 3))
    stack: list[Any] = [layers.Input((3,)), layers.Dense(3)]
    optimizer, loss, more = "sgd", "mse", {}
    if isinstance(thing, layers.Embedding):
        stack = [layers.Input((3,)), thing]
    elif isinstance(thing, layers.Layer):
        shape = accepted_shape(thing)
        stack += [layers.Dense(int(np.prod(shape))), layers.Reshape(shape), thing]
    elif isinstance(thing, optimizers.Optimizer):
        optimizer = thing
    elif isinstance(thing, schedules.LearningRateSchedule):
        optimizer = optimizers.SGD(thing)
    elif isinstance(thing, losses.Loss):
        loss = thing
    elif isinstance(thing, regularizers.L1L2):
        stack[1] = layers.Dense(3, kernel_regularizer=thing)
    elif isinstance(thing, constraints.Constraint):
        stack[1] = layers.Dense(3, kernel_constraint=thing)
    elif isinstance(thing, initializers.Initializer):
        stack[1] = layers.Dense(3, kernel_initializer=thing)
    elif isinstance(thing, metrics.Metric):
        more = {"metrics": [thing]}
    else:
        return
    one = nnfast.Sequential(stack)
    one.compile(optimizer, loss, **more)
    y = np.ones((4, int(np.prod(one.output_shape[1:]))))
    one.fit(x, y.reshape(4, *one.output_shape[1:]), verbose=0)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit memory, so that models of huge sizes fail at once."""
    resource = pytest.importorskip("resource")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(
    ("cls", "name"), CLASSES, ids=lambda entry: getattr(entry, "__name__", entry)
)
def test_constructors_accept_or_name_every_argument(
    little_memory: None, cls: Any, name: str
) -> None:
    """Try every odd value for every argument, which is fast enough without sampling."""
    parameters = inspect.signature(cls).parameters.values()
    arguments = {
        p.name: REQUIRED[p.name] for p in parameters if p.name in REQUIRED and p.default is p.empty
    }
    names = {name, name.replace("_", " "), name.split("_")[-1], RELATED.get(name)}
    for odd in ODD:
        try:
            thing = cls(**{**ALSO_REQUIRED.get(cls, {}), **arguments, name: odd})
        except (TypeError, ValueError) as error:
            # The error names the argument or its kind: "initializer" for "kernel_initializer".
            if not names & words(str(error)):
                raise
        else:
            with suppress(ValueError, TypeError, MemoryError):
                use(thing)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (method, name)
        for method in ("fit", "evaluate", "predict", "train_on_batch", "compile", "save", "build")
        for name in inspect.signature(getattr(nnfast.Sequential, method)).parameters
        if name != "self"
    ],
)
def test_methods_accept_or_name_every_argument(
    little_memory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, name: str
) -> None:
    """Try every odd value for every argument; a refused call changes no weights."""
    monkeypatch.chdir(tmp_path)
    arguments: dict[str, Any] = {"x": np.ones((8, 3)), "y": np.ones((8, 2)), "verbose": 0}
    taken = inspect.signature(getattr(nnfast.Sequential, method)).parameters
    arguments = {key: value for key, value in arguments.items() if key in taken}
    if method == "save":
        arguments["filepath"] = "model"
    names = {name, name.replace("_", " "), name.replace("validation_", ""), RELATED.get(name)}
    names |= {"metric"} if "metrics" in name else set()
    for odd in ODD:
        if name == "epochs" and isinstance(odd, (int, np.integer)) and odd > 2:
            continue  # would take too long
        one = fresh()
        before = one.get_weights()
        try:
            getattr(one, method)(**{**arguments, name: odd})
        except (TypeError, ValueError, OSError) as error:
            assert all(map(np.array_equal, before, one.get_weights()))
            if not isinstance(error, OSError) and not names & words(str(error)):
                raise AssertionError(f"{odd!r}: {error}") from error
        assert all(np.isfinite(w).all() for w in one.get_weights())


def words(text: str) -> set[str]:
    found = set(re.findall(r"\w+", text))
    return found | {f"{a} {b}" for a, b in pairwise(re.findall(r"\w+", text))}

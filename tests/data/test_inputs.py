"""x and y may have many types; they are read in place if possible, otherwise converted once."""

from __future__ import annotations

import array
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast import layers
from nnfast._data import arrays

SINGLE = np.dtype(np.float32)


def numbers() -> NDArray[np.float64]:
    """Return zeros and ones, which every dtype below represents exactly."""
    return np.random.default_rng(0).integers(0, 2, (24, 3)).astype(np.float64)


def trained(x: Any, y: Any = None) -> Any:
    nnfast.set_seed(0)
    model = nnfast.Sequential([layers.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, numbers()[:, 0] if y is None else y, batch_size=8, epochs=2, verbose=0)
    return [*model.get_weights(), model.predict(x, verbose=0)]


def assert_same(a: Any, b: Any) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


class OnlyArray:
    """An array that supports only `__array__`."""

    def __init__(self, data: NDArray[Any]) -> None:
        self.data = data

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self.data if dtype is None else self.data.astype(dtype)


class OnlyDLPack:
    """An array that supports only DLPack."""

    def __init__(self, data: NDArray[Any]) -> None:
        self.data = data

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()


class OnDevice(OnlyDLPack):
    """An array that claims to be on a GPU, and therefore cannot be read."""

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the array is not on the CPU")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)


def _torch(x: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(x)


def _jax(x: NDArray[Any]) -> Any:
    import jax

    return jax.numpy.asarray(x.astype(np.float32))


def _pandas(x: NDArray[Any]) -> Any:
    return pytest.importorskip("pandas").DataFrame(x, columns=list("abc"))


def _mixed_frame(x: NDArray[Any]) -> Any:
    frame = _pandas(x)
    return frame.assign(a=frame.a.astype("int8"), b=frame.b.astype(bool))


def _nullable_frame(x: NDArray[Any]) -> Any:
    return _pandas(x).astype("Float64")


def _polars(x: NDArray[Any]) -> Any:
    return pytest.importorskip("polars").DataFrame(x, schema=list("abc"))


FORMS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x.tolist())),
    "Fortran order": np.asfortranarray,
    "a strided view": lambda x: np.repeat(x, 2, axis=0)[::2],
    "read only": lambda x: np.broadcast_to(x, x.shape),
    "big endian": lambda x: x.astype(">f8"),
    "memoryview": memoryview,
    "object dtype": lambda x: x.astype(object),
    "__array__": OnlyArray,
    "__dlpack__": OnlyDLPack,
    "pandas": _pandas,
    "pandas, several dtypes": _mixed_frame,
    "pandas, nullable": _nullable_frame,
    "polars": _polars,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_type_of_x_trains_alike(form: str) -> None:
    assert_same(trained(FORMS[form](numbers())), trained(numbers()))


@pytest.mark.peers
@pytest.mark.parametrize("form", [_torch, _jax])
def test_tensors_train_like_arrays(form: Callable[[NDArray[Any]], Any]) -> None:
    assert_same(trained(form(numbers())), trained(numbers()))


@pytest.mark.parametrize("dtype", ["?", *"bBhHiIlLqQ", *"efdg"])
def test_every_dtype_of_x_trains_alike(dtype: str) -> None:
    assert_same(trained(numbers().astype(dtype)), trained(numbers()))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_series_and_arrays_may_be_y(library: str) -> None:
    series = pytest.importorskip(library).Series(numbers()[:, 0])
    assert_same(trained(numbers(), series), trained(numbers()))
    assert_same(trained(numbers(), array.array("d", numbers()[:, 0])), trained(numbers()))


@pytest.mark.peers
def test_torch_tensors_may_be_y_and_validation_data() -> None:
    x, y = numbers(), numbers()[:, :1]
    assert_same(trained(_torch(x), _torch(y)), trained(x, y))
    model = nnfast.Sequential([layers.Dense(1, input_dim=3)])
    model.compile("sgd", "mse")
    data = (_torch(x), _torch(y), _torch(np.ones(24)))
    history = model.fit(x, y, validation_data=data, verbose=0).history
    assert history["val_loss"] == [pytest.approx(model.evaluate(x, y, verbose=0))]


IN_PLACE: dict[str, Callable[[NDArray[Any]], Any]] = {
    "read only": lambda x: np.broadcast_to(x, x.shape),
    "__array__": OnlyArray,
    "__dlpack__": OnlyDLPack,
}


@pytest.mark.parametrize("form", IN_PLACE)
def test_float32_arrays_are_read_in_place(form: str) -> None:
    x = IN_PLACE[form](numbers().astype(np.float32))
    checked = arrays.features("x", x, (3,), SINGLE)
    again = arrays.features("x", x, (3,), SINGLE)
    assert np.shares_memory(checked, again)


@pytest.mark.parametrize("code", [*np.typecodes["AllInteger"], "?"])
def test_integer_and_bool_arrays_are_not_converted(code: str) -> None:
    x = numbers().astype(code)
    assert np.shares_memory(arrays.features("x", x, (3,), SINGLE), x)
    expected = np.uint8 if code == "?" else x.dtype
    assert arrays.features("x", x[::2], (3,), SINGLE).dtype == expected


def peak_memory(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CLASSIFIERS: dict[str, Callable[[], list[layers.Layer]]] = {
    "dense": lambda: [layers.Rescaling(1 / 255), layers.Flatten()],
    "convolution": lambda: [
        layers.Rescaling(1 / 255),
        layers.Reshape((28, 28, 1)),
        layers.RandomFlip(),
        layers.Conv2D(2, 3, strides=3),
        layers.Flatten(),
    ],
}


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("how", ["array", "memmap"])
def test_images_train_without_a_float_copy(how: str, classifier: str, tmp_path: Path) -> None:
    shape = (4000, 28, 28)
    x: Any = np.zeros(shape, np.uint8)
    if how == "memmap":
        x = np.memmap(tmp_path / "x", np.uint8, "w+", shape=shape)
        x.flush()
        x = np.memmap(tmp_path / "x", np.uint8, "r", shape=shape)
    x_size, y = x.nbytes, np.zeros(4000, np.uint8)
    model = nnfast.Sequential(
        [
            layers.Input((28, 28)),
            *CLASSIFIERS[classifier](),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    options: dict[str, Any] = {"validation_split": 0.25, "verbose": 0}
    model.fit(x[:32], y[:32], **options)
    assert peak_memory(lambda: model.fit(x, y, **options)) < x_size / 4
    assert peak_memory(lambda: model.evaluate(x, y, verbose=0)) < x_size / 4
    assert peak_memory(lambda: model.predict(x, verbose=0)) < x_size / 4


REFUSED: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "text among objects": (lambda: np.array([[1, 2, "3"]], object), ["x", "text"]),
    "dates": (lambda: np.zeros((4, 3), "datetime64[s]"), ["x", "datetime64"]),
    "masked": (lambda: np.ma.masked_equal(numbers(), 1.0), ["x", "masked", "filled"]),
    "another device": (lambda: OnDevice(numbers()), ["x", "CPU"]),
    "None inside": (lambda: [[1.0, None, 2.0]], ["x", "list", "None"]),
    "a string": (lambda: "data.csv", ["x"]),
    "a dict": (lambda: {"a": [1.0]}, ["x", "dict"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unreadable_inputs_are_refused(case: str) -> None:
    make, words = REFUSED[case]
    model = nnfast.Sequential([layers.Dense(1, input_dim=3)])
    with pytest.raises((TypeError, ValueError)) as caught:
        model.predict(make())
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)


@pytest.mark.peers
def test_tensors_that_require_gradients_are_refused() -> None:
    import torch

    with pytest.raises(TypeError, match="detach"):
        trained(torch.ones(24, 3, requires_grad=True))

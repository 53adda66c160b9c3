"""CategoryEncoding and Discretization: values, shapes, bins of a data set, and errors.

The values are those of Keras' documentation, or are counted by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import nnfast
from nnfast import layers
from nnfast.layers import CategoryEncoding, Discretization

NUMBERS = np.array([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]])


def check(actual: Any, expected: Any, dtype: str) -> None:
    assert actual.dtype == dtype
    assert_array_equal(actual, np.array(expected))
    assert_array_equal(actual.numpy(), np.array(expected))


def test_integers_are_encoded() -> None:
    one_hot = [[0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    check(CategoryEncoding(4, "one_hot")([3, 2, 0, 1]), one_hot, "float32")
    check(CategoryEncoding(4, "one_hot")([[3], [2], [0], [1]]), one_hot, "float32")
    check(CategoryEncoding(2, "one_hot")([[0, 1]]), [[[1, 0], [0, 1]]], "float32")
    pairs = [[0, 1], [0, 0], [1, 2], [3, 1]]
    multi_hot = [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]
    check(CategoryEncoding(4)(pairs), multi_hot, "float32")
    check(CategoryEncoding(4, "binary")(np.array(pairs, "uint8")), multi_hot, "float32")
    counts = [[1, 1, 0, 0], [2, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]
    check(CategoryEncoding(4, "count", dtype="float64")(pairs), counts, "float64")
    check(CategoryEncoding(4, "count")([1, 1, 3]), [0, 2, 0, 1], "float32")
    check(CategoryEncoding(4, "count")(2), [0, 0, 1, 0], "float32")
    check(CategoryEncoding(4, "count")(np.array(pairs, float)), counts, "float32")


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (0, 1)])
def test_there_may_be_no_integers(mode: str, shape: tuple[int, ...]) -> None:
    found = CategoryEncoding(4, mode)(np.zeros(shape, int))
    rows = shape[:-1] if mode != "one_hot" or shape[1:] == (1,) else shape
    assert_array_equal(found, np.zeros((*rows, 4)))


def test_counts_are_weighted() -> None:
    layer = CategoryEncoding(4, "count", dtype="float64")
    weights = np.array([[0.1, 0.2], [0.1, 0.1], [0.2, 0.3], [0.4, 0.2]])
    found = layer([[0, 1], [0, 0], [1, 2], [3, 1]], count_weights=weights)
    check(found, [[0.1, 0.2, 0, 0], [0.2, 0, 0, 0], [0, 0.2, 0.3, 0], [0, 0.2, 0, 0.4]], "float64")
    with pytest.raises(ValueError, match=r"count_weights.*\(1, 2\).*\(2,\)"):
        layer([[0, 1]], count_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"count_weights.*'multi_hot'"):
        CategoryEncoding(4)([[0, 1]], count_weights=[[1.0, 2.0]])
    x = nnfast.Input((2,))
    for one, other in ((x, [[1.0, 2.0]]), ([[0, 1]], x), (x, x)):
        with pytest.raises(TypeError, match=r"count_weights of layer .* for arrays only"):
            layer(one, count_weights=other)


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("shape", [(3,), (1,), (2, 3), (2, 1)])
def test_shapes_are_inferred(mode: str, shape: tuple[int, ...]) -> None:
    layer = CategoryEncoding(5, mode, name="mine")
    x = np.zeros((4, *shape), int)
    if mode != "one_hot" and len(shape) > 1:
        with pytest.raises(ValueError, match=r"'mine'.*\(tokens,\)"):
            layer.infer_shape(shape)
        with pytest.raises(ValueError, match="two axes"):
            layer(x)
        return
    assert layer(x).shape == (4, *layer.infer_shape(shape))
    assert layer(nnfast.Input(shape, dtype="int64")).shape == (None, *layer.infer_shape(shape))


def test_numbers_are_divided_into_bins() -> None:
    layer = Discretization([0.0, 1.0, 2.0])
    check(layer(NUMBERS), [[0, 2, 3, 1], [1, 3, 2, 1]], "int32")
    check(Discretization([2.0, 1.0, 0.0])([3.0, 1.5, -1.0]), [0, 1, 3], "int32")
    check(Discretization([])([3.0]), [0], "int32")
    check(Discretization([0.7])(np.float32([0.7])), [1], "int32")  # as float32, both are equal
    check(Discretization([0.0])([np.nan, np.inf, -np.inf]), [1, 1, 0], "int32")
    one_hot = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    check(Discretization([0, 1], output_mode="one_hot")([[-1], [0.5], [2]]), one_hot, "float32")
    counts = Discretization([0, 1], output_mode="count", dtype="float64")
    check(counts([[-1, 3, 2], [0.5, 0.5, 0.5]]), [[1, 0, 2], [0, 3, 0]], "float64")
    check(Discretization([0, 1], output_mode="multi_hot")([[-1, 3, 2]]), [[1, 0, 1]], "float32")


def test_bins_are_those_of_a_data_set() -> None:
    layer = Discretization(num_bins=4, epsilon=0.01)
    assert layer.bin_boundaries is None
    with pytest.raises(ValueError, match=r"no boundaries yet.*adapt"):
        layer(NUMBERS)
    layer.adapt(NUMBERS)
    check(layer(NUMBERS), [[0, 2, 3, 2], [1, 3, 3, 1]], "int32")
    copy = Discretization.from_config(layer.get_config())
    assert copy.bin_boundaries == layer.bin_boundaries
    copy.adapt(NUMBERS + 1)
    assert copy.bin_boundaries != layer.bin_boundaries


@pytest.mark.parametrize("epsilon", [0.001, 0.01])
def test_bins_have_about_equal_sizes(epsilon: float) -> None:
    x = np.random.default_rng(0).normal(size=(10000, 3))
    layer = Discretization(num_bins=8, epsilon=epsilon)
    layer.adapt(x)
    assert_array_equal(layer.bin_boundaries, np.sort(layer.bin_boundaries))
    assert abs(np.bincount(layer(x).ravel()) / x.size - 1 / 8).max() < 2 * epsilon
    streamed = Discretization(num_bins=8, epsilon=epsilon)
    streamed.adapt(x[i : i + 1000] for i in range(0, 10000, 1000))
    assert abs(np.bincount(streamed(x).ravel()) / x.size - 1 / 8).max() < 4 * epsilon
    first = Discretization(num_bins=8, epsilon=epsilon)
    first.adapt((x[i : i + 1000] for i in range(0, 10000, 1000)), steps=3)
    again = Discretization(num_bins=8, epsilon=epsilon)
    again.adapt(iter([x[:1000], x[1000:2000], x[2000:3000]]))
    whole = Discretization(num_bins=8, epsilon=epsilon)
    whole.adapt([x[:5000], x[5000:]])
    assert whole.bin_boundaries == layer.bin_boundaries
    assert first.bin_boundaries == again.bin_boundaries != streamed.bin_boundaries


def test_the_number_of_outputs_does_not_change() -> None:
    layer = Discretization(num_bins=3, output_mode="one_hot", name="mine")
    layer.adapt(np.arange(100.0))
    assert len(layer.bin_boundaries or ()) == 2
    with pytest.raises(RuntimeError, match=r"'mine' have 3 bins.* 1"):
        layer.adapt(np.array([1.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CategoryEncoding(), "num_tokens.*IntegerLookup"),
        (lambda: CategoryEncoding(0), "num_tokens.*>= 1.*0"),
        (lambda: CategoryEncoding(2.5), "num_tokens.*2.5"),
        (lambda: CategoryEncoding(3, "int"), "output_mode.*'int'"),
        (lambda: CategoryEncoding(3, "tf_idf"), "output_mode.*'tf_idf'"),
        (lambda: CategoryEncoding(3, sparse=True), "sparse must be False"),
        (lambda: CategoryEncoding(3, name="c")([[3]]), "from 0 to 2.*'c'.* 3 to 3"),
        (lambda: CategoryEncoding(3)([[-1]]), "from 0 to 2.*-1 to -1"),
        (lambda: CategoryEncoding(3)([[0.5]]), "x must hold integers.*0.5"),
        (lambda: CategoryEncoding(3)([[np.nan]]), "x must hold integers.*nan"),
        (lambda: CategoryEncoding(3)([["a"]]), "x must.*"),
        (lambda: CategoryEncoding(3)(np.array([2**64 - 1], np.uint64)), "64 bits"),
        (lambda: Discretization(), "either bin_boundaries or num_bins"),
        (lambda: Discretization([1.0], 2), "either bin_boundaries or num_bins"),
        (lambda: Discretization([1.0, 3.0, 2.0]), r"bin_boundaries.*in order.*\[1.0, 3.0, 2.0\]"),
        (lambda: Discretization([[1.0]]), "bin_boundaries.*list of numbers"),
        (lambda: Discretization([np.nan]), "bin_boundaries.*in order"),
        (lambda: Discretization(["a"]), "bin_boundaries"),
        (lambda: Discretization(num_bins=0), "num_bins.*>= 1.*0"),
        (lambda: Discretization(num_bins=2, epsilon=0.0), "epsilon.*> 0.*0.0"),
        (lambda: Discretization([1.0], output_mode="tf_idf"), "output_mode.*'tf_idf'"),
        (lambda: Discretization([1.0], sparse=True), "sparse must be False"),
        (lambda: Discretization([1.0]).adapt(NUMBERS), "given bin_boundaries.*num_bins"),
        (lambda: Discretization(num_bins=2).adapt(np.zeros(0)), "data must have.*none"),
        (lambda: Discretization(num_bins=2).adapt(NUMBERS.astype(str)), "data must"),
        (lambda: Discretization(num_bins=2).adapt([NUMBERS], steps=0), "steps.*>= 1.*0"),
        (lambda: Discretization(num_bins=2).adapt(NUMBERS, steps=1), "steps.*batches only.*1"),
        (lambda: Discretization(num_bins=2).adapt({"a": NUMBERS}), r"mapping.*\['a'\]"),
        (lambda: Discretization(num_bins=2).adapt(iter([])), "data must give at least one batch"),
        (lambda: layers.deserialize({"class_name": "Discretization", "config": {}}), "either"),
        (lambda: CategoryEncoding(3, dtype={"class_name": "DTypePolicy"}), "dtype.*DTypePolicy"),
    ],
)
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()

"""CategoryEncoding and Discretization give the values and the errors of Keras.

StringLookup and IntegerLookup of Keras need TensorFlow, which the peers do not include.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import nnfast.keras
from nnfast.layers import Discretization

pytestmark = pytest.mark.peers

MODES = ["int", "one_hot", "multi_hot", "count"]


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (1, 1), (4, 2, 3), (4, 2, 1)])
def test_encodings_are_those_of_keras(mode: str, shape: tuple[int, ...], keras: Any) -> None:
    if mode != "one_hot" and len(shape) > 2:
        return  # Keras documents at most two axes
    x = np.random.default_rng(0).integers(0, 6, shape)
    found = []
    for k in (nnfast.keras, keras):
        layer = k.layers.CategoryEncoding(6, mode)
        found.append(np.asarray(layer(x)))
        if len(shape) > 1:
            symbolic = layer(k.Input(shape[1:], dtype="int64"))
            assert tuple(symbolic.shape) == (None, *found[-1].shape[1:])
            assert symbolic.dtype == "float32"
    assert found[0].dtype == found[1].dtype
    assert_array_equal(*found)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("boundaries", [[0.0, 1.0, 2.0], [0.75], [-1.3, -1.3, 0.4]])
def test_bins_are_those_of_keras(mode: str, boundaries: list[float], keras: Any) -> None:
    x = np.round(4 * np.random.default_rng(0).normal(size=(50, 3))) / 4
    found = [
        np.asarray(k.layers.Discretization(boundaries, output_mode=mode)(x))
        for k in (nnfast.keras, keras)
    ]
    assert found[0].dtype == found[1].dtype
    assert_array_equal(*found)


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("n_bins", [1, 2, 4, 7])
@pytest.mark.parametrize("sizes", [[7], [1000], [300, 300, 5], [50] * 8])
def test_boundaries_are_those_of_keras(
    epsilon: float, n_bins: int, sizes: list[int], keras: Any
) -> None:
    rng = np.random.default_rng(len(sizes))
    data = [rng.normal(size=(size, 2)) for size in sizes]
    own = Discretization(num_bins=n_bins, epsilon=epsilon)
    own.adapt(iter(data))
    other = keras.layers.Discretization(num_bins=n_bins, epsilon=epsilon)
    other.reset_state()  # adapt needs TensorFlow, these methods do not
    for batch in data:
        other.update_state(batch)
    other.finalize_state()
    assert own.bin_boundaries == other.bin_boundaries
    assert own.get_config().keys() >= other.get_config().keys() - {"dtype"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CategoryEncoding", {}),
        ("CategoryEncoding", {"num_tokens": 0}),
        ("CategoryEncoding", {"num_tokens": 3, "output_mode": "int"}),
        ("Discretization", {}),
        ("Discretization", {"num_bins": -1}),
        ("Discretization", {"num_bins": 3, "bin_boundaries": [1.0]}),
        ("Discretization", {"num_bins": 3, "output_mode": "tf_idf"}),
        ("Discretization", {"num_bins": 3, "sparse": True}),
    ],
)
def test_keras_refuses_the_same_arguments(name: str, options: dict[str, Any], keras: Any) -> None:
    for k in (nnfast.keras, keras):
        with pytest.raises(ValueError, match=r"(?s).+"):
            getattr(k.layers, name)(**options)

"""Bidirectional, TimeDistributed and RNN have the outputs of Keras, and train like Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast._plan.symbolic import leaves

pytestmark = pytest.mark.peers

STEPS, FEATURES = 5, 3


def sequences(rows: int = 12) -> np.ndarray:
    """Return sequences of which some steps are only padding, also between others."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, STEPS, FEATURES))
    x[rng.random((rows, STEPS)) < 0.3] = 0
    x[:2, 2] = 0
    return x


def masked(k: Any) -> tuple[Any, Any]:
    x = k.Input((STEPS, FEATURES), name="x")
    return x, k.layers.Masking(name="mask")(x)


def concatenated(k: Any) -> Any:
    x, h = masked(k)
    h = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True), name="a")(h)
    return k.Model(x, k.layers.Bidirectional(k.layers.GRU(3), merge_mode="sum", name="b")(h))


def words(k: Any) -> Any:
    """Return the model of Keras' example for IMDB, with a mask."""
    x = k.Input((STEPS,), dtype="int32", name="x")
    h = k.layers.Embedding(7, 3, mask_zero=True, name="e")(x)
    h = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True), name="a")(h)
    h = k.layers.Bidirectional(k.layers.LSTM(4), name="b")(h)
    return k.Model(x, k.layers.Dense(1, activation="sigmoid", name="c")(h))


def without_masks(k: Any) -> Any:
    x = k.Input((STEPS, FEATURES), name="x")
    h = k.layers.Bidirectional(
        k.layers.GRU(4, return_sequences=True, reset_after=False), merge_mode="mul", name="a"
    )(x)
    h = k.layers.Bidirectional(
        k.layers.SimpleRNN(4, return_sequences=True), merge_mode="ave", name="b"
    )(h)
    return k.Model(x, k.layers.TimeDistributed(k.layers.Dense(2, "tanh"), name="c")(h))


def two_outputs(k: Any) -> Any:
    x, h = masked(k)
    first, second = k.layers.Bidirectional(k.layers.GRU(4), merge_mode=None, name="a")(h)
    return k.Model(x, k.layers.subtract([first, 2 * second]))


def other_direction(k: Any) -> Any:
    x, h = masked(k)
    layer = k.layers.Bidirectional(
        k.layers.LSTM(4, return_sequences=True, go_backwards=True),
        backward_layer=k.layers.GRU(4, return_sequences=True, name="other"),
        name="a",
    )
    return k.Model(x, k.layers.GlobalAveragePooling1D()(layer(h)))


def states(k: Any) -> Any:
    # In Keras, a layer that is called with initial states does not get the mask.
    x = h = k.Input((STEPS, FEATURES), name="x")
    first = k.layers.Bidirectional(
        k.layers.LSTM(3, return_state=True, return_sequences=True), name="a"
    )
    y, *ends = first(h)
    h = k.layers.Bidirectional(k.layers.LSTM(3), name="b")(y, initial_state=ends[::-1])
    return k.Model(x, k.layers.concatenate([h, ends[1]]))


def cells(k: Any) -> Any:
    x, h = masked(k)
    stack = [k.layers.LSTMCell(4), k.layers.GRUCell(3), k.layers.SimpleRNNCell(2)]
    h = k.layers.RNN(stack, return_sequences=True, zero_output_for_mask=True, name="a")(h)
    return k.Model(x, k.layers.RNN(k.layers.GRUCell(2, reset_after=False), name="b")(h))


def cells_backwards(k: Any) -> Any:
    x, h = masked(k)
    layer = k.layers.RNN(
        k.layers.StackedRNNCells([k.layers.LSTMCell(4), k.layers.LSTMCell(3)]),
        go_backwards=True,
        return_state=True,
        name="a",
    )
    y, _, (_, c) = layer(h)
    return k.Model(x, k.layers.concatenate([y, c]))


def cells_in_both_directions(k: Any) -> Any:
    x, h = masked(k)
    stack = k.layers.RNN([k.layers.GRUCell(4), k.layers.LSTMCell(3)], return_sequences=True)
    return k.Model(x, k.layers.Bidirectional(stack, name="a")(h))


def hierarchy(k: Any) -> Any:
    """Return an encoder of words within sequences of sentences."""
    words = k.Input((2, FEATURES), name="words")
    encoder = k.Model(words, k.layers.GRU(4, name="gru")(words), name="encoder")
    x = k.Input((STEPS, 2, FEATURES), name="x")
    h = k.layers.TimeDistributed(encoder, name="a")(x)
    return k.Model(x, k.layers.LSTM(3, name="b")(h))


def masked_steps(k: Any) -> Any:
    x, h = masked(k)
    h = k.layers.TimeDistributed(k.layers.Dense(4, "relu"), name="a")(h)
    h = k.layers.GRU(3, return_sequences=True, name="b")(h)
    return k.Model(x, k.layers.TimeDistributed(k.layers.Dense(2), name="c")(h))


def images(k: Any) -> Any:
    net = k.Sequential(
        [
            k.layers.Conv2D(3, 2, activation="relu", name="c"),
            k.layers.MaxPooling2D(2, name="p"),
            k.layers.LayerNormalization(name="n", activity_regularizer="l2"),
            k.layers.Flatten(name="f"),
        ],
        name="net",
    )
    x = k.Input((STEPS, 5, 5, 2), name="x")
    h = k.layers.TimeDistributed(net, name="a")(x)
    return k.Model(x, k.layers.TimeDistributed(k.layers.Dense(2), name="b")(h))


MODELS: list[Callable[[Any], Any]] = [
    *(
        concatenated,
        words,
        without_masks,
        two_outputs,
        other_direction,
        states,
        cells,
        cells_backwards,
    ),
    *(cells_in_both_directions, hierarchy, masked_steps, images),
]


@pytest.mark.parametrize("make", MODELS)
def test_outputs_and_three_steps(keras64: Any, make: Callable[[Any], Any]) -> None:
    theirs, ours = make(keras64), make(nnfast.keras)
    assert [tuple(w.shape) for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    assert ours.output_shape == theirs.output_shape
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=w.shape) * 0.5 for w in theirs.get_weights()]
    shape = tuple(theirs.input_shape[1:])
    x = sequences() if shape == (STEPS, FEATURES) else rng.normal(size=(12, *shape))
    x = rng.integers(0, 7, (12, STEPS)) if make is words else x
    y = rng.normal(size=(12, *theirs.output_shape[1:]))
    for model, k in ((theirs, keras64), (ours, nnfast.keras)):
        model.set_weights(weights)
        model.compile(k.optimizers.Adam(0.01), "mse")
    for a, b in zip(leaves(ours.predict(x)), leaves(theirs.predict(x, verbose=0)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10)
    for _ in range(3):
        np.testing.assert_allclose(
            ours.train_on_batch(x, y), theirs.train_on_batch(x, y), rtol=1e-7
        )
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_states_are_kept_from_batch_to_batch(keras64: Any) -> None:
    if keras64.backend.backend() == "jax":
        pytest.skip("Keras with JAX does not keep states in predict_on_batch")
    results = []
    for k in (keras64, nnfast.keras):
        x = k.Input((STEPS, FEATURES), batch_size=4)
        h = k.layers.Bidirectional(k.layers.LSTM(3, stateful=True, return_sequences=True))(x)
        cells = [k.layers.GRUCell(3), k.layers.LSTMCell(2)]
        model = k.Model(x, k.layers.RNN(cells, stateful=True)(h))
        rng = np.random.default_rng(1)
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        batches = rng.normal(size=(3, 4, STEPS, FEATURES))
        results.append([np.asarray(model.predict_on_batch(batch)) for batch in batches])
    np.testing.assert_allclose(*results, rtol=1e-7)


def test_refusals_agree(keras: Any) -> None:
    for k in (keras, nnfast.keras):
        lstm = k.layers.LSTM
        for arguments in (
            {"layer": lstm(3), "merge_mode": "max"},
            {"layer": lstm(3), "backward_layer": lstm(3)},
            {"layer": lstm(3, go_backwards=True)},
            {"layer": lstm(3), "backward_layer": lstm(3, go_backwards=True, return_state=True)},
            {"layer": 3},
        ):
            with pytest.raises(ValueError):
                k.layers.Bidirectional(**arguments)
        with pytest.raises(ValueError):
            k.layers.TimeDistributed(3)
        with pytest.raises(ValueError):
            k.layers.TimeDistributed(k.layers.Dense(3))(k.Input((4,)))
        with pytest.raises(ValueError):
            k.layers.RNN([object()])

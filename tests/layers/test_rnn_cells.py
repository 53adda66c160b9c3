"""RNN layers agree with NumPy and with the layers of their cells."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from reference_recurrent import bidirectional_outputs, rnn_outputs

import nnfast
from nnfast import layers
from nnfast._engine import core
from nnfast._plan.symbolic import leaves

Array = NDArray[Any]

STEPS, FEATURES = 4, 2
CELLS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: layers.LSTMCell(2),
    "GRU": lambda: [layers.GRUCell(2, reset_after=False)],
    "two": lambda: [layers.GRUCell(3), layers.LSTMCell(2)],
    "three": lambda: layers.StackedRNNCells(
        [layers.SimpleRNNCell(1), layers.LSTMCell(2), layers.GRUCell(3, use_bias=False)]
    ),
}


def padded(rows: int) -> tuple[Array, Array]:
    """Return sequences and their mask, with holes, a row without real steps and a full one."""
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, STEPS, FEATURES))
    mask = rng.random((rows, STEPS)) < 0.6
    mask[0], mask[-1] = False, True
    x[~mask] = 0
    return x, mask


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_gradients(cell: str) -> None:
    rng = np.random.default_rng(0)
    x, mask = padded(4)
    z = rng.normal(size=(4, 3))
    for flags in itertools.product([False, True], repeat=5):
        sequences, backwards, zero, masked, given = flags
        layer = layers.RNN(CELLS[cell](), sequences, True, backwards, zero_output_for_mask=zero)
        inputs, more = (nnfast.Input(shape, dtype="float64") for shape in ((STEPS, FEATURES), (3,)))
        units = [part.units for part in layer.parts for _ in range(part.n_states)]
        dense = [layers.Dense(n) for n in units] if given else []
        states = [own(more) for own in dense] or None
        y = layer(layers.Masking()(inputs) if masked else inputs, initial_state=states)
        # An output with a mask would leave masked steps out of the loss.
        outputs = [each[:, :] if len(each.shape) > 2 else each for each in leaves(y)]
        model = nnfast.Model([inputs, more] if given else inputs, outputs)
        randomize(model)
        data = [x, z] if given else x

        def expected(
            layer: Any = layer, dense: Any = dense, own: Any = mask if masked else None
        ) -> list[Array]:
            states = tuple(z @ d.kernel.numpy() + d.bias.numpy() for d in dense)
            return rnn_outputs(layer, x, states, own)

        for found, right in zip(model.predict(data), expected(), strict=True):
            assert_allclose(found, right, rtol=1e-9, atol=1e-12)
        if zero != sequences:
            continue
        targets = [rng.normal(size=np.shape(each)) for each in expected()]

        def loss(y: Any = targets, expected: Any = expected) -> float:
            return sum(((a - b) ** 2).mean() for a, b in zip(expected(), y, strict=True))

        model.compile("sgd", ["mse"] * len(outputs))
        _, gradients = model.loss_and_grad(data, targets)
        arrays = [w for inner in model.flat_layers() for w in inner.named_weights.values()]
        for found, right in zip(gradients, differences(loss, arrays), strict=True):
            assert_allclose(found, right, rtol=1e-5, atol=1e-8)


def test_states_have_the_structure_of_the_cells() -> None:
    x = nnfast.Input((STEPS, FEATURES))
    _, *states = layers.RNN(CELLS["three"](), return_state=True)(x)
    shapes = [s.shape if not isinstance(s, list) else [e.shape for e in s] for s in states]
    assert shapes == [(None, 1), [(None, 2), (None, 2)], (None, 3)]
    y, h, c = layers.RNN(CELLS["LSTM"](), return_state=True)(x)
    assert y.shape == h.shape == c.shape == (None, 2)
    again = layers.RNN(CELLS["three"]())(x, initial_state=states)
    assert again.shape == (None, 3)
    cells = CELLS["three"]()
    assert cells.state_size == [1, [2, 2], 3]
    assert cells.output_size == 3
    assert layers.StackedRNNCells.from_config(cells.get_config()) == cells


def test_an_rnn_of_one_cell_is_its_layer() -> None:
    """Dropout included: the random numbers are those of the layer."""
    x, _ = padded(40)
    results = []
    for make in (
        lambda: layers.RNN(layers.GRUCell(5, dropout=0.3, recurrent_dropout=0.2, seed=4)),
        lambda: layers.GRU(5, dropout=0.3, recurrent_dropout=0.2, seed=4),
    ):
        nnfast.set_seed(1)
        model = nnfast.Sequential([nnfast.Input((STEPS, FEATURES)), layers.Masking(), make()])
        randomize(model)
        model.compile("adam", "mse")
        model.fit(x, np.ones((40, 5)), epochs=2, batch_size=16, verbose=0)
        results.append([*model.get_weights(), model.predict(x)])
    for a, b in zip(*results, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("backwards", [False, True])
def test_stateful_cells(backwards: bool) -> None:
    x, mask = padded(4)
    inputs = nnfast.Input((STEPS, FEATURES), batch_size=4, dtype="float64")
    layer = layers.RNN(CELLS["two"](), return_state=True, stateful=True, go_backwards=backwards)
    assert layer.states is None
    model = nnfast.Model(inputs, layer(layers.Masking()(inputs)))
    randomize(model)
    states: tuple[Array, ...] = ()
    for _ in range(3):
        expected = rnn_outputs(layer, x, states, mask)
        for found, right in zip(leaves(model.predict(x, batch_size=4)), expected, strict=True):
            assert_allclose(found, right, rtol=1e-9)
        states = tuple(expected[1:])
        for kept, right in zip(layer.states or (), states, strict=True):
            assert_allclose(kept, right, rtol=1e-9)
    model.reset_state()
    assert not any(state.any() for state in layer.states or ())
    with pytest.raises(ValueError, match="batch size must be fixed"):
        layers.RNN(layers.GRUCell(2), stateful=True)(nnfast.Input((STEPS, FEATURES)))


def test_within_bidirectional() -> None:
    x, mask = padded(5)
    cells = [layers.GRUCell(3, name="a"), layers.SimpleRNNCell(2, name="b")]
    layer = layers.Bidirectional(layers.RNN(cells, return_sequences=True), "sum")
    inputs = nnfast.Input((STEPS, FEATURES), dtype="float64")
    model = nnfast.Model(inputs, layer(layers.Masking()(inputs)))
    randomize(model)
    first, second = layer.parts
    (forward,), (backward,) = (rnn_outputs(part, x, mask=mask) for part in (first, second))
    assert_allclose(model.predict(x), forward + backward[:, ::-1], rtol=1e-9, atol=1e-12)
    single = layers.Bidirectional(layers.RNN(layers.SimpleRNNCell(2)))
    model = nnfast.Model(inputs, single(inputs))
    twin = layers.Bidirectional(layers.SimpleRNN(2))
    other = nnfast.Model(inputs, twin(inputs))
    randomize(model)
    twin.set_weights(single.get_weights())
    assert_array_equal(other.predict(x), model.predict(x))
    (right,) = bidirectional_outputs(twin, x)
    assert_allclose(model.predict(x), right, rtol=1e-9)


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    x, _ = padded(150)
    results = []
    try:
        for threads in (1, 2, 3, 7):
            nnfast.set_seed(1)
            core.force_threads(threads)
            cells = [layers.LSTMCell(17, dropout=0.2), layers.GRUCell(9, recurrent_dropout=0.3)]
            model = nnfast.Sequential(
                [
                    nnfast.Input((STEPS, FEATURES)),
                    layers.Masking(),
                    layers.RNN(cells, go_backwards=True),
                ]
            )
            model.compile("adam", "mse")
            model.fit(x, np.ones((150, 9)), batch_size=70, epochs=2, verbose=0)
            results.append([*model.get_weights(), model.predict(x)])
    finally:
        core.force_threads(0)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_weights_and_configuration() -> None:
    layer = layers.RNN([layers.GRUCell(3, name="a"), layers.LSTMCell(2, name="b")], name="both")
    model = nnfast.Sequential([nnfast.Input((STEPS, FEATURES)), layer])
    assert list(layer.named_weights) == [
        f"{cell}/{name}" for cell in "ab" for name in ("kernel", "recurrent_kernel", "bias")
    ]
    x, _ = padded(3)
    copy = nnfast.models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    assert_array_equal(copy.predict(x), model.predict(x))
    assert copy.layers[0].cell == layer.cell
    with pytest.raises(AttributeError, match="cannot be changed"):
        layer.cell = layers.GRUCell(2)


class PythonCell:
    state_size = 3

    def call(self, x: Any, states: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.RNN(PythonCell()), ValueError, "cannot run cells written in Python"),
        (
            lambda: layers.RNN([layers.GRUCell(2), PythonCell()]),
            ValueError,
            "cannot run cells written",
        ),
        (lambda: layers.RNN(layers.GRU(2)), ValueError, "cell must be an LSTMCell"),
        (lambda: layers.RNN([]), ValueError, "at least one cell"),
        (lambda: layers.StackedRNNCells(layers.GRUCell(2)), ValueError, "list of at least one"),
        (lambda: layers.RNN([layers.GRUCell(2, name="a")] * 2), ValueError, "different names"),
        (lambda: layers.RNN(layers.GRUCell(2), "yes"), TypeError, "return_sequences"),
        (
            lambda: layers.RNN(layers.LSTMCell(2))(
                nnfast.Input((3, 2)), initial_state=nnfast.Input((2,))
            ),
            ValueError,
            "an input and 2 initial states",
        ),
        (
            lambda: layers.RNN.from_config({"cell": {"class_name": "Dense", "config": {}}}),
            ValueError,
            "Unknown cell",
        ),
    ],
)
def test_errors(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()

"""States, masks and dropout of recurrent layers agree with NumPy and with central differences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from reference_recurrent import dropout_factors, recurrent_outputs

import nnfast
from nnfast import layers
from nnfast._engine import core

Array = NDArray[Any]

CELLS = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "GRU, reset before": lambda units, **options: layers.GRU(units, reset_after=False, **options),
    "SimpleRNN": layers.SimpleRNN,
}
STEPS, FEATURES = 5, 2


@pytest.fixture
def any_threads() -> Any:
    yield
    core.force_threads(0)


def padded(rows: int, seed: int = 0) -> tuple[Array, Array]:
    """Return sequences and their mask, with holes, a row without real steps and a full one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, STEPS, FEATURES))
    mask = rng.random((rows, STEPS)) < 0.6
    mask[0], mask[-1] = False, True
    x[~mask] = 0
    return x, mask


def model_of(
    cell: str, units: int, masked: bool, given: bool, **options: Any
) -> tuple[nnfast.Model, Any]:
    """Return a model of a layer that returns its states, and the layer.

    If `given`, the initial states are those of Dense layers.
    """
    x, z = (nnfast.Input(shape, dtype="float64") for shape in ((STEPS, FEATURES), (3,)))
    layer = CELLS[cell](units, return_state=True, **options)
    states = [layers.Dense(units)(z) for _ in range(layer.cell.n_states)]
    outputs = layer(layers.Masking()(x) if masked else x, initial_state=states if given else None)
    # An output with a mask would leave masked steps out of the loss.
    outputs = [y[:, :] if len(y.shape) > 2 else y for y in outputs]
    model = nnfast.Model([x, z] if given else x, outputs)
    randomize(model)
    return model, layer


@pytest.mark.parametrize("units", [3, 18])
@pytest.mark.parametrize("cell", CELLS)
def test_states_and_masks(cell: str, units: int) -> None:
    rng = np.random.default_rng(1)
    rows = 7 if units == 3 else 50
    x, mask = padded(rows)
    z = rng.normal(size=(rows, 3))
    for sequences, zero, backwards, masked, given in itertools.product([False, True], repeat=5):
        options = {"return_sequences": sequences, "zero_output_for_mask": zero}
        model, layer = model_of(cell, units, masked, given, go_backwards=backwards, **options)
        data = [x, z] if given else x
        dense = [inner for inner in model.layers if isinstance(inner, layers.Dense)]

        def outputs(layer: Any = layer, dense: Any = dense, masked: bool = masked) -> Any:
            states = tuple(z @ d.kernel.numpy() + d.bias.numpy() for d in dense)
            return recurrent_outputs(
                layer, x, layer.named_weights, states, mask if masked else None
            )

        for found, expected in zip(model.predict(data), outputs(), strict=True):
            assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        if units == 3 and zero == backwards:
            y = [rng.normal(size=np.shape(each)) for each in outputs()]

            def loss(y: Any = y, outputs: Any = outputs) -> float:
                return sum(((a - b) ** 2).mean() for a, b in zip(outputs(), y, strict=True))

            model.compile("sgd", ["mse"] * len(y))
            _, gradients = model.loss_and_grad(data, y)
            arrays = [w for inner in model.layers for w in inner.named_weights.values()]
            for found, expected in zip(gradients, differences(loss, arrays), strict=True):
                assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_may_hold_anything(cell: str) -> None:
    x, mask = padded(9)
    x[~mask] = 5.0
    model = nnfast.Sequential(
        [
            nnfast.Input((STEPS, FEATURES)),
            layers.Masking(5.0),
            layers.BatchNormalization(trainable=False),
            CELLS[cell](4, return_sequences=True),
            CELLS[cell](4),
        ]
    )
    model.compile("sgd", "mse")
    before = model.predict(x)
    assert_array_equal(before[0], np.zeros(4))
    model.fit(x, np.ones((9, 4)), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_number_of_threads_does_not_change_a_bit(
    cell: str, masked: bool, any_threads: None
) -> None:
    x, _ = padded(150)
    results = []
    for threads in (1, 2, 3, 4, 7):
        nnfast.set_seed(1)
        core.force_threads(threads)
        options = {"dropout": 0.2, "recurrent_dropout": 0.3}
        stack = [
            nnfast.Input((STEPS, FEATURES)),
            *[layers.Masking()] * masked,
            CELLS[cell](18, return_sequences=True, **options),
            CELLS[cell](7, **options),
            layers.Dense(1),
        ]
        model = nnfast.Sequential(stack)
        model.compile("adam", "mse")
        model.fit(x, np.ones((150, 1)), batch_size=70, epochs=2, verbose=0)
        results.append([*model.get_weights(), model.predict(x)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


# ---- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_is_that_of_a_layer_before(cell: str) -> None:
    """All steps drop the same features, as Dropout does with noise_shape=(None, 1, features)."""
    x = np.random.default_rng(0).normal(size=(40, STEPS, 7))
    results = []
    for before, rate in ((layers.Dropout(0.4, (None, 1, 7), seed=3), 0.0), (None, 0.4)):
        nnfast.set_seed(1)
        stack = [] if before is None else [before]
        layer = CELLS[cell](6, dropout=rate, seed=3)
        model = nnfast.Sequential([nnfast.Input((STEPS, 7)), layers.Dense(7), *stack, layer])
        randomize(model)
        model.compile(nnfast.optimizers.SGD(0.1), "mse")
        model.fit(x, np.ones((40, 6)), batch_size=16, epochs=2, verbose=0, shuffle=False)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_recurrent_dropout_keeps_the_same_elements_of_h_in_all_steps() -> None:
    """With h ← h·1 + 0·x, element j of h is multiplied by its factor in each step."""
    x, h = nnfast.Input((3, 1), dtype="float64"), nnfast.Input((1,), dtype="float64")
    layer = layers.SimpleRNN(1, None, recurrent_dropout=0.4, seed=5)
    model = nnfast.Model([x, h], layer(x, initial_state=h))
    layer.set_weights([np.zeros((1, 1)), np.ones((1, 1)), np.zeros(1)])
    model.compile(nnfast.optimizers.SGD(0.0), "mse")
    losses = {
        round(model.train_on_batch([np.zeros((1, 3, 1)), np.ones((1, 1))], np.zeros((1, 1))), 6)
        for _ in range(60)
    }
    assert losses == {0.0, round((1 / 0.6) ** 6, 6)}
    assert model.predict([np.zeros((1, 3, 1)), np.ones((1, 1))]) == 1


@pytest.mark.parametrize("rates", [(0.0, 0.4), (0.3, 0.4)])
@pytest.mark.parametrize(("units", "rows", "steps"), [(3, 5, STEPS), (18, 26, STEPS), (18, 1, 3)])
@pytest.mark.parametrize("cell", CELLS)
def test_each_gate_has_its_own_masks(
    cell: str, units: int, rows: int, steps: int, rates: tuple[float, float]
) -> None:
    """Losses and gradients are those of NumPy with the same masks; padded steps change nothing."""
    x, mask = (part[-rows:, :steps] for part in padded(26))
    for masked, sequences in itertools.product([False, True], repeat=2):
        layer = CELLS[cell](
            units,
            dropout=rates[0],
            recurrent_dropout=rates[1],
            seed=7,
            return_sequences=sequences,
            go_backwards=sequences,
        )
        inputs = nnfast.Input((steps, FEATURES), dtype="float64")
        outputs = layer(layers.Masking()(inputs) if masked else inputs)
        # An output with a mask would leave masked steps out of the loss.
        model = nnfast.Model(inputs, outputs[:, :] if sequences else outputs)
        randomize(model)
        drop = dropout_factors(layer, rows, FEATURES)
        y = np.random.default_rng(1).normal(size=(rows, *model.output_shape[1:]))

        def loss(layer: Any = layer, masked: bool = masked, drop: Any = drop, y: Any = y) -> float:
            w = layer.named_weights
            a = recurrent_outputs(layer, x, w, (), mask if masked else None, drop)
            return float(((a - y) ** 2).mean())

        arrays = list(layer.named_weights.values())
        before = [w.copy() for w in arrays]
        expected = [loss()]
        if units == 3:
            expected += differences(loss, arrays)
        model.compile(nnfast.optimizers.SGD(1.0), "mse")
        found = [model.train_on_batch(x, y)]
        found += [old - new for old, new in zip(before, arrays, strict=True)]
        for a, b in zip(found, expected, strict=units == 3):
            assert_allclose(a, b, rtol=1e-5, atol=1e-8)


def test_the_masks_of_gates_are_independent() -> None:
    """Two gates drop the same element with the probability 0.3²; steps and epochs differ."""
    layer = layers.LSTM(40, dropout=0.3, recurrent_dropout=0.3, seed=1)
    for factors in dropout_factors(layer, 500, 40):
        kept = factors > 0
        assert set(np.unique(factors)) == {0.0, 1 / 0.7}
        assert_allclose(kept.mean(axis=(1, 2)), 0.7, atol=0.02)
        for a, b in itertools.combinations(kept, 2):
            assert abs((~a & ~b).mean() - 0.09) < 0.01
    (x_0, h_0), (x_1, h_1) = (dropout_factors(layer, 50, 40, epoch) for epoch in (0, 1))
    assert min((a != b).mean() for a, b in ((x_0, h_0), (x_0, x_1), (h_0, h_1))) > 0.3


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_with_dropout(cell: str, masked: bool) -> None:
    """In one epoch, the dropout of a row is always the same, so the loss can be differentiated."""
    x, _ = padded(6)
    inputs = nnfast.Input((STEPS, FEATURES), dtype="float64")
    y = CELLS[cell](3, dropout=0.3, recurrent_dropout=0.3, return_sequences=True)(
        layers.Masking()(layers.Dense(FEATURES)(inputs)) if not masked else layers.Masking()(inputs)
    )
    model = nnfast.Model(inputs, CELLS[cell](2, recurrent_dropout=0.5)(y))
    randomize(model)
    targets = np.random.default_rng(1).normal(size=(6, 2))

    def step(rate: float) -> float:
        model.compile(nnfast.optimizers.SGD(rate), "mse")
        model._network.engine.epoch = 0
        return float(model.train_on_batch(x, targets))

    arrays = [w for layer in model.layers for w in layer.named_weights.values()]
    expected = differences(lambda: step(0.0), arrays)
    before = [w.copy() for w in arrays]
    step(1.0)
    for old, new, gradient in zip(before, arrays, expected, strict=True):
        assert_allclose(old - new, gradient, rtol=1e-5, atol=1e-8)


# ---- stateful layers -----------------------------------------------------------------------------


def stateful(cell: str, batch: int = 4, **options: Any) -> nnfast.Sequential:
    nnfast.set_seed(1)
    layer = CELLS[cell](5, stateful=True, **options)
    stack = [nnfast.Input((STEPS, FEATURES), batch_size=batch), layer, layers.Dense(1)]
    return nnfast.Sequential(stack, dtype="float64")


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_continues_the_one_before(cell: str) -> None:
    x = np.random.default_rng(0).normal(size=(12, STEPS, FEATURES))
    model = stateful(cell)
    layer = model.layers[0]
    whole = nnfast.Sequential(
        [nnfast.Input((3 * STEPS, FEATURES)), *(CELLS[cell](5), layers.Dense(1))], dtype="float64"
    )
    whole.set_weights(model.get_weights())
    expected = whole.predict(np.concatenate([x[:4], x[4:8], x[8:]], axis=1))
    found = model.predict(x, batch_size=4)
    assert_allclose(found[8:], expected, rtol=1e-12)
    layer.reset_state()
    calls = [np.asarray(model(x[i : i + 4])) for i in (0, 4, 8)]
    assert_array_equal(np.concatenate(calls), found)
    assert [state.shape for state in layer.states] == [(4, 5)] * layer.cell.n_states
    layer.reset_state(rows=[1, 3])
    assert [bool(layer.states[0][row].any()) for row in range(4)] == [True, False, True, False]
    model.reset_states()
    assert not any(state.any() for state in layer.states)
    assert len(model.get_weights()) == len(whole.get_weights())
    assert model.count_params() == whole.count_params()

"""Bidirectional layers agree with NumPy, and their gradients with central differences."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import differences, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from reference_recurrent import bidirectional_outputs

import nnfast
from nnfast import layers
from nnfast._engine import core

Array = NDArray[Any]

STEPS, FEATURES = 5, 2
CELLS: dict[str, Callable[..., layers.Layer]] = {
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "SimpleRNN": layers.SimpleRNN,
}
MODES = ("concat", "sum", "mul", "ave", None)


@pytest.fixture
def any_threads() -> Any:
    yield
    core.force_threads(0)


def padded(rows: int) -> tuple[Array, Array]:
    """Return sequences and their mask, with holes, a row without real steps and a full one."""
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, STEPS, FEATURES))
    mask = rng.random((rows, STEPS)) < 0.6
    mask[0], mask[-1] = False, True
    x[~mask] = 0
    return x, mask


def flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def unmasked(outputs: Any) -> list[Any]:
    """Return the outputs without masks, which would leave masked steps out of the loss."""
    return [y[:, :] if len(y.shape) > 2 else y for y in flat(outputs)]


def model_of(
    layer: layers.Bidirectional, masked: bool, given: bool
) -> tuple[nnfast.Model, Callable[[Array, Array, Array | None], list[Array]]]:
    """Return a model of a layer and its reference.

    If `given`, the initial states are those of Dense layers for a second input.
    """
    x, z = (nnfast.Input(shape, dtype="float64") for shape in ((STEPS, FEATURES), (3,)))
    units = [part.units for part in layer.parts for _ in range(part.n_states)]
    dense = [layers.Dense(n) for n in units] if given else []
    states = [own(z) for own in dense] or None
    y = layer(layers.Masking()(x) if masked else x, initial_state=states)
    model = nnfast.Model([x, z] if given else x, unmasked(y))
    randomize(model)

    def reference(x: Array, z: Array, mask: Array | None) -> list[Array]:
        states = tuple(z @ own.kernel.numpy() + own.bias.numpy() for own in dense)
        return bidirectional_outputs(layer, x, states, mask)

    return model, reference


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_gradients(cell: str) -> None:
    rng = np.random.default_rng(0)
    x, mask = padded(4)
    z = rng.normal(size=(4, 3))
    flags = itertools.product([False, True], repeat=4)
    for (sequences, masked, given, state), mode in zip(flags, itertools.cycle(MODES), strict=False):
        made = CELLS[cell](2, return_sequences=sequences, return_state=state)
        layer = layers.Bidirectional(made, mode)
        model, reference = model_of(layer, masked, given)
        data = [x, z] if given else x
        own_mask = mask if masked else None

        def expected(reference: Any = reference, own_mask: Any = own_mask) -> list[Array]:
            found: list[Array] = reference(x, z, own_mask)
            return found

        for found, right in zip(flat(model.predict(data)), expected(), strict=True):
            assert_allclose(found, right, rtol=1e-9, atol=1e-12)
        y = [rng.normal(size=np.shape(each)) for each in expected()]

        def loss(y: Any = y, expected: Any = expected) -> float:
            return sum(((a - b) ** 2).mean() for a, b in zip(expected(), y, strict=True))

        model.compile("sgd", ["mse"] * len(y))
        _, gradients = model.loss_and_grad(data, y)
        arrays = [w for inner in model.flat_layers() for w in inner.named_weights.values()]
        for found, right in zip(gradients, differences(loss, arrays), strict=True):
            assert_allclose(found, right, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("units", "mode"), [*zip((16, 19, 64, 20, 32), MODES, strict=True), (19, "concat")]
)
def test_larger_layers_that_follow_each_other(units: int, mode: str | None) -> None:
    """The outputs of a float32 model in training are those of the float64 reference."""
    x, mask = padded(50)
    inputs = nnfast.Input((STEPS, FEATURES))
    first = layers.Bidirectional(layers.GRU(units, return_sequences=True), mode or "concat")
    second = layers.Bidirectional(layers.LSTM(9, return_sequences=True), mode)
    model = nnfast.Model(inputs, unmasked(second(first(layers.Masking()(inputs)))))
    randomize(model)
    model.compile("sgd", "mse" if mode else ["mse", "mse"])
    (middle,) = bidirectional_outputs(first, x, mask=mask)
    expected = bidirectional_outputs(second, middle, mask=mask)
    for found, right in zip(flat(model.predict_on_batch(x)), expected, strict=True):
        assert_allclose(found, right, rtol=1e-3, atol=1e-5)
    for found, right in zip(flat(model.predict(x)), expected, strict=True):
        assert_allclose(found, right, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_layer_for_the_other_direction(backwards: bool) -> None:
    """Keras reverses the outputs of the second layer, whatever its direction is."""
    x, mask = padded(7)
    first = layers.LSTM(3, return_sequences=True, go_backwards=backwards, name="a")
    second = layers.GRU(
        2, return_sequences=True, go_backwards=not backwards, reset_after=False, name="b"
    )
    layer = layers.Bidirectional(first, backward_layer=second)
    assert [part.name for part in layer.parts] == ["forward_a", "b"]
    assert layer.backward_layer is not second  # so that it may be used elsewhere
    model, reference = model_of(layer, masked=True, given=False)
    (right,) = reference(x, x, mask)
    assert_allclose(model.predict(x), right, rtol=1e-9, atol=1e-12)
    assert not first.zero_output_for_mask
    assert layer.forward_layer.zero_output_for_mask


def test_the_mask_is_passed_on_with_the_sequences() -> None:
    x, mask = padded(8)
    inputs = nnfast.Input((STEPS, FEATURES), dtype="float64")
    layer = layers.Bidirectional(layers.GRU(3, return_sequences=True))
    y = layer(layers.Masking()(inputs))
    assert y.masked
    pooled = nnfast.Model(inputs, layers.GlobalAveragePooling1D()(y))
    (whole,) = bidirectional_outputs(layer, x, mask=mask)
    n = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    assert_allclose(pooled.predict(x), (whole * mask[:, :, None]).sum(axis=1) / n, rtol=1e-9)
    ends = layers.Bidirectional(layers.GRU(3))(layers.Masking()(inputs))
    assert not ends.masked


@pytest.mark.parametrize("mode", ["concat", None])
def test_states_are_kept_from_batch_to_batch(mode: str | None) -> None:
    x, _ = padded(4)
    inputs = nnfast.Input((STEPS, FEATURES), batch_size=4, dtype="float64")
    layer = layers.Bidirectional(layers.LSTM(3, stateful=True, return_state=True), mode)
    model = nnfast.Model(inputs, layer(inputs))
    randomize(model)
    states: tuple[Array, ...] = ()
    for _ in range(3):
        expected = bidirectional_outputs(layer, x, states)
        for found, right in zip(model.predict(x, batch_size=4), expected, strict=True):
            assert_allclose(found, right, rtol=1e-9)
        states = tuple(expected[-4:])
        for kept, right in zip(layer.states or (), states, strict=True):
            assert_allclose(kept, right, rtol=1e-9)
    layer.reset_state()
    assert not any(state.any() for state in layer.states or ())
    assert [name.partition("/")[2] for name in layer.named_states] == ["states"] * 2
    with pytest.raises(ValueError, match="no initial_state"):
        layer(inputs, initial_state=[nnfast.Input((3,))] * 4)


@pytest.mark.parametrize("mode", ["concat", "mul"])
def test_the_number_of_threads_does_not_change_a_bit(mode: str, any_threads: None) -> None:
    x, _ = padded(150)
    results = []
    for threads in (1, 2, 3, 4, 7):
        nnfast.set_seed(1)
        core.force_threads(threads)
        options = {"dropout": 0.2, "recurrent_dropout": 0.3}
        model = nnfast.Sequential(
            [
                nnfast.Input((STEPS, FEATURES)),
                layers.Masking(),
                layers.Bidirectional(layers.LSTM(18, return_sequences=True, **options), mode),
                layers.Bidirectional(layers.GRU(7, **options), mode),
                layers.Dense(1),
            ]
        )
        model.compile("adam", "mse")
        model.fit(x, np.ones((150, 1)), batch_size=70, epochs=2, verbose=0)
        results.append([*model.get_weights(), model.predict(x)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


# ---- what all layers with inner layers have ------------------------------------------------------


def small(**options: Any) -> tuple[layers.Bidirectional, nnfast.Sequential, Array]:
    layer = layers.Bidirectional(layers.SimpleRNN(3, name="rnn"), name="both", **options)
    model = nnfast.Sequential([nnfast.Input((4, 2)), layer, layers.Dense(1)], dtype="float64")
    return layer, model, np.random.default_rng(0).normal(size=(6, 4, 2))


def test_weights_are_those_of_both_layers() -> None:
    layer, model, x = small()
    names = [f"{way}_rnn/{name}" for way in ("forward", "backward") for name in _NAMES]
    assert list(layer.named_weights) == names
    assert [tuple(w.shape) for w in layer.weights] == [(2, 3), (3, 3), (3,)] * 2
    assert layer.count_params() == 36
    before = model.predict(x)
    weights = layer.get_weights()
    layer.set_weights([w * 0 for w in weights])
    assert_array_equal(layer.forward_layer.kernel.numpy(), np.zeros((2, 3)))
    layer.set_weights(weights)
    assert_array_equal(model.predict(x), before)
    with pytest.raises(ValueError, match="layer 'both'"):
        layer.set_weights(weights[:3])


_NAMES = ("kernel", "recurrent_kernel", "bias")


def test_freezing() -> None:
    layer, model, x = small()
    model.compile("sgd", "mse")
    assert len(layer.trainable_weights) == 6
    layer.trainable = False
    assert not layer.forward_layer.trainable
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 6
    before = layer.get_weights()
    model.fit(x, np.ones((6, 1)), verbose=0)
    for a, b in zip(before, layer.get_weights(), strict=True):
        assert_array_equal(a, b)
    layer.backward_layer.trainable = True
    copy = nnfast.models.clone_model(model)
    flags = [inner.trainable for inner in copy.layers[0].parts]
    assert flags == [False, True]
    model.compile("sgd", "mse")
    model.fit(x, np.ones((6, 1)), verbose=0)
    changed = [(a != b).any() for a, b in zip(before, layer.get_weights(), strict=True)]
    assert changed == [False] * 3 + [True] * 3
    frozen = layers.Bidirectional(layers.SimpleRNN(3), trainable=False)
    assert not frozen.backward_layer.trainable


def test_penalties() -> None:
    inner = layers.SimpleRNN(3, kernel_regularizer="l2", activity_regularizer="l1")
    layer = layers.Bidirectional(inner, activity_regularizer="l2")
    model = nnfast.Sequential([nnfast.Input((4, 2)), layer], dtype="float64")
    randomize(model)
    assert len(layer.losses) == 2
    x = np.random.default_rng(0).normal(size=(6, 4, 2))
    out = model.predict(x)
    model.compile("sgd", "mse")
    kernels = sum(0.01 * (part.kernel.numpy() ** 2).sum() for part in layer.parts)
    activity = 0.01 * (np.abs(out).sum() + (out**2).sum()) / len(x)
    expected = (out**2).mean() + kernels + activity
    assert_allclose(model.evaluate(x, np.zeros((6, 6)), verbose=0), expected, rtol=1e-9)


def test_models_are_saved_cloned_and_nested(tmp_path: Any) -> None:
    layer, model, x = small()
    model.save(tmp_path / "model.safetensors")
    model.save_weights(tmp_path / "one.weights.safetensors")
    copies = [
        nnfast.models.load_model(tmp_path / "model.safetensors"),
        nnfast.models.clone_model(model),
        nnfast.models.model_from_json(model.to_json()),
    ]
    for copy in copies:
        copy.load_weights(tmp_path / "one.weights.safetensors")
        assert_array_equal(copy.predict(x), model.predict(x))
        assert copy.layers[0].get_config() == layer.get_config()
    inputs = nnfast.Input((4, 2), dtype="float64")
    outer = nnfast.Model(inputs, model(inputs))
    assert_array_equal(outer.predict(x), model.predict(x))
    outer.save(tmp_path / "outer.safetensors")
    again = nnfast.models.load_model(tmp_path / "outer.safetensors")
    assert_array_equal(again.predict(x), model.predict(x))


def test_a_layer_that_is_called_twice_shares_its_weights() -> None:
    x, y = (nnfast.Input((4, 2), dtype="float64") for _ in range(2))
    layer = layers.Bidirectional(layers.GRU(3))
    model = nnfast.Model([x, y], layers.subtract([layer(x), layer(y)]))
    assert model.count_params() == layer.count_params()
    a, b = np.random.default_rng(0).normal(size=(2, 5, 4, 2))
    single = nnfast.Model(x, layer(x))
    assert_allclose(model.predict([a, b]), single.predict(a) - single.predict(b), rtol=1e-12)
    model.compile("sgd", "mse")
    targets = np.ones((5, 6))
    arrays = list(layer.named_weights.values())

    def loss() -> float:
        return float(((single.predict(a) - single.predict(b) - targets) ** 2).mean())

    _, gradients = model.loss_and_grad([a, b], targets)
    for found, right in zip(gradients, differences(loss, arrays), strict=True):
        assert_allclose(found, right, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="has weights of shapes"):
        layer(nnfast.Input((4, 3), dtype="float64"))


def test_a_sequential_that_gets_its_shape_later() -> None:
    model = nnfast.Sequential([layers.Bidirectional(layers.LSTM(3)), layers.Dense(1)])
    assert not model.built
    model.compile("sgd", "mse")
    model.fit(np.ones((3, 4, 2)), np.ones((3, 1)), verbose=0)
    assert model.layers[0].built
    declared = layers.Bidirectional(layers.LSTM(3), input_shape=(4, 2))
    assert nnfast.Sequential([declared]).output_shape == (None, 6)


def test_names_of_other_layers_do_not_collide() -> None:
    for name in ("forward_rnn", "forward_rnn_backward_rnn_merge"):
        x = nnfast.Input((4, 2), name="forward_rnn_backward_rnn_input_0")
        layer = layers.Bidirectional(layers.SimpleRNN(3, name="rnn"), name=name)
        assert nnfast.Model(x, layer(x)).count_params() == 36


def test_the_summary_has_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    _, model, _ = small()
    model.summary(expand_nested=True)
    text = capsys.readouterr().out
    assert "both (Bidirectional)" in text
    assert "forward_rnn" not in text
    assert "Total params: 43" in text


def test_training_false_is_inference() -> None:
    x = nnfast.Input((4, 2))
    layer = layers.Bidirectional(layers.GRU(3, dropout=0.5))
    with pytest.raises(ValueError, match="training=False"):
        nnfast.Model(x, layer(x, training=False))
    plain = layers.Bidirectional(layers.GRU(3))
    assert nnfast.Model(x, plain(x, training=False)).output_shape == (None, 6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Bidirectional(layers.Dense(3)), "layer of Bidirectional must be a recur"),
        (lambda: layers.Bidirectional(layers.LSTM), "must be a recurrent layer"),
        (
            lambda: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.Dense(3)),
            "backward_layer of Bidirectional must be",
        ),
        (lambda: layers.Bidirectional(layers.LSTM(3), "max"), "merge_mode must be one of"),
        (lambda: layers.Bidirectional(layers.LSTM(3), ["sum"]), "merge_mode must be one of"),
        (lambda: layers.Bidirectional(layers.LSTM(3), weights=[]), "weights must be None"),
        (
            lambda: layers.Bidirectional(layers.LSTM(3, go_backwards=True)),
            "Exactly one of layer and backward_layer",
        ),
        (
            lambda: layers.Bidirectional(
                layers.LSTM(3), backward_layer=layers.LSTM(3, go_backwards=True, stateful=True)
            ),
            "must have the same stateful",
        ),
        (
            lambda: layers.Bidirectional(layers.LSTM(3, name="forward_a"), "sum")(
                nnfast.Input((4, 2)), mask=1
            ),
            "mask must be None",
        ),
        (
            lambda: layers.Bidirectional(layers.LSTM(3))(
                nnfast.Input((4, 2)), initial_state=[nnfast.Input((3,))] * 2
            ),
            "an input and 4 initial states; received 3",
        ),
        (lambda: layers.Bidirectional(layers.LSTM(3))(nnfast.Input((4,))), "expects sequences"),
    ],
)
def test_errors(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_no_warning_of_a_lost_mask() -> None:
    x = nnfast.Input((4, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers.Bidirectional(layers.LSTM(3))(layers.Masking()(x))


def test_shapes_without_a_model() -> None:
    layer = layers.Bidirectional(layers.LSTM(3, return_state=True))
    assert layer.infer_shapes((4, 2)) == [(6,), *[(3,)] * 4]
    assert layer.infer_shape((4, 2)) == (6,)

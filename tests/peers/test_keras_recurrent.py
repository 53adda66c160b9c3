"""Recurrent layers agree with those of Keras and PyTorch: values, masks, states, training steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from reference_recurrent import dropout_factors

import nnfast
from nnfast.convert import from_torch_rnn

pytestmark = pytest.mark.peers
Array = NDArray[Any]

CELLS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"use_bias": False, "activation": "relu", "recurrent_activation": "hard_sigmoid"}),
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
    ("SimpleRNN", {"activation": "elu"}),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"go_backwards": True},
    {"return_sequences": True, "go_backwards": True},
]


def array(y: Any) -> Array:
    """Return the outputs of a call as an array."""
    return np.asarray(y.detach() if hasattr(y, "detach") else y)


def padded(rows: int = 9, steps: int = 6) -> tuple[Array, Array]:
    """Return sequences of two features, and their mask with holes; every row has real steps."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, steps, 2))
    mask = rng.random((rows, steps)) < 0.6
    mask[:, 2] = True
    x[~mask] = 0
    return x, mask


def trained(model: Any, weights: list[Array] | None, x: Any, y: Any) -> list[Any]:
    """Return the initial and the final weights, predictions and losses of three training steps."""
    if weights is None:
        rng = np.random.default_rng(1)
        weights = [rng.normal(size=np.shape(w)) * 0.4 for w in model.get_weights()]
    model.set_weights(weights)
    before = [np.asarray(model.predict(x, verbose=0))]
    losses = [np.ravel(model.train_on_batch(x, y)) for _ in range(3)]
    return [weights, *before, *losses, *model.get_weights()]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("cell", "own"), CELLS)
def test_layers_train_as_in_keras(
    keras64: Any, cell: str, own: dict[str, Any], options: dict[str, Any], masked: bool
) -> None:
    x, _ = padded()
    sequences = options.get("return_sequences", False)
    y = np.random.default_rng(2).normal(size=(9, 6, 1) if sequences else (9, 1))
    results: list[Any] = []
    for library in (keras64, nnfast):
        layers = library.layers
        stack = [
            *([layers.Masking()] if masked else []),
            getattr(layers, cell)(3, **own, **options),
            layers.Dropout(0.0),
            layers.Dense(1),
        ]
        model = library.Sequential([library.Input((6, 2)), *stack])
        model.compile(library.optimizers.SGD(0.1), "mse")
        weights = results[0][0] if results else None
        results.append(trained(model, weights, x, y))
    for a, b in zip(results[0][1:], results[1][1:], strict=True):
        assert_allclose(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rates", [(0.4, 0.0), (0.0, 0.3), (0.4, 0.3)])
@pytest.mark.parametrize(("cell", "own"), CELLS)
def test_layers_with_dropout_train_as_in_keras(
    keras64: Any, cell: str, own: dict[str, Any], rates: tuple[float, float], masked: bool
) -> None:
    """Keras gets nnfast's masks, where it draws its own: one or, for each gate, one of x and h."""
    x, _ = padded()
    y = np.random.default_rng(2).normal(size=(9, 1))
    results: list[Any] = []
    for library in (nnfast, keras64):
        options = {"dropout": rates[0], "recurrent_dropout": rates[1], "seed": 5, **own}
        layer = getattr(library.layers, cell)(3, **options)
        if library is nnfast:
            drop = dict(zip(rates, dropout_factors(layer, 9, 2), strict=True))
        else:

            def masks(step: Any, rate: float, cell: Any = layer.cell, drop: Any = drop) -> Any:
                made = [keras64.ops.convert_to_tensor(mask) for mask in drop[rate]]
                assert len(made) == getattr(cell, "dropout_mask_count", 1)
                assert made[0].shape == step.shape
                return made if hasattr(cell, "dropout_mask_count") else made[0]

            layer.cell._create_dropout_mask = masks
        mask = [library.layers.Masking()] if masked else []
        model = library.Sequential([library.Input((6, 2)), *mask, layer, library.layers.Dense(1)])
        model.compile(library.optimizers.SGD(0.1), "mse")
        if not results:
            rng = np.random.default_rng(1)
            results.append([rng.normal(size=np.shape(w)) * 0.4 for w in model.get_weights()])
        model.set_weights(results[0])
        results.append([model.train_on_batch(x, y), *model.get_weights()])
    for a, b in zip(results[1], results[2], strict=True):
        assert_allclose(a, b, rtol=1e-7, atol=1e-10)


def test_metrics_of_masked_outputs(keras64: Any) -> None:
    x, _ = padded()
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, (9, 6))
    found, weights = [], None
    for library in (keras64, nnfast):
        layers = library.layers
        stack = [layers.Masking(), layers.GRU(4, return_sequences=True), layers.Dense(3, "softmax")]
        model = library.Sequential([library.Input((6, 2)), *stack])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        if weights is None:
            weights = model.get_weights()
        model.set_weights(weights)
        values = [model.evaluate(x, y, 4, verbose=0)]
        values.append(model.train_on_batch(x, y)[:1])
        found.append(np.concatenate([np.ravel(value) for value in values]))
    assert_allclose(found[1], found[0], rtol=1e-6)


@pytest.mark.parametrize(("cell", "states"), [("LSTM", 2), ("GRU", 1), ("SimpleRNN", 1)])
def test_an_encoder_and_a_decoder_train_as_in_keras(keras64: Any, cell: str, states: int) -> None:
    x, _ = padded()
    z = np.random.default_rng(4).normal(size=(9, 5, 3))
    y = np.random.default_rng(5).normal(size=(9, 5, 1))
    results: list[Any] = []
    for library in (keras64, nnfast):
        layer = getattr(library.layers, cell)
        first, second = library.Input((6, 2)), library.Input((5, 3))
        _, *kept = layer(4, return_state=True)(library.layers.Masking()(first))
        assert len(kept) == states
        decoded = layer(4, return_sequences=True)(second, initial_state=kept)
        model = library.Model([first, second], library.layers.Dense(1)(decoded))
        model.compile(library.optimizers.SGD(0.1), "mse")
        results.append(trained(model, results[0][0] if results else None, [x, z], y))
    for a, b in zip(results[0][1:], results[1][1:], strict=True):
        assert_allclose(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN"])
def test_stateful_layers_continue_as_in_keras(keras64: Any, cell: str) -> None:
    """Keras carries the states only from call to call; nnfast also does in predict and in fit."""
    x = np.random.default_rng(6).normal(size=(12, 4, 2))
    found: list[Any] = []
    weights = None
    for library in (keras64, nnfast):
        inputs = library.Input(batch_shape=(3, 4, 2))
        layer = getattr(library.layers, cell)(5, stateful=True)
        model = library.Model(inputs, layer(inputs))
        weights = model.get_weights() if weights is None else weights
        model.set_weights(weights)
        outputs = [array(model(x[i : i + 3])) for i in (0, 3, 6)]
        layer.reset_state()
        found.append([*outputs, array(model(x[9:]))])
    assert_allclose(found[1], found[0], rtol=1e-7)


@pytest.mark.parametrize(
    ("module", "layer"), [("LSTM", "LSTM"), ("GRU", "GRU"), ("RNN", "SimpleRNN")]
)
def test_weights_of_pytorch(module: str, layer: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = getattr(torch.nn, module)(3, 4, num_layers=2, batch_first=True).double()
    stack = [getattr(nnfast.layers, layer)(4, return_sequences=True) for _ in range(2)]
    model = nnfast.Sequential([nnfast.Input((5, 3)), *stack], dtype="float64")
    for own, weights in zip(stack, from_torch_rnn(theirs.state_dict()), strict=True):
        own.set_weights(weights)
    x = np.random.default_rng(0).normal(size=(6, 5, 3))
    expected = theirs(torch.from_numpy(x))[0].detach().numpy()
    assert_allclose(model.predict(x), expected, rtol=1e-9, atol=1e-12)

"""A layer in two models has one set of weights."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast import callbacks, layers

X = np.random.default_rng(0).normal(size=(40, 5))


def autoencoder() -> tuple[Any, Any]:
    nnfast.set_seed(0)
    model = nnfast.Sequential(
        [layers.Input((5,)), layers.Dense(3, "tanh", name="code"), layers.Dense(5)]
    )
    model.compile("adam", "mse")
    return model, nnfast.Sequential(model.layers[:1])


def code(model: Any) -> NDArray[Any]:
    w, b = model.layers[0].get_weights()
    return np.asarray(np.tanh(X.astype(np.float32) @ w + b))


def test_training_a_model_changes_the_shared_layer_of_another() -> None:
    model, encoder = autoencoder()
    for _ in range(3):
        model.fit(X, X, verbose=0)
        np.testing.assert_allclose(encoder.predict(X), code(model), rtol=1e-5, atol=1e-6)
    flat = encoder.get_flat_weights()
    np.testing.assert_array_equal(flat[:15], model.get_weights()[0].ravel())


def test_training_the_second_model_changes_the_first() -> None:
    model, encoder = autoencoder()
    encoder.compile("sgd", "mse")
    before = model.predict(X)
    encoder.fit(X, np.zeros((40, 3)), epochs=3, verbose=0)
    assert not np.allclose(model.predict(X), before)
    w, b = model.layers[1].get_weights()
    np.testing.assert_allclose(model.predict(X), encoder.predict(X) @ w + b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["layer", "model", "flat", "loss_and_grad_flat"])
def test_weights_set_in_one_are_set_in_the_other(how: str) -> None:
    model, encoder = autoencoder()
    encoder.predict(X)
    encoder.compile("sgd", "mse")
    weights = [np.full((5, 3), 0.5), np.zeros(3)]
    theta = np.concatenate([w.ravel() for w in weights])
    if how == "layer":
        encoder.layers[0].set_weights(weights)
    elif how == "model":
        encoder.set_weights(weights)
    elif how == "flat":
        encoder.set_flat_weights(theta)
    else:
        encoder.loss_and_grad_flat(theta, X, np.zeros((40, 3)))
    np.testing.assert_array_equal(model.get_weights()[0], weights[0])
    decode = model.layers[1].get_weights()
    hidden = np.tanh(X @ weights[0])
    np.testing.assert_allclose(model.predict(X), hidden @ decode[0] + decode[1], rtol=1e-4)


def test_callbacks_may_set_shared_weights_during_fit() -> None:
    """The running fit continues from the weights that the callback sets."""
    model, encoder = autoencoder()

    class Reset(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            encoder.set_flat_weights(np.zeros(18))

    encoder.predict(X)
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 0.0
    model.fit(X, X, epochs=2, callbacks=[Reset()], verbose=0)
    assert not np.any(model.get_weights()[0])


def test_sharing_a_layer_changes_no_bits_of_training() -> None:
    model, encoder = autoencoder()
    alone, _ = autoencoder()
    encoder.predict(X)
    model.fit(X, X, epochs=3, verbose=0)
    alone.fit(X, X, epochs=3, verbose=0)
    for a, b in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shared_weights_outlive_the_first_model() -> None:
    model, encoder = autoencoder()
    model.fit(X, X, verbose=0)
    expected = encoder.predict(X)
    del model
    gc.collect()
    third = nnfast.Sequential([layers.Input((5,)), *encoder.layers, layers.Dense(1)])
    third.compile("sgd", "mse")
    np.testing.assert_array_equal(encoder.predict(X), expected)
    third.fit(X, X[:, 0], verbose=0)
    np.testing.assert_array_equal(encoder.get_weights()[0], third.get_weights()[0])
    np.testing.assert_allclose(encoder.predict(X), code(third), rtol=1e-5, atol=1e-6)


def test_unbuilt_layers_may_be_shared() -> None:
    layer = layers.Dense(2)
    first, second = nnfast.Sequential([layer]), nnfast.Sequential([layer, layers.Dense(1)])
    second.build((None, 3))
    np.testing.assert_allclose(
        first.predict(np.eye(3)) @ second.get_weights()[2] + second.get_weights()[3],
        second.predict(np.eye(3)),
        rtol=1e-5,
    )


def test_models_with_shared_layers_are_saved_and_loaded(tmp_path: Any) -> None:
    model, encoder = autoencoder()
    encoder.predict(X)
    model.fit(X, X, verbose=0)
    encoder.save(tmp_path / "encoder")
    np.testing.assert_array_equal(
        nnfast.load_model(tmp_path / "encoder").predict(X), encoder.predict(X)
    )


def test_sharing_with_another_input_size_or_dtype_is_refused() -> None:
    model, _ = autoencoder()
    with pytest.raises(ValueError, match=r"'code'.*\(5, 3\).*another model.*\(4, 3\)"):
        nnfast.Sequential([layers.Input((4,)), *model.layers])
    with pytest.raises(ValueError, match=r"'code'.*float32.*float64"):
        nnfast.Sequential([layers.Input((5,)), *model.layers], dtype="float64")
    assert np.isfinite(model.predict(X)).all()


def test_a_layer_twice_in_one_model_is_refused() -> None:
    layer = layers.Dense(3, name="same")
    with pytest.raises(ValueError, match="'same' already"):
        nnfast.Sequential([layer, layer])

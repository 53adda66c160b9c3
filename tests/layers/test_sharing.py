"""A layer in two models has one set of weights."""

from __future__ import annotations

import contextlib
import gc
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast import callbacks, layers, optimizers
from nnfast._engine import force_threads
from nnfast._plan.graph import chain
from nnfast._runtime.network import Network

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


def test_variables_are_views_of_the_one_array_for_ever() -> None:
    model, encoder = autoencoder()
    variables = model.weights
    third = nnfast.Sequential([*encoder.layers, layers.Dense(1)])
    for each, y in ((encoder, np.zeros((40, 3))), (third, X[:, :1]), (model, X)):
        each.compile("adam", "mse")
        before = variables[0].numpy()
        each.fit(X, y, verbose=0)
        assert not np.array_equal(variables[0], before)
        for shared in (model, encoder, third):
            assert all(a is b for a, b in zip(shared.weights[:2], variables, strict=False))
            np.testing.assert_array_equal(shared.get_weights()[0], variables[0])
    variables[1].assign(np.ones(3))
    np.testing.assert_array_equal(encoder.get_flat_weights()[15:], np.ones(3))
    model.add(layers.Dense(2))
    assert model.weights[0] is variables[0]


def test_predictions_follow_each_step_of_another_model_bit_for_bit() -> None:
    model, encoder = autoencoder()
    alone = nnfast.models.clone_model(encoder)
    alone.build((None, 5))
    x = X.astype(np.float32)
    for _ in range(5):
        model.train_on_batch(x, x)
        alone.set_weights(encoder.get_weights())
        np.testing.assert_array_equal(encoder(x[:1]), alone(x[:1]))
        np.testing.assert_array_equal(encoder.predict(x), alone.predict(x))


# A stack of every kind of update: regularizers, constraints, moving averages and vectors.
def stack() -> list[layers.Layer]:
    return [
        layers.Dense(37, "relu", kernel_regularizer="l1_l2", bias_constraint="non_neg"),
        layers.BatchNormalization(),
        layers.Dense(150, "tanh", kernel_constraint="max_norm"),
        layers.LayerNormalization(),
        layers.Dense(5, bias_regularizer="l2"),
    ]


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "each norm": {"clipnorm": 0.1},
    "global norm": {"global_clipnorm": 0.1},
    "moving average": {"use_ema": True, "ema_overwrite_frequency": 3},
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("options", OPTIMIZERS)
@pytest.mark.parametrize("batch_size", [16, 400])
def test_the_place_of_the_weights_in_memory_changes_no_bits(
    options: str, batch_size: int, threads: int
) -> None:
    """Layers that were built one by one lie apart, and those that were built together do not."""
    x = np.random.default_rng(0).normal(size=(2 * batch_size, 5)).astype(np.float32)
    results = []
    force_threads(threads)
    try:
        for apart in (False, True):
            nnfast.set_seed(0)
            model = nnfast.Sequential([layers.Input((5,)), *([] if apart else stack())])
            for layer in stack() if apart else ():
                model.add(layer)
            model.compile(optimizers.Adam(0.01, **OPTIMIZERS[options]), "mse")
            history = model.fit(x, x, batch_size=batch_size, epochs=2, verbose=0).history
            loss, gradients = model.loss_and_grad(x, x)
            theta = model.get_flat_weights()
            results.append([history["loss"], *model.get_weights(), loss, *gradients, theta])
            last = model.layers[2].kernel
            assert (last.ctypes.data + last.nbytes == model.layers[4].kernel.ctypes.data) != apart
    finally:
        force_threads(0)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_models_train_a_shared_layer_by_turns() -> None:
    """As in a GAN: the discriminator trains alone, and frozen within the model of the generator."""
    nnfast.set_seed(0)
    generator = [layers.Input((2,)), layers.Dense(8, "relu"), layers.Dense(5)]
    discriminator = nnfast.Sequential(
        [
            layers.Input((5,)),
            layers.Dense(8, "relu"),
            layers.BatchNormalization(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    discriminator.compile("adam", "binary_crossentropy")
    discriminator.trainable = False
    gan = nnfast.Sequential([*generator, *discriminator.layers])
    gan.compile("adam", "binary_crossentropy")
    discriminator.trainable = True
    discriminator.compile("adam", "binary_crossentropy")
    discriminator.trainable = False
    gan.compile("adam", "binary_crossentropy")
    maker = nnfast.Sequential(gan.layers[:2])
    noise = np.random.default_rng(1).normal(size=(40, 2))
    for _ in range(3):
        fake = maker.predict(noise)
        before = discriminator.get_weights()
        made = maker.get_weights()
        gan.train_on_batch(noise, np.ones((40, 1)))
        assert not np.array_equal(maker.get_weights()[0], made[0])
        for a, b in zip(before, discriminator.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(
            gan.predict(noise), discriminator.predict(maker.predict(noise)), rtol=1e-5
        )
        discriminator.trainable = True
        discriminator.compile("adam", "binary_crossentropy")
        made = maker.get_weights()
        discriminator.train_on_batch(np.vstack([fake, X]), np.repeat([0.0, 1.0], 40))
        assert not np.array_equal(discriminator.get_weights()[0], before[0])
        np.testing.assert_array_equal(maker.get_weights()[0], made[0])
        for a, b in zip(gan.get_weights()[4:], discriminator.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        discriminator.trainable = False


def test_divergence_restores_only_the_weights_that_the_model_trains() -> None:
    """A callback trains the frozen layer in another model, and this training is kept."""
    base = layers.Dense(3, input_dim=5, trainable=False)
    model, other = (nnfast.Sequential([base, layers.Dense(1)]) for _ in range(2))
    model.compile("adam", "mae")
    start = model.get_weights()
    base.trainable = True
    other.compile("sgd", "mse")
    base.trainable = False

    class Train(callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                base.trainable = True
                other.train_on_batch(X, np.zeros(40))
                base.trainable = False

    x = X[:2].astype(np.float32)
    x[0], x[1] = 1e20, np.nan
    with pytest.warns(RuntimeWarning, match="the last known to be finite"):
        model.fit(x, [2.0, 2.0], batch_size=1, shuffle=False, callbacks=[Train()], verbose=0)
    for a, b in zip(model.get_weights(), [*other.get_weights()[:2], *start[2:]], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(base.kernel, start[0])


def test_divergence_restores_shared_weights_in_all_models() -> None:
    model, encoder = autoencoder()
    model.fit(X, X, verbose=0)
    before, kernel = encoder.predict(X), encoder.layers[0].kernel
    x = X.copy()
    x[0], x[1:] = 1e20, np.nan
    with pytest.warns(RuntimeWarning, match="not finite"):
        model.fit(x, x, batch_size=1, shuffle=False, verbose=0)
    np.testing.assert_array_equal(encoder.predict(X), before)
    np.testing.assert_array_equal(kernel, model.get_weights()[0])


def test_both_models_are_saved_and_go_on_after_loading(tmp_path: Any) -> None:
    model, encoder = autoencoder()
    encoder.compile("adam", "mse")
    model.fit(X, X, verbose=0)
    encoder.fit(X, np.zeros((40, 3)), verbose=0)
    for each, y in ((model, X), (encoder, np.zeros((40, 3)))):
        each.save(tmp_path / "m")
        loaded = nnfast.load_model(tmp_path / "m")
        copied = pickle.loads(pickle.dumps(each))
        each.fit(X, y, verbose=0)
        for other in (loaded, copied):
            other.fit(X, y, verbose=0)
            for a, b in zip(other.get_weights(), each.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
    model.save_weights(tmp_path / "w.safetensors")
    expected = encoder.predict(X)
    model.fit(X, X, verbose=0)
    model.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(encoder.predict(X), expected)


# Threads


class Paused(callbacks.Callback):
    """Pauses a training in its second batch until `go` is set."""

    def __init__(self) -> None:
        self.paused, self.go = threading.Event(), threading.Event()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            self.paused.set()
            assert self.go.wait(60)


@contextlib.contextmanager
def training(model: Any, y: NDArray[Any], how: str) -> Iterator[None]:
    """Train a model in another thread, which pauses within its training meanwhile."""
    pause = Paused()

    def squares(y_true: Any, y_pred: Any) -> Any:
        pause.on_train_batch_end(1)
        return ((y_pred - y_true) ** 2).sum(axis=1), 2 * (y_pred - y_true)

    fit = {"batch_size": 8, "verbose": 0, "callbacks": [pause]}
    if how == "train_on_batch":
        model.compile("sgd", squares)
    with ThreadPoolExecutor(1) as pool:
        if how == "fit":
            work = pool.submit(model.fit, X, y, **fit)
        else:
            work = pool.submit(model.train_on_batch, X, y)
        try:
            assert pause.paused.wait(60)
            yield
        finally:
            pause.go.set()
        work.result()


@pytest.mark.parametrize("how", ["fit", "train_on_batch"])
def test_a_second_thread_is_refused_while_the_first_trains_the_same_layer(how: str) -> None:
    model, encoder = autoencoder()
    encoder.compile("sgd", "mse")
    y = np.zeros((40, 3))
    alone, _ = autoencoder()
    with training(alone, X, how):
        pass
    with training(model, X, how):
        for call in (encoder.fit, encoder.train_on_batch):
            with pytest.raises(RuntimeError, match="in use by another thread"):
                call(X, y)
        assert encoder.predict(X).shape == (40, 3)  # Reading is allowed at any time.
        assert encoder.evaluate(X, y, verbose=0) > 0
        encoder.loss_and_grad(X, y)
    for a, b in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert encoder.train_on_batch(X, y) > 0


def test_two_threads_train_heads_on_a_frozen_layer() -> None:
    base = layers.Dense(3, name="base", trainable=False)
    nnfast.Sequential([layers.Input((5,)), base])
    heads = [nnfast.Sequential([base, layers.Dense(1)]) for _ in range(2)]
    for head in heads:
        head.compile("sgd", "mse")
    with training(heads[0], X[:, 0], "fit"):
        assert heads[1].train_on_batch(X, X[:, 0]) > 0


def test_a_callback_may_train_another_model_with_the_same_layer() -> None:
    model, encoder = autoencoder()
    encoder.compile("sgd", "mse")
    found = []

    class Train(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            encoder.train_on_batch(X, np.zeros((40, 3)))
            found.append(encoder.get_weights()[0])

    model.fit(X, X, batch_size=20, callbacks=[Train()], verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], found[-1])
    assert not np.array_equal(found[0], found[1])


def test_a_layer_that_another_thread_builds_meanwhile_is_refused() -> None:
    layer = layers.Dense(2)
    networks = [
        Network.of_graph(chain([layer], (3,)), np.dtype("float32"), seed, True) for seed in range(2)
    ]
    networks[0].bind()
    with pytest.raises(RuntimeError, match="Another thread is building layer"):
        networks[1].bind()
    model = nnfast.Sequential([layers.Input((3,)), layer])
    np.testing.assert_array_equal(model.predict(np.eye(3)), layer.get_weights()[0])

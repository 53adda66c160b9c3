"""Freezing layers and models takes effect from the next step on."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_layer import LAYERS, MERGING, PREPARING, READING_IDS
from helpers import differences, plain_loss, randomize

import nnfast
from nnfast import Sequential, callbacks, layers, optimizers
from nnfast._engine import force_threads

X = np.random.default_rng(0).normal(size=(96, 5))
Y = np.random.default_rng(1).normal(size=(96, 2))


def network(dtype: str = "float64", **second: Any) -> Sequential:
    """Return a model; `second` holds arguments for its second and third layers."""
    nnfast.set_seed(0)
    return Sequential(
        [
            layers.Input((5,)),
            layers.Dense(6, "relu", kernel_regularizer="l2"),
            layers.Dense(7, "tanh", bias_regularizer="l1", **second),
            layers.BatchNormalization(**second),
            layers.Dense(2),
        ],
        dtype=dtype,
    )


def fit(model: Sequential, epochs: int = 2, **options: Any) -> None:
    model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, **options)


def changed(model: Sequential, epochs: int = 1) -> list[bool]:
    """Return, for each weight array, whether a fit changes it."""
    before = model.get_weights()
    fit(model, epochs)
    return [bool((a != b).any()) for a, b in zip(before, model.get_weights(), strict=True)]


# True for the arrays of the second Dense layer and of the BatchNormalization, among all ten.
MIDDLE = [False] * 2 + [True] * 6 + [False] * 2
NOT_MIDDLE = [not entry for entry in MIDDLE]


@pytest.mark.parametrize("optimizer", optimizers.TABLE)
def test_no_optimizer_changes_frozen_weights(optimizer: str) -> None:
    """Weight decay, clipping and averaging do not change frozen weights, either."""
    made = optimizers.TABLE[optimizer](
        0.01, weight_decay=0.1, global_clipnorm=1.0, use_ema=True, ema_overwrite_frequency=2
    )
    model = network(trainable=False)
    model.compile(made, "mse")
    assert changed(model, 3) == NOT_MIDDLE


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_constraints_of_frozen_weights_are_not_applied(optimizer: str) -> None:
    first = layers.Dense(3, kernel_constraint="unit_norm", trainable=False, input_dim=5)
    model = Sequential([first, layers.Dense(2, kernel_constraint="unit_norm")])
    model.compile(optimizer, "mse")
    assert changed(model) == [False, False, True, True]


@pytest.mark.parametrize(
    "name", sorted(layers.TABLE.keys() - {"Normalization"} - MERGING - PREPARING - READING_IDS)
)
def test_every_layer_can_be_frozen(name: str) -> None:
    """Freezing a layer keeps its input gradient, so the layers before it train as usual."""
    shape = LAYERS[name]().feature_shape or (4,)
    x = np.random.default_rng(2).normal(size=(8, *shape))
    y = np.random.default_rng(3).normal(size=(8, 2))
    steps = []
    for trainable in (True, False):
        nnfast.set_seed(3)
        layer = type(LAYERS[name]()).from_config(
            LAYERS[name]().get_config() | {"name": "it", "dtype": "float64", "trainable": trainable}
        )
        before_it = layers.Rescaling(1.0), layers.LayerNormalization(epsilon=0.1)
        model = Sequential(
            [layers.Input(shape), *before_it, layer, layers.Flatten(), layers.Dense(2)],
            dtype="float64",
        )
        model.compile(optimizers.SGD(0.1), "mse")
        before = model.get_weights()
        model.train_on_batch(x, y)
        steps.append([a - b for a, b in zip(model.get_weights(), before, strict=True)])
        own = model.get_weights()[2:-2]
        if not trainable:
            assert all((a == b).all() for a, b in zip(own, before[2:-2], strict=True))
            assert layer.trainable_weights == []
            assert len(layer.non_trainable_weights) == len(own) == len(layer.weights)
    assert any(step.any() for step in steps[1][:2])
    if name != "BatchNormalization":  # it uses other statistics when frozen
        for a, b in zip(steps[0][:2] + steps[0][-2:], steps[1][:2] + steps[1][-2:], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_frozen_batch_normalization_is_in_inference_mode() -> None:
    """A training step follows the gradient of the loss in inference mode."""
    model = network(trainable=False)
    model.compile(optimizers.SGD(1.0), "mse")
    weights = randomize(model)
    model.layers[0].trainable = True
    before = model.get_weights()
    model.train_on_batch(X[:16], Y[:16])
    steps = [b - a for a, b in zip(model.get_weights(), before, strict=True)]
    trained = [w for w, frozen in zip(weights, MIDDLE, strict=True) if not frozen]
    own = [step for step, frozen in zip(steps, MIDDLE, strict=True) if not frozen]
    # Frozen weights are constant here, so their penalty does not affect the differences.
    expected = differences(
        lambda: plain_loss(model, weights, X[:16], Y[:16], training=False), trained
    )
    for step, gradient in zip(own, expected, strict=True):
        np.testing.assert_allclose(step, gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["mse", "function"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_training_does_not_depend_on_the_number_of_threads(
    dtype: str, loss: str, clip: float | None
) -> None:
    def function(y: Any, p: Any) -> Any:
        return ((p - y) ** 2).mean(axis=1), (p - y) * 2 / p.shape[1]

    results = []
    for threads in (1, 2, 3, 4, 7):
        model = network(dtype)
        model.layers[1].trainable = model.layers[2].trainable = False
        model.compile(
            optimizers.Adam(global_clipnorm=clip), function if loss == "function" else loss
        )
        force_threads(threads)
        try:
            fit(model)
            model.layers[0].trainable = False
            fit(model)
        finally:
            force_threads(0)
        results.append(model.get_weights())
    for other in results[1:]:
        assert all((a == b).all() for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("n", [64, 2000])
def test_momentum_of_frozen_weights_is_kept(n: int) -> None:
    """Unfrozen weights continue with the momentum from before freezing; NumPy agrees."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    model = Sequential(
        [layers.Dense(4, use_bias=False, input_dim=3), layers.Dense(2, use_bias=False)],
        dtype="float64",
    )
    model.compile(optimizers.SGD(0.05, momentum=0.9), "mse")
    a, b = model.get_weights()
    velocity = [np.zeros_like(a), np.zeros_like(b)]
    for phase in ((True, True), (False, True), (True, True), (True, False), (False, False)):
        model.layers[0].trainable, model.layers[1].trainable = phase
        for _ in range(3):
            model.train_on_batch(x, y)
            error = (x @ a @ b - y) * 2 / y.size
            gradients = x.T @ error @ b.T, (x @ a).T @ error
            for w, v, g, trained in zip((a, b), velocity, gradients, phase, strict=True):
                if trained:
                    v[...] = 0.9 * v - 0.05 * g
                    w += v
            for own, w in zip(model.get_weights(), (a, b), strict=True):
                np.testing.assert_allclose(own, w, rtol=1e-11)


def test_global_norms_exclude_frozen_weights() -> None:
    model = network(trainable=False)
    model.compile(optimizers.SGD(1.0, global_clipnorm=0.01), "mse")
    before = model.get_weights()
    model.train_on_batch(X, Y)
    steps = [a - b for a, b in zip(model.get_weights(), before, strict=True)]
    assert np.sqrt(sum((step**2).sum() for step in steps)) == pytest.approx(0.01, rel=1e-9)


def test_penalties_of_frozen_weights_do_not_count() -> None:
    """In Keras, too, only trainable weights contribute penalties to `model.losses`."""
    model = network()
    model.compile("sgd", "mse")
    error = float(((model.predict(X) - Y) ** 2).mean())
    kernel, bias = model.layers[0].kernel, model.layers[1].bias
    bias[...] = 0.5
    error = float(((model.predict(X) - Y) ** 2).mean())
    l2, l1 = 0.01 * (kernel**2).sum(), 0.01 * np.abs(bias).sum()
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(error + l2 + l1, rel=1e-12)
    model.layers[1].trainable = False
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(error + l2, rel=1e-12)
    assert model.train_on_batch(X, Y) != pytest.approx(error)
    model.trainable = False
    error = float(((model.predict(X) - Y) ** 2).mean())
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(error, rel=1e-12)


def test_no_gradient_is_computed_below_the_lowest_trained_layer() -> None:
    model = network()
    model.layers[0].trainable = model.layers[1].trainable = False
    model.compile("sgd", "mse")
    gradients = [
        (op["node"], op["dx"] >= 0, op["dy"] >= 0) for op in model._network.plan.training.ops
    ]
    assert gradients == [(0, False, False), (1, False, False), (2, False, True), (3, True, True)]
    assert model._network.plan.n_params == 2 * 7 + 7 * 2 + 2


def test_freezing_takes_effect_after_compile_and_after_steps() -> None:
    """As in Keras 3, `trainable` may change until the first step as freely as before `compile`."""
    for steps in (0, 2):
        model = network()
        model.compile("adam", "mse")
        fit(model, steps)
        model.layers[1].trainable = model.layers[2].trainable = False
        assert changed(model) == NOT_MIDDLE
        model.layers[1].trainable = model.layers[2].trainable = True
        if steps:
            assert changed(model) == [True] * 10
        else:
            with pytest.raises(ValueError, match="became trainable"):
                fit(model)


def test_flags_that_are_set_back_make_no_new_plan() -> None:
    """Two models that share a layer take turns: one trains it, the other one does not."""
    shared = layers.Dense(4, input_dim=5)
    models = [Sequential([shared, layers.Dense(2)]) for _ in range(2)]
    for model in models:
        model.compile("sgd", "mse")
    plans = []
    for _ in range(3):
        for model, trainable in zip(models, (True, False), strict=True):
            shared.trainable = trainable
            before = shared.kernel.copy()
            model.train_on_batch(X, Y)
            assert bool((before != shared.kernel).any()) == trainable
            plans.append(model._built().plan)
    assert plans[2:4] == plans[4:]
    assert plans[2] is plans[4]
    assert plans[3] is plans[5]


def test_unfreezing_after_steps_requires_compile() -> None:
    """Keras 3 also raises a ValueError."""
    model = network(trainable=False)
    model.compile("adam", "mse")
    fit(model)
    model.layers[2].trainable = True
    for train in (fit, lambda m: m.train_on_batch(X, Y), lambda m: m.train_on_gradient(X, Y)):
        with pytest.raises(ValueError, match=r"'batch_norm.*became trainable.*compile\(\)"):
            train(model)
    model.evaluate(X, Y, verbose=0)
    model.compile("adam", "mse")
    assert changed(model) == [True, True, False, False] + [True] * 6
    assert model._network.plan.n_params == 5 * 6 + 6 + 7 + 7 + 7 * 2 + 2


def test_layers_may_be_unfrozen_before_the_first_step() -> None:
    model = network(trainable=False)
    model.compile("adam", "mse")
    model.trainable = True
    assert changed(model) == [True] * 10


def test_callbacks_may_freeze_layers() -> None:
    class Freeze(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.layers[0].trainable = epoch < 1
            kernels.append(self.model.layers[0].kernel.copy())

    kernels: list[Any] = []
    model = network()
    model.compile("sgd", "mse")
    fit(model, 3, callbacks=Freeze())
    kernels.append(model.layers[0].kernel.copy())
    same = [bool((a == b).all()) for a, b in pairwise(kernels)]
    assert same == [False, True, True]
    model = network(trainable=False)
    model.compile("sgd", "mse")

    class Thaw(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.layers[1].trainable = epoch > 0

    with pytest.raises(ValueError, match="became trainable"):
        fit(model, 3, callbacks=Thaw())


def test_trainable_of_a_model_sets_that_of_its_layers() -> None:
    """As in Keras 3.15, a layer added to a frozen model is not frozen itself."""
    model = network()
    model.trainable = False
    assert [layer.trainable for layer in model.layers] == [False] * 4
    assert model.trainable_weights == []
    assert len(model.non_trainable_weights) == 10
    model.add(layers.Dense(2))
    assert model.layers[-1].trainable
    assert not model.trainable
    assert model.trainable_weights == []
    model.compile("sgd", "mse")
    assert changed(model) == [False] * 12
    model.trainable = True
    model.compile("sgd", "mse")
    assert changed(model) == [True] * 12
    assert [layer.trainable for layer in model.layers] == [True] * 5


@pytest.mark.parametrize("value", [None, "no", 2, 0.0])
def test_trainable_must_be_a_bool(value: Any) -> None:
    for thing in (layers.Dense(2), network()):
        with pytest.raises(TypeError, match="trainable must be True or False"):
            thing.trainable = value
        assert thing.trainable is True
        thing.trainable = np.bool_(False)
        assert thing.trainable is False


def test_lists_counts_and_gradients_exclude_frozen_weights() -> None:
    model = network(trainable=False)
    assert [w.shape for w in model.trainable_weights] == [(5, 6), (6,), (7, 2), (2,)]
    assert [w.shape for w in model.non_trainable_weights] == [(6, 7), *[(7,)] * 5]
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert lines[-1].endswith("of which 77 are not trained")
    assert "77 are not trained" in model._repr_html_()
    model.compile("sgd", "mse")
    loss, gradients = model.loss_and_grad(X, Y)
    assert [g.shape for g in gradients] == [(5, 6), (6,), (7, 2), (2,)]
    theta = model.get_flat_weights()
    assert theta.shape == (5 * 6 + 6 + 7 * 2 + 2,)
    value, flat = model.loss_and_grad_flat(theta, X, Y)
    assert value == pytest.approx(loss)
    assert sorted(flat) == pytest.approx(sorted(np.concatenate([g.ravel() for g in gradients])))


def test_flat_weights_exclude_frozen_weights() -> None:
    """Flat weights are the trainable kernels, then the biases; differences confirm the gradient."""
    model = network()
    model.compile("sgd", "mse")
    fit(model)
    model.layers[1].trainable = False
    model.layers[2].trainable = False
    model.evaluate(X, Y, verbose=0)
    first, last = model.layers[0], model.layers[3]
    parts = [first.kernel, last.kernel, first.bias, last.bias]
    theta = model.get_flat_weights()
    np.testing.assert_array_equal(theta, np.concatenate([part.ravel() for part in parts]))
    _, gradient = model.loss_and_grad_flat(theta, X, Y)
    expected = differences(lambda: model.loss_and_grad_flat(theta, X, Y)[0], [theta])
    np.testing.assert_allclose(gradient, expected[0], rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="theta must have shape"):
        model.set_flat_weights(np.zeros(3))
    model.set_flat_weights(np.zeros_like(theta))
    assert not any(part.any() for part in parts)
    assert model.layers[1].kernel.any()


def trained_with_frozen_layers() -> Sequential:
    """Return a model whose layers were frozen after some steps."""
    model = network()
    model.compile("adam", "mse", metrics=["mae"])
    fit(model)
    model.layers[0].trainable = model.layers[2].trainable = False
    fit(model)
    return model


@pytest.mark.parametrize("way", ["file", "pickle", "deepcopy", "copy"])
def test_copies_train_like_the_original(way: str, tmp_path: Path) -> None:
    model = trained_with_frozen_layers()
    model.layers[2].trainable = True
    model.layers[2].trainable = False
    if way == "file":
        model.save(tmp_path / "m.safetensors")
        twin = nnfast.load_model(tmp_path / "m.safetensors")
    elif way == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        twin = getattr(copy, way)(model)
    assert [layer.trainable for layer in twin.layers] == [False, True, False, True]
    assert twin.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    fit(model)
    fit(twin)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_configurations_preserve_trainable() -> None:
    model = network(trainable=False)
    assert [l_["config"].get("trainable", True) for l_ in model.get_config()["layers"]] == [
        *(True, False, False, True)
    ]
    assert "trainable=False" in repr(model.layers[1])
    assert "trainable" not in repr(model.layers[0])
    for twin in (
        Sequential.from_config(model.get_config()),
        nnfast.models.model_from_json(model.to_json()),
        nnfast.models.clone_model(model),
    ):
        assert [layer.trainable for layer in twin.layers] == [True, False, False, True]
        assert twin._network.plan.n_params == model._network.plan.n_params
    model.trainable = False
    model.layers[0].trainable = True
    for twin in (
        Sequential.from_config(model.get_config()),
        nnfast.models.clone_model(model),
        copy.deepcopy(model),
    ):
        assert not twin.trainable
        assert twin.layers[0].trainable
        assert twin.trainable_weights == []
        twin.compile("sgd", "mse")
        assert changed(twin)[:2] == [False, False]


def test_a_file_of_unfrozen_weights_has_a_new_optimizer(tmp_path: Path) -> None:
    """Without optimizer state for unfrozen weights, the loaded model starts a new optimizer."""
    model = network(trainable=False)
    model.compile("adam", "mse")
    fit(model)
    model.trainable = True
    model.save(tmp_path / "m.safetensors")
    twin = nnfast.load_model(tmp_path / "m.safetensors")
    model.compile("adam", "mse")
    fit(model)
    fit(twin)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_freezing_a_shared_layer_freezes_it_in_both_models() -> None:
    shared = layers.Dense(3, input_dim=5)
    one, two = Sequential([shared, layers.Dense(2)]), Sequential([shared, layers.Dense(2)])
    for model in (one, two):
        model.compile("sgd", "mse")
        assert changed(model) == [True] * 4
    shared.trainable = False
    for model in (one, two):
        assert changed(model) == [False, False, True, True]


def test_set_flat_weights_keeps_frozen_weights() -> None:
    """A layer frozen after some steps is excluded; unfreezing and compile include it again."""
    model = nnfast.Sequential([layers.Dense(3, input_dim=2), layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = np.ones((4, 2)), np.ones(4)
    model.fit(x, y, verbose=0)
    kept = model.layers[0].get_weights()
    model.layers[0].trainable = False
    model.set_flat_weights(np.full(4, 2.0))
    np.testing.assert_array_equal(model.get_flat_weights(), np.full(4, 2.0))
    for array, before in zip(model.layers[0].get_weights(), kept, strict=True):
        np.testing.assert_array_equal(array, before)
    model.layers[0].trainable = True
    model.compile("adam", "mse")
    assert model.get_flat_weights().shape == (13,)

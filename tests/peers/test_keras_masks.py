"""Masks and weights of steps in training: nnfast has the losses, gradients and metrics of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import nnfast

pytestmark = pytest.mark.peers

N, STEPS, FEATURES = 12, 5, 3
REDUCTIONS = ["sum_over_batch_size", "sum", "mean_with_sample_weight"]


def sequences() -> np.ndarray:
    """Return sequences of which some steps are only padding; one has no real step."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, STEPS, FEATURES))
    x[rng.random((N, STEPS)) < 0.4] = 0
    x[3] = 0
    return x


def normalizing(k: Any, **options: Any) -> Any:
    x = k.Input((STEPS, FEATURES), name="x")
    # Adam would amplify the rounding errors of a bias, whose gradient is 0.
    h = k.layers.Dense(4, use_bias=False, name="a")(k.layers.Masking(name="mask")(x))
    h = k.layers.BatchNormalization(name="bn", **options)(h)
    return k.Model(x, k.layers.Dense(2, name="b")(k.layers.Activation("tanh", name="t")(h)))


def pooling(k: Any) -> Any:
    """Return a model with a batch normalization between recurrent layers."""
    x = k.Input((STEPS,), dtype="int32", name="x")
    h = k.layers.Embedding(7, 4, mask_zero=True, name="e")(x)
    h = k.layers.GRU(4, return_sequences=True, name="a")(h)
    h = k.layers.BatchNormalization(name="bn", momentum=0.5)(h)
    return k.Model(x, k.layers.LSTM(3, name="b")(h))


def unmasked(k: Any) -> Any:
    """Return a model whose loss reads the masked steps, too."""
    x = k.Input((STEPS, FEATURES), name="x")
    # Adam would amplify the rounding errors of a bias, whose gradient is 0.
    h = k.layers.Dense(4, use_bias=False, name="a")(k.layers.Masking(name="mask")(x))
    h = k.layers.BatchNormalization(name="bn", momentum=0.5)(h)
    return k.Model(x, k.layers.Dense(2, name="b")(k.layers.Flatten(name="f")(h)))


def tagger(k: Any, masked: bool = True) -> Any:
    x = k.Input((STEPS, FEATURES), name="x")
    h = k.layers.Masking(name="mask")(x) if masked else x
    h = k.layers.LSTM(4, return_sequences=True, name="a")(h)
    return k.Model(x, k.layers.Dense(2, name="b")(h))


def convolution(k: Any) -> Any:
    x = k.Input((STEPS, FEATURES), name="x")
    return k.Model(x, k.layers.Conv1D(2, 2, padding="same", name="a")(x))


def compiled(keras64: Any, make: Any, *losses: Any, **options: Any) -> tuple[Any, Any]:
    """Return Keras' and nnfast's model with the same weights; `losses` are those of both."""
    theirs, ours = make(keras64), make(nnfast.keras)
    rng = np.random.default_rng(1)
    weights = [abs(rng.normal(size=w.shape)) for w in theirs.get_weights()]
    for model, k, loss in ((theirs, keras64, losses[0]), (ours, nnfast.keras, losses[-1])):
        model.set_weights(weights)
        model.compile(k.optimizers.Adam(0.01), loss, **options)
    return theirs, ours


def assert_three_steps(theirs: Any, ours: Any, *batch: Any) -> None:
    for _ in range(3):
        assert_allclose(ours.train_on_batch(*batch), theirs.train_on_batch(*batch), rtol=1e-6)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore:Layer 'f'")
@pytest.mark.parametrize("make", [normalizing, pooling, unmasked])
def test_batch_normalization(keras64: Any, make: Any) -> None:
    # Keras adds 1e-7 to the number of real steps.
    theirs, ours = compiled(keras64, make, "mse")
    x = sequences()
    if make is pooling:
        x = np.random.default_rng(1).integers(0, 7, (N, STEPS))
        x[0] = 0
    y = np.random.default_rng(2).normal(size=(N, *theirs.output_shape[1:]))
    assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=1e-7, atol=1e-9)
    assert_three_steps(theirs, ours, x, y)
    assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=1e-5, atol=1e-7)


def test_batches_without_real_steps_differ(keras64: Any) -> None:
    """In Keras, they move the moving averages towards 0."""
    theirs, ours = compiled(keras64, lambda k: normalizing(k, momentum=0.5), "mse")
    before = ours.get_layer("bn").moving_variance.copy()
    for model in (theirs, ours):
        model.train_on_batch(np.zeros((4, STEPS, FEATURES)), np.ones((4, STEPS, 2)))
    kept = np.asarray(ours.get_layer("bn").moving_variance)
    assert_allclose(kept, before, rtol=0)
    assert_allclose(0.5 * kept, theirs.get_layer("bn").get_weights()[3], rtol=1e-6)


def squares(y: Any, p: Any) -> Any:
    return ((p - y) ** 2).mean(-1)


def squares_with_gradient(y: Any, p: Any) -> Any:
    return squares(y, p), 2 * (p - y) / p.shape[-1]


def mean_of_squares(y: Any, p: Any) -> Any:
    return ((p - y) ** 2).mean()


def mean_of_squares_with_gradient(y: Any, p: Any) -> Any:
    return mean_of_squares(y, p), 2 * (p - y) / p.size


@pytest.mark.parametrize(
    ("function", "with_gradient", "weighted"),
    [
        (squares, squares_with_gradient, False),
        (squares, squares_with_gradient, True),
        (mean_of_squares, mean_of_squares_with_gradient, False),  # one number has no weights
    ],
)
def test_functions_as_losses(
    keras64: Any, function: Any, with_gradient: Any, weighted: bool
) -> None:
    theirs, ours = compiled(keras64, tagger, function, with_gradient)
    rng = np.random.default_rng(2)
    x, y = sequences(), rng.normal(size=(N, STEPS, 2))
    weights = rng.random((N, STEPS)) if weighted else None
    assert_three_steps(theirs, ours, x, y, weights)
    found = [model.evaluate(x, y, N, 0, weights) for model in (ours, theirs)]
    assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("make", [tagger, lambda k: tagger(k, False), convolution])
def test_weights_of_steps(keras64: Any, make: Any, reduction: str) -> None:
    losses = [k.losses.MeanAbsoluteError(reduction=reduction) for k in (keras64, nnfast.keras)]
    metrics = {"metrics": ["mae"], "weighted_metrics": ["mse", "mape"]}
    theirs, ours = compiled(keras64, make, *losses, **metrics)
    rng = np.random.default_rng(2)
    x, y, weights = sequences(), rng.normal(size=(N, STEPS, 2)), rng.random((N, STEPS))
    weights[4] = 0
    found = [model.evaluate(x, y, N, 0, weights, return_dict=True) for model in (ours, theirs)]
    assert set(found[0]) == set(found[1])
    for key, value in found[1].items():
        assert_allclose(found[0][key], value, rtol=1e-6)
    options = {"batch_size": 5, "epochs": 2, "shuffle": False, "verbose": 0}
    histories = [
        model.fit(x, y, sample_weight=weights, validation_data=(x, y, weights), **options).history
        for model in (ours, theirs)
    ]
    # Keras' metrics of masked outputs depend on the back end: in training, those with JAX ignore
    # masks; those with PyTorch see the weights that the loss has divided by the real steps.
    for key in ("loss", "val_loss") if make is tagger else histories[1]:
        assert_allclose(histories[0][key], histories[1][key], rtol=1e-6)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_of_masked_outputs(keras64: Any, reduction: str) -> None:
    losses = [k.losses.MeanSquaredError(reduction=reduction) for k in (keras64, nnfast.keras)]
    theirs, ours = compiled(keras64, tagger, *losses)
    x, y = sequences(), np.random.default_rng(2).normal(size=(N, STEPS, 2))
    assert_three_steps(theirs, ours, x, y)
    zeros = np.zeros_like(x)
    assert_allclose(ours.train_on_batch(zeros, y), theirs.train_on_batch(zeros, y), atol=1e-12)


@pytest.mark.parametrize("shape", [(N, 4, 5), (N, 4, 5, 1), (N, 1, 5), (N, 4, 1), (N, 1, 1)])
def test_weights_of_pixels(keras64: Any, shape: tuple[int, ...]) -> None:
    def make(k: Any) -> Any:
        x = k.Input((4, 5, 2), name="x")
        h = k.layers.Dense(20, name="a")(k.layers.Flatten(name="f")(x))
        return k.Model(x, k.layers.Reshape((4, 5, 1), name="r")(h))

    theirs, ours = compiled(keras64, make, "mse")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(N, 4, 5, 2)), rng.normal(size=(N, 4, 5, 1))
    assert_three_steps(theirs, ours, x, y, rng.random(shape))


def test_both_refuse_class_weights_of_steps(keras64: Any) -> None:
    for model in compiled(keras64, convolution, "mse"):
        with pytest.raises((TypeError, ValueError)):
            model.fit(sequences(), np.ones((N, STEPS, 2)), class_weight={0: 2.0, 1: 1.0}, verbose=0)

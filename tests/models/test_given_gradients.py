"""Tests of steps along a supplied gradient, of input gradients, and of models without a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import differences, plain_outputs, randomize
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, layers, losses, optimizers

Array = NDArray[Any]
RNG = np.random.default_rng(0)
N, N_IN, N_OUT = 9, 4, 3
X, Y = RNG.normal(size=(N, N_IN)), RNG.normal(size=(N, N_OUT))


def model(
    optimizer: Any = "sgd", loss: Any = None, dropout: float = 0.0, dtype: str = "float64"
) -> Any:
    nnfast.set_seed(0)
    one = nnfast.Sequential(
        [
            *(layers.Input((N_IN,)), layers.Dense(7, "tanh", kernel_regularizer="l1_l2")),
            *(layers.Dropout(dropout), layers.LayerNormalization()),
            layers.Dense(N_OUT, activity_regularizer="l2"),
        ],
        dtype=dtype,
    )
    one.compile(optimizer, loss)
    return one


def assert_same_weights(a: Any, b: Any, tolerance: float = 1e-11) -> None:
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        assert_allclose(v, w, rtol=tolerance, atol=tolerance)


@pytest.fixture
def reset_threads() -> Iterator[None]:
    """Reset the number of threads after a test that forces one."""
    yield
    _engine.force_threads(0)


# train_on_gradient

OPTIMIZERS: dict[str, Callable[[], Any]] = dict(optimizers.TABLE) | {
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "centered": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "clipvalue": lambda: optimizers.SGD(0.1, clipvalue=0.01),
    "clipnorm": lambda: optimizers.SGD(0.1, clipnorm=0.05),
    "global_clipnorm": lambda: optimizers.SGD(0.1, global_clipnorm=0.05),
    "weight_decay": lambda: optimizers.Adam(0.01, weight_decay=0.1),
    "average": lambda: optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2),
}


@pytest.mark.parametrize("rows", [N, 1000])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_along_the_gradient_of_a_loss_equals_a_step_with_that_loss(
    name: str, rows: int
) -> None:
    """A batch of 1000 rows is split into micro-batches."""
    x, y = RNG.normal(size=(rows, N_IN)), RNG.normal(size=(rows, N_OUT))
    one, two = model(OPTIMIZERS[name](), "mse"), model(OPTIMIZERS[name]())
    for _ in range(5):
        dout = 2 * (two.predict(x) - y) / y.size
        one.train_on_batch(x, y)
        two.train_on_gradient(x, dout)
    # Rounding decides the sign of gradients near 0, and Adam's first steps depend on signs alone.
    assert_same_weights(one, two, 1e-9)
    assert two._built().engine.iterations == 5


def test_steps_do_not_depend_on_the_compiled_loss() -> None:
    results = []
    for loss in (None, "mse", "log_cosh", lambda y, p: (0.0, 0 * p)):
        one = model("adam", loss)
        for _ in range(3):
            one.train_on_gradient(X, Y)
        results.append(one)
    for other in results[1:]:
        assert_same_weights(results[0], other, 0.0)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "gelu"])
def test_a_supplied_gradient_refers_to_the_outputs_after_the_activation(activation: str) -> None:
    """Cross-entropy is computed from logits, but a supplied gradient refers to probabilities."""
    loss = "binary_crossentropy" if activation == "sigmoid" else "categorical_crossentropy"
    one = nnfast.Sequential([layers.Dense(N_OUT, activation, input_dim=N_IN)], dtype="float64")
    weights = randomize(one)
    one.compile(optimizers.SGD(1.0), loss if activation != "gelu" else "mse")

    def plain() -> float:
        return float((plain_outputs(one, weights, X, training=True)[0] * Y).sum())

    expected = differences(plain, weights)
    one.train_on_gradient(X, Y)
    for after, before, gradient in zip(one.get_weights(), weights, expected, strict=True):
        assert_allclose(before - after, gradient, rtol=0, atol=1e-7)


def test_each_step_has_the_dropout_mask_of_a_training_step() -> None:
    """Each call counts as an epoch and therefore draws a new, reproducible mask."""

    def linear(y: Array, p: Array) -> tuple[Array, Array]:
        return (p * y).sum(axis=1), y

    one, two, three = model(loss=linear, dropout=0.5), model(dropout=0.5), model(dropout=0.5)
    steps = []
    for _ in range(3):
        before = two.get_weights()
        one.train_on_batch(X, Y)
        two.train_on_gradient(X, Y / N)
        three.train_on_gradient(X, Y / N)
        steps.append(two.get_weights()[0] - before[0])
        assert_same_weights(one, two, 1e-13)
        assert_same_weights(two, three, 0.0)
    two.train_on_gradient(X, np.zeros_like(Y))
    assert not np.allclose(steps[0], steps[1], atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [3, 40, 1500])
def test_results_do_not_depend_on_the_number_of_threads(
    rows: int, dtype: str, reset_threads: None
) -> None:
    x, dout = RNG.normal(size=(rows, N_IN)), RNG.normal(size=(rows, N_OUT))
    results = []
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        one = model("adam", "mse", dropout=0.3, dtype=dtype)
        for _ in range(4):
            one.train_on_gradient(x, dout)
        results.append([*one.get_weights(), one.input_gradient(x), one.input_gradient(x, dout)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_non_finite_gradient_warns_and_changes_no_weights(value: float) -> None:
    one = model("adam")
    one.train_on_gradient(X, Y)
    before, slots = one.get_weights(), one._built().engine.slots.copy()
    dout = Y.copy()
    dout[4, 1] = value
    with pytest.warns(RuntimeWarning, match="train_on_gradient.*not finite") as caught:
        one.train_on_gradient(X, dout)
    assert caught[0].filename == __file__
    for a, b in zip(one.get_weights(), before, strict=True):
        assert_array_equal(a, b)
    assert_array_equal(one._built().engine.slots, slots)
    assert one._built().engine.iterations == 1
    one.train_on_gradient(X, Y)
    assert one._built().engine.iterations == 2


def test_the_supplied_gradient_has_the_shape_of_the_outputs() -> None:
    """For a model with one output, shape (n,) is accepted, too."""
    one, two = (nnfast.Sequential([layers.Dense(1, input_dim=N_IN)]) for _ in range(2))
    two.set_weights(one.get_weights())
    for each, dout in ((one, Y[:, 0]), (two, Y[:, :1].tolist())):
        each.compile("sgd")
        each.train_on_gradient(X, dout)
    assert_same_weights(one, two, 0.0)
    pairs = nnfast.Sequential([layers.Dense(6, input_dim=N_IN), layers.Reshape((2, 3))])
    pairs.compile(optimizers.SGD(1.0))
    before, dout = pairs.get_weights(), RNG.normal(size=(N, 2, 3))
    pairs.train_on_gradient(X, dout)
    step = before[0] - pairs.get_weights()[0]
    assert_allclose(step, X.T @ dout.reshape(N, 6), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "dout", "words"),
    [
        (X, Y[:, :2], r"dout.*\(9, 3\).*\(9, 2\)"),
        (X, Y[:-1], "dout"),
        (X, Y[:, 0], "dout"),
        (X, None, "dout"),
        (X, "a", "dout"),
        (X[:0], Y[:0], "at least one row"),
        (X[:, :2], Y, "x must have shape"),
    ],
)
def test_error_messages_name_the_expected_shape(x: Any, dout: Any, words: str) -> None:
    one = model()
    before = one.get_weights()
    with pytest.raises((TypeError, ValueError), match=words):
        one.train_on_gradient(x, dout)
    for a, b in zip(one.get_weights(), before, strict=True):
        assert_array_equal(a, b)


def test_train_on_gradient_builds_a_compiled_model() -> None:
    one = nnfast.Sequential([layers.Dense(N_OUT)])
    with pytest.raises(ValueError, match="compile"):
        one.train_on_gradient(X, Y)
    one.compile("sgd")
    one.train_on_gradient(X, Y)
    assert one.input_shape == (None, N_IN)


def test_steps_along_supplied_gradients_count_for_schedules() -> None:
    rate = nnfast.schedules.PiecewiseConstantDecay([2], [1.0, 0.0])
    one = nnfast.Sequential([layers.Dense(N_OUT, input_dim=N_IN)])
    one.compile(optimizers.SGD(rate))
    weights = [one.get_weights()[0]]
    for _ in range(5):
        one.train_on_gradient(X, Y)
        weights.append(one.get_weights()[0])
    moved = [not np.array_equal(a, b) for a, b in zip(weights[1:], weights, strict=False)]
    assert moved == [True, True, True, False, False]


# input_gradient


@pytest.mark.parametrize("activation", ["linear", "softmax", "sigmoid", "relu"])
@pytest.mark.parametrize("n_out", [1, 3])
def test_without_targets_the_input_gradient_is_that_of_the_largest_output(
    n_out: int, activation: str
) -> None:
    if activation == "softmax" and n_out == 1:
        activation = "tanh"
    one = nnfast.Sequential(
        [layers.Dense(7, "tanh", input_dim=N_IN), layers.Dense(n_out, activation)], dtype="float64"
    )
    weights = randomize(one)
    actual = one.input_gradient(X)  # The model is not compiled.
    outputs = plain_outputs(one, weights, X, training=False)[0]
    top = outputs.argmax(axis=1)
    assert n_out == 1 or len(set(top)) > 1, "rows must differ in their largest output"
    for i in range(N):
        x = X[i : i + 1].copy()

        def score(x: Array = x, k: int = top[i]) -> float:
            return float(plain_outputs(one, weights, x, training=False)[0][0, k])

        (expected,) = differences(score, [x])
        assert_allclose(actual[i : i + 1], expected, rtol=0, atol=1e-8)
    one.compile("sgd", "binary_crossentropy" if activation == "sigmoid" else "mse")
    assert_array_equal(one.input_gradient(X), actual)


@pytest.mark.parametrize("loss", ["mse", "sparse_categorical_crossentropy"])
def test_the_input_gradient_of_a_row_is_that_of_its_own_loss(loss: str) -> None:
    """It is not the gradient of the mean loss, so it does not depend on the number of rows."""
    y: Any = Y if loss == "mse" else RNG.integers(0, N_OUT, N)
    one = nnfast.Sequential([layers.Dense(N_OUT, "softmax", input_dim=N_IN)], dtype="float64")
    one.compile("sgd", loss)
    whole = one.input_gradient(X, y)
    for i in range(N):
        single = one.input_gradient(X[i : i + 1], y[i : i + 1])
        assert_allclose(single, whole[i : i + 1], rtol=1e-12, atol=1e-15)
    x = X.copy()
    (of_mean,) = differences(lambda: one.evaluate(x, y, verbose=0), [x])
    assert_allclose(whole, N * of_mean, rtol=0, atol=1e-7)


@pytest.mark.parametrize("y", [None, Y])
def test_the_input_gradient_includes_rescalings_of_the_input(y: Any) -> None:
    """The engine applies leading Rescaling layers while it reads the input."""
    stack = [layers.Dense(6, "tanh"), layers.Dense(N_OUT)]
    scaled = nnfast.Sequential(
        [
            *(layers.Input((N_IN,)), layers.Rescaling(0.5, 1.0), layers.Rescaling(-3.0, 0.25)),
            *stack,
        ],
        dtype="float64",
    )
    plain = nnfast.Sequential([layers.Input((N_IN,)), *stack], dtype="float64")
    for each in (scaled, plain):
        each.compile("sgd", "mse")
    inside = -3.0 * (0.5 * X + 1.0) + 0.25
    expected = -1.5 * plain.input_gradient(inside, y)
    assert_allclose(scaled.input_gradient(X, y), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_input_gradients_of_uint8_images_equal_those_of_floats(dtype: str) -> None:
    images = RNG.integers(0, 256, (300, 28, 28), np.uint8)
    labels = RNG.integers(0, 10, 300)
    one = nnfast.Sequential(
        [
            *(layers.Input((28, 28)), layers.Rescaling(1 / 255), layers.Flatten()),
            *(layers.Dense(16, "relu"), layers.Dense(10, "softmax")),
        ],
        dtype=dtype,
    )
    one.compile("adam", "sparse_categorical_crossentropy")
    one.fit(images, labels, verbose=0)
    gradient = one.input_gradient(images, labels)
    assert gradient.shape == (300, 28, 28)
    assert gradient.dtype == dtype
    same = one.input_gradient(images.astype(dtype), labels)
    assert_array_equal(gradient, same)
    # The gradient of a pixel agrees with the finite difference of the loss.
    if dtype == "float64":
        i, j = np.unravel_index(np.abs(gradient[7]).argmax(), (28, 28))
        x, sides = images[7:8].astype(float), []
        for h in (1e-3, -1e-3):
            x[0, i, j] = images[7, i, j] + h
            sides.append(one.evaluate(x, labels[7:8], verbose=0))
        assert gradient[7, i, j] == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=1e-5)


def test_the_input_gradient_of_a_model_without_weights_is_the_product_of_its_rescalings() -> None:
    """Dropout and noise are off, so they have no influence."""
    x = np.array([[1.0, 3.0, 2.0]])
    for stack, derivative in (
        ([layers.Rescaling(2.5)], 2.5),
        ([layers.Flatten()], 1.0),
        ([layers.Dropout(0.5), layers.GaussianNoise(1.0)], 1.0),
        ([layers.Dropout(0.5), layers.Rescaling(-2.0), layers.Rescaling(-3.0)], 6.0),
    ):
        one = nnfast.Sequential([layers.Input((3,)), *stack])
        assert_array_equal(one.input_gradient(x), [[0.0, derivative, 0.0]])


def test_input_gradient_ignores_dropout_and_leaves_the_model_unchanged() -> None:
    one = model("adam", "mse", dropout=0.5)
    before = one.get_weights()
    assert_array_equal(one.input_gradient(X, Y), one.input_gradient(X, Y))
    epoch, grads = one._built().engine.epoch, one._built().engine.grads.copy()
    one.input_gradient(X, Y)
    assert one._built().engine.epoch == epoch
    assert_array_equal(one._built().engine.grads, grads)
    for a, b in zip(one.get_weights(), before, strict=True):
        assert_array_equal(a, b)


def test_the_input_gradient_of_a_row_does_not_depend_on_the_other_rows() -> None:
    """The rows span several blocks of a micro-batch, and the last block is short. Slices of one
    row and of zero rows are also tried."""
    one = model("sgd", "mse")
    x, y = RNG.normal(size=(2701, N_IN)), RNG.normal(size=(2701, N_OUT))
    whole = one.input_gradient(x, y)
    for rows in (slice(0, 1), slice(1000, 1131), slice(2690, None)):
        assert_allclose(one.input_gradient(x[rows], y[rows]), whole[rows], rtol=1e-12, atol=1e-15)
    assert one.input_gradient(x[:0]).shape == (0, N_IN)
    with pytest.raises(ValueError, match="at least one row"):
        one.input_gradient(x[:0], y[:0])


def test_input_gradient_builds_the_model() -> None:
    one = nnfast.Sequential([layers.Dense(2)])
    assert one.input_gradient(X).shape == X.shape
    with pytest.raises(ValueError, match="compile"):
        one.input_gradient(X, Y[:, :2])
    with pytest.raises(ValueError, match="x must have shape"):
        one.input_gradient(X[:, :2])
    with pytest.raises(ValueError, match="no layers"):
        nnfast.Sequential([]).input_gradient(X)


# compile without a loss


@pytest.mark.parametrize(
    "method", ["fit", "evaluate", "train_on_batch", "test_on_batch", "loss_and_grad"]
)
def test_methods_that_need_a_loss_raise_without_one(method: str) -> None:
    one = model("adam")
    assert one.loss is None
    with pytest.raises(ValueError, match=r"compile\(optimizer, loss\) before " + method):
        getattr(one, method)(X, Y)
    with pytest.raises(ValueError, match=r"compile\(optimizer, loss\) before input_gradient"):
        one.input_gradient(X, Y)
    assert one.predict(X).shape == (N, N_OUT)
    assert one.input_gradient(X).shape == X.shape


def test_a_model_without_a_loss_continues_after_loading(tmp_path: Any) -> None:
    one = model("adam")
    one.train_on_gradient(X, Y)
    one.save(tmp_path / "model")
    two = nnfast.load_model(tmp_path / "model")
    assert two.loss is None
    for each in (one, two):
        each.train_on_gradient(X, Y)
    assert_same_weights(one, two, 0.0)


def test_a_loss_can_be_added_and_removed_by_compile() -> None:
    one = model("adam")
    one.train_on_gradient(X, Y)
    one.compile("adam", "mse")
    assert isinstance(one.loss, losses.MeanSquaredError)
    one.fit(X, Y, verbose=0)
    one.compile("adam", lambda y, p: (0.0, 0 * p))
    one.compile("adam")
    with pytest.raises(ValueError, match="compile"):
        one.fit(X, Y, verbose=0)
    one.train_on_gradient(X, Y)
    # The previous loss has no influence: the gradient of the outputs is the supplied one.
    two = model("adam")
    two.set_weights(one.get_weights())
    one._built().engine.epoch = two._built().engine.epoch
    for each in (one, two):
        each.compile("adam")
        each.train_on_gradient(X, Y)
    assert_same_weights(one, two, 0.0)

"""Tests of Python losses: training equals that with built-in losses, and errors are reported."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import nnfast
from nnfast import _engine, callbacks, layers, losses, optimizers

Array = NDArray[Any]

RNG = np.random.default_rng(0)
N = 45
X, Y, W = RNG.normal(size=(N, 4)), RNG.normal(size=(N, 3)), RNG.uniform(0.5, 2.0, N)
LABELS = RNG.integers(0, 3, N)


def mse_rows(y: Array, p: Array) -> tuple[Array, Array]:
    """Return the mean squared error of each row and its gradient."""
    return ((p - y) ** 2).mean(axis=1), 2 * (p - y) / p.shape[1]


def mse(y: Array, p: Array) -> tuple[float, Array]:
    """Return the mean squared error of the batch and its gradient."""
    return float(((p - y) ** 2).mean()), 2 * (p - y) / p.size


def huber_rows(y: Array, p: Array) -> tuple[Array, Array]:
    d = p - y
    value = np.where(np.abs(d) <= 1, 0.5 * d**2, np.abs(d) - 0.5)
    return value.mean(axis=1), np.clip(d, -1, 1) / p.shape[1]


def crossentropy_rows(y: Array, p: Array) -> tuple[Array, Array]:
    """Return the cross-entropy of each row, for probabilities p and class indices y."""
    rows, classes = np.arange(len(y)), y.astype(int).reshape(-1)
    gradient = np.zeros_like(p)
    gradient[rows, classes] = -1 / p[rows, classes]
    return -np.log(p[rows, classes]), gradient


# name: (built-in loss, equivalent function, activation of the last layer, y)
LOSSES: dict[str, tuple[str, Callable[[Array, Array], Any], str, Array]] = {
    "mse": ("mse", mse, "linear", Y),
    "mse, by row": ("mse", mse_rows, "linear", Y),
    "huber, by row": ("huber", huber_rows, "linear", Y),
    "mse after softmax": ("mse", mse_rows, "softmax", np.eye(3)[LABELS]),
    # The function receives y unchanged: class indices for a model with three outputs.
    "crossentropy": ("sparse_categorical_crossentropy", crossentropy_rows, "softmax", LABELS),
}
BY_ROW = [name for name in LOSSES if name != "mse"]


def model(
    loss: Any,
    activation: str = "linear",
    optimizer: str = "adam",
    dropout: float = 0.0,
    dtype: str = "float64",
    **options: Any,
) -> Any:
    nnfast.set_seed(0)
    one = nnfast.Sequential(
        [
            *(layers.Input((4,)), layers.Dense(7, "tanh", kernel_regularizer="l2")),
            *(layers.Dropout(dropout), layers.Dense(3, activation)),
        ],
        dtype=dtype,
    )
    one.compile(optimizer, loss, **options)
    return one


def pair(name: str, **options: Any) -> tuple[Any, Any, Array]:
    """Return a model with the built-in loss, a model with the function, and y."""
    built_in, function, activation, y = LOSSES[name]
    return model(built_in, activation, **options), model(function, activation, **options), y


def assert_same_weights(a: Any, b: Any, tolerance: float = 1e-10) -> None:
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        assert_allclose(v, w, rtol=tolerance, atol=tolerance)


@pytest.fixture
def reset_threads() -> Iterator[None]:
    """Reset the number of threads after a test that forces one."""
    yield
    _engine.force_threads(0)


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("name", LOSSES)
def test_fit_equals_that_with_the_built_in_loss(name: str, dropout: float, shuffle: bool) -> None:
    one, two, y = pair(name, dropout=dropout)
    options = {"batch_size": 8, "epochs": 3, "shuffle": shuffle, "verbose": 0}
    expected = one.fit(X, y, validation_split=0.2, **options).history
    actual = two.fit(X, y, validation_split=0.2, **options).history
    assert list(actual) == ["loss", "val_loss"]
    for key, values in expected.items():
        assert_allclose(actual[key], values, rtol=1e-9)
    assert_same_weights(one, two)


@pytest.mark.parametrize("name", BY_ROW)
def test_sample_weights_act_as_with_the_built_in_loss(name: str) -> None:
    one, two, y = pair(name)
    results = []
    for each in (one, two):
        options = {"batch_size": 8, "epochs": 2, "sample_weight": W, "verbose": 0}
        history = each.fit(X, y, validation_data=(X[:9], y[:9], W[:9]), **options).history
        value, gradient = each.loss_and_grad(X, y, sample_weight=W)
        results.append(
            [
                *(*history.values(), each.evaluate(X, y, sample_weight=W, verbose=0)),
                *(value, each.train_on_batch(X, y, sample_weight=W), *gradient),
            ]
        )
    for a, b in zip(*results, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert_same_weights(one, two)


@pytest.mark.parametrize("name", LOSSES)
def test_single_batches_train_as_with_the_built_in_loss(name: str) -> None:
    one, two, y = pair(name)
    for i in range(0, N, 8):
        expected = one.train_on_batch(X[i : i + 8], y[i : i + 8])
        assert two.train_on_batch(X[i : i + 8], y[i : i + 8]) == pytest.approx(expected, rel=1e-10)
        expected = one.test_on_batch(X, y)
        assert two.test_on_batch(X, y) == pytest.approx(expected, rel=1e-10)
    assert_same_weights(one, two)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_those_of_the_built_in_loss(name: str) -> None:
    one, two, y = pair(name)
    theta = one.get_flat_weights() + 0.1
    value, gradient = one.loss_and_grad_flat(theta, X, y)
    actual, actual_gradient = two.loss_and_grad_flat(theta, X, y)
    assert actual == pytest.approx(value, rel=1e-12)
    assert_allclose(actual_gradient, gradient, rtol=1e-9, atol=1e-12)
    if name != "mse":  # A single number for the batch is tested below.
        assert_allclose(two.input_gradient(X, y), one.input_gradient(X, y), rtol=1e-9, atol=1e-12)
    assert_allclose(two.input_gradient(X), one.input_gradient(X), rtol=1e-12)


def test_a_single_number_as_loss_is_the_mean_over_samples_for_input_gradient() -> None:
    """Input gradients refer to each sample's own loss: n times the gradient of the mean loss."""
    one, two, y = pair("mse")
    assert_allclose(two.input_gradient(X, y), one.input_gradient(X, y), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_streams_train_exactly_like_arrays(name: str) -> None:
    _, array, y = pair(name, dropout=0.3)
    _, stream, _ = pair(name, dropout=0.3)
    parts = [(X[i : i + 8], y[i : i + 8]) for i in range(0, N, 8)]
    for _ in range(2):
        a = array.fit(X, y, batch_size=8, shuffle=False, verbose=0).history
        b = stream.fit(iter(parts), validation_data=iter(parts), verbose=0).history
        assert_allclose(a["loss"], b["loss"], rtol=1e-12)
        assert_allclose(b["val_loss"], stream.evaluate(X, y, verbose=0), rtol=1e-10)
    for v, w in zip(array.get_weights(), stream.get_weights(), strict=True):
        assert_array_equal(v, w)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [3, 20, 45])
def test_results_do_not_depend_on_the_number_of_threads(
    batch: int, dtype: str, reset_threads: None
) -> None:
    results = []
    for threads in (1, 2, 3, 4, 7):
        _engine.force_threads(threads)
        one = model(huber_rows, dtype=dtype, dropout=0.2)
        history = one.fit(X, Y, batch_size=batch, epochs=2, verbose=0)
        loss, gradient = one.loss_and_grad(X, Y)
        results.append([*one.get_weights(), np.array(history.history["loss"]), loss, *gradient])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_large_batches_train_as_with_the_built_in_loss() -> None:
    """Built-in losses are computed per micro-batch, Python losses on the whole batch."""
    x = np.tile(X, (40, 1)) + RNG.normal(size=(40 * N, 4))
    y = np.tile(Y, (40, 1))
    one, two = model("mse", optimizer="sgd"), model(mse_rows, optimizer="sgd")
    for each in (one, two):
        each.fit(x, y, batch_size=900, epochs=2, verbose=0)
    assert_same_weights(one, two, 1e-12)
    assert two.evaluate(x, y, verbose=0) == pytest.approx(one.evaluate(x, y, verbose=0), rel=1e-12)


def test_metrics_equal_those_with_the_built_in_loss() -> None:
    one, two, y = pair("crossentropy")
    for each, loss in ((one, "sparse_categorical_crossentropy"), (two, crossentropy_rows)):
        each.compile(
            "adam", loss, metrics=["sparse_categorical_accuracy"], weighted_metrics=[user_defined]
        )
    results = [
        each.fit(X, y, sample_weight=W, validation_data=(X, y), epochs=2, verbose=0).history
        for each in (one, two)
    ]
    assert list(results[0]) == list(results[1])
    for key, values in results[0].items():
        assert_allclose(results[1][key], values, rtol=1e-9)


@pytest.mark.parametrize(
    ("metric", "y", "words"),
    [
        ("mae", LABELS, r"'mean_absolute_error' needs 3 targets.*\(45,\).*sparse"),
        ("mae", np.zeros((N, 1)), "3 targets"),
        ("accuracy", LABELS, "'categorical_accuracy' needs 3 targets"),
        ("sparse_categorical_accuracy", Y, "class indices"),
    ],
)
def test_metrics_refuse_targets_that_do_not_fit(metric: str, y: Array, words: str) -> None:
    """The loss here accepts any targets, but the metric does not."""

    def anything(y: Array, p: Array) -> tuple[Array, Array]:
        return (p**2).sum(axis=1), 2 * p

    one = model(anything, metrics=[metric])
    for method in (one.fit, one.evaluate, one.train_on_batch):
        with pytest.raises(ValueError, match=words):
            method(X, y)


def user_defined(y_true: Array, y_pred: Array) -> Array:
    """Return the error of the first output."""
    return np.abs(y_pred[:, 0] - y_true.reshape(-1))


# The arguments of the function


class Calls:
    """A loss that records its arguments."""

    def __init__(self) -> None:
        self.y: list[Any] = []
        self.p: list[Any] = []

    def __call__(self, y: Array, p: Array) -> tuple[Array, Array]:
        self.y.append(y.copy())
        self.p.append(p.copy())
        return (p**2).reshape(len(p), -1).sum(axis=1), 2 * p


@pytest.mark.parametrize(
    ("y", "shape"),
    [
        (np.arange(N), (N,)),  # The model has three outputs, so y is not reshaped.
        (np.arange(N)[:, None], (N, 1)),
        (np.zeros((N, 5, 2), np.float32), (N, 5, 2)),
        (np.arange(N) % 2 == 0, (N,)),
        (np.arange(N).tolist(), (N,)),
    ],
)
def test_the_function_receives_y_unchanged(y: Any, shape: tuple[int, ...]) -> None:
    calls = Calls()
    one = model(calls)
    one.fit(X, y, batch_size=20, shuffle=False, verbose=0)
    assert [len(part) for part in calls.y] == [20, 20, 5]
    seen = np.concatenate(calls.y)
    assert seen.shape == shape
    assert seen.dtype == np.asarray(y).dtype
    assert_array_equal(seen, y)


def test_y_is_a_column_if_there_is_one_output() -> None:
    """Otherwise y - p would be broadcast to an (n, n) matrix."""
    calls = Calls()
    one = nnfast.Sequential([layers.Dense(1, input_dim=4)])
    one.compile("sgd", calls)
    one.fit(X, Y[:, 0], batch_size=N, verbose=0)
    one.evaluate(X, Y[:, 0], verbose=0)
    assert [part.shape for part in (*calls.y, *calls.p)] == [(N, 1)] * 4


def test_shuffled_targets_and_outputs_correspond() -> None:
    calls = Calls()
    one = model(calls)
    one.optimizer.learning_rate = 0.0
    one.fit(X, np.arange(N), batch_size=20, verbose=0)
    order = np.concatenate(calls.y)
    assert sorted(order) == list(range(N))
    assert list(order) != list(range(N))
    assert_array_equal(np.concatenate(calls.p), one.predict(X)[order])


def test_the_function_receives_outputs_in_the_shape_of_the_model() -> None:
    calls = Calls()
    one = nnfast.Sequential([layers.Dense(6, input_dim=4), layers.Reshape((2, 3))], dtype="float64")
    one.compile(optimizers.SGD(0.1), calls)
    before, out = one.get_weights(), one.predict(X)
    loss = one.train_on_batch(X, np.zeros(N))
    assert calls.p[0].shape == (N, 2, 3)
    assert_array_equal(calls.p[0], out)
    assert loss == pytest.approx((out**2).sum() / N)
    gradient = X.T @ (2 * out.reshape(N, 6)) / N
    assert_allclose(one.get_weights()[0], before[0] - 0.1 * gradient, rtol=1e-10, atol=1e-12)
    one.evaluate(X, np.zeros(N), verbose=0)
    assert calls.p[1].shape == (N, 2, 3)


def test_a_loss_that_overwrites_its_arguments_changes_neither_data_nor_training() -> None:
    """The function receives copies of the outputs and targets."""

    def overwriting(y: Array, p: Array) -> tuple[Array, Array]:
        value, gradient = mse_rows(y, p)
        y[:], p[:] = 0, 0
        return value, gradient

    one, two, y = model(mse_rows), model(overwriting), Y.copy()
    for each in (one, two):
        each.fit(X, y, batch_size=8, epochs=2, verbose=0)
    assert_array_equal(y, Y)
    for v, w in zip(one.get_weights(), two.get_weights(), strict=True):
        assert_array_equal(v, w)


def in_place(y: Array, p: Array) -> tuple[Array, Array]:
    """Return the results of `mse_rows`, computed in place in the arguments."""
    p -= y
    y *= 0
    value = (p**2).mean(axis=1)
    p *= 2 / p.shape[1]
    return value, p


def worst_in_place(y: Array, p: Array) -> float:
    p -= y
    y[:] = 7
    return float(np.abs(p, out=p).max())


class WorstInPlace(nnfast.metrics.Metric):
    """A user-defined metric that overwrites its arguments, including the sample weights."""

    def totals(self, y: Array, outputs: Array, weight: Any) -> Any:
        if weight is not None:
            weight *= 0
        return np.array([worst_in_place(y, outputs)])

    def value(self, totals: Any) -> float:
        return float(totals[0])


class WorstOnCopies(WorstInPlace):
    def totals(self, y: Array, outputs: Array, weight: Any) -> Any:
        return super().totals(y.copy(), outputs.copy(), None)


def on_copies(function: Callable[[Array, Array], Any]) -> Callable[[Array, Array], Any]:
    return functools.wraps(function)(lambda y, p: function(y.copy(), p.copy()))


USES: dict[str, Callable[[Any, Array, Array, Array], Any]] = {
    "evaluate": lambda m, x, y, w: m.evaluate(x, y, sample_weight=w, verbose=0),
    "evaluate batches": lambda m, x, y, w: m.evaluate(
        x, y, 10, sample_weight=w, verbose=0, callbacks=LOOK
    ),
    "evaluate stream": lambda m, x, y, w: m.evaluate(iter([(x, y, w)]), verbose=0),
    "test_on_batch": lambda m, x, y, w: m.test_on_batch(x, y, w),
    "train_on_batch": lambda m, x, y, w: m.train_on_batch(x, y, w),
    "loss_and_grad": lambda m, x, y, w: m.loss_and_grad(x, y, w),
    "input_gradient": lambda m, x, y, w: m.input_gradient(x, y),
    "fit": lambda m, x, y, w: (
        m.fit(x, y, 10, 2, 0, sample_weight=w, validation_data=(x, y, w)).history
    ),
    "fit batches": lambda m, x, y, w: (
        m.fit(x, y, 10, 2, 0, sample_weight=w, validation_data=(x, y, w), callbacks=LOOK).history
    ),
    "fit stream": lambda m, x, y, w: m.fit(iter([(x, y, w)] * 2), verbose=0, epochs=1).history,
}
LOOK = callbacks.LambdaCallback(
    on_test_batch_end=lambda batch, logs: None, on_train_batch_end=lambda batch, logs: None
)


@pytest.mark.parametrize("loss", ["function", "built-in"])
@pytest.mark.parametrize("use", USES)
def test_losses_and_metrics_that_work_in_place_change_no_other_result(use: str, loss: str) -> None:
    """Each receives copies, so neither the user's arrays nor those of other metrics change."""
    results = []
    for wrap, kind in ((on_copies, WorstOnCopies), (lambda function: function, WorstInPlace)):
        x, y, w = X.copy(), Y.copy(), W.copy()
        used = ["mae", wrap(worst_in_place), kind(name="worst"), "mse"]
        net = model(
            wrap(in_place) if loss == "function" else "mse", metrics=used, weighted_metrics=used
        )
        results.append((USES[use](net, x, y, w), net.get_weights()))
        assert_array_equal(x, X)
        assert_array_equal(y, Y)
        assert_array_equal(w, W)
    np.testing.assert_equal(results[1], results[0])


def test_only_built_in_metrics_receive_the_arrays_without_a_copy() -> None:
    public = {getattr(nnfast.metrics, name) for name in nnfast.metrics.__all__}
    classes = {each for each in public if isinstance(each, type)}
    assert classes - {nnfast.metrics.Metric} == nnfast.metrics.BUILT_IN
    one = nnfast.metrics.FunctionMetric(worst_in_place)
    y, p = Y.copy(), Y + 1
    one.update_state(y, p)
    assert (one.result(), one.compute(y, p)) == (pytest.approx(1), pytest.approx(1))
    assert_array_equal(p, Y + 1)
    assert_array_equal(y, Y)


@pytest.mark.parametrize("name", BY_ROW)
def test_class_weights_act_as_with_the_built_in_loss(name: str) -> None:
    one, two, y = pair(name)
    for each in (one, two):
        each.fit(X, y, batch_size=8, epochs=2, class_weight={0: 3.0, 2: 0.5}, verbose=0)
        each.train_on_batch(X, y, class_weight={1: 0.0})
    assert_same_weights(one, two)


def test_class_weights_apply_to_targets_of_several_axes() -> None:
    """The class of a row is the index of its largest entry, as for a built-in loss."""
    y = np.zeros((N, 3, 1))
    y[np.arange(N), LABELS] = 1.0

    def flat(t: Array, p: Array) -> tuple[Array, Array]:
        return mse_rows(t.reshape(len(t), -1), p)

    one, two = model(mse_rows), model(flat)
    one.fit(X, y.reshape(N, 3), class_weight={0: 3.0}, verbose=0)
    two.fit(X, y, class_weight={0: 3.0}, verbose=0)
    assert_same_weights(one, two, 0.0)


def test_any_callable_can_be_a_loss() -> None:
    class Method:
        def loss(self, y: Array, p: Array) -> tuple[Array, Array]:
            return mse_rows(y, p)

    def with_option(y: Array, p: Array, scale: float) -> tuple[Array, Array]:
        value, gradient = mse_rows(y, p)
        return scale * value, scale * gradient

    functions: list[Any] = [
        *(mse_rows, lambda y, p: mse_rows(y, p), Method().loss),
        *(functools.partial(with_option, scale=1.0), losses.FunctionLoss(mse_rows)),
    ]
    values = []
    for function in functions:
        one = model(function)
        values.append(one.fit(X, Y, epochs=2, verbose=0).history["loss"])
        assert isinstance(one.loss, losses.FunctionLoss)
    assert all(v == values[0] for v in values)
    assert losses.FunctionLoss(mse) == losses.FunctionLoss(mse) != losses.FunctionLoss(mse_rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_returned_lists_and_arrays_are_converted_to_the_models_dtype(dtype: str) -> None:

    def lists(y: Array, p: Array) -> tuple[Any, Any]:
        value, gradient = mse_rows(y, p)
        return value.tolist(), gradient.tolist()

    def strided(y: Array, p: Array) -> tuple[Any, Any]:
        value, gradient = mse_rows(y, p)
        return value.astype("f4"), np.asfortranarray(gradient.astype("f4"))

    results = []
    for function in (mse_rows, lists, strided):
        one = model(function, dtype=dtype)
        one.fit(X, Y, batch_size=8, verbose=0)
        results.append(one)
    for other in results[1:]:
        assert_same_weights(results[0], other, 1e-5)


# Errors


def returns(value: Any, gradient: Any = None) -> Callable[[Array, Array], Any]:
    def wrong(y: Array, p: Array) -> Any:
        v = value(p) if callable(value) else value
        return v, p if gradient is None else gradient(p)

    return wrong


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda y, p: 1.0, r"must return \(value, gradient\).*float"),
        (lambda y, p: None, r"must return \(value, gradient\)"),
        (lambda y, p: (1.0, p, p), r"must return \(value, gradient\)"),
        (lambda y, p: [1.0, p], r"must return \(value, gradient\)"),
        (returns(1.0, lambda p: p[:, :1]), r"gradient of loss wrong.*\(45, 3\).*\(45, 1\)"),
        (returns(1.0, lambda p: p[0]), "gradient of loss wrong"),
        (returns(lambda p: p), r"value of loss wrong.*\(45, 3\)"),
        (returns(lambda p: p[:-1, 0]), r"one for each of 45 rows.*\(44,\)"),
        (returns("1"), "value of loss wrong"),
        (returns(None), "value of loss wrong"),
        (returns(1.0, lambda p: 1j * p), "gradient of loss wrong.*complex"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "loss_and_grad", "train_on_batch"])
def test_invalid_return_values_are_refused(function: Any, words: str, method: str) -> None:
    one = model(function)
    before = one.get_weights()
    options = {"batch_size": N, "verbose": 0} if method == "fit" else {}
    with pytest.raises((TypeError, ValueError), match=words):
        getattr(one, method)(X, Y, **options)
    assert_same_weights(model(function), one, 0.0)
    for a, b in zip(one.get_weights(), before, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("how", ["sample_weight", "class_weight"])
def test_sample_and_class_weights_need_a_loss_per_row(how: str) -> None:
    one = model(mse)
    weights = {"sample_weight": W} if how == "sample_weight" else {"class_weight": {0: 2.0}}
    with pytest.raises(ValueError, match="Samples are weighted, so loss mse"):
        one.fit(X, Y, verbose=0, **weights)
    one.fit(X, Y, sample_weight=np.ones(N), verbose=0)


class Breaks:
    """A loss that raises an error at its n-th call."""

    def __init__(self, error: BaseException, n: int) -> None:
        self.error, self.left = error, n

    def __call__(self, y: Array, p: Array) -> tuple[Array, Array]:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return mse_rows(y, p)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "error", [RuntimeError("mine"), KeyboardInterrupt("mine"), StopIteration("mine")], ids=repr
)
@pytest.mark.parametrize("source", ["array", "stream"])
def test_errors_of_the_loss_reach_the_caller_and_training_can_continue(
    source: str, error: BaseException, threads: int, reset_threads: None
) -> None:
    """The steps before the error are kept."""
    _engine.force_threads(threads)
    one = model(Breaks(error, 9))
    parts = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, N, 8)]
    data: Any = (X, Y) if source == "array" else (Reiterable(parts),)
    with pytest.raises(type(error), match="mine"):
        one.fit(*data, batch_size=8, epochs=3, shuffle=False, verbose=0)
    # An epoch has six batches, so the ninth is the third batch of the second epoch.
    two = model(mse_rows)
    two.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    two.fit(X[:16], Y[:16], batch_size=8, shuffle=False, verbose=0)
    assert_same_weights(one, two, 0.0)
    assert one._built().engine.iterations == 8
    assert one._built().engine.batch == 0
    # The next fit starts with a new epoch.
    for each in (one, two):
        each.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    assert_same_weights(one, two, 0.0)


class Reiterable:
    """An iterable that can be iterated several times."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)


def test_a_model_is_usable_after_its_loss_raised_in_validation() -> None:
    one = model(Breaks(RuntimeError("mine"), 2))
    with pytest.raises(RuntimeError, match="mine"):
        one.fit(X, Y, batch_size=N, validation_data=(X, Y), verbose=0)
    assert one.evaluate(X, Y, verbose=0) > 0


@pytest.mark.parametrize("what", ["value", "gradient"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_non_finite_loss_or_gradient_stops_training_without_a_step(
    number: float, what: str
) -> None:

    def diverges(y: Array, p: Array) -> tuple[Array, Array]:
        rows, gradient = mse_rows(y, p)
        (rows if what == "value" else gradient)[0] = number
        return rows, gradient

    one = model(diverges)
    before = one.get_weights()
    with pytest.warns(RuntimeWarning, match="not finite"):
        one.fit(X, Y, verbose=0)
    for a, b in zip(one.get_weights(), before, strict=True):
        assert_array_equal(a, b)


def test_a_loss_can_call_predict_but_not_train_its_own_model() -> None:
    seen = []

    def predicts(y: Array, p: Array) -> tuple[Array, Array]:
        seen.append(one.predict(X[:2]))
        return mse_rows(y, p)

    def trains(y: Array, p: Array) -> tuple[Array, Array]:
        one.train_on_batch(X, Y)
        return mse_rows(y, p)

    one = model(predicts)
    one.fit(X, Y, batch_size=N, epochs=2, verbose=0)
    assert len(seen) == 2
    one = model(trains)
    with pytest.raises(RuntimeError, match="within its own training"):
        one.fit(X, Y, verbose=0)
    one.compile("adam", mse_rows)
    one.fit(X, Y, verbose=0)


def test_subnormal_numbers_are_not_flushed_to_zero_in_the_function() -> None:
    """The engine flushes subnormals to 0, but restores the floating-point mode for the function."""
    products = []

    def multiplies(y: Array, p: Array) -> tuple[Array, Array]:
        products.append((np.array([1e-300]) * np.array([1e-10])).item())
        return mse_rows(y, p)

    one = model(multiplies)
    one.fit(X, Y, batch_size=N, epochs=2, verbose=0)
    one.evaluate(X, Y, verbose=0)
    assert products == [1e-310] * 3


def test_the_model_holds_no_reference_to_the_training_data() -> None:
    import gc
    import weakref

    one = model(mse_rows)
    y = Y.copy()
    ref = weakref.ref(y)
    one.fit(X, y, verbose=0)
    del y
    gc.collect()
    assert ref() is None


def test_early_stopping_ends_training_with_a_python_loss() -> None:
    one = model(mse_rows)
    stop = callbacks.EarlyStopping(monitor="loss", patience=0, min_delta=1e9)
    history = one.fit(X, Y, epochs=9, callbacks=[stop], verbose=0)
    assert len(history.history["loss"]) == 2


def test_models_are_saved_without_the_function(tmp_path: Path) -> None:
    one = model(mse_rows)
    one.fit(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="Loss mse_rows is a function and is not saved"):
        one.save(tmp_path / "model")
    copy = nnfast.load_model(tmp_path / "model")
    assert_array_equal(copy.predict(X), one.predict(X))
    with pytest.raises(ValueError, match="compile"):
        copy.fit(X, Y, verbose=0)
    # After both are compiled again with a new optimizer, they train alike.
    for each in (one, copy):
        each.compile("adam", mse_rows)
        each.fit(X, Y, verbose=0)
    assert_same_weights(one, copy, 0.0)


def test_the_rows_of_y_are_checked() -> None:
    one = model(mse_rows)
    for y in (Y[:-1], 3.0, None, [["a"] * 3] * N):
        with pytest.raises((TypeError, ValueError), match=r"^y "):
            one.fit(X, y, verbose=0)


@pytest.mark.parametrize("loss", [3, [3]])
def test_a_loss_must_be_callable(loss: Any) -> None:
    with pytest.raises(TypeError, match="loss"):
        model(loss)
    with pytest.raises(TypeError, match="callable"):
        losses.FunctionLoss(loss)


def test_a_model_can_change_from_a_function_to_a_built_in_loss() -> None:
    one, two = model(mse_rows), model("mse")
    one.fit(X, Y, verbose=0)
    one.set_weights(two.get_weights())
    one._built().engine.epoch = 0
    one.compile("adam", "mse")
    for each in (one, two):
        each.fit(X, Y, verbose=0)
    assert_same_weights(one, two, 0.0)

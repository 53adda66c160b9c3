"""Losses, metrics, activations, initializers and the like called as functions, as in Keras.

The expected numbers are those of Keras 3.15. `tests/keras_tools_programs.py` compares more cases.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import keras

LN2 = math.log(2.0)
X = np.random.default_rng(0).normal(size=(24, 3))
Y = np.random.default_rng(1).normal(size=(24, 2))
LABELS = np.random.default_rng(2).integers(0, 2, 24)


def fitted(loss: Any, y: Any = Y, activation: str = "linear", **options: Any) -> Any:
    """Return a model trained for 6 steps from fixed weights, and its history."""
    nnfast.set_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation)])
    model.compile(keras.optimizers.SGD(0.05), loss, **options)
    return model, model.fit(X, y, 8, 2, shuffle=False, verbose=0).history


# Loss: (arguments, targets, outputs, loss of each sample).
VALUES: dict[str, tuple[dict[str, Any], Any, Any, list[float]]] = {
    "MeanSquaredError": ({}, [[0, 2], [1, 1]], [[1, 4], [1, 1]], [2.5, 0]),
    "MeanAbsoluteError": ({}, [[0, 2], [1, 1]], [[1, 4], [1, 1]], [1.5, 0]),
    "MeanAbsolutePercentageError": ({}, [[1, 2], [4, 4]], [[1.5, 2], [4, 8]], [25, 50]),
    "MeanSquaredLogarithmicError": ({}, [[0], [1]], [[1], [-2]], [LN2**2, LN2**2]),
    "Huber": ({"delta": 2.0}, [[0], [0]], [[1], [5]], [0.5, 8]),
    "LogCosh": ({}, [[0], [0]], [[0], [1]], [0, math.log(math.cosh(1))]),
    "Quantile": ({"level": 0.9}, [[0], [0]], [[1], [-1]], [0.1, 0.9]),
    "CosineSimilarity": ({}, [[0, 1], [1, 1]], [[0, 5], [-2, -2]], [-1, 1]),
    "Hinge": ({}, [[0, 1], [1, 1]], [[0.5, 0.5], [2, 0]], [1, 0.5]),
    "SquaredHinge": ({}, [[0, 1], [1, 1]], [[0.5, 0.5], [2, 0]], [1.25, 0.5]),
    "CategoricalHinge": ({}, [[0, 1], [1, 0]], [[0.5, 0.25], [3, 0]], [1.25, 0]),
    "Poisson": ({}, [[0], [1]], [[2], [1]], [2, 1]),
    "KLDivergence": ({}, [[0.5, 0.5], [0, 1]], [[0.5, 0.5], [0.5, 0.5]], [0, LN2]),
    "BinaryCrossentropy": ({}, [[1], [0]], [[0.5], [0.5]], [LN2, LN2]),
    "BinaryFocalCrossentropy": ({}, [[1], [0]], [[0.5], [0.5]], [LN2 / 4, LN2 / 4]),
    "CategoricalCrossentropy": ({"from_logits": True}, [[0, 1]], [[0, 0]], [LN2]),
    "CategoricalFocalCrossentropy": ({"gamma": 1.0}, [[0, 1]], [[1, 1]], [LN2 / 8]),
    "SparseCategoricalCrossentropy": ({}, [1, 0], [[0.5, 0.5], [1, 1]], [LN2, LN2]),
}


@pytest.mark.parametrize("name", VALUES)
def test_losses_return_the_loss_of_each_sample_and_reduce_it(name: str) -> None:
    options, y_true, y_pred, expected = VALUES[name]
    cls = getattr(keras.losses, name)
    weight = np.linspace(0.5, 2.0, len(expected))
    assert {cls.__name__ for cls in nnfast.losses.TABLE.values()} == VALUES.keys()
    loss = cls(**options)
    np.testing.assert_allclose(loss.call(y_true, y_pred), expected, rtol=1e-5, atol=2e-6)
    weighted = weight * expected
    for reduction, value in {
        "sum_over_batch_size": weighted.mean(),
        "mean": weighted.mean(),
        "sum": weighted.sum(),
        "mean_with_sample_weight": weighted.sum() / weight.sum(),
        "none": weighted,
        None: weighted,
    }.items():
        reduced = cls(**options, reduction=reduction)(y_true, y_pred, sample_weight=weight)
        assert reduced.dtype == np.float32
        np.testing.assert_allclose(reduced, value, rtol=1e-5, atol=2e-6)
    assert cls(**options, dtype="float64")(y_true, y_pred).dtype == np.float64


def test_weights_of_zero_give_a_mean_of_zero() -> None:
    loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    assert loss([[1.0]], [[2.0]], sample_weight=[0.0]) == 0


def test_an_ignored_class_does_not_count() -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=2)
    p = [[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]]
    assert loss([0, 2], p) == pytest.approx(LN2)
    np.testing.assert_allclose(loss.call([0, 2], p), [LN2, 0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"ignore_class.*sample weight"):
        fitted(loss, LABELS, "softmax")


def test_samples_of_several_axes_and_of_one_axis_are_accepted() -> None:
    loss = keras.losses.MeanSquaredError(reduction=None)
    assert loss(np.zeros((2, 3, 4)), np.ones((2, 3, 4))).shape == (2, 3)
    assert loss([0.0, 0.0], [1.0, 3.0]) == 5
    assert keras.losses.mean_squared_error(np.zeros(3), np.ones((3, 1))).shape == (3,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: keras.losses.MSE([[1, 2]], [[1, 2, 3]]), ["y_true", "(1, 2)", "(1, 3)"]),
        (lambda: keras.losses.MSE([["a"]], [[1]]), ["y_true"]),
        (lambda: keras.losses.MeanSquaredError(reduction="avg"), ["reduction", "'avg'"]),
        (lambda: keras.losses.MeanSquaredError(dtype="int8"), ["dtype", "'int8'"]),
        (lambda: keras.losses.MeanSquaredError(name=3), ["name", "3"]),
        (lambda: keras.losses.BinaryCrossentropy(axis=1), ["axis", "-1", "1"]),
        (lambda: keras.losses.BinaryFocalCrossentropy(gamma=-1.0), ["gamma", "-1"]),
        (lambda: keras.losses.CategoricalFocalCrossentropy(alpha=[]), ["alpha"]),
        (
            lambda: keras.losses.CategoricalCrossentropy()([[1], [0]], [[0.5, 0.5]] * 2),
            ["y_true", "(2, 1)", "(2, 2)", "sparse_categorical_crossentropy"],
        ),
        (
            lambda: keras.losses.sparse_categorical_crossentropy([math.nan], [[0.5, 0.5]]),
            ["y_true", "0 to 1", "nan"],
        ),
        (
            lambda: keras.losses.sparse_categorical_crossentropy([3], [[0.5, 0.5]]),
            ["y_true", "0 to 1", "3"],
        ),
        (
            lambda: keras.losses.MeanSquaredError()(Y, Y, [1.0, 2.0]),
            ["sample_weight", "(24,)", "(2,)"],
        ),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("name", sorted(nnfast.losses.TABLE))
def test_a_loss_function_in_compile_is_the_built_in_loss(name: str) -> None:
    cls = nnfast.losses.TABLE[name]
    if cls.__name__ != "Quantile":
        assert nnfast.losses.resolve(cls.formula) == cls()


def test_functions_and_objects_train_alike_and_are_metrics() -> None:
    metrics = [keras.losses.mean_absolute_error, keras.losses.Huber(0.5)]
    by_function, history = fitted(keras.losses.mean_squared_error, metrics=metrics)
    by_name, _ = fitted("mse")
    assert list(history) == ["loss", "mean_absolute_error", "huber_loss"]
    for a, b in zip(by_function.get_weights(), by_name.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    p = by_name.predict(X, verbose=0)
    results = by_function.evaluate(X, Y, verbose=0, return_dict=True)
    assert results["loss"] == pytest.approx(float(keras.losses.MeanSquaredError()(Y, p)), rel=1e-5)
    assert results["huber_loss"] == pytest.approx(float(keras.losses.Huber(0.5)(Y, p)), rel=1e-5)


@pytest.mark.parametrize("reduction", ["none", None])
def test_training_needs_a_reduction(reduction: str | None) -> None:
    with pytest.raises(ValueError, match=r"MeanSquaredError with reduction=.*number per batch"):
        fitted(keras.losses.MeanSquaredError(reduction=reduction))


def test_a_sum_is_the_mean_times_the_number_of_losses() -> None:
    """With a learning rate divided by the batch size, the weights are those of the mean."""
    summed = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    mean = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    mean.set_weights(summed.get_weights())
    summed.compile(keras.optimizers.SGD(0.01), keras.losses.MeanSquaredError(reduction="sum"))
    mean.compile(keras.optimizers.SGD(0.08), "mse")
    losses = [m.fit(X, Y, 8, shuffle=False, verbose=0).history["loss"][0] for m in (summed, mean)]
    assert losses[0] == pytest.approx(8 * losses[1], rel=1e-5)
    for a, b in zip(summed.get_weights(), mean.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    by_eight = summed.evaluate(X, Y, batch_size=8, verbose=0)
    assert by_eight == pytest.approx(8 * mean.evaluate(X, Y, verbose=0), rel=1e-5)
    assert summed.evaluate(X, Y, batch_size=24, verbose=0) == pytest.approx(3 * by_eight, rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("several", [False, True])
def test_gradients_of_reductions_agree_with_differences(reduction: str, several: bool) -> None:
    stack = [keras.Input((3,)), keras.layers.Dense(2, activity_regularizer="l2")]
    stack += [keras.layers.Reshape((2, 1))] if several else []
    model = nnfast.Sequential(stack, dtype="float64")
    model.compile("sgd", keras.losses.Huber(0.5, reduction=reduction))
    y = Y[:, :, None] if several else Y
    weight = np.linspace(0.0, 2.0, len(Y))
    theta = model.get_flat_weights()
    value, gradient = model.loss_and_grad_flat(theta, X, y, sample_weight=weight)
    for i in range(theta.size):
        step = np.zeros(theta.size)
        step[i] = 1e-6
        up, down = (
            model.loss_and_grad_flat(theta + s, X, y, sample_weight=weight)[0]
            for s in (step, -step)
        )
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-8)
    p = model.predict(X, verbose=0)
    rows = np.asarray(keras.losses.Huber(0.5, dtype="float64").call(y, p))
    total = (weight @ rows).sum() if reduction == "sum" else (weight @ rows).mean() / weight.sum()
    penalty = 0.01 * np.square(p).sum() / len(X)
    if not (several and reduction == "mean_with_sample_weight"):
        assert value == pytest.approx(total + penalty, rel=1e-6)


def test_a_loss_with_its_own_call_can_be_called_but_not_train() -> None:
    class Cubic(keras.losses.Loss):  # type: ignore[name-defined, misc]
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return (np.abs(y_true - y_pred) ** 3).mean(axis=-1)

    loss = Cubic(reduction="sum")
    assert (loss.name, loss([[0.0], [0.0]], [[1.0], [2.0]])) == ("cubic", 9)
    with pytest.raises(ValueError, match=r"Cubic cannot train.*FunctionLoss"):
        fitted(loss)


def test_metrics_are_called_and_keep_a_running_value() -> None:
    metric = keras.metrics.MeanAbsoluteError()
    assert metric.name == "mean_absolute_error"
    assert metric([[0.0]], [[1.0]]) == 1
    assert metric([[0.0]], [[2.0]], sample_weight=[3.0]) == 1.75
    metric.reset_state()
    assert metric.result() == 0
    assert metric.compute(np.zeros((1, 1)), np.ones((1, 1))) == 1
    assert metric.result() == 0
    third = keras.metrics.Mean(dtype="float32")(1 / 3)
    assert third.dtype == np.float32


ROWWISE = {
    "CategoricalAccuracy": {},
    "TopKCategoricalAccuracy": {"k": 2},
    "SparseCategoricalAccuracy": {},
    "SparseTopKCategoricalAccuracy": {"k": 2},
    "CategoricalCrossentropy": {"from_logits": True, "label_smoothing": 0.1},
    "SparseCategoricalCrossentropy": {},
    "KLDivergence": {},
    "CategoricalHinge": {},
    "CosineSimilarity": {},
    "Precision": {"class_id": 1},
    "Recall": {"top_k": 1},
    "F1Score": {"average": "macro"},
    "MeanAbsoluteError": {},
}


@pytest.mark.parametrize("name", ROWWISE)
def test_the_last_axis_holds_the_outputs_of_a_row(name: str) -> None:
    rng = np.random.default_rng(3)
    labels, p = rng.integers(0, 3, (4, 5)), rng.dirichlet((1, 1, 1), (4, 5))
    y = labels if name.startswith("Sparse") else np.eye(3)[labels]
    rows = labels.reshape(20) if name.startswith("Sparse") else y.reshape(20, 3)
    metric = getattr(keras.metrics, name)(**ROWWISE[name])
    by_sample, by_row = rng.uniform(size=4), rng.uniform(size=(4, 5))
    for weight, flat in (
        (None, None),
        (by_sample, np.repeat(by_sample, 5)),
        (by_row, by_row.ravel()),
    ):
        expected = metric.compute(rows, p.reshape(20, 3), flat)
        metric.reset_state()
        assert metric(y, p, sample_weight=weight) == pytest.approx(expected, rel=1e-12)


def test_one_axis_is_one_row_if_its_outputs_belong_together() -> None:
    assert keras.metrics.CosineSimilarity()([3, 4], [4, 3]) == pytest.approx(0.96)
    assert keras.metrics.CategoricalAccuracy()([0, 0, 1], [0.1, 0.2, 0.7]) == 1
    assert keras.metrics.BinaryAccuracy()([0, 1, 1], [0.1, 0.2, 0.7]) == pytest.approx(2 / 3)
    assert keras.metrics.MeanSquaredError()(1, 3) == 4


def test_user_defined_metrics_receive_arrays_of_several_axes() -> None:
    metric = keras.metrics.MeanMetricWrapper(keras.losses.cosine_similarity)
    y, p = np.eye(3)[None], np.eye(3)[None, [0, 2, 1]]
    assert metric(y, p) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    "name", ["huber", "binary_focal_crossentropy", "categorical_focal_crossentropy"]
)
def test_names_of_losses_are_metrics(name: str) -> None:
    model, history = fitted("mse", np.eye(2)[LABELS], "sigmoid", metrics=[name, "mae"])
    assert list(history) == ["loss", name, "mae"]
    expected = getattr(keras.losses, name)(np.eye(2)[LABELS], model.predict(X, verbose=0)).mean()
    values = model.evaluate(X, np.eye(2)[LABELS], verbose=0, return_dict=True)
    assert values[name] == pytest.approx(expected, rel=1e-5)
    assert keras.metrics.get(name).direction == "down"


def test_metrics_may_override_update_state_and_result() -> None:
    class Largest(keras.metrics.Metric):  # type: ignore[name-defined, misc]
        def __init__(self, name: str = "largest", **options: Any) -> None:
            super().__init__(name=name, **options)
            self.most = 0.0

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            assert len(y_true) == len(y_pred)
            self.most = max(self.most, float(np.abs(y_pred).max()))

        def result(self) -> float:
            return self.most

        def reset_state(self) -> None:
            self.most = 0.0

    model, history = fitted("mse", metrics=[Largest(), "mae"])
    assert list(history) == ["loss", "largest", "mae"]
    largest = np.abs(model.predict(X, verbose=0)).max()
    assert model.evaluate(X, Y, verbose=0)[1] == pytest.approx(largest, rel=1e-6)
    _, history = fitted("sparse_categorical_crossentropy", LABELS, "softmax", metrics=[Largest()])
    assert "largest" in history


def test_aggregates_are_refused_in_compile() -> None:
    with pytest.raises(ValueError, match=r"Metric 'mean' takes values"):
        fitted("mse", metrics=[keras.metrics.Mean()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.metrics.AUC(num_labels=3),
        lambda: keras.metrics.AUC(label_weights=[1.0, 2.0])([[1, 0, 1]], [[0.1, 0.2, 0.3]]),
        lambda: keras.metrics.FBetaScore("mean"),
        lambda: keras.metrics.F1Score(threshold=1.5),
        lambda: keras.metrics.RecallAtPrecision(1.5),
        lambda: keras.metrics.CosineSimilarity(axis=0),
        lambda: keras.metrics.categorical_accuracy([["a"]], [[1]]),
        lambda: keras.metrics.sparse_categorical_accuracy([[1, 2]], [[0.5, 0.5]]),
        lambda: keras.metrics.sparse_top_k_categorical_accuracy([-1], [[0.5, 0.5]]),
        lambda: keras.metrics.SparseCategoricalCrossentropy()([-1], [[0.5, 0.5]]),
        lambda: keras.metrics.SparseCategoricalAccuracy()([0, 1, 0], [[0.5, 0.5]] * 2),
        lambda: keras.metrics.F1Score()([0, 1], [0.5, 0.5]),
        lambda: keras.metrics.MeanSquaredError()([[1]] * 2, [[1]] * 2, [1, 2, 3]),
    ],
)
def test_wrong_arguments_of_metrics_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        make()
    assert len(str(error.value)) > 20


def test_top_k_of_sorted_classes() -> None:
    ids = np.array([[2, 0, 1], [1, 2, 0]])
    metric = keras.metrics.SparseTopKCategoricalAccuracy(k=1, from_sorted_ids=True)
    assert metric([2, 2], ids) == 0.5


def test_metrics_leave_out_an_ignored_class() -> None:
    p = np.array([[0.5, 0.5], [0.1, 0.9]])
    metric = keras.metrics.SparseCategoricalCrossentropy(ignore_class=-1)
    assert metric([0, -1], p) == pytest.approx(LN2)


def test_arguments_of_activations_have_an_effect() -> None:
    a, x = keras.activations, np.array([-2.0, 1.0, 8.0])
    np.testing.assert_allclose(a.relu(x, negative_slope=0.5), [-1, 1, 8])
    np.testing.assert_allclose(a.relu(x, 0.5, 4.0, 2.0), [-2, -0.5, 4])
    np.testing.assert_allclose(a.relu(x, max_value=6.0), a.relu6(x))
    np.testing.assert_allclose(a.leaky_relu(x, negative_slope=0.1), [-0.2, 1, 8])
    np.testing.assert_allclose(a.elu(x, alpha=2.0), [2 * np.expm1(-2.0), 1, 8])
    np.testing.assert_allclose(a.celu(x, alpha=0.5), [0.5 * np.expm1(-4.0), 1, 8])
    np.testing.assert_allclose(a.soft_shrink(x, threshold=1.5), [-0.5, 0, 6.5])
    np.testing.assert_allclose(a.softmax([[0.0, 0.0], [0.0, 0.0]], axis=0), [[0.5] * 2] * 2)
    assert a.relu(-1.0) == 0
    assert a.relu([-1, 2]).dtype == np.float32
    for wrong in (
        lambda: a.tanh(x, alpha=1.0),
        lambda: a.elu(x, 1.0, 2.0),
        lambda: a.celu(x, alpha=0.0),
        lambda: keras.layers.Dense(1, "log_softmax"),
        lambda: keras.layers.Dense(1, functools.partial(a.relu, max_value=-3.0)),
    ):
        with pytest.raises((TypeError, ValueError)):
            wrong()
    layer = keras.layers.Dense(1, functools.partial(a.relu, max_value=3.0))
    np.testing.assert_array_equal(layer.activation(x), [0, 1, 3])
    layer = keras.layers.Dense(1, functools.partial(a.relu, max_value=6))
    assert layer.activation is a.relu6
    assert keras.layers.Dense(1, "hard_swish").activation is a.hard_silu


def test_initializers_return_arrays() -> None:
    i = keras.initializers
    for name in ("he_normal", "glorot_uniform", "random_normal", "lecun_uniform", "orthogonal"):
        first, second = (getattr(i, name)(seed=1)(shape=(3, 4)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert (first.shape, first.dtype) == ((3, 4), np.float32)
    assert i.zeros()(2, dtype="float64").dtype == np.float64
    nnfast.set_seed(1)
    unseeded = [i.HeNormal()((2,)) for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).all()
    wide = i.VarianceScaling(1e-8, "fan_in", "uniform", 1, input_axes=(0, 1), output_axes=(2,))
    assert np.abs(wide((10, 10, 2))).max() <= math.sqrt(3e-10)
    for wrong in (lambda: i.Zeros()((-1,)), lambda: i.Zeros()((2,), "int8")):
        with pytest.raises(ValueError, match=r"shape|dtype"):
            wrong()


def test_a_class_with_its_own_call_is_an_initializer() -> None:
    class Half(keras.initializers.Initializer):  # type: ignore[name-defined, misc]
        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            return np.full(shape, 0.5)

    layer = keras.layers.Dense(2, kernel_initializer=Half())
    keras.Sequential([keras.Input((3,)), layer])
    np.testing.assert_array_equal(layer.get_weights()[0], np.full((3, 2), 0.5))


def test_regularizers_and_constraints_are_functions() -> None:
    w = np.array([[3.0, -1.0], [4.0, 0.0]])
    assert keras.regularizers.L1L2(0.5, 0.1)(w) == pytest.approx(4 + 2.6)
    assert keras.regularizers.l2(l2=0.1)(w) == pytest.approx(2.6)
    c = keras.constraints
    np.testing.assert_array_equal(c.nonneg()(w), np.maximum(w, 0))
    np.testing.assert_allclose(c.maxnorm(2.0)(w), [[1.2, -1], [1.6, 0]], rtol=1e-6)
    np.testing.assert_allclose(c.UnitNorm(axis=1)(w), [[0.9486833, -0.3162278], [1, 0]], rtol=1e-6)
    half = c.MinMaxNorm(0.0, 1.0, rate=0.5)(w)
    np.testing.assert_allclose(half, [[1.8, -1], [2.4, 0]], rtol=1e-6)


def test_names_of_optimizers() -> None:
    assert keras.optimizers.Adam().name == "adam"
    named = keras.optimizers.Adamax(name="mine")
    assert (named.name, named.get_config()["name"]) == ("mine", "mine")
    assert "name='a'" in repr(keras.optimizers.SGD(0.1, name="a"))
    assert "name" not in repr(keras.optimizers.SGD(0.1))

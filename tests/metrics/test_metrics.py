"""Tests of metrics, in `compile` and standalone.

tests/keras_tools_programs.py compares their values with those of Keras.
"""

from __future__ import annotations

import csv
import json
import math
import warnings
from pathlib import Path
from typing import Any

import keras_tools_programs
import numpy as np
import pytest

import nnfast
from nnfast import callbacks, layers, losses, metrics

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
LABELS = rng.integers(0, 3, 60)
WEIGHT = rng.uniform(0, 2, 60)


def model(loss: Any = "mse", n_out: int = 1, activation: str = "sigmoid", **keywords: Any) -> Any:
    nnfast.set_seed(0)
    net = nnfast.Sequential([layers.Dense(n_out, activation=activation, input_dim=4)])
    net.compile("sgd", loss, **keywords)
    return net


def metric_and_data(key: str) -> tuple[Any, tuple[Any, Any, Any]]:
    name, kind, keywords = keras_tools_programs.METRICS[key]
    return getattr(metrics, name)(**keywords), keras_tools_programs.metric_data(kind)


@pytest.mark.parametrize("key", keras_tools_programs.METRICS)
def test_the_value_over_batches_equals_that_over_all_rows(key: str) -> None:
    metric, (y, p, w) = metric_and_data(key)
    for weight in (None, w.astype(np.float64)):
        metric.reset_state()
        for rows in np.array_split(np.arange(len(y)), 4):
            metric.update_state(y[rows], p[rows], None if weight is None else weight[rows])
        assert isinstance(metric.result(), np.ndarray if "several" in key else float)
        assert metric.result() == pytest.approx(metric.compute(y, p, weight), rel=1e-6)
    metric.reset_state()
    assert not np.any(metric.result())


@pytest.mark.parametrize("key", keras_tools_programs.METRICS)
def test_a_sample_weight_counts_like_repetitions_of_its_row(key: str) -> None:
    metric, (y, p, _) = metric_and_data(key)
    if "adjusted" in key:
        pytest.skip("the adjusted R² counts targets instead of weights, as in Keras")
    repeats = np.arange(len(y)) % 3
    expected = metric.compute(np.repeat(y, repeats, axis=0), np.repeat(p, repeats, axis=0))
    assert metric.compute(y, p, repeats.astype(np.float64)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("key", keras_tools_programs.METRICS)
def test_metrics_survive_serialization(key: str) -> None:
    metric, _ = metric_and_data(key)
    description = {"class_name": type(metric).__name__, "config": metric.get_config()}
    again = metrics.check_names([json.loads(json.dumps(description))])[0]
    assert again == metric
    assert type(metric).from_config(metric.get_config()) == metric


@pytest.mark.parametrize("name", metrics.TABLE)
def test_names_classes_and_instances_give_equal_metrics(name: str) -> None:
    cls = metrics.TABLE[name]
    loss = losses.resolve("sparse_categorical_crossentropy" if cls.sparse else "mse")
    forms = [cls, cls(), cls.__name__] + [name] * (name not in ("accuracy", "acc"))
    for form in forms:
        (entry,) = metrics.check_names([form])
        if form == "Accuracy":
            continue
        assert metrics.resolve(entry, loss, (3,)) == cls()


def test_several_thresholds_give_the_values_of_one_threshold_each() -> None:
    y, p, w = keras_tools_programs.metric_data("labels")
    thresholds = [0.5, 0.1, 0.9]
    for cls in (metrics.Precision, metrics.Recall):
        for extra in ({}, {"top_k": 2}, {"class_id": 1}):
            together = cls(thresholds, **extra)(y, p, w)
            one_by_one = [cls(threshold, **extra)(y, p, w) for threshold in thresholds]
            np.testing.assert_array_equal(together, one_by_one)
        assert cls(np.array(thresholds)) == cls(thresholds)
        assert cls(thresholds).get_config()["thresholds"] == thresholds


def test_metrics_with_several_values_are_logged_printed_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = model("bce", metrics=[metrics.Precision([0.3, 0.5, 0.7], name="p")])
    y = (X[:, 0] > 0).astype(float)
    log = callbacks.CSVLogger(tmp_path / "log.csv")
    history = net.fit(X, y, epochs=3, validation_split=0.5, verbose=2, callbacks=log)
    for key in ("p", "val_p"):
        assert [value.shape for value in history.history[key]] == [(3,)] * 3
    shown = ", ".join(f"{value:.4f}" for value in history.history["val_p"][-1])
    assert f"val_p: [{shown}]" in capsys.readouterr().out.splitlines()[-1]
    shown = ", ".join(f"{value:.4g}" for value in history.history["val_p"][-1])
    assert f"<td>[{shown}]</td>" in history._repr_html_()
    with open(tmp_path / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert json.loads(rows[2]["p"]) == history.history["p"][2].tolist()
    for monitor in (callbacks.EarlyStopping, callbacks.ReduceLROnPlateau):
        with pytest.raises(ValueError, match=r"'val_p', which must be one number; it is 3"):
            net.fit(X, y, validation_split=0.5, verbose=0, callbacks=monitor("val_p"))
    loss, values = net.evaluate(X, y)
    assert isinstance(loss, float)
    assert values.shape == (3,)
    assert net.train_on_batch(X, y)[1].shape == (3,)
    net.save(tmp_path / "m")
    np.testing.assert_array_equal(nnfast.load_model(tmp_path / "m").evaluate(X, y)[1], values)


def test_metrics_with_several_values_are_plotted_with_one_line_each() -> None:
    pytest.importorskip("matplotlib").use("agg")
    net = model("bce", metrics=[metrics.Recall([0.3, 0.7])])
    history = net.fit(X, X[:, 0] > 0, epochs=3, validation_split=0.5, verbose=0)
    assert [len(axes.lines) for axes in history.plot().axes] == [2, 4]


def test_auc_agrees_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    y = generator.integers(0, 2, 5000)
    p = np.clip(0.2 * y + generator.uniform(0, 0.8, 5000), 0, 1)
    actual = metrics.AUC(2000).compute(y[:, None], p[:, None])
    assert actual == pytest.approx(sklearn.roc_auc_score(y, p), abs=1e-4)
    actual = metrics.AUC(2000, "PR").compute(y[:, None], p[:, None])
    assert actual == pytest.approx(sklearn.average_precision_score(y, p), abs=2e-3)


def test_r2_agrees_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    y = 1e4 + rng.normal(size=(50, 3))
    p = y + 0.1 * rng.normal(size=(50, 3))
    assert metrics.R2Score().compute(y, p) == pytest.approx(sklearn.r2_score(y, p), rel=1e-6)
    by_output = sklearn.r2_score(y, p, multioutput="raw_values")
    np.testing.assert_allclose(metrics.R2Score(None).compute(y, p), by_output, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1.7e9, -1e13])
@pytest.mark.parametrize("aggregation", ["uniform_average", "variance_weighted_average"])
def test_r2_is_exact_for_targets_far_from_zero(offset: float, aggregation: str) -> None:
    """The residuals are integers, so the score must equal that of the same targets near zero."""
    y = np.array([[0.0, 7.0], [10.0, 7.0], [20.0, 3.0], [16.0, 8.0]])
    p = y + np.array([[5.0, 1.0], [5.0, -1.0], [5.0, 0.0], [-1.0, 2.0]])
    weight = np.array([1.0, 2.0, 0.0, 3.0])
    metric = metrics.R2Score(aggregation)
    for w in (None, weight):
        factors = np.ones(4) if w is None else w
        total = factors @ (y - np.average(y, axis=0, weights=factors)) ** 2
        scores = 1.0 - factors @ (p - y) ** 2 / total
        share = total / total.sum() if "variance" in aggregation else 0.5
        expected = pytest.approx((scores * share).sum(), rel=1e-12)
        assert metric.compute(offset + y, offset + p, w) == expected
        for size in (1, 2, 3):
            metric.reset_state()
            for first in range(0, 4, size):
                rows = slice(first, first + size)
                metric.update_state(offset + y[rows], offset + p[rows], factors[rows])
            assert metric.result() == expected
        # Merging the totals of an empty batch changes nothing.
        empty, full = metric.totals(y[:0], p[:0], None), metric.totals(offset + y, offset + p, w)
        assert metric.value(metric.merge(empty, full)) == expected
        assert metric.value(metric.merge(full, empty)) == expected


def test_r2_over_streamed_batches_equals_that_over_all_rows() -> None:
    """The same holds for the value in an epoch's logs. The model uses float64, because float32
    cannot distinguish these targets."""
    net = nnfast.Sequential([layers.Dense(1, input_dim=1)], dtype="float64")
    net.compile(nnfast.optimizers.SGD(0.0), "mse", metrics=["r2_score"])
    net.set_weights([[[1.0]], [5.0]])
    x = 1.7e9 + np.array([[0.0], [10.0], [20.0]])
    batches = [(x[i : i + 1], x[i : i + 1]) for i in range(3)]
    assert metrics.R2Score()(x, x + 5.0) == pytest.approx(0.625, rel=1e-12)
    assert net.evaluate(iter(batches), verbose=0)[1] == pytest.approx(0.625, rel=1e-12)
    history = net.fit(iter(batches), verbose=0).history
    assert history["r2_score"] == [pytest.approx(0.625, rel=1e-12)]


def test_only_weighted_metrics_use_the_sample_weights() -> None:
    y = rng.normal(size=(60, 1))
    net = model(metrics=["mse"], weighted_metrics=["mse", "mae"])
    error = net.predict(X, verbose=0) - y
    values = net.evaluate(X, y, sample_weight=WEIGHT, return_dict=True, verbose=0)
    assert list(values) == ["loss", "mse", "weighted_mse", "mae"]
    assert values["mse"] == pytest.approx((error**2).mean(), rel=1e-5)
    expected = (WEIGHT @ error**2).sum() / WEIGHT.sum()
    assert values["weighted_mse"] == pytest.approx(expected, rel=1e-5)
    expected = (WEIGHT @ abs(error)).sum() / WEIGHT.sum()
    assert values["mae"] == pytest.approx(expected, rel=1e-5)
    plain = net.evaluate(X, y, return_dict=True, verbose=0)
    assert plain["weighted_mse"] == plain["mse"]
    batch = net.train_on_batch(X, y, sample_weight=WEIGHT, return_dict=True)
    assert batch["weighted_mse"] == pytest.approx(values["weighted_mse"], rel=1e-5)


def test_functions_are_metrics_and_may_return_one_value_per_row() -> None:
    seen = []

    def worst(y_true: Any, y_pred: Any) -> float:
        seen.append((y_true.shape, y_pred.shape))
        return abs(y_true - y_pred).max()

    def by_row(y_true: Any, y_pred: Any) -> Any:
        return abs(y_true - y_pred)[:, 0]

    y = rng.normal(size=60)
    net = model(metrics=[worst, by_row, "mae"], weighted_metrics=[by_row])
    error = abs(net.predict(X, verbose=0)[:, 0] - y)
    values = net.evaluate(X, y, sample_weight=WEIGHT, return_dict=True, verbose=0)
    assert list(values) == ["loss", "worst", "by_row", "mae", "weighted_by_row"]
    assert values["worst"] == pytest.approx(error.max(), rel=1e-5)
    assert values["by_row"] == pytest.approx(values["mae"], rel=1e-6)
    assert values["weighted_by_row"] == pytest.approx(WEIGHT @ error / WEIGHT.sum(), rel=1e-5)
    assert seen == [((60, 1), (60, 1))]


def test_a_function_receives_class_indices_with_a_sparse_loss() -> None:
    def fraction_of_zeros(y_true: Any, y_pred: Any) -> float:
        assert y_pred.shape == (60, 3)
        return float((y_true == 0).mean())

    net = model("sparse_categorical_crossentropy", 3, "softmax", metrics=[fraction_of_zeros])
    assert net.evaluate(X, LABELS, verbose=0)[1] == pytest.approx((LABELS == 0).mean())


def test_a_function_must_return_numbers() -> None:
    net = model(metrics=[lambda y_true, y_pred: "good"])
    with pytest.raises(TypeError, match="<lambda>"):
        net.evaluate(X, X[:, 0], verbose=0)


def test_models_are_saved_without_metrics_that_are_functions(tmp_path: Any) -> None:
    def user_defined(y_true: Any, y_pred: Any) -> float:
        return 1.0

    net = model(metrics=["mae", user_defined], weighted_metrics=[metrics.AUC(50, name="area")])
    with pytest.warns(UserWarning, match="user_defined"):
        net.save(tmp_path / "m")
    again = nnfast.load_model(tmp_path / "m")
    y = (X[:, 0] > 0).astype(float)
    expected = net.evaluate(X, y, return_dict=True, verbose=0)
    assert expected.pop("user_defined") == 1.0
    assert again.evaluate(X, y, return_dict=True, verbose=0) == expected
    assert list(expected) == ["loss", "mae", "area"]


def test_every_metric_is_finite_in_training_and_logged_under_its_name() -> None:
    """Each loss is tried with every metric of the table that accepts its targets."""
    tasks = {
        "sparse_categorical_crossentropy": LABELS,
        "categorical_crossentropy": np.eye(3)[LABELS],
    }
    for loss, y in tasks.items():
        sparse = loss.startswith("sparse")
        names = [n for n, cls in metrics.TABLE.items() if n in ("acc",) or cls.sparse == sparse]
        net = model(loss, 3, "softmax", metrics=names)
        history = net.fit(X, y, batch_size=60, epochs=1, verbose=0).history
        assert list(history) == ["loss", *names]
        assert all(np.isfinite(values[0]).all() for values in history.values())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: metrics.AUC(curve="RCO"), ["curve", "'ROC'"]),
        (lambda: metrics.AUC(summation_method="minor"), ["'minoring'"]),
        (lambda: metrics.AUC(1), ["num_thresholds", ">= 2", "1"]),
        (lambda: metrics.AUC(thresholds=[0.5, 2.0]), ["thresholds", "2.0"]),
        (lambda: metrics.Precision([0.1, 1.5]), ["each of thresholds", "<= 1", "1.5"]),
        (lambda: metrics.Precision([0.1, "low"]), ["each of thresholds", "number", "'low'"]),
        (lambda: metrics.Precision([]), ["thresholds", "at least one", "[]"]),
        (lambda: metrics.Precision(-0.5), ["thresholds", ">= 0", "-0.5"]),
        (lambda: metrics.Recall(top_k=0), ["top_k", ">= 1", "0"]),
        (lambda: metrics.TopKCategoricalAccuracy(0), ["k", ">= 1", "0"]),
        (lambda: metrics.R2Score("mean"), ["class_aggregation", "'mean'"]),
        (lambda: metrics.MeanSquaredError().update_state([1, 2], [1, 2, 3]), ["(2,)", "(3,)"]),
        (lambda: model(metrics=["preciion"]), ["metric", "'precision'"]),
        (lambda: model(weighted_metrics=3), ["metric", "3"]),
        (lambda: model(metrics=["sparse_top_k_categorical_accuracy"]), ["class indices"]),
        (
            lambda: model(metrics=[metrics.Recall(class_id=4)]).evaluate(X, X[:, 0], verbose=0),
            ["class_id", "1", "4"],
        ),
    ],
)
def test_error_messages_name_the_argument_and_its_value(make: Any, words: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


# Outputs and targets that are not finite, or that overflow when squared

EXTREME = (math.nan, math.inf, -math.inf, 1e30, -1e38, 1e200, -1e300)
EXTREME_CASES = {
    "float32, outputs": (np.float32, "outputs"),
    "float64, outputs": (np.float64, "outputs"),
    "float64, targets": (np.float64, "targets"),
    "float64, both": (np.float64, "both"),
}


@pytest.mark.parametrize("case", EXTREME_CASES)
@pytest.mark.parametrize("key", keras_tools_programs.METRICS)
def test_metrics_of_extreme_or_non_finite_numbers_raise_no_warnings(key: str, case: str) -> None:
    metric, (y, p, w) = metric_and_data(key)
    dtype, where = EXTREME_CASES[case]
    with np.errstate(over="ignore"):
        extreme = np.array(EXTREME).astype(dtype)
    for value in extreme:
        targets, outputs = np.array(y), np.array(p, dtype)
        if where != "targets":
            outputs[::2] = value
        if where != "outputs" and not metric.sparse and targets.ndim > 1:
            targets = targets.astype(dtype)
            targets[::3] = value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for weight in (None, w):
                metric.compute(targets, outputs, weight)
            metric.update_state(targets, outputs)
            metric.update_state(targets, outputs)
            metric.result()
            metric.reset_state()


def test_metrics_have_defined_values_for_non_finite_outputs() -> None:
    nan, inf = math.nan, math.inf
    y = np.array([[0.0], [1.0], [1.0]])
    for value, squared, absolute in ((inf, inf, inf), (nan, nan, nan), (1e200, inf, 1e200 / 3)):
        p = np.array([[0.0], [value], [1.0]])
        mse, mae = (metrics.deserialize(name).compute(y, p) for name in ("mse", "mae"))
        np.testing.assert_allclose([mse, mae], [squared, absolute], rtol=1e-12)
        assert metrics.RootMeanSquaredError().compute(y, p) == pytest.approx(squared, nan_ok=True)
    p = np.array([[0.0], [nan], [1.0]])
    assert metrics.BinaryAccuracy().compute(y, p) == pytest.approx(2 / 3)
    assert (metrics.Precision().compute(y, p), metrics.Recall().compute(y, p)) == (1.0, 0.5)
    # For AUC, NaN is the lowest score, because it exceeds no threshold.
    labels = np.array([[0.0], [1.0], [0.0], [1.0]])
    scores = np.array([[0.2], [nan], [0.4], [0.9]])
    for options in ({}, {"thresholds": [0.1, 0.3, 0.5]}, {"curve": "PR"}):
        area = metrics.AUC(**options)
        assert area(labels, scores) == area(labels, np.nan_to_num(scores))
    assert metrics.AUC().compute(labels, scores) == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [*EXTREME, 3e153])
def test_only_the_warning_of_divergence_is_raised_for_extreme_targets(
    dtype: str, value: float
) -> None:
    """Sums over batches and over the epochs of a fit raise no other warnings."""
    every = [
        entry
        for entry in (*metrics.TABLE, metrics.AUC(thresholds=[0.5]))
        if not (isinstance(entry, str) and metrics.TABLE[entry].sparse)
    ]
    x, y = np.ones((40, 2)), np.zeros((40, 3))
    y[:, 0] = value
    net = nnfast.Sequential([layers.Dense(3, input_dim=2)], dtype=dtype)
    net.compile(nnfast.optimizers.SGD(0.0), "mse", metrics=every, weighted_metrics=every)
    observer = callbacks.LambdaCallback(
        on_test_batch_end=lambda batch, logs: None, on_train_batch_end=lambda batch, logs: None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Training stopped")
        for used in (None, observer):
            net.evaluate(x, y, 8, verbose=0, callbacks=used)
            net.fit(x, y, 8, epochs=2, verbose=0, callbacks=used, validation_split=0.2)
            batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 40, 8)]
            net.fit(iter(batches), verbose=0, callbacks=used)
            net.evaluate(iter(batches), verbose=0, callbacks=used)
        net.train_on_batch(x, y)


def test_the_loss_of_an_epoch_is_finite_if_those_of_its_batches_are() -> None:
    net = nnfast.Sequential([layers.Dense(1, input_dim=1)], dtype="float64")
    net.compile(nnfast.optimizers.SGD(0.0), "mse")
    x, y = np.zeros((40, 1)), np.full(40, 4e153)
    for options in ({}, {"validation_split": 0.5}, {"steps_per_epoch": 2}):
        history = net.fit(x, y, 8, epochs=2, verbose=0, **options).history
        assert history["loss"] == pytest.approx([1.6e307] * 2, rel=1e-12)


@pytest.mark.parametrize("cls", [metrics.Precision, metrics.Recall])
def test_each_threshold_must_be_a_number(cls: Any) -> None:
    for wrong in ([[1, 2], [3]], [[0.5]], [None], ["0.5"]):
        with pytest.raises(TypeError, match="each of thresholds must be a finite number"):
            cls(wrong)

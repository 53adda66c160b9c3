"""Metrics in `compile` and by themselves. Their values against Keras: keras_tools_programs."""

from __future__ import annotations

import json
from typing import Any

import keras_tools_programs
import numpy as np
import pytest

import nnfast
from nnfast import layers, losses, metrics

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
LABELS = rng.integers(0, 3, 60)
WEIGHT = rng.uniform(0, 2, 60)


def model(loss: Any = "mse", n_out: int = 1, activation: str = "sigmoid", **keywords: Any) -> Any:
    nnfast.set_seed(0)
    made = nnfast.Sequential([layers.Dense(n_out, activation=activation, input_dim=4)])
    made.compile("sgd", loss, **keywords)
    return made


def made(key: str) -> tuple[Any, tuple[Any, Any, Any]]:
    name, kind, keywords = keras_tools_programs.METRICS[key]
    return getattr(metrics, name)(**keywords), keras_tools_programs.metric_data(kind)


@pytest.mark.parametrize("key", keras_tools_programs.METRICS)
def test_running_value_is_that_of_all_rows(key: str) -> None:
    metric, (y, p, w) = made(key)
    for weight in (None, w.astype(np.float64)):
        metric.reset_state()
        for rows in np.array_split(np.arange(len(y)), 4):
            metric.update_state(y[rows], p[rows], None if weight is None else weight[rows])
        assert type(metric.result()) is float
        assert metric.result() == pytest.approx(metric(y, p, weight), rel=1e-6)
    metric.reset_state()
    assert metric.result() == 0.0


@pytest.mark.parametrize("key", keras_tools_programs.METRICS)
def test_weights_are_repetitions(key: str) -> None:
    metric, (y, p, _) = made(key)
    if "adjusted" in key:
        pytest.skip("counts targets, not weights, as Keras does")
    repeats = np.arange(len(y)) % 3
    expected = metric(np.repeat(y, repeats, axis=0), np.repeat(p, repeats, axis=0))
    assert metric(y, p, repeats.astype(np.float64)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("key", keras_tools_programs.METRICS)
def test_descriptions(key: str) -> None:
    metric, _ = made(key)
    description = {"class_name": type(metric).__name__, "config": metric.get_config()}
    again = metrics.check_names([json.loads(json.dumps(description))])[0]
    assert again == metric
    assert type(metric).from_config(metric.get_config()) == metric


@pytest.mark.parametrize("name", metrics.TABLE)
def test_names_classes_and_objects(name: str) -> None:
    cls = metrics.TABLE[name]
    loss = losses.resolve("sparse_categorical_crossentropy" if cls.sparse else "mse")
    forms = [cls, cls(), cls.__name__] + [name] * (name not in ("accuracy", "acc"))
    for form in forms:
        (entry,) = metrics.check_names([form])
        if form == "Accuracy":
            continue
        assert metrics.resolve(entry, loss, (3,)) == cls()


def test_auc_agrees_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    y = generator.integers(0, 2, 5000)
    p = np.clip(0.2 * y + generator.uniform(0, 0.8, 5000), 0, 1)
    actual = metrics.AUC(2000)(y[:, None], p[:, None])
    assert actual == pytest.approx(sklearn.roc_auc_score(y, p), abs=1e-4)
    actual = metrics.AUC(2000, "PR")(y[:, None], p[:, None])
    assert actual == pytest.approx(sklearn.average_precision_score(y, p), abs=2e-3)


def test_r2_agrees_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    y = 1e4 + rng.normal(size=(50, 3))
    p = y + 0.1 * rng.normal(size=(50, 3))
    assert metrics.R2Score()(y, p) == pytest.approx(sklearn.r2_score(y, p), rel=1e-6)


def test_weighted_metrics_take_the_weights() -> None:
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


def test_a_function_is_a_metric() -> None:
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


def test_a_function_gets_class_indices() -> None:
    def share_of_zero(y_true: Any, y_pred: Any) -> float:
        assert y_pred.shape == (60, 3)
        return float((y_true == 0).mean())

    net = model("sparse_categorical_crossentropy", 3, "softmax", metrics=[share_of_zero])
    assert net.evaluate(X, LABELS, verbose=0)[1] == pytest.approx((LABELS == 0).mean())


def test_a_function_must_return_numbers() -> None:
    net = model(metrics=[lambda y_true, y_pred: "good"])
    with pytest.raises(TypeError, match="<lambda>"):
        net.evaluate(X, X[:, 0], verbose=0)


def test_functions_are_not_saved(tmp_path: Any) -> None:
    def own(y_true: Any, y_pred: Any) -> float:
        return 1.0

    net = model(metrics=["mae", own], weighted_metrics=[metrics.AUC(50, name="area")])
    with pytest.warns(UserWarning, match="own"):
        net.save(tmp_path / "m")
    again = nnfast.load_model(tmp_path / "m")
    y = (X[:, 0] > 0).astype(float)
    expected = net.evaluate(X, y, return_dict=True, verbose=0)
    assert expected.pop("own") == 1.0
    assert again.evaluate(X, y, return_dict=True, verbose=0) == expected
    assert list(expected) == ["loss", "mae", "area"]


def test_training_metrics_are_those_of_the_outputs() -> None:
    """Every metric of the table, in a fit, by name."""
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
        assert np.isfinite([values[0] for values in history.values()]).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: metrics.AUC(curve="RCO"), ["curve", "'ROC'"]),
        (lambda: metrics.AUC(summation_method="minor"), ["'minoring'"]),
        (lambda: metrics.AUC(1), ["num_thresholds", ">= 2", "1"]),
        (lambda: metrics.AUC(thresholds=[0.5, 2.0]), ["thresholds", "2.0"]),
        (lambda: metrics.Precision([0.1, 0.5]), ["thresholds", "one number"]),
        (lambda: metrics.Recall(top_k=0), ["top_k", ">= 1", "0"]),
        (lambda: metrics.TopKCategoricalAccuracy(0), ["k", ">= 1", "0"]),
        (lambda: metrics.R2Score("mean"), ["class_aggregation", "'mean'"]),
        (lambda: metrics.MeanSquaredError().update_state([1, 2], [1, 2, 3]), ["(2,)", "(3,)"]),
        (lambda: model(metrics=["preciion"]), ["metric", "'precision'"]),
        (lambda: model(weighted_metrics="mse"), ["weighted_metrics", "list"]),
        (lambda: model(metrics=["sparse_top_k_categorical_accuracy"]), ["class indices"]),
        (
            lambda: model(metrics=[metrics.Recall(class_id=4)]).evaluate(X, X[:, 0], verbose=0),
            ["class_id", "1", "4"],
        ),
    ],
)
def test_errors(make: Any, words: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)

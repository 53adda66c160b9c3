"""Programs for metrics, schedules and callbacks that run unchanged with Keras and with nnfast.

`keras_programs` runs them.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Results = dict[str, NDArray[Any]]
Program = Callable[[Any], Results]

# Schedules

STEPS = (0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 14, 19, 20, 21, 29, 31, 47, 63, 100)

SCHEDULES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "exponential": ("ExponentialDecay", (0.1, 10, 0.5), {}),
    "exponential stairs": ("ExponentialDecay", (0.1, 8, 0.5), {"staircase": True}),
    "inverse time": ("InverseTimeDecay", (0.1, 10, 0.7), {}),
    "inverse time stairs": ("InverseTimeDecay", (0.1, 8, 0.7, True), {}),
    "polynomial": ("PolynomialDecay", (0.1, 20), {}),
    "polynomial power": ("PolynomialDecay", (0.1, 20, 0.01, 2.0), {}),
    "polynomial cycle": ("PolynomialDecay", (0.1, 16, 0.01), {"cycle": True, "power": 0.5}),
    "cosine": ("CosineDecay", (0.1, 20), {}),
    "cosine alpha": ("CosineDecay", (0.1, 20, 0.2, "a name"), {}),
    "cosine warm-up": (
        "CosineDecay",
        (0.0, 20),
        {"warmup_target": 0.3, "warmup_steps": 10, "alpha": 0.1},
    ),
    "restarts": ("CosineDecayRestarts", (0.1, 10), {}),
    "restarts of one length": (
        "CosineDecayRestarts",
        (0.1, 8),
        {"t_mul": 1.0, "m_mul": 0.5, "alpha": 0.1},
    ),
    "restarts three times": ("CosineDecayRestarts", (0.1, 8), {"t_mul": 3.0, "m_mul": 0.8}),
    "piecewise": ("PiecewiseConstantDecay", ([5, 10], [0.3, 0.2, 0.1]), {}),
}


def schedules(keras: Any) -> Results:
    """Evaluate every schedule at the same steps."""
    results = {}
    for key, (name, arguments, keywords) in SCHEDULES.items():
        schedule = getattr(keras.optimizers.schedules, name)(*arguments, **keywords)
        results[key] = np.array([float(schedule(step)) for step in STEPS])
    return results


def schedule_in_training(keras: Any) -> Results:
    """Train with a schedule in two fits; the schedule must count the same steps as Adam."""
    x, y = _regression_data(64)
    model = _linear(keras)
    rate = keras.optimizers.schedules.CosineDecay(0.01, 20, warmup_target=0.1, warmup_steps=5)
    model.compile(keras.optimizers.Adam(rate), "mse")
    first = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    second = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    return {
        "losses": np.array(first.history["loss"] + second.history["loss"]),
        "w": np.array(model.get_weights()[0]),
    }


# Metrics


def _binary_data() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 57).astype(np.float32)[:, None]
    p = np.clip(0.3 * y + rng.uniform(0, 0.7, y.shape), 0, 1).astype(np.float32)
    p[:4, 0] = (0.0, 1.0, 0.5, 0.5)
    return y, p, rng.uniform(0, 2, 57).astype(np.float32)


def _class_data() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(4)
    y = rng.integers(0, 6, 57)
    z = rng.normal(size=(57, 6)) + np.eye(6)[y]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return y, p.astype(np.float32), rng.uniform(0, 2, 57).astype(np.float32)


Case = tuple[str, str, dict[str, Any]]

# Name: (class, kind of data, arguments).
METRICS: dict[str, Case] = {
    "accuracy": ("Accuracy", "regression", {}),
    "binary accuracy": ("BinaryAccuracy", "binary", {}),
    "binary accuracy at 0.7": ("BinaryAccuracy", "binary", {"threshold": 0.7}),
    "binary accuracy over all labels": ("BinaryAccuracy", "labels", {}),
    "categorical accuracy": ("CategoricalAccuracy", "one-hot", {}),
    "sparse accuracy": ("SparseCategoricalAccuracy", "sparse", {}),
    "top 5": ("TopKCategoricalAccuracy", "one-hot", {}),
    "top 2": ("TopKCategoricalAccuracy", "one-hot", {"k": 2}),
    "sparse top 5": ("SparseTopKCategoricalAccuracy", "sparse", {}),
    "sparse top 2": ("SparseTopKCategoricalAccuracy", "sparse", {"k": 2}),
    "precision": ("Precision", "binary", {}),
    "precision at 0.3": ("Precision", "binary", {"thresholds": 0.3}),
    "precision at several thresholds": ("Precision", "binary", {"thresholds": [0.3, 0.5, 0.9]}),
    "precision at a list of one threshold": ("Precision", "binary", {"thresholds": [0.3]}),
    "precision of a class at several thresholds": (
        "Precision",
        "labels",
        {"thresholds": [0.8, 0.2], "class_id": 2},
    ),
    "precision of top 2": ("Precision", "one-hot", {"top_k": 2}),
    "precision of top 2 above 0.3": ("Precision", "one-hot", {"top_k": 2, "thresholds": 0.3}),
    "precision of a class": ("Precision", "labels", {"class_id": 1}),
    "precision of a class in top 2": ("Precision", "one-hot", {"class_id": 1, "top_k": 2}),
    "recall": ("Recall", "binary", {}),
    "recall at 0.3": ("Recall", "binary", {"thresholds": 0.3}),
    "recall at several thresholds": ("Recall", "labels", {"thresholds": [0.3, 0.5, 0.9, 0.1]}),
    "recall of top 2 at several thresholds": (
        "Recall",
        "one-hot",
        {"top_k": 2, "thresholds": [0.5, 0.2]},
    ),
    "recall of a class in top 2": ("Recall", "one-hot", {"class_id": 1, "top_k": 2}),
    "recall of top 2": ("Recall", "one-hot", {"top_k": 2}),
    "recall of a class": ("Recall", "labels", {"class_id": 1}),
    "precision without positive predictions": ("Precision", "binary", {"thresholds": 1.0}),
    "auc": ("AUC", "binary", {}),
    "auc with 10 thresholds": ("AUC", "binary", {"num_thresholds": 10}),
    "auc, lower sum": ("AUC", "binary", {"summation_method": "minoring"}),
    "auc, upper sum": ("AUC", "binary", {"summation_method": "majoring"}),
    "auc at thresholds": ("AUC", "binary", {"thresholds": [0.1, 0.25, 0.8]}),
    "auc over all labels": ("AUC", "labels", {}),
    "auc of each label": ("AUC", "labels", {"multi_label": True}),
    "auc of logits": ("AUC", "binary logits", {"from_logits": True}),
    "pr": ("AUC", "binary", {"curve": "PR"}),
    "pr with 10 thresholds": ("AUC", "binary", {"curve": "PR", "num_thresholds": 10}),
    "pr, lower sum": ("AUC", "binary", {"curve": "PR", "summation_method": "minoring"}),
    "pr, upper sum": ("AUC", "binary", {"curve": "PR", "summation_method": "majoring"}),
    "pr of each label": ("AUC", "labels", {"curve": "PR", "multi_label": True}),
    "mse": ("MeanSquaredError", "regression", {}),
    "rmse": ("RootMeanSquaredError", "regression", {}),
    "mae": ("MeanAbsoluteError", "regression", {}),
    "r2": ("R2Score", "regression", {}),
    "r2 weighted by variance": (
        "R2Score",
        "regression",
        {"class_aggregation": "variance_weighted_average"},
    ),
    "r2 adjusted": ("R2Score", "regression", {"num_regressors": 3}),
    "bce": ("BinaryCrossentropy", "binary", {}),
    "bce smoothed": ("BinaryCrossentropy", "binary", {"label_smoothing": 0.1}),
    "bce of logits": ("BinaryCrossentropy", "binary logits", {"from_logits": True}),
    "cce": ("CategoricalCrossentropy", "one-hot", {}),
    "cce smoothed": ("CategoricalCrossentropy", "one-hot", {"label_smoothing": 0.1}),
    "cce of logits": ("CategoricalCrossentropy", "one-hot", {"from_logits": True}),
    "scce": ("SparseCategoricalCrossentropy", "sparse", {}),
    "scce of logits": ("SparseCategoricalCrossentropy", "sparse", {"from_logits": True}),
    "auc weighted by label": (
        "AUC",
        "labels",
        {"multi_label": True, "num_labels": 3, "label_weights": [0.2, 0.5, 1.0]},
    ),
    "auc of labels pooled by weight": ("AUC", "labels", {"label_weights": [0.2, 0.5, 1.0]}),
    "true positives": ("TruePositives", "binary", {}),
    "false positives at several thresholds": (
        "FalsePositives",
        "binary",
        {"thresholds": [0.3, 0.7]},
    ),
    "true negatives": ("TrueNegatives", "labels", {"thresholds": 0.4}),
    "false negatives": ("FalseNegatives", "labels", {}),
    "sensitivity at specificity": ("SensitivityAtSpecificity", "binary", {"specificity": 0.7}),
    "specificity at sensitivity": (
        "SpecificityAtSensitivity",
        "labels",
        {"sensitivity": 0.6, "class_id": 1},
    ),
    "precision at recall": ("PrecisionAtRecall", "binary", {"recall": 0.5, "num_thresholds": 20}),
    "recall at precision": ("RecallAtPrecision", "binary", {"precision": 0.55}),
    "recall at precision, one threshold": (
        "RecallAtPrecision",
        "binary",
        {"precision": 0.1, "num_thresholds": 1},
    ),
    "f1 of several classes": ("F1Score", "one-hot", {}),
    "f1 of labels": ("F1Score", "labels", {"average": "micro", "threshold": 0.4}),
    "f-beta": ("FBetaScore", "one-hot", {"average": "macro", "beta": 2.0}),
    "f-beta weighted": ("FBetaScore", "labels", {"average": "weighted", "beta": 0.5}),
    "mape": ("MeanAbsolutePercentageError", "regression", {}),
    "msle": ("MeanSquaredLogarithmicError", "regression", {}),
    "log-cosh": ("LogCoshError", "regression", {}),
    "cosine": ("CosineSimilarity", "regression", {}),
    "hinge": ("Hinge", "binary", {}),
    "squared hinge": ("SquaredHinge", "labels", {}),
    "categorical hinge": ("CategoricalHinge", "one-hot", {}),
    "poisson": ("Poisson", "binary", {}),
    "kl divergence": ("KLDivergence", "one-hot", {}),
}


def metric_data(kind: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return (y_true, y_pred, sample_weight) for a kind of task."""
    y, p, w = _class_data()
    if kind == "sparse":
        return y, p, w
    if kind == "one-hot":
        return np.eye(6, dtype=np.float32)[y], p, w
    if kind == "labels":
        rng = np.random.default_rng(5)
        return rng.integers(0, 2, (57, 3)).astype(np.float32), p[:, :3] * 2, w
    if kind == "regression":
        rng = np.random.default_rng(6)
        target = rng.normal(size=(57, 2)) * (1.0, 3.0) + 5.0
        guess = target + rng.normal(size=(57, 2)) * 0.3
        guess[:5] = target[:5]
        return target.astype(np.float32), guess.astype(np.float32), w
    y, p, w = _binary_data()
    return (y, p * 6 - 3, w) if kind == "binary logits" else (y, p, w)


def metrics(keras: Any) -> Results:
    """Accumulate every metric over three batches, with and without sample weights."""
    results = {}
    for key, (name, kind, keywords) in METRICS.items():
        y, p, w = metric_data(kind)
        for weighted in (False, True):
            metric = getattr(keras.metrics, name)(**keywords)
            values = []
            for rows in (slice(0, 20), slice(20, 50), slice(50, 57)):
                metric.update_state(y[rows], p[rows], w[rows] if weighted else None)
                values.append(np.array(metric.result()))
            results[f"{key}, weighted" if weighted else key] = np.array(values)
    return results


def aggregates(keras: Any) -> Results:
    """Accumulate values of one and two axes, with weights per row and per value."""
    rng = np.random.default_rng(8)
    rows, table = rng.normal(size=6), rng.normal(size=(6, 3))
    weights = {"none": None, "rows": rng.uniform(size=6)}
    results = {}
    for name in ("Mean", "Sum"):
        for shape, values in (("rows", rows), ("table", table)):
            for kind, weight in weights.items():
                metric = getattr(keras.metrics, name)()
                metric.update_state(values, sample_weight=weight)
                called = metric(2.0 * values, sample_weight=weight)
                results[f"{name}, {shape}, {kind}"] = np.array([called, metric.result()])
        metric = getattr(keras.metrics, name)()
        metric.update_state(table, sample_weight=np.abs(table))
        metric.update_state(3.0)
        results[f"{name}, weights of values"] = np.array(metric.result())
    wrapper = keras.metrics.MeanMetricWrapper(keras.losses.huber, delta=0.5)
    results["wrapper"] = np.array(wrapper(table, 2 * table, sample_weight=weights["rows"]))
    return results


# Function of `metrics`: (kind of task, keyword arguments).
FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "binary_accuracy": ("labels", {"threshold": 0.4}),
    "categorical_accuracy": ("one-hot", {}),
    "sparse_categorical_accuracy": ("sparse", {}),
    "top_k_categorical_accuracy": ("one-hot", {"k": 2}),
    "sparse_top_k_categorical_accuracy": ("sparse", {"k": 3}),
    "mean_squared_error": ("regression", {}),
    "mean_absolute_error": ("regression", {}),
    "mean_absolute_percentage_error": ("regression", {}),
    "mean_squared_logarithmic_error": ("regression", {}),
    "huber": ("regression", {"delta": 0.2}),
    "log_cosh": ("regression", {}),
    "poisson": ("binary", {}),
    "hinge": ("labels", {}),
    "squared_hinge": ("labels", {}),
    "categorical_hinge": ("one-hot", {}),
    "kl_divergence": ("one-hot", {}),
    "binary_crossentropy": ("labels", {"from_logits": True, "label_smoothing": 0.1}),
    "categorical_crossentropy": ("one-hot", {"label_smoothing": 0.1}),
    "sparse_categorical_crossentropy": ("sparse", {"ignore_class": 2}),
    "binary_focal_crossentropy": ("labels", {"from_logits": True, "gamma": 1.5}),
    "categorical_focal_crossentropy": ("one-hot", {"alpha": 0.5}),
}


def functions(keras: Any) -> Results:
    """Call functions of metrics; train with some of them as loss and metrics."""
    results = {}
    for name, (kind, keywords) in FUNCTIONS.items():
        y, p, _ = metric_data(kind)
        y, p = y.astype(np.float64), p.astype(np.float64)
        results[name] = np.array(getattr(keras.metrics, name)(y, p, **keywords))
    x, y = _regression_data(48)
    model = _linear(keras)
    model.compile(
        keras.optimizers.SGD(0.02),
        keras.losses.huber,
        metrics=[keras.losses.mean_absolute_error, "mape", keras.metrics.LogCoshError()],
    )
    history = model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    return results | {f"history/{key}": np.array(v) for key, v in history.history.items()}


def metrics_of_several_values(keras: Any) -> Results:
    """Record an array-valued metric in History, in evaluate and in batch logs."""
    x, y = _regression_data(48)
    labels = y[:, None] > 0
    seen = []
    model = _linear(keras, activation="sigmoid")
    model.compile(
        keras.optimizers.SGD(0.1),
        "binary_crossentropy",
        metrics=[keras.metrics.Precision([0.3, 0.5, 0.8], name="p")],
        weighted_metrics=[keras.metrics.Recall([0.6, 0.4], name="r")],
    )
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(np.array(logs["p"])),
        on_test_batch_end=lambda batch, logs: seen.append(np.array(logs["p"])),
    )
    options = {"batch_size": 16, "class_weight": {0: 0.5, 1: 2.0}, "verbose": 0}
    history = model.fit(
        x, labels, epochs=2, validation_split=0.3, shuffle=False, callbacks=[look], **options
    )
    results = {key: np.array([*map(np.array, v)]) for key, v in history.history.items()}
    evaluated = model.evaluate(x, labels, verbose=0)
    return results | {
        "seen": np.array(seen),
        "evaluate": np.concatenate([np.ravel(value) for value in evaluated]),
        "length": np.array(len(evaluated)),
        "no data yet": np.array(keras.metrics.Recall([0.6, 0.4]).result()),
    }


def metrics_in_training(keras: Any) -> Results:
    """Train with metrics given by name and as objects; "mse" is also a weighted metric."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(70, 4))
    y = (x.sum(axis=1) > 0.3).astype(np.float32)
    model = _linear(keras, activation="sigmoid")
    model.compile(
        keras.optimizers.SGD(0.1),
        "binary_crossentropy",
        metrics=["accuracy", "AUC", keras.metrics.Precision(name="p"), "mse"],
        weighted_metrics=["mse", keras.metrics.Recall(name="r")],
    )
    history = model.fit(
        x,
        y,
        batch_size=16,
        epochs=3,
        validation_split=0.3,
        shuffle=False,
        class_weight={0: 0.5, 1: 2.0},
        verbose=0,
    )
    results = {key: np.array(values) for key, values in history.history.items()}
    weight = rng.uniform(0, 2, 70)
    values = model.evaluate(x, y, sample_weight=weight, return_dict=True, verbose=0)
    return results | {f"evaluate {key}": np.array(value) for key, value in values.items()}


# Activations


def gelu(keras: Any) -> Results:
    """Compute exact and approximate GELU, as a function and in a layer."""
    x = np.linspace(-6, 6, 57)[:, None]
    function = keras.activations.gelu
    chosen = functools.partial(function, approximate=True)
    model = keras.Sequential(
        [keras.layers.Input((1,)), keras.layers.Dense(3, activation=chosen), keras.layers.Dense(1)]
    )
    model.set_weights([w * 0.5 + 0.1 for w in map(np.ones, ((1, 3), 3, (3, 1), 1))])
    return {
        "exact": np.array(function(x)),
        "approximate": np.array(function(x, approximate=True)),
        "in a layer": np.array(model.predict(x, verbose=0)),
    }


# Callbacks


def _regression_data(n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(n, 4))
    return x, x @ np.array([1.0, -2.0, 0.5, 3.0])


def _linear(keras: Any, activation: str = "linear") -> Any:
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(1, activation=activation)]
    )
    model.set_weights(_START)
    return model


_START = [np.array([[0.5], [-0.5], [0.25], [1.0]]), np.array([0.1])]


@functools.cache
def _compiled(keras: Any) -> Any:
    """Return one model for all programs: Keras takes a second to compile a model."""
    model = _linear(keras)
    model.compile(keras.optimizers.SGD(0.02), "mse", metrics=["mae"])
    return model


def _fit(keras: Any, *callbacks: Any, rate: float = 0.02, **options: Any) -> tuple[Any, Any]:
    x, y = _regression_data(48)
    model = _compiled(keras)
    model.set_weights(_START)
    model.optimizer.learning_rate = rate
    keywords = {"validation_data": (x[32:], y[32:]), "epochs": 8, "batch_size": 8} | options
    history = model.fit(
        x[:32], y[:32], shuffle=False, verbose=0, callbacks=list(callbacks), **keywords
    )
    return model, history


def _outcome(model: Any, history: Any) -> Results:
    results = {key: np.array(values) for key, values in history.history.items()}
    return results | {"epochs": np.array(history.epoch), "w": np.array(model.get_weights()[0])}


def _script(values: list[float], keras: Any) -> Any:
    """Return a callback that writes these values into the logs as the metric "scripted"."""

    class Script(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["scripted"] = values[epoch]

    return Script()


SCRIPT = [1.0, 0.7, 0.69, 0.8, 0.5, 0.52, 0.51, 0.505, 0.6, 0.7]

STOPS: dict[str, dict[str, Any]] = {
    "patience 0": {},
    "patience 2": {"patience": 2},
    "min_delta": {"patience": 1, "min_delta": 0.05},
    "max": {"patience": 2, "mode": "max"},
    # An epoch beats the baseline in time; if none does, Keras deviates from its documentation.
    "baseline": {"patience": 3, "baseline": 0.75},
    "baseline max": {"patience": 2, "baseline": 0.9, "mode": "max"},
    "start_from_epoch": {"patience": 1, "start_from_epoch": 3},
    "restore_best_weights": {"patience": 2, "restore_best_weights": True},
    "restore_best_weights without stopping": {"patience": 99, "restore_best_weights": True},
    "restore_best_weights max": {"patience": 2, "restore_best_weights": True, "mode": "max"},
}


def early_stopping(keras: Any) -> Results:
    """Record when training stops, and with which weights."""
    results = {}
    for key, keywords in STOPS.items():
        stop = keras.callbacks.EarlyStopping("scripted", **({"mode": "min"} | keywords))
        outcome = _outcome(*_fit(keras, _script(SCRIPT, keras), stop, epochs=10))
        results |= {f"{key}/{name}": value for name, value in outcome.items()}
        results[f"{key}/state"] = np.array([stop.best, stop.best_epoch, stop.stopped_epoch])
    return results


def early_stopping_auto(keras: Any) -> Results:
    """Infer the mode from the name of a metric and of the loss."""
    stop = keras.callbacks.EarlyStopping("val_mae", patience=1)
    other = keras.callbacks.EarlyStopping("loss", min_delta=0.5)
    return _outcome(*_fit(keras, stop, rate=0.9)) | {
        f"other/{key}": value for key, value in _outcome(*_fit(keras, other)).items()
    }


PLATEAUS: dict[str, dict[str, Any]] = {
    "plain": {"patience": 1},
    "factor": {"patience": 1, "factor": 0.5},
    "min_delta": {"patience": 1, "min_delta": 0.3},
    "cooldown": {"patience": 1, "cooldown": 2},
    "short cooldown": {"patience": 1, "cooldown": 1, "factor": 0.5},
    "min_lr": {"patience": 1, "min_lr": 0.01},
    "max": {"patience": 2, "mode": "max", "factor": 0.25},
}


def reduce_lr_on_plateau(keras: Any) -> Results:
    """Record the learning rate of each epoch and the trained weights."""
    results = {}
    for key, keywords in PLATEAUS.items():
        if "cooldown" in keywords and keras.__name__ == "keras":
            # Keras waits one epoch less than its documentation says.
            keywords = keywords | {"cooldown": keywords["cooldown"] + 1}
        reduce = keras.callbacks.ReduceLROnPlateau("scripted", **({"mode": "min"} | keywords))
        outcome = _outcome(*_fit(keras, _script(SCRIPT, keras), reduce, epochs=10))
        results |= {f"{key}/{name}": value for name, value in outcome.items()}
    return results


def learning_rate_scheduler(keras: Any) -> Results:
    """Set the learning rate by functions of the epoch, with and without the current rate."""
    one = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 / (1 + epoch))
    two = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    results = {f"one/{key}": value for key, value in _outcome(*_fit(keras, one)).items()}
    return results | {f"two/{key}": value for key, value in _outcome(*_fit(keras, two)).items()}


def checkpoints(keras: Any) -> Results:
    """Record which epochs and batches are saved, and under which names."""
    results = {}
    # Keras requires these file extensions.
    weights, model = ".weights.h5", ".keras"
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "every epoch": ("m{epoch:02d}-{scripted:.2f}" + model, {}),
        "best": ("b{epoch:02d}" + model, {"save_best_only": True}),
        "best max": ("b{epoch:02d}" + model, {"save_best_only": True, "mode": "max"}),
        "threshold": (
            "t{epoch:02d}" + weights,
            {"save_best_only": True, "initial_value_threshold": 0.6, "save_weights_only": True},
        ),
        "batches": ("e{epoch}-{batch}" + weights, {"save_freq": 3, "save_weights_only": True}),
    }
    for key, (name, keywords) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            save = keras.callbacks.ModelCheckpoint(
                f"{folder}/sub/{name}", "scripted", **({"mode": "min"} | keywords)
            )
            _fit(keras, _script(SCRIPT, keras), save)
            results[key] = np.array(sorted(os.listdir(f"{folder}/sub")))
    return results


def backup_and_restore(keras: Any) -> Results:
    """Interrupt training in the fifth epoch and continue it."""

    class Interrupt(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if (self.epoch, batch) == (4, 2):
                raise InterruptedError

    results = {}
    for save_freq in ("epoch", 3):
        with tempfile.TemporaryDirectory() as folder:
            backup = keras.callbacks.BackupAndRestore(folder + "/backup", save_freq=save_freq)
            try:
                _fit(keras, backup, Interrupt())
            except InterruptedError:
                outcome = _outcome(*_fit(keras, backup))
            results |= {f"{save_freq}/{key}": value for key, value in outcome.items()}
            results[f"{save_freq}/kept"] = np.array(len(os.listdir(folder)))
        _compiled.cache_clear()  # in Keras, a model keeps the epoch that was restored
    return results


def csv_logger(keras: Any) -> Results:
    """Write a log with validation, one without it, and append to the latter."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/log.csv"
        for key, options, keywords in (
            ("validation", {}, {}),
            ("none", {"validation_data": None}, {"separator": ";"}),
            ("append", {"epochs": 10, "initial_epoch": 8}, {"separator": ";", "append": True}),
        ):
            _fit(keras, keras.callbacks.CSVLogger(path, **keywords), **options)
            text = Path(path).read_bytes().decode()
            assert text.endswith("\r\n")
            rows = [line.split(keywords.get("separator", ",")) for line in text.splitlines()]
            results[f"{key}/header"] = np.array(rows[0])
            for column in range(len(rows[0])):
                cells = [row[column] if column < len(row) else "none" for row in rows[1:]]
                numbers = [-1.0 if cell in ("NA", "none") else float(cell) for cell in cells]
                results[f"{key}/{column}"] = np.array(numbers)
    return results


def calls(keras: Any) -> Results:
    """Record the order in which callback methods are called and the keys of the logs."""
    seen: list[str] = []

    class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: Any = None) -> None:
            seen.append(f"train begin {sorted(logs or {})}")

        def on_train_end(self, logs: Any = None) -> None:
            seen.append(f"train end {sorted(logs or {})}")

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            seen.append(f"epoch {epoch} begin {sorted(logs or {})}")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(f"epoch {epoch} end {sorted(logs or {})}")

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(f"batch {batch} begin {sorted(logs or {})}")

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            values.append([logs["loss"], logs["mae"]])
            seen.append(f"batch {batch} end {sorted(logs or {})}")

        def on_test_begin(self, logs: Any = None) -> None:
            seen.append(f"test begin {sorted(logs or {})}")

        def on_test_end(self, logs: Any = None) -> None:
            seen.append(f"test end {sorted(logs or {})}")

    values: list[list[float]] = []
    train: list[str] = []
    functions = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda number, values: train.append(f"epoch {number} {sorted(values)}"),
        on_train_begin=lambda values: train.append("begin"),
        on_train_end=lambda values: train.append("end"),
        on_train_batch_end=lambda batch, logs: train.append(f"batch {batch}"),
    )
    _fit(keras, Recorder(), functions, epochs=2, batch_size=13)
    return {"calls": np.array(seen), "values": np.array(values), "functions": np.array(train)}


def calls_for_each_batch(keras: Any) -> Results:
    """Record the callback's calls in evaluate, predict and validation; stop some of them early."""
    seen: list[str] = []
    values: list[list[float]] = []
    outputs: list[Any] = []

    class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self, last: int = 99) -> None:
            super().__init__()
            self.last = last

        def set_params(self, params: Any) -> None:
            super().set_params(params)
            if params:
                seen.append(f"{params['epochs']} epochs of {params['steps']}")

        def on_test_begin(self, logs: Any = None) -> None:
            seen.append(f"test begin {logs}")

        def on_test_end(self, logs: Any = None) -> None:
            seen.append(f"test end {sorted(logs)}")
            values.append([logs["loss"], logs["mae"]])

        def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(f"test batch {batch} begin {logs}")

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(f"test batch {batch} end {sorted(logs)}")
            values.append([logs["loss"], logs["mae"]])
            self.model.stop_evaluating = batch == self.last

        def on_predict_begin(self, logs: Any = None) -> None:
            seen.append(f"predict begin {logs}")

        def on_predict_end(self, logs: Any = None) -> None:
            seen.append(f"predict end {logs}")

        def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(f"predict batch {batch} begin {logs}")

        def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(f"predict batch {batch} end {sorted(logs)}")
            outputs.append(np.array(logs["outputs"]))
            self.model.stop_predicting = batch == self.last

    x, y = _regression_data(48)
    weight = np.random.default_rng(9).uniform(0, 2, 48)

    def batches() -> Any:
        for start in range(0, 48, 10):
            yield x[start : start + 10], y[start : start + 10, None]

    model = _compiled(keras)
    model.set_weights(_START)
    results = []
    for last in (99, 1):
        kept = {"callbacks": [Recorder(last)], "verbose": 0}
        tested = {"return_dict": True} | kept
        for evaluated in (
            model.evaluate(x, y, **tested),
            model.evaluate(x, y, batch_size=13, sample_weight=weight, **tested),
            model.evaluate(x, y, steps=3, **tested),
            model.evaluate(x, y, batch_size=13, steps=2, **tested),
            model.evaluate(batches(), steps=4, **tested),
        ):
            results.append([evaluated["loss"], evaluated["mae"]])
        outputs.append(model.predict(x, **kept))
        outputs.append(model.predict(x, batch_size=13, **kept))
        outputs.append(model.predict(x, steps=3, **kept))
        outputs.append(model.predict(batches(), steps=4, **kept))
        for options in (
            {"validation_batch_size": 7},
            {"validation_data": (x, y), "batch_size": None},
            {"validation_data": (x, y, weight), "validation_steps": 2, "batch_size": None},
            {"validation_split": 0.4, "validation_data": None},
        ):
            _, history = _fit(keras, Recorder(last), epochs=2, **options)
            results += zip(*(history.history[f"val_{key}"] for key in ("loss", "mae")), strict=True)
    functions = keras.callbacks.LambdaCallback(
        on_test_batch_end=lambda batch, logs: seen.append(f"function {batch} {sorted(logs)}"),
        on_predict_batch_begin=lambda batch, logs: seen.append(f"function {batch} {logs}"),
    )
    model.evaluate(x, y, verbose=0, callbacks=[functions])
    model.predict(x, verbose=0, callbacks=[functions])
    return {
        "calls": np.array(seen),
        "values": np.array(values),
        "results": np.array(results),
        "outputs": np.concatenate(outputs),
    }


def stopping_within_an_epoch(keras: Any) -> Results:
    """Stop within an epoch; the logs of the epoch cover the batches so far."""

    class Stop(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

    return _outcome(*_fit(keras, Stop()))


def scikit_learn_wrappers(keras: Any) -> Results:
    """Train a model as a classifier, as a regressor and as a transformer."""

    def make(X: Any, y: Any, activation: str | None = None, loss: str = "mse") -> Any:
        dense = keras.layers.Dense(y.shape[1], activation=activation, kernel_initializer="ones")
        model = keras.Sequential([keras.Input(X.shape[1:]), dense])
        model.compile(keras.optimizers.SGD(0.1), loss)
        return model

    x, y = _regression_data(60)
    y = np.ravel(y)
    labels = np.array(["high", "low", "mid"])[np.digitize(y, np.quantile(y, [0.3, 0.6]))]
    options = {"epochs": 3, "shuffle": False, "verbose": 0}
    wrappers = keras.wrappers
    entropy = {"activation": "softmax", "loss": "categorical_crossentropy"}
    classifier = wrappers.SKLearnClassifier(make, model_kwargs=entropy, fit_kwargs=options)
    classifier.fit(x, labels)
    regressor = wrappers.SKLearnRegressor(make(x, y[:, None]), fit_kwargs=options).fit(x, y)
    transformer = wrappers.SKLearnTransformer(make, fit_kwargs=options)
    return {
        "classes": classifier.classes_,
        "labels": classifier.predict(x),
        "outputs": classifier.decision_function(x),
        "accuracy": np.array(classifier.score(x, labels)),
        "predictions": regressor.predict(x),
        "r2": np.array(regressor.score(x, y)),
        "transformed": transformer.fit_transform(x, y),
    }


PROGRAMS: dict[str, Program] = {
    program.__name__: program
    for program in (
        schedules,
        schedule_in_training,
        metrics,
        metrics_in_training,
        aggregates,
        functions,
        metrics_of_several_values,
        gelu,
        early_stopping,
        early_stopping_auto,
        reduce_lr_on_plateau,
        learning_rate_scheduler,
        checkpoints,
        backup_and_restore,
        csv_logger,
        scikit_learn_wrappers,
        calls,
        calls_for_each_batch,
        stopping_within_an_epoch,
    )
}

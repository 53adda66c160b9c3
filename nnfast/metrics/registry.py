"""Conversion of `compile` arguments to metrics, and the metrics' keys in History."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from nnfast._utils import checks, registry
from nnfast._utils.checks import Shape
from nnfast.losses import Loss, functional as losses
from nnfast.metrics import functional
from nnfast.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from nnfast.metrics.aggregation import Aggregate, Mean, MeanMetricWrapper, Sum
from nnfast.metrics.auc import AUC
from nnfast.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from nnfast.metrics.f_score import F1Score, FBetaScore
from nnfast.metrics.margins import CategoricalHinge, Hinge, SquaredHinge
from nnfast.metrics.metric import FunctionMetric, Metric
from nnfast.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    KLDivergence,
    Poisson,
    SparseCategoricalCrossentropy,
)
from nnfast.metrics.regression import (
    CosineSimilarity,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    R2Score,
    RootMeanSquaredError,
)
from nnfast.metrics.tradeoffs import (
    PrecisionAtRecall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
)

# The types that `compile` accepts for one metric.
Identifier = str | Metric | type[Metric] | Callable[[Any, Any], Any] | Mapping[str, Any]


TABLE: dict[str, type[Metric]] = {
    # In `compile`, the class for "accuracy" and "acc" depends on the model: see `resolve`.
    "accuracy": Accuracy,
    "acc": Accuracy,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "precision": Precision,
    "recall": Recall,
    "auc": AUC,
    "true_positives": TruePositives,
    "false_positives": FalsePositives,
    "true_negatives": TrueNegatives,
    "false_negatives": FalseNegatives,
    "f1_score": F1Score,
    "fbeta_score": FBetaScore,
    "f_beta_score": FBetaScore,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "rmse": RootMeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "mean_absolute_percentage_error": MeanAbsolutePercentageError,
    "mape": MeanAbsolutePercentageError,
    "mean_squared_logarithmic_error": MeanSquaredLogarithmicError,
    "msle": MeanSquaredLogarithmicError,
    "log_cosh_error": LogCoshError,
    "log_cosh": LogCoshError,
    "logcosh": LogCoshError,
    "cosine_similarity": CosineSimilarity,
    "r2_score": R2Score,
    "hinge": Hinge,
    "squared_hinge": SquaredHinge,
    "categorical_hinge": CategoricalHinge,
    "poisson": Poisson,
    "kl_divergence": KLDivergence,
    "kld": KLDivergence,
    "kullback_leibler_divergence": KLDivergence,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}
# Metrics that need an argument, or whose input is not a model's output.
OTHERS = (
    *(PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity, SpecificityAtSensitivity),
    *(Mean, MeanMetricWrapper, Sum),
)
registry.name_constructors((*TABLE.values(), *OTHERS))

# These classes do not modify their arguments, but a user-defined class may.
BUILT_IN = frozenset({*TABLE.values(), *OTHERS, FunctionMetric})

_BY_CLASS: dict[object, type[Metric]] = {cls.__name__: cls for cls in (*TABLE.values(), *OTHERS)}

# The metrics of the functions that Keras also has as metrics. The loss of cosine similarity is the
# negative of the metric, so it is not among them.
_BY_FUNCTION: dict[Any, type[Metric]] = {
    getattr(module, name): TABLE[name]
    for module in (functional, losses)
    for name in module.__all__
    if name in TABLE and name != "cosine_similarity"
}

# The losses that have no class of their own among the metrics.
_LOSSES: dict[str, Callable[..., Any]] = {
    name: getattr(losses, name) for name in losses.__all__ if name.lower() not in TABLE
}


def _mean_loss(formula: Callable[..., Any], name: str, options: Mapping[str, Any]) -> Metric:
    """Return the mean of a loss as a metric."""
    metric = MeanMetricWrapper(formula, name, **options)
    metric.direction = "down"
    return metric


def deserialize(identifier: object) -> Metric:
    """Return the metric for `identifier`.

    Parameters
    ----------
    identifier : str, Metric, subclass of Metric, callable or dict
        A function of this package, such as `categorical_accuracy`, stands for its metric, and any
        other callable is called as ``f(y_true, y_pred)``; a dict is a result of `serialize`.
        ``"accuracy"`` means `Accuracy` here, because there is no model and no loss.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` has the wrong type.

    Examples
    --------
    >>> deserialize("mae")
    MeanAbsoluteError()
    """
    if isinstance(identifier, FunctionType) and identifier in _BY_FUNCTION:
        return _BY_FUNCTION[identifier](name=identifier.__name__)
    if isinstance(identifier, Loss) and identifier.formula is not None:
        return _mean_loss(identifier.formula, identifier.name, identifier.options)
    if isinstance(identifier, str) and identifier.lower() in _LOSSES:
        return _mean_loss(_LOSSES[identifier.lower()], identifier, {})
    if callable(identifier) and not isinstance(identifier, (Metric, type)):
        return FunctionMetric(identifier)
    if isinstance(identifier, Mapping) and identifier.get("class_name") in _BY_CLASS:
        return _BY_CLASS[identifier["class_name"]].from_config(identifier.get("config", {}))
    return registry.resolve("metric", identifier, Metric, TABLE)


def get(identifier: object) -> Metric | None:
    """Return ``deserialize(identifier)``, or None for None.

    Examples
    --------
    >>> get("mae"), get(None)
    (MeanAbsoluteError(), None)
    """
    return None if identifier is None else deserialize(identifier)


# Alias, as in Keras.
serialize = registry.describe


def for_output(name: str, metrics: Any, output: str | None) -> Any:
    """Return the metrics for a model's only output, which `output` names if it is known.

    Examples
    --------
    >>> for_output("metrics", "mae", None), for_output("metrics", {"head": ["mae"]}, "head")
    (['mae'], ['mae'])
    """
    if isinstance(metrics, Mapping) or (
        isinstance(metrics, (list, tuple))
        and any(isinstance(entry, (list, tuple)) for entry in metrics)
    ):
        metrics = checks.for_output(name, metrics, output)
    return metrics if metrics is None or isinstance(metrics, (list, tuple)) else [metrics]


def check_names(metrics: object, argument: str = "metrics") -> list[str | Metric]:
    """Return the metrics passed to `compile` as objects; names are checked but kept as strings.

    The class that a name refers to can depend on the model's output.
    """
    if metrics is None:
        return []
    if not isinstance(metrics, (list, tuple)):
        raise TypeError(f'{argument} must be a list, such as ["accuracy"]; received {metrics!r}')
    found = [deserialize(entry) for entry in metrics]
    return [e if isinstance(e, str) else metric for e, metric in zip(metrics, found, strict=True)]


def describe_all(entries: Sequence[str | Metric]) -> list[Any]:
    """Return JSON descriptions; user-defined functions are left out with a warning."""
    own = [name_of(entry) for entry in entries if isinstance(entry, FunctionMetric)]
    if own:
        warnings.warn(
            f"Metrics {own} are functions and are not saved: compile the loaded model with them",
            UserWarning,
            stacklevel=3,
        )
    return [
        entry if isinstance(entry, str) else registry.describe(entry)
        for entry in entries
        if not isinstance(entry, FunctionMetric)
    ]


def name_of(entry: str | Metric) -> str:
    """Return the key in History: `entry` if it is a string, else the metric's name."""
    return entry if isinstance(entry, str) else entry.name


def resolve(entry: str | Metric, loss: Loss, output_shape: Shape) -> Metric:
    """Return the metric that `entry` refers to, given the loss and the shape of a sample's output.

    As in Keras, "accuracy" and "acc" mean sparse categorical accuracy if the targets are class
    indices. Otherwise they mean binary accuracy for one output, and categorical accuracy for
    several.

    Raises
    ------
    ValueError
        If the name is unknown, or the metric does not fit the targets or the output.

    Examples
    --------
    >>> from nnfast import losses
    >>> resolve("accuracy", losses.resolve("mse"), (1,))
    BinaryAccuracy(threshold=0.5)
    """
    metric: Metric
    if isinstance(entry, str) and entry.lower() in ("accuracy", "acc"):
        if loss.sparse:
            metric = SparseCategoricalAccuracy()
        else:
            metric = BinaryAccuracy() if output_shape[-1] == 1 else CategoricalAccuracy()
    else:
        metric = deserialize(entry)
    if isinstance(metric, Aggregate):
        raise ValueError(
            f"Metric {name_of(entry)!r} takes values, not targets and outputs: call its "
            "update_state yourself, or use MeanMetricWrapper"
        )
    suits = metric.stateful or metric.sparse in (None, loss.sparse)
    if not (loss.is_function or suits):
        expected = "class indices" if metric.sparse else "one target per output"
        raise ValueError(
            f"Metric {name_of(entry)!r} needs {expected}, but the targets of "
            f"{type(loss).__name__} are {'class indices' if loss.sparse else 'one per output'}"
        )
    return metric


class Target(NamedTuple):
    """What the metrics of an output are for.

    Attributes
    ----------
    prefix : str
        Put before the metrics' keys in History; empty if there is only one output.
    loss : Loss
    output_shape : tuple of int
        Shape of a sample's output.
    """

    prefix: str
    loss: Loss
    output_shape: Shape


class Use(NamedTuple):
    """The number of the output that a metric is for, and whether sample weights apply to it."""

    output: int
    weighted: bool


def resolve_all(
    entries: Sequence[Sequence[str | Metric]],
    weighted: Sequence[Sequence[str | Metric]],
    targets: Sequence[Target],
) -> tuple[dict[str, Metric], dict[str, Use]]:
    """Return the metrics of all outputs by their keys in History, and what they are for.

    As in Keras, a weighted metric whose key is already used becomes ``weighted_…``, and remaining
    duplicates get a numeric suffix. If there are several outputs, the keys are sorted.

    Examples
    --------
    >>> from nnfast import losses
    >>> target = Target("", losses.resolve("mse"), (1,))
    >>> metrics, _ = resolve_all([["mse", "mse"]], [["mse"]], [target])
    >>> list(metrics)
    ['mse', 'mse_1', 'weighted_mse']
    """
    metrics: dict[str, Metric] = {}
    uses: dict[str, Use] = {}
    for is_weighted, lists in ((False, entries), (True, weighted)):
        for output, (target, own) in enumerate(zip(targets, lists, strict=True)):
            for entry in own:
                key = target.prefix + name_of(entry)
                if is_weighted and key in metrics:
                    key = f"{target.prefix}weighted_{name_of(entry)}"
                key = free_key(key, metrics)
                metrics[key] = resolve(entry, target.loss, target.output_shape)
                uses[key] = Use(output, is_weighted)
    if len(targets) > 1:
        metrics = {key: metrics[key] for key in sorted(metrics)}
    return metrics, uses


def free_key(name: str, taken: Container[str]) -> str:
    """Return a key that is not taken: the name, or the name with a number.

    Examples
    --------
    >>> free_key("mse", []), free_key("mse", ["mse", "mse_1"])
    ('mse', 'mse_2')
    """
    number = 0
    key = name
    while key in taken:
        number += 1
        key = f"{name}_{number}"
    return key

"""Metrics, computed with NumPy from targets and outputs.

Every metric is a function of totals over rows, most of which are sums. The totals of batches are
merged. The value over many batches therefore equals the value over all their rows at once, and the
running value in Keras. As in Keras, sample weights apply only to ``weighted_metrics=``.
"""

from nnfast.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from nnfast.metrics.confusion import (
    AUC,
    Precision,
    Recall,
)
from nnfast.metrics.metric import (
    FunctionMetric,
    Metric,
)
from nnfast.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from nnfast.metrics.registry import (
    BUILT_IN as BUILT_IN,
    TABLE as TABLE,
    Identifier as Identifier,
    check_names as check_names,
    describe_all as describe_all,
    deserialize as deserialize,
    for_output as for_output,
    get as get,
    name_of as name_of,
    resolve as resolve,
    resolve_all as resolve_all,
    serialize as serialize,
)
from nnfast.metrics.regression import (
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
]

"""scikit-learn estimators: drop-in forms of its MLPClassifier and MLPRegressor.

Parameters, attributes, objective and stopping rules are scikit-learn's; what it has not got comes
as further keywords. They need the extra ``sklearn``: ``pip install "nnfast[sklearn]"``.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "nnfast.MLPClassifier and nnfast.MLPRegressor need scikit-learn: "
        'pip install "nnfast[sklearn]"'
    ) from error

from nnfast.estimators._classifier import MLPClassifier
from nnfast.estimators._regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]

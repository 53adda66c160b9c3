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

import sys

from nnfast.estimators import architecture, classifier, regressor, stopping
from nnfast.estimators.classifier import MLPClassifier
from nnfast.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]

# The modules' names in pickles of earlier versions.
for _name, _module in {
    "_classifier": classifier,
    "_regressor": regressor,
    "_network": architecture,
    "_training": stopping,
}.items():
    sys.modules[f"{__name__}.{_name}"] = _module

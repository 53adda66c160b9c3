"""Drop-in replacements for scikit-learn's MLPClassifier and MLPRegressor.

Parameters, attributes, objective and stopping rules are scikit-learn's. There are additional
keyword parameters. The estimators need the extra ``sklearn``: ``pip install "nnfast[sklearn]"``.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "nnfast.MLPClassifier and nnfast.MLPRegressor need scikit-learn: "
        'pip install "nnfast[sklearn]"'
    ) from error

import sys
from types import ModuleType

from nnfast.estimators.architecture import Architecture, Perceptron
from nnfast.estimators.classifier import MLPClassifier
from nnfast.estimators.regressor import MLPRegressor
from nnfast.estimators.stopping import LearningRate

__all__ = ["MLPClassifier", "MLPRegressor"]

# Pickles of earlier versions refer to these classes in these modules.
_EARLIER: dict[str, dict[str, type]] = {
    "_classifier": {"MLPClassifier": MLPClassifier},
    "_regressor": {"MLPRegressor": MLPRegressor},
    "_network": {"Architecture": Architecture, "Network": Perceptron},
    "_training": {"LearningRate": LearningRate},
}
for _name, _classes in _EARLIER.items():
    _module = ModuleType(f"{__name__}.{_name}")
    vars(_module).update(_classes)
    sys.modules[_module.__name__] = _module

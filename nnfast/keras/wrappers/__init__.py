"""Models as scikit-learn estimators, as in ``keras.wrappers``.

The module needs the extra ``sklearn``: ``pip install "nnfast[sklearn]"``.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        'nnfast.keras.wrappers needs scikit-learn: pip install "nnfast[sklearn]"'
    ) from error

from nnfast.keras.wrappers import scikit_learn
from nnfast.keras.wrappers.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer", "scikit_learn"]

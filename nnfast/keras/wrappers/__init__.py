"""Models as scikit-learn estimators, as in ``keras.wrappers``.

The module needs the extra ``sklearn``: ``pip install "nnfast[sklearn]"``.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        'nnfast.keras.wrappers needs scikit-learn: pip install "nnfast[sklearn]"'
    ) from error

from nnfast.keras.wrappers.wrappers import (
    SKLearnClassifier as SKLearnClassifier,
    SKLearnRegressor as SKLearnRegressor,
    SKLearnTransformer as SKLearnTransformer,
)

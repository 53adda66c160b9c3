"""Models as scikit-learn estimators, as in ``keras.wrappers``."""

"""The wrappers of Keras 3, which turn a compiled model into a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from nnfast.models.loading import clone_model
from nnfast.models.model import Model

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]

Array = NDArray[Any]


class _Wrapper(BaseEstimator):
    """The parts that all wrappers share."""

    def __init__(
        self,
        model: Model | Callable[..., Model],
        warm_start: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
        fit_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        return tags

    @property
    def epoch_(self) -> int:
        """The number of epochs in the last `fit`, 0 before it."""
        return len(self.history_.epoch) if hasattr(self, "history_") else 0

    def fit(self, X: Any, y: Any, **kwargs: Any) -> Self:
        """Train the model.

        Parameters
        ----------
        X : array_like (n, features)
        y : array_like (n,)
            The targets.
        **kwargs
            Arguments of the model's `fit`, which take precedence over `fit_kwargs`.
        """
        X, y = validate_data(self, X, y)
        target = self._encoded(y)
        model = self._new_model(X, target)
        self.history_ = model.fit(X, target, **({**(self.fit_kwargs or {})} | kwargs))
        self.model_ = model
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Return the outputs of the model; one output per sample gives a vector."""
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1:] == (1,) else outputs

    def _new_model(self, X: Array, y: Array) -> Any:
        """Return the model to train, with new weights unless this is a warm start."""
        given: Any = self.model
        if self.warm_start and hasattr(self, "model_"):
            model = self.model_
        elif isinstance(given, Model):
            model = given if self.warm_start else clone_model(given)
        elif callable(given):
            model = given(X=X, y=y, **(self.model_kwargs or {}))
        else:
            raise TypeError(f"model must be a Sequential or a function; received {given!r}")
        if model.optimizer is None or model.loss is None:
            raise RuntimeError("The model must be compiled with an optimizer and a loss")
        return model

    def _outputs(self, X: ArrayLike) -> Array:
        """Return the outputs of the trained model."""
        check_is_fitted(self)
        outputs: Array = self.model_.predict(validate_data(self, X, reset=False), verbose=0)
        return outputs

    def _encoded(self, y: Array) -> Array:
        """Return the targets for the model, as a matrix."""
        _check_targets(y)
        return y.reshape(len(y), -1)


class SKLearnClassifier(ClassifierMixin, _Wrapper):
    """A scikit-learn classifier that trains a model.

    The model's targets are one-hot: it needs one output per class, and a loss such as
    ``"categorical_crossentropy"``.

    Parameters
    ----------
    model : Sequential or callable
        A compiled model, of which `fit` trains a clone with new weights. Or a function that is
        called as ``model(X=X, y=y, **model_kwargs)`` with the checked data and returns a compiled
        model.
    warm_start : bool, default False
        Continue to train the model of the previous `fit`. The first `fit` then trains the given
        model itself. (Keras documents this, but ignores the argument.)
    model_kwargs : dict, optional
        Arguments for `model` if it is a function.
    fit_kwargs : dict, optional
        Arguments of the model's `fit`, such as ``{"epochs": 5}``.

    Attributes
    ----------
    model_ : Sequential
        The trained model.
    history_ : History
        The result of the model's `fit`.
    classes_ : ndarray
        The class labels, in the order of the model's outputs.
    epoch_ : int
        The number of epochs in the last `fit`.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> def make(X, y, units):
    ...     model = nnfast.Sequential([
    ...         nnfast.Input(X.shape[1:]),
    ...         nnfast.layers.Dense(units, activation="relu"),
    ...         nnfast.layers.Dense(y.shape[1], activation="softmax"),
    ...     ])
    ...     model.compile("adam", "categorical_crossentropy")
    ...     return model
    >>> X = np.repeat(np.eye(3), 20, axis=0)
    >>> y = np.repeat(["a", "b", "c"], 20)
    >>> classifier = SKLearnClassifier(make, model_kwargs={"units": 16})
    >>> classifier.fit(X, y, epochs=100, verbose=0).score(X, y)
    1.0
    """

    def predict(self, X: ArrayLike) -> Array:
        """Return the class label of each sample."""
        outputs = self._outputs(X)
        labels: Array = self.classes_[outputs.argmax(axis=1)]
        return labels

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the outputs of the model, (n, classes)."""
        return self._outputs(X)

    def _encoded(self, y: Array) -> Array:
        kind = _check_targets(y)
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"Only binary and multiclass target types are supported. Target type: {kind}"
            )
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) == 1:
            raise ValueError("Classifier can't train when only one class is present.")
        return np.eye(len(self.classes_), dtype=np.float32)[codes]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class SKLearnRegressor(RegressorMixin, _Wrapper):
    """A scikit-learn regressor that trains a model.

    Parameters
    ----------
    model, warm_start, model_kwargs, fit_kwargs
        As for `SKLearnClassifier`; `y` is a column of targets.

    Attributes
    ----------
    model_, history_, epoch_
        As for `SKLearnClassifier`.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> model = nnfast.Sequential([nnfast.Input((1,)), nnfast.layers.Dense(1)])
    >>> model.compile(nnfast.optimizers.SGD(0.1), "mse")
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> regressor = SKLearnRegressor(model, fit_kwargs={"epochs": 200, "verbose": 0})
    >>> regressor.fit(X, 2 * X[:, 0]).score(X, 2 * X[:, 0]) > 0.99
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class SKLearnTransformer(TransformerMixin, _Wrapper):
    """A scikit-learn transformer whose result is the output of a trained model.

    Parameters
    ----------
    model, warm_start, model_kwargs, fit_kwargs
        As for `SKLearnClassifier`; `y` is a column of targets.

    Attributes
    ----------
    model_, history_, epoch_
        As for `SKLearnClassifier`.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> model = nnfast.Sequential([nnfast.Input((3,)), nnfast.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> SKLearnTransformer(model).fit(np.eye(3), np.ones(3), verbose=0).transform(np.eye(3)).shape
    (3, 1)
    """

    def transform(self, X: ArrayLike) -> Array:
        """Return the outputs of the model."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def _check_targets(y: Array) -> str:
    """Return scikit-learn's name for the type of the targets; raise ValueError if unknown."""
    kind: str = type_of_target(y)
    if kind == "unknown":
        raise ValueError(f"Unknown label type for data: {y!r}")
    return kind

"""The wrappers of Keras 2, which also take the arguments of SciKeras."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from nnfast._utils.config import seeded
from nnfast.losses import CategoricalCrossentropy
from nnfast.models.loading import clone_model
from nnfast.models.model import Model
from nnfast.models.sequential import Sequential
from nnfast.optimizers import rules

__all__ = ["KerasClassifier", "KerasRegressor"]

Array = NDArray[Any]

# Parameters of the function that makes the model begin with "model__", and so on.
_PREFIXES = ("model", "fit", "predict", "optimizer")
# Parameters of SciKeras that are not arguments of the model's methods.
_OPTIONS = ("optimizer", "loss", "metrics", "random_state")


class _Wrapper(BaseEstimator):
    """The parts that both wrappers share."""

    def __init__(
        self,
        build_fn: Callable[..., Model] | None = None,
        *,
        model: Callable[..., Model] | Model | None = None,
        **sk_params: Any,
    ) -> None:
        if build_fn is not None and model is not None:
            raise ValueError("Give either build_fn or model, not both")
        self.build_fn = build_fn
        self.model = model
        # Whether `model` was given: then this object behaves as in SciKeras.
        self._by_model = model is not None
        self.sk_params = sk_params
        self.check_params(sk_params)

    def check_params(self, params: Mapping[str, Any]) -> None:
        """Raise a ValueError if a parameter is not an argument that anything takes.

        Parameters
        ----------
        params : dict
        """
        legal = {*_OPTIONS, *_arguments(self._maker())}
        for method in (Sequential.fit, Sequential.predict, Sequential.evaluate):
            legal |= _arguments(method)
        for name in params:
            prefix, routed, _ = name.partition("__")
            if not (name in legal or (routed and prefix in _PREFIXES)):
                raise ValueError(f"{name} is not a legal parameter")

    def _maker(self) -> Any:
        """Return the function or the model that was given, or the method of a subclass."""
        given: Any = self.model if self._by_model else self.build_fn
        if given is not None:
            return given
        if callable(self):
            return self
        raise TypeError(f"{type(self).__name__} needs build_fn, a function that makes a model")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return all parameters, for `sklearn.base.clone` and `GridSearchCV`."""
        name = "model" if self._by_model else "build_fn"
        return {name: getattr(self, name)} | self.sk_params

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Raises
        ------
        ValueError
            If a parameter is not an argument that anything takes.
        """
        for name in ("build_fn", "model"):
            if name in params:
                setattr(self, name, params.pop(name))
                self._by_model = name == "model"
        self.check_params(params)
        self.sk_params = self.sk_params | params
        return self

    def filter_sk_params(
        self, fn: Callable[..., Any], override: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the parameters that are arguments of a function.

        Parameters
        ----------
        fn : callable
        override : dict, optional
            Arguments that take precedence.
        """
        names = _arguments(fn)
        own = {name: value for name, value in self.sk_params.items() if name in names}
        return own | dict(override or {})

    def _routed(self, prefix: str) -> dict[str, Any]:
        """Return the parameters ``prefix__name`` by name."""
        start = f"{prefix}__"
        return {
            name.removeprefix(start): value
            for name, value in self.sk_params.items()
            if name.startswith(start)
        }

    def _train(self, x: Array, y: Array, options: Mapping[str, Any]) -> Any:
        """Make and train a model; return what `fit` of the wrapper returns."""
        seed = self.sk_params.get("random_state")
        if isinstance(seed, np.random.RandomState):
            seed = seed.randint(2**31)
        with nullcontext() if seed is None else seeded(seed):
            self.model_ = self._made(x, y)
        arguments = self.filter_sk_params(Sequential.fit, self._routed("fit") | dict(options))
        history = self.model_.fit(x, self._encoded(y), **arguments)
        self.history_ = history.history
        if self._by_model:
            return self
        self.model = self.model_
        return history

    def _encoded(self, y: Array) -> Array:
        """Return the targets in the form that the model's loss expects."""
        return y

    def _made(self, x: Array, y: Array) -> Any:
        """Return a new compiled model."""
        maker = self._maker()
        settings = self._compile_arguments()
        if isinstance(maker, Sequential):
            made: Any = clone_model(maker)
        else:
            found = {"compile_kwargs": settings, "meta": self._meta(x, y)}
            names = _arguments(maker)
            offered = {name: value for name, value in found.items() if name in names}
            made = maker(**offered, **self.filter_sk_params(maker, self._routed("model")))
        if made.optimizer is None:
            if settings["loss"] is None:
                raise ValueError("The model is not compiled: compile it, or pass loss=…")
            made.compile(**settings)
        return made

    def _compile_arguments(self) -> dict[str, Any]:
        """Return the arguments of `compile`, with the parameters ``optimizer__…`` applied."""
        optimizer, routed = self.sk_params.get("optimizer", "rmsprop"), self._routed("optimizer")
        if routed or isinstance(optimizer, type):
            rule = optimizer if isinstance(optimizer, type) else type(rules.resolve(optimizer))
            optimizer = rule(**routed)
        return {
            "optimizer": optimizer,
            "loss": self.sk_params.get("loss"),
            "metrics": self.sk_params.get("metrics"),
        }

    def _meta(self, x: Array, y: Array) -> dict[str, Any]:
        """Return what SciKeras passes as ``meta`` to the function that makes the model."""
        outputs = 1 if y.ndim == 1 else y.shape[1]
        meta = {name: value for name, value in vars(self).items() if "classes_" in name}
        return meta | {
            "n_features_in_": x.shape[1] if x.ndim > 1 else 1,
            "X_shape_": x.shape,
            "X_dtype_": x.dtype,
            "y_dtype_": y.dtype,
            "n_outputs_": outputs,
            "n_outputs_expected_": outputs,
            "target_type_": type_of_target(y),
        }

    def _outputs(self, x: ArrayLike, options: Mapping[str, Any]) -> Array:
        """Return the outputs of the trained model."""
        check_is_fitted(self, "model_")
        own = self.filter_sk_params(Sequential.predict, self._routed("predict") | dict(options))
        outputs: Array = self.model_.predict(_array(x), **own)
        return outputs


class KerasClassifier(ClassifierMixin, _Wrapper):
    """A scikit-learn classifier around a function that makes a model.

    Parameters
    ----------
    build_fn : callable, optional
        Returns a compiled model. A subclass may define ``__call__`` instead.
    model : callable or Sequential, optional
        In place of `build_fn`, as in SciKeras. If the model is not compiled, it is compiled with
        the parameters `optimizer`, `loss` and `metrics`. A function may take the arguments
        ``meta`` and ``compile_kwargs``.
    **sk_params
        Arguments of `build_fn`, and of the model's `fit`, `predict` and `evaluate`. As in SciKeras,
        also ``model__x``, ``fit__x``, ``predict__x`` and ``optimizer__x`` for an argument x of the
        function, of these methods or of the optimizer; `optimizer`, `loss`, `metrics`; and
        `random_state`, the seed of the model.

    Attributes
    ----------
    model_ : Sequential
        The trained model; without the argument `model`, also the attribute ``model``, as in Keras.
    history_ : dict
        The ``history`` of the model's History.
    classes_ : ndarray
        The class labels, in the order of the model's outputs.
    n_classes_ : int

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> from sklearn.model_selection import GridSearchCV
    >>> def make(units=4):
    ...     model = nnfast.Sequential([nnfast.Input((2,)), nnfast.layers.Dense(units, "tanh")])
    ...     model.add(nnfast.layers.Dense(1, activation="sigmoid"))
    ...     model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    ...     return model
    >>> x = np.repeat([[0.0, 1.0], [1.0, 0.0]], 30, axis=0)
    >>> y = np.repeat(["left", "right"], 30)
    >>> search = GridSearchCV(
    ...     KerasClassifier(make, epochs=300, verbose=0), {"units": [4, 8], "batch_size": [10]}
    ... )
    >>> str(search.fit(x, y).predict([[0.0, 1.0]])[0])
    'left'
    """

    def fit(self, x: ArrayLike, y: ArrayLike, **kwargs: Any) -> Any:
        """Make a model and train it.

        Parameters
        ----------
        x : array_like (n, ...)
        y : array_like (n,), (n, 1) or one-hot (n, classes)
            The class labels.
        **kwargs
            Arguments of the model's `fit`.

        Returns
        -------
        History, or this object if it was made with `model`

        Raises
        ------
        ValueError
            If `y` has another shape.
        """
        x, y = _array(x), np.asarray(y)
        if y.ndim == 2 and y.shape[1] > 1:
            self.classes_ = np.arange(y.shape[1])
        elif y.ndim == 1 or y.shape[1:] == (1,):
            self.classes_, codes = np.unique(y, return_inverse=True)
            y = codes.reshape(-1)
        else:
            raise ValueError(f"Invalid shape for y: {y.shape}")
        self.n_classes_ = len(self.classes_)
        return self._train(x, y, kwargs)

    def _encoded(self, y: Array) -> Array:
        if y.ndim == 1 and isinstance(self.model_.loss, CategoricalCrossentropy):
            return np.eye(self.n_classes_, dtype=np.float32)[y]
        return y

    def predict(self, x: ArrayLike, **kwargs: Any) -> Array:
        """Return the class label of each sample.

        Parameters
        ----------
        x : array_like (n, ...)
        **kwargs
            Arguments of the model's `predict`.

        Returns
        -------
        ndarray (n,)
        """
        outputs = self._outputs(x, kwargs)
        one = outputs.shape[1] == 1
        codes = (outputs[:, 0] > 0.5).astype(int) if one else outputs.argmax(axis=1)
        labels: Array = self.classes_[codes]
        return labels

    def predict_proba(self, x: ArrayLike, **kwargs: Any) -> Array:
        """Return the probability of each class, (n, classes).

        A model with one output p gives the columns 1 − p and p.
        """
        outputs = self._outputs(x, kwargs)
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    def score(self, x: ArrayLike, y: ArrayLike, sample_weight: Any = None, **kwargs: Any) -> float:
        """Return the accuracy; `y` may be one-hot.

        Parameters
        ----------
        x, y
            As for `fit`.
        sample_weight : array_like (n,), optional
        **kwargs
            Arguments of the model's `predict`.
        """
        y = np.asarray(y)
        y = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
        hits = self.predict(x, **kwargs) == y
        return float(np.average(hits, weights=sample_weight))


class KerasRegressor(RegressorMixin, _Wrapper):
    """A scikit-learn regressor around a function that makes a model.

    Parameters
    ----------
    build_fn, model, **sk_params
        As for `KerasClassifier`.

    Attributes
    ----------
    model_, history_
        As for `KerasClassifier`.

    Examples
    --------
    >>> import numpy as np, nnfast
    >>> from sklearn.model_selection import cross_val_score
    >>> def make(rate=0.1):
    ...     model = nnfast.Sequential([nnfast.layers.Dense(1, input_dim=1)])
    ...     model.compile(nnfast.optimizers.SGD(rate), "mse")
    ...     return model
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> regressor = KerasRegressor(make, epochs=200, verbose=0)
    >>> bool((cross_val_score(regressor, x, 2 * x[:, 0], cv=3) > -0.01).all())
    True
    """

    def fit(self, x: ArrayLike, y: ArrayLike, **kwargs: Any) -> Any:
        """Make a model and train it.

        Parameters
        ----------
        x : array_like (n, ...)
        y : array_like (n,) or (n, outputs)
        **kwargs
            Arguments of the model's `fit`.

        Returns
        -------
        History, or this object if it was made with `model`
        """
        return self._train(_array(x), np.asarray(y, float), kwargs)

    def predict(self, x: ArrayLike, **kwargs: Any) -> Array:
        """Return the outputs of the model; one output per sample gives a vector.

        Parameters
        ----------
        x : array_like (n, ...)
        **kwargs
            Arguments of the model's `predict`.
        """
        outputs = self._outputs(x, kwargs)
        return outputs[:, 0] if outputs.shape[1:] == (1,) else outputs

    def score(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **kwargs: Any
    ) -> float:
        """Return minus the loss, or R² if this object was made with `model`, as SciKeras does.

        Parameters
        ----------
        x, y
            As for `fit`.
        sample_weight : array_like (n,), optional
        **kwargs
            Arguments of the model's `evaluate`, or of its `predict` for R².
        """
        if self._by_model:
            return float(r2_score(y, self.predict(x, **kwargs), sample_weight=sample_weight))
        check_is_fitted(self, "model_")
        own = self.filter_sk_params(Sequential.evaluate, kwargs)
        results = self.model_.evaluate(_array(x), y, **own, sample_weight=sample_weight)
        return -float(np.ravel(results)[0])


def _arguments(function: Any) -> set[str]:
    """Return the names of the arguments of a function; a model has none."""
    if isinstance(function, Model):
        return set()
    return set(inspect.signature(function).parameters) - {"self"}


def _array(x: ArrayLike) -> Array:
    """Return `x` as an array; a data frame becomes one, and a model does not need its names."""
    return np.asarray(x)

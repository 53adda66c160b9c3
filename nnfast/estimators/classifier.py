"""The estimator for classification."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from nnfast._utils import checks
from nnfast.estimators import objective
from nnfast.estimators.base import BaseMLP
from nnfast.estimators.compat import (
    Interval,
    StrOptions,
    first_call_of_partial_fit,
    fit_context,
    validate_data,
)
from nnfast.estimators.parameters import CONSTRAINTS
from nnfast.estimators.state import Classes

Array = NDArray[Any]


def output_activation(kind: str) -> str:
    """Return the output activation for a type of target, by scikit-learn's name."""
    return "softmax" if kind == "multiclass" else "logistic"


def count_outputs(kind: str, classes: int) -> int:
    """Return the number of outputs for a type of target and a number of classes."""
    return 1 if kind == "binary" and classes <= 2 else classes


def binarizer_of(classes: Classes) -> LabelBinarizer:
    """Return a `LabelBinarizer` in the same state as if it had been fitted to these classes."""
    binarizer = LabelBinarizer()
    binarizer.y_type_ = classes.kind
    binarizer.sparse_input_ = classes.sparse
    binarizer.classes_ = classes.values
    return binarizer


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron classifier, a drop-in replacement for scikit-learn's.

    The parameters up to `max_fun` are scikit-learn's. The same `random_state` gives the same
    initial weights.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default (100,)
        Number of units of each hidden layer.
    activation : str, function of `nnfast.activations`, or a list of them, default "relu"
        Activation of the hidden layers: scikit-learn's "identity", "logistic", "tanh" or "relu",
        or any activation in `nnfast.activations`. A list has one entry per hidden layer.
    solver : {"lbfgs", "sgd", "adam"}, default "adam"
    alpha : float, default 0.0001
        Strength of the L2 penalty α/2·Σ W², which is divided by the total weight of the batch,
        like the loss.
    batch_size : int or "auto", default "auto"
        "auto" means 200, or the number of samples if it is smaller.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        Learning rate policy of the solver "sgd".
    learning_rate_init : float, default 0.001
        Initial learning rate of "sgd" and "adam".
    power_t : float, default 0.5
        Exponent of the policy "invscaling".
    max_iter : int, default 200
        Maximum number of epochs, or of iterations for "lbfgs".
    shuffle : bool, default True
        Whether to shuffle the samples in each epoch.
    random_state : int, RandomState or None, default None
        Source of the initial weights, the validation split, the shuffles and dropout.
    tol : float, default 1e-4
        Training stops when the loss or validation score has not improved by more than `tol` for
        `n_iter_no_change` epochs.
    verbose : bool or int, default False
        Whether to print the loss of each epoch.
    warm_start : bool, default False
        Whether `fit` continues from the weights of the last `fit`.
    momentum : float, default 0.9
        Momentum of the solver "sgd".
    nesterovs_momentum : bool, default True
        Whether the solver "sgd" uses Nesterov's momentum.
    early_stopping : bool, default False
        Hold out `validation_fraction` of the samples, stop when their score no longer improves,
        and keep the best weights.
    validation_fraction : float, default 0.1
        Fraction of the samples held out by `early_stopping`.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Decay rates of the solver "adam".
    epsilon : float, default 1e-8
        Constant for numerical stability of the solver "adam".
    n_iter_no_change : int, default 10
        Number of epochs without improvement after which training stops.
    max_fun : int, default 15000
        Maximum number of loss evaluations of the solver "lbfgs".
    class_weight : dict, "balanced" or None, default None
        Factors for the sample weights of each class; classes missing from a dict have factor 1.
    label_smoothing : float, default 0.0
        The smoothing s, in [0, 1). Targets become (1 − s)·y + s/classes.
    dropout : float or list of float, default 0.0
        Dropout rate after each hidden layer; a list has one rate per hidden layer.
    normalization : {"batch", "layer"} or None, default None
        Normalization before the activation of each hidden layer.
    optimizer : str, Optimizer or None, default None
        An optimizer of `nnfast.optimizers` instead of the solver's own: a name, which uses
        `learning_rate_init`, or an object with its own learning rate or schedule, weight decay
        and gradient clipping.
    callbacks : list of Callback, optional
        Callbacks of `nnfast.callbacks`, called after each epoch with ``loss`` and, with
        validation data, ``val_loss`` or ``val_score``.
    n_threads : int, optional
        Maximum number of threads; None means `nnfast.get_num_threads`. Results do not depend on
        the number of threads.

    Attributes
    ----------
    classes_ : ndarray or list of ndarray
        The classes.
    loss_ : float
        The loss of the last epoch or iteration.
    best_loss_ : float or None
        The lowest loss; None with `early_stopping`.
    loss_curve_ : list of float
        The loss of each epoch.
    validation_scores_ : list of float or None
        The accuracy on the validation data after each epoch; None without `early_stopping`.
    best_validation_score_ : float or None
        The highest of `validation_scores_`.
    validation_loss_curve_ : list of float
        The loss on X_val after each epoch, without the penalty; set only if `fit` received X_val.
    t_ : int
        The number of samples seen in training.
    coefs_, intercepts_ : list of ndarray
        The weights and biases of each layer: writable views of the engine's memory.
    n_features_in_, n_iter_, n_layers_, n_outputs_ : int
        The numbers of features, epochs or iterations, layers (including the input), and outputs.
    feature_names_in_ : ndarray of str
        The names of the features; set only if X had string column names.
    out_activation_ : str
        scikit-learn's name for the output activation.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> clf = MLPClassifier(random_state=1, max_iter=300).fit(X, y)
    >>> clf.predict_proba(X[:1]).shape
    (1, 2)
    >>> clf.score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }
    _saved_as = "MLPClassifier"
    loss = "log_loss"

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        dropout: Any = 0.0,
        normalization: str | None = None,
        optimizer: Any = None,
        callbacks: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.dropout = dropout
        self.normalization = normalization
        self.optimizer = optimizer
        self.callbacks = callbacks
        self.n_threads = n_threads

    # ---- targets ---------------------------------------------------------------------------------

    def _learn_classes(self, y: Array) -> None:
        kind = type_of_target(y) if y.ndim == 1 and y.dtype.kind in "biufU" else ""
        if kind in ("binary", "multiclass"):
            # LabelBinarizer.fit would take 0.3 ms, a large part of the time to fit a few rows.
            self._label_binarizer = binarizer_of(Classes(np.unique(y), kind, sparse=False))
        else:
            self._label_binarizer = LabelBinarizer().fit(y)
        self.classes_ = self._label_binarizer.classes_

    def _check_data(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._learn_classes(y)
            return X, y
        classes = unique_labels(y)
        if incremental:
            unknown = np.setdiff1d(classes, self.classes_, assume_unique=True)
            if len(unknown) and not self.warm_start:
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has "
                    f"{self.classes_}. 'y' has {classes}."
                )
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        return X, y

    @property
    def _kind(self) -> str:
        """The type of the targets from which the classes were learned, for example "binary"."""
        kind: str = self._label_binarizer.y_type_
        return kind

    def _count_outputs(self, y: Any) -> int:
        return count_outputs(self._kind, len(self.classes_))

    def _targets(self, y: Any, dtype: np.dtype[Any]) -> Array:
        if self._kind == "multiclass" and np.ndim(y) == 1:
            indices: Array = np.searchsorted(self.classes_, y).astype(np.int32)
            return indices
        return np.require(self._label_binarizer.transform(y), dtype, ("C", "A"))

    def _weights(self, y: Any, weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        if self.class_weight is None:
            return weight
        if np.ndim(y) != 1:
            raise ValueError("class_weight needs one label per sample, but y has several")
        if isinstance(self.class_weight, dict):
            for label, value in self.class_weight.items():
                checks.real(f"class_weight[{label!r}]", value, low=0.0)
        present = np.unique(y) if self.class_weight == "balanced" else self.classes_
        factors = compute_class_weight(self.class_weight, classes=present, y=y)
        weights: NDArray[np.float64] = factors[np.searchsorted(present, y)].astype(np.float64)
        return weights if weight is None else weights * weight

    def _output_activation(self) -> str:
        return output_activation(self._kind)

    def _saved_classes(self) -> Classes:
        return Classes(self.classes_, self._kind, bool(self._label_binarizer.sparse_input_))

    def _objective(self, dtype: np.dtype[Any]) -> objective.Objective:
        return objective.classification(
            self.out_activation_, self.n_outputs_, dtype, self.label_smoothing
        )

    def _strata(self, targets: Array) -> Array | None:
        if self.n_outputs_ > 1:
            return None
        return np.where(targets[:, 0] > 0, "True", "False")

    def _score_outputs(
        self, outputs: Array, targets: Array, weight: NDArray[np.float64] | None
    ) -> float:
        if targets.ndim == 1:
            correct = outputs.argmax(axis=1) == targets
        else:
            correct = ((outputs > 0.5) == (targets > 0.5)).all(axis=1)
        return float(np.average(correct, weights=weight))

    # ---- public ----------------------------------------------------------------------------------

    @available_if(lambda self: self._check_solver())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one more epoch.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
        y : array-like, (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like, (n_samples,), optional
        classes : array-like, optional
            All classes; required in the first call, because y may not contain all of them.

        Returns
        -------
        self
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all samples at once; for partial_fit pass a dict, "
                "for example from sklearn.utils.compute_class_weight"
            )
        if first_call_of_partial_fit(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted classes for X.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)

        Returns
        -------
        ndarray
            The most probable classes, (n_samples,). If samples have several labels, an indicator
            matrix, (n_samples, n_classes).
        """
        outputs = self._outputs(X)
        labels: Array
        if outputs.shape[1] == 1 and len(self.classes_) == 2:
            labels = self.classes_[(outputs[:, 0] > 0.5).astype(np.intp)]
        elif self._kind == "multiclass":
            labels = self.classes_[outputs.argmax(axis=1)]
        else:
            single = outputs.shape[1] == 1
            labels = self._label_binarizer.inverse_transform(outputs.ravel() if single else outputs)
        return labels

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)

        Returns
        -------
        ndarray, (n_samples, n_classes)
            The probabilities in the order of `classes_`.
        """
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return np.hstack([1 - outputs, outputs])
        if self.out_activation_ == "logistic":
            # Keep the probabilities of labels strictly inside (0, 1), even after rounding.
            limits = np.finfo(outputs.dtype)
            np.clip(outputs, limits.tiny, 1 - limits.epsneg, out=outputs)
        return outputs

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities that `predict_proba` returns."""
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            logarithms: Array = np.log(probabilities, out=probabilities)
        return logarithms

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

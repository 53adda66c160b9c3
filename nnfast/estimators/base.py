"""The base class of the estimators: initialization, training, files and prediction."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nnfast._data import arrays
from nnfast._data.samples import Samples
from nnfast._runtime.steps import Steps
from nnfast._runtime.trainer import Trainer
from nnfast._utils import checks, container
from nnfast.callbacks.callback_list import CallbackList
from nnfast.estimators import convert, lbfgs
from nnfast.estimators.architecture import Perceptron, sizes_of
from nnfast.estimators.compat import check_sample_weight, fit_context, validate_data
from nnfast.estimators.objective import Objective
from nnfast.estimators.parameters import (
    CONSTRAINTS,
    STOCHASTIC,
    architecture_of,
    callbacks_of,
    hidden_activations,
    hidden_units,
    optimizer_kind,
    optimizer_of,
    settings_of,
)
from nnfast.estimators.state import (
    CLASS_NAMES,
    COUNTS,
    CURVES,
    NUMBERS,
    Classes,
    State,
    contents,
)
from nnfast.estimators.stopping import Training, Validation, begin_record
from nnfast.estimators.watched import Contents, Watched
from nnfast.initializers import blocks

Array = NDArray[Any]


class BaseMLP(BaseEstimator, ABC):
    """Base class of MLPClassifier and MLPRegressor."""

    _parameter_constraints: ClassVar[dict[str, Any]] = CONSTRAINTS
    # The class's name in files, from `CLASS_NAMES`. User-defined subclasses have no such name.
    _saved_as: ClassVar[str]

    # The record of stochastic training (`stopping.Record`); L-BFGS sets some of these attributes.
    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    validation_scores_: Any
    best_loss_: Any
    best_validation_score_: Any
    _no_improvement_count: int
    _best_weights: Array | None

    # ---- what subclasses define ------------------------------------------------------------------

    @abstractmethod
    def _check_data(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """Return the checked X and y; `_targets` converts y for the engine."""

    @abstractmethod
    def _targets(self, y: Any, dtype: np.dtype[Any]) -> Array:
        """Return the targets for the engine: (n, outputs), or class indices (n,)."""

    @abstractmethod
    def _count_outputs(self, y: Any) -> int:
        """Return the number of outputs that the targets need."""

    @abstractmethod
    def _output_activation(self) -> str:
        """Return scikit-learn's name for the output activation."""

    @abstractmethod
    def _objective(self, dtype: np.dtype[Any]) -> Objective:
        """Return the loss for an output layer with the activation `out_activation_`."""

    @abstractmethod
    def _score_outputs(
        self, outputs: Array, targets: Array, weight: NDArray[np.float64] | None
    ) -> float:
        """Return the score that early stopping monitors."""

    def _saved_classes(self) -> Classes | None:
        """Return the classes of a classifier, or None for a regressor."""
        return None

    def _weights(self, y: Any, weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """Return the sample weights multiplied by class weights."""
        return weight

    # ---- the network -----------------------------------------------------------------------------

    def _draw(self, sizes: Sequence[int], network: Perceptron) -> None:
        """Draw the initial weights in the same order and within the same bounds as scikit-learn."""
        # As in scikit-learn, the bounds of the output layer, too, depend on the hidden activation.
        names = network.architecture.activations
        if not names and isinstance(self.activation, str):
            names = hidden_activations(self, 1)
        for i, (coef, intercept) in enumerate(zip(network.coefs, network.intercepts, strict=True)):
            logistic = bool(names) and names[min(i, len(names) - 1)].name == "sigmoid"
            bound = np.sqrt((2.0 if logistic else 6.0) / (sizes[i] + sizes[i + 1]))
            for block in blocks(coef):
                block[...] = self._random_state.uniform(-bound, bound, block.size)
            intercept[...] = self._random_state.uniform(-bound, bound, intercept.shape)

    def _initialize(self, sizes: Sequence[int], dtype: np.dtype[Any]) -> Perceptron:
        """Return a new network, and set the attributes to their values before a first fit."""
        self.n_iter_ = 0
        self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._output_activation()
        self.__dict__.pop("_optimizer", None)
        network = Perceptron(architecture_of(self, sizes, self.out_activation_), dtype)
        self._draw(sizes, network)
        self._network = network
        self.coefs_, self.intercepts_ = list(network.coefs), list(network.intercepts)
        if self.solver in STOCHASTIC:
            self.loss_curve_ = []
            begin_record(self, network, bool(self.early_stopping))
        return network

    def _continued(self, sizes: Sequence[int]) -> Perceptron:
        """Return the network of the last fit for further training, if its layer sizes match."""
        self.out_activation_ = self._output_activation()
        network = self._trainable()
        if network.architecture.sizes != tuple(sizes):
            raise ValueError(
                f"hidden_layer_sizes gives layers of {sizes} units, but the fitted layers have "
                f"{list(network.architecture.sizes)}: training cannot continue"
            )
        return network

    def _resume(self, network: Perceptron, incremental: bool) -> Trainer:
        """Return the trainer for further training.

        `partial_fit` keeps the optimizer's state, unless the class of the optimizer has changed.
        The record of the best epoch is kept, unless `early_stopping` has changed or the last fit
        used L-BFGS.
        """
        trainer = network.trainer if incremental and "_optimizer" in self.__dict__ else None
        if trainer is None or type(trainer.optimizer) is not optimizer_kind(self):
            self._optimizer = optimizer_of(self)
            trainer = network.start(self._optimizer.optimizer)
        if not hasattr(self, "loss_curve_"):
            self.loss_curve_ = []
        early = self.__dict__.get("validation_scores_") is not None
        if not hasattr(self, "_no_improvement_count") or early != bool(self.early_stopping):
            begin_record(self, network, bool(self.early_stopping))
        return trainer

    def _forget(self) -> None:
        """Discard the state of stochastic training, which belongs to another solver or network."""
        for name in ("_optimizer", "_no_improvement_count", "_best_weights"):
            self.__dict__.pop(name, None)

    def _trainable(self) -> Perceptron:
        """Return the network of a fitted estimator for further training.

        The network has the estimator's current parameters and its current `coefs_` and
        `intercepts_`, which the user may have modified.
        """
        coefs, intercepts = self.coefs_, self.intercepts_
        architecture = architecture_of(self, sizes_of(coefs), self.out_activation_)
        network: Perceptron | None = self.__dict__.get("_network")
        if network is None or network.architecture != architecture:
            before, dtype = network, np.dtype(np.asarray(coefs[0]).dtype)
            if dtype.char not in "fd":
                dtype = np.dtype(np.float64)
            network = Perceptron(architecture, dtype)
            if before is not None and before.architecture.sizes == architecture.sizes:
                if before.architecture.normalization == architecture.normalization:
                    network.restore(before.state())
                else:
                    self._forget()
            self._network = network
        network.take(coefs, intercepts)
        self.coefs_, self.intercepts_ = list(network.coefs), list(network.intercepts)
        return network

    def _fitted(self) -> Perceptron:
        """Return the network for predictions, with the current `coefs_` and `intercepts_`."""
        network: Perceptron | None = self.__dict__.get("_network")
        if network is None or network.architecture.sizes != sizes_of(self.coefs_):
            return self._trainable()
        network.take(self.coefs_, self.intercepts_)
        return network

    # ---- pickles and files -----------------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        network = self.__dict__.get("_network")
        if network is not None:
            # The pickle contains copies of the views. Replace them with views again.
            network.take(self.coefs_, self.intercepts_)
            self.coefs_, self.intercepts_ = list(network.coefs), list(network.intercepts)

    def save(self, path: str | os.PathLike[str], include_optimizer: bool = True) -> None:
        """Write a fitted estimator to a file for `nnfast.load_model`, without using pickle.

        The file holds the parameters, the weights, the attributes, the optimizer's state and the
        position in the random streams, so that a later `partial_fit` gives bit-identical results.
        An existing file is replaced atomically. Callbacks are left out, with a warning.

        Parameters
        ----------
        path : str or path-like
            Any file name.
        include_optimizer : bool, default True
            False leaves out the optimizer's state; the loaded estimator can predict.

        Raises
        ------
        ValueError
            If `random_state` is neither None nor an integer, or a class is neither a string nor a
            number. Also if the solver or parameters of the network (including `alpha` and
            `dropout`) were changed after `fit`, or the estimator is an instance of a subclass.
        OSError
            If the file cannot be written.
        """
        path = checks.file_name("path", path)
        include_optimizer = checks.flag("include_optimizer", include_optimizer)
        check_is_fitted(self)
        container.write(path, *self._contents(include_optimizer))
        if self.callbacks:
            checks.warn("The callbacks of an estimator are not saved")

    def _contents(self, include_optimizer: bool) -> Contents:
        """Return the contents of a file, once an estimator is known to be restorable from them."""
        if "_saved_as" not in vars(type(self)):
            raise ValueError(
                f"only {' and '.join(CLASS_NAMES)} can be saved; received an object of their "
                f"subclass {type(self).__name__}"
            )
        network = self._fitted()
        if self.solver in STOCHASTIC and not hasattr(self, "_no_improvement_count"):
            raise ValueError("solver is not that of the last fit: fit again")
        sizes, output = network.architecture.sizes, self.out_activation_
        if hidden_units(self) != list(sizes[1:-1]) or (
            architecture_of(self, sizes, output) != network.architecture
            or self._output_activation() != output
        ):
            raise ValueError("parameters of the network are not those of the last fit: fit again")
        names = [name for name in (*COUNTS, *NUMBERS, *CURVES) if hasattr(self, name)]
        state = State(
            class_name=self._saved_as,
            params=self.get_params(deep=False),
            attributes={name: getattr(self, name) for name in names},
            features=getattr(self, "feature_names_in_", None),
            classes=self._saved_classes(),
            network=network,
            rate=self.__dict__.get("_optimizer"),
            best=self.__dict__.get("_best_weights"),
        )
        return contents(state, include_optimizer)

    # ---- training --------------------------------------------------------------------------------

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        incremental: bool = False,
        validation: tuple[Any, Any, Any] = (None, None, None),
    ) -> Self:
        hidden = hidden_units(self)
        callbacks = callbacks_of(self)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._check_data(X, y, incremental, first)
        if self.solver in STOCHASTIC:
            arrays.check_order("X", X.shape[0])
        weight = self._checked_weight(sample_weight, X)
        weight = self._weights(y, weight)
        self.n_outputs_ = self._count_outputs(y)
        sizes = [X.shape[1], *hidden, self.n_outputs_]
        self._random_state = check_random_state(self.random_state)
        network = self._initialize(sizes, X.dtype) if first else self._continued(sizes)
        self._objective(network.dtype).configure(network.engine)
        network.network.set_n_threads(self.n_threads)
        if self.solver in STOCHASTIC:
            self._fit_stochastic(network, X, y, weight, incremental, validation, callbacks)
        else:
            self._fit_lbfgs(network, X, y, weight)
        if not np.isfinite(network.engine.weights).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _samples(self, network: Perceptron, X: Any, y: Any, weight: Any) -> Samples:
        """Return the checked data as Samples."""
        rows, targets = arrays.readable(X, network.dtype), self._targets(y, network.dtype)
        return Samples([rows], [targets], [weight])

    def _checked_weight(self, sample_weight: Any, X: Any) -> NDArray[np.float64] | None:
        if sample_weight is None:
            return None
        return np.require(check_sample_weight(sample_weight, X), np.float64, ("C", "A"))

    def _fit_lbfgs(self, network: Perceptron, X: Any, y: Any, weight: Any) -> None:
        rows = self._samples(network, X, y, weight)
        self._forget()
        network.trainer = None
        self.loss_, self.n_iter_ = lbfgs.minimize(
            network,
            rows,
            alpha=self.alpha,
            tol=self.tol,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            verbose=int(self.verbose),
        )

    def _loss_grad_lbfgs(
        self, packed: Array, X: Any, y: Any, sample_weight: Any = None, *_: Any
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the objective and its gradient at the parameters `packed`; y has two axes."""
        network = self._fitted()
        if isinstance(sample_weight, list):  # scikit-learn 1.6 passes its activations here
            sample_weight = None
        targets = np.require(y, network.dtype, ("C", "A"))
        rows = Samples([arrays.readable(X, network.dtype)], [targets], [sample_weight])
        return lbfgs.objective(network, rows, self.alpha)(packed)

    def _fit_stochastic(
        self,
        network: Perceptron,
        X: Any,
        y: Any,
        weight: NDArray[np.float64] | None,
        incremental: bool,
        validation: tuple[Any, Any, Any],
        callbacks: CallbackList,
    ) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        trainer = self._resume(network, incremental)
        rows = self._samples(network, X, y, weight)
        own, held_out = self._validation_rows(network, *validation), None
        if own is not None:
            held_out = Validation(own, own.data(), self._score_rows, user_supplied=True)
            self.validation_loss_curve_ = []
        elif self.early_stopping:
            rows, split_off = self._split(rows)
            held_out = Validation(
                split_off, split_off.data(), self._score_rows, user_supplied=False
            )
        if self.shuffle or any(network.architecture.dropout):
            network.network.set_seed(int(self._random_state.randint(np.iinfo(np.int32).max)))
        Training(
            Watched(self, network, self._contents),
            Steps(trainer, restores=False),
            self._optimizer,
            rows,
            held_out,
            settings_of(self, incremental),
            self,
            callbacks,
        ).run()

    def _validation_rows(
        self, network: Perceptron, X_val: Any, y_val: Any, weight: Any
    ) -> Samples | None:
        """Return the user's checked validation data, or None if the user passed none."""
        if X_val is None:
            if y_val is not None or weight is not None:
                raise ValueError("y_val and sample_weight_val need X_val")
            return None
        if y_val is None:
            raise ValueError("X_val needs y_val")
        X_val, y_val = self._check_data(X_val, y_val, True, False)
        weight = self._weights(y_val, self._checked_weight(weight, X_val))
        return self._samples(network, X_val, y_val, weight)

    def _split(self, rows: Samples) -> tuple[Samples, Samples]:
        """Return training and validation rows for early stopping, split as in scikit-learn."""
        train, held_out = train_test_split(
            np.arange(len(rows)),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=self._strata(rows.y[0]),
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return rows.subset(train), rows.subset(held_out)

    def _strata(self, targets: Array) -> Array | None:
        """Return the labels by which the split is stratified, or None for a random split."""
        return None

    def _score_rows(self, network: Perceptron, rows: Samples) -> float:
        outputs = network.outputs(rows.x[0])
        if not np.isfinite(outputs).all():
            return float("nan")
        return self._score_outputs(outputs, rows.y[0], rows.weights[0])

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train the estimator.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
        y : array-like, (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like, (n_samples,), optional
        X_val, y_val, sample_weight_val : optional
            Validation data. `validation_loss_curve_` records their loss after each epoch, and
            early stopping uses them instead of holding out rows of X.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val))

    @classmethod
    def from_sklearn(cls, fitted: Any) -> Self:
        """Return an estimator with the parameters and weights of a fitted scikit-learn estimator.

        It makes the same predictions, and `partial_fit` continues its training.

        Parameters
        ----------
        fitted : sklearn.neural_network.MLPClassifier or MLPRegressor
            A fitted estimator whose class has the same name as this class.

        Raises
        ------
        TypeError
            If the class of `fitted` has another name.
        sklearn.exceptions.NotFittedError
            If `fitted` is not fitted.
        """
        if type(fitted).__name__ != cls.__name__:
            raise TypeError(
                f"{cls.__name__}.from_sklearn takes scikit-learn's {cls.__name__}; received "
                f"{type(fitted).__name__}"
            )
        estimator = cls(**fitted.get_params(deep=False))
        estimator.__dict__.update(convert.learned_attributes(fitted))
        network = estimator._trainable()
        estimator._best_weights = network.engine.weights.copy()
        fitted_optimizer = getattr(fitted, "_optimizer", None)
        if fitted_optimizer is not None:
            estimator._optimizer = optimizer_of(estimator)
            optimizer = estimator._optimizer.optimizer
            network.start(optimizer)
            convert.import_optimizer(fitted_optimizer, optimizer, network.engine)
        return estimator

    def _check_solver(self) -> bool:
        if self.solver not in STOCHASTIC:
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    # ---- prediction ------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        """Return the network's outputs for X, after checking X."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        network = self._fitted()
        network.network.set_n_threads(self.n_threads)
        return network.outputs(arrays.readable(X, network.dtype))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

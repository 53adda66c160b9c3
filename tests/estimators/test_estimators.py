"""Tests that compare the estimators with scikit-learn's MLP, and tests of nnfast's additions."""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.optimize
import sklearn
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import (
    load_digits,
    load_iris,
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nnfast
from nnfast import MLPClassifier, MLPRegressor, _engine, callbacks, optimizers
from nnfast._runtime.steps import Steps
from nnfast.estimators import lbfgs
from nnfast.optimizers import schedules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = ("MLPClassifier", "MLPRegressor")
# Sample weights and the Poisson loss are new in scikit-learn 1.7.
MODERN = "loss" in inspect.signature(neural_network.MLPRegressor).parameters
N = 250


def _data() -> dict[str, tuple[str, np.ndarray, np.ndarray, dict[str, Any]]]:
    rng = np.random.default_rng(0)
    x3, y3 = make_classification(N, 12, n_informative=6, n_classes=3, random_state=0)
    x2, y2 = make_classification(N, 12, random_state=0)
    xl, yl = make_multilabel_classification(N, 12, random_state=0)
    xr, yr = make_regression(N, 12, random_state=0)
    xo, yo = make_regression(N, 12, n_targets=3, random_state=0)
    counts = rng.poisson(np.exp(0.3 * xr[:, 0])).astype(float)
    return {
        "multiclass": ("MLPClassifier", x3, y3, {}),
        "binary": ("MLPClassifier", x2, y2, {}),
        "multilabel": ("MLPClassifier", xl, yl, {}),
        "one output": ("MLPRegressor", xr, yr / yr.std(), {}),
        "several outputs": ("MLPRegressor", xo, yo / yo.std(), {}),
        "poisson": ("MLPRegressor", xr, counts, {"loss": "poisson"}),
    }


DATA = _data()
COMPARED = [name for name in DATA if MODERN or name != "poisson"]
WEIGHTS = np.random.default_rng(1).uniform(0.2, 3.0, N)
SOLVERS = [
    {"solver": "adam"},
    {"solver": "adam", "batch_size": 32},
    {"solver": "sgd", "momentum": 0},
    *(
        {
            "solver": "sgd",
            "learning_rate": policy,
            "learning_rate_init": 0.01,
            "nesterovs_momentum": nesterov,
            "n_iter_no_change": 2,
            "tol": 0.05,
        }
        for policy in ("constant", "invscaling", "adaptive")
        for nesterov in (True, False)
    ),
]


def both(kind: str, **params: Any) -> tuple[Any, Any]:
    """Return scikit-learn's estimator and nnfast's."""
    return getattr(neural_network, kind)(**params), getattr(nnfast, kind)(**params)


def fit_both(models: tuple[Any, Any], x: Any, y: Any, weight: Any = None) -> None:
    """Fit scikit-learn's estimator and nnfast's."""
    for model in models:
        model.fit(x, y, *(() if weight is None else (weight,)))


# ---- results equal to scikit-learn's -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_constructor_starts_with_the_parameters_of_scikit_learn(kind):
    expected, found = (
        list(inspect.signature(getattr(module, kind)).parameters.values())
        for module in (neural_network, nnfast)
    )
    if not MODERN and kind == "MLPRegressor":
        assert found.pop(0).name == "loss"
    seen = [(p.name, p.default, p.kind) for p in found[: len(expected)]]
    assert seen == [(p.name, p.default, p.kind) for p in expected]


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("data", COMPARED)
def test_loss_curves_equal_those_of_scikit_learn(data, activation):
    kind, x, y, params = DATA[data]
    for solver in SOLVERS:
        for weight in (None, WEIGHTS)[: 1 + MODERN]:
            a, b = both(
                kind,
                activation=activation,
                alpha=0.3,
                shuffle=False,
                random_state=3,
                max_iter=15,
                **params,
                **solver,
            )
            fit_both((a, b), x, y, weight)
            np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=0, atol=1e-8)
            assert (a.n_iter_, a.t_, a.n_outputs_) == (b.n_iter_, b.t_, b.n_outputs_)
            assert a.out_activation_ == b.out_activation_
            np.testing.assert_allclose(b.best_loss_, a.best_loss_, atol=1e-8)
            np.testing.assert_allclose(b.predict(x), a.predict(x), atol=1e-8)


@pytest.mark.parametrize("data", COMPARED)
@pytest.mark.parametrize("weighted", [False, True][: 1 + MODERN])
def test_weights_equal_those_of_scikit_learn_after_a_long_run(data, weighted):
    kind, x, y, params = DATA[data]
    a, b = both(kind, shuffle=False, random_state=0, max_iter=80, early_stopping=True, **params)
    weight = WEIGHTS if weighted else None
    fit_both((a, b), x, y, weight)
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, atol=1e-7)
    np.testing.assert_allclose(b.validation_scores_, a.validation_scores_, atol=1e-7)
    assert b.best_validation_score_ == pytest.approx(a.best_validation_score_, abs=1e-7)
    assert b.best_loss_ is None
    for mine, other in zip(b.coefs_ + b.intercepts_, a.coefs_ + a.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-7)


@pytest.mark.parametrize("activation", ["relu", "logistic"])
def test_networks_without_hidden_layers_train_like_those_of_scikit_learn(activation):
    for kind, x, y, params in (DATA[name] for name in COMPARED):
        models = both(
            kind, hidden_layer_sizes=(), activation=activation, shuffle=False, random_state=0,
            max_iter=10, **params,
        )  # fmt: skip
        fit_both(models, x, y)
        np.testing.assert_allclose(models[1].loss_curve_, models[0].loss_curve_, atol=1e-8)


def test_losses_of_badly_scaled_data_equal_those_of_scikit_learn():
    """Both libraries clip probabilities, which bounds the loss of a row."""
    x, y = load_iris(return_X_y=True)
    # scikit-learn rounds probabilities near 1 before it takes their logarithm.
    for labels, tolerance in ((y, 1e-8), (y == 1, 1e-3)):
        a, b = both("MLPClassifier", shuffle=False, random_state=0, max_iter=10)
        a.fit(1000 * x, labels)
        b.fit(1000 * x, labels)
        assert a.loss_curve_[0] > 5
        np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=tolerance)


def first_lbfgs_evaluation(estimator, x, y, weight, monkeypatch):
    """Return the parameters, the loss and the gradient at the first evaluation."""
    seen = []

    def minimize(function, start, *_, args=(), **__):
        theta = np.array(start)
        seen.append((theta, *(np.array(part) for part in function(start, *args))))
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(scipy.optimize, "minimize", minimize)
        with pytest.raises(KeyError):
            estimator.fit(x, y, *(() if weight is None else (weight,)))
    return seen[0]


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("data", COMPARED)
def test_lbfgs_starts_with_the_loss_and_gradient_of_scikit_learn(data, activation, monkeypatch):
    kind, x, y, params = DATA[data]
    for weight in (None, WEIGHTS)[: 1 + MODERN]:
        firsts = [
            first_lbfgs_evaluation(estimator, x, y, weight, monkeypatch)
            for estimator in both(
                kind, solver="lbfgs", activation=activation, alpha=0.3, random_state=1, **params
            )
        ]
        for a, b in zip(*firsts, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("data", COMPARED)
def test_lbfgs_converges_to_the_loss_of_scikit_learn(data):
    kind, x, y, params = DATA[data]
    a, b = both(
        kind, solver="lbfgs", alpha=3.0, tol=1e-6, random_state=2, max_iter=2000,
        hidden_layer_sizes=5, activation="tanh", **params,
    )  # fmt: skip
    a.fit(x, y)
    b.fit(x, y)
    assert b.loss_ == pytest.approx(a.loss_, abs=1e-4)
    assert not hasattr(b, "partial_fit")


def test_scores_with_shuffling_agree_with_scikit_learn_within_noise():
    x, y = load_digits(return_X_y=True)
    x = x / 16
    scores = []
    for module in (neural_network, nnfast):
        scores.append(
            [
                module.MLPClassifier(20, max_iter=15, random_state=seed)
                .fit(x[:400], y[:400])
                .score(x[400:], y[400:])
                for seed in range(20)
            ]
        )
    a, b = np.array(scores)
    error = np.sqrt(a.var(ddof=1) / 20 + b.var(ddof=1) / 20)
    assert abs(a.mean() - b.mean()) < 4 * error


def test_error_messages_name_the_invalid_parameter():
    x, y = load_iris(return_X_y=True)
    for name, value in {
        "hidden_layer_sizes": -1,
        "solver": "newton",
        "activation": "rleu",
        "dropout": 1.0,
        "normalization": "group",
        "label_smoothing": 2,
        "class_weight": "even",
        "n_threads": 0,
        "optimizer": "adamx",
    }.items():
        with pytest.raises(ValueError, match=name):
            MLPClassifier(**{name: value}).fit(x, y)
    for params, match in (
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
        ({"hidden_layer_sizes": (3, 3), "activation": ["relu"]}, "activation must be one"),
        ({"hidden_layer_sizes": (3, 3), "dropout": [0.1]}, "dropout must be one rate"),
        ({"solver": "lbfgs", "dropout": 0.5}, "neither dropout nor"),
    ):
        with pytest.raises(ValueError, match=match):
            MLPClassifier(**params).fit(x, y)
    with pytest.raises(ValueError, match="y >= 0"):
        MLPRegressor("poisson").fit(x, -x[:, 0])


# ---- state ---------------------------------------------------------------------------------------


def test_writing_to_coefs_changes_the_network():
    kind, x, y, _ = DATA["several outputs"]
    model = getattr(nnfast, kind)(hidden_layer_sizes=(4, 5), max_iter=3, random_state=0).fit(x, y)
    before = model.predict(x)
    model.coefs_[1][:] *= 2
    assert not np.allclose(before, model.predict(x))
    model.coefs_[1] = model.coefs_[1] / 2
    np.testing.assert_allclose(model.predict(x), before)
    model.intercepts_[-1] = np.zeros(3)
    model.coefs_[-1] = np.zeros((5, 3))
    assert (model.predict(x) == 0).all()
    model.partial_fit(x, y)
    assert (model.coefs_[-1] != 0).any()


def test_a_second_fit_does_not_write_to_the_arrays_of_the_first():
    kind, x, y, _ = DATA["binary"]
    model = getattr(nnfast, kind)(hidden_layer_sizes=5, max_iter=2, random_state=0).fit(x, y)
    first, copies = model.coefs_, [coef.copy() for coef in model.coefs_]
    model.fit(x, y)
    for a, b, c in zip(first, copies, model.coefs_, strict=True):
        assert (a == b).all()
        assert (b == c).all()
        assert a is not c


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
@pytest.mark.parametrize(
    "params",
    [{}, {"solver": "sgd"}, {"normalization": "batch", "dropout": 0.3}, {"optimizer": "nadam"}],
    ids=str,
)
def test_copies_and_unpickled_estimators_continue_training_alike(how, params):
    kind, x, y, _ = DATA["multiclass"]
    model = getattr(nnfast, kind)(hidden_layer_sizes=7, random_state=0, **params)
    for _ in range(3):
        model.partial_fit(x, y, classes=[0, 1, 2])
    other = pickle.loads(pickle.dumps(model)) if how == "pickle" else copy.deepcopy(model)
    assert (model.predict_proba(x) == other.predict_proba(x)).all()
    other.coefs_[0][0, 0] += 1
    assert (model.predict_proba(x) != other.predict_proba(x)).any()
    other.coefs_[0][0, 0] = model.coefs_[0][0, 0]
    for either in (model, other):
        either.partial_fit(x, y)
    assert (model.predict_proba(x) == other.predict_proba(x)).all()
    assert model.loss_curve_ == other.loss_curve_
    assert clone(model).get_params() == model.get_params()


def test_partial_fit_applies_a_new_alpha_and_keeps_the_moments_of_adam():
    kind, x, y, _ = DATA["one output"]
    models = both(kind, hidden_layer_sizes=6, shuffle=False, random_state=0)
    for model in models:
        for alpha in (0.0, 1.0, 5.0):
            model.set_params(alpha=alpha)
            model.partial_fit(x, y)
            model.partial_fit(x, y)
    np.testing.assert_allclose(models[1].loss_curve_, models[0].loss_curve_, atol=1e-10)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_warm_starts_continue_like_those_of_scikit_learn(solver):
    kind, x, y, _ = DATA["multiclass"]
    models = both(
        kind, solver=solver, hidden_layer_sizes=6, shuffle=False, random_state=0,
        max_iter=5, warm_start=True, alpha=1.0,
    )  # fmt: skip
    for model in models:
        for _ in range(3):
            model.fit(x, y)
    np.testing.assert_allclose(models[1].coefs_[0], models[0].coefs_[0], atol=1e-6)
    models[1].set_params(hidden_layer_sizes=7)
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        models[1].fit(x, y)


@pytest.mark.parametrize("params", [{}, {"solver": "sgd"}, {"solver": "lbfgs"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_estimators_converted_from_scikit_learn_predict_and_train_alike(kind, params):
    _, x, y, _ = next(data for data in DATA.values() if data[0] == kind)
    a = getattr(neural_network, kind)(
        hidden_layer_sizes=8, max_iter=10, shuffle=False, random_state=0, **params
    ).fit(x, y)
    b = getattr(nnfast, kind).from_sklearn(a)
    np.testing.assert_allclose(b.predict(x), a.predict(x), atol=1e-12)
    assert b.n_iter_ == a.n_iter_
    if params.get("solver") != "lbfgs":
        for _ in range(3):
            a.partial_fit(x, y)
            b.partial_fit(x, y)
        np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, atol=1e-10)
    other = KINDS[1 - KINDS.index(kind)]
    with pytest.raises(TypeError, match="from_sklearn takes"):
        getattr(nnfast, other).from_sklearn(a)


def test_results_do_not_depend_on_the_number_of_threads():
    kind, x, y, _ = DATA["multilabel"]
    found = []
    for threads in (1, 2, 3):
        _engine.force_threads(threads)
        try:
            model = getattr(nnfast, kind)(
                hidden_layer_sizes=(30, 20), max_iter=4, random_state=0, alpha=0.1
            )
            found.append(model.fit(x, y, WEIGHTS).predict_proba(x))
            assert model.loss_curve_
        finally:
            _engine.force_threads(0)
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_n_threads_applies_to_one_estimator_only(solver):
    kind, x, y, _ = DATA["binary"]
    x, y = np.tile(x, (40, 1)), np.tile(y, 40)
    before, teams = nnfast.get_num_threads(), []
    for n_threads in (1, None, 2):
        model = getattr(nnfast, kind)(
            hidden_layer_sizes=300, max_iter=1, n_threads=n_threads, batch_size=5000, solver=solver
        ).fit(x, y)
        engine = model._network.engine
        teams.append(engine.team)  # The number of threads that ran the epochs; 0 for L-BFGS.
        assert engine.n_threads == (n_threads or 0)
        model.set_params(n_threads=1).predict(x)
        assert engine.n_threads == 1
    assert teams == ([1, before, min(2, before)] if solver == "adam" else [0, 0, 0])
    assert nnfast.get_num_threads() == before


# ---- input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_x_trains_exactly_like_dense_x(form, solver, dtype):
    for kind, x, y, params in DATA.values():
        x = np.where(np.abs(x) > 1, x, 0).astype(dtype)
        model = getattr(nnfast, kind)(
            hidden_layer_sizes=6,
            solver=solver,
            max_iter=6,
            batch_size=32,
            random_state=0,
            early_stopping=solver == "adam",
            **params,
        )
        on_dense = clone(model).fit(x, y, WEIGHTS)
        on_sparse = clone(model).fit(form(x), y, WEIGHTS)
        assert on_sparse.loss_ == on_dense.loss_
        assert (on_sparse.predict(form(x)) == on_dense.predict(x)).all()


def test_predictions_do_not_depend_on_the_layout_of_sparse_x():
    kind, x, y, _ = DATA["multiclass"]
    x = np.where(np.abs(x) > 1, x, 0)
    model = getattr(nnfast, kind)(hidden_layer_sizes=6, max_iter=3, random_state=0).fit(x, y)
    expected = model.predict_proba(x)
    plain = sparse.csr_array(x)
    with_duplicates = sparse.csr_array(
        (np.repeat(plain.data / 2, 2), np.repeat(plain.indices, 2), 2 * plain.indptr), x.shape
    )
    with_int64 = sparse.csr_array(plain)
    with_int64.indices = with_int64.indices.astype(np.int64)
    with_int64.indptr = with_int64.indptr.astype(np.int64)
    unsorted = plain[:, ::-1][:, ::-1]
    for rows in (plain, with_duplicates, with_int64, unsorted):
        np.testing.assert_allclose(model.predict_proba(rows), expected, rtol=1e-12)
    counts = sparse.csr_array(np.abs(x).astype(np.int32))
    np.testing.assert_array_equal(
        model.predict_proba(counts), model.predict_proba(counts.toarray().astype(float))
    )


def test_the_engine_refuses_sparse_rows_with_invalid_row_pointers():
    rows = sparse.csr_array(np.eye(3))
    for name, value in (
        ("indptr", [0, 1, 2]),
        ("indptr", [0, 2, 1, 3]),
        ("indptr", [-1, 1, 2, 3]),
        ("indptr", [0, 1, 2, 4]),
        ("data", np.ones(2)),
    ):
        broken = sparse.csr_array(rows)
        setattr(broken, name, np.array(value))
        with pytest.raises(ValueError, match="sparse rows"):
            _engine.Data(broken)


def with_indices(rows, name, value, dtype=None):
    """Return a copy of rows in which one entry of `indices` or `indptr` is replaced."""
    broken = rows.copy()
    changed = getattr(broken, name).astype(dtype or getattr(broken, name).dtype)
    changed[1] = value
    setattr(broken, name, changed)
    return broken


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        ("indices", 4, None),
        ("indices", -1, None),
        ("indices", 2**31 - 1, None),
        ("indices", -(2**31), None),
        ("indices", 2**32, np.int64),  # Truncated to 32 bits, this is 0.
        ("indptr", 3, None),  # The next entry is 2, so the pointers decrease.
        ("indptr", -1, None),
        ("indptr", 2**32 + 1, np.int64),
    ],
)
def test_sparse_indices_outside_the_matrix_are_refused(form, name, value, dtype):
    rows, y = sparse.csr_array(np.eye(4)), np.arange(4.0)
    model = MLPRegressor(hidden_layer_sizes=2, max_iter=1).fit(rows, y)
    before = [coef.copy() for coef in model.coefs_]
    for call in (
        lambda x: model.fit(x, y),
        lambda x: model.partial_fit(x, y),
        lambda x: model.fit(rows, y, X_val=x, y_val=y),
        lambda x: clone(model).set_params(solver="lbfgs").fit(x, y),
        model.predict,
        lambda x: model.score(x, y),
    ):
        model.set_params(warm_start=True)
        broken = with_indices(form(rows), name, value, dtype)
        unchanged = getattr(broken, name).copy()
        with pytest.raises(ValueError, match=r"ind(ex|ices|ptr)|sparse rows"):
            call(broken)
        np.testing.assert_array_equal(getattr(broken, name), unchanged)
    for coef, old in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(coef, old)


def test_the_error_message_names_the_range_of_the_column_indices():
    broken = with_indices(sparse.csr_array(np.eye(4)), "indices", 7)
    with pytest.raises(ValueError, match=r"column indices must be from 0 to 3; .* from 0 to 7"):
        _engine.Data(broken)


def test_column_indices_past_the_last_row_are_ignored():
    """SciPy allows `indices` and `data` to be longer than the number of stored elements."""
    longer = sparse.csr_array(np.eye(3))
    longer.indices, longer.data = np.r_[longer.indices, 99], np.r_[longer.data, 5.0]
    model = MLPRegressor(hidden_layer_sizes=2, max_iter=1).fit(np.eye(3), np.ones(3))
    out = np.empty((3, 1))
    model._network.engine.forward(_engine.Data(longer), out)
    np.testing.assert_array_equal(out[:, 0], model.predict(np.eye(3)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sparse_x_is_never_converted_to_a_dense_matrix():
    program = (
        "import numpy as np, nnfast, warnings; warnings.simplefilter('ignore')\n"
        "from scipy import sparse\n"
        "n, features = 1500, 50000  # 600 MB as float64\n"
        "columns = np.random.default_rng(0).integers(0, features, 5 * n)\n"
        "starts = np.arange(0, 5 * n + 1, 5)\n"
        "x = sparse.csr_array((np.ones(5 * n), columns, starts), (n, features))\n"
        "for solver in ('adam', 'lbfgs'):\n"
        "    m = nnfast.MLPClassifier(2, solver=solver, max_iter=1, batch_size=10)\n"
        "    m.fit(x, np.arange(n) % 2).predict(x)\n"
        # VmHWM is read instead of ru_maxrss, which starts at the parent's value.
        "lines = open('/proc/self/status').read().splitlines()\n"
        "peak = next(line for line in lines if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 450


def test_float32_stays_float32_and_feature_names_are_remembered():
    pandas = pytest.importorskip("pandas")
    kind, x, y, _ = DATA["one output"]
    model = getattr(nnfast, kind)(hidden_layer_sizes=5, max_iter=2).fit(x.astype(np.float32), y)
    assert {a.dtype for a in [*model.coefs_, *model.intercepts_]} == {np.dtype(np.float32)}
    assert model.predict(x.astype(np.float32)).dtype == np.float32
    frame = pandas.DataFrame(x, columns=[f"f{i}" for i in range(12)])
    named = getattr(nnfast, kind)(hidden_layer_sizes=5, max_iter=2).fit(frame, y)
    assert list(named.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        named.predict(frame.rename(columns={"f0": "other"}))


def test_polars_frames_and_series_are_accepted():
    polars = pytest.importorskip("polars")
    kind, x, y, _ = DATA["multiclass"]
    frame = polars.DataFrame(x, schema=[f"f{i}" for i in range(12)])
    labels = polars.Series(np.array(["a", "b", "c"])[y])
    model = getattr(nnfast, kind)(hidden_layer_sizes=5, max_iter=50, random_state=0).fit(
        frame, labels
    )
    assert list(model.feature_names_in_) == frame.columns
    assert set(model.predict(frame)) <= {"a", "b", "c"}


def test_the_prediction_of_a_row_does_not_depend_on_the_other_rows():
    kind, x, y, _ = DATA["multiclass"]
    model = getattr(nnfast, kind)(hidden_layer_sizes=(9, 7), max_iter=3).fit(x, y)
    whole = model.predict_proba(x)
    for rows in (slice(0, 1), slice(3, 8), slice(100, 101), slice(17, 230)):
        np.testing.assert_allclose(model.predict_proba(x[rows]), whole[rows], rtol=1e-13)


# ---- scikit-learn's tools ------------------------------------------------------------------------


def test_scikit_learns_tools_accept_the_classifier():
    kind, x, y, _ = DATA["binary"]
    model = getattr(nnfast, kind)(8, max_iter=100, learning_rate_init=0.01, random_state=0)
    piped = make_pipeline(StandardScaler(), model)
    search = GridSearchCV(piped, {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=2, n_jobs=2).fit(x, y)
    assert search.best_score_ > 0.8
    assert cross_val_score(piped, x, y, cv=3).min() > 0.7
    assert CalibratedClassifierCV(piped, cv=2).fit(x, y).score(x, y) > 0.8
    voting = VotingClassifier([("a", piped), ("b", clone(model))], voting="soft").fit(x, y)
    assert voting.score(x, y) > 0.8
    fitted = clone(piped).fit(x, y)
    assert permutation_importance(fitted, x, y, n_repeats=2).importances_mean.max() > 0.05
    assert partial_dependence(fitted, x, [0])["average"].shape[0] == 1
    assert "MLPClassifier" in fitted._repr_html_()


def test_metadata_routing_passes_sample_weights_on():
    kind, x, y, _ = DATA["binary"]
    with sklearn.config_context(enable_metadata_routing=True):
        model = getattr(nnfast, kind)(5, max_iter=3, random_state=0)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"alpha": [0.1]}, cv=2).fit(x, y, sample_weight=WEIGHTS)
        plain = clone(model).set_params(alpha=0.1).fit(x, y, WEIGHTS)
        assert search.best_estimator_.loss_ == plain.loss_


def test_several_threads_can_predict_at_the_same_time():
    kind, x, y, _ = DATA["multiclass"]
    model = getattr(nnfast, kind)(hidden_layer_sizes=(9, 7), max_iter=3).fit(x, y)
    whole, wrong = model.predict_proba(x), []

    def predict():
        for _ in range(50):
            if (model.predict_proba(x) != whole).any():
                wrong.append(1)

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- additions to scikit-learn's estimators ------------------------------------------------------


def test_class_weight_multiplies_sample_weights():
    kind, x, y, _ = DATA["multiclass"]
    y = np.where(y == 2, 2, 0) + (np.arange(N) % 50 == 0) * (y != 2)

    def build(**params):
        return getattr(nnfast, kind)(hidden_layer_sizes=5, max_iter=5, random_state=0, **params)

    counts = np.bincount(y, minlength=3)
    balanced = (N / (3 * counts))[y]
    a = build(class_weight="balanced").fit(x, y, WEIGHTS)
    assert a.loss_ == build().fit(x, y, WEIGHTS * balanced).loss_
    names = np.array(["x", "y", "z"])[y]
    b = build(class_weight={"x": 3.0}).fit(x, names)
    assert b.loss_ == build().fit(x, y, np.where(y == 0, 3.0, 1.0)).loss_
    with pytest.raises(ValueError, match="class_weight"):
        build(class_weight="balanced").partial_fit(x, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="class_weight"):
        build(class_weight="balanced").fit(*DATA["multilabel"][1:3])


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "log_cosh", "quantile"])
def test_robust_losses_are_less_sensitive_to_outliers_than_squared_error(loss):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 1))
    y = 2 * x[:, 0]
    y[::10] += 100
    params = {"max_iter": 400, "learning_rate_init": 0.01, "random_state": 0, "alpha": 0}
    model = MLPRegressor(loss, 20, **params).fit(x, y)
    assert np.abs(np.delete(model.predict(x) - y, np.s_[::10])).mean() < 0.6
    square = MLPRegressor(hidden_layer_sizes=20, **params).fit(x, y)
    assert np.abs(np.delete(square.predict(x) - y, np.s_[::10])).mean() > 2


def test_one_model_predicts_several_quantiles():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(2000, 1))
    y = (1 + x[:, 0]) * rng.standard_normal(2000)
    levels = [0.1, 0.5, 0.9]
    model = MLPRegressor(
        "quantile", 20, quantile=levels, max_iter=100, learning_rate_init=0.01, random_state=0
    ).fit(x, y)
    found = (y[:, None] < model.predict(x)).mean(axis=0)
    np.testing.assert_allclose(found, levels, atol=0.04)
    assert model.score(x, y) < 0.2
    with pytest.raises(ValueError, match="one column"):
        clone(model).fit(x, np.c_[y, y])
    with pytest.raises(ValueError, match="quantile"):
        clone(model).set_params(quantile=[0.5, 1.5]).fit(x, y)


def test_activations_dropout_and_normalization_can_be_chosen_per_layer():
    kind, x, y, _ = DATA["multiclass"]
    for params in (
        {"activation": ["gelu", "tanh"]},
        {"activation": nnfast.activations.mish},
        {"activation": "silu", "dropout": [0.2, 0.1]},
        {"normalization": "layer"},
        {"normalization": "batch", "dropout": 0.2, "batch_size": 50},
    ):
        model = getattr(nnfast, kind)(
            hidden_layer_sizes=(24, 16), max_iter=200, random_state=0, **params
        ).fit(x, y)
        assert model.score(x, y) > 0.75, params
        assert [coef.shape for coef in model.coefs_] == [(12, 24), (24, 16), (16, 3)]
        again = clone(model).fit(x, y)
        assert (again.predict_proba(x) == model.predict_proba(x)).all()


def test_label_smoothing_lowers_the_confidence_of_predictions():
    kind, x, y, _ = DATA["multiclass"]
    plain, smooth = (
        getattr(nnfast, kind)(
            hidden_layer_sizes=50, max_iter=300, random_state=0, label_smoothing=s
        ).fit(x, y)
        for s in (0.0, 0.3)
    )
    top = [model.predict_proba(x).max(axis=1).mean() for model in (plain, smooth)]
    assert top[1] < top[0] - 0.05


def test_estimators_train_with_any_optimizer_and_leave_it_unchanged():
    kind, x, y, _ = DATA["multiclass"]
    chosen = (
        "lion",
        optimizers.AdamW(schedules.CosineDecay(0.01, 60), weight_decay=0.01),
        optimizers.SGD(0.1, momentum=0.9, clipnorm=1.0),
        optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    )
    for optimizer in chosen:
        before = repr(optimizer)
        model = getattr(nnfast, kind)(
            hidden_layer_sizes=20,
            max_iter=100,
            random_state=0,
            optimizer=optimizer,
            n_iter_no_change=200,
        ).fit(x, y)
        assert model.score(x, y) > 0.7, optimizer
        assert repr(optimizer) == before
    plain, adam = (
        getattr(nnfast, kind)(hidden_layer_sizes=20, max_iter=5, random_state=0, optimizer=o)
        .fit(x, y)
        .loss_
        for o in (None, optimizers.Adam(0.001, epsilon=1e-8))
    )
    assert plain == adam


def test_user_supplied_validation_data_are_used_for_curves_and_early_stopping():
    kind, x, y, _ = DATA["multiclass"]

    def build(**params):
        return getattr(nnfast, kind)(20, max_iter=30, random_state=0, alpha=0.5, **params)

    model = build().fit(x[:200], y[:200], X_val=x[200:], y_val=y[200:])
    assert len(model.validation_loss_curve_) == model.n_iter_
    rows = np.arange(50)
    expected = -np.log(model.predict_proba(x[200:])[rows, y[200:]]).mean()
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-12)
    assert model.validation_scores_ is None
    weight = WEIGHTS[200:]
    stopped = build(early_stopping=True).fit(
        x[:200], y[:200], X_val=x[200:], y_val=y[200:], sample_weight_val=weight
    )
    assert stopped.t_ == 200 * stopped.n_iter_
    best = stopped.score(x[200:], y[200:], weight)
    assert stopped.best_validation_score_ == pytest.approx(best, rel=1e-12)
    on_sparse = build(early_stopping=True).fit(
        x[:200], y[:200], X_val=sparse.csr_matrix(x[200:]), y_val=y[200:]
    )
    assert on_sparse.validation_loss_curve_[0] > 0
    with pytest.raises(ValueError, match="X_val needs y_val"):
        build().fit(x, y, X_val=x)
    with pytest.raises(ValueError, match="need X_val"):
        build().fit(x, y, y_val=y)
    with pytest.raises(ValueError, match="features"):
        build().fit(x, y, X_val=x[:, :3], y_val=y)


def test_callbacks_are_called_once_per_epoch():
    kind, x, y, _ = DATA["multiclass"]
    logs: list[Any] = []
    log = callbacks.LambdaCallback(on_epoch_end=lambda epoch, values: logs.append((epoch, values)))
    stop = callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    model = getattr(nnfast, kind)(
        hidden_layer_sizes=30,
        max_iter=300,
        learning_rate_init=0.05,
        random_state=0,
        callbacks=[log, stop],
    ).fit(x[:150], y[:150], X_val=x[150:], y_val=y[150:])
    assert [epoch for epoch, _ in logs] == list(range(model.n_iter_))
    assert model.n_iter_ < 100
    assert set(logs[0][1]) == {"loss", "val_loss"}
    assert [values["loss"] for _, values in logs] == model.loss_curve_
    proba = model.predict_proba(x[150:])[np.arange(100), y[150:]]
    assert -np.log(proba).mean() == pytest.approx(min(model.validation_loss_curve_), rel=1e-9)
    batch_level = callbacks.LambdaCallback(on_train_batch_end=lambda batch, values: None)
    with pytest.raises(ValueError, match="callbacks of estimators"):
        getattr(nnfast, kind)(callbacks=[batch_level]).fit(x, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_interrupted_fit_returns_a_usable_model(solver, monkeypatch):
    kind, x, y, _ = DATA["multiclass"]
    calls = []
    where, name = (Steps, "take") if solver == "adam" else (lbfgs, "loss_and_gradient")
    plain = getattr(where, name)

    def interrupted(*args):
        calls.append(name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(where, name, interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = getattr(nnfast, kind)(hidden_layer_sizes=20, solver=solver, random_state=0).fit(
            x, y
        )
    assert 1 <= model.n_iter_ <= 4
    proba = model.predict_proba(x)
    assert np.isfinite(proba).all()
    if solver == "lbfgs":  # The reported loss belongs to the returned weights.
        loss = -np.log(proba[np.arange(len(x)), np.searchsorted(model.classes_, y)]).mean()
        penalty = 0.5 * model.alpha * sum((w**2).sum() for w in model.coefs_) / len(x)
        assert model.loss_ == pytest.approx(loss + penalty, rel=1e-6)


def test_a_non_finite_loss_raises_a_convergence_warning():
    kind, x, y, _ = DATA["one output"]
    diverging = {"solver": "sgd", "learning_rate_init": 1e6, "activation": "identity"}
    with (
        pytest.warns(ConvergenceWarning, match="the loss is not finite"),
        pytest.raises(ValueError, match="non-finite parameter weights"),
    ):
        getattr(nnfast, kind)(**diverging).fit(x, y)


def test_warnings_point_to_the_users_code():
    kind, x, y, _ = DATA["binary"]
    for params in ({"max_iter": 2}, {"max_iter": 2, "solver": "lbfgs"}):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            getattr(nnfast, kind)(hidden_layer_sizes=5, **params).fit(x, y)
        assert [warning.filename for warning in seen] == [__file__]


# ---- the package ---------------------------------------------------------------------------------


def test_without_scikit_learn_the_error_names_the_extra():
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from nnfast import *\n"
        "import nnfast\n"
        "try:\n    nnfast.MLPClassifier\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert "nnfast[sklearn]" in done.stdout


@pytest.mark.parametrize(
    "name",
    [m.name for m in pkgutil.iter_modules(nnfast.estimators.__path__, "nnfast.estimators.")],
)
def test_docstring_examples(name):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(importlib.import_module(name), optionflags=flags).failed == 0


def test_the_example_of_the_estimators_page_runs(capsys):
    text = (Path(__file__).parents[2] / "docs/estimators.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(compile(code, "estimators.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0.9

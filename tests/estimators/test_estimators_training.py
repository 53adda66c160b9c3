"""Tests of the training of estimators: callbacks, warm starts with new parameters, divergence."""

from __future__ import annotations

import contextlib
import copy
import csv
import itertools
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import nnfast
from nnfast import callbacks, optimizers
from nnfast.optimizers import schedules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
TARGETS = {"MLPRegressor": X @ [1.0, -1.0, 2.0, 0.5], "MLPClassifier": np.digitize(X[:, 0], [0.0])}
KINDS = tuple(TARGETS)


def make(kind: str, **params: Any) -> Any:
    params = {
        "hidden_layer_sizes": (6,),
        "max_iter": 4,
        "random_state": 0,
        "shuffle": False,
        "batch_size": 30,
        "learning_rate_init": 0.01,
        **params,
    }
    return getattr(nnfast, kind)(**params)


def assert_same_weights(a: Any, b: Any) -> None:
    for one, two in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_array_equal(one, two)


# ---- callbacks -----------------------------------------------------------------------------------


def checkpoint(kind: str, folder: Path) -> None:
    one = make(kind, callbacks=callbacks.ModelCheckpoint(folder / "m{epoch}-{loss:.3f}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        one.fit(X, TARGETS[kind])
    names = [f"m{i + 1}-{loss:.3f}" for i, loss in enumerate(one.loss_curve_)]
    assert sorted(path.name for path in folder.iterdir()) == names
    for epochs, name in enumerate(names, 1):
        loaded = nnfast.load_model(folder / name)
        assert loaded.callbacks is None
        shorter = make(kind, max_iter=epochs).fit(X, TARGETS[kind])
        for each in (loaded, shorter):
            assert each.loss_curve_ == one.loss_curve_[:epochs]
            each.partial_fit(X, TARGETS[kind]).partial_fit(X, TARGETS[kind])
        assert_same_weights(loaded, shorter)


def early_stopping(kind: str, folder: Path) -> None:
    y = TARGETS[kind]
    stop = callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    one = make(kind, callbacks=[stop], max_iter=200, learning_rate_init=0.3)
    one.fit(X[:30], y[:30], X_val=X[30:], y_val=y[30:])
    curve = one.validation_loss_curve_
    assert one.n_iter_ == len(curve) < 200
    best = int(np.argmin(curve))
    assert (stop.best_epoch, one.n_iter_) == (best, best + 3)
    again = make(kind, max_iter=best + 1, learning_rate_init=0.3).fit(X[:30], y[:30])
    assert_same_weights(one, again)


def history(kind: str, folder: Path) -> None:
    log, y = callbacks.History(), TARGETS[kind]
    one = make(kind, callbacks=[log], early_stopping=True).fit(X, y, X_val=X, y_val=y)
    assert log.epoch == [0, 1, 2, 3]
    assert log.history == {
        "loss": one.loss_curve_,
        "val_loss": one.validation_loss_curve_,
        "val_score": one.validation_scores_,
    }
    one.set_params(warm_start=True, early_stopping=False, max_iter=2).fit(X, y)
    assert log.epochs["loss"] == log.epoch == [0, 1, 2, 3, 0, 1]
    assert log.epochs["val_loss"] == [0, 1, 2, 3]


def csv_logger(kind: str, folder: Path) -> None:
    one = make(kind, callbacks=callbacks.CSVLogger(folder / "log")).fit(X, TARGETS[kind])
    with open(folder / "log", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert [float(row["loss"]) for row in rows] == one.loss_curve_


def scheduler(kind: str, folder: Path) -> None:
    halve = callbacks.LearningRateScheduler(lambda epoch, rate: rate if epoch < 2 else 0.0)
    log = callbacks.History()
    for solver in ("adam", "sgd"):
        params = {"solver": solver, "momentum": 0.0}
        one = make(kind, callbacks=[halve, log], **params).fit(X, TARGETS[kind])
        assert_same_weights(one, make(kind, max_iter=2, **params).fit(X, TARGETS[kind]))
    assert log.history["learning_rate"] == [0.01, 0.01, 0.0, 0.0] * 2


def plateau(kind: str, folder: Path) -> None:
    reduce = callbacks.ReduceLROnPlateau("loss", factor=0.0, patience=1, min_delta=1e9)
    log = callbacks.History()
    one = make(kind, callbacks=[reduce, log]).fit(X, TARGETS[kind])
    assert log.history["learning_rate"] == [0.01, 0.01, 0.0, 0.0]
    assert_same_weights(one, make(kind, max_iter=2).fit(X, TARGETS[kind]))


def on_nan(kind: str, folder: Path) -> None:
    """TerminateOnNaN prints a line instead of the warning. As in scikit-learn, non-finite weights
    raise an error."""
    if kind == "MLPClassifier":
        diverging = {"optimizer": optimizers.SGD(1e300), "alpha": 1.0}
    else:
        diverging = {"solver": "sgd", "learning_rate_init": 1e6, "activation": "identity"}
    seen: list[Any] = []
    log = callbacks.LambdaCallback(
        on_divergence=lambda batch, logs: seen.append(("divergence", batch, logs)),
        on_epoch_end=lambda epoch, logs: seen.append(("epoch", epoch, logs)),
        on_train_end=lambda logs: seen.append(("end", logs)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.simplefilter("error", RuntimeWarning)
        one = make(kind, callbacks=[log, callbacks.TerminateOnNaN()], max_iter=99, **diverging)
        with pytest.raises(ValueError, match="non-finite parameter weights"):
            one.fit(X, TARGETS[kind])
    what, batch, logs = seen[-2]
    assert what == "divergence"
    assert 0 <= batch < 3
    assert not math.isfinite(logs["loss"])
    assert seen[-1] == ("end", {})
    assert [epoch for _, epoch, _ in seen[:-2]] == list(range(one.n_iter_ - 1))
    assert all(math.isfinite(logs["loss"]) for _, _, logs in seen[:-2])
    strict = callbacks.TerminateOnNaN(raise_error=True)
    with pytest.raises(RuntimeError, match=f"NaN or Inf loss encountered at batch {batch}"):
        make(kind, callbacks=strict, max_iter=99, **diverging).fit(X, TARGETS[kind])


def functions(kind: str, folder: Path) -> None:
    seen: list[Any] = []
    names = ("on_train_begin", "on_train_end", "on_test_begin", "on_test_end")
    record = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(f"begin {epoch}"),
        on_epoch_end=lambda epoch, logs: seen.append(f"end {epoch} {sorted(logs)}"),
        **{n: lambda logs, n=n: seen.append(f"{n[3:]} {sorted(logs)}") for n in names},
    )
    one = make(kind, callbacks=record, max_iter=2, early_stopping=True).fit(X, TARGETS[kind])
    assert seen == [
        "train_begin []",
        *("begin 0", "test_begin []", "test_end ['score']", "end 0 ['loss', 'val_score']"),
        *("begin 1", "test_begin []", "test_end ['score']", "end 1 ['loss', 'val_score']"),
        "train_end ['loss', 'val_score']",
    ]
    assert record.params == {"verbose": 0, "epochs": 2, "steps": 3}
    seen.clear()
    one.set_params(early_stopping=False).partial_fit(X, TARGETS[kind])
    assert seen == ["train_begin []", "begin 0", "end 0 ['loss']", "train_end ['loss']"]
    assert record.params["epochs"] == 1


def backup(kind: str, folder: Path) -> None:
    """An estimator has no state of training that a file could restore."""
    with pytest.raises(TypeError, match="BackupAndRestore"):
        make(kind, callbacks=callbacks.BackupAndRestore(folder)).fit(X, TARGETS[kind])


def progress(kind: str, folder: Path) -> None:
    one = make(kind, callbacks=callbacks.ProgbarLogger()).fit(X, TARGETS[kind])
    assert_same_weights(one, make(kind).fit(X, TARGETS[kind]))


def tensor_board(kind: str, folder: Path) -> None:
    pytest.importorskip("tensorboardX")
    make(kind, callbacks=callbacks.TensorBoard(folder)).fit(X, TARGETS[kind])
    assert list((folder / "train").glob("events.*"))


CHECKS = {
    "BackupAndRestore": backup,
    "ProgbarLogger": progress,
    "TensorBoard": tensor_board,
    "ModelCheckpoint": checkpoint,
    "EarlyStopping": early_stopping,
    "History": history,
    "CSVLogger": csv_logger,
    "LearningRateScheduler": scheduler,
    "ReduceLROnPlateau": plateau,
    "TerminateOnNaN": on_nan,
    "LambdaCallback": functions,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted({*callbacks.__all__} - {"Callback", "CallbackList"}))
def test_every_callback_works_with_estimators(name: str, kind: str, tmp_path: Path) -> None:
    CHECKS[name](kind, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_weights_alone_predicts_and_is_smaller(kind: str, tmp_path: Path) -> None:
    save = callbacks.ModelCheckpoint(tmp_path / "m{epoch}", save_weights_only=True)
    best = callbacks.ModelCheckpoint(
        tmp_path / "best", "val_score", save_best_only=True, save_weights_only=True
    )
    one = make(kind, callbacks=[save, best], early_stopping=True, learning_rate_init=0.1)
    one.fit(X, TARGETS[kind])
    last = nnfast.load_model(tmp_path / "m4")
    assert "_optimizer" not in vars(last)
    np.testing.assert_array_equal(nnfast.load_model(tmp_path / "best").predict(X), one.predict(X))
    smaller, larger = (tmp_path / name for name in ("m4", "whole"))
    one.callbacks = None
    one.save(larger)
    assert smaller.stat().st_size < larger.stat().st_size


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_restored_weights_include_those_of_normalization_layers(normalization: str) -> None:
    y = TARGETS["MLPRegressor"]
    stop = callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    one = make(
        "MLPRegressor",
        normalization=normalization,
        callbacks=stop,
        max_iter=300,
        learning_rate_init=0.3,
        optimizer=optimizers.Adam(0.3, use_ema=True, ema_momentum=0.5),
        alpha=0.0,
    ).fit(X[:30], y[:30], X_val=X[30:], y_val=y[30:])
    assert one.n_iter_ < 300
    error = 0.5 * np.mean((one.predict(X[30:]) - y[30:]) ** 2)
    assert error == pytest.approx(min(one.validation_loss_curve_), rel=1e-12)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        (
            {"callbacks": callbacks.ModelCheckpoint("m", save_freq=2)},
            ValueError,
            "once an epoch, not once a batch",
        ),
        (
            {"callbacks": callbacks.LambdaCallback(on_test_batch_end=print)},
            ValueError,
            "once an epoch, not once a batch",
        ),
        ({"callbacks": [print]}, TypeError, "callbacks must be a list"),
        ({"callbacks": callbacks.History(), "solver": "lbfgs"}, ValueError, "'lbfgs' has none"),
        (
            {
                "callbacks": callbacks.ReduceLROnPlateau("loss"),
                "solver": "sgd",
                "learning_rate": "invscaling",
            },
            ValueError,
            "ReduceLROnPlateau.*'invscaling'",
        ),
        (
            {
                "callbacks": callbacks.LearningRateScheduler(lambda epoch: 0.1),
                "solver": "sgd",
                "learning_rate": "invscaling",
            },
            ValueError,
            "LearningRateScheduler.*'invscaling'",
        ),
        (
            {
                "callbacks": callbacks.LearningRateScheduler(lambda epoch: 0.1),
                "optimizer": optimizers.SGD(schedules.CosineDecay(0.1, 10)),
            },
            TypeError,
            "CosineDecay.*a number",
        ),
        (
            {
                "callbacks": callbacks.ModelCheckpoint("m{epoch}"),
                "random_state": np.random.RandomState(0),
            },
            ValueError,
            "random_state",
        ),
        (
            {"callbacks": callbacks.EarlyStopping("val_mae")},
            ValueError,
            "EarlyStopping does not know whether",
        ),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_unsupported_callbacks_are_refused_before_training(
    kind: str, params: dict[str, Any], error: type[Exception], words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    one = make(kind, **params)
    with pytest.raises(error, match=words):
        one.fit(X, TARGETS[kind])
    assert getattr(one, "loss_curve_", []) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_estimators_have_their_own_callbacks(kind: str, tmp_path: Path) -> None:
    y = TARGETS[kind]
    used = [
        callbacks.History(),
        callbacks.ModelCheckpoint(tmp_path / "m"),
        callbacks.EarlyStopping("loss", restore_best_weights=True, patience=9),
        callbacks.CSVLogger(tmp_path / "log"),
    ]
    one = make(kind, callbacks=used).fit(X, y)
    joblib.dump(one, tmp_path / "dump")
    for two in (
        copy.deepcopy(one),
        pickle.loads(pickle.dumps(one)),
        joblib.load(tmp_path / "dump"),
    ):
        np.testing.assert_array_equal(two.predict(X), one.predict(X))
        assert not [c for c in two.callbacks if hasattr(c, "model")]
        two.partial_fit(X, y)
        assert [c.model.estimator for c in two.callbacks] == [two] * 4
    assert [c.model.estimator for c in one.callbacks] == [one] * 4
    fresh = clone(one)
    assert not hasattr(fresh.callbacks[0], "model")
    search = GridSearchCV(make(kind, callbacks=[callbacks.EarlyStopping("loss")]), {"alpha": [0.1]})
    assert search.fit(X, y).best_estimator_.n_iter_ == 4


# ---- scores that are NaN -------------------------------------------------------------------------


class Scripted(nnfast.MLPRegressor):
    """A regressor whose validation scores are given by `script`."""

    script: tuple[float, ...] = ()

    def _score_outputs(self, *_: Any) -> float:
        return self.script[len(self.validation_scores_)]


@pytest.mark.parametrize(
    ("script", "epochs", "best"),
    [
        ((math.nan, 0.5, 0.7, 0.6, 0.65), 5, 2),
        ((math.nan, math.nan, math.nan, 0.9), 3, None),
        ((0.5, math.nan, math.nan, math.nan, 0.9), 4, 0),
        ((0.5, math.nan, 0.6, math.nan, math.nan), 5, 2),
    ],
)
def test_a_score_of_nan_is_no_improvement(
    script: tuple[float, ...], epochs: int, best: int | None
) -> None:
    params = {"hidden_layer_sizes": (3,), "random_state": 0, "shuffle": False, "max_iter": 5}
    one = Scripted(**params, early_stopping=True, n_iter_no_change=2)
    one.script = script
    one.fit(X, TARGETS["MLPRegressor"])
    assert one.n_iter_ == epochs
    assert one.best_validation_score_ == (-math.inf if best is None else script[best])
    two = Scripted(**params, early_stopping=True, n_iter_no_change=99)
    two.script = (0.1, 0.2, 0.3, 0.4, 0.5)
    two.set_params(max_iter=1 if best is None else best + 1).fit(X, TARGETS["MLPRegressor"])
    if best is None:  # The weights are still the initial ones.
        assert np.abs(one.coefs_[0]).max() <= np.sqrt(6 / 7)
        assert (one.coefs_[0] != two.coefs_[0]).any()
    else:
        assert_same_weights(one, two)


# ---- warm starts with new parameters -------------------------------------------------------------

NORMALIZATIONS = (None, "batch", "layer")
SOLVERS: dict[str, dict[str, Any]] = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive"},
    "lbfgs": {"solver": "lbfgs"},
    "lion": {"solver": "adam", "optimizer": "lion"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(SOLVERS, 2)])
def test_a_warm_start_with_another_solver_keeps_only_the_weights(
    first: str, second: str, kind: str
) -> None:
    """The estimator trains like one that has the same weights but never used the first solver."""
    y = TARGETS[kind]
    defaults = {"learning_rate": "constant", "optimizer": None}
    one = make(kind, warm_start=True, alpha=0.3, **SOLVERS[first]).fit(X, y)
    other = make(kind, warm_start=True, alpha=0.3, max_iter=1, **SOLVERS[second]).fit(X, y)
    for view, weights in zip(
        other.coefs_ + other.intercepts_, one.coefs_ + one.intercepts_, strict=True
    ):
        view[...] = weights
    one.set_params(**(defaults | SOLVERS[second]), max_iter=3).fit(X, y)
    other.set_params(max_iter=3).fit(X, y)
    assert_same_weights(one, other)
    assert one.loss_ == other.loss_
    if second != "lbfgs":
        assert one.loss_curve_[-3:] == other.loss_curve_[-3:]
        assert one.best_loss_ <= one.loss_curve_[-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(SOLVERS, 2)])
def test_partial_fit_with_another_solver_takes_one_epoch_with_it(
    first: str, second: str, kind: str
) -> None:
    y = TARGETS[kind]
    one = make(kind, warm_start=True, **SOLVERS[first]).fit(X, y)
    two = copy.deepcopy(one)
    params = {"learning_rate": "constant", "optimizer": None} | SOLVERS[second]
    if second == "lbfgs":
        assert not hasattr(one.set_params(**params), "partial_fit")
        return
    one.set_params(**params).partial_fit(X, y)
    same_kind = {first, second} == {"sgd", "adaptive"}
    if same_kind:  # The optimizer stays the same and keeps its state.
        two.partial_fit(X, y)
    else:
        two.set_params(**params, max_iter=1).fit(X, y)
    assert_same_weights(one, two)
    # The next call continues with the new optimizer's state.
    state = one._network.engine.iterations
    one.partial_fit(X, y)
    assert one._network.engine.iterations == state + 3


@pytest.mark.parametrize("kind", KINDS)
def test_early_stopping_can_be_switched_on_and_off_between_fits(kind: str) -> None:
    y = TARGETS[kind]
    one = make(kind, warm_start=True).fit(X, y)
    assert (one.validation_scores_, one.best_validation_score_) == (None, None)
    one.set_params(early_stopping=True, max_iter=6).fit(X, y)
    assert len(one.validation_scores_) == one.n_iter_ == 6
    assert one.best_validation_score_ == max(one.validation_scores_)
    assert one.best_loss_ is None
    one.set_params(early_stopping=False, max_iter=3).fit(X, y)
    assert (one.validation_scores_, one.best_validation_score_) == (None, None)
    assert one.best_loss_ == min(one.loss_curve_[-3:])
    one.set_params(early_stopping=True).fit(X, y)
    one.set_params(early_stopping=False).partial_fit(X, y)
    assert one.best_loss_ == one.loss_curve_[-1]
    assert len(one.loss_curve_) == 4 + 6 + 3 + 3 + 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_weights_are_those_of_the_current_fit(kind: str) -> None:
    """The best weights of an earlier fit are not restored after a fit by another solver."""
    y = TARGETS[kind]
    one = make(kind, warm_start=True, early_stopping=True, learning_rate_init=1e-9).fit(X, y)
    before = one.coefs_[0].copy()
    one.set_params(solver="lbfgs", max_iter=200).fit(X, y)
    found = one.coefs_[0].copy()
    one.set_params(solver="adam", max_iter=2).fit(X, y)
    assert len(one.validation_scores_) == 2
    assert np.abs(one.coefs_[0] - found).max() < 1e-6 < np.abs(found - before).max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("first", "second"), [*itertools.permutations([None, "batch", "layer"], 2)]
)
def test_a_warm_start_with_another_normalization_keeps_the_weights_of_the_layers(
    first: str | None, second: str | None, early: bool, kind: str
) -> None:
    """The new normalization starts from its initial weights."""
    y = TARGETS[kind]
    one = make(
        kind, warm_start=True, normalization=first, early_stopping=early, learning_rate_init=1e-9
    ).fit(X, y)
    before = [coef.copy() for coef in one.coefs_]
    one.set_params(normalization=second, max_iter=1).fit(X, y)
    for coef, old in zip(one.coefs_, before, strict=True):
        np.testing.assert_allclose(coef, old, atol=1e-7)
    two = copy.deepcopy(one)
    one.set_params(normalization=first)
    if not early:
        one.partial_fit(X, y)
    two.set_params(normalization=first).fit(X, y)
    assert np.isfinite(one.predict(X)).all()
    assert np.isfinite(two.predict(X)).all()


def test_a_warm_start_with_another_loss_uses_its_output_activation() -> None:
    counts = RNG.poisson(2.0, len(X)).astype(float)
    one = make("MLPRegressor", warm_start=True).fit(X, counts)
    other = make("MLPRegressor", loss="poisson", warm_start=True, max_iter=1).fit(X, counts)
    for view, weights in zip(
        other.coefs_ + other.intercepts_, one.coefs_ + one.intercepts_, strict=True
    ):
        view[...] = weights
    one.set_params(loss="poisson").fit(X, counts)
    other.set_params(max_iter=4).fit(X, counts)
    assert (one.out_activation_, other.out_activation_) == ("exp", "exp")
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    assert (one.predict(X) > 0).all()


def test_a_model_saved_after_a_change_of_solver_continues_alike(tmp_path: Path) -> None:
    y = TARGETS["MLPRegressor"]
    one = make("MLPRegressor", warm_start=True).fit(X, y)
    one.set_params(solver="lbfgs").fit(X, y)
    one.save(tmp_path / "m")
    two = nnfast.load_model(tmp_path / "m")
    one.set_params(solver="adam")
    with pytest.raises(ValueError, match="solver is not that of the last fit"):
        one.save(tmp_path / "n")
    for each in (one, two.set_params(solver="adam")):
        each.fit(X, y)
    assert_same_weights(one, two)
    one.set_params(loss="poisson")
    with pytest.raises(ValueError, match="not those of the last fit"):
        one.save(tmp_path / "n")


# ---- divergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", KINDS)
def test_divergence_causes_no_warnings_of_numpy(
    kind: str, solver: str, early: bool, dtype: str
) -> None:
    """Overflows during training cause no RuntimeWarning."""
    sizes = [1.0, 1e15] if dtype == "float32" else [1.0, 1e60, 1e150]
    losses = ("squared_error", "huber", "quantile", "log_cosh", "poisson")
    cases = [{"loss": loss} for loss in losses] if kind == "MLPRegressor" else [{}]
    for size, rate, case in itertools.product(sizes, [1e-3, 1e3, 1e300], cases):
        x = (X * size).astype(dtype)
        y = TARGETS[kind] * (size if case else 1)
        y = np.abs(y) if case == {"loss": "poisson"} else y
        one = make(kind, solver=solver, early_stopping=early, learning_rate_init=rate, **case)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            # As in scikit-learn, non-finite weights at the end are an error.
            with contextlib.suppress(ValueError):
                one.fit(x, y, X_val=x[:40], y_val=y[:40])
            assert one.n_iter_ >= (solver != "lbfgs")
            one.predict(x)


def test_scores_of_diverged_outputs_are_minus_infinity() -> None:
    """R² is -inf where the squares of the outputs overflow, and no warning is raised."""
    one = make("MLPRegressor", early_stopping=True, max_iter=1).fit(X, TARGETS["MLPRegressor"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far = np.full((5, 1), 1e200)
        assert one._score_outputs(far, np.arange(5.0)[:, None], None) == -math.inf
    y = np.full(len(X), 1e39)
    with (
        pytest.warns(ConvergenceWarning, match="the loss is not finite"),
        pytest.raises(ValueError, match="non-finite"),
    ):
        make("MLPRegressor").fit(X.astype("float32"), y)


# ---- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"hidden_layer_sizes": (2.5,)}, TypeError, "each entry of hidden_layer_sizes .*2.5"),
        ({"hidden_layer_sizes": (4, 3.0)}, TypeError, "each entry of hidden_layer_sizes .*3.0"),
        ({"hidden_layer_sizes": (None,)}, TypeError, "each entry of hidden_layer_sizes .*None"),
        ({"hidden_layer_sizes": [[3, 4]]}, TypeError, r"each entry of hidden_layer.*\[3, 4\]"),
        ({"hidden_layer_sizes": np.ones((1, 2), int)}, TypeError, "each entry of hidden_layer"),
        ({"hidden_layer_sizes": ["3"]}, TypeError, "each entry of hidden_layer_sizes .*'3'"),
        ({"hidden_layer_sizes": (True,)}, TypeError, "each entry of hidden_layer_sizes .*True"),
        ({"hidden_layer_sizes": [np.nan]}, TypeError, "each entry of hidden_layer_sizes .*nan"),
        ({"hidden_layer_sizes": [3, -1]}, ValueError, "hidden_layer_sizes must be > 0"),
        ({"dropout": [None]}, TypeError, "each entry of dropout .*None"),
        ({"dropout": ["0.5"]}, TypeError, "each entry of dropout .*'0.5'"),
        ({"dropout": [[0.1]]}, TypeError, r"each entry of dropout .*\[0.1\]"),
        ({"dropout": [1.0]}, ValueError, "each entry of dropout .*1.0"),
        ({"dropout": [np.nan]}, ValueError, "each entry of dropout .*nan"),
        ({"dropout": [0.1, 0.2]}, ValueError, "dropout must be one rate"),
        ({"activation": ["rleu"]}, ValueError, "'rleu'"),
        ({"activation": [3]}, TypeError, "activation.*3"),
        ({"activation": [["relu"]]}, TypeError, r"activation.*\['relu'\]"),
        ({"activation": np.array(["relu", "tanh"])}, ValueError, "activation must be one"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_entries_of_lists_are_checked(
    kind: str, params: dict[str, Any], error: type[Exception], words: str
) -> None:
    one = make(kind, **params)
    with pytest.raises(error, match=words):
        one.fit(X, TARGETS[kind])
    assert not hasattr(one, "coefs_")


@pytest.mark.parametrize(
    ("quantile", "error", "words"),
    [
        ([], ValueError, "quantile must be"),
        (["0.5"], TypeError, "each quantile .*'0.5'"),
        ([None], TypeError, "each quantile .*None"),
        ([[0.1, 0.9]], TypeError, r"each quantile .*\[0.1, 0.9\]"),
        ([0.1, 1.0], ValueError, "each quantile .*1.0"),
        ([0.1, np.nan], ValueError, "each quantile .*nan"),
    ],
)
def test_quantiles_are_checked(quantile: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make("MLPRegressor", loss="quantile", quantile=quantile).fit(X, X[:, 0])


@pytest.mark.parametrize(
    ("weight", "error"),
    [("2", TypeError), (None, TypeError), (np.nan, ValueError), (-1.0, ValueError)],
)
def test_class_weights_are_checked(weight: Any, error: type[Exception]) -> None:
    one = make("MLPClassifier", class_weight={0: weight, 1: 1.0})
    with pytest.raises(error, match=r"class_weight\[0\] must be a finite number"):
        one.fit(X, TARGETS["MLPClassifier"])


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_may_be_arrays(kind: str, tmp_path: Path) -> None:
    """Arrays and NumPy scalars give the same result as lists and Python numbers."""
    y = TARGETS[kind]
    lists = {
        "hidden_layer_sizes": [4, 3],
        "activation": ["relu", "tanh"],
        "dropout": [0.1, 0.2],
        **({"loss": "quantile", "quantile": [0.2, 0.8]} if kind == "MLPRegressor" else {}),
    }
    arrays = {
        name: value if isinstance(value, str) else np.array(value) for name, value in lists.items()
    }
    one, two = (make(kind, **params).fit(X, y) for params in (lists, arrays))
    assert_same_weights(one, two)
    two.save(tmp_path / "m")
    np.testing.assert_array_equal(nnfast.load_model(tmp_path / "m").predict(X), one.predict(X))
    assert make(kind, hidden_layer_sizes=np.int64(3)).fit(X, y).coefs_[0].shape == (4, 3)

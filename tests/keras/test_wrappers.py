"""Models as scikit-learn estimators: the wrappers of Keras 3, of Keras 2 and of SciKeras."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers, optimizers

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from nnfast.keras.wrappers import (  # noqa: E402
    SKLearnClassifier,
    SKLearnRegressor,
    SKLearnTransformer,
)
from nnfast.keras.wrappers.scikit_learn import KerasClassifier, KerasRegressor  # noqa: E402

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 4))
Y = X @ np.array([1.0, -1.0, 2.0, 0.5])
LABELS = np.array(["low", "mid", "high"])[np.digitize(Y, [-1, 1])]


def network(X: Any, y: Any, loss: str, output: Any = "softmax", hidden: Any = (20,)) -> Any:
    """Make the model that Keras' own tests of its wrappers use, with a fixed seed."""
    nnfast.set_seed(0)
    net = nnfast.Sequential([nnfast.Input(X.shape[1:])])
    for units in hidden:
        net.add(layers.Dense(units, "relu"))
    net.add(layers.Dense(y.shape[1], output))
    net.compile("rmsprop", loss)
    return net


def compiled(units: int = 1, loss: str = "mse", rate: float = 0.05) -> Any:
    nnfast.set_seed(0)
    net = nnfast.Sequential([layers.Dense(units, input_dim=4)])
    net.compile(optimizers.SGD(rate), loss, metrics=["mae"])
    return net


# Keras 3

CHECKED = [
    SKLearnClassifier(
        network,
        model_kwargs={"loss": "categorical_crossentropy", "hidden": (20, 20, 20)},
        fit_kwargs={"epochs": 20, "verbose": 0},
    ),
    SKLearnRegressor(
        network, model_kwargs={"loss": "mse", "output": None}, fit_kwargs={"verbose": 0}
    ),
    SKLearnTransformer(
        network, model_kwargs={"loss": "mse", "output": None}, fit_kwargs={"verbose": 0}
    ),
]


def expected_failures(estimator: Any) -> dict[str, str]:
    """Return the checks that also fail in Keras' own tests."""
    if not isinstance(estimator, SKLearnClassifier):
        return {}
    outputs = "decision_function returns one column per class, also for two classes"
    return {"check_classifiers_train": outputs, "check_classifiers_classes": outputs}


@parametrize_with_checks(CHECKED, expected_failed_checks=expected_failures)
def test_scikit_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_classifier_trains_on_one_hot_targets() -> None:
    seen = {}

    def make(X: Any, y: Any) -> Any:
        seen["y"] = y
        return network(X, y, "categorical_crossentropy")

    classifier = SKLearnClassifier(make, fit_kwargs={"verbose": 0})
    assert classifier.fit(X, LABELS, epochs=150) is classifier
    np.testing.assert_array_equal(classifier.classes_, ["high", "low", "mid"])
    np.testing.assert_array_equal(
        seen["y"].argmax(axis=1), np.unique(LABELS, return_inverse=True)[1]
    )
    assert seen["y"].shape == (90, 3)
    assert classifier.score(X, LABELS) > 0.9
    np.testing.assert_array_equal(classifier.decision_function(X), classifier.model_.predict(X))
    assert classifier.epoch_ == 150


def test_a_model_is_cloned_with_its_compile_arguments_and_new_weights() -> None:
    net = compiled()
    before = net.get_weights()[0]
    regressor = SKLearnRegressor(net, fit_kwargs={"epochs": 60, "verbose": 0})
    assert regressor.epoch_ == 0
    regressor.fit(X, Y)
    np.testing.assert_array_equal(net.get_weights()[0], before)
    assert regressor.model_ is not net
    assert regressor.model_.optimizer.learning_rate == 0.05
    assert regressor.model_.optimizer is not net.optimizer
    assert list(regressor.history_.history) == ["loss", "mae"]
    assert regressor.predict(X).shape == (90,)
    assert regressor.score(X, Y) > 0.99


def test_warm_start_continues_training() -> None:
    net = compiled()
    regressor = SKLearnRegressor(net, warm_start=True, fit_kwargs={"verbose": 0})
    regressor.fit(X, Y, shuffle=False)
    assert regressor.model_ is net
    regressor.fit(X, Y, shuffle=False)
    again = compiled()
    again.fit(X, Y[:, None], epochs=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(net.get_weights()[0], again.get_weights()[0])
    made = SKLearnRegressor(network, True, {"loss": "mse", "output": None}, {"verbose": 0})
    first = made.fit(X, Y).model_
    assert made.fit(X, Y).model_ is first
    assert (
        SKLearnRegressor(compiled()).fit(X, Y, verbose=0).fit(X, Y, verbose=0).model_ is not first
    )


def test_arguments_of_fit_take_precedence_and_are_not_changed() -> None:
    options = {"epochs": 3, "verbose": 0}
    regressor = SKLearnRegressor(compiled(), fit_kwargs=options)
    assert len(regressor.fit(X, Y, epochs=2).history_.epoch) == 2
    assert options == {"epochs": 3, "verbose": 0}
    assert len(clone(regressor).fit(X, Y).history_.epoch) == 3


def test_a_transformer_returns_the_outputs() -> None:
    transformer = SKLearnTransformer(compiled(), fit_kwargs={"verbose": 0})
    outputs = transformer.fit_transform(X, Y)
    assert outputs.shape == (90, 1)
    np.testing.assert_array_equal(outputs, transformer.model_.predict(X))


def test_wrappers_work_in_pipelines_searches_and_pickles() -> None:
    regressor = SKLearnRegressor(
        network, model_kwargs={"loss": "mse", "output": None}, fit_kwargs={"verbose": 0}
    )
    grid = {"fit_kwargs": [{"epochs": n, "verbose": 0} for n in (1, 60)]}
    search = GridSearchCV(regressor, grid, cv=3).fit(X, Y)
    assert search.best_params_["fit_kwargs"]["epochs"] == 60
    piped = make_pipeline(StandardScaler(), search.best_estimator_).fit(X, Y)
    copied = pickle.loads(pickle.dumps(piped))
    np.testing.assert_array_equal(copied.predict(X), piped.predict(X))


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (3, TypeError, "model must be a Sequential"),
        (lambda X, y: nnfast.Sequential(), RuntimeError, "must be compiled"),
        (nnfast.Sequential([layers.Dense(1)]), RuntimeError, "must be compiled"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(model: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        SKLearnRegressor(model).fit(X, Y)


def test_classifiers_refuse_other_targets() -> None:
    classifier = SKLearnClassifier(network, model_kwargs={"loss": "categorical_crossentropy"})
    with pytest.raises(ValueError, match="Target type: continuous"):
        classifier.fit(X, Y)
    with pytest.raises(ValueError, match="only one class"):
        classifier.fit(X, np.zeros(90, int))


def test_a_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("nnfast.keras.wrappers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"nnfast\[sklearn\]"):
        import nnfast.keras.wrappers  # noqa: F401


# Keras 2


def build(units: int = 8, rate: float = 0.05, loss: str = "sparse_categorical_crossentropy") -> Any:
    nnfast.set_seed(0)
    net = nnfast.Sequential(
        [layers.Dense(units, "relu", input_dim=4), layers.Dense(3, activation="softmax")]
    )
    net.compile(optimizers.Adam(rate), loss, metrics=["accuracy"])
    return net


def build_binary(units: int = 8) -> Any:
    nnfast.set_seed(0)
    net = nnfast.Sequential(
        [layers.Dense(units, "relu", input_dim=4), layers.Dense(1, activation="sigmoid")]
    )
    net.compile(optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    return net


def build_linear(rate: float = 0.05) -> Any:
    return compiled(rate=rate)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_keras_classifier_encodes_labels_as_the_loss_expects(loss: str) -> None:
    classifier = KerasClassifier(build_fn=build, loss=loss, epochs=30, verbose=0)
    history = classifier.fit(X, LABELS)
    assert len(history.history["accuracy"]) == 30
    assert (list(classifier.classes_), classifier.n_classes_) == (["high", "low", "mid"], 3)
    assert classifier.score(X, LABELS) > 0.9
    assert classifier.score(X, LABELS) == (classifier.predict(X) == LABELS).mean()
    probabilities = classifier.predict_proba(X, batch_size=7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(
        classifier.classes_[probabilities.argmax(axis=1)], classifier.predict(X)
    )
    assert classifier.model is classifier.model_


def test_keras_classifier_takes_one_hot_targets() -> None:
    codes = np.unique(LABELS, return_inverse=True)[1]
    classifier = KerasClassifier(build, loss="categorical_crossentropy", epochs=30, verbose=0)
    classifier.fit(X, np.eye(3)[codes])
    assert classifier.score(X, np.eye(3)[codes]) == classifier.score(X, codes) > 0.9
    with pytest.raises(ValueError, match=r"Invalid shape for y: \(90, 1, 3\)"):
        classifier.fit(X, np.eye(3)[codes][:, None])


def test_keras_classifier_with_one_output_has_two_classes() -> None:
    labels = np.where(Y > 0, "yes", "no")[:, None]
    classifier = KerasClassifier(build_binary, units=16)
    classifier.fit(X, labels, epochs=40, verbose=0)
    outputs = classifier.model.predict(X)
    assert classifier.model.layers[0].units == 16
    np.testing.assert_array_equal(classifier.predict_proba(X), np.hstack([1 - outputs, outputs]))
    np.testing.assert_array_equal(classifier.predict(X), np.where(outputs[:, 0] > 0.5, "yes", "no"))
    weight = np.arange(90.0)
    hits = classifier.predict(X) == labels[:, 0]
    assert classifier.score(X, labels, sample_weight=weight) == np.average(hits, weights=weight)


def test_keras_regressor_scores_minus_the_loss() -> None:
    regressor = KerasRegressor(build_linear, epochs=40, batch_size=16, verbose=0)
    history = regressor.fit(X, Y)
    assert history.epoch == list(range(40))
    assert regressor.predict(X).shape == (90,)
    expected = -np.mean((regressor.predict(X) - Y) ** 2)
    assert regressor.score(X, Y) == pytest.approx(expected, abs=1e-6)
    reference = build_linear()
    reference.fit(X, Y, epochs=40, batch_size=16, verbose=0)
    np.testing.assert_array_equal(reference.get_weights()[0], regressor.model.get_weights()[0])


def test_searches_over_arguments_of_the_function_and_of_fit() -> None:
    classifier = KerasClassifier(build_fn=build, verbose=0)
    grid = {"rate": [1e-9, 0.05], "epochs": [1, 20], "batch_size": [16]}
    search = GridSearchCV(classifier, grid, cv=3).fit(X, LABELS)
    assert search.best_params_ == {"rate": 0.05, "epochs": 20, "batch_size": 16}
    assert search.best_estimator_.model.optimizer.learning_rate == 0.05
    assert cross_val_score(search.best_estimator_, X, LABELS, cv=3).min() > 0.7
    assert cross_val_predict(search.best_estimator_, X, LABELS, cv=3).shape == (90,)


def test_parameters_can_be_read_set_and_cloned() -> None:
    hidden = [8, 8]

    def make(hidden: Any = (), rate: float = 0.1) -> Any:
        return compiled(rate=rate)

    regressor = KerasRegressor(make, hidden=hidden, epochs=3)
    assert regressor.get_params() == {"build_fn": make, "hidden": hidden, "epochs": 3}
    copy = clone(regressor)
    assert copy.set_params(epochs=4, rate=0.2) is copy
    assert copy.get_params() == {"build_fn": make, "hidden": hidden, "epochs": 4, "rate": 0.2}
    assert regressor.get_params()["epochs"] == 3
    assert regressor.filter_sk_params(make) == {"hidden": hidden}
    assert regressor.filter_sk_params(nnfast.Sequential.fit, {"verbose": 0}) == {
        "epochs": 3,
        "verbose": 0,
    }
    assert "epochs=3" in repr(regressor)


def test_a_subclass_may_make_the_model_itself() -> None:
    class Own(KerasRegressor):
        def __call__(self, rate: float = 0.1) -> Any:
            return compiled(rate=rate)

    regressor = Own(rate=0.01, verbose=0)
    regressor.fit(X, Y)
    assert regressor.model.optimizer.learning_rate == 0.01
    assert clone(regressor).get_params() == {"build_fn": None, "rate": 0.01, "verbose": 0}


def test_parameters_that_nothing_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="unit is not a legal parameter"):
        KerasClassifier(build, unit=3)
    with pytest.raises(ValueError, match="layer__units is not a legal parameter"):
        KerasClassifier(build).set_params(layer__units=3)
    with pytest.raises(TypeError, match="needs build_fn"):
        KerasClassifier()
    with pytest.raises(ValueError, match="either build_fn or model"):
        KerasClassifier(build, model=build)


# SciKeras


def uncompiled(meta: Any, units: int = 4, compile_kwargs: Any = None) -> Any:
    net = nnfast.Sequential([nnfast.Input((meta["n_features_in_"],))])
    net.add(layers.Dense(units, activation="relu"))
    net.add(layers.Dense(meta["n_classes_"], activation="softmax"))
    assert compile_kwargs["loss"] == "sparse_categorical_crossentropy"
    assert meta["X_shape_"] == (90, 4)
    assert meta["target_type_"] == "multiclass"
    return net


def test_parameters_are_routed_as_in_scikeras() -> None:
    classifier = KerasClassifier(
        model=uncompiled,
        model__units=16,
        loss="sparse_categorical_crossentropy",
        optimizer="adam",
        optimizer__learning_rate=0.05,
        metrics=["accuracy"],
        fit__epochs=40,
        batch_size=30,
        verbose=0,
        random_state=3,
    )
    assert classifier.fit(X, LABELS) is classifier
    assert classifier.model is uncompiled
    assert classifier.model_.layers[0].units == 16
    assert isinstance(classifier.model_.optimizer, optimizers.Adam)
    assert classifier.model_.optimizer.learning_rate == 0.05
    assert [len(values) for values in classifier.history_.values()] == [40, 40]
    assert classifier.score(X, LABELS) > 0.9
    again = clone(classifier).fit(X, LABELS)
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    other = clone(classifier).set_params(random_state=4, optimizer=optimizers.SGD).fit(X, LABELS)
    assert isinstance(other.model_.optimizer, optimizers.SGD)
    assert not np.array_equal(other.predict_proba(X), classifier.predict_proba(X))


def test_random_state_does_not_change_the_seeds_of_other_models() -> None:
    def others() -> Any:
        nnfast.set_seed(5)
        yield
        yield nnfast.Sequential([layers.Dense(1, input_dim=2)]).get_weights()[0]

    plain, seeded = others(), others()
    next(plain)
    expected = next(plain)
    next(seeded)
    KerasRegressor(
        model=lambda: nnfast.Sequential([layers.Dense(1, input_dim=4)]), loss="mse", random_state=1
    ).fit(X, Y, verbose=0)
    np.testing.assert_array_equal(next(seeded), expected)


def test_random_state_may_be_a_generator_of_numpy() -> None:
    net = nnfast.Sequential([layers.Dense(1, input_dim=4)])
    first, second, other = (
        KerasRegressor(model=net, loss="mse", random_state=np.random.RandomState(seed))
        .fit(X, Y, epochs=1, verbose=0)
        .predict(X)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_regressor_made_with_a_model_scores_r_squared() -> None:
    net = compiled()
    regressor = KerasRegressor(model=net, epochs=60, verbose=0)
    assert regressor.fit(X, Y) is regressor
    assert regressor.model is net
    residual = ((regressor.predict(X) - Y) ** 2).sum() / ((Y - Y.mean()) ** 2).sum()
    assert regressor.score(X, Y) == pytest.approx(1 - residual)
    with pytest.raises(ValueError, match="pass loss="):
        KerasRegressor(model=nnfast.Sequential([layers.Dense(1)])).fit(X, Y)

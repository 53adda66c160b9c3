"""A loaded estimator is equal to the saved one and continues its training."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
from formats.pickles import make

import nnfast
from nnfast import activations, callbacks, optimizers
from nnfast._utils import container
from nnfast.optimizers import schedules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
THIRDS = (X[:, 0] * 2).round().clip(-1, 1).astype(int)
TEXTS = np.array(["low", "middle", "high"])[THIRDS + 1]
LABELS = (X[:, :3] > 0).astype(int)
SCHEDULE = schedules.CosineDecay(0.01, 100)

# Name: (class, parameters, targets).
CASES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "integer classes": ("MLPClassifier", {}, THIRDS),
    "string classes": (
        "MLPClassifier",
        {"class_weight": {"low": 2.0}, "label_smoothing": 0.1},
        TEXTS,
    ),
    "object classes": ("MLPClassifier", {"activation": "logistic"}, TEXTS.astype(object)),
    "two classes": ("MLPClassifier", {"class_weight": {1: 3.0}}, THIRDS > 0),
    "float classes": ("MLPClassifier", {"n_iter_no_change": np.inf}, THIRDS.astype(float)),
    "int8 classes": ("MLPClassifier", {"batch_size": np.int64(20)}, THIRDS.astype(np.int8)),
    "multilabel": ("MLPClassifier", {"hidden_layer_sizes": [5, 4]}, LABELS),
    "lbfgs": ("MLPClassifier", {"solver": "lbfgs"}, THIRDS),
    "adam ignores the policy": ("MLPClassifier", {"learning_rate": "invscaling"}, THIRDS),
    "learning rate policy": (
        "MLPClassifier",
        {"solver": "sgd", "learning_rate": "invscaling"},
        THIRDS,
    ),
    "optimizer object, no policy": (
        "MLPClassifier",
        {"solver": "sgd", "learning_rate": "adaptive", "optimizer": optimizers.Adam(0.01)},
        THIRDS,
    ),
    "schedule, no policy": (
        "MLPClassifier",
        {"solver": "sgd", "learning_rate": "invscaling", "optimizer": optimizers.Adam(SCHEDULE)},
        THIRDS,
    ),
    "early stopping": ("MLPClassifier", {"early_stopping": True, "hidden_layer_sizes": 7}, THIRDS),
    "deep": (
        "MLPClassifier",
        {
            "hidden_layer_sizes": (6, 5),
            "activation": ["tanh", activations.Activation("leaky_relu", 0.3)],
            "dropout": [0.1, 0.2],
            "normalization": "batch",
            "optimizer": optimizers.AdamW(SCHEDULE, use_ema=True),
        },
        THIRDS,
    ),
    "decay": (
        "MLPRegressor",
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
        X[:, 1],
    ),
    "adaptive": ("MLPRegressor", {"solver": "sgd", "learning_rate": "adaptive"}, X[:, :2]),
    "quantiles": ("MLPRegressor", {"loss": "quantile", "quantile": [0.1, 0.9]}, X[:, 1]),
    "poisson": ("MLPRegressor", {"loss": "poisson", "optimizer": "rmsprop"}, np.abs(X[:, 1])),
    "no hidden layers": ("MLPRegressor", {"hidden_layer_sizes": ()}, X[:, 1]),
    "layer normalization": ("MLPRegressor", {"normalization": "layer"}, X[:, 1]),
    "limited relu": (
        "MLPRegressor",
        {"activation": activations.Activation("relu", 0.125, max_value=2.0, threshold=0.25)},
        X[:, 1],
    ),
}


def fitted(case: str, dtype: str = "float64") -> Any:
    kind, params, y = CASES[case]
    params = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 3, **params}
    return getattr(nnfast, kind)(**params).fit(X.astype(dtype), y)


def attributes(estimator: Any) -> dict[str, Any]:
    public = {k: v for k, v in vars(estimator).items() if k.endswith("_") and k[0] != "_"}
    return {k: public[k] for k in sorted(public)}


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    assert {k: repr(v) for k, v in a.get_params().items() if k not in ("batch_size",)} == {
        k: repr(v) for k, v in b.get_params().items() if k not in ("batch_size",)
    }
    one, two = attributes(a), attributes(b)
    assert one.keys() == two.keys()
    for name, value in one.items():
        values = zip(value, two[name], strict=True) if isinstance(value, list) else None
        for p, q in values or [(value, two[name])]:
            np.testing.assert_array_equal(p, q, err_msg=name, strict=isinstance(p, np.ndarray))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_a_loaded_estimator_equals_the_saved_one_and_trains_alike(
    case: str, dtype: str, tmp_path: Path
) -> None:
    one = fitted(case, dtype)
    if isinstance(one.hidden_layer_sizes, list):
        one.hidden_layer_sizes = tuple(one.hidden_layer_sizes)
    one.save(tmp_path / "model")
    two = nnfast.load_model(tmp_path / "model")
    assert_same(one, two)
    x, y = X.astype(dtype), CASES[case][2]
    np.testing.assert_array_equal(one.predict(x), two.predict(x))
    assert one.predict(x).dtype.kind == two.predict(x).dtype.kind
    if hasattr(one, "partial_fit") and case != "early stopping":
        for _ in range(3):
            for each in (one, two):
                each.partial_fit(x, y)
    else:
        for each in (one, two):
            each.set_params(warm_start=True, max_iter=6).fit(x, y)
    assert_same(one, two)


CONTINUE = """
import sys, warnings
import numpy as np, nnfast
warnings.simplefilter("ignore")
path, data = sys.argv[1:]
arrays = np.load(data)
model = nnfast.load_model(path)
for _ in range(5):
    model.partial_fit(arrays["x"], arrays["y"])
model.save(path)
"""


def test_training_continues_in_another_process(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=THIRDS)
    one = fitted("deep")
    one.save(tmp_path / "model")
    command = [
        sys.executable,
        "-P",
        "-c",
        CONTINUE,
        *(str(tmp_path / name) for name in ("model", "data.npz")),
    ]
    subprocess.run(command, check=True, timeout=120)
    for _ in range(5):
        one.partial_fit(X, THIRDS)
    assert_same(one, nnfast.load_model(tmp_path / "model"))


def test_feature_names_are_saved_and_the_optimizer_is_optional(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    one = nnfast.MLPRegressor(hidden_layer_sizes=(8,), max_iter=3).fit(frame, X[:, 1])
    one.save(tmp_path / "model")
    two = nnfast.load_model(tmp_path / "model")
    assert two.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(one.predict(frame), two.predict(frame))
    one.save(tmp_path / "small", include_optimizer=False)
    small = nnfast.load_model(tmp_path / "small")
    np.testing.assert_array_equal(one.predict(frame), small.predict(frame))
    arrays, description = container.read(tmp_path / "small")
    assert set(arrays) == {"coefs/0", "coefs/1", "intercepts/0", "intercepts/1"}
    assert description["estimator"]["training"] is None
    small.partial_fit(frame, X[:, 1])  # this starts with a new optimizer


def test_unsavable_estimators_are_refused_and_callbacks_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(ValueError, match="not fitted yet"):
        nnfast.MLPRegressor().save(path)
    one = fitted("integer classes")
    one.callbacks = [callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)]
    with pytest.warns(UserWarning, match="callbacks of an estimator are not saved"):
        one.save(path)
    assert nnfast.load_model(path).callbacks is None
    path.unlink()
    one.callbacks = None
    for params, message in (
        ({"random_state": np.random.RandomState(0)}, "random_state: .* None or an integer"),
        ({"random_state": 0, "activation": "tanh"}, "not those of the last fit"),
        ({"activation": "relu", "hidden_layer_sizes": (9,)}, "not those of the last fit"),
        ({"hidden_layer_sizes": (8,), "class_weight": {b"a": 1.0}}, "texts or numbers"),
    ):
        one.set_params(**params)
        with pytest.raises(ValueError, match=message):
            one.save(path)
    assert not path.exists()


def change(path: Path, *keys: Any, to: Any) -> None:
    arrays, description = container.read(path)
    entry = description["estimator"]
    for key in keys[:-1]:
        entry = entry[key]
    entry[keys[-1]] = to
    del description["format"]
    container.write(path, arrays, description)


RULES: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "class": (("class_name",), "BaseEstimator", "Unknown estimator"),
    "unknown parameter": (("params", "colour"), 1, "colour"),
    "wrong parameter": (("params", "alpha"), -1.0, "alpha"),
    "units": (("params", "hidden_layer_sizes"), [2**40], "hidden_layer_sizes"),
    "activation": (("params", "activation"), "os.system", "activation"),
    "optimizer": (("training", "optimizer", "class_name"), "os.system", "Unknown optimizer"),
    "another optimizer": (("training", "optimizer", "class_name"), "SGD", "SGD"),
    "method": (("attributes", "predict"), 1.0, "predict is not what estimators have"),
    "curve": (("attributes", "loss_curve_"), ["a"], "not a list of numbers"),
    "count": (("attributes", "n_iter_"), -1, "n_iter_"),
    "attribute": (("attributes",), {"n_iter_": 1, "loss_curve_": []}, "attributes are missing"),
    "order": (("classes", "values"), [1, 0, 2], "not in order"),
    "number of classes": (("classes", "values"), [0, 1, 2, 3], "need 4 outputs, it has 3"),
    "type of classes": (("classes", "values"), ["a", "b", "c"], "not of type int64"),
    "large classes": (("classes", "dtype"), "U1000000000", "Unknown type of class"),
    "kind": (("classes", "kind"), "unknown", "Unknown kind"),
    "curve without numbers": (("attributes", "loss_curve_"), None, "not a list of numbers"),
    "sparse": (("classes", "sparse"), "yes", "sparse must be True or False"),
    "features": (("features",), ["a"], "not 4 names"),
    "position": (("training", "iterations"), 2**70, "<= 9007199254740992"),
    "no training": (("training",), None, "do not match"),
}


@pytest.mark.parametrize("rule", RULES)
def test_descriptions_that_break_a_rule_are_refused(rule: str, tmp_path: Path) -> None:
    keys, value, message = RULES[rule]
    path = tmp_path / "model"
    fitted("integer classes").save(path)
    change(path, *keys, to=value)
    with pytest.raises(ValueError, match="is not a model saved by nnfast") as caught:
        nnfast.load_model(path)
    assert message in str(caught.value)


def test_wrong_shapes_are_refused_before_memory_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "model"
    one = fitted("integer classes")
    one.save(path)
    arrays, description = container.read(path)
    del description["format"]
    empty = np.empty((0, 2**40), np.float64)
    for name, array in (
        ("coefs/0", np.ones((4, 9))),
        ("coefs/0", empty),
        ("intercepts/1", np.ones(4)),
        ("intercepts/1", np.ones((3, 1))),
        ("optimizer/0", np.ones(3)),
        ("optimizer/9", np.ones(3)),
        ("coefs/1", np.ones((8, 3), np.float32)),
    ):
        container.write(path, {**arrays, name: array}, description)
        with pytest.raises(ValueError, match="is not a model saved by nnfast"):
            nnfast.load_model(path)


@pytest.mark.parametrize("name", ["format1-classifier", "format1-regressor"])
def test_files_of_every_format_load(name: str) -> None:
    """These files are never rewritten: later versions must read them."""
    path = Path(__file__).parent / "formats" / name
    one = nnfast.load_model(path.with_suffix(".safetensors"))
    x = np.linspace(-1, 1, 10).reshape(5, 2)
    expected = np.array(json.loads(path.with_suffix(".json").read_text()))
    predict = getattr(one, "predict_proba", one.predict)
    np.testing.assert_allclose(predict(x), expected, rtol=1e-4, atol=1e-6)
    assert one.n_iter_ == 3
    many = np.linspace(-1, 1, 60).reshape(30, 2)
    y = np.resize(one.classes_, 30) if hasattr(one, "classes_") else many[:, 0]
    one.set_params(warm_start=True, max_iter=2).fit(many, y)
    assert np.isfinite(predict(x)).all()


def test_n_threads_may_exceed_any_machine() -> None:
    assert nnfast.MLPRegressor(max_iter=1, n_threads=2**70).fit(X, X[:, 0]).n_iter_ == 1


def test_classes_with_long_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    fitted("string classes").save(path)
    change(path, "classes", "values", to=["a", "b", *(f"c{i}" for i in range(2000)), "d" * 20_000])
    with pytest.raises(ValueError, match="the texts of its classes are too long"):
        nnfast.load_model(path)


def test_estimators_that_could_not_be_loaded_are_not_saved(tmp_path: Path) -> None:
    class Mine(nnfast.MLPRegressor):
        pass

    small = {"hidden_layer_sizes": (3,), "max_iter": 1}
    with pytest.raises(ValueError, match="of their subclass Mine"):
        Mine(**small).fit(X, THIRDS).save(tmp_path / "model")
    halves = nnfast.MLPClassifier(**small).fit(X, THIRDS.astype(np.float16))
    with pytest.raises(ValueError, match="received float16"):
        halves.save(tmp_path / "model")
    changed = fitted("lbfgs").set_params(solver="adam")
    with pytest.raises(ValueError, match="solver is not that of the last fit"):
        changed.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_early_stopping_continues_without_the_optimizer(tmp_path: Path) -> None:
    one = fitted("early stopping").set_params(warm_start=True)
    one.save(tmp_path / "model", include_optimizer=False)
    two = nnfast.load_model(tmp_path / "model").fit(X, THIRDS)
    assert len(two.validation_scores_) > len(one.validation_scores_)


def test_sparse_labels_stay_sparse(tmp_path: Path) -> None:
    one = nnfast.MLPClassifier((5,), max_iter=2).fit(X, scipy.sparse.csr_matrix(LABELS))
    one.save(tmp_path / "model")
    two = nnfast.load_model(tmp_path / "model")
    assert scipy.sparse.issparse(one.predict(X))
    assert scipy.sparse.issparse(two.predict(X))
    assert (one.predict(X) != two.predict(X)).nnz == 0


PICKLES = Path(__file__).parent / "formats" / "pickles"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.parametrize("name", ["classifier", "sgd", "regressor", "lbfgs"])
def test_pickles_of_earlier_versions_load(name: str) -> None:
    """In earlier versions, the modules of the classes had different names."""
    values = json.loads((PICKLES / "values.json").read_text("utf-8"))[name]
    estimator = pickle.loads((PICKLES / f"{name}.pickle").read_bytes())
    tolerance = 1e-6 if estimator.coefs_[0].dtype == np.float64 else 1e-4
    for predictions, key in ((make.outputs, "outputs"), (make.continued, "continued")):
        np.testing.assert_allclose(
            predictions(estimator), values[key], rtol=tolerance, atol=tolerance
        )

"""Errors name the expected and the received value, and a refused call changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import callbacks, kernels, layers, losses, optimizers
from nnfast._data import arrays as checked
from nnfast._utils import container

X, Y = np.zeros((6, 3)), np.zeros((6, 2))


def regression() -> Any:
    model = nnfast.Sequential(
        [layers.Input((3,)), layers.Dense(4, activation="relu"), layers.Dense(2)]
    )
    model.compile("adam", "mse")
    return model


def classifier() -> Any:
    model = nnfast.Sequential([layers.Dense(2, activation="softmax", input_dim=3)])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


# Case: (model, keyword arguments of fit, words that the message must contain).
FIT_CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], list[str]]] = {
    "x has other features": (regression, {"x": np.zeros((6, 4))}, ["x", "3", "(6, 4)"]),
    "x is one sample": (regression, {"x": np.zeros(3)}, ["x", "3", "(3,)", "x[None]"]),
    "x is a number": (regression, {"x": 5.0}, ["x", "()"]),
    "x is text": (regression, {"x": [["a", "b", "c"]] * 6}, ["x", "<U1"]),
    "x is complex": (regression, {"x": np.zeros((6, 3), complex)}, ["x", "complex128"]),
    "x is ragged": (regression, {"x": [[1, 2, 3], [1, 2]]}, ["x", "list"]),
    "x is missing": (regression, {"x": None}, ["x", "missing"]),
    "x has no rows": (regression, {"x": X[:0], "y": Y[:0]}, ["x", "at least one row"]),
    "y is missing": (regression, {"y": None}, ["y", "missing"]),
    "y is shorter": (regression, {"y": Y[:5]}, ["y", "6", "5"]),
    "y has other columns": (regression, {"y": np.zeros((6, 3))}, ["y", "(n, 2)", "(6, 3)"]),
    "y is flat": (regression, {"y": np.zeros(6)}, ["y", "(n, 2)", "(6,)"]),
    "y is text": (regression, {"y": [["a", "b"]] * 6}, ["y", "<U1"]),
    "class index too high": (classifier, {"y": [0, 1, 2, 0, 1, 0]}, ["y", "0 to 1", "2"]),
    "class index below 0": (classifier, {"y": [0, 1, -1, 0, 1, 0]}, ["y", "0 to 1", "-1"]),
    "class index is a fraction": (classifier, {"y": [0, 0.5, 1, 0, 1, 0]}, ["y", "0.5"]),
    "class index is NaN": (classifier, {"y": [0, np.nan, 1, 0, 1, 0]}, ["y", "nan"]),
    "one-hot y": (classifier, {"y": np.eye(2)[[0, 1] * 3]}, ["y", "categorical_crossentropy"]),
    "batch_size 0": (regression, {"batch_size": 0}, ["batch_size", ">= 1", "0"]),
    "batch_size is a float": (regression, {"batch_size": 2.5}, ["batch_size", "integer", "2.5"]),
    "epochs below 0": (regression, {"epochs": -1}, ["epochs", ">= 0", "-1"]),
    "epochs is text": (regression, {"epochs": "5"}, ["epochs", "integer", "'5'"]),
    "epochs is a boolean": (regression, {"epochs": True}, ["epochs", "integer", "True"]),
    "initial_epoch below 0": (regression, {"initial_epoch": -1}, ["initial_epoch", "-1"]),
    "verbose 7": (regression, {"verbose": 7}, ["verbose", "0, 1 or 2", "7"]),
    "validation_split of 1": (
        regression,
        {"validation_split": 1.0},
        ["validation_split", "< 1", "1.0"],
    ),
    "validation_split below 0": (
        regression,
        {"validation_split": -0.1},
        ["validation_split", "-0.1"],
    ),
    "validation_split of almost 1": (
        regression,
        {"validation_split": 0.99},
        ["validation_split", "6 rows"],
    ),
    "validation data without y": (
        regression,
        {"validation_data": X},
        ["validation_data", "(x, y)"],
    ),
    "validation y differs": (
        regression,
        {"validation_data": (X, Y[:4])},
        ["validation_data", "6", "4"],
    ),
    "weights are shorter": (regression, {"sample_weight": np.ones(5)}, ["sample_weight", "6", "5"]),
    "weights have two axes": (
        regression,
        {"sample_weight": np.ones((6, 2))},
        ["sample_weight", "(n,)", "(6, 2)"],
    ),
    "a weight below 0": (
        regression,
        {"sample_weight": [1, 1, -2, 1, 1, 1]},
        ["sample_weight", ">= 0", "-2", "row 2"],
    ),
    "a weight is NaN": (
        regression,
        {"sample_weight": [1, 1, np.nan, 1, 1, 1]},
        ["sample_weight", "nan"],
    ),
    "class weights are a list": (
        classifier,
        {"y": [0, 1] * 3, "class_weight": [1, 2]},
        ["class_weight", "dict", "[1, 2]"],
    ),
    "a class weight below 0": (
        classifier,
        {"y": [0, 1] * 3, "class_weight": {0: -1.0}},
        ["class_weight", ">= 0", "-1.0"],
    ),
    "class weight of a fraction": (
        classifier,
        {"y": [0, 1] * 3, "class_weight": {0.5: 1.0}},
        ["class_weight", "integer", "0.5"],
    ),
    "class weights and sample weights": (
        classifier,
        {"y": [0, 1] * 3, "class_weight": {0: 1.0}, "sample_weight": np.ones(6)},
        ["class_weight", "sample_weight"],
    ),
    "callback of another type": (regression, {"callbacks": [print]}, ["callbacks", "print"]),
}


@pytest.mark.parametrize("case", FIT_CASES)
def test_fit_refuses_wrong_arguments(case: str) -> None:
    make, wrong, words = FIT_CASES[case]
    model = make()
    model.fit(X, Y if make is regression else [0, 1] * 3, verbose=0)
    before, history = model.get_weights(), model.history
    with pytest.raises((TypeError, ValueError)) as caught:
        model.fit(**{"x": X, "y": Y, "verbose": 0, **wrong})
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
    for w, v in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(w, v)
    assert model.history is history


def test_wrong_input_does_not_build_a_model() -> None:
    model = nnfast.Sequential([layers.Dense(2)])
    model.compile("sgd", "mse")
    for x in (np.zeros((4, 2), complex), [["a"]], None):
        with pytest.raises((TypeError, ValueError)):
            model.fit(x, np.zeros((4, 2)), verbose=0)
        assert model.get_weights() == []
    model.fit(np.zeros((4, 3)), np.zeros((4, 2)), verbose=0)
    assert model.input_shape == (None, 3)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "loss_and_grad"])
def test_compile_is_required_first(method: str) -> None:
    model = nnfast.Sequential([layers.Dense(2, input_dim=3)])
    with pytest.raises(ValueError, match=rf"compile.*{method}"):
        getattr(model, method)(X, Y)


@pytest.mark.parametrize("method", ["predict", "predict_on_batch", "__call__"])
def test_predict_refuses_wrong_x(method: str) -> None:
    predict = getattr(regression(), method)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 3\).*\(6, 4\)"):
        predict(np.zeros((6, 4)))
    with pytest.raises(TypeError, match=r"x must .*<U1"):
        predict([["a", "b", "c"]])
    assert predict(np.zeros((0, 3))).shape == (0, 2)


def sparse_matrix() -> Any:
    return pytest.importorskip("scipy.sparse").csr_matrix(X)


def test_sparse_x_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"x\.toarray\(\)"):
        regression().fit(sparse_matrix(), Y, verbose=0)


CONSTRUCTORS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "units 0": (lambda: layers.Dense(0), ["units", ">= 1", "0"]),
    "units 2.5": (lambda: layers.Dense(2.5), ["units", "integer", "2.5"]),
    "activation misspelt": (lambda: layers.Dense(2, "rleu"), ["activation", "'rleu'", "'relu'"]),
    "activation 3": (lambda: layers.Dense(2, 3), ["activation", "3"]),
    "initializer": (
        lambda: layers.Dense(2, kernel_initializer="glorot"),
        ["initializer", "'glorot'", "glorot_uniform"],
    ),
    "input_shape 3": (lambda: layers.Dense(2, input_shape=3), ["input_shape", "tuple", "3"]),
    "input_shape and input_dim": (
        lambda: layers.Dense(2, input_shape=(3,), input_dim=3),
        ["input_shape", "input_dim"],
    ),
    "rate 1.5": (lambda: layers.Dropout(1.5), ["rate", "<= 1", "1.5"]),
    "rate -0.1": (lambda: layers.Dropout(-0.1), ["rate", ">= 0", "-0.1"]),
    "rate is text": (lambda: layers.Dropout("half"), ["rate", "number", "'half'"]),
    "scale NaN": (lambda: layers.Rescaling(float("nan")), ["scale", "finite", "nan"]),
    "Input ()": (lambda: layers.Input(()), ["shape", "()"]),
    "learning rate below 0": (lambda: optimizers.SGD(-1), ["learning_rate", ">= 0", "-1"]),
    "learning rate NaN": (lambda: optimizers.Adam(float("nan")), ["learning_rate", "nan"]),
    "momentum 2": (lambda: optimizers.SGD(momentum=2), ["momentum", "<= 1", "2"]),
    "beta_1 1": (lambda: optimizers.Adam(beta_1=1.0), ["beta_1", "< 1", "1.0"]),
    "epsilon below 0": (lambda: optimizers.Adam(epsilon=-1e-7), ["epsilon", "-1e-07"]),
    "dtype": (lambda: nnfast.Sequential(dtype="float16"), ["dtype", "'float16'", "'float32'"]),
    "default dtype": (lambda: nnfast.set_default_dtype("int8"), ["dtype", "'int8'", "'float64'"]),
    "not a layer": (lambda: nnfast.Sequential([3]), ["layer", "3"]),
    "Input in the middle": (
        lambda: nnfast.Sequential([layers.Dense(2), layers.Input((3,))]),
        ["Input", "first"],
    ),
    "Reshape": (
        lambda: nnfast.Sequential([layers.Input((6,)), layers.Reshape((4, 2))]),
        ["Reshape", "(6,)", "(4, 2)"],
    ),
    "threads 0": (lambda: nnfast.set_num_threads(0), ["positive", "0"]),
    "threads 1.5": (lambda: nnfast.set_num_threads(1.5), ["integer", "1.5"]),
    "seed -1": (lambda: nnfast.set_seed(-1), ["seed", ">= 0", "-1"]),
}


@pytest.mark.parametrize("case", CONSTRUCTORS)
def test_constructors_name_wrong_arguments(case: str) -> None:
    make, words = CONSTRUCTORS[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"optimizer": "adm"}, ["optimizer", "'adm'", "'adam'"]),
        ({"optimizer": 3}, ["optimizer", "3"]),
        ({"loss": "mean_square_error"}, ["loss", "'mean_square_error'", "'mean_squared_error'"]),
        ({"loss": 3}, ["loss", "3"]),
        ({"loss_weights": [1.0, 2.0]}, ["loss_weights", "one entry", "[1.0, 2.0]"]),
        ({"loss_weights": "heavy"}, ["loss_weights", "finite number", "'heavy'"]),
        ({"loss_weights": {"other": 1.0}}, ["loss_weights", "'other'"]),
        ({"weighted_metrics": ["acuracy"]}, ["metric", "'acuracy'", "'accuracy'"]),
        ({"metrics": ["acuracy"]}, ["metric", "'acuracy'", "'accuracy'"]),
        ({"metrics": "acuracy"}, ["metric", "'acuracy'", "'accuracy'"]),
        ({"loss": ["mse", "mae"]}, ["loss", "one entry", "['mse', 'mae']"]),
        ({"loss": {"other": "mse"}}, ["loss", "'other'"]),
        ({"metrics": [["mse"], ["mae"]]}, ["metrics", "one entry"]),
    ],
)
def test_compile_refuses_wrong_arguments(arguments: dict[str, Any], words: list[str]) -> None:
    model = regression()
    optimizer, loss = model.optimizer, model.loss
    with pytest.raises((TypeError, ValueError)) as caught:
        model.compile(**{"optimizer": "sgd", "loss": "mse", **arguments})
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
    assert (model.optimizer, model.loss) == (optimizer, loss)
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([np.zeros((3, 4))], ["4 arrays", "1"]),
        (
            [np.zeros((3, 4)), np.zeros(4), np.zeros((2, 4)), np.zeros(2)],
            ["(4, 2)", "(2, 4)", "2"],
        ),
        ([np.zeros((3, 4)), np.zeros(4), np.zeros((4, 2)), ["a", "b"]], ["weights[3]"]),
    ],
)
def test_set_weights_refuses_wrong_arrays(weights: list[Any], words: list[str]) -> None:
    model = regression()
    before = model.get_weights()
    with pytest.raises((TypeError, ValueError)) as caught:
        model.set_weights(weights)
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
    for w, v in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(w, v)


def test_an_incompatible_layer_is_not_added() -> None:
    model = nnfast.Sequential([layers.Input((4, 3))])
    model.add(layers.Rescaling(2.0))
    with pytest.raises(ValueError, match="Conv2D"):
        model.add(layers.Conv2D(2, 3))
    assert len(model.layers) == 1
    assert model.output_shape == (None, 4, 3)


def test_categorical_crossentropy_needs_flat_outputs() -> None:
    model = nnfast.Sequential([layers.Input((2, 3)), layers.Activation("sigmoid")])
    with pytest.raises(ValueError, match="CategoricalCrossentropy"):
        model.compile("sgd", losses.CategoricalCrossentropy())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kernels.dense_forward(X, Y, np.zeros(2)), ["w", "(3, ", "(6, 2)"]),
        (lambda: kernels.dense_forward(X, X.T, np.zeros(2)), ["b", "(6,)", "(2,)"]),
        (lambda: kernels.dense_forward(X[0], X.T, np.zeros(6)), ["x", "(3,)"]),
        (lambda: kernels.dense_forward(X, X.T, np.zeros(6), activation="rleu"), ["'rleu'"]),
        (
            lambda: kernels.dense_forward(X, X.T, np.zeros(6), out=np.zeros((6, 6), np.float32)),
            ["out", "float64", "float32"],
        ),
        (lambda: kernels.dense_backward(Y, X, X.T, Y), ["w", "(3, 2)", "(3, 6)"]),
        (lambda: kernels.activation_backward(X, Y, "relu"), ["out", "(6, 3)", "(6, 2)"]),
        (lambda: kernels.loss(X, Y), ["y_true", "(n, 2)", "(6, 3)"]),
        (lambda: kernels.loss(Y, Y, "mse", np.ones(5)), ["sample_weight", "6", "5"]),
        (
            lambda: kernels.optimizer_step(np.zeros(3), np.zeros(4), np.zeros((2, 3)), 0),
            ["grads", "(3,)", "(4,)"],
        ),
        (
            lambda: kernels.optimizer_step(np.zeros(3), np.zeros(3), np.zeros((1, 3)), 0),
            ["slots", "(2, 3)", "(1, 3)"],
        ),
        (
            lambda: kernels.optimizer_step(np.zeros(3), np.zeros(3), np.zeros((2, 3)), -1),
            ["iteration", ">= 0", "-1"],
        ),
    ],
)
def test_kernels_name_wrong_arguments(call: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)


def test_a_model_works_after_an_error_in_a_callback() -> None:
    class Fails(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise RuntimeError("a callback's own mistake")

    model = regression()
    with pytest.raises(RuntimeError, match="own mistake"):
        model.fit(X, Y, epochs=3, callbacks=[Fails()], verbose=0)
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


# Targets outside the domain of a loss

OUTSIDE: dict[str, tuple[str, Any, list[str]]] = {
    "-1 and 1": ("binary_crossentropy", [-1, 1], ["from 0 to 1", "from -1 to 1", "0 and 1"]),
    "1 and 2": ("binary_crossentropy", [1, 2], ["from 0 to 1", "from 1 to 2"]),
    "uint8 images": ("binary_crossentropy", np.array([0, 255], np.uint8), ["0 to 255", "y / 255"]),
    "an infinite target": ("binary_crossentropy", [0, np.inf], ["from 0 to inf"]),
    "a negative target and NaN": ("binary_crossentropy", [np.nan, -1], ["from -1 to -1"]),
    "three classes": ("hinge", [0, 1, 2], ["from -1 to 1", "from 0 to 2"]),
    "negative counts": ("poisson", [3, -1], [">= 0", "from -1 to 3"]),
    "signs, not one-hot": (
        "categorical_crossentropy",
        [[-1, 1], [1, -1]],
        ["from 0 to 1", "from -1 to 1", "sparse_categorical_crossentropy"],
    ),
    "negative in msle": ("mean_squared_logarithmic_error", [0.0, -1.0], [">= 0", "huber"]),
    "2 in squared hinge": ("squared_hinge", [0.0, 2.0], ["-1 to 1", "to 2"]),
    "focal": ("binary_focal_crossentropy", [0.0, 2.0], ["0 to 1", "y.max()"]),
    "kl": ("kl_divergence", [[0.5, 1.5], [1.0, 0.0]], ["0 to 1", "probabilities"]),
    "focal one-hot": ("categorical_focal_crossentropy", [[0, 5], [1, 0]], ["one-hot"]),
    "categorical hinge": ("categorical_hinge", [[0, -1], [1, 0]], ["one-hot"]),
}


def model_with_loss(loss: Any, n_out: int = 1, dtype: str = "float32") -> Any:
    final = "exponential" if loss == "poisson" else "sigmoid" if n_out == 1 else "softmax"
    model = nnfast.Sequential([layers.Dense(n_out, final, input_dim=1)], dtype=dtype)
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", OUTSIDE)
def test_targets_outside_the_range_are_refused(case: str, dtype: str) -> None:
    loss, targets, words = OUTSIDE[case]
    wrong = np.asarray(targets)
    good = np.zeros(wrong.shape)
    x, rows = np.ones((len(wrong), 1)), wrong.reshape(len(wrong), -1)
    model = model_with_loss(loss, rows.shape[1], dtype)
    calls: list[Callable[[], Any]] = [
        lambda: model.fit(x, wrong, verbose=0),
        lambda: model.fit(x, good, validation_data=(x, wrong), verbose=0),
        lambda: model.fit(iter([(x, wrong)]), verbose=0),
        lambda: model.fit(iter([(x, good), (x, wrong)]), steps_per_epoch=2, verbose=0),
        lambda: model.fit(x, good, validation_data=iter([(x, wrong)]), verbose=0),
        lambda: model.evaluate(x, wrong, verbose=0),
        lambda: model.train_on_batch(x, wrong),
        lambda: model.test_on_batch(x, wrong),
        lambda: model.loss_and_grad(x, wrong),
        lambda: model.input_gradient(x, wrong),
        lambda: kernels.loss(rows, np.full(rows.shape, 0.5), loss),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=nnfast.losses.resolve(loss).__class__.__name__) as e:
            call()
        assert not [word for word in words if word not in str(e.value)], str(e.value)


INSIDE: dict[str, tuple[Any, int, Any]] = {
    "soft targets": ("binary_crossentropy", 1, [0.0, 0.3, 1.0]),
    "rounded in float32": ("binary_crossentropy", 1, [1 + 1e-6, -1e-6]),
    "rounded in float16": ("binary_crossentropy", 1, np.array([1.001, -0.0005], np.float16)),
    "logits": (losses.BinaryCrossentropy(from_logits=True), 1, [0.0, 1.0]),
    "smoothed": (losses.BinaryCrossentropy(label_smoothing=0.2), 1, [0.0, 1.0]),
    "booleans": ("binary_crossentropy", 1, [True, False]),
    "probabilities": ("categorical_crossentropy", 2, [[0.25, 0.75], [1.0, 0.0]]),
    "smoothed one-hot": (losses.CategoricalCrossentropy(label_smoothing=0.1), 2, [[0, 1], [1, 0]]),
    "signs": ("hinge", 1, [-1, 1]),
    "large counts": ("poisson", 1, [0, 0.5, 1e6]),
    "any number": ("mean_squared_error", 1, [-1e6, 1e6]),
}


@pytest.mark.parametrize("case", INSIDE)
def test_targets_within_the_range_are_accepted(case: str) -> None:
    loss, n_out, targets = INSIDE[case]
    y = np.asarray(targets)
    model = model_with_loss(loss, n_out)
    assert np.isfinite(model.evaluate(np.ones((len(y), 1)), y, verbose=0))


@pytest.mark.parametrize(
    "loss",
    [
        *("binary_crossentropy", "hinge", "poisson", "squared_hinge", "kl_divergence"),
        *("binary_focal_crossentropy", "categorical_focal_crossentropy", "categorical_hinge"),
        *("mean_absolute_percentage_error", "mean_squared_logarithmic_error"),
        "cosine_similarity",
    ],
)
def test_nan_targets_stop_training(loss: str) -> None:
    """NaN passes the range check, and the loss becomes NaN."""
    with pytest.warns(RuntimeWarning, match="loss is not finite"):
        model_with_loss(loss).fit(np.ones((2, 1)), [0.0, np.nan], verbose=0)


def test_the_range_of_every_target_is_checked() -> None:
    for size in (1, 7, 16, 33):
        for at in range(size):
            for dtype in (np.float32, np.float64):
                array = np.full(size, 0.5, dtype)
                assert nnfast._engine.in_range(array, 0.0, 1.0)
                array[at] = 1.5
                assert not nnfast._engine.in_range(array, 0.0, 1.0)
                array[at] = -0.5
                assert not nnfast._engine.in_range(array, 0.0, 1.0)
    assert nnfast._engine.in_range(np.empty((0, 3)), 0.0, 1.0)
    with pytest.raises(TypeError, match="float32 or float64"):
        nnfast._engine.in_range(np.ones(2, np.int32), 0.0, 1.0)


# Class weights


@pytest.mark.parametrize(
    "keys",
    [
        (0.0, 1.0),
        (np.float64(0), np.float32(1)),
        (False, True),
        (np.bool_(0), np.bool_(1)),
        (np.int8(0), np.uint64(1)),
    ],
)
def test_class_weights_accept_any_integer_valued_keys(keys: tuple[Any, Any]) -> None:
    y = np.array([0, 1, 1, 0, 0, 1])
    for k in ((0, 1), keys):
        model = classifier()
        model.set_weights([np.zeros((3, 2)), np.zeros(2)])
        loss = model.train_on_batch(
            np.ones((6, 3)), y, class_weight=dict(zip(k, (1.0, 4.0), strict=True))
        )
        assert loss == pytest.approx((3 * 1.0 + 3 * 4.0) * np.log(2) / 6, rel=1e-6)


@pytest.mark.parametrize("key", [0.5, np.float32(1.5), np.nan, np.inf, -1, -1.0, "0", None])
def test_keys_that_are_not_classes_are_refused(key: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="each class of class_weight"):
        classifier().train_on_batch(X, [0, 1] * 3, class_weight={key: 1.0})


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1)])
def test_class_weights_apply_to_hinge(labels: tuple[int, int]) -> None:
    model = model_with_loss("hinge")
    model.set_weights(
        [[[0.0]], [0.0]]
    )  # the output is 1/2; the loss is 3/2 for class 0 and 1/2 for class 1
    y = np.array(labels)[[0, 0, 1, 1]]
    loss = model.train_on_batch(np.ones((4, 1)), y, class_weight={0: 3.0, 1: 5.0})
    assert loss == pytest.approx((2 * 3.0 * 1.5 + 2 * 5.0 * 0.5) / 4)


# Models that cannot learn

USELESS: dict[str, tuple[list[Any], Any, str]] = {
    "softmax": ([layers.Dense(1, activation="softmax")], "mse", "softmax over one output"),
    "softmax in a separate layer": (
        [layers.Dense(1), layers.Activation("softmax")],
        "binary_crossentropy",
        "softmax over one output",
    ),
    "hidden softmax": (
        [layers.Dense(1, activation="softmax"), layers.Dense(2)],
        "mse",
        "softmax over one output",
    ),
    "categorical": (
        [layers.Dense(1, activation="sigmoid")],
        "categorical_crossentropy",
        "CategoricalCrossentropy of one output",
    ),
    "categorical logits": (
        [layers.Dense(1)],
        losses.CategoricalCrossentropy(from_logits=True),
        "CategoricalCrossentropy of one output",
    ),
    "sparse": (
        [layers.Dense(1, activation="sigmoid")],
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy of one output",
    ),
}


def copy_of(stack: list[Any]) -> Any:
    return nnfast.Sequential([type(layer).from_config(layer.get_config()) for layer in stack])


@pytest.mark.parametrize("case", USELESS)
@pytest.mark.parametrize("late", [False, True])
def test_models_that_cannot_learn_are_warned_of(case: str, late: bool) -> None:
    stack, loss, message = USELESS[case]
    model = copy_of(stack)

    def compile_it() -> None:
        model.compile("sgd", loss)

    def build_it() -> None:
        model.build((None, 3))

    first, second = (compile_it, build_it) if late else (build_it, compile_it)
    first()
    with pytest.warns(UserWarning, match=message) as caught:
        second()
    assert {w.filename for w in caught} == {__file__}
    first = model.layers[0].get_weights()
    y = np.zeros(6) if model.loss.sparse else np.ones((6, *model.output_shape[1:]))
    model.fit(np.ones((6, 3)), y, verbose=0)
    for w, v in zip(model.layers[0].get_weights(), first, strict=True):
        np.testing.assert_array_equal(w, v)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("stack", "loss"),
    [
        ([layers.Dense(2, activation="softmax")], "categorical_crossentropy"),
        ([layers.Dense(2, activation="softmax")], "binary_crossentropy"),
        ([layers.Dense(1, activation="sigmoid")], "binary_crossentropy"),
    ],
)
def test_models_that_can_learn_are_not_warned_of(stack: list[Any], loss: str) -> None:
    model = copy_of(stack)
    model.build((None, 3))
    model.compile("sgd", loss)


# Errors name the caller's argument, not internal values

JUNK: tuple[Any, ...] = (5, -1, "x", b"x", 1.5, np.nan, [], {}, object(), (1, 2), np.array("a"))
PATHS = (5, None, 1.5, [], b"x", object())

# Case: (call, invalid arguments, message text).
JUNK_CASES: dict[str, tuple[Callable[[Any], Any], tuple[Any, ...], str]] = {
    "load_model": (nnfast.load_model, PATHS, "path must be a path"),
    "load_weights": (lambda j: regression().load_weights(j), PATHS, "path must be a path"),
    "saving.read": (container.read, PATHS, "path must be a path"),
    "save": (lambda j: regression().save(j), PATHS, "path must be a path"),
    "model_from_json": (nnfast.models.model_from_json, (*JUNK, None), "json_string must be"),
    "clone_model": (nnfast.models.clone_model, (*JUNK, None), "model must be a Model"),
    "from_config": (
        nnfast.Sequential.from_config,
        (*JUNK, None, {"layers": []}),
        "config must be a dict with name, dtype, input_shape, layers",
    ),
    "get_layer": (
        lambda j: regression().get_layer(index=j),
        ("x", b"x", 1.5, [], {}, True, np.array("a")),
        "index must be an integer",
    ),
    "set_weights": (
        lambda j: regression().set_weights(j),
        (5, None, 1.5, {}, object(), "x", b"x", np.array("a")),
        "weights must be a list or a tuple",
    ),
    "Layer.set_weights": (
        lambda j: regression().layers[0].set_weights(j),
        (5, None, 1.5, {}, object(), "x"),
        "weights must be a list or a tuple",
    ),
    "set_flat_weights": (
        lambda j: regression().set_flat_weights(j),
        (5, 1.5, [], (1, 2), np.zeros((26, 1))),
        "theta must have shape \\(26,\\), as get_flat_weights gives it",
    ),
    "loss_and_grad_flat": (
        lambda j: regression().loss_and_grad_flat(j, X, Y),
        (None, "x", {}),
        "theta ",
    ),
    "Sequential": (nnfast.Sequential, (5, 1.5, object(), True), "layers must be a list of layers"),
    "set_default_dtype": (
        nnfast.set_default_dtype,
        (*JUNK, None, int, np.float16),
        "Unknown dtype .* Valid: 'float32', 'float64'",
    ),
    "summary": (lambda j: regression().summary(print_fn=j), JUNK, "print_fn must be callable"),
}


@pytest.mark.parametrize("case", JUNK_CASES)
def test_errors_name_the_argument(case: str) -> None:
    call, junk, words = JUNK_CASES[case]
    for value in junk:
        with pytest.raises((TypeError, ValueError), match=words):
            call(value)


def test_summary_prints_the_lines_of_print_fn(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    model = regression()
    model.summary()
    model.summary(print_fn=lines.append)
    assert capsys.readouterr().out.splitlines() == "\n".join(lines).splitlines()


def test_errors_about_other_files_say_what_they_contain(tmp_path: Path) -> None:
    model = regression()
    model.save_weights(tmp_path / "weights")
    with pytest.raises(ValueError, match=r"it holds weights alone; .* call its load_weights"):
        nnfast.load_model(tmp_path / "weights")
    container.write(tmp_path / "other", {}, {"name": "a"})
    with pytest.raises(ValueError, match=r"not a model saved by nnfast: .* lacks 'model'"):
        nnfast.load_model(tmp_path / "other")
    with pytest.raises(ValueError, match=r"not a model saved by nnfast: .* lacks 'layers'"):
        model.load_weights(tmp_path / "other")
    pytest.importorskip("sklearn")
    estimator = nnfast.MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs").fit(X, X[:, 0])
    estimator.save(tmp_path / "estimator")
    with pytest.raises(ValueError, match=r"it holds an estimator, which nnfast\.load_model reads"):
        model.load_weights(tmp_path / "estimator")


def test_training_limits_the_number_of_rows(tmp_path: Path) -> None:
    """The memmap is a sparse file that is never read."""
    x = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(2**31, 1))
    model = nnfast.Sequential([layers.Dense(1)])
    model.compile("adam", "mse")
    for call in (
        lambda: model.fit(x, np.zeros(1)),
        lambda: model.train_on_batch(x, np.zeros(1)),
        lambda: model.fit(iter([(x, np.zeros(1))])),
        lambda: model.train_on_gradient(x, np.zeros(1)),
    ):
        with pytest.raises(ValueError, match="must have at most 2147483647 rows for training"):
            call()


def test_estimators_limit_the_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(checked, "MOST_ROWS", 5)
    one = nnfast.MLPRegressor(hidden_layer_sizes=(3,))
    for call in (one.fit, one.partial_fit):
        with pytest.raises(ValueError, match="X must have at most 5 rows for training; received 6"):
            call(X, X[:, 0])
    assert not hasattr(one, "coefs_")

"""Models with several inputs and outputs are trained, evaluated and saved."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import Model, callbacks, layers
from nnfast._plan.symbolic import leaves
from nnfast.keras import tf
from nnfast.models import clone_model, load_model

RNG = np.random.default_rng(0)
N = 44
A, B = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 4))
V, K = RNG.normal(size=(N, 2)), RNG.integers(0, 3, N)
W1, W2 = RNG.uniform(0.5, 2, (2, N))
SPARSE = "sparse_categorical_crossentropy"
METRICS = [["mae"], ["accuracy"]]
QUIET: dict[str, Any] = {"verbose": 0, "shuffle": False, "batch_size": 10}


def made(
    losses: Any = ("mse", SPARSE), keyed: bool = False, dropout: float = 0.3, **compiled: Any
) -> Any:
    """Return a compiled model with the inputs a and b and the outputs value and kind."""
    nnfast.set_seed(1)
    a, b = nnfast.Input((3,), name="a"), nnfast.Input((4,), name="b")
    h = layers.concatenate(
        [layers.Dense(5, activation="tanh", kernel_regularizer="l2")(a), layers.Dense(4)(b)]
    )
    h = layers.Dropout(dropout)(h)
    value = layers.Dense(2, name="value")(h)
    kind = layers.Dense(3, activation="softmax", name="kind")(h)
    outputs: Any = {"value": value, "kind": kind} if keyed else [value, kind]
    model = Model({"a": a, "b": b} if keyed else [a, b], outputs)
    if keyed and isinstance(losses, tuple):
        losses = {"value": losses[0], "kind": losses[1]}
    model.compile("adam", list(losses) if isinstance(losses, tuple) else losses, **compiled)
    return model


def fitted(x: Any, y: Any, model: Any = None, **options: Any) -> tuple[Any, Any]:
    """Return the History and the weights after training."""
    model = model or made(metrics=METRICS)
    history = model.fit(x, y, **{**QUIET, "epochs": 3, **options}).history
    return history, model.get_weights()


def assert_same(one: Any, two: Any) -> None:
    """Check that the results of `fitted` are bit-identical."""
    assert one[0] == two[0]
    for a, b in zip(one[1], two[1], strict=True):
        np.testing.assert_array_equal(a, b)


EXPECTED = fitted([A, B], [V, K])


# ---- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("x", [[A, B], (A, B), {"b": B, "a": A, "c": None}])
def test_arrays_are_passed_in_lists_tuples_and_dicts(x: Any, keyed: bool) -> None:
    ys: list[Any] = [{"kind": K, "value": V}]
    ys += [[K, V], (K, V)] if keyed else [[V, K], (V, K[:, None])]
    metrics = {"value": ["mae"], "kind": "accuracy"}
    expected = EXPECTED  # a dict of outputs has another order of weights
    if keyed:
        expected = fitted({"a": A, "b": B}, ys[0], made(keyed=keyed, metrics=metrics))
    for y in ys:
        assert_same(fitted(x, y, made(keyed=keyed, metrics=metrics)), expected)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int16", "int64", "bool"])
def test_inputs_have_their_own_dtypes(dtype: str) -> None:
    b = (B > 0).astype(dtype)
    assert_same(fitted([A, b], [V, K]), fitted([A, b.astype("float32")], [V, K]))
    assert_same(fitted([A[:, ::-1], b], [V, K]), fitted([A[:, ::-1].copy(), b.copy()], [V, K]))
    model = made()
    np.testing.assert_array_equal(
        model.predict([A, b])[0], model.predict([A, b.astype("float32")])[0]
    )


def batches(x: Any, y: Any, size: int = 10) -> list[Any]:
    """Return the batches of x and y in their structure."""

    def part(value: Any, rows: slice) -> Any:
        if isinstance(value, dict):
            return {key: own[rows] for key, own in value.items()}
        return tuple(own[rows] for own in value)

    slices = [slice(start, start + size) for start in range(0, N, size)]
    return [(part(x, rows), part(y, rows)) for rows in slices]


class Indexed:
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


STREAMS: dict[str, Callable[[Any, Any], Any]] = {
    "iterable": lambda x, y: type("It", (), {"__iter__": lambda self: iter(batches(x, y))})(),
    "dataset": lambda x, y: Indexed(batches(x, y)),
    "tf.data": lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(10),
}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("dicts", [False, True])
def test_streams_give_the_results_of_arrays(kind: str, dicts: bool) -> None:
    x: Any = {"a": A, "b": B} if dicts else (A, B)
    y: Any = {"value": V, "kind": K} if dicts else (V, K)
    stream = STREAMS[kind](x, y)
    options = {**QUIET, "batch_size": None}
    model = made(metrics=METRICS)
    history = model.fit(stream, epochs=3, validation_data=STREAMS[kind](x, y), **options).history
    other = made(metrics=METRICS)
    expected = other.fit([A, B], [V, K], epochs=3, validation_data=([A, B], [V, K]), **QUIET)
    assert list(history) == list(expected.history)
    for key, values in expected.history.items():
        assert history[key] == pytest.approx(values, rel=1e-6), key
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    values = model.evaluate(STREAMS[kind](x, y), verbose=0)
    assert values == pytest.approx(other.evaluate([A, B], [V, K], verbose=0), rel=1e-6)
    for one, two in zip(model.predict(STREAMS[kind](x, y)), model.predict([A, B]), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_a_generator_may_weight_each_output() -> None:
    def weighted() -> Iterator[Any]:
        for start in range(0, N, 10):
            rows = slice(start, start + 10)
            yield (
                {"a": A[rows], "b": B[rows]},
                {"value": V[rows], "kind": K[rows]},
                {"value": W1[rows], "kind": None},
            )

    model, other = made(), made()
    options = {"verbose": 0, "shuffle": False}
    model.fit(weighted(), **options)
    other.fit([A, B], [V, K], sample_weight=[W1, None], batch_size=10, **options)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_validation_takes_the_last_rows_of_all_arrays() -> None:
    split = fitted([A, B], [V, K], validation_split=0.25, sample_weight=[W1, W2])
    train, held = slice(0, 33), slice(33, None)
    given = fitted(
        [A[train], B[train]],
        [V[train], K[train]],
        sample_weight=[W1[train], W2[train]],
        validation_data=(
            {"a": A[held], "b": B[held]},
            {"value": V[held], "kind": K[held]},
            {"value": W1[held], "kind": W2[held]},
        ),
    )
    assert_same(split, given)
    assert [*split[0]][5:] == [f"val_{key}" for key in [*split[0]][:5]]


def test_sample_weights_are_for_all_outputs_or_for_each() -> None:
    weights = {"weighted_metrics": METRICS}
    one = fitted([A, B], [V, K], made(**weights), sample_weight=W1)
    assert_same(one, fitted([A, B], [V, K], made(**weights), sample_weight=[W1, W1]))
    by_name = {"kind": W1, "value": W1}
    assert_same(one, fitted([A, B], [V, K], made(**weights), sample_weight=by_name))
    model = made(**weights)
    logs = model.test_on_batch([A, B], [V, K], sample_weight=[W1, None], return_dict=True)
    value, kind = model.predict([A, B])
    assert logs["value_loss"] == pytest.approx((W1 * ((value - V) ** 2).mean(1)).mean())
    assert logs["kind_loss"] == pytest.approx(-np.log(kind[np.arange(N), K]).mean())
    assert logs["value_mae"] == pytest.approx((W1 * abs(value - V).mean(1)).sum() / W1.sum())


def test_class_weight_needs_one_output_only() -> None:
    a, b = nnfast.Input((3,)), nnfast.Input((4,))
    kind = layers.Dense(3, activation="softmax")(layers.concatenate([a, b]))
    weight = {0: 2.0, 2: 0.5}
    table = np.array([2.0, 1.0, 0.5])
    results = []
    for options in ({"class_weight": weight}, {"sample_weight": table[K]}):
        model = clone_model(Model([a, b], kind))
        nnfast.set_seed(0)
        model.set_weights([np.full(w.shape, 0.1) for w in model.get_weights()])
        model.compile("sgd", SPARSE)
        results.append(fitted([A, B], K, model, **options))
    assert_same(*results)
    with pytest.raises(ValueError, match=r"class_weight needs a model with one output; .* 2"):
        made().fit([A, B], [V, K], class_weight=weight)


# ---- losses and metrics --------------------------------------------------------------------------


def test_the_total_loss_is_the_weighted_sum_with_penalties() -> None:
    for weights in ([0.5, 3.0], {"kind": 3.0, "value": 0.5}):
        model = made(loss_weights=weights, metrics=METRICS)
        logs = model.evaluate([A, B], [V, K], verbose=0, return_dict=True)
        penalty = sum(float(loss) for loss in model.losses)
        total = 0.5 * logs["value_loss"] + 3 * logs["kind_loss"] + penalty
        assert logs["loss"] == pytest.approx(total)
        assert list(logs) == ["loss", "value_loss", "kind_loss", "kind_accuracy", "value_mae"]
        assert model.metrics_names == list(logs)
        assert model.evaluate([A, B], [V, K], verbose=0) == list(logs.values())
        assert [model.metric_direction(key) for key in logs] == ["down"] * 3 + ["up", "down"]
        assert [type(loss).__name__ for loss in model.loss] == [
            "MeanSquaredError",
            "SparseCategoricalCrossentropy",
        ]


def test_gradients_are_those_of_the_total_loss() -> None:
    nnfast.set_default_dtype("float64")
    try:
        model = made(loss_weights=[0.5, 3.0])
    finally:
        nnfast.set_default_dtype("float32")
    theta = model.get_flat_weights()
    loss, gradient = model.loss_and_grad_flat(theta, [A, B], [V, K], [W1, None])
    assert loss == model.evaluate([A, B], [V, K], sample_weight=[W1, None], verbose=0)[0]
    direction = np.random.default_rng(1).normal(size=theta.size)
    up, down = (
        model.loss_and_grad_flat(theta + step * direction, [A, B], [V, K], [W1, None])[0]
        for step in (1e-5, -1e-5)
    )
    assert (up - down) / 2e-5 == pytest.approx(gradient @ direction, rel=1e-6)


def mse(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    error = y_pred - y_true
    y_true[:] = y_pred[:] = np.nan  # it received copies
    return (error**2).mean(axis=1), 2 * error / error.shape[1]


@pytest.mark.parametrize("weights", [None, [0.5, 3.0]])
def test_losses_may_be_user_defined(weights: Any) -> None:
    results = []
    for losses in [["mse", SPARSE], [mse, SPARSE], [mse, SPARSE]]:
        model = made(losses, loss_weights=weights, metrics=[["mae"], None])
        history, _ = fitted([A, B], [V, K], model, sample_weight=[W1, None])
        losses = model.evaluate([A, B], [V, K], sample_weight=[W1, None], verbose=0)
        loss, gradients = model.loss_and_grad([A, B], [V, K], [W1, None])
        assert loss == losses[0]
        step = model.train_on_batch([A, B], [V, K])
        results.append([*history.values(), losses, *gradients, *model.get_weights(), step])
    for built_in, own, again in zip(*results, strict=True):
        np.testing.assert_allclose(own, built_in, rtol=2e-4, atol=1e-6)
        np.testing.assert_array_equal(own, again)


def test_the_only_loss_may_be_user_defined_and_weighted() -> None:
    results = []
    for loss in ("mse", mse):
        nnfast.set_seed(0)
        x = nnfast.Input((3,))
        model = Model(x, layers.Dense(2, name="out")(x))
        model.compile("sgd", loss, loss_weights=[2.0])
        history, weights = fitted(A, V, model)
        gradients = model.loss_and_grad(A, V)[1]
        gradients.append(model.input_gradient(A, V))
        results.append([*history.values(), *weights, *gradients, model.evaluate(A, V, verbose=0)])
    for built_in, own in zip(*results, strict=True):
        np.testing.assert_allclose(own, built_in, rtol=1e-5, atol=1e-7)


def test_saving_warns_of_user_defined_losses(tmp_path: Path) -> None:
    model = made([mse, SPARSE])
    with pytest.warns(UserWarning, match="Loss mse is a function and is not saved"):
        model.save(tmp_path / "model.nnfast")
    loaded = load_model(tmp_path / "model.nnfast")
    with pytest.raises(ValueError, match=r"Call compile\(optimizer, loss\) before fit"):
        loaded.fit([A, B], [V, K])


def test_one_loss_is_for_all_outputs() -> None:
    one_hot = np.eye(3)[K]
    one, list_of = (made(losses) for losses in ("mse", ["mse", "mse"]))
    assert_same(fitted([A, B], [V, one_hot], one), fitted([A, B], [V, one_hot], list_of))


@pytest.mark.parametrize("keyed", [False, True])
def test_an_output_without_a_loss_is_not_trained(keyed: bool) -> None:
    losses: Any = {"kind": SPARSE} if keyed else [None, SPARSE]
    model = made(losses, keyed, metrics={"value": ["mae"], "kind": ["accuracy"]})
    before = model.get_layer("value").get_weights()
    history = model.fit([A, B], {"value": V, "kind": K}, epochs=2, **QUIET).history
    assert list(history) == ["loss", "kind_accuracy", "value_mae"]
    for one, two in zip(before, model.get_layer("value").get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(TypeError, match=r"y\['value'\] is missing"):
        model.evaluate([A, B], {"value": None, "kind": K}, verbose=0)
    model.compile("adam", losses, metrics={"kind": ["accuracy"]})
    logs = model.evaluate([A, B], {"value": None, "kind": K}, verbose=0, return_dict=True)
    kind = model.predict([A, B])["kind" if keyed else 1]
    penalty = sum(float(loss) for loss in model.losses)
    assert logs["loss"] == pytest.approx(-np.log(kind[np.arange(N), K]).mean() + penalty)


def test_weight_of_the_only_loss() -> None:
    results = []
    for weights in (None, 2.0, [2.0], {"out": 2.0}):
        nnfast.set_seed(0)
        x = nnfast.Input((3,))
        model = Model(x, layers.Dense(2, name="out")(x))
        model.compile("sgd", "mse", loss_weights=weights)
        _, gradient = model.loss_and_grad(A, V)
        history = model.fit(A, V, epochs=1, **QUIET).history["loss"]
        results.append((history[0] if weights else None, gradient, model.evaluate(A, V, verbose=0)))
    for loss, gradient, _ in results[1:]:
        assert loss == results[1][0]
        for one, two in zip(results[0][1], gradient, strict=True):
            np.testing.assert_allclose(2 * one, two, rtol=1e-6)


def test_names_of_metrics_are_unique() -> None:
    x = nnfast.Input((3,))
    head = layers.Dense(2, name="head")
    model = Model(x, [head(x), head(x * 2.0)])
    model.compile("sgd", "mse", [["mae", "mae"], ["mae"]], [["mae"], []])
    history = model.fit(A, [V, V], **QUIET).history
    keys = ["head_mae", "head_mae_1", "head_mae_2", "head_weighted_mae"]
    assert list(history) == ["loss", "head_loss", "head_loss_1", *keys]
    with pytest.raises(ValueError, match=r"y must have .* \['head', 'head'\]"):
        model.fit(A, {"head": V})


def test_losses_of_many_epochs_are_those_of_single_epochs() -> None:
    """Without metrics and callbacks, a run of the engine spans several epochs."""
    alone, [weights, *_] = fitted([A, B], [V, K], made())
    for hook in ("on_epoch_end", "on_train_batch_end"):
        seen: list[Any] = []
        observer = callbacks.LambdaCallback(**{hook: lambda _, logs, to=seen: to.append({**logs})})
        watched, [other, *_] = fitted([A, B], [V, K], made(), callbacks=[observer])
        assert list(watched) == list(alone) == ["loss", "value_loss", "kind_loss"]
        np.testing.assert_array_equal(weights, other)
        for key, values in alone.items():
            assert watched[key] == pytest.approx(values, rel=1e-6)
            assert seen[-1][key] == pytest.approx(values[-1], rel=1e-6)


def test_callbacks_monitor_the_losses_of_outputs() -> None:
    stop = callbacks.EarlyStopping("val_kind_loss", patience=1, restore_best_weights=True)
    model = made(metrics=METRICS)
    model.fit([A, B], [V, K], epochs=60, validation_split=0.5, callbacks=[stop], **QUIET)
    values = model.history.history["val_kind_loss"]
    assert min(values) == stop.best
    observer = callbacks.LambdaCallback(on_test_batch_end=lambda _, logs: None)
    plain, watched = (
        model.evaluate([A, B], [V, K], 10, verbose=0, callbacks=used) for used in (None, observer)
    )
    assert watched == pytest.approx(plain, rel=1e-6)
    first = model.evaluate([A[:20], B[:20]], [V[:20], K[:20]], verbose=0)
    assert model.evaluate([A, B], [V, K], 10, steps=2, verbose=0) == first


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    results = []
    for threads in (1, 2):
        model = made(metrics=METRICS)
        model.n_threads = threads
        results.append(fitted([A, B], [V, K], model, shuffle=True, batch_size=44))
    assert_same(*results)


def test_training_ends_before_a_loss_that_is_not_finite() -> None:
    targets = V.copy()
    targets[25] = np.nan
    model = made(metrics=METRICS)
    expected = fitted([A[:20], B[:20]], [V[:20], K[:20]], made(), epochs=1)[1]
    with pytest.warns(RuntimeWarning, match="epoch 1/2, batch 3"):
        model.fit([A, B], [targets, K], epochs=2, **QUIET)
    for one, two in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, two)


# ---- predictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True])
def test_predictions_have_the_structure_of_the_outputs(keyed: bool) -> None:
    model = made(keyed=keyed)
    expected = model.predict([A, B])
    assert (list(expected) == ["kind", "value"]) if keyed else (type(expected) is list)
    observer = callbacks.LambdaCallback(on_predict_batch_end=lambda _, logs: None)
    stream = (({"a": A[i : i + 9], "b": B[i : i + 9]},) for i in range(0, N, 9))
    for again in (
        model.predict({"a": A, "b": B}, 7, callbacks=[observer]),
        model.predict(stream),
        model.predict_on_batch((A, B)),
        model([A, B]),
    ):
        assert type(again) is type(expected)
        for one, two in zip(leaves(again), leaves(expected), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    assert all(array.numpy() is not None for array in leaves(model([A, B])))
    assert [len(array) for array in leaves(model.predict([A, B], 7, steps=2))] == [14, 14]
    assert [len(array) for array in leaves(model.predict([A[:0], B[:0]]))] == [0, 0]


@pytest.mark.parametrize("rows", [1, 3, 44])
def test_small_arrays_are_predicted_in_place(rows: int) -> None:
    """The engine reads them itself; other arrays are checked and converted in Python."""
    model = made()
    for kinds in (("f4", "f4"), ("f8", "f4"), ("u1", "f8")):
        x = [np.abs(part[:rows]).astype(kind) for part, kind in zip((A, B), kinds, strict=True)]
        engine = model._built().engine
        assert isinstance(engine.predict(x), list)
        assert engine.predict([part.astype("f2") for part in x]) is None
        checked = model.predict([np.repeat(part, 2, axis=0)[::2] for part in x])
        for outputs in (model(x), model(tuple(x)), model.predict(x)):
            assert isinstance(outputs, list)
            for output, expected in zip(outputs, checked, strict=True):
                np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([A, B[:-1]], r"x\['b'\] must have 44 rows"),
        ([A, A], r"x\['b'\] must have shape \(n, 4\)"),
        ([A], "one entry for each of"),
        ([A, B, B], "one entry for each of"),
    ],
)
def test_small_arrays_that_do_not_fit_are_refused(x: Any, message: str) -> None:
    for call in (made(), made().predict_on_batch):
        with pytest.raises(ValueError, match=message):
            call(x)


def test_nested_and_many_outputs_keep_their_structure() -> None:
    x = nnfast.Input((3,))
    outputs = [layers.Dense(1)(x) for _ in range(6)]
    nested, many = Model(x, [outputs[0], outputs[1:3]]), Model(x, outputs)
    first, rest = nested.predict(A)
    assert first.shape == (N, 1)
    assert [part.shape for part in rest] == [(N, 1)] * 2
    for one, two in zip(many.predict(A), [first, *rest], strict=False):
        np.testing.assert_array_equal(one, two)


def test_outputs_may_be_nested() -> None:
    x = nnfast.Input((3,))
    parts = {"u": layers.Dense(2, name="d2")(x), "v": [layers.Dense(1, name="d3")(x)]}
    model = Model(x, [layers.Dense(2, name="d1")(x), parts])
    metrics = [["mae"], {"u": ["mse"], "v": [None]}]
    model.compile("sgd", ["mse", {"u": "mae", "v": ["mse"]}], metrics=metrics)
    y = [V, {"u": V, "v": (V[:, 0],)}]
    keys = ["loss", "d1_loss", "1/u_loss", "1/v/d3_loss", "1/u_mse", "d1_mae"]
    assert list(model.fit(A, y, **QUIET).history) == keys
    first, rest = model.predict(A)
    assert first.shape == rest["u"].shape == (N, 2)
    assert [array.shape for array in rest["v"]] == [(N, 1)]
    for wrong in ([V, V], [V, {"u": V}], {"d1": V, "u": V}):
        with pytest.raises(ValueError, match="y must have one entry for each of"):
            model.evaluate(A, wrong)


def test_a_dict_of_one_output_gives_a_dict() -> None:
    x = nnfast.Input((3,), name="x")
    y = layers.Dense(2)(x)
    model = Model(x, {"only": y})
    model.compile("sgd", {"only": "mse"}, metrics={"only": ["mae"]})
    assert list(model.fit({"x": A}, {"only": V}, **QUIET).history) == ["loss", "mae"]
    assert model.predict(A)["only"].shape == model(A)["only"].shape == (N, 2)
    for ends in (y, [y], (y,)):
        assert Model(x, ends).predict({"x": A, "other": B}).shape == (N, 2)
    several = Model([a := nnfast.Input((3,)), b := nnfast.Input((3,))], layers.add([a, b]))
    np.testing.assert_allclose(several([A, A]), 2 * A, rtol=1e-6)
    with pytest.raises(ValueError, match="x must have one entry for each of"):
        several(np.float32(1.0))


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True])
def test_training_goes_on_after_saving(keyed: bool, tmp_path: Path) -> None:
    metrics = {"value": ["mae"], "kind": ["accuracy"]}
    options = {"loss_weights": {"value": 0.5, "kind": 2.0}, "metrics": metrics}
    model = made(keyed=keyed, weighted_metrics={"kind": ["accuracy"]}, **options)
    y = {"value": V, "kind": K}
    model.fit([A, B], y, epochs=2, **QUIET)
    model.save(tmp_path / "model")
    copies = [load_model(tmp_path / "model"), pickle.loads(pickle.dumps(model))]
    expected = fitted([A, B], y, model)
    for copy in copies:
        assert_same(fitted([A, B], y, copy), expected)
    fresh = clone_model(model)
    assert list(fresh.fit([A, B], y, **QUIET).history) == list(expected[0])


def test_training_goes_on_after_an_interruption(tmp_path: Path) -> None:
    backup = callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    made().fit([A, B], [V, K], epochs=2, callbacks=[backup], **QUIET)
    model = made()
    model.fit([A, B], [V, K], epochs=4, callbacks=[backup], **QUIET)
    other = made()
    other.fit([A, B], [V, K], epochs=4, **QUIET)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (A, [V, K], {}, ["x", "['a', 'b']", "ndarray"]),
        ([A], [V, K], {}, ["x", "['a', 'b']", "a list of length 1"]),
        ({"a": A, "c": B}, [V, K], {}, ["x", "a dict with the keys ['a', 'c']"]),
        ([A, B[:-1]], [V, K], {}, ["x['b']", "44 rows", "x['a']", "43"]),
        ([A, A], [V, K], {}, ["x['b']", "(n, 4)", "(44, 3)"]),
        ([A, "text"], [V, K], {}, ["x['b']"]),
        ([A, B], V, {}, ["y", "['value', 'kind']", "ndarray"]),
        ([A, B], [V, K, K], {}, ["y", "a list of length 3"]),
        ([A, B], {"value": V, "kinds": K}, {}, ["y", "['kinds', 'value']"]),
        ([A, B], {"value": V, "kind": K, "more": K}, {}, ["y", "'more'"]),
        ([A, B], [V, K[:-1]], {}, ["y['kind']", "44 rows", "43"]),
        ([A, B], [V, K + 1], {}, ["y['kind']", "from 0 to 2"]),
        ([A, B], [None, K], {}, ["y['value']", "missing"]),
        ([A, B], None, {}, ["y", "['value', 'kind']"]),
        ([A, B], [V, K], {"sample_weight": [W1]}, ["sample_weight", "length 1"]),
        ([A, B], [V, K], {"sample_weight": [W1, -W2]}, ["sample_weight['kind']", ">= 0"]),
        ([A, B], [V, K], {"sample_weight": {"kind": W1}}, ["sample_weight", "['kind']"]),
        ([A, B], [V, K], {"sample_weight": V}, ["sample_weight", "(44, 2)"]),
        ([A, B], [V, K], {"validation_data": (A, [V, K])}, ["validation_data[0]", "ndarray"]),
    ],
)
def test_data_that_do_not_fit_are_refused(
    x: Any, y: Any, options: dict[str, Any], words: list[str]
) -> None:
    model = made()
    with pytest.raises((TypeError, ValueError)) as caught:
        model.fit(x, y, verbose=0, **options)
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
    assert model.iterations == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": ["mse"]}, ["loss", "['value', 'kind']", "length 1"]),
        ({"loss": ["mse"] * 3}, ["loss", "length 3"]),
        ({"loss": {"value": "mse"}}, ["loss", "a dict with the keys ['value']"]),
        ({"loss": {"value": "mse", "other": "mse"}}, ["loss", "'other'"]),
        ({"loss_weights": [1.0]}, ["loss_weights", "length 1"]),
        ({"loss_weights": 2.0}, ["loss_weights", "float"]),
        ({"loss_weights": [1.0, "x"]}, ["loss_weights['kind']", "'x'"]),
        ({"loss_weights": [1.0, None]}, ["loss_weights['kind']", "None"]),
        ({"loss_weights": {"value": 1.0}}, ["loss_weights", "['value']"]),
        ({"metrics": ["mae"]}, ["metrics", "length 1"]),
        ({"metrics": "mae"}, ["metrics", "str"]),
        ({"metrics": {"other": "mae"}}, ["metrics", "['value', 'kind']", "['other']"]),
        ({"metrics": [["mae"], ["mea"]]}, ["'mea'"]),
        ({"metrics": [["sparse_categorical_accuracy"], None]}, ["class indices"]),
        ({"weighted_metrics": [["mae"]]}, ["weighted_metrics", "length 1"]),
    ],
)
def test_compile_refuses_wrong_arguments(arguments: dict[str, Any], words: list[str]) -> None:
    model = made()
    optimizer = model.optimizer
    with pytest.raises((TypeError, ValueError)) as caught:
        model.compile(**{"optimizer": "sgd", "loss": ["mse", SPARSE], **arguments})
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
    assert model.optimizer is optimizer
    assert len(fitted([A, B], [V, K], model)[0]) == 3


def test_some_methods_need_one_input_and_one_output() -> None:
    model = made()
    for name, use in {
        "train_on_gradient": lambda: model.train_on_gradient([A, B], [V, V]),
        "input_gradient": lambda: model.input_gradient([A, B]),
    }.items():
        with pytest.raises(ValueError, match=f"{name} needs .* this one has 2 and 2"):
            use()
    with pytest.raises(ValueError, match=r"Call compile\(optimizer, loss\) before fit"):
        made(None).fit([A, B], [V, K])

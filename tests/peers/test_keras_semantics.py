"""Tests that nnfast behaves like Keras: one test per rule, and whole programs run with both."""

from __future__ import annotations

from typing import Any

import keras_programs
import numpy as np
import pytest
from numpy.typing import NDArray
from reference import SGD, Network

import nnfast
from nnfast import callbacks, layers, losses, optimizers


def data(n: int = 40, n_in: int = 3) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, n_in))
    return x, (x.sum(axis=1) > 0).astype(int)


def classifier(n_in: int = 3, metrics: list[Any] | None = None, seed: int = 0) -> Any:
    nnfast.set_seed(seed)
    model = nnfast.Sequential(
        [
            layers.Input((n_in,)),
            layers.Dense(6, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=metrics)
    return model


def assert_same_weights(a: Any, b: Any) -> None:
    assert len(a.get_weights()) == len(b.get_weights()) > 0
    for w, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:x ran out of data")
@pytest.mark.parametrize("name", keras_programs.PROGRAMS)
def test_programs_give_the_results_of_keras(name: str, keras64: Any) -> None:
    keras_programs.assert_same_results(name, keras_programs.PROGRAMS[name], keras64)


def test_nnfast_keras_exports_the_classes_of_nnfast() -> None:
    assert nnfast.keras.models.Sequential is nnfast.keras.Sequential is nnfast.Sequential
    assert nnfast.keras.layers.Dense is layers.Dense
    assert nnfast.models.Sequential is nnfast.Sequential
    assert nnfast.layers.Dense is layers.Dense


# evaluate and History


def test_evaluate_without_metrics_is_a_float() -> None:
    model = classifier()
    assert type(model.evaluate(*data(), verbose=0)) is float


def test_evaluate_with_metrics_is_a_list() -> None:
    x, y = data()
    model = classifier(metrics=["accuracy", "mse"])
    values = model.evaluate(x, y, verbose=0)
    p = model.predict(x, verbose=0)[:, 0]
    assert isinstance(values, list)
    assert values == pytest.approx(
        [
            -np.mean(np.log(np.where(y == 1, p, 1 - p))),
            np.mean((p > 0.5) == y),
            np.mean((p - y) ** 2),
        ],
        rel=1e-5,
    )


def test_history_keys_are_the_names_as_passed() -> None:
    x, y = data()
    model = classifier(metrics=["acc", "mse", "mean_absolute_error"])
    history = model.fit(x, y, epochs=3, validation_split=0.25, verbose=0)
    names = ["loss", "acc", "mse", "mean_absolute_error"]
    assert set(history.history) == {*names, *(f"val_{name}" for name in names)}
    assert all(len(values) == 3 for values in history.history.values())
    assert all(type(v) is float for values in history.history.values() for v in values)
    assert history.epoch == [0, 1, 2]
    assert model.history is history


def test_the_epoch_loss_weights_batches_by_their_rows() -> None:
    x, y = data(10)
    model = classifier(metrics=None)
    model.compile(optimizers.SGD(0.0), "binary_crossentropy")
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert history.history["loss"][0] == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-5)


def test_training_metrics_use_the_outputs_before_each_step() -> None:
    x, y = data(8)
    model = classifier(metrics=["mse"])
    before = model.evaluate(x, y, verbose=0)[1]
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    assert history["mse"][0] == pytest.approx(before, rel=1e-6)
    assert history["mse"][1] != history["mse"][0]


# Targets


def test_one_dimensional_targets_equal_a_single_column() -> None:
    x, y = data()
    flat, column = classifier(), classifier()
    a = flat.fit(x, y, epochs=2, verbose=0).history
    b = column.fit(x, y[:, None], epochs=2, verbose=0).history
    assert a == b
    assert_same_weights(flat, column)


@pytest.mark.parametrize("loss", ["mean_squared_error", "binary_crossentropy"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.float32])
def test_training_does_not_depend_on_the_dtype_of_the_targets(loss: str, dtype: Any) -> None:
    x, y = data()
    on_float64, on_dtype = classifier(), classifier()
    on_float64.compile("sgd", loss)
    on_dtype.compile("sgd", loss)
    a = on_float64.fit(x, y.astype(np.float64), verbose=0).history
    b = on_dtype.fit(x, y.astype(dtype), verbose=0).history
    assert a == b
    assert_same_weights(on_float64, on_dtype)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_class_indices_train_like_one_hot_targets(dtype: Any, shape: tuple[int, ...]) -> None:
    x, y = data()
    sparse, dense = (
        nnfast.Sequential([layers.Dense(2, activation="softmax", input_dim=3)]) for _ in range(2)
    )
    dense.set_weights(sparse.get_weights())
    sparse.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    dense.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    a = sparse.fit(x, y.astype(dtype).reshape(shape), shuffle=False, verbose=0).history
    b = dense.fit(x, np.eye(2)[y].astype(dtype), shuffle=False, verbose=0).history
    assert a == {key: pytest.approx(values, rel=1e-6) for key, values in b.items()}


def test_x_and_y_may_be_lists() -> None:
    model = classifier(n_in=2)
    history = model.fit([[0, 1], [1, 0]], [True, False], verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert model.predict([[0, 1]], verbose=0).shape == (1, 1)


# Several calls of fit


def test_a_second_fit_continues_training() -> None:
    """The weights, the optimizer's state and the random numbers continue, so 2 + 3 epochs give
    the same as 5 epochs."""
    x, y = data()
    whole, parts = classifier(), classifier()
    a = whole.fit(x, y, batch_size=8, epochs=5, verbose=0).history["loss"]
    b = parts.fit(x, y, batch_size=8, epochs=2, verbose=0).history["loss"]
    b = b + parts.fit(x, y, batch_size=8, epochs=3, verbose=0).history["loss"]
    assert a == b
    assert_same_weights(whole, parts)


def test_shuffles_differ_from_epoch_to_epoch() -> None:
    x, y = data()
    model = classifier()
    model.compile(optimizers.SGD(0.0), "binary_crossentropy")
    seen = []

    class Losses(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                seen.append(logs["loss"])

    for _ in range(2):
        model.fit(x, y, batch_size=8, epochs=4, callbacks=[Losses()], verbose=0)
    assert len(set(seen)) == 8


def test_epochs_are_counted_from_initial_epoch() -> None:
    x, y = data()
    history = classifier().fit(x, y, epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]
    assert len(history.history["loss"]) == 2


def test_second_compile_keeps_weights_and_resets_the_optimizer() -> None:
    x, y = data()
    model = classifier()
    model.fit(x, y, epochs=3, verbose=0)
    weights = model.get_weights()
    model.compile(optimizers.Adam(0.01), "binary_crossentropy")
    for w, v in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)

    fresh = classifier(seed=5)
    fresh.set_weights(weights)
    fresh.compile(optimizers.Adam(0.01), "binary_crossentropy")
    model.fit(x, y, shuffle=False, verbose=0)
    fresh.fit(x, y, shuffle=False, verbose=0)
    assert_same_weights(model, fresh)


# Inputs


def images() -> tuple[NDArray[np.uint8], NDArray[Any]]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (30, 5, 4), dtype=np.uint8), rng.integers(0, 3, 30)


def image_model(*first: Any) -> Any:
    nnfast.set_seed(0)
    stack = [*first, layers.Flatten(), layers.Dense(3, activation="softmax")]
    model = nnfast.Sequential([layers.Input((5, 4)), *stack])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_rescaled_uint8_images_train_exactly_like_float_images() -> None:
    x, y = images()
    rescaling, plain = image_model(layers.Rescaling(1 / 255)), image_model()
    plain.set_weights(rescaling.get_weights())
    scaled = x.astype(np.float32) * np.float32(1 / 255)
    options = {"epochs": 3, "shuffle": False, "verbose": 0}
    a = rescaling.fit(x, y, validation_data=(x, y), **options).history
    b = plain.fit(scaled, y, validation_data=(scaled, y), **options).history
    assert a == b
    assert_same_weights(rescaling, plain)
    assert rescaling.evaluate(x, y, verbose=0) == plain.evaluate(scaled, y, verbose=0)
    np.testing.assert_array_equal(rescaling.predict(x, verbose=0), plain.predict(scaled, verbose=0))


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
def test_x_of_any_rank_trains_like_flat_x(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, *shape)), rng.normal(size=(12, 2))
    model = nnfast.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(2)])
    model.compile("sgd", "mse")
    flat = nnfast.Sequential([layers.Input((6,)), layers.Dense(2)])
    flat.compile("sgd", "mse")
    flat.set_weights(model.get_weights())
    a = model.fit(x, y, shuffle=False, verbose=0).history
    b = flat.fit(x.reshape(12, 6), y, shuffle=False, verbose=0).history
    assert a == b
    assert model.evaluate(x, y, verbose=0) == flat.evaluate(x.reshape(12, 6), y, verbose=0)
    assert model.predict(x, verbose=0).shape == (12, 2)


@pytest.mark.parametrize("how", ["Input", "input_shape", "input_dim", "build"])
def test_the_input_shape_can_be_given_in_four_ways(how: str) -> None:
    model = nnfast.Sequential()
    if how == "Input":
        model.add(layers.Input((3,)))
    keywords = {"input_shape": {"input_shape": (3,)}, "input_dim": {"input_dim": 3}}.get(how, {})
    model.add(layers.Dense(2, **keywords))
    if how == "build":
        model.build((None, 3))
    assert [w.shape for w in model.get_weights()] == [(3, 2), (2,)]


@pytest.mark.parametrize("first_use", ["fit", "predict"])
def test_a_model_without_an_input_shape_is_built_by_its_first_use(first_use: str) -> None:
    x, y = data()
    model = nnfast.Sequential([layers.Dense(4, activation="tanh"), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert model.get_weights() == []
    if first_use == "fit":
        model.fit(x, y, verbose=0)
    else:
        model.predict(x, verbose=0)
    assert [w.shape for w in model.get_weights()] == [(3, 4), (4,), (4, 1), (1,)]


def test_validation_split_takes_the_last_rows() -> None:
    x, y = data(40)
    by_split, by_data = classifier(), classifier()
    a = by_split.fit(x, y, epochs=2, validation_split=0.25, verbose=0).history
    b = by_data.fit(x[:30], y[:30], epochs=2, validation_data=(x[30:], y[30:]), verbose=0).history
    assert a == b


# Sample weights


def test_class_weights_act_like_sample_weights() -> None:
    x, y = data()
    by_class, by_sample = classifier(), classifier()
    a = by_class.fit(x, y, class_weight={0: 0.5, 1: 3.0}, epochs=2, verbose=0).history
    b = by_sample.fit(x, y, sample_weight=np.where(y == 1, 3.0, 0.5), epochs=2, verbose=0).history
    assert a == b
    assert_same_weights(by_class, by_sample)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_class_weights_of_several_classes_act_like_sample_weights(loss: str) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    y = labels if loss.startswith("sparse") else np.eye(3)[labels]
    by_class, by_sample = (
        nnfast.Sequential([layers.Dense(3, activation="softmax", input_dim=3)]) for _ in range(2)
    )
    by_sample.set_weights(by_class.get_weights())
    for model, keywords in (
        (by_class, {"class_weight": {0: 0.5, 2: 3.0}}),
        (by_sample, {"sample_weight": np.array([0.5, 1.0, 3.0])[labels]}),
    ):
        model.compile("sgd", loss)
        model.fit(x, y, shuffle=False, verbose=0, **keywords)
    assert_same_weights(by_class, by_sample)


def test_the_weighted_loss_is_divided_by_the_number_of_rows() -> None:
    x, y = data(8)
    model = classifier()
    weight = np.linspace(0.0, 3.0, 8)
    p = model.predict(x, verbose=0)[:, 0]
    rows = -np.log(np.where(y == 1, p, 1 - p))
    expected = (weight * rows).sum() / 8
    assert model.evaluate(x, y, sample_weight=weight, verbose=0) == pytest.approx(expected, 1e-5)


# Predictions


def test_predictions_are_numpy_arrays() -> None:
    x, _ = data(7)
    model = classifier()
    expected = model.predict(x, verbose=0)
    assert type(expected) is np.ndarray
    assert expected.shape == (7, 1)
    assert expected.dtype == np.float32
    for actual in (model(x), model.predict_on_batch(x), model.predict(x, batch_size=2, verbose=0)):
        assert isinstance(actual, np.ndarray)
        np.testing.assert_array_equal(actual, expected)


def test_train_on_batch_takes_one_step() -> None:
    x, y = data(8)
    a, b = classifier(), classifier()
    a.train_on_batch(x, y)
    b.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_same_weights(a, b)


def test_get_weights_returns_copies() -> None:
    model = classifier()
    model.get_weights()[0][:] = 7.0
    assert not (model.get_weights()[0] == 7.0).any()


def test_summary_counts_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier()
    assert model.summary() is None
    text = capsys.readouterr().out
    assert model.count_params() == 3 * 6 + 6 + 6 + 1 == 31
    assert "31" in text
    assert all(layer.name in text for layer in model.layers)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("mse", losses.MeanSquaredError()),
        ("binary_crossentropy", losses.BinaryCrossentropy()),
    ],
)
def test_names_and_objects_train_alike(name: str, loss: Any) -> None:
    x, y = data()
    a, b = classifier(), classifier()
    a.compile("SGD", name)
    b.compile(optimizers.SGD(learning_rate=0.01), loss)
    assert a.fit(x, y, verbose=0).history == b.fit(x, y, verbose=0).history
    assert_same_weights(a, b)


def test_a_separate_activation_layer_trains_like_the_activation_argument() -> None:
    x, y = data()
    separate = nnfast.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(6),
            layers.Activation("relu"),
            layers.Dense(1),
            layers.Activation("sigmoid"),
        ]
    )
    model = classifier()
    separate.set_weights(model.get_weights())
    separate.compile("adam", "binary_crossentropy")
    a = separate.fit(x, y, shuffle=False, verbose=0).history
    b = model.fit(x, y, shuffle=False, verbose=0).history
    assert a == b
    assert_same_weights(separate, model)


def test_a_layer_without_bias_takes_the_step_of_the_reference() -> None:
    x, y = data()
    model = nnfast.Sequential([layers.Dense(1, use_bias=False, input_dim=3)], dtype="float64")
    model.compile(optimizers.SGD(0.1), "mse")
    (w,) = model.get_weights()
    network = Network([w, np.zeros(1)], ["linear"], "mean_squared_error")
    expected = network.loss_and_grad(x, y)[1][0]
    model.fit(x, y, batch_size=len(x), verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], w - 0.1 * expected, rtol=1e-12)


def test_the_learning_rate_can_be_set_between_fits() -> None:
    x, y = data()
    model = nnfast.Sequential([layers.Dense(1, input_dim=3)], dtype="float64")
    model.compile(optimizers.SGD(0.1), "mse")
    network = Network(model.get_weights(), ["linear"], "mean_squared_error")
    for rate in (0.1, 0.03):
        model.optimizer.learning_rate = rate
        model.fit(x, y, batch_size=len(x), shuffle=False, verbose=0)
        network.step(SGD(rate), x, y)
    for w, v in zip(model.get_weights(), network.weights, strict=True):
        np.testing.assert_allclose(w, v, rtol=1e-12)


# Callbacks and interruption


class Recorder(callbacks.Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.calls.append("train begin")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.calls.append(f"epoch {epoch} begin")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls.append(f"batch {batch} end")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.calls.append(f"epoch {epoch} end {sorted(logs)}")

    def on_train_end(self, logs: Any = None) -> None:
        self.calls.append("train end")


def test_callbacks_are_called_in_order() -> None:
    x, y = data(10)
    recorder = Recorder()
    classifier().fit(
        x, y, batch_size=5, epochs=2, validation_data=(x, y), callbacks=[recorder], verbose=0
    )
    epochs = [
        [f"epoch {i} begin", "batch 0 end", "batch 1 end", f"epoch {i} end ['loss', 'val_loss']"]
        for i in range(2)
    ]
    assert recorder.calls == ["train begin", *epochs[0], *epochs[1], "train end"]


def test_callbacks_do_not_change_the_result() -> None:
    x, y = data()
    observed, plain = classifier(), classifier()
    a = observed.fit(x, y, epochs=3, batch_size=8, callbacks=[Recorder()], verbose=0).history
    b = plain.fit(x, y, epochs=3, batch_size=8, verbose=0).history
    assert a == b
    assert_same_weights(observed, plain)


def test_stop_training_ends_after_the_epoch() -> None:
    class Stop(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = epoch == 1

    history = classifier().fit(*data(), epochs=10, callbacks=[Stop()], verbose=0)
    assert history.epoch == [0, 1]


def test_an_interrupt_reaches_the_caller_and_the_history_so_far_is_kept() -> None:
    class Interrupt(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 3:
                raise KeyboardInterrupt

    x, y = data()
    model, reference = classifier(), classifier()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=10, callbacks=[Interrupt()], verbose=0)
    expected = reference.fit(x, y, epochs=3, verbose=0).history
    assert model.history.history == expected
    assert model.history.epoch == [0, 1, 2]
    assert_same_weights(model, reference)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


def test_an_interrupt_ends_a_long_fit_within_seconds() -> None:
    """The engine checks for signals while it runs, and the model can be used afterwards."""
    import _thread
    import threading
    import time

    x, y = data(4000, 20)
    model = classifier(n_in=20)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    start = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=8, epochs=1_000_000, verbose=0)
    assert time.perf_counter() - start < 5
    assert len(model.history.history["loss"]) == len(model.history.epoch) > 0
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (1, 2), (2, 2)])
def test_verbose_prints_one_line_per_epoch(
    verbose: int, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier().fit(*data(), epochs=2, verbose=verbose)
    text = capsys.readouterr().out
    assert sum("loss" in line for line in text.splitlines()) == lines

"""Tests that batches from generators, iterables and datasets train exactly like arrays."""

from __future__ import annotations

import array
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfast
from nnfast import callbacks, layers, optimizers
from nnfast._data.batches import is_stream
from nnfast.optimizers import schedules

RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(45, 3)), RNG.integers(0, 2, 45), RNG.uniform(size=45)
SIZE = 8  # 45 rows give five full batches and one of five rows.


def batches(*arrays: Any, size: int = SIZE) -> Iterator[tuple[Any, ...]]:
    for i in range(0, len(arrays[0]), size):
        yield tuple(a[i : i + size] for a in arrays)


def forever(*arrays: Any) -> Iterator[tuple[Any, ...]]:
    while True:
        yield from batches(*arrays)


class Dataset:
    """A dataset with the interface of `keras.utils.PyDataset` that records its calls."""

    def __init__(self, *arrays: Any) -> None:
        self.items = list(batches(*arrays))
        self.calls: list[Any] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        self.calls.append(index)
        return self.items[index]

    def on_epoch_begin(self) -> None:
        self.calls.append("begin")

    def on_epoch_end(self) -> None:
        self.calls.append("end")


class Reiterable:
    """An iterable that can be iterated several times."""

    def __init__(self, *arrays: Any) -> None:
        self.arrays = arrays

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return batches(*self.arrays)


def model(*middle: Any, dtype: str = "float32", metrics: Any = ("accuracy",)) -> Any:
    nnfast.set_seed(0)
    one = nnfast.Sequential(
        [layers.Input((3,)), layers.Dense(6, "relu"), *middle, layers.Dense(1, "sigmoid")],
        dtype=dtype,
    )
    one.compile("adam", "binary_crossentropy", metrics=metrics, weighted_metrics=metrics)
    return one


def assert_same_weights(a: Any, b: Any) -> None:
    assert len(a.get_weights()) == len(b.get_weights()) > 0
    for w, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)


def dataset(*arrays: Any) -> Any:
    return Dataset(*arrays)


def loader(*arrays: Any) -> Any:
    import torch

    data = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays))
    return torch.utils.data.DataLoader(data, batch_size=SIZE)


FORMS = {"generator": forever, "iterable": Reiterable, "dataset": dataset, "DataLoader": loader}
NAMES = [*list(FORMS)[:-1], pytest.param("DataLoader", marks=pytest.mark.peers)]


# Training equal to that on arrays


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_streams_train_exactly_like_arrays(form: str, weighted: bool) -> None:
    """The weights, the history and a later fit are compared."""
    arrays = (X, Y, W) if weighted else (X, Y)
    on_array, on_stream = model(), model()
    options: dict[str, Any] = {"epochs": 3, "shuffle": False, "verbose": 0}
    a = on_array.fit(X, Y, batch_size=SIZE, sample_weight=W if weighted else None, **options)
    steps = 6 if form == "generator" else None
    b = on_stream.fit(FORMS[form](*arrays), steps_per_epoch=steps, **options)
    assert b.epoch == a.epoch
    assert b.history["accuracy"] == a.history["accuracy"]
    assert b.history == {key: pytest.approx(v, rel=1e-12) for key, v in a.history.items()}
    assert_same_weights(on_array, on_stream)
    for one in (on_array, on_stream):
        one.fit(X, Y, epochs=2, verbose=0)  # The shuffled orders must agree, too.
    assert_same_weights(on_array, on_stream)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streams_of_large_batches_train_exactly_like_arrays(dtype: str) -> None:
    x, y = np.tile(X, (40, 1)), np.tile(Y, 40)
    on_array, on_stream = model(dtype=dtype), model(dtype=dtype)
    on_array.fit(x, y, batch_size=600, shuffle=False, epochs=2, verbose=0)
    on_stream.fit(ReiterableInBatchesOf600(x, y), epochs=2, verbose=0)
    assert_same_weights(on_array, on_stream)


class ReiterableInBatchesOf600(Reiterable):
    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return batches(*self.arrays, size=600)


def test_streams_of_uint8_images_and_class_indices_train_like_arrays() -> None:
    x, y = RNG.integers(0, 256, (40, 2, 2), dtype=np.uint8), RNG.integers(0, 3, 40)
    pair = []
    for _ in range(2):
        nnfast.set_seed(1)
        stack = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3, "softmax")]
        pair.append(nnfast.Sequential(stack))
        pair[-1].compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    a = pair[0].fit(x, y, batch_size=SIZE, shuffle=False, verbose=0).history
    b = pair[1].fit(batches(x, y), verbose=0).history  # The first batch builds the model.
    assert a == {key: pytest.approx(v, rel=1e-12) for key, v in b.items()}
    assert_same_weights(*pair)


@pytest.mark.parametrize("weights", [{"class_weight": {0: 0.5, 1: 3.0}}, {}])
def test_class_weights_act_on_streams_as_on_arrays(weights: dict[str, Any]) -> None:
    on_array, on_stream = model(), model()
    on_array.fit(X, Y, batch_size=SIZE, shuffle=False, verbose=0, **weights)
    on_stream.fit(batches(X, Y), verbose=0, **weights)
    assert_same_weights(on_array, on_stream)


def test_batches_may_vary_in_size_and_in_weights() -> None:
    parts = [(X[:1], Y[:1]), (X[1:30], Y[1:30], W[1:30]), [X[30:], Y[30:]]]
    one, same = model(), model()
    history = one.fit(iter(parts), verbose=0).history
    losses = [same.train_on_batch(*part)[0] for part in parts]
    assert_same_weights(one, same)
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[1, 29, 15]))]
    assert history["accuracy"] != history["weighted_accuracy"]


def test_callbacks_receive_the_same_logs_as_on_arrays() -> None:
    class Recorder(callbacks.Callback):
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def on_train_begin(self, logs: Any = None) -> None:
            self.calls.append(self.params["steps"])

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.calls.append(batch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.calls.append(dict(logs))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.calls.append(sorted(logs))

    on_array, on_stream = Recorder(), Recorder()
    model().fit(X, Y, batch_size=SIZE, shuffle=False, verbose=0, callbacks=[on_array])
    model().fit(Reiterable(X, Y), steps_per_epoch=6, verbose=0, callbacks=[on_stream])
    assert on_stream.calls == [
        pytest.approx(call, rel=1e-12) if isinstance(call, dict) else call
        for call in on_array.calls
    ]
    assert sorted(on_stream.calls[2]) == ["accuracy", "loss", "weighted_accuracy"]


def test_schedules_act_on_streams_as_on_arrays() -> None:
    on_array, on_stream = model(), model()
    for one in (on_array, on_stream):
        one.compile(optimizers.SGD(schedules.ExponentialDecay(0.5, 4, 0.5)), "mse")
    on_array.fit(X, Y, batch_size=SIZE, shuffle=False, epochs=2, verbose=0)
    on_stream.fit(Reiterable(X, Y), epochs=2, verbose=0)
    assert_same_weights(on_array, on_stream)


def test_user_defined_metrics_are_averaged_over_batches_by_their_rows() -> None:
    def rows(y_true: Any, y_pred: Any) -> int:
        return len(y_true)

    one = model(metrics=[rows])
    assert one.evaluate(batches(X, Y), verbose=0)[1] == pytest.approx((5 * 8 * 8 + 5 * 5) / 45)


# Steps per epoch and ends of streams


def test_each_epoch_continues_with_the_next_batch_of_a_generator() -> None:
    seen: list[int] = []

    def numbered() -> Iterator[Any]:
        for i, batch in enumerate(forever(X, Y)):
            seen.append(i)
            yield batch

    source = numbered()
    history = model().fit(source, steps_per_epoch=4, epochs=3, verbose=0)
    assert seen == list(range(12))  # No batch is taken in advance.
    assert history.epoch == [0, 1, 2]
    model().evaluate(source, steps=2, verbose=0)
    model().predict(source, steps=2)
    assert seen == list(range(16))


@pytest.mark.parametrize(
    ("steps", "epochs", "complete"), [(4, 2, "2 of the 4"), (None, 1, "after 1 of 5"), (6, 1, "")]
)
def test_training_ends_with_a_warning_if_a_generator_ends(
    steps: int | None, epochs: int, complete: str
) -> None:
    one, same = model(), model()
    with pytest.warns(UserWarning, match=f"x ran out of data: .*{complete}") as caught:
        history = one.fit(batches(X, Y), steps_per_epoch=steps, epochs=5, verbose=0)
    assert [warning.filename for warning in caught] == [__file__]
    assert history.epoch == list(range(epochs))
    same.fit(batches(X, Y), verbose=0)
    assert_same_weights(one, same)


@pytest.mark.parametrize("form", ["iterable", "dataset"])
@pytest.mark.parametrize("steps", [2, 3, 6])
@pytest.mark.filterwarnings("error")
def test_iterables_and_datasets_are_iterated_again_without_a_warning(form: str, steps: int) -> None:
    source = FORMS[form](X, Y)
    history = model().fit(source, steps_per_epoch=steps, epochs=12 // steps, verbose=0)
    assert len(history.epoch) == 12 // steps


def test_a_callback_can_stop_training_within_an_epoch() -> None:
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

    one = model()
    history = one.fit(forever(X, Y), steps_per_epoch=6, epochs=3, callbacks=[Stop()], verbose=0)
    assert history.epoch == [0]
    same = model()
    same.fit(X[: 2 * SIZE], Y[: 2 * SIZE], batch_size=SIZE, shuffle=False, verbose=0)
    assert_same_weights(one, same)


def test_the_hooks_of_a_dataset_are_called_and_its_batches_shuffled() -> None:
    source = Dataset(X, Y)
    model().fit(source, epochs=2, shuffle=False, verbose=0)
    assert source.calls == ["begin", *range(6), "end"] * 2
    orders = []
    for seed in (0, 0, 1):
        source = Dataset(X, Y)
        nnfast.set_seed(seed)
        one = nnfast.Sequential([layers.Dense(1, input_dim=3)])
        one.compile("sgd", "mse")
        one.fit(source, epochs=2, verbose=0)
        orders.append([call for call in source.calls if isinstance(call, int)])
        assert sorted(orders[-1][:6]) == sorted(orders[-1][6:]) == list(range(6))
        assert orders[-1][:6] != orders[-1][6:]
    assert orders[0] == orders[1] != orders[2]


def test_an_endless_dataset_needs_steps_per_epoch() -> None:
    class Endless(Dataset):
        num_batches = None

        def __getitem__(self, index: int) -> tuple[Any, ...]:
            return super().__getitem__(index % 6)

    source = Endless(X, Y)
    model().fit(source, steps_per_epoch=4, epochs=3, verbose=0)
    assert [c for c in source.calls if isinstance(c, int)] == [*range(6), *range(6)]
    with pytest.raises(ValueError, match="no end"):
        model().fit(source, verbose=0)


# Random numbers


@pytest.mark.parametrize(("rows", "size"), [(50, 16), (1500, 600)])
def test_dropout_and_short_last_batches_are_those_of_the_array(rows: int, size: int) -> None:
    """Batches of 600 rows are split into micro-batches, and so is the last batch, of 300 rows."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(rows, 3)).astype("float32"), rng.integers(0, 2, rows)
    parts = [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]
    on_array, on_stream = model(layers.Dropout(0.5)), model(layers.Dropout(0.5))
    for _ in range(2):
        on_array.fit(x, y, batch_size=size, epochs=2, shuffle=False, verbose=0)
        on_stream.fit(Repeated(parts), epochs=2, verbose=0)
    assert_same_weights(on_array, on_stream)


class Repeated:
    """An iterable of the same batches each time."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)


def test_dropout_masks_depend_on_the_epoch_and_the_batch() -> None:
    """2 + 3 epochs give the same as 5 epochs, and no two batches have the same masks."""
    whole, parts = model(layers.Dropout(0.5)), model(layers.Dropout(0.5))
    a = whole.fit(Reiterable(X, Y), epochs=5, verbose=0).history["loss"]
    b = parts.fit(Reiterable(X, Y), epochs=2, verbose=0).history["loss"]
    b = b + parts.fit(Reiterable(X, Y), epochs=3, verbose=0).history["loss"]
    assert a == b
    assert_same_weights(whole, parts)

    constant = model(layers.Dropout(0.5))
    constant.optimizer.learning_rate = 0.0
    losses = []

    class Losses(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                losses.append(logs["loss"])

    repeated = [(X[:SIZE], Y[:SIZE])] * 2
    history = constant.fit(iter(repeated * 3), steps_per_epoch=2, epochs=3, verbose=0).history
    constant.fit(iter(repeated), callbacks=[Losses()], verbose=0)
    assert len({*history["loss"], *losses}) == 4


# Validation, evaluate, predict


@pytest.mark.parametrize("form", NAMES)
def test_validation_on_streams_equals_that_on_arrays(form: str) -> None:
    steps = 6 if form == "generator" else None
    on_array, on_stream = model(), model()
    options: dict[str, Any] = {"epochs": 4, "validation_freq": 2, "verbose": 0}
    a = on_array.fit(X, Y, validation_data=(X, Y, W), **options).history
    b = on_stream.fit(
        X, Y, validation_data=FORMS[form](X, Y, W), validation_steps=steps, **options
    ).history
    assert len(b["val_loss"]) == 2
    assert b == {key: pytest.approx(v, rel=1e-6) for key, v in a.items()}
    assert_same_weights(on_array, on_stream)


def test_validation_stops_with_a_warning_if_its_generator_ends() -> None:
    one = model()
    with pytest.warns(UserWarning, match="validation_data ran out of data"):
        history = one.fit(X, Y, validation_data=batches(X, Y), epochs=3, verbose=0).history
    assert len(history["val_loss"]) == 1
    assert len(history["loss"]) == 3


def test_validation_steps_limit_the_rows_of_arrays() -> None:
    a, b = model(), model()
    options: dict[str, Any] = {"batch_size": SIZE, "verbose": 0}
    one = a.fit(X, Y, validation_data=(X, Y), validation_steps=2, **options).history
    two = b.fit(X, Y, validation_data=(X[: 2 * SIZE], Y[: 2 * SIZE]), **options).history
    assert one == two
    options = {"validation_data": (X, Y), "validation_batch_size": 20, "verbose": 0}
    a.fit(X, Y, validation_steps=3, **options)  # There are three batches, so there is no warning.
    with pytest.warns(UserWarning, match="validation_data ran out"):
        a.fit(X, Y, validation_steps=4, **options)


@pytest.mark.parametrize("form", NAMES)
def test_evaluate_and_predict_give_the_same_on_streams_as_on_arrays(form: str) -> None:
    one = model()
    steps = 6 if form == "generator" else None
    values = one.evaluate(FORMS[form](X, Y, W), steps=steps, verbose=0)
    assert values == pytest.approx(one.evaluate(X, Y, sample_weight=W, verbose=0), rel=1e-6)
    np.testing.assert_array_equal(
        one.predict(FORMS[form](X, Y, W), steps=steps, verbose=0), one.predict(X)
    )


@pytest.mark.parametrize("parts", [lambda x: x, lambda x: (x,), lambda x: [x, None]])
def test_predict_accepts_batches_with_and_without_targets(parts: Any) -> None:
    one = model()
    np.testing.assert_array_equal(one.predict(parts(b) for (b,) in batches(X)), one.predict(X))


# Errors


def wrong_third(batch: Any) -> Iterator[Any]:
    yield from [(X[:4], Y[:4])] * 2
    yield batch


WRONG: dict[str, tuple[Any, list[str]]] = {
    "no tuple": (X[:4], ["Batch 3 of epoch 1", "(x, y)", "ndarray"]),
    "x alone": ((X[:4],), ["Batch 3 of epoch 1", "length 1"]),
    "four parts": ((X, Y, W, W), ["Batch 3 of epoch 1", "length 4"]),
    "other features": ((X[:4, :2], Y[:4]), ["x of batch 3 of epoch 1", "(n, 3)", "(4, 2)"]),
    "fewer targets": ((X[:4], Y[:3]), ["y of batch 3 of epoch 1", "4", "3"]),
    "a weight below 0": ((X[:4], Y[:4], -W[:4]), ["sample_weight of batch 3 of epoch 1", ">= 0"]),
    "empty": ((X[:0], Y[:0]), ["x of batch 3 of epoch 1", "at least one row"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_about_a_batch_name_it_and_keep_the_steps_before_it(case: str) -> None:
    batch, words = WRONG[case]
    one, same = model(), model()
    with pytest.raises((TypeError, ValueError)) as caught:
        one.fit(wrong_third(batch), verbose=0)
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
    assert one.history.epoch == []
    same.fit(iter([(X[:4], Y[:4])] * 2), verbose=0)
    assert_same_weights(one, same)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": iter([])}, ["x", "at least one batch"]),
        ({"y": Y}, ["y cannot", "batches"]),
        ({"sample_weight": W}, ["sample_weight cannot"]),
        ({"validation_split": 0.2}, ["validation_split cannot"]),
        ({"x": {1, 2}}, ["Batch 1 of epoch 1", "int"]),
        ({"steps_per_epoch": 0}, ["steps_per_epoch", ">= 1", "0"]),
        ({"validation_freq": 0}, ["validation_freq", "0"]),
        ({"validation_freq": "often"}, ["validation_freq", "'often'"]),
        ({"validation_data": iter([])}, ["validation_data", "at least one batch"]),
        ({"validation_data": iter([X])}, ["Batch 1 of validation_data", "(x, y)"]),
        ({"x": batches(X, Y, W), "class_weight": {0: 2.0}}, ["class_weight", "sample_weight"]),
    ],
)
def test_invalid_arguments_are_refused_before_training(
    arguments: dict[str, Any], words: list[str]
) -> None:
    one = model()
    before = one.get_weights()
    with pytest.raises((TypeError, ValueError)) as caught:
        one.fit(**{"x": batches(X, Y), "verbose": 0, **arguments})
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
    assert one.history is None
    for w, v in zip(one.get_weights(), before, strict=True):
        np.testing.assert_array_equal(w, v)


def test_an_exception_in_a_generator_keeps_the_steps_before_it() -> None:
    def fails() -> Iterator[Any]:
        yield from batches(X, Y)
        yield X[:4], Y[:4]
        raise OSError("the disk is gone")

    one, same = model(), model()
    with pytest.raises(OSError, match="disk"):
        one.fit(fails(), steps_per_epoch=6, epochs=5, verbose=0)
    expected = same.fit(batches(X, Y), verbose=0).history
    assert one.history.history == expected
    assert one.history.epoch == [0]
    same.fit(X[:4], Y[:4], shuffle=False, verbose=0)
    assert_same_weights(one, same)
    for each in (one, same):
        each.fit(X, Y, epochs=2, verbose=0)
    assert_same_weights(one, same)


def test_a_non_finite_loss_stops_training_without_a_step() -> None:
    parts = [(X[:4], Y[:4]), (X[:4] * np.nan, Y[:4]), (X[:4], Y[:4])]
    one, same = model(), model()
    seen: list[Any] = []
    hook = callbacks.LambdaCallback()
    hook.on_divergence = lambda batch, logs=None: seen.append((batch, logs["loss"]))
    with pytest.warns(RuntimeWarning, match="epoch 1/3, batch 2"):
        history = one.fit(iter(parts), steps_per_epoch=3, epochs=3, verbose=0, callbacks=[hook])
    assert history.epoch == []
    assert seen == [(1, pytest.approx(np.nan, nan_ok=True))]
    same.fit(iter(parts[:1]), verbose=0)
    assert_same_weights(one, same)


def test_batches_are_freed_once_the_next_one_is_trained_on() -> None:
    alive: list[weakref.ref[NDArray[Any]]] = []

    def tracked() -> Iterator[Any]:
        for i in range(6):
            gc.collect()
            assert sum(ref() is not None for ref in alive) <= 2
            x = np.full((4, 3), float(i), np.float32)
            alive.append(weakref.ref(x))
            yield x, Y[:4]
            del x

    model().fit(tracked(), verbose=0)
    assert len(alive) == 6


@pytest.mark.parametrize(
    "thing", [X, X.tolist(), (1, 2), range(3), array.array("d"), memoryview(b""), {}, "x", 3, None]
)
def test_arrays_lists_and_scalars_are_not_streams(thing: Any) -> None:
    assert not is_stream(thing)


def test_steps_per_epoch_divides_a_shuffled_pass_over_an_array() -> None:
    """Five epochs of one step train on each row once, as one epoch of five steps does."""
    whole, divided = model(metrics=None), model(metrics=None)
    a = whole.fit(X[:40], Y[:40], batch_size=SIZE, epochs=2, verbose=0)
    b = divided.fit(X[:40], Y[:40], batch_size=SIZE, steps_per_epoch=1, epochs=10, verbose=0)
    assert_same_weights(whole, divided)
    losses = np.array(b.history["loss"]).reshape(2, 5).mean(axis=1)
    np.testing.assert_allclose(losses, a.history["loss"], rtol=1e-12)

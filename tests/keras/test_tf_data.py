"""`tf.data.Dataset`: sources, order, batches, functions, threads, and its use in `fit`."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers
from nnfast.keras import tf
from nnfast.keras.tf.data import Dataset, from_rows

AUTOTUNE = tf.data.AUTOTUNE


def values(data: Any) -> list[Any]:
    """Return the elements as nested tuples and lists of Python numbers."""
    return [plain(own) for own in data]


def plain(own: Any) -> Any:
    if isinstance(own, tuple):
        return tuple(plain(part) for part in own)
    if isinstance(own, dict):
        return {key: plain(part) for key, part in own.items()}
    return values(own) if isinstance(own, Dataset) else own.tolist()


def slices(n: int = 6) -> Dataset:
    return Dataset.from_tensor_slices((np.arange(n), np.arange(n) * 10))


def generated(n: int) -> Dataset:
    """Return 0 … n − 1 in a data set that is not made of rows."""
    return from_spec(tf.TensorSpec((), np.int64), range(n))


def from_spec(spec: Any, items: Any) -> Dataset:
    return Dataset.from_generator(lambda: iter(items), output_signature=spec)


# ---- sources -------------------------------------------------------------------------------------


def test_slices_of_nested_structures() -> None:
    Pair = namedtuple("Pair", "a b")
    data = Dataset.from_tensor_slices(
        ({"u": [1, 2], "v": (np.ones((2, 1)),)}, Pair([3, 4], [5, 6]))
    )
    first = next(iter(data))
    assert plain(first[0]) == {"u": 1, "v": ([1.0],)}
    assert isinstance(first[1], Pair)
    assert first[1] == (3, 5)
    batch = next(iter(data.batch(2)))
    assert isinstance(batch[1], Pair)
    assert batch[0]["v"][0].shape == (2, 1)
    assert len(data) == 2


def test_python_numbers_have_the_dtypes_of_tensorflow() -> None:
    def dtype(x: Any) -> str:
        return str(next(iter(Dataset.from_tensor_slices(x))).dtype)

    assert dtype([1, 2]) == "int32"
    assert dtype([1, 2**40]) == "int64"
    assert dtype([[0.5], [1]]) == "float32"
    assert dtype([True]) == "bool"
    assert dtype([np.float64(1.0)]) == dtype(np.ones(1)) == "float64"
    assert dtype(np.ones(1, np.uint8)) == "uint8"
    assert values(Dataset.from_tensor_slices(["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (3, "at least one axis"),
        ((), "at least one axis"),
        (([1, 2], [1]), "one length"),
        ([[1], [1, 2]], "one length"),
    ],
)
def test_wrong_slices_are_refused(tensors: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dataset.from_tensor_slices(tensors)


def test_sparse_arrays_are_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="dense"):
        Dataset.from_tensor_slices(sparse.csr_matrix(np.eye(2)))


def test_elements_do_not_alias_arrays_writably() -> None:
    x = np.zeros((4, 2))
    for data in (Dataset.from_tensor_slices(x), Dataset.from_tensors(x)):
        for changed in (data, data.batch(2), data.map(lambda a: a), data.take(-1)):
            for own in changed:
                if np.shares_memory(own, x):
                    assert not own.flags.writeable
    assert x.flags.writeable


def test_from_tensors_and_range() -> None:
    assert values(Dataset.from_tensors(([1, 2], 3))) == [([1, 2], 3)]
    assert len(Dataset.from_tensors(1)) == 1
    assert values(Dataset.range(3)) == [0, 1, 2]
    assert values(Dataset.range(5, 0, -2)) == [5, 3, 1]
    assert values(Dataset.range(2, output_type=np.float32).batch(2)) == [[0.0, 1.0]]
    assert next(iter(Dataset.range(1))).dtype == np.int64
    assert next(iter(Dataset.range(0, 10**15, 10**5).skip(3))) == 3 * 10**5


def test_generators_get_their_dtypes_and_shapes() -> None:
    def pairs(n: Any) -> Iterator[Any]:
        for i in range(int(n)):
            yield [i] * (i + 1), i

    data = Dataset.from_generator(
        pairs, output_types=(np.float32, "int8"), output_shapes=((None,), ()), args=(2,)
    )
    assert values(data) == values(data) == [([0.0], 0), ([1.0, 1.0], 1)]
    x, y = next(iter(data))
    assert (x.dtype, y.dtype) == (np.float32, np.int8)
    spec = {"x": tf.TensorSpec(shape=(None,), dtype="float64")}
    assert values(from_spec(spec, [{"x": [1]}])) == [{"x": [1.0]}]
    named = Dataset.from_generator(lambda: [{"a": 1}], {"a": np.int16}, {"a": ()})
    assert next(iter(named))["a"].dtype == np.int16
    assert next(iter(Dataset.from_generator(lambda: [[1, 2]]))).dtype == np.int32


@pytest.mark.parametrize("spec", [None, tf.TensorSpec((2,), "int64")])
def test_a_generator_may_use_an_array_again(spec: Any) -> None:
    def rows() -> Iterator[Any]:
        buffer = np.zeros(2, np.int64)
        for i in range(3):
            buffer[:] = i
            yield buffer

    data = Dataset.from_generator(rows, output_signature=spec)
    assert values(data.batch(3)) == [[[0, 0], [1, 1], [2, 2]]]
    assert values(list(data)) == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("spec", "item", "message"),
    [
        (tf.TensorSpec((2,)), [1.0], r"shape \(2,\)"),
        (tf.TensorSpec((None, 2)), [1.0, 2.0], r"shape \(None, 2\)"),
        ((tf.TensorSpec(), tf.TensorSpec()), (1.0,), "length 2"),
        ({"a": tf.TensorSpec()}, {"b": 1.0}, "keys"),
    ],
)
def test_elements_of_generators_are_checked(spec: Any, item: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        next(iter(from_spec(spec, [item])))


def test_wrong_arguments_of_from_generator_are_refused() -> None:
    with pytest.raises(TypeError, match="callable"):
        Dataset.from_generator([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="replaces"):
        Dataset.from_generator(list, np.int32, output_signature=tf.TensorSpec())
    with pytest.raises(ValueError, match="output_types"):
        Dataset.from_generator(list, output_shapes=())


def test_zip_of_structures() -> None:
    a, b = Dataset.range(3), generated(2)
    assert values(Dataset.zip(a, b)) == values(Dataset.zip((a, b))) == [(0, 0), (1, 1)]
    assert values(Dataset.zip(datasets={"a": a, "b": (b, a)})) == [
        {"a": 0, "b": (0, 0)},
        {"a": 1, "b": (1, 1)},
    ]
    with pytest.raises(TypeError, match="data sets"):
        Dataset.zip(a, 3)


# ---- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Dataset.range, generated], ids=["rows", "elements"])
def test_methods_agree_for_rows_and_elements(make: Callable[[int], Dataset]) -> None:
    data = make(5)
    assert values(data.take(2)) == [0, 1]
    assert values(data.take(-1)) == [0, 1, 2, 3, 4]
    assert values(data.skip(3)) == [3, 4]
    assert values(data.skip(-1)) == []
    assert values(data.repeat(2).skip(4).take(3)) == [4, 0, 1]
    assert values(data.repeat(0)) == []
    assert values(data.repeat().take(7)) == [0, 1, 2, 3, 4, 0, 1]
    assert values(data.batch(2)) == [[0, 1], [2, 3], [4]]
    assert values(data.batch(2, drop_remainder=True)) == [[0, 1], [2, 3]]
    assert values(data.batch(2).batch(2, True)) == [[[0, 1], [2, 3]]]
    assert values(data.batch(2).unbatch()) == [0, 1, 2, 3, 4]
    assert values(data.filter(lambda i: i % 2 == 1)) == [1, 3]
    assert values(data.enumerate(7).take(2)) == [(7, 0), (8, 1)]
    assert values(data.concatenate(data.take(1))) == [0, 1, 2, 3, 4, 0]
    assert values(data.map(lambda i: i * 2).prefetch(AUTOTUNE)) == [0, 2, 4, 6, 8]
    assert (
        values(data.prefetch(1)) == values(data.prefetch(0)) == values(data.cache()) == values(data)
    )
    assert [type(i) for i in data.take(1).as_numpy_iterator()] == [np.int64]
    assert values(data.apply(lambda own: own.take(1))) == [0]
    assert values(data.shuffle(3, seed=1)) == values(make(5).shuffle(3, seed=1))


def test_repeat_of_nothing_ends() -> None:
    assert values(Dataset.range(0).repeat()) == []
    assert values(generated(0).repeat()) == []


def test_shuffles_differ_from_iteration_to_iteration_unless_forbidden() -> None:
    data = Dataset.range(20).shuffle(20, seed=3)
    first, second = values(data), values(data)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    again = Dataset.range(20).shuffle(20, seed=3)
    assert [values(again), values(again)] == [first, second]
    assert values(Dataset.range(20).shuffle(20, seed=4)) != first
    fixed = Dataset.range(20).shuffle(20, seed=3, reshuffle_each_iteration=False)
    assert values(fixed) == values(fixed) == first
    repeated = values(Dataset.range(20).shuffle(20, seed=3).repeat(2))
    assert repeated == first + second


def test_set_seed_makes_shuffles_reproducible() -> None:
    def order() -> list[Any]:
        return values(Dataset.range(30).shuffle(30))

    nnfast.set_seed(1)
    first = [order(), order()]
    nnfast.set_seed(1)
    assert [order(), order()] == first
    assert first[0] != first[1]


def test_the_shuffle_buffer_limits_how_early_an_element_comes() -> None:
    order = values(Dataset.range(5000).shuffle(10, seed=0))
    assert sorted(order) == list(range(5000))
    assert all(number - place < 10 for place, number in enumerate(order))
    assert sum(place - number >= 10 for place, number in enumerate(order)) > 100
    assert values(Dataset.range(9).shuffle(1, seed=0)) == list(range(9))
    firsts = [values(Dataset.range(3).shuffle(3, seed=seed))[0] for seed in range(300)]
    assert min(np.bincount(firsts, minlength=3)) > 70


def test_shuffle_needs_no_more_elements_than_its_buffer() -> None:
    seen: list[int] = []

    def numbers() -> Iterator[int]:
        for i in range(1000):
            seen.append(i)
            yield i

    next(iter(Dataset.from_generator(numbers).shuffle(4, seed=0)))
    assert len(seen) <= 5


def test_cache_keeps_the_first_complete_iteration() -> None:
    calls: list[int] = []

    def count() -> Iterator[Any]:
        calls.append(1)
        yield from (np.zeros(2), np.ones(2))

    data = Dataset.from_generator(count).cache()
    next(iter(data))
    assert values(data) == values(data) == [[0.0, 0.0], [1.0, 1.0]]
    assert len(calls) == 2
    assert not any(own.flags.writeable for own in data)
    frozen = Dataset.range(20).shuffle(20).cache()
    assert values(frozen) == values(frozen)
    with pytest.raises(ValueError, match="memory"):
        data.cache("file")


# ---- batches -------------------------------------------------------------------------------------


def test_batches_of_rows_are_views_or_copies_of_the_right_rows() -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    data = Dataset.from_tensor_slices((x, y))
    first = next(iter(data.batch(4)))
    assert np.shares_memory(first[0], x)
    for changed in (data.shuffle(10, seed=0), data.shuffle(3, seed=0), data.repeat(2).skip(3)):
        for rows, numbers in changed.batch(4):
            np.testing.assert_array_equal(rows, x[numbers])


def test_batches_ask_for_all_rows_at_once() -> None:
    asked: list[Any] = []

    def rows(index: Any) -> Any:
        asked.append(index)
        return np.asarray(index)

    data = from_rows(rows, 7).take(6).repeat(2).shuffle(100).cache().batch(4).prefetch(2)
    assert sorted(itertools.chain(*values(data))) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [len(index) for index in asked] == [4, 4, 4]


def test_padded_batches() -> None:
    data = Dataset.from_generator(lambda: iter([([1, 2, 3], 1), ([4], 2)]))
    assert values(data.padded_batch(2)) == [([[1, 2, 3], [4, 0, 0]], [1, 2])]
    assert values(data.padded_batch(2, ([4], []), (-1, 0))) == [
        ([[1, 2, 3, -1], [4, -1, -1, -1]], [1, 2])
    ]
    assert values(data.padded_batch(1, drop_remainder=True)) == [([[1, 2, 3]], [1]), ([[4]], [2])]
    assert next(iter(data.padded_batch(2)))[0].dtype == np.int32
    named = data.map(lambda x, y: {"x": x}).padded_batch(2, {"x": [None]}, 9)
    assert values(named) == [{"x": [[1, 2, 3], [4, 9, 9]]}]
    with pytest.raises(ValueError, match="larger"):
        values(data.padded_batch(2, ([2], [])))
    with pytest.raises(ValueError, match="axes"):
        values(data.padded_batch(2, ([3, 3], [])))


def test_elements_of_different_shapes_or_structures_form_no_batch() -> None:
    ragged = Dataset.from_generator(lambda: [[1], [1, 2]])
    with pytest.raises(ValueError, match="padded_batch"):
        values(ragged.batch(2))
    mixed = Dataset.from_generator(lambda: [(1, 2), 3])
    with pytest.raises(ValueError, match="structure"):
        values(mixed.batch(2))
    with pytest.raises(TypeError, match="arrays"):
        values(Dataset.range(4).window(2).batch(2))
    with pytest.raises(ValueError, match="one length"):
        values(Dataset.range(2).unbatch())


def windows(items: range, size: int, shift: int, stride: int, drop: bool) -> list[list[int]]:
    """Return windows by their definition."""
    found = []
    for first in range(0, len(items), shift):
        places = range(first, first + (size - 1) * stride + 1, stride)
        inside = [items[i] for i in places if i < len(items)]
        if len(inside) == size or not drop:
            found.append(inside)
    return found


@pytest.mark.parametrize("n", [0, 1, 5, 8])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (2, 3)])
@pytest.mark.parametrize("shift", [None, 1, 2, 7])
@pytest.mark.parametrize("drop", [False, True])
def test_windows(n: int, size: int, stride: int, shift: int | None, drop: bool) -> None:
    data = Dataset.range(n).window(size, shift, stride, drop)
    assert values(data) == windows(range(n), size, shift or size, stride, drop)
    assert len(data) == len(values(data))


def test_windows_of_tuples_are_tuples_of_data_sets() -> None:
    ((x, y),) = slices(3).window(3)
    assert (values(x), values(y)) == ([0, 1, 2], [0, 10, 20])


def test_the_classic_time_series_program_runs() -> None:
    data = tf.data.Dataset.from_tensor_slices(np.arange(10.0))
    data = data.window(4, shift=1, drop_remainder=True)
    data = data.flat_map(lambda window: window.batch(4))
    data = data.map(lambda window: (window[:-1], window[-1])).batch(2).prefetch(1)
    x, y = next(iter(data))
    assert (x.tolist(), y.tolist()) == ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [3.0, 4.0])
    with pytest.raises(TypeError, match="return a Dataset"):
        values(Dataset.range(2).flat_map(lambda i: i))


# ---- functions -----------------------------------------------------------------------------------


def test_functions_get_the_parts_of_tuples_as_arguments() -> None:
    assert values(slices(2).map(lambda x, y: x + y)) == [0, 11]
    assert values(slices(2).map(lambda x, y: [x, (y,)])) == [(0, (0,)), (1, (10,))]
    assert values(slices(2).map(lambda x, y: {"x": x, "n": 2.5})) == [
        {"x": 0, "n": 2.5},
        {"x": 1, "n": 2.5},
    ]
    Pair = namedtuple("Pair", "a b")
    named = Dataset.from_tensor_slices(Pair([1], [2])).map(lambda pair: pair.a)
    assert values(named) == [1]
    assert values(slices(3).filter(lambda x, y: y > 5)) == [(1, 10), (2, 20)]
    parallel = slices(2).map(lambda x, y: x, num_parallel_calls=AUTOTUNE, deterministic=False)
    assert values(parallel) == [0, 1]
    with pytest.raises(TypeError, match="callable"):
        slices().map(3)  # type: ignore[arg-type]


def test_functions_may_use_the_operators_that_change_arrays_in_place() -> None:
    x = np.array([1.0, 2.0])

    def changed(a: Any) -> Any:
        a += 1
        a *= 4
        a -= 2
        a /= 3
        a **= 2
        a //= 1
        a %= 3
        return a

    data = Dataset.from_tensor_slices(x)
    assert values(data.map(changed)) == values(data.batch(2).map(changed).unbatch()) == [1.0, 2.0]
    assert values(Dataset.from_generator(lambda: [1]).map(lambda a: a.__itruediv__(2))) == [0.5]
    assert x.tolist() == [1.0, 2.0]


def test_functions_run_in_each_iteration() -> None:
    rng = np.random.default_rng(0)
    noisy = Dataset.range(3).map(lambda i: i + rng.random())
    assert values(noisy) != values(noisy)


# ---- sizes ---------------------------------------------------------------------------------------

INFINITE, UNKNOWN = tf.data.INFINITE_CARDINALITY, tf.data.UNKNOWN_CARDINALITY
TEN, ENDLESS, OPEN = Dataset.range(10), Dataset.range(1).repeat(), generated(3)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (TEN.batch(3), 4),
        (TEN.batch(3, True), 3),
        (TEN.take(20), 10),
        (TEN.take(0), 0),
        (TEN.skip(20), 0),
        (TEN.repeat(3), 30),
        (TEN.repeat(-1), INFINITE),
        (TEN.repeat(0), 0),
        (TEN.shuffle(3).prefetch(2).cache().enumerate().map(lambda i, x: x), 10),
        (TEN.filter(lambda i: True), UNKNOWN),
        (TEN.unbatch(), UNKNOWN),
        (TEN.concatenate(TEN), 20),
        (TEN.concatenate(ENDLESS), INFINITE),
        (TEN.concatenate(OPEN), UNKNOWN),
        (ENDLESS.batch(2), INFINITE),
        (ENDLESS.take(4), 4),
        (ENDLESS.skip(4), INFINITE),
        (ENDLESS.repeat(2), INFINITE),
        (ENDLESS.repeat(0), 0),
        (OPEN.batch(2).repeat(2), UNKNOWN),
        (OPEN.repeat(), INFINITE),
        (OPEN.take(1), UNKNOWN),
        (Dataset.zip(TEN, ENDLESS), 10),
        (Dataset.zip(ENDLESS, ENDLESS), INFINITE),
        (Dataset.zip(TEN, OPEN), UNKNOWN),
        (Dataset.range(0).repeat(), 0),
    ],
)
def test_cardinality_and_len(data: Dataset, size: int) -> None:
    assert data.cardinality() == tf.data.experimental.cardinality(data) == size
    assert type(data.cardinality().numpy()) is np.int64  # type: ignore[attr-defined]
    assert data
    if size >= 0:
        assert len(data) == len(values(data)) == size
    else:
        with pytest.raises(TypeError, match="infinite" if size == INFINITE else "unknown"):
            len(data)


def test_sizes_may_be_cardinalities() -> None:
    n = TEN.cardinality()
    assert sorted(values(TEN.shuffle(n).take(n))) == list(range(10))
    assert values(TEN.batch(n)) == [list(range(10))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda data: data.batch(0),
        lambda data: data.batch(2.0),
        lambda data: data.shuffle(0),
        lambda data: data.shuffle(2, seed=-1),
        lambda data: data.repeat(-2),
        lambda data: data.take(1.5),
        lambda data: data.prefetch(-2),
        lambda data: data.window(0),
        lambda data: data.concatenate([1]),
        lambda data: data.batch(2, drop_remainder="yes"),
    ],
)
def test_wrong_arguments_are_refused_at_once(call: Callable[[Dataset], Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="must be"):
        call(slices())


def test_options_and_names() -> None:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = 1
    options.deterministic = False
    assert slices().with_options(options).options() is options
    assert values(slices().with_options(options)) == values(slices())
    assert tf.data.AUTOTUNE == tf.data.experimental.AUTOTUNE == -1
    assert isinstance(slices(), tf.data.Dataset)
    assert repr(TEN) == "<Dataset of 10 elements>"


# ---- threads -------------------------------------------------------------------------------------


def threads() -> list[threading.Thread]:
    return [own for own in threading.enumerate() if own.name == "nnfast-ahead"]


def ended(own: list[threading.Thread]) -> bool:
    for thread in own:
        thread.join(5.0)
    return not any(thread.is_alive() for thread in own)


def test_prefetch_works_ahead_by_a_bounded_number_of_elements() -> None:
    made: list[int] = []
    wanted = threading.Event()

    def numbers() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            if i == 3:
                wanted.set()
            yield i

    iterator = iter(Dataset.from_generator(numbers).prefetch(3))
    assert not made
    assert next(iterator) == 0
    assert wanted.wait(5.0), "element 3 is made before it is asked for"
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]
    assert next(iterator) == 1
    assert [int(i) for i in iterator] == list(range(2, 100))
    assert ended(threads())


def test_abandoned_iterations_end_their_threads() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    for _ in Dataset.from_generator(endless).prefetch(2):
        break
    gc.collect()
    assert closed.wait(5.0), "the generator is closed, too"
    assert ended(threads())


# ---- fit, evaluate, predict ----------------------------------------------------------------------

X = np.random.default_rng(0).random((24, 3), np.float32)
Y = X.sum(axis=1, keepdims=True)


def compiled() -> Any:
    nnfast.set_seed(0)
    model = nnfast.Sequential([layers.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def assert_same(a: list[Any], b: list[Any]) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_dataset_trains_as_its_arrays() -> None:
    data = Dataset.from_tensor_slices((X, Y)).batch(8)
    a, b = compiled(), compiled()
    one = a.fit(X, Y, batch_size=8, epochs=3, shuffle=False, validation_data=(X, Y), verbose=0)
    other = b.fit(data, epochs=3, validation_data=data, verbose=0)
    assert_same(a.get_weights(), b.get_weights())
    assert one.history["loss"] == pytest.approx(other.history["loss"])
    assert one.history["val_loss"] == pytest.approx(other.history["val_loss"])
    assert b.evaluate(data, verbose=0) == pytest.approx(a.evaluate(X, Y, verbose=0))
    for source in (data, Dataset.from_tensor_slices(X).batch(5)):
        np.testing.assert_array_equal(b.predict(source, verbose=0), a.predict(X, verbose=0))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.prefetch(AUTOTUNE),
        lambda data: data.map(lambda x, y: (x, y)).prefetch(AUTOTUNE),
        lambda data: data.filter(lambda x, y: True),
    ],
)
def test_prefetch_does_not_change_training(change: Callable[[Dataset], Dataset]) -> None:
    a, b = compiled(), compiled()
    for model, transform in ((a, lambda data: data), (b, change)):
        data = Dataset.from_tensor_slices((X, Y)).shuffle(24, seed=1)
        model.fit(transform(data.batch(8)), epochs=2, verbose=0)
    assert_same(a.get_weights(), b.get_weights())


def test_sample_weights_of_a_dataset_count() -> None:
    weights = np.r_[np.ones(12), np.zeros(12)].astype(np.float32)
    data = Dataset.from_tensor_slices((X, Y, weights)).batch(24)
    a, b = compiled(), compiled()
    a.fit(data, verbose=0)
    b.fit(X, Y, sample_weight=weights, batch_size=24, shuffle=False, verbose=0)
    assert_same(a.get_weights(), b.get_weights())


def test_infinite_datasets_continue_across_epochs_and_need_steps() -> None:
    seen: list[int] = []
    data = Dataset.range(6).repeat().map(lambda i: (seen.append(int(i)), i)[1]).batch(1)
    data = data.map(lambda i: (X[i], Y[i]))
    model = compiled()
    with pytest.raises(ValueError, match="has no end"):
        model.fit(data, verbose=0)
    with pytest.raises(ValueError, match="has no end"):
        model.evaluate(data, verbose=0)
    with pytest.raises(ValueError, match="validation_data has no end"):
        model.fit(X, Y, validation_data=data, verbose=0)
    assert not seen
    model.fit(data, epochs=2, steps_per_epoch=4, verbose=0)
    assert seen == [0, 1, 2, 3, 4, 5, 0, 1]
    assert model.evaluate(data, steps=6, verbose=0) == pytest.approx(
        model.evaluate(X[:6], Y[:6], verbose=0)
    )


def test_the_number_of_steps_is_known_from_the_dataset() -> None:
    data = Dataset.from_tensor_slices((X, Y)).batch(8)
    params: dict[str, Any] = {}

    class Watch(nnfast.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            params.update(self.params)

    compiled().fit(data.filter(lambda x, y: True), callbacks=[Watch()], verbose=0)
    assert params["steps"] is None
    compiled().fit(data, callbacks=[Watch()], verbose=0)
    assert params["steps"] == 3


def test_validation_split_and_samples_without_batches_are_refused() -> None:
    data = Dataset.from_tensor_slices((X, Y))
    model = compiled()
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(data.batch(8), validation_split=0.5, verbose=0)
    with pytest.raises(ValueError, match=r"\.batch\(n\)"):
        model.fit(data, verbose=0)
    with pytest.raises(ValueError, match=r"\.batch\(n\)"):
        model.fit(Dataset.from_tensor_slices((X, Y[:, 0])), verbose=0)
    with pytest.raises(ValueError, match=r"\.batch\(n\)"):
        model.predict(Dataset.from_tensor_slices(X), verbose=0)
    unbuilt = nnfast.Sequential([layers.Dense(1)])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"\.batch\(n\)"):
        unbuilt.fit(Dataset.from_tensor_slices((X, Y[:, 0])), verbose=0)
    assert not unbuilt.built

"""Data sets of windows over time series, and the division of data sets."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast.keras import tf
from nnfast.keras.preprocessing import timeseries_dataset_from_array as from_preprocessing
from nnfast.keras.utils import split_dataset, timeseries_dataset_from_array

Dataset = tf.data.Dataset


def windows(data: Any) -> list[list[int]]:
    """Return the windows of all batches."""
    return [window.tolist() for batch in data for window in batch]


def test_windows_are_those_that_keras_documents() -> None:
    data = timeseries_dataset_from_array(
        np.arange(99), None, sequence_length=10, sampling_rate=2, sequence_stride=3
    )
    found = windows(data)
    assert found[0] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert found[1] == [3, 5, 7, 9, 11, 13, 15, 17, 19, 21]
    assert found[-1] == [78, 80, 82, 84, 86, 88, 90, 92, 94, 96]
    assert len(data) == 1
    assert from_preprocessing is timeseries_dataset_from_array


def test_targets_belong_to_the_first_steps_of_windows() -> None:
    series = np.arange(100)
    data = timeseries_dataset_from_array(series[:-10], series[10:], 10, batch_size=32)
    x, y = next(iter(data))
    assert x.shape == (32, 10)
    np.testing.assert_array_equal(x[:, 0] + 10, y)
    assert sum(len(y) for _, y in data) == 81
    assert len(data) == 3


def test_series_of_several_values_and_single_windows() -> None:
    series = np.arange(24.0).reshape(8, 3)
    data = timeseries_dataset_from_array(series, np.arange(8), 4, batch_size=None)
    assert len(data) == 5
    for i, (x, y) in enumerate(data):
        np.testing.assert_array_equal(x, series[i : i + 4])
        assert y == i
        assert x.dtype == np.float64


@pytest.mark.parametrize(("start", "end"), [(None, None), (3, None), (None, 15), (4, 12)])
@pytest.mark.parametrize(("length", "stride", "rate"), [(1, 1, 1), (3, 2, 1), (2, 3, 4)])
def test_start_and_end(
    start: int | None, end: int | None, length: int, stride: int, rate: int
) -> None:
    series = np.arange(20)
    data = timeseries_dataset_from_array(
        series, series * 10, length, stride, rate, 4, start_index=start, end_index=end
    )
    expected = [
        list(range(a, a + length * rate, rate))
        for a in range(start or 0, (end or 20) - (length - 1) * rate, stride)
    ]
    assert [window.tolist() for x, _ in data for window in x] == expected
    assert [int(t) for _, y in data for t in y] == [window[0] * 10 for window in expected]


def test_shuffled_windows_keep_their_targets_and_depend_on_the_seed() -> None:
    def order(seed: int | None) -> list[int]:
        data = timeseries_dataset_from_array(
            np.arange(50), np.arange(50), 3, batch_size=4, shuffle=True, seed=seed
        )
        batches = list(data)
        assert all((x[:, 0] == y).all() for x, y in batches)
        return np.concatenate([y for _, y in batches]).tolist()

    assert sorted(order(1)) == list(range(48))
    assert order(1) == order(1) != order(2)
    nnfast.set_seed(5)
    first = order(None)
    nnfast.set_seed(5)
    assert order(None) == first != list(range(48))


def test_the_series_is_shuffled_as_in_keras_before_the_buffer() -> None:
    expected = np.arange(40)
    np.random.RandomState(7).shuffle(expected)
    data = timeseries_dataset_from_array(range(40), None, 1, batch_size=1, shuffle=True, seed=7)
    places = {int(number): place for place, number in enumerate(expected)}
    found = [places[int(x[0, 0])] for x in data]
    assert all(place - now < 8 for now, place in enumerate(found)), "the buffer has 8 windows"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"sequence_length": 0}, "sequence_length"),
        ({"sequence_stride": 0}, "sequence_stride"),
        ({"sequence_stride": 10}, "sequence_stride"),
        ({"sampling_rate": 0}, "sampling_rate"),
        ({"sampling_rate": 10}, "sampling_rate"),
        ({"start_index": -1}, "start_index"),
        ({"start_index": 10}, "start_index"),
        ({"end_index": 0}, "end_index"),
        ({"end_index": 10}, "end_index"),
        ({"start_index": 5, "end_index": 5}, "end_index"),
        ({"batch_size": 0}, "batch_size"),
        ({"format": "grain"}, "format"),
        ({"data": 3}, "data"),
        ({"targets": [1, 2], "start_index": 3}, "targets"),
        ({"shuffle": "yes"}, "shuffle"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        timeseries_dataset_from_array(
            **{"data": np.arange(10), "targets": None, "sequence_length": 2} | arguments
        )


def test_a_series_that_is_too_short_gives_no_windows() -> None:
    assert list(timeseries_dataset_from_array(np.arange(4), None, 9)) == []


def test_a_model_trains_on_windows() -> None:
    series = np.sin(np.arange(60.0))
    data = timeseries_dataset_from_array(series[:-5], series[5:], 5, batch_size=16)
    model = nnfast.Sequential([nnfast.Input((5,)), nnfast.layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit(data, epochs=3, validation_data=data, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


# ---- split_dataset -------------------------------------------------------------------------------


def numbers(data: Any) -> list[Any]:
    return [tuple(map(int, own)) if isinstance(own, tuple) else own.tolist() for own in data]


@pytest.mark.parametrize(
    ("left", "right", "sizes"),
    [
        (0.8, None, (8, 2)),
        (None, 0.3, (7, 3)),
        (4, None, (4, 6)),
        (None, 4, (6, 4)),
        (2, 3, (2, 3)),
        (0.25, 0.5, (2, 5)),
        (3, 0.5, (3, 5)),
    ],
)
def test_sizes_of_both_parts(left: Any, right: Any, sizes: tuple[int, int]) -> None:
    first, second = split_dataset(np.arange(10), left, right)
    assert numbers(first) == list(range(sizes[0]))
    assert numbers(second) == list(range(10 - sizes[1], 10))
    assert (len(first), len(second)) == sizes
    assert isinstance(first, Dataset)


@pytest.mark.parametrize(
    ("left", "right", "error"),
    [
        (None, None, ValueError),
        (0, None, ValueError),
        (10, None, ValueError),
        (1.0, None, ValueError),
        (-0.5, None, ValueError),
        ("1", None, TypeError),
        (True, None, TypeError),
        (6, 5, ValueError),
        (0.6, 0.5, ValueError),
        (0.01, None, ValueError),
    ],
)
def test_wrong_sizes_are_refused(left: Any, right: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="size"):
        split_dataset(np.arange(10), left, right)


def test_structures_stay() -> None:
    x, y = np.arange(4), np.arange(4) * 10
    for arrays in ((x, y), [x, y], Dataset.from_tensor_slices((x, y))):
        left, right = split_dataset(arrays, 3)
        assert numbers(left) == [(0, 0), (1, 10), (2, 20)]
        assert numbers(right) == [(3, 30)]
    left, _ = split_dataset(Dataset.from_tensor_slices({"x": x}), 1)
    assert next(iter(left))["x"] == 0
    left, _ = split_dataset([x], 1)
    assert numbers(left) == [(0,)]


def test_batched_datasets_are_divided_by_sample() -> None:
    left, right = split_dataset(Dataset.range(7).batch(2), 3)
    assert numbers(left) == [[0, 1], [2]]
    assert numbers(right) == [[3, 4], [5, 6]]


def test_shuffled_samples_have_the_order_of_keras() -> None:
    order = list(range(10))
    random.Random(5).shuffle(order)
    state = random.getstate()
    left, right = split_dataset(np.arange(10), 6, shuffle=True, seed=5)
    assert numbers(left) + numbers(right) == order
    assert random.getstate() == state
    nnfast.set_seed(0)
    first = numbers(split_dataset(np.arange(30), 29, shuffle=True)[0])
    nnfast.set_seed(0)
    assert numbers(split_dataset(np.arange(30), 29, shuffle=True)[0]) == first


@pytest.mark.parametrize(
    ("dataset", "error"),
    [
        ({"a": 1}, TypeError),
        (3, TypeError),
        ([], ValueError),
        ([[1, 2]], ValueError),
        ([np.ones(2), np.ones(3)], ValueError),
        (np.ones(()), ValueError),
        (Dataset.range(0), ValueError),
    ],
)
def test_wrong_datasets_are_refused(dataset: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="dataset"):
        split_dataset(dataset, 0.5)


def test_endless_datasets_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="dataset must have an end"):
        split_dataset(Dataset.range(3).repeat(), 1)


def test_torch_datasets_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="torch"):
        split_dataset(np.arange(4), 2, preferred_backend="torch")
    assert len(split_dataset(np.arange(4), 2, preferred_backend="tensorflow")[0]) == 2


@pytest.mark.peers
@pytest.mark.parametrize("left", [0.5, 0.35, 3])
@pytest.mark.parametrize("right", [None, 0.25, 2])
@pytest.mark.parametrize("n", [5, 8])
def test_sizes_are_those_of_keras(left: Any, right: Any, n: int) -> None:
    from keras.src.utils.dataset_utils import _rescale_dataset_split_sizes

    try:
        expected: Any = _rescale_dataset_split_sizes(left, right, n)
    except ValueError:
        with pytest.raises(ValueError, match="size"):
            split_dataset(np.arange(n), left, right)
    else:
        assert tuple(map(len, split_dataset(np.arange(n), left, right))) == expected

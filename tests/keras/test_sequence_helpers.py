"""Padded sequences, windows of time series, and the sampling table."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import keras
from nnfast.keras.preprocessing.sequence import (
    TimeseriesGenerator,
    make_sampling_table,
    pad_sequences,
)

SEQUENCES = [[1], [2, 3], [4, 5, 6], []]

# ---- pad_sequences -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 0, 1], [0, 2, 3], [4, 5, 6], [0, 0, 0]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 0], [4, 5, 6], [0, 0, 0]]),
        ({"maxlen": 2}, [[0, 1], [2, 3], [5, 6], [0, 0]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [4, 5], [0, 0]]),
        ({"maxlen": 4, "value": -1}, [[-1] * 3 + [1], [-1, -1, 2, 3], [-1, 4, 5, 6], [-1] * 4]),
        ({"maxlen": 0}, [[], [], [], []]),
    ],
    ids=str,
)
def test_sequences_are_padded_and_truncated(options: dict[str, Any], expected: Any) -> None:
    padded = pad_sequences(SEQUENCES, **options)
    np.testing.assert_array_equal(padded, expected)
    assert padded.dtype == np.int32
    np.testing.assert_array_equal(
        pad_sequences([np.array(s) for s in SEQUENCES], dtype="float64", **options), expected
    )


def test_sequences_of_arrays_and_of_text_are_padded() -> None:
    rows = [np.ones((1, 2)), np.full((3, 2), 2.0)]
    padded = pad_sequences(rows, dtype="float32")
    assert padded.shape == (2, 3, 2)
    np.testing.assert_array_equal(padded[0], [[0, 0], [0, 0], [1, 1]])
    words = pad_sequences([["a"], ["b", "c"]], dtype=object, value="-")
    assert words.tolist() == [["-", "a"], ["b", "c"]]
    assert pad_sequences([]).shape == (0, 0)
    assert keras.utils.pad_sequences is pad_sequences


@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        (3, {}, "must be a list of sequences"),
        ([1, 2], {}, "each entry of sequences must be a sequence; received 1"),
        ([[1]], {"padding": "left"}, "Unknown padding 'left'"),
        ([[1]], {"truncating": "left"}, "Unknown truncating 'left'"),
        ([[1]], {"value": "a"}, "dtype must be object"),
        ([[1]], {"maxlen": -1}, "maxlen must be an integer >= 0"),
        ([[[1, 2]], [[1]]], {}, "must all have shape"),
    ],
)
def test_pad_sequences_refuses(sequences: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pad_sequences(sequences, **options)


# ---- TimeseriesGenerator -------------------------------------------------------------------------


def windows(batches: TimeseriesGenerator) -> tuple[list[Any], list[Any]]:
    parts = list(batches)
    assert len(parts) == len(batches)
    return [w for x, _ in parts for w in x.tolist()], [t for _, y in parts for t in y.tolist()]


@pytest.mark.parametrize(
    ("options", "x", "y"),
    [
        ({}, [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]], [30, 40, 50, 60, 70]),
        ({"sampling_rate": 2}, [[0, 2], [1, 3], [2, 4], [3, 5], [4, 6]], [30, 40, 50, 60, 70]),
        ({"stride": 3}, [[0, 1, 2], [3, 4, 5]], [30, 60]),
        ({"stride": 3, "batch_size": 1}, [[0, 1, 2], [3, 4, 5]], [30, 60]),
        ({"start_index": 2}, [[2, 3, 4], [3, 4, 5], [4, 5, 6]], [50, 60, 70]),
        ({"end_index": 4}, [[0, 1, 2], [1, 2, 3]], [30, 40]),
        ({"end_index": 3, "reverse": True}, [[2, 1, 0]], [30]),
        ({"batch_size": 2, "end_index": 5}, [[0, 1, 2], [1, 2, 3], [2, 3, 4]], [30, 40, 50]),
    ],
    ids=str,
)
def test_windows_come_before_their_targets(options: dict[str, Any], x: Any, y: Any) -> None:
    batches = TimeseriesGenerator(np.arange(8), np.arange(8) * 10, length=3, **options)
    assert windows(batches) == (x, y)
    lists = TimeseriesGenerator(list(range(8)), list(range(0, 80, 10)), length=3, **options)
    assert windows(lists) == (x, y)


def test_shuffled_windows_depend_on_the_seed_of_numpy() -> None:
    batches = TimeseriesGenerator(
        np.arange(90), np.arange(90), length=2, shuffle=True, batch_size=20
    )
    found = []
    for seed in (0, 0, 1):
        np.random.seed(seed)  # noqa: NPY002
        x, y = batches[0]
        np.testing.assert_array_equal(x[:, 1] + 1, y)
        found.append(y.tolist())
    assert found[0] == found[1] != found[2]
    assert found[0] != sorted(found[0])


def test_a_model_learns_from_windows() -> None:
    series = np.sin(np.arange(200) / 5).reshape(-1, 1)
    batches = TimeseriesGenerator(series, series, length=4, batch_size=16, workers=2)
    nnfast.set_seed(0)
    model = keras.Sequential([keras.Input((4, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(batches, epochs=10, verbose=0)
    assert model.evaluate(batches, verbose=0) < 0.01


def test_the_config_makes_an_equal_generator() -> None:
    batches = TimeseriesGenerator(np.arange(9), list(range(9)), 2, stride=2, start_index=1)
    config = json.loads(batches.to_json(indent=1))["config"]
    assert config == batches.get_config()
    assert json.loads(batches.to_json())["class_name"] == "TimeseriesGenerator"
    data, targets = (json.loads(config.pop(name)) for name in ("data", "targets"))
    assert windows(TimeseriesGenerator(data, targets, **config)) == windows(batches)
    with pytest.raises(TypeError, match="data cannot be written as JSON"):
        TimeseriesGenerator([object()] * 3, [0] * 3, 1).to_json()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((range(3), range(4), 1), "must have the same length; received 3 and 4"),
        ((range(3), range(3), 3), "must be at most end_index, 2; received 3"),
        ((range(3), range(3), 0), "length must be an integer >= 1"),
        ((range(3), range(3), 1, 0), "sampling_rate must be an integer >= 1"),
        ((range(3), range(3), 1, 1, 0), "stride must be an integer >= 1"),
        ((range(3), range(3), 1, 1, 1, 0, 3), "end_index must be an integer >= 0 and <= 2"),
    ],
)
def test_timeseries_generator_refuses(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimeseriesGenerator(*arguments)


# ---- make_sampling_table -------------------------------------------------------------------------


def test_frequent_words_are_sampled_less() -> None:
    table = make_sampling_table(5, 0.1)
    np.testing.assert_allclose(table, [0.31522479, 0.31522479, 0.54759727, 0.74155641, 0.91281675])
    assert make_sampling_table(9, 0.1)[-1] == 1
    assert make_sampling_table(5)[1] == pytest.approx(0.00315225, rel=1e-5)
    with pytest.raises(ValueError, match="size must be an integer >= 1"):
        make_sampling_table(0)
    with pytest.raises(ValueError, match="sampling_factor must be a finite number and > 0"):
        make_sampling_table(3, 0)


# ---- Keras ---------------------------------------------------------------------------------------


@pytest.mark.peers
def test_sequences_are_those_of_keras() -> None:
    import keras as peer
    from keras.src.legacy.preprocessing import sequence

    for options in ({}, {"maxlen": 2, "padding": "post"}, {"maxlen": 5, "truncating": "post"}):
        ours = pad_sequences(SEQUENCES, **options)
        theirs = peer.utils.pad_sequences(SEQUENCES, **options)
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(
        make_sampling_table(50, 0.01), sequence.make_sampling_table(50, 0.01), rtol=1e-14
    )
    data = np.random.default_rng(0).normal(size=(40, 2))
    for options in ({"stride": 3, "reverse": True}, {"shuffle": True, "sampling_rate": 2}):
        parts = []
        for module in (sequence, nnfast.keras.preprocessing.sequence):
            batches = module.TimeseriesGenerator(data, data[:, 0], 4, batch_size=5, **options)
            np.random.seed(1)  # noqa: NPY002
            parts.append([batches[i] for i in range(len(batches))])
        for (x, y), (v, w) in zip(*parts, strict=True):
            np.testing.assert_array_equal(x, v)
            np.testing.assert_array_equal(y, w)

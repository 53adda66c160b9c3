"""Tests of seeds, sessions, devices and TensorFlow's functions of arrays."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest

from nnfast import keras
from nnfast.keras import tf


def weights() -> np.ndarray:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    return model.get_weights()[0]


def test_set_random_seed_sets_all_seeds() -> None:
    results = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        legacy = np.random.rand()  # noqa: NPY002
        results.append((random.random(), legacy, weights().tolist()))
    assert results[0] == results[1]
    for wrong in (-1, 2**32, 1.5):
        with pytest.raises((TypeError, ValueError), match="seed"):
            keras.utils.set_random_seed(wrong)


def test_tf_random() -> None:
    tf.random.set_seed(3)
    first, drawn = weights(), tf.random.normal((2, 3))
    tf.random.set_seed(3)
    np.testing.assert_array_equal(weights(), first)
    np.testing.assert_array_equal(tf.random.normal((2, 3)), drawn)
    assert drawn.dtype == np.float32
    u = tf.random.uniform((1000,), 2.0, 3.0)
    assert u.min() >= 2
    assert u.max() < 3
    assert sorted(tf.random.shuffle(np.arange(5)).tolist()) == [0, 1, 2, 3, 4]
    narrow = tf.random.uniform((10_000,), 1.0, 1.0 + 2**-22)  # contains two numbers of float32
    assert set(((narrow - 1) * 2**23).tolist()) == {0.0, 1.0}


def test_keras_random() -> None:
    draw = keras.random
    z = draw.normal((4000,), 1.0, 2.0, seed=1, dtype="float64")
    assert abs(z.mean() - 1) < 0.2
    assert abs(z.std() - 2) < 0.2
    assert z.dtype == np.float64
    assert abs(draw.truncated_normal((4000,), seed=1)).max() <= 2
    k = draw.randint((1000,), -2, 3, seed=draw.SeedGenerator(0))
    assert set(k.tolist()) == {-2, -1, 0, 1, 2}
    np.testing.assert_array_equal(draw.uniform((3,), seed=7), draw.uniform((3,), seed=7))
    x = np.arange(6).reshape(2, 3)
    assert sorted(draw.shuffle(x, axis=1, seed=0)[0].tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match="maxval"):
        draw.randint((1,), 3, 3)


def test_clear_session_restarts_names() -> None:
    keras.backend.clear_session()
    names = [keras.layers.Dense(1).name for _ in range(2)]
    keras.utils.clear_session()
    assert [*names, keras.layers.Dense(1).name] == ["dense", "dense_1", "dense"]


def test_settings() -> None:
    assert (keras.config.backend(), keras.backend.image_data_format()) == (
        "nnfast",
        "channels_last",
    )
    keras.backend.set_image_data_format("channels_last")
    with pytest.raises(ValueError, match="channels_last"):
        keras.backend.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    try:
        assert keras.backend.floatx() == keras.backend.cast_to_floatx([1]).dtype == "float64"
        assert weights().dtype == np.float64
    finally:
        keras.config.set_floatx("float32")


def test_devices() -> None:
    assert tf.config.list_physical_devices("GPU") == []
    (cpu,) = tf.config.experimental.list_physical_devices()
    assert cpu.device_type == "CPU"
    tf.config.experimental.set_memory_growth(cpu, True)
    tf.config.set_visible_devices([], "GPU")
    with pytest.raises(ValueError, match="devices"):
        tf.config.set_visible_devices("/GPU:0", "GPU")
    for name in (
        "/cpu:0",
        "CPU",
        "/GPU:0",
        "gpu:1",
        "/device:GPU:0",
        "/job:localhost/device:CPU:0",
    ):
        with tf.device(name):
            pass
    for name in ("", "/", "/GPU:first", "GPU:0,1"):
        with pytest.raises(ValueError, match="device_name must be a name like '/CPU:0'"):
            tf.device(name)
    assert tf.get_logger() is logging.getLogger("tensorflow")
    assert tf.__version__.startswith("2.")
    assert keras.__version__.startswith("3.")


def test_functions_of_arrays() -> None:
    x = tf.constant([[1, 2], [3, 4]])
    assert x.dtype == tf.int32
    assert tf.cast(x, tf.float32).dtype == np.float32
    assert (tf.reduce_mean(tf.cast(x, "float32")).numpy(), tf.reduce_sum(x, axis=[0, 1])) == (
        2.5,
        10,
    )
    assert tf.reduce_max(x, 1, keepdims=True).tolist() == [[2], [4]]
    assert tf.argmax(x, axis=1).tolist() == [1, 1]
    assert tf.one_hot([0, 2, 5], 3).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert tf.reshape(x, (4,)).tolist() == tf.concat([x[0], x[1]], 0).tolist() == [1, 2, 3, 4]
    assert tf.expand_dims(x, -1).shape == (2, 2, 1)
    assert tf.squeeze(tf.stack([x], 0)).shape == (2, 2)
    assert tf.transpose(x).tolist() == [[1, 3], [2, 4]]
    assert tf.sqrt(tf.square(-3.0)).numpy() == tf.abs(-3.0) == 3
    assert tf.constant(2.0, shape=(2,)).tolist() == [2.0, 2.0]
    assert tf.range(1, 7, 3).tolist() == [1, 4]
    assert (tf.zeros((2,)) + tf.ones((2,), tf.float64)).dtype == np.float64
    assert x[..., tf.newaxis].shape == (2, 2, 1)
    assert tf.convert_to_tensor([0.5]).dtype == np.float32
    original = np.zeros(2, np.int32)
    for made in (tf.constant(original), tf.convert_to_tensor(original)):
        assert not np.shares_memory(made, original)
    with pytest.raises(TypeError, match="a weight of a model"):
        tf.Variable(3)
    np.testing.assert_allclose(tf.nn.softmax(np.zeros((1, 2))), [[0.5, 0.5]])

"""Keras as a fixture, in float32 and in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import nnfast


@pytest.fixture
def keras() -> Iterator[Any]:
    """Return the installed Keras."""
    import keras

    yield keras
    keras.utils.clear_session()  # otherwise each model takes longer than the previous one


@pytest.fixture
def keras64(keras: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the installed Keras; both libraries compute in float64 if a test uses this."""
    from keras.src.backend.common import dtypes

    # Keras rounds results of operations to float32, except with TensorFlow.
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    keras.config.set_floatx("float64")
    nnfast.set_default_dtype("float64")
    yield keras
    keras.config.set_floatx("float32")
    nnfast.set_default_dtype("float32")

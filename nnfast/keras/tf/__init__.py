"""The parts of TensorFlow that programs for ``tf.keras`` use: ``from nnfast.keras import tf``.

>>> from nnfast.keras import tf
>>> tf.keras.layers.Dense(2).units, tf.config.list_physical_devices("GPU")
(2, [])
"""

from __future__ import annotations

import contextlib
import logging
import re

from nnfast._utils.lazy import lazy
from nnfast._utils.tensor import Tensor as Tensor
from nnfast._utils.variable import Variable as Variable
from nnfast.keras.tf import (
    config as config,
    data as data,
    nn as nn,
    random as random,
    strings as strings,
)
from nnfast.keras.tf.arrays import (
    abs as abs,
    argmax as argmax,
    bool as bool,
    cast as cast,
    concat as concat,
    constant as constant,
    convert_to_tensor as convert_to_tensor,
    expand_dims as expand_dims,
    float32 as float32,
    float64 as float64,
    int32 as int32,
    int64 as int64,
    newaxis as newaxis,
    one_hot as one_hot,
    ones as ones,
    range as range,
    reduce_max as reduce_max,
    reduce_mean as reduce_mean,
    reduce_sum as reduce_sum,
    reshape as reshape,
    sqrt as sqrt,
    square as square,
    squeeze as squeeze,
    stack as stack,
    string as string,
    transpose as transpose,
    uint8 as uint8,
    zeros as zeros,
)
from nnfast.keras.tf.structures import TensorSpec as TensorSpec

# The version of TensorFlow that first had Keras 3 as tf.keras.
__version__ = "2.16.1"

# `keras` is imported on first use, because it imports this module.
__getattr__, __dir__ = lazy(__name__, {"keras": "nnfast"})


def get_logger() -> logging.Logger:
    """Return the logger named "tensorflow"; nnfast writes nothing to it."""
    return logging.getLogger("tensorflow")


def device(device_name: str) -> contextlib.AbstractContextManager[None]:
    """Return a context that changes nothing: all work is done by the CPU.

    As with TensorFlow's soft placement, which is on by default, a device that does not exist is
    replaced by the CPU.

    Parameters
    ----------
    device_name : str
        For example ``"/CPU:0"``, ``"GPU:0"`` or ``"/device:GPU:0"``.

    Raises
    ------
    ValueError
        If `device_name` is not the name of a device.

    Examples
    --------
    >>> with device("/CPU:0"):
    ...     pass
    """
    host, kind = r"(/(job|replica|task):\w+)*", r"(/?device:|/)?[A-Za-z]+(:(\d+|\*))?"
    if not re.fullmatch(host + kind, str(device_name)):
        raise ValueError(f"device_name must be a name like '/CPU:0'; received {device_name!r}")
    return contextlib.nullcontext()

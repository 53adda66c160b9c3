"""Global settings, as in ``keras.config``."""

from __future__ import annotations

from nnfast._utils import config
from nnfast._utils.checks import real
from nnfast._utils.registry import choose

__all__ = [
    "KERAS_VERSION",
    "backend",
    "epsilon",
    "floatx",
    "image_data_format",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
]

# The version of Keras whose names, arguments and defaults these modules have.
KERAS_VERSION = "3.15.1"

_settings = {"epsilon": 1e-7}


def backend() -> str:
    """Return the name of the library that computes: ``"nnfast"``."""
    return "nnfast"


def epsilon() -> float:
    """Return the small number that `set_epsilon` stored, 1e-7 at first."""
    return _settings["epsilon"]


def set_epsilon(value: float) -> None:
    """Store the number that `epsilon` returns. Layers and losses have constants of their own.

    Examples
    --------
    >>> set_epsilon(1e-5)
    >>> epsilon()
    1e-05
    >>> set_epsilon(1e-7)
    """
    _settings["epsilon"] = real("value", value, above=0.0)


def floatx() -> str:
    """Return the dtype of models that are created without `dtype=`."""
    return config.default_dtype()


def set_floatx(value: str) -> None:
    """Set the dtype of models that are created without `dtype=`: "float32" or "float64".

    Raises
    ------
    ValueError
        If `value` is another dtype.
    """
    config.set_default_dtype(value)


def image_data_format() -> str:
    """Return ``"channels_last"``: images are (height, width, channels)."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Accept ``"channels_last"``, and refuse anything else with a ValueError."""
    choose("data_format", data_format, {"channels_last": None})

"""Random numbers, as in ``tf.random``."""

from __future__ import annotations

from nnfast._utils.config import set_seed as set_seed
from nnfast.keras.random import normal as normal, shuffle as shuffle, uniform as uniform

__all__ = ["normal", "set_seed", "shuffle", "uniform"]

"""The seed of all random numbers."""

from __future__ import annotations

import random

import numpy as np

from nnfast._utils.checks import integer
from nnfast._utils.config import set_seed

__all__ = ["set_random_seed"]


def set_random_seed(seed: int) -> None:
    """Set the seeds of Python's `random`, of ``numpy.random`` and of models created from now on.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 − 1.

    Raises
    ------
    TypeError, ValueError
        If `seed` is not such an integer.

    Examples
    --------
    >>> set_random_seed(812)
    """
    seed = integer("seed", seed, minimum=0, maximum=2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (programs draw from the global generator)
    set_seed(seed)

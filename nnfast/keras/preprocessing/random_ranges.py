"""Ranges of random transformations, and sources of the random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import RandomState

from nnfast._utils.checks import entries, integer, real

__all__ = ["draw_shift", "interval", "random_state", "shift_range", "zoom_interval"]


def random_state(seed: int | RandomState | None = None) -> Any:
    """Return a source of random numbers that gives the numbers of ``numpy.random.seed(seed)``.

    Parameters
    ----------
    seed : int or RandomState, optional
        A RandomState is returned unchanged. None stands for the state that NumPy's functions
        share, which ``numpy.random.seed`` sets.

    Examples
    --------
    >>> random_state(0).uniform() == random_state(0).uniform()
    True
    """
    if seed is None:
        return np.random
    if isinstance(seed, RandomState):
        return seed
    return RandomState(integer("seed", seed, minimum=0, maximum=2**32 - 1))


def interval(name: str, value: object) -> list[float]:
    """Return `value` as two numbers, [low, high]."""
    pair = [real(f"each entry of {name}", entry) for entry in entries(name, value)]
    if len(pair) != 2:
        raise ValueError(f"{name} must be two numbers, (low, high); received {value!r}")
    return pair


def zoom_interval(value: object) -> list[float]:
    """Return `value`, an interval or the number z for [1 − z, 1 + z], as an interval."""
    if isinstance(value, (Sequence, np.ndarray)):
        return interval("zoom_range", value)
    zoom = real("zoom_range", value)
    return [1 - zoom, 1 + zoom]


def shift_range(name: str, value: object) -> float | int | list[float]:
    """Return a range of shifts as `draw_shift` takes it."""
    if isinstance(value, (Sequence, np.ndarray)):
        return [real(f"each entry of {name}", entry) for entry in entries(name, value)]
    if isinstance(value, (int, np.integer)):
        return integer(name, value, minimum=0)
    return real(name, value)


def draw_shift(limit: float | int | list[float], size: int, random: Any) -> Any:
    """Return a random shift in pixels.

    Parameters
    ----------
    limit : float, int or list
        A float limits the shift, an int n stands for 0, …, n − 1 with a random sign, and from a
        list one number is chosen and gets a random sign. If all are below 1, the result is
        multiplied by `size`.
    size : int
        The image's size in pixels.
    random : RandomState

    Examples
    --------
    >>> abs(draw_shift([0.5], 8, random_state(0)))
    4.0
    """
    if not limit:
        return 0
    if isinstance(limit, float):
        shift = random.uniform(-limit, limit)
    else:
        shift = float(random.choice(limit) * random.choice([-1, 1]))
    return shift * size if np.max(limit) < 1 else shift

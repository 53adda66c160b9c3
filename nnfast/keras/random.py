"""Arrays of random numbers, as in ``keras.random``; `nnfast.set_seed` makes them reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._utils.checks import entries, integer, real
from nnfast._utils.config import check_dtype, default_dtype, next_seed
from nnfast._utils.tensor import Tensor

__all__ = [
    "SeedGenerator",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]


class SeedGenerator:
    """A source of seeds: every function that uses it draws other numbers.

    Parameters
    ----------
    seed : int, optional
        Without it, the seed comes from the stream that `nnfast.set_seed` starts.

    Examples
    --------
    >>> a, b = SeedGenerator(3), SeedGenerator(3)
    >>> bool((uniform((4,), seed=a) == uniform((4,), seed=b)).all())
    True
    >>> bool((uniform((4,), seed=a) == uniform((4,), seed=SeedGenerator(3))).all())
    False
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = next_seed() if seed is None else integer("seed", seed, minimum=0)
        self.generator = np.random.Generator(np.random.Philox(self.seed))


Seed = int | SeedGenerator | None


def normal(
    shape: Sequence[int],
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: str | None = None,
    seed: Seed = None,
) -> Tensor:
    """Return normally distributed numbers.

    Parameters
    ----------
    shape : tuple of int
    mean, stddev : float, default 0 and 1
    dtype : str, optional
        "float32" or "float64"; by default, the dtype set by `nnfast.set_default_dtype`.
    seed : int or SeedGenerator, optional
        By default, the numbers come from the stream that `nnfast.set_seed` starts.
    """
    values = _generator(seed).standard_normal(_shape(shape))
    return _floats(real("mean", mean) + real("stddev", stddev, low=0.0) * values, dtype)


def truncated_normal(
    shape: Sequence[int],
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: str | None = None,
    seed: Seed = None,
) -> Tensor:
    """Return numbers from a normal distribution truncated two standard deviations from the mean.

    Parameters
    ----------
    shape, mean, stddev, dtype, seed
        As in `normal`.
    """
    generator = _generator(seed)
    values = generator.standard_normal(_shape(shape))
    while (outside := np.abs(values) > 2.0).any():
        values[outside] = generator.standard_normal(int(outside.sum()))
    return _floats(real("mean", mean) + real("stddev", stddev, low=0.0) * values, dtype)


def uniform(
    shape: Sequence[int],
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: str | None = None,
    seed: Seed = None,
) -> Tensor:
    """Return numbers that are uniformly distributed in [minval, maxval).

    Parameters
    ----------
    shape, dtype, seed
        As in `normal`.
    minval, maxval : float, default 0 and 1
    """
    low, high = real("minval", minval), real("maxval", maxval)
    values = _floats(low + (high - low) * _generator(seed).random(_shape(shape)), dtype)
    # Rounding to float32 can give maxval itself.
    values[values == high] = np.nextafter(values.dtype.type(high), values.dtype.type(low))
    return values


def randint(
    shape: Sequence[int], minval: int, maxval: int, dtype: str = "int32", seed: Seed = None
) -> Tensor:
    """Return integers that are uniformly distributed from minval to maxval − 1.

    Parameters
    ----------
    shape, seed
        As in `normal`.
    minval, maxval : int
    dtype : str, default "int32"

    Examples
    --------
    >>> randint((3,), 5, 6).numpy()
    array([5, 5, 5], dtype=int32)
    """
    low = integer("minval", minval, minimum=-(2**63))
    high = integer("maxval", maxval, minimum=low + 1)
    values = _generator(seed).integers(low, high, _shape(shape))
    return np.asarray(values, dtype).view(Tensor)


def shuffle(x: ArrayLike, axis: int = 0, seed: Seed = None) -> Tensor:
    """Return `x` with its entries along an axis in random order.

    Examples
    --------
    >>> sorted(shuffle([3, 1, 2]).tolist())
    [1, 2, 3]
    """
    return np.asarray(_generator(seed).permutation(np.asarray(x), axis)).view(Tensor)


def _generator(seed: Seed) -> np.random.Generator:
    return (seed if isinstance(seed, SeedGenerator) else SeedGenerator(seed)).generator


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(integer("each entry of shape", n, minimum=0) for n in entries("shape", shape))


def _floats(values: NDArray[Any], dtype: str | None) -> Tensor:
    return values.astype(default_dtype() if dtype is None else check_dtype(dtype)).view(Tensor)

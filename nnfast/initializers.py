"""Initial values of parameters. Each is a small description with one method, `draw`.

Values are drawn in float64 and then rounded, so that a float32 and a float64 model of the
same seed start from the same weights. A subclass without fields of its own inherits what
`dataclass` made: the decorator costs half a millisecond of import time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import _resolve
from nnfast._validation import real

Floats = NDArray[np.float64]

# Standard deviation of a standard normal truncated to [-2, 2].
_TRUNCATED_STD = 0.87962566103423978


@dataclass(frozen=True)
class Initializer(_resolve.Configured):
    """Base of the initializers."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        """Return an array of `shape`, drawn with `rng` unless the initializer has a seed."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element is `value` (default 0.0).

    Examples
    --------
    >>> Constant(0.5).draw((2,), np.random.default_rng(0))
    array([0.5, 0.5])
    """

    value: float = 0.0

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        return np.full(shape, self.value, dtype=np.float64)


class Zeros(Initializer):
    """Every element is 0."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        return np.zeros(shape)


class Ones(Initializer):
    """Every element is 1."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        return np.ones(shape)


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Uniform on [minval, maxval).

    Parameters
    ----------
    minval, maxval : float, default -0.05 and 0.05
    seed : int or None, default None
        None draws from the model's own stream, so that `nnfast.set_seed` governs it.

    Examples
    --------
    >>> w = RandomUniform(0.0, 1.0, seed=1).draw((3, 2), np.random.default_rng())
    >>> w.shape, bool((w >= 0).all())
    ((3, 2), True)
    """

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        return _generator(self.seed, rng).uniform(self.minval, self.maxval, shape)


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """Normal with the given mean and standard deviation.

    Parameters
    ----------
    mean, stddev : float, default 0.0 and 0.05
    seed : int or None, default None
        As in `RandomUniform`.

    Examples
    --------
    >>> float(RandomNormal(3.0, 0.0).draw((1,), np.random.default_rng(0))[0])
    3.0
    """

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        return _generator(self.seed, rng).normal(self.mean, self.stddev, shape)


class TruncatedNormal(RandomNormal):
    """Normal, redrawn until it lies within two `stddev` of `mean`.

    `stddev` is that of the normal before it is cut; the values' own is 0.88 of it.

    Parameters
    ----------
    mean, stddev : float, default 0.0 and 0.05
    seed : int or None, default None
        As in `RandomUniform`.

    Examples
    --------
    >>> w = TruncatedNormal(stddev=1.0).draw((1000,), np.random.default_rng(0))
    >>> bool(abs(w).max() <= 2)
    True
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        z = _truncated_normal(shape, _generator(self.seed, rng))
        return self.mean + self.stddev * z


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """Orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al., 2014).

    Q of the QR decomposition of a normal matrix, signs of R's diagonal taken into Q, so that
    every such Q is equally likely. Needs at least two axes; all but the last count as one.

    Parameters
    ----------
    gain : float, default 1.0
    seed : int or None, default None
        As in `RandomUniform`.

    Examples
    --------
    >>> w = Orthogonal().draw((5, 3), np.random.default_rng(0))
    >>> bool(np.allclose(w.T @ w, np.eye(3)))
    True
    """

    gain: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        real("gain", self.gain)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        if len(shape) < 2:
            raise ValueError(
                f"Orthogonal needs at least two axes; received shape {shape}: biases cannot have it"
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(_generator(self.seed, rng).standard_normal(tall))
        q *= np.where(np.diag(r) < 0.0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@dataclass(frozen=True)
class _VarianceScaling(Initializer):
    """Zero mean, variance scale / fan; the fan is n_in, or (n_in + n_out) / 2."""

    seed: int | None = None

    def _variance(self, n_in: int, n_out: int) -> float:
        raise NotImplementedError

    def _std(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(self._variance(max(1, shape[0]), max(1, shape[-1])))


class _ScaledUniform(_VarianceScaling):
    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        limit = math.sqrt(3.0) * self._std(shape)
        return _generator(self.seed, rng).uniform(-limit, limit, shape)


class _ScaledNormal(_VarianceScaling):
    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        z = _truncated_normal(shape, _generator(self.seed, rng))
        return z * (self._std(shape) / _TRUNCATED_STD)


class GlorotUniform(_ScaledUniform):
    """Uniform on ±√(6 / (n_in + n_out)) (Glorot and Bengio, 2010).

    Parameters
    ----------
    seed : int or None, default None
        None draws from the model's own stream.

    Examples
    --------
    >>> w = GlorotUniform().draw((2, 4), np.random.default_rng(0))
    >>> bool((abs(w) <= 1).all())
    True
    """

    def _variance(self, n_in: int, n_out: int) -> float:
        return 2.0 / (n_in + n_out)


class GlorotNormal(_ScaledNormal):
    """Truncated normal of variance 2 / (n_in + n_out) (Glorot and Bengio, 2010)."""

    def _variance(self, n_in: int, n_out: int) -> float:
        return 2.0 / (n_in + n_out)


class HeUniform(_ScaledUniform):
    """Uniform on ±√(6 / n_in) (He et al., 2015)."""

    def _variance(self, n_in: int, n_out: int) -> float:
        return 2.0 / n_in


class HeNormal(_ScaledNormal):
    """Truncated normal of variance 2 / n_in (He et al., 2015)."""

    def _variance(self, n_in: int, n_out: int) -> float:
        return 2.0 / n_in


class LecunUniform(_ScaledUniform):
    """Uniform on ±√(3 / n_in) (LeCun et al., 1998)."""

    def _variance(self, n_in: int, n_out: int) -> float:
        return 1.0 / n_in


class LecunNormal(_ScaledNormal):
    """Truncated normal of variance 1 / n_in (LeCun et al., 1998)."""

    def _variance(self, n_in: int, n_out: int) -> float:
        return 1.0 / n_in


TABLE: dict[str, type[Initializer]] = {
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "random_uniform": RandomUniform,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "orthogonal": Orthogonal,
    "constant": Constant,
    "zeros": Zeros,
    "ones": Ones,
    # Keras' older names.
    "uniform": RandomUniform,
    "normal": RandomNormal,
    "zero": Zeros,
    "one": Ones,
}


def resolve(identifier: object) -> Initializer:
    """Return the initializer that `identifier` stands for.

    That is a name, a class, an object or a config dict.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is neither a name nor an initializer.

    Examples
    --------
    >>> resolve("he_normal")
    HeNormal(seed=None)
    """
    return _resolve.resolve("initializer", identifier, Initializer, TABLE)


# Keras' names.
get = deserialize = resolve
serialize = _resolve.describe


def parameter_generator(model_seed: int, layer: int, parameter: int) -> np.random.Generator:
    """Return the generator of one parameter's initial values.

    Counter-based: a layer's values depend on its place in the model alone, whether the model
    is built at once, at the first fit, or again after `add`.
    """
    # The bit above the model's 64 keeps these numbers apart from the engine's own streams.
    key: Any = (1 << 64) | model_seed
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, parameter, layer]))


def _generator(seed: int | None, rng: np.random.Generator) -> np.random.Generator:
    return rng if seed is None else np.random.Generator(np.random.Philox(seed))


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return standard normal numbers, redrawn until they lie within ±2."""
    z = rng.standard_normal(shape)
    outside = np.abs(z) > 2.0
    while outside.any():
        z[outside] = rng.standard_normal(int(outside.sum()))
        outside = np.abs(z) > 2.0
    return z

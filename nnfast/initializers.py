"""Initializers, which draw the initial values of weights with their method `draw`.

Values are drawn in float64 and then rounded, so that a float32 and a float64 model with the same
seed start from the same weights. They are drawn in blocks, because a float64 copy of all float32
weights would need twice as much memory as the weights. Subclasses without new fields are not
decorated with `dataclass`, because each use of it adds half a millisecond to the import time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnfast._utils import registry
from nnfast._utils.checks import entries, integer, real
from nnfast._utils.config import model_dtype, next_seed
from nnfast._utils.eager import result

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

Floats = NDArray[np.float64]

_BLOCK = 1 << 16  # elements per block of random numbers
_PANEL = 1 << 17  # elements per panel; one panel of columns is orthonormalized at a time

# Standard deviation of a standard normal distribution truncated to [-2, 2].
_TRUNCATED_STD = 0.87962566103423978


@dataclass(frozen=True)
class Initializer(registry.Configured):
    """Base class of the initializers."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(f.default, float):
                low = 0.0 if f.name == "stddev" else -math.inf
                self._keep(**{f.name: real(f.name, value, low=low)})
            elif f.name == "seed" and value is not None:
                self._keep(seed=integer("seed", value, minimum=0))

    def __call__(self, shape: int | Sequence[int], dtype: str | None = None) -> Any:
        """Return an array of initial values.

        Without a seed, the values come from the stream that `nnfast.set_seed` starts.

        Parameters
        ----------
        shape : int or sequence of int
        dtype : {"float32", "float64"}, optional
            By default the dtype of `nnfast.set_default_dtype`.

        Examples
        --------
        >>> Constant(0.5)(2, dtype="float64")
        Tensor([0.5, 0.5])
        """
        given = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        sizes = tuple(integer("each entry of shape", size, minimum=0) for size in given)
        rng = np.random.Generator(np.random.Philox(next_seed()))
        return result(self.draw(sizes, rng).astype(model_dtype(dtype)))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        """Return values of the given shape, drawn with the initializer's seed if set, or `rng`."""
        if type(self).__call__ is Initializer.__call__:
            raise NotImplementedError(f"{type(self).__name__} must define draw or __call__")
        return np.asarray(self(shape), np.float64)

    def fill(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        """Fill a C-contiguous array with the values of `draw`, rounded to the array's dtype."""
        view[...] = self.draw(view.shape, rng)


class _InPlace(Initializer):
    """Base class of the initializers that write directly into the given array."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        values = np.empty(shape)
        self._write(values, rng)
        return values

    def fill(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        if type(self).draw is _InPlace.draw:
            self._write(view, rng)
        else:  # a user-defined subclass has overridden `draw`
            super().fill(view, rng)

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(_InPlace):
    """Set every element to `value`.

    Parameters
    ----------
    value : float, default 0.0

    Examples
    --------
    >>> Constant(0.5).draw((2,), np.random.default_rng(0))
    array([0.5, 0.5])
    """

    value: float = 0.0

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        view.fill(self.value)


class Zeros(_InPlace):
    """Set every element to 0."""

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        view.fill(0.0)


class Ones(_InPlace):
    """Set every element to 1."""

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        view.fill(1.0)


@dataclass(frozen=True)
class RandomUniform(_InPlace):
    """Draw from the uniform distribution on [minval, maxval).

    Parameters
    ----------
    minval, maxval : float, default -0.05 and 0.05
    seed : int or None, default None
        If None, values come from the model's random stream, which `nnfast.set_seed` determines.

    Examples
    --------
    >>> w = RandomUniform(0.0, 1.0, seed=1).draw((3, 2), np.random.default_rng())
    >>> w.shape, bool((w >= 0).all())
    ((3, 2), True)
    """

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        rng = _generator(self.seed, rng)
        for block in blocks(view):
            block[...] = rng.uniform(self.minval, self.maxval, block.size)


@dataclass(frozen=True)
class RandomNormal(_InPlace):
    """Draw from the normal distribution with the given mean and standard deviation.

    Parameters
    ----------
    mean, stddev : float, default 0.0 and 0.05
        `stddev` must be at least 0.
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

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        rng = _generator(self.seed, rng)
        for block in blocks(view):
            block[...] = rng.normal(self.mean, self.stddev, block.size)


class TruncatedNormal(RandomNormal):
    """Draw from the normal distribution truncated to mean ± 2·stddev.

    Values outside this interval are drawn again. `stddev` is the standard deviation before
    truncation; the truncated values have a standard deviation of 0.88·stddev.

    Parameters
    ----------
    mean, stddev : float, default 0.0 and 0.05
        `stddev` must be at least 0.
    seed : int or None, default None
        As in `RandomUniform`.

    Examples
    --------
    >>> w = TruncatedNormal(stddev=1.0).draw((1000,), np.random.default_rng(0))
    >>> bool(abs(w).max() <= 2)
    True
    """

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        _write_truncated(view, _generator(self.seed, rng), self.mean, self.stddev)


@dataclass(frozen=True)
class Orthogonal(_InPlace):
    """Draw a random matrix with orthonormal rows or columns, times `gain` (Saxe et al., 2014).

    Columns are orthonormal if there are at most as many columns as rows; otherwise rows are. The
    matrix is the Q of a QR decomposition of a random normal matrix. Each column of Q is multiplied
    by the sign of R's diagonal element, so that Q is uniformly distributed. The array needs at
    least two axes; all axes but the last are merged into one.

    Parameters
    ----------
    gain : float, default 1.0
        Factor by which the orthonormal matrix is multiplied.
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

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        if view.ndim < 2:
            raise ValueError(
                f"Orthogonal needs at least two axes; received shape {view.shape}: use another "
                "initializer for biases"
            )
        matrix = view.reshape(-1, view.shape[-1])
        tall = matrix if len(matrix) >= matrix.shape[1] else matrix.T
        _write_orthonormal(tall, _generator(self.seed, rng))
        view *= self.gain


@dataclass(frozen=True)
class Identity(_InPlace):
    """Set a matrix, which need not be square, to the identity times `gain`.

    Parameters
    ----------
    gain : float, default 1.0
        Value on the diagonal; all other elements are 0.

    Examples
    --------
    >>> Identity(2.0).draw((2, 3), np.random.default_rng(0))
    array([[2., 0., 0.],
           [0., 2., 0.]])
    """

    gain: float = 1.0

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        if view.ndim != 2:
            raise ValueError(
                f"Identity needs two axes; received shape {view.shape}: use another initializer "
                "for biases"
            )
        view.fill(0.0 * self.gain)
        np.fill_diagonal(view[: view.shape[1]], self.gain)


@dataclass(frozen=True)
class VarianceScaling(_InPlace):
    """Draw values with mean 0 and variance scale / fan, to keep the scale of signals across layers.

    The Glorot, He and LeCun initializers are special cases.

    Parameters
    ----------
    scale : float, default 1.0
        Must be greater than 0.
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
        How the fan is computed: the number of inputs of a unit, the number of outputs to which an
        input contributes, or the mean of both.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        Default "truncated_normal", also called "normal"; its variance after truncation is
        scale / fan.
    seed : int or None, default None
        As in `RandomUniform`.
    input_axes, output_axes : sequence of int, optional
        Axes whose sizes are multiplied to the numbers of inputs and outputs.

    Examples
    --------
    >>> w = VarianceScaling(3.0, "fan_out", "uniform").draw((2, 9), np.random.default_rng(0))
    >>> bool((abs(w) <= 1).all())
    True
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None
    input_axes: tuple[int, ...] | None = None
    output_axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("input_axes", "output_axes"):
            axes = getattr(self, name)
            if axes is not None:
                each = [integer(name, axis, minimum=-64) for axis in entries(name, axes)]
                self._keep(**{name: tuple(each)})
        self._keep(scale=real("scale", self.scale, above=0.0))
        registry.choose("mode", self.mode, dict.fromkeys(("fan_in", "fan_out", "fan_avg")))
        kinds = {kind: kind for kind in ("truncated_normal", "untruncated_normal", "uniform")}
        kinds["normal"] = "truncated_normal"
        kind = registry.choose("distribution", str(self.distribution).lower(), kinds)
        self._keep(distribution=kind)

    def _write(self, view: NDArray[Any], rng: np.random.Generator) -> None:
        n_in, n_out = _fans(view.shape, self.input_axes, self.output_axes)
        fan = {"fan_in": n_in, "fan_out": n_out, "fan_avg": (n_in + n_out) / 2}[self.mode]
        std = math.sqrt(self.scale / max(1.0, fan))
        rng = _generator(self.seed, rng)
        if self.distribution == "truncated_normal":
            _write_truncated(view, rng, 0.0, std / _TRUNCATED_STD)
            return
        limit = math.sqrt(3.0) * std
        for block in blocks(view):
            if self.distribution == "uniform":
                block[...] = rng.uniform(-limit, limit, block.size)
            else:
                block[...] = rng.normal(0.0, std, block.size)


class _Scaling(VarianceScaling):
    """Base class of the special cases of `VarianceScaling`."""

    case: ClassVar[tuple[float, str, str]]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: tuple[int, ...] | None = None,
        output_axes: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(*self.case, seed, input_axes, output_axes)

    def __repr__(self) -> str:
        axes = [f"{n}={v!r}" for n in ("input_axes", "output_axes") if (v := getattr(self, n))]
        return f"{type(self).__name__}({', '.join([f'seed={self.seed!r}', *axes])})"


class GlorotUniform(_Scaling):
    """Draw uniformly from [−a, a] with a = √(6 / (n_in + n_out)) (Glorot and Bengio, 2010).

    Parameters
    ----------
    seed : int or None, default None
        As in `RandomUniform`.
    input_axes, output_axes : sequence of int, optional
        As in `VarianceScaling`.

    Examples
    --------
    >>> w = GlorotUniform().draw((2, 4), np.random.default_rng(0))
    >>> bool((abs(w) <= 1).all())
    True
    """

    case = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaling):
    """Draw truncated normal values with variance 2 / (n_in + n_out) (Glorot and Bengio, 2010)."""

    case = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaling):
    """Draw uniformly from [−a, a] with a = √(6 / n_in) (He et al., 2015)."""

    case = (2.0, "fan_in", "uniform")


class HeNormal(_Scaling):
    """Draw truncated normal values with variance 2 / n_in (He et al., 2015)."""

    case = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaling):
    """Draw uniformly from [−a, a] with a = √(3 / n_in) (LeCun et al., 1998)."""

    case = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaling):
    """Draw truncated normal values with variance 1 / n_in (LeCun et al., 1998)."""

    case = (1.0, "fan_in", "truncated_normal")


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
    "variance_scaling": VarianceScaling,
    "orthogonal": Orthogonal,
    "identity": Identity,
    "constant": Constant,
    "zeros": Zeros,
    "ones": Ones,
    # Names from older versions of Keras.
    "uniform": RandomUniform,
    "normal": RandomNormal,
    "zero": Zeros,
    "one": Ones,
}
registry.name_constructors(TABLE.values())


def resolve(identifier: object) -> Initializer:
    """Return the initializer for `identifier`: a name, a class, an initializer or a config dict.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` has the wrong type.

    Examples
    --------
    >>> resolve("he_normal")
    HeNormal(seed=None)
    """
    return registry.resolve("initializer", identifier, Initializer, TABLE)


def get(identifier: object) -> Initializer | None:
    """Return ``resolve(identifier)``, or None for None.

    Examples
    --------
    >>> get("zeros") == resolve("zeros"), get(None)
    (True, None)
    """
    return None if identifier is None else resolve(identifier)


# Aliases, as in Keras.
deserialize = resolve
serialize = registry.describe
constant, zeros, ones = Constant, Zeros, Ones
identity = IdentityInitializer = Identity
orthogonal = OrthogonalInitializer = Orthogonal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling = VarianceScaling
glorot_normal, glorot_uniform = GlorotNormal, GlorotUniform
he_normal, he_uniform = HeNormal, HeUniform
lecun_normal, lecun_uniform = LecunNormal, LecunUniform


def parameter_generator(model_seed: int, layer: int, parameter: int) -> np.random.Generator:
    """Return the random generator for the initial values of one parameter.

    The generator is counter-based, so a layer's values depend only on the model's seed and on the
    layer's position. They do not depend on whether the model is built immediately, in the first
    `fit`, or again after `add`.
    """
    # Setting the bit above the 64-bit seed separates this stream from the engine's streams.
    key: Any = (1 << 64) | model_seed
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, parameter, layer]))


def _generator(seed: int | None, rng: np.random.Generator) -> np.random.Generator:
    return rng if seed is None else np.random.Generator(np.random.Philox(seed))


def _fans(
    shape: tuple[int, ...], inputs: tuple[int, ...] | None, outputs: tuple[int, ...] | None
) -> tuple[int, int]:
    """Return (fan_in, fan_out), computed as in Keras.

    Unless axes are given, all axes but the last two are the spatial axes of a convolution kernel.
    """
    if inputs is not None and outputs is not None:
        return math.prod(shape[i] for i in inputs), math.prod(shape[i] for i in outputs)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield flat views of consecutive blocks of a C-contiguous array.

    Drawing random numbers block by block gives the same numbers as drawing them in one call.

    Examples
    --------
    >>> [block.shape for block in blocks(np.zeros((2, 3)))]
    [(6,)]
    """
    if not array.flags.c_contiguous:
        raise ValueError(
            f"expected a C-contiguous array; received strides {array.strides} for shape "
            f"{array.shape}"
        )
    flat = array.reshape(-1)
    for begin in range(0, flat.size, _BLOCK):
        yield flat[begin : begin + _BLOCK]


def _write_orthonormal(tall: NDArray[Any], rng: np.random.Generator) -> None:
    """Write orthonormal columns into `tall`, one panel of columns at a time.

    NumPy's QR decomposition of the whole matrix would need three copies of it in float64. Block
    Gram-Schmidt needs copies of single panels only: before a panel is decomposed, its projection
    onto the earlier panels is subtracted. The subtraction is done twice, because the first pass
    leaves rounding errors ("twice is enough", Giraud et al., 2005). A small matrix is one panel.
    """
    rows, columns = tall.shape
    width = max(1, _PANEL // rows, columns // 32)
    panels = [tall[:, begin : begin + width] for begin in range(0, columns, width)]
    for i, panel in enumerate(panels):
        z = rng.standard_normal(panel.shape)
        for earlier in 2 * panels[:i]:
            q = earlier.astype(np.float64)
            z -= q @ (q.T @ z)
        q, r = np.linalg.qr(z)
        panel[...] = q * np.where(np.diag(r) < 0.0, -1.0, 1.0)


def _write_truncated(
    view: NDArray[Any], rng: np.random.Generator, mean: float, scale: float
) -> None:
    """Write normal values into `view`, then redraw all values outside mean ± 2·scale."""
    outside = [np.empty(0, np.intp)]
    for i, block in enumerate(blocks(view)):
        z = rng.standard_normal(block.size)
        block[...] = mean + scale * z
        outside.append(i * _BLOCK + np.flatnonzero(np.abs(z) > 2.0))
    flat, left = view.reshape(-1), np.concatenate(outside)
    while left.size:
        outside = []
        for indices in blocks(left):
            z = rng.standard_normal(indices.size)
            flat[indices] = mean + scale * z
            outside.append(indices[np.abs(z) > 2.0])
        left = np.concatenate(outside)

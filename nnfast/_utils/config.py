"""Process-wide settings: the default dtype and the stream of model seeds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnfast._utils.checks import integer
from nnfast._utils.registry import choose

DTYPES = ("float32", "float64")
# The dtypes of data besides those: integers, and text, which Python replaces by numbers.
INTEGERS = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
TEXT = "string"

_settings: dict[str, str] = {"dtype": "float32"}
_seed_stream: list[np.random.Generator] = []


def set_seed(seed: int) -> None:
    """Make every model created from now on reproducible.

    `seed` starts a stream of 64-bit numbers, and each new model takes the next one as its own
    seed. The model's initial weights, shuffles and dropout masks depend only on that number.
    Existing models are not affected. Without `set_seed`, each model's seed comes from the
    operating system.

    Parameters
    ----------
    seed : int
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If `seed` is not an integer, or is negative.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.set_seed(7)
    >>> a = nnfast.Sequential([nnfast.Input((2,)), nnfast.layers.Dense(1)]).get_weights()
    >>> nnfast.set_seed(7)
    >>> b = nnfast.Sequential([nnfast.Input((2,)), nnfast.layers.Dense(1)]).get_weights()
    >>> bool((a[0] == b[0]).all())
    True
    """
    seed = integer("seed", seed, minimum=0)
    _seed_stream[:] = [np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Return a context manager within which `set_seed` has been called with `seed`."""
    before = _seed_stream[:]
    set_seed(seed)
    try:
        yield
    finally:
        _seed_stream[:] = before


def next_seed() -> int:
    """Return the 64-bit seed of the next model."""
    if _seed_stream:
        return int(_seed_stream[0].integers(0, 2**64, dtype=np.uint64))
    return int.from_bytes(os.urandom(8), "little")


def set_default_dtype(dtype: str) -> None:
    """Set the dtype of models that are created without `dtype=`.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        The default is ``"float32"`` until this function is called.

    Raises
    ------
    ValueError
        If `dtype` is not one of these dtypes.

    Examples
    --------
    >>> import nnfast
    >>> nnfast.set_default_dtype("float64")
    >>> nnfast.Sequential().dtype
    'float64'
    >>> nnfast.set_default_dtype("float32")
    """
    _settings["dtype"] = check_dtype(dtype)


def default_dtype() -> str:
    """Return the dtype of models that are created without `dtype=`."""
    return _settings["dtype"]


def model_dtype(dtype: object) -> np.dtype[Any]:
    """Return the dtype of a model created with ``dtype=dtype``; None means the default."""
    return np.dtype(default_dtype() if dtype is None else check_dtype(dtype))


def check_dtype(dtype: object, known: Sequence[str] = DTYPES) -> str:
    """Return `dtype` (a name, or anything `numpy.dtype` accepts) as one of the known names."""
    name: Any = dtype
    if not isinstance(dtype, str) and dtype is not None:  # NumPy interprets None as float64
        with contextlib.suppress(TypeError, ValueError):
            found: np.dtype[Any] = np.dtype(dtype)  # type: ignore[call-overload]
            name = TEXT if found.kind == "U" else found.name
    return choose("dtype", name, {entry: entry for entry in known})

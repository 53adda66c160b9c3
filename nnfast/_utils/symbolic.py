"""What is known of an array before it is computed."""

from __future__ import annotations

from typing import NamedTuple


class KerasTensor(NamedTuple):
    """What is known of an array before it is computed.

    Attributes
    ----------
    shape : tuple of (int or None)
        None is the size of a batch, which may vary.
    dtype : str
    name : str
    """

    shape: tuple[int | None, ...]
    dtype: str
    name: str


def sample_shape(x: KerasTensor) -> tuple[int, ...]:
    """Return the shape of one sample.

    Examples
    --------
    >>> sample_shape(KerasTensor((None, 2, 3), "float32", "x"))
    (2, 3)
    """
    return tuple(size for size in x.shape[1:] if size is not None)

"""Sequences of different lengths as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast._utils.checks import Array, integer
from nnfast._utils.registry import choose

__all__ = ["pad_sequences"]

_SIDES = {"pre": True, "post": False}


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float | str = 0.0,
) -> Array:
    """Return sequences as one array, padded or truncated to the same length.

    Parameters
    ----------
    sequences : list of sequences
        Their entries are numbers, text, or arrays that all have the same shape.
    maxlen : int, optional
        The length of the result; by default, that of the longest sequence.
    dtype : dtype-like, default "int32"
        The dtype of the result; `object` for text.
    padding, truncating : {"pre", "post"}
        Whether entries are added to short sequences, and removed from long ones, at the beginning
        or at the end.
    value : float or str, default 0.0
        Fills the added entries.

    Returns
    -------
    ndarray (n, maxlen, ...)

    Raises
    ------
    ValueError
        If an entry of `sequences` is not a sequence, entries have different shapes, or `value` is
        text and `dtype` is not.

    Examples
    --------
    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2, padding="post")
    array([[1, 0],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    pad_before = choose("padding", padding, _SIDES)
    drop_first = choose("truncating", truncating, _SIDES)
    _check_value(value, dtype)
    lengths = _lengths(sequences)
    longest = max(lengths, default=0)
    maxlen = longest if maxlen is None else integer("maxlen", maxlen, minimum=0)
    filled = [sequence for sequence, n in zip(sequences, lengths, strict=True) if n]
    shape = np.shape(filled[0])[1:] if filled else ()

    padded = np.full((len(lengths), maxlen, *shape), value, dtype)
    for row, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
        kept = min(length, maxlen)
        first = length - kept if drop_first else 0
        entries = np.asarray(sequence[first : first + kept], dtype)
        if kept and entries.shape[1:] != shape:
            raise ValueError(
                f"the entries of sequences must all have shape {shape}; those of sequence {row} "
                f"have shape {entries.shape[1:]}"
            )
        if kept:
            begin = maxlen - kept if pad_before else 0
            padded[row, begin : begin + kept] = entries
    return padded


def _lengths(sequences: Any) -> list[int]:
    """Return the length of each sequence."""
    if not hasattr(sequences, "__len__"):
        raise ValueError(
            f"sequences must be a list of sequences; received {type(sequences).__name__}"
        )
    lengths = []
    for sequence in sequences:
        if not hasattr(sequence, "__len__"):
            raise ValueError(f"each entry of sequences must be a sequence; received {sequence!r}")
        lengths.append(len(sequence))
    return lengths


def _check_value(value: object, dtype: Any) -> None:
    if isinstance(value, str) and np.dtype(dtype).kind not in "OSU":
        raise ValueError(
            f"value is text ({value!r}), so dtype must be object; received dtype={dtype!r}"
        )

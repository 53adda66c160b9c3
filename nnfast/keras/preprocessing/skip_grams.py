"""Pairs of words for training word vectors, as in ``keras.preprocessing.sequence``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils import config
from nnfast._utils.checks import flag, integer, real, real_array

__all__ = ["skipgrams"]


def skipgrams(
    sequence: Sequence[int],
    vocabulary_size: int,
    window_size: int = 4,
    negative_samples: float = 1.0,
    shuffle: bool = True,
    categorical: bool = False,
    sampling_table: Any = None,
    seed: int | None = None,
) -> tuple[list[list[int]], list[Any]]:
    """Return pairs of words that are close to each other, and random pairs, with their labels.

    A pair (word, other word in its window) has the label 1, a pair (word, random word) the label 0
    (Mikolov et al., 2013).

    Parameters
    ----------
    sequence : sequence of int (n,)
        The indices of the words of a text. Index 0 stands for no word.
    vocabulary_size : int
        All indices are less than this; random words are drawn from 1, …, vocabulary_size − 1.
    window_size : int, default 4
        The largest distance between the words of a pair.
    negative_samples : float, default 1.0
        The number of random pairs per other pair.
    shuffle : bool, default True
        Whether the pairs are in random order.
    categorical : bool, default False
        Whether labels are ``[0, 1]`` and ``[1, 0]`` instead of 1 and 0.
    sampling_table : array_like of float (vocabulary_size,), optional
        The probability with which each word becomes the first of a pair; see `make_sampling_table`.
    seed : int, optional
        The seed of all random numbers; by default they depend on `nnfast.set_seed`. In Keras, only
        the order depends on it.

    Returns
    -------
    couples : list of list of int, of length 2
    labels : list of int, or of list of int

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> couples, labels = skipgrams([1, 2, 3], 4, window_size=1, negative_samples=0, shuffle=False)
    >>> couples, labels
    ([[1, 2], [2, 1], [2, 3], [3, 2]], [1, 1, 1, 1])
    """
    size = integer("vocabulary_size", vocabulary_size, minimum=1)
    words = _indices(sequence, size)
    window = min(integer("window_size", window_size, minimum=0), len(words))
    share = real("negative_samples", negative_samples, low=0.0)
    if share and size < 2:
        raise ValueError(
            "vocabulary_size must be at least 2 to draw random words, because index 0 stands for "
            f"no word; received {vocabulary_size}"
        )
    rng = np.random.default_rng(
        config.next_seed() if seed is None else integer("seed", seed, minimum=0)
    )
    first = words != 0
    if sampling_table is not None:
        first &= rng.random(len(words)) < _probabilities(sampling_table, size)[words]
    pairs = _close_pairs(words, first, window)
    n = len(pairs)
    n_random = int(n * share)
    repeated = np.resize(rng.permutation(pairs[:, 0]), n_random)
    drawn = rng.integers(1, max(size, 2), n_random)
    pairs = np.concatenate([pairs, np.stack([repeated, drawn], axis=1)])
    labels = np.arange(n + n_random) < n
    if flag("shuffle", shuffle):
        order = rng.permutation(len(pairs))
        pairs, labels = pairs[order], labels[order]
    numbers = labels.astype(np.int64)
    if flag("categorical", categorical):
        numbers = np.stack([1 - numbers, numbers], axis=1)
    return pairs.tolist(), numbers.tolist()


def _close_pairs(
    words: NDArray[np.int64], first: NDArray[np.bool_], window: int
) -> NDArray[np.int64]:
    """Return the pairs of words (n, 2) at most `window` apart, in the order of the text."""
    steps = np.concatenate([np.arange(-window, 0), np.arange(1, window + 1)])
    # Zeros around the text, which are no words, so that each word has a whole window.
    padded = np.pad(words, window)
    at = np.arange(window, window + len(words))[:, None] + steps
    others = padded[at]
    place, column = np.nonzero((others != 0) & first[:, None])
    return np.stack([words[place], others[place, column]], axis=1)


def _indices(sequence: Any, size: int) -> NDArray[np.int64]:
    words = real_array("sequence", sequence)
    if words.ndim != 1 or (words.size and words.dtype.kind not in "iu"):
        raise ValueError(
            f"sequence must be integers (n,); received {words.dtype} of shape {words.shape}"
        )
    if words.size and not 0 <= words.min() <= words.max() < size:
        raise ValueError(
            f"sequence must hold indices from 0 to vocabulary_size - 1 = {size - 1}; received "
            f"indices from {words.min()} to {words.max()}"
        )
    return words.astype(np.int64)


def _probabilities(value: Any, size: int) -> NDArray[np.float64]:
    table = real_array("sampling_table", value).astype(np.float64)
    if table.ndim != 1 or len(table) < size:
        raise ValueError(
            f"sampling_table must have a probability for each of the {size} indices; received "
            f"shape {table.shape}"
        )
    return table

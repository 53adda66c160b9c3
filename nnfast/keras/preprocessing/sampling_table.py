"""Probabilities with which words are sampled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import integer, real

__all__ = ["make_sampling_table"]

_EULER = 0.577  # the Euler-Mascheroni constant to the digits that Keras uses


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> NDArray[np.float64]:
    """Return the probabilities with which word2vec keeps words, by rank.

    The word of rank r is taken to have the frequency f = 1 / (r (log r + γ) + 1/2 − 1/(12 r)) of
    Zipf's law, and is kept with the probability min(1, √(sampling_factor / f)). Rank 0, which
    stands for no word, has the probability of rank 1.

    Parameters
    ----------
    size : int
        The number of ranks.
    sampling_factor : float, default 1e-5
        A smaller factor leaves out more of the frequent words.

    Returns
    -------
    ndarray of float64 (size,)

    Examples
    --------
    >>> make_sampling_table(3).round(5)
    array([0.00315, 0.00315, 0.00548])
    """
    rank = np.maximum(np.arange(integer("size", size, minimum=1)), 1)
    factor = real("sampling_factor", sampling_factor, above=0.0)
    inverse = rank * (np.log(rank) + _EULER) + 0.5 - 1 / (12 * rank)
    table: NDArray[np.float64] = np.minimum(1, np.sqrt(factor * inverse))
    return table

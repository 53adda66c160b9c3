"""Movie reviews, positive or negative: 25,000 for training and 25,000 for tests."""

from __future__ import annotations

import numpy as np

from nnfast.keras.datasets.npz import load_npz
from nnfast.keras.datasets.published import fetch
from nnfast.keras.datasets.sequences import Encoding, load_word_index, shorter, split_texts
from nnfast.keras.datasets.tables import Split, check_table, shuffled

__all__ = ["get_word_index", "load_data"]


def load_data(
    path: str = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int | None = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int | None = 3,
) -> Split:
    """Return the IMDB data, downloaded if it is not in the cache.

    Each review is a list of numbers, one per word. A word's number is its rank by frequency plus
    `index_from`.

    Parameters
    ----------
    path : str, default "imdb.npz"
        The name of the file in ``~/.keras/datasets``; see `nnfast.keras.utils.get_file`.
    num_words : int or None, default None
        Words with this number or a larger one become `oov_char`. None means the largest number.
    skip_top : int, default 0
        Words with a smaller number become `oov_char`.
    maxlen : int or None, default None
        Only reviews of less than `maxlen` numbers are returned. None means all.
    seed : int or None, default 113
        Determines the order of the reviews; None means another order each time.
    start_char : int or None, default 1
        The first number of each review.
    oov_char : int or None, default 2
        The number of words that are out of the vocabulary. None removes these words.
    index_from : int or None, default 3
        Added to the words' ranks. None means 0.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: ndarray of shape (n,) whose elements are lists of int. (If all have the same length, it
        is a matrix of them, as in Keras.) y: ndarray of shape (n,), int64, 1 for positive
        reviews and 0 for negative ones.

    Raises
    ------
    OSError
        If the file cannot be downloaded; the message says where to put it.
    ValueError
        If an argument is not valid, if no review is shorter than `maxlen`, or if the file is
        damaged.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data(num_words=10000)  # doctest: +SKIP
    """
    encoding = Encoding(num_words, skip_top, maxlen, start_char, oov_char, index_from)
    rng = np.random.RandomState(seed)
    file = fetch("imdb.npz", path)
    x_train, y_train, x_test, y_test = load_npz(file, "x_train", "y_train", "x_test", "y_test")
    texts, labels, sizes = [], [], []
    for x, y in (x_train, y_train), (x_test, y_test):
        check_table(file, x, y)
        x, y = shuffled(x, y, rng)
        some, kept = shorter(encoding.numbered(x), y, maxlen)
        texts += some
        labels += kept
        sizes.append(len(some))
    # The largest number is that of both parts.
    return split_texts(encoding.limited(texts), labels, sizes[0])


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """Return the rank of each word by frequency, counted from 1.

    In the reviews, a word's number is its rank plus `index_from`.

    Parameters
    ----------
    path : str, default "imdb_word_index.json"
        The name of the file in ``~/.keras/datasets``; see `nnfast.keras.utils.get_file`.

    Raises
    ------
    OSError
        If the file cannot be downloaded; the message says where to put it.
    ValueError
        If the file is damaged.

    Examples
    --------
    >>> words = {index + 3: word for word, index in get_word_index().items()}  # doctest: +SKIP
    """
    return load_word_index(fetch("imdb_word_index.json", path))

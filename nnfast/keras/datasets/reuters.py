"""News of 46 topics: 11,228 texts."""

from __future__ import annotations

import numpy as np

from nnfast._utils.checks import real
from nnfast.keras.datasets.npz import load_npz
from nnfast.keras.datasets.published import fetch
from nnfast.keras.datasets.sequences import Encoding, load_word_index, shorter, split_texts
from nnfast.keras.datasets.tables import Split, check_table, shuffled

__all__ = ["get_label_names", "get_word_index", "load_data"]

_TOPICS = (
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves "
    "ship cotton carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin "
    "strategic-metal livestock retail ipi iron-steel rubber heat jobs lei bop zinc orange pet-chem "
    "dlr gas silver wpi hog lead"
)


def load_data(
    path: str = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int | None = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int | None = 3,
) -> Split:
    """Return the Reuters data, downloaded if it is not in the cache.

    Each text is a list of numbers, one per word. A word's number is its rank by frequency plus
    `index_from`.

    Parameters
    ----------
    path : str, default "reuters.npz"
        The name of the file in ``~/.keras/datasets``; see `nnfast.keras.utils.get_file`.
    num_words : int or None, default None
        Words with this number or a larger one become `oov_char`. None means the largest number.
    skip_top : int, default 0
        Words with a smaller number become `oov_char`.
    maxlen : int or None, default None
        Only texts of less than `maxlen` numbers are returned. None means all.
    test_split : float, default 0.2
        The fraction of test data, 0 <= test_split <= 1.
    seed : int or None, default 113
        Determines the order of the texts; None means another order each time.
    start_char : int or None, default 1
        The first number of each text.
    oov_char : int or None, default 2
        The number of words that are out of the vocabulary. None removes these words.
    index_from : int or None, default 3
        Added to the words' ranks. None means 0.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: ndarray of shape (n,) whose elements are lists of int. (If all have the same length, it
        is a matrix of them, as in Keras.) y: ndarray of shape (n,), int64, topics from 0
        to 45.

    Raises
    ------
    OSError
        If the file cannot be downloaded; the message says where to put it.
    ValueError
        If an argument is not valid, if no text is shorter than `maxlen`, or if the file is
        damaged.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data(num_words=10000)  # doctest: +SKIP
    """
    encoding = Encoding(num_words, skip_top, maxlen, start_char, oov_char, index_from)
    real("test_split", test_split, low=0.0, high=1.0)
    rng = np.random.RandomState(seed)
    file = fetch("reuters.npz", path)
    x, y = load_npz(file, "x", "y")
    check_table(file, x, y)
    x, y = shuffled(x, y, rng)
    texts, kept = shorter(encoding.numbered(x), y, maxlen)
    return split_texts(encoding.limited(texts), kept, int(len(texts) * (1 - test_split)))


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """Return the rank of each word by frequency, counted from 1.

    In the texts, a word's number is its rank plus `index_from`.

    Parameters
    ----------
    path : str, default "reuters_word_index.json"
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
    return load_word_index(fetch("reuters_word_index.json", path))


def get_label_names() -> tuple[str, ...]:
    """Return the topics; a label is an index into them.

    Examples
    --------
    >>> get_label_names()[3]
    'earn'
    """
    return tuple(_TOPICS.split())

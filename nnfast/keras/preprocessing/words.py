"""Texts as lists of words, and words as indices by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from nnfast._utils.checks import flag, integer
from nnfast._utils.registry import choose

__all__ = ["FILTERS", "Analyzer", "hashing_trick", "one_hot", "text_to_word_sequence"]

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
# A function that returns the words of a text.
Analyzer = Callable[[str], Iterable[str]]


def text_to_word_sequence(
    input_text: str, filters: str = FILTERS, lower: bool = True, split: str = " "
) -> list[str]:
    """Return the words of a text.

    Parameters
    ----------
    input_text : str
    filters : str or list of str
        The characters that `split` replaces; by default ASCII punctuation without the apostrophe,
        the tabulator and the line feed.
    lower : bool, default True
        Whether to convert the text to lower case.
    split : str, default " "
        What separates words.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> text_to_word_sequence("The cat's on the mat!")
    ['the', "cat's", 'on', 'the', 'mat']
    """
    return WordSplitter(filters, lower, split)(checked_text("input_text", input_text))


class WordSplitter:
    """The function `text_to_word_sequence` with its other arguments checked once."""

    def __init__(self, filters: Any, lower: object, split: object) -> None:
        if not isinstance(split, str) or not split:
            raise ValueError(f"split must be text that is not empty; received {split!r}")
        characters = list(filters) if isinstance(filters, (str, list, tuple)) else None
        if characters is None or not all(isinstance(c, str) and len(c) == 1 for c in characters):
            raise ValueError(f"filters must be characters; received {filters!r}")
        self._table = str.maketrans(dict.fromkeys(characters, split))
        self._lower = flag("lower", lower)
        self._split = split

    def __call__(self, text: str) -> list[str]:
        """Return the words of a text."""
        if self._lower:
            text = text.lower()
        return [word for word in text.translate(self._table).split(self._split) if word]


def checked_text(name: str, value: object) -> str:
    """Return `value`, which must be text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text; received {value!r:.80}")
    return value


def one_hot(
    input_text: str,
    n: int,
    filters: str = FILTERS,
    lower: bool = True,
    split: str = " ",
    analyzer: Analyzer | None = None,
) -> list[int]:
    """Return an index from 1 to n − 1 for each word of a text, by a hash.

    The result is that of `hashing_trick` with its default hash, the same in every process. Keras
    uses Python's `hash`, which is not.

    Parameters
    ----------
    input_text, n, filters, lower, split, analyzer
        As in `hashing_trick`.

    Examples
    --------
    >>> one_hot("the cat and the dog", 1000)
    [132, 759, 384, 132, 168]
    """
    text = checked_text("input_text", input_text)
    return hashing_trick(text, n, None, filters, lower, split, analyzer)


def hashing_trick(
    text: str,
    n: int,
    hash_function: str | Callable[[str], int] | None = None,
    filters: str = FILTERS,
    lower: bool = True,
    split: str = " ",
    analyzer: Analyzer | None = None,
) -> list[int]:
    """Return the index ``hash(word) % (n - 1) + 1`` of each word of a text.

    Different words may have the same index.

    Parameters
    ----------
    text : str
    n : int
        Indices are less than n; at least 2.
    hash_function : {"md5"} or callable, optional
        A function from text to integers. None is ``"md5"``, which is the same in every process;
        Keras' default is Python's `hash`, which is not.
    filters, lower, split
        As in `text_to_word_sequence`.
    analyzer : callable, optional
        Returns the words of the text, in place of `text_to_word_sequence`.

    Returns
    -------
    list of int

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> hashing_trick("the cat and the dog", 1000, len)
    [4, 4, 4, 4, 4]
    """
    size = integer("n", n, minimum=2)
    split_words = WordSplitter(filters, lower, split) if analyzer is None else analyzer
    hashed: Any = hash_function
    if not callable(hash_function):
        hashed = choose("hash_function", hash_function or "md5", {"md5": _md5})
    words = list(split_words(checked_text("text", text)))
    indices = {word: hashed(word) % (size - 1) + 1 for word in set(words)}
    return [indices[word] for word in words]


def _md5(word: str) -> int:
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)

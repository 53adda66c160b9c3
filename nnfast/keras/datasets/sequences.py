"""Data sets of texts, each a list of words' indices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import integer
from nnfast.keras.datasets.tables import Split
from nnfast.keras.utils.damage import reading

__all__ = ["Encoding", "Words", "load_word_index", "shorter", "split_texts"]

Words = list[int]


@dataclass(frozen=True)
class Encoding:
    """The arguments of `load_data` that say which words a text keeps, and as which numbers.

    Attributes
    ----------
    num_words : int or None
        Numbers from `num_words` on are replaced; None or 0 means the largest number of all texts.
    skip_top : int
        Numbers below this one are replaced.
    maxlen : int or None
        Only shorter texts are kept, unless this is None or 0.
    start_char : int or None
        Precedes each text.
    oov_char : int or None
        Takes the place of other words; None removes them.
    index_from : int or None
        Added to each word's index.
    """

    num_words: int | None
    skip_top: int
    maxlen: int | None
    start_char: int | None
    oov_char: int | None
    index_from: int | None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None or name == "skip_top":
                integer(name, value, minimum=0)

    def numbered(self, texts: Iterable[Words]) -> list[Words]:
        """Return the texts with the start and with shifted indices.

        Examples
        --------
        >>> Encoding(None, 0, None, 1, 2, 3).numbered([[1, 5]])
        [[1, 4, 8]]
        """
        start = [] if self.start_char is None else [self.start_char]
        shift = self.index_from or 0
        return [start + [word + shift for word in text] for text in texts]

    def limited(self, texts: Sequence[Words]) -> list[Words]:
        """Return the texts with rare and frequent words replaced or removed.

        Examples
        --------
        >>> Encoding(6, 2, None, None, 0, 0).limited([[1, 5, 9, 5]])
        [[0, 5, 0, 5]]
        """
        low = self.skip_top
        # As in Keras, the largest number of all is itself out of the vocabulary.
        high = self.num_words or max((max(text, default=0) for text in texts), default=0)
        oov = self.oov_char
        if oov is None:
            return [[word for word in text if low <= word < high] for text in texts]
        return [[word if low <= word < high else oov for word in text] for text in texts]


def shorter(
    texts: Sequence[Words], labels: Iterable[Any], maxlen: int | None
) -> tuple[list[Words], list[Any]]:
    """Return the texts of less than `maxlen` words, and their labels; all if it is None or 0.

    Raises
    ------
    ValueError
        If there are none.
    """
    kept = [
        (text, label)
        for text, label in zip(texts, labels, strict=True)
        if not maxlen or len(text) < maxlen
    ]
    if not kept:
        raise ValueError(
            f"After filtering for sequences shorter than maxlen={maxlen}, no sequence was kept. "
            "Increase maxlen."
        )
    return [text for text, _ in kept], [label for _, label in kept]


def split_texts(texts: Sequence[Words], labels: Sequence[Any], first: int) -> Split:
    """Return the `first` texts as training data and the others as test data.

    Examples
    --------
    >>> (x_train, y_train), _ = split_texts([[1, 2], [3], [4]], [0, 1, 0], 2)
    >>> x_train, y_train
    (array([list([1, 2]), list([3])], dtype=object), array([0, 1]))
    """
    y = np.array(labels)
    return (_array(texts[:first]), y[:first]), (_array(texts[first:]), y[first:])


def _array(texts: Sequence[Words]) -> NDArray[Any]:
    # As in Keras, texts of one length become a matrix.
    return np.array(texts, dtype=object)


def load_word_index(path: str) -> dict[str, int]:
    """Return the index of each word from a JSON file.

    Raises
    ------
    ValueError
        If the file is not a JSON object whose values are integers.
    """
    with reading(path), open(path, encoding="utf-8") as file:
        index: dict[str, int] = json.load(file)
        if type(index) is not dict or any(type(value) is not int for value in index.values()):
            raise ValueError("expected a JSON object whose values are integers")
        return index

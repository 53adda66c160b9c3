"""The vocabulary of a collection of texts, as in ``keras.preprocessing.text``."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast._utils.checks import flag, integer, optional_integer, optional_text
from nnfast._utils.registry import choose
from nnfast.keras.preprocessing.words import FILTERS, Analyzer, WordSplitter

__all__ = ["Tokenizer", "tokenizer_from_json"]

_MODES = {mode: mode for mode in ("binary", "count", "freq", "tfidf")}


class Tokenizer:
    """Turns texts into sequences of indices, or into vectors of counts.

    `fit_on_texts` numbers the words from 1 on, the most frequent ones first; equally frequent words
    are in the order of their first appearance. Index 0 is not used.

    Parameters
    ----------
    num_words : int, optional
        Only words with an index below `num_words` are used.
    filters : str or list of str
        The characters that separate words like `split`; see `text_to_word_sequence`.
    lower : bool, default True
        Whether to convert texts to lower case.
    split : str, default " "
        What separates words.
    char_level : bool, default False
        Whether each character is a word.
    oov_token : str, optional
        Has index 1 and stands for words that are unknown or not used. By default, these are left
        out.
    analyzer : callable, optional
        Returns the words of a text, which is not changed before.
    document_count : int, default 0
        The number of texts that were counted before.

    Attributes
    ----------
    word_counts : dict of str to int
        How often each word appeared, in the order of first appearances.
    word_docs : dict of str to int
        The number of texts with each word.
    word_index, index_word : dict
        The index of each word, and the word of each index.
    index_docs : dict of int to int
        The number of texts, or sequences, with each index.
    document_count : int
        The number of texts and sequences that were counted.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> tokenizer = Tokenizer(oov_token="<unk>")
    >>> tokenizer.fit_on_texts(["The cat sat on the mat.", "The dog!"])
    >>> tokenizer.word_index["the"], tokenizer.word_index["dog"]
    (2, 7)
    >>> tokenizer.texts_to_sequences(["the dog saw the cat"])
    [[2, 7, 1, 2, 3]]
    >>> tokenizer.sequences_to_texts([[2, 3]])
    ['the cat']
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: Analyzer | None = None,
        *,
        document_count: int = 0,
        **unknown: Any,
    ) -> None:
        if unknown:
            hint = ": use num_words" if "nb_words" in unknown else ""
            raise TypeError(f"Tokenizer got an unexpected argument {min(unknown)!r}{hint}")
        WordSplitter(filters, lower, split)  # checks them
        self.num_words = optional_integer("num_words", num_words)
        self.filters = filters
        self.lower = flag("lower", lower)
        self.split = split
        self.char_level = flag("char_level", char_level)
        self.oov_token = optional_text("oov_token", oov_token)
        self.analyzer = analyzer
        self.document_count = integer("document_count", document_count, minimum=0)
        self.word_counts: Counter[str] = Counter()
        self.word_docs: Counter[str] = Counter()
        self.index_docs: Counter[int] = Counter()
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    # ---- vocabulary ------------------------------------------------------------------------------

    def fit_on_texts(self, texts: Iterable[str | Sequence[str]]) -> None:
        """Add texts to the counts, and number all words anew.

        Parameters
        ----------
        texts : iterable of str or of list of str
            A list has the words of a text.
        """
        for words in self._words(texts):
            self.document_count += 1
            self.word_counts.update(words)
            self.word_docs.update(iter(dict.fromkeys(words)))  # each word once, in order
        by_count = sorted(self.word_counts, key=self.word_counts.__getitem__, reverse=True)
        first = [] if self.oov_token is None else [self.oov_token]
        self.word_index = {word: index for index, word in enumerate([*first, *by_count], 1)}
        self.index_word = {index: word for word, index in self.word_index.items()}
        for word, n in self.word_docs.items():
            self.index_docs[self.word_index[word]] = n

    def fit_on_sequences(self, sequences: Sequence[Iterable[int]]) -> None:
        """Add sequences of indices to the numbers of documents, which "tfidf" needs.

        Parameters
        ----------
        sequences : sequence of sequences of int
        """
        for sequence in sequences:
            self.document_count += 1
            self.index_docs.update(set(sequence))

    def _words(self, texts: Iterable[str | Sequence[str]]) -> Iterator[Sequence[str]]:
        """Yield the words of each text."""
        if isinstance(texts, (str, bytes)):
            raise TypeError(f"texts must be a list of texts; received one text, {texts!r:.80}")
        splitter = WordSplitter(self.filters, self.lower, self.split)
        for text in texts:
            if isinstance(text, (list, tuple)):
                yield [word.lower() for word in text] if self.lower else text
            elif not isinstance(text, str):
                raise TypeError(
                    f"each entry of texts must be text or a list of words; received {text!r:.80}"
                )
            elif self.char_level:
                yield list(text.lower() if self.lower else text)
            else:
                yield splitter(text) if self.analyzer is None else list(self.analyzer(text))

    # ---- sequences -------------------------------------------------------------------------------

    def texts_to_sequences(self, texts: Iterable[str | Sequence[str]]) -> list[list[int]]:
        """Return the indices of the words of each text.

        Parameters
        ----------
        texts : iterable of str or of list of str

        Returns
        -------
        list of list of int
        """
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(
        self, texts: Iterable[str | Sequence[str]]
    ) -> Iterator[list[int]]:
        """Yield the indices of the words of each text; see `texts_to_sequences`."""
        index_of, end = self.word_index.get, self.num_words or math.inf
        unknown = 0 if self.oov_token is None else index_of(self.oov_token, 0)
        for words in self._words(texts):
            found = map(index_of, words, repeat(0))
            if unknown:
                yield [index if 0 < index < end else unknown for index in found]
            else:
                yield [index for index in found if 0 < index < end]

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """Return the words of sequences of indices, joined by spaces.

        Parameters
        ----------
        sequences : iterable of sequences of int

        Returns
        -------
        list of str
        """
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Iterable[int]]) -> Iterator[str]:
        """Yield the words of each sequence of indices; see `sequences_to_texts`."""
        end = self.num_words or math.inf
        unknown = self.oov_token if self.oov_token in self.word_index else None
        for sequence in sequences:
            found = (self.index_word.get(i) if i < end else None for i in sequence)
            used = (unknown if word is None else word for word in found)
            yield " ".join(word for word in used if word is not None)

    # ---- matrices --------------------------------------------------------------------------------

    def texts_to_matrix(
        self, texts: Iterable[str | Sequence[str]], mode: str = "binary"
    ) -> NDArray[np.float64]:
        """Return a vector for each text; see `sequences_to_matrix`.

        Parameters
        ----------
        texts : iterable of str or of list of str
        mode : {"binary", "count", "freq", "tfidf"}
        """
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(
        self, sequences: Sequence[Sequence[int]], mode: str = "binary"
    ) -> NDArray[np.float64]:
        """Return a vector for each sequence of indices.

        Parameters
        ----------
        sequences : sequence of sequences of int
            Indices of `num_words` and above are left out.
        mode : {"binary", "count", "freq", "tfidf"}, default "binary"
            Entry i is 1 if i is in the sequence; its count c; c divided by the length of the
            sequence; or (1 + log c) log(1 + n / (1 + d)), where n is `document_count` and d
            ``index_docs[i]``.

        Returns
        -------
        ndarray of float64 (n, num_words), or (n, words + 1) if `num_words` is None

        Raises
        ------
        ValueError
            If there is neither `num_words` nor a vocabulary, an index is negative, or `mode` is
            "tfidf" and nothing was counted.

        Examples
        --------
        >>> Tokenizer(num_words=4).sequences_to_matrix([[1, 3, 3], [2]], "count")
        array([[0., 1., 0., 2.],
               [0., 0., 1., 0.]])
        """
        choose("mode", mode, _MODES)
        width = self.num_words or (len(self.word_index) + 1 if self.word_index else 0)
        if not width:
            raise ValueError("Give num_words, or call fit_on_texts, before making matrices")
        if mode == "tfidf" and not self.document_count:
            raise ValueError('mode="tfidf" needs counts: call fit_on_texts or fit_on_sequences')
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        columns = np.fromiter(chain.from_iterable(sequences), np.int64, lengths.sum())
        if columns.min(initial=0) < 0:
            raise ValueError(f"sequences must hold no negative indices; received {columns.min()}")
        rows = np.repeat(np.arange(len(lengths)), lengths)[columns < width]
        at, counts = np.unique(rows * width + columns[columns < width], return_counts=True)
        matrix = np.zeros((len(lengths), width))
        matrix.reshape(-1)[at] = self._values(mode, at % width, counts, lengths[at // width])
        return matrix

    def _values(
        self,
        mode: str,
        indices: NDArray[np.int64],
        counts: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> Any:
        """Return the entries for indices with their counts, in sequences of these lengths."""
        if mode == "binary":
            return 1.0
        if mode == "count":
            return counts
        if mode == "freq":
            return counts / lengths
        found = np.array([self.index_docs.get(i, 0) for i in range(indices.max(initial=0) + 1)])
        return (1 + np.log(counts)) * np.log(1 + self.document_count / (1 + found[indices]))

    # ---- configuration ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, and the counts and indices as JSON texts.

        Raises
        ------
        ValueError
            If there is an `analyzer`, because JSON holds no functions.
        """
        if self.analyzer is not None:
            raise ValueError(
                f"analyzer is a function, {self.analyzer!r}, which a configuration cannot hold: "
                "pass lists of words instead of texts"
            )
        names = ("num_words", "filters", "lower", "split", "char_level", "oov_token")
        config = {name: getattr(self, name) for name in (*names, "document_count")}
        return config | {name: json.dumps(getattr(self, name)) for name in _TABLES}

    def to_json(self, **kwargs: Any) -> str:
        """Return the class and `get_config` as JSON text, which `tokenizer_from_json` reads.

        Parameters
        ----------
        **kwargs
            Passed to `json.dumps`.
        """
        config = {"class_name": type(self).__name__, "config": self.get_config()}
        return json.dumps(config, **kwargs)


# The attributes that are JSON texts in configurations, and the types of their keys.
_TABLES = {
    **dict.fromkeys(("word_counts", "word_docs", "word_index"), str),
    **dict.fromkeys(("index_docs", "index_word"), int),
}


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """Return the tokenizer that `Tokenizer.to_json`, also that of Keras, has described.

    Parameters
    ----------
    json_string : str

    Raises
    ------
    ValueError
        If the text is not such a description.

    Examples
    --------
    >>> tokenizer = Tokenizer()
    >>> tokenizer.fit_on_texts(["a b b"])
    >>> tokenizer_from_json(tokenizer.to_json()).word_index
    {'b': 1, 'a': 2}
    """
    try:
        config = dict(json.loads(json_string)["config"])
        tables = {name: _table(name, config.pop(name)) for name in _TABLES}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            "json_string must be the result of Tokenizer.to_json; reading it gave "
            f"{type(error).__name__}: {error}"
        ) from None
    tokenizer = Tokenizer(**config)
    for name, table in tables.items():
        getattr(tokenizer, name).update(table)
    return tokenizer


def _table(name: str, text: str) -> Mapping[Any, Any]:
    """Return an attribute from its JSON text."""
    key, value = _TABLES[name], str if name == "index_word" else int
    table = {key(k): v for k, v in json.loads(text).items()}
    if not all(type(v) is value for v in table.values()):
        raise ValueError(f"{name} must have values of type {value.__name__}")
    return table

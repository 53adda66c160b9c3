"""The layer that turns text into the indices, or the counts, of its words."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from nnfast._plan.symbolic import KerasTensor
from nnfast._utils.checks import Array, OpenShape, flag, integer, optional_integer
from nnfast._utils.config import TEXT
from nnfast._utils.registry import choose
from nnfast.layers.index_lookup import check_no_path, short_repr
from nnfast.layers.layer import LayerOptions
from nnfast.layers.lookup import StringLookup
from nnfast.layers.preprocessing import DataLayer, data_batches, encoding_mode

__all__ = ["TextVectorization"]

_MODES = ("int", "multi_hot", "count", "tf_idf")
_LOWER = bytes(range(256)).lower()
_PUNCTUATION = string.punctuation.encode()
# What `bytes.translate` replaces and removes. It leaves the other letters of UTF-8 as they are.
_STANDARDS: dict[str | None, tuple[bytes | None, bytes]] = {
    None: (None, b""),
    "lower": (_LOWER, b""),
    "strip_punctuation": (None, _PUNCTUATION),
    "lower_and_strip_punctuation": (_LOWER, _PUNCTUATION),
}
# The ASCII characters that separate words for `str.split`, but not for `bytes.split`.
_SEPARATORS = b"\x1c\x1d\x1e\x1f"
_SPLITS = ("whitespace", "character")


class TextVectorization(DataLayer):
    """Turn each text into the indices of its words in a vocabulary, or into their counts.

    A text is standardized, split into words, and n-grams are made of these. Index 0 stands for
    padding, and index 1 for all words that are not in the vocabulary.

    Parameters
    ----------
    max_tokens : int, optional
        The largest size of the vocabulary, with the special tokens.
    standardize : str, callable or None, default "lower_and_strip_punctuation"
        Also ``"lower"`` and ``"strip_punctuation"``. Only ASCII letters become lower-case, and only
        ASCII punctuation is removed, as in TensorFlow. A function takes an array of text and
        returns one of the same shape.
    split : {"whitespace", "character"}, callable or None, default "whitespace"
        Words end at ASCII whitespace. With None, the samples are sequences of words. A function
        takes an array of text, of shape (n,), and returns n sequences of words.
    ngrams : int or tuple of int, optional
        The sizes of n-grams, which replace the words; an integer n stands for (1, …, n). First come
        all n-grams of the first size. The words of an n-gram are joined by spaces.
    output_mode : {"int", "multi_hot", "count", "tf_idf"}, default "int"
        "int" returns the indices of the words in their order. "multi_hot" returns vectors with a 1
        for each word of the text, "count" their counts, and "tf_idf" the counts multiplied by
        `idf_weights`.
    output_sequence_length : int, optional
        The number of indices per text, for the mode "int": longer texts are cut off, shorter ones
        padded with 0. By default, all texts of a call are as long as the longest one. If this is in
        a model, `fit` pads arrays to the longest of all texts, and each batch of a stream to its
        own.
    pad_to_max_tokens : bool, default False
        Vectors have `max_tokens` entries, even if the vocabulary is smaller.
    vocabulary : sequence of str or path, optional
        The vocabulary, or a text file with a word on each line. If it is not given, `adapt` makes
        it from data.
    idf_weights : sequence of float, optional
        The inverse document frequencies of the vocabulary, for `output_mode` "tf_idf" only.
    sparse, ragged : bool, default False
        Must be False.
    encoding : str, default "utf-8"
        The encoding of bytes and of the file.
    name : str, optional
        See `Layer`.
    has_input_vocabulary : bool, optional
        In the configurations of adapted layers, False: the layer may be adapted again.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or arguments do not fit together.

    Examples
    --------
    >>> layer = TextVectorization(output_sequence_length=4)
    >>> layer.adapt(["foo bar", "bar baz", "baz bada boom"])
    >>> layer.get_vocabulary()
    ['', '[UNK]', 'baz', 'bar', 'foo', 'boom', 'bada']
    >>> layer(["Foo qux, bar!", "qux baz"])
    Tensor([[4, 1, 3, 0],
            [1, 2, 0, 0]])
    >>> TextVectorization(ngrams=2, output_mode="count", vocabulary=["a", "a b"])(["a b a"])
    Tensor([[2, 2, 1]])
    """

    input_dtype = TEXT
    _fields = (
        *("max_tokens", "standardize", "split", "ngrams", "output_mode", "output_sequence_length"),
        *("pad_to_max_tokens", "sparse", "ragged", "encoding"),
    )

    def __init__(  # type: ignore[misc]
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[[Any], Any] | None = "lower_and_strip_punctuation",
        split: str | Callable[[Any], Any] | None = "whitespace",
        ngrams: int | tuple[int, ...] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        *,
        has_input_vocabulary: bool | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(name=name, **options)
        self.standardize = _choice("standardize", standardize, _STANDARDS)
        self.split = _choice("split", split, (*_SPLITS, None))
        self.ngrams = _ngram_sizes(ngrams)
        self.output_mode = encoding_mode(output_mode, _MODES)
        self.output_sequence_length = optional_integer(
            "output_sequence_length", output_sequence_length
        )
        if self.output_mode != "int" and self.output_sequence_length is not None:
            raise ValueError(
                "output_sequence_length can be given only if output_mode is 'int'; received "
                f"output_mode={self.output_mode!r}"
            )
        self.ragged = flag("ragged", ragged)
        if self.ragged:
            raise ValueError("ragged must be False, because outputs are arrays; received True")
        # The vocabulary, which looks up the words.
        self._lookup = StringLookup(
            max_tokens=max_tokens,
            mask_token="",
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            output_mode=self.output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
            sparse=sparse,
            encoding=encoding,
            name=self.name,
            has_input_vocabulary=has_input_vocabulary,
            dtype=self.dtype,
        )

        # The lookup has checked them.
        self.max_tokens = self._lookup.max_tokens
        self.pad_to_max_tokens = self._lookup.pad_to_max_tokens
        self.sparse = self._lookup.sparse
        self.encoding = self._lookup.encoding

    # ---- vocabulary ------------------------------------------------------------------------------

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Set the vocabulary to the words of texts, the most frequent ones first.

        Equally frequent words are in decreasing order. At most `max_tokens` are kept.

        Parameters
        ----------
        data : array_like of str (n,) or (n, 1), or iterable of batches
            Lists are arrays. If a batch is a tuple ``(x, y)``, only x is used. In the mode
            "tf_idf", each text is a document.
        batch_size : int, optional
            Has no effect.
        steps : int, optional
            The number of batches that are used, by default all.

        Raises
        ------
        TypeError, ValueError
            If the constructor has received a vocabulary, or `data` cannot be read.
        """
        optional_integer("batch_size", batch_size)
        batches = (self.values("data", batch) for batch in data_batches(data, steps))
        self._lookup.adapt_to(document for x in batches for document in self._documents(x))

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """Return the words in the order of their indices.

        Parameters
        ----------
        include_special_tokens : bool, default True
            Whether the list begins with the padding (``""``, in the mode "int" only) and
            ``"[UNK]"``, which stands for unknown words.
        """
        return self._lookup.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """Return the number of words, with the special ones."""
        return self._lookup.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Set the vocabulary; the arguments and errors are those of `StringLookup.set_vocabulary`.

        Parameters
        ----------
        vocabulary : sequence of str, or path of a text file
        idf_weights : sequence of float, optional
        """
        self._lookup.set_vocabulary(vocabulary, idf_weights)

    # ---- words -----------------------------------------------------------------------------------

    def _documents(self, x: Array) -> Iterable[list[str]]:
        """Return the words, or the n-grams, of each text of an array that `values` returned."""
        found = self._split_texts(x)
        return found if self.ngrams is None else (_ngrams(words, self.ngrams) for words in found)

    def _split_texts(self, x: Array) -> Iterable[list[str]]:
        """Return the words of each text."""
        if callable(self.standardize):
            x = self._standardized(self.standardize, x)
        standard = _STANDARDS[None if callable(self.standardize) else self.standardize]
        if self.split is None:
            rows = x.tolist() if x.ndim > 1 else [[text] for text in x.reshape(-1).tolist()]
            return ([_text(text, *standard) for text in row] for row in rows)
        texts = x.reshape(-1).tolist()
        if self.split == "whitespace":
            return (_words(text, *standard) for text in texts)
        if self.split == "character":
            return (list(_text(text, *standard)) for text in texts)
        return _split_by(self.split, [_text(text, *standard) for text in texts])

    def _standardized(self, function: Callable[[Any], Any], x: Array) -> Array:
        """Return the texts that a user's function makes of others."""
        found = self._lookup.values("the result of standardize", function(x.astype(np.str_)))
        if found.shape != x.shape:
            raise ValueError(
                f"standardize must return an array of the shape of its argument, {x.shape}; "
                f"received shape {found.shape}"
            )
        return found

    # ---- outputs ---------------------------------------------------------------------------------

    def infer_open_shapes(self, *shapes: OpenShape) -> list[OpenShape]:
        (sample,) = shapes
        self._check_shape("samples", sample)
        if self.output_mode != "int":
            return [self._lookup.infer_shape((1,))]
        if self.split is None and self.ngrams is None and self.output_sequence_length is None:
            return [sample]
        # The length of the longest text is not known before the texts are.
        return [(self.output_sequence_length,)]

    def _check_shape(self, name: str, shape: OpenShape) -> None:
        """Raise a ValueError if the shape of a sample is not that of a text."""
        if self.split is not None and shape not in ((), (1,)):
            raise ValueError(
                f"{name} of layer {self.name!r} must be single texts, of shape () or (1,), because "
                f"split={self.split!r}; received shape {shape}"
            )
        if len(shape) > 1:
            raise ValueError(
                f"{name} of layer {self.name!r} must have shape (words,); received shape {shape}"
            )

    def _output_dtype(self, inputs: Sequence[KerasTensor]) -> str:
        return "int64" if self.output_mode == "int" else super()._output_dtype(inputs)

    def values(self, name: str, x: Any) -> Array:
        array = self._lookup.values(name, x)
        self._check_shape(f"the rows of {name}", array.shape[1:])
        return array

    def compute(self, x: Array) -> Array:
        if x.ndim == 0 or (self.split is None and x.ndim == 1):
            single: Array = self.compute(x[None])[0]
            return single
        documents = self._documents(x)
        if self.output_mode != "int":
            return self._lookup.encode(documents)
        width = self.output_sequence_length
        if width is not None:
            documents = (words[:width] for words in documents)
        indices, lengths = self._lookup.indices_of(documents)
        if width is None:
            width = int(lengths.max(initial=0))
        padded = np.zeros((len(x), width), np.int64)
        padded[np.arange(width) < lengths[:, None]] = indices
        return padded

    # ---- configuration ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, with the current vocabulary."""
        own, words = super().get_config(), self._lookup.get_config()
        kept = ("vocabulary", "idf_weights", "has_input_vocabulary")
        return own | {key: words[key] for key in kept if key in words}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TextVectorization:
        check_no_path(config)
        sizes = config.get("ngrams")
        return cls(**{**config, "ngrams": tuple(sizes) if isinstance(sizes, list) else sizes})

    def __repr__(self) -> str:
        return short_repr(self)


# ---- words ---------------------------------------------------------------------------------------


def _text(text: str, table: bytes | None, removed: bytes) -> str:
    """Return text with the ASCII characters of its UTF-8 bytes replaced or removed."""
    return (
        text.encode("utf-8", "surrogatepass")
        .translate(table, removed)
        .decode("utf-8", "surrogatepass")
    )


def _words(text: str, table: bytes | None, removed: bytes) -> list[str]:
    """Return the words of `_text`, which end at ASCII whitespace only, unlike those of `str`."""
    standard = text.encode("utf-8", "surrogatepass").translate(table, removed)
    if text.isascii() and len(standard) == len(standard.translate(None, _SEPARATORS)):
        return standard.decode("ascii").split()  # twice as fast as the general case
    words = standard.split()
    return b" ".join(words).decode("utf-8", "surrogatepass").split(" ") if words else []


def _ngrams(words: list[str], ngrams: int | tuple[int, ...]) -> list[str]:
    """Return the n-grams of words, size after size.

    Examples
    --------
    >>> _ngrams(["a", "b", "c"], (2, 1)), _ngrams(["a", "b"], 9)
    (['a b', 'b c', 'a', 'b', 'c'], ['a', 'b', 'a b'])
    """
    sizes: Iterable[int]
    sizes = range(1, min(ngrams, len(words)) + 1) if isinstance(ngrams, int) else ngrams
    return [" ".join(words[i : i + n]) for n in sizes for i in range(len(words) - n + 1)]


def _split_by(function: Callable[[Any], Any], texts: list[str]) -> Iterator[list[str]]:
    """Yield the words that a user's function makes of texts."""
    found = function(np.array(texts, np.str_))
    if not hasattr(found, "__len__") or len(found) != len(texts):
        raise ValueError(
            f"split must return a sequence of words for each of {len(texts)} texts; received "
            f"{found!r:.80}"
        )
    for words in found:
        listed = words if isinstance(words, (list, tuple)) else np.asarray(words).tolist()
        if not isinstance(listed, (list, tuple)) or not all(isinstance(w, str) for w in listed):
            raise TypeError(f"split must return sequences of text; received {words!r:.80}")
        yield [str(word) for word in listed]


# ---- arguments -----------------------------------------------------------------------------------


def _choice(name: str, value: Any, known: Iterable[str | None]) -> Any:
    """Return a checked argument that is a name, None or a function."""
    if value is None or callable(value):
        return value
    return choose(name, value, {key: key for key in known if key is not None})


def _ngram_sizes(value: Any) -> int | tuple[int, ...] | None:
    """Return the checked argument `ngrams`."""
    if not isinstance(value, tuple):
        return optional_integer("ngrams", value)
    if not value:
        raise ValueError("ngrams must have at least one size; received an empty tuple")
    return tuple(integer("each entry of ngrams", size, minimum=1) for size in value)

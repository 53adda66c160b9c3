"""The layers that replace text or integers by their indices in a vocabulary."""

from __future__ import annotations

import encodings.aliases
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from nnfast._utils.checks import Array, integer, optional_text
from nnfast._utils.config import TEXT
from nnfast._utils.registry import choose
from nnfast.layers.index_lookup import IndexLookup
from nnfast.layers.layer import LayerOptions
from nnfast.layers.preprocessing import whole_numbers

__all__ = [
    "IntegerLookup",
    "StringLookup",
]


class StringLookup(IndexLookup):
    """Replace text by its index in a vocabulary.

    Index 0 stands for all text that is not in the vocabulary. A mask token, if there is one, has
    index 0 instead, and the other indices begin at 1.

    Parameters
    ----------
    max_tokens : int, optional
        The largest size of the vocabulary, with the special tokens.
    num_oov_indices : int, default 1
        The number of indices for unknown text, which is assigned to them by a hash. With 0, unknown
        text raises a ValueError.
    mask_token : str, optional
        Has index 0 if `output_mode` is "int". Otherwise, it appears in no encoding.
    oov_token : str, default "[UNK]"
        Stands for unknown text in the vocabulary.
    vocabulary : sequence of str or path, optional
        The vocabulary, or a text file with a token on each line. If it is not given, `adapt` makes
        it from data.
    idf_weights : sequence of float, optional
        The inverse document frequencies of the vocabulary, for `output_mode` "tf_idf" only.
    invert : bool, default False
        Replace indices by text. The layer cannot be part of a model then.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}, default "int"
        "int" returns the indices. The next three encode them as `CategoryEncoding` does. "tf_idf"
        multiplies the counts by `idf_weights`.
    pad_to_max_tokens : bool, default False
        Encodings have `max_tokens` entries, even if the vocabulary is smaller.
    sparse : bool, default False
        Must be False.
    encoding : str, default "utf-8"
        The encoding of bytes and of the file.
    name : str, optional
        See `Layer`.
    salt : int or pair of int, optional
        A key for the hash of unknown text: SipHash replaces FarmHash.
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
    >>> layer = StringLookup(vocabulary=["a", "b", "c", "d"])
    >>> layer([["a", "c", "d"], ["d", "z", "b"]])
    Tensor([[1, 3, 4],
            [4, 0, 2]])
    >>> layer = StringLookup(output_mode="count")
    >>> layer.adapt([["a", "c", "d"], ["d", "z", "b"]])
    >>> layer.get_vocabulary()
    ['[UNK]', 'd', 'z', 'c', 'b', 'a']
    >>> layer([["a", "d", "d", "x"]])
    Tensor([[1, 2, 0, 0, 0, 1]])
    """

    _fields = (*IndexLookup._fields, "encoding")

    def __init__(  # type: ignore[misc]
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str | None = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: int | Sequence[int] | None = None,
        *,
        has_input_vocabulary: bool | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(name=name, **options)
        self.mask_token = optional_text("mask_token", mask_token)
        self.oov_token = optional_text("oov_token", oov_token)
        self.encoding = _encoding(encoding)
        self._configure(
            max_tokens, num_oov_indices, invert, output_mode, pad_to_max_tokens, sparse, salt
        )
        self._first_vocabulary(vocabulary, idf_weights, has_input_vocabulary)

    @property
    def input_dtype(self) -> str | None:  # type: ignore[override]
        return None if self.invert else TEXT

    @property
    def _encoding(self) -> str:
        return self.encoding

    @property
    def _table_dtype(self) -> Any:
        return np.str_

    def _token(self, name: str, value: Any) -> str:
        if isinstance(value, bytes):
            try:
                return value.decode(self.encoding)
            except UnicodeDecodeError:
                raise ValueError(
                    f"{name} must hold text in the encoding {self.encoding!r}; received {value!r}"
                ) from None
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold text; received {value!r}")
        return str(value)

    def _line(self, line: str) -> str:
        return line

    def _keys(self, name: str, x: Any) -> Array:
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise TypeError(
                f"{name} must be an array or nested lists of text, all rows alike: {error}"
            ) from None
        if isinstance(x, (list, tuple)) and array.dtype.kind in "US":
            array = np.array(x, object)  # NumPy has made text of numbers beside text
        if array.dtype.kind == "U":
            return array
        if array.dtype.kind not in "SOT":
            if array.size == 0:
                return array.astype(np.str_)
            raise TypeError(f"{name} must hold text; received an array of dtype {array.dtype}")
        entries = array.reshape(-1).tolist()
        # Lists may have arrays without axes as entries.
        entries = [entry[()] if isinstance(entry, np.ndarray) else entry for entry in entries]
        tokens = [self._token(name, entry) for entry in entries]
        return np.array(tokens, object).reshape(array.shape)


class IntegerLookup(IndexLookup):
    """Replace integers by their indices in a vocabulary.

    Index 0 stands for all integers that are not in the vocabulary. A mask token, if there is one,
    has index 0 instead, and the other indices begin at 1.

    Parameters
    ----------
    max_tokens, num_oov_indices, idf_weights, invert, output_mode, sparse, pad_to_max_tokens
        As in `StringLookup`.
    mask_token : int, optional
        As in `StringLookup`.
    oov_token : int, default -1
        Stands for unknown integers in the vocabulary.
    vocabulary : sequence of int or path, optional
        As in `StringLookup`.
    vocabulary_dtype : str, default "int64"
        Must be "int64".
    oov_method : {"floormod", "farmhash"}, default "floormod"
        How unknown integers are assigned to several `num_oov_indices`: by their remainder, or by a
        hash of their digits.
    salt : int or pair of int, optional
        A key for the hash "farmhash", which SipHash then replaces.
    name : str, optional
        See `Layer`.
    has_input_vocabulary : bool, optional
        As in `StringLookup`.
    **options
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or arguments do not fit together.

    Examples
    --------
    >>> layer = IntegerLookup(vocabulary=[12, 36, 1138, 42])
    >>> layer([[12, 1138, 42], [42, 1000, 36]])
    Tensor([[1, 3, 4],
            [4, 0, 2]])
    >>> IntegerLookup(vocabulary=layer.get_vocabulary(), invert=True)([[1, 3, 0]])
    Tensor([[  12, 1138,   -1]])
    """

    _fields = (*IndexLookup._fields, "vocabulary_dtype", "oov_method")

    def __init__(  # type: ignore[misc]
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int | None = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: int | Sequence[int] | None = None,
        name: str | None = None,
        *,
        has_input_vocabulary: bool | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(name=name, **options)
        self.mask_token = None if mask_token is None else self._token("mask_token", mask_token)
        self.oov_token = None if oov_token is None else self._token("oov_token", oov_token)
        self.vocabulary_dtype = choose("vocabulary_dtype", vocabulary_dtype, {"int64": "int64"})
        methods = {method: method for method in ("floormod", "farmhash")}
        self.oov_method = choose("oov_method", oov_method, methods)
        if salt is not None and self.oov_method != "farmhash":
            raise ValueError(
                f"salt can be given only if oov_method is 'farmhash'; received {oov_method!r}"
            )
        self._configure(
            max_tokens, num_oov_indices, invert, output_mode, pad_to_max_tokens, sparse, salt
        )
        self._first_vocabulary(vocabulary, idf_weights, has_input_vocabulary)

    def _token(self, name: str, value: Any) -> int:
        return integer(name, value, minimum=-(2**63), maximum=2**63 - 1)

    def _line(self, line: str) -> int:
        try:
            number = int(line)
        except ValueError:
            raise ValueError(
                f"each line of vocabulary must be an integer; received {line!r}"
            ) from None
        return self._token("each line of vocabulary", number)

    def _keys(self, name: str, x: Any) -> Array:
        return whole_numbers(name, x)

    def _buckets(self, keys: Sequence[Any]) -> list[int]:
        if self.oov_method == "farmhash":
            return super()._buckets(keys)
        return [key % self.num_oov_indices for key in keys]


# Codecs of bytes, which are not text encodings.
_NO_TEXT = {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "uu_codec", "zlib_codec"}


def _encoding(value: Any) -> str:
    """Return the checked name of an encoding; a module for it is not imported yet."""
    names = encodings.aliases.aliases
    if isinstance(value, str):
        name = encodings.normalize_encoding(value).lower()
        codec = names.get(name, name)
        if codec in names.values() and codec not in _NO_TEXT:
            return str(value)
    raise ValueError(f"encoding must be the name of a text encoding; received {value!r}")

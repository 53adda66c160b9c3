"""The base class of the layers that replace the tokens of a vocabulary by their indices."""

from __future__ import annotations

import itertools
import os
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnfast._data.batches import is_stream
from nnfast._plan.symbolic import KerasTensor
from nnfast._utils.checks import Array, Shape, file_name, flag, integer, real_array
from nnfast._utils.hashing import fingerprint64, siphash64
from nnfast.layers.preprocessing import (
    NO_TOKEN,
    DataLayer,
    counted,
    data_batches,
    encoded,
    encoded_shape,
    encoding_mode,
    float_name,
    no_sparse,
    whole_numbers,
)

MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
# Marks tokens that are not in the vocabulary.
_UNKNOWN = -2


class IndexLookup(DataLayer):
    """Base class of the layers with a vocabulary.

    Indices count the mask token (if there is one and `output_mode` is "int"), then the indices for
    unknown tokens, then the vocabulary.
    """

    mask_token: Any
    oov_token: Any
    _fields: ClassVar[tuple[str, ...]] = (
        *("max_tokens", "num_oov_indices", "mask_token", "oov_token", "invert", "output_mode"),
        *("pad_to_max_tokens", "sparse", "salt"),
    )

    def _configure(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        invert: bool,
        mode: str,
        pad_to_max_tokens: bool,
        sparse: bool,
        salt: Any,
    ) -> None:
        self.max_tokens = None if max_tokens is None else integer("max_tokens", max_tokens, 2)
        self.num_oov_indices = integer("num_oov_indices", num_oov_indices, 0, 2**31)
        self.invert = flag("invert", invert)
        self.output_mode = encoding_mode(mode, MODES)
        self.pad_to_max_tokens = flag("pad_to_max_tokens", pad_to_max_tokens)
        self.sparse = no_sparse(sparse)
        self.salt = _salt(salt)
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise ValueError("pad_to_max_tokens=True needs max_tokens; received max_tokens=None")
        if self.invert and self.output_mode != "int":
            raise ValueError(
                f"invert=True needs output_mode='int'; received output_mode={self.output_mode!r}"
            )
        if self.invert and self.oov_token is None:
            raise ValueError("invert=True needs an oov_token; received None")
        self._oov_begin = int(self.mask_token is not None and self.output_mode == "int")
        self._begin = self._oov_begin + self.num_oov_indices
        # The tokens with the indices from `_begin` on, and the index of each token.
        self._tokens: list[Any] = []
        self._indices: dict[Any, int] = self._masked()
        # The weights of the tokens, and those of the indices before them.
        self._idf: NDArray[np.float32] | None = None
        self._first_idf: NDArray[np.float32] | None = None
        self._fixed_vocabulary = False

    def _first_vocabulary(self, vocabulary: Any, idf_weights: Any, fixed: object) -> None:
        """Set the vocabulary that the constructor received, if any."""
        if idf_weights is not None and self.output_mode != "tf_idf":
            raise ValueError(
                "idf_weights can be given only if output_mode is 'tf_idf'; received "
                f"output_mode={self.output_mode!r}"
            )
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)
            self._fixed_vocabulary = fixed is None or flag("has_input_vocabulary", fixed)

    def _token(self, name: str, value: Any) -> Any:
        """Return a token as text or as an integer."""
        raise NotImplementedError

    def _keys(self, name: str, x: Any) -> Array:
        """Return an array of tokens."""
        raise NotImplementedError

    def _line(self, line: str) -> Any:
        """Return the token on a line of a file."""
        raise NotImplementedError

    def _buckets(self, keys: Sequence[Any]) -> list[int]:
        """Return the index of each unknown token among `num_oov_indices`."""
        n = self.num_oov_indices
        texts = (str(key).encode(errors="surrogatepass") for key in keys)
        if self.salt is not None:
            return [siphash64(self.salt, text) % n for text in texts]
        return [fingerprint64(text) % n for text in texts]

    # ---- vocabulary ------------------------------------------------------------------------------

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """Return the tokens in the order of their indices.

        Parameters
        ----------
        include_special_tokens : bool, default True
            Whether the list begins with the mask token and the tokens for unknown ones.
        """
        if not include_special_tokens:
            return list(self._tokens)
        special = [self.mask_token] * self._oov_begin + [self.oov_token] * self.num_oov_indices
        return [*special, *self._tokens]

    def vocabulary_size(self) -> int:
        """Return the number of tokens, with the mask token and those for unknown ones."""
        return self._begin + len(self._tokens)

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Set the vocabulary.

        Parameters
        ----------
        vocabulary : sequence, or path of a text file
            The tokens, one on each line of a file. A sequence may begin with the special tokens,
            as `get_vocabulary` returns them.
        idf_weights : sequence of float, optional
            The inverse document frequency of each token, needed for `output_mode` "tf_idf" only.

        Raises
        ------
        TypeError, ValueError
            If the vocabulary is empty, or has a token twice, a special token in the wrong place or
            too many tokens; or if `idf_weights` are missing or do not fit.
        RuntimeError
            If the vocabulary had another size before, on which the shape of the outputs depends.
        """
        if (idf_weights is not None) != (self.output_mode == "tf_idf"):
            raise ValueError(
                "idf_weights must be given with a vocabulary if output_mode is 'tf_idf', and only "
                f"then; received output_mode={self.output_mode!r} and idf_weights={idf_weights!r}"
            )
        begin = 0
        if isinstance(vocabulary, (str, os.PathLike)):
            if self.output_mode == "tf_idf":
                raise ValueError("output_mode 'tf_idf' needs a list of tokens; received a file")
            given = self._from_file(vocabulary)
        else:
            given = [self._token("vocabulary", token) for token in _listed(vocabulary)]
            begin = self._begin if self._has_special(given) else 0
        if not given:
            raise ValueError("vocabulary must have at least one token; received none")
        tokens = given[begin:]
        self._check_tokens(tokens)
        weights = None if idf_weights is None else _idf_weights(idf_weights, len(given))
        self._take(tokens, weights, begin)

    def _has_special(self, tokens: Sequence[Any]) -> bool:
        """Return whether tokens begin with the special ones, if there are any."""
        if not 0 < self._begin <= len(tokens):
            return False
        return list(tokens[: self._begin]) == self.get_vocabulary()[: self._begin]

    def _check_tokens(self, tokens: Sequence[Any]) -> None:
        repeated = [token for token, n in Counter(tokens).items() if n > 1]
        if repeated:
            raise ValueError(f"vocabulary must have each token once; repeated: {repeated[:10]}")
        reserved = {"mask_token": self.mask_token}
        if self.invert:
            reserved["oov_token"] = self.oov_token
        for name, token in reserved.items():
            if token is not None and token in set(tokens):
                raise ValueError(
                    f"vocabulary must not have the {name} {token!r}, unless it begins with all "
                    "special tokens, as get_vocabulary returns them"
                )
        size = self._begin + len(tokens)
        if self.max_tokens is not None and size > self.max_tokens:
            raise ValueError(
                f"vocabulary must have at most max_tokens={self.max_tokens} tokens, with those for "
                f"masked and unknown ones; received {size}"
            )

    def _take(self, tokens: list[Any], weights: NDArray[np.float64] | None, begin: int = 0) -> None:
        """Set the tokens and the weights, the first `begin` of which are for special tokens."""
        fixed = self.output_mode != "int" and not self.pad_to_max_tokens
        if fixed and self._tokens and len(self._tokens) != len(tokens):
            raise RuntimeError(
                f"The outputs of layer {self.name!r} have {self.vocabulary_size()} entries, and "
                f"the new vocabulary {self._begin + len(tokens)}: make a new layer"
            )
        self._tokens = tokens
        self._indices = self._masked() | {t: i for i, t in enumerate(tokens, self._begin)}
        self._idf = self._first_idf = None
        if weights is not None:
            first = weights[:begin] if begin else np.array(weights.mean() if weights.size else 0.0)
            self._idf, self._first_idf = weights[begin:].astype(np.float32), first.astype("f4")

    def _masked(self) -> dict[Any, int]:
        """Return the index of the mask token, if there is one."""
        if self.mask_token is None:
            return {}
        return {self.mask_token: 0 if self._oov_begin else NO_TOKEN}

    def _from_file(self, path: Any) -> list[Any]:
        name = file_name("vocabulary", path)
        try:
            with open(name, encoding=self._encoding, newline="\n") as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            raise ValueError(f"vocabulary: the file {name!r} does not exist") from None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"vocabulary must hold text in the encoding {self._encoding!r}; the file {name!r} "
                f"does not: {error}"
            ) from None
        if lines[-1] == "":
            lines.pop()
        return [self._line(line.rstrip("\r")) for line in lines]

    @property
    def _encoding(self) -> str:
        return "utf-8"

    # ---- adapting --------------------------------------------------------------------------------

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Set the vocabulary to the tokens of a data set, the most frequent ones first.

        Equally frequent tokens are in decreasing order. At most `max_tokens` are kept.

        Parameters
        ----------
        data : array_like (n, ...) or iterable of batches
            Lists are arrays. If a batch is a tuple ``(x, y)``, only x is used. In the mode
            "tf_idf", each row is a document.
        steps : int, optional
            The number of batches that are used, by default all.

        Raises
        ------
        TypeError, ValueError
            If the constructor has received a vocabulary, or `data` cannot be read.
        """
        self.adapt_to(self._documents(data, steps))

    def adapt_to(self, documents: Iterable[Sequence[Any]]) -> None:
        """Set the vocabulary to the tokens of documents; see `adapt`."""
        if self._fixed_vocabulary:
            raise ValueError(
                f"Layer {self.name!r} was given a vocabulary, so there is nothing to adapt"
            )
        counts: Counter[Any] = Counter()
        appearances: Counter[Any] = Counter()
        n_documents = 0
        if self.output_mode == "tf_idf":
            for document in documents:
                n_documents += 1
                counts.update(document)
                appearances.update(set(document))
        else:
            counts.update(itertools.chain.from_iterable(documents))
        if not counts:
            raise ValueError("data must have at least one token; received none")
        for token in (self.mask_token, self.oov_token):
            counts.pop(token, None)
        tokens = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        if self.max_tokens is not None:
            tokens = tokens[: max(0, self.max_tokens - self._begin)]
        idf = None
        if self.output_mode == "tf_idf":
            found = np.array([appearances[token] for token in tokens], np.float64)
            idf = np.log(1 + n_documents / (1 + found))
        self._take(tokens, idf)

    def _documents(self, data: Any, steps: object) -> Iterator[list[Any]]:
        """Yield the tokens of each document of a data set."""
        stream = is_stream(data)
        for batch in data_batches(data, steps):
            keys = self._keys("data", batch)
            n = 1 if keys.ndim == 0 or (stream and keys.ndim == 1) else len(keys)
            yield from keys.reshape(n, -1 if keys.size else 0).tolist()

    # ---- outputs ---------------------------------------------------------------------------------

    @property
    def _depth(self) -> int:
        if self.pad_to_max_tokens:
            assert self.max_tokens is not None
            return self.max_tokens
        if not self._tokens:
            raise RuntimeError(
                f"Layer {self.name!r} has no vocabulary yet: with output_mode="
                f"{self.output_mode!r}, call adapt or set_vocabulary first"
            )
        return self.vocabulary_size()

    def infer_shape(self, input_shape: Shape) -> Shape:
        if self.output_mode == "int":
            return input_shape
        return encoded_shape(self, input_shape, self.output_mode, self._depth)

    def _output_dtype(self, inputs: Sequence[KerasTensor]) -> str:
        if self.invert:
            raise ValueError(
                f"{type(self).__name__} layer {self.name!r} with invert=True cannot be part of a "
                "model, whose outputs are floats: call the layer with the outputs of the model"
            )
        return "int64" if self.output_mode == "int" else super()._output_dtype(inputs)

    def values(self, name: str, x: Any) -> Array:
        return whole_numbers(name, x) if self.invert else self._keys(name, x)

    def compute(self, x: Array) -> Array:
        if self.invert:
            return self._tokens_of(x)
        indices = self._indices_of(x.reshape(-1).tolist()).reshape(x.shape)
        if self.output_mode == "int":
            return indices
        mode, dtype = self._counting
        return self._weighted(encoded(indices, mode, self._depth, dtype))

    def encode(self, documents: Iterable[Sequence[Any]]) -> Array:
        """Return a vector for each document, which has any number of tokens."""
        indices, lengths = self.indices_of(documents)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        mode, dtype = self._counting
        return self._weighted(counted(rows, indices, (len(lengths), self._depth), mode, dtype))

    def indices_of(
        self, documents: Iterable[Sequence[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of the tokens of all documents, and the lengths of the documents."""
        lengths: list[int] = []

        def tokens() -> Iterator[Sequence[Any]]:
            for document in documents:
                lengths.append(len(document))
                yield document

        indices = self._indices_of(itertools.chain.from_iterable(tokens()))
        return indices, np.array(lengths, np.int64)

    @property
    def _counting(self) -> tuple[str, str]:
        """The mode in which tokens are counted, and the dtype of the counts."""
        if self.output_mode == "tf_idf":
            return "count", float_name(self)
        return self.output_mode, "int64"

    def _weighted(self, counts: Array) -> Array:
        """Return counts, multiplied by the weights of the tokens if there are any."""
        if self.output_mode != "tf_idf":
            return counts
        if self._idf is None:
            raise RuntimeError(
                f"Layer {self.name!r} has no vocabulary yet: call adapt or set_vocabulary first"
            )
        weights = np.zeros(self._depth, counts.dtype)
        weights[: self._begin] = self._first_idf
        weights[self._begin : self.vocabulary_size()] = self._idf
        weighted: Array = counts * weights
        return weighted

    def _indices_of(self, tokens: Iterable[Any]) -> NDArray[np.int64]:
        """Return the indices of tokens, which may come from an iterator."""
        if self.num_oov_indices != 1:
            tokens = list(tokens)
        unknown_index = self._oov_begin if self.num_oov_indices == 1 else _UNKNOWN
        found = map(self._indices.get, tokens, itertools.repeat(unknown_index))
        indices = np.fromiter(found, np.int64)
        if self.num_oov_indices == 1:
            return indices
        assert isinstance(tokens, list)
        unknown = np.flatnonzero(indices == _UNKNOWN)
        if len(unknown) and self.num_oov_indices == 0:
            some = sorted({tokens[i] for i in unknown})
            raise ValueError(
                f"With num_oov_indices=0, x must hold tokens of the vocabulary of layer "
                f"{self.name!r}; received {some[:10]}"
            )
        if len(unknown):
            buckets = self._buckets([tokens[i] for i in unknown])
            indices[unknown] = self._oov_begin + np.array(buckets)
        return indices

    def _tokens_of(self, indices: Array) -> Array:
        vocabulary = self.get_vocabulary()
        table = np.array([*vocabulary, self.oov_token], self._table_dtype)
        inside = (indices >= 0) & (indices < len(vocabulary))
        return table[np.where(inside, indices, len(vocabulary))]

    @property
    def _table_dtype(self) -> Any:
        return np.int64

    # ---- configuration ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, with the current vocabulary."""
        config = super().get_config() | {"vocabulary": None, "idf_weights": None}
        if not self._tokens:
            return config
        # Special tokens are stored only if they are needed: there may be many of them.
        first, rest = self._first_idf, self._idf
        special = self._has_special(self._tokens) or (first is not None and first.ndim > 0)
        config["vocabulary"] = self.get_vocabulary(include_special_tokens=special)
        if first is not None and rest is not None:
            given = np.broadcast_to(first, self._begin)[: self._begin * special].tolist()
            config["idf_weights"] = given + rest.tolist()
        return config if self._fixed_vocabulary else config | {"has_input_vocabulary": False}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> IndexLookup:
        check_no_path(config)
        return cls(**config)

    def __repr__(self) -> str:
        return short_repr(self)


def check_no_path(config: Mapping[str, Any]) -> None:
    """Raise a ValueError if the vocabulary of a configuration is the path of a file."""
    if isinstance(config.get("vocabulary"), (str, os.PathLike)):
        raise ValueError(
            "vocabulary in a configuration must be a list of tokens; received a path: files "
            "outside of a model are not read"
        )


def short_repr(layer: DataLayer) -> str:
    """Return the constructor's call of a layer whose vocabulary may be long."""
    arguments = (
        f"{key}={reprlib.repr(value) if isinstance(value, list) else repr(value)}"
        for key, value in layer.get_config().items()
    )
    return f"{type(layer).__name__}({', '.join(arguments)})"


def _listed(vocabulary: Any) -> list[Any]:
    """Return the tokens of a list or of an array with one axis."""
    if isinstance(vocabulary, (list, tuple)):
        return list(vocabulary)
    if isinstance(vocabulary, bytes) or not hasattr(vocabulary, "__array__"):
        raise TypeError(
            f"vocabulary must be a list of tokens or the path of a file; received {vocabulary!r}"
        )
    array = np.asarray(vocabulary)
    if array.ndim != 1:
        raise ValueError(f"vocabulary must have one axis; received shape {array.shape}")
    tokens: list[Any] = array.tolist()
    return tokens


def _idf_weights(value: Any, n: int) -> NDArray[np.float64]:
    weights = real_array("idf_weights", value).astype(np.float64)
    if weights.shape != (n,):
        raise ValueError(
            f"idf_weights must have one number for each of the {n} tokens of vocabulary; received "
            f"shape {weights.shape}"
        )
    if not (np.abs(weights) <= np.finfo(np.float32).max).all():
        raise ValueError(f"idf_weights must be finite in float32; received {value!r:.80}")
    return weights


def _salt(value: Any) -> tuple[int, int] | None:
    """Return the two words of a key."""
    if value is None:
        return None
    several = isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)
    words: Any = value if several else (value, value)
    if len(words) != 2:
        raise ValueError(f"salt must be an integer or a pair of integers; received {value!r}")
    first, second = (integer("salt", word, 0, 2**64 - 1) for word in words)
    return first, second

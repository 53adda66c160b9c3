"""Tokenizer, hashes of words and skip-grams.

Expected values are from the tests of Keras 2, or are counted by hand.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import nnfast
from nnfast.keras.preprocessing import sequence, text
from nnfast.keras.preprocessing.sequence import skipgrams
from nnfast.keras.preprocessing.text import (
    Tokenizer,
    hashing_trick,
    one_hot,
    text_to_word_sequence,
    tokenizer_from_json,
)

TEXTS = ["The cat sat on the mat.", "The dog sat on the log.", "Dogs and cats living together."]
KNOWN = ["This text has only known words this text"]
UNKNOWN = ["This text has some unknown words"]


def fitted(texts: Any = TEXTS, **options: Any) -> Tokenizer:
    tokenizer = Tokenizer(**options)
    tokenizer.fit_on_texts(texts)
    return tokenizer


# ---- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("hello! ? world!", {}, ["hello", "world"]),
        ("hello!stop?world!", {"split": "stop"}, ["hello", "world"]),
        ("ali! veli? kırk dokuz elli", {}, ["ali", "veli", "kırk", "dokuz", "elli"]),
        ("ali!stopveli?stopkırkstopelli", {"split": "stop"}, ["ali", "veli", "kırk", "elli"]),
        ("It's A\tB\nC", {"lower": False}, ["It's", "A", "B", "C"]),
        ("a-b c", {"filters": ""}, ["a-b", "c"]),
        ("axbyc", {"filters": ["x", "y"]}, ["a", "b", "c"]),
        ("", {}, []),
    ],
)
def test_texts_are_split_into_words(source: str, options: Any, expected: list[str]) -> None:
    assert text_to_word_sequence(source, **options) == expected
    tokenizer = Tokenizer(**options)
    tokenizer.fit_on_texts([source])
    assert list(tokenizer.word_counts) == list(dict.fromkeys(expected))


def test_words_are_hashed() -> None:
    for hashed in (one_hot(TEXTS[0], 5), hashing_trick(TEXTS[0], 5, "md5")):
        assert len(hashed) == 6
        assert hashed[0] == hashed[4]
        assert 1 <= min(hashed) <= max(hashed) <= 4
    assert (
        one_hot(TEXTS[0], 99) == hashing_trick(TEXTS[0], 99) == hashing_trick(TEXTS[0], 99, "md5")
    )
    assert hashing_trick("aa b", 10, len) == [3, 2]
    assert hashing_trick("aa b", 10, len, analyzer=lambda t: list(t)) == [2, 2, 2, 2]
    assert one_hot("A,B", 1000, filters="", lower=False) == one_hot("xA,B", 1000, "x", False)
    assert one_hot("a b", 9, analyzer=str.split) == one_hot("a b", 9)


def test_hashes_are_the_same_in_every_process() -> None:
    """The values are the MD5 sums of the words, modulo n − 1, plus 1."""
    assert one_hot("A cat", 10**6) == [542018, 136623]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: text_to_word_sequence(["a"]), "input_text must be text"),
        (lambda: text_to_word_sequence("a", split=""), "split must be text"),
        (lambda: text_to_word_sequence("a", filters=["ab"]), "filters must be characters"),
        (lambda: text_to_word_sequence("a", lower="yes"), "lower"),
        (lambda: one_hot("a", 1), "n must be an integer >= 2"),
        (lambda: hashing_trick("a", 5, "sha1"), "Unknown hash_function 'sha1'"),
        (lambda: hashing_trick(b"a", 5), "text must be text"),
        (lambda: Tokenizer(num_words=0), "num_words"),
        (lambda: Tokenizer(split=None), "split"),
        (lambda: Tokenizer(oov_token=3), "oov_token"),
        (lambda: Tokenizer(nb_words=3), "'nb_words': use num_words"),
        (lambda: Tokenizer(words=3), "unexpected argument 'words'"),
        (lambda: fitted("a text"), "texts must be a list of texts"),
        (lambda: fitted([b"a"]), "each entry of texts must be text"),
        (lambda: fitted().texts_to_matrix(TEXTS, "idf"), "Unknown mode 'idf'"),
        (lambda: Tokenizer().sequences_to_matrix([[1]]), "Give num_words, or call fit_on_texts"),
        (lambda: Tokenizer(5).sequences_to_matrix([[1]], "tfidf"), "needs counts"),
        (lambda: Tokenizer(5).sequences_to_matrix([[-1]]), "no negative indices; received -1"),
        (lambda: Tokenizer(analyzer=str.split).to_json(), "analyzer is a function"),
        (lambda: tokenizer_from_json("{}"), "must be the result of Tokenizer.to_json"),
        (lambda: tokenizer_from_json("[" * 10**5), "must be the result of Tokenizer.to_json"),
        (lambda: tokenizer_from_json(changed(word_index='{"a": "b"}')), "values of type int"),
        (lambda: tokenizer_from_json(changed(index_word='{"a": "b"}')), "invalid literal"),
        (lambda: tokenizer_from_json(changed(num_words="a")), "num_words"),
        (lambda: tokenizer_from_json(changed(other=3)), "unexpected argument 'other'"),
    ],
)
def test_wrong_arguments_are_refused(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def changed(**values: Any) -> str:
    """Return the JSON text of a tokenizer with some entries changed."""
    described = json.loads(fitted().to_json())
    described["config"] |= values
    return json.dumps(described)


# ---- Tokenizer -----------------------------------------------------------------------------------


def test_words_are_counted_and_numbered() -> None:
    tokenizer = fitted()
    counts = {"the": 4, "cat": 1, "sat": 2, "on": 2, "mat": 1, "dog": 1, "log": 1, "dogs": 1}
    counts |= {"and": 1, "cats": 1, "living": 1, "together": 1}
    assert tokenizer.word_counts == counts
    assert list(tokenizer.word_counts) == list(counts)
    assert tokenizer.word_docs == counts | {"the": 2}
    assert tokenizer.document_count == 3
    assert list(tokenizer.word_index) == ["the", "sat", "on", "cat", *list(counts)[4:]]
    assert list(tokenizer.word_index.values()) == list(range(1, 13))
    assert tokenizer.index_word == {i: word for word, i in tokenizer.word_index.items()}
    assert tokenizer.index_docs[1] == tokenizer.index_docs[2] == 2
    tokenizer.fit_on_texts([["Cat", "sat", "cat"], ("dog",)])
    assert tokenizer.document_count == 5
    assert list(tokenizer.word_index)[:4] == ["the", "cat", "sat", "on"]
    assert tokenizer.index_docs[2] == 2
    assert tokenizer.texts_to_sequences([["CAT"], "the cat"]) == [[2], [1, 2]]
    assert list(tokenizer.texts_to_sequences_generator(iter(["sat"]))) == [[3]]


def test_options_of_the_vocabulary() -> None:
    assert fitted(["Ab a"], lower=False).word_index == {"Ab": 1, "a": 2}
    assert fitted([["Ab", "a"]], lower=False).word_index == {"Ab": 1, "a": 2}
    assert fitted(["Ab a"], char_level=True).word_index == {"a": 1, "b": 2, " ": 3}
    assert fitted(["Ab"], char_level=True, lower=False).word_index == {"A": 1, "b": 2}
    assert fitted(["a,B c"], analyzer=lambda t: t.split(",")).word_index == {"a": 1, "B c": 2}
    assert fitted(["a b"], oov_token="?").word_index == {"?": 1, "a": 2, "b": 3}
    unicode = ["ali veli kırk dokuz elli", "ali veli kırk dokuz elli veli kırk dokuz"]
    assert len(fitted(unicode, num_words=5).word_counts) == 5


def test_unknown_and_rare_words() -> None:
    for options, expected in (
        ({}, "this text has words"),
        ({"oov_token": "<unk>"}, "this text has <unk> <unk> words"),
        ({"num_words": 3}, "this text"),
        ({"num_words": 3, "oov_token": "<unk>"}, "this <unk> <unk> <unk> <unk> <unk>"),
        ({"num_words": 1, "oov_token": "<unk>"}, " ".join(["<unk>"] * 6)),
    ):
        tokenizer = fitted(KNOWN, **options)
        sequences = tokenizer.texts_to_sequences(UNKNOWN)
        assert " ".join(tokenizer.index_word[i] for i in sequences[0]) == expected
        unlimited = fitted(KNOWN, **{k: v for k, v in options.items() if k != "num_words"})
        indices = unlimited.texts_to_sequences(UNKNOWN)
        assert tokenizer.sequences_to_texts(indices) == [expected]
        assert list(tokenizer.sequences_to_texts_generator(np.array(indices))) == [expected]
    assert fitted(KNOWN).sequences_to_texts([[1, 99, 0, 2]]) == ["this text"]
    assert Tokenizer(oov_token="?").texts_to_sequences(["a"]) == [[]]


def test_matrices_of_counts() -> None:
    tokenizer = fitted(["a b a", "b c", ""])
    sequences = [[2, 2, 1], [], [3]]  # b and a are equally frequent, and a comes first
    assert tokenizer.word_index == {"a": 1, "b": 2, "c": 3}
    expected: dict[str, Any] = {
        "binary": [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]],
        "count": [[0, 1, 2, 0], [0, 0, 0, 0], [0, 0, 0, 1]],
        "freq": [[0, 1 / 3, 2 / 3, 0], [0, 0, 0, 0], [0, 0, 0, 1]],
    }
    idf = np.log(1 + 3 / (1 + np.array([0, 1, 2, 1])))
    tf = np.array([[0, 1, 1 + np.log(2), 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    expected["tfidf"] = tf * idf
    for mode, matrix in expected.items():
        found = tokenizer.sequences_to_matrix(sequences, mode)
        assert found.dtype == np.float64
        assert_allclose(found, matrix, rtol=1e-15)
    assert_array_equal(tokenizer.texts_to_matrix(["b b a", "x", "c"]), expected["binary"])
    few = Tokenizer(num_words=3)
    assert_array_equal(few.sequences_to_matrix([[1, 7, 3, 1]], "count"), [[0, 2, 0]])
    assert_allclose(few.sequences_to_matrix([[1, 7, 3, 1]], "freq"), [[0, 0.5, 0]])
    few.fit_on_sequences([[1, 1], [1, 2]])
    assert (few.document_count, dict(few.index_docs)) == (2, {1: 2, 2: 1})
    assert_allclose(few.sequences_to_matrix([[1]], "tfidf"), [[0, np.log(1 + 2 / 3), 0]])
    assert few.sequences_to_matrix([], "count").shape == (0, 3)


WORDS = st.lists(st.text("abcAB é", max_size=8), max_size=6)


@settings(deadline=None, max_examples=50)
@given(WORDS, WORDS, st.booleans(), st.sampled_from([None, 3]), st.sampled_from([None, "?"]))
def test_tokenizers_survive_json(
    corpus: list[str], texts: list[str], chars: bool, num_words: int | None, oov: str | None
) -> None:
    tokenizer = fitted(corpus, char_level=chars, num_words=num_words, oov_token=oov)
    counted = Counter(w for t in corpus for w in (t.lower() if chars else t.lower().split()))
    assert tokenizer.word_counts == counted
    copied = tokenizer_from_json(tokenizer.to_json(indent=1))
    assert vars(copied) == vars(tokenizer)
    sequences = tokenizer.texts_to_sequences(texts)
    assert copied.texts_to_sequences(texts) == sequences
    if oov is None and num_words is None and not chars:
        # Texts of known words are what their sequences stand for.
        back = tokenizer.sequences_to_texts(tokenizer.texts_to_sequences(corpus))
        assert back == [" ".join(text.lower().split()) for text in corpus]


# ---- skip-grams ----------------------------------------------------------------------------------


def test_pairs_of_close_words() -> None:
    def pairs(words: Any, window: int) -> list[list[int]]:
        couples, labels = skipgrams(words, 9, window, negative_samples=0, shuffle=False)
        assert labels == [1] * len(couples)
        return couples

    assert pairs([1, 2, 3], 1) == [[1, 2], [2, 1], [2, 3], [3, 2]]
    assert pairs(np.array([1, 0, 3]), 1) == []
    assert pairs([1, 0, 3], 2) == [[1, 3], [3, 1]]
    assert pairs([5, 5], 4) == [[5, 5], [5, 5]]
    assert pairs([1, 2], 0) == pairs([], 3) == pairs([7], 3) == []
    words = np.random.default_rng(0).integers(0, 9, 50).tolist()
    assert pairs(words, 3) == [
        [a, b]
        for i, a in enumerate(words)
        for j, b in enumerate(words)
        if 0 < abs(i - j) <= 3 and a and b
    ]


def test_random_pairs_have_the_label_0() -> None:
    words = np.random.default_rng(0).integers(1, 50, 400)
    couples, labels = skipgrams(words, 60, 2, negative_samples=1.5, seed=3)
    n = sum(labels)
    assert len(couples) == len(labels) == n + int(1.5 * n)
    close = {tuple(pair) for pair in skipgrams(words, 60, 2, 0.0)[0]}
    positive = [tuple(pair) for pair, label in zip(couples, labels, strict=True) if label]
    random = [pair for pair, label in zip(couples, labels, strict=True) if not label]
    assert set(positive) == close
    assert {first for first, _ in random} <= set(words.tolist())
    assert {second for _, second in random} == set(range(1, 60))
    assert labels[:20] != sorted(labels[:20], reverse=True), "pairs are shuffled"
    ordered, flags = skipgrams(words, 60, 2, negative_samples=1.5, shuffle=False, seed=3)
    assert flags == [1] * n + [0] * (len(flags) - n)
    assert Counter(map(tuple, ordered)) == Counter(map(tuple, couples))
    two, vectors = skipgrams(words, 60, 2, 1.5, categorical=True, seed=3)
    assert two == couples
    assert vectors == [[1 - label, label] for label in labels]


def test_seeds_determine_skip_grams() -> None:
    words = list(range(1, 30))
    assert skipgrams(words, 30, seed=3) == skipgrams(words, 30, seed=3)
    assert skipgrams(words, 30, seed=3) != skipgrams(words, 30, seed=4)
    drawn = []
    for _ in range(2):
        nnfast.set_seed(5)
        drawn.append(skipgrams(words, 30))
    assert drawn[0] == drawn[1] != skipgrams(words, 30)


def test_sampling_tables_leave_out_first_words() -> None:
    words = [1, 2] * 2000
    table = [0.0, 0.25, 1.0]
    couples, _ = skipgrams(words, 3, 1, 0.0, sampling_table=table, seed=0)
    counts = Counter(first for first, _ in couples)
    assert counts[2] == 2 * 2000 - 1
    assert counts[1] == pytest.approx(0.25 * 2 * 2000, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 5], 5), "indices from 0 to vocabulary_size - 1 = 4; received indices from 1 to 5"),
        (([-1], 5), "indices from -1"),
        (([1.5], 5), "sequence must be integers"),
        (([[1]], 5), r"\(n,\).*\(1, 1\)"),
        (([1], 0), "vocabulary_size"),
        (([0], 1), "vocabulary_size must be at least 2"),
        (([1], 5, -1), "window_size"),
        (([1], 5, 1, -1.0), "negative_samples"),
        (([1], 5, 1, 1.0, "no"), "shuffle"),
        (([1], 5, 1, 1.0, True, "no"), "categorical"),
        (([1], 5, 1, 1.0, True, False, [0.5]), "sampling_table"),
        (([1], 5, 1, 1.0, True, False, None, -1), "seed"),
    ],
)
def test_wrong_arguments_of_skipgrams_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        skipgrams(*arguments)


def test_names_are_those_of_keras() -> None:
    assert nnfast.keras.preprocessing.text is text
    assert sequence.skipgrams is skipgrams

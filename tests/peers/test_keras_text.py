"""Text tools give the values of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_texts import random_texts
from numpy.testing import assert_allclose

import nnfast.keras
from nnfast.keras.preprocessing import text as own
from nnfast.keras.preprocessing.sequence import skipgrams

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("options", [{}, {"split": "b"}, {"filters": "ab"}], ids=str)
def test_words_are_those_of_keras(lower: bool, options: dict[str, str]) -> None:
    from keras.src.legacy.preprocessing import text

    for source in random_texts(50, 0):
        words = own.text_to_word_sequence(source, lower=lower, **options)
        assert words == text.text_to_word_sequence(source, lower=lower, **options)
        hashed = text.hashing_trick(source, 50, "md5", lower=lower, **options)
        assert own.hashing_trick(source, 50, lower=lower, **options) == hashed


@pytest.mark.parametrize("num_words", [None, 6])
@pytest.mark.parametrize("oov_token", [None, "<unk>", "a"])
@pytest.mark.parametrize("options", [{}, {"char_level": True}, {"analyzer": str.split}], ids=str)
def test_tokenizers_are_those_of_keras(
    num_words: int | None, oov_token: str | None, options: dict[str, Any]
) -> None:
    from keras.src.legacy.preprocessing import text

    corpus, texts = random_texts(30, 1), random_texts(20, 2)
    made = [k.Tokenizer(num_words, oov_token=oov_token, **options) for k in (own, text)]
    for tokenizer in made:
        tokenizer.fit_on_texts(corpus)
        tokenizer.fit_on_texts([["A", "b", "b"], ["zz"]])
    for name in ("word_counts", "word_docs", "word_index", "index_word", "index_docs"):
        ours, theirs = (dict(getattr(tokenizer, name)) for tokenizer in made)
        assert ours == theirs
        if name != "word_docs":  # the order of Keras depends on Python's hash
            assert list(ours) == list(theirs) or name == "index_docs"
    sequences = made[0].texts_to_sequences(texts)
    assert sequences == made[1].texts_to_sequences(texts)
    assert made[0].sequences_to_texts(sequences) == made[1].sequences_to_texts(sequences)
    for mode in ("binary", "count", "freq", "tfidf"):
        assert_allclose(*(tokenizer.texts_to_matrix(texts, mode) for tokenizer in made), rtol=1e-15)
    if "analyzer" not in options:
        read = [own.tokenizer_from_json(tokenizer.to_json()) for tokenizer in made]
        assert vars(read[0]) == vars(read[1])


def test_skip_grams_are_those_of_keras() -> None:
    from keras.src.legacy.preprocessing import sequence

    words = np.random.default_rng(0).integers(0, 9, 100).tolist()
    for window in (0, 1, 4, 200):
        for categorical in (False, True):
            arguments = (words, 9, window, 0.0, False, categorical)
            assert skipgrams(*arguments) == sequence.skipgrams(*arguments)
    ours, theirs = (k(words, 9, 2, 1.5) for k in (skipgrams, sequence.skipgrams))
    assert len(ours[0]) == len(theirs[0])
    assert sum(ours[1]) == sum(theirs[1])


@pytest.mark.parametrize("shuffle", [False, True])
def test_text_files_are_those_of_keras(tmp_path: Path, shuffle: bool) -> None:
    from keras.src.utils.dataset_utils import index_directory

    for name in ("b/2.txt", "b/10.txt", "a/deep/1.TXT", "a/c.md", "c/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    paths, labels, names = index_directory(
        str(tmp_path), "inferred", (".txt",), None, shuffle, 4, False, False
    )
    data = nnfast.keras.utils.text_dataset_from_directory(
        tmp_path, shuffle=shuffle, seed=4, verbose=False
    )
    assert (data.file_paths, data.class_names) == (paths, names)
    if not shuffle:
        texts, numbers = next(iter(data))
        assert texts.tolist() == [Path(path).read_text() for path in paths]
        assert numbers.tolist() == list(labels)

"""TextVectorization: words, n-grams, vocabularies, outputs, models and errors.

Expected values are from Keras' documentation and tests, are counted by hand, or come from a naive
twin of the layer.
"""

from __future__ import annotations

import copy
import json
import pickle
import string
from collections import Counter
from pathlib import Path
from typing import Any

import keras_texts
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import nnfast
from nnfast import layers, models
from nnfast.keras import tf
from nnfast.layers import TextVectorization

CORPUS = ["foo bar", "bar baz", "baz bada boom"]


def check(actual: Any, expected: Any, dtype: str = "int64") -> None:
    assert actual.dtype == dtype
    assert_array_equal(actual, np.array(expected))


def words(texts: Any, **options: Any) -> list[list[str]]:
    """Return the words that a layer finds in texts, without its vocabulary."""
    layer = TextVectorization(**options)
    layer.adapt(texts)
    known = layer.get_vocabulary()
    return [[known[i] for i in row if i] for row in layer(texts).tolist()]


# ---- words ---------------------------------------------------------------------------------------


def test_the_examples_of_keras() -> None:
    layer = TextVectorization(max_tokens=5000, output_mode="int", output_sequence_length=4)
    layer.adapt(CORPUS)
    check(layer([["foo qux bar"], ["qux baz"]]), [[4, 1, 3, 0], [1, 2, 0, 0]])
    given = ["earth", "wind", "and", "fire"]
    layer = TextVectorization(output_sequence_length=4, vocabulary=given)
    assert layer.get_vocabulary() == ["", "[UNK]", *given]
    assert layer.get_vocabulary(include_special_tokens=False) == given
    assert layer.vocabulary_size() == 6


@pytest.mark.parametrize(
    ("standardize", "expected"),
    [
        ("lower_and_strip_punctuation", ["dont", "éÉtat", "x"]),
        ("lower", ["don't", "éÉtat,", "x!"]),
        ("strip_punctuation", ["Dont", "éÉtat", "X"]),
        (None, ["Don't", "éÉtat,", "X!"]),
    ],
)
def test_standardization_changes_ascii_alone(standardize: Any, expected: list[str]) -> None:
    assert words(["Don't éÉtat, X!"], standardize=standardize) == [expected]
    removed = TextVectorization(standardize="strip_punctuation", vocabulary=["ab"])
    check(removed([f"a{string.punctuation}b"]), [[2]])


def test_words_end_at_ascii_whitespace() -> None:
    """As in TensorFlow; other characters, such as the no-break space, belong to words."""
    assert words([" a\tb\nc\vd\fe\r f\u00a0g\x1ch "]) == [
        ["a", "b", "c", "d", "e", "f\u00a0g\x1ch"]
    ]
    assert words(["Ab é"], split="character") == [["a", "b", " ", "é"]]
    check(TextVectorization(vocabulary=["a"])(["", "  ", "a"]), [[0], [0], [2]])
    check(TextVectorization(vocabulary=["a"])(["", ""]), np.zeros((2, 0)))


def test_samples_may_be_words() -> None:
    layer = TextVectorization(split=None, vocabulary=["a b", "c"])
    check(layer([["A b", "c!", "d"]]), [[2, 3, 1]])
    check(layer(["a b", "c"]), [2, 3])
    count = TextVectorization(split=None, vocabulary=["a b", "c"], output_mode="count")
    check(count([["A b", "c", "c"], ["c", "d", ""]]), [[0, 1, 2], [1, 0, 1]])
    long = TextVectorization(split=None, vocabulary=["a"], output_sequence_length=2)
    check(long([["a", "b", "a"]]), [[2, 1]])


def test_functions_standardize_and_split() -> None:
    seen = []

    def standardize(x: Any) -> Any:
        seen.append((x.dtype.kind, x.shape))
        return tf.strings.regex_replace(tf.strings.lower(x), "<br />", " ")

    assert words(["A<br />b.", "C"], standardize=standardize) == [["a", "b."], ["c"]]
    assert words([["A b"], ["C"]], standardize=np.char.upper) == [["A", "B"], ["C"]]
    assert seen == [("U", (2,))] * 2
    split = {"split": lambda x: tf.strings.split(x, ",")}
    assert words(["A b,c", "d"], **split) == [["a bc"], ["d"]]
    assert words(["A b,c", "d"], standardize="lower", **split) == [["a b", "c"], ["d"]]
    assert words(["a-b"], split=lambda x: np.array([list(x[0])])) == [["a", "b"]]
    assert words(["a b"], standardize=np.char.upper, split="character") == [["A", " ", "B"]]
    for wrong in (lambda x: x[:1], lambda x: "a", lambda x: [["a"]] * 3):
        with pytest.raises(ValueError, match="standardize must return an array of the shape"):
            TextVectorization(standardize=wrong)(["a", "b"])
    with pytest.raises(TypeError, match="the result of standardize must hold text"):
        TextVectorization(standardize=len)(["a", "b"])
    for wrong in (lambda x: [["a"]], lambda x: 3):
        with pytest.raises(ValueError, match="split must return a sequence of words for each of 2"):
            TextVectorization(split=wrong)(["a", "b"])
    for wrong in (lambda x: x, lambda x: [[1], [2]], lambda x: np.ones((2, 2))):
        with pytest.raises(TypeError, match="split must return sequences of text"):
            TextVectorization(split=wrong)(["a", "b"])


def test_ngrams_replace_words() -> None:
    text = ["a b c"]
    assert words(text, ngrams=2) == [["a", "b", "c", "a b", "b c"]]
    assert words(["a b"], ngrams=2**60) == [["a", "b", "a b"]]
    assert words(text, ngrams=(2,)) == [["a b", "b c"]]
    assert words(text, ngrams=(3, 1)) == [["a b c", "a", "b", "c"]]
    assert words(["ab", "c"], ngrams=(2,), split="character") == [["a b"], []]
    assert TextVectorization(ngrams=(3, 1)).get_config()["ngrams"] == [3, 1]


# ---- outputs -------------------------------------------------------------------------------------


def test_modes_of_the_output() -> None:
    options: dict[str, Any] = {"vocabulary": ["a", "b", "c"]}
    texts = ["a b a d", ""]
    check(TextVectorization(**options)(texts), [[2, 3, 2, 1], [0, 0, 0, 0]])
    hot = TextVectorization(output_mode="multi_hot", **options)
    check(hot(texts), [[1, 1, 1, 0], [0, 0, 0, 0]])
    assert hot.get_vocabulary() == ["[UNK]", "a", "b", "c"]
    count = TextVectorization(output_mode="count", **options)
    check(count(texts), [[1, 2, 1, 0], [0, 0, 0, 0]])
    padded = TextVectorization(6, output_mode="binary", pad_to_max_tokens=True, **options)
    check(padded(texts), [[1, 1, 1, 0, 0, 0], [0] * 6])
    weighted = TextVectorization(output_mode="tf-idf", idf_weights=[0.5, 1.5, 4.0], **options)
    found = weighted(texts)
    assert found.dtype == np.float32
    assert_allclose(found, [[2.0, 1.0, 1.5, 0], [0] * 4])
    check(TextVectorization(output_sequence_length=2, **options)(texts), [[2, 3], [0, 0]])


def test_a_single_text_has_no_batch_axis() -> None:
    check(TextVectorization(vocabulary=["a"])("b a"), [1, 2])
    check(TextVectorization(vocabulary=["a"], output_mode="count")(np.array("b a a")), [1, 2])


def test_arrays_of_all_kinds_are_read() -> None:
    layer = TextVectorization(vocabulary=["é", "b"], encoding="latin-1")
    for x in (
        *(["é b"], [["é b"]], ("é b",), np.array(["é b"]), np.array([["é b"]], object)),
        np.array(["é b".encode("latin-1")]),
    ):
        check(layer(x), [[2, 3]])
    check(layer(np.zeros((0, 1), str)), np.zeros((0, 0)))
    with pytest.raises(ValueError, match="x must hold text in the encoding 'utf-8'"):
        TextVectorization(vocabulary=["a"])(np.array([b"\xff"]))
    for x, message in (
        ([["a", "b"]], r"the rows of x of layer .* must be single texts.*\(2,\)"),
        ([[["a"]]], r"must be single texts.*received shape \(1, 1\)"),
        ([1.0], "x must hold text"),
        (["a", None], "x must hold text; received None"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            layer(x)
    with pytest.raises(ValueError, match=r"must have shape \(words,\)"):
        TextVectorization(split=None)([[["a"]]])


# ---- vocabulary ----------------------------------------------------------------------------------


def test_vocabularies_are_made_from_data() -> None:
    expected = ["", "[UNK]", "baz", "bar", "foo", "boom", "bada"]
    array = np.array(CORPUS)
    pairs = [(array[:2], np.zeros(2)), (array[2:], np.zeros(1))]
    for data in (
        *(CORPUS, array, array[:, None], tf.data.Dataset.from_tensor_slices(array).batch(2)),
        *(tf.data.Dataset.from_tensor_slices(array), iter([CORPUS[:1], CORPUS[1:]]), iter(pairs)),
    ):
        layer = TextVectorization()
        layer.adapt(data)
        assert layer.get_vocabulary() == expected
    layer = TextVectorization(max_tokens=4)
    layer.adapt(tf.data.Dataset.from_tensor_slices(array).batch(1), 32, steps=2)
    assert layer.get_vocabulary() == ["", "[UNK]", "bar", "foo"]
    layer.adapt(["q"])
    assert layer.get_vocabulary() == ["", "[UNK]", "q"]
    special = TextVectorization(standardize=None)
    special.adapt(["[UNK] a"])
    assert special.get_vocabulary() == ["", "[UNK]", "a"]
    for nothing in ([], ["", " "], iter([])):
        with pytest.raises(ValueError, match=r"data must (have|give) at least one"):
            layer.adapt(nothing)
    with pytest.raises(ValueError, match="steps can be given for batches only"):
        layer.adapt(CORPUS, steps=1)
    fixed = TextVectorization(vocabulary=["a"], name="mine")
    with pytest.raises(ValueError, match="'mine' was given a vocabulary"):
        fixed.adapt(CORPUS)


def test_document_frequencies_are_those_of_texts() -> None:
    layer = TextVectorization(output_mode="tf_idf", dtype="float64")
    layer.adapt(["a b a", "a", ""])
    assert layer.get_vocabulary() == ["[UNK]", "a", "b"]
    idf = np.log(1 + 3 / (1 + np.array([2, 1])))
    assert_allclose(layer(["a a b c"]), [[idf.mean(), 2 * idf[0], idf[1]]], rtol=1e-6)
    assert layer(["a"]).dtype == np.float64
    with pytest.raises(RuntimeError, match="no vocabulary yet"):
        TextVectorization(output_mode="tf_idf")(["a"])


def test_vocabularies_are_set(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("b\na\n", "utf-8")
    expected = ["", "[UNK]", "b", "a"]
    layer = TextVectorization()
    for words in (["b", "a"], np.array(["b", "a"]), path, str(path), expected):
        layer.set_vocabulary(words)
        assert layer.get_vocabulary() == expected
        assert TextVectorization(vocabulary=words).get_vocabulary() == expected
    weighted = TextVectorization(output_mode="tf_idf")
    weighted.set_vocabulary(["a", "b"], idf_weights=[1.0, 2.0])
    assert_array_equal(weighted(["b b a"]), np.array([[0, 1, 4]], "f4"))
    for wrong, message in (
        ([], "at least one token"),
        (["a", "a"], "repeated"),
        ("missing.txt", "does not exist"),
        (["a", ""], "mask_token ''"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.set_vocabulary(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"standardize": "upper"}, "Unknown standardize 'upper'"),
        ({"split": "words"}, "Unknown split 'words'"),
        ({"split": 3}, "split"),
        ({"ngrams": 0}, "ngrams must be an integer >= 1"),
        ({"ngrams": (2, 0)}, "each entry of ngrams"),
        ({"ngrams": ()}, "ngrams must have at least one size"),
        ({"ngrams": [2]}, "ngrams"),
        ({"output_mode": "one_hot"}, "Unknown output_mode 'one_hot'"),
        ({"output_sequence_length": 0}, "output_sequence_length"),
        ({"output_mode": "count", "output_sequence_length": 3}, "only if output_mode is 'int'"),
        ({"ragged": True}, "ragged must be False"),
        ({"sparse": True, "output_mode": "count"}, "sparse must be False"),
        ({"pad_to_max_tokens": True}, "needs max_tokens"),
        ({"max_tokens": 1}, "max_tokens"),
        ({"vocabulary": ["a"], "output_mode": "tf_idf"}, "idf_weights must be given"),
        ({"idf_weights": [1.0]}, "only if output_mode is 'tf_idf'"),
        (
            {"vocabulary": ["a"], "output_mode": "tf_idf", "idf_weights": [1e39]},
            "idf_weights must be finite in float32",
        ),
        ({"encoding": "base64"}, "encoding must be the name"),
        ({"vocab": ["a"]}, "TextVectorization got an unexpected argument 'vocab'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        TextVectorization(**options)


# ---- models --------------------------------------------------------------------------------------

TEXTS = np.array(["foo bar", "bar", "baz baz baz foo", "boom"])


def classifier(length: int | None, **options: Any) -> nnfast.Sequential:
    """Return a compiled model that reads texts; padding is masked."""
    nnfast.set_seed(3)
    words = TextVectorization(output_sequence_length=length, **options)
    words.adapt(CORPUS)
    model = nnfast.Sequential(
        [
            layers.Input((1,), dtype="string"),
            words,
            layers.Embedding(words.vocabulary_size(), 3, mask_zero=True),
            layers.LSTM(2),
            layers.Dense(1),
        ],
        dtype="float64",
    )
    model.compile("sgd", "mse")
    return model


def test_models_begin_with_text(tmp_path: Path) -> None:
    model = classifier(5)
    assert model.layers[0].output.dtype == "int64"
    assert model.layers[0].output.shape == (None, 5)
    ids = layers.Input((5,), dtype="int64")
    inner = nnfast.Sequential([ids, *model.layers[1:]], dtype="float64")
    expected = inner.predict(model.layers[0](TEXTS))
    for x in (TEXTS, TEXTS[:, None], TEXTS.tolist(), TEXTS.astype(object)):
        assert_array_equal(model.predict(x), expected)
    model.fit(TEXTS, np.ones(4), epochs=2, verbose=0)
    model.save(tmp_path / "model")
    clone = models.clone_model(model)
    clone.set_weights(model.get_weights())
    twin = models.model_from_json(model.to_json())
    twin.set_weights(model.get_weights())
    for other in (
        nnfast.load_model(tmp_path / "model"),
        clone,
        twin,
        pickle.loads(pickle.dumps(model)),
    ):
        assert_array_equal(other.predict(TEXTS), model.predict(TEXTS))
        assert other.layers[0].get_config() == model.layers[0].get_config()
        other.layers[0].adapt(CORPUS)


def test_the_length_of_texts_may_vary(tmp_path: Path) -> None:
    """As padding is masked, results are those for texts of a fixed length."""
    model, fixed = classifier(None), classifier(4)
    assert model.layers[0].output.shape == (None, None)
    assert_allclose(model.predict(TEXTS), fixed.predict(TEXTS), rtol=1e-12)
    for i in range(4):
        assert_allclose(model.predict(TEXTS[i : i + 1]), fixed.predict(TEXTS)[i : i + 1])
        assert_allclose(model(TEXTS[i : i + 1]), fixed.predict(TEXTS)[i : i + 1])
    for both in (model, fixed):
        both.fit(TEXTS, np.ones(4), batch_size=2, epochs=2, shuffle=False, verbose=0)
        both.fit(((TEXTS[i : i + 2], np.ones(2)) for i in (0, 2)), verbose=0)
        both.train_on_batch(TEXTS[:1], np.ones(1))
    assert_allclose(
        model.evaluate(TEXTS, np.zeros(4), verbose=0), fixed.evaluate(TEXTS, np.zeros(4))
    )
    batches = (TEXTS[i : i + 1] for i in range(4))
    assert_allclose(model.predict(batches), fixed.predict(TEXTS), rtol=1e-12)
    model.save(tmp_path / "model")
    assert_array_equal(nnfast.load_model(tmp_path / "model").predict(TEXTS), model.predict(TEXTS))


def test_texts_of_unknown_length_beside_other_inputs() -> None:
    text = nnfast.Input((1,), dtype="string", name="text")
    number = nnfast.Input((None,), name="number")
    indices = TextVectorization(vocabulary=["a", "b"], name="words")(text)
    model = nnfast.Model([text, number], layers.Add()([indices, number]))
    assert_array_equal(model.predict([["b a b"], np.ones((1, 3))]), [[4, 3, 4]])
    with pytest.raises(ValueError, match=r"'number' \(2,\), 'words' \(3,\).*cannot broadcast"):
        model.predict([["b a b"], np.ones((1, 2))])
    with pytest.raises(ValueError, match=r"x\['number'\] must have shape \(n, None\)"):
        model.predict([["b a b"], np.ones((1, 2, 2))])


def test_models_of_words_know_their_number() -> None:
    words = TextVectorization(split=None, vocabulary=["a", "b"])
    model = nnfast.Sequential([layers.Input((2,), dtype="string"), words, layers.Dense(1)])
    kernel = model.get_weights()[0]
    assert_allclose(model.predict([["b", "a"]]), [[3.0, 2.0]] @ kernel, rtol=1e-6)
    text = nnfast.Input((None,), dtype="string")
    assert_array_equal(nnfast.Model(text, words(text)).predict([["b", "a", "x"]]), [[3, 2, 1]])
    for sample, message in (((2,), "must be single texts"), ((1, 1), "must be single texts")):
        with pytest.raises(ValueError, match=message):
            TextVectorization()(nnfast.Input(sample, dtype="string"))
    with pytest.raises(ValueError, match=r"expects text.*dtype 'float32'"):
        TextVectorization()(nnfast.Input((1,)))


def test_bags_of_words_are_learned() -> None:
    words = TextVectorization(output_mode="tf_idf", max_tokens=9, pad_to_max_tokens=True)
    model = nnfast.Sequential([words, layers.Dense(1)])
    words.adapt(CORPUS)
    model.compile(nnfast.optimizers.Adam(0.1), "mse")
    y = np.array([1.0, 0.0, 0.0])
    losses = model.fit(np.array(CORPUS), y, epochs=50, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 10
    assert model.input.dtype == "string"


def test_layers_with_functions_are_copied_but_not_saved(tmp_path: Path) -> None:
    layer = TextVectorization(standardize=np.char.upper, vocabulary=["A"])
    model = nnfast.Sequential([layers.Input((1,), dtype="string"), layer, layers.Rescaling(2.0)])
    assert_array_equal(models.clone_model(model).predict(["a b"]), [[4, 2]])
    check(pickle.loads(pickle.dumps(layer))(["a"]), [[2]])
    check(copy.deepcopy(layer)(["a"]), [[2]])
    for save in (lambda: model.save(tmp_path / "model"), model.to_json):
        with pytest.raises(TypeError, match=r"can hold <function upper.*standardize or split"):
            save()
    assert not list(tmp_path.iterdir())


def test_configurations_name_no_files() -> None:
    with pytest.raises(ValueError, match="received a path"):
        TextVectorization.from_config({"vocabulary": "words.txt"})


def test_datasets_are_vectorized() -> None:
    layer = TextVectorization(vocabulary=["foo"], output_sequence_length=2)
    data = tf.data.Dataset.from_tensor_slices((TEXTS, np.arange(4))).batch(3)
    mapped = list(data.map(lambda x, y: (layer(tf.expand_dims(x, -1)), y)))
    check(mapped[0][0], [[2, 1], [1, 0], [1, 1]])
    check(mapped[1][0], [[1, 0]])


# ---- a naive twin --------------------------------------------------------------------------------


def naive_tokens(text: str, split: str, ngrams: tuple[int, ...]) -> list[str]:
    """Return the n-grams of the standardized text, letter by letter."""
    kept = "".join(
        chr(ord(c) + 32) if c in string.ascii_uppercase else c
        for c in text
        if c not in string.punctuation
    )
    words = list(kept)
    if split == "whitespace":
        words, inside = [], False
        for c in kept:
            blank = c in string.whitespace
            if not blank:
                words[-1:] = [words[-1] + c] if inside else [*words[-1:], c]
            inside = not blank
    return [" ".join(words[i : i + n]) for n in ngrams for i in range(len(words) - n + 1)]


LETTERS = st.text(st.sampled_from("aAbB .,'\t\n"), max_size=12) | st.text(
    st.sampled_from("aAbB .,'\t\n\x1c\u00a0é漢\ud800"), max_size=12
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(LETTERS, min_size=1, max_size=6),
    st.lists(LETTERS, min_size=1, max_size=4),
    st.sampled_from(["whitespace", "character"]),
    st.sampled_from([(1,), (1, 2), (2,), (3, 1)]),
)
def test_outputs_are_those_of_a_naive_twin(
    corpus: list[str], texts: list[str], split: str, ngrams: tuple[int, ...]
) -> None:
    tokens = [naive_tokens(text, split, ngrams) for text in corpus]
    counts = Counter(token for row in tokens for token in row)
    layer = TextVectorization(split=split, ngrams=ngrams)
    if not counts:
        with pytest.raises(ValueError, match="at least one token"):
            layer.adapt(corpus)
        return
    layer.adapt(corpus)
    vocabulary = layer.get_vocabulary(include_special_tokens=False)
    assert vocabulary == sorted(counts, key=lambda token: (counts[token], token), reverse=True)
    rows = [naive_tokens(text, split, ngrams) for text in texts]
    indices = [[2 + vocabulary.index(t) if t in counts else 1 for t in row] for row in rows]
    width = max(map(len, indices))
    check(layer(texts), [row + [0] * (width - len(row)) for row in indices])
    count = TextVectorization(
        split=split, ngrams=ngrams, output_mode="count", vocabulary=vocabulary
    )
    size = 1 + len(vocabulary)
    check(count(texts), [[sum(i - 1 == k for i in row) for k in range(size)] for row in indices])
    copied = TextVectorization.from_config(json.loads(json.dumps(layer.get_config())))
    assert_array_equal(copied(texts), layer(texts))


def test_results_are_those_of_keras() -> None:
    expected = json.loads(keras_texts.FILE.read_text())
    for own, reference in zip(keras_texts.results(TextVectorization), expected, strict=True):
        assert own.get("vocabulary") == reference.get("vocabulary")
        assert own["dtype"] == reference["dtype"]
        assert_allclose(own["values"], reference["values"], rtol=1e-6)

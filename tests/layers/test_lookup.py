"""StringLookup and IntegerLookup: values, vocabularies, configurations and errors.

The values are those of Keras' documentation, or are counted by hand.
"""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nnfast
from nnfast import layers
from nnfast._utils.hashing import fingerprint64, siphash64
from nnfast.layers import IntegerLookup, StringLookup

VOCABULARY = ["a", "b", "c", "d"]
TEXT = [["a", "c", "d"], ["d", "z", "b"]]
LONG = [["a", "c", "d", "d"], ["d", "z", "b", "z"]]
NUMBERS = [12, 36, 1138, 42]
INTEGERS = np.array([[12, 1138, 42], [42, 1000, 36]])


def check(actual: Any, expected: Any, dtype: str = "int64") -> None:
    assert actual.dtype == dtype
    assert_array_equal(actual, np.array(expected))


def test_tokens_are_replaced_by_indices() -> None:
    layer = StringLookup(vocabulary=VOCABULARY)
    indices = [[1, 3, 4], [4, 0, 2]]
    check(layer(TEXT), indices)
    check(layer(np.array(TEXT)), indices)
    check(layer(np.array(TEXT, object)), indices)
    check(layer(np.array(TEXT, "S")), indices)
    check(layer("b"), 2)
    check(layer([np.array("b"), "c"]), [2, 3])
    check(layer([np.array(["b"]), ("c",)]), [[2], [3]])
    check(layer(np.zeros((0, 3))), np.zeros((0, 3)))
    assert layer.get_vocabulary() == ["[UNK]", *VOCABULARY]
    assert layer.get_vocabulary(include_special_tokens=False) == VOCABULARY
    assert layer.vocabulary_size() == 5
    numbers = IntegerLookup(vocabulary=NUMBERS)
    check(numbers(INTEGERS), indices)
    check(numbers(INTEGERS.astype(float)), indices)
    assert numbers.get_vocabulary() == [-1, *NUMBERS]


def test_masked_tokens_have_index_0() -> None:
    layer = StringLookup(vocabulary=VOCABULARY, mask_token="")
    check(layer([["a", "", "z"]]), [[2, 0, 1]])
    assert layer.get_vocabulary() == ["", "[UNK]", *VOCABULARY]
    numbers = IntegerLookup(vocabulary=NUMBERS, mask_token=0, output_mode="count")
    check(numbers([[12, 0, 5]]), [[1, 1, 0, 0, 0]])
    assert numbers.get_vocabulary() == [-1, *NUMBERS]
    assert StringLookup(mask_token="m", output_mode="multi_hot").get_vocabulary() == ["[UNK]"]


def test_indices_are_replaced_by_tokens() -> None:
    layer = StringLookup(vocabulary=VOCABULARY, invert=True)
    assert layer([[1, 3, 4], [4, 0, 2], [9, -1, 2**40]]).tolist() == [
        *(["a", "c", "d"], ["d", "[UNK]", "b"], ["[UNK]"] * 3)
    ]
    masked = StringLookup(vocabulary=VOCABULARY, invert=True, mask_token="")
    assert masked([0, 1, 2]).tolist() == ["", "[UNK]", "a"]
    forward = IntegerLookup(vocabulary=NUMBERS)
    back = IntegerLookup(vocabulary=forward.get_vocabulary(), invert=True)
    check(back(forward(INTEGERS)), [[12, 1138, 42], [42, -1, 36]])


def test_indices_are_encoded() -> None:
    one_hot = StringLookup(vocabulary=VOCABULARY, output_mode="one_hot")
    check(one_hot([*VOCABULARY, "z"]), np.eye(5)[[1, 2, 3, 4, 0]])
    check(one_hot([["b"]]), [[0, 0, 1, 0, 0]])
    multi_hot = StringLookup(vocabulary=VOCABULARY, output_mode="binary")
    check(multi_hot(LONG), [[0, 1, 0, 1, 1], [1, 0, 1, 0, 1]])
    count = StringLookup(vocabulary=VOCABULARY, output_mode="count")
    check(count(LONG), [[0, 1, 0, 1, 2], [2, 0, 1, 0, 1]])
    padded = StringLookup(7, vocabulary=VOCABULARY, output_mode="count", pad_to_max_tokens=True)
    check(padded(LONG), [[0, 1, 0, 1, 2, 0, 0], [2, 0, 1, 0, 1, 0, 0]])


def test_counts_are_weighted_by_document_frequencies() -> None:
    layer = StringLookup(output_mode="tf-idf")
    layer.set_vocabulary(VOCABULARY, idf_weights=[0.25, 0.75, 0.6, 0.4])
    found = layer(LONG)
    assert found.dtype == np.float32
    assert_allclose(found, [[0, 0.25, 0, 0.6, 0.8], [1.0, 0, 0.75, 0, 0.4]], rtol=1e-6)
    layer.set_vocabulary(["[UNK]", *VOCABULARY], idf_weights=[0.9, 0.25, 0.75, 0.6, 0.4])
    assert_allclose(layer(LONG), [[0, 0.25, 0, 0.6, 0.8], [1.8, 0, 0.75, 0, 0.4]], rtol=1e-6)
    adapted = IntegerLookup(9, output_mode="tf_idf", pad_to_max_tokens=True, dtype="float64")
    adapted.adapt([[1, 2, 2], [2, 3, 2]])
    assert adapted.get_vocabulary() == [-1, 2, 3, 1]
    # Log(1 + documents / (1 + documents with the token)); unknown tokens have the mean.
    idf = np.log([1 + 2 / 3, 1 + 2 / 2, 1 + 2 / 2])
    expected = [[2 * idf.mean(), idf[0], 0, 3 * idf[2], 0, 0, 0, 0, 0]]
    assert_allclose(adapted([[7, 1, 1, 1, 2, 8]]), expected, rtol=1e-6)


def test_vocabularies_are_made_from_data() -> None:
    """The most frequent tokens come first; equally frequent ones are in decreasing order."""
    layer = StringLookup()
    check(layer(["a"]), [0])
    layer.adapt(TEXT)
    assert layer.get_vocabulary() == ["[UNK]", "d", "z", "c", "b", "a"]
    check(layer(TEXT), [[5, 3, 1], [1, 2, 4]])
    layer.adapt(np.array(["x", "y", "y"]))
    assert layer.get_vocabulary() == ["[UNK]", "y", "x"]
    layer.adapt(iter([["x"], np.array([["x", "[UNK]"]]), ["y"]]), steps=2)
    assert layer.get_vocabulary() == ["[UNK]", "x"]
    for nothing in ([], iter([]), iter([np.zeros((0, 2), "U")])):
        with pytest.raises(ValueError, match=r"data must (have|give) at least one"):
            layer.adapt(nothing)
    assert layer.get_vocabulary() == ["[UNK]", "x"]
    small = IntegerLookup(max_tokens=4, mask_token=0)
    small.adapt(np.array([[5, 0, 0, 0], [7, 5, -1, 9]]))
    assert small.get_vocabulary() == [0, -1, 5, 9]


def test_several_indices_for_unknown_tokens() -> None:
    layer = StringLookup(vocabulary=VOCABULARY, num_oov_indices=2)
    check(layer([["a", "c", "d"], ["m", "z", "b"]]), [[2, 4, 5], [0, 1, 3]])
    assert layer.get_vocabulary() == ["[UNK]", "[UNK]", *VOCABULARY]
    numbers = IntegerLookup(vocabulary=NUMBERS, num_oov_indices=3, mask_token=0)
    check(numbers([12, 0, 3, 7, -1, 8]), [4, 0, 1, 2, 3, 3])
    hashed = IntegerLookup(vocabulary=NUMBERS, num_oov_indices=1000, oov_method="farmhash")
    check(hashed([123, 12]), [fingerprint64(b"123") % 1000, 1000])
    salted = StringLookup(vocabulary=VOCABULARY, num_oov_indices=1000, salt=[133, 137])
    check(salted("omar"), siphash64((133, 137), b"omar") % 1000)
    text = StringLookup(vocabulary=VOCABULARY, num_oov_indices=1000, salt=5)
    check(text("é"), siphash64((5, 5), "é".encode()) % 1000)
    own = IntegerLookup(vocabulary=NUMBERS, num_oov_indices=99, salt=5, oov_method="farmhash")
    check(own(77), siphash64((5, 5), b"77") % 99)


def test_hashes_are_those_of_tensorflow() -> None:
    """The values are from TensorFlow's and Keras' tests, and from FarmHash and SipHash."""
    words = [b"omar", b"stringer", b"marlo", b"wire", b"skywalker"]
    assert [fingerprint64(word) % 2 for word in words] == [0, 0, 1, 0, 0]
    assert [siphash64((133, 137), word) % 2 for word in words] == [0, 1, 0, 1, 0]
    assert [fingerprint64(word) % 10 for word in (b"a", b"b", b"c")] == [9, 2, 2]
    assert siphash64((98765, 132), b"a") == 7157389809176466784
    found = {n: fingerprint64(bytes(range(n))) for n in (0, 5, 12, 20, 32, 50, 64, 65, 128, 200)}
    assert found == FINGERPRINTS


FINGERPRINTS = {
    0: 11160318154034397263,
    5: 13024315463276085577,
    12: 11517357035142004093,
    20: 10220892904819695849,
    32: 1917831512995979081,
    50: 12334112670463347188,
    64: 17691551913807367243,
    65: 14313328211205373374,
    128: 2037963038260878803,
    200: 525935771297148851,
}


def test_no_index_for_unknown_tokens() -> None:
    layer = StringLookup(vocabulary=VOCABULARY, num_oov_indices=0, name="mine")
    check(layer(["a", "d"]), [0, 3])
    with pytest.raises(ValueError, match=r"num_oov_indices=0.*'mine'.*\['y', 'z'\]"):
        layer(["a", "z", "y"])


def test_vocabularies_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("é\nb b\r\nc\n".encode("latin-1"))
    layer = StringLookup(vocabulary=str(path), encoding="latin-1")
    assert layer.get_vocabulary() == ["[UNK]", "é", "b b", "c"]
    assert layer.get_config()["vocabulary"] == ["é", "b b", "c"]
    check(layer(np.array(["é".encode("latin-1")])), [1])
    path.write_text("12\n-3")
    for name in (str(path), path):
        assert IntegerLookup(vocabulary=name).get_vocabulary() == [-1, 12, -3]
    with pytest.raises(ValueError, match="does not exist"):
        StringLookup(vocabulary=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="'tf_idf' needs a list"):
        StringLookup(vocabulary=str(path), output_mode="tf_idf", idf_weights=[1.0])
    path.write_text("12\nx")
    with pytest.raises(ValueError, match=r"each line of vocabulary must be an integer.*'x'"):
        IntegerLookup(vocabulary=str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="vocabulary must hold text in the encoding 'utf-8'"):
        StringLookup(vocabulary=path)


def test_a_configuration_names_no_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("secret")
    for name in (str(path), path):
        config = StringLookup().get_config() | {"vocabulary": name}
        with pytest.raises(ValueError, match=r"must be a list of tokens.*a path"):
            layers.deserialize({"class_name": "StringLookup", "config": config})


def test_long_vocabularies_are_not_printed() -> None:
    words = [f"word {i}" for i in range(1000)]
    layer = StringLookup(vocabulary=words, output_mode="tf_idf", idf_weights=[1.0] * 1000, name="s")
    assert len(repr(layer)) < 500
    assert repr(layer).startswith("StringLookup(name='s', ")
    assert "vocabulary=['word 0', 'word 1', " in repr(layer)
    assert "idf_weights=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, ...]" in repr(layer)
    assert "vocabulary=[7]" in repr(IntegerLookup(vocabulary=[7]))


OPTIONS: dict[str, dict[str, Any]] = {
    "int": {},
    "mask": {"mask_token": "", "num_oov_indices": 2},
    "count": {"output_mode": "count", "mask_token": "m"},
    "tf_idf": {"output_mode": "tf_idf"},
    "padded tf_idf": {"output_mode": "tf_idf", "max_tokens": 12, "pad_to_max_tokens": True},
    "no token for unknown ones": {"oov_token": None},
    "weights without that token": {"oov_token": None, "output_mode": "tf_idf"},
    "inverse": {"invert": True},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("adapted", [False, True])
def test_configurations_and_copies_have_the_vocabulary(name: str, adapted: bool) -> None:
    options = OPTIONS[name]
    layer = StringLookup(**options)
    data = [["a", "b", "b"], ["é", "b", "a"]]
    if adapted:
        layer.adapt(data)
    else:
        weights = [0.5, 1.0, 1.5] if options.get("output_mode") == "tf_idf" else None
        layer = StringLookup(vocabulary=["b", "a", "é"], idf_weights=weights, **options)
    x = [[1, 0, 3]] if "invert" in options else [["b", "q", "é"]]
    description = json.loads(json.dumps(layers.serialize(layer)))
    for twin in (
        layers.deserialize(description),
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
    ):
        assert twin.get_config() == layer.get_config()
        assert twin.get_vocabulary() == layer.get_vocabulary()
        if "invert" in options:
            assert_array_equal(twin(x), layer(x))
        else:
            assert_allclose(twin(x), layer(x), rtol=1e-6)
        if adapted:
            twin.adapt(data)
        else:
            with pytest.raises(ValueError, match="given a vocabulary"):
                twin.adapt(data)


def test_configurations_are_exact() -> None:
    """Special tokens are stored if they have weights of their own, or appear once more."""
    twice = StringLookup(vocabulary=["[UNK]", "[UNK]", "a"])
    own = StringLookup(output_mode="tf_idf", vocabulary=["[UNK]", "a"], idf_weights=[3.0, 1.0])
    for layer in (twice, own):
        copy = StringLookup.from_config(layer.get_config())
        assert copy.get_vocabulary() == layer.get_vocabulary()
        assert_array_equal(copy(["a", "[UNK]", "z"]), layer(["a", "[UNK]", "z"]))
    many = StringLookup(num_oov_indices=2**31, vocabulary=["a"])
    assert many.get_config()["vocabulary"] == ["a"]


def test_the_number_of_outputs_does_not_change() -> None:
    layer = StringLookup(output_mode="count", name="mine")
    for call in (lambda: layer(["a"]), lambda: layer(nnfast.Input((1,), dtype="string"))):
        with pytest.raises(RuntimeError, match=r"'mine' has no vocabulary yet.*adapt"):
            call()
    layer.set_vocabulary(["a", "b"])
    layer.set_vocabulary(["b", "c"])
    with pytest.raises(RuntimeError, match=r"'mine' have 3 entries.* 2: make a new layer"):
        layer.set_vocabulary(["a"])
    with pytest.raises(RuntimeError, match="'mine' have 3 entries"):
        layer.adapt(["a", "b", "c"])
    assert layer.get_vocabulary() == ["[UNK]", "b", "c"]
    padded = StringLookup(9, output_mode="count", pad_to_max_tokens=True)
    assert padded(["a", "b"]).tolist() == [2] + [0] * 8
    padded.set_vocabulary(["a"])
    padded.set_vocabulary(["a", "b"])
    assert padded(["a", "b"]).tolist() == [0, 1, 1] + [0] * 6


def lookup(*arguments: Any, **options: Any) -> Any:
    return StringLookup(*arguments, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lookup(1), "max_tokens.*>= 2.*1"),
        (lambda: lookup(num_oov_indices=-1), "num_oov_indices.*>= 0.*-1"),
        (lambda: lookup(mask_token=3), "mask_token.*3"),
        (lambda: lookup(oov_token=3), "oov_token.*3"),
        (lambda: lookup(output_mode="ints"), "output_mode.*'ints'"),
        (lambda: lookup(output_mode=["int"]), "output_mode.*"),
        (lambda: lookup(invert=True, output_mode="count"), "invert=True.*'count'"),
        (lambda: lookup(invert=True, oov_token=None), "invert=True needs an oov_token"),
        (lambda: lookup(pad_to_max_tokens=True), "pad_to_max_tokens=True needs max_tokens"),
        (lambda: lookup(sparse=True, output_mode="count"), "sparse must be False"),
        (lambda: lookup(encoding="utf-99"), "encoding.*'utf-99'"),
        (lambda: lookup(encoding="base64"), "encoding.*'base64'"),
        (lambda: lookup(encoding=None), "encoding.*None"),
        (lambda: lookup(salt=(1, 2, 3)), r"salt.*pair.*\(1, 2, 3\)"),
        (lambda: lookup(salt=-1), "salt.*>= 0.*-1"),
        (lambda: lookup(vocabulary=[]), "vocabulary must have at least one token"),
        (lambda: lookup(vocabulary=["[UNK]"], num_oov_indices=0, invert=True), "oov_token"),
        (lambda: lookup(vocabulary=["a", "b", "a"]), r"each token once.*\['a'\]"),
        (lambda: lookup(vocabulary=["a", "m"], mask_token="m"), "mask_token 'm'.*special tokens"),
        (lambda: lookup(vocabulary=["a", "[UNK]"], invert=True), "oov_token '.UNK.'"),
        (lambda: lookup(3, vocabulary=VOCABULARY), "max_tokens=3.*received 5"),
        (lambda: lookup(vocabulary=["a", 3]), "vocabulary must hold text.*3"),
        (lambda: lookup(vocabulary={"a": 1}), "vocabulary must be a list"),
        (lambda: lookup(vocabulary=np.array([["a"]])), r"vocabulary.*\(1, 1\)"),
        (lambda: lookup(vocabulary=["a"], idf_weights=[1.0]), "idf_weights.*'int'"),
        (lambda: lookup(vocabulary=["a"], output_mode="tf_idf"), "idf_weights must be given"),
        (lambda: lookup().set_vocabulary(["a"], [1.0]), "idf_weights must be given.*'int'"),
        (
            lambda: lookup(vocabulary=["a"], output_mode="tf_idf", idf_weights=[1.0, 2.0]),
            r"idf_weights.*each of the 1 tokens.*\(2,\)",
        ),
        (lambda: lookup(vocabulary=["a"]).adapt(["a"]), "was given a vocabulary"),
        (lambda: lookup().adapt([1, 2]), "data must hold text"),
        (lambda: lookup().adapt(iter(["a"]), steps=0), "steps.*>= 1.*0"),
        (lambda: lookup().adapt(["a"], steps=2), "steps.*batches only.*2"),
        (lambda: lookup().adapt({"a": ["x"]}), r"data must be an array.*mapping.*\['a'\]"),
        (lambda: lookup()(["a", 1]), "x must hold text.*1"),
        (lambda: lookup()([["a", True]]), "x must hold text.*True"),
        (lambda: lookup()(("a", np.nan)), "x must hold text.*nan"),
        (lambda: lookup().adapt(["a", 2.5]), "data must hold text.*2.5"),
        (lambda: lookup()([["a"], ["b", "c"]]), "x must be.*all rows alike"),
        (lambda: lookup()([["a", None]]), "x must hold text.*None"),
        (lambda: lookup()(np.array([b"\xff"])), r"x must hold text in the encoding 'utf-8'.*xff"),
        (lambda: lookup(vocabulary=[b"\xff"]), r"vocabulary must hold text.*'utf-8'.*xff"),
        (lambda: lookup()([1.5]), "x must hold text.*float64"),
        (lambda: lookup(vocabulary=["a"], invert=True)(["a"]), "x must"),
        (lambda: IntegerLookup(mask_token="0"), "mask_token.*'0'"),
        (lambda: IntegerLookup(vocabulary=["a"]), "vocabulary.*'a'"),
        (lambda: IntegerLookup(vocabulary=[2**63]), "vocabulary.*9223372036854775808"),
        (lambda: IntegerLookup(vocabulary_dtype="int32"), "vocabulary_dtype.*'int32'"),
        (lambda: IntegerLookup(oov_method="crc"), "oov_method.*'crc'"),
        (lambda: IntegerLookup(salt=3), "salt.*'farmhash'"),
        (lambda: IntegerLookup()([0.5]), "x must hold integers.*0.5"),
        (lambda: IntegerLookup()(["a"]), "x must"),
        (lambda: StringLookup(vocabulry=["a"]), "StringLookup got an unexpected.*'vocabulry'"),
    ],
)
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()

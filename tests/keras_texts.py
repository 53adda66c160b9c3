"""What Keras makes of texts: `python tests/keras_texts.py` writes keras_texts.json anew.

Keras' TextVectorization needs TensorFlow, so its results are in a file. It was written with Keras
3.15.1 and TensorFlow 2.21.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
ALPHABET = "abAB .,'!\t\n\u00a0\x1cÉé漢-_"
STANDARDS = ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
LENGTHS = (("int", None), ("int", 3), ("multi_hot", None), ("count", None), ("tf_idf", None))


def random_texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(ALPHABET, k=rng.randrange(25))) for _ in range(n)]


def random_cases() -> list[dict[str, Any]]:
    """Return the arguments of TextVectorization: a sample of all combinations."""
    splits, ngrams = ("whitespace", "character"), (None, 2, [2], [3, 1])
    every = itertools.product(STANDARDS, splits, ngrams, LENGTHS, (None, 6))
    names = ("standardize", "split", "ngrams", "length", "max_tokens")
    cases = []
    for values in random.Random(0).sample(list(every), 40):
        case = dict(zip(names, values, strict=True))
        case["output_mode"], case["output_sequence_length"] = case.pop("length")
        case["pad_to_max_tokens"] = case["max_tokens"] is not None
        cases.append(case)
    return cases


# Arguments of layers with the vocabulary a, b, and what they are called with.
SINGLE: list[tuple[dict[str, Any], Any]] = [
    ({}, "a b c"),
    ({"output_mode": "count"}, "a b a"),
    ({"output_sequence_length": 5}, "a b"),
    ({"split": None}, ["a", "b"]),
    ({"split": None, "ngrams": 2}, [["a", "b"], ["c", "a"]]),
    ({"split": None, "output_sequence_length": 3}, [["a", "b"], ["c", "a"]]),
    ({"split": None, "output_mode": "count"}, [["a", "b"], ["c", "a"]]),
]


def results(layer: Any) -> list[dict[str, Any]]:
    """Return the vocabulary and the values for every case, with a class like Keras' layer."""
    import numpy as np

    corpus, texts = random_texts(12, 3), random_texts(6, 4)
    found = []
    for case in random_cases():
        case["ngrams"] = (
            tuple(case["ngrams"]) if isinstance(case["ngrams"], list) else case["ngrams"]
        )
        made = layer(**case)
        made.adapt(corpus)
        values = np.asarray(made(np.array(texts)[:, None]))
        found.append(
            {
                "vocabulary": made.get_vocabulary(),
                "dtype": values.dtype.name,
                "values": values.tolist(),
            }
        )
    for options, x in SINGLE:
        values = np.asarray(layer(vocabulary=["a", "b"], **options)(np.array(x)))
        found.append({"dtype": values.dtype.name, "values": values.tolist()})
    return found


if __name__ == "__main__":
    import keras

    written = json.dumps(results(keras.layers.TextVectorization), ensure_ascii=True)
    FILE.write_text(written.replace('}, {"', '},\n{"') + "\n")

"""Find words with similar meanings: word vectors by skip-grams with negative sampling.

python examples/word_vectors.py [--quick] [--text FILE] [--picture FILE]

A model learns to tell pairs of words that are close to each other in a text from random pairs. It
multiplies the vector of one word by another vector of the second, and the sigmoid function turns
the product into a probability (Mikolov et al., 2013). Words with similar neighbours get similar
vectors.

The text consists of random sentences about some kinds of things, such as animals and cities, or is
that in FILE. For some words, the three nearest ones are printed. --picture FILE draws the vectors,
projected onto their two principal components. With --quick, there are fewer sentences.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import nnfast
from nnfast.keras.preprocessing.sequence import make_sampling_table, skipgrams
from nnfast.keras.preprocessing.text import Tokenizer
from nnfast.layers import Activation, Dot, Embedding, Flatten, Input

KINDS = {
    "animal": ["cat", "dog", "horse", "cow", "sheep", "goat", "rabbit", "fox"],
    "food": ["bread", "cheese", "soup", "rice", "cake", "apples", "pasta", "salad"],
    "city": ["paris", "rome", "madrid", "berlin", "vienna", "oslo", "athens", "prague"],
    "person": ["anna", "ben", "clara", "david", "emma", "felix", "greta", "hugo"],
    "instrument": ["piano", "violin", "guitar", "flute", "trumpet", "cello", "drum", "harp"],
    "weather": ["rain", "snow", "wind", "fog", "sunshine", "hail", "thunder", "frost"],
}
SENTENCES = (
    "the {animal} and the {animal} run across the green field",
    "a farmer feeds the old {animal} behind the barn",
    "{person} cooks {food} with {food} for dinner",
    "the hungry guests eat {food} and {food} in the kitchen",
    "the train from {city} to {city} leaves at noon",
    "tourists visit the museums and streets of {city}",
    "{person} and {person} are good friends at school",
    "my sister {person} reads a letter to {person}",
    "the orchestra tunes a {instrument} and a {instrument} before the concert",
    "the teacher plays a melody on the {instrument}",
    "the forecast promises {weather} and {weather} for tomorrow",
    "after a day of {weather} the roads were wet",
)
WINDOW, SIZE = 4, 24


def sentences(n: int, rng: np.random.Generator) -> list[str]:
    """Return random sentences."""
    made = []
    for _ in range(n):
        words = SENTENCES[rng.integers(len(SENTENCES))].split()
        kinds = (KINDS.get(word.strip("{}")) for word in words)
        made.append(
            " ".join(str(rng.choice(k)) if k else w for w, k in zip(words, kinds, strict=True))
        )
    return made


def pairs(texts: list[list[int]], n_words: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of words (n, 2), and whether they are close to each other in a text."""
    table = make_sampling_table(n_words, 0.01)
    found = [
        skipgrams(text, n_words, WINDOW, 3.0, sampling_table=table, seed=i)
        for i, text in enumerate(texts)
    ]
    couples = [pair for each, _ in found for pair in each]
    return np.array(couples), np.array([label for _, each in found for label in each])


parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--quick", action="store_true")
parser.add_argument("--text", type=Path, help="a file of text; each line is read by itself")
parser.add_argument("--picture", help="a file for the picture of the vectors")
options = parser.parse_args()

if options.text:
    texts = options.text.read_text("utf-8").splitlines()
else:
    texts = sentences(1000 if options.quick else 4000, np.random.default_rng(0))
tokenizer = Tokenizer()
tokenizer.fit_on_texts(texts)
# The vectors of words that are rarer than that would say little.
n_words = 1 + sum(n >= 5 for n in tokenizer.word_counts.values())
tokenizer.num_words = n_words
nnfast.set_seed(0)
couples, labels = pairs(tokenizer.texts_to_sequences(texts), n_words)

word, neighbour = Input((1,), dtype="int32"), Input((1,), dtype="int32")
vectors = Embedding(n_words, SIZE, name="vectors")
product = Dot(axes=2)([vectors(word), Embedding(n_words, SIZE)(neighbour)])
model = nnfast.Model([word, neighbour], Activation("sigmoid")(Flatten()(product)))
model.compile(nnfast.optimizers.Adam(0.01), "binary_crossentropy")
started = time.perf_counter()
history = model.fit([couples[:, 0], couples[:, 1]], labels, batch_size=512, epochs=5, verbose=0)
seconds = time.perf_counter() - started
print(f"{len(couples):,} pairs of {n_words - 1} words, {seconds:.1f} s")
print("loss per pair: " + ", ".join(f"{loss:.3f}" for loss in history.history["loss"]))

learned = vectors.get_weights()[0]
learned = learned / np.linalg.norm(learned, axis=1, keepdims=True)
cosines = learned @ learned.T
np.fill_diagonal(cosines, -1.0)
cosines[:, 0] = -1.0  # stands for no word
nearest = np.argsort(-cosines, axis=1)[:, :3]
listed = [word for words in KINDS.values() for word in words]
if options.text:
    listed = [tokenizer.index_word[i] for i in range(1, min(n_words, 200))]
for word in listed[::4]:
    near = [tokenizer.index_word[i] for i in nearest[tokenizer.word_index[word]]]
    print(f"{word:12} {', '.join(near)}")
if not options.text:
    kind = {word: name for name, words in KINDS.items() for word in words}
    right = [
        kind.get(tokenizer.index_word[nearest[tokenizer.word_index[word], 0]]) == kind[word]
        for word in listed
    ]
    print(f"{sum(right)} of {len(right)} words are nearest to one of their own kind")

if options.picture:
    from matplotlib import pyplot as plt

    own = learned[[tokenizer.word_index[word] for word in listed]]
    own = own - own.mean(axis=0)
    x, y = (own @ np.linalg.svd(own, full_matrices=False)[2][:2].T).T
    figure, axes = plt.subplots(figsize=(9, 7), layout="constrained")
    colours = np.arange(len(listed)) // 8 if not options.text else "tab:blue"
    axes.scatter(x, y, c=colours, cmap=None if options.text else "tab10", s=12)
    for word, *place in zip(listed, x, y, strict=True):
        axes.annotate(word, place, xytext=(3, 3), textcoords="offset points", fontsize=8)
    axes.set(xlabel="first principal component", ylabel="second principal component")
    figure.savefig(options.picture)

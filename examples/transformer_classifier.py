"""Tell good reviews from bad ones with a transformer: only what comes after "but" counts.

python examples/transformer_classifier.py [--keras] [--quick] [--seeds N] [--picture words.png]

This is the network of Keras' example "Text classification with Transformer". The reviews are made
up: sentences such as "the plot is really dull", of which those after "but" decide. The mean of word
vectors, without attention, cannot tell which words come after it. The picture, which needs
matplotlib, shows which words the words of a review attend to. With --keras, Keras trains the same
models: only the import changes. With --quick, there are few reviews.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

if "--keras" in sys.argv:
    import keras
else:
    from nnfast import keras

layers = keras.layers

THINGS = [
    *("acting", "plot", "music", "dialogue", "camera", "ending", "cast", "pace", "script", "story"),
    *("humour", "scenery"),
]
ADVERBS = ["", "really", "very", "so", "quite", "always"]
GOOD = ["superb", "moving", "clever", "gripping", "fresh", "witty", "honest", "lovely", "bright"]
BAD = ["dull", "clumsy", "shallow", "tedious", "bland", "noisy", "weak", "stale", "silly"]
# Number 0 fills up short reviews.
WORDS = ["", "the", "is", "but", ".", *THINGS, *ADVERBS[1:], *GOOD, *BAD]
LENGTH, UNITS, HEADS, BATCH = 31, 32, 2, 32

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--keras", action="store_true", help="use Keras")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--seeds", type=int, default=1)
parser.add_argument("--picture", type=Path)
options = parser.parse_args()
n, n_test, epochs = (640, 200, 1) if options.quick else (15_000, 2000, 8)


def codes(words: list[str]) -> np.ndarray:
    """Return the number of each word, filled up with zeros."""
    found = np.zeros(LENGTH, np.int32)
    found[: len(words)] = [WORDS.index(word) for word in words]
    return found


def review(rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return the codes of a review, and whether it is good."""
    words: list[str] = []
    before, after = rng.choice([1, 2]), rng.choice([1, 3])
    good = rng.random(before + after) < 0.5
    for i, opinion in enumerate(good):
        adjective = rng.choice(GOOD if opinion else BAD)
        words += ["but"] if i == before else []
        words += f"the {rng.choice(THINGS)} is {rng.choice(ADVERBS)} {adjective}".split()
        words += [] if i == before - 1 else ["."]
    return codes(words), good[before:].mean() > 0.5


def block(x: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the output of a transformer block and the scores of its attention."""
    attention = layers.MultiHeadAttention(num_heads=HEADS, key_dim=UNITS)
    attended, scores = attention(x, x, return_attention_scores=True)
    x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(0.1)(attended))
    hidden = layers.Dense(UNITS)(layers.Dense(UNITS, activation="relu")(x))
    return layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(0.1)(hidden)), scores


def classifier(with_attention: bool) -> tuple[keras.Model, keras.Model | None]:
    """Return a classifier of words and their positions, and the model of its attention's scores."""
    inputs = [keras.Input((LENGTH,), dtype="int32") for _ in range(2)]
    word, position = layers.Embedding(len(WORDS), UNITS), layers.Embedding(LENGTH, UNITS)
    x, scores = word(inputs[0]) + position(inputs[1]), None
    if with_attention:
        x, scores = block(x)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(20, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    rate = keras.optimizers.schedules.CosineDecay(0.003, decay_steps=epochs * -(-n // BATCH))
    adam, loss = keras.optimizers.Adam(rate), "sparse_categorical_crossentropy"
    model.compile(optimizer=adam, loss=loss, metrics=["accuracy"])
    return model, None if scores is None else keras.Model(inputs, scores)


def positions(reviews: np.ndarray) -> np.ndarray:
    return np.tile(np.arange(LENGTH, dtype=np.int32), (len(reviews), 1))


rng = np.random.default_rng(0)
reviews, good = map(np.array, zip(*(review(rng) for _ in range(n + n_test)), strict=True))
x, y = [reviews[:n], positions(reviews[:n])], good[:n].astype(np.int32)
x_test, y_test = [reviews[n:], positions(reviews[n:])], good[n:].astype(np.int32)
print("good:" if y[0] else "bad:", " ".join(WORDS[code] for code in reviews[0] if code))

for name, with_attention in (("mean of vectors", False), ("transformer", True)):
    accuracies = []
    for seed in range(options.seeds):
        keras.utils.set_random_seed(seed)
        model, attention = classifier(with_attention)
        start = time.perf_counter()
        model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
        seconds = time.perf_counter() - start
        accuracies.append(model.evaluate(x_test, y_test, verbose=0)[1])
        print(f"{name}, seed {seed}: accuracy {accuracies[-1]:.4f}, {seconds:.2f} s")
    print(f"{name}: mean accuracy {np.mean(accuracies):.4f}")

if options.picture and attention is not None:
    from matplotlib import pyplot as plt

    text = "the plot is dull . the cast is weak but the music is lovely ."
    words = text.split()
    sentence = codes(words)[np.newaxis]
    scores = attention.predict([sentence, positions(sentence)], verbose=0)[0]
    figure, axes = plt.subplots(1, HEADS, figsize=(10, 5), layout="constrained")
    for head, axis in enumerate(axes):
        axis.imshow(scores[head, : len(words), : len(words)], cmap="Blues", vmin=0)
        axis.set(title=f"head {head + 1}", xlabel="attends to")
        axis.set_xticks(range(len(words)), words, rotation=90)
        axis.set_yticks(range(len(words)), words)
    figure.savefig(options.picture)

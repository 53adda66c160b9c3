"""Translate dates from many formats into one: "Friday, 9 May 1997" becomes "1997-05-09".

python examples/date_translation.py [--keras] [--quick] [--picture attention.png]

This is a small transformer (Vaswani et al., 2017). A block of the encoder reads the date. The
decoder's causal attention reads what it has translated, and its cross attention reads the encoder's
output. The picture, which needs matplotlib, shows the cross attention: which characters of the date
each character of the translation comes from. With --keras, Keras trains the same model: only the
import changes. With --quick, there are few dates.
"""

import argparse
import datetime
import sys
import time
from pathlib import Path

import numpy as np

if "--keras" in sys.argv:
    import keras
else:
    from nnfast import keras

layers = keras.layers

FORMATS = [
    *("{0:%A}, {0.day} {0:%B} {0.year}", "{0.day} {0:%b} {0.year}", "{0:%B} {0.day}, {0.year}"),
    *("{0:%d/%m/%y}", "{0:%a} {0.day}.{0.month}.{0.year}", "{0:%b %d} '{0:%y}"),
]
READ, WRITTEN, UNITS, HEADS, BATCH = 29, 10, 64, 4, 64

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--keras", action="store_true", help="use Keras")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--picture", type=Path)
options = parser.parse_args()
n, n_test, epochs = (640, 50, 1) if options.quick else (10_000, 1000, 8)

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
first = datetime.date(1970, 1, 1)
dates = [first + datetime.timedelta(int(day)) for day in rng.integers(0, 22_000, n + n_test)]
texts = [str(rng.choice(FORMATS)).format(date) for date in dates]
translations = [date.isoformat() for date in dates]
CHARACTERS = [" ", *sorted(set("".join([*texts, *translations])) - {" "})]


def codes(texts: list[str], length: int) -> np.ndarray:
    """Return the number of each character, with spaces at the end of shorter texts."""
    rows = [[CHARACTERS.index(character) for character in text.ljust(length)] for text in texts]
    return np.array(rows, np.int32)


def waves(length: int) -> np.ndarray:
    """Return sines and cosines of the positions, with wavelengths from 2π to 2π · 100."""
    angles = np.arange(length)[:, np.newaxis] / 100 ** (np.arange(UNITS // 2) / (UNITS // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype("float32")


def embedded(tokens: keras.KerasTensor, length: int) -> keras.KerasTensor:
    initializer = keras.initializers.RandomNormal(stddev=1.0)
    return layers.Embedding(len(CHARACTERS), UNITS, initializer)(tokens) + waves(length)


def attend(
    x: keras.KerasTensor, to: keras.KerasTensor, causal: bool = False
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the normalized sum of x and what it attends to, and the attention's scores."""
    attended, scores = layers.MultiHeadAttention(num_heads=HEADS, key_dim=UNITS // HEADS)(
        x, to, use_causal_mask=causal, return_attention_scores=True
    )
    return layers.LayerNormalization()(x + attended), scores


def transformed(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the normalized sum of x and the output of two dense layers."""
    hidden = layers.Dense(2 * UNITS, activation="relu")(x)
    return layers.LayerNormalization()(x + layers.Dense(UNITS)(hidden))


text, before = keras.Input((READ,), dtype="int32"), keras.Input((WRITTEN,), dtype="int32")
x = embedded(text, READ)
read = transformed(attend(x, x)[0])
y = embedded(before, WRITTEN)
y, scores = attend(attend(y, y, causal=True)[0], read)
characters = layers.Dense(len(CHARACTERS), activation="softmax")(transformed(y))
model, attention = keras.Model([text, before], characters), keras.Model([text, before], scores)

x_all, y_all = codes(texts, READ), codes(translations, WRITTEN)
written = np.insert(y_all[:, :-1], 0, 0, axis=1)  # the characters before each character
rate = keras.optimizers.schedules.CosineDecay(0.003, decay_steps=epochs * -(-n // BATCH))
model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
start = time.perf_counter()
history = model.fit([x_all[:n], written[:n]], y_all[:n], batch_size=BATCH, epochs=epochs, verbose=0)
seconds = time.perf_counter() - start
print("loss per character: " + ", ".join(f"{loss:.3f}" for loss in history.history["loss"]))


def translate(x: np.ndarray) -> np.ndarray:
    """Return the codes of the translations, written character by character."""
    written = np.zeros((len(x), WRITTEN + 1), np.int32)
    for i in range(WRITTEN):
        written[:, i + 1] = model.predict([x, written[:, :-1]], verbose=0)[:, i].argmax(axis=1)
    return written[:, 1:]


guesses = translate(x_all[n:])
exact = (guesses == y_all[n:]).all(axis=1).mean()
print(f"{exact:.2%} of {n_test} new dates are translated exactly, {seconds:.1f} s")
for new, guess in zip(texts[n : n + 6], guesses, strict=False):
    print(f"{new:{READ}} {''.join(CHARACTERS[code] for code in guess)}")

if options.picture:
    from matplotlib import pyplot as plt

    example = "Friday, 9 May 1997"
    x, guess = codes([example], READ), translate(codes([example], READ))
    weights = attention.predict([x, np.insert(guess[:, :-1], 0, 0, axis=1)], verbose=0)[0]
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    image = axis.imshow(weights.mean(axis=0)[:, : len(example)], cmap="Blues", vmin=0)
    axis.set(xlabel="character that is read", ylabel="character that is written")
    axis.set_xticks(range(len(example)), list(example))
    axis.set_yticks(range(WRITTEN), [CHARACTERS[code] for code in guess[0]])
    figure.colorbar(image, label="attention, mean of the heads")
    figure.savefig(options.picture)

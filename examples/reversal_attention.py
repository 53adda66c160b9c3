"""Reverse a text: an LSTM reads it, and another one writes with attention to what was read.

python examples/reversal_attention.py [--keras] [--quick] [--picture attention.png]

The first LSTM returns its outputs for all letters. The second LSTM writes letter by letter, and for
each letter, attention selects outputs of the first one (Luong et al., 2015). In training, the
second LSTM reads the correct letters. Afterwards, it reads those that it wrote itself. The picture,
which needs matplotlib, shows the attention: whoever writes backwards looks backwards. With --keras,
Keras trains the same model: only the import changes. With --quick, there are few texts.
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

LETTERS, LENGTH, UNITS, BATCH = "abcdefghijklmnopqrstuvwxyz", 12, 64, 64
START = len(LETTERS)  # what the second LSTM reads before its first letter

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--keras", action="store_true", help="use Keras")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--picture", type=Path)
options = parser.parse_args()
n, n_test, epochs = (640, 50, 1) if options.quick else (20_000, 1000, 12)

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
texts = rng.integers(0, len(LETTERS), (n + n_test, LENGTH), dtype=np.int32)
reverse = texts[:, ::-1].copy()
written = np.insert(reverse[:, :-1], 0, START, axis=1)  # the letters before each letter

text = keras.Input((LENGTH,), dtype="int32")
before = keras.Input((LENGTH,), dtype="int32")
read = layers.Embedding(len(LETTERS), UNITS)(text)
outputs, *state = layers.LSTM(UNITS, return_sequences=True, return_state=True)(read)
wrote = layers.Embedding(len(LETTERS) + 1, UNITS)(before)
queries = layers.LSTM(UNITS, return_sequences=True)(wrote, initial_state=state)
context, scores = layers.Attention()([queries, outputs], return_attention_scores=True)
hidden = layers.Dense(UNITS, activation="tanh")(layers.Concatenate()([context, queries]))
letters = layers.Dense(len(LETTERS), activation="softmax")(hidden)
model, attention = keras.Model([text, before], letters), keras.Model([text, before], scores)

rate = keras.optimizers.schedules.CosineDecay(0.005, decay_steps=epochs * -(-n // BATCH))
model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
start = time.perf_counter()
history = model.fit(
    [texts[:n], written[:n]], reverse[:n], batch_size=BATCH, epochs=epochs, verbose=0
)
seconds = time.perf_counter() - start
print("loss per letter: " + ", ".join(f"{loss:.3f}" for loss in history.history["loss"]))


def write(texts: np.ndarray) -> np.ndarray:
    """Return the letters that the model writes for new texts."""
    written = np.full((len(texts), LENGTH + 1), START, np.int32)
    for i in range(LENGTH):
        written[:, i + 1] = model.predict([texts, written[:, :-1]], verbose=0)[:, i].argmax(axis=1)
    return written[:, 1:]


guesses, right = write(texts[n:]), reverse[n:]
correct = guesses == right
print(f"{correct.mean():.2%} of the letters and {correct.all(axis=1).mean():.2%} of the texts are")
print(f"reversed without an error, {seconds:.1f} s")
for codes, guess in zip(texts[n : n + 4], guesses, strict=False):
    print(*("".join(LETTERS[code] for code in part) for part in (codes, guess)))

if options.picture:
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 4.6), layout="constrained")
    codes, guess = texts[n : n + 1], guesses[:1]
    weights = attention.predict([codes, np.insert(guess[:, :-1], 0, START, axis=1)], verbose=0)[0]
    image = axis.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axis.set(xlabel="letter that is read", ylabel="letter that is written")
    axis.set_xticks(range(LENGTH), [LETTERS[code] for code in codes[0]])
    axis.set_yticks(range(LENGTH), [LETTERS[code] for code in guess[0]])
    figure.colorbar(image, label="attention")
    figure.savefig(options.picture)

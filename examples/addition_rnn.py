"""Learn to add numbers of three digits, written as text: an LSTM reads "123+45", another writes.

python examples/addition_rnn.py [--quick]

This is Keras' example "addition_rnn". The first LSTM encodes the question, RepeatVector repeats the
code for every character of the answer, and the second LSTM returns its outputs of all steps.
Questions are reversed, which makes them easier to learn. With --quick, there are few questions.
"""

import sys
import time

import numpy as np

from nnfast import keras
from nnfast.keras import layers

DIGITS = 3
CHARACTERS = "0123456789+ "
QUESTION, ANSWER, BATCH = 2 * DIGITS + 1, DIGITS + 1, 32
N, EPOCHS = (1000, 1) if "--quick" in sys.argv else (50_000, 20)


def codes(texts: list[str]) -> np.ndarray:
    """Return the number of each character, with shape (texts, characters)."""
    return np.array([[CHARACTERS.index(character) for character in text] for text in texts])


def questions(n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return n pairs of numbers, no two of which are the same but for their order."""
    found: set[tuple[int, int]] = set()
    while len(found) < n:
        a, b = (int(rng.integers(0, 10 ** rng.integers(1, DIGITS + 1))) for _ in range(2))
        if (b, a) not in found:
            found.add((a, b))
    pairs = sorted(found)
    return [pairs[i] for i in rng.permutation(n)]


keras.utils.set_random_seed(0)
pairs = questions(N, np.random.default_rng(0))
x = np.eye(len(CHARACTERS), dtype="float32")[
    codes([f"{a}+{b}".ljust(QUESTION)[::-1] for a, b in pairs])
]
y = codes([str(a + b).ljust(ANSWER) for a, b in pairs])
train, test = slice(0, N * 9 // 10), slice(N * 9 // 10, None)

model = keras.Sequential(
    [
        layers.Input((QUESTION, len(CHARACTERS))),
        layers.LSTM(128),
        layers.RepeatVector(ANSWER),
        layers.LSTM(128, return_sequences=True),
        layers.Dense(len(CHARACTERS), activation="softmax"),
    ]
)
rate = keras.optimizers.schedules.CosineDecay(0.002, EPOCHS * -(-len(x[train]) // BATCH))
model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.summary()
start = time.perf_counter()
for epoch in range(EPOCHS):
    model.fit(x[train], y[train], batch_size=BATCH, epochs=1, verbose=0)
    if (epoch + 1) % 5 == 0 or epoch + 1 == EPOCHS:
        _, accuracy = model.evaluate(x[test], y[test], verbose=0)
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1:2}: {accuracy:.2%} of new characters right, {seconds:.1f} s")

guesses = model.predict(x[test], verbose=0).argmax(axis=-1)
exact = (guesses == y[test]).all(axis=1).mean()
print(f"{exact:.2%} of new sums right")
for (a, b), guess in zip(pairs[test][:8], guesses, strict=False):
    print(f"{a} + {b} = {''.join(CHARACTERS[code] for code in guess).strip()} ({a + b})")

"""Write verse, character by character, with a small transformer in the manner of GPT.

python examples/transformer_lm.py [--keras] [--quick] [--length N] [--picture surprise.png]

The text is "The Walrus and the Carpenter" by Lewis Carroll (1871), without its last verse. Two
blocks with causal attention read the last 48 characters and predict the next one after each of
them. The model then writes by drawing one character after the other from the predicted
probabilities. A temperature below 1 makes likely characters more likely. The picture, which needs
matplotlib, shows how many bits of information the model gets from each character of the last verse,
which it has not read. With --keras, Keras trains the same model: only the import changes. With
--quick, there is one epoch, of a quarter of the text.
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

POEM = """\
The sun was shining on the sea,
Shining with all his might:
He did his very best to make
The billows smooth and bright--
And this was odd, because it was
The middle of the night.

The moon was shining sulkily,
Because she thought the sun
Had got no business to be there
After the day was done--
"It's very rude of him," she said,
"To come and spoil the fun!"

The sea was wet as wet could be,
The sands were dry as dry.
You could not see a cloud, because
No cloud was in the sky:
No birds were flying overhead--
There were no birds to fly.

The Walrus and the Carpenter
Were walking close at hand;
They wept like anything to see
Such quantities of sand:
"If this were only cleared away,"
They said, "it would be grand!"

"If seven maids with seven mops
Swept it for half a year,
Do you suppose," the Walrus said,
"That they could get it clear?"
"I doubt it," said the Carpenter,
And shed a bitter tear.

"O Oysters, come and walk with us!"
The Walrus did beseech.
"A pleasant walk, a pleasant talk,
Along the briny beach:
We cannot do with more than four,
To give a hand to each."

The eldest Oyster looked at him,
But never a word he said:
The eldest Oyster winked his eye,
And shook his heavy head--
Meaning to say he did not choose
To leave the oyster-bed.

But four young Oysters hurried up,
All eager for the treat:
Their coats were brushed, their faces washed,
Their shoes were clean and neat--
And this was odd, because, you know,
They hadn't any feet.

Four other Oysters followed them,
And yet another four;
And thick and fast they came at last,
And more, and more, and more--
All hopping through the frothy waves,
And scrambling to the shore.

The Walrus and the Carpenter
Walked on a mile or so,
And then they rested on a rock
Conveniently low:
And all the little Oysters stood
And waited in a row.

"The time has come," the Walrus said,
"To talk of many things:
Of shoes--and ships--and sealing-wax--
Of cabbages--and kings--
And why the sea is boiling hot--
And whether pigs have wings."

"But wait a bit," the Oysters cried,
"Before we have our chat;
For some of us are out of breath,
And all of us are fat!"
"No hurry!" said the Carpenter.
They thanked him much for that.

"A loaf of bread," the Walrus said,
"Is what we chiefly need:
Pepper and vinegar besides
Are very good indeed--
Now if you're ready, Oysters dear,
We can begin to feed."

"But not on us!" the Oysters cried,
Turning a little blue.
"After such kindness, that would be
A dismal thing to do!"
"The night is fine," the Walrus said.
"Do you admire the view?

"It was so kind of you to come!
And you are very nice!"
The Carpenter said nothing but
"Cut us another slice:
I wish you were not quite so deaf--
I've had to ask you twice!"

"It seems a shame," the Walrus said,
"To play them such a trick,
After we've brought them out so far,
And made them trot so quick!"
The Carpenter said nothing but
"The butter's spread too thick!"

"I weep for you," the Walrus said:
"I deeply sympathize."
With sobs and tears he sorted out
Those of the largest size,
Holding his pocket-handkerchief
Before his streaming eyes.

"O Oysters," said the Carpenter,
"You've had a pleasant run!
Shall we be trotting home again?"
But answer came there none--
And this was scarcely odd, because
They'd eaten every one.
"""
STEPS, UNITS, HEADS, DROPOUT, BATCH = 48, 64, 4, 0.2, 32

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--keras", action="store_true", help="use Keras")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--length", type=int, default=300, help="characters to write")
parser.add_argument("--picture", type=Path)
options = parser.parse_args()
epochs, step = (1, 4) if options.quick else (8, 1)

characters = sorted(set(POEM))
codes = np.array([characters.index(character) for character in POEM], np.int32)
last_verse = POEM.rindex("\n\n") + 2
windows = np.lib.stride_tricks.sliding_window_view(codes[:last_verse], STEPS + 1)
x, y = windows[::step, :-1].copy(), windows[::step, 1:].copy()


def waves() -> np.ndarray:
    """Return sines and cosines of the positions, with wavelengths from 2π to 2π · 100."""
    angles = np.arange(STEPS)[:, np.newaxis] / 100 ** (np.arange(UNITS // 2) / (UNITS // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype("float32")


def block(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the output of a transformer block, which normalizes before each of its halves."""
    normalized = layers.LayerNormalization()(x)
    attention = layers.MultiHeadAttention(HEADS, UNITS // HEADS, dropout=DROPOUT)
    attended = attention(normalized, normalized, use_causal_mask=True)
    x = x + layers.Dropout(DROPOUT)(attended)
    hidden = layers.Dense(4 * UNITS, activation="gelu")(layers.LayerNormalization()(x))
    return x + layers.Dropout(DROPOUT)(layers.Dense(UNITS)(hidden))


keras.utils.set_random_seed(0)
tokens = keras.Input((STEPS,), dtype="int32")
initializer = keras.initializers.RandomNormal(stddev=1.0)
embedded = layers.Embedding(len(characters), UNITS, initializer)(tokens) + waves()
hidden = layers.LayerNormalization()(block(block(embedded)))
model = keras.Model(tokens, layers.Dense(len(characters), activation="softmax")(hidden))
rate = keras.optimizers.schedules.CosineDecay(0.003, decay_steps=epochs * -(-len(x) // BATCH))
model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
started = time.perf_counter()
history = model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
seconds = time.perf_counter() - started
print(f"{len(POEM):,} characters, {len(characters)} different ones, {seconds:.1f} s")
print("loss per character: " + ", ".join(f"{loss:.2f}" for loss in history.history["loss"]))


def write(start: str, length: int, temperature: float, rng: np.random.Generator) -> str:
    """Return `start`, which has `STEPS` characters, and `length` more characters."""
    text = [characters.index(character) for character in start]
    for _ in range(length):
        probabilities = model.predict_on_batch(np.array([text[-STEPS:]], np.int32))[0, -1]
        scores = np.log(probabilities) / temperature
        p = np.exp(scores - scores.max(), dtype=np.float64)
        text.append(int(rng.choice(len(p), p=p / p.sum())))
    return "".join(characters[code] for code in text)


for temperature in (0.5, 1.0):
    print(f"\nTemperature {temperature}:")
    print(write(POEM[:STEPS], options.length, temperature, np.random.default_rng(0)))

unread = range(last_verse, len(POEM))
p = model.predict(np.array([codes[i - STEPS : i] for i in unread]), verbose=0)[:, -1]
bits = -np.log2(p[np.arange(len(p)), codes[last_verse:]])
read = model.evaluate(x, y, verbose=0) / np.log(2)
print(f"\n{read:.2f} bits per character in the text, {bits.mean():.2f} in the last verse")

if options.picture:
    from matplotlib import pyplot as plt

    lines = POEM[last_verse:].splitlines(keepends=True)
    figure, axes = plt.subplots(len(lines), sharey=True, figsize=(8, 8), layout="constrained")
    for axis, line in zip(axes, lines, strict=True):
        axis.bar(range(len(line)), bits[: len(line)])
        axis.set_xticks(range(len(line)), list(line.replace("\n", "¶")), family="monospace")
        axis.set_xlim(-0.7, max(map(len, lines)) - 0.3)
        axis.tick_params(bottom=False)
        axis.spines[["top", "right"]].set_visible(False)
        bits = bits[len(line) :]
    figure.supylabel("bits")
    figure.savefig(options.picture)

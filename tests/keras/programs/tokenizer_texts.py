"""Tell positive from negative film reviews: a Tokenizer, padded sequences and an Embedding."""

import os

import numpy as np

from nnfast.keras import layers, models
from nnfast.keras.preprocessing.sequence import pad_sequences
from nnfast.keras.preprocessing.text import Tokenizer

texts, labels = [], []
for part in ("train", "test"):
    for label, label_type in enumerate(["neg", "pos"]):
        folder = os.path.join("aclImdb", part, label_type)
        for fname in sorted(os.listdir(folder)):
            with open(os.path.join(folder, fname), encoding="utf-8") as f:
                texts.append(f.read())
            labels.append(label)

maxlen = 40
max_words = 300

tokenizer = Tokenizer(num_words=max_words)
tokenizer.fit_on_texts(texts)
sequences = tokenizer.texts_to_sequences(texts)
word_index = tokenizer.word_index
print(f"Found {len(word_index)} unique tokens.")

data = pad_sequences(sequences, maxlen=maxlen)
one_hot_results = tokenizer.texts_to_matrix(texts, mode="tfidf")
labels = np.asarray(labels, dtype="float64")

indices = np.random.RandomState(0).permutation(len(data))
data, one_hot_results, labels = data[indices], one_hot_results[indices], labels[indices]
x_train, y_train = data[:200], labels[:200]
x_val, y_val = data[200:], labels[200:]

model = models.Sequential()
model.add(layers.Embedding(max_words, 8))
model.add(layers.Flatten())
model.add(layers.Dense(16, activation="relu"))
model.add(layers.Dense(1, activation="sigmoid"))
model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])
history = model.fit(x_train, y_train, epochs=15, batch_size=16, validation_data=(x_val, y_val))

linear = models.Sequential([layers.Dense(1, activation="sigmoid")])
linear.compile(optimizer="adam", loss="binary_crossentropy", metrics=["acc"])
linear.fit(one_hot_results[:200], y_train, epochs=20, batch_size=16)
acc = linear.evaluate(one_hot_results[200:], y_val)[1]

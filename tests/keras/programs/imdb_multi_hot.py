"""Tell positive from negative film reviews, each the set of its most frequent words."""

import matplotlib.pyplot as plt
import numpy as np

from nnfast.keras import layers, models
from nnfast.keras.datasets import imdb

(train_data, train_labels), (test_data, test_labels) = imdb.load_data(num_words=1000)

word_index = imdb.get_word_index()
reverse_word_index = {value: key for key, value in word_index.items()}
decoded_review = " ".join(reverse_word_index.get(i - 3, "?") for i in train_data[0])
print(decoded_review)


def vectorize_sequences(sequences, dimension=1000):
    results = np.zeros((len(sequences), dimension))
    for i, sequence in enumerate(sequences):
        results[i, sequence] = 1.0
    return results


x_train = vectorize_sequences(train_data)
x_test = vectorize_sequences(test_data)
y_train = np.asarray(train_labels).astype("float32")
y_test = np.asarray(test_labels).astype("float32")

model = models.Sequential()
model.add(layers.Dense(16, activation="relu", input_shape=(1000,)))
model.add(layers.Dense(16, activation="relu"))
model.add(layers.Dense(1, activation="sigmoid"))
model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])

x_val = x_train[:200]
partial_x_train = x_train[200:]
y_val = y_train[:200]
partial_y_train = y_train[200:]
history = model.fit(
    partial_x_train, partial_y_train, epochs=6, batch_size=64, validation_data=(x_val, y_val)
)

history_dict = history.history
epochs = range(1, len(history_dict["loss"]) + 1)
for key in ("loss", "accuracy"):
    plt.clf()
    plt.plot(epochs, history_dict[key], "bo", label=f"Training {key}")
    plt.plot(epochs, history_dict[f"val_{key}"], "b", label=f"Validation {key}")
    plt.xlabel("Epochs")
    plt.legend()
    plt.savefig(f"{key}.png")
plt.close()

results = model.evaluate(x_test, y_test)
print(model.predict(x_test)[:3])

"""Assign news to topics, with class indices and with one-hot targets."""

import numpy as np

from nnfast.keras import layers, models
from nnfast.keras.datasets import reuters
from nnfast.keras.utils import to_categorical

(train_data, train_labels), (test_data, test_labels) = reuters.load_data(num_words=1000)
print(len(train_data), len(test_data))


def vectorize_sequences(sequences, dimension=1000):
    results = np.zeros((len(sequences), dimension))
    for i, sequence in enumerate(sequences):
        results[i, sequence] = 1.0
    return results


x_train = vectorize_sequences(train_data)
x_test = vectorize_sequences(test_data)
one_hot_train_labels = to_categorical(train_labels, 46)
one_hot_test_labels = to_categorical(test_labels, 46)


def build_model():
    model = models.Sequential()
    model.add(layers.Dense(64, activation="relu", input_shape=(1000,)))
    model.add(layers.Dense(64, activation="relu"))
    model.add(layers.Dense(46, activation="softmax"))
    return model


model = build_model()
model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, one_hot_train_labels, epochs=8, batch_size=64, validation_split=0.2)
one_hot_results = model.evaluate(x_test, one_hot_test_labels)

model = build_model()
model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["acc"])
model.fit(x_train, train_labels, epochs=8, batch_size=64, verbose=2)
results = model.evaluate(x_test, test_labels)

predictions = model.predict(x_test)
print(predictions[0].shape, np.sum(predictions[0]), np.argmax(predictions[0]))

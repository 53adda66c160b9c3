"""Train on batches that a class of one's own makes."""

import math

import numpy as np

from nnfast import keras


class Digits(keras.utils.PyDataset):
    def __init__(self, x_set, y_set, batch_size, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y = x_set, y_set
        self.batch_size = batch_size
        self.indices = np.arange(len(x_set))
        self.epochs = 0
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, idx):
        low = idx * self.batch_size
        rows = self.indices[low : min(low + self.batch_size, len(self.x))]
        return self.x[rows].reshape(len(rows), -1) / 255.0, self.y[rows]

    def on_epoch_end(self):
        self.epochs += 1
        self.rng.shuffle(self.indices)


(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
model = keras.Sequential(
    [
        keras.Input((784,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
train = Digits(x_train, y_train, 32)
model.fit(train, epochs=5, validation_data=Digits(x_test, y_test, 32, workers=1), verbose=0)
loss, accuracy = model.evaluate(Digits(x_test, y_test, 50), verbose=0)

"""Train in a loop of one's own over the batches, with a progress bar."""

import numpy as np

from nnfast import keras
from nnfast.keras.utils import Progbar

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train = x_train.reshape(-1, 784).astype("float32") / 255.0
x_test = x_test.reshape(-1, 784).astype("float32") / 255.0

model = keras.Sequential(
    [
        keras.Input((784,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(0.002),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)

epochs = 5
batch_size = 32
batches = len(x_train) // batch_size
history = []
for epoch in range(epochs):
    print(f"Epoch {epoch + 1}/{epochs}")
    progbar = Progbar(target=batches)
    model.reset_metrics()
    order = np.random.permutation(len(x_train))
    for step in range(batches):
        rows = order[step * batch_size : (step + 1) * batch_size]
        loss, accuracy = model.train_on_batch(x_train[rows], y_train[rows])
        progbar.update(step + 1, values=[("loss", loss), ("acc", accuracy)])
    history.append(float(loss))

results = model.test_on_batch(x_test, y_test, return_dict=True)
test_accuracy = float(results["accuracy"])
first = model.predict_on_batch(x_test[:4])

"""Compute losses and metrics directly, as functions and as objects with a state."""

import numpy as np

from nnfast import keras

y_true = np.array([[0.0, 1.0], [0.0, 0.0]])
y_pred = np.array([[0.6, 0.4], [0.4, 0.6]])
bce = keras.losses.BinaryCrossentropy()
print(float(bce(y_true, y_pred)), float(bce(y_true, y_pred, sample_weight=np.array([1.0, 0.0]))))
none = keras.losses.BinaryCrossentropy(reduction="none")
print(np.array(none(y_true, y_pred)))
print(np.array(keras.losses.mean_squared_error(y_true, y_pred)))
values = [
    float(bce(y_true, y_pred)),
    float(keras.losses.MeanSquaredError()(y_true, y_pred)),
    float(np.mean(np.array(keras.losses.mean_absolute_error(y_true, y_pred)))),
    float(keras.losses.Huber(delta=0.5)(y_true, y_pred)),
]

rng = np.random.default_rng(0)
x = rng.normal(size=(300, 6)).astype("float32")
y = (x[:, 0] - x[:, 1] > 0).astype("int32")
model = keras.Sequential(
    [
        keras.Input((6,)),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x[:200], y[:200], epochs=20, verbose=0)

metric = keras.metrics.SparseCategoricalAccuracy()
mean_loss = keras.metrics.Mean(name="mean_loss")
for start in range(200, 300, 25):
    rows = slice(start, start + 25)
    probabilities = model.predict(x[rows], verbose=0)
    metric.update_state(y[rows], probabilities)
    mean_loss.update_state(keras.losses.sparse_categorical_crossentropy(y[rows], probabilities))
accuracy = float(metric.result())
loss = float(mean_loss.result())
evaluated = model.evaluate(x[200:], y[200:], verbose=0)
metric.reset_state()
cleared = float(metric.result())

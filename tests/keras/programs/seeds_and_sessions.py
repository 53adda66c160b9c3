"""Make training reproducible, and ask for devices as programs for GPUs do."""

import os
import random

import numpy as np

from nnfast.keras import tf

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
gpus = tf.config.list_physical_devices("GPU")
print("Num GPUs Available:", len(gpus))
for gpu in gpus:
    tf.config.experimental.set_memory_growth(gpu, True)

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 8)).astype("float32")
y = (x.sum(axis=1) > 0).astype("float32")


def train():
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(42)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(16, activation="relu", input_shape=(8,)),
            tf.keras.layers.Dropout(0.2),
            tf.keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=tf.keras.optimizers.Adam(learning_rate=0.01),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(x, y, epochs=10, verbose=0)
    return history.history, model.predict(x, verbose=0)


first_history, first_prediction = train()
second_history, second_prediction = train()
identical = first_history == second_history and np.array_equal(first_prediction, second_prediction)

random.seed(1)
np.random.seed(1)
tf.random.set_seed(1)
print("version", tf.__version__)
accuracy = first_history["accuracy"][-1]

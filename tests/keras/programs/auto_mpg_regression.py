"""Predict the fuel efficiency of cars from a CSV file."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nnfast.keras import tf

keras = tf.keras
layers = tf.keras.layers

raw_dataset = pd.read_csv("auto-mpg.csv", na_values="?")
dataset = raw_dataset.copy().dropna()
dataset["Origin"] = dataset["Origin"].map({1: "USA", 2: "Europe", 3: "Japan"})
dataset = pd.get_dummies(dataset, columns=["Origin"], prefix="", prefix_sep="")

train_dataset = dataset.sample(frac=0.8, random_state=0)
test_dataset = dataset.drop(train_dataset.index)
train_features = train_dataset.copy()
test_features = test_dataset.copy()
train_labels = train_features.pop("MPG")
test_labels = test_features.pop("MPG")

normalizer = layers.Normalization(axis=-1)
normalizer.adapt(np.array(train_features.astype("float64")))
print(np.array(normalizer.mean))

test_results = {}
linear_model = keras.Sequential([normalizer, layers.Dense(units=1)])
linear_model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.1), loss="mean_absolute_error")
linear_model.fit(
    train_features.astype("float64"), train_labels, epochs=40, verbose=0, validation_split=0.2
)
test_results["linear_model"] = linear_model.evaluate(
    test_features.astype("float64"), test_labels, verbose=0
)


def build_and_compile_model(norm):
    model = keras.Sequential(
        [
            norm,
            layers.Dense(32, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(1),
        ]
    )
    model.compile(loss="mean_absolute_error", optimizer=keras.optimizers.Adam(0.01))
    return model


dnn_model = build_and_compile_model(normalizer)
history = dnn_model.fit(
    train_features.astype("float64"), train_labels, validation_split=0.2, verbose=0, epochs=60
)


def plot_loss(history):
    plt.plot(history.history["loss"], label="loss")
    plt.plot(history.history["val_loss"], label="val_loss")
    plt.xlabel("Epoch")
    plt.ylabel("Error [MPG]")
    plt.legend()
    plt.grid(True)
    plt.savefig("loss.png")
    plt.close()


plot_loss(history)
test_results["dnn_model"] = dnn_model.evaluate(
    test_features.astype("float64"), test_labels, verbose=0
)
print(pd.DataFrame(test_results, index=["Mean absolute error [MPG]"]).T)

test_predictions = dnn_model.predict(test_features.astype("float64")).flatten()
error = test_predictions - np.array(test_labels)
r2 = 1 - np.mean(error**2) / np.var(test_labels)

"""Predict prices of houses, validated on each of four folds."""

import numpy as np

from nnfast.keras import layers, models
from nnfast.keras.datasets import boston_housing

(train_data, train_targets), (test_data, test_targets) = boston_housing.load_data()

mean = train_data.mean(axis=0)
train_data -= mean
std = train_data.std(axis=0)
train_data /= std
test_data -= mean
test_data /= std


def build_model():
    model = models.Sequential()
    model.add(layers.Dense(32, activation="relu", input_shape=(train_data.shape[1],)))
    model.add(layers.Dense(32, activation="relu"))
    model.add(layers.Dense(1))
    model.compile(optimizer="rmsprop", loss="mse", metrics=["mae"])
    return model


k = 4
num_val_samples = len(train_data) // k
num_epochs = 20
all_mae_histories = []
for i in range(k):
    print("processing fold #", i)
    fold = slice(i * num_val_samples, (i + 1) * num_val_samples)
    val_data = train_data[fold]
    val_targets = train_targets[fold]
    partial_train_data = np.concatenate([train_data[: fold.start], train_data[fold.stop :]], axis=0)
    partial_train_targets = np.concatenate(
        [train_targets[: fold.start], train_targets[fold.stop :]], axis=0
    )
    model = build_model()
    history = model.fit(
        partial_train_data,
        partial_train_targets,
        validation_data=(val_data, val_targets),
        epochs=num_epochs,
        batch_size=16,
        verbose=0,
    )
    all_mae_histories.append(history.history["val_mae"])

average_mae_history = [np.mean([x[i] for x in all_mae_histories]) for i in range(num_epochs)]

model = build_model()
model.fit(train_data, train_targets, epochs=num_epochs, batch_size=16, verbose=0)
test_mse_score, test_mae_score = model.evaluate(test_data, test_targets)
r2 = 1 - test_mse_score / np.var(test_targets)

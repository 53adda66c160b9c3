"""Predict a temperature from windows of the past, cut from a table by a dataset."""

import numpy as np

from nnfast import keras
from nnfast.keras import layers

rng = np.random.default_rng(0)
t = np.arange(1200)
temperature = np.sin(t / 10) + 0.3 * np.sin(t / 37) + 0.05 * rng.normal(size=len(t))
raw_data = np.stack([temperature, np.cos(t / 10), rng.normal(size=len(t))], axis=1)

num_train_samples = 600
num_val_samples = 300
mean = raw_data[:num_train_samples].mean(axis=0)
std = raw_data[:num_train_samples].std(axis=0)
raw_data = (raw_data - mean) / std

sampling_rate = 2
sequence_length = 12
delay = sampling_rate * (sequence_length + 3)


def windows(start, end):
    return keras.utils.timeseries_dataset_from_array(
        raw_data[:-delay],
        targets=temperature[delay:],
        sampling_rate=sampling_rate,
        sequence_length=sequence_length,
        shuffle=start == 0,
        batch_size=32,
        start_index=start,
        end_index=end,
    )


train_dataset = windows(0, num_train_samples)
val_dataset = windows(num_train_samples, num_train_samples + num_val_samples)
test_dataset = windows(num_train_samples + num_val_samples, None)
for samples, targets in train_dataset:
    print("samples shape:", samples.shape)
    print("targets shape:", targets.shape)
    break

model = keras.Sequential(
    [
        keras.Input(shape=(sequence_length, raw_data.shape[-1])),
        layers.Conv1D(8, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(16, activation="relu"),
        layers.Dense(1),
    ]
)
checkpoint = keras.callbacks.ModelCheckpoint("windows.keras", save_best_only=True)
model.compile(optimizer="rmsprop", loss="mse", metrics=["mae"])
history = model.fit(
    train_dataset, epochs=15, validation_data=val_dataset, callbacks=[checkpoint], verbose=0
)
model = keras.models.load_model("windows.keras")
mse, mae = model.evaluate(test_dataset)
r2 = 1 - mse / np.var(temperature)

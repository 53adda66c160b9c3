"""Train with many callbacks at once."""

import json

import numpy as np

from nnfast import keras
from nnfast.keras.callbacks import (
    BackupAndRestore,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TerminateOnNaN,
)

rng = np.random.default_rng(0)
x = rng.normal(size=(400, 10))
y = (x[:, :3].sum(axis=1) > 0).astype("float32")


def build():
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=0.5),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


class LossHistory(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])


json_log = open("loss_log.json", mode="w", buffering=1)
lines = LambdaCallback(
    on_epoch_end=lambda epoch, logs: json_log.write(
        json.dumps({"epoch": epoch, "loss": float(logs["loss"])}) + "\n"
    ),
    on_train_end=lambda logs: json_log.close(),
)
model = build()
batch_losses = LossHistory()
plateau = model.fit(
    x,
    y,
    batch_size=20,
    epochs=30,
    validation_split=0.25,
    callbacks=[
        EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True),
        ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=2, min_lr=0.001),
        TerminateOnNaN(),
        lines,
        batch_losses,
    ],
    verbose=0,
)


def schedule(epoch, lr):
    return lr if epoch < 3 else lr * 0.5


model = build()
scheduled = model.fit(
    x,
    y,
    epochs=6,
    callbacks=[LearningRateScheduler(schedule), BackupAndRestore(backup_dir="backup")],
    verbose=0,
)
final_rate = float(model.optimizer.learning_rate)
accuracy = model.evaluate(x, y, verbose=0)[1]

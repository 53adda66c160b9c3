"""Compare models of several sizes, with a decaying learning rate, L2 penalties and dropout."""

import numpy as np
import pandas as pd

from nnfast.keras import callbacks, layers, losses, metrics, models, optimizers, regularizers

data = pd.read_csv("higgs.csv", header=None).to_numpy("float32")
features, labels = data[:, 1:], data[:, :1]
FEATURES = features.shape[1]
N_VALIDATION = 200
BATCH_SIZE = 50
validate_x, train_x = features[:N_VALIDATION], features[N_VALIDATION:]
validate_y, train_y = labels[:N_VALIDATION], labels[N_VALIDATION:]
STEPS_PER_EPOCH = len(train_x) // BATCH_SIZE

lr_schedule = optimizers.schedules.InverseTimeDecay(
    0.005, decay_steps=STEPS_PER_EPOCH * 1000, decay_rate=1, staircase=False
)
steps = np.linspace(0, 100000)
rates = [float(lr_schedule(step)) for step in steps]


def get_callbacks(name):
    return [
        callbacks.EarlyStopping(monitor="val_binary_crossentropy", patience=8),
        callbacks.CSVLogger(f"{name}.csv"),
    ]


def compile_and_fit(model, name, schedule=lr_schedule, max_epochs=30):
    model.compile(
        optimizer=optimizers.Adam(schedule),
        loss=losses.BinaryCrossentropy(from_logits=True),
        metrics=[
            "accuracy",
            metrics.BinaryCrossentropy(from_logits=True, name="binary_crossentropy"),
        ],
    )
    model.summary()
    return model.fit(
        train_x,
        train_y,
        batch_size=BATCH_SIZE,
        epochs=max_epochs,
        validation_data=(validate_x, validate_y),
        callbacks=get_callbacks(name),
        verbose=0,
    )


size_histories = {}
size_histories["tiny"] = compile_and_fit(
    models.Sequential(
        [layers.Dense(8, activation="elu", input_shape=(FEATURES,)), layers.Dense(1)]
    ),
    "tiny",
)
size_histories["l2"] = compile_and_fit(
    models.Sequential(
        [
            layers.Dense(
                32,
                activation="elu",
                kernel_regularizer=regularizers.l2(0.001),
                input_shape=(FEATURES,),
            ),
            layers.Dense(32, activation="elu", kernel_regularizer=regularizers.l2(0.001)),
            layers.Dense(1),
        ]
    ),
    "l2",
    optimizers.schedules.ExponentialDecay(0.005, STEPS_PER_EPOCH, 0.95),
)
size_histories["dropout"] = compile_and_fit(
    models.Sequential(
        [
            layers.Dense(32, activation="elu", input_shape=(FEATURES,)),
            layers.Dropout(0.3),
            layers.Dense(32, activation="elu"),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    ),
    "dropout",
)
best = {name: max(h.history["val_accuracy"]) for name, h in size_histories.items()}
accuracy = min(best.values())
logged = pd.read_csv("l2.csv")

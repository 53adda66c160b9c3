"""Detect fraud in imbalanced data, with an initial bias and class weights."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from nnfast import keras

raw_df = pd.read_csv("creditcard.csv")
neg, pos = np.bincount(raw_df["Class"])
total = neg + pos
print(f"Examples:\n    Total: {total}\n    Positive: {pos} ({100 * pos / total:.2f}% of total)\n")

cleaned_df = raw_df.copy()
cleaned_df.pop("Time")
cleaned_df["Log Amount"] = np.log(cleaned_df.pop("Amount") + 0.001)
train_df, test_df = train_test_split(cleaned_df, test_size=0.2, random_state=0)
train_df, val_df = train_test_split(train_df, test_size=0.2, random_state=0)
train_labels = np.array(train_df.pop("Class")).reshape(-1, 1)
val_labels = np.array(val_df.pop("Class")).reshape(-1, 1)
test_labels = np.array(test_df.pop("Class")).reshape(-1, 1)

scaler = StandardScaler()
train_features = np.clip(scaler.fit_transform(train_df), -5, 5)
val_features = np.clip(scaler.transform(val_df), -5, 5)
test_features = np.clip(scaler.transform(test_df), -5, 5)

METRICS = [
    keras.metrics.BinaryCrossentropy(name="cross entropy"),
    keras.metrics.MeanSquaredError(name="Brier score"),
    keras.metrics.TruePositives(name="tp"),
    keras.metrics.FalsePositives(name="fp"),
    keras.metrics.TrueNegatives(name="tn"),
    keras.metrics.FalseNegatives(name="fn"),
    keras.metrics.BinaryAccuracy(name="accuracy"),
    keras.metrics.Precision(name="precision"),
    keras.metrics.Recall(name="recall"),
    keras.metrics.AUC(name="auc"),
    keras.metrics.AUC(name="prc", curve="PR"),
]


def make_model(metrics=METRICS, output_bias=None):
    if output_bias is not None:
        output_bias = keras.initializers.Constant(output_bias)
    model = keras.Sequential(
        [
            keras.layers.Input(shape=(train_features.shape[-1],)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid", bias_initializer=output_bias or "zeros"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=1e-2),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=metrics,
    )
    return model


initial_bias = float(np.log([pos / neg])[0])
model = make_model(output_bias=initial_bias)
initial_loss = model.evaluate(train_features, train_labels, batch_size=512, verbose=0)[0]
print(f"Loss: {initial_loss:0.4f}")
model.save_weights("initial.weights.h5")

early_stopping = keras.callbacks.EarlyStopping(
    monitor="val_prc", verbose=1, patience=10, mode="max", restore_best_weights=True
)
weight_for_0 = (1 / neg) * (total / 2.0)
weight_for_1 = (1 / pos) * (total / 2.0)
class_weight = {0: weight_for_0, 1: weight_for_1}

model.load_weights("initial.weights.h5")
history = model.fit(
    train_features,
    train_labels,
    batch_size=128,
    epochs=20,
    callbacks=[early_stopping],
    validation_data=(val_features, val_labels),
    class_weight=class_weight,
    verbose=0,
)
results = model.evaluate(test_features, test_labels, batch_size=512, verbose=0)
named_results = dict(zip(model.metrics_names, results))
all_results = model.evaluate(test_features, test_labels, verbose=0, return_dict=True)
for name, value in all_results.items():
    print(name, ":", value)

test_predictions = model.predict(test_features, batch_size=512)
cm = confusion_matrix(test_labels, test_predictions > 0.5)
auc = all_results["auc"]

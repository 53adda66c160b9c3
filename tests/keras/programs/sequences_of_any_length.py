"""Classify sequences of different lengths, in batches of equal lengths."""

import numpy as np

from nnfast import keras
from nnfast.keras import layers

rng = np.random.default_rng(0)
lengths = rng.integers(4, 16, size=600)
labels = rng.integers(0, 2, size=600)
sequences = [
    (rng.normal(size=(length, 2)) + 2.5 * label).astype("float32")
    for length, label in zip(lengths, labels)
]


class Buckets(keras.utils.PyDataset):
    """Batches of sequences that are equally long."""

    def __init__(self, rows, batch_size=16, **kwargs):
        super().__init__(**kwargs)
        by_length = [rows[lengths[rows] == length] for length in np.unique(lengths[rows])]
        self.batches = [
            same[start : start + batch_size]
            for same in by_length
            for start in range(0, len(same), batch_size)
        ]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, idx):
        rows = self.batches[idx]
        return np.stack([sequences[row] for row in rows]), labels[rows]


inputs = keras.Input(shape=(None, 2))
x = layers.Conv1D(16, 3, padding="causal", activation="relu")(inputs)
x = layers.GRU(16, return_sequences=True)(x)
x = layers.GlobalAveragePooling1D()(x)
outputs = layers.Dense(1, activation="sigmoid")(x)
model = keras.Model(inputs, outputs)
model.summary()
model.compile(
    optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=["accuracy"]
)
train, test = Buckets(np.arange(500)), Buckets(np.arange(500, 600))
history = model.fit(train, epochs=8, validation_data=test, verbose=0)
loss, accuracy = model.evaluate(test, verbose=0)

model.save("lengths.keras")
loaded = keras.models.load_model("lengths.keras")
single = np.array([loaded.predict(s[None], verbose=0)[0, 0] for s in sequences[500:]])
hits = float(np.mean((single > 0.5) == labels[500:]))

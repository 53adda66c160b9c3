"""A wide & deep network on the California housing data: two inputs, and two outputs with losses.

python examples/wide_and_deep.py PATH [--keras]

PATH is that of california-housing.csv.gz, a table of StatLib's data with a header.

With --keras, Keras trains the same model: only the import changes.
"""

import csv
import gzip
import sys
import time
from pathlib import Path

import numpy as np

if "--keras" in sys.argv:
    import keras
else:
    from nnfast import keras

OCEAN = ["<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN"]
EPOCHS = 30


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return 13 standardized features, and the house values in 100,000 dollars."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    target = np.array([float(row.pop("median_house_value")) for row in rows])
    places = [row.pop("ocean_proximity") for row in rows]
    ocean = np.array([[place == name for name in OCEAN] for place in places])
    numbers = np.array([[float(value or "nan") for value in row.values()] for row in rows])
    numbers = np.where(np.isnan(numbers), np.nanmedian(numbers, axis=0), numbers)
    numbers[:, 3:7] = np.log(numbers[:, 3:7])  # rooms, bedrooms, population and households
    features = np.column_stack([numbers, ocean])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return features.astype("float32"), (target / 1e5).astype("float32")


def wide_and_deep() -> keras.Model:
    """Return a network whose output also reads the features directly, and a second output."""
    wide = keras.Input((13,), name="wide")
    deep = keras.Input((13,), name="deep")
    hidden = keras.layers.Dense(30, activation="relu")(deep)
    hidden = keras.layers.Dense(30, activation="relu")(hidden)
    value = keras.layers.Dense(1, name="value")(keras.layers.concatenate([wide, hidden]))
    expensive = keras.layers.Dense(1, activation="sigmoid", name="expensive")(hidden)
    model = keras.Model(inputs=[wide, deep], outputs=[value, expensive])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.003),
        loss={"value": "mse", "expensive": "binary_crossentropy"},
        loss_weights={"value": 0.9, "expensive": 0.1},
        metrics={"value": ["root_mean_squared_error"], "expensive": ["accuracy"]},
    )
    return model


paths = [argument for argument in sys.argv[1:] if argument != "--keras"]
if len(paths) != 1 or not Path(paths[0]).is_file():
    sys.exit(f"Pass the path of california-housing.csv.gz as an argument; received {paths}")
X, y = load(Path(paths[0]))
order = np.random.default_rng(0).permutation(len(y))
X, y = X[order], y[order]
n = len(y) * 4 // 5
targets = {"value": y, "expensive": (y > np.median(y)).astype("float32")}

keras.utils.set_random_seed(0)
model = wide_and_deep()
model.summary()
start = time.perf_counter()
model.fit(
    {"wide": X[:n], "deep": X[:n]},
    {name: values[:n] for name, values in targets.items()},
    epochs=EPOCHS,
    batch_size=32,
    verbose=0,
)
seconds = time.perf_counter() - start
results = model.evaluate(
    {"wide": X[n:], "deep": X[n:]},
    {name: values[n:] for name, values in targets.items()},
    verbose=0,
    return_dict=True,
)
linear = np.column_stack([X, np.ones(len(y))])
weights, *_ = np.linalg.lstsq(linear[:n], y[:n], rcond=None)
error = np.sqrt(np.mean((linear[n:] @ weights - y[n:]) ** 2))
print(f"{EPOCHS} epochs of {n} rows in {seconds:.2f} s")
print(f"RMSE {results['value_root_mean_squared_error']:.3f}; linear regression {error:.3f}")
print(f"expensive or not: {results['expensive_accuracy']:.1%} right")

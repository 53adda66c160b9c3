"""Forecast the temperature of the next day from the last five, with windows of 120 hours.

python examples/forecasting.py [--keras] [--quick] [--seeds N]

The weather is made up: the seasons, the day, and highs and lows that last for some days, which
pressure and humidity announce. With --keras, Keras trains the same model: only the import changes.
With --quick, there are few windows.
"""

import argparse
import sys
import time

import numpy as np

if "--keras" in sys.argv:
    import keras
else:
    from nnfast import keras

WINDOW, AHEAD = 120, 24

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--keras", action="store_true", help="use Keras")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--seeds", type=int, default=1)
options = parser.parse_args()
hours, epochs, batch_size = (1500, 5, 32) if options.quick else (3 * 365 * 24, 10, 256)


def weather(hours: int, rng: np.random.Generator) -> np.ndarray:
    """Return columns of temperature, pressure, humidity, and the time of day."""
    system = np.zeros(hours)  # a damped oscillation with a period of about six days
    for t in range(2, hours):
        system[t] = 1.986 * system[t - 1] - 0.988 * system[t - 2] + rng.normal(0, 0.02)
    t = np.arange(hours)
    day, year = 2 * np.pi * t / 24, 2 * np.pi * t / (365 * 24)
    slope = np.gradient(system)
    noise = rng.normal(0, 0.3, (3, hours))
    temperature = 10 - 8 * np.cos(year) - 4 * np.cos(day - 0.6) + 4 * system + noise[0]
    pressure = 1013 - 150 * slope + noise[1]
    humidity = 70 - 8 * system + 10 * np.cos(day) + noise[2]
    return np.stack([temperature, pressure, humidity, np.sin(day), np.cos(day)], axis=1)


def windows(table: np.ndarray, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows that begin in rows begin … end - 1, and the temperatures to predict."""
    x = np.lib.stride_tricks.sliding_window_view(table[begin : end + WINDOW - 1], WINDOW, axis=0)
    last = WINDOW - 1 + AHEAD
    return x.transpose(0, 2, 1).copy(), table[begin + last : end + last, 0]


def forecaster(features: int, steps: int) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((WINDOW, features)),
            keras.layers.LSTM(32),
            keras.layers.Dense(1),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(0.003, decay_steps=steps)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=rate), loss="mse")
    return model


table = weather(hours, np.random.default_rng(0))
last = hours - WINDOW - AHEAD + 1
n = last * 3 // 4
deviation = table[:n].std(axis=0)
table = ((table - table[:n].mean(axis=0)) / deviation).astype("float32")
x, y = windows(table, 0, n)
# Validation begins where no window shares an hour with those for training.
x_val, y_val = windows(table, n + WINDOW + AHEAD, last)

losses = []
for seed in range(options.seeds):
    keras.utils.set_random_seed(seed)
    model = forecaster(x.shape[2], epochs * -(-len(x) // batch_size))
    start = time.perf_counter()
    model.fit(x, y, batch_size=batch_size, epochs=epochs, validation_data=(x_val, y_val), verbose=0)
    seconds = time.perf_counter() - start
    losses.append(model.evaluate(x_val, y_val, batch_size=batch_size, verbose=0))
    print(f"seed {seed}: validation loss {losses[-1]:.4f}, {seconds:.2f} s")
naive = np.mean((x_val[:, -1, 0] - y_val) ** 2)
print(f"{len(x)} windows, mean of the validation losses {np.mean(losses):.4f}")
print(f"the temperature of the hour before as the forecast: {naive:.4f}")
error = np.sqrt(np.mean(losses)) * deviation[0]
print(f"the forecasts are {error:.1f} degrees off (root of the mean square)")

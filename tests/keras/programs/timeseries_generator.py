"""Predict the next values of a series from batches that a generator cuts out of it."""

import numpy as np

from nnfast.keras.layers import Dense, Flatten
from nnfast.keras.models import Sequential
from nnfast.keras.preprocessing.sequence import TimeseriesGenerator

series = np.sin(np.arange(400) / 8).reshape(-1, 1)
n_input = 10
generator = TimeseriesGenerator(series[:300], series[:300], length=n_input, batch_size=16)
print("Samples:", len(generator))
x, y = generator[0]
print(x.shape, y.shape)

model = Sequential()
model.add(Flatten(input_shape=(n_input, 1)))
model.add(Dense(32, activation="relu"))
model.add(Dense(1))
model.compile(optimizer="adam", loss="mse")
history = model.fit(generator, epochs=20, verbose=0)

tested = TimeseriesGenerator(series[300:], series[300:], length=n_input, batch_size=16)
mse = model.evaluate(tested, verbose=0)
r2 = 1 - mse / np.var(series)
yhat = model.predict(series[-n_input:].reshape(1, n_input, 1), verbose=0)

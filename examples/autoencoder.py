"""Compress 64 pixels into 16 numbers, with a smaller error than principal components."""

import numpy as np

import nnfast
from nnfast.datasets import load_digits
from nnfast.layers import Dense, Input

x, _ = load_digits()
x = x[np.random.default_rng(0).permutation(len(x))]
train, test = x[:1437], x[1437:]

nnfast.set_seed(0)
model = nnfast.Sequential(
    [Input((64,)), Dense(16, activation="tanh"), Dense(64, activation="sigmoid")]
)
model.compile(nnfast.optimizers.Adam(0.003), loss="mean_squared_error")
model.fit(train, train, epochs=200, batch_size=32, verbose=0)

mean = train.mean(axis=0)
components = np.linalg.svd(train - mean, full_matrices=False)[2][:16]
projected = (test - mean) @ components.T @ components + mean
print(f"autoencoder: {model.evaluate(test, test, verbose=0):.5f}")
print(f"16 principal components: {np.mean((projected - test) ** 2):.5f}")

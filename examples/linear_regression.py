"""Recover y = 3x from noisy samples, and y = a·x₁ + b·x₂ + c from four rows."""

import numpy as np

import nnfast
from nnfast.layers import Dense

nnfast.set_seed(0)
rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, 500)
y = 3 * x + rng.normal(0, 0.1, 500)

model = nnfast.Sequential([Dense(1, input_dim=1)])
model.compile(nnfast.optimizers.Adam(0.01), loss="mean_squared_error")
model.fit(x, y, batch_size=10, epochs=100, verbose=0)
w, b = model.get_weights()
print(f"y = {w[0, 0]:.3f} x + {b[0]:.3f}")

table = np.array([[1, 2], [2, 3], [3, 4], [4, 5]])
sums = np.array([3, 5, 7, 9])
for name, batch_size in (("full batch", 4), ("mini-batch", 2), ("stochastic", 1)):
    model = nnfast.Sequential([Dense(1, input_dim=2)])
    model.compile(nnfast.optimizers.SGD(0.01), loss="mean_squared_error")
    history = model.fit(table, sums, batch_size=batch_size, epochs=1000, verbose=0)
    print(f"{name}: loss {history.history['loss'][-1]:.1e}, prediction for (5, 6): "
          f"{model.predict([[5, 6]], verbose=0)[0, 0]:.3f}")  # fmt: skip

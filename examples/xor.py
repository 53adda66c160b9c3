"""Train a 2-4-1 network on the exclusive or."""

import numpy as np

import nnfast
from nnfast.layers import Dense, Input

x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([0, 1, 1, 0])

nnfast.set_seed(0)
model = nnfast.Sequential(
    [Input((2,)), Dense(4, activation="tanh"), Dense(1, activation="sigmoid")]
)
model.compile(nnfast.optimizers.SGD(0.5), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=3000, batch_size=4, verbose=0)

loss, accuracy = model.evaluate(x, y, verbose=0)
print(f"loss {loss:.4f}, accuracy {accuracy:.2f}")
for row, p in zip(x, model.predict(x, verbose=0)[:, 0], strict=True):
    print(f"{row[0]} xor {row[1]} = {p:.3f}")

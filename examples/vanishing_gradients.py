"""Recall a symbol after 100 steps: SimpleRNN's gradients vanish on the way, an LSTM's need not.

python examples/vanishing_gradients.py [--quick] [--picture gradients.png]

The first step shows one of four symbols, and random numbers follow. After the last step, the
network names the symbol. In every step back, the gradient of an LSTM's state is multiplied by the
forget gate σ(b), where b is its bias. With Keras' b = 1, 0.73¹⁰⁰ is left of it after 100 steps;
with b = 4, 0.98¹⁰⁰ = 0.16. The picture, which needs matplotlib, shows the gradients of the loss
with respect to the input of each step, before training. With --quick, there are few rows.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import nnfast
from nnfast.layers import LSTM, Dense, Input, SimpleRNN

STEPS, SYMBOLS, DISTRACTORS, UNITS = 100, 4, 4, 32

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--quick", action="store_true")
parser.add_argument("--picture", type=Path)
options = parser.parse_args()
n, epochs = (400, 1) if options.quick else (4000, 15)


def sequences(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return n sequences that begin with a symbol, and the symbols."""
    symbols = rng.integers(0, SYMBOLS, n)
    x = np.zeros((n, STEPS, SYMBOLS + DISTRACTORS), np.float32)
    x[np.arange(n), 0, symbols] = 1
    x[:, :, SYMBOLS:] = rng.normal(size=(n, STEPS, DISTRACTORS))
    return x, symbols


def network(layer: SimpleRNN | LSTM) -> nnfast.Sequential:
    model = nnfast.Sequential(
        [
            Input((STEPS, SYMBOLS + DISTRACTORS)),
            layer,
            Dense(SYMBOLS, activation="softmax"),
        ]
    )
    model.compile(
        nnfast.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def with_forget_bias(model: nnfast.Sequential, bias: float) -> nnfast.Sequential:
    """Set the bias of the LSTM's forget gate, the second of its four gates."""
    kernel, recurrent_kernel, biases = model.layers[0].get_weights()
    biases[UNITS : 2 * UNITS] = bias
    model.layers[0].set_weights([kernel, recurrent_kernel, biases])
    return model


rng = np.random.default_rng(0)
x, y = sequences(n, rng)
x_test, y_test = sequences(1000, rng)
nnfast.set_seed(0)
models = {
    "SimpleRNN": network(SimpleRNN(UNITS)),
    "LSTM, forget bias 1": network(LSTM(UNITS)),
    "LSTM, forget bias 4": with_forget_bias(network(LSTM(UNITS)), 4.0),
}
norms, accuracies = {}, {}
for name, model in models.items():
    gradients = model.input_gradient(x_test, y_test)
    norms[name] = np.linalg.norm(gradients, axis=2).mean(axis=0)
    started = time.perf_counter()
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - started
    _, accuracies[name] = model.evaluate(x_test, y_test, verbose=0)
    print(f"{name:20} accuracy {accuracies[name]:.3f}, {seconds:5.2f} s")
print("\nMean norm of the gradient before training, at steps 1, 26, 51, 76 and 100:")
for name, values in norms.items():
    print(f"{name:20} " + "  ".join(f"{values[step]:.0e}" for step in (0, 25, 50, 75, 99)))

if options.picture:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(layout="constrained")
    for name, values in norms.items():
        axes.semilogy(np.arange(1, STEPS + 1), values, label=name)
    axes.set(xlabel="step", ylabel="mean norm of the loss's gradient")
    axes.legend()
    figure.savefig(options.picture)

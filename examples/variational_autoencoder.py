"""Learn the distribution of handwritten digits, and draw new ones with the decoder."""

import numpy as np

import nnfast
from nnfast.datasets import load_digits
from nnfast.layers import Activation, AddLoss, Dense, Input, Sampling

x, _ = load_digits()
x = x[np.random.default_rng(0).permutation(len(x))]
train, test = x[:1437], x[1437:]

nnfast.set_seed(0)
inputs = Input((64,))
h = Dense(64, activation="relu")(inputs)
z_mean, z_log_var = Dense(8, name="z_mean")(h), Dense(8, name="z_log_var")(h)
z = Sampling()([z_mean, z_log_var])
# The Kullback-Leibler divergence of the code from a standard normal distribution. The loss of the
# reconstruction is a mean over 64 pixels, so the divergence is divided by 64, too.
kl = 0.5 * (z_mean**2 + Activation("exponential")(z_log_var) - 1 - z_log_var)
z = AddLoss(1 / 64)([z, kl])

decoder = nnfast.Sequential(
    [Input((8,)), Dense(64, activation="relu"), Dense(64, activation="sigmoid")]
)
model = nnfast.Model(inputs, decoder(z))
model.compile(nnfast.optimizers.Adam(0.003), loss="binary_crossentropy")
model.fit(train, train, epochs=60, batch_size=32, verbose=0)
mean = np.clip(train.mean(axis=0), 0.001, 0.999)
entropy = -(test * np.log(mean) + (1 - test) * np.log(1 - mean)).sum(axis=1).mean()
print(f"variational autoencoder: {64 * model.evaluate(test, test, verbose=0):.2f} per digit")
print(f"mean of all digits: {entropy:.2f} per digit")

# Draw codes from a standard normal distribution, and decode them.
digits = decoder.predict(np.random.default_rng(1).normal(size=(6, 8)))
for row in digits.reshape(6, 8, 8).transpose(1, 0, 2):
    print("  ".join("".join(" .:*#"[int(4.99 * pixel)] * 2 for pixel in part) for part in row))

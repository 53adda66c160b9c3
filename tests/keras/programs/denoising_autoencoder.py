"""Remove noise from handwritten digits; the encoder is a separate model."""

import numpy as np

from nnfast.keras.datasets import mnist
from nnfast.keras.layers import Dense, Input
from nnfast.keras.models import Sequential

(x_train, _), (x_test, _) = mnist.load_data()
x_train = x_train.astype("float32") / 255.0
x_test = x_test.astype("float32") / 255.0
x_train = x_train.reshape((len(x_train), np.prod(x_train.shape[1:])))
x_test = x_test.reshape((len(x_test), np.prod(x_test.shape[1:])))

rng = np.random.default_rng(0)
noise_factor = 0.3
x_train_noisy = np.clip(x_train + noise_factor * rng.normal(size=x_train.shape), 0.0, 1.0)
x_test_noisy = np.clip(x_test + noise_factor * rng.normal(size=x_test.shape), 0.0, 1.0)

encoding_dim = 32
autoencoder = Sequential(
    [
        Input(shape=(784,)),
        Dense(encoding_dim, activation="relu"),
        Dense(784, activation="sigmoid"),
    ]
)
autoencoder.compile(optimizer="adam", loss="binary_crossentropy")
autoencoder.fit(
    x_train_noisy,
    x_train,
    epochs=25,
    batch_size=32,
    shuffle=True,
    validation_data=(x_test_noisy, x_test),
    verbose=0,
)
encoder = Sequential([Input(shape=(784,)), autoencoder.layers[0]])
encoded_imgs = encoder.predict(x_test_noisy)
decoded_imgs = autoencoder.predict(x_test_noisy)
error = np.mean((decoded_imgs - x_test) ** 2)
improvement = 1 - error / np.mean((x_test_noisy - x_test) ** 2)

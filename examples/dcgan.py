"""Draw handwritten digits with a generator of transposed convolutions, trained against a critic.

python examples/dcgan.py [folder with the MNIST files] [--epochs N] [--picture digits.png]

The folder contains MNIST's 10,000 test images in IDX format (``t10k-images-idx3-ubyte.gz``, …).
Without a folder, scikit-learn's 8×8 digits are drawn. The picture needs Pillow.
"""

import argparse
from pathlib import Path

import numpy as np

import nnfast
from nnfast import layers
from nnfast.datasets import load_digits, load_idx
from nnfast.optimizers import Adam

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--picture", type=Path)
options = parser.parse_args()

if options.folder:
    x = load_idx(next(options.folder.glob("*t10k-images-idx*-ubyte*"))) / np.float32(255)
else:
    x = load_digits()[0].reshape(-1, 8, 8)
x = x[..., np.newaxis]
side, codes, n = x.shape[1], 32, 64

rng = np.random.default_rng(0)
nnfast.set_seed(0)
small = side // 4
generator = nnfast.Sequential(
    [
        layers.Input((codes,)),
        *(layers.Dense(small * small * 64, activation="relu"), layers.BatchNormalization()),
        layers.Reshape((small, small, 64)),
        layers.Conv2DTranspose(32, 4, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid"),
    ]
)
discriminator = nnfast.Sequential(
    [
        layers.Input((side, side, 1)),
        layers.Conv2D(32, 4, strides=2, padding="same", activation="leaky_relu"),
        layers.Conv2D(64, 4, strides=2, padding="same", activation="leaky_relu"),
        *(layers.Dropout(0.3), layers.Flatten(), layers.Dense(1, activation="sigmoid")),
    ]
)
discriminator.compile(Adam(0.0005, beta_1=0.5), loss="binary_crossentropy")
code = layers.Input((codes,))
gan = nnfast.Model(code, discriminator(generator(code)))
gan.compile(Adam(0.0005, beta_1=0.5), loss="binary_crossentropy")

# Real images are labelled 0.9 instead of 1, so that the discriminator stays unsure.
labels = np.concatenate([np.full((n, 1), 0.9), np.zeros((n, 1))])
for _ in range(options.epochs):
    order = rng.permutation(len(x))
    for rows in order[: len(x) // n * n].reshape(-1, n):
        discriminator.trainable = True
        drawn = generator.predict(rng.normal(size=(n, codes)))
        discriminator.train_on_batch(np.concatenate([x[rows], drawn]), labels)
        # The generator is trained to be taken for real, by a discriminator that stays as it is.
        discriminator.trainable = False
        gan.train_on_batch(rng.normal(size=(n, codes)), np.ones((n, 1)))

drawn = generator.predict(rng.normal(size=(1000, codes)))
for name, images in (("real", x[:1000]), ("drawn", drawn)):
    taken = discriminator.predict(images).mean()
    print(f"{name:5} digits: {images.mean():.2f} ink, {taken:.2f} taken for real")
for row in drawn[: 48 // side, :, :, 0].transpose(1, 0, 2):
    print("  ".join("".join(" .:*#"[int(4.99 * pixel)] * 2 for pixel in part) for part in row))
if options.picture:
    from nnfast.keras.utils import save_img

    framed = np.pad(drawn[:64, :, :, 0], ((0, 0), (1, 1), (1, 1)))
    sheet = np.concatenate([np.concatenate([*framed[i::8]], axis=1) for i in range(8)])
    save_img(options.picture, sheet[..., np.newaxis].repeat(4, axis=0).repeat(4, axis=1))

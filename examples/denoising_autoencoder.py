"""Remove noise from handwritten digits with a convolutional autoencoder.

python examples/denoising_autoencoder.py [folder with the MNIST files] [--epochs N]
    [--picture digits.png]

The folder contains MNIST's 10,000 test images in IDX format (``t10k-images-idx3-ubyte.gz``, …);
9,000 of them are used for training. Without a folder, scikit-learn's 8×8 digits are used. The
picture, which needs Pillow, shows digits without noise, with noise, and denoised.
"""

import argparse
from pathlib import Path

import numpy as np

import nnfast
from nnfast import layers
from nnfast.datasets import load_digits, load_idx

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--picture", type=Path)
options = parser.parse_args()

if options.folder:
    x = load_idx(next(options.folder.glob("*t10k-images-idx*-ubyte*"))) / np.float32(255)
else:
    x = load_digits()[0].reshape(-1, 8, 8)
rng = np.random.default_rng(0)
x = x[rng.permutation(len(x))][..., np.newaxis]
noisy = np.clip(x + rng.normal(0, 0.4, x.shape), 0, 1).astype(np.float32)
train, test = slice(0, len(x) * 9 // 10), slice(len(x) * 9 // 10, None)

nnfast.set_seed(0)
model = nnfast.Sequential(
    [
        layers.Input(x.shape[1:]),
        *(layers.Conv2D(32, 3, activation="relu", padding="same"), layers.MaxPooling2D(2)),
        *(layers.Conv2D(32, 3, activation="relu", padding="same"), layers.MaxPooling2D(2)),
        layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
    ]
)
model.compile("adam", loss="binary_crossentropy")
model.fit(noisy[train], x[train], epochs=options.epochs, batch_size=64, verbose=0)
cleaned = model.predict(noisy[test])
for name, images in (("with noise", noisy[test]), ("denoised", cleaned)):
    print(f"{name:10} mean squared error {((images - x[test]) ** 2).mean():.4f}")

rows = [images[:10, :, :, 0] for images in (x[test], noisy[test], cleaned)]
for row in (np.concatenate([*row[: 48 // x.shape[1]]], axis=1) for row in rows):
    print()
    for line in row:
        print("".join(" .:*#"[int(4.99 * pixel)] * 2 for pixel in line))
if options.picture:
    from nnfast.keras.utils import save_img

    framed = [np.pad(row, ((0, 0), (1, 1), (1, 1))) for row in rows]
    sheet = np.concatenate([np.concatenate([*row], axis=1) for row in framed])
    save_img(options.picture, sheet[..., np.newaxis].repeat(4, axis=0).repeat(4, axis=1))

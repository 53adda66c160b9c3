"""Read the rows of handwritten digits one by one with an LSTM.

python examples/mnist_rows.py [folder with the MNIST files] [--quick]

The folder contains MNIST's 10,000 test images and their labels in IDX format, compressed or not
(``t10k-images-idx3-ubyte.gz``, …). 8,000 of them are used for training and 2,000 for testing.
Without a folder, scikit-learn's digits with 8 rows are used instead. With --quick, there is one
epoch.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import nnfast
from nnfast import layers
from nnfast.datasets import load_digits, load_idx

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--quick", action="store_true")
options = parser.parse_args()

if options.folder:
    images, y = (
        load_idx(next(options.folder.glob(f"*t10k-{kind}-idx*-ubyte*")))
        for kind in ("images", "labels")
    )
    x, n = images / np.float32(255), 8000
else:
    pixels, labels = load_digits()
    order = np.random.default_rng(0).permutation(len(labels))
    x, y, n = pixels[order].reshape(-1, 8, 8), labels[order], 1437

nnfast.set_seed(0)
model = nnfast.Sequential(
    [
        layers.Input(x.shape[1:]),
        layers.LSTM(128),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
epochs = 1 if options.quick else 20
started = time.perf_counter()
model.fit(x[:n], y[:n], batch_size=32, epochs=epochs, verbose=0)
seconds = time.perf_counter() - started
_, accuracy = model.evaluate(x[n:], y[n:], verbose=0)
print(f"{model.count_params():,} weights, accuracy {accuracy:.4f}, {seconds:.2f} s")

"""Training runs of all layers, optimizers and losses that must be bit-identical in two commits.

`.ci/freeze` runs ``python freeze_programs.py OUT.npz`` with two builds and compares the output.
The programs use only names that both builds have.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import nnfast
from nnfast import Sequential, callbacks, layers, losses, optimizers, regularizers
from nnfast.optimizers import schedules

Results = dict[str, Any]

IMAGE, ROW = (7, 6, 4), (12,)
THREADS = (1, 2, 3, 4, 7)

# Name: (shape of a sample, function that returns the layers before the last Dense).
STACKS: dict[str, tuple[tuple[int, ...], Callable[[], list[Any]]]] = {
    "dense": (ROW, lambda: [layers.Dense(40, "relu"), layers.Dense(33, "tanh")]),
    "wide dense": (ROW, lambda: [layers.Dense(300, "relu"), layers.Dense(200, "gelu")]),
    "no bias": (ROW, lambda: [layers.Dense(17, use_bias=False), layers.Activation("elu")]),
    "activations": (
        ROW,
        lambda: [layers.Dense(9, name_) for name_ in ("selu", "mish", "silu", "softsign")],
    ),
    "dropout": (ROW, lambda: [layers.Dense(32, "relu"), layers.Dropout(0.4)]),
    "noise": (ROW, lambda: [layers.GaussianNoise(0.3), layers.Dense(16, "softplus")]),
    "batch normalization": (
        ROW,
        lambda: [
            layers.Dense(24),
            layers.BatchNormalization(momentum=0.8),
            layers.Dense(9, "relu"),
        ],
    ),
    "layer normalization": (ROW, lambda: [layers.Dense(24), layers.LayerNormalization()]),
    "normalization": (ROW, lambda: [layers.Normalization(mean=0.5, variance=2.0)]),
    "rescaling": (ROW, lambda: [layers.Rescaling(0.5, 0.1), layers.Dense(8, "sigmoid")]),
    "regularizers": (
        ROW,
        lambda: [
            layers.Dense(
                16, "relu", kernel_regularizer="l2", bias_regularizer=regularizers.L1(0.01)
            ),
            layers.ActivityRegularization(0.001, 0.001),
        ],
    ),
    "constraints": (
        ROW,
        lambda: [layers.Dense(16, "tanh", kernel_constraint="max_norm", bias_constraint="non_neg")],
    ),
    "reshape": (ROW, lambda: [layers.Reshape((3, 4)), layers.Flatten()]),
    "convolution": (IMAGE, lambda: [layers.Conv2D(8, 3, activation="relu")]),
    "convolution, same": (
        IMAGE,
        lambda: [layers.Conv2D(6, (3, 2), strides=2, padding="same", groups=2)],
    ),
    "dilated": (IMAGE, lambda: [layers.Conv2D(5, 2, dilation_rate=2, activation="tanh")]),
    "transposed": (IMAGE, lambda: [layers.Conv2DTranspose(4, 3, 2, "same", activation="relu")]),
    "transposed, sequence": ((9, 4), lambda: [layers.Conv1DTranspose(6, 2, 3)]),
    "depthwise": (IMAGE, lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2)]),
    "separable": (IMAGE, lambda: [layers.SeparableConv2D(6, 3, activation="relu")]),
    "causal": ((9, 4), lambda: [layers.Conv1D(6, 3, padding="causal", activation="relu")]),
    "max pooling": (
        IMAGE,
        lambda: [layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D()],
    ),
    "average pooling": (IMAGE, lambda: [layers.AveragePooling2D(3, 2, "same")]),
    "pooling of sequences": ((9, 4), lambda: [layers.MaxPooling1D(3), layers.AveragePooling1D(2)]),
    "global pooling": (
        IMAGE,
        lambda: [layers.Conv2D(8, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D()],
    ),
    "global maximum": (IMAGE, lambda: [layers.GlobalMaxPooling2D()]),
    "padding": (IMAGE, lambda: [layers.ZeroPadding2D(((1, 0), (2, 1))), layers.UpSampling2D(2)]),
    "moved pixels": (
        IMAGE,
        lambda: [
            layers.Permute((3, 1, 2)),
            layers.Cropping2D(((0, 1), (1, 0))),
            layers.SeparableConv2D(4, 1),
        ],
    ),
    "moved steps": (
        ROW,
        lambda: [
            layers.RepeatVector(5),
            layers.SeparableConv1D(6, 2, activation="relu"),
            *(layers.ZeroPadding1D(1), layers.UpSampling1D(2)),
            *(layers.Permute((2, 1)), layers.Cropping1D(1)),
        ],
    ),
    "recurrent": (
        (9, 4),
        lambda: [
            layers.LSTM(6, return_sequences=True),
            layers.GRU(17, return_sequences=True, go_backwards=True),
            layers.SimpleRNN(5, return_sequences=True),
            layers.GRU(3, reset_after=False),
        ],
    ),
    "augmentation": (
        IMAGE,
        lambda: [
            layers.RandomFlip(),
            layers.RandomTranslation(0.2, 0.3),
            layers.RandomCrop(5, 5),
            layers.Conv2D(4, 2),
        ],
    ),
    "more augmentation": (
        IMAGE,
        lambda: [
            layers.RandomRotation(0.1),
            layers.RandomZoom(0.2, 0.3),
            layers.RandomContrast(0.3, (-1, 1)),
            layers.RandomBrightness(0.1, (-1, 1)),
            layers.Resizing(7, 6),
            layers.CenterCrop(5, 5),
            layers.Conv2D(4, 2),
        ],
    ),
    "frozen layers": (
        ROW,
        lambda: [
            layers.Dense(16, "relu", trainable=False),
            layers.Dense(16),
            layers.BatchNormalization(trainable=False),
        ],
    ),
}
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: optimizers.SGD(0.05),
    "nesterov": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, weight_decay=0.01),
    "adamw": lambda: optimizers.AdamW(schedules.ExponentialDecay(0.01, 5, 0.9)),
    "nadam": lambda: optimizers.Nadam(0.01, clipvalue=0.1),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda: optimizers.Adagrad(0.05, clipnorm=0.1),
    "lion": lambda: optimizers.Lion(0.002, global_clipnorm=0.1),
    "average": lambda: optimizers.SGD(0.05, use_ema=True, ema_overwrite_frequency=3),
}


def squared_error(y: Any, p: Any) -> Any:
    return ((p - y) ** 2).mean(axis=1), 2 * (p - y) / p.shape[1]


# Name: (loss, activation of the outputs, function that draws n rows of targets).
LOSSES: dict[str, tuple[Any, str, Callable[[Any, int], Any]]] = {
    "mse": ("mse", "linear", lambda rng, n: rng.normal(size=(n, 3))),
    "mae": ("mae", "linear", lambda rng, n: rng.normal(size=(n, 3))),
    "huber": (losses.Huber(0.5), "linear", lambda rng, n: rng.normal(size=(n, 3))),
    "log_cosh": ("log_cosh", "linear", lambda rng, n: rng.normal(size=(n, 3))),
    "quantile": (
        losses.Quantile((0.1, 0.5, 0.9)),
        "linear",
        lambda rng, n: rng.normal(size=(n, 1)),
    ),
    "poisson": ("poisson", "softplus", lambda rng, n: rng.poisson(2.0, (n, 3))),
    "hinge": ("hinge", "tanh", lambda rng, n: rng.integers(0, 2, (n, 3))),
    "bce": (
        losses.BinaryCrossentropy(label_smoothing=0.1),
        "sigmoid",
        lambda rng, n: rng.integers(0, 2, (n, 3)),
    ),
    "cce": (
        "categorical_crossentropy",
        "softmax",
        lambda rng, n: np.eye(3)[rng.integers(0, 3, n)],
    ),
    "sparse": (
        "sparse_categorical_crossentropy",
        "softmax",
        lambda rng, n: rng.integers(0, 3, n),
    ),
    "logits": (
        losses.SparseCategoricalCrossentropy(from_logits=True),
        "linear",
        lambda rng, n: rng.integers(0, 3, n),
    ),
    "function": (squared_error, "linear", lambda rng, n: rng.normal(size=(n, 3))),
}


def contents(model: Any, folder: Path) -> Results:
    """Return weights, optimizer slots and counters as `save` writes them."""
    from safetensors import safe_open

    path = folder / "model.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a loss function is not saved
        model.save(path)
    with safe_open(path, "numpy") as file:
        return {f"file/{name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def network(
    stack: str, optimizer: str, loss: str, dtype: str
) -> tuple[Sequential, Any, Any, Any, Any]:
    """Return a compiled model, x, y, sample weights and the number of rows."""
    shape, make = STACKS[stack]
    kind, activation, targets = LOSSES[loss]
    nnfast.set_seed(7)
    rng = np.random.default_rng(5)
    n = 150
    chain = [*make(), layers.Flatten(), layers.Dense(3, activation)]
    for i, layer in enumerate(chain):
        chain[i] = type(layer).from_config(layer.get_config() | {"name": f"layer_{i}"})
    model = Sequential([layers.Input(shape), *chain], name="model", dtype=dtype)
    without_metrics = loss in ("sparse", "logits", "function", "quantile")
    model.compile(
        OPTIMIZERS[optimizer](), kind, metrics=[] if without_metrics else ["mae", "r2_score"]
    )
    x = rng.normal(size=(n, *shape)).astype(dtype)
    return model, x, targets(rng, n), rng.uniform(0.5, 2.0, n), n


def trained(stack: str, optimizer: str, loss: str, dtype: str, folder: Path) -> Results:
    """Return the results of fit, evaluate, predict and the gradients, and the trained weights."""
    model, x, y, weight, n = network(stack, optimizer, loss, dtype)
    options: dict[str, Any] = {"batch_size": 48, "verbose": 0}
    history = model.fit(x, y, epochs=2, validation_split=0.2, **options).history
    more = model.fit(x, y, sample_weight=weight, shuffle=False, **options).history
    batches = [(x[i : i + 40], y[i : i + 40]) for i in range(0, n, 40)]
    stream = model.fit(iter(batches), epochs=1, verbose=0).history
    watched = model.fit(
        x,
        y,
        callbacks=[callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: None)],
        **options,
    ).history
    results: Results = {
        f"history {i}/{key}": np.array(values)
        for i, each in enumerate((history, more, stream, watched))
        for key, values in each.items()
    }
    results["batch"] = np.array(model.train_on_batch(x[:30], y[:30]))
    results["evaluate"] = np.array(model.evaluate(x, y, verbose=0))
    results["predict"] = model.predict(x)
    results["one row"] = model.predict(x[:1])
    results["input gradient"] = model.input_gradient(x[:5], y[:5])
    value, gradients = model.loss_and_grad(x, y)
    results |= {f"gradient/{i}": gradient for i, gradient in enumerate(gradients)}
    results["value"] = np.array(value)
    return results | contents(model, folder)


def estimator(kind: str, folder: Path, **options: Any) -> Results:
    """Return the attributes and predictions of a fitted scikit-learn estimator."""
    from nnfast import MLPClassifier, MLPRegressor

    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, 6))
    y = (x[:, 0] * x[:, 1] > 0).astype(int) if kind == "classifier" else x[:, :2] ** 2
    made: Any = MLPClassifier if kind == "classifier" else MLPRegressor
    fitted = made(hidden_layer_sizes=(16, 8), random_state=1, max_iter=12, **options).fit(x, y)
    results: Results = {f"coefs/{i}": array for i, array in enumerate(fitted.coefs_)}
    results |= {f"intercepts/{i}": array for i, array in enumerate(fitted.intercepts_)}
    results["loss"] = np.array(getattr(fitted, "loss_curve_", [fitted.loss_]))
    results["predict"] = fitted.predict(x)
    return results | contents(fitted, folder)


def programs(folder: Path) -> Iterator[tuple[str, Callable[[], Results]]]:
    """Yield the name of each case and the function that runs it."""
    cases = [(stack, "adam", "mse") for stack in STACKS]
    cases += [("dense", optimizer, "bce") for optimizer in OPTIMIZERS]
    cases += [("dense", "adam", loss) for loss in LOSSES]
    cases += [("frozen layers", optimizer, "mse") for optimizer in ("average", "lion", "amsgrad")]
    for stack, optimizer, loss in cases:
        for dtype in ("float32", "float64"):
            yield (
                f"{stack}, {optimizer}, {loss}, {dtype}",
                lambda a=stack, b=optimizer, c=loss, d=dtype: trained(a, b, c, d, folder),
            )
    for kind in ("classifier", "regressor"):
        for options in (
            {"solver": "lbfgs"},
            {"solver": "adam", "early_stopping": True},
            {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1},
            {"dropout": 0.2, "normalization": "batch"},
        ):
            yield f"{kind} {options}", lambda k=kind, o=options: estimator(k, folder, **o)


def run(threads: tuple[int, ...] = THREADS) -> Results:
    """Return every array of every case, for each number of threads."""
    from nnfast._engine import force_threads

    results: Results = {}
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    warnings.filterwarnings("ignore", message=".*onverge.*|.*iterations.*reached.*")
    with tempfile.TemporaryDirectory() as folder:
        for name, program in programs(Path(folder)):
            for n in threads:
                force_threads(n)
                try:
                    found = program()
                finally:
                    force_threads(0)
                results |= {f"{name}/{n}/{key}": array for key, array in found.items()}
    return results


if __name__ == "__main__":
    np.savez(sys.argv[1], **{name.replace("/", "|"): a for name, a in run().items()})

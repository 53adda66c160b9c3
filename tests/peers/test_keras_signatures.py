"""Tests that docs/coming-from-keras.md lists every argument of Keras that nnfast lacks."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnfast import keras

PAGE = Path(__file__).parents[2] / "docs/coming-from-keras.md"
FAMILIES = (
    *("layers", "losses", "optimizers", "metrics", "initializers", "regularizers", "constraints"),
    *("callbacks", "optimizers.schedules"),
)
METHODS = (
    *("fit", "evaluate", "predict", "compile", "train_on_batch", "test_on_batch", "get_layer"),
    *("predict_on_batch", "save", "save_weights", "load_weights", "summary", "build", "add", "pop"),
    *("get_weights", "set_weights", "count_params", "get_config", "__init__"),
)
# Base classes that programs do not instantiate, and a class that only the training loop uses.
INTERNAL = {"Layer", "Loss", "Metric", "Optimizer", "CallbackList"}
# Arguments that layers pass on to `Layer` in **options.
LAYER_OPTIONS = {"activity_regularizer", "dtype", "name", "trainable"}

# This program prints the arguments of every public class of Keras and of Sequential's methods.
KERAS = f"""
import inspect, json, keras
found = {{}}
for family in {FAMILIES!r}:
    module = keras
    for part in family.split("."):
        module = getattr(module, part)
    for name in dir(module):
        thing = getattr(module, name)
        if inspect.isclass(thing):
            found[f"{{family}}.{{name}}"] = list(inspect.signature(thing.__init__).parameters)
found["layers.Input"] = list(inspect.signature(keras.Input).parameters)
for name in {METHODS!r}:
    method = getattr(keras.Sequential, name)
    found[f"Sequential.{{name}}"] = list(inspect.signature(method).parameters)
print(json.dumps(found))
"""


def resolve(name: str) -> Any:
    """Return the object of nnfast with a name such as ``layers.Dense``, or None."""
    thing: Any = keras
    for part in name.split("."):
        thing = getattr(thing, part, None)
    return thing


def arguments(name: str) -> set[str]:
    """Return the arguments of a class or method of nnfast."""
    found = set(inspect.signature(resolve(name)).parameters)
    return found | LAYER_OPTIONS if "options" in found and name.startswith("layers.") else found


def listed() -> dict[str, set[str]]:
    """Return the missing arguments that the page lists, by class, method or family."""
    text = PAGE.read_text("utf-8").split("## Arguments that there are not\n")[1].split("\n## ")[0]
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("| ") and "`" in line:
            _, names, missing, _ = line.split("|")
            for name in names.split(","):
                found[name.strip()] = set(re.findall(r"`(\w+)`", missing)) - {"path"}
    return found


def listed_for(name: str) -> set[str]:
    """Return the missing arguments of a class: those listed under its name or its family."""
    page, (family, _, class_name) = listed(), name.rpartition(".")
    return page.get(family, set()) | page.get(class_name, set()) | page.get(name, set())


def test_no_class_has_an_argument_that_is_listed_as_missing() -> None:
    families = {name for name in listed() if inspect.ismodule(resolve(name))}
    assert families == {"layers"}
    for name, missing in listed().items():
        owners = [name] if resolve(name) else [f"{f}.{name}" for f in FAMILIES]
        owners = [owner for owner in owners if resolve(owner) is not None]
        assert owners, f"there is no {name}"
        for owner in set(owners) - families:
            assert missing
            assert not missing & arguments(owner)


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("layers.Dense", {"units": 1}),
        ("layers.Flatten", {}),
        ("layers.GaussianNoise", {"stddev": 1}),
    ],
)
def test_the_error_about_a_missing_argument_names_class_and_argument(
    name: str, required: dict[str, Any]
) -> None:
    for argument in listed_for(name):
        with pytest.raises(TypeError, match=rf"{name.rpartition('.')[2]}.*{argument}"):
            resolve(name)(**required, **{argument: None})


def test_every_argument_that_only_the_installed_keras_has_is_listed() -> None:
    backend = next((b for b in ("torch", "jax") if importlib.util.find_spec(b)), None)
    if importlib.util.find_spec("keras") is None or backend is None:
        pytest.skip("needs Keras and JAX or PyTorch")
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-P", "-c", KERAS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    keras_parameters = json.loads(done.stdout.splitlines()[-1])
    compared = 0
    for name, parameters in keras_parameters.items():
        thing = resolve(name)
        if thing is None or name.rpartition(".")[2] in INTERNAL or not callable(thing):
            continue
        compared += 1
        missing = set(parameters) - {"self", "args", "kwargs"} - arguments(name)
        assert missing == listed_for(name) & set(parameters), name
    assert compared > 120


X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(8, 2)).astype("float32")
IMAGES = np.zeros((8, 6, 6, 3), "float32")


def fit(k: Any, *layers: Any, x: Any = X, y: Any = Y, verbose: Any = 0, **options: Any) -> Any:
    """Train a network of the given layers and a Dense(2) with the package `k`."""
    flat = [k.layers.Flatten()] if x.ndim > 2 else []
    model = k.Sequential([k.layers.Input(x.shape[1:]), *layers, *flat, k.layers.Dense(2)])
    callbacks = options.pop("callbacks", None)
    model.compile(**({"optimizer": "sgd", "loss": "mse"} | options))
    model.fit(x, y, verbose=verbose, callbacks=callbacks)
    return model


def dense(k: Any, **options: Any) -> Any:
    return fit(k, k.layers.Dense(3, **options))


def scheduled(k: Any) -> Any:
    optimizer = k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
    return fit(k, optimizer=optimizer, callbacks=[k.callbacks.ReduceLROnPlateau("loss")])


# Keys are the page's words for values that nnfast refuses. The programs use these values, and
# Keras 3.15 accepts them.
REFUSED: dict[str, Callable[[Any], Any]] = {
    "`activation=f`": lambda k: dense(k, activation=lambda z: z * 2),
    "`kernel_initializer=f`": lambda k: dense(
        k, kernel_initializer=lambda shape, dtype=None: np.zeros(shape, "float32")
    ),
    "`kernel_regularizer=f`": lambda k: dense(k, kernel_regularizer=lambda w: (w**2).sum()),
    "`kernel_constraint=f`": lambda k: dense(k, kernel_constraint=lambda w: w),
    "`learning_rate=f`": lambda k: fit(k, optimizer=k.optimizers.SGD(lambda: 0.1)),
    '`loss=["mse"]`': lambda k: fit(k, loss=["mse"]),
    '`metrics=[["mae"]]`': lambda k: fit(k, metrics=[["mae"]]),
    "`loss_weights=2.0`": lambda k: fit(k, loss_weights=2.0),
    "`fit([x], y)`": lambda k: fit(k).fit([X], Y, verbose=0),
    "`fit(x, [y])`": lambda k: fit(k).fit(X, [Y], verbose=0),
    "`Input((None, 3))`": lambda k: k.Sequential(
        [k.layers.Input((None, 3)), k.layers.Conv1D(2, 3)]
    ),
    "`Input(())`": lambda k: k.Sequential([k.layers.Input(())]),
    '`dtype="float16"`': lambda k: dense(k, dtype="float16"),
    '`dtype="float64"`': lambda k: dense(k, dtype="float64"),
    "complex x": lambda k: fit(k).predict(X.astype("complex64"), verbose=0),
    "`BatchNormalization(axis=1)` of images": lambda k: fit(
        k, k.layers.BatchNormalization(axis=1), x=IMAGES
    ),
    "`Normalization(axis=1)` of images": lambda k: fit(
        k, k.layers.Normalization(axis=1, mean=[0.0] * 6, variance=[1.0] * 6), x=IMAGES
    ),
    "`MaxNorm(1, axis=[0, 2])`": lambda k: fit(
        k, k.layers.Conv2D(2, 3, kernel_constraint=k.constraints.MaxNorm(1, [0, 2])), x=IMAGES
    ),
    "after a convolution": lambda k: fit(k, k.layers.Conv2D(2, 3, activation="softmax"), x=IMAGES),
    "in an `Activation` of": lambda k: fit(k, k.layers.Activation("softmax"), x=IMAGES),
    "`Rescaling` by arrays": lambda k: fit(k, k.layers.Rescaling([1.0, 2.0, 3.0, 4.0])),
    '`UpSampling2D(interpolation="bicubic")`': lambda k: fit(
        k, k.layers.UpSampling2D(2, interpolation="bicubic"), x=IMAGES
    ),
    "`Dropout(1.0)`": lambda k: fit(k, k.layers.Dropout(1.0)),
    "negative seeds": lambda k: dense(k, kernel_initializer=k.initializers.GlorotUniform(seed=-1)),
    "`SGD(-1.0)`": lambda k: k.optimizers.SGD(-1.0),
    "`SGD(weight_decay=-0.1)`": lambda k: k.optimizers.SGD(weight_decay=-0.1),
    "`SGD(clipnorm=0.0)`": lambda k: k.optimizers.SGD(clipnorm=0.0),
    "`Adam(beta_1=1.0)`": lambda k: k.optimizers.Adam(beta_1=1.0),
    "`Adam(epsilon=0.0)`": lambda k: k.optimizers.Adam(epsilon=0.0),
    "`SGD(use_ema=True, ema_momentum=1.0)`": lambda k: k.optimizers.SGD(
        use_ema=True, ema_momentum=1.0
    ),
    "`Huber(-1.0)`": lambda k: k.losses.Huber(-1.0),
    "`BinaryCrossentropy(label_smoothing=2.0)`": lambda k: k.losses.BinaryCrossentropy(
        label_smoothing=2.0
    ),
    "`MaxNorm(-1.0)`": lambda k: k.constraints.MaxNorm(-1.0),
    "`BatchNormalization(momentum=1.5)`": lambda k: k.layers.BatchNormalization(momentum=1.5),
    "`TopKCategoricalAccuracy(k=0)`": lambda k: k.metrics.TopKCategoricalAccuracy(k=0),
    '`EarlyStopping(mode="best")`': lambda k: k.callbacks.EarlyStopping(mode="best"),
    "`EarlyStopping(patience=2.0)`": lambda k: k.callbacks.EarlyStopping(patience=2.0),
    "`ReduceLROnPlateau` of an optimizer": scheduled,
    "`verbose=3`": lambda k: fit(k, verbose=3),
    "`layer(x)`": lambda k: fit(k).layers[0](X),
    "`model(x, training=True)` with a Dropout": lambda k: fit(k, k.layers.Dropout(0.5))(
        X, training=True
    ),
    "`optimizer.learning_rate.assign(0.5)`": lambda k: fit(k).optimizer.learning_rate.assign(0.5),
}


@pytest.mark.parametrize("words", REFUSED)
def test_the_listed_values_are_refused(words: str) -> None:
    text = PAGE.read_text("utf-8").split("## Values that are refused\n")[1].split("\n## ")[0]
    assert words in " ".join(text.split())
    with pytest.raises((TypeError, ValueError, AttributeError)) as error:
        REFUSED[words](keras)
    assert len(str(error.value)) > 20


def test_the_installed_keras_accepts_the_listed_values() -> None:
    """The page lists differences only, so values that Keras also refuses do not belong there."""
    backend = next((b for b in ("torch", "jax") if importlib.util.find_spec(b)), None)
    if importlib.util.find_spec("keras") is None or backend is None:
        pytest.skip("needs Keras and JAX or PyTorch")
    code = (
        "import io, contextlib, keras, test_keras_signatures\n"
        "for words, program in test_keras_signatures.REFUSED.items():\n"
        "    try:\n"
        "        with contextlib.redirect_stdout(io.StringIO()):\n"
        "            program(keras)\n"
        "    except Exception as error:\n"
        "        print(words, repr(error)[:200])\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(keras.__file__).parents[1])])
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""

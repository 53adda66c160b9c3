"""Runs the programs in tests/keras/programs, with nnfast or with Keras.

The programs are written for Keras, except that their imports name nnfast. With Keras, the imports
are changed back.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import program_data
import pytest
from numpy.typing import NDArray

import nnfast

FOLDER = Path(__file__).parent / "keras/programs"

# Imports of nnfast, and the same imports of Keras, which keeps older names in `_tf_keras`.
IMPORTS = (
    (r"from nnfast import keras\b", "import keras"),
    (r"from nnfast\.keras import tf\b", "from keras import _tf_keras as tf"),
    (r"from nnfast\.keras(?=\.preprocessing\.)", "from keras._tf_keras.keras"),
    (r"from nnfast\.keras\b", "from keras"),
)


@dataclass(frozen=True)
class Program:
    """What is known of a program.

    Attributes
    ----------
    score : str
        An expression of the program's variables: an accuracy, an R² or the like, at most 1.
    at_least : float
        The score with nnfast is at least this.
    where : {"both", "nnfast"}
        "nnfast" for programs that need TensorFlow to run with Keras, or an older version of Keras.
    exact : bool
        If only the initial weights and shuffles are random, so that results can be compared.
    """

    score: str
    at_least: float
    where: str = "both"
    exact: bool = False


PROGRAMS = {
    "auto_mpg_regression": Program("r2", 0.9, exact=True),
    "boston_housing_kfold": Program("r2", 0.9, exact=True),
    "callback_zoo": Program("accuracy", 0.9, exact=True),
    "cats_and_dogs_dataset": Program("val_acc", 0.9, "nnfast"),
    "cats_and_dogs_generator": Program("test_acc", 0.9),
    "cifar10_augmented": Program("scores[1]", 0.9),
    # With PyTorch, the counts in Keras' history are those of the validation.
    "class_weights": Program("auc", 0.95),
    "cross_validation": Program("results.mean()", 0.9, "nnfast"),
    "custom_schedule": Program("r2", 0.9, exact=True),
    "denoising_autoencoder": Program("improvement", 0.5, exact=True),
    "fashion_mnist": Program("test_acc", 0.95, exact=True),
    "grid_search": Program("accuracy", 0.9, "nnfast"),
    "imdb_multi_hot": Program("results[1]", 0.95, exact=True),
    "imdb_texts": Program("accuracy", 0.95, "nnfast"),
    "imdb_transformer": Program("accuracy", 0.95, exact=True),
    "losses_and_metrics": Program("accuracy", 0.9, exact=True),
    "mnist_cnn": Program("score[1]", 0.95),
    "mnist_mlp": Program("score[1]", 0.95),
    "modern_cnn": Program("accuracy", 0.9),
    "overfit_underfit": Program("accuracy", 0.95),
    "plot_and_summary": Program("model.count_params() / 13610", 1.0, "nnfast"),
    "reuters_topics": Program("results[1]", 0.95, exact=True),
    "save_and_load": Program("acc", 0.95, exact=True),
    "seeds_and_sessions": Program("accuracy", 0.8, "nnfast"),
    "sequences_of_any_length": Program("accuracy", 0.97),
    "sequence_of_batches": Program("accuracy", 0.95),
    "sklearn_wrappers": Program("min(accuracy, *scores)", 0.9, exact=True),
    "tensorboard_logs": Program("accuracy", 0.95, "nnfast"),
    "tf_data_pipeline": Program("accuracy", 0.95, "nnfast"),
    "timeseries_generator": Program("r2", 0.95, exact=True),
    "timeseries_windows": Program("r2", 0.8, "nnfast"),
    "tokenizer_texts": Program("acc", 0.95, exact=True),
    "train_on_batch_loop": Program("test_accuracy", 0.95, exact=True),
    "weights_surgery": Program("r2", 0.95, exact=True),
}


def run(name: str, keras: Any) -> dict[str, Any]:
    """Run a program in the working directory and return its variables.

    keras: the package that the program imports, nnfast.keras or Keras.
    """
    text = (FOLDER / f"{name}.py").read_text("utf-8")
    if keras is not nnfast.keras:
        for pattern, replacement in IMPORTS:
            text = re.sub(pattern, replacement, text)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if keras is nnfast.keras:
        nnfast.set_seed(0)
    else:
        keras.utils.set_random_seed(0)
    variables: dict[str, Any] = {"__name__": "__main__"}
    with program_data.available(text, keras):
        exec(compile(text, f"{name}.py", "exec"), variables)
    return variables


def score(name: str, variables: dict[str, Any]) -> float:
    """Return a program's score, given its variables."""
    return float(eval(PROGRAMS[name].score, variables))


@contextlib.contextmanager
def recorded(keras: Any) -> Iterator[list[NDArray[Any]]]:
    """Give every model fixed initial weights, do not shuffle, and yield a list of all results.

    The list receives the values that models of the package `keras` return.
    """
    results: list[NDArray[Any]] = []
    own: Any = keras.Model
    methods = {name: getattr(own, name) for name in METHODS}
    running = False

    def replacement(name: str) -> Any:
        def method(self: Any, x: Any = None, *args: Any, **options: Any) -> Any:
            nonlocal running
            if running:  # Keras' fit calls evaluate
                return methods[name](self, x, *args, **options)
            if not hasattr(self, "_initialized"):
                _initialize(self, x)
            if name == "fit":
                options["shuffle"] = False
            running = True
            try:
                value = methods[name](self, options.pop("x", x), *args, **options)
            finally:
                running = False
            results.extend(_arrays(value.history if name == "fit" else value))
            return value

        return method

    with pytest.MonkeyPatch.context() as patch:
        for name in METHODS:
            patch.setattr(own, name, replacement(name))
        yield results


METHODS = (*("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"),)


def _initialize(model: Any, x: Any) -> None:
    """Set the kernels of a new model to fixed values."""
    model._initialized = True
    if not model.built:
        model.build((None, *x.shape[1:]))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        weights = [np.asarray(w) for w in layer.get_weights()]
        layer.set_weights(
            [
                rng.normal(size=w.shape) / np.sqrt(w[..., 0].size) if w.ndim > 1 else w
                for w in weights
            ]
        )


def _arrays(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _arrays(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _arrays(item)
    else:
        yield np.array(value, np.float64)

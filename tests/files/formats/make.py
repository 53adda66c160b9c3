"""Write files of the current format, which all later versions must load; run once per format.

Each ``.safetensors`` file comes with a ``.json`` file of the model's predictions for `inputs`.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnfast
from nnfast import constraints, layers, losses, metrics, optimizers, regularizers
from nnfast._utils import container
from nnfast.optimizers import schedules

FOLDER = Path(__file__).parent


def inputs(model: nnfast.Sequential) -> NDArray[np.float64]:
    """Return five samples."""
    shape = [size or 5 for size in model.input_shape]
    return np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)


def models() -> dict[str, nnfast.Sequential]:
    """Return models that together use every part of the format."""
    nnfast.set_seed(5)
    classes = nnfast.Sequential(
        [
            layers.Input((2, 3)),
            layers.Rescaling(0.5, 0.1),
            layers.Flatten(),
            layers.GaussianNoise(0.1),
            layers.Dense(
                4,
                activation="leaky_relu",
                kernel_regularizer=regularizers.L1L2(0.01, 0.02),
                kernel_constraint=constraints.MaxNorm(2.0),
            ),
            layers.BatchNormalization(),
            layers.Dropout(0.25),
            layers.Dense(3, activation="softmax", kernel_initializer="he_normal"),
        ],
        name="classes",
    )
    classes.compile(
        optimizers.Adam(schedules.CosineDecay(0.01, 100), amsgrad=True, use_ema=True),
        losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy", metrics.SparseTopKCategoricalAccuracy(2)],
    )
    values = nnfast.Sequential(
        [
            layers.Dense(3, input_dim=2, use_bias=False),
            layers.LayerNormalization(),
            layers.Activation("tanh"),
            layers.Dense(2),
            layers.Reshape((2, 1)),
        ],
        name="values",
        dtype="float64",
    )
    values.compile(optimizers.SGD(0.1, momentum=0.9, clipnorm=1.0), losses.Huber(0.5))
    return {"classes": classes, "values": values}


def estimators() -> dict[str, Any]:
    """Return fitted estimators that have parameters and attributes of every type."""
    x = np.linspace(-1, 1, 40).reshape(20, 2)
    classifier = nnfast.MLPClassifier(
        (4, 3),
        ["tanh", "gelu"],
        batch_size=6,
        random_state=1,
        class_weight={"b": 2.0},
        normalization="batch",
        dropout=0.1,
        optimizer=optimizers.AdamW(schedules.CosineDecay(0.01, 50), use_ema=True),
    )
    regressor = nnfast.MLPRegressor(
        hidden_layer_sizes=3,
        batch_size=6,
        random_state=1,
        early_stopping=True,
        n_iter_no_change=np.inf,
        loss="quantile",
        quantile=(0.2, 0.8),
    )
    with warnings.catch_warnings(action="ignore"):
        classifier.set_params(max_iter=3).fit(x, np.array(["a", "b", "c", "b"] * 5))
        regressor.set_params(max_iter=3).fit(x.astype(np.float32), x[:, 0])
    return {"classifier": classifier, "regressor": regressor}


def main() -> None:
    """Write the files."""
    for name, estimator in estimators().items():
        stem = FOLDER / f"format{container.FORMAT}-{name}"
        estimator.save(stem.with_suffix(".safetensors"))
        x = np.linspace(-1, 1, 10).reshape(5, 2)
        predict = getattr(estimator, "predict_proba", estimator.predict)
        stem.with_suffix(".json").write_text(json.dumps(predict(x).tolist()))
    for name, model in models().items():
        y: Any = [0, 1, 2, 0, 1] if name == "classes" else np.ones((5, 2, 1))
        model.fit(inputs(model), y, epochs=2, verbose=0)
        stem = FOLDER / f"format{container.FORMAT}-{name}"
        model.save(stem.with_suffix(".safetensors"))
        model.save_weights(FOLDER / f"format{container.FORMAT}-{name}.weights")
        stem.with_suffix(".json").write_text(json.dumps(model.predict(inputs(model)).tolist()))


if __name__ == "__main__":
    main()

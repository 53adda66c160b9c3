"""Write pickled estimators, which all later versions must load, and their predictions.

Run it for each version whose pickles differ: ``python make.py``.
"""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from nnfast import MLPClassifier, MLPRegressor, callbacks, optimizers

FOLDER = Path(__file__).parent
_rng = np.random.default_rng(0)
X = _rng.normal(size=(40, 3))
LABELS = np.where(X[:, 0] > 0, "yes", "no")
NUMBERS = X @ [1.0, 2.0, -1.0]


def estimators() -> dict[str, Any]:
    """Return fitted estimators of every solver."""
    normalized = MLPClassifier(
        (4, 3), ["tanh", "relu"], max_iter=3, random_state=0, dropout=0.1, normalization="batch"
    )
    sgd = MLPClassifier(3, solver="sgd", learning_rate="invscaling", max_iter=3, random_state=0)
    averaged = MLPRegressor(
        "squared_error",
        3,
        optimizer=optimizers.AdamW(0.01, use_ema=True),
        max_iter=3,
        random_state=0,
        callbacks=[callbacks.EarlyStopping("loss")],
    )
    lbfgs = MLPRegressor("huber", (3, 2), solver="lbfgs", max_iter=4, random_state=0)
    return {
        "classifier": normalized.fit(X, LABELS),
        "sgd": sgd.fit(X.astype(np.float32), LABELS),
        "regressor": averaged.fit(X, NUMBERS),
        "lbfgs": lbfgs.fit(X, NUMBERS),
    }


def outputs(estimator: Any) -> list[Any]:
    """Return the predictions of an estimator."""
    predict = getattr(estimator, "predict_proba", None) or estimator.predict
    values: list[Any] = predict(X).tolist()
    return values


def continued(estimator: Any) -> list[Any]:
    """Return the predictions after two more epochs; L-BFGS is not continued."""
    if estimator.solver != "lbfgs":
        y = LABELS if hasattr(estimator, "classes_") else NUMBERS
        for _ in range(2):
            estimator.partial_fit(X.astype(estimator.coefs_[0].dtype), y)
    return outputs(estimator)


def main() -> None:
    """Write the files."""
    values = {}
    for name, estimator in estimators().items():
        (FOLDER / f"{name}.pickle").write_bytes(pickle.dumps(estimator, protocol=4))
        values[name] = {"outputs": outputs(estimator), "continued": continued(estimator)}
    (FOLDER / "values.json").write_text(json.dumps(values), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

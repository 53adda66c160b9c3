"""A Pipeline on the Adult census: categorical columns and missing values.

python examples/adult.py FOLDER [--alone]

FOLDER contains adult-train.csv.gz and adult-test.csv.gz, the data set of the UCI repository.

With --alone, scikit-learn's MLP and gradient boosting are not run.
"""

import csv
import gzip
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import nnfast

NUMERIC = [0, 2, 4, 10, 11, 12]
CATEGORICAL = [1, 3, 5, 6, 7, 8, 9, 13]


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the 14 columns, with None for missing values, and the incomes."""
    with gzip.open(path, "rt", newline="") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if len(row) == 15]
    table = np.array([[None if v == "?" else v for v in row[:14]] for row in rows], object)
    table[:, NUMERIC] = table[:, NUMERIC].astype(float)
    return table, np.array([row[14].rstrip(".") for row in rows])


arguments = [argument for argument in sys.argv[1:] if argument != "--alone"]
if len(arguments) != 1:
    sys.exit("Pass the folder with adult-train.csv.gz and adult-test.csv.gz as an argument.")
folder = Path(arguments[0])
X, y = load(folder / "adult-train.csv.gz")
X_test, y_test = load(folder / "adult-test.csv.gz")

missing = SimpleImputer(strategy="constant", fill_value="missing", missing_values=None)
one_hot = make_column_transformer(
    (StandardScaler(), NUMERIC),
    (make_pipeline(missing, OneHotEncoder(handle_unknown="ignore", min_frequency=20)), CATEGORICAL),
    sparse_threshold=0,
)
ordinal = make_column_transformer(
    ("passthrough", NUMERIC),
    (
        make_pipeline(
            missing, OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        ),
        CATEGORICAL,
    ),
)
epochs = {"max_iter": 10, "random_state": 0}
models = {
    "nnfast MLPClassifier": make_pipeline(one_hot, nnfast.MLPClassifier(**epochs)),
    "the same, dropout, AdamW": make_pipeline(
        one_hot, nnfast.MLPClassifier((64, 32), dropout=0.2, optimizer="adamw", **epochs)
    ),
    "scikit-learn MLPClassifier": make_pipeline(one_hot, MLPClassifier(**epochs)),
    "HistGradientBoosting": make_pipeline(
        ordinal,
        HistGradientBoostingClassifier(categorical_features=list(range(6, 14)), random_state=0),
    ),
}
warnings.simplefilter("ignore")  # MLPs warn that they have not converged after ten epochs
for name, model in models.items():
    if "--alone" in sys.argv and "nnfast" not in name:
        continue
    started = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - started
    print(f"{name:28} accuracy {model.score(X_test, y_test):.4f}, {seconds:6.2f} s")

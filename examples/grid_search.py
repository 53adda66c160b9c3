"""A grid search on digits, compared with scikit-learn's MLP and gradient boosting.

python examples/grid_search.py [--alone]

With --alone, only nnfast is run.
"""

import sys
import time
import warnings

from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import nnfast

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, random_state=0)

grid = {"alpha": [1e-4, 1e-2, 1.0], "hidden_layer_sizes": [(50,), (100,)]}
mlp = {"max_iter": 40, "random_state": 0}
searches = {
    "nnfast MLPClassifier": (nnfast.MLPClassifier(**mlp), grid),
    "scikit-learn MLPClassifier": (MLPClassifier(**mlp), grid),
    "HistGradientBoosting": (
        HistGradientBoostingClassifier(max_iter=40, random_state=0),
        {"l2_regularization": [0.0, 0.1, 1.0], "learning_rate": [0.1, 0.3]},
    ),
}
warnings.simplefilter("ignore")
for name, (model, parameters) in searches.items():
    if "--alone" in sys.argv and not name.startswith("nnfast"):
        continue
    step = type(model).__name__.lower()
    search = GridSearchCV(
        make_pipeline(MinMaxScaler(), model),
        {f"{step}__{key}": values for key, values in parameters.items()},
        cv=3,
    )
    started = time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - started
    best = {key.partition("__")[2]: value for key, value in search.best_params_.items()}
    print(f"{name:28} accuracy {search.score(X_test, y_test):.4f}, {seconds:6.2f} s, best {best}")

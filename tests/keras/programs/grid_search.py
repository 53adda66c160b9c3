"""Search for good hyperparameters with scikit-learn."""

import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV

from nnfast.keras.layers import Dense
from nnfast.keras.models import Sequential
from nnfast.keras.wrappers.scikit_learn import KerasClassifier

X, Y = make_classification(
    300, n_features=8, n_informative=6, n_redundant=0, class_sep=2.0, random_state=7
)


def create_model(optimizer="rmsprop", units=12):
    model = Sequential()
    model.add(Dense(units, input_dim=8, kernel_initializer="he_normal", activation="relu"))
    model.add(Dense(8, activation="relu"))
    model.add(Dense(1, activation="sigmoid"))
    model.compile(loss="binary_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    return model


model = KerasClassifier(build_fn=create_model, epochs=20, batch_size=10, verbose=0)
param_grid = {"optimizer": ["sgd", "adam"], "units": [4, 16]}
grid = GridSearchCV(estimator=model, param_grid=param_grid, cv=3)
grid_result = grid.fit(X, Y)
print(f"Best: {grid_result.best_score_:f} using {grid_result.best_params_}")
for mean, param in zip(
    grid_result.cv_results_["mean_test_score"], grid_result.cv_results_["params"]
):
    print(f"{mean:f} with: {param!r}")
accuracy = np.mean(grid_result.best_estimator_.predict(X).ravel() == Y)

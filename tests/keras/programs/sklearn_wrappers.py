"""Use Keras 3's own wrappers for scikit-learn."""

from sklearn.datasets import make_classification, make_regression
from sklearn.model_selection import cross_val_score

from nnfast import keras
from nnfast.keras.wrappers import SKLearnClassifier, SKLearnRegressor


def classifier(X, y, loss, units=16):
    model = keras.Sequential(
        [
            keras.Input(shape=(X.shape[1],)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dense(y.shape[1] if y.ndim > 1 else 1, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss=loss)
    return model


def regressor(X, y):
    model = keras.Sequential(
        [
            keras.Input(shape=(X.shape[1],)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    return model


X, y = make_classification(
    300, n_features=8, n_informative=6, n_redundant=0, n_classes=3, class_sep=2.0, random_state=3
)
estimator = SKLearnClassifier(
    model=classifier,
    model_kwargs={"loss": "categorical_crossentropy", "units": 32},
    fit_kwargs={"epochs": 40, "verbose": 0},
)
estimator.fit(X, y)
accuracy = estimator.score(X, y)

X, y = make_regression(300, n_features=6, noise=1.0, random_state=3)
y = y / y.std()
scores = cross_val_score(
    SKLearnRegressor(model=regressor),
    X,
    y,
    cv=3,
    params={"epochs": 80, "verbose": 0},
)
print(accuracy, scores)

"""Cross-validate a regression network in a scikit-learn pipeline."""

from sklearn.datasets import make_regression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from nnfast.keras.layers import Dense
from nnfast.keras.models import Sequential
from nnfast.keras.wrappers.scikit_learn import KerasRegressor

X, Y = make_regression(300, n_features=13, n_informative=8, noise=5.0, random_state=7)


def larger_model():
    model = Sequential()
    model.add(Dense(32, input_dim=13, kernel_initializer="normal", activation="relu"))
    model.add(Dense(8, kernel_initializer="normal", activation="relu"))
    model.add(Dense(1, kernel_initializer="normal"))
    model.compile(loss="mean_squared_error", optimizer="adam")
    return model


estimators = []
estimators.append(("standardize", StandardScaler()))
estimators.append(
    ("mlp", KerasRegressor(build_fn=larger_model, epochs=80, batch_size=5, verbose=0))
)
pipeline = Pipeline(estimators)
kfold = KFold(n_splits=3, shuffle=True, random_state=7)
results = cross_val_score(pipeline, X, Y / Y.std(), cv=kfold, scoring="r2")
print(f"R2: {results.mean():.2f} ({results.std():.2f})")

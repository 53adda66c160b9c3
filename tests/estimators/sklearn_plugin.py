"""pytest plugin: scikit-learn's own tests of its MLP see the classes of nnfast instead.

    pytest -p sklearn_plugin …/sklearn/neural_network/tests/test_mlp.py

It must be loaded before that module, which keeps the classes in its parametrizations.
"""

import sklearn.neural_network

import nnfast

sklearn.neural_network.MLPClassifier = nnfast.MLPClassifier
sklearn.neural_network.MLPRegressor = nnfast.MLPRegressor

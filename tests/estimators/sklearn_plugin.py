"""A pytest plugin that runs scikit-learn's own tests of its MLP on the classes of nnfast.

    pytest -p sklearn_plugin …/sklearn/neural_network/tests/test_mlp.py

Load the plugin before the test module, because the module's parametrizations refer to the classes.
"""

import sklearn.neural_network

import nnfast

sklearn.neural_network.MLPClassifier = nnfast.MLPClassifier
sklearn.neural_network.MLPRegressor = nnfast.MLPRegressor

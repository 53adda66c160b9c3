"""What runs a model: networks, training, evaluation, prediction."""

"""Networks and the loops of training, evaluation and prediction."""

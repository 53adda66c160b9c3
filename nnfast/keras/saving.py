"""Saving and loading models, as in ``keras.saving``."""

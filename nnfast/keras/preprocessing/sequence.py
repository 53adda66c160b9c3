"""Preparation of sequences, as in ``keras.preprocessing.sequence``."""

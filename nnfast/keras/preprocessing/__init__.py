"""Preparation of images and sequences, as in ``keras.preprocessing``."""

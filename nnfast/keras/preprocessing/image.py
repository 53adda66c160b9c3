"""Preparation of images, as in ``keras.preprocessing.image``."""

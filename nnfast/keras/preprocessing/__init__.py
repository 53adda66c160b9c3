"""Preparation of images and sequences, as in ``keras.preprocessing``."""

from nnfast.keras.preprocessing import image as image, sequence as sequence

"""Saving and loading of models, as in ``keras.saving``."""

from nnfast.keras.models import load_model, save_model

__all__ = ["load_model", "save_model"]

"""The models, as in `nnfast.models`, and `save_model`."""

from __future__ import annotations

import os

from nnfast.models import Model, Sequential, clone_model, load_model, model_from_json

__all__ = [
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
    "save_model",
]


def save_model(model: Model, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a model to a file: ``model.save(filepath, overwrite)``.

    Parameters
    ----------
    model : Model
    filepath : str or path-like
    overwrite : bool, default True
        Whether an existing file is replaced.
    """
    model.save(filepath, overwrite)

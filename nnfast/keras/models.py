"""The models, as in `nnfast.models`, and `save_model`."""

from __future__ import annotations

import os

from nnfast.models import *
from nnfast.models.model import Model as _Model


def save_model(model: _Model, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a model to a file: ``model.save(filepath, overwrite)``.

    Parameters
    ----------
    model : Sequential
    filepath : str or path-like
    overwrite : bool, default True
        Whether an existing file is replaced.
    """
    model.save(filepath, overwrite)

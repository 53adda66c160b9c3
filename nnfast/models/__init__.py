"""Models: `Model` and `Sequential`, with the names and semantics of Keras, and `load_model`."""

from nnfast.models.loading import (
    clone_model,
    load_model,
    model_from_json,
)
from nnfast.models.model import (
    Model,
)
from nnfast.models.sequential import (
    Sequential,
)

__all__ = [
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
]
